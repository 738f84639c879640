"""Records in one SQLite file: reads inline, every write through one thread that commits in groups.

A point read costs less than a hop to a thread, so reads run where they are asked. Writes arrive in a queue; while one commit waits for
the disk the next ones gather, and share a single sync (no timer: the write in flight is the batching window). Each unit of work runs
inside its own savepoint, so a refusal undoes itself and nobody else.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, cast

from parley.model.refusals import RecordsUnavailable
from parley.store.claims import CLAIMS_FILE, ClaimBook
from parley.store.driver import ROWS_MAX, RecordsConflict, Result, Row, Values, Work
from parley.store.keys import KeysUnsafe, check_private, make_private_directory

BATCH_MAX = 256
QUEUE_MAX = 10_000
BUSY_TIMEOUT_MS = 5_000
MAPPED_BYTES_MAX = 2**31 - 65_536
"""The most that SQLite maps."""

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


@dataclass(slots=True, eq=False)
class _Job:
    """A unit of work, or (`work` None) a call to make between transactions."""

    work: Callable[[], Work[Any]] | None
    between: Callable[[sqlite3.Connection], None] | None
    answer: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class SqliteDriver:
    """One process's hold on the file. `write` is refused for good after a failed commit: what the disk then holds is not known."""

    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        """Opens the file (0600, in a directory 0700) and starts the writer. Must be called on the event loop's thread."""
        self._loop = asyncio.get_running_loop()
        prepare_file(path)
        self._reader = connect(path, writes=False)
        prepare_file(path.parent / CLAIMS_FILE)
        try:
            self._claims = ClaimBook(path, lambda file: connect(file, writes=True), run_steps, _plain)
        except sqlite3.Error as error:
            self._reader.close()
            raise RecordsUnavailable(_plain(error)) from None
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._waiting = 0
        self._broken = False
        self._closed = False
        self._writer = threading.Thread(target=self._write_all, args=(path,), name="parley-records", daemon=True)
        self._writer.start()

    async def read(self, sql: str, values: Values = ()) -> list[Row]:
        if self._closed:
            raise RecordsUnavailable("the records are closed")
        try:
            return self._reader.execute(sql, values).fetchmany(ROWS_MAX)
        except sqlite3.Error as error:
            raise RecordsUnavailable(_plain(error)) from None

    async def write(self, work: Callable[[], Work[Result]]) -> Result:
        return cast(Result, await self._ask(_Job(work, None, self._loop.create_future())))

    async def claim(self, work: Callable[[], Work[Result]]) -> Result:
        if self._closed or self._broken:
            raise RecordsUnavailable("the records take no writes")
        return await self._claims.ask(work)

    async def scrub(self, tables: tuple[str, ...]) -> None:
        """secure_delete has zeroed the rows in the pages; emptying the write-ahead log removes their earlier images."""
        await self._ask(_Job(None, _empty_log, self._loop.create_future()))

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._writer.join)
        await self._claims.aclose()
        self._reader.close()

    async def _ask(self, job: _Job) -> Any:
        if self._closed or self._broken:
            raise RecordsUnavailable("the records take no writes")
        if self._waiting >= QUEUE_MAX:
            raise RecordsUnavailable("too many writes are waiting")
        self._waiting += 1
        self._queue.put(job)
        return await job.answer

    # From here on: the writer's thread, sole owner of its connection.

    def _write_all(self, path: Path) -> None:
        try:
            connection = connect(path, writes=True)
        except sqlite3.Error:
            self._broken = True
            self._refuse_all()
            return
        while (batch := self._gather()) is not None:
            self._commit(connection, batch)
            self._loop.call_soon_threadsafe(self._deliver, batch)
        connection.close()

    def _gather(self) -> list[_Job] | None:
        """Wait for a job, then take what else is there. None when the records are being closed."""
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < BATCH_MAX and not self._queue.empty():
            job = self._queue.get()
            if job is None:
                self._queue.put(None)
                break
            batch.append(job)
        return batch

    def _commit(self, connection: sqlite3.Connection, batch: list[_Job]) -> None:
        """All of the batch in one transaction. Any error but a refusal of the work's own fails the whole batch."""
        if self._broken:
            _fail(batch, "the records take no writes")
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                if job.work is not None:
                    _run_saved(connection, job, job.work)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            # A lock held by another process passes. Anything else (disk full, input/output, corruption) may have lost pages that the
            # kernel will not report twice: stop writing until a restart has replayed the write-ahead log from the disk itself.
            self._broken = getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BUSY
            _undo(connection)
            _fail(batch, _plain(error))
            return
        for job in batch:
            if job.between is not None:
                _run_between(connection, job, job.between)

    def _deliver(self, batch: list[_Job]) -> None:
        """On the event loop: one wake-up for the whole batch."""
        self._waiting -= len(batch)
        for job in batch:
            if job.answer.done():
                continue
            if job.error is not None:
                job.answer.set_exception(job.error)
            else:
                job.answer.set_result(job.result)

    def _refuse_all(self) -> None:
        while (batch := self._gather()) is not None:
            _fail(batch, "the records cannot be opened for writing")
            self._loop.call_soon_threadsafe(self._deliver, batch)


