"""The notary alone: durable, acknowledged entries a second with many under way; and beside it what the disk and SQLite do in the same minute."""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import cycle
from pathlib import Path

from bench.processes import SERVER_CORE, BenchFailed, CpuMeter, Process, python
from parley.log.client import NotaryClient
from parley.proof import canonical, commitment_text
from parley.release.entries import bucket, grant_entry

BLOCK_BYTES = 4096
BLOCKS = 256
SIDE_BYTES = 320
"""About what a balance's sealed private half measures."""
ENTRIES_PREPARED = 512


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second, and the processor time of each in microseconds (0 where it was not measured)."""

    per_second: float
    cpu_us: float = 0.0


class Notary:
    """A notary of its own, on the core of the thing under test, and one gateway's connection to it."""

    def __init__(self, folder: Path) -> None:
        place = folder / "notary-alone"
        place.mkdir(mode=0o700)
        socket = place / "n.sock"
        command = python("-m", "parley.log.notary", "--data", str(place), "--socket", str(socket), "--exit-with-parent", str(os.getpid()))
        self.process = Process("the notary", command, cores=SERVER_CORE)
        self.client = NotaryClient(socket, call_seconds_max=10, connect_seconds_max=20)
        self._handle = secrets.token_bytes(16)
        self._entries = cycle([_release_entry(number) for number in range(ENTRIES_PREPARED)])
        self._side = secrets.token_bytes(SIDE_BYTES)

    async def open(self) -> None:
        """Open the grant that all releases of the run are recorded under."""
        now = datetime.now(UTC)
        entry = grant_entry("grant", commitment_text(secrets.token_bytes(32), b"{}"), "web", "parley-web", now)
        await self.client.open_grant(entry, handle=self._handle, version=1)

    async def rate(self, in_flight: int, seconds: float) -> Rate:
        """Releases that the notary acknowledged as durable, with so many under way at any moment."""
        before = await self._size()
        meter = CpuMeter(self.process.pid)
        started = time.perf_counter()
        counts = await asyncio.gather(*(self._record_until(started + seconds) for _ in range(in_flight)))
        took = time.perf_counter() - started
        spent, done = meter.spent_us(), sum(counts)
        grown = await self._size() - before
        if not done <= grown <= done + 2:  # a heartbeat may have come between
            raise BenchFailed(f"The notary acknowledged {done} entries, and the log grew by {grown}.")
        return Rate(done / took, spent / done)

    async def close(self) -> None:
        """End both."""
        await self.client.aclose()
        self.process.stop()

    async def _record_until(self, deadline: float) -> int:
        count = 0
        while time.perf_counter() < deadline:
            await self.client.record(next(self._entries), self._side, handle=self._handle, version=1)
            count += 1
        return count

    async def _size(self) -> int:
        return int((await self.client.head()).split(b"\n")[1])


class Disk:
    """What a durable write costs here without any of us: one block overwritten and synced, again and again."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "blocks", os.O_RDWR | os.O_CREAT, 0o600)
        os.write(self._file, bytes(BLOCK_BYTES * BLOCKS))
        os.fsync(self._file)

    def rate(self, seconds: float) -> Rate:
        """Syncs a second."""
        block = secrets.token_bytes(BLOCK_BYTES)
        started = now = time.perf_counter()
        count = 0
        while now - started < seconds:
            os.pwrite(self._file, block, count % BLOCKS * BLOCK_BYTES)
            os.fdatasync(self._file)
            count += 1
            now = time.perf_counter()
        return Rate(count / (now - started))

    def close(self) -> None:
        os.close(self._file)


class PlainSqlite:
    """The usual durable row: SQLite, write-ahead log, synchronous=FULL, one insert in one commit."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "plain.sqlite", isolation_level=None)
        self._connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE entries(id INTEGER PRIMARY KEY, entry BLOB, side BLOB);"
        )

    def rate(self, seconds: float) -> Rate:
        """Rows a second."""
        entry, side = _release_entry(0), secrets.token_bytes(SIDE_BYTES)
        started = now = time.perf_counter()
        count = 0
        while now - started < seconds:
            self._connection.execute("INSERT INTO entries(entry, side) VALUES (?, ?)", (entry, side))
            count += 1
            now = time.perf_counter()
        return Rate(count / (now - started))

    def close(self) -> None:
        self._connection.close()


def _release_entry(number: int) -> bytes:
    """A release of the form and size that the gateway writes."""
    return canonical(
        {
            "b": bucket(datetime.now(UTC)),
            "c": commitment_text(sha256(number.to_bytes(8, "big")).digest(), b"{}"),
            "ch": "web",
            "d": "balance.available",
            "k": "release",
            "n": 0,
            "p": "parley-web",
            "pol": sha256(b"policy").hexdigest(),
            "u": "dpv:RequestedServiceProvision",
            "v": 1,
        }
    )
