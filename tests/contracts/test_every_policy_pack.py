"""What every policy pack keeps to. Each folder under policy/packs is attacked, and each promise of its README is a check here."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from parley.model.refusals import Basis, NotAllowed, PurposeForbidden
from parley.model.words import Delivery, Projection, Provenance, Purpose
from parley.policy import Case, Data, Policy, PolicyRejected, Verdict, load_policy, purpose_named, uneven
from parley.policy.packs import FOLDER, STANDARD, copy_pack, pack_names, policy_place
from parley.policy.rules import Effect
from parley.release.pipeline import Released
from parley.settings import Settings
from tests.fakes.road import PLATFORM, build_town

NAMES = pack_names()
OURS = ("cautious", "fraud-alerts-only", "refuse-platform", "standard", "1033")
SECTIONS = ("What it promises", "What it does not do", "Before you use it")
OWN = "parley-web"
NORTH = "northstar-social"
every_pack = pytest.mark.parametrize("name", NAMES)
_loaded: dict[str, Policy] = {}


def pack(name: str) -> Policy:
    if name not in _loaded:
        _loaded[name] = load_policy(policy_place(name))
    return _loaded[name]


def allowed(policy: Policy) -> Iterator[tuple[Case, Verdict]]:
    return ((case, verdict) for case, verdict in policy.table.items() if verdict.allow)


def forbids(policy: Policy) -> list[str]:
    """The bank's own, without the baseline."""
    return [rule.id for rule in policy.rules.values() if rule.effect is Effect.FORBID and not rule.id.startswith("baseline-")]


