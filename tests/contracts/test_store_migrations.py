"""The schema moves forward only, once, and never under a Parley that does not know it."""

from __future__ import annotations

import asyncio
import importlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from parley.store import SCHEMA_VERSION, FileKeyRing, RecordsNewer, migrate, open_records
from parley.store.migrate import split_statements

TABLES = {
    "authorizations", "clients", "codes", "seen_tokens", "tokens",
    "attempts", "bank_links", "customers", "gateway_keys", "grants", "links", "revocations_due", "schema_version",
    "sessions", "tombstones", "passkeys", "sign_ins", "disclosures", "nicknames", "reminders",
    "ledger_writers", "ledger_gaps", "ledger_looked",
    "bank_revocations_due", "grant_versions", "links_waiting", "terms",
    "policies", "proposals", "staff", "staff_acts", "staff_passkeys", "staff_sessions", "staff_tickets", "switches",
}  # fmt: skip


def _environment() -> dict[str, str]:
    import parley

    return os.environ | {"PYTHONPATH": str(Path(parley.__file__).parents[1])}


def _python(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True, env=_environment())


def test_the_newest_version_is_the_one_that_alembic_knows():
    module = importlib.import_module("parley.store.migrate")
    config = Config()
    config.set_main_option("script_location", str(Path(module.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "newline")
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_VERSION]


def test_an_empty_file_becomes_the_newest_schema(tmp_path):
    url = f"sqlite:///{tmp_path / 'data' / 'records.db'}"
    assert asyncio.run(migrate(url)) == ""
    assert asyncio.run(migrate(url)) == SCHEMA_VERSION
    with sqlite3.connect(tmp_path / "data" / "records.db") as connection:
        found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert found == TABLES


def test_an_empty_postgresql_becomes_the_newest_schema_even_when_three_processes_start_at_once(postgres_server):
    postgres_server.run("CREATE DATABASE raced")
    program = "import asyncio, sys; from parley.store import migrate; print(repr(asyncio.run(migrate(sys.argv[1]))))"
    processes = [_python(program, postgres_server.database("raced")) for _ in range(3)]
    outputs = sorted(process.communicate(timeout=60)[0].strip() for process in processes)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert outputs.count("''") == 1
    assert set(outputs) == {"''", repr(SCHEMA_VERSION)}
    found = postgres_server.run("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", "raced")
    assert {row[0] for row in found} == TABLES | {"budgets", "seen_messages"}
    postgres_server.run("DROP DATABASE raced")


def test_an_empty_file_survives_three_processes_that_start_at_once(tmp_path):
    program = "import asyncio, sys; from parley.store import migrate; print(repr(asyncio.run(migrate(sys.argv[1]))))"
    processes = [_python(program, f"sqlite:///{tmp_path / 'data' / 'records.db'}") for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert outputs.count("''") == 1
    assert set(outputs) == {"''", repr(SCHEMA_VERSION)}


@pytest.mark.parametrize("version", ["0999", "9999", "banana"])
def test_records_of_a_newer_parley_are_refused(tmp_path, version):
    url = f"sqlite:///{tmp_path / 'data' / 'records.db'}"
    asyncio.run(migrate(url))
    with sqlite3.connect(tmp_path / "data" / "records.db") as connection:
        connection.execute("UPDATE schema_version SET version_num = ?", (version,))
    connection.close()
    with pytest.raises(RecordsNewer, match="install the newer one"):
        asyncio.run(migrate(url))


def test_records_of_a_newer_parley_are_refused_on_postgresql(postgres_server, postgres_url, tmp_path):
    name = postgres_url.partition("?")[0].rpartition("/")[2]
    postgres_server.run("UPDATE schema_version SET version_num = '0999'", name)
    with pytest.raises(RecordsNewer):
        asyncio.run(open_records(postgres_url, FileKeyRing(tmp_path / "keys"), lambda: None))


def test_alembic_is_not_loaded_when_there_is_nothing_to_do(tmp_path):
    url = f"sqlite:///{tmp_path / 'data' / 'records.db'}"
    asyncio.run(migrate(url))
    program = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from parley.store import FileKeyRing, open_records
async def main():
    records = await open_records(sys.argv[1], FileKeyRing(Path(sys.argv[2])), lambda: datetime.now(UTC))
    await records.aclose()
asyncio.run(main())
print(sorted({"alembic", "sqlalchemy", "asyncpg"} & sys.modules.keys()))
"""
    process = _python(program, url, str(tmp_path / "keys"))
    assert process.communicate(timeout=60)[0].strip() == "[]"


def test_a_failing_step_leaves_the_database_as_it_was(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'data' / 'records.db'}"
    module = importlib.import_module("parley.store.migrate")
    monkeypatch.setattr(module, "steps_sql", lambda *_: ["CREATE TABLE half (a INTEGER)", "CREATE TABLE half (a INTEGER)"])
    with pytest.raises(Exception, match="could not be brought up to date"):
        asyncio.run(migrate(url))
    monkeypatch.undo()
    assert asyncio.run(migrate(url)) == ""


@pytest.mark.parametrize("url", ["mysql://host/db", "sqlite://", "sqlite:///", "", "file.db"])
def test_a_foreign_address_of_the_records_is_refused(url):
    with pytest.raises(ValueError, match="the URL must start with"):
        asyncio.run(migrate(url))


def test_a_script_that_ends_within_a_statement_is_not_run():
    script = "-- a note\nCREATE TABLE a (\n b INT\n);\n\nDROP TABLE a;\n"
    assert split_statements(script) == ["-- a note\nCREATE TABLE a (\n b INT\n);", "DROP TABLE a;"]
    with pytest.raises(ValueError, match="middle"):
        split_statements("CREATE TABLE a (")
