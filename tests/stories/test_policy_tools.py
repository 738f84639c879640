"""A privacy officer with a policy, a log and the records: what the policy says, what a change would do, and never a value."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvloop

from parley.log.client import NotaryClient
from parley.log.history import ReleaseClass, TooManyKinds, release_history
from parley.model.words import Projection, Purpose
from parley.proof import canonical
from tests.notary_process import NotaryProcess

MONTHS = (datetime(2026, 9, 14, 10, tzinfo=UTC), datetime(2026, 10, 2, 8, tzinfo=UTC), datetime(2026, 11, 20, 18, tzinfo=UTC))
LEFT = {
    Projection.AFFORD_YESNO: (5, 4, 6),
    Projection.BALANCE_AVAILABLE: (3, 2, 1),
    Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT: (0, 7, 2),
}
"""How many releases of each there are in the log, month by month."""


def line(kind: str, moment: datetime, **more: str | int) -> bytes:
    return canonical({"b": int(moment.timestamp()) // 600 * 600, "k": kind, "v": 1, **more})


def release(moment: datetime, projection: str, *, platform: str = "parley-web", purpose: str = Purpose.ANSWER_CUSTOMER.dpv, size: int = 0) -> bytes:
    commitment = b64encode(os.urandom(32)).decode()
    return line("release", moment, c=commitment, ch="web", d=projection, n=size, p=platform, pol="policy-a", u=purpose)


async def _fill(notary: NotaryProcess) -> None:
    client = NotaryClient(notary.socket_path, call_seconds_max=20)
    handle = os.urandom(16)
    await client.record(line("policy", MONTHS[0], pol="policy-a"))
    await client.open_grant(line("grant", MONTHS[0], c=b64encode(bytes(32)).decode()), handle=handle, version=1)
    for number, month in enumerate(MONTHS):
        for projection, counts in LEFT.items():
            size = 2 if projection.reads_transactions else 0
            entries = [release(month, projection, size=size) for _ in range(counts[number])]
            await asyncio.gather(*(client.record(entry, handle=handle, version=1) for entry in entries))
        await client.record(line("refusal", month, ch="web", code="not_allowed", p="parley-web"))
    await client.aclose()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data directory with the log of three months, beside its running notary."""
    data = tmp_path_factory.mktemp("filled")
    notary = NotaryProcess(data, data / "s", origin="bank.example/log", options=("--heartbeat-seconds", "3600"))
    notary.start()
    uvloop.run(_fill(notary))
    yield data
    notary.stop()


# The log's history


def test_the_history_counts_releases_by_what_everyone_may_know(filled: Path) -> None:
    seen: list[tuple[int, int]] = []
    history = release_history(filled, lambda done, total: seen.append((done, total)))
    assert history.unreadable == 0 and history.entries == 35 and seen[-1] == (35, 35)
    wanted = {
        ReleaseClass("parley-web", "web", "dpv:RequestedServiceProvision", each, 2 if each.reads_transactions else 0, f"{month:%Y-%m}"): count
        for each, counts in LEFT.items()
        for month, count in zip(MONTHS, counts, strict=True)
        if count
    }
    assert history.releases == wanted
    assert history.total == sum(map(sum, LEFT.values()))


def test_an_entry_that_cannot_be_read_is_counted_and_hides_no_other(filled: Path, tmp_path: Path) -> None:
    shutil.copytree(filled / "notary", tmp_path / "notary")
    with sqlite3.connect(tmp_path / "notary" / "log.sqlite3") as database:
        for position, entry in ((3, b"{"), (4, b"\xff\x00"), (5, b"[" * 5000), (6, b'{"k":"release","b":99999999999999999}'), (7, b'{"b":1}')):
            database.execute("UPDATE entries SET entry = ? WHERE position = ?", (entry, position))
    database.close()
    history = release_history(tmp_path)
    assert (history.entries, history.unreadable) == (35, 5)
    assert history.total == sum(map(sum, LEFT.values())) - 5


def test_a_log_that_names_kinds_without_end_does_not_fill_the_memory(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley.log.history.CLASSES_MAX", 3)
    with pytest.raises(TooManyKinds):
        release_history(filled)
