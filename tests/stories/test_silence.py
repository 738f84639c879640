"""After a customer's "stop" there is silence, on every gateway, and the log shows which came first."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest

from tests.house import RunningHouse, Visitor, until

ASKING = 6
WAYS = ("a word in the chat", "the button")


async def _ask_until(visitor: Visitor, begun: asyncio.Event, silence: asyncio.Event, replies: list[tuple[float, float, dict[str, Any]]]) -> None:
    """Ask again and again; (asked, answered, reply) each time, and three more times once the stop was confirmed."""
    more = 3
    while more:
        more -= silence.is_set()
        asked = time.monotonic()
        reply = await visitor.question("can I afford 5?")
        replies.append((asked, time.monotonic(), reply))
        if sum(reply["outcome"] == "answered" for *_, reply in replies) >= ASKING:
            begun.set()


def owed_to_the_bank(house: RunningHouse) -> int:
    """Tokens that wait for the bank to take them back. SQLite alone: there the file can be looked at from outside."""
    with closing(sqlite3.connect(f"file:{house.data}/records.sqlite?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM bank_revocations_due").fetchone()[0])


@pytest.mark.parametrize("way", WAYS)
def test_after_stop_nothing_is_recorded_or_answered_on_any_gateway(house: RunningHouse, way: str) -> None:
    replies: list[tuple[float, float, dict[str, Any]]] = []
    times: dict[str, float] = {}
    customer = house.customer("hugo" if way == "the button" else "mei")
    first = len(house.entries())

    async def story() -> None:
        async with house.visitor() as visitor:
            await visitor.link_as(customer)
            begun, silence = asyncio.Event(), asyncio.Event()

            async def stop() -> None:
                await begun.wait()
                times["asked"] = time.monotonic()
                reply = await (visitor.stop() if way == "the button" else visitor.question("stop"))
                times["confirmed"] = time.monotonic()
                assert reply["outcome"] == "answered", reply
                silence.set()

            await asyncio.gather(stop(), *(_ask_until(visitor, begun, silence, replies) for _ in range(ASKING)))

    asyncio.run(story())
    if house.records == "sqlite":
        until(lambda: owed_to_the_bank(house) == 0)
    late = [reply["code"] for asked, _, reply in replies if asked >= times["confirmed"]]
    assert len(late) >= ASKING
    assert set(late) == {"grant_revoked"}
    revoked_at = max(entry.index for entry in house.entries(first) if entry.facts["k"] == "revoke")
    answered = [reply["why"]["log_index"] for *_, reply in replies if reply["outcome"] == "answered"]
    assert len(answered) >= ASKING
    assert all(index < revoked_at for index in answered)
    last = max(heard for _, heard, reply in replies if reply["outcome"] == "answered")
    print(f"\nconfirmed {times['confirmed'] - times['asked']:.3f} s after it was asked for, last answer heard {last - times['asked']:+.3f} s")
