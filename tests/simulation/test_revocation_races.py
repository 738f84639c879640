"""Whatever ends a grant wins every race with releases that are under way, on any number of gateways: seeded schedules against a real notary.

Two gateways share the records. Each walks the steps of the road that touch consent, with pauses of chance between them, while one of them
ends the grant in one of the ways that there are. Then the log is asked: nothing of this grant stands behind the entry that ended it.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from parley.app.log_port import HouseLog
from parley.authorization.grants import GrantDesk
from parley.consent import check_consent
from parley.log.client import NotaryClient
from parley.model.grants import Grant, GrantState
from parley.model.refusals import Fault, GrantExpired, GrantPaused, GrantRevoked, NotConsented, NotLinked, Refusal
from parley.model.stages import Request, Slots
from parley.model.words import Projection
from parley.proof import canonical
from parley.release.entries import bucket
from parley.store import Records
from tests.fixtures_postgres import RecordsBench
from tests.notary_process import NotaryProcess

SEED = int(os.environ.get("PARLEY_SIMULATION_SEED", "1"))
RELEASES = 24
ENDED = (GrantRevoked, GrantPaused, GrantExpired, NotConsented, NotLinked)


class Gateway:
    """One process's share: records, a line to the notary, and the desk that ends grants."""

    def __init__(self, bench: RecordsBench, records: Records, socket: Path) -> None:
        self._bench = bench
        self.records = records
        self.notary = NotaryClient(socket)
        self.log = HouseLog(self.notary)
        self.desk = GrantDesk(
            records=records,
            log=self.log,
            platform="chat.example",
            policy_digest=lambda: "digest",
            clock=lambda: bench.now,
            random_bytes=secrets.token_bytes,
        )

    async def release(self, message: str, pause: Callable[[], Awaitable[None]]) -> int:
        """The road's steps from the case to the record; returns the entry's index."""
        question = self._bench.question(message)
        case = await self.records.open_case(question)
        if case.customer is None:
            raise NotLinked()
        permission = check_consent(request_of(self._bench, case.customer), case.grants, self._bench.now)
        await pause()
        await self.records.claim(question, permission.grant, day=self._bench.today, rows=0)
        await pause()
        return await self.record(permission.grant)

    async def record(self, grant: Grant) -> int:
        entry = canonical({"b": bucket(self._bench.now), "c": "A" * 43 + "=", "k": "release", "u": "dpv:RequestedServiceProvision", "v": 1})
        return (await self.log.record(entry, b"", handle=grant.handle, version=grant.version)).index

    async def give(self, customer: str) -> Grant:
        """A grant as the desk makes one: opened at the notary first."""
        grant = msgspec.structs.replace(self._bench.grant(customer, answers=10_000), expires_at=self._bench.now + timedelta(minutes=5))
        entry = canonical({"b": bucket(self._bench.now), "c": "A" * 43 + "=", "k": "grant", "v": 1})
        await self.log.open_grant(entry, b"", handle=grant.handle, version=1)
        await self.records.join("web", "conversation-one", customer, (grant,))
        return grant


def request_of(bench: RecordsBench, customer: str) -> Request:
    grant = bench.grant(customer)
    return Request(
        customer=customer, platform=grant.platform, channel=grant.channel, offering="balance", purpose=grant.purpose,
        projection=Projection.BALANCE_AVAILABLE, accounts=(), lookback_days=0, rows=0, slots=Slots(), asked_at=bench.now,
    )  # fmt: skip


async def _expire(bench: RecordsBench, gateway: Gateway, grant: Grant) -> None:
    bench.now = grant.expires_at
    await gateway.desk.keep_up()


WAYS: dict[str, tuple[GrantState, Callable[[RecordsBench, Gateway, Grant], Awaitable[object]]]] = {
    "a word in the chat": (GrantState.REVOKED, lambda bench, gateway, grant: gateway.desk.stop(grant.customer, "web")),
    "the button": (GrantState.REVOKED, lambda bench, gateway, grant: gateway.desk.stop_platform(grant.customer, None)),
    "a client's request": (GrantState.REVOKED, lambda bench, gateway, grant: gateway.desk.end_grants(grant.customer, (grant.id,))),
    "the bank's event": (GrantState.REVOKED, lambda bench, gateway, grant: gateway.desk.ended_at_bank("oakbank", "bank-consent-first")),
    "a pause": (GrantState.PAUSED, lambda bench, gateway, grant: gateway.desk.pause(grant.customer, "chat.example")),
    "the end of its time": (GrantState.EXPIRED, _expire),
    "an erasure": (GrantState.REVOKED, lambda bench, gateway, grant: gateway.desk.erase(grant.customer)),
}


@pytest.fixture(scope="module")
def notary() -> Iterator[NotaryProcess]:
    with tempfile.TemporaryDirectory(prefix="parley-races-") as folder:
        process = NotaryProcess(Path(folder) / "log", Path(folder) / "socket", options=("--ahead-seconds-max", str(400 * 86_400)))
        process.start()
        yield process
        process.stop()


