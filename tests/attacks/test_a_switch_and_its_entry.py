"""A process that dies while somebody pulls a switch: whatever took effect, the log hears of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from parley.console.officer.decisions import SwitchDesk
from parley.console.officer.journal import UNTRIED_FOR, Journal
from parley.model.staff import Role, Scope, StaffMember, SwitchName
from parley.policy import Policy
from parley.proof import Inclusion
from parley.store import Records
from tests.fakes.road import policy_from
from tests.fixtures_postgres import RecordsBench

EVERYTHING = SwitchName(Scope.EVERYTHING)


class PaperLog:
    def __init__(self) -> None:
        self.kept: list[bytes] = []

    async def record(self, entry: bytes, side: bytes, *, handle: bytes | None, version: int | None) -> Inclusion:
        self.kept.append(entry)
        return Inclusion(len(self.kept) - 1, b"", ())

    async def entries(self, first: int, count: int) -> list[bytes]:
        return self.kept[first : first + count]


@dataclass(frozen=True)
class InForce:
    """The policy in force, which nothing here changes."""

    policy: Policy
    version: int = 0

    def current(self) -> Policy:
        return self.policy

    async def loaded(self, sources: Mapping[str, bytes]) -> Policy:
        return self.policy


class Killed:
    """The process ends as it looks at the switch that it has just pulled."""

    async def look(self) -> None:
        raise asyncio.CancelledError


def test_a_switch_that_was_pulled_as_the_process_died_is_in_the_log_later(bench_of_records: RecordsBench, tmp_path: Path) -> None:
    bench, log = bench_of_records, PaperLog()

    async def story(records: Records) -> None:
        policies = InForce(policy_from(tmp_path))
        journal = Journal(records, log, lambda: bench.now)
        rosa = StaffMember(secrets.token_hex(8), "Rosa", Role.OFFICER, bench.now, enrolled=True)
        with pytest.raises(asyncio.CancelledError):
            await SwitchDesk(records, policies, journal, Killed(), lambda: bench.now).pull(rosa, EVERYTHING, "phishing")
        assert (await records.standing()).off == {EVERYTHING.key}
        assert log.kept == []
        bench.now += UNTRIED_FOR * 2
        await Journal(records, log, lambda: bench.now).tell()
        (entry,) = map(msgspec.json.decode, log.kept)
        assert (entry["k"], entry["act"], entry["by"]) == ("switch", "pull", rosa.id)

    bench.run(story)
