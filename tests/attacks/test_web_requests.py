"""What strangers send to the chat: every one is told a stable code, none reaches the road, none gets a 500."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parley.channels.web.conversation import read_message
from parley.model.refusals import BAD_INPUT, BadInput
from tests.fakes.visitor import Visitor
from tests.fakes.web_house import START, House, running_house

OUTCOMES = {"answered", "refused", "not_understood", "fault"}


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running_house() as running:
        yield running


@pytest.fixture
def visitor(house: House) -> Visitor:
    house.desk.asked.clear()
    return Visitor(house.origin)


def message(**fields: object) -> bytes:
    return json.dumps({"message_id": "message-0001", "text": "balance?"} | fields).encode()


def send(visitor: Visitor, body: bytes, **headers: str | None) -> tuple[int, str]:
    sent: dict[str, str | None] = {"content-type": "application/json", "origin": visitor.origin, "x-parley-csrf": visitor.open_chat()}
    sent.update({name.replace("_", "-"): value for name, value in headers.items()})
    seen = visitor.send("POST", "/chat/ask", body, {name: value for name, value in sent.items() if value is not None})
    assert seen.header("content-type") == "application/json"
    assert seen.json["outcome"] in OUTCOMES
    assert seen.json["text"]
    return seen.status, seen.json["code"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "body_not_json")),
        (b"not json", (400, "body_not_json")),
        (b"\xff\xfe{", (400, "body_not_json")),
        (b"null", (422, "body_wrong_shape")),
        (b"[]", (422, "body_wrong_shape")),
        (message(message_id=None), (422, "body_wrong_shape")),
        (message(message_id="short"), (422, "body_wrong_shape")),
        (message(message_id="with spaces in"), (422, "body_wrong_shape")),
        (message(message_id="x" * 65), (422, "body_wrong_shape")),
        (message(text=7), (422, "body_wrong_shape")),
        (message(text=True), (422, "body_wrong_shape")),
        (message(customer="ada"), (422, "body_wrong_shape")),
        (message(purpose="p" * 65), (422, "body_wrong_shape")),
        (b'{"message_id":"message-0001","text":"balance?","text":"all of it"}', (422, "body_wrong_shape")),
        (b'{"message_id":"message-0001","text":"balance?","te\\u0078t":"all of it"}', (422, "body_wrong_shape")),
        (b'{"message_id":"message-0001","text":"\\ud800"}', (400, "body_not_json")),
        (message(text=""), (422, "text_empty")),
        (message(text=" \x00\x07\t\n "), (422, "text_empty")),
        (message(text="?" * 501), (422, "text_too_long")),
        (b"[" * 4000, (400, "body_too_deep")),
        (b'{"text":' + b"[" * 4000 + b"]" * 4000, (400, "body_too_deep")),
        (b'{"message_id":"message-0001","text":' + b'{"a":' * 1200, (400, "body_too_deep")),
        (b" " * 8193, (413, "body_too_large")),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_by_a_stable_code(visitor: Visitor, house: House, body: bytes, expected: tuple[int, str]) -> None:
    assert send(visitor, body) == expected
    assert house.desk.asked == []


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"content_type": "text/plain"}, (415, "content_type_wrong")),
        ({"content_type": "application/json; charset=utf-16"}, (415, "content_type_wrong")),
        ({"content_type": None}, (415, "content_type_wrong")),
        ({"origin": "https://elsewhere.example"}, (403, "origin_wrong")),
        ({"origin": "null"}, (403, "origin_wrong")),
        ({"sec_fetch_site": "cross-site"}, (403, "origin_wrong")),
        ({"sec_fetch_site": "same-site"}, (403, "origin_wrong")),
        ({"x_parley_csrf": None}, (403, "forged_message")),
        ({"x_parley_csrf": "wrong"}, (403, "forged_message")),
        ({"x_parley_csrf": "ü"}, (403, "forged_message")),
        ({"cookie": ""}, (401, "session_unknown")),
        ({"cookie": "parley=unknown"}, (401, "session_unknown")),
        ({"cookie": "parley=" + "x" * 5000}, (401, "session_unknown")),
        ({"authorization": "Basic eDp5"}, (401, "session_unknown")),
        ({"authorization": "Bearer unknown"}, (401, "session_unknown")),
    ],
)
def test_a_request_that_our_page_would_not_send_is_refused_before_it_is_read(
    visitor: Visitor, house: House, headers: dict[str, str | None], expected: tuple[int, str]
) -> None:
    unreadable = b"[" * 100
    assert send(visitor, unreadable, **headers) == expected
    assert house.desk.asked == []


def test_C2_another_sessions_csrf_token_is_a_forgery(visitor: Visitor, house: House) -> None:
    assert send(visitor, message(), x_parley_csrf=Visitor(house.origin).open_chat()) == (403, "forged_message")


def test_C23_two_session_cookies_are_no_session(visitor: Visitor) -> None:
    visitor.open_chat()
    planted = f"parley={visitor.jar['parley']}; parley=planted"
    assert send(visitor, message(), cookie=planted) == (401, "session_unknown")


def test_B30_C17_ten_megabytes_are_answered_without_being_read(house: House) -> None:
    place = urlsplit(house.origin)
    with socket.create_connection((place.hostname, place.port), timeout=10) as line:
        line.sendall(b"POST /chat/ask HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10485760\r\n\r\n" + b" " * 9000)
        answer = read_answer(line)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer


def test_who_sends_ten_megabytes_all_the_same_reads_a_clear_error(visitor: Visitor) -> None:
    assert send(visitor, b" " * 10_485_760) == (413, "body_too_large")
    form = visitor.send("POST", "/link", b"a" * 10_485_760, {"content-type": "application/x-www-form-urlencoded", "origin": visitor.origin})
    assert (form.status, "body_too_large" in form.text) == (413, True)


def test_B30_C17_an_endless_body_without_a_length_is_cut_off(house: House) -> None:
    place = urlsplit(house.origin)
    with socket.create_connection((place.hostname, place.port), timeout=10) as line:
        line.sendall(b"POST /chat/ask HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        line.sendall(b"2400\r\n" + b" " * 0x2400 + b"\r\n")
        answer = read_answer(line)
    assert answer.startswith(b"HTTP/1.1 413")


def read_answer(line: socket.socket) -> bytes:
    """What the server says while the request is still under way."""
    answer = b""
    while not answer.endswith(b"}") and (more := line.recv(65536)):
        answer += more
    return answer


def test_C16_what_breaks_unforeseen_says_nothing_of_itself(visitor: Visitor, house: House) -> None:
    assert send(visitor, message(text="explode")) == (503, "internal")
    assert house.faults[-1] == "ZeroDivisionError"
    assert not any("4417" in each for each in house.faults)


def test_a_forbidden_purpose_is_a_refusal_and_not_an_error(visitor: Visitor) -> None:
    assert send(visitor, message(purpose="advertising")) == (200, "purpose_forbidden")


def test_a_fault_of_the_bank_is_told_as_one(visitor: Visitor) -> None:
    assert send(visitor, message(text="slow bank")) == (503, "bank_timeout")


def test_control_characters_never_reach_the_road(visitor: Visitor, house: House) -> None:
    send(visitor, message(text="bal\x00ance\x1b[31m\r\nplease\u2028now"))
    assert house.desk.asked == ["bal ance [31m please now"]


def test_C12_a_receipt_is_only_for_the_conversation_that_was_answered(visitor: Visitor, house: House) -> None:
    mine, other = visitor, Visitor(house.origin)
    mine.open_chat(), other.open_chat()
    conversation = next(s.conversation for s in house.records.sessions.values() if s.csrf == mine.open_chat())
    house.desk.receipts[(conversation, 77)] = "the receipt\n"
    assert mine.get("/chat/receipts/77").text == "the receipt\n"
    assert mine.get("/chat/receipts/77").header("content-disposition") == 'attachment; filename="parley-receipt-77.txt"'
    refused = [other.get("/chat/receipts/77"), other.get("/chat/receipts/78"), other.get("/chat/receipts/x"), other.get("/chat/receipts/" + "9" * 30)]
    assert {(seen.status, seen.body) for seen in refused} == {(404, refused[0].body)}
    assert Visitor(house.origin).get("/chat/receipts/77").status == 401


def test_stopping_needs_the_page_that_asks_for_it(visitor: Visitor) -> None:
    csrf = visitor.open_chat()
    good = {"content-type": "application/json", "origin": visitor.origin, "x-parley-csrf": csrf}
    assert visitor.send("POST", "/chat/stop", b"{}", good | {"x-parley-csrf": "no"}).json["code"] == "forged_message"
    assert visitor.send("POST", "/chat/stop", b"{}", good | {"origin": "https://elsewhere.example"}).json["code"] == "origin_wrong"
    assert visitor.send("POST", "/chat/stop", b'{"all":true}', good).json["code"] == "body_wrong_shape"
    assert visitor.get("/chat/stop").status == 405
    assert visitor.send("POST", "/chat/stop", b"{}", good).json["outcome"] == "answered"


KEYS = st.sampled_from(["message_id", "text", "purpose", "x"]) | st.text()
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON_BODIES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)).map(lambda value: json.dumps(value).encode())


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=400) | JSON_BODIES)
def test_no_body_whatever_is_a_server_error(house: House, body: bytes) -> None:
    visitor = Visitor(house.origin)
    visitor.jar, csrf = SHARED_JAR.setdefault(house.origin, _opened(house.origin))
    seen = visitor.send("POST", "/chat/ask", body, {"content-type": "application/json", "x-parley-csrf": csrf})
    assert seen.status in (200, 400, 413, 422)
    assert seen.json["code"] in BAD_INPUT


PLACES = ["/", "/chat/ask", "/chat/stop", "/chat/receipts/", "/link", "/link/callback", "/consent", "/pair/", "/signout", "/terminal/pair"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]),
    path=st.sampled_from(PLACES),
    tail=st.text(alphabet="abc/.%~0123456789?&=;[]", max_size=30),
    body=st.binary(max_size=200),
    kind=st.sampled_from(["application/json", "application/x-www-form-urlencoded", "multipart/form-data", ""]),
)
def test_no_address_whatever_is_a_server_error(house: House, method: str, path: str, tail: str, body: bytes, kind: str) -> None:
    before = list(house.faults)
    seen = Visitor(house.origin).send(method, path + tail, body, {"content-type": kind})
    assert seen.status < 500
    assert house.faults == before


@given(st.text())
def test_a_question_that_is_accepted_is_clean_and_short(text: str) -> None:
    try:
        accepted = read_message(json.dumps({"message_id": "message-0001", "text": text}).encode())
    except BadInput as refusal:
        assert refusal.code in ("text_empty", "text_too_long", "body_not_json", "body_too_deep", "body_too_large")
        return
    assert 0 < len(accepted.text) <= 500
    assert not any(character < " " or "\x7f" <= character < "\xa0" for character in accepted.text)


SHARED_JAR: dict[str, tuple[dict[str, str], str]] = {}


def _opened(origin: str) -> tuple[dict[str, str], str]:
    visitor = Visitor(origin)
    csrf = visitor.open_chat()
    return visitor.jar, csrf


def test_the_same_message_is_answered_once(visitor: Visitor, house: House) -> None:
    csrf = visitor.open_chat()
    conversation = next(s.conversation for s in house.records.sessions.values() if s.csrf == csrf)
    house.desk.joined[conversation] = START
    assert visitor.ask("balance?", csrf).json["outcome"] == "answered"
    again = visitor.ask("balance?", csrf).json
    assert (again["outcome"], again["code"]) == ("refused", "replayed_message")
