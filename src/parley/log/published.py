"""The log as everybody may read it: checkpoint, tiles and entries under the addresses of c2sp.org/tlog-tiles, straight from the database.

Read-only, beside the running notary, without its key. Only what the newest signed head covers is shown. A partial tile is the beginning
of the later full one, so any size that ever had a checkpoint can be asked for.
"""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from parley.log.audit import open_read_only
from parley.log.key import VKEY_FILE, signed_note
from parley.log.storage import LOG_FILE
from parley.log.tree import TILE_LEVELS, TILE_WIDTH
from parley.proof import leaf_hash
from parley.proof.note import read_vkey

LEVEL_MAX = 7
"""Eight levels of tiles hold 2**64 entries."""
PATH_CHARACTERS_MAX = 64
WITNESSED_FILE = "witnessed.checkpoint"
"""The newest head that enough witnesses signed. Where witnesses are asked (see `publisher`), this is what is published."""
_TILE = re.compile(r"tile/(entries|0|[1-7])/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


class LogUnreadable(Exception):
    """The log cannot be read now. Nothing is wrong with what was asked for."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What stands at an address. `lasts`: it never changes again, so anybody may keep it for ever."""

    body: bytes
    media_type: str
    lasts: bool


class PublishedLog:
    """Answers for the paths below the log's public address. Opens the database when it is first asked; belongs to one thread."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "notary"
        self._database: sqlite3.Connection | None = None

    def at(self, path: str) -> Resource | None:
        """What stands at `path` ("checkpoint", "tile/0/x001/067", "tile/entries/000.p/5"); None where nothing does.

        Raises LogUnreadable.
        """
        try:
            return self._at(path)
        except (sqlite3.Error, OSError):
            raise LogUnreadable("the log's database cannot be read") from None

    def _at(self, path: str) -> Resource | None:
        if len(path) > PATH_CHARACTERS_MAX:
            return None
        if path == "checkpoint":
            return Resource(self._witnessed() or self.newest_checkpoint(), "text/plain; charset=utf-8", False)
        named = _TILE.fullmatch(path)
        if named is None:
            return None
        number, width = number_in(named[2]), int(named[3] or TILE_WIDTH)
        if number is None or width > TILE_WIDTH or (named[3] and width == TILE_WIDTH):
            return None
        body = self._entries(number, width) if named[1] == "entries" else self._tile(int(named[1]), number, width)
        return None if body is None else Resource(body, "application/octet-stream", True)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()

    def _log(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = open_read_only(self._folder / LOG_FILE)
        return self._database

    def tile(self, level: int, number: int, width: int) -> bytes:
        """`width` hashes of level `8 * level`, each over 256 ** level entries. Raises OSError where the log is not that long."""
        hashes = self._tile(level, number, width)
        if hashes is None:
            raise OSError("the log is not that long")
        return hashes

    def newest_checkpoint(self) -> bytes:
        """The newest head with the log's own signature."""
        size, root, signature = self._log().execute("SELECT size, root, signature FROM heads ORDER BY size DESC LIMIT 1").fetchone()
        name, identifier, _ = read_vkey((self._folder / VKEY_FILE).read_text())
        return signed_note(name, identifier, size, root, signature)

    def _witnessed(self) -> bytes | None:
        try:
            return (self._folder / WITNESSED_FILE).read_bytes()
        except FileNotFoundError:
            return None

    def _size(self) -> int:
        row = self._log().execute("SELECT size FROM heads ORDER BY size DESC LIMIT 1").fetchone()
        return int(row[0])

    def _entries(self, number: int, width: int) -> bytes | None:
        """An entry bundle: each entry after its length in two bytes, big-endian."""
        first = number * TILE_WIDTH
        if first + width > self._size():
            return None
        return b"".join(len(entry).to_bytes(2, "big") + entry for entry in self._entry_rows(first, width))

    def _tile(self, level: int, number: int, width: int) -> bytes | None:
        first = number * TILE_WIDTH
        if (first + width) << (TILE_LEVELS * level) > self._size():
            return None
        row = self._log().execute("SELECT hashes FROM tiles WHERE level = ? AND number = ?", (level, number)).fetchone()
        if row is not None:
            return bytes(row[0])[: width * 32]
        if level == 0:
            return b"".join(leaf_hash(entry) for entry in self._entry_rows(first, width))
        sql = "SELECT root FROM tiles WHERE level = ? AND number >= ? ORDER BY number LIMIT ?"
        return b"".join(bytes(root) for (root,) in self._log().execute(sql, (level - 1, first, width)))

    def _entry_rows(self, first: int, count: int) -> list[bytes]:
        sql = "SELECT CAST(entry AS BLOB) FROM entries WHERE position >= ? ORDER BY position LIMIT ?"
        return [row[0] for row in self._log().execute(sql, (first, count))]


def number_in(text: str) -> int | None:
    """A tile's number as c2sp.org/tlog-tiles spells it, x001/x234/067 for 1234067; None for another spelling of the same number."""
    number = int(text.replace("/", "").replace("x", ""))
    return number if number_text(number) == text else None


def number_text(number: int) -> str:
    """Groups of three digits, all but the last with an x before them."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.append(f"x{number % 1000:03d}")
    return "/".join(reversed(groups))


def paths_of(size: int) -> list[str]:
    """Every tile and entry bundle of a log of that size, the widest that there are: what a copy of it consists of."""
    found: list[str] = []
    for level in range(LEVEL_MAX + 1):
        count = size >> (TILE_LEVELS * level)
        if count == 0:
            break
        found += [f"tile/{level}/{each}" for each in tiles_over(count)]
    return [*found, *(f"tile/entries/{each}" for each in tiles_over(size))]


def tiles_over(count: int) -> list[str]:
    """The numbers of the tiles that `count` hashes or entries fill, the last one perhaps in part."""
    whole, rest = divmod(count, TILE_WIDTH)
    return [number_text(number) for number in range(whole)] + ([f"{number_text(whole)}.p/{rest}"] if rest else [])
