"""A policy takes effect whole or not at all, and says what to mend; inside it a forbid always outweighs an allow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parley.policy
from parley.model.grants import Budget
from parley.model.refusals import Basis, BudgetSpent, DeliveryUnavailable, NotAllowed
from parley.model.stages import Permission, Request, Slots
from parley.model.words import Delivery, Field, Projection, Provenance, Purpose
from parley.policy import Policy, PolicyRejected, load_policy, rule
from parley.policy.load import POLICY_BYTES_MAX, ROWS_HARD_MAX, Effect, Rule, decide
from tests.fakes.road import GRANT, NOW, POLICY, policy_from

RULE = '\n[[rules]]\nid = "{id}"\neffect = "{effect}"\nreason = "Because."\n'
SHORT = '[[rules]]\nid="r%d"\neffect="forbid"\nreason="x"\n'
MORE = RULE.format(id="more", effect="forbid")
BAD: dict[str, tuple[str, str, str]] = {
    "unknown key at the top": (POLICY + "\n[extra]\nx = 1\n", "extra", "docs/policy.md"),
    "unknown key in a rule": (POLICY + MORE + "platform = []\n", "platform", "docs/policy.md"),
    "unknown key in a platform": (POLICY.replace('name = "Own chat"', 'name = "Own chat"\nnmae = "x"'), "nmae", "docs/policy.md"),
    "misspelt effect": (POLICY.replace('"allow"', '"alow"'), "alow", "docs/policy.md"),
    "misspelt projection": (POLICY.replace('"balance.available"', '"balance.avialable"'), "avialable", "docs/policy.md"),
    "misspelt delivery": (POLICY + MORE + 'delivery = "plain"\n', "plain", "docs/policy.md"),
    "number as text": (POLICY.replace("rows_max = 25", 'rows_max = "25"'), "rows_max", "docs/policy.md"),
    "number as truth": (POLICY.replace("rows_max = 25", "rows_max = true"), "rows_max", "docs/policy.md"),
    "fraction": (POLICY.replace("rows_max = 25", "rows_max = 2.5"), "rows_max", "docs/policy.md"),
    "digits without end": (POLICY.replace("rows_max = 25", "rows_max = " + "9" * 5000), "", "docs/policy.md"),
    "no TOML at all": ("{", "", "docs/policy.md"),
    "empty": ("", "missing", "docs/policy.md"),
    "nested without end": ("x = " + "[" * 4000 + "]" * 4000, "", "docs/policy.md"),
    "the same rule id twice": (POLICY + RULE.format(id="own-chat", effect="forbid"), "own-chat", "its own id"),
    "an empty rule id": (POLICY + RULE.format(id="", effect="forbid"), "id", "its own id"),
    "a rule id with a line break": (POLICY + RULE.format(id="a\\nb", effect="forbid"), "id", "its own id"),
    "a rule without a reason": (POLICY + MORE.replace('"Because."', '" "'), "more", "plain words"),
    "a reason as long as a book": (POLICY + MORE.replace("Because.", "b" * 201), "more", "plain words"),
    "a platform nobody listed": (POLICY + MORE + 'platforms = ["nobody"]\n', "more", "[[platforms]]"),
    "two platforms of one id": (POLICY.replace('"other-app"', '"parley-web"'), "parley-web", "its own"),
    "a platform called unknown": (POLICY.replace('"other-app"', '"unknown"'), "unknown", "Use small letters"),
    "a platform that cannot stand in the log": (POLICY.replace('"other-app"', '"Ünicorn"'), "nicorn", "Use small letters"),
    "a platform id too long for the log": (POLICY.replace('"other-app"', '"' + "a" * 65 + '"'), "aaa", "Use small letters"),
    "a channel that cannot stand in the log": (POLICY + MORE + 'channels = ["Web Chat"]\n', "more", "as the settings do"),
    "no rows": (POLICY.replace("rows_max = 25", "rows_max = 0"), "own-chat", "between 1 and 100"),
    "rows past the baseline": (POLICY.replace("rows_max = 25", "rows_max = 101"), "own-chat", "between 1 and 100"),
    "days into the future": (POLICY.replace("days_max = 90", "days_max = -1"), "own-chat", "between 0 and 3650"),
    "days without end": (POLICY.replace("days_max = 90", "days_max = 3651"), "own-chat", "between 0 and 3650"),
    "an allow for every platform": (POLICY.replace('platforms = ["parley-web"]\n', ""), "own-chat", "Name its platforms"),
    "an allow on every channel": (POLICY.replace('channels = ["web"]\n', ""), "own-chat", "Name its platforms"),
    "an allow for every purpose": (POLICY.replace('purposes = ["answer_customer"]\n', "purposes = []\n"), "own-chat", "Name its platforms"),
    "ten thousand rules": (POLICY + "".join(RULE.format(id=f"r{n}", effect="forbid") for n in range(10_000)), "bytes", "Split off"),
    "more rules than are read": (POLICY + "".join(SHORT % n for n in range(5_001)), "5000", "Merge"),
    "more rules to one case than a receipt holds": (POLICY + "".join(RULE.format(id=f"r{n}", effect="forbid") for n in range(33)), "r0", "Merge"),
    "more combinations than a start can decide": (
        POLICY.replace('channels = ["web"]', f"channels = [{', '.join(f'{chr(34)}c{n}{chr(34)}' for n in range(9_000))}]")
        + "".join(RULE.format(id=f"r{n}", effect="forbid") for n in range(30)),
        "combinations",
        "Merge",
    ),
    "larger than a policy is": ("#" * (POLICY_BYTES_MAX + 1), "bytes", "Split off"),
}


@pytest.mark.parametrize(("text", "names", "mend"), BAD.values(), ids=list(BAD))
def test_a_bad_policy_is_refused_with_file_place_and_mend(text: str, names: str, mend: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyRejected) as caught:
        policy_from(tmp_path, text)
    said = str(caught.value)
    assert str(tmp_path / "policy.toml") in said
    assert names in said
    assert mend in said


def test_a_file_that_is_not_there_or_not_text_is_refused_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.toml", tmp_path, tmp_path / "binary.toml"):
        with pytest.raises(PolicyRejected) as caught:
            load_policy(path)
        assert str(path) in str(caught.value)


def test_a_device_that_never_ends_is_not_read_to_its_end() -> None:
    with pytest.raises(PolicyRejected) as caught:
        load_policy(Path("/dev/zero"))
    assert "larger than" in str(caught.value)


def test_the_policy_that_banks_start_from_loads() -> None:
    policy = load_policy(Path(parley.policy.__file__).parent / "packs" / "standard.toml")
    assert {key[2] for key, verdict in policy.table.items() if verdict.allow} == {Purpose.ANSWER_CUSTOMER}


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
    policy = policy_from(tmp_path, POLICY.split("[[rules]]")[0].replace('bank = "Larkspur Demo Bank"', 'bank = "Larkspur Demo Bank"\nrules = []'))
    assert policy.table == {}


def test_a_forbid_outweighs_every_allow_wherever_it_stands(tmp_path: Path) -> None:
    forbid = RULE.format(id="never", effect="forbid") + 'projections = ["balance.available"]\nbasis = "law"\n'
    head, tail = POLICY.split("\n[[rules]]")
    for text in (POLICY + forbid, head + forbid + "\n[[rules]]" + tail):
        with pytest.raises(NotAllowed) as caught:
            rule(permission(request()), policy_from(tmp_path, text))
        assert (caught.value.rule, caught.value.basis, caught.value.plain_words) == ("never", Basis.LAW, "Because.")
        assert rule(permission(request(Projection.AFFORD_YESNO)), policy_from(tmp_path, text)).rules == ("own-chat",)
    assert NotAllowed.basis is Basis.BANK_POLICY


def test_of_several_allows_the_strictest_obligation_wins(tmp_path: Path) -> None:
    second = POLICY[POLICY.index("\n[[rules]]") :].replace("own-chat", "second").replace("rows_max = 25", "rows_max = 3").replace("= 90", "= 400")
    policy = policy_from(tmp_path, POLICY + second)
    wanted = request(Projection.TRANSACTIONS_AMOUNT, lookback=30)
    assert rule(permission(wanted), policy).rows_max == 3
    with pytest.raises(NotAllowed):
        rule(permission(request(Projection.TRANSACTIONS_AMOUNT, lookback=91)), policy)
    sealed = policy_from(tmp_path, POLICY + second + 'delivery = "sealed"\n')
    with pytest.raises(DeliveryUnavailable):
        rule(permission(wanted), sealed)
    shy = policy_from(tmp_path, POLICY + second.replace('provenance = "any"\n', ""))
    with pytest.raises(NotAllowed):
        rule(permission(wanted), shy)


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
    for projection in Projection:
        assert rule(permission(request(projection)), policy_from(tmp_path)).fields == projection.fields <= frozenset(Field)


rules = st.builds(
    Rule,
    id=st.text("abc", min_size=1, max_size=3),
    effect=st.sampled_from(Effect),
    reason=st.just("x"),
    platforms=st.frozensets(st.sampled_from(["p", "q"])),
    channels=st.frozensets(st.sampled_from(["web", "mcp"])),
    purposes=st.frozensets(st.sampled_from(Purpose)),
    projections=st.frozensets(st.sampled_from(Projection)),
    delivery=st.sampled_from(Delivery),
    rows_max=st.integers(1, ROWS_HARD_MAX),
    lookback_days_max=st.integers(0, 3650),
    provenance=st.sampled_from(Provenance),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(rules, max_size=6), st.sampled_from(["p", "q"]), st.sampled_from(["web", "mcp"]), st.sampled_from(Purpose), st.sampled_from(Projection)
)
def test_deciding_is_default_deny_forbid_first_and_strictest(
    several: list[Rule], platform: str, channel: str, purpose: Purpose, projection: Projection
) -> None:
    matching = [
        each
        for each in several
        if (platform in each.platforms or not each.platforms)
        and (channel in each.channels or not each.channels)
        and (purpose in each.purposes or not each.purposes)
        and (projection in each.projections or not each.projections)
    ]
    verdict = decide(several, platform, channel, purpose, projection)
    if not matching:
        assert verdict is None
        return
    assert verdict is not None
    assert verdict.allow == all(each.effect is Effect.ALLOW for each in matching)
    if verdict.allow:
        assert verdict.rows_max == min(each.rows_max for each in matching)
        assert verdict.lookback_days_max == min(each.lookback_days_max for each in matching)
        assert all(verdict.delivery.at_least_as_private(each.delivery) for each in matching)
        assert verdict.provenance is Provenance.ANY or any(each.provenance is Provenance.ON_PLATFORM for each in matching)
        assert decide(list(reversed(several)), platform, channel, purpose, projection) is not None


CHANGES = {
    "a comment": POLICY + "# said otherwise\n",
    "a blank": POLICY + "\n",
    "a row more": POLICY.replace("= 25", "= 26"),
    "a day less": POLICY.replace("= 90", "= 89"),
    "a reason": POLICY.replace("may ask", "might ask"),
    "a projection less": POLICY.replace('"afford.yesno", ', ""),
    "a contact": POLICY.replace("privacy@other", "hello@other"),
    "a rule": POLICY + MORE,
}


def test_the_digest_changes_with_any_change(tmp_path: Path) -> None:
    digests = {policy_from(tmp_path, text).digest for text in (POLICY, *CHANGES.values())}
    assert len(digests) == len(CHANGES) + 1


def test_the_digest_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Set order differs with the hash seed; the name of the policy in the log must not."""
    digest = policy_from(tmp_path).digest
    code = "import sys; from pathlib import Path; from parley.policy import load_policy; print(load_policy(Path(sys.argv[1])).digest)"
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, str(tmp_path / "policy.toml")]
        assert subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout.strip() == digest


def test_the_largest_policy_that_loads_is_decided_whole(tmp_path: Path) -> None:
    many = "".join(
        RULE.format(id=f"r{number}", effect="forbid") + f'platforms = ["other-app"]\nchannels = ["c{number % 40}"]\n' for number in range(1_200)
    )
    policy: Policy = policy_from(tmp_path, POLICY + many)
    assert len([key for key, verdict in policy.table.items() if verdict.allow]) == len(Projection)
