"""What the bank's people do, in the log: without the name of anybody, and without anything of a customer.

What opens something is recorded before it has an effect. What closes something has its effect first, and the log is told as soon as it
can be: a switch must work while the log is down.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from parley.console.officer.ports import OfficerLog, StaffRecords
from parley.model.refusals import LogUnavailable
from parley.model.staff import Act, StaffMember
from parley.release.entries import staff_entry

UNTRIED_FOR = timedelta(seconds=5)
"""After which another process tells the log of what somebody did."""


class Journal:
    """Writes acts into the log and the records. `kind` is `staff` or `switch`; `facts` are short plain words, never names or values."""

    def __init__(self, records: StaffRecords, log: OfficerLog, clock: Callable[[], datetime]) -> None:
        self._records = records
        self._log = log
        self._clock = clock

    async def first(self, actor: StaffMember, kind: str, **facts: str) -> None:
        """Into the log, then into the records. Raises LogUnavailable, and then whatever was to follow must not."""
        act = self._act(actor, kind, facts)
        index = await self._write(act)
        await self._records.add_act(Act(act.id, act.actor, act.kind, act.facts, act.at, index))

    async def note(self, actor: StaffMember, kind: str, **facts: str) -> None:
        """Into the records, then into the log: now, or when it is back."""
        await self.say(await self.begin(actor, kind, **facts))

    async def begin(self, actor: StaffMember, kind: str, **facts: str) -> Act:
        """Into the records, before what it is about: a process that dies in between leaves an entry without its effect, never the other way round."""
        act = self._act(actor, kind, facts)
        await self._records.add_act(act)
        return act

    async def say(self, act: Act) -> None:
        """Into the log, what stands in the records: now, or when the log is back."""
        with suppress(LogUnavailable):
            await self._records.act_logged(act.id, await self._write(act))

    async def tell(self) -> None:
        """Tell the log of what it has not heard of. Two processes may tell it the same where one was slow: the log is an upper bound."""
        for act in await self._records.lease_acts(self._clock(), UNTRIED_FOR):
            await self._records.act_logged(act.id, await self._write(act))

    def _act(self, actor: StaffMember, kind: str, facts: dict[str, str]) -> Act:
        return Act(secrets.token_hex(8), actor.id, kind, {**facts, "by": actor.id, "role": actor.role.value}, self._clock(), None)

    async def _write(self, act: Act) -> int:
        # The entry's time is now, not then: the log accepts nothing that is older than what it holds.
        inclusion = await self._log.record(staff_entry(act.kind, act.facts, self._clock()), b"", handle=None, version=None)
        return inclusion.index
