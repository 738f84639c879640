"""Gives tokens back to banks (RFC 7009): those of links that ended, were replaced, or never led to a grant.

What is owed waits in the records, sealed, and outlives restarts and the bank's own outages. Nobody who ends a grant waits for this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from parley.model.grants import BankReturn, BankTokens
from parley.model.refusals import Fault, Refusal

UNDECIDED_FOR = timedelta(minutes=30)
"""A consent page lives for fifteen minutes and may be shown again; after twice that nobody is deciding any more."""

FIRST_PAUSE = timedelta(seconds=5)
PAUSE_MAX = timedelta(hours=1)
OWED_FOR_MAX = timedelta(days=30)
"""A bank that has not taken tokens back for so long never will; its own consent has a shorter life than that or was asked about anew."""


class ReturnRecords(Protocol):
    """The records as giving back needs them; see parley.store.endings."""

    async def bank_returns_due(self, now: datetime) -> tuple[BankReturn, ...]: ...
    async def claim_bank_return(self, number: int, now: datetime, again_at: datetime) -> bool: ...
    async def bank_return_done(self, number: int) -> None: ...
    async def let_go_of_undecided(self, before: datetime, now: datetime) -> int: ...


class TokenEnder(Protocol):
    """The part of BankClient that is needed here."""

    async def revoke(self, tokens: BankTokens) -> None: ...


class BankReturns:
    """`clients` by the bank's name."""

    def __init__(self, records: ReturnRecords, clients: Mapping[str, TokenEnder], clock: Callable[[], datetime]) -> None:
        self._records = records
        self._clients = clients
        self._clock = clock

    async def give_back(self) -> int:
        """Let go of links that nobody decided about, and ask banks to end what is due. Returns how many tokens they took back."""
        now = self._clock()
        await self._records.let_go_of_undecided(now - UNDECIDED_FOR, now)
        taken = 0
        for each in await self._records.bank_returns_due(now):
            taken += await self._try(each)
        return taken

    async def _try(self, owed: BankReturn) -> bool:
        """One attempt. Claimed first, so that two processes do not both ask, and due again later unless it comes to an end here."""
        now = self._clock()
        if not await self._records.claim_bank_return(owed.number, now, now + pause_after(owed.tries)):
            return False
        client = self._clients.get(owed.bank)
        if client is not None:
            try:
                await client.revoke(owed.tokens)
            except (Fault, Refusal):
                client = None
        if client is not None or now - owed.since > OWED_FOR_MAX:
            await self._records.bank_return_done(owed.number)
        return client is not None


def pause_after(tries: int) -> timedelta:
    """Twice as long after each failure, up to an hour."""
    doubled = FIRST_PAUSE * (1 << min(tries, 12))
    return min(PAUSE_MAX, doubled)
