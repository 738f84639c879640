"""The switch: stops everything, one platform or one purpose, on every process, in less than a second.

Each process reads four times a second which switches are off and which policy is in force, and the road asks this memory three times on
its way: before the bank is asked, before the log is, and before the answer is handed out. Asking costs less than a microsecond. Where
the state could not be read for a second, nothing leaves: a process that cannot see the switch behaves as if it had been pulled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from parley.guard.policies import PolicyInForce
from parley.model.refusals import Fault, GuardUnavailable, PolicyChanged, SwitchedOff
from parley.model.staff import Scope, Standing, SwitchName
from parley.model.words import Purpose

PERIOD_SECONDS = 0.25
UNREAD_SECONDS_MAX = 1.0
"""Seconds after which what was read is too old to let anything leave."""

EVERYTHING = SwitchName(Scope.EVERYTHING).key


class StandingRecords(Protocol):
    async def standing(self) -> Standing:
        """One cheap read. Raises RecordsUnavailable."""


class Guard:
    """One process's memory of what officers decided; implements `parley.release.ports.Guard`. `timer`: seconds that never go back."""

    def __init__(self, records: StandingRecords, policies: PolicyInForce, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._records = records
        self._policies = policies
        self._timer = timer
        self._read_at = float("-inf")
        self._version = 0
        self._all_off = False
        self._off: frozenset[tuple[Scope, str]] = frozenset()

    def check(self, platform: str, purpose: Purpose, policy_digest: str) -> None:
        """Raises SwitchedOff, GuardUnavailable where the state is not known, PolicyChanged where another policy is in force by now."""
        if self._timer() - self._read_at > UNREAD_SECONDS_MAX:
            raise GuardUnavailable("the switches could not be read")
        off = self._off
        if self._all_off or (off and ((Scope.PURPOSE, purpose) in off or (Scope.PLATFORM, platform) in off)):
            raise SwitchedOff()
        policies = self._policies
        if policy_digest != policies.digest or self._version != policies.version:
            raise PolicyChanged("another policy is in force")

    async def look(self) -> None:
        """Read the state once. Counts as read from the moment it was asked for: an answer that was slow is not a fresh one."""
        asked_at = self._timer()
        standing = await self._records.standing()
        self._off = frozenset((name.scope, name.what) for name in map(SwitchName.read, standing.off))
        self._all_off = EVERYTHING in standing.off
        self._version, self._read_at = standing.version, asked_at
        await self._policies.follow(standing)

    async def watch(self, tell: Callable[[str], None]) -> None:
        """Look again and again, for as long as the process lives. `tell` hears the kind of whatever kept it from looking, once for each time."""
        well = True
        while True:
            try:
                await self.look()
                well = True
            except Exception as trouble:
                # Nothing may end this loop: a gateway that no longer looks would answer nobody for good.
                if well:
                    tell(trouble.code if isinstance(trouble, Fault) else type(trouble).__name__)
                well = False
            await asyncio.sleep(PERIOD_SECONDS)
