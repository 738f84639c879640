"""A policy tried on what the log says has left, and in a running house."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import uvloop

from parley.cli.policy_simulate import STOPPED, Outcome, outcome, simulated
from parley.cli.policy_words import LESSER
from parley.log.client import NotaryClient
from parley.log.history import History, ReleaseClass, TooManyKinds, release_history
from parley.model.words import Projection, Purpose
from parley.policy import Policy, load_policy
from parley.policy.packs import policy_place
from parley.proof import canonical
from parley.release.pipeline import Released
from tests.fakes.officer_desk import NO_MERCHANTS, own_copy, said, told
from tests.fakes.road import build_town
from tests.house import RunningHouse, parley, run
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


# simulate


def test_simulate_says_what_dropping_merchant_names_would_have_refused(filled: Path) -> None:
    code, report = told("policy", "simulate", "standard", "--data", filled, "--drop", "transactions.merchant_and_amount")
    assert code == 3
    assert (report["releases"], report["refused"], report["entries"], report["unreadable"]) == (30, 9, 35, 0)
    refused = {(each["projection"], each["month"]): each["releases"] for each in report["groups"] if each["outcome"] == "lesser"}
    assert refused == {("transactions.merchant_and_amount", "2026-10"): 7, ("transactions.merchant_and_amount", "2026-11"): 2}
    assert report["outcomes"] == {"lesser": 9, "same": 21}
    both = ("--drop", "transactions.merchant_and_amount", "--drop", "transactions.amount")
    assert told("policy", "simulate", "standard", "--data", filled, *both)[1]["outcomes"] == {"refused": 9, "same": 21}
    words = said("policy", "simulate", "standard", "--data", filled, "--drop", "transactions.merchant_and_amount")
    assert words.exit_code == 3 and "Of 30 releases in 35 entries, 9 would have been refused." in words.stdout
    assert "9 of these might have been told as less (transactions.merchant_and_amount as transactions.amount" in " ".join(words.stdout.split())
    code, nothing = told("policy", "simulate", "standard", "--data", filled)
    assert code == 0 and nothing["refused"] == 0 and nothing["outcomes"] == {"same": 30}


def test_simulate_tells_a_refusal_from_a_smaller_answer(filled: Path, tmp_path: Path) -> None:
    code, sealed = told("policy", "simulate", "cautious", "--data", filled)
    assert code == 3 and sealed["outcomes"] == {"undeliverable": 30} and sealed["refused"] == 30
    code, warnings = told("policy", "simulate", "fraud-alerts-only", "--data", filled)
    assert code == 3 and warnings["outcomes"] == {"refused": 30}
    code, nearly = told("policy", "simulate", own_copy(tmp_path / "nearly", ('@rows_max("25")', '@rows_max("11")')), "--data", filled)
    assert code == 0 and nearly["outcomes"] == {"same": 30}, "eleven may have been all there was"
    code, fewer = told("policy", "simulate", own_copy(tmp_path / "fewer", ('@rows_max("25")', '@rows_max("10")')), "--data", filled)
    assert code == 0 and fewer["outcomes"] == {"same": 21, "shortened": 9}
    code, here = told("policy", "simulate", own_copy(tmp_path / "here", (', Data::"off_platform"', "")), "--data", filled)
    assert code == 0 and here["outcomes"] == {"same": 21, "rows_withheld": 9}
    confirmed = ('context.channel == Channel::"web" &&', 'context.channel == Channel::"web" && context.assurance == Assurance::"confirmed" &&')
    code, sure = told("policy", "simulate", own_copy(tmp_path / "sure", confirmed), "--data", filled)
    assert code == 3 and sure["outcomes"] == {"step_up": 30}


def test_simulate_refuses_what_it_has_no_word_for(tmp_path: Path) -> None:
    """Entries of an older release, or of a platform that is gone: what the house would refuse today counts as refused."""
    history = History(
        entries=5,
        releases={
            ReleaseClass("parley-web", "web", "dpv:RequestedServiceProvision", "balance.of_old", 0, "2024-01"): 1,
            ReleaseClass("parley-web", "web", "dpv:Advertising", "balance.available", 0, "2024-01"): 1,
            ReleaseClass("gone.example", "web", "dpv:RequestedServiceProvision", "balance.available", 0, "2024-01"): 1,
            ReleaseClass("parley-web", "web", "dpv:RequestedServiceProvision", "balance.available", 0, "2024-01"): 1,
        },
        unreadable=1,
    )
    report = simulated(standard(), history, ())
    assert report.outcomes == {"refused": 3, "same": 1} and report.refused == 3


def test_simulate_says_where_it_looked_in_vain(tmp_path: Path, filled: Path) -> None:
    run = said("policy", "simulate", "standard", "--data", tmp_path)
    assert run.exit_code == 1 and "there is no log in" in run.stderr
    run = said("policy", "simulate", "standard", "--data", filled, "--drop", "merchants")
    assert run.exit_code == 1 and "transactions.merchant_and_amount" in run.stderr


# The whole way


def test_an_officer_sees_what_a_change_would_do_in_the_running_house(small_house: RunningHouse, tmp_path: Path) -> None:
    """A customer has asked; the officer wants to drop balances. The real commands, beside the running gateway, and no value in what they say."""

    async def ask() -> dict[str, Any]:
        async with small_house.visitor() as visitor:
            await visitor.link_as(small_house.customer("grace"))
            return await visitor.question("what's my balance?")

    answered = run(ask())
    assert answered["outcome"] == "answered"
    mine = tmp_path / "mine"
    assert parley("policy", "init", "standard", mine).returncode == 0
    rules = mine / "policy.cedar"
    rules.write_text(rules.read_text().replace(', Action::"balance.available"', ""))
    difference = parley("policy", "diff", "standard", mine, "--data", small_house.data, "--json")
    assert difference.returncode == 3, difference.stderr
    touched_now = json.loads(difference.stdout)["touched"]
    assert touched_now["customers"]["newly_refused"] >= 1 and touched_now["grants"]["newly_refused"] >= 1
    tried = parley("policy", "simulate", mine, "--data", small_house.data, "--json")
    assert tried.returncode == 3, tried.stderr
    groups = json.loads(tried.stdout)["groups"]
    assert {each["projection"] for each in groups if each["outcome"] == "lesser"} == {"balance.available"}
    figures = [line["value"] for line in answered["lines"]]
    for printed in (difference.stdout, difference.stderr, tried.stdout, tried.stderr):
        assert figures and not [figure for figure in figures if figure in printed]


def test_a_house_whose_settings_name_a_pack_does_what_the_pack_says(tmp_path: Path) -> None:
    """`policy_file = "fraud-alerts-only"`: the customer asks, reads the bank's reason, and the log keeps the refusal without her."""
    house = RunningHouse(tmp_path / "house", 'policy_file = "fraud-alerts-only"\n').start()
    try:

        async def ask() -> dict[str, Any]:
            async with house.visitor() as visitor:
                await visitor.link_as(house.customer("grace"))
                return await visitor.question("what's my balance?")

        refused = run(ask())
        assert (refused["outcome"], refused["code"]) == ("refused", "not_allowed")
        assert refused["text"] == "Your bank only sends fraud warnings here. Please ask in its own app."
        entry = next(each.facts for each in house.entries() if each.facts["k"] == "refusal")
        assert (entry["code"], entry["basis"], entry["pol"]) == ("not_allowed", "bank_policy", load_policy(policy_place("fraud-alerts-only")).digest)
        assert entry["rule"] == sha256(b"no-questions").hexdigest()[:16]
        assert not {"customer", "grant", "c"} & entry.keys()
        assert not [each for each in house.entries() if each.facts["k"] == "release"]
    finally:
        house.stop()


