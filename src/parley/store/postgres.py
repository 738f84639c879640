"""Records on PostgreSQL through asyncpg: for several gateway processes or machines.

Claims are right with any number of processes at READ COMMITTED, because every check that matters is one statement: an insert that meets
another's uncommitted row waits for it, and `DELETE … RETURNING` or a guarded `UPDATE … RETURNING` hands a row to one of them only.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, TypeAlias, cast
from urllib.parse import parse_qs, urlsplit

import asyncpg

from parley.model.refusals import Fault, RecordsUnavailable
from parley.store.driver import ROWS_MAX, RecordsConflict, Result, Row, Values, Work

Connection: TypeAlias = Any
"""An asyncpg connection; the library ships no types."""

CONNECTIONS_MAX = 16
CONNECT_SECONDS = 5
COMMAND_SECONDS = 10
RETRIES_MAX = 5
_LOCAL = frozenset({"", "localhost", "127.0.0.1", "::1"})
_SESSION = {
    "application_name": "parley",
    "synchronous_commit": "on",
    "statement_timeout": "8000",
    "lock_timeout": "5000",
    "idle_in_transaction_session_timeout": "10000",
    "timezone": "UTC",
}
_RETRIED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_CONFUSED = (asyncpg.InternalClientError, asyncpg.InterfaceError)
_BROKEN = (asyncpg.PostgresError, *_CONFUSED, OSError, TimeoutError, asyncio.TimeoutError)


class PostgresDriver:
    """A pool of connections. Nothing of one use outlives it (no session state is ever set), so the usual RESET round trip is saved."""

    dialect = "postgresql"

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def read(self, sql: str, values: Values = ()) -> list[Row]:
        with PlainErrors():
            async with self._borrowed() as connection:
                rows = await connection.fetch(numbered(sql), *values)
        return [tuple(row) for row in rows[:ROWS_MAX]]

    async def write(self, work: Callable[[], Work[Result]]) -> Result:
        with PlainErrors():
            async with self._borrowed() as connection:
                return await _retried(connection, work)

    async def claim(self, work: Callable[[], Work[Result]]) -> Result:
        return await self.write(work)

    async def scrub(self, tables: tuple[str, ...]) -> None:
        """Vacuum, so that dead rows leave the tables. PostgreSQL's own log and backups keep older images until they are recycled."""
        with PlainErrors():
            async with self._borrowed() as connection:
                await connection.execute(f"VACUUM {', '.join(tables)}")

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Connection]:
        """A connection of the pool. One that lost its place in the protocol is cut, so that nobody after us meets its remains.

        The limit on waiting costs a task of its own, so it is only set where there is something to wait for.
        """
        waits = self._pool.get_idle_size() == 0
        async with self._pool.acquire(timeout=CONNECT_SECONDS if waits else None) as connection:
            try:
                yield connection
            except _CONFUSED:
                connection.terminate()
                raise

    async def aclose(self) -> None:
        try:
            await asyncio.wait_for(self._pool.close(), COMMAND_SECONDS)
        except _BROKEN:
            self._pool.terminate()


async def open_postgres(url: str) -> PostgresDriver:
    """Raises RecordsUnavailable when it cannot be reached, ValueError when it is remote and the connection would not be verified TLS."""
    require_tls(url)
    with PlainErrors():
        pool = await asyncpg.create_pool(
            url, min_size=1, max_size=CONNECTIONS_MAX, timeout=CONNECT_SECONDS, command_timeout=COMMAND_SECONDS,
            server_settings=_SESSION, reset=_keep_session,
        )  # fmt: skip
    return PostgresDriver(pool)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """One connection outside any pool, for migrations: it may wait a minute for another process's migration."""
    require_tls(url)
    settings = _SESSION | {"statement_timeout": "60000", "lock_timeout": "60000"}
    with PlainErrors():
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS, command_timeout=60, server_settings=settings)
        try:
            yield connection
        finally:
            await connection.close(timeout=CONNECT_SECONDS)


def require_tls(url: str) -> None:
    """Raises ValueError where the server is on another machine and its certificate would not be checked."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    hosts = query.get("host", []) + [host.rpartition("@")[2] for host in [parts.hostname or ""]]
    local = all(host in _LOCAL or host.startswith("/") for host in hosts)
    if not local and query.get("sslmode", [""])[-1] not in {"verify-full", "verify-ca"}:
        raise ValueError("records: a remote PostgreSQL needs sslmode=verify-full")


@lru_cache(maxsize=512)
def numbered(sql: str) -> str:
    """`?` becomes `$1`, `$2`, … as PostgreSQL wants them. Our SQL holds no other question mark."""
    counter = itertools.count(1)
    return "".join(f"${next(counter)}" if letter == "?" else letter for letter in sql)


async def _retried(connection: Connection, work: Callable[[], Work[Result]]) -> Result:
    for attempt in range(RETRIES_MAX):
        try:
            async with connection.transaction():
                return await _run_steps(connection, work())
        except _RETRIED:
            if attempt == RETRIES_MAX - 1:
                raise
    raise RecordsUnavailable("no try was made")


async def _run_steps(connection: Connection, work: Work[Result]) -> Result:
    try:
        sql, values = next(work)
        while True:
            sql, values = work.send([tuple(row) for row in await connection.fetch(numbered(sql), *values)])
    except StopIteration as end:
        return cast(Result, end.value)
    finally:
        work.close()


async def _keep_session(connection: Connection) -> None:
    """In place of asyncpg's RESET round trip after each use."""


class PlainErrors:
    """Turns the library's errors into ours, by name only: PostgreSQL's messages quote values and rows."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Fault):
            return
        if isinstance(error, asyncpg.IntegrityConstraintViolationError):
            raise RecordsConflict("a constraint refused the write") from None
        if isinstance(error, _BROKEN):
            raise RecordsUnavailable(type(error).__name__) from None
