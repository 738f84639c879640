"""The desks of the console, put together, and what goes on behind them while nobody looks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from parley.console.officer.decisions import Announce, PolicyDesk, SwitchDesk
from parley.console.officer.journal import Journal
from parley.console.officer.ports import Looker, OfficerLog, OfficerRecords, Policies
from parley.console.officer.signing_in import SigningIn
from parley.console.officer.tallies import Tallies
from parley.console.passkeys import PasskeySite
from parley.model.refusals import Fault, Refusal

PERIOD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Desks:
    """Everything that the doors of the console lead to."""

    records: OfficerRecords
    policies: Policies
    journal: Journal
    signing: SigningIn
    policy: PolicyDesk
    switches: SwitchDesk
    tallies: Tallies

    async def keep_up(self) -> None:
        """Tell the log what it has not heard of, load what waits for approval, count on where somebody looked. Outlives outages of either."""
        while True:
            with suppress(Fault, Refusal):
                await self.policy.warm()
                await self.journal.tell()
                if self.tallies.begun and not self.tallies.whole:
                    await self.tallies.follow()
            await asyncio.sleep(PERIOD_SECONDS)


def open_desks(
    records: OfficerRecords,
    log: OfficerLog,
    policies: Policies,
    looker: Looker,
    *,
    site: PasskeySite,
    announce: Announce,
    clock: Callable[[], datetime],
) -> Desks:
    """`site`: where passkeys of staff belong; `announce` puts a policy into the log before it takes effect."""
    journal = Journal(records, log, clock)
    return Desks(
        records=records,
        policies=policies,
        journal=journal,
        signing=SigningIn(records, journal, site, clock),
        policy=PolicyDesk(records, policies, journal, looker, announce, clock),
        switches=SwitchDesk(records, policies, journal, looker, clock),
        tallies=Tallies(log),
    )
