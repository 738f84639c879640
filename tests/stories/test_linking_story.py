"""A customer links her account: to her bank and back, one page that says everything, her own choice, and a way out at each step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape

import pytest

from parley.authorization.consent_text import CONSENT_FORMAT, ConsentOffer, consent_text
from parley.model.words import Projection, Purpose
from tests.fakes.visitor import Seen, Visitor
from tests.fakes.web_house import ACCOUNTS, OFFER, House, running_house


@pytest.fixture
def house() -> Iterator[House]:
    with running_house() as running:
        yield running


def arrive(house: House, visitor: Visitor, wish: str = "balance") -> Seen:
    state = visitor.set_out(wish)
    assert visitor.come_back(state, house.bank.issue(state)).location == "/consent"
    return visitor.get("/consent")


def shown_lines(page: Seen) -> list[str]:
    """What a reader of the page reads, one entry for each element."""
    body = page.text.split('<div id="consent-text">')[1].split('<input type="hidden"')[0]
    texts = (unescape(re.sub(r"\s+", " ", part)).strip() for part in re.split(r"<[^>]+>", body))
    return [text for text in texts if text]


def test_she_links_chooses_and_is_answered(house: House) -> None:
    visitor = Visitor(house.origin)
    assert visitor.ask("balance?", visitor.open_chat()).json["code"] == "not_linked"
    page = arrive(house, visitor)
    decided = visitor.post_form("/consent", visitor.consent_fields(page))
    assert (decided.status, decided.location) == (303, "/")
    (approval,) = house.desk.approvals
    assert approval.customer == "customer-of-ada"
    assert approval.accounts == (page.boxes("account")[0],)
    assert approval.projections == {Projection.BALANCE_AVAILABLE}
    assert (approval.days, approval.wish, approval.channel) == (30, "balance", "web")
    assert approval.decided_at == house.clock.now
    assert visitor.ask("balance?", visitor.open_chat()).json["outcome"] == "answered"
    assert 'datetime="2027-03-31"' in visitor.get("/").text


def test_nothing_is_ticked_for_her_and_what_her_question_needs_is_marked(house: House) -> None:
    page = arrive(house, Visitor(house.origin), "afford")
    assert " checked" not in page.text
    assert len(page.boxes("account")) == len(ACCOUNTS)
    assert page.boxes("projection") == [projection.value for projection in OFFER.projections]
    marked = page.text.split("Needed for your question")
    assert len(marked) == 2
    assert marked[0].rsplit('value="', 1)[1].startswith("afford.yesno")
    assert '<option value="90" selected>' in page.text


def test_without_a_question_nothing_is_marked(house: House) -> None:
    for wish in ("", "unknown-offering", "<script>"):
        assert "Needed for your question" not in arrive(house, Visitor(house.origin), wish).text


def test_the_text_that_is_hashed_is_exactly_the_text_that_is_read(house: House) -> None:
    page = arrive(house, Visitor(house.origin))
    text = consent_text(OFFER, house.records.links["customer-of-ada"][2], "balance")
    assert text.canonical.splitlines() == [CONSENT_FORMAT, *shown_lines(page)]
    assert page.hidden("text_hash") == text.hash


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("(b)(1) who receives", "Brook Bank web chat would receive answers."),
        ("(b)(2) who holds the data", "Brook Bank holds your data and gives it."),
        ("(b)(3) what for", "Only to answer the questions that you ask about your own accounts."),
        ("(b)(3) only as necessary", "collected, used and kept only as reasonably necessary"),
        ("(b)(4) which data", "Recent transactions: date, merchant and amount"),
        ("(b)(4) which accounts", "Checking account, ending in 4417"),
        ("(b)(5) certification", "Brook Bank web chat certifies that it keeps to these limits."),
        ("(b)(6) how long", "Never longer than one year without asking you again."),
        ("(b)(7) how to stop", "Press “Stop sharing” in the chat, type stop, or open “My consents”, at any time."),
        ("how far back", "No question may reach back further."),
        ("how much", "At most 50 answers and 500 transactions a day."),
        ("how delivered", "Whoever runs the chat platform can read them."),
        ("never advertising", "never used for advertising, cross-selling, selling, profiling or training"),
        ("whom to ask", "privacy@brook.example"),
    ],
)
def test_every_item_that_the_law_lists_is_on_the_one_page(house: House, item: str, words: str) -> None:
    lines = shown_lines(arrive(house, Visitor(house.origin)))
    assert any(words in line for line in lines), item


def test_ticking_nothing_shows_the_page_again_with_what_is_missing(house: House) -> None:
    visitor = Visitor(house.origin)
    page = arrive(house, visitor)
    again = visitor.post_form("/consent", visitor.consent_fields(page, account=[], projection=["afford.yesno"], days="1"))
    assert again.status == 422
    assert "Please choose at least one account" in again.text
    assert again.text.count(" checked") == 1
    assert '<option value="1" selected>' in again.text
    assert house.desk.approvals == []
    assert visitor.post_form("/consent", visitor.consent_fields(again)).status == 303


def test_her_no_is_taken_and_the_banks_access_is_given_back(house: House) -> None:
    visitor = Visitor(house.origin)
    denied = visitor.post_form("/consent", visitor.consent_fields(arrive(house, visitor), decision="deny"))
    assert denied.status == 200
    assert "Nothing is shared" in denied.text
    assert house.desk.approvals == []
    assert len(house.records.given_back) == 1
    assert house.records.lost == {"customer-of-ada"}
    assert visitor.ask("balance?", visitor.open_chat()).json["code"] == "not_linked"


def test_a_no_with_boxes_ticked_is_still_a_no(house: House) -> None:
    visitor = Visitor(house.origin)
    page = arrive(house, visitor)
    fields = visitor.consent_fields(page, account=page.boxes("account"), projection=page.boxes("projection"), decision="deny")
    visitor.post_form("/consent", fields)
    assert house.desk.approvals == []


def test_she_stops_sharing_from_the_page(house: House) -> None:
    visitor = Visitor(house.origin)
    visitor.post_form("/consent", visitor.consent_fields(arrive(house, visitor)))
    csrf = visitor.open_chat()
    stop = visitor.send("POST", "/chat/stop", b"{}", {"content-type": "application/json", "x-parley-csrf": csrf, "origin": house.origin})
    assert stop.json["outcome"] == "answered"
    assert visitor.ask("balance?", csrf).json["code"] == "not_linked"


def test_an_offer_beyond_a_year_or_without_a_purpose_cannot_be_made() -> None:
    def offer(**changes: object) -> ConsentOffer:
        return replace(OFFER, **changes)  # type: ignore[arg-type]

    for changes in ({"days_offered": (90, 366)}, {"days_offered": (0, 90)}, {"days_default": 7}, {"purposes": ()}, {"projections": ()}):
        with pytest.raises(ValueError, match="consent"):
            offer(**changes)


def test_every_purpose_has_words_for_the_page() -> None:
    for purpose in Purpose:
        assert consent_text(replace(OFFER, purposes=(purpose,)), (), None).sections[1].lines[0].startswith("Only to ")
