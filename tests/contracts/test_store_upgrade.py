"""Consent that was stored by the first schema stands after the upgrade, word for word; and nobody uses the upgrade to smuggle rows in."""

from __future__ import annotations

import asyncio
import importlib
import json
import secrets
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from parley.model.grants import Budget, Grant, GrantState
from parley.model.refusals import Fault
from parley.model.words import Delivery, Projection, Provenance, Purpose
from parley.store import FileKeyRing, open_records
from parley.store.driver import only
from parley.store.postgres import numbered
from parley.store.records import _gateway_keys, _open_driver

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
CUSTOMER, ERASED = "8f" * 16, "03" * 16
GIVEN = Grant(
    id="ab" * 16, handle=bytes(range(16)), version=2, state=GrantState.ACTIVE, customer=CUSTOMER, platform="chat.example", channel="web",
    purpose=Purpose.ANSWER_CUSTOMER, projections=frozenset({Projection.BALANCE_AVAILABLE, Projection.AFFORD_YESNO}),
    accounts=("0123456789abcdef", "fedcba9876543210"), delivery=Delivery.INLINE, lookback_days=90, provenance=Provenance.ANY,
    budget=Budget(20, 100), created_at=NOW - timedelta(days=3), expires_at=NOW + timedelta(days=87), text_hash="5c" * 32,
    policy_digest="a digest", log_index=7,
)  # fmt: skip
OLD_COLUMNS = (
    "id, version, latest, handle, state, customer, platform, channel, purpose, projections, accounts, delivery, lookback_days, provenance, "
    "answers_per_day, rows_per_day, created_at, expires_at, text_hash, policy_digest, log_index"
)


def _old_row(version: int, latest: int, state: str, **other: Any) -> tuple[Any, ...]:
    grant = GIVEN
    row = {
        "id": grant.id, "version": version, "latest": latest, "handle": grant.handle, "state": state, "customer": grant.customer,
        "platform": grant.platform, "channel": grant.channel, "purpose": grant.purpose.value,
        "projections": json.dumps(sorted(grant.projections), separators=(",", ":")),
        "accounts": json.dumps(grant.accounts, separators=(",", ":")), "delivery": "inline", "lookback_days": 90, "provenance": "any",
        "answers_per_day": 20, "rows_per_day": 100, "created_at": int(grant.created_at.timestamp()) * 1_000_000 + 456,
        "expires_at": int(grant.expires_at.timestamp()) * 1_000_000 + 123_456, "text_hash": grant.text_hash,
        "policy_digest": grant.policy_digest, "log_index": grant.log_index,
    }  # fmt: skip
    return tuple((row | other)[name] for name in OLD_COLUMNS.split(", "))


async def _fill_first_schema(url: str, keys: FileKeyRing) -> None:
    """A database as the first schema left it: one linked customer with a grant and its history, and an erased one's revoked grant."""
    await _first_schema(url)
    driver = await _open_driver(url)
    try:
        gateway = await _gateway_keys(driver, keys)
        key, conversation = gateway.conversation("web", "conversation-one")
        wrapped = await keys.wrap(secrets.token_bytes(32))
        for sql, values in (
            ("INSERT INTO customers (id, wrapped_key, created_at) VALUES (?, ?, ?)", (CUSTOMER, wrapped, 1)),
            ("INSERT INTO tombstones (customer, erased_at) VALUES (?, ?)", (ERASED, 1)),
            (
                "INSERT INTO links (key, channel, conversation_hash, customer, linked_at) VALUES (?, ?, ?, ?, ?)",
                (key, "web", conversation, CUSTOMER, 1),
            ),
            ("INSERT INTO revocations_due (grant_id, due_at) VALUES (?, ?)", ("cd" * 16, 1)),
        ):
            await driver.write(only(sql, *values))
        for row in (
            _old_row(1, 0, "active"),
            _old_row(2, 1, "active"),
            _old_row(2, 1, "revoked", id="cd" * 16, customer=ERASED, handle=bytes(16)),
        ):
            await driver.write(only(f"INSERT INTO grants ({OLD_COLUMNS}) VALUES ({', '.join('?' * len(row))})", *row))
    finally:
        await driver.aclose()


async def _first_schema(url: str) -> None:
    module = importlib.import_module("parley.store.migrate")
    sqlite = url.startswith("sqlite")
    wanted, module.SCHEMA_VERSION = module.SCHEMA_VERSION, "0001"
    try:
        statements = module.steps_sql("sqlite" if sqlite else "postgresql", "")
    finally:
        module.SCHEMA_VERSION = wanted
    if sqlite:
        path = module.sqlite_path(url)
        module.prepare_file(path)
        with sqlite3.connect(path) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()
        return
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(numbered(statement))
    finally:
        await connection.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def old_records(request: pytest.FixtureRequest, tmp_path) -> str:
    """The address of records in the first schema, their keys in `tmp_path/keys`."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'data' / 'records.db'}"
    else:
        server = request.getfixturevalue("postgres_server")
        name = f"old_{secrets.token_hex(6)}"
        server.run(f"CREATE DATABASE {name}")
        request.addfinalizer(lambda: server.run(f"DROP DATABASE {name} WITH (FORCE)"))
        url = server.database(name)
    asyncio.run(_fill_first_schema(url, FileKeyRing(tmp_path / "keys")))
    return url


def test_consent_of_the_first_schema_stands_after_the_upgrade(old_records, tmp_path):
    async def story() -> None:
        records = await open_records(old_records, FileKeyRing(tmp_path / "keys"), lambda: NOW)
        try:
            assert await records.customer_of("web", "conversation-one") == CUSTOMER
            assert await records.grants_of(CUSTOMER, active_only=True, now=NOW) == (GIVEN,)
            assert [found.version for found in await records.grant_history(GIVEN.id)] == [1, 2]
            assert [(due.id, due.customer, due.state) for due in await records.revocations_due()] == [("cd" * 16, ERASED, GrantState.REVOKED)]
            await records.revocation_told("cd" * 16, 9)
            assert await records.find_grant("cd" * 16) is None
            revoked = await records.revoke_grant(GIVEN.id, NOW)
            assert (revoked.version, revoked.state) == (3, GrantState.REVOKED)
        finally:
            await records.aclose()

    asyncio.run(story())


def test_an_upgrade_does_not_mark_rows_twice(old_records, tmp_path):
    """Rows are marked once. What somebody puts into the database afterwards stays unmarked, through any number of restarts."""

    async def story() -> None:
        for _ in range(2):
            records = await open_records(old_records, FileKeyRing(tmp_path / "keys"), lambda: NOW)
            await records._driver.write(only("UPDATE grants SET mac = NULL"))
            await records.aclose()
        records = await open_records(old_records, FileKeyRing(tmp_path / "keys"), lambda: NOW)
        try:
            with pytest.raises(Fault):
                await records.grants_of(CUSTOMER, active_only=True, now=NOW)
        finally:
            await records.aclose()

    asyncio.run(story())
