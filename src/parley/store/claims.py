"""SQLite's book of claims: which messages were seen, and what each grant has spent today. A file of its own, `claims.sqlite`.

Every answer writes here once, so it is made as cheap as is safe. A claim is written in the event loop itself, into SQLite's write-ahead
log, without waiting for the disk: what a killed process claimed stands, because the kernel has it; only a power cut may take the claims
of its last moments back. Then a message of those moments could be answered a second time, with an entry of its own in the log, and a
budget could be overdrawn by as much. Consent, revocations and links never rest on this file.

Claims of one turn of the event loop share one transaction: there is no timer, they are there already. Where one of them is refused, that
transaction is undone as a whole and each runs in its own.

Apart from the records, because every write to a file empties the page cache of all its readers, and the records are read for every question.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parley.model.refusals import RecordsUnavailable
from parley.store.driver import Result, Work
from parley.store.turn import alone

CLAIMS_PER_CHECKPOINT = 2_000
CLAIMS_TOGETHER_MAX = 64
CLAIMS_FILE = "claims.sqlite"
PAGE_BYTES = 1024

_TABLES = (
    "CREATE TABLE IF NOT EXISTS seen_messages (key INTEGER NOT NULL PRIMARY KEY, bucket INTEGER NOT NULL) STRICT",
    """CREATE TABLE IF NOT EXISTS budgets (
        grant_id TEXT NOT NULL, day INTEGER NOT NULL, answers INTEGER NOT NULL, row_count INTEGER NOT NULL,
        PRIMARY KEY (grant_id, day)) STRICT, WITHOUT ROWID""",
    "DROP INDEX IF EXISTS seen_messages_ageing",
    "CREATE INDEX IF NOT EXISTS budgets_ageing ON budgets (day)",
)


class ClaimBook:
    """One process's hold on the file, on the event loop's thread. Refuses for good after a failed write: what the disk then holds is not known."""

    def __init__(
        self,
        records: Path,
        connect: Callable[[Path], sqlite3.Connection],
        run_steps: Callable[[sqlite3.Connection, Work[Any]], Any],
        plain: Callable[[sqlite3.Error], str],
    ) -> None:
        """`records`: the records' file, which is only read, to see whether a grant still stands."""
        self._path = records.parent / CLAIMS_FILE
        self._connect = connect
        self._run_steps = run_steps
        self._plain = plain
        self._since_checkpoint = 0
        self._checkpoint: asyncio.Future[None] | None = None
        self._broken = False
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Callable[[], Work[Any]], asyncio.Future[Any]]] = []
        with alone(self._path.parent):
            found(self._path)
            self._connection = connect(self._path)
            for statement in _TABLES:
                self._connection.execute(statement)
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.execute("PRAGMA wal_autocheckpoint=0")
        self._connection.execute("ATTACH DATABASE ? AS records", (str(records),))

    def ask(self, work: Callable[[], Work[Result]]) -> asyncio.Future[Result]:
        """Run a unit of work at the end of this turn of the loop. Whoever gives up before that has claimed nothing."""
        answer: asyncio.Future[Result] = self._loop.create_future()
        if not self._waiting:
            self._loop.call_soon(self.run_waiting)
        self._waiting.append((work, answer))
        return answer

    def run_waiting(self) -> None:
        """Run everything that waits, now."""
        waiting, self._waiting = self._waiting, []
        wanted = [each for each in waiting if not each[1].done()]
        for at in range(0, len(wanted), CLAIMS_TOGETHER_MAX):
            some = wanted[at : at + CLAIMS_TOGETHER_MAX]
            if len(some) == 1 or not self._ran_together(some):
                for work, answer in some:
                    self._run_alone(work, answer)

    def _ran_together(self, some: list[tuple[Callable[[], Work[Any]], asyncio.Future[Any]]]) -> bool:
        """All in one transaction. False, and nothing is done, where anything is refused or fails: each then hears its own reason."""
        try:
            results = self._run(_joined([work for work, _ in some]))
        except Exception:
            return False
        for (_, answer), result in zip(some, results, strict=True):
            answer.set_result(result)
        return True

    def _run_alone(self, work: Callable[[], Work[Any]], answer: asyncio.Future[Any]) -> None:
        try:
            result = self._run(work())
        except Exception as refusal:
            answer.set_exception(refusal)
        else:
            answer.set_result(result)

    def _run(self, work: Work[Result]) -> Result:
        """Run one unit of work in a transaction and return what it returns. What it raises undoes it."""
        if self._broken:
            raise RecordsUnavailable("claims take no writes")
        connection = self._connection
        try:
            # Deferred: a transaction that begins at once would lock the records too, although it only reads them.
            connection.execute("BEGIN")
            result: Result = self._run_steps(connection, work)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._broken = True
            self._undo()
            raise RecordsUnavailable(self._plain(error)) from None
        except BaseException:
            self._undo()
            raise
        self._since_checkpoint += 1  # Transactions, not claims: each writes its pages once.
        if self._since_checkpoint >= CLAIMS_PER_CHECKPOINT and self._checkpoint is None:
            self._begin_checkpoint()
        return result

    async def aclose(self) -> None:
        self.run_waiting()
        if self._checkpoint is not None:
            await self._checkpoint
        self._connection.close()

    def _begin_checkpoint(self) -> None:
        """Move the write-ahead log into the file on another thread, since that waits for the disk; claims go on meanwhile."""
        self._since_checkpoint = 0
        self._checkpoint = asyncio.get_running_loop().run_in_executor(None, self._move)
        self._checkpoint.add_done_callback(self._moved)

    def _move(self) -> None:
        connection = self._connect(self._path)
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            connection.close()

    def _moved(self, done: asyncio.Future[None]) -> None:
        self._checkpoint = None
        self._broken = self._broken or done.exception() is not None

    def _undo(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._broken = True


def _joined(works: list[Callable[[], Work[Any]]]) -> Work[list[Any]]:
    """One after the other, as one unit of work."""
    results = []
    for work in works:
        results.append((yield from work()))
    return results


def found(path: Path) -> None:
    """Small pages in a new file: a claim touches three of them, and each touched page is written whole."""
    connection = sqlite3.connect(path)
    try:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
