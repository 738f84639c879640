"""Nothing passes a pulled switch, a switch that cannot be seen, or a policy that is no longer in force; not even what is half way through."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from parley.guard import Guard, PolicyInForce, PolicyUnlogged
from parley.guard.switches import UNREAD_SECONDS_MAX
from parley.model.refusals import GuardUnavailable, PolicyChanged, RecordsUnavailable, Refusal, SwitchedOff
from parley.model.staff import PolicyVersion, Standing
from parley.model.words import Purpose
from parley.policy import Policy, PolicyRejected
from parley.release.pipeline import Declined, Released
from tests.fakes.guard import TurnedGuard
from tests.fakes.road import FORBID, POLICY, build_town, policy_from


@dataclass
class Rules:
    """Records in memory that a test turns, a clock, and what was announced."""

    standing_now: Standing = field(default_factory=lambda: Standing(frozenset(), 0, ""))
    approved: PolicyVersion | None = None
    raises: Exception | None = None
    now: float = 100.0
    announced: list[str] = field(default_factory=list)
    logged: bool = True

    async def standing(self) -> Standing:
        if self.raises is not None:
            raise self.raises
        return self.standing_now

    async def policy_in_force(self) -> PolicyVersion | None:
        return self.approved

    async def announce(self, policy: Policy) -> None:
        self.announced.append(policy.digest)

    async def must_be_logged(self, approved: PolicyVersion) -> None:
        if not self.logged:
            raise PolicyUnlogged()

    def approve(self, policy: Policy, version: int = 1, digest: str = "") -> None:
        digest = digest or policy.digest
        self.approved = PolicyVersion(version, digest, policy.sources, "p", 7, datetime(2026, 11, 22, tzinfo=UTC))
        self.standing_now = Standing(self.standing_now.off, version, digest)


def guard_over(rules: Rules, policy: Policy, load: object = None) -> tuple[Guard, PolicyInForce]:
    def by_text(sources: Mapping[str, bytes]) -> Policy:
        raise PolicyRejected("does not load here")

    policies = PolicyInForce(policy, 0, records=rules, load=load or by_text, announce=rules.announce, must_be_logged=rules.must_be_logged)  # type: ignore[arg-type]
    return Guard(rules, policies, timer=lambda: rules.now), policies


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return policy_from(tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return policy_from(tmp_path_factory.mktemp("new"), POLICY + FORBID)


@pytest.mark.parametrize(
    ("off", "platform", "purpose", "stopped"),
    [
        ({"everything:"}, "parley-web", Purpose.ANSWER_CUSTOMER, True),
        ({"everything:"}, "other-app", Purpose.WARN_OF_FRAUD, True),
        ({"platform:parley-web"}, "parley-web", Purpose.ANSWER_CUSTOMER, True),
        ({"platform:parley-web"}, "other-app", Purpose.ANSWER_CUSTOMER, False),
        ({"purpose:answer_customer"}, "parley-web", Purpose.ANSWER_CUSTOMER, True),
        ({"purpose:answer_customer"}, "parley-web", Purpose.WARN_OF_FRAUD, False),
        ({"platform:other-app", "purpose:warn_of_fraud"}, "parley-web", Purpose.ANSWER_CUSTOMER, False),
        (set(), "parley-web", Purpose.ANSWER_CUSTOMER, False),
    ],
)
def test_a_switch_stops_what_it_names_and_nothing_else(old: Policy, off: set[str], platform: str, purpose: Purpose, stopped: bool) -> None:
    rules = Rules(Standing(frozenset(off), 0, ""))
    guard, _ = guard_over(rules, old)
    asyncio.run(guard.look())
    if stopped:
        with pytest.raises(SwitchedOff):
            guard.check(platform, purpose, old.digest)
    else:
        guard.check(platform, purpose, old.digest)


def test_before_the_first_look_nothing_passes(old: Policy) -> None:
    guard, _ = guard_over(Rules(), old)
    with pytest.raises(GuardUnavailable):
        guard.check("parley-web", Purpose.ANSWER_CUSTOMER, old.digest)


def test_a_switch_that_was_not_seen_for_a_second_counts_as_pulled(old: Policy) -> None:
    rules = Rules()
    guard, _ = guard_over(rules, old)

    async def story() -> None:
        await guard.look()
        rules.raises = RecordsUnavailable("gone")
        rules.now += UNREAD_SECONDS_MAX
        with pytest.raises(RecordsUnavailable):
            await guard.look()
        guard.check("parley-web", Purpose.ANSWER_CUSTOMER, old.digest)
        rules.now += 0.01
        with pytest.raises(GuardUnavailable):
            guard.check("parley-web", Purpose.ANSWER_CUSTOMER, old.digest)
        rules.raises = None
        await guard.look()
        guard.check("parley-web", Purpose.ANSWER_CUSTOMER, old.digest)

    asyncio.run(story())


def test_a_read_that_took_long_is_not_a_fresh_one(old: Policy) -> None:
    rules = Rules()
    guard, _ = guard_over(rules, old)

    async def slow() -> Standing:
        rules.now += 1.5
        return rules.standing_now

    rules.standing = slow  # type: ignore[method-assign]
    asyncio.run(guard.look())
    with pytest.raises(GuardUnavailable):
        guard.check("parley-web", Purpose.ANSWER_CUSTOMER, old.digest)


def test_the_watch_outlives_every_kind_of_trouble_and_tells_of_it_once(old: Policy) -> None:
    rules, told = Rules(), []
    guard, _ = guard_over(rules, old)

    async def story() -> None:
        rules.raises = RecordsUnavailable("gone")
        watching = asyncio.create_task(guard.watch(told.append))
        await asyncio.sleep(0.6)
        rules.raises = None
        for _ in range(200):
            await asyncio.sleep(0.01)
            if guard._read_at > 0:
                break
        guard.check("parley-web", Purpose.ANSWER_CUSTOMER, old.digest)
        watching.cancel()

    asyncio.run(story())
    assert told == ["records_unavailable"]


def test_under_a_policy_that_was_replaced_nothing_passes_and_under_the_new_one_it_does(old: Policy, new: Policy) -> None:
    rules = Rules()
    guard, policies = guard_over(rules, old, load=lambda sources: new)

    async def story() -> None:
        await guard.look()
        guard.check("parley-web", Purpose.ANSWER_CUSTOMER, old.digest)
        rules.approve(new)
        await guard.look()
        with pytest.raises(PolicyChanged):
            guard.check("parley-web", Purpose.ANSWER_CUSTOMER, old.digest)
        await settled(policies, 1)
        await guard.look()
        assert policies.current() is new
        guard.check("parley-web", Purpose.ANSWER_CUSTOMER, new.digest)
        with pytest.raises(PolicyChanged):
            guard.check("parley-web", Purpose.ANSWER_CUSTOMER, old.digest)

    asyncio.run(story())
    assert rules.announced == [], "officers' approval put it into the log already"


def test_a_policy_that_does_not_load_here_lets_nothing_pass_here(old: Policy, new: Policy) -> None:
    rules = Rules()
    guard, policies = guard_over(rules, old)

    async def story() -> None:
        await guard.look()
        rules.approve(new)
        await guard.look()
        for _ in range(50):
            await asyncio.sleep(0.01)
        with pytest.raises(PolicyRejected):
            await guard.look()
        await guard.look()
        assert policies.current() is old
        with pytest.raises(PolicyChanged):
            guard.check("parley-web", Purpose.ANSWER_CUSTOMER, old.digest)

    asyncio.run(story())


def test_a_policy_that_the_log_never_heard_of_is_not_followed(old: Policy, new: Policy) -> None:
    rules = Rules(logged=False)
    guard, policies = guard_over(rules, old, load=lambda sources: new)

    async def story() -> None:
        rules.approve(new)
        await guard.look()
        await asyncio.sleep(0.05)
        with pytest.raises(PolicyUnlogged):
            await guard.look()
        assert policies.current() is old
        with pytest.raises(PolicyChanged):
            guard.check("parley-web", Purpose.ANSWER_CUSTOMER, old.digest)

    asyncio.run(story())


def test_what_another_release_approved_is_announced_as_it_is_here_before_it_is_used(old: Policy, new: Policy) -> None:
    rules = Rules()
    guard, policies = guard_over(rules, old, load=lambda sources: new)

    async def story() -> None:
        rules.approve(new, digest="as the other release names it")
        await guard.look()
        await settled(policies, 1)

    asyncio.run(story())
    assert rules.announced == [new.digest]


@pytest.mark.parametrize("reason", [SwitchedOff(), GuardUnavailable(), PolicyChanged()])
def test_a_switch_pulled_before_the_bank_is_asked_spares_the_bank(tmp_path: Path, reason: Exception) -> None:
    town = build_town(tmp_path)
    town.house = replace(town.house, guard=TurnedGuard(reason))
    outcome = asyncio.run(town.ask("what's my balance?"))
    assert isinstance(outcome, Declined) and outcome.reason is reason
    assert town.bank.orders == []
    kinds = [entry["k"] for entry in town.log.read()]
    assert kinds == (["refusal"] if isinstance(reason, Refusal) else [])


def test_a_switch_pulled_while_the_bank_answers_leaves_no_release_in_the_log(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.house = replace(town.house, guard=TurnedGuard(SwitchedOff(), from_look=1))
    outcome = asyncio.run(town.ask("what's my balance?"))
    assert isinstance(outcome, Declined) and isinstance(outcome.reason, SwitchedOff)
    assert [(entry["k"], entry["code"], entry["basis"]) for entry in town.log.read()] == [("refusal", "switched_off", "risk")]


def test_a_switch_pulled_while_the_log_is_written_keeps_the_answer_back(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    town.house = replace(town.house, guard=TurnedGuard(SwitchedOff(), from_look=2))
    outcome = asyncio.run(town.ask("what's my balance?"))
    assert isinstance(outcome, Declined)
    assert [entry["k"] for entry in town.log.read()] == ["release", "refusal"], "the log is an upper bound of what left"


def test_an_open_guard_is_asked_three_times_on_the_way(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    guard = TurnedGuard()
    town.house = replace(town.house, guard=guard)
    assert isinstance(asyncio.run(town.ask("what's my balance?")), Released)
    assert guard.looks == 3


async def settled(policies: PolicyInForce, version: int) -> None:
    for _ in range(500):
        if policies.version == version:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the policy was not taken over")