async def _race(bench: RecordsBench, notary: NotaryProcess, way: str, seed: int) -> int:
    """One schedule: releases on both gateways, an end in their midst, and the log's word on who came first. Returns how many were recorded."""
    chance = random.Random(f"{seed} {way}")
    state, end = WAYS[way]
    first, second = Gateway(bench, await bench.second(), notary.socket_path), Gateway(bench, await bench.second(), notary.socket_path)
    gateways = (first, second)
    try:
        customer = await first.records.save_bank_link("oakbank", f"owner-{seed}", bench.tokens(), (bench.account(),))
        grant = await first.give(customer)
        first_recorded, ending, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        early = chance.randrange(4, RELEASES - 4)

        async def pause() -> None:
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)

        async def ask(number: int) -> tuple[bool, int | None]:
            """(whether it began after the end, the index of its entry)"""
            if number >= early:
                await (ended if number >= RELEASES - 2 else ending).wait()
            await pause()
            late = ended.is_set()
            try:
                index = await gateways[number % 2].release(f"{seed}-{number}", pause)
            except ENDED:
                return late, None
            first_recorded.set()
            return late, index

        async def end_it() -> None:
            await first_recorded.wait()
            ending.set()
            await end(bench, gateways[chance.randrange(2)], grant)
            ended.set()

        outcomes, _ = await asyncio.gather(asyncio.gather(*(ask(number) for number in range(RELEASES))), end_it())
        recorded = [index for _, index in outcomes if index is not None]
        assert not any(late and index is not None for late, index in outcomes), "recorded after the end had returned"
        closed_at = await _closing_entry(first, after=max(recorded, default=0))
        assert all(index < closed_at for index in recorded)
        # Whoever still holds the grant as it was comes too late, on each gateway, and so does whoever holds it as it is now.
        held = await first.records.find_grant(grant.id)
        assert held is None if way == "an erasure" else held is not None and held.state is state
        for gateway in gateways:
            for version in range(1, 4):
                with pytest.raises(Refusal):
                    await gateway.record(msgspec.structs.replace(grant, version=version))
        assert await first.records.revocations_due() == ()
        return len(recorded)
    finally:
        for gateway in gateways:
            await gateway.notary.aclose()


async def _closing_entry(gateway: Gateway, after: int) -> int:
    """The index of the last `revoke` entry; it must stand behind everything that was recorded before it."""
    entries: list[bytes] = []
    while page := await gateway.notary.pages(len(entries), 100):
        entries += page
    revokes = [index for index, entry in enumerate(entries) if b'"k":"revoke"' in entry]
    assert revokes
    assert revokes[-1] > after
    return revokes[-1]


@pytest.mark.parametrize("way", WAYS)
def test_an_end_wins_every_race_with_releases_under_way(bench_of_records: RecordsBench, notary: NotaryProcess, way: str) -> None:
    bench = bench_of_records

    async def story(_: Records) -> None:
        recorded = 0
        for offset in range(3):
            print(f"\nPARLEY_SIMULATION_SEED={SEED + offset}")
            start = bench.now
            recorded += await _race(bench, notary, way, SEED + offset)
            bench.now = start
            await bench.extra.pop().aclose()
            await bench.extra.pop().aclose()
        assert 0 < recorded < 3 * RELEASES, "no schedule was a race"

    bench.run(story)


def test_a_pause_and_a_resumption_take_turns_however_often(bench_of_records: RecordsBench, notary: NotaryProcess) -> None:
    """Two gateways pause and resume at once; afterwards records and notary agree, and a resumed grant answers."""
    bench = bench_of_records
    chance = random.Random(SEED)

    async def story(records: Records) -> None:
        gateways = [Gateway(bench, records, notary.socket_path), Gateway(bench, await bench.second(), notary.socket_path)]
        try:
            customer = await records.save_bank_link("oakbank", "owner-1", bench.tokens(), (bench.account(),))
            grant = await gateways[0].give(customer)
            for _ in range(6):
                moves = [getattr(chance.choice(gateways).desk, chance.choice(("pause", "resume")))(customer, None) for _ in range(4)]
                results = await asyncio.gather(*moves, return_exceptions=True)
                assert all(isinstance(result, int | Fault) for result in results), results
            bench.now += timedelta(seconds=11)  # A reservation that lost its race is over.
            await gateways[0].desk.keep_up()
            await gateways[0].desk.pause(customer, None)
            with pytest.raises(GrantPaused):
                await gateways[1].release("while it rests", _no_pause)
            assert await gateways[1].desk.resume(customer, None) == 1
            assert await gateways[0].release("afterwards", _no_pause) > 0
            history = await records.grant_history(grant.id)
            assert [each.version for each in history] == sorted({each.version for each in history})
        finally:
            for gateway in gateways:
                await gateway.notary.aclose()

    bench.run(story)


async def _no_pause() -> None:
    return
