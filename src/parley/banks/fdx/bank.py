"""The connector: ordered fields of ordered accounts, asked of a bank that speaks FDX 6, into one Statement."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any
from urllib.parse import quote

from parley.banks.fdx.accounts import balance, linked_account
from parley.banks.fdx.amounts import is_missing
from parley.banks.fdx.pager import Pager
from parley.banks.fdx.reads import AccountGone, Desk, NoData, Reads
from parley.banks.fdx.rows import Draft, RowReader
from parley.banks.fdx.settings import FdxSettings
from parley.banks.fdx.wire import (
    AccountHead,
    Rows,
    RowsWithMerchant,
    account_page_decoder,
    balance_decoder,
    customer_decoder,
    decode,
    listed_accounts_decoder,
    rows_decoder,
    rows_with_merchant_decoder,
)
from parley.model.extensions import BankCredential, Order
from parley.model.ledger import Balance, LinkedAccount, Statement
from parley.model.refusals import BankNonsense, BankUncertain
from parley.model.transport import Transport
from parley.model.words import Field

_BALANCES = frozenset({Field.BALANCE_AVAILABLE, Field.BALANCE_BOOKED})
_ACCOUNT_FIELDS = _BALANCES | {Field.ACCOUNT_NAME}
OWNER_CHARS_MAX = 256
ACCOUNTS_PER_READ = 50


class FdxBank:
    """Implements parley.model.extensions.Bank. `clock` gives aware UTC; `sleep` and `chance` (0 to 1) steer the pauses between tries."""

    def __init__(
        self,
        settings: FdxSettings,
        transport: Transport,
        clock: Callable[[], datetime],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._desk = Desk(settings, transport, clock, sleep, chance)

    @property
    def name(self) -> str:
        return self._settings.name

    async def owner(self, credential: BankCredential, interaction_id: str) -> str:
        """The bank's own lasting id of the customer (GET /customers/current)."""
        try:
            response = await Reads(self._desk, credential, interaction_id).get("/customers/current")
        except (AccountGone, NoData):
            raise BankNonsense("no customer behind the credential") from None
        customer = decode(customer_decoder, response.unverified_body).customerId
        owner = "" if customer is None else str(customer)
        if not 0 < len(owner) <= OWNER_CHARS_MAX or not owner.isprintable() or response.status != 200:
            raise BankUncertain("the bank does not say who its customer is")
        return owner

    async def accounts(self, credential: BankCredential, interaction_id: str) -> tuple[LinkedAccount, ...]:
        """The accounts that the customer chose at the bank (GET /accounts, without figures). One that fails at the bank is left out."""
        reads = Reads(self._desk, credential, interaction_id)
        start = f"/accounts?resultType=lightweight&limit={self._settings.accounts_max}"
        pager = Pager(self._settings.base_url, start, self._settings.pages_max)
        found: dict[str, LinkedAccount] = {}
        following: str | None = start
        while following is not None:
            try:
                body = (await reads.get(following)).unverified_body
            except (AccountGone, NoData):
                break
            page = decode(listed_accounts_decoder, body)
            for listed in page.accounts:
                if is_missing(listed.error):
                    account = linked_account(self.name, listed, self._settings.currency_default)
                    found.setdefault(account.native_id, account)
            if len(found) > self._settings.accounts_max:
                raise BankNonsense("more accounts than anybody has")
            following = pager.after(page.page, page.links)
        return tuple(found.values())

    async def fetch(self, credential: BankCredential, order: Order) -> Statement:
        """Read what is ordered, and nothing else; see parley.model.extensions.Bank."""
        if len({account.native_id for account in order.accounts}) != len(order.accounts):
            raise BankUncertain("an account is ordered twice")
        errand = _Errand(self._settings, Reads(self._desk, credential, order.interaction_id), order)
        errands: list[Coroutine[Any, Any, None]] = []
        if order.fields & _BALANCES:
            errands.extend(errand.balance_reads())
        if Field.TRANSACTION_AMOUNT in order.fields and order.rows_max > 0:
            errands.extend(errand.row_reads())
        await _together(errands, self._settings.reads_at_once)
        return errand.statement(self._desk.clock())


