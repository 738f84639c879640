"""Counts what the log's public halves say left and was refused, as far as this process has read them. Counts only: there is nothing else there.

The log is read from its notary a page at a time, once, and never kept. What is counted here is what the log says; whether the log is whole
is for `parley log audit` to say.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import NamedTuple

import msgspec

from parley.console.officer.ports import OfficerLog

PAGE = 100
STEP_MAX = 5_000
"""Entries read for one look at a page; a longer log is caught up with in the background."""
CELLS_MAX = 200_000
DAY_SECONDS = 86_400


class Left(NamedTuple):
    """Releases that are counted together. `day` counts days since 1970 UTC; `purpose` as the log spells it."""

    day: int
    platform: str
    purpose: str
    projection: str


class Refused(NamedTuple):
    """Refusals that are counted together. `rule` is the digest that the log holds of the deciding rule's id, empty where no rule decided."""

    day: int
    platform: str
    basis: str
    code: str
    rule: str


class _Entry(msgspec.Struct, frozen=True):
    """What is read of an entry; kinds that lack a field leave it empty."""

    k: str
    b: int = 0
    p: str = ""
    u: str = ""
    d: str = ""
    basis: str = ""
    code: str = ""
    rule: str = ""


class Tallies:
    """One process's counts. `read`: entries counted so far; `whole`: there was nothing left to read at the last look."""

    def __init__(self, log: OfficerLog) -> None:
        self._log = log
        self._decode = msgspec.json.Decoder(_Entry).decode
        self._turn = asyncio.Lock()
        self.left: Counter[Left] = Counter()
        self.refused: Counter[Refused] = Counter()
        self.kinds: Counter[str] = Counter()
        self.read = 0
        self.whole = False

    @property
    def begun(self) -> bool:
        """Somebody has looked since this process started; before that nothing is read."""
        return self.read > 0

    async def follow(self, entries_max: int = STEP_MAX) -> None:
        """Read on, at most so many entries. Raises LogUnavailable; what was counted stays."""
        async with self._turn:
            goal = self.read + entries_max
            self.whole = False
            while self.read < goal:
                page = await self._log.entries(self.read, PAGE)
                self._count(page)
                if len(page) < PAGE:
                    self.whole = True
                    return

    def _count(self, page: Iterable[bytes]) -> None:
        for entry in page:
            self.read += 1
            try:
                self._add(self._decode(entry))
            except (msgspec.MsgspecError, ValueError, RecursionError):
                self.kinds["unreadable"] += 1

    def _add(self, entry: _Entry) -> None:
        self.kinds[entry.k] += 1
        day = entry.b // DAY_SECONDS
        if len(self.left) + len(self.refused) >= CELLS_MAX:
            return  # No honest log has so many kinds. The total above still counts.
        if entry.k == "release":
            self.left[Left(day, entry.p, entry.u, entry.d)] += 1
        elif entry.k == "refusal":
            self.refused[Refused(day, entry.p, entry.basis, entry.code, entry.rule)] += 1


def by(counted: Counter[Left] | Counter[Refused], name: str) -> dict[str, int]:
    """Totals under one field, the largest first."""
    total: Counter[str] = Counter()
    for cell, count in counted.items():
        total[str(getattr(cell, name)) or "none"] += count
    return dict(total.most_common())


def day_of(number: int) -> date:
    return datetime.fromtimestamp(number * DAY_SECONDS, UTC).date()
