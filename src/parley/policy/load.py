"""A bank's policy: typed rules from a TOML file, checked whole before any of it takes effect."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from enum import StrEnum
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from parley.model.refusals import Basis
from parley.model.words import Delivery, Projection, Provenance, Purpose

POLICY_BYTES_MAX = 256 * 1024
RULES_MAX = 5_000
PLATFORMS_MAX = 1_000
COMPARISONS_MAX = 5_000_000
"""Rules times rows of the decision table: a few seconds at the start, and a bound on them."""
RULES_PER_ROW_MAX = 32
"""The ids of the rules that decided go into the customer's receipt, which has a size."""
REASON_CHARACTERS_MAX = 200
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Platforms and channels are spelled out in log entries of at most 512 plain bytes."""
UNKNOWN = "unknown"
"""How the log calls a platform that the policy does not know; no platform may go by it."""
LOOKBACK_DAYS_HARD_MAX = 3650
ROWS_HARD_MAX = 100
"""Baseline: no single answer tells of more rows than this, whatever a bank's policy says."""


class PolicyRejected(Exception):
    """A policy that may not take effect. The message names the file, the rule and the mend."""


class Effect(StrEnum):
    ALLOW = "allow"
    FORBID = "forbid"


class Platform(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recipient that the bank knows. The four public particulars are those of 12 CFR 1033.321(d)."""

    id: str
    name: str
    website: str
    contact: str
    legal_name: str = ""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule. An empty list means all of that kind, which only a forbid may say: an allow names everything that it allows.

    Obligations apply where the rule allows; the strictest of all matching rules wins. `provenance`: rows of transactions that were not
    made through the platform are shown to it only where the rule says "any" (and the customer's grant does too).
    """

    id: str
    effect: Effect
    reason: str
    platforms: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    purposes: frozenset[Purpose] = frozenset()
    projections: frozenset[Projection] = frozenset()
    basis: Basis = Basis.BANK_POLICY
    delivery: Delivery = Delivery.INLINE
    rows_max: int = ROWS_HARD_MAX
    lookback_days_max: int = 730
    provenance: Provenance = Provenance.ON_PLATFORM

    def matches(self, platform: str, channel: str, purpose: Purpose, projection: Projection) -> bool:
        return (
            (not self.platforms or platform in self.platforms)
            and (not self.channels or channel in self.channels)
            and (not self.purposes or purpose in self.purposes)
            and (not self.projections or projection in self.projections)
        )


class PolicyText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file as a bank writes it."""

    name: str
    bank: str
    platforms: list[Platform]
    rules: list[Rule]


class Verdict(msgspec.Struct, frozen=True):
    """One row of the decision table: what the rules say of one combination."""

    allow: bool
    rules: tuple[str, ...]
    reason: str
    basis: Basis
    delivery: Delivery
    rows_max: int
    lookback_days_max: int
    provenance: Provenance


Key = tuple[str, str, Purpose, Projection]


class Policy:
    """A policy in force: its digest, its platforms, and the whole decision table. Anything that the table does not hold is refused."""

    def __init__(self, text: PolicyText, source: bytes) -> None:
        self.name = text.name
        self.bank = text.bank
        self.platforms = {platform.id: platform for platform in text.platforms}
        self.channels = channels_of(text)
        self.table = decision_table(text)
        self.digest = digest_of(source, self.table)

    def verdict(self, platform: str, channel: str, purpose: Purpose, projection: Projection) -> Verdict | None:
        return self.table.get((platform, channel, purpose, projection))


def load_policy(path: Path) -> Policy:
    """Read, check and tabulate a policy file. Raises PolicyRejected, and then nothing of it is in force."""
    try:
        with path.open("rb") as file:
            source = file.read(POLICY_BYTES_MAX + 1)
    except OSError as error:
        raise PolicyRejected(f"{path}: cannot be read ({error.strerror}). Name a readable file in the setting policy_file.") from None
    if len(source) > POLICY_BYTES_MAX:
        raise PolicyRejected(f"{path}: larger than {POLICY_BYTES_MAX} bytes. Split off what is not a rule.")
    try:
        text = msgspec.toml.decode(source, type=PolicyText)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise PolicyRejected(f"{path}: {error}. Mend that entry; the words that may stand there are listed in docs/policy.md.") from None
    lint(path, text)
    return Policy(text, source)


def lint(path: Path, text: PolicyText) -> None:
    """What types cannot say. Raises PolicyRejected with the file, the rule's id and the mend."""
    mend = next((mend for mend in mends(text)), None)
    if mend is not None:
        raise PolicyRejected(f"{path}: {mend}")


def mends(text: PolicyText) -> Iterator[str]:
    """Everything that has to be mended, a sentence each, in the order of the file."""
    if len(text.rules) > RULES_MAX:
        yield f"more than {RULES_MAX} rules. Merge rules that differ only in their lists."
    if len(text.platforms) > PLATFORMS_MAX:
        yield f"more than {PLATFORMS_MAX} platforms. Remove those that no rule names."
    known: set[str] = set()
    for platform in text.platforms:
        yield from mends_of_platform(platform, known)
        known.add(platform.id)
    seen: set[str] = set()
    for each in text.rules:
        yield from (f"rule {each.id}: {mend}" for mend in mends_of_rule(each, seen, known))
        seen.add(each.id)
    yield from mends_of_table(text)


def mends_of_platform(platform: Platform, known: Collection[str]) -> Iterator[str]:
    if not NAME.fullmatch(platform.id) or platform.id == UNKNOWN:
        yield f"platform id {platform.id!r} cannot stand in the log. Use small letters, digits, dots and dashes, 64 at most, not {UNKNOWN!r}."
    if platform.id in known:
        yield f"two platforms share the id {platform.id!r}. Give each its own."


def mends_of_rule(each: Rule, seen: Collection[str], known: Collection[str]) -> Iterator[str]:
    if not NAME.fullmatch(each.id) or each.id in seen:
        yield "its id is used twice, or is not made of small letters, digits, dots and dashes (64 at most). Give each rule its own id."
    if not each.reason.strip() or len(each.reason) > REASON_CHARACTERS_MAX:
        yield f"no reason, or one of more than {REASON_CHARACTERS_MAX} characters. Say in plain words why, the customer may read it."
    for stranger in sorted(each.platforms - set(known))[:1]:
        yield f"unknown platform {stranger!r}. Add it under [[platforms]] or mend the name."
    for odd in sorted(name for name in each.channels if not NAME.fullmatch(name))[:1]:
        yield f"{odd!r} cannot be a channel. Name the channel as the settings do."
    if each.effect is Effect.ALLOW and not (each.platforms and each.channels and each.purposes and each.projections):
        yield "an allow with a list left out would allow all of that kind. Name its platforms, channels, purposes and projections."
    if not 0 < each.rows_max <= ROWS_HARD_MAX:
        yield f"rows_max must lie between 1 and {ROWS_HARD_MAX}."
    if not 0 <= each.lookback_days_max <= LOOKBACK_DAYS_HARD_MAX:
        yield f"lookback_days_max must lie between 0 and {LOOKBACK_DAYS_HARD_MAX}."


def mends_of_table(text: PolicyText) -> Iterator[str]:
    rows = len(text.platforms) * len(channels_of(text)) * len(Purpose) * len(Projection)
    if rows * len(text.rules) > COMPARISONS_MAX:
        yield f"{len(text.rules)} rules over {rows} combinations are more than can be decided at a start. Merge rules or name fewer channels."
        return
    table = decision_table(text)
    crowded = next((verdict for verdict in table.values() if len(verdict.rules) > RULES_PER_ROW_MAX), None)
    if crowded is not None:
        yield f"rule {crowded.rules[0]}: it and more than {RULES_PER_ROW_MAX - 1} others decide the same case. Merge rules that say the same."


def channels_of(text: PolicyText) -> frozenset[str]:
    return frozenset(channel for each in text.rules for channel in each.channels)


def decision_table(text: PolicyText) -> dict[Key, Verdict]:
    """Every combination of the closed domain, decided once. A platform or channel that no rule names is in no row, so it is refused."""
    domain = product(sorted(p.id for p in text.platforms), sorted(channels_of(text)), Purpose, Projection)
    return {key: verdict for key in domain if (verdict := decide(text.rules, *key)) is not None}


def decide(rules: list[Rule], platform: str, channel: str, purpose: Purpose, projection: Projection) -> Verdict | None:
    """A forbid outweighs every allow; where no rule matches there is no verdict, which refuses; obligations add up to the strictest."""
    matching = [each for each in rules if each.matches(platform, channel, purpose, projection)]
    forbids = [each for each in matching if each.effect is Effect.FORBID]
    allows = [each for each in matching if each.effect is Effect.ALLOW]
    if not matching:
        return None
    chosen = forbids or allows
    return Verdict(
        allow=not forbids,
        rules=tuple(each.id for each in chosen),
        reason=chosen[0].reason,
        basis=chosen[0].basis,
        delivery=min((each.delivery for each in chosen), key=tuple(Delivery).index),
        rows_max=min(each.rows_max for each in chosen),
        lookback_days_max=min(each.lookback_days_max for each in chosen),
        provenance=min((each.provenance for each in chosen), key=tuple(Provenance).index),
    )


def digest_of(source: bytes, table: dict[Key, Verdict]) -> str:
    """Names the policy in every log entry: SHA-256 (hex) over the text and the table that it was turned into."""
    rows: list[Any] = [[list(key), verdict] for key, verdict in sorted(table.items())]
    return sha256(sha256(source).digest() + sha256(msgspec.json.encode(rows)).digest()).hexdigest()
