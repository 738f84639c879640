"""Advertising is not a purpose that can be asked for, under any spelling."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parley.log.entries import check_entry
from parley.log.errors import LogRefused
from parley.model.refusals import PurposeForbidden, PurposeUnknown
from parley.model.words import DPV_TERMS, Purpose
from parley.policy import PolicyRejected, purpose_named
from parley.proof import FORBIDDEN_PURPOSES, canonical, is_forbidden
from parley.release.pipeline import Declined
from tests.fakes.road import POLICY, build_town, policy_from

ON_THE_LIST = frozenset(purpose.value for purpose in Purpose) | frozenset(DPV_TERMS.values())
MARKETING_WORDS = """
    Marketing Advertising PersonalisedAdvertising TargetedAdvertising TargetedRecruitmentAdvertising DirectMarketing SocialMediaMarketing
    PublicRelations PoliticalCampaign MarketResearch SellProducts SellProductsToDataSubject SellDataToThirdParties SellInsightsFromData
    Personalisation PersonalisedBenefits PersonalisedRecommendations CreateProductRecommendations ServicePersonalisation
"""
MARKETING = MARKETING_WORDS.split()
WORDS_FOR_IT = """
    TARGETED unknown-purpose ads AD Ads adtech retargeting remarketing marketing.advertising cross-sell upselling crossSell data_sale
    profiling profile training train_ai_system recommend recommendations promo promotions scoring credit-score SALES sell-data
    dpv-advertising dpv: : parley: parley:Advertising third_party_sharing analytics insights * any all null None true 0 [] {}
    answer-customer answercustomer ANSWER_CUSTOMER Answer_Customer answer_customer2 answer_customer; answer_customer,advertising
    answer_customer\x00 \ufeffanswer_customer \u0430nswer_customer answer_\u0441ustomer answer\uff3fcustomer \uff41nswer_customer
    dpv:requestedserviceprovision DPV:RequestedServiceProvision https://w3id.org/dpv#RequestedServiceProvision RequestedServiceProvision
    Advert\u0131s\u0131ng ADVERT\u0130S\u0130NG \u0410dvertising ad\u034fvertising \uff41\uff44vertising answer_cust0mer
"""
BLANKS = ["", " ", "\n", "answer_customer ", " answer_customer", "answer_customer\n", "answer customer", "Purpose.ANSWER_CUSTOMER"]
NAMES_FOR_IT = [*WORDS_FOR_IT.split(), *BLANKS, "\u202eremotsuc_rewsna"]


def is_refused(text: str) -> bool:
    try:
        purpose_named(text)
    except (PurposeForbidden, PurposeUnknown):
        return True
    return False


@pytest.mark.parametrize("term", sorted({*MARKETING, *FORBIDDEN_PURPOSES}))
@pytest.mark.parametrize("spelling", ["{}", "dpv:{}", "https://w3id.org/dpv#{}", "https://w3id.org/dpv/{}", "x:y:{}"])
def test_every_marketing_term_of_the_vocabulary_is_forbidden_by_name(term: str, spelling: str) -> None:
    for text in (spelling.format(term), spelling.format(term).upper(), spelling.format(term).lower(), spelling.format(term) + " "):
        with pytest.raises(PurposeForbidden):
            purpose_named(text)


@pytest.mark.parametrize("text", NAMES_FOR_IT, ids=ascii)
def test_a_purpose_that_is_not_exactly_on_the_list_is_none(text: str) -> None:
    assert is_refused(text)


def misspelt(name: str) -> st.SearchStrategy[str]:
    """The name with something slipped in, or nothing."""
    return st.builds(lambda at, extra: name[:at] + extra + name[at:], st.integers(0, len(name)), st.text(max_size=2))


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=40) | st.sampled_from(sorted(ON_THE_LIST)).flatmap(misspelt))
@example("answer_customer")
def test_no_text_whatsoever_becomes_a_purpose_unless_it_is_exactly_one(text: str) -> None:
    assert is_refused(text) == (text not in ON_THE_LIST)


def test_the_words_on_the_list_are_found() -> None:
    for purpose in Purpose:
        assert purpose_named(purpose.value) is purpose
        assert purpose_named(purpose.dpv) is purpose


def test_none_of_our_purposes_maps_to_a_forbidden_term() -> None:
    assert set(DPV_TERMS) == set(Purpose)
    assert len(set(DPV_TERMS.values())) == len(Purpose)
    for purpose in Purpose:
        assert not is_forbidden(purpose.dpv)
        assert not is_forbidden(purpose.value)


def test_there_is_no_word_for_advertising_selling_profiling_or_training() -> None:
    for purpose in Purpose:
        for word in ("advert", "market", "sell", "sale", "profil", "train", "recommend", "target", "promot"):
            assert word not in purpose.value.lower()
            assert word not in purpose.dpv.lower()


@pytest.mark.parametrize("word", ["advertising", "dpv:Advertising", "TARGETED", "Marketing", "SellDataToThirdParties", "train_ai_system", "*"])
@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_a_policy_that_names_advertising_does_not_load(word: str, effect: str, tmp_path: Path) -> None:
    named = POLICY.replace(
        'context.purpose == Purpose::"answer_customer"', f'[Purpose::"answer_customer", Purpose::"{word}"].contains(context.purpose)'
    )
    with pytest.raises(PolicyRejected) as caught:
        policy_from(tmp_path, named.replace("permit (", f"{effect} ("))
    assert str(tmp_path / "policy.cedar") in str(caught.value)
    assert "rule own-chat" in str(caught.value)
    assert f'"{word}"' in str(caught.value)


def test_the_widest_policy_a_bank_can_write_allows_no_forbidden_purpose(tmp_path: Path) -> None:
    everything = ", ".join(f'Purpose::"{each}"' for each in Purpose)
    policy = policy_from(tmp_path, POLICY.replace('context.purpose == Purpose::"answer_customer"', f"[{everything}].contains(context.purpose)"))
    allowed = {(case.purpose, case.projection) for case, verdict in policy.table.items() if verdict.allow}
    assert {purpose for purpose, _ in allowed} == set(Purpose)
    assert len({projection for _, projection in allowed}) >= 4
    assert [case for case in policy.table if is_forbidden(case.purpose.dpv) or is_forbidden(case.purpose)] == []


@pytest.mark.parametrize("named", ["dpv:Advertising", "TARGETED", "unknown-purpose", "SellDataToThirdParties", "answer_customer "])
def test_asking_under_such_a_purpose_is_refused_logged_and_reaches_no_bank(named: str, tmp_path: Path) -> None:
    town = build_town(tmp_path)
    outcome = asyncio.run(town.ask("what's my balance?", purpose=named))
    assert isinstance(outcome, Declined)
    assert outcome.reason.code in ("purpose_forbidden", "purpose_unknown")
    assert town.bank.orders == []
    (entry,) = town.log.read()
    assert (entry["k"], entry["code"]) == ("refusal", outcome.reason.code)
    assert named.strip() not in str(entry)


def test_a_named_purpose_on_the_list_still_needs_its_own_consent(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    outcome = asyncio.run(town.ask("what's my balance?", purpose="customer_care"))
    assert outcome.reason.code == "not_consented"


@pytest.mark.parametrize("term", MARKETING)
def test_even_a_gateway_gone_wrong_gets_no_such_entry_past_the_notary(term: str) -> None:
    entry = canonical({"b": 600, "c": "c" * 44, "ch": "web", "k": "release", "u": f"dpv:{term}", "v": 1})
    with pytest.raises(LogRefused) as caught:
        check_entry(entry)
    assert caught.value.code == "purpose_forbidden"
