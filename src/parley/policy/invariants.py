"""What holds of every policy, shown by enumerating the whole domain, with the words that nobody listed in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

import msgspec

from parley.model.words import Purpose
from parley.policy.domain import ANY_OTHER, CHANNEL, DATA, PLATFORM, PURPOSE, Case, Data, Domain, widened
from parley.policy.particulars import Particulars
from parley.policy.rules import Effect, Rule, Words
from parley.policy.table import cells, narrowed, rest_holds


class Invariant(msgspec.Struct, frozen=True):
    """A sentence that must hold of every allowed case, and the test of a case that would break it."""

    name: str
    sentence: str
    broken_by: Callable[[Words, Particulars], bool]


class Counterexample(msgspec.Struct, frozen=True):
    """A case that would be allowed and must not be. `rules` are the permits that allow it."""

    case: Case
    rules: tuple[str, ...]

    def __str__(self) -> str:
        case = self.case
        return (
            f"platform {case.platform}, purpose {case.purpose}, channel {case.channel}, {case.projection} of {case.data} data"
            f" with assurance {case.assurance}: allowed by {', '.join(self.rules)}"
        )


class Finding(msgspec.Struct, frozen=True):
    """One invariant, over how many combinations it was decided, and the first that breaks it (None: it holds)."""

    name: str
    sentence: str
    combinations: int
    counterexample: Counterexample | None

    @property
    def holds(self) -> bool:
        return self.counterexample is None


class Proof(msgspec.Struct, frozen=True):
    """All of it, as it is digested into the log. `table` is the digest of the decision table that the findings are about."""

    table: str
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the proof as canonical JSON: an auditor who enumerates the same text gets the same."""
        return sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def sold(words: Words, particulars: Particulars) -> bool:
    return words[PURPOSE] not in OURS


def strayed(words: Words, particulars: Particulars) -> bool:
    listed = {platform.id for platform in particulars.platforms if platform.off_platform}
    return words[DATA] == Data.OFF_PLATFORM and words[PLATFORM] not in listed


def unnamed(words: Words, particulars: Particulars) -> bool:
    return ANY_OTHER in (words[PLATFORM], words[CHANNEL], words[PURPOSE])


OURS = frozenset[str](Purpose)
INVARIANTS = (
    Invariant("no-advertising", "Nothing leaves for advertising, selling, profiling, training, or any purpose that is not on the closed list.", sold),
    Invariant("off-platform", "Transactions that were not made through a platform leave only to those whose particulars allow it.", strayed),
    Invariant("nobody-unnamed", "Nothing leaves to a platform, over a channel or for a purpose that nobody listed.", unnamed),
)


def prove(rules: Sequence[Rule], domain: Domain, particulars: Particulars, table: str) -> Proof:
    """Enumerate the widened domain and look for a case that breaks an invariant. `rules` are compiled for that widened domain."""
    wide = widened(domain)
    broken: dict[str, Counterexample] = {}
    for case, permits in allowed_cases(rules, wide):
        for invariant in INVARIANTS:
            if invariant.name not in broken and invariant.broken_by(case, particulars):
                broken[invariant.name] = Counterexample(case, permits)
    return Proof(table, tuple(Finding(each.name, each.sentence, wide.combinations, broken.get(each.name)) for each in INVARIANTS))


def allowed_cases(rules: Sequence[Rule], domain: Domain) -> Iterator[tuple[Case, tuple[str, ...]]]:
    """Every allowed case with the permits that allow it. Purposes that no permit of a cell lets pass need no look: nothing allows them."""
    for words, cell in cells(rules, domain):
        permits = [rule for rule in cell if rule.effect is Effect.PERMIT]
        open_to_all = any(rule.only.get(PURPOSE) is None for rule in permits)
        purposes = domain.purposes if open_to_all else sorted(frozenset[str]().union(*(rule.only[PURPOSE] for rule in permits)))
        for purpose in purposes:
            words[PURPOSE] = purpose
            matching = [rule for rule in narrowed(cell, PURPOSE, purpose) if not rule.rest or rest_holds(rule, words)]
            if matching and all(rule.effect is Effect.PERMIT for rule in matching):
                yield Case(*words), tuple(rule.id for rule in matching)  # type: ignore[arg-type]