def prepare_file(path: Path) -> None:
    """Make the database file with mode 0600 before SQLite would make it with another, or check an existing one. Raises KeysUnsafe."""
    make_private_directory(path.parent)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        raise KeysUnsafe(f"{path.name} cannot be opened") from None
    try:
        check_private(os.fstat(descriptor), stat.S_IFREG, path.name)
    finally:
        os.close(descriptor)


def connect(path: Path, *, writes: bool) -> sqlite3.Connection:
    """A connection in autocommit mode with our pragmas. The caller keeps it to one thread. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000)
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", "cache_size=-65536", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        if not writes:
            connection.execute("PRAGMA query_only=ON")
            # Pages that do not fit the cache are read where the kernel has them, not copied by a call each: a grant among a million costs
            # 13 µs of processor time to read instead of 20. The file is never cut shorter, which is what would make a mapping dangerous.
            connection.execute(f"PRAGMA mmap_size={MAPPED_BYTES_MAX}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _run_saved(connection: sqlite3.Connection, job: _Job, work: Callable[[], Work[Any]]) -> None:
    """One unit inside its savepoint. Errors of the disk pass upwards and fail the batch; everything else is the unit's own."""
    connection.execute("SAVEPOINT unit")
    try:
        job.result = run_steps(connection, work())
    except sqlite3.IntegrityError:
        job.error = RecordsConflict("a constraint refused the write")
    except sqlite3.Error:
        raise
    except BaseException as error:  # Whatever the work raises belongs to whoever asked for it, not to this thread.
        job.error = error
    else:
        connection.execute("RELEASE unit")
        return
    connection.execute("ROLLBACK TO unit")
    connection.execute("RELEASE unit")


def run_steps(connection: sqlite3.Connection, work: Work[Result]) -> Result:
    """Drive a unit of work: run each statement that it yields and send it the rows."""
    try:
        sql, values = next(work)
        while True:
            sql, values = work.send(connection.execute(sql, values).fetchall())
    except StopIteration as end:
        return cast(Result, end.value)
    finally:
        work.close()


def _run_between(connection: sqlite3.Connection, job: _Job, between: Callable[[sqlite3.Connection], None]) -> None:
    try:
        between(connection)
    except sqlite3.Error as error:
        job.error = RecordsUnavailable(_plain(error))


def _empty_log(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _undo(connection: sqlite3.Connection) -> None:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        return  # The batch is refused either way; SQLite rolls back by itself at the next open.


def _fail(batch: list[_Job], detail: str) -> None:
    for job in batch:
        job.error = RecordsUnavailable(detail)


def _plain(error: sqlite3.Error) -> str:
    """The error's name only: its text may quote a value."""
    return str(getattr(error, "sqlite_errorname", type(error).__name__))
