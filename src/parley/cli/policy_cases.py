"""Many cases as few lines: those that differ in one word only are told together, and a list that names everything there is becomes `any`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeAlias

from parley.model.words import Assurance, Projection, Purpose
from parley.policy import Case, Data, Policy
from parley.policy.domain import ASSURANCE, CHANNEL, DATA, PLATFORM, PROJECTION, PURPOSE, WHATS

ANY = "any"
HEADS = ("Who asks, over which channel, what for", "What")
FOLDED = (ASSURANCE, DATA, PURPOSE, CHANNEL, PROJECTION, PLATFORM)
"""In this order: what is told together most often first."""
DATA_WORDS = {
    Data.ACCOUNT: "facts about the account",
    Data.ON_PLATFORM: "transactions made through the platform",
    Data.OFF_PLATFORM: "transactions made elsewhere",
}
DATA_OF = {projection: frozenset(data for what, data in WHATS if what is projection) for projection in Projection}

Words: TypeAlias = tuple[str, ...]
Line: TypeAlias = tuple[Words, ...]
"""For each place of a case, the words that may stand there."""


def folded(cases: Iterable[Case], policies: Sequence[Policy]) -> Iterator[tuple[str, str]]:
    """The cases as lines of two cells, under HEADS. `policies` say which platforms and channels there are."""
    every = everything(policies)
    for line in together(cases):
        yield cells(tuple(ANY if place != DATA and every[place] <= set(words) else ", ".join(words) for place, words in enumerate(line)))


def together(cases: Iterable[Case]) -> list[Line]:
    """The same cases in few lines. The data of a line is in words, or ANY for all that its projections are ever made from."""
    lines: Collection[Line] = [tuple((word,) for word in case) for case in cases]
    for place in FOLDED:
        lines = joined(lines, place)
        if place == DATA:
            lines = [(*line[:DATA], data_cell(line), *line[DATA + 1 :]) for line in lines]
    return sorted(lines)


def cells(words: Sequence[str]) -> tuple[str, str]:
    platform, channel, purpose, projection, data, assurance = words
    who = f"{'any platform' if platform == ANY else platform} over {'any channel' if channel == ANY else channel}, for {purpose}"
    what = "anything" if projection == ANY else projection
    of = "" if data == ANY else f" of {data}"
    return who.removesuffix(f", for {ANY}"), what + of + ("" if assurance == ANY else f", to a customer who is {assurance}")


def joined(lines: Collection[Line], place: int) -> Collection[Line]:
    """Lines that are equal but for one place become one."""
    found: dict[Line, set[str]] = {}
    for line in lines:
        found.setdefault(line[:place] + line[place + 1 :], set()).update(line[place])
    return [(*rest[:place], in_order(words), *rest[place:]) for rest, words in found.items()]


def data_cell(line: Line) -> Words:
    """All the data that the projection is ever made from is `any`, so that projections of rows and of accounts can stand in one line."""
    if frozenset(line[DATA]) >= DATA_OF[Projection(line[PROJECTION][0])]:
        return (ANY,)
    return tuple(DATA_WORDS[Data(word)] for word in line[DATA])


def in_order(words: Collection[str]) -> Words:
    """As our own lists have them, others by name."""
    return tuple(sorted(words, key=lambda word: (OURS.get(word, -1), word)))


OURS = {word: place for place, word in enumerate([*Purpose, *Projection, *Data, *Assurance])}


def everything(policies: Sequence[Policy]) -> tuple[frozenset[str], ...]:
    platforms = frozenset[str]().union(*(policy.platforms for policy in policies))
    channels = frozenset[str]().union(*(policy.channels for policy in policies))
    return platforms, channels, frozenset(Purpose), frozenset(Projection), frozenset(), frozenset(Assurance)
