"""Who has to have seen a head before it counts: a quorum file (c2sp.org/tlog-policy), read strictly.

    witness <name> <vkey> [<url>]
    group <name> <all|any|number> <witness or group> …
    quorum <name of a witness or group, or none>

Lines of `log` may stand there for other programs; ours is told which log it serves. `#` begins a comment line.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from parley.proof import ProofRejected
from parley.proof.note import COSIGNATURE, read_vkey

BYTES_MAX = 64 * 1024
NAMES_MAX = 64
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class QuorumRejected(Exception):
    """A quorum file that may not be used. The message names the line and the mend."""


@dataclass(frozen=True, slots=True)
class Witness:
    """One witness: its name in the file, its key, and where checkpoints are sent (None: somebody else asks it)."""

    name: str
    vkey: str
    url: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """`needed` of the `members` (names of witnesses or groups) have to agree."""

    needed: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quorum:
    """Witnesses, groups of them, and which of these decides; `decides` None: a head counts without any witness."""

    witnesses: tuple[Witness, ...]
    groups: dict[str, Group]
    decides: str | None

    def satisfied(self, agreed: Collection[str]) -> bool:
        """Whether the witnesses of these names are enough."""
        return self.decides is None or self._agrees(self.decides, agreed)

    def _agrees(self, name: str, agreed: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in agreed
        return sum(self._agrees(member, agreed) for member in group.members) >= group.needed


def load_quorum(path: Path) -> Quorum:
    """Raises QuorumRejected, with the way out."""
    try:
        with path.open("rb") as file:
            source = file.read(BYTES_MAX + 1)
        text = source.decode()
    except OSError as error:
        raise QuorumRejected(f"{path}: cannot be read ({error.strerror}). Name a readable quorum file.") from None
    except UnicodeDecodeError:
        raise QuorumRejected(f"{path}: not UTF-8. Save it as plain text.") from None
    if len(source) > BYTES_MAX:
        raise QuorumRejected(f"{path}: larger than {BYTES_MAX} bytes.")
    return _Reader(str(path)).read(text)


class _Reader:
    def __init__(self, place: str) -> None:
        self._place = place
        self._witnesses: dict[str, Witness] = {}
        self._groups: dict[str, Group] = {}
        self._decides: list[str] = []
        self._line = 0

    def read(self, text: str) -> Quorum:
        for words in self._lines(text):
            match words[0]:
                case "witness":
                    self._witness(words)
                case "group":
                    self._group(words)
                case "quorum":
                    self._quorum(words)
                case "log":
                    pass
                case _:
                    raise self._no("a line begins with witness, group, quorum or log")
        if len(self._decides) != 1:
            raise QuorumRejected(f"{self._place}: needs exactly one line `quorum NAME`, or `quorum none`.")
        decides = self._decides[0]
        return Quorum(tuple(self._witnesses.values()), self._groups, None if decides == "none" else decides)

    def _lines(self, text: str) -> Iterator[list[str]]:
        for self._line, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if words and not words[0].startswith("#"):
                yield words

    def _witness(self, words: list[str]) -> None:
        if len(words) not in (3, 4):
            raise self._no("write `witness NAME VKEY` or `witness NAME VKEY URL`")
        name, vkey, url = words[1], words[2], words[3] if len(words) == 4 else None
        self._new(name)
        try:
            read_vkey(vkey, COSIGNATURE)
        except ProofRejected:
            raise self._no("the key is not a witness's Ed25519 key (type 0x04) in the form name+hash+base64") from None
        if url is not None and not _is_safe(url):
            raise self._no("the address must be https (http on a loopback address), without query")
        self._witnesses[name] = Witness(name, vkey, url.rstrip("/") if url else None)

    def _group(self, words: list[str]) -> None:
        members = tuple(words[3:])
        if len(words) < 4 or len(set(members)) != len(members):
            raise self._no("write `group NAME all|any|NUMBER MEMBER …`, each member once")
        self._new(words[1])
        for member in members:
            self._known(member)
        needed = {"all": len(members), "any": 1}.get(words[2]) or (int(words[2]) if words[2].isascii() and words[2].isdigit() else 0)
        if not 1 <= needed <= len(members):
            raise self._no(f"the number needed lies between 1 and {len(members)}")
        self._groups[words[1]] = Group(needed, members)

    def _quorum(self, words: list[str]) -> None:
        if len(words) != 2 or self._decides:
            raise self._no("write one line `quorum NAME`")
        if words[1] != "none":
            self._known(words[1])
        self._decides.append(words[1])

    def _new(self, name: str) -> None:
        if not _NAME.fullmatch(name) or name == "none" or name in self._witnesses or name in self._groups:
            raise self._no(f"{name[:64]!r} is taken already, or is no name (letters, digits, dots, dashes)")
        if len(self._witnesses) + len(self._groups) >= NAMES_MAX:
            raise self._no(f"more than {NAMES_MAX} witnesses and groups")

    def _known(self, name: str) -> None:
        """Members come before the groups that hold them, so that no group can hold itself."""
        if name not in self._witnesses and name not in self._groups:
            raise self._no(f"{name[:64]!r} is not named above")

    def _no(self, mend: str) -> QuorumRejected:
        return QuorumRejected(f"{self._place}, line {self._line}: {mend}.")


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        loopback = parts.hostname in ("127.0.0.1", "::1", "localhost")
    except ValueError:
        return False
    return bool(parts.hostname) and not parts.query and not parts.fragment and (parts.scheme == "https" or (parts.scheme == "http" and loopback))
