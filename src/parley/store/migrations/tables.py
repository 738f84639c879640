"""What every version of the schema does: tables in the dialect at hand, then indexes, and never back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from alembic import context, op


def is_sqlite() -> bool:
    return context.config.get_main_option("dialect") == "sqlite"


def make(tables: Iterable[str], indexes: Iterable[str]) -> None:
    """BIGINT and BYTEA are what PostgreSQL calls SQLite's INTEGER and BLOB."""
    sqlite = is_sqlite()
    for table in tables:
        op.execute(table.replace("BIGINT", "INTEGER").replace("BYTEA", "BLOB") + " STRICT" if sqlite else table)
    for index in indexes:
        op.execute(index)


def refuse_to_go_back() -> NoReturn:
    """Going back would drop consent that customers gave. Restore a backup instead."""
    raise RuntimeError("the records only move forward")
