"""Linking under attack: forged and stale forms, other people's browsers, changed texts, hostile names, failing banks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.authorization.consent_text import consent_text
from parley.model.ledger import AccountKind, AccountStatus
from parley.model.refusals import BAD_INPUT, BankNonsense, BankTimeout, BankUncertain
from tests.fakes.visitor import Seen, Visitor
from tests.fakes.web_house import ACCOUNTS, OFFER, House, account, running_house


@pytest.fixture(scope="module")
def running() -> Iterator[House]:
    with running_house() as house:
        yield house


@pytest.fixture
def house(running: House) -> House:
    running.desk.approvals.clear()
    running.desk.approval_fails = False
    running.bank.fail_with = None
    running.bank.chosen = ACCOUNTS
    running.bank.finished = 0
    running.bank.revoked.clear()
    running.offers.offer = OFFER
    return running


def consent_page(house: House, wish: str = "balance") -> tuple[Visitor, Seen]:
    visitor = Visitor(house.origin)
    state = visitor.set_out(wish)
    back = visitor.come_back(state, house.bank.issue(state))
    assert (back.status, back.location) == (303, "/consent")
    page = visitor.get("/consent")
    assert page.status == 200
    return visitor, page


def code_of(seen: Seen) -> str:
    found = re.search(r"<code>([a-z_]+)</code>", seen.text)
    return found[1] if found else ""


# C2: forged and stale forms.


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"headers": {"origin": "https://elsewhere.example"}}, 403, "origin_wrong"),
        ({"headers": {"origin": "null"}}, 403, "origin_wrong"),
        ({"headers": {"sec_fetch_site": "cross-site"}}, 403, "origin_wrong"),
        ({"headers": {"content_type": "application/json"}}, 415, "content_type_wrong"),
        ({"headers": {"content_type": "multipart/form-data; boundary=x"}}, 415, "content_type_wrong"),
        ({"fields": {"csrf": "wrong"}}, 409, "form_stale"),
        ({"fields": {"csrf": ["a", "b"]}}, 422, "body_wrong_shape"),
        ({"fields": {}}, 409, "form_stale"),
        ({"cookies": False}, 401, "session_unknown"),
    ],
)
def test_A27_C2_a_form_that_is_not_ours_starts_no_link(house: House, change: dict[str, Any], status: int, code: str) -> None:
    visitor = Visitor(house.origin)
    csrf = visitor.open_chat()
    if change.get("cookies") is False:
        visitor.jar.clear()
    before = len(house.records.attempts)
    seen = visitor.post_form("/link", change.get("fields", {"csrf": csrf}), **change.get("headers", {}))
    assert (seen.status, code_of(seen)) == (status, code)
    assert len(house.records.attempts) == before


def test_C17_too_many_fields_are_refused(house: House) -> None:
    visitor = Visitor(house.origin)
    fields = {"csrf": visitor.open_chat(), "account": [str(each) for each in range(300)]}
    assert code_of(visitor.post_form("/link", fields)) == "body_wrong_shape"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"csrf": "wrong"}, "form_stale"),
        ({"once": "wrong"}, "form_stale"),
        ({"once": "ü" * 64}, "form_stale"),
        ({"text_hash": "0" * 64}, "form_stale"),
        ({"decision": "perhaps"}, "form_stale"),
        ({"decision": ["deny", "allow"]}, "body_wrong_shape"),
        ({"account": ["another-customers-account"]}, "form_stale"),
        ({"projection": ["everything"]}, "form_stale"),
        ({"days": "3650"}, "form_stale"),
        ({"days": "-1"}, "form_stale"),
        ({"days": ""}, "form_stale"),
        ({"days": ["1", "365"]}, "body_wrong_shape"),
    ],
)
def test_C2_a_decision_that_the_page_could_not_send_decides_nothing(house: House, change: dict[str, Any], code: str) -> None:
    visitor, page = consent_page(house)
    seen = visitor.post_form("/consent", visitor.consent_fields(page, **change))
    assert (seen.status in (409, 422), code_of(seen)) == (True, code)
    assert house.desk.approvals == []


@pytest.mark.parametrize("missing", ["parley", "parley-trip", "parley-consent"])
def test_C2_a_decision_needs_every_cookie_of_the_page(house: House, missing: str) -> None:
    visitor, page = consent_page(house)
    fields = visitor.consent_fields(page)
    visitor.jar.pop(missing)
    assert code_of(visitor.post_form("/consent", fields)) == "form_stale"
    assert house.desk.approvals == []


def test_C2_a_forged_decision_does_not_use_up_the_customers_page(house: House) -> None:
    visitor, page = consent_page(house)
    assert code_of(visitor.post_form("/consent", visitor.consent_fields(page, once="forged"))) == "form_stale"
    assert visitor.post_form("/consent", visitor.consent_fields(page)).status == 303


def test_C19_a_decision_counts_once_and_the_back_button_is_told_so(house: House) -> None:
    visitor, page = consent_page(house)
    fields, jar = visitor.consent_fields(page), dict(visitor.jar)
    assert visitor.post_form("/consent", fields).status == 303
    assert code_of(visitor.post_form("/consent", fields)) == "form_stale"
    visitor.jar = jar
    assert code_of(visitor.post_form("/consent", fields)) == "form_stale"
    assert len(house.desk.approvals) == 1


def test_C20_only_the_page_shown_last_can_be_answered(house: House) -> None:
    visitor, first = consent_page(house)
    old_jar = dict(visitor.jar)
    second = visitor.get("/consent")
    last_jar = dict(visitor.jar)
    visitor.jar = old_jar
    assert code_of(visitor.post_form("/consent", visitor.consent_fields(first))) == "form_stale"
    visitor.jar = last_jar
    assert visitor.post_form("/consent", visitor.consent_fields(second)).status == 303


def test_C20_a_consent_page_left_open_too_long_is_stale(house: House) -> None:
    visitor, page = consent_page(house)
    house.clock.pass_by(timedelta(minutes=16))
    assert code_of(visitor.post_form("/consent", visitor.consent_fields(page))) == "form_stale"


def test_C2_nothing_is_decided_by_following_an_address(house: House) -> None:
    visitor, page = consent_page(house)
    for path in ("/link", "/consent", "/signout"):
        visitor.get(f"{path}?" + urlencode(visitor.consent_fields(page), doseq=True))
    assert house.desk.approvals == []


# C3, C4: other people's browsers.


def test_C3_a_callback_in_another_browser_links_nobody_and_costs_no_token_call(house: House) -> None:
    attacker, victim = Visitor(house.origin), Visitor(house.origin)
    state = attacker.set_out()
    victim.open_chat()
    seen = victim.come_back(state, house.bank.issue(state))
    assert (seen.status, code_of(seen)) == (410, "link_expired")
    assert house.bank.finished == 0


def test_C2_a_callback_without_any_session_links_nobody(house: House) -> None:
    state = Visitor(house.origin).set_out()
    assert Visitor(house.origin).come_back(state, house.bank.issue(state)).status == 410
    assert house.bank.finished == 0


def test_B2_a_state_works_once(house: House) -> None:
    visitor = Visitor(house.origin)
    state = visitor.set_out()
    assert visitor.come_back(state, house.bank.issue(state)).status == 303
    assert visitor.come_back(state, house.bank.issue(state)).status == 410
    assert house.bank.finished == 1


@pytest.mark.parametrize("query", ["", "state=", "state=a&state=b", "state=" + "x" * 600, "code=x", "state=%ff%fe", "error=access_denied", "&" * 300])
def test_B2_a_callback_without_a_state_of_ours_is_refused(house: House, query: str) -> None:
    visitor = Visitor(house.origin)
    visitor.open_chat()
    seen = visitor.get(f"/link/callback?{query}")
    assert seen.status in (410, 422)
    assert "/consent" not in seen.location
    assert house.bank.finished == 0


def test_C12_another_sessions_consent_cookie_shows_nothing(house: House) -> None:
    victim, page = consent_page(house)
    attacker = Visitor(house.origin)
    attacker.open_chat()
    attacker.jar |= {name: value for name, value in victim.jar.items() if name != "parley"}
    assert code_of(attacker.get("/consent")) == "form_stale"
    assert "Everyday" not in attacker.get("/consent").text
    assert page.status == 200


def test_C3_the_code_of_somebody_elses_trip_is_not_taken(house: House) -> None:
    attacker, victim = Visitor(house.origin), Visitor(house.origin)
    stolen = house.bank.issue(attacker.set_out())
    assert code_of(victim.come_back(victim.set_out(), stolen)) == "link_expired"


# C20: the text.


def test_C20_a_text_that_changed_between_display_and_decision_is_refused(house: House) -> None:
    visitor, page = consent_page(house)
    house.offers.offer = replace(OFFER, lookback_days=365)
    assert code_of(visitor.post_form("/consent", visitor.consent_fields(page))) == "form_stale"
    assert house.desk.approvals == []


def test_C20_an_account_that_appeared_since_is_a_changed_text(house: House) -> None:
    visitor, page = consent_page(house)
    bank, tokens, accounts = house.records.links["customer-of-ada"]
    house.records.links["customer-of-ada"] = (bank, tokens, (*accounts, account("New", "1111")))
    assert code_of(visitor.post_form("/consent", visitor.consent_fields(page))) == "form_stale"


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        '" onmouseover="alert(1)',
        "</label></form><form action=//elsewhere.example>",
        "Every\u202eyad\u2066x",
        "Savings\r\nSet-Cookie: a=b",
        "{{ 7*7 }}{% raw %}",
        "A" * 5000,
        "\x1b[31mred\x00",
        "acct 123456789012",
        "\u200b\u200b",
    ],
)
def test_C20_a_hostile_account_name_is_only_ever_text(house: House, name: str) -> None:
    house.bank.chosen = (account(name, "4<4\u202e1"), *ACCOUNTS)
    _, page = consent_page(house)
    assert "<script>" not in page.text
    assert "onmouseover=" not in re.sub(r"&#34;[^<]*", "", page.text)
    assert page.text.count("<form") == 1
    assert not set(page.text) & set("\u202e\u2066\x1b\x00\u200b")
    assert "A" * 41 not in page.text
    assert "123456789012" not in page.text
    assert "49" not in page.text.split("Which accounts")[1].split("</label>")[0]


@given(st.text(max_size=200), st.text(max_size=8), st.sampled_from(AccountKind))
def test_C20_every_account_name_makes_one_clean_line_of_the_text(name: str, mask: str, kind: AccountKind) -> None:
    text = consent_text(OFFER, (account(name, mask, kind),), None)
    label, note = text.accounts[0].label, text.accounts[0].note
    assert 0 < len(label) <= 40
    assert label.isprintable()
    assert "\n" not in label + note
    assert text.hash == consent_text(OFFER, (account(name, mask, kind),), None).hash


def test_closed_accounts_are_not_offered(house: House) -> None:
    house.bank.chosen = (*ACCOUNTS, account("Old one", "0001", status=AccountStatus.CLOSED))
    _, page = consent_page(house)
    assert "Old one" not in page.text


# Failing banks.


@pytest.mark.parametrize("failure", [BankTimeout, BankNonsense, BankUncertain])
def test_a_bank_that_fails_is_a_fault_and_not_a_link(house: House, failure: Callable[[str], Exception]) -> None:
    house.bank.fail_with = failure("test")
    visitor = Visitor(house.origin)
    state = visitor.set_out()
    seen = visitor.come_back(state, house.bank.issue(state))
    assert (seen.status, seen.header("retry-after")) == (503, "5")
    assert code_of(seen) == failure.code  # type: ignore[attr-defined]


def test_C16_what_breaks_unforeseen_in_linking_says_nothing_of_itself(house: House) -> None:
    house.bank.fail_with = ZeroDivisionError("secret-token")
    visitor = Visitor(house.origin)
    state = visitor.set_out()
    seen = visitor.come_back(state, house.bank.issue(state))
    assert (seen.status, code_of(seen)) == (503, "internal")
    assert "secret" not in seen.text
    assert house.faults[-1] == "ZeroDivisionError"


def test_no_account_chosen_at_the_bank_links_nothing_and_gives_the_access_back(house: House) -> None:
    house.bank.chosen = ()
    visitor = Visitor(house.origin)
    state = visitor.set_out()
    assert code_of(visitor.come_back(state, house.bank.issue(state))) == "choice_missing"
    assert len(house.bank.revoked) == 1


def test_when_recording_fails_nothing_was_allowed_and_she_may_try_again(house: House) -> None:
    visitor, page = consent_page(house)
    old = visitor.jar["parley"]
    house.desk.approval_fails = True
    failed = visitor.post_form("/consent", visitor.consent_fields(page))
    assert failed.status == 503
    assert visitor.jar["parley"] == old
    assert house.desk.approvals == []
    house.desk.approval_fails = False
    assert failed.text.count(" checked") == 2
    assert visitor.post_form("/consent", visitor.consent_fields(failed)).status == 303


def test_saying_no_at_the_bank_is_friendly_and_links_nothing(house: House) -> None:
    visitor = Visitor(house.origin)
    state = visitor.set_out()
    seen = visitor.get("/link/callback?" + urlencode({"state": state, "error": "access_denied"}))
    assert seen.status == 200
    assert "Nothing was linked" in unescape(seen.text)


def test_C7_pages_never_echo_what_the_query_says(house: House) -> None:
    visitor = Visitor(house.origin)
    visitor.open_chat()
    seen = visitor.get("/link/callback?" + urlencode({"error_description": "<b>Call 555</b>", "error": "Call555", "state": "x"}))
    assert "555</b>" not in seen.text
    assert "Call" not in seen.text


# Terminals.


def start_terminal(house: House) -> tuple[Visitor, dict[str, str]]:
    terminal = Visitor(house.origin)
    made = terminal.send("POST", "/terminal/session", b"{}", {"content-type": "application/json"}).json
    assert terminal.jar == {}
    return terminal, {"content-type": "application/json", "authorization": f"Bearer {made['token']}"}


def pair(house: House, terminal: Visitor, headers: dict[str, str]) -> tuple[str, str]:
    made = terminal.send("POST", "/terminal/pair", b"{}", headers).json
    assert made["url"].startswith(house.origin)
    return made["url"].removeprefix(house.origin), made["number"]


def test_a_terminal_is_linked_through_a_browser_and_only_the_terminal(house: House) -> None:
    terminal, headers = start_terminal(house)
    path, number = pair(house, terminal, headers)
    browser = Visitor(house.origin)
    page = browser.get(path)
    assert number not in page.text
    to_bank = browser.post_form(path, {"csrf": page.hidden("csrf"), "number": f"{number[:3]} {number[3:]}"})
    assert to_bank.status == 303
    state = to_bank.location.split("state=")[1]
    assert browser.come_back(state, house.bank.issue(state)).location == "/consent"
    decided = browser.post_form("/consent", browser.consent_fields(browser.get("/consent")))
    assert (decided.status, decided.location) == (303, "/paired")
    assert "parley-pairing" not in browser.jar
    assert terminal.send("GET", "/terminal/state", headers=headers).json == {"linked": True}
    question = json.dumps({"message_id": "message-0001", "text": "balance?"}).encode()
    assert terminal.send("POST", "/chat/ask", question, headers).json["outcome"] == "answered"
    assert browser.ask("balance?", browser.open_chat()).json["code"] == "not_linked"


@pytest.mark.parametrize("number", ["000000", "", "1", "x" * 100])
def test_C4_a_wrong_number_ends_the_pairing(house: House, number: str) -> None:
    terminal, headers = start_terminal(house)
    path, right = pair(house, terminal, headers)
    browser = Visitor(house.origin)
    csrf = browser.get(path).hidden("csrf")
    wrong = number if number != right else "111111"
    assert code_of(browser.post_form(path, {"csrf": csrf, "number": wrong})) == "link_expired"
    assert code_of(browser.post_form(path, {"csrf": csrf, "number": right})) == "link_expired"
    assert browser.get(path).status == 410


def test_C4_a_pairing_runs_out(house: House) -> None:
    terminal, headers = start_terminal(house)
    path, number = pair(house, terminal, headers)
    browser = Visitor(house.origin)
    csrf = browser.get(path).hidden("csrf")
    house.clock.pass_by(timedelta(minutes=11))
    assert code_of(browser.post_form(path, {"csrf": csrf, "number": number})) == "link_expired"


def test_C2_another_site_cannot_confirm_a_pairing(house: House) -> None:
    terminal, headers = start_terminal(house)
    path, number = pair(house, terminal, headers)
    browser = Visitor(house.origin)
    csrf = browser.get(path).hidden("csrf")
    assert code_of(browser.post_form(path, {"csrf": csrf, "number": number}, origin="https://elsewhere.example")) == "origin_wrong"
    assert code_of(browser.post_form(path, {"csrf": "wrong", "number": number})) == "form_stale"
    assert browser.post_form(path, {"csrf": csrf, "number": number}).status == 303


@pytest.mark.parametrize("body", [b"[" * 63, b"{", b'{"a":1}', b"x" * 100, b"\xff"])
def test_what_a_terminal_sends_beside_nothing_is_refused(house: House, body: bytes) -> None:
    seen = Visitor(house.origin).send("POST", "/terminal/session", body, {"content-type": "application/json"})
    assert seen.status in (400, 413, 422)
    assert seen.json["code"] in BAD_INPUT


def test_a_browsers_cookie_is_not_a_terminals_token(house: House) -> None:
    browser = Visitor(house.origin)
    browser.open_chat()
    assert browser.send("POST", "/terminal/pair", b"{}", {"content-type": "application/json"}).json["code"] == "session_unknown"
    assert browser.get("/terminal/state").json["code"] == "session_unknown"
