"""The lock file: remembers the newest head outside the log's database, so that a log that was rolled back or copied is noticed.

Two slots take turns, each with a digest of itself: a write that was torn by a crash leaves the slot before it whole. The file is written
in full when it is founded, so that a swap changes no length and costs one small overwrite and one sync.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from hashlib import sha256
from pathlib import Path
from struct import Struct

from parley.log.errors import NotaryCannotStart
from parley.log.key import sync_folder

LOCK_FILE = "head.lock"
SLOT_BYTES = 128
SLOT_OFFSETS = (0, 4096)
"""Far enough apart that no disk tears both with one write."""
LOCK_BYTES = SLOT_OFFSETS[-1] + SLOT_BYTES
HOLD_STEP_SECONDS = 0.02
_MAGIC = b"parley.head.1\n\0\0"
_BODY = Struct(">16sQQ32s")
_DIGEST_BYTES = 32


class HeadLost(Exception):
    """The lock file no longer holds the head that this notary wrote last: another one is writing."""


class HeadLock:
    """One log's lock file, held by one notary for life. It may lie on another disk than the log."""

    def __init__(self, path: Path, wait_seconds: float = 0.0) -> None:
        """Open or make the file (mode 0600) and take it; raises NotaryCannotStart when another notary has it or it is no lock file."""
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            hold(self._descriptor, wait_seconds)
            self._check_form()
        except BaseException:
            self.close()
            raise

    def read(self) -> tuple[int, bytes] | None:
        """Size and root that the file remembers, None before it was founded."""
        newest = self._newest()
        return None if newest is None else newest[1:]

    def found(self, size: int, root: bytes) -> None:
        """Remember the first head; a crash on the way leaves a file that remembers nothing and may be founded again."""
        self._write(bytes(LOCK_BYTES), 0)
        os.fsync(self._descriptor)
        sync_folder(self._path.parent)
        self._write(slot(1, size, root), SLOT_OFFSETS[1])

    def swap(self, before: tuple[int, bytes], after: tuple[int, bytes]) -> None:
        """Replace the remembered head (size, root) durably if it is still `before`; HeadLost otherwise, OSError when the disk fails."""
        newest = self._newest()
        if newest is None or newest[1:] != before:
            raise HeadLost
        counter = newest[0] + 1
        self._write(slot(counter, *after), SLOT_OFFSETS[counter % 2])

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _newest(self) -> tuple[int, int, bytes] | None:
        data = os.pread(self._descriptor, LOCK_BYTES, 0)
        found = [read for offset in SLOT_OFFSETS if (read := read_slot(data[offset : offset + SLOT_BYTES])) is not None]
        return max(found, default=None)

    def _write(self, data: bytes, offset: int) -> None:
        if os.pwrite(self._descriptor, data, offset) != len(data):
            raise OSError("the lock file took only part of a write")
        if sys.platform == "darwin":
            # There a plain sync stops at the disk's own cache.
            fcntl.fcntl(self._descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(self._descriptor)

    def _check_form(self) -> None:
        """A file that holds something else is neither believed nor overwritten."""
        data = os.pread(self._descriptor, LOCK_BYTES + 1, 0)
        if any(data) and (len(data) != LOCK_BYTES or self._newest() is None):
            raise NotaryCannotStart("lock_damaged", f"{self._path} is not a log's lock file, or damaged. Restore it, or name another with --lock.")


def hold(descriptor: int, wait_seconds: float) -> None:
    """Take a file for one notary on this machine; waits a little for one that is just ending."""
    end = time.monotonic() + wait_seconds
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise NotaryCannotStart("in_use", "Another notary holds this log. Only one may write it.") from None
            time.sleep(HOLD_STEP_SECONDS)


def slot(counter: int, size: int, root: bytes) -> bytes:
    """The 128 bytes that remember a head: mark, counter, size, root, SHA-256 of these, zeros."""
    body = _BODY.pack(_MAGIC, counter, size, root)
    return (body + sha256(body).digest()).ljust(SLOT_BYTES, b"\0")


def read_slot(data: bytes) -> tuple[int, int, bytes] | None:
    """Counter, size and root of a slot that is whole; None for an empty or torn one."""
    body, digest = data[: _BODY.size], data[_BODY.size : _BODY.size + _DIGEST_BYTES]
    if len(data) != SLOT_BYTES or sha256(body).digest() != digest:
        return None
    magic, counter, size, root = _BODY.unpack(body)
    return (counter, size, root) if magic == _MAGIC else None
