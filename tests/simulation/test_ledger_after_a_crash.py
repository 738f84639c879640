"""A process that dies takes half a second of customers' ledgers with it. The log has those releases, and her own key finds them there."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from parley.app.customers_page import open_ledger
from parley.app.ledger_gaps import SILENT, LedgerWatch
from parley.log.client import Proved
from parley.log.errors import LogUnavailable
from parley.model.customers import Disclosed
from parley.model.refusals import LogUnavailable as HouseLogUnavailable
from parley.model.words import Projection, Purpose
from parley.proof import Inclusion, canonical, commitment_text
from parley.release.entries import NONCE_BYTES, PRIVATE_CONTEXT
from parley.store import Records
from parley.store.disclosures import Note
from tests.fixtures_postgres import RecordsBench
from tests.house import RunningHouse, run, until


class Log:
    """What the notary holds, and that it can be out of reach."""

    def __init__(self) -> None:
        self.entries: list[tuple[bytes, bytes]] = []
        self.down = False

    async def head(self) -> bytes:
        if self.down:
            raise LogUnavailable("down")
        return f"log.example/demo\n{len(self.entries)}\nAAAA\n\n— signed\n".encode()

    async def prove(self, index: int) -> Proved:
        if self.down:
            raise LogUnavailable("down")
        return Proved(*self.entries[index], Inclusion(index, b"", ()))

    def released(self, vault: Any, now: Any, *, records: int = 0) -> bytes:
        """A release as the road records it; its salt."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        private = canonical({"grant": "grant-1", "grant_version": 2, "t_ms": int(now.timestamp() * 1000)})
        salt: bytes = vault.salt(nonce)
        facts: dict[str, Any] = {
            "b": 0, "c": commitment_text(salt, private), "ch": "web", "d": "balance.available", "k": "release", "n": records, "p": "chat.example",
            "pol": "x", "u": Purpose.ANSWER_CUSTOMER.dpv, "v": 1,
        }  # fmt: skip
        self.entries.append((canonical(facts), nonce + vault.seal(PRIVATE_CONTEXT, private)))
        return salt

    def other(self) -> None:
        self.entries.append((canonical({"b": 0, "k": "heartbeat", "v": 1}), b""))


Story = Callable[[Records, RecordsBench, Log], Awaitable[None]]


@pytest.fixture
def tell(bench_of_records: RecordsBench) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def whole(records: Records) -> None:
            await story(records, bench_of_records, Log())

        bench_of_records.run(whole)

    return run


def watch(records: Records, bench: RecordsBench, log: Any, *, alone: bool = True) -> LedgerWatch:
    return LedgerWatch(records, log, open_ledger(records), lambda: bench.now, alone=alone)


async def people(records: Records, bench: RecordsBench) -> tuple[tuple[str, Any], tuple[str, Any]]:
    ada, _ = await bench.linked(records)
    ben, _ = await bench.linked(records, "owner-2", "conversation-two")
    return (ada, await records.vault_of(ada)), (ben, await records.vault_of(ben))


def test_what_a_killed_process_had_not_written_is_found_in_the_log_and_only_what_is_hers(tell):
    async def story(records: Records, bench: RecordsBench, log: Log) -> None:
        (ada, hers), (ben, his) = await people(records, bench)
        dying = watch(records, bench, log)
        await dying.begin()
        written = log.released(hers, bench.now)
        told = Disclosed("grant-1", 2, "chat.example", "web", Projection.BALANCE_AVAILABLE, Purpose.ANSWER_CUSTOMER, 1, 0, bench.now)
        await records.note_disclosures([Note(ada, hers, written, told)])
        log.released(his, bench.now)
        log.other()
        log.released(hers, bench.now, records=1)
        bench.now += timedelta(seconds=1)
        restarted = watch(records, bench, log)
        await restarted.begin()
        assert await restarted.fill(ada) == 2
        lines = await records.disclosures_of(ada)
        assert [(line.disclosed.log_index, line.disclosed.records) for line in lines] == [(3, 2), (0, 1)], "each once, the class's least"
        assert await restarted.fill(ada) == 0, "looked once"
        assert await restarted.fill(ben) == 1
        assert [line.disclosed.log_index for line in await records.disclosures_of(ben)] == [1]

    tell(story)


def test_a_process_that_ends_in_order_leaves_no_gap(tell):
    async def story(records: Records, bench: RecordsBench, log: Log) -> None:
        (ada, hers), _ = await people(records, bench)
        first = watch(records, bench, log)
        await first.begin()
        log.released(hers, bench.now)
        await first.leave()
        bench.now += timedelta(seconds=1)
        await watch(records, bench, log).begin()
        assert await records.gaps_of(ada) == ()

    tell(story)


def test_among_several_processes_only_one_that_fell_silent_leaves_a_gap_and_a_short_one(tell):
    async def story(records: Records, bench: RecordsBench, log: Log) -> None:
        (ada, hers), _ = await people(records, bench)
        alive, dying = watch(records, bench, log, alone=False), watch(records, bench, log, alone=False)
        await alive.begin()
        await dying.begin()
        for _ in range(3):
            log.released(hers, bench.now)
        for _ in range(2):
            bench.now += timedelta(seconds=10)
            await dying.say()
            await alive.say()
        assert await records.gaps_of(ada) == ()
        log.released(hers, bench.now)
        bench.now += SILENT + timedelta(seconds=1)
        await alive.say()
        assert await records.gaps_of(ada) == ((3, 4),), "what it had stored is not looked through again"
        assert await alive.fill(ada) == 1

    tell(story)


def test_while_the_log_is_down_nothing_is_taken_for_looked_at(tell):
    async def story(records: Records, bench: RecordsBench, log: Log) -> None:
        (ada, hers), _ = await people(records, bench)
        await watch(records, bench, log).begin()
        log.released(hers, bench.now)
        bench.now += timedelta(seconds=1)
        restarted = watch(records, bench, log)
        await restarted.begin()
        log.down = True
        with pytest.raises(HouseLogUnavailable):
            await restarted.fill(ada)
        log.down = False
        assert await restarted.fill(ada) == 1

    tell(story)


def test_nothing_is_written_for_somebody_who_was_erased(tell):
    async def story(records: Records, bench: RecordsBench, log: Log) -> None:
        (ada, hers), _ = await people(records, bench)
        await watch(records, bench, log).begin()
        log.released(hers, bench.now)
        bench.now += timedelta(seconds=1)
        restarted = watch(records, bench, log)
        await restarted.begin()
        await records.erase(ada, bench.now)
        assert await restarted.fill(ada) == 0

    tell(story)


def test_her_page_lists_an_answer_whose_gateway_was_killed_as_it_was_given(tmp_path: Path) -> None:
    house = RunningHouse(tmp_path).start()
    try:

        async def story() -> None:
            async with house.visitor() as visitor:
                await visitor.link_as(house.customer("ada"))
                reply = await visitor.question("what's my balance?")
                gateway = house.gateways[0].process
                assert gateway is not None
                gateway.kill()
                index = reply["why"]["log_index"]
                until(lambda: house.gateways[0].process is not gateway)
                for _ in range(200):
                    try:
                        seen = await visitor.call("GET", "/me/releases")
                    except aiohttp.ClientError:
                        continue
                    if seen.status == 200:
                        break
                assert f'data-index="{index}"' in seen.text

        run(story())
    finally:
        house.stop()
