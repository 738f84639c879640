"""Every way in which Cedar alone would let data out without a word: first that the trap is real, then that it is closed here."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.policy import PolicyRejected, load_policy
from parley.policy.domain import FORBIDDEN, Case, Data
from parley.policy.judge import NO_ENTITIES, Judge, asked
from parley.policy.language import baseline_text, schema_text
from parley.policy.particulars import read_particulars
from parley.policy.text import NESTING_MAX, OPERATORS_MAX, statements
from parley.proof import FORBIDDEN_PURPOSES
from tests.fakes.road import FORBID, PARTICULARS, POLICY, policy_from

PARTICULARS_READ = read_particulars(PARTICULARS.encode(), "particulars.toml")
SCHEMA = schema_text(PARTICULARS_READ)
ADVERTISING = ("parley-web", "web", "dpv:Advertising", "balance.available", "account", "linked")
PERMIT_ALL = "permit (principal, action, resource);"
PERMIT_EVERY_PURPOSE = POLICY.replace('&&\n  context.purpose == Purpose::"answer_customer"', "")


def cedar_says(text: str, case: tuple[str, ...] = ADVERTISING) -> cedarpy.AuthzResult:
    """The Rust engine alone, as one would call it."""
    return cedarpy.is_authorized(asked(case), text, NO_ENTITIES)


def refused(directory: Path, text: str) -> str:
    with pytest.raises(PolicyRejected) as caught:
        policy_from(directory, text)
    return str(caught.value)


def forbid_when(condition: str) -> str:
    return FORBID.replace("resource);", f"resource) when {{ {condition} }};")


OVERFLOWING = "9223372036854775807 + 1 > 0"


def test_a_forbid_that_overflows_is_skipped_by_cedar_and_refused_here(tmp_path: Path) -> None:
    text = PERMIT_ALL + forbid_when(OVERFLOWING)
    assert cedarpy.validate_policies(text, SCHEMA).validation_passed, "not even strict validation notices"
    answer = cedar_says(text)
    assert answer.allowed and answer.diagnostics.errors
    assert "arithmetic" in refused(tmp_path, POLICY + forbid_when(OVERFLOWING))


@pytest.mark.parametrize("sum", ["1 + 1 == 2", "-1 < 0", "2 * 3 > 1 && true", "3 < 4", "1 == 1"])
def test_no_number_stands_in_a_condition(sum: str, tmp_path: Path) -> None:
    for rule in (forbid_when(sum), POLICY.replace("when {", f"when {{ {sum} &&").replace("own-chat", "second")):
        assert "Rules may compare" in refused(tmp_path, POLICY + rule)


def test_a_forbid_on_a_missing_attribute_is_skipped_by_cedar_and_cannot_be_written_here(tmp_path: Path) -> None:
    optional = SCHEMA.replace("assurance: Assurance }", "assurance: Assurance, score?: Long }")
    guarded = forbid_when("context has score && context.score > 5")
    assert cedarpy.validate_policies(PERMIT_ALL + guarded, optional).validation_passed
    assert cedar_says(PERMIT_ALL + forbid_when("context.score > 5")).allowed, "the forbid errors and is skipped"
    assert "?" not in SCHEMA, "no attribute of ours may be missing"
    assert "score" in refused(tmp_path, POLICY + forbid_when("context.score > 5"))
    assert "rule not-today" in refused(tmp_path, POLICY + guarded)
    assert "rule not-today" in refused(tmp_path, POLICY + forbid_when("context has purpose"))


@pytest.mark.parametrize("word", ["TARGETED", "unknown-purpose", "dpv:advertising", "Advertising", "answer_customer "])
def test_an_unknown_or_misspelt_purpose_slips_through_a_list_of_the_forbidden_but_not_through_the_baseline(word: str) -> None:
    taxonomy = 'forbid (principal, action, resource) when { context.purpose in Purpose::"dpv:Advertising" };'
    case = (*ADVERTISING[:2], word, *ADVERTISING[3:])
    assert cedar_says(PERMIT_ALL + taxonomy, case).allowed
    assert not cedar_says(PERMIT_ALL + baseline_text(PARTICULARS_READ), case).allowed


@pytest.mark.parametrize("purpose", FORBIDDEN)
def test_under_the_baseline_not_even_a_permit_for_everything_lets_out_for(purpose: str) -> None:
    case = (*ADVERTISING[:2], purpose, *ADVERTISING[3:])
    assert cedar_says(PERMIT_ALL, case).allowed
    answer = cedar_says(PERMIT_ALL + baseline_text(PARTICULARS_READ), case)
    assert not answer.allowed and not answer.diagnostics.errors
    assert {"baseline-purposes", "baseline-no-advertising"} <= set(answer.diagnostics.id_annotations_by_reason.values())


def test_selling_beneath_service_provision_is_listed_flat_and_not_followed_down_the_vocabulary() -> None:
    assert {"SellDataToThirdParties", "SellInsightsFromData"} <= FORBIDDEN_PURPOSES
    assert " in " not in baseline_text(PARTICULARS_READ).replace("action in", "")
    assert "in [" not in SCHEMA.replace("enum [", ""), "no name of ours has a parent"


@pytest.mark.parametrize("word", ["ads", "Answer_Customer", "dpv:RequestedServiceProvision", "dpv:Advertising"])
def test_a_purpose_in_a_rule_is_on_the_closed_list_or_the_start_is_refused(word: str, tmp_path: Path) -> None:
    said = refused(tmp_path, POLICY.replace('"answer_customer"', f'"{word}"'))
    assert word in said and "line 2, rule own-chat" in said


def test_parse_errors_of_cedar_have_no_line_but_ours_name_line_and_rule(tmp_path: Path) -> None:
    broken = POLICY + '\n\n// A comment with a semicolon; and a quote " in it.\n' + FORBID.replace("forbid (", "forbid [")
    with pytest.raises(ValueError) as caught:
        cedarpy.policies_to_pst(broken)
    assert "line" not in str(caught.value)
    assert "line 22, rule not-today: " in refused(tmp_path, broken)


def test_a_bad_request_gets_no_decision_and_no_decision_counts_as_wrong(tmp_path: Path) -> None:
    policy = policy_from(tmp_path)
    bad = {**asked(ADVERTISING), "context": {"purpose": "TARGETED"}}
    assert cedarpy.is_authorized(bad, PERMIT_ALL, NO_ENTITIES, schema=SCHEMA).decision is cedarpy.Decision.NoDecision
    rules = tuple(policy.rules.values())
    judge = Judge(rules, statements(baseline_text(PARTICULARS_READ) + POLICY, "both"))
    (opinion,) = judge.opinions('x"', [('x"', *ADVERTISING[1:])])
    assert opinion.faulty and not opinion.allow


def test_a_name_of_another_kind_is_merely_unequal_to_cedar_and_an_error_here(tmp_path: Path) -> None:
    """`context.purpose == Channel::"web"` validates, never holds, and so a forbid on it forbids nothing."""
    mixed = forbid_when('context.purpose == Channel::"web"')
    assert cedarpy.validate_policies(mixed, SCHEMA).validation_passed
    assert 'Channel::"web" stands where a Purpose belongs' in refused(tmp_path, POLICY + mixed)


@pytest.mark.parametrize("shape", ["({0})", "[{0}]", "true && {0}"])
def test_a_text_that_would_end_the_process_in_the_parser_is_refused_before_it(shape: str, tmp_path: Path) -> None:
    """The native parser overflows its stack on deep text, which nothing can catch: seen here in a process of its own."""
    deep = "true"
    before, after = shape.split("{0}")
    deep = before * 20_000 + deep + after * 20_000
    code = f"import cedarpy; cedarpy.policies_to_pst('permit(principal, action, resource) when {{' + {deep!r} + '}};')"
    ended = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=False)
    assert ended.returncode < 0, "the parser can be given such text by now: the limit may go"
    assert "too long or too deeply nested" in refused(tmp_path, POLICY + forbid_when(deep))


def test_what_passes_the_limits_never_ends_the_process() -> None:
    deepest = "(" * (NESTING_MAX - 2) + "true" + ")" * (NESTING_MAX - 2)
    longest = " && ".join(["true"] * (OPERATORS_MAX // 2))
    for inner in (deepest, longest, "!" * 4 + "true", "A" + "::A" * 4_000 + '::"x" == principal'):
        text = forbid_when(inner)
        statements(text, "here")
        code = f"import cedarpy\ntry:\n  cedarpy.policies_to_pst({text!r})\nexcept ValueError: pass"
        assert subprocess.run([sys.executable, "-"], input=code, text=True, check=False).returncode == 0


def test_a_comment_ends_where_cedar_says_that_it_ends(tmp_path: Path) -> None:
    """A carriage return ends a comment for Cedar: a reader that waits for the line feed would count no bracket behind it."""
    hidden = "// Nothing to see.\rforbid (principal, action, resource);\n"
    assert len(cedarpy.policies_to_pst(hidden).static_policies) == 1
    assert len(statements(hidden, "here")) == 1
    assert "no @id" in refused(tmp_path, POLICY + hidden)


def test_a_semicolon_in_a_quoted_word_or_comment_ends_no_rule() -> None:
    text = FORBID.replace("Not today.", 'a; b \\" c; // d') + "// e; f\n" + FORBID
    assert [each.line for each in statements(text, "here")] == [2, 8]
    assert len(cedarpy.policies_to_pst(text).static_policies) == 2


def test_an_annotation_that_nobody_reads_is_refused_since_cedar_lets_any_stand(tmp_path: Path) -> None:
    typo = POLICY.replace("@rows_max", "@rows_mx")
    assert cedarpy.validate_policies(typo, SCHEMA).validation_passed
    assert "unknown annotation @rows_mx" in refused(tmp_path, typo)


def test_a_new_projection_of_a_later_release_is_permitted_by_no_rule_that_does_not_name_it(tmp_path: Path) -> None:
    for text, missing in ((PERMIT_EVERY_PURPOSE, "purposes"), (POLICY.replace("action in [", 'action in [Action::"balance.available"]; //'), "end")):
        assert missing in refused(tmp_path, text)


def test_a_policy_that_was_loaded_is_whole_however_its_folder_changes_afterwards(tmp_path: Path) -> None:
    policy = policy_from(tmp_path)
    before = dict(policy.table)
    (tmp_path / "policy.cedar").write_text("nonsense")
    with pytest.raises(PolicyRejected):
        load_policy(tmp_path)
    case = Case("parley-web", "web", "answer_customer", "balance.available", Data.ACCOUNT, "linked")  # type: ignore[arg-type]
    assert policy.table == before and policy.table[case].allow
    assert load_policy(policy.sources).digest == policy.digest


PIECES = [
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    '"',
    "\\",
    ";",
    "//",
    "\r",
    "\n",
    "@id",
    "&&",
    "||",
    "!",
    "::",
    "==",
    "in",
    "has",
    "if",
    "then",
    "1",
    "+",
    "\x00",
    "\u202e",
    "ä",
    "🏦",
]
mutations = st.lists(
    st.tuples(st.integers(0, len(POLICY)), st.integers(0, 12), st.sampled_from(PIECES) | st.text(max_size=3)), min_size=1, max_size=4
)


@settings(max_examples=250, deadline=None)
@given(mutations)
def test_whatever_a_slip_of_the_pen_makes_of_a_rule_it_loads_whole_or_is_refused_with_a_place(slips: list[tuple[int, int, str]]) -> None:
    text = POLICY + FORBID
    for at, gone, put in slips:
        text = text[:at] + put + text[at + gone :]
    try:
        policy = load_policy({"policy.cedar": text.encode(errors="replace"), "particulars.toml": PARTICULARS.encode()})
    except PolicyRejected as refused:
        assert str(refused).startswith("policy.cedar: ")
        return
    assert policy.proof.holds and policy.comparison.complete
    assert "own-chat" not in policy.rules or policy.rules["own-chat"].reason


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=200)
    | st.text(max_size=80).map(str.encode)
    | mutations.map(lambda slips: PARTICULARS[: slips[0][0]] + slips[0][2]).map(str.encode)
)
def test_whatever_stands_beside_the_rules_is_read_or_refused(source: bytes) -> None:
    with suppress(PolicyRejected):
        load_policy({"policy.cedar": POLICY.encode(), "particulars.toml": source})


@settings(max_examples=200, deadline=None)
@given(st.text('();{}[]"\\/@\r\n ab', max_size=60))
def test_our_cut_and_the_parser_agree_on_where_rules_end(noise: str) -> None:
    """Messages, slices and the engine's ids rest on it: the n-th statement is the n-th rule of the parser."""
    text = FORBID + noise + "\n" + POLICY
    try:
        parsed = len(cedarpy.policies_to_pst(text).static_policies)
        found = statements(text, "here")
    except (ValueError, PolicyRejected):
        return
    assert len(found) == parsed
    assert [each.id for each in found if each.id] == [each.annotations["id"] for each in ordered(text) if "id" in each.annotations]


def ordered(text: str) -> list[cedarpy.pst.Template]:
    rules = cedarpy.policies_to_pst(text).static_policies
    return [rules[f"policy{number}"] for number in range(len(rules))]
