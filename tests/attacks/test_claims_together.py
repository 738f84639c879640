"""Claims of one turn share a transaction: each still hears its own reason, and nothing is claimed that was refused or given up."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from parley.model.refusals import RecordsUnavailable, ReplayedMessage
from parley.store.claims import ClaimBook
from parley.store.driver import Work
from parley.store.sqlite import connect, run_steps

SEE = "INSERT INTO seen_messages (key, bucket) VALUES (?, 0) ON CONFLICT (key) DO NOTHING RETURNING key"


def seen(key: int) -> Callable[[], Work[int]]:
    def work() -> Work[int]:
        if not (yield SEE, (key,)):
            raise ReplayedMessage
        return key

    return work


def at_a_book(folder: Path, use: Callable[[ClaimBook], Awaitable[None]]) -> list[int]:
    """Use a new book; returns the keys that stand in its file afterwards."""

    async def inside() -> None:
        sqlite3.connect(folder / "records.sqlite").close()
        book = ClaimBook(folder / "records.sqlite", lambda file: connect(file, writes=True), run_steps, lambda error: type(error).__name__)
        try:
            await use(book)
        finally:
            await book.aclose()

    asyncio.run(inside())
    file = sqlite3.connect(folder / "claims.sqlite")
    keys = [row[0] for row in file.execute("SELECT key FROM seen_messages ORDER BY key")]
    file.close()
    return keys


def test_many_claims_at_once_are_many_claims(tmp_path: Path) -> None:
    async def use(book: ClaimBook) -> None:
        assert await asyncio.gather(*[book.ask(seen(key)) for key in range(150)]) == list(range(150))

    assert at_a_book(tmp_path, use) == list(range(150))


def test_a_replay_among_others_is_refused_alone(tmp_path: Path) -> None:
    async def use(book: ClaimBook) -> None:
        told = await asyncio.gather(*[book.ask(seen(key)) for key in (1, 2, 1, 3, 2)], return_exceptions=True)
        assert [each if isinstance(each, int) else type(each) for each in told] == [1, 2, ReplayedMessage, 3, ReplayedMessage]

    assert at_a_book(tmp_path, use) == [1, 2, 3]


def test_whoever_gives_up_in_time_has_claimed_nothing(tmp_path: Path) -> None:
    async def use(book: ClaimBook) -> None:
        given_up, kept = book.ask(seen(1)), book.ask(seen(2))
        given_up.cancel()
        assert await kept == 2

    assert at_a_book(tmp_path, use) == [2]


def test_a_broken_disk_is_told_to_everybody_and_nothing_more_is_claimed(tmp_path: Path) -> None:
    def broken() -> Work[int]:
        yield "INSERT INTO nowhere VALUES (1)", ()
        return 1

    async def use(book: ClaimBook) -> None:
        told = await asyncio.gather(book.ask(seen(1)), book.ask(broken), book.ask(seen(2)), return_exceptions=True)
        assert type(told[1]) is RecordsUnavailable and type(told[2]) is RecordsUnavailable
        with pytest.raises(RecordsUnavailable):
            await book.ask(seen(3))

    assert set(at_a_book(tmp_path, use)) <= {1}


def test_what_waits_as_the_house_closes_is_claimed(tmp_path: Path) -> None:
    async def use(book: ClaimBook) -> None:
        book.ask(seen(1))

    assert at_a_book(tmp_path, use) == [1]
