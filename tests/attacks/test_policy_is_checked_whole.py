"""A policy takes effect whole or not at all, and says what to mend; inside it a forbid always outweighs a permit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import parley.policy
from parley.model.grants import Budget
from parley.model.refusals import Basis, BudgetSpent, DeliveryUnavailable, NotAllowed, StepUpNeeded
from parley.model.stages import Permission, Request, Slots
from parley.model.words import Assurance, Field, Projection, Provenance, Purpose
from parley.policy import PolicyRejected, load_policy, rule
from parley.policy.particulars import is_lei
from parley.policy.text import RULE_CHARACTERS_MAX, RULES_MAX, TEXT_BYTES_MAX
from tests.fakes.road import FORBID, GRANT, NOW, PARTICULARS, POLICY, policy_from

SHORT = '@id("r%d") @reason("x") forbid (principal, action, resource == Data::"account") when { context.channel == Channel::"alexa" };\n'
CHANNELS = 'channels = ["web", "alexa"]'


def condition(text: str) -> str:
    """A further forbid with this condition."""
    return POLICY + FORBID.replace("(principal, action, resource)", f"(principal, action, resource)\nwhen {{ {text} }}")


def annotated(text: str) -> str:
    return POLICY.replace('@rows_max("25")', text)


BAD: dict[str, tuple[str, str, str]] = {
    "misspelt effect": (POLICY.replace("permit (", "permitt ("), "rule own-chat", "docs/policy.md"),
    "misspelt projection": (POLICY.replace('"balance.available"', '"balance.avialable"'), "avialable", "docs/policy.md"),
    "misspelt platform": (POLICY.replace('Platform::"parley-web"', 'Platform::"parley-wbe"'), "parley-wbe", "docs/policy.md"),
    "misspelt channel": (POLICY.replace('Channel::"web"', 'Channel::"wbe"'), "wbe", "docs/policy.md"),
    "misspelt data": (POLICY.replace('Data::"account"', 'Data::"acount"'), "acount", "docs/policy.md"),
    "misspelt attribute": (POLICY.replace("context.channel", "context.chanel"), "chanel", "docs/policy.md"),
    "misspelt annotation": (annotated('@row_max("25")'), "unknown annotation @row_max", "What may stand there"),
    "misspelt delivery": (annotated('@delivery("plain")'), "rule own-chat", "one of sealed, masked, inline"),
    "misspelt basis": (POLICY + FORBID.replace('"risk"', '"whim"'), "rule not-today", "must be one of law"),
    "a channel where a purpose belongs": (condition('context.purpose == Channel::"web"'), "not-today", "stands where a Purpose belongs"),
    "a platform compared with itself": (condition("principal == principal"), "not-today", "listed name"),
    "text as a name": (condition('context.purpose == "answer_customer"'), "not-today", "docs/policy.md"),
    "always true": (condition("true"), "not-today", "Rules may compare"),
    "a wildcard": (condition('"x" like "*"'), "not-today", "Rules may compare"),
    "a hierarchy": (condition("principal is Platform"), "not-today", "Rules may compare"),
    "a choice": (condition("if true then true else false"), "not-today", "Rules may compare"),
    "a head that asks for a kind": (POLICY + FORBID.replace("principal,", "principal is Platform,"), "not-today", "more than a name"),
    "a template": (POLICY + FORBID.replace("principal,", "principal == ?principal,"), "slot", "Name the platform"),
    "rows as words": (annotated('@rows_max("many")'), "rule own-chat", "a whole number between 1 and 100"),
    "rows as a fraction": (annotated('@rows_max("2.5")'), "rule own-chat", "a whole number"),
    "rows in other digits": (annotated('@rows_max("\u0662")'), "rule own-chat", "a whole number"),
    "no rows": (annotated('@rows_max("0")'), "rule own-chat", "between 1 and 100"),
    "rows past the baseline": (annotated('@rows_max("101")'), "rule own-chat", "between 1 and 100"),
    "digits without end": (annotated(f'@rows_max("{"9" * 5000}")'), "rule own-chat", "between 1 and 100"),
    "days into the future": (POLICY.replace('days_max("90")', 'days_max("-1")'), "rule own-chat", "between 0 and 3650"),
    "days without end": (POLICY.replace('days_max("90")', 'days_max("3651")'), "rule own-chat", "between 0 and 3650"),
    "bands that fall": (annotated('@bands("100,0")'), "rule own-chat", "rising whole numbers"),
    "bands of nothing": (annotated('@bands("")'), "rule own-chat", "rising whole numbers"),
    "rounding to nothing": (annotated('@rounding("0")'), "rule own-chat", "between 1 and"),
    "an obligation on a forbid": (POLICY + FORBID.replace('@basis("risk")', '@rows_max("5")'), "not-today", "Move it to a permit"),
    "an annotation twice": (annotated('@rows_max("25") @rows_max("5")'), "own-chat", "duplicate annotation"),
    "the same id twice": (POLICY + FORBID.replace("not-today", "own-chat"), "own-chat", "its own"),
    "no id": (POLICY + FORBID.replace('@id("not-today")', ""), "line 20", "@id"),
    "an empty id": (POLICY + FORBID.replace("not-today", ""), "line 19", "@id"),
    "an id with a line break": (POLICY + FORBID.replace("not-today", "a\\nb"), "line 19", "@id"),
    "an id of the baseline's": (POLICY + FORBID.replace("not-today", "baseline-purposes"), "baseline-", "Choose another"),
    "a rule without a reason": (POLICY + FORBID.replace('"Not today."', '" "'), "not-today", "plain words"),
    "a reason as long as a book": (POLICY + FORBID.replace("Not today.", "b" * 201), "not-today", "plain words"),
    "a reason that hides something": (POLICY + FORBID.replace("Not today.", "a\u202eb"), "not-today", "plain words"),
    "a permit for every platform": (POLICY.replace('principal == Platform::"parley-web"', "principal"), "own-chat", "Name a platform"),
    "a permit for all but one": (
        POLICY.replace('principal == Platform::"parley-web"', "principal").replace("when {", 'when { principal != Platform::"other-app" &&'),
        "own-chat",
        "Name a platform",
    ),
    "a permit on every channel": (POLICY.replace('context.channel == Channel::"web" &&', ""), "own-chat", "Name its channels"),
    "a permit on one channel or for one purpose": (
        POLICY.replace('context.channel == Channel::"web" &&', 'context.channel == Channel::"web" ||'),
        "own-chat",
        "Name its data",
    ),
    "a permit for every purpose": (POLICY.replace('&&\n  context.purpose == Purpose::"answer_customer"', ""), "own-chat", "Name its purposes"),
    "a permit for every projection": (
        POLICY[: POLICY.index("action in")] + "action,\n" + POLICY[POLICY.index("  resource") :],
        "own-chat",
        "projections",
    ),
    "a permit for every kind of data": (
        POLICY.replace('[Data::"account", Data::"on_platform", Data::"off_platform"].contains(resource) &&', ""),
        "own-chat",
        "Name its data",
    ),
    "a rule that does not end": (POLICY + "forbid (principal, action, resource)", "line 18", "semicolon"),
    "a quote that does not end": (POLICY + 'forbid (principal == Platform::"x, action, resource);', "line 18", "docs/policy.md"),
    "brackets without end": (POLICY + "forbid" + "(" * 100_000, "line 18", "Split it"),
    "brackets behind a comment that ended": (POLICY + "// nothing here\r forbid" + "(" * 100_000, "deeply nested", "Split it"),
    "a condition without end": (condition("true && " * 100_000 + "true"), "not-today", "Split it"),
    "not not not": (condition("!" * 5_000 + "true"), "not-today", "Split it"),
    "an attribute of an attribute without end": (condition("context" + ".purpose" * 5_000), "not-today", "Split it"),
    "choices in choices": (condition("if true then " * 3_000 + "true"), "not-today", "Split it"),
    "a rule as long as a book": (POLICY + FORBID.replace("Not today.", "b" * RULE_CHARACTERS_MAX), "not-today", "Split it"),
    "ten thousand rules": (POLICY + "".join(SHORT % n for n in range(10_000)), f"more than {RULES_MAX} rules", "Merge"),
    "more rules to one case than a receipt holds": (POLICY + "".join(SHORT % n for n in range(33)), "r0", "Merge"),
    "larger than a policy is": ("/" * (TEXT_BYTES_MAX + 1), "bytes", "Merge"),
    "disjoint bands": (
        annotated('@bands("0,100")') + annotated('@bands("50,500")').replace("own-chat", "second"),
        "own-chat, second",
        "no edge in common",
    ),
}


@pytest.mark.parametrize(("text", "names", "mend"), BAD.values(), ids=list(BAD))
def test_a_bad_rule_is_refused_with_file_place_and_mend(text: str, names: str, mend: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyRejected) as caught:
        policy_from(tmp_path, text)
    said = str(caught.value)
    assert str(tmp_path / "policy.cedar") in said
    assert names in said
    assert mend in said


BAD_PARTICULARS: dict[str, tuple[str, str, str]] = {
    "unknown key at the top": (PARTICULARS + "\n[extra]\nx = 1\n", "extra", "docs/policy.md"),
    "unknown key in a platform": (PARTICULARS.replace('name = "Own chat"', 'name = "Own chat"\nnmae = "x"'), "nmae", "docs/policy.md"),
    "truth as text": (PARTICULARS.replace("off_platform = true", 'off_platform = "yes"'), "off_platform", "docs/policy.md"),
    "no TOML at all": ("{", "", "docs/policy.md"),
    "empty": ("", "missing", "docs/policy.md"),
    "nested without end": ("x = " + "[" * 4000 + "]" * 4000, "", "docs/policy.md"),
    "two platforms of one id": (PARTICULARS.replace('"other-app"', '"parley-web"'), "parley-web", "its own"),
    "a platform called unknown": (PARTICULARS.replace('"other-app"', '"unknown"'), "unknown", "Use small letters"),
    "a platform that cannot stand in the log": (PARTICULARS.replace('"other-app"', '"Ünicorn"'), "nicorn", "Use small letters"),
    "a platform that closes a quote": (PARTICULARS.replace('"other-app"', "'x\"]; entity Purpose; //'"), "entity", "Use small letters"),
    "a platform id too long for the log": (PARTICULARS.replace('"other-app"', '"' + "a" * 65 + '"'), "aaa", "Use small letters"),
    "a channel that cannot stand in the log": (PARTICULARS.replace(CHANNELS, 'channels = ["Web Chat"]'), "Web Chat", "as the settings do"),
    "no channel": (PARTICULARS.replace(CHANNELS, "channels = []"), "channels", "at least one"),
    "a channel twice": (PARTICULARS.replace(CHANNELS, 'channels = ["web", "web"]'), "channels", "once"),
    "a platform nobody can write to": (PARTICULARS.replace("privacy@other.example", " "), "other-app", "must be public"),
    "a legal entity identifier with a slip": (PARTICULARS + 'lei = "529900T8BM49AURSDO56"\n', "other-app", "ISO 17442"),
    "more platforms than are known": (
        PARTICULARS + "".join(f'[[platforms]]\nid = "p{n}"\nname = "n"\nwebsite = "w"\ncontact = "c"\n' for n in range(1_000)),
        "1000",
        "Remove",
    ),
    "larger than particulars are": ("#" * (1024 * 1024 + 1), "bytes", "Merge"),
}


@pytest.mark.parametrize(("text", "names", "mend"), BAD_PARTICULARS.values(), ids=list(BAD_PARTICULARS))
def test_bad_particulars_are_refused_with_file_place_and_mend(text: str, names: str, mend: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyRejected) as caught:
        policy_from(tmp_path, particulars=text)
    said = str(caught.value)
    assert str(tmp_path / "particulars.toml") in said
    assert names in said
    assert mend in said


def test_a_legal_entity_identifier_is_checked_digit_by_digit() -> None:
    assert is_lei("529900T8BM49AURSDO55")
    assert not any(is_lei(odd) for odd in ("", "529900T8BM49AURSDO54", "529900t8bm49aursdo55", "529900T8BM49AURSDO5", "5299 0T8BM49AURSDO55"))


def test_combinations_beyond_a_start_are_refused_before_they_are_decided(tmp_path: Path) -> None:
    many = "".join(f'[[platforms]]\nid = "p{n}"\nname = "n"\nwebsite = "w"\ncontact = "c"\n' for n in range(990))
    channels = ", ".join(f'"c{n}"' for n in range(39))
    with pytest.raises(PolicyRejected, match="combinations are too many"):
        policy_from(tmp_path, particulars=PARTICULARS.replace(CHANNELS, f'channels = ["web", {channels}]') + many)


def test_rules_for_everybody_times_platforms_are_refused_before_they_are_decided(tmp_path: Path) -> None:
    many = "".join(f'[[platforms]]\nid = "p{n}"\nname = "n"\nwebsite = "w"\ncontact = "c"\n' for n in range(990))
    with pytest.raises(PolicyRejected, match="Merge rules"):
        policy_from(tmp_path, POLICY + "".join(SHORT % n for n in range(1_500)), PARTICULARS + many)


def test_a_folder_that_is_not_a_policy_is_refused_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "policy.cedar").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "binary" / "particulars.toml").write_text(PARTICULARS)
    for path in (tmp_path / "missing", tmp_path, tmp_path / "binary"):
        with pytest.raises(PolicyRejected) as caught:
            load_policy(path)
        assert str(path) in str(caught.value) or str(path.parent) in str(caught.value)


def test_a_device_that_never_ends_is_not_read_to_its_end() -> None:
    with pytest.raises(PolicyRejected, match="larger than"):
        load_policy(Path("/dev/zero"))


def test_bytes_under_other_names_than_the_two_files_are_no_policy(tmp_path: Path) -> None:
    sources = policy_from(tmp_path).sources
    assert load_policy(sources).digest == policy_from(tmp_path).digest
    for odd in ({}, {"policy.cedar": b""}, {**sources, "more.cedar": b""}):
        with pytest.raises(PolicyRejected):
            load_policy(odd)


def test_the_policy_that_banks_start_from_loads() -> None:
    policy = load_policy(Path(parley.policy.__file__).parent / "packs" / "standard")
    assert {case.purpose for case, verdict in policy.table.items() if verdict.allow} == {Purpose.ANSWER_CUSTOMER}


def request(projection: Projection = Projection.BALANCE_AVAILABLE, *, platform: str = "parley-web", lookback: int = 0, rows: int = 10) -> Request:
    return Request("c", "web", platform, "x", Purpose.ANSWER_CUSTOMER, projection, (), lookback, rows, Slots(), NOW)


def permission(wanted: Request) -> Permission:
    return Permission(GRANT, wanted, GRANT.accounts)


def test_what_no_rule_names_is_refused(tmp_path: Path) -> None:
    policy = policy_from(tmp_path)
    for wanted in (
        request(platform="other-app"),
        request(platform="nobody"),
        msgspec.structs.replace(request(), channel="alexa"),
        msgspec.structs.replace(request(), purpose=Purpose.CUSTOMER_CARE),
    ):
        with pytest.raises(NotAllowed):
            rule(permission(wanted), policy)


def test_a_policy_without_rules_allows_nothing(tmp_path: Path) -> None:
    policy = policy_from(tmp_path, "// Nothing yet.\n")
    assert not [case for case, verdict in policy.table.items() if verdict.allow]


def test_a_forbid_outweighs_every_permit_wherever_it_stands(tmp_path: Path) -> None:
    forbid = FORBID.replace("action,", 'action == Action::"balance.available",').replace('"risk"', '"law"')
    for text in (POLICY + forbid, forbid + POLICY):
        with pytest.raises(NotAllowed) as caught:
            rule(permission(request()), policy_from(tmp_path, text))
        assert (caught.value.rule, caught.value.basis, caught.value.plain_words) == ("not-today", Basis.LAW, "Not today.")
        assert rule(permission(request(Projection.AFFORD_YESNO)), policy_from(tmp_path, text)).rules == ("own-chat",)
    assert NotAllowed.basis is Basis.BANK_POLICY


def test_of_several_permits_the_strictest_obligation_wins(tmp_path: Path) -> None:
    second = POLICY.replace("own-chat", "second").replace('rows_max("25")', 'rows_max("3")').replace('"90"', '"400"')
    policy = policy_from(tmp_path, POLICY + second)
    wanted = request(Projection.TRANSACTIONS_AMOUNT, lookback=30)
    assert rule(permission(wanted), policy).rows_max == 3
    with pytest.raises(NotAllowed):
        rule(permission(request(Projection.TRANSACTIONS_AMOUNT, lookback=91)), policy)
    sealed = policy_from(tmp_path, POLICY + second.replace("@rows_max", '@delivery("sealed") @rows_max'))
    with pytest.raises(DeliveryUnavailable):
        rule(permission(wanted), sealed)


def test_off_platform_rows_stay_back_unless_particulars_rule_and_grant_all_allow_them(tmp_path: Path) -> None:
    wanted = request(Projection.TRANSACTIONS_AMOUNT, lookback=30)
    shy_rule = POLICY.replace(', Data::"off_platform"', "")
    shy_grant = msgspec.structs.replace(GRANT, provenance=Provenance.ON_PLATFORM)
    shy_platform = PARTICULARS.replace("off_platform = true", "off_platform = false")
    assert rule(permission(wanted), policy_from(tmp_path)).provenance is Provenance.ANY
    assert rule(permission(wanted), policy_from(tmp_path, shy_rule)).provenance is Provenance.ON_PLATFORM
    assert rule(Permission(shy_grant, wanted, GRANT.accounts), policy_from(tmp_path)).provenance is Provenance.ON_PLATFORM
    assert rule(permission(wanted), policy_from(tmp_path, particulars=shy_platform)).provenance is Provenance.ON_PLATFORM
    only_off = POLICY.replace('Data::"on_platform", ', "")
    with pytest.raises(NotAllowed):
        rule(permission(wanted), policy_from(tmp_path, only_off))


def test_an_answer_with_rows_of_both_kinds_owes_what_both_permits_demand(tmp_path: Path) -> None:
    on = POLICY.replace(', Data::"off_platform"', "")
    off = POLICY.replace('Data::"account", Data::"on_platform", ', "").replace("own-chat", "elsewhere").replace('"25"', '"2"')
    ruling = rule(permission(request(Projection.TRANSACTIONS_AMOUNT, lookback=30)), policy_from(tmp_path, on + off))
    assert (ruling.provenance, ruling.rows_max, ruling.rules) == (Provenance.ANY, 2, ("own-chat", "elsewhere"))


def test_a_rule_may_ask_that_the_customer_confirms_first(tmp_path: Path) -> None:
    policy = policy_from(tmp_path, POLICY.replace("context.channel", 'context.assurance == Assurance::"confirmed" && context.channel'))
    with pytest.raises(StepUpNeeded) as caught:
        rule(permission(request()), policy)
    assert caught.value.rule == "own-chat"
    confirmed = msgspec.structs.replace(request(), assurance=Assurance.CONFIRMED)
    assert rule(permission(confirmed), policy).rules == ("own-chat",)
    with pytest.raises(NotAllowed):
        rule(permission(msgspec.structs.replace(request(), channel="alexa")), policy)


def test_the_rows_are_the_least_of_policy_grant_and_question(tmp_path: Path) -> None:
    policy = policy_from(tmp_path)
    wanted = request(Projection.TRANSACTIONS_AMOUNT, rows=90)
    assert rule(permission(wanted), policy).rows_max == 25
    assert rule(permission(msgspec.structs.replace(wanted, rows=4)), policy).rows_max == 4
    tight = msgspec.structs.replace(GRANT, budget=Budget(5, 2))
    assert rule(Permission(tight, wanted, GRANT.accounts), policy).rows_max == 2
    for empty in (0, -3):
        with pytest.raises(BudgetSpent):
            rule(Permission(msgspec.structs.replace(GRANT, budget=Budget(5, empty)), wanted, GRANT.accounts), policy)
        with pytest.raises(BudgetSpent):
            rule(permission(msgspec.structs.replace(wanted, rows=empty)), policy)


def test_the_ruled_fields_are_those_of_the_projection_and_never_more(tmp_path: Path) -> None:
    policy = policy_from(tmp_path, POLICY.replace('Action::"afford.yesno"', 'Action::"afford.yesno", Action::"balance.band"'))
    for projection in {case.projection for case in policy.table}:
        assert rule(permission(request(projection)), policy).fields == projection.fields <= frozenset(Field)


CHANGES = {
    "a comment": (POLICY + "// said otherwise\n", PARTICULARS),
    "a blank": (POLICY + "\n", PARTICULARS),
    "a row more": (POLICY.replace('"25"', '"26"'), PARTICULARS),
    "a day less": (POLICY.replace('"90"', '"89"'), PARTICULARS),
    "a reason": (POLICY.replace("may ask", "might ask"), PARTICULARS),
    "a projection less": (POLICY.replace('Action::"afford.yesno", ', ""), PARTICULARS),
    "a contact": (POLICY, PARTICULARS.replace("privacy@other", "hello@other")),
    "a rule": (POLICY + FORBID, PARTICULARS),
}


def test_the_digest_changes_with_any_change(tmp_path: Path) -> None:
    digests = {policy_from(tmp_path, *texts).digest for texts in ((POLICY, PARTICULARS), *CHANGES.values())}
    assert len(digests) == len(CHANGES) + 1


def test_the_digests_are_the_same_in_every_process(tmp_path: Path) -> None:
    """Set order differs with the hash seed; the names of policy, table and proof in the log must not."""
    policy = policy_from(tmp_path, POLICY + FORBID.replace("resource)", 'resource) unless { context.channel == Channel::"web" }'))
    code = (
        "import sys; from pathlib import Path; from parley.policy import load_policy; p = load_policy(Path(sys.argv[1]));"
        "print(p.digest, p.text_digest, p.table_digest, p.proof.digest)"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, str(tmp_path)]
        said = subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout.split()
        assert said == [policy.digest, policy.text_digest, policy.table_digest, policy.proof.digest]
