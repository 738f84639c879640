"""What goes on beside the questions: ends that are still to be told, tokens that banks must take back, old rows that go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import datetime

from parley.app.frame import Frame
from parley.app.linking import LinkingRooms
from parley.authorization.bank_returns import BankReturns
from parley.model.refusals import Fault, Refusal
from parley.store import Records

ENDINGS_PERIOD_SECONDS = 2.0
RETURNS_PERIOD_SECONDS = 2.0
PRUNE_PERIOD_SECONDS = 60.0


def keep_up(stack: AsyncExitStack, frame: Frame, linking: LinkingRooms) -> None:
    """Start all of it; it ends with the stack. Each goes at its own pace: a bank that does not answer holds up nobody's revocation."""
    returns = BankReturns(frame.records, linking.bank_clients, frame.clock)
    for job, seconds in (
        (linking.grants.keep_up, ENDINGS_PERIOD_SECONDS),
        (returns.give_back, RETURNS_PERIOD_SECONDS),
        (lambda: prune(frame.records, frame.clock), PRUNE_PERIOD_SECONDS),
    ):
        stack.push_async_callback(ended, asyncio.create_task(again_and_again(job, seconds)))


async def again_and_again(job: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Outlives outages of whatever the job needs."""
    while True:
        with suppress(Fault, Refusal):
            await job()
        await asyncio.sleep(seconds)


async def prune(records: Records, clock: Callable[[], datetime]) -> None:
    await records.prune()
    await records.prune_tokens()
    await records.prune_sign_ins(clock())


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
