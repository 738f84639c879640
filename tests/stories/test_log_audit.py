"""An auditor with the data directory alone: what the log holds, and that tampering shows."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from base64 import b64encode
from pathlib import Path

import msgspec
import pytest
import uvloop

from parley.log.audit import AuditReport, audit
from parley.log.client import NotaryClient
from parley.proof import canonical
from tests.notary_process import NotaryProcess

BUCKET = int(time.time()) // 600 * 600


def line(kind: str, **more: str | int) -> bytes:
    return canonical({"b": BUCKET, "k": kind, "v": 1, **more})


def release(purpose: str, projection: str, channel: str = "web") -> bytes:
    commitment = b64encode(os.urandom(32)).decode()
    return line("release", c=commitment, ch=channel, d=projection, n=0, p=f"{channel}.example", pol="policy-a", u=purpose)


async def _fill(notary: NotaryProcess) -> None:
    client = NotaryClient(notary.socket_path, call_seconds_max=20)
    handle = os.urandom(16)
    await client.record(line("build", build="0.1.0"))
    await client.record(line("policy", pol="policy-a"))
    await client.open_grant(line("grant", c=b64encode(bytes(32)).decode()), handle=handle, version=1)
    asked = [("dpv:RequestedServiceProvision", "balance.available", "web")] * 400
    asked += [("dpv:PaymentManagement", "afford.yesno", "alexa")] * 3
    await asyncio.gather(*(client.record(release(*each), handle=handle, version=1) for each in asked))
    await client.record(line("refusal", ch="web", code="purpose_forbidden", p="web.example"))
    await client.record(line("refusal", ch="web", code="no_grant", p="web.example"))
    await client.close_grant(line("revoke", c=b64encode(bytes(32)).decode()), handle=handle)
    await client.aclose()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("filled")
    notary = NotaryProcess(data, data / "s", origin="bank.example/log")
    notary.start()
    uvloop.run(_fill(notary))
    beside = audit(data)
    assert notary.stop() == 0
    assert audit(data) == beside
    return data


@pytest.fixture
def copy(filled: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled / "notary", tmp_path / "notary")
    return tmp_path


def tampered(data: Path, *statements: str) -> AuditReport:
    with sqlite3.connect(data / "notary" / "log.sqlite3") as database:
        for statement in statements:
            database.execute(statement)
    database.close()
    return audit(data)


def test_the_report_counts_what_left_and_why_and_finds_no_advertising(filled: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = audit(filled, lambda done, total: seen.append((done, total)))
    assert report.sound and report.problems == []
    assert report.origin == "bank.example/log" and report.size == 409
    assert report.kinds == {"build": 1, "grant": 1, "policy": 1, "refusal": 2, "release": 403, "revoke": 1}
    assert report.releases == 403
    assert report.releases_by_purpose == {"dpv:RequestedServiceProvision": 400, "dpv:PaymentManagement": 3}
    assert report.releases_by_platform == {"web.example": 400, "alexa.example": 3}
    assert report.releases_by_channel == {"web": 400, "alexa": 3}
    assert report.releases_by_projection == {"balance.available": 400, "afford.yesno": 3}
    assert report.refusals_by_code == {"purpose_forbidden": 1, "no_grant": 1}
    assert (report.advertising_releases, report.advertising_refused) == (0, 1)
    assert [(policy.digest, policy.index, policy.releases) for policy in report.policies] == [("policy-a", 1, 403)]
    assert (report.silent_buckets, report.first_bucket, report.last_bucket) == (0, BUCKET, BUCKET)
    assert report.heads >= 5
    assert seen[-1] == (409, 409)
    assert msgspec.json.decode(msgspec.json.encode(report), type=AuditReport) == report


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET entry = replace(entry, 'web', 'bew') WHERE position = 200",
        "DELETE FROM entries WHERE position = 200",
        "DELETE FROM entries WHERE position = 408",
        "DELETE FROM entries",
        "UPDATE entries SET position = 10000 WHERE position = 408",
        "UPDATE heads SET root = zeroblob(32) WHERE size = (SELECT max(size) FROM heads)",
        "UPDATE heads SET root = zeroblob(32) WHERE size = 2",
        "UPDATE heads SET signature = zeroblob(64) WHERE size = (SELECT max(size) FROM heads)",
        "UPDATE heads SET size = size + 1 WHERE size = (SELECT max(size) FROM heads)",
        "UPDATE log SET vkey = 'other+00000000+AAAA'",
        "UPDATE log SET origin = 'other.example/log'",
        "DELETE FROM heads WHERE size = (SELECT max(size) FROM heads)",
    ],
)
def test_a_log_changed_on_disk_is_not_sound(copy: Path, statement: str) -> None:
    report = tampered(copy, statement)
    assert not report.sound and report.problems
    assert all(problem.endswith(".") for problem in report.problems)


def test_an_advertising_release_smuggled_into_a_log_is_counted_and_reported(copy: Path) -> None:
    smuggled = release("dpv:TargetedAdvertising", "transactions.all").decode()
    report = tampered(copy, f"INSERT INTO entries VALUES (409, CAST('{smuggled}' AS BLOB), x'')")
    assert report.advertising_releases == 1 and not report.sound
    assert any("forbidden purpose" in problem for problem in report.problems)


def test_a_release_under_a_policy_that_was_never_announced_is_reported(copy: Path) -> None:
    stranger = release("dpv:RequestedServiceProvision", "balance.available").replace(b"policy-a", b"policy-z").decode()
    report = tampered(copy, f"INSERT INTO entries VALUES (409, CAST('{stranger}' AS BLOB), x'')")
    assert any("policy-z" in problem for problem in report.problems)


@pytest.mark.parametrize(
    ("odd", "sentence"),
    [
        ('{"b":0,"k":"release","k":"refusal","v":1}', "canonical"),
        ('{"b":0,"k":"advert","v":1}', "known kind"),
        ('{"k":"policy","v":1}', "known kind"),
        ('{"b":600,"k":"policy","v":1}', "time goes back"),
        ("[" * 500, "canonical"),
    ],
)
def test_an_entry_out_of_form_is_named(copy: Path, odd: str, sentence: str) -> None:
    report = tampered(copy, f"INSERT INTO entries VALUES (409, CAST('{odd}' AS BLOB), x'')")
    assert any(sentence in problem and "409" in problem for problem in report.problems)


def test_hidden_words_beside_the_commitment_do_not_slip_through_the_counting(copy: Path) -> None:
    honest = release("dpv:RequestedServiceProvision", "balance.available").decode()
    place = honest.index('"c":"') + 5
    forged = honest[:place] + "x" * 20 + '","u":"dpv:Advertising' + honest[place + 42 :]
    report = tampered(copy, f"INSERT INTO entries VALUES (409, CAST('{forged}' AS BLOB), x'')")
    assert any(problem.startswith("Entry 409") for problem in report.problems)


def test_time_without_any_entry_is_counted(copy: Path) -> None:
    later = canonical({"b": BUCKET + 3000, "k": "policy", "v": 1}).decode()
    assert tampered(copy, f"INSERT INTO entries VALUES (409, CAST('{later}' AS BLOB), x'')").silent_buckets == 4


def test_where_there_is_no_log_there_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        audit(tmp_path)


def test_auditing_changes_nothing(copy: Path) -> None:
    database = copy / "notary" / "log.sqlite3"
    before = database.read_bytes()
    assert audit(copy).sound
    assert database.read_bytes() == before
