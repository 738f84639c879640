"""What stands beside the rules: the bank, its channels, and the platforms with their public particulars."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from parley.policy.rejection import PolicyRejected

PLATFORMS_MAX = 1_000
CHANNELS_MAX = 40
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Platforms and channels are spelled out in log entries of at most 512 plain bytes."""
WORDS_MAX = 200
UNKNOWN = "unknown"
"""How the log calls a platform that the policy does not know; no platform may go by it."""
FILE = "particulars.toml"


class Platform(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recipient that the bank knows. The four public particulars are those of 12 CFR 1033.321(d)(2): legal name and `name` (the assumed
    one), `website`, `lei` (ISO 17442), `contact`.

    `off_platform`: whether transactions that were not made through the platform may be shown to it at all, where a rule and the customer's
    grant both say so. Left out, no rule can show it any.
    """

    id: str
    name: str
    website: str
    contact: str
    legal_name: str = ""
    lei: str = ""
    off_platform: bool = False

    @property
    def missing_particulars(self) -> tuple[str, ...]:
        """Which of the four are not public here. A bank may refuse a platform for it, see 12 CFR 1033.321(d)(2)."""
        return tuple(field for field in ("legal_name", "website", "lei", "contact") if not getattr(self, field).strip())


class Particulars(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file as a bank writes it."""

    name: str
    bank: str
    channels: tuple[str, ...]
    platforms: tuple[Platform, ...]


def read_particulars(source: bytes, where: str) -> Particulars:
    """Decode and check. Raises PolicyRejected with `where`, the place and the mend."""
    try:
        particulars = msgspec.toml.decode(source, type=Particulars)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise PolicyRejected(f"{where}: {error}. Mend that entry; the words that may stand there are listed in docs/policy.md.") from None
    mend = next(mends(particulars), None)
    if mend is not None:
        raise PolicyRejected(f"{where}: {mend}")
    return particulars


def mends(particulars: Particulars) -> Iterator[str]:
    """Everything that has to be mended, a sentence each, in the order of the file."""
    if len(particulars.platforms) > PLATFORMS_MAX:
        yield f"more than {PLATFORMS_MAX} platforms. Remove those that no rule names."
    if not particulars.channels or len(particulars.channels) > CHANNELS_MAX or len(set(particulars.channels)) < len(particulars.channels):
        yield f"channels must name each channel once, at least one and at most {CHANNELS_MAX}."
    for odd in [name for name in particulars.channels if not NAME.fullmatch(name)][:1]:
        yield f"{odd!r} cannot be a channel. Name the channel as the settings do."
    if not (particulars.name.strip() and particulars.bank.strip()) or len(particulars.name) + len(particulars.bank) > WORDS_MAX:
        yield f"name and bank must say something, in {WORDS_MAX} characters at most."
    known: set[str] = set()
    for platform in particulars.platforms:
        yield from (f"platform {platform.id!r}: {mend}" for mend in mends_of_platform(platform, known))
        known.add(platform.id)


def mends_of_platform(platform: Platform, known: set[str]) -> Iterator[str]:
    if not NAME.fullmatch(platform.id) or platform.id == UNKNOWN:
        yield f"its id cannot stand in the log. Use small letters, digits, dots and dashes, 64 at most, not {UNKNOWN!r}."
    if platform.id in known:
        yield "two platforms share this id. Give each its own."
    if any(not words.strip() or len(words) > WORDS_MAX for words in (platform.name, platform.website, platform.contact)):
        yield f"name, website and contact must be public. Say each, in {WORDS_MAX} characters at most."
    if len(platform.legal_name) > WORDS_MAX:
        yield f"legal_name is longer than {WORDS_MAX} characters. Shorten it."
    if platform.lei and not is_lei(platform.lei):
        yield "lei is not a Legal Entity Identifier: 20 capital letters and digits whose check digits agree (ISO 17442). Mend or leave it out."


def is_lei(text: str) -> bool:
    """ISO 17442: 18 letters and digits and two check digits, modulo 97 as in ISO/IEC 7064."""
    if not re.fullmatch(r"[A-Z0-9]{18}[0-9]{2}", text):
        return False
    return int("".join(str(int(sign, 36)) for sign in text)) % 97 == 1
