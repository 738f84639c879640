"""Kill -9 at random moments under load: what was acknowledged is there, in its place, in a log that holds together."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from base64 import b64encode
from pathlib import Path

import uvloop

from parley.log.audit import audit
from parley.log.client import NotaryClient
from parley.log.errors import LogError
from parley.proof import Verifier, canonical
from tests.notary_process import NotaryProcess

KILLS = 15
WORKERS = 24
SEED = 20_261_122


class Load:
    """Clients that record without pause and keep what was acknowledged to them."""

    def __init__(self, notary: NotaryProcess) -> None:
        self.notary = notary
        self.acknowledged: dict[int, bytes] = {}
        self.failed = 0
        self.stopping = False
        self.goal, self.reached = 0, asyncio.Event()
        self.bucket = int(time.time()) // 600 * 600

    def entry(self) -> bytes:
        commitment = b64encode(os.urandom(32)).decode()
        return canonical({"b": self.bucket, "c": commitment, "k": "release", "pol": "p", "u": "dpv:RequestedServiceProvision", "v": 1})

    async def reach(self, goal: int) -> None:
        """Wait until so many entries are acknowledged."""
        self.reached.clear()
        self.goal = goal
        await self.reached.wait()

    async def work(self, client: NotaryClient, handle: bytes, verifier: Verifier) -> None:
        while not self.stopping:
            entry = self.entry()
            try:
                inclusion = await client.record(entry, b"side", handle=handle, version=1)
            except LogError:
                self.failed += 1
                await asyncio.sleep(0.005)
                continue
            verifier.verify_inclusion(entry, inclusion)
            if self.acknowledged.setdefault(inclusion.index, entry) is not entry:
                raise AssertionError("one index was given to two entries")
            if len(self.acknowledged) >= self.goal:
                self.reached.set()


def test_nothing_acknowledged_is_lost_when_the_notary_is_killed_again_and_again(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    notary = NotaryProcess(tmp_path, tmp_path / "s")
    notary.start()
    load = Load(notary)
    try:
        uvloop.run(_story(load, chance))
    finally:
        notary.stop()
    _check(load)


async def _story(load: Load, chance: random.Random) -> None:
    client = NotaryClient(load.notary.socket_path, call_seconds_max=20, connect_seconds_max=20)
    handle = os.urandom(16)
    await client.record(canonical({"b": load.bucket, "k": "policy", "pol": "p", "v": 1}))
    await client.open_grant(canonical({"b": load.bucket, "k": "grant", "v": 1}), handle=handle, version=1)
    verifier = Verifier(load.notary.vkey)
    workers = [asyncio.ensure_future(load.work(client, handle, verifier)) for _ in range(WORKERS)]
    for _ in range(KILLS):
        goal = len(load.acknowledged) + chance.randrange(1, 1500)
        await load.reach(goal)
        await asyncio.to_thread(load.notary.kill)
        await asyncio.to_thread(load.notary.start)
        await asyncio.to_thread(_check, load)
    load.stopping = True
    await asyncio.gather(*workers)
    await client.aclose()


def _check(load: Load) -> None:
    """The whole log, after each crash: sound, and with every acknowledged entry at the index that was promised."""
    promised = dict(load.acknowledged)
    report = audit(load.notary.data)
    assert report.sound, (SEED, report.problems)
    database = sqlite3.connect(f"file:{load.notary.data}/notary/log.sqlite3?mode=ro", uri=True)
    stored = dict(database.execute("SELECT position, entry FROM entries"))
    database.close()
    assert not [index for index, entry in promised.items() if stored.get(index) != entry], SEED
