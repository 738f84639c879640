"""The sequencer and its lock file: how much may wait, and that nothing is acknowledged before it is durable."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from parley.log.errors import LogRefused, NotaryCannotStart
from parley.log.lock import LOCK_BYTES, LOCK_FILE, SLOT_BYTES, SLOT_OFFSETS, HeadLock, HeadLost
from parley.log.notary import recover
from parley.log.sequence import PENDING_MAX, Sequencer
from parley.log.storage import LOG_FILE, Batch, Writer
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


class WatchedWriter(Writer):
    """Notes how much the asker had been told when each write became durable."""

    def __init__(self, folder: Path, lock: HeadLock, asker: Asker) -> None:
        super().__init__(folder, lock)
        self.asker = asker
        self.told_before_durable: list[int] = []

    def commit(self, batch: Batch) -> None:
        super().commit(batch)
        self.told_before_durable.append(len(self.asker.entries) + len(self.asker.codes))


class Log:
    """A log in a folder, opened as the notary opens it."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o700)
        self.asker = Asker()
        self.lock = HeadLock(folder / LOCK_FILE)
        self.reader, key, self.tree, self.head = recover(folder, self.lock, None)
        self.vkey = key.vkey
        self.writer = WatchedWriter(folder, self.lock, self.asker)
        self.sequencer = Sequencer(self.reader, self.writer, key, self.tree, self.head, lambda: BUCKET + 5.0)

    def close(self) -> None:
        self.sequencer.drain()
        self.writer.close()
        self.reader.close()
        self.lock.close()


def test_when_too_much_waits_the_log_says_busy_and_forgets_nothing_it_took(tmp_path: Path) -> None:
    async def story() -> None:
        log = Log(tmp_path)
        for number in range(PENDING_MAX):
            log.sequencer.submit(log.asker, Record(number, POLICY, b""))
        with pytest.raises(LogRefused) as busy:
            log.sequencer.submit(log.asker, Record(9_999, POLICY, b""))
        assert busy.value.code == "log_busy"
        assert not log.asker.entries
        await asyncio.sleep(0)
        assert [entry[:2] for entry in log.asker.entries] == [(number, number) for number in range(PENDING_MAX)]
        log.sequencer.submit(log.asker, Record(PENDING_MAX, POLICY, b""))
        log.close()
        sizes = [Verifier(log.vkey).verify_checkpoint(checkpoint).size for checkpoint in log.asker.checkpoints]
        assert sizes == [PENDING_MAX, PENDING_MAX + 1]
        assert log.writer.told_before_durable == [0, PENDING_MAX]

    asyncio.run(story())


def test_a_second_revocation_is_not_confirmed_before_the_first_is_durable(tmp_path: Path) -> None:
    async def story() -> None:
        log = Log(tmp_path)
        revoke = canonical({"b": BUCKET, "k": "revoke", "v": 1})
        log.sequencer._grants[bytes(16)] = 1
        log.sequencer.submit(log.asker, CloseGrant(1, revoke, b"", bytes(16)))
        log.sequencer.submit(log.asker, CloseGrant(2, revoke, b"", bytes(16)))
        await asyncio.sleep(0)
        log.close()
        assert log.writer.told_before_durable == [0]
        assert [entry[:2] for entry in log.asker.entries] == [(1, 0)] and log.asker.codes == {2: "grant_closed"}

    asyncio.run(story())


def test_a_heartbeat_shows_that_the_log_lives(tmp_path: Path) -> None:
    async def story() -> None:
        log = Log(tmp_path)
        log.sequencer.beat()
        log.sequencer.drain()
        assert log.reader.entries(0, 5) == [b'{"b":1795377600,"k":"heartbeat","v":1}']
        log.close()

    asyncio.run(story())


# The lock file


def founded(path: Path) -> HeadLock:
    lock = HeadLock(path)
    lock.found(0, ROOTS[0])
    return lock


ROOTS = [bytes([number]) * 32 for number in range(10)]


def test_the_head_is_swapped_only_for_the_one_that_was_left(tmp_path: Path) -> None:
    lock = founded(tmp_path / "head")
    lock.swap((0, ROOTS[0]), (5, ROOTS[1]))
    for wrong in [(0, ROOTS[0]), (5, ROOTS[0]), (4, ROOTS[1])]:
        with pytest.raises(HeadLost):
            lock.swap(wrong, (6, ROOTS[2]))
    assert lock.read() == (5, ROOTS[1])
    lock.close()


