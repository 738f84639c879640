"""One rule as the engine sees it: whom it concerns, its conditions, its words, and what it obliges to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from parley.model.refusals import Basis
from parley.model.words import Delivery

ROWS_HARD_MAX = 100
"""Baseline: no single answer tells of more rows than this, whatever a bank's policy says."""
LOOKBACK_DAYS_HARD_MAX = 3_650
LOOKBACK_DAYS_DEFAULT = 730
ROUNDING_MAX = 1_000_000
BANDS_MAX = 20
BAND_EDGE_MAX = 1_000_000_000
DELAY_DAYS_MAX = 90
REASON_CHARACTERS_MAX = 200


class Effect(StrEnum):
    """In Cedar's words. A forbid outweighs every permit."""

    PERMIT = "permit"
    FORBID = "forbid"


class Obligations(msgspec.Struct, frozen=True):
    """What must be held back where a rule permits. Of several permits that match, the strictest of each kind holds.

    `rounding`: figures are told in steps of so many major units (10: tens of dollars), 0 for exact. `bands`: the edges, in major units,
    between which `balance.band` is told. `delay_days`: transactions of the last so many days stay back.
    """

    delivery: Delivery = Delivery.INLINE
    rows_max: int = ROWS_HARD_MAX
    lookback_days_max: int = LOOKBACK_DAYS_DEFAULT
    rounding: int = 0
    bands: tuple[int, ...] = ()
    delay_days: int = 0


Words: TypeAlias = Sequence[str]
"""The six words of a case, in its order."""


class Clause(msgspec.Struct, frozen=True):
    """One condition: the places of a case that it reads, what it says of six words, and whether it names what it lets pass.

    `listed`: for the plainest condition, one place against a list of names, that list. `mentions`: every name in it with its place; words
    that it does not mention are all the same to it.
    """

    reads: frozenset[int]
    holds: Callable[[Words], bool]
    names: bool
    mentions: frozenset[tuple[int, str]]
    listed: frozenset[str] | None = None


class Rule(msgspec.Struct, frozen=True):
    """A rule, compiled. `only` gives, for a place of the case, the words that may stand there; `rest` are conditions on several places at once.

    `named`: places whose words the rule lists by name, so that a word that is new one day is not among them.
    """

    id: str
    effect: Effect
    reason: str
    basis: Basis
    obligations: Obligations
    line: int
    only: Mapping[int, frozenset[str]]
    rest: tuple[Clause, ...]
    named: frozenset[int]

    def matches(self, words: Words) -> bool:
        return all(words[place] in allowed for place, allowed in self.only.items()) and all(clause.holds(words) for clause in self.rest)


class Annotation(msgspec.Struct, frozen=True):
    """One annotation that a rule may carry: what may stand in it, in words and as a reading that raises ValueError."""

    says: str
    read: Callable[[str], object]


def number(low: int, high: int) -> Annotation:
    def read(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else -1
        if not low <= value <= high:
            raise ValueError
        return value

    return Annotation(f"a whole number between {low} and {high}", read)


def edges(text: str) -> tuple[int, ...]:
    """`0,100,1000`: whole major units, rising, 1 to 20 of them."""
    values = tuple(int(each) for each in text.split(",") if each.isascii() and each.isdigit() and len(each) <= 10)
    rising = all(low < high for low, high in pairwise(values))
    if len(values) != len(text.split(",")) or not rising or len(values) > BANDS_MAX or values[-1] > BAND_EDGE_MAX:
        raise ValueError
    return values


OBLIGATIONS: Mapping[str, Annotation] = MappingProxyType(
    {
        "delivery": Annotation("one of sealed, masked, inline", Delivery),
        "rows_max": number(1, ROWS_HARD_MAX),
        "lookback_days_max": number(0, LOOKBACK_DAYS_HARD_MAX),
        "rounding": number(1, ROUNDING_MAX),
        "bands": Annotation(f'up to {BANDS_MAX} rising whole numbers, such as "0,100,1000"', edges),
        "delay_days": number(1, DELAY_DAYS_MAX),
    }
)
"""Annotations that oblige. Only a permit may carry them: a forbid lets nothing pass that could be held back."""
