"""The Rust engine as the judge of our own: the same rules, the same cases, and every difference is ours to answer for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import product
from random import Random
from typing import Any, TypeAlias

import cedarpy
import msgspec

from parley.policy.domain import ASSURANCE, CHANNEL, DATA, PLATFORM, PROJECTION, PURPOSE, WHATS, Domain
from parley.policy.rules import Effect, Rule, Words
from parley.policy.text import Statement

ROWS_COMPARED_MAX = 1_500
"""At a start. `make prove` compares without a bound."""
SLICES_KEPT = 16
DIFFERING_SHOWN = 5
ANNOTATION = re.compile(r'@\w+\s*\(\s*"(?:\\.|[^"\\])*"\s*\)\s*')
NO_ENTITIES = cedarpy.Entities.from_json_str("[]")


class Opinion(msgspec.Struct, frozen=True):
    """What the engine says of a case: allowed or not, the ids of the rules that decided, and whether anything went wrong on the way."""

    allow: bool
    rules: frozenset[str]
    faulty: bool


class Comparison(msgspec.Struct, frozen=True):
    """How the Rust engine was asked: `asked` cases, of `combinations` that there are.

    `complete`: those cases stand for all of them, because two words that no rule tells apart are decided alike, and so are two platforms
    whose rules read the same but for their names. Not so where a bound made us draw. `differing`: the first cases of disagreement.
    """

    asked: int
    combinations: int
    complete: bool
    differing: tuple[tuple[str, ...], ...]


class Judge:
    """Asks `cedarpy` about cases. Rules are given to it in slices, one for each platform: a rule whose head names another cannot matter."""

    def __init__(self, rules: Sequence[Rule], found: Sequence[Statement]) -> None:
        self.rules = tuple(rules)
        self._found = tuple(found)
        self._bodies = [ANNOTATION.sub("", each.text) for each in found]
        self._by_platform: dict[str, list[int]] = {}
        self._everywhere: list[int] = []
        for number, rule in enumerate(rules):
            for platform in rule.only.get(PLATFORM) or ("",):
                (self._by_platform.setdefault(platform, []) if platform else self._everywhere).append(number)
        self._kept = lru_cache(SLICES_KEPT)(self._parsed)

    def opinions(self, platform: str, cases: Sequence[Words]) -> list[Opinion]:
        """One for each case, all of the same platform."""
        policies, ids = self._kept(platform)
        answers = cedarpy.is_authorized_batch([asked(words) for words in cases], policies, NO_ENTITIES)
        return [opinion(answer, ids) for answer in answers]

    def slice_of(self, platform: str) -> list[int]:
        """Numbers of the rules that may concern a platform, in the order of the file."""
        return sorted(self._everywhere + self._by_platform.get(platform, []))

    def shape_of(self, platform: str) -> bytes:
        """A digest of the platform's rules without annotations and with its own name left blank: equal for platforms that are treated alike."""
        text = "\n".join(self._bodies[number] for number in self.slice_of(platform))
        return sha256(text.replace(f'Platform::"{platform}"', "·").encode()).digest()

    @property
    def text(self) -> str:
        """All rules, the baseline first."""
        return "\n".join(each.text for each in self._found)

    def text_of(self, platform: str) -> str:
        """The rules that may concern a platform."""
        return "\n".join(self._found[number].text for number in self.slice_of(platform))

    def _parsed(self, platform: str) -> tuple[cedarpy.PolicySet, Mapping[str, str]]:
        numbers, text = self.slice_of(platform), self.text_of(platform)
        ids = {f"policy{place}": self.rules[number].id for place, number in enumerate(numbers)}
        return cedarpy.PolicySet.from_str(text, release_gil=True), ids


def compare(judge: Judge, rules: Sequence[Rule], domain: Domain, *, seed: str, rows_max: int | None = ROWS_COMPARED_MAX) -> Comparison:
    """Ask the engine about every case that a rule could tell from another, or about `rows_max` of them drawn by `seed`, and compare."""
    plan = list(representatives(judge, rules, domain))
    total = sum(len(cases) for _, cases in plan)
    complete = rows_max is None or total <= rows_max
    if rows_max is not None and not complete:
        plan = drawn(plan, rows_max, total, seed)
    differing = [words for platform, cases in plan for words in different(judge, rules, platform, cases)]
    return Comparison(sum(len(cases) for _, cases in plan), domain.combinations, complete, tuple(differing[:DIFFERING_SHOWN]))


