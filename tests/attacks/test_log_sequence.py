"""The sequencer with the disk held still: how much may wait, and that nothing is acknowledged before it is durable."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from parley.log.errors import LogRefused
from parley.log.notary import recover
from parley.log.sequence import PENDING_MAX, Sequencer
from parley.log.storage import LOCK_FILE, LOG_FILE, Batch, HeadLost, Reader, StoredHead, Writer, found_lock, open_lock, swap_head
from parley.log.wire import CloseGrant, Record
from parley.proof import Verifier, canonical

BUCKET = 1_795_377_600
POLICY = canonical({"b": BUCKET, "k": "policy", "v": 1})


class Asker:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, int, bytes]] = []
        self.checkpoints: list[bytes] = []
        self.codes: dict[int, str] = {}

    def acknowledged(self, checkpoint: bytes, entries: list[tuple[int, int, bytes]]) -> None:
        self.checkpoints.append(checkpoint)
        self.entries += entries

    def refused(self, request_id: int, code: str) -> None:
        self.codes[request_id] = code


class HeldWriter(Writer):
    """A disk that finishes a write only when the test lets it."""

    gate: threading.Event

    def commit(self, batch: Batch) -> None:
        self.gate.wait(20)
        super().commit(batch)


def start(folder: Path, gate: threading.Event) -> tuple[Sequencer, Reader, str]:
    folder.chmod(0o700)
    reader, key, tree, head = recover(folder, folder / LOCK_FILE, None)

    def make_writer() -> Writer:
        writer = HeldWriter(folder, folder / LOCK_FILE)
        writer.gate = gate
        return writer

    return Sequencer(reader, make_writer, key, tree, head, lambda: BUCKET + 5.0), reader, key.vkey


def test_when_too_much_waits_the_log_says_busy_and_forgets_nothing_it_took(tmp_path: Path) -> None:
    async def story() -> None:
        gate, asker = threading.Event(), Asker()
        sequencer, reader, vkey = start(tmp_path, gate)
        sequencer.submit(asker, Record(0, POLICY, b""))
        await asyncio.sleep(0)
        for number in range(PENDING_MAX):
            sequencer.submit(asker, Record(number + 1, POLICY, b""))
        with pytest.raises(LogRefused) as busy:
            sequencer.submit(asker, Record(9_999, POLICY, b""))
        assert busy.value.code == "log_busy"
        await asyncio.sleep(0.01)
        assert not asker.entries
        gate.set()
        await sequencer.drain()
        reader.close()
        assert [entry[:2] for entry in asker.entries] == [(number, number) for number in range(PENDING_MAX + 1)]
        sizes = [Verifier(vkey).verify_checkpoint(checkpoint).size for checkpoint in asker.checkpoints]
        assert sizes == [1, PENDING_MAX + 1]

    asyncio.run(story())


def test_a_second_revocation_is_not_confirmed_before_the_first_is_durable(tmp_path: Path) -> None:
    async def story() -> None:
        gate, asker = threading.Event(), Asker()
        sequencer, reader, _ = start(tmp_path, gate)
        revoke = canonical({"b": BUCKET, "k": "revoke", "v": 1})
        sequencer._grants[bytes(16)] = 1
        sequencer.submit(asker, CloseGrant(1, revoke, b"", bytes(16)))
        await asyncio.sleep(0)
        sequencer.submit(asker, CloseGrant(2, revoke, b"", bytes(16)))
        await asyncio.sleep(0.01)
        assert not asker.entries and not asker.codes
        gate.set()
        await sequencer.drain()
        reader.close()
        assert asker.codes == {2: "grant_closed"}

    asyncio.run(story())


def test_a_heartbeat_shows_that_the_log_lives(tmp_path: Path) -> None:
    async def story() -> None:
        gate = threading.Event()
        gate.set()
        sequencer, reader, _ = start(tmp_path, gate)
        sequencer.beat()
        await sequencer.drain()
        assert reader.entries(0, 5) == [b'{"b":1795377600,"k":"heartbeat","v":1}']
        reader.close()

    asyncio.run(story())


def test_the_head_is_swapped_only_for_the_one_that_was_left(tmp_path: Path) -> None:
    first, second = StoredHead(0, bytes(32), b"", 0), StoredHead(5, bytes([1]) * 32, b"", 0)
    lock = open_lock(tmp_path / "head")
    found_lock(lock, first)
    swap_head(lock, first, second)
    for wrong in [first, StoredHead(5, bytes(32), b"", 0), StoredHead(4, bytes([1]) * 32, b"", 0)]:
        with pytest.raises(HeadLost):
            swap_head(lock, wrong, StoredHead(6, bytes(32), b"", 0))
    lock.close()


def test_a_log_that_crashed_between_its_two_writes_is_adopted(tmp_path: Path) -> None:
    async def story() -> None:
        gate = threading.Event()
        gate.set()
        sequencer, reader, _ = start(tmp_path, gate)
        for number in range(3):
            sequencer.submit(Asker(), Record(number, POLICY, b""))
            await asyncio.sleep(0)
        await sequencer.drain()
        head, before = reader.head(), reader.head(0)
        reader.close()
        assert head is not None and before is not None
        lock = open_lock(tmp_path / LOCK_FILE)
        swap_head(lock, head, before)
        lock.close()
        recovered, _, _, found = recover(tmp_path, tmp_path / LOCK_FILE, None)
        recovered.close()
        assert found == head

    asyncio.run(story())


def test_recovery_reads_stored_hashes_and_not_the_whole_log(tmp_path: Path) -> None:
    async def story() -> None:
        gate, asker = threading.Event(), Asker()
        gate.set()
        sequencer, reader, _ = start(tmp_path, gate)
        for first in range(0, 6000, 3000):
            for number in range(first, first + 3000):
                sequencer.submit(asker, Record(number, POLICY, b""))
            await sequencer._idle.wait()
        await sequencer.drain()
        reader.close()
        # Entries in finished tiles could say anything now: a start that read them again would notice, and an audit does.
        with sqlite3.connect(tmp_path / LOG_FILE) as database:
            database.execute("UPDATE entries SET entry = x'00' WHERE position < 5888")
        database.close()
        recovered, _, tree, head = recover(tmp_path, tmp_path / LOCK_FILE, None)
        recovered.close()
        assert (head.size, tree.crown().root) == (6000, head.root)

    asyncio.run(story())
