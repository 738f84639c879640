"""The customer's bank credential, fresh enough to use: renewed shortly before it runs out, once at a time per customer."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from parley.model.extensions import BankCredential
from parley.model.grants import BankTokens
from parley.model.refusals import BankUnavailable, LinkLost
from parley.release.ports import CaseFile

RENEW_BEFORE = timedelta(seconds=30)
USABLE_BEFORE = timedelta(seconds=3)
LAST_TRIES_MAX = 1024


class Renewer(Protocol):
    """The part of BankClient that is needed here."""

    async def refresh(self, tokens: BankTokens) -> BankTokens: ...


class TokenRecords(Protocol):
    """The part of LinkRecords that is needed here."""

    async def bank_tokens(self, customer: str) -> tuple[str, BankTokens] | None: ...
    async def update_tokens(self, customer: str, tokens: BankTokens, *, instead_of: BankTokens | None = None) -> BankTokens: ...
    async def mark_link_lost(self, customer: str) -> None: ...


class BankCredentials:
    """Implements parley.release.ports.Credentials. `clients` by the bank's name. Owned by one event loop."""

    def __init__(self, clients: Mapping[str, Renewer], records: TokenRecords, clock: Callable[[], datetime]) -> None:
        self._clients = clients
        self._records = records
        self._clock = clock
        self._renewals: dict[str, asyncio.Task[BankTokens]] = {}
        self._last_tries: OrderedDict[str, str] = OrderedDict()
        """Customer to the access token that we got after the bank had refused the one before it. Where it refuses this one too, that is all."""

    async def credential(self, case: CaseFile) -> BankCredential:
        """See parley.release.ports.Credentials."""
        customer, bank, tokens = case.customer, case.bank, case.tokens
        if customer is None or bank is None or tokens is None:
            raise LinkLost("no bank behind this customer")
        if not self._lasts(tokens, RENEW_BEFORE):
            tokens = await self._renewed(customer, bank, tokens)
        return BankCredential(tokens.access_token, tokens.expires_at)

    async def renewed(self, case: CaseFile, refused: BankCredential) -> BankCredential:
        """See parley.release.ports.Credentials. Who was refused with a token that has been replaced meanwhile gets the newer one."""
        customer, bank, tokens = case.customer, case.bank, case.tokens
        if customer is None or bank is None or tokens is None:
            raise LinkLost("no bank behind this customer")
        fresh = await self._renewed(customer, bank, tokens, refused.access_token)
        if fresh.access_token == refused.access_token:  # Others were renewing for the time alone, and found that it had not come.
            fresh = await self._renewed(customer, bank, tokens, refused.access_token)
        if fresh.access_token == refused.access_token:
            raise LinkLost("the bank renews nothing")
        self._last_tries[customer] = fresh.access_token
        if len(self._last_tries) > LAST_TRIES_MAX:
            self._last_tries.popitem(last=False)
        return BankCredential(fresh.access_token, fresh.expires_at)

    async def forget(self, case: CaseFile) -> None:
        """See parley.release.ports.Credentials. Tokens that were replaced meanwhile, and not by us, belong to a new link, which is not lost."""
        if case.customer is None or case.tokens is None:
            return
        ours = self._last_tries.pop(case.customer, None)
        held = await self._records.bank_tokens(case.customer)
        if held is not None and (held[1].refresh_token == case.tokens.refresh_token or held[1].access_token == ours):
            await self._records.mark_link_lost(case.customer)

    def _lasts(self, tokens: BankTokens, span: timedelta) -> bool:
        return tokens.expires_at - self._clock() > span

    async def _renewed(self, customer: str, bank: str, tokens: BankTokens, refused: str | None = None) -> BankTokens:
        """One renewal for everybody who waits: a rotating refresh token used twice would look stolen to the bank and end the link."""
        renewal = self._renewals.get(customer)
        if renewal is None:
            renewal = asyncio.ensure_future(self._renew(customer, bank, refused))
            self._renewals[customer] = renewal
            renewal.add_done_callback(lambda task: self._over(customer, task))
        try:
            # Shielded: one questioner who hangs up must not take the new tokens away from the others, nor lose a rotated refresh token.
            return await asyncio.shield(renewal)
        except BankUnavailable:
            if refused is None and self._lasts(tokens, USABLE_BEFORE):
                return tokens
            raise

    def _over(self, customer: str, renewal: asyncio.Task[BankTokens]) -> None:
        del self._renewals[customer]
        if not renewal.cancelled():
            renewal.exception()  # looked at, so that nobody is told of an exception that its waiters have handled

    async def _renew(self, customer: str, bank: str, refused: str | None) -> BankTokens:
        """Looks at the records first: another question or another gateway may have renewed since the case was read. `refused`: an access token
        that the bank did not take, however long it was to last."""
        held = await self._records.bank_tokens(customer)
        if held is None or held[0] != bank:
            raise LinkLost("the link has ended")
        tokens = held[1]
        if self._lasts(tokens, RENEW_BEFORE) and tokens.access_token != refused:
            return tokens
        if tokens.refresh_token is None:
            return self._last_days_of(tokens, refused)
        client = self._clients.get(bank)
        if client is None:
            raise BankUnavailable("no client for this bank")
        try:
            fresh = await client.refresh(tokens)
        except LinkLost:
            again = await self._records.bank_tokens(customer)
            if again is not None and again[1] != tokens and self._lasts(again[1], USABLE_BEFORE):
                return again[1]  # another gateway was quicker, and the bank rotates
            raise
        return await self._records.update_tokens(customer, fresh, instead_of=tokens)

    def _last_days_of(self, tokens: BankTokens, refused: str | None) -> BankTokens:
        if self._lasts(tokens, USABLE_BEFORE) and tokens.access_token != refused:
            return tokens
        raise LinkLost("a link for one time only has ended")