def different(judge: Judge, rules: Sequence[Rule], platform: str, cases: Sequence[Words]) -> Iterator[tuple[str, ...]]:
    """The cases of one platform that the two engines decide otherwise."""
    mine = [rules[number] for number in judge.slice_of(platform)]
    for words, theirs in zip(cases, judge.opinions(platform, cases), strict=True):
        if theirs != ours(mine, words):
            yield tuple(words)


def ours(rules: Iterable[Rule], words: Words) -> Opinion:
    """The same decision by our compiled rules, without the table."""
    matching = [rule for rule in rules if rule.matches(words)]
    forbids = [rule for rule in matching if rule.effect is Effect.FORBID]
    return Opinion(bool(matching) and not forbids, frozenset(rule.id for rule in forbids or matching), False)


Plan: TypeAlias = list[tuple[str, list[Words]]]
"""A platform, and the cases of it to ask about."""


def representatives(judge: Judge, rules: Sequence[Rule], domain: Domain) -> Iterator[tuple[str, list[Words]]]:
    """For each kind of platform one of them, with the cases that its rules can tell apart."""
    kinds: dict[bytes, str] = {}
    for platform in domain.platforms:
        kinds.setdefault(judge.shape_of(platform), platform)
    for platform in kinds.values():
        mine = [rules[number] for number in judge.slice_of(platform)]
        channels, purposes, assurances = (classes(mine, place, domain) for place in (CHANNEL, PURPOSE, ASSURANCE))
        cases: list[Words] = [
            (platform, channel, purpose, *what, assurance)
            for what, channel, purpose, assurance in product(distinct_whats(mine, domain), channels, purposes, assurances)
        ]
        yield platform, cases


def distinct_whats(rules: Sequence[Rule], domain: Domain) -> list[tuple[str, str]]:
    """One pair of projection and data of each class that no rule tells apart, among the pairs that there are."""
    projections, data = signatures(rules, PROJECTION, domain), signatures(rules, DATA, domain)
    found: dict[tuple[object, object], tuple[str, str]] = {}
    for what in WHATS:
        found.setdefault((projections[what[0]], data[what[1]]), what)
    return list(found.values())


def classes(rules: Sequence[Rule], place: int, domain: Domain) -> list[str]:
    """One word of each class that no rule tells apart."""
    found: dict[object, str] = {}
    for word, signature in signatures(rules, place, domain).items():
        found.setdefault(signature, word)
    return list(found.values())


def signatures(rules: Sequence[Rule], place: int, domain: Domain) -> dict[str, object]:
    """What the rules say of each word at a place: words with equal signatures are decided alike.

    A word is told apart by the lists that it stands in and, where a condition reads several places at once, by being mentioned there.
    """
    lists = {rule.only[place] for rule in rules if place in rule.only}
    mentioned = {word for rule in rules for clause in rule.rest for at, word in clause.mentions if at == place}
    return {word: (word if word in mentioned else "", *(word in allowed for allowed in lists)) for word in domain.words[place]}


def drawn(plan: Plan, rows: int, of: int, seed: str) -> Plan:
    """A share of each platform's cases, drawn by the seed: the same for the same text, so that a start can be repeated."""
    chance = Random(seed)  # noqa: S311 (which cases to compare is no secret)
    return [(platform, chance.sample(cases, max(1, len(cases) * rows // of))) for platform, cases in plan if cases]


def asked(words: Words) -> dict[str, Any]:
    entity = "__entity"
    return {
        "principal": f'Platform::"{words[PLATFORM]}"',
        "action": f'Action::"{words[PROJECTION]}"',
        "resource": f'Data::"{words[DATA]}"',
        "context": {
            "purpose": {entity: {"type": "Purpose", "id": words[PURPOSE]}},
            "channel": {entity: {"type": "Channel", "id": words[CHANNEL]}},
            "assurance": {entity: {"type": "Assurance", "id": words[ASSURANCE]}},
        },
    }


def opinion(answer: cedarpy.AuthzResult, ids: Mapping[str, str]) -> Opinion:
    """NoDecision and any error count as faulty: then no comparison agrees."""
    faulty = bool(answer.diagnostics.errors) or answer.decision is cedarpy.Decision.NoDecision
    return Opinion(answer.allowed, frozenset(ids.get(each, each) for each in answer.diagnostics.reasons), faulty)
