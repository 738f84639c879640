"""A privacy officer with a policy: what it says, where it is wrong, and never a value."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from parley.cli.policy_explain import Asked
from parley.cli.policy_explain import explained as explain
from parley.model.words import Assurance, Projection, Purpose
from parley.policy import Case, load_policy
from parley.policy.packs import policy_place
from tests.fakes.officer_desk import NO_MERCHANTS, own_copy, said, told

# check


def test_check_shows_each_step_and_every_invariant() -> None:
    code, report = told("policy", "check", "standard")
    assert code == 0
    assert [step["name"] for step in report["steps"]] == ["read", "validate", "compile", "tabulate", "compare", "prove"]
    assert all(step["found"] and step["seconds"] >= 0 for step in report["steps"])
    assert {len(report[name]) for name in ("digest", "text_digest", "table_digest", "proof_digest")} == {64}
    assert report["digest"] == load_policy(policy_place("standard")).digest
    assert 0 < report["allowed"] < report["decisions"] and report["table"] == []
    assert {each["name"] for each in report["invariants"]} >= {"no-advertising", "off-platform"}
    assert all(each["combinations"] > report["decisions"] and each["counterexample"] is None for each in report["invariants"])
    assert {tuple(each["platform"] for each in found["refused"]) for found in report["uneven"] if found["data"] == "off_platform"} == {
        ("larkspur-assistant", "larkspur-partner")
    }
    words = said("policy", "check", "standard")
    assert words.exit_code == 0 and "Nothing leaves for advertising" in words.stdout and report["digest"] in words.stdout
    code, whole = told("policy", "check", "standard", "--table")
    assert len(whole["table"]) == report["decisions"]
    assert sum(row["verdict"]["allow"] for row in whole["table"]) == report["allowed"]


def test_check_reports_who_is_treated_worse_and_whether_a_recorded_ground_says_why() -> None:
    assert told("policy", "check", "1033")[1]["uneven"] == []
    assert "All platforms are treated alike." in said("policy", "check", "1033").stdout
    words = " ".join(said("policy", "check", "refuse-platform").stdout.split())
    assert "northstar-social by refuse-northstar-social (risk)" in words
    found = told("policy", "check", "refuse-platform")[1]["uneven"]
    refused = {(each["platform"], tuple(each["rules"]), each["basis"]) for row in found for each in row["refused"] if row["data"] == "account"}
    assert ("northstar-social", ("refuse-northstar-social",), "risk") in refused


def test_check_asks_z3_as_well_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    code, report = told("policy", "check", "standard", "--z3")
    assert code == 0 and report["second_opinion"] and all(each["proved"] for each in report["second_opinion"])
    assert "z3 agrees" in said("policy", "check", "standard", "--z3").stdout
    assert told("policy", "check", "standard")[1]["second_opinion"] is None
    monkeypatch.setitem(sys.modules, "z3", None)
    missing = said("policy", "check", "standard", "--z3")
    assert missing.exit_code == 1 and "parley-gateway[proof]" in missing.stderr


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (('Purpose::"answer_customer"', 'Purpose::"answer_custmer"'), ("own-chat", "answer_custmer")),
        (('@rows_max("25")', '@rows_max("2500")'), ("own-chat", "@rows_max must be")),
        (('@id("assistant")', '@id("own-chat")'), ("own-chat", "twice")),
        (('Channel::"web"', 'Channel::"wbe"'), ("own-chat", "wbe")),
    ],
)
def test_check_refuses_a_slip_of_the_pen_with_file_rule_and_mend(tmp_path: Path, change: tuple[str, str], names: tuple[str, ...]) -> None:
    mine = own_copy(tmp_path / "mine", change)
    for words in (("check", mine), ("diff", "standard", mine), ("diff", mine, "standard"), ("simulate", mine, "--data", tmp_path)):
        run = said("policy", *words)
        assert run.exit_code == 1
        assert str(mine / "policy.cedar") in run.stderr and "Traceback" not in run.stderr
        assert all(name in run.stderr for name in names), run.stderr


def test_a_policy_that_is_not_there_is_answered_with_the_packs_there_are(tmp_path: Path) -> None:
    run = said("policy", "check", tmp_path / "nowhere")
    assert run.exit_code == 1 and "standard" in run.stderr and "cautious" in run.stderr
    (tmp_path / "empty").mkdir()
    run = said("policy", "check", tmp_path / "empty")
    assert run.exit_code == 1 and "policy.cedar" in run.stderr


def test_packs_are_listed_with_what_they_are_for_and_copied_out_once(tmp_path: Path) -> None:
    code, packs = told("policy", "packs")
    assert code == 0 and {each["name"] for each in packs} >= {"standard", "cautious", "1033"}
    assert all(len(each["for"]) > 30 for each in packs)
    mine = own_copy(tmp_path / "mine")
    assert told("policy", "diff", "standard", mine)[0] == 0
    again = said("policy", "init", "standard", mine)
    assert again.exit_code == 1 and "not empty" in again.stderr
    unknown = said("policy", "init", "lenient", tmp_path / "other")
    assert unknown.exit_code == 1 and "standard" in unknown.stderr and not (tmp_path / "other").exists()
    nowhere = said("policy", "init", "standard", "/proc/nowhere/mine")
    assert nowhere.exit_code == 1 and "cannot write" in nowhere.stderr


def test_words_from_a_file_cannot_move_the_terminals_cursor(tmp_path: Path) -> None:
    """Somebody else's policy is read in the officer's terminal; what it says is text there, and no command to the terminal or the table."""
    mine = own_copy(tmp_path / "mine")
    particulars = mine / "particulars.toml"
    particulars.write_text(particulars.read_text().replace('name = "standard"', 'name = "a[red]b\\u001b[2J"'))
    run = said("policy", "check", mine)
    assert "\x1b[2J" not in run.stdout
    assert run.exit_code == 1 or "a[red]b" in run.stdout
    odd = said("policy", "check", "\x1b[2Jnowhere")
    assert "\x1b" not in odd.stderr and odd.exit_code == 1


# explain

ASK = {"--platform": "parley-web", "--channel": "web", "--purpose": "answer_customer", "--projection": "balance.available"}


def explained(pack: str | Path, **changes: str) -> tuple[int, Any]:
    options = ASK | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    return told("policy", "explain", pack, *(word for pair in options.items() for word in pair))


def test_explain_says_which_rule_allows_and_on_what_terms() -> None:
    code, told_so = explained("standard", projection="transactions.amount")
    assert code == 0 and told_so["allow"] and told_so["answer"].startswith("Yes")
    assert {(each["id"], each["effect"], each["decided"]) for each in told_so["rules"]} == {("own-chat", "permit", True)}
    assert all("at most 25 rows; at most 90 days back" in each["says"] for each in told_so["decisions"])
    words = said("policy", "explain", "standard", *(word for pair in ASK.items() for word in pair))
    assert "Yes" in words.stdout and "own-chat" in words.stdout and words.exit_code == 0


def test_explain_says_what_would_have_to_change(tmp_path: Path) -> None:
    code, no_rule = explained("standard", purpose="customer_care")
    assert code == 3 and not no_rule["allow"] and no_rule["rules"] == []
    assert any("A permit that names" in each for each in no_rule["changes"])
    assert any("for answer_customer" in each for each in no_rule["changes"])
    code, forbidden = explained("refuse-platform", platform="northstar-social")
    assert code == 3 and any("The rule refuse-northstar-social (line " in each for each in forbidden["changes"])
    line = int(next(each["line"] for each in forbidden["rules"]))
    source = (policy_place("refuse-platform") / "policy.cedar").read_text().splitlines()
    assert source[line - 1] == '@id("refuse-northstar-social")'
    code, far = explained("standard", projection="transactions.amount", lookback_days="91")
    assert code == 3 and "91 days back" in far["answer"] and any("@lookback_days_max" in each for each in far["changes"])
    code, fallback = explained(own_copy(tmp_path / "mine", NO_MERCHANTS), projection="transactions.merchant_and_amount")
    assert code == 3 and any("answered with transactions.amount instead" in each for each in fallback["changes"])
    code, sealed = explained("cautious")
    assert code == 3 and "sealed" in sealed["answer"] and any("@delivery" in each for each in sealed["changes"])


def test_explain_tells_rows_that_stay_back_from_rows_that_may_leave() -> None:
    code, partly = explained("standard", platform="larkspur-partner", channel="api", projection="transactions.amount")
    assert code == 0 and partly["answer"].startswith("In part")
    assert {(each["data"], each["allow"]) for each in partly["decisions"]} == {("on_platform", True), ("off_platform", False)}
    assert any("off_platform = true" in each for each in partly["changes"])


def test_explain_needs_no_rule_to_refuse_what_has_no_word() -> None:
    for purpose in ("advertising", "dpv:TargetedAdvertising", "train a model"):
        code, refused = explained("standard", purpose=purpose)
        assert code == 3 and "never shared for advertising" in refused["answer"]
        assert refused["changes"] == ["Nothing that a bank writes can change this: the purpose has no word here."]
    for changes, words in (
        ({"purpose": "because"}, "closed list"),
        ({"platform": "nobody"}, "doesn't work with this platform"),
        ({"channel": "carrier-pigeon"}, "no such channel"),
    ):
        code, refused = explained("standard", **changes)
        assert code == 3 and words in refused["answer"] and refused["changes"] and refused["decisions"] == []
    run = said("policy", "explain", "standard", *(word for pair in (ASK | {"--projection": "everything"}).items() for word in pair))
    assert run.exit_code == 1 and "balance.available" in run.stderr
    assert said("policy", "explain", "standard").exit_code == 2


def test_explain_says_what_the_house_would_do() -> None:
    """Every decision of every pack, against the table that the house decides by."""
    for name in ("standard", "refuse-platform"):
        policy = load_policy(policy_place(name))
        for platform, purpose, projection in product(policy.platforms, ("answer_customer", "customer_care"), Projection):
            explanation = explain(policy, Asked(platform, "web", purpose, projection))
            linked = [each for each in explanation.decisions if each.assurance is Assurance.LINKED]
            for each in linked:
                verdict = policy.table.get(Case(platform, "web", Purpose(purpose), projection, each.data, each.assurance))
                assert each.allow == (verdict is not None and verdict.allow)
                assert each.decided == (() if verdict is None else verdict.rules)
            assert explanation.allow == any(each.allow for each in linked)
