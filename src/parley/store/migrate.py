"""Brings a database to the newest schema. Alembic is loaded only when there is something to do: importing it costs a quarter of a second."""

from __future__ import annotations

import asyncio
import io
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from parley.model.refusals import RecordsUnavailable
from parley.store.driver import RecordsNewer
from parley.store.sqlite import connect, prepare_file
from parley.store.turn import alone
from parley.store.vault import customer_number

if TYPE_CHECKING:
    from parley.store.postgres import Connection

SCHEMA_VERSION = "0005"
"""The newest step under `migrations/versions`: four digits, counting up. A test compares it with Alembic's own idea."""

_ADVISORY_LOCK = 0x7061726C6579
_HERE = Path(__file__).parent / "migrations"


async def migrate(url: str) -> str:
    """Bring the database to SCHEMA_VERSION in one transaction and return the version it had before ("" when empty).

    Safe to run from many processes at once: they queue for a lock, and whoever comes second finds nothing to do. Raises RecordsNewer
    for a database that a newer Parley wrote, RecordsUnavailable, KeysUnsafe for a file that others may read, ValueError for a foreign URL.
    """
    if (path := sqlite_path(url)) is not None:
        return await asyncio.get_running_loop().run_in_executor(None, _migrate_sqlite, path)
    return await _migrate_postgres(url)


async def schema_found(url: str) -> str:
    """The schema version that the records have, "" for none yet; changes nothing. Raises RecordsUnavailable, RecordsNewer, KeysUnsafe, ValueError."""
    path = sqlite_path(url)
    if path is None:
        from parley.store.postgres import connected

        async with connected(url) as connection:
            found = await _postgres_version(connection)
    elif not path.exists():
        return ""
    else:
        prepare_file(path)
        found = _sqlite_version_of(path)
    check_version(found)
    return found


def sqlite_path(url: str) -> Path | None:
    """The file of a `sqlite:///path` URL (an absolute path makes four slashes), None for PostgreSQL. Raises ValueError for anything else."""
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///"):
        return Path(url.removeprefix("sqlite:///"))
    if url.startswith(("postgresql://", "postgres://")):
        return None
    raise ValueError("records: the URL must start with sqlite:/// or postgresql://")


def check_version(found: str) -> bool:
    """Whether steps are missing. Raises RecordsNewer for a version that this Parley does not know."""
    if found and (not found.isdecimal() or found > SCHEMA_VERSION):
        raise RecordsNewer(f"the records have schema {found[:32]!r}, this Parley knows {SCHEMA_VERSION}: install the newer one")
    return found != SCHEMA_VERSION


def steps_sql(dialect: str, found: str) -> list[str]:
    """The statements from version `found` to the newest, as Alembic writes them for the dialect."""
    from alembic import command
    from alembic.config import Config

    written = io.StringIO()
    config = Config(output_buffer=written)
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("dialect", dialect)
    command.upgrade(config, f"{found or 'base'}:{SCHEMA_VERSION}", sql=True)
    return split_statements(written.getvalue())


def split_statements(script: str) -> list[str]:
    """Cut a script at its statements' ends. Ours hold no text with a semicolon at a line's end."""
    statements, lines = [], list[str]()
    for line in script.splitlines():
        lines.append(line)
        if line.rstrip().endswith(";"):
            statements.append("\n".join(lines).strip())
            lines.clear()
    if "".join(lines).strip():
        raise ValueError("a migration's script ends in the middle of a statement")
    return statements


def _migrate_sqlite(path: Path) -> str:
    prepare_file(path)
    with alone(path.parent):
        try:
            connection = connect(path, writes=True)
        except sqlite3.Error as error:
            raise RecordsUnavailable(type(error).__name__) from None
        try:
            return _upgrade_sqlite(connection)
        except sqlite3.Error as error:
            raise RecordsUnavailable(f"the schema could not be brought up to date: {type(error).__name__}") from None
        finally:
            connection.close()


def _upgrade_sqlite(connection: sqlite3.Connection) -> str:
    found = _sqlite_version(connection)
    if not check_version(found):
        return found
    # What PostgreSQL brings along, for the step that makes grants small.
    connection.create_function("parley_bytes", 1, _bytes_of, deterministic=True)
    connection.create_function("parley_number", 1, customer_number, deterministic=True)
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = _sqlite_version(connection)
        if check_version(found):
            for statement in steps_sql("sqlite", found):
                connection.execute(statement)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return found


def _bytes_of(text: str) -> bytes:
    return bytes.fromhex("".join(letter for letter in text if letter in "0123456789abcdef"))


def _sqlite_version_of(path: Path) -> str:
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise RecordsUnavailable(type(error).__name__) from None
    try:
        return _sqlite_version(connection)
    except sqlite3.Error as error:
        raise RecordsUnavailable(type(error).__name__) from None
    finally:
        connection.close()


def _sqlite_version(connection: sqlite3.Connection) -> str:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'").fetchall():
        return ""
    rows = connection.execute("SELECT version_num FROM schema_version").fetchall()
    return str(rows[0][0]) if rows else ""


async def _migrate_postgres(url: str) -> str:
    from parley.store.postgres import connected

    async with connected(url) as connection:
        found = await _postgres_version(connection)
        if not check_version(found):
            return found
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _ADVISORY_LOCK)
            found = await _postgres_version(connection)
            if check_version(found):
                for statement in steps_sql("postgresql", found):
                    await connection.execute(statement)
        return found


async def _postgres_version(connection: Connection) -> str:
    # Asked of the catalogue's rows, not of to_regclass: that answers from a cache which waiting for our lock does not refresh.
    sql = "SELECT count(*) FROM pg_catalog.pg_tables WHERE tablename = 'schema_version' AND schemaname = current_schema()"
    if not await connection.fetchval(sql):
        return ""
    return str(await connection.fetchval("SELECT version_num FROM schema_version") or "")
