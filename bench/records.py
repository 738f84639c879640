"""The records alone: what it costs to open a case and to claim a message, with few customers and with many."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from bench.log_rates import Rate
from parley.model.grants import BankTokens, Budget, Grant, GrantState
from parley.model.ledger import AccountKind, AccountStatus, LinkedAccount
from parley.model.stages import Question
from parley.model.words import Delivery, Projection, Provenance, Purpose
from parley.store import FileKeyRing, Records, open_records

FEW = 1_000
RECENT = 64
WRITES_TOGETHER = 256
CLAIMS_IN_FLIGHT = 16
CHANNEL, PLATFORM = "web", "parley-web"


class RecordsBench:
    """Two sets of records on the same disk, one with few linked customers and one with many."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stores: dict[int, Records] = {}
        self._messages = count()

    async def open(self, many: int) -> None:
        """Make both: every customer linked, with one grant."""
        for customers in (FEW, many):
            place = self._folder / f"records-{customers}"
            place.mkdir(mode=0o700)
            store = await open_records(f"sqlite:///{place / 'records.sqlite'}", FileKeyRing(place / "keys"), _now)
            self._stores[customers] = store
            for first in range(0, customers, WRITES_TOGETHER):
                await asyncio.gather(*(_link(store, number) for number in range(first, min(customers, first + WRITES_TOGETHER))))

    async def measure(self, seconds: float) -> dict[str, Rate]:
        """Each call for so many seconds. Processor time is this process's, the writing thread included."""
        rates = {}
        for customers, store in self._stores.items():
            among = f"{customers:,} customers"
            rates[f"open_case, seen lately, {among}"] = await _timed(seconds, 1, self._opening(store, RECENT))
            rates[f"open_case, anybody, {among}"] = await _timed(seconds, 1, self._opening(store, customers))
            rates[f"claim, {CLAIMS_IN_FLIGHT} in flight, {among}"] = await _timed(seconds, CLAIMS_IN_FLIGHT, self._claiming(store))
        return rates

    async def close(self) -> None:
        """Close both."""
        for store in self._stores.values():
            await store.aclose()

    def _opening(self, store: Records, among: int) -> Callable[[], Awaitable[object]]:
        """Cases of the first so many customers, drawn at random: few stay in the records' memory, many do not fit."""

        async def once() -> object:
            return await store.open_case(_question(secrets.randbelow(among), 0))

        return once

    def _claiming(self, store: Records) -> Callable[[], Awaitable[object]]:
        grants: dict[int, Grant] = {}

        async def once() -> object:
            number = secrets.randbelow(RECENT)
            if number not in grants:
                grants[number] = (await store.open_case(_question(number, 0))).grants[0]
            message = next(self._messages)
            question = _question(number, message)
            await store.claim(question, grants[number], day=question.asked_at.date(), rows=0)
            return None

        return once


async def _timed(seconds: float, in_flight: int, once: Callable[[], Awaitable[object]]) -> Rate:
    async def worker() -> int:
        done = 0
        while time.perf_counter() < deadline:
            await once()
            done += 1
        return done

    spent, started = time.process_time_ns(), time.perf_counter()
    deadline = started + seconds
    done = sum(await asyncio.gather(*(worker() for _ in range(in_flight))))
    return Rate(done / (time.perf_counter() - started), (time.process_time_ns() - spent) / 1000 / done)


async def _link(store: Records, number: int) -> None:
    account = LinkedAccount("", "larkspur", f"account-{number}", AccountKind.CHECKING, "Everyday", "1234", "USD", AccountStatus.OPEN)
    now = _now()
    tokens = BankTokens(f"access-{number}", f"refresh-{number}", now + timedelta(hours=1), None, "fdx")
    customer = await store.save_bank_link("larkspur", f"owner-{number}", tokens, (account,))
    refs = tuple(each.ref for each in await store.bank_accounts(customer))
    await store.join(CHANNEL, f"conversation-{number}", customer, (_grant(customer, refs, now),))


def _grant(customer: str, accounts: tuple[str, ...], now: datetime) -> Grant:
    return Grant(
        id=secrets.token_hex(16),
        handle=secrets.token_bytes(16),
        version=1,
        state=GrantState.ACTIVE,
        customer=customer,
        platform=PLATFORM,
        channel=CHANNEL,
        purpose=Purpose.ANSWER_CUSTOMER,
        projections=frozenset({Projection.BALANCE_AVAILABLE}),
        accounts=accounts,
        delivery=Delivery.INLINE,
        lookback_days=90,
        provenance=Provenance.ANY,
        budget=Budget(1_000_000_000, 1_000_000_000),
        created_at=now,
        expires_at=now + timedelta(days=90),
        text_hash="0" * 64,
        policy_digest="0" * 64,
    )


def _question(number: int, message: int) -> Question:
    return Question(CHANNEL, PLATFORM, f"conversation-{number}", f"message-{message:08d}", "What is my balance?", _now())


def _now() -> datetime:
    return datetime.now(UTC)
