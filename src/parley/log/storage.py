"""Where the log stands on disk: SQLite in WAL mode with synchronous=FULL, beside the lock file that remembers the head.

The order of a commit is: entries, tiles, grants and head in one durable transaction; then compare-and-swap of the head in the lock
file; then, and only then, the acknowledgement. A crash between the two leaves entries that nobody was told of, which the next
start adopts. The other way round (the lock ahead of the log) means that the log was rolled back, and stops the start.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from parley.log.errors import NotaryCannotStart
from parley.log.lock import HeadLock
from parley.log.tree import TILE_LEVELS, Tile
from parley.proof import leaf_hash

LOG_FILE = "log.sqlite3"
LAYOUT = 1

_LOG_TABLES = """
CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY CHECK (id = 1), layout INTEGER NOT NULL, origin TEXT NOT NULL, vkey TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entries (position INTEGER PRIMARY KEY, entry BLOB NOT NULL, side BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tiles (level INTEGER, number INTEGER, hashes BLOB NOT NULL, root BLOB NOT NULL, PRIMARY KEY (level, number));
CREATE TABLE IF NOT EXISTS heads (size INTEGER PRIMARY KEY, root BLOB NOT NULL, signature BLOB NOT NULL, bucket INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS grants (handle BLOB PRIMARY KEY, version INTEGER NOT NULL, open INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class StoredHead:
    """A signed head as stored; `bucket` is the newest time bucket among its entries (seconds since 1970)."""

    size: int
    root: bytes
    signature: bytes
    bucket: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that one commit makes durable together."""

    entries: list[tuple[int, bytes, bytes]]
    tiles: list[Tile]
    grants: list[tuple[bytes, int, int]]
    head: StoredHead
    before: StoredHead


def open_log(folder: Path) -> sqlite3.Connection:
    """A connection to the log's database, durable at every commit."""
    connection = _connect(folder / LOG_FILE)
    connection.executescript(_LOG_TABLES)
    return connection


class Writer:
    """The only one who writes; belongs, with the lock file, to the notary's event loop."""

    def __init__(self, folder: Path, lock: HeadLock) -> None:
        self._log = open_log(folder)
        self._lock = lock

    def commit(self, batch: Batch) -> None:
        """Make a batch durable; any exception means that nobody may be told of it and the process has to end."""
        log = self._log
        log.execute("BEGIN IMMEDIATE")
        log.executemany("INSERT INTO entries VALUES (?, ?, ?)", batch.entries)
        if batch.tiles:
            rows = [(tile.level, tile.number, tile.hashes, tile.root) for tile in batch.tiles]
            log.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?)", rows)
        if batch.grants:
            log.executemany("INSERT OR REPLACE INTO grants VALUES (?, ?, ?)", batch.grants)
        head = batch.head
        log.execute("INSERT INTO heads VALUES (?, ?, ?, ?)", (head.size, head.root, head.signature, head.bucket))
        log.execute("COMMIT")
        self._lock.swap((batch.before.size, batch.before.root), (head.size, head.root))

    def close(self) -> None:
        """Close the database; SQLite folds its write-ahead file in."""
        self._log.close()


class Reader:
    """Reads what is committed; belongs to the notary's event loop."""

    def __init__(self, folder: Path) -> None:
        self._log = open_log(folder)

    def identity(self) -> tuple[str, str] | None:
        """Origin and vkey of the log, if it was founded."""
        row = self._log.execute("SELECT layout, origin, vkey FROM log").fetchone()
        if row is not None and row[0] != LAYOUT:
            raise NotaryCannotStart("layout", f"This log has layout {row[0]}, and this version reads layout {LAYOUT}.")
        return None if row is None else (row[1], row[2])

    def found(self, origin: str, vkey: str, head: StoredHead) -> None:
        """Write down once whose log this is, with the signed head of the empty tree."""
        self._log.execute("BEGIN IMMEDIATE")
        self._log.execute("INSERT INTO heads VALUES (?, ?, ?, ?)", (head.size, head.root, head.signature, head.bucket))
        self._log.execute("INSERT INTO log VALUES (1, ?, ?, ?)", (LAYOUT, origin, vkey))
        self._log.execute("COMMIT")

    def head(self, size: int | None = None) -> StoredHead | None:
        """The newest signed head, or the one of exactly that size."""
        sql = "SELECT size, root, signature, bucket FROM heads "
        if size is None:
            row = self._log.execute(sql + "ORDER BY size DESC LIMIT 1").fetchone()
        else:
            row = self._log.execute(sql + "WHERE size = ?", (size,)).fetchone()
        return None if row is None else StoredHead(*row)

    def entry(self, index: int) -> tuple[bytes, bytes]:
        """Entry and side at an index that is known to exist."""
        found: tuple[bytes, bytes] = self._log.execute("SELECT entry, side FROM entries WHERE position = ?", (index,)).fetchone()
        return found

    def entries(self, first: int, count: int) -> list[bytes]:
        """Up to `count` entries from `first` on."""
        sql = "SELECT entry FROM entries WHERE position >= ? ORDER BY position LIMIT ?"
        return [row[0] for row in self._log.execute(sql, (first, count))]

    def entry_count(self) -> int:
        """One more than the last position."""
        row = self._log.execute("SELECT position FROM entries ORDER BY position DESC LIMIT 1").fetchone()
        return 0 if row is None else int(row[0]) + 1

    def tile(self, level: int, number: int) -> bytes:
        """The 256 hashes of a finished tile."""
        row = self._log.execute("SELECT hashes FROM tiles WHERE level = ? AND number = ?", (level, number)).fetchone()
        return bytes(row[0])

    def grant(self, handle: bytes) -> int | None:
        """The grant's version, negative when closed, None when unknown."""
        row = self._log.execute("SELECT version, open FROM grants WHERE handle = ?", (handle,)).fetchone()
        return None if row is None else int(row[0]) if row[1] else -int(row[0])

    def edges(self, size: int) -> list[list[bytes]]:
        """The hashes of the unfinished tile at each tile level: leaves are hashed again, the levels above are stored tile roots."""
        leaves = self._log.execute("SELECT entry FROM entries WHERE position >= ? ORDER BY position", (size >> TILE_LEVELS << TILE_LEVELS,))
        found = [[leaf_hash(row[0]) for row in leaves]]
        level = 1
        while size >> (level * TILE_LEVELS):
            start = size >> ((level + 1) * TILE_LEVELS) << TILE_LEVELS
            sql = "SELECT root FROM tiles WHERE level = ? AND number >= ? ORDER BY number"
            found.append([bytes(row[0]) for row in self._log.execute(sql, (level - 1, start))])
            level += 1
        return found

    def close(self) -> None:
        """Close the database."""
        self._log.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=5.0, cached_statements=64)
    pragmas = ("journal_mode=WAL", "synchronous=FULL", "fullfsync=ON", "wal_autocheckpoint=1000", "trusted_schema=OFF")
    _configure(connection, pragmas)
    return connection


def _configure(connection: sqlite3.Connection, pragmas: Iterable[str]) -> None:
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}").fetchall()
