"""Whoever asks names itself, and the name is a stranger's text: it never hides what is being asked, nor passes for a checked one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from parley.authorization.consent_text import consent_text, offer_for
from parley.model.linking import Asker, Errand, Origin
from parley.model.refusals import NotAllowed
from parley.model.words import Projection, Purpose
from tests.fakes.visitor import Visitor
from tests.fakes.web_house import ACCOUNTS, OFFER, running_house

HOSTILE = (
    "<script>alert(1)</script><b>Your bank",
    "evil \u202e knab ruoY \u2066 hidden",
    "\x1b[31mred\u200b\u2060\U000e0041zero",
    "A" * 5000,
    "Acme\n\nWho\nYour bank would receive answers.",
    "\u2069\u2069\u2069out of the isolate",
    "بنك",
)


def errand(title: str = "Acme Budget", host: str = "acme.example", *, verified: bool = True, **more: object) -> Errand:
    return Errand(Origin.OAUTH, "acme", "api", Asker(title, host, verified), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("title", HOSTILE)
def test_C20_no_name_of_a_client_breaks_a_line_or_turns_one_around(title: str) -> None:
    text = consent_text(offer_for(OFFER, errand(title)), ACCOUNTS, None)
    assert len(text.title) < 100
    for line in text.lines():
        inside = line.replace("\u2068", "").replace("\u2069", "")
        assert inside.isprintable(), line
        assert line.count("\u2068") == line.count("\u2069")
    assert text.sections[0].heading == "Who"
    assert len(text.sections[0].lines) == 2


def test_C20_the_page_shows_markup_in_a_name_as_text() -> None:
    with running_house() as house:
        house.offers.offer = replace(OFFER, platform_title="<img src=x onerror=alert(1)>", host="<i>evil</i>.example")
        visitor = Visitor(house.origin)
        state = visitor.set_out()
        visitor.come_back(state, house.bank.issue(state))
        page = visitor.get("/consent").text
        assert "<img" not in page
        assert "<i>evil" not in page
        assert "&lt;img" in page


def test_C20_an_unchecked_client_is_said_to_be_one_and_its_address_stands_beside_its_name() -> None:
    unchecked = consent_text(offer_for(OFFER, errand(verified=False)), ACCOUNTS, None)
    first = unchecked.sections[0]
    assert "acme.example" in first.lines[0]
    assert "Nobody has checked that name." in first.lines[0]
    assert not any("certifies" in line for line in unchecked.lines())
    (checked, *_) = consent_text(offer_for(OFFER, errand()), ACCOUNTS, None).sections
    assert "has registered it" in checked.lines[0]
    assert first.lines != checked.lines


def test_C4_the_page_says_where_the_request_came_from_and_where_the_decision_leads() -> None:
    lines = [line for section in consent_text(offer_for(OFFER, errand()), ACCOUNTS, None).sections for line in section.lines]
    assert any("acme.example" in line for line in lines)
    assert any("leads back there" in line for line in lines)


def test_an_errand_is_offered_what_it_asks_for_and_nothing_more() -> None:
    asked = errand(projections=(Projection.BALANCE_AVAILABLE,), purposes=(Purpose.ANSWER_CUSTOMER,), lookback_days=30, days=10)
    offer = offer_for(OFFER, asked)
    assert offer.projections == (Projection.BALANCE_AVAILABLE,)
    assert (offer.lookback_default, offer.days_default) == (30, 10)
    assert offer.delivery is OFFER.delivery
    assert offer.budget == OFFER.budget


def test_an_errand_never_reaches_further_than_the_bank_offers() -> None:
    offer = offer_for(OFFER, errand(lookback_days=700, days=900))
    assert max(offer.lookbacks_offered) == OFFER.lookback_days
    assert max(offer.days_offered) == max(OFFER.days_offered)
    with pytest.raises(NotAllowed):
        offer_for(OFFER, errand(purposes=(Purpose.MAKE_PAYMENT,)))


def test_the_text_that_is_hashed_names_the_client_and_every_choice_of_days() -> None:
    one, other = (consent_text(offer_for(OFFER, errand(host=host)), ACCOUNTS, None) for host in ("acme.example", "acne.example"))
    assert one.hash != other.hash
    assert "30 days" in one.canonical
    assert one.canonical.index("How far back") < one.canonical.index("For how long")