class _Errand:
    """One order under way. Its reads put what they find here; nothing else outlives them."""

    def __init__(self, settings: FdxSettings, reads: Reads, order: Order) -> None:
        self._settings = settings
        self._reads = reads
        self._order = order
        self._balances: dict[str, Balance] = {}
        self._drafts: list[tuple[datetime, RowReader, Draft]] = []
        self._rows_read = 0
        self._partial = False
        self._balance_fields = order.fields & _ACCOUNT_FIELDS

    def balance_reads(self) -> Iterable[Coroutine[Any, Any, None]]:
        """One account: its own address, the shorter answer. Several: the list, in one read for every fifty."""
        accounts = self._order.accounts
        if len(accounts) == 1:
            return [self._one_balance(accounts[0])]
        return [self._many_balances(accounts[at : at + ACCOUNTS_PER_READ]) for at in range(0, len(accounts), ACCOUNTS_PER_READ)]

    def row_reads(self) -> Iterable[Coroutine[Any, Any, None]]:
        return [self._rows_of(account) for account in self._order.accounts]

    def statement(self, fetched_at: datetime) -> Statement:
        """In the order of the accounts; rows newest first over all of them."""
        order = self._order
        self._drafts.sort(key=itemgetter(0), reverse=True)
        return Statement(
            balances=tuple(self._balances[account.native_id] for account in order.accounts if account.native_id in self._balances),
            transactions=tuple([reader.transaction(draft) for _, reader, draft in self._drafts[: order.rows_max]]),
            fetched_at=fetched_at,
            interaction_id=order.interaction_id,
            partial=self._partial,
        )

    async def _one_balance(self, account: LinkedAccount) -> None:
        try:
            response = await self._reads.get(f"/accounts/{quote(account.native_id, safe='')}")
        except (AccountGone, NoData):
            self._partial = True
            return
        self._partial = self._partial or response.status == 206
        told = decode(balance_decoder(self._balance_fields), response.unverified_body)
        if told.accountId is None or str(told.accountId) != account.native_id:
            raise BankUncertain("another account than the one that was asked for")
        self._keep(account, told)

    async def _many_balances(self, accounts: Sequence[LinkedAccount]) -> None:
        """Only the ordered accounts are decoded beyond their id; one that is missing makes the answer partial."""
        wanted = {account.native_id: account for account in accounts}
        ids = ",".join(quote(native_id, safe="") for native_id in wanted)
        start = f"/accounts?resultType=details&accountIds={ids}&limit={self._settings.accounts_max}"
        pager = Pager(self._settings.base_url, start, self._settings.pages_max)
        following: str | None = start
        seen: set[str] = set()
        others = False
        while following is not None:
            try:
                response = await self._reads.get(following)
            except (AccountGone, NoData):
                # FDX refuses the whole list for one id that is gone, so each is asked for alone.
                await self._each_balance([account for account in accounts if account.native_id not in seen])
                return
            self._partial = self._partial or response.status == 206
            page = decode(account_page_decoder, response.unverified_body)
            for raw in page.accounts:
                told = decode(balance_decoder(self._balance_fields), raw)
                account = wanted.get(str(told.accountId))
                others = others or account is None
                if account is not None and account.native_id not in seen:
                    seen.add(account.native_id)
                    self._keep(account, told)
            following = pager.after(page.page, page.links)
        if others and not seen:
            raise BankUncertain("other accounts than those that were asked for")
        self._partial = self._partial or pager.stopped_early or len(seen) < len(wanted)

    async def _each_balance(self, accounts: Sequence[LinkedAccount]) -> None:
        for account in accounts:
            await self._one_balance(account)

    def _keep(self, account: LinkedAccount, told: AccountHead) -> None:
        if not is_missing(told.error):
            self._partial = True
            return
        figures = balance(account, told, self._order.fields)
        self._balances[account.native_id] = figures
        # A figure that was ordered and is not there, where this kind of account has one, is a gap and not a zero.
        self._partial = self._partial or (Field.BALANCE_BOOKED in self._order.fields and figures.booked is None)

    async def _rows_of(self, account: LinkedAccount) -> None:
        """The whole window, since no order of the rows is promised; up to `pages_max` pages, else the answer is partial."""
        order, settings = self._order, self._settings
        if not account.currency:
            raise BankUncertain("nobody names a currency")
        merchants = Field.TRANSACTION_MERCHANT in order.fields
        window = f"startTime={order.since.isoformat()}&endTime={order.until.isoformat()}&limit={settings.page_limit}"
        start = f"/accounts/{quote(account.native_id, safe='')}/transactions?{window}"
        pager = Pager(settings.base_url, start, settings.pages_max)
        reader = RowReader(account, order.since, order.until)
        following: str | None = start
        total = 0
        while following is not None:
            try:
                response = await self._reads.get(following)
            except NoData:
                break
            except AccountGone:
                self._partial = True
                break
            body = response.unverified_body
            page: Rows | RowsWithMerchant = decode(rows_with_merchant_decoder, body) if merchants else decode(rows_decoder, body)
            reader.read(page.transactions)
            self._rows_read += len(page.transactions)
            self._partial = self._partial or response.status == 206
            total = max(total, (page.page.totalElements or 0) if page.page is not None else 0)
            following = pager.after(page.page, page.links)
            if self._rows_read > settings.rows_max and following is not None:
                self._partial, following = True, None
        # Rows may have moved between the pages while we read: fewer than the bank counts is not all.
        self._partial = self._partial or pager.stopped_early or len(reader) < total
        self._drafts.extend((draft.moment, reader, draft) for draft in reader.finish())


async def _together(errands: list[Coroutine[Any, Any, None]], at_once: int) -> None:
    """All errands, at most `at_once` at a time. The first failure ends the others, and is the one that is raised."""
    if len(errands) == 1:
        await errands[0]
        return
    gate = asyncio.Semaphore(at_once)

    async def gated(errand: Coroutine[Any, Any, None]) -> None:
        try:
            async with gate:
                await errand
        finally:
            errand.close()

    tasks = [asyncio.ensure_future(gated(errand)) for errand in errands]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
