"""Puts everything that changes the log into one sequence, and commits it in batches.

There is no timer: while one batch is being made durable, whatever arrives waits in the sockets and becomes the next. A grant's version is compared
here, in the same sequence that holds its revocation, so that a release that comes second is refused however close the race was.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Protocol

from parley.log.entries import BUCKET_SECONDS, check_entry, heartbeat
from parley.log.errors import LogRefused
from parley.log.key import LogKey
from parley.log.storage import Batch, Reader, StoredHead, Writer
from parley.log.tree import Crown, Tree
from parley.log.wire import HANDLE_BYTES, SIDE_BYTES_MAX, CloseGrant, OpenGrant, Record, Sequenced
from parley.proof import leaf_hash

PENDING_MAX = 4096
GRANTS_REMEMBERED_MAX = 200_000
VERSION_MAX = 2**53 - 1
EXIT_WRITE_FAILED = 74


class Asker(Protocol):
    """Who is told the outcome."""

    def acknowledged(self, checkpoint: bytes, entries: list[tuple[int, int, bytes]]) -> None:
        """These requests (id, index, path) are durable."""

    def refused(self, request_id: int, code: str) -> None:
        """This request made no entry."""


class Sequencer:
    """One log's sequence. Lives in the event loop, and commits there: handing a small batch to a thread and back costs more than it saves."""

    def __init__(self, reader: Reader, writer: Writer, key: LogKey, tree: Tree, head: StoredHead, clock: Callable[[], float]) -> None:
        self._reader, self._writer, self._key, self._tree, self._clock = reader, writer, key, tree, clock
        self._loop = asyncio.get_running_loop()
        self._pending: list[tuple[Asker, Sequenced, int]] = []
        self._grants: dict[bytes, int | None] = {}
        self._bucket = head.bucket
        self._head = head
        self.crown: Crown = tree.crown()
        self.checkpoint = key.note(head.size, head.root, head.signature)
        self.ahead_seconds_max = 2 * BUCKET_SECONDS

    def submit(self, asker: Asker, request: Sequenced) -> None:
        """Queue a request; raises LogRefused when it could never be recorded, or when too many wait."""
        bucket = _check_form(request)
        if len(self._pending) >= PENDING_MAX:
            raise LogRefused("log_busy")
        self._push(asker, request, bucket)

    def beat(self) -> None:
        """Record that the log is alive; the notary asks for this each minute."""
        bucket = int(self._clock()) // BUCKET_SECONDS * BUCKET_SECONDS
        self._push(_Nobody(), Record(0, heartbeat(bucket), b""), bucket)

    def read_path(self, index: int) -> bytes:
        """The path of an entry to the newest acknowledged checkpoint."""
        return self._tree.path(index, self.crown)

    def drain(self) -> None:
        """Make everything submitted durable, and answer."""
        if self._pending:
            self._sequence()

    def _push(self, asker: Asker, request: Sequenced, bucket: int) -> None:
        # All that one turn of the loop reads from its sockets is one batch.
        if not self._pending:
            self._loop.call_soon(self.drain)
        self._pending.append((asker, request, bucket))

    def _sequence(self) -> None:
        """Take what waits, decide on each in order, commit what was accepted, and answer."""
        taken, self._pending = self._pending, []
        refused: list[tuple[Asker, int, str]] = []
        accepted: list[tuple[Asker, Sequenced]] = []
        changed: dict[bytes, int] = {}
        newest = int(self._clock()) // BUCKET_SECONDS * BUCKET_SECONDS + self.ahead_seconds_max
        for asker, request, bucket in taken:
            try:
                self._decide(request, bucket, newest, changed)
            except LogRefused as no:
                refused.append((asker, request.id, no.code))
            else:
                accepted.append((asker, request))
        if accepted:
            self._commit([request for _, request in accepted], changed)
            self._acknowledge(accepted)
        # A refusal may rest on what this batch changed, so it too waits until that is durable.
        for asker, request_id, code in refused:
            asker.refused(request_id, code)
        if len(self._grants) > GRANTS_REMEMBERED_MAX:
            self._grants.clear()

    def _decide(self, request: Sequenced, bucket: int, newest: int, changed: dict[bytes, int]) -> None:
        """Raise LogRefused or take the request into the sequence."""
        # Requests of one moment straddle the border between two buckets: one bucket back is still now, two are a clock gone back.
        if bucket < self._bucket - BUCKET_SECONDS:
            raise LogRefused("clock_back")
        if bucket > newest:
            raise LogRefused("clock_ahead")
        if request.handle is not None:
            self._decide_grant(request, request.handle, changed)
        if bucket > self._bucket:
            self._bucket = bucket

    def _decide_grant(self, request: Sequenced, handle: bytes, changed: dict[bytes, int]) -> None:
        current = self._grants[handle] if handle in self._grants else self._recall(handle)
        if type(request) is Record:
            if request.version != current:
                raise LogRefused("grant_changed")
            return
        if type(request) is OpenGrant:
            # Any later version: the grant may have been paused and changed while its handle was closed.
            if current is not None and request.version <= abs(current):
                raise LogRefused("grant_changed")
            becomes = request.version
        elif current is None:
            raise LogRefused("grant_unknown")
        elif current < 0:
            raise LogRefused("grant_closed")
        else:
            becomes = -current
        self._grants[handle] = changed[handle] = becomes

    def _recall(self, handle: bytes) -> int | None:
        found = self._reader.grant(handle)
        if found is not None:
            self._grants[handle] = found
        return found

    def _commit(self, requests: list[Sequenced], changed: dict[bytes, int]) -> None:
        """Extend the tree, sign its head and make all of it durable, or end the process."""
        try:
            first = self._head.size
            tiles = self._tree.append([leaf_hash(request.entry) for request in requests])
            crown = self._tree.crown()
            head = StoredHead(crown.size, crown.root, self._key.sign(crown.size, crown.root), self._bucket)
            rows = [(index, request.entry, request.side) for index, request in enumerate(requests, first)]
            grants = [(handle, abs(version), int(version > 0)) for handle, version in changed.items()]
            self._writer.commit(Batch(rows, tiles, grants, head, self._head))
        except BaseException as error:
            # After a failed write nobody knows what the disk holds. Trying again on the same file could acknowledge what is not
            # there, so the process ends at once and the next start looks at the disk afresh.
            sys.stderr.write(f"notary: a durable write failed ({type(error).__name__}: {error}); stopping, nothing unwritten was acknowledged\n")
            sys.stderr.flush()
            os._exit(EXIT_WRITE_FAILED)
        self._head, self.crown = head, crown
        self.checkpoint = self._key.note(head.size, head.root, head.signature)

    def _acknowledge(self, accepted: list[tuple[Asker, Sequenced]]) -> None:
        first = self.crown.size - len(accepted)
        acknowledged: dict[Asker, list[tuple[int, int, bytes]]] = {}
        for index, path in enumerate(self._tree.paths(first, self.crown), first):
            asker, request = accepted[index - first]
            acknowledged.setdefault(asker, []).append((request.id, index, path))
        self._tree.forget_finished()
        for asker, entries in acknowledged.items():
            asker.acknowledged(self.checkpoint, entries)


