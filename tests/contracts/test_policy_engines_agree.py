"""Our compiled rules, the decision table and the Rust engine say the same of requests that nobody chose: 10,000 of them in `make test`.

`make prove` asks a million: PARLEY_PROVE_REQUESTS=1000000.
"""

from __future__ import annotations

import os
from random import Random

import cedarpy
import pytest

from bench import policy as speed
from bench.policies import made_policy
from parley.policy import Policy, load_policy
from parley.policy.domain import WHATS, Case, widened
from parley.policy.judge import NO_ENTITIES, asked, opinion, ours
from parley.policy.language import baseline_text, schema_text
from parley.policy.watch import expected

REQUESTS = int(os.environ.get("PARLEY_PROVE_REQUESTS", "10000"))
SEEDS = 10
BATCH = 250


def drawn(policy: Policy, platform: str, chance: Random) -> tuple[str, ...]:
    """One request: in the domain, or with a word that nobody listed or nobody may say."""
    wide = widened(policy.domain)
    projection, data = chance.choice(WHATS)
    return (platform, chance.choice(wide.channels), chance.choice(wide.purposes), projection, data, chance.choice(wide.assurances))


@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_three_ways_to_decide_agree_on_random_requests(seed: int) -> None:
    rules = (20, 60, 120, 250)[seed % 4]
    policy = load_policy(made_policy(rules, seed), rows_compared_max=0)
    chance, judge = Random(seed), policy.judge
    compiled = [*judge.rules]
    done = 0
    while done < REQUESTS // SEEDS:
        platform = chance.choice(widened(policy.domain).platforms)
        mine = [compiled[number] for number in judge.slice_of(platform)]
        cases = [drawn(policy, platform, chance) for _ in range(min(BATCH, REQUESTS // SEEDS - done))]
        for case, theirs in zip(cases, judge.opinions(platform, cases), strict=True):
            assert theirs == ours(mine, case), case
            if platform in policy.platforms and case[1] in policy.channels and case[2] in set(policy.domain.purposes):
                assert theirs == expected(policy.table.get(Case(*case))), case  # type: ignore[arg-type]
        done += len(cases)
        if done % 10_000 == 0 and REQUESTS > 10_000:
            print(f"\rpolicy {seed + 1} of {SEEDS}: {done:,} of {REQUESTS // SEEDS:,} requests, no difference", end="", flush=True)
    assert done == REQUESTS // SEEDS


def test_a_slice_of_the_rules_decides_like_all_of_them_under_the_schema() -> None:
    """Slicing, and asking without the schema, are our own shortcuts: here neither is taken."""
    policy = load_policy(made_policy(200, 5), rows_compared_max=0)
    text = baseline_text(policy.particulars) + policy.sources["policy.cedar"].decode()
    whole, chance = cedarpy.PolicySet.from_str(text), Random(5)
    schema = cedarpy.Schema.from_str(schema_text(policy.particulars))
    ids = {f"policy{number}": rule.id for number, rule in enumerate(policy.judge.rules)}
    for platform in policy.domain.platforms:
        cases = [case for _ in range(40) if (case := drawn(policy, platform, chance))[2] in policy.domain.purposes and case[1] in policy.channels]
        answers = cedarpy.is_authorized_batch([asked(case) for case in cases], whole, NO_ENTITIES, schema)
        assert [opinion(answer, ids) for answer in answers] == policy.judge.opinions(platform, cases)


def test_the_whole_domain_agrees_where_nothing_is_left_out() -> None:
    policy = load_policy(made_policy(40, 11), rows_compared_max=None)
    assert policy.comparison.complete and not policy.comparison.differing
    everything = [
        (platform, channel, purpose, *what, assurance)
        for platform in policy.domain.platforms
        for channel in policy.domain.channels
        for purpose in policy.domain.purposes
        for what in WHATS
        for assurance in policy.domain.assurances
    ]
    for case, theirs in zip(everything, policy.judge.opinions(everything[0][0], everything), strict=True):
        assert theirs == expected(policy.table.get(Case(*case)))  # type: ignore[arg-type]


def test_the_speed_table_asks_engines_that_decide_alike() -> None:
    """Whatever of them is installed: `made` ends the run where one decides otherwise."""
    policy = load_policy(made_policy(50, 7, plain=True), rows_compared_max=0)
    missing: list[str] = []
    ready = speed.made(policy, 50, missing, lambda **more: None)
    assert len(ready) + len(missing) == len(speed.ENGINES) and len(ready) >= 6
    assert {verdict for _, decide, cases in ready for verdict in map(decide, cases)} == {True, False}
