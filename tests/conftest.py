"""Fixtures that every shelf may use: a real PostgreSQL, and the whole house on both kinds of records."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.fixtures_postgres import (
    PostgresServer,
    bench_of_records,
    postgres_bench,
    postgres_server,
    postgres_template,
    postgres_url,
)
from tests.house import RunningHouse

__all__ = ["bench_of_records", "house", "postgres_bench", "postgres_server", "postgres_template", "postgres_url", "small_house"]

GENEROUS = "answers_per_day = 1000000\nrows_per_day = 10000000\n"
"""One customer of the demo bank serves many tests; budgets have a test of their own."""


def postgres_settings(server: PostgresServer) -> str:
    """An empty database of its own, which the gateways themselves bring to the newest schema, and two gateways on it."""
    name = f"house_{secrets.token_hex(6)}"
    server.run(f"CREATE DATABASE {name}")
    return f'records_url = "{server.database(name)}"\ngateways = 2\n'


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    """The running house; on PostgreSQL with two gateways. Shared: a test links conversations of its own and leaves no fault behind."""
    extra = GENEROUS
    if request.param == "postgresql":
        extra += postgres_settings(request.getfixturevalue("postgres_server"))
    running = RunningHouse(tmp_path_factory.mktemp("house"), extra, records=request.param).start()
    yield running
    running.stop_unharmed()


@pytest.fixture(scope="session")
def small_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    """One gateway on SQLite, as `parley demo` starts it but with small budgets."""
    running = RunningHouse(tmp_path_factory.mktemp("small"), "answers_per_day = 4\nrows_per_day = 12\n").start()
    yield running
    running.stop_unharmed()
