"""The drawer of counts: how many customers and grants something concerns. Nothing but counts leaves it, and nothing here opens a sealed value.

For a privacy officer who wants to know whom a new policy would touch before anybody approves it. Reads page by page in the order of the
customers, so that a customer with several grants is counted once without remembering any. A row's mark is not checked: this releases nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from parley.model.refusals import Fault, RecordsUnavailable
from parley.policy.difference import GrantShape
from parley.store.cabinet import Cabinet
from parley.store.driver import Row, Values
from parley.store.grant_rows import ACTIVE, PAUSED, TERMS_OF, terms_from_row, to_seconds
from parley.store.migrate import SCHEMA_VERSION, schema_found, sqlite_path

PAGE_ROWS = 5_000
STANDING = f"state IN ({ACTIVE}, {PAUSED}) AND expires_at > ?"
"""Grants that answer, and those that rest and may be taken up again."""

Sorter: TypeAlias = Callable[[GrantShape], frozenset[str]]
"""Under which headings a grant is counted; none for one that is not concerned."""
Progress: TypeAlias = Callable[[int, int], None]
"""(grants looked at, standing grants in all)"""


class Tally(msgspec.Struct, frozen=True):
    """Counts of standing grants: active or paused, and not expired. By heading; a customer is counted once under each that she meets."""

    all_grants: int
    all_customers: int
    grants: Mapping[str, int]
    customers: Mapping[str, int]


class Reader(Protocol):
    """All that counting needs of a driver."""

    async def read(self, sql: str, values: Values = ()) -> list[Row]: ...


class Tallies(Cabinet):
    """Counts over the records that are open."""

    async def tally(self, sort: Sorter, now: datetime, progress: Progress | None = None) -> Tally:
        """Count the standing grants under the headings that `sort` puts them. Raises RecordsUnavailable, Fault for a row that cannot be read."""
        return await tally(self._driver, sort, now, progress)


@asynccontextmanager
async def open_for_counting(url: str) -> AsyncIterator[Reader]:
    """The records for counting only: no key is read, nothing is written or migrated, and a gateway may be running on them.

    Raises FileNotFoundError where there are none, RecordsUnavailable, RecordsNewer or (older ones) RecordsUnavailable with the way out,
    KeysUnsafe, ValueError for a foreign URL.
    """
    found = await schema_found(url)
    if not found:
        raise FileNotFoundError(url)
    if found != SCHEMA_VERSION:
        raise RecordsUnavailable(f"the records have schema {found}, and this release counts in {SCHEMA_VERSION}: start its gateway once")
    path = sqlite_path(url)
    if path is not None:
        file = ReadOnlyFile(path)
        try:
            yield file
        finally:
            file.close()
        return
    from parley.store.postgres import open_postgres  # Costs its import only where it is used.

    driver = await open_postgres(url)
    try:
        yield driver
    finally:
        await driver.aclose()


_PAGE = f"""
SELECT customer, number, terms FROM grants
WHERE {STANDING} AND customer >= ? AND (customer > ? OR number > ?) ORDER BY customer, number LIMIT ?
"""  # noqa: S608 - our own names and numbers, here and below
# The first bound is what the index begins at; without it every page would walk through all the pages before it.
_ALL = f"SELECT count(*) FROM grants WHERE {STANDING}"  # noqa: S608
_BEFORE_ALL = (-(2**63), -(2**63))


async def tally(reader: Reader, sort: Sorter, now: datetime, progress: Progress | None = None, *, page_rows: int = PAGE_ROWS) -> Tally:
    """As `Tallies.tally`, over any reader."""
    moment = to_seconds(now)
    counter = _Counter()
    headings: dict[int, frozenset[str]] = {}
    total = int((await reader.read(_ALL, (moment,)))[0][0])
    last: tuple[int, int] = _BEFORE_ALL
    while rows := await reader.read(_PAGE, (moment, last[0], *last, page_rows)):
        for customer, _, terms in rows:
            if terms not in headings:
                headings[terms] = sort(await _shape(reader, terms))
            counter.count(customer, headings[terms])
        last = (rows[-1][0], rows[-1][1])
        if progress is not None:
            progress(counter.grants_seen, max(total, counter.grants_seen))
    return counter.tally()


async def _shape(reader: Reader, number: int) -> GrantShape:
    """What many grants share, without anything that is one grant's own. Raises Fault for a word that we do not know."""
    rows = await reader.read(TERMS_OF, (number,))
    if not rows:
        raise Fault("a stored grant's terms are gone")
    terms = terms_from_row(rows[0])
    return GrantShape(terms.platform, terms.channel, terms.purpose, terms.projections, terms.provenance)


class _Counter:
    """Remembers one customer at a time."""

    def __init__(self) -> None:
        self._customer: int | None = None
        self._met: set[str] = set()
        self.grants_seen = 0
        self._customers_seen = 0
        self._grants: dict[str, int] = {}
        self._customers: dict[str, int] = {}

    def count(self, customer: int, headings: frozenset[str]) -> None:
        if customer != self._customer:
            self._customer = customer
            self._customers_seen += 1
            self._met.clear()
        self.grants_seen += 1
        for heading in headings:
            self._grants[heading] = self._grants.get(heading, 0) + 1
            if heading not in self._met:
                self._met.add(heading)
                self._customers[heading] = self._customers.get(heading, 0) + 1

    def tally(self) -> Tally:
        return Tally(self.grants_seen, self._customers_seen, dict(self._grants), dict(self._customers))


class ReadOnlyFile:
    """One SQLite file, opened so that nothing can be written; a copy on a read-only disk is opened as the unchanging file that it is."""

    def __init__(self, path: Path) -> None:
        address = path.absolute().as_uri()
        try:
            self._connection = _connected(f"{address}?mode=ro")
        except sqlite3.Error as error:
            if path.with_name(path.name + "-wal").exists():
                raise RecordsUnavailable(type(error).__name__) from None
            self._connection = _connected(f"{address}?mode=ro&immutable=1")

    async def read(self, sql: str, values: Values = ()) -> list[Row]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise RecordsUnavailable(type(error).__name__) from None

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()


def _connected(address: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True, isolation_level=None)
    connection.execute("SELECT count(*) FROM schema_version").fetchone()
    return connection
