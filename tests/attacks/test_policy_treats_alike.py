"""The same request, asked of every platform: whoever is treated worse is named, with the rule that says so."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.policies import made_policy
from parley.model.refusals import NotAllowed, StepUpNeeded
from parley.model.stages import Permission, Request, Slots
from parley.model.words import Assurance, Projection, Purpose
from parley.policy import Policy, load_policy, rule, uneven
from parley.policy.domain import Data
from tests.fakes.road import FORBID, GRANT, NOW, POLICY, policy_from

BOTH = POLICY.replace('principal == Platform::"parley-web",', "principal,").replace(
    "context.channel ==", '[Platform::"parley-web", Platform::"other-app"].contains(principal) && context.channel =='
)


def account_requests(policy: Policy) -> set[tuple[Projection, Assurance]]:
    return {(each.projection, each.assurance) for each in uneven(policy) if each.data is Data.ACCOUNT}


def test_platforms_that_are_treated_alike_are_not_reported(tmp_path: Path) -> None:
    found = uneven(policy_from(tmp_path, BOTH))
    assert {each.data for each in found} == {Data.OFF_PLATFORM}, "only the baseline treats them apart: one may be shown off-platform rows"
    assert all(each.refused[0].rules == ("baseline-off-platform",) for each in found)


def test_a_platform_that_no_rule_mentions_is_named_and_unexplained(tmp_path: Path) -> None:
    found = uneven(policy_from(tmp_path))
    assert {each.unexplained for each in found} == {("other-app",)}
    assert all([treatment.platform for treatment in each.allowed] == ["parley-web"] for each in found)


def test_a_refusal_for_a_recorded_risk_is_reported_and_explained(tmp_path: Path) -> None:
    risk = FORBID.replace("principal,", 'principal == Platform::"other-app",')
    found = [each for each in uneven(policy_from(tmp_path, BOTH + risk)) if each.data is Data.ACCOUNT]
    assert found and all(each.unexplained == () for each in found)
    assert {treatment.rules for each in found for treatment in each.refused} == {("not-today",)}
    whim = [each for each in uneven(policy_from(tmp_path, BOTH + risk.replace('"risk"', '"bank_policy"'))) if each.data is Data.ACCOUNT]
    assert all(each.unexplained == ("other-app",) for each in whim)


def test_worse_terms_for_one_are_reported(tmp_path: Path) -> None:
    tighter = POLICY.replace("own-chat", "tight").replace('"parley-web"', '"other-app"').replace('rows_max("25")', 'rows_max("24")')
    found = [each for each in uneven(policy_from(tmp_path, BOTH + tighter)) if each.data is Data.ACCOUNT]
    assert found and all(len(each.allowed) == 2 and not each.refused for each in found)


def test_another_channel_is_no_worse_treatment(tmp_path: Path) -> None:
    elsewhere = POLICY.replace("own-chat", "speaker").replace('"parley-web"', '"other-app"').replace('Channel::"web"', 'Channel::"alexa"')
    assert not account_requests(policy_from(tmp_path, POLICY + elsewhere))


def ruled(policy: Policy, platform: str, channel: str, purpose: Purpose, projection: Projection, assurance: Assurance) -> bool:
    """What the road says to the request, whatever the terms. A refusal for the delivery comes after a yes of the rules."""
    request = Request("c", channel, platform, "x", purpose, projection, (), 0, 10, Slots(), NOW, assurance)
    try:
        rule(Permission(GRANT, request, GRANT.accounts), policy)
    except (NotAllowed, StepUpNeeded):
        return False
    return True


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3), st.sampled_from(Purpose), st.sampled_from(Projection), st.sampled_from(Assurance))
def test_what_is_called_even_is_ruled_alike_on_the_road(seed: int, purpose: Purpose, projection: Projection, assurance: Assurance) -> None:
    policy = MADE[seed]
    data = Data.ON_PLATFORM if projection.reads_transactions else Data.ACCOUNT
    reported = {(each.purpose, each.projection, each.data, each.assurance) for each in uneven(policy) if each.refused}
    said = {any(ruled(policy, platform, channel, purpose, projection, assurance) for channel in policy.channels) for platform in policy.platforms}
    assert ((purpose, projection, data, assurance) in reported) == (len(said) == 2)


MADE = [load_policy(made_policy(150, seed), rows_compared_max=20) for seed in range(4)]
