"""The decision table: every combination of the closed domain, decided once when the policy is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeAlias

import msgspec

from parley.model.refusals import Basis
from parley.model.words import Delivery, Purpose
from parley.policy.domain import ASSURANCE, CHANNEL, DATA, PLATFORM, PROJECTION, PURPOSE, WHATS, Case, Domain
from parley.policy.rejection import PolicyRejected
from parley.policy.rules import Effect, Obligations, Rule

TABLE_ROWS_MAX = 500_000
"""Combinations that are looked at: some seconds at the start, and a bound on them."""
COMPARISONS_MAX = 10_000_000
"""Rules that may concern a platform, times projections, times channels, over all platforms: a rule without a platform counts for each."""
RULES_PER_ROW_MAX = 32
"""The ids of the rules that decided go into the customer's receipt, which has a size."""


class Verdict(msgspec.Struct, frozen=True):
    """One row of the decision table: what the rules say of one case, on what it rests, and what must be held back.

    `rules` are the ids that decided: all matching forbids, or else all matching permits. The obligations are described in
    parley.policy.rules.Obligations; of several permits the strictest of each kind holds.
    """

    allow: bool
    rules: tuple[str, ...]
    reason: str
    basis: Basis
    delivery: Delivery
    rows_max: int
    lookback_days_max: int
    rounding: int
    bands: tuple[int, ...]
    delay_days: int


Key: TypeAlias = Case
Cell: TypeAlias = tuple[list[str], Sequence[Rule]]
"""Six words whose purpose is still open, and the rules whose conditions on the other five hold."""


def decision_table(rules: Sequence[Rule], domain: Domain, where: str) -> dict[Key, Verdict]:
    """What any rule says anything about; what is in no row is refused. Raises PolicyRejected where that is too much to decide or to log."""
    if domain.combinations > TABLE_ROWS_MAX:
        raise PolicyRejected(f"{where}: {domain.combinations} combinations are too many for a start. Name fewer channels or platforms.")
    comparisons = sum(map(len, indexed(rules, domain).values())) * len(WHATS) * len(domain.channels)
    if comparisons > COMPARISONS_MAX:
        raise PolicyRejected(f"{where}: {len(rules)} rules over {domain.combinations} combinations are too many for a start. Merge rules.")
    table: dict[Key, Verdict] = {}
    known: dict[tuple[int, ...], Verdict] = {}
    for words, cell in cells(rules, domain):
        for purpose in Purpose:
            words[PURPOSE] = purpose
            matching = [rule for rule in narrowed(cell, PURPOSE, purpose) if not rule.rest or rest_holds(rule, words)]
            if matching:
                table[Case(*words)] = shared_verdict(matching, known, where)  # type: ignore[arg-type]
    return table


def cells(rules: Sequence[Rule], domain: Domain) -> Iterator[Cell]:
    """Every combination of the five words beside the purpose, with the rules that may still match: narrowed one word at a time."""
    by_platform = indexed(rules, domain)
    for platform in domain.platforms:
        for projection, data in WHATS:
            here = narrowed(narrowed(by_platform[platform], PROJECTION, projection), DATA, data)
            for channel in domain.channels:
                there = narrowed(here, CHANNEL, channel)
                for assurance in domain.assurances:
                    cell = narrowed(there, ASSURANCE, assurance)
                    if cell:
                        yield [platform, channel, "", projection, data, assurance], cell


def indexed(rules: Sequence[Rule], domain: Domain) -> Mapping[str, Sequence[Rule]]:
    """For each platform the rules that may concern it, in the order of the file."""
    found: dict[str, list[Rule]] = {platform: [] for platform in domain.platforms}
    for rule in rules:
        for platform in rule.only.get(PLATFORM, domain.platforms):
            if platform in found:
                found[platform].append(rule)
    return found


def narrowed(rules: Sequence[Rule], place: int, word: str) -> Sequence[Rule]:
    return [rule for rule in rules if (allowed := rule.only.get(place)) is None or word in allowed]


def rest_holds(rule: Rule, words: Sequence[str]) -> bool:
    """The conditions on several places at once, which no narrowing can decide."""
    return all(clause.holds(words) for clause in rule.rest)


def shared_verdict(matching: Sequence[Rule], known: dict[tuple[int, ...], Verdict], where: str) -> Verdict:
    """Rows that the same rules decide share one verdict."""
    key = tuple(map(id, matching))
    verdict = known.get(key)
    if verdict is None:
        verdict = known[key] = verdict_of(matching)
        if len(verdict.rules) > RULES_PER_ROW_MAX:
            raise PolicyRejected(
                f"{where}: rule {verdict.rules[0]}: it and more than {RULES_PER_ROW_MAX - 1} others decide the same case. Merge such rules."
            )
        if not verdict.bands and any(rule.obligations.bands for rule in matching if rule.id in verdict.rules):
            raise PolicyRejected(f"{where}: rules {', '.join(verdict.rules)}: their @bands have no edge in common. Give them one.")
    return verdict


def verdict_of(matching: Sequence[Rule]) -> Verdict:
    """A forbid outweighs every permit; obligations add up to the strictest. Where nothing matches there is no verdict, which refuses."""
    forbids = [rule for rule in matching if rule.effect is Effect.FORBID]
    chosen = forbids or matching
    obliged = strictest([rule.obligations for rule in chosen])
    return Verdict(
        allow=not forbids,
        rules=tuple(rule.id for rule in chosen),
        reason=chosen[0].reason,
        basis=chosen[0].basis,
        delivery=obliged.delivery,
        rows_max=obliged.rows_max,
        lookback_days_max=obliged.lookback_days_max,
        rounding=obliged.rounding,
        bands=obliged.bands,
        delay_days=obliged.delay_days,
    )


def strictest(several: Sequence[Obligations]) -> Obligations:
    """Of each kind the strictest. Bands keep only the edges that all of them have, so that no two bands together tell more than one."""
    if len(several) == 1:
        return several[0]
    banded = [each.bands for each in several if each.bands]
    return Obligations(
        delivery=min([each.delivery for each in several], key=tuple(Delivery).index),
        rows_max=min([each.rows_max for each in several]),
        lookback_days_max=min([each.lookback_days_max for each in several]),
        rounding=max([each.rounding for each in several]),
        bands=tuple(sorted(frozenset(banded[0]).intersection(*banded))) if banded else (),
        delay_days=max([each.delay_days for each in several]),
    )


def strictest_verdict(one: Verdict, other: Verdict) -> Verdict:
    """Where one answer needs both permits, what holds it back is the strictest of both."""
    obliged = strictest([obligations_of(one), obligations_of(other)])
    rules = tuple(dict.fromkeys((*one.rules, *other.rules)))
    return msgspec.structs.replace(one, rules=rules, **{name: getattr(obliged, name) for name in Obligations.__struct_fields__})


def obligations_of(verdict: Verdict) -> Obligations:
    return Obligations(**{name: getattr(verdict, name) for name in Obligations.__struct_fields__})


def table_digest(table: Mapping[Key, Verdict]) -> str:
    """SHA-256 (hex) over the distinct verdicts and the rows that point to them, in one order wherever it is computed."""
    numbers: dict[Verdict, int] = {}
    rows: list[Any] = [(*key, numbers.setdefault(table[key], len(numbers))) for key in sorted(table)]
    return sha256(msgspec.json.encode([list(numbers), rows])).hexdigest()