class _Nobody:
    """Asked for the heartbeat; a refusal (the clock went back) is the operator's to see."""

    def acknowledged(self, checkpoint: bytes, entries: list[tuple[int, int, bytes]]) -> None:
        pass

    def refused(self, request_id: int, code: str) -> None:
        sys.stderr.write(f"notary: no heartbeat was recorded ({code})\n")


def _check_form(request: Sequenced) -> int:
    """The time bucket of a request that is well-formed in itself; raises LogRefused."""
    if len(request.side) > SIDE_BYTES_MAX:
        raise LogRefused("side_too_large")
    if request.handle is not None and len(request.handle) != HANDLE_BYTES:
        raise LogRefused("handle_malformed")
    if type(request) is OpenGrant:
        if not 0 < request.version <= VERSION_MAX:
            raise LogRefused("version_malformed")
        return check_entry(request.entry, "grant")[1]
    if type(request) is CloseGrant:
        return check_entry(request.entry, "revoke")[1]
    kind, bucket = check_entry(request.entry)
    if kind == "release" and request.handle is None:
        raise LogRefused("handle_required")
    if type(request) is Record and (request.handle is None) != (request.version is None):
        raise LogRefused("version_malformed")
    if type(request) is Record and request.version is not None and not 0 < request.version <= VERSION_MAX:
        raise LogRefused("version_malformed")
    return bucket
