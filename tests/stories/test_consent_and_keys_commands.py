"""What an operator types: whose consent stands, an end to it, an erasure, a rotation of the wrapping key."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from parley.cli.demo import write_config
from parley.cli.supervise import private_folder
from parley.settings import load_settings
from parley.store import FileKeyRing, Records
from tests.fixtures_postgres import RecordsBench
from tests.house import parley


@pytest.fixture
def house(tmp_path: Path) -> tuple[Path, RecordsBench]:
    """A folder with settings and records, as `parley serve` would open them."""
    data = private_folder(tmp_path / "data")
    config = write_config(data, "http://127.0.0.1:1", 1, "http://127.0.0.1:2", "")
    settings = load_settings(config)
    return config, RecordsBench(settings.records, settings.data / "keys")


def told(config: Path, *arguments: str) -> str:
    done = parley(*arguments, "--config", config)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_operator_lists_revokes_and_erases_and_sees_no_value(house):
    config, bench = house
    kept: list[str] = []

    async def link(records: Records) -> None:
        customer, grant = await bench.linked(records)
        other = bench.grant(customer)
        await records.join("web", "conversation-one", customer, (other,))
        kept.extend((customer, grant.id, other.id))

    bench.run(link)
    customer, grant, other = kept
    listed = told(config, "consent", "list", "--conversation", "web:conversation-one", "--json")
    assert {row["grant"]: row["state"] for row in json.loads(listed)} == {grant: "active", other: "active"}
    assert not any(value in listed for value in ("Holiday savings", "Q7X9", "native", "access-", "0123456789abcdef"))
    assert "1 grant revoked" in told(config, "consent", "revoke", "--grant", grant)
    assert "1 grant revoked" in told(config, "consent", "revoke", "--customer", customer)
    assert {row["state"] for row in json.loads(told(config, "consent", "list", "--customer", customer, "--json"))} == {"revoked"}
    assert "Erased" in told(config, "consent", "erase", "--customer", customer, "--yes")

    async def look(records: Records) -> None:
        assert await records.vault_of(customer) is None
        assert {due.id for due in await records.revocations_due()} == {grant, other}  # The gateways will tell the notary.

    bench.run(look)
    for wrong in (["--customer", customer, "--yes"], ["--conversation", "web:conversation-one", "--yes"], ["--yes"]):
        assert parley("consent", "erase", *wrong, "--config", config).returncode == 1


def test_a_wrapping_key_is_rotated_while_a_gateway_runs_and_destroyed_when_nothing_hangs_on_it(house):
    config, bench = house

    async def story(records: Records) -> None:
        """`records` is the running gateway's."""
        early, _ = await bench.linked(records, "early")
        first = await asyncio.to_thread(parley, "keys", "rotate", "--config", config, "--json")
        assert json.loads(first.stdout) == {"key": 2, "wrapped_again": 2, "finished_an_earlier_rotation": False}
        late, _ = await bench.linked(records, "late", "conversation-two")
        assert await records.wrapped_by() == {2: 3}  # The gateway wraps under the new key from the next customer on.
        refused = await asyncio.to_thread(parley, "keys", "destroy", "2", "--yes", "--config", config)
        assert (refused.returncode, "in use" in refused.stderr or "hang" in refused.stderr) == (1, True)
        await asyncio.to_thread(told, config, "keys", "destroy", "1", "--yes")
        assert (await records.open_case(bench.question())).customer == early
        assert await records.bank_tokens(late) is not None
        assert await (await bench.second()).bank_tokens(early) is not None

    bench.run(story)
    assert [row["key"] for row in json.loads(told(config, "keys", "list", "--json"))] == [2]


def test_a_rotation_that_was_interrupted_is_finished_before_another_begins(house):
    config, bench = house

    async def story(records: Records) -> None:
        for number in range(3):
            await bench.linked(records, f"owner-{number}", f"conversation-{number}")
        await FileKeyRing(bench.keys_directory).rotate()  # and then the power went out

    bench.run(story)
    assert json.loads(told(config, "keys", "rotate", "--json")) == {"key": 2, "wrapped_again": 4, "finished_an_earlier_rotation": True}
    assert json.loads(told(config, "keys", "rotate", "--json"))["key"] == 3
