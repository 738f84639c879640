"""The proof says something: take the baseline away, or widen a rule, and a case appears that names platform, purpose and channel."""

from __future__ import annotations

import builtins
import importlib
from pathlib import Path
from typing import Any

import pytest

from bench.policies import made_policy
from parley.model.words import Purpose
from parley.policy import PolicyRejected, load_policy
from parley.policy.domain import ANY_OTHER, FORBIDDEN, Domain, domain_of, widened
from parley.policy.invariants import Proof, prove
from parley.policy.judge import Judge, compare
from parley.policy.language import baseline_text
from parley.policy.load import proven
from parley.policy.particulars import Particulars, read_particulars
from parley.policy.read import parse, rules_of
from parley.policy.rules import Rule
from parley.policy.solver import SolverMissing, second_opinion
from parley.policy.table import decision_table
from parley.policy.text import Statement, statements
from tests.fakes.road import PARTICULARS, POLICY, policy_from

WIDE = '@id("wide") @reason("x") permit (principal == Platform::"other-app", action, resource) when { context.channel == Channel::"alexa" };'
READ = read_particulars(PARTICULARS.encode(), "particulars.toml")
DOMAIN = domain_of(tuple(platform.id for platform in READ.platforms), READ.channels)


def unlinted(text: str, particulars: Particulars = READ) -> tuple[tuple[Rule, ...], tuple[Statement, ...], Domain]:
    """Rules as they stand, without the checks that would refuse them."""
    found = statements(text, "policy")
    domain = domain_of(tuple(platform.id for platform in particulars.platforms), particulars.channels)
    return rules_of(parse(text, found, "policy"), found, widened(domain), "policy", baseline=True), found, domain


def proof_of(text: str, baseline: str | None = None) -> Proof:
    rules, _, domain = unlinted((baseline_text(READ) if baseline is None else baseline) + text)
    return prove(rules, domain, READ, "")


def found(proof: Proof) -> dict[str, str]:
    return {finding.name: str(finding.counterexample) for finding in proof.findings if not finding.holds}


def test_under_the_baseline_even_a_permit_for_everything_passes_every_invariant_but_that_of_names() -> None:
    assert set(found(proof_of(WIDE))) == set()
    everybody = WIDE.replace('principal == Platform::"other-app"', "principal")
    assert set(found(proof_of(everybody))) == {"nobody-unnamed"}


def test_without_the_baseline_a_case_of_advertising_appears() -> None:
    broken = found(proof_of(WIDE, baseline=""))
    assert "platform other-app, purpose dpv:" in broken["no-advertising"]
    assert "channel alexa" in broken["no-advertising"]
    assert "allowed by wide" in broken["no-advertising"]
    assert "platform other-app" in broken["off-platform"] and "off_platform data" in broken["off-platform"]


@pytest.mark.parametrize("gone", ["baseline-purposes", "baseline-no-advertising"])
def test_either_half_of_the_baseline_alone_still_keeps_out_the_forbidden_words(gone: str) -> None:
    half = "\n".join(each.text for each in statements(baseline_text(READ), "baseline") if gone not in each.text)
    purposes = {finding.counterexample.case.purpose for finding in proof_of(WIDE, half).findings if finding.counterexample}
    assert not purposes & set(FORBIDDEN)
    assert purposes == (set() if gone == "baseline-no-advertising" else {ANY_OTHER})


def test_a_policy_that_breaks_an_invariant_is_refused_with_the_case() -> None:
    with pytest.raises(PolicyRejected) as caught:
        proven(proof_of(WIDE, baseline=""), "policy.cedar")
    assert "purpose dpv:" in str(caught.value) and "Take the permit back" in str(caught.value)


def test_the_proof_ranges_over_more_than_the_table_can_hold(tmp_path: Path) -> None:
    policy = policy_from(tmp_path)
    wide = widened(policy.domain)
    assert set(FORBIDDEN) | set(Purpose) | {ANY_OTHER} == set(wide.purposes)
    assert all(finding.combinations == wide.combinations for finding in policy.proof.findings)
    assert policy.comparison.complete and policy.comparison.differing == ()
    assert policy.proof.table == policy.table_digest


def test_z3_finds_the_same_as_the_table() -> None:
    assert {finding.name for finding in second_opinion(POLICY, READ) if finding.proved} == {"no-advertising", "off-platform", "nobody-unnamed"}
    broken = {finding.name: finding.case for finding in second_opinion(WIDE, READ, baseline="") if not finding.proved}
    assert broken.keys() == {"no-advertising", "off-platform"}
    case = broken["no-advertising"]
    assert (case["Platform"], case["Channel"]) == ("other-app", "alexa")
    assert case["Purpose"] not in set(Purpose)
    assert broken["off-platform"]["Data"] == "off_platform"


def test_z3_agrees_on_policies_that_nobody_chose() -> None:
    for seed in range(5):
        policy = load_policy(made_policy(100, seed), rows_compared_max=50)
        assert all(finding.proved for finding in second_opinion(policy.sources["policy.cedar"].decode(), policy.particulars))


def test_without_z3_the_second_opinion_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without(name: str, *rest: Any) -> Any:
        if name == "z3":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr("parley.policy.solver.import_module", without)
    with pytest.raises(SolverMissing, match="pip install"):
        second_opinion(POLICY, READ)


def test_loading_needs_no_z3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "z3":
            raise AssertionError("z3 was imported while a policy loaded")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert policy_from(tmp_path).proof.holds


def test_a_mistake_of_our_own_compiler_is_found_by_the_other_engine() -> None:
    """One condition turned round, as a slip in the compiler would, and the comparison names the case."""
    rules, texts, domain = unlinted(baseline_text(READ) + POLICY)
    judge = Judge(rules, texts)
    assert not compare(judge, rules, widened(domain), seed="s").differing
    last = rules[-1]
    wrong = Rule(
        last.id, last.effect, last.reason, last.basis, last.obligations, last.line, {**last.only, 1: frozenset({"alexa"})}, last.rest, last.named
    )
    assert compare(judge, (*rules[:-1], wrong), widened(domain), seed="s").differing


def test_two_platforms_treated_alike_are_compared_once_and_one_treated_otherwise_is_not_overlooked() -> None:
    rule = '@id("{0}") @reason("x") permit (principal == Platform::"{0}", action, resource) when {{ context.channel == Channel::"web" }};\n'
    names = [f"p{number}" for number in range(20)]
    text = "".join(rule.format(name) for name in names)
    lines = "".join(f'[[platforms]]\nid = "{name}"\nname = "n"\nwebsite = "w"\ncontact = "c"\n' for name in names)
    particulars = read_particulars(f'name = "n"\nbank = "b"\nchannels = ["web"]\n{lines}'.encode(), "p")
    alike, found_alike, domain = unlinted(baseline_text(particulars) + text, particulars)
    odd, found_odd, _ = unlinted(
        baseline_text(particulars) + text.replace('Platform::"p7", action,', 'Platform::"p7", action == Action::"afford.yesno",'), particulars
    )
    one = compare(Judge(alike, found_alike), alike, domain, seed="s")
    other = compare(Judge(odd, found_odd), odd, domain, seed="s")
    assert one.complete and other.complete and one.asked < other.asked < domain.combinations
    assert len(decision_table(alike, domain, "here")) == domain.combinations
