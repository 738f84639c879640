"""While a policy is in force another engine repeats a share of its decisions; one disagreement stops every release, and the log says so."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from parley.app import policies as wiring
from parley.guard import PolicyInForce
from parley.model.refusals import LogUnavailable, PolicyDisputed
from parley.model.staff import SwitchName
from parley.policy import Policy
from parley.policy.watch import EVERY, WAITING_MAX
from parley.release.pipeline import Declined, Released
from tests.fakes.road import TreeLog, build_town, policy_from

CASE = ("parley-web", "web", "answer_customer", "balance.available", "account", "linked")


def turned(policy: Policy) -> None:
    """The table says no where the rules say yes: a table that was spoilt in memory, or a slip in what filled it."""
    policy.table = {case: msgspec.structs.replace(verdict, allow=False, rules=("own-chat",)) for case, verdict in policy.table.items()}


def test_the_first_decision_and_every_hundredth_is_repeated(tmp_path: Path) -> None:
    watch = policy_from(tmp_path).watch
    for _ in range(EVERY * 3):
        watch.saw(CASE, None)
    assert watch.waiting == 3


def test_decisions_that_nobody_looks_at_fill_no_memory(tmp_path: Path) -> None:
    watch = policy_from(tmp_path).watch
    for _ in range(EVERY * WAITING_MAX * 2):
        watch.saw(CASE, None)
    assert watch.waiting == WAITING_MAX


def test_where_both_engines_agree_nothing_happens(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    assert isinstance(asyncio.run(town.ask("what's my balance?")), Released)
    assert town.policy.watch.waiting == 1
    assert town.policy.watch.look() is None
    assert (town.policy.watch.asked, town.policy.watch.disputed) == (1, False)
    refused = ("other-app", *CASE[1:])
    town.policy.watch._waiting.append((refused, None))
    assert town.policy.watch.look() is None


def test_after_one_disagreement_nothing_is_released(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    turned(town.policy)
    asyncio.run(town.ask("what's my balance?"))
    assert town.policy.watch.look() == CASE
    outcome = asyncio.run(town.ask("can I afford 5?", message_id="next"))
    assert isinstance(outcome, Declined) and isinstance(outcome.reason, PolicyDisputed)
    assert not town.bank.orders


def test_an_engine_that_cannot_be_asked_is_a_disagreement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_from(tmp_path)
    policy.watch.saw(CASE, policy.table[CASE])  # type: ignore[index]

    def broken(*arguments: object) -> object:
        raise ValueError("the engine does not answer")

    monkeypatch.setattr(policy.judge, "opinions", broken)
    assert policy.watch.look() == CASE
    assert policy.watch.disputed


def in_force(policy: Policy, log: TreeLog) -> PolicyInForce:
    async def announce(each: Policy) -> None:
        await log.record(b'{"k":"policy"}', b"", handle=None, version=None)

    def load(sources: object) -> Policy:
        raise AssertionError("nothing is loaded here")

    return PolicyInForce(policy, 0, records=None, load=load, announce=announce, must_be_logged=None)  # type: ignore[arg-type]


class Switches:
    """Records that keep which switches were pulled, and by whom."""

    def __init__(self) -> None:
        self.pulled: list[tuple[str, str]] = []

    async def pull_switch(self, name: SwitchName, actor: str, reason: str, now: datetime) -> None:
        self.pulled.append((name.key, actor))


async def judged(policies: PolicyInForce, log: TreeLog, until: int, switches: Switches) -> None:
    """Let the house's own loop run until the log holds so many entries."""
    task = asyncio.create_task(wiring.keep_judging(policies, log, switches))  # type: ignore[arg-type]
    while len(log.entries) < until:
        await asyncio.sleep(0.01)
        log.fails = None
    await asyncio.sleep(0.05)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_the_disagreement_is_logged_once_even_where_the_log_was_away_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "JUDGING_PERIOD_SECONDS", 0.001)
    policy, log = policy_from(tmp_path), TreeLog()
    turned(policy)
    policy.watch.saw(CASE, policy.table[CASE])  # type: ignore[index]
    log.fails = "before"
    switches = Switches()
    asyncio.run(asyncio.wait_for(judged(in_force(policy, log), log, 1, switches), 10))
    assert set(switches.pulled) == {("everything:", "house")}, "every other process is stopped, too"
    (entry,) = log.read()
    assert (entry["k"], entry["code"], entry["pol"]) == ("incident", "policy_disputed", policy.digest)
    assert entry.keys() == {"b", "code", "k", "pol", "v"}, "neither the question nor the case is in it"


def test_another_policy_takes_effect_only_after_the_log_has_it(tmp_path: Path) -> None:
    old, log = policy_from(tmp_path), TreeLog()
    new = policy_from(tmp_path, "// Nothing is allowed.\n")
    policies = in_force(old, log)
    log.fails = "before"
    with pytest.raises(LogUnavailable):
        asyncio.run(policies.replace(new))
    assert policies.current() is old
    log.fails = None
    asyncio.run(policies.replace(new))
    assert policies.current() is new and policies.digest == new.digest
    assert len(log.entries) == 1
