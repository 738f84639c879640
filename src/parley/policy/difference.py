"""What a new policy would change: the set of decisions that differ, case by case, before anybody lets it take effect.

Works on the decision tables alone, so it says exactly what the house would do; two texts that read differently and decide alike differ in nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import product
from typing import TypeAlias

import msgspec

from parley.model.words import Projection, Provenance, Purpose
from parley.policy.domain import Case, Data
from parley.policy.load import Policy, Verdict

SAYS = frozenset({"allow", "rules", "reason", "basis"})
"""What a verdict says and on what it rests. Everything else in it is a term: how far, how much, how delivered."""


OF_ROWS = frozenset({"rows_max", "lookback_days_max", "delay_days"})


class ChangeKind(StrEnum):
    """Ordered by how much they matter to a customer."""

    NEWLY_ALLOWED = "newly_allowed"
    NEWLY_REFUSED = "newly_refused"
    OTHER_TERMS = "other_terms"
    OTHER_REASON = "other_reason"


class Change(msgspec.Struct, frozen=True):
    """One case that is decided otherwise. `terms` names the obligations that differ; None stands for "no rule says anything", which refuses."""

    kind: ChangeKind
    case: Case
    before: Verdict | None
    after: Verdict | None
    terms: tuple[str, ...] = ()


class Difference(msgspec.Struct, frozen=True):
    """All of it, in the order of the cases. `cases` were compared."""

    old: str
    new: str
    cases: int
    changes: tuple[Change, ...]

    @property
    def counts(self) -> Mapping[ChangeKind, int]:
        """How many cases changed, for each kind that occurs, in the order of ChangeKind."""
        counted = Counter(change.kind for change in self.changes)
        return {kind: counted[kind] for kind in ChangeKind if counted[kind]}


class GrantShape(msgspec.Struct, frozen=True):
    """What of a grant decides whether a change concerns it: where, what for, which projections, of which rows. Nothing in it names a customer."""

    platform: str
    channel: str
    purpose: Purpose
    projections: frozenset[Projection]
    provenance: Provenance


def difference(old: Policy, new: Policy) -> Difference:
    """Compare the two decision tables whole. Digests name the two sides."""
    cases = sorted(old.table.keys() | new.table.keys())
    return Difference(old.digest, new.digest, len(cases), tuple(_changes(old.table, new.table, cases)))


Asked: TypeAlias = tuple[str, str, Purpose, Projection, Data]
"""A case without the assurance, which no grant settles: it is another one from question to question."""


def kinds_by_case(changes: Iterable[Change]) -> Mapping[Asked, frozenset[ChangeKind]]:
    """For looking up what a grant meets."""
    found: dict[Asked, frozenset[ChangeKind]] = {}
    for change in changes:
        asked = change.case[:5]
        found[asked] = found.get(asked, frozenset()) | {change.kind}
    return found


def touched(shape: GrantShape, by_case: Mapping[Asked, frozenset[ChangeKind]]) -> frozenset[ChangeKind]:
    """The kinds of change that a question under a grant of this shape can meet. Off-platform rows only concern a grant that lets them out."""
    data = tuple(Data) if shape.provenance is Provenance.ANY else (Data.ACCOUNT, Data.ON_PLATFORM)
    asked = product((shape.platform,), (shape.channel,), (shape.purpose,), shape.projections, data)
    return frozenset[ChangeKind]().union(*(by_case.get(each, frozenset()) for each in asked))


def _changes(old: Mapping[Case, Verdict], new: Mapping[Case, Verdict], cases: Iterable[Case]) -> Iterator[Change]:
    for case in cases:
        before, after = old.get(case), new.get(case)
        change = _change(case, before, after)
        if change is not None:
            yield change


def _change(case: Case, before: Verdict | None, after: Verdict | None) -> Change | None:
    was, will = before is not None and before.allow, after is not None and after.allow
    if was != will:
        return Change(ChangeKind.NEWLY_ALLOWED if will else ChangeKind.NEWLY_REFUSED, case, before, after)
    if was and before is not None and after is not None:
        terms = tuple(name for name in binding(case) if getattr(before, name) != getattr(after, name))
        return Change(ChangeKind.OTHER_TERMS, case, before, after, terms) if terms else None
    return Change(ChangeKind.OTHER_REASON, case, before, after) if _ground(before) != _ground(after) else None


def binding(case: Case) -> tuple[str, ...]:
    """The terms that bind in a case: facts about an account have no rows, a band no exact figure, and what is no band no edges."""
    silent = SAYS | (OF_ROWS if case.data is Data.ACCOUNT else frozenset())
    silent |= frozenset() if case.projection is Projection.BALANCE_BAND else {"bands"}
    silent |= frozenset() if case.projection.tells_figures else {"rounding"}
    return tuple(name for name in Verdict.__struct_fields__ if name not in silent)


def _ground(verdict: Verdict | None) -> tuple[str, str] | None:
    """What a refused customer reads, and on what it rests."""
    return None if verdict is None else (verdict.reason, verdict.basis)
