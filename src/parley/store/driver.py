"""What a database driver does for the records: one read, or one unit of work in a transaction.

A unit of work is a generator: it yields statements and is sent their rows, so the same lines run inside SQLite's writer thread and
over PostgreSQL's asynchronous connection. Raising inside it undoes everything that it did, and nothing that others did.
SQL is written once, in the subset that both databases understand, with `?` where a value goes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeAlias, TypeVar

from parley.model.refusals import Fault, RecordsUnavailable

Value: TypeAlias = str | bytes | int | None
Values: TypeAlias = tuple[Value, ...]
Row: TypeAlias = tuple[Any, ...]
Step: TypeAlias = tuple[str, Values]
Result = TypeVar("Result")
Work: TypeAlias = Generator[Step, list[Row], Result]

ROWS_MAX = 10_000
"""No read of ours needs more rows; what does is written in pages."""


class RecordsConflict(Fault):
    """A constraint of the schema said no: two things that must differ are the same, or what a row points to is gone."""

    code = "records_conflict"


class RecordsNewer(RecordsUnavailable):
    """The database was written by a newer Parley. Running on would lose what the newer one knows, so the start is refused."""

    code = "records_newer"


class Driver(Protocol):
    """Every method raises RecordsUnavailable when the database is out of reach, refuses the write or takes too long."""

    dialect: str

    async def read(self, sql: str, values: Values = ()) -> list[Row]:
        """All rows of one committed state."""

    async def write(self, work: Callable[[], Work[Result]]) -> Result:
        """Run the unit of work and return what it returns once it is durable. What it raises is raised here, after undoing it.

        `work` may be called again where the database asks for a retry, so it must have no effect of its own.
        """

    async def claim(self, work: Callable[[], Work[Result]]) -> Result:
        """As `write`, for `seen_messages` and `budgets` only. On SQLite durable against the end of the process, not against a power cut."""

    async def scrub(self, tables: tuple[str, ...]) -> None:
        """Make deleted rows of these tables unreadable in the database's own files, as far as the engine allows."""

    async def aclose(self) -> None: ...


def only(sql: str, *values: Value) -> Callable[[], Work[list[Row]]]:
    """A unit of work of one statement, returning its rows."""

    def work() -> Work[list[Row]]:
        return (yield sql, values)

    return work