@cache
def standard() -> Policy:
    return load_policy(policy_place("standard"))


VARIANTS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "as it is": ("standard", ()),
    "sealed": ("cautious", ()),
    "warnings only": ("fraud-alerts-only", ()),
    "everything": ("1033", ()),
    "no merchants": ("standard", (NO_MERCHANTS,)),
    "two rows": ("standard", (('@rows_max("25")', '@rows_max("2")'),)),
    "one row": ("standard", (('@rows_max("25")', '@rows_max("1")'),)),
    "only here": ("standard", ((', Data::"off_platform"', ""),)),
    "confirmed": ("standard", (('Channel::"web" &&', 'Channel::"web" && context.assurance == Assurance::"confirmed" &&'),)),
    "masked": ("standard", (('@rows_max("25")', '@rows_max("25")\n@delivery("masked")'),)),
}
QUESTIONS = ("what's my balance?", "can I afford 640?", "show my last 3 transactions", "how much did I spend at Marmot Coffee?")


@pytest.mark.parametrize("name", VARIANTS)
def test_simulating_says_what_the_road_would_have_done(name: str, tmp_path: Path) -> None:
    """Each question is answered under the standard pack, its public half read back, and then asked again under the other policy."""
    pack, changes = VARIANTS[name]
    other = load_policy(own_copy(tmp_path / "other", *changes, pack=pack))
    for text in QUESTIONS:
        town = build_town(tmp_path)
        town.house = replace(town.house, policy=standard)
        before = asyncio.run(town.ask(text))
        assert isinstance(before, Released), text
        facts = town.log.read()[-1]
        left = ReleaseClass(facts["p"], facts["ch"], facts["u"], facts["d"], facts["n"], "2026-11")
        said_so = outcome(other, left)
        town = build_town(tmp_path)
        town.house = replace(town.house, policy=lambda: other)
        after = asyncio.run(town.ask(text))
        if said_so in STOPPED:
            if said_so is Outcome.LESSER and isinstance(after, Released):
                assert after.release.ruling.permission.request.projection is LESSER[Projection(left.projection)]
                continue
            assert not isinstance(after, Released), (text, said_so)
            assert (
                after.reason.code
                == {"refused": "not_allowed", "lesser": "not_allowed", "step_up": "step_up_needed", "undeliverable": "delivery_unavailable"}[said_so]
            )
        else:
            assert isinstance(after, Released), (text, said_so)
            smaller = len(after.release.answer.lines) < len(before.release.answer.lines)
            if said_so is Outcome.SAME:
                # Only the coarse size is public: two to ten records of which two may leave were perhaps two.
                assert not smaller or name == "two rows", text
            else:
                assert smaller, (text, said_so)