def section(name: str, title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", (FOLDER / name / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert found, f"{name}: no section {title}"
    return found.group(1)


def promises(name: str) -> list[str]:
    """The sentences under "What it promises", one for each point."""
    points = re.split(r"^- ", section(name, "What it promises"), flags=re.MULTILINE)[1:]
    return [" ".join(point.split()) for point in points]


def on_the_road(policy: Policy, folder: Path, text: str, **grant: object) -> object:
    """What the house does with a question, under a grant for everything."""
    town = build_town(folder)
    if grant:
        town.change_grant(**grant)
    town.house = replace(town.house, policy=lambda: policy)
    said = {"platform": str(grant["platform"])} if "platform" in grant else {}
    outcome = asyncio.run(town.ask(text, **said))
    if isinstance(outcome, Released):
        return outcome.release.answer.text
    assert town.bank.orders == [], "a refusal never reaches the bank"
    return outcome.reason


# The promises, each a check. A promise that nobody checks fails `test_every_promise_is_checked`.


def only_the_customers_questions(policy: Policy, folder: Path) -> None:
    assert {case.purpose for case, _ in allowed(policy)} == {Purpose.ANSWER_CUSTOMER}


def own_chat_shows_all(policy: Policy, folder: Path) -> None:
    rows = {case.data for case, _ in allowed(policy) if case.platform == OWN and case.projection is Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT}
    assert rows == {Data.ON_PLATFORM, Data.OFF_PLATFORM}
    answer = on_the_road(policy, folder, "show my last 3 transactions")
    assert isinstance(answer, str) and "Marmot Coffee" in answer


def others_see_no_foreign_rows(policy: Policy, folder: Path) -> None:
    assert {case.platform for case, _ in allowed(policy) if case.data is Data.OFF_PLATFORM} == {OWN}
    assert {case.platform for case, _ in allowed(policy)} > {OWN}, "others are asked at all"


def rows_of_standard(policy: Policy, folder: Path) -> None:
    most = {case.platform: verdict.rows_max for case, verdict in allowed(policy)}
    assert most.pop(OWN) == 25 and set(most.values()) == {10}


def ninety_days(policy: Policy, folder: Path) -> None:
    assert {verdict.lookback_days_max for _, verdict in allowed(policy)} == {90}


def listed_platforms_over_their_channel(policy: Policy, folder: Path) -> None:
    over = {(case.platform, case.channel) for case, _ in allowed(policy)}
    assert over == {(OWN, "web"), ("larkspur-partner", "api"), ("larkspur-assistant", "mcp")}
    refused = on_the_road(policy, folder, "what's my balance?", platform="larkspur-partner")
    assert isinstance(refused, NotAllowed)
    assert getattr(on_the_road(policy, folder, "what's my balance?", platform="nobody-knows"), "code", None) == "platform_unknown"


def everything_sealed(policy: Policy, folder: Path) -> None:
    assert {verdict.delivery for _, verdict in allowed(policy)} == {Delivery.SEALED}
    assert {case.platform for case, _ in allowed(policy)} == set(policy.platforms)


def no_foreign_rows(policy: Policy, folder: Path) -> None:
    assert Data.ON_PLATFORM in {case.data for case, _ in allowed(policy)}
    assert Data.OFF_PLATFORM not in {case.data for case, _ in allowed(policy)}


def rows_of_cautious(policy: Policy, folder: Path) -> None:
    assert {(verdict.rows_max, verdict.lookback_days_max) for _, verdict in allowed(policy)} == {(10, 30)}


def all_alike(policy: Policy, folder: Path) -> None:
    """The same request from any two platforms is decided alike."""
    assert len(policy.platforms) > 1 and uneven(policy) == ()


def alike_over_their_channels(policy: Policy, folder: Path) -> None:
    all_alike(policy, folder)
    over = {(case.platform, case.channel) for case, _ in allowed(policy)}
    assert over == {(OWN, "web"), ("larkspur-partner", "api"), ("larkspur-assistant", "mcp")}


def nothing_leaves_unsealed(policy: Policy, folder: Path) -> None:
    for text in ("what's my balance?", "can I afford 640?", "show my last 3 transactions"):
        refused = on_the_road(policy, folder, text)
        assert getattr(refused, "code", None) == "delivery_unavailable"
        assert "sealed to your own device" in getattr(refused, "plain_words", "")


def only_warnings(policy: Policy, folder: Path) -> None:
    assert {case.purpose for case, _ in allowed(policy)} == {Purpose.WARN_OF_FRAUD}
    assert {case.platform for case, _ in allowed(policy)} == set(policy.platforms)


def one_payment(policy: Policy, folder: Path) -> None:
    assert {case.projection for case, _ in allowed(policy)} == {Projection.TRANSACTIONS_AMOUNT}
    assert {(verdict.rows_max, verdict.lookback_days_max) for _, verdict in allowed(policy)} == {(1, 2)}


def no_question_is_answered(policy: Policy, folder: Path) -> None:
    for text in ("what's my balance?", "can I afford 640?", "show my last 3 transactions"):
        assert isinstance(on_the_road(policy, folder, text), NotAllowed)


def says_where_to_ask(policy: Policy, folder: Path) -> None:
    refused = on_the_road(policy, folder, "what's my balance?")
    assert isinstance(refused, NotAllowed) and refused.rule == "no-questions"
    assert "ask in its own app" in refused.plain_words


def northstar_gets_nothing(policy: Policy, folder: Path) -> None:
    """Neither as it stands, nor under a permit for everything that somebody adds."""
    assert NORTH in policy.platforms and NORTH not in {case.platform for case, _ in allowed(policy)}
    wide = (
        f'@id("wide") @reason("Everything.") permit (principal == Platform::"{NORTH}", action in'
        f" [{', '.join(f'Action::{chr(34)}{each}{chr(34)}' for each in Projection)}], resource)"
        ' when { [Channel::"web", Channel::"api", Channel::"mcp"].contains(context.channel) && context.purpose == Purpose::"answer_customer"'
        ' && [Data::"account", Data::"on_platform"].contains(resource) };'
    )
    more = load_policy({**policy.sources, "policy.cedar": policy.sources["policy.cedar"] + wide.encode()})
    assert NORTH not in {case.platform for case, _ in allowed(more)}
    assert {verdict.rules for case, verdict in more.table.items() if case.platform == NORTH and case.data is not Data.OFF_PLATFORM} == {
        ("refuse-northstar-social",)
    }


def northstar_is_told(policy: Policy, folder: Path) -> None:
    refused = on_the_road(policy, folder, "what's my balance?", platform=NORTH)
    assert isinstance(refused, NotAllowed)
    assert (refused.rule, refused.basis) == ("refuse-northstar-social", Basis.RISK)
    assert "Northstar Social" in refused.plain_words


def others_as_standard(policy: Policy, folder: Path) -> None:
    standard = pack(STANDARD).table
    assert {case: verdict for case, verdict in policy.table.items() if case.platform != NORTH} == standard


def authorized_is_answered(policy: Policy, folder: Path) -> None:
    answered = {(case.platform, case.channel) for case, _ in allowed(policy)}
    assert answered == {(platform, channel) for platform in policy.platforms for channel in policy.channels}
    assert {verdict.lookback_days_max for _, verdict in allowed(policy)} == {730}
    assert isinstance(on_the_road(policy, folder, "show my last 3 transactions"), str)


def denials_name_a_risk(policy: Policy, folder: Path) -> None:
    assert forbids(policy)
    for name in forbids(policy):
        rule = policy.rules[name]
        assert rule.basis is Basis.RISK and re.search(r"recorded risk R-\d{3}", rule.reason), name


def particulars_are_public(policy: Policy, folder: Path) -> None:
    assert policy.platforms
    assert [platform.missing_particulars for platform in policy.platforms.values()] == [()] * len(policy.platforms)


def no_advertising(policy: Policy, folder: Path) -> None:
    for word in ("advertising", "dpv:TargetedAdvertising", "dpv:SellDataToThirdParties", "profiling"):
        with pytest.raises(PurposeForbidden):
            purpose_named(word)
    finding = next(each for each in policy.proof.findings if each.name == "no-advertising")
    assert finding.holds and finding.combinations > len(policy.table)


Check = Callable[[Policy, Path], None]
CHECKS: Mapping[str, Mapping[str, Check]] = {
    "standard": {
        "Only the customer's own questions are answered; there is no other purpose.": only_the_customers_questions,
        "In the bank's own chat a customer may see all of her transactions.": own_chat_shows_all,
        "An app or assistant of somebody else never sees a transaction that was not made through it.": others_see_no_foreign_rows,
        "At most 25 rows leave in one answer in the bank's own chat, and 10 elsewhere.": rows_of_standard,
        "Nothing older than 90 days leaves.": ninety_days,
        "A platform that is not listed gets nothing, and a listed one only over its own channel.": listed_platforms_over_their_channel,
    },
    "cautious": {
        "Every answer leaves sealed to the customer's own device, on every platform and the bank's own chat.": everything_sealed,
        "A transaction that was not made through a platform is never shown to it.": no_foreign_rows,
        "Only the customer's own questions are answered; there is no other purpose.": only_the_customers_questions,
        "At most 10 rows leave in one answer, and nothing older than 30 days.": rows_of_cautious,
        "Every platform is treated alike, over its own channel.": alike_over_their_channels,
        "While a chat has no way to deliver a sealed answer, nothing leaves through it, and the customer is told so.": nothing_leaves_unsealed,
    },
    "fraud-alerts-only": {
        "The only purpose is to warn the customer of a payment that looks like fraud.": only_warnings,
        "A warning tells of one payment, its date and its amount, not of the merchant, and of none older than 2 days.": one_payment,
        "No question is answered: no balance, no list of transactions, not even a yes or no.": no_question_is_answered,
        "Every platform is treated alike.": all_alike,
        "A customer who asks anyway reads why, and where to ask instead.": says_where_to_ask,
    },
    "refuse-platform": {
        "Northstar Social gets nothing: on no channel, for no purpose, and whatever other rules say.": northstar_gets_nothing,
        "A customer who asks there reads the reason, and the log keeps it with its basis.": northstar_is_told,
        "Everybody else is answered as under `standard`.": others_as_standard,
    },
    "1033": {
        "What the customer authorized is answered, on every listed platform, over every channel, for two years back (1033.201, 1033.211).": (
            authorized_is_answered
        ),
        "The only denials are for a recorded risk, and each names it.": denials_name_a_risk,
        "Every denial applies to all platforms alike.": all_alike,
        "Every listed platform makes its legal name, website, identifier and contact public (1033.321(d)(2)).": particulars_are_public,
        "Advertising, selling and profiling are no purposes, whatever a customer might sign (1033.421(a)(2)).": no_advertising,
    },
}
PROMISED = [(name, promise) for name in NAMES for promise in promises(name)]


@pytest.mark.parametrize(("name", "promise"), PROMISED, ids=[f"{name}: {promise[:50]}" for name, promise in PROMISED])
def test_every_promise_is_checked(name: str, promise: str, tmp_path: Path) -> None:
    assert promise in CHECKS.get(name, {}), "write a check for this promise into CHECKS"
    CHECKS[name][promise](pack(name), tmp_path)


def test_no_check_outlives_its_promise() -> None:
    assert {(name, promise) for name, checks in CHECKS.items() for promise in checks} == set(PROMISED)
    assert set(NAMES) >= set(OURS)


# What holds of any pack


@every_pack
def test_a_pack_passes_every_step_and_the_other_engine_agrees(name: str) -> None:
    policy = load_policy(policy_place(name), rows_compared_max=None)
    assert policy.proof.holds and policy.proof.findings
    assert policy.comparison.complete and policy.comparison.asked > 0 and not policy.comparison.differing
    assert [step.name for step in policy.steps] == ["read", "validate", "compile", "tabulate", "compare", "prove"]
    assert any(verdict.allow for verdict in policy.table.values()), "a pack that allows nothing is no start"


@every_pack
def test_a_pack_knows_the_chat_that_the_settings_name(name: str) -> None:
    default = {field.name: field.default for field in msgspec.structs.fields(Settings)}["platform"]
    assert default in pack(name).platforms and PLATFORM in pack(name).platforms
    assert all(not platform.missing_particulars for platform in pack(name).platforms.values())


@every_pack
def test_a_pack_tells_a_privacy_officer_what_it_is_for(name: str) -> None:
    text = (FOLDER / name / "README.md").read_text()
    assert text.startswith(f"# {name}\n\n")
    for title in SECTIONS:
        assert len(section(name, title)) > 80
    assert f"parley policy init {name} " in text
    assert pack(name).name == name
    for rule in pack(name).rules.values():
        assert rule.reason.endswith(".") and rule.reason[0].isupper(), rule.id


@every_pack
def test_a_copy_of_a_pack_is_the_same_policy(name: str, tmp_path: Path) -> None:
    written = copy_pack(name, tmp_path / "mine")
    assert {path.name for path in written} == {"policy.cedar", "particulars.toml", "README.md"}
    assert load_policy(tmp_path / "mine").digest == pack(name).digest
    with pytest.raises(FileExistsError):
        copy_pack(name, tmp_path / "mine")


@every_pack
def test_a_pack_cannot_be_bent_to_sell_data(name: str, tmp_path: Path) -> None:
    """Whatever a bank adds to it: a purpose that nobody has a word for, or one that the vocabulary hides under a harmless one."""
    for word in ("advertising", "dpv:SellDataToThirdParties", "dpv:ServiceProvision", "answer_customers"):
        folder = tmp_path / word.replace(":", "-")
        shutil.copytree(policy_place(name), folder)
        with (folder / "policy.cedar").open("a") as rules:
            rules.write(
                f'\n@id("more")\n@reason("More.")\npermit (principal == Platform::"{OWN}", action == Action::"balance.available",'
                f' resource == Data::"account") when {{ context.channel == Channel::"web" && context.purpose == Purpose::"{word}" }};\n'
            )
        with pytest.raises(PolicyRejected) as refused:
            load_policy(folder)
        assert str(folder) in str(refused.value) and "rule more" in str(refused.value)


@every_pack
def test_rows_that_were_made_elsewhere_need_the_grant_too(name: str, tmp_path: Path) -> None:
    """No pack shows them to a customer whose grant keeps them back."""
    answer = on_the_road(pack(name), tmp_path, "show my last 3 transactions", provenance=Provenance.ON_PLATFORM)
    assert not isinstance(answer, str) or "Marmot" not in answer


def test_a_name_that_is_no_pack_is_refused_with_the_packs_there_are(tmp_path: Path) -> None:
    for named in ("standart", str(tmp_path / "nowhere"), "../packs"):
        with pytest.raises(PolicyRejected) as refused:
            policy_place(named)
        assert all(name in str(refused.value) for name in NAMES)
    for named in ("standart", "../standard", ".", ""):
        with pytest.raises(PolicyRejected):
            copy_pack(named, tmp_path / "mine")
    assert policy_place("") == FOLDER / STANDARD
    assert policy_place(str(tmp_path)) == tmp_path
