"""Marks the rows of a database that was written before rows bore marks. Once: afterwards a row without a mark is a stranger's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from parley.store.driver import Driver, Values, Work
from parley.store.grant_rows import GRANT_COLUMNS, GrantRows

_AT_ONCE = 500
_OWNED = "LEFT JOIN customers c ON c.number = g.customer LEFT JOIN tombstones x ON x.number = g.customer"
_OF_GRANT = ", ".join(f"g.{name}" for name in GRANT_COLUMNS)
_TABLES = ("grants", "grant_versions")
_LINKS = f"SELECT key, channel, conversation_hash, customer FROM links WHERE mac IS NULL ORDER BY key LIMIT {_AT_ONCE}"  # noqa: S608 - our own number


async def mark_rows(driver: Driver, rows: GrantRows) -> int:
    """Returns how many were marked. May be run by several processes at once, and again after it was interrupted."""
    marked = 0
    while links := await driver.read(_LINKS):
        await driver.write(partial(_each, "UPDATE links SET mac = ? WHERE key = ? AND mac IS NULL", [_link(rows, *row) for row in links]))
        marked += len(links)
    for table in _TABLES:
        unmarked = f"SELECT coalesce(c.id, x.customer, ''), {_OF_GRANT} FROM {table} g {_OWNED} WHERE g.mac IS NULL LIMIT {_AT_ONCE}"  # noqa: S608
        while await driver.read(unmarked):
            marked += await driver.write(partial(_mark_grants, rows, table, unmarked))
    return marked


def _mark_grants(rows: GrantRows, table: str, unmarked: str) -> Work[int]:
    found = yield unmarked, ()
    for customer, *row in found:
        terms = yield from rows.terms(row[3])
        mac = rows.unmarked_mark(tuple(row), customer, terms)
        yield f"UPDATE {table} SET mac = ? WHERE id = ? AND version = ?", (mac, row[0], row[1])  # noqa: S608 - one of our two tables
    return len(found)


def _link(rows: GrantRows, key: int, channel: str, conversation_hash: bytes, customer: str) -> Values:
    return rows.link_mark(channel, conversation_hash, customer), key


def _each(sql: str, values: Sequence[Values]) -> Work[None]:
    for each in values:
        yield sql, each
