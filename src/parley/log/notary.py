"""The notary: a process of its own that alone holds the log's key. `python -m parley.log.notary --data DIR --socket PATH`.

Trusted with the order of entries and with the key. Its captor could sign a second history (witnesses and old receipts would show it)
but could read no answer: sides arrive sealed, and handles are random. It opens no network connection.

Exit codes: 0 ended in order · 74 a write failed · 75 another notary holds this log · 78 a person has to look.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import uvloop

from parley.log.errors import LogRefused, NotaryCannotStart
from parley.log.key import KEY_FILE, LogKey, check_origin, check_private, load_key, make_key, publish_vkey
from parley.log.lock import LOCK_FILE, HeadLock, hold
from parley.log.sequence import Sequencer
from parley.log.storage import Reader, StoredHead, Writer
from parley.log.tree import Tree
from parley.log.wire import (
    Acknowledged,
    AnyRequest,
    BadFrame,
    Frames,
    Head,
    HeadIs,
    Page,
    Pages,
    Proof,
    Prove,
    Refused,
    frame,
)
from parley.proof import EMPTY_ROOT, ProofRejected, Verifier

DEFAULT_ORIGIN = "parley.example/log"
CONNECTIONS_MAX = 64
ENTRIES_PER_PAGE_MAX = 100
ACKNOWLEDGEMENTS_PER_FRAME = 50
SOCKET_PATH_BYTES_MAX = 107
FAREWELL_STEPS = 50
FAREWELL_STEP_SECONDS = 0.02
"""A stopping notary gives its clients a second to take their last acknowledgements."""
EXIT_IN_USE = 75
EXIT_LOOK = 78


def main(arguments: list[str] | None = None) -> int:
    """Run the notary until it is told to stop; returns the exit code."""
    options = _parser().parse_args(arguments)
    os.umask(0o077)
    # A core file would hold the key.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _let_others_finish()
    try:
        folder = _open_folder(options.data)
        with _Exclusive(folder, options.lock_wait_seconds):
            return uvloop.run(_serve(folder, options))
    except NotaryCannotStart as reason:
        sys.stderr.write(f"notary: {reason} [{reason.code}]\n")
        return EXIT_IN_USE if reason.code == "in_use" else EXIT_LOOK


def recover(folder: Path, lock: HeadLock, origin: str | None) -> tuple[Reader, LogKey, Tree, StoredHead]:
    """Open or found the log, and check that it is the one that this notary left; raises NotaryCannotStart."""
    reader = Reader(folder)
    identity = reader.identity()
    key = _found(reader, folder, origin or DEFAULT_ORIGIN) if identity is None else _reopen(folder, identity, origin)
    publish_vkey(folder, key)
    head = reader.head()
    if head is None or reader.entry_count() != head.size:
        raise NotaryCannotStart("log_damaged", "The log's entries and its newest head do not belong together. Restore the newest backup.")
    tree = Tree.restored(head.size, reader.edges(head.size), reader.tile) if head.size else Tree(reader.tile)
    _check_head(key, tree, head)
    _check_lock(reader, lock, head)
    return reader, key, tree, head


async def _serve(folder: Path, options: argparse.Namespace) -> int:
    lock = HeadLock(options.lock or folder / LOCK_FILE, options.lock_wait_seconds)
    reader, key, tree, head = recover(folder, lock, options.origin)
    writer = Writer(folder, lock)
    sequencer = Sequencer(reader, writer, key, tree, head, time.time)
    sequencer.ahead_seconds_max = options.ahead_seconds_max
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    connections: set[Connection] = set()
    listener = _listen(options.socket)
    server = await loop.create_unix_server(lambda: Connection(sequencer, reader, connections), sock=listener)
    _every(loop, options.heartbeat_seconds, sequencer.beat)
    if options.exit_with_parent is not None:
        # Named by its number where possible: a parent that died while we were starting is otherwise mistaken for its successor.
        parent = options.exit_with_parent or os.getppid()
        _every(loop, 0.25, lambda: stop.set() if os.getppid() != parent else None)
    # Nothing made so far becomes garbage; the collector need not walk it while a batch waits.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    await stop.wait()
    server.close()
    for connection in connections:
        connection.stop_reading()
    sequencer.drain()
    for connection in list(connections):
        connection.end()
    for _ in range(FAREWELL_STEPS):
        if connections:
            await asyncio.sleep(FAREWELL_STEP_SECONDS)
    writer.close()
    reader.close()
    lock.close()
    Path(options.socket).unlink(missing_ok=True)
    return 0


class Connection(asyncio.Protocol):
    """One client of the notary: the gateway, or one of its processes."""

    def __init__(self, sequencer: Sequencer, reader: Reader, connections: set[Connection]) -> None:
        self._sequencer, self._reader, self._connections = sequencer, reader, connections
        self._decode = msgspec.msgpack.Decoder(AnyRequest).decode
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, or leave when all are taken."""
        self._transport = transport  # type: ignore[assignment]
        self._connections.add(self)
        if len(self._connections) > CONNECTIONS_MAX:
            self.end()

    def connection_lost(self, _: Exception | None) -> None:
        """Forget the client; what it submitted is committed all the same."""
        self._connections.discard(self)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Take all requests that are complete; a client that speaks nonsense is cut off."""
        try:
            for body in self._frames.feed(data):
                self._take(self._decode(body))
        except (BadFrame, msgspec.DecodeError, RecursionError):
            self.end()

    def pause_writing(self) -> None:
        """A client that does not read its answers gets no more of its questions read."""
        self.stop_reading()

    def resume_writing(self) -> None:
        """It caught up."""
        if self._transport is not None:
            self._transport.resume_reading()

    def acknowledged(self, checkpoint: bytes, entries: list[tuple[int, int, bytes]]) -> None:
        """Send the acknowledgements of one batch in as few frames as fit."""
        parts = range(0, len(entries), ACKNOWLEDGEMENTS_PER_FRAME)
        self._send(b"".join(frame(Acknowledged(checkpoint, entries[at : at + ACKNOWLEDGEMENTS_PER_FRAME])) for at in parts))

    def refused(self, request_id: int, code: str) -> None:
        """Send a refusal."""
        self._send(frame(Refused(request_id, code)))

    def stop_reading(self) -> None:
        """Take no more requests for now."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def end(self) -> None:
        """Send what is under way and close."""
        if self._transport is not None:
            self._transport.close()

    def _take(self, request: AnyRequest) -> None:
        try:
            if isinstance(request, Prove):
                self._prove(request)
            elif isinstance(request, Head):
                self._send(frame(HeadIs(request.id, self._sequencer.checkpoint)))
            elif isinstance(request, Pages):
                self._page(request)
            else:
                self._sequencer.submit(self, request)
        except LogRefused as no:
            self.refused(request.id, no.code)

    def _prove(self, request: Prove) -> None:
        sequencer = self._sequencer
        if not 0 <= request.index < sequencer.crown.size:
            raise LogRefused("index_unknown")
        entry, side = self._reader.entry(request.index)
        path = sequencer.read_path(request.index)
        self._send(frame(Proof(request.id, request.index, entry, side, sequencer.checkpoint, path)))

    def _page(self, request: Pages) -> None:
        size = self._sequencer.crown.size
        if request.first < 0 or request.count < 1 or request.first > size:
            raise LogRefused("index_unknown")
        count = min(request.count, ENTRIES_PER_PAGE_MAX, size - request.first)
        self._send(frame(Page(request.id, request.first, self._reader.entries(request.first, count))))

    def _send(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


def _found(reader: Reader, folder: Path, origin: str) -> LogKey:
    check_origin(origin)
    if reader.entry_count():
        raise NotaryCannotStart("log_damaged", "There are entries here but no founding row. Restore the newest backup.")
    # A key without a log is what a crash during the very first start leaves; it signed nothing, so it may be used.
    key = load_key(folder, origin) if (folder / KEY_FILE).exists() else make_key(folder, origin)
    reader.found(origin, key.vkey, StoredHead(0, EMPTY_ROOT, key.sign(0, EMPTY_ROOT), 0))
    return key


def _reopen(folder: Path, identity: tuple[str, str], origin: str | None) -> LogKey:
    if origin is not None and origin != identity[0]:
        raise NotaryCannotStart("origin", f"This log is called {identity[0]}; a log keeps its name. Use another folder for another log.")
    if not (folder / KEY_FILE).exists():
        raise NotaryCannotStart("key_missing", "The log is here but its key is not. Restore the key, or start a new log under a new origin.")
    key = load_key(folder, identity[0])
    if key.vkey != identity[1]:
        raise NotaryCannotStart("key_other", "The key is not the one that founded this log. Restore the key that belongs to it.")
    return key


def _check_head(key: LogKey, tree: Tree, head: StoredHead) -> None:
    """The stored hashes must lead to the head, and the head must bear our signature: a disk that lies is caught here."""
    try:
        Verifier(key.vkey).verify_checkpoint(key.note(head.size, head.root, head.signature))
        same = tree.crown().root == head.root
    except ProofRejected:
        same = False
    if not same:
        raise NotaryCannotStart("log_damaged", "The stored hashes do not lead to the signed head. Restore the newest backup.")


def _check_lock(reader: Reader, lock: HeadLock, head: StoredHead) -> None:
    remembered = lock.read()
    if remembered is None and head.size == 0:
        lock.found(head.size, head.root)
    elif remembered is None:
        raise NotaryCannotStart("rollback", f"The lock file does not remember this log's head. {_WAY_OUT}")
    elif remembered != (head.size, head.root):
        _check_ahead(reader, remembered, head)
        lock.swap(remembered, (head.size, head.root))


def _check_ahead(reader: Reader, remembered: tuple[int, bytes], head: StoredHead) -> None:
    """Allow a log that is ahead of the lock by the batch of a crash; refuse one that is behind it or beside it."""
    known = reader.head(remembered[0])
    if remembered[0] > head.size:
        lost = f"The lock file remembers {remembered[0]} entries and the log has {head.size}: it was rolled back."
        raise NotaryCannotStart("rollback", f"{lost} {_WAY_OUT}")
    if known is None or known.root != remembered[1]:
        raise NotaryCannotStart("rollback", f"The lock file remembers another history than this log's. {_WAY_OUT}")


_WAY_OUT = (
    "Receipts may be in customers' hands that this copy of the log does not know. Put back the newest copy of the log; if it is lost, "
    "keep this folder as it is for the auditor and start a new log in an empty folder under a new --origin."
)


def _let_others_finish() -> None:
    """Wait for a turn on a busy core where the system knows this; an idle core runs the notary at once all the same.

    Otherwise each request wakes the notary in the middle of the gateway's work and becomes a batch, signature and sync of its own. With 16
    in flight and one core for both, batches grew from 2.4 entries to between 3 and 7, and an entry's processor time fell by 13 to 55%.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _open_folder(data: Path) -> Path:
    folder = data / "notary"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private(folder)
    return folder


class _Exclusive:
    """Holds the folder for one notary on this machine; waits a little for one that is just ending."""

    def __init__(self, folder: Path, wait_seconds: float) -> None:
        self._descriptor = os.open(folder / "in-use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._wait_seconds = wait_seconds

    def __enter__(self) -> None:
        hold(self._descriptor, self._wait_seconds)

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _listen(path: str) -> socket.socket:
    """The Unix socket, open to this user alone; a stale one is removed, since we hold the folder."""
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise NotaryCannotStart("socket_path", "The socket's path is longer than 107 bytes. Choose a shorter one.")
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    Path(path).chmod(0o600)
    listener.listen(CONNECTIONS_MAX)
    listener.setblocking(False)
    return listener


def _every(loop: asyncio.AbstractEventLoop, seconds: float, action: Callable[[], None]) -> None:
    def act() -> None:
        action()
        loop.call_later(seconds, act)

    loop.call_later(seconds, act)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="parley.log.notary", description="Keeps the release log and its key.")
    parser.add_argument("--data", type=Path, required=True, help="data directory; the notary uses DIR/notary alone")
    parser.add_argument("--socket", required=True, help="path of the Unix socket to listen on")
    parser.add_argument("--origin", help=f"the log's public name, fixed at its first start (default {DEFAULT_ORIGIN})")
    parser.add_argument("--lock", type=Path, help="lock file; on another disk than the log it also shows a restored backup")
    parser.add_argument("--exit-with-parent", nargs="?", type=int, const=0, metavar="PID", help="end in order when the parent process ends")
    parser.add_argument("--heartbeat-seconds", type=float, default=60.0, help="seconds between heartbeat entries")
    parser.add_argument("--ahead-seconds-max", type=int, default=1200, help="how far an entry's time bucket may be ahead of the clock")
    parser.add_argument("--lock-wait-seconds", type=float, default=3.0, help="how long to wait for an ending notary")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
