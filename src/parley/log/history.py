"""What the log says has left, as counts: the public halves of its releases by platform, channel, purpose, projection, size and month.

Read-only, and beside a running notary. It counts what stands there and judges nothing: whether the log is whole is `parley.log.audit`'s
question. A public half names no customer, grant, account or amount, so neither can what comes out of here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from parley.log.audit import PROGRESS_EVERY, Progress, open_read_only
from parley.log.storage import LOG_FILE

CLASSES_MAX = 1_000_000
"""Different kinds of release that are told apart. An honest log has thousands; more would be somebody filling our memory."""


class ReleaseClass(NamedTuple):
    """Releases that differ in nothing public but their commitment and their time within the month.

    `purpose` is the term as logged (DPV), `size` the coarse count (0: one record, 1: 2 to 10, 2: 11 to 50, 3: more), `month` UTC, as 2026-11.
    """

    platform: str
    channel: str
    purpose: str
    projection: str
    size: int
    month: str


class History(msgspec.Struct, frozen=True):
    """`entries` of any kind were read; `unreadable` of them could not be understood, which only an audit can explain."""

    entries: int
    releases: dict[ReleaseClass, int]
    unreadable: int

    @property
    def total(self) -> int:
        """Releases in all."""
        return sum(self.releases.values())


class TooManyKinds(ValueError):
    """The log tells apart more kinds of release than any honest one does."""


def release_history(data_dir: Path, progress: Progress | None = None) -> History:
    """Count the releases in the log of `data_dir`, in one pass that holds counts only.

    Raises FileNotFoundError when there is no log, TooManyKinds beyond CLASSES_MAX kinds.
    """
    database = open_read_only(Path(data_dir) / "notary" / LOG_FILE)
    try:
        database.execute("BEGIN")
        total = int(database.execute("SELECT coalesce(max(position) + 1, 0) FROM entries").fetchone()[0])
        rows: Iterator[tuple[bytes]] = database.execute("SELECT CAST(entry AS BLOB) FROM entries ORDER BY position")
        return _count(rows, total, progress)
    finally:
        database.close()


class _Release(msgspec.Struct, frozen=True):
    """What is read of an entry. Every other kind lacks some of it, so the defaults only ever stand where nothing is counted."""

    k: str
    b: int = 0
    p: str = ""
    ch: str = ""
    u: str = ""
    d: str = ""
    n: int = 0


_decode = msgspec.json.Decoder(_Release).decode


def _count(rows: Iterator[tuple[bytes]], total: int, progress: Progress | None) -> History:
    releases = Counter[ReleaseClass]()
    done = unreadable = 0
    for (entry,) in rows:
        done += 1
        if progress is not None and not done % PROGRESS_EVERY:
            progress(done, total)
        try:
            read = _decode(entry)
            if read.k == "release":
                releases[ReleaseClass(read.p, read.ch, read.u, read.d, read.n, _month(read.b))] += 1
        except (msgspec.MsgspecError, ValueError, OverflowError, OSError, RecursionError):
            unreadable += 1
        if len(releases) > CLASSES_MAX:
            raise TooManyKinds(f"the log names more than {CLASSES_MAX:,} kinds of release")
    if progress is not None:
        progress(done, total)
    return History(done, dict(releases), unreadable)


@lru_cache(maxsize=4096)
def _month(bucket: int) -> str:
    """The UTC month of a time bucket (seconds since 1970)."""
    return datetime.fromtimestamp(bucket, UTC).strftime("%Y-%m")
