"""A bank's policy: typed rules from a TOML file, checked whole before any of it takes effect."""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from parley.model.refusals import Basis
from parley.model.words import Delivery, Projection, Purpose

POLICY_BYTES_MAX = 256 * 1024
RULES_MAX = 5_000
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
    """One rule. An empty list means all of that kind. Obligations apply where the rule allows; the strictest of all matching rules wins."""

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
        source = path.read_bytes()
    except OSError as error:
        raise PolicyRejected(f"{path}: cannot be read ({error.strerror}). Name a readable file in the setting policy_file.") from None
    if len(source) > POLICY_BYTES_MAX:
        raise PolicyRejected(f"{path}: larger than {POLICY_BYTES_MAX} bytes. Split off what is not a rule.")
    try:
        text = msgspec.toml.decode(source, type=PolicyText)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PolicyRejected(f"{path}: {error}. Mend that entry; the words that may stand there are listed in docs/policy.md.") from None
    lint(path, text)
    return Policy(text, source)


def lint(path: Path, text: PolicyText) -> None:
    """What types cannot say. Raises PolicyRejected with the rule's id and the mend."""
    if len(text.rules) > RULES_MAX:
        raise PolicyRejected(f"{path}: more than {RULES_MAX} rules. Merge rules that differ only in their lists.")
    known = {platform.id for platform in text.platforms}
    if len(known) != len(text.platforms):
        raise PolicyRejected(f"{path}: two platforms share an id. Give each its own.")
    seen: set[str] = set()
    for each in text.rules:
        if not each.id or each.id in seen:
            raise PolicyRejected(f"{path}: rule id {each.id!r} is empty or used twice. Give each rule its own id.")
        seen.add(each.id)
        if not each.reason:
            raise PolicyRejected(f"{path}: rule {each.id}: no reason. Say in plain words why, the customer may read it.")
        strangers = sorted(each.platforms - known)
        if strangers:
            raise PolicyRejected(f"{path}: rule {each.id}: unknown platform {strangers[0]!r}. Add it under [[platforms]] or mend the name.")
        if not 0 < each.rows_max <= ROWS_HARD_MAX:
            raise PolicyRejected(f"{path}: rule {each.id}: rows_max must lie between 1 and {ROWS_HARD_MAX}.")
        if not 0 <= each.lookback_days_max <= 3650:
            raise PolicyRejected(f"{path}: rule {each.id}: lookback_days_max must lie between 0 and 3650.")


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
    )


def digest_of(source: bytes, table: dict[Key, Verdict]) -> str:
    """Names the policy in every log entry: SHA-256 (hex) over the text and the table that it was turned into."""
    rows: list[Any] = [[list(key), verdict] for key, verdict in sorted(table.items())]
    return sha256(sha256(source).digest() + sha256(msgspec.json.encode(rows)).digest()).hexdigest()