def test_a_lock_file_is_private_keeps_its_length_and_remembers_the_last_head(tmp_path: Path) -> None:
    path = tmp_path / "head"
    lock = founded(path)
    for size in range(9):
        lock.swap((size, ROOTS[size]), (size + 1, ROOTS[size + 1]))
        assert path.stat().st_size == LOCK_BYTES and path.stat().st_mode & 0o777 == 0o600
    lock.close()
    again = HeadLock(path)
    assert again.read() == (9, ROOTS[9])
    again.close()


@pytest.mark.parametrize("swaps", [1, 2])
def test_a_torn_write_leaves_the_head_before_it(tmp_path: Path, swaps: int) -> None:
    path = tmp_path / "head"
    lock = founded(path)
    for size in range(swaps):
        lock.swap((size, ROOTS[size]), (size + 1, ROOTS[size + 1]))
    whole = path.read_bytes()
    lock.swap((swaps, ROOTS[swaps]), (9, ROOTS[9]))
    lock.close()
    after = path.read_bytes()
    changed = [offset for offset in range(LOCK_BYTES) if whole[offset] != after[offset]]
    for torn in range(changed[0] + 1, changed[-1] + 1):
        path.write_bytes(after[:torn] + whole[torn:])
        lock = HeadLock(path)
        assert lock.read() == (swaps, ROOTS[swaps]), torn
        lock.close()


def test_a_file_that_is_no_lock_file_is_neither_believed_nor_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "head"
    founded(path).close()
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[SLOT_OFFSETS[1] + SLOT_BYTES // 2] ^= 1
    for content in [b"a letter", bytes(damaged), whole[:-1], whole + b"\0", whole.replace(b"parley.head.1", b"parley.head.2")]:
        path.write_bytes(content)
        with pytest.raises(NotaryCannotStart) as refused:
            HeadLock(path)
        assert refused.value.code == "lock_damaged" and path.read_bytes() == content


@pytest.mark.parametrize("length", [0, 100, LOCK_BYTES])
def test_a_crash_while_founding_leaves_a_lock_file_that_may_be_founded_again(tmp_path: Path, length: int) -> None:
    (tmp_path / "head").write_bytes(bytes(length))
    lock = founded(tmp_path / "head")
    assert lock.read() == (0, ROOTS[0])
    lock.close()


def test_one_lock_file_serves_one_notary(tmp_path: Path) -> None:
    lock = founded(tmp_path / "head")
    with pytest.raises(NotaryCannotStart) as refused:
        HeadLock(tmp_path / "head")
    assert refused.value.code == "in_use"
    lock.close()


def test_a_log_that_crashed_between_its_two_writes_is_adopted(tmp_path: Path) -> None:
    async def story() -> None:
        log = Log(tmp_path)
        for number in range(3):
            log.sequencer.submit(log.asker, Record(number, POLICY, b""))
            log.sequencer.drain()
        head, before = log.reader.head(), log.reader.head(0)
        assert head is not None and before is not None and head.size == 3
        log.lock.swap((head.size, head.root), (before.size, before.root))
        log.close()
        again = Log(tmp_path)
        assert again.head == head and again.lock.read() == (head.size, head.root)
        again.close()

    asyncio.run(story())


def test_recovery_reads_stored_hashes_and_not_the_whole_log(tmp_path: Path) -> None:
    async def story() -> None:
        log = Log(tmp_path)
        for first in range(0, 6000, 3000):
            for number in range(first, first + 3000):
                log.sequencer.submit(log.asker, Record(number, POLICY, b""))
            log.sequencer.drain()
        log.close()
        # Entries in finished tiles could say anything now: a start that read them again would notice, and an audit does.
        with sqlite3.connect(tmp_path / LOG_FILE) as database:
            database.execute("UPDATE entries SET entry = x'00' WHERE position < 5888")
        database.close()
        again = Log(tmp_path)
        assert (again.head.size, again.tree.crown().root) == (6000, again.head.root)
        again.close()

    asyncio.run(story())
