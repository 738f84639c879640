"""C4, C10, C2 and C19 for linking a Messenger chat: an attacker who sends his own linking button to a victim must not get her account."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from hmac import new as hmac_new
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from parley.authorization.linking import Approval
from parley.authorization.server.messenger import (
    BODY_BYTES_MAX,
    CODE_LIFE,
    NUMBER_LIFE,
    LinkingEvent,
    MessengerDesk,
    checked_return,
    linking_events,
    number_in,
    verified_body,
)
from parley.model.refusals import BadInput, ForgedMessage, LogUnavailable
from parley.store import Records
from tests.fakes.consent import approval_of
from tests.fixtures_postgres import RecordsBench

SECRET = b"test-app-secret-not-real"
PAGE = "100200300"
TOKEN = "opaque-linking-token"
BACK = f"https://www.facebook.com/messenger_platform/account_linking/?account_linking_token={TOKEN}"
VICTIM, ATTACKER = "7001", "6666"
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "messenger_signatures.json").read_text())


@dataclass
class House:
    """What the desk's neighbours were told."""

    desk: MessengerDesk
    approved: list[Approval] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    log_up: bool = True

    async def consent(self, conversation: str = "browser-of-the-victim") -> tuple[str, str]:
        """A customer allows it in her browser: the code that the platform carries, the number on her page."""
        errand = self.desk.errand(BACK, TOKEN)
        await self.desk.allowed(approval_of(errand, conversation))
        way = await self.desk.way_back(conversation)
        if way is None:
            raise LookupError("no page with a number")
        return parse_qs(urlsplit(way.url).query)["authorization_code"][0], way.number


def told(bench: RecordsBench, story: Callable[[House], Awaitable[None]]) -> None:
    async def whole(records: Records) -> None:
        house: House

        async def approve(approval: Approval) -> None:
            if not house.log_up:
                raise LogUnavailable()
            house.approved.append(approval)

        async def end(chat: str) -> None:
            house.ended.append(chat)

        desk = MessengerDesk(
            platform="messenger",
            title="Messenger",
            records=records,
            approve=approve,
            end=end,
            clock=lambda: bench.now,
            alarm=lambda code: house.alarms.append(code),
        )
        house = House(desk)
        await story(house)

    bench.run(whole)


def test_C4_a_chat_is_linked_by_the_platforms_word_and_the_number_from_the_page(bench_of_records: RecordsBench) -> None:
    async def story(house: House) -> None:
        code, number = await house.consent()
        assert await house.desk.linked(VICTIM, code) is True
        assert house.approved == []
        assert await house.desk.typed(VICTIM, f"{number[:3]} {number[3:]}") is True
        assert [(each.conversation, each.channel, each.platform) for each in house.approved] == [(VICTIM, "messenger", "messenger")]
        assert await house.desk.typed(VICTIM, number) is None
        assert len(house.approved) == 1

    told(bench_of_records, story)


def test_C4_a_victim_who_opens_an_attackers_button_is_not_linked_to_his_chat(bench_of_records: RecordsBench) -> None:
    """The platform's token is his, so the signed webhook names his chat. She types the number where she was told to: in her own chat."""

    async def story(house: House) -> None:
        code, number = await house.consent()
        assert await house.desk.linked(ATTACKER, code) is True
        assert await house.desk.typed(VICTIM, number) is None
        wrong = "000000" if number != "000000" else "000001"
        assert await house.desk.typed(ATTACKER, wrong) is False
        assert await house.desk.typed(ATTACKER, number) is None
        assert house.approved == []
        assert house.alarms == ["messenger_number_wrong"]

    told(bench_of_records, story)


def test_C4_the_code_alone_links_nothing(bench_of_records: RecordsBench) -> None:
    async def story(house: House) -> None:
        code, _ = await house.consent()
        for text in ("hello", "what's my balance?", "12345", "1234567", "123456 or 654321", code, ""):
            await house.desk.linked(ATTACKER, code)
            assert await house.desk.typed(ATTACKER, text) is None
        assert house.approved == []

    told(bench_of_records, story)


def test_C4_the_number_alone_links_nothing(bench_of_records: RecordsBench) -> None:
    async def story(house: House) -> None:
        _, number = await house.consent()
        assert await house.desk.typed(VICTIM, number) is None
        assert house.approved == []

    told(bench_of_records, story)


def test_C4_code_and_number_live_for_minutes(bench_of_records: RecordsBench) -> None:
    async def story(house: House) -> None:
        code, _ = await house.consent()
        bench_of_records.now += CODE_LIFE
        assert await house.desk.linked(VICTIM, code) is False
        code, number = await house.consent("another browser")
        assert await house.desk.linked(VICTIM, code) is True
        bench_of_records.now += NUMBER_LIFE
        assert await house.desk.typed(VICTIM, number) is None
        assert await house.desk.way_back("another browser") is None
        assert house.approved == []

    told(bench_of_records, story)


def test_C4_the_number_is_shown_to_the_consenting_browser_alone(bench_of_records: RecordsBench) -> None:
    async def story(house: House) -> None:
        await house.consent("the customer's browser")
        assert await house.desk.way_back("another browser") is None

    told(bench_of_records, story)


def test_C10_the_same_webhook_twice_changes_nothing(bench_of_records: RecordsBench) -> None:
    async def story(house: House) -> None:
        code, number = await house.consent()
        assert await house.desk.linked(VICTIM, code) is True
        assert await house.desk.linked(VICTIM, code) is False
        assert await house.desk.typed(VICTIM, number) is True
        assert await house.desk.linked(VICTIM, code) is False
        assert await house.desk.typed(VICTIM, number) is None
        assert (len(house.approved), house.alarms, house.ended) == (1, [], [])

    told(bench_of_records, story)


@pytest.mark.parametrize("linked_before", [False, True])
def test_C4_a_code_from_two_chats_ends_both_and_raises_the_alarm(bench_of_records: RecordsBench, linked_before: bool) -> None:
    async def story(house: House) -> None:
        code, number = await house.consent()
        await house.desk.linked(VICTIM, code)
        if linked_before:
            assert await house.desk.typed(VICTIM, number) is True
        bench_of_records.now += timedelta(days=1 if linked_before else 0)
        assert await house.desk.linked(ATTACKER, code) is False
        assert house.alarms == ["messenger_code_from_two_chats"]
        assert house.ended == [VICTIM]
        for chat in (VICTIM, ATTACKER):
            assert await house.desk.typed(chat, number) is None
        assert len(house.approved) == int(linked_before)

    told(bench_of_records, story)


def test_C19_two_numbers_at_once_link_once(bench_of_records: RecordsBench) -> None:
    async def story(house: House) -> None:
        code, number = await house.consent()
        await house.desk.linked(VICTIM, code)
        answers = await asyncio.gather(*(house.desk.typed(VICTIM, number) for _ in range(8)))
        assert answers.count(True) == 1
        assert len(house.approved) == 1

    told(bench_of_records, story)


def test_C19_two_chats_racing_with_one_code_leave_at_most_one_waiting(bench_of_records: RecordsBench) -> None:
    async def story(house: House) -> None:
        code, number = await house.consent()
        await asyncio.gather(house.desk.linked(VICTIM, code), house.desk.linked(ATTACKER, code))
        assert house.alarms == ["messenger_code_from_two_chats"]
        assert [await house.desk.typed(chat, number) for chat in (VICTIM, ATTACKER)] == [None, None]

    told(bench_of_records, story)


def test_C4_unlinking_on_the_platform_ends_what_waits_and_what_stands(bench_of_records: RecordsBench) -> None:
    async def story(house: House) -> None:
        code, number = await house.consent()
        await house.desk.linked(VICTIM, code)
        await house.desk.unlinked(VICTIM)
        assert await house.desk.typed(VICTIM, number) is None
        assert house.ended == [VICTIM]

    told(bench_of_records, story)


def test_C19_while_the_log_is_down_nothing_is_granted_and_the_number_may_be_typed_again(bench_of_records: RecordsBench) -> None:
    async def story(house: House) -> None:
        code, number = await house.consent()
        await house.desk.linked(VICTIM, code)
        house.log_up = False
        with pytest.raises(LogUnavailable):
            await house.desk.typed(VICTIM, number)
        house.log_up = True
        assert await house.desk.typed(VICTIM, number) is True

    told(bench_of_records, story)


def test_C15_codes_and_chats_of_foreign_shape_are_nothing(bench_of_records: RecordsBench) -> None:
    async def story(house: House) -> None:
        code, _ = await house.consent()
        for chat, sent in (
            (VICTIM, ""),
            (VICTIM, "a" * 43),
            (VICTIM, code + "a"),
            ("", code),
            ("a b", code),
            ("x" * 65, code),
            (VICTIM, "\x00" * 43),
        ):
            assert await house.desk.linked(chat, sent) is False
        assert await house.desk.linked(VICTIM, code) is True

    told(bench_of_records, story)


# The way back (no open redirector).


@pytest.mark.parametrize("address", [BACK, BACK.replace("www.", ""), BACK.replace("/?", "?"), BACK.partition("?")[0]])
def test_C7_the_platforms_own_return_address_is_taken(address: str) -> None:
    assert checked_return(address, TOKEN) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        BACK.replace("https", "http"),
        BACK.replace("www.facebook.com", "www.facebook.com.evil.example"),
        BACK.replace("www.facebook.com", "evil.example"),
        BACK.replace("www.facebook.com", "www.facebook.com@evil.example"),
        BACK.replace("www.facebook.com", "evil.example\\@www.facebook.com"),
        BACK.replace("www.facebook.com", "www.facebook.com:8443"),
        BACK.replace("www.facebook.com", "l.facebook.com"),
        BACK.replace("www.facebook.com", "WWW.FACEBOOK.COM"),
        BACK.replace("/messenger_platform/", "/messenger_platform/../l.php/"),
        BACK.replace("account_linking/", "account_linking/%2e%2e/"),
        BACK.replace(TOKEN, "another-token"),
        BACK + "&authorization_code=planted",
        BACK + "&next=https://evil.example",
        BACK + "#fragment",
        BACK + "\r\nset-cookie: a=b",
        BACK + "\t",
        "//www.facebook.com/messenger_platform/account_linking",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://www.facebook.com/l.php?u=https://evil.example",
        BACK + "a" * 5000,
    ],
)
def test_C7_any_other_way_back_is_refused(address: str) -> None:
    with pytest.raises(BadInput):
        checked_return(address, TOKEN)


@pytest.mark.parametrize("token", ["", "a b", "a\n", "ä", "a" * 1025])
def test_C7_a_linking_token_of_foreign_shape_is_refused(token: str) -> None:
    with pytest.raises(BadInput):
        checked_return(BACK.replace(TOKEN, quote(token)), token)


# The webhook's bytes.


def signed(body: bytes, secret: bytes = SECRET) -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + hmac_new(secret, body, sha256).hexdigest()}


def event(**parts: object) -> bytes:
    messaging = {"sender": {"id": VICTIM}, "recipient": {"id": PAGE}, "timestamp": 1792108800000, **parts}
    return json.dumps({"object": "page", "entry": [{"id": PAGE, "time": 1792108800040, "messaging": [messaging]}]}).encode()


LINKED = event(account_linking={"status": "linked", "authorization_code": "S7cZ0nQp2b"})


@pytest.mark.parametrize("number", range(len(VECTORS)))
def test_C10_published_signature_vectors_verify_over_the_raw_bytes(number: int) -> None:
    body = b64decode(VECTORS[number]["body_b64"])
    headers = {"x-hub-signature-256": VECTORS[number]["header"]}
    assert verified_body(body, headers, [SECRET]) == body
    with pytest.raises(ForgedMessage):
        verified_body(body + b" ", headers, [SECRET])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-hub-signature-256": ""},
        {"x-hub-signature-256": "sha256="},
        {"x-hub-signature-256": "sha256=" + "0" * 64},
        {"x-hub-signature-256": "sha256=" + "ä" * 64},
        {"x-hub-signature-256": signed(LINKED)["x-hub-signature-256"].upper()},
        {"x-hub-signature-256": signed(LINKED)["x-hub-signature-256"] + ", " + signed(LINKED)["x-hub-signature-256"]},
        {"x-hub-signature-256": signed(LINKED)["x-hub-signature-256"] + "\n"},
        {"x-hub-signature": "sha1=" + "0" * 40},
        signed(LINKED, b"another secret"),
        signed(LINKED, b""),
        signed(LINKED + b" "),
    ],
)
def test_C10_no_wrong_double_or_garbled_signature_passes(headers: dict[str, str]) -> None:
    with pytest.raises(ForgedMessage):
        verified_body(LINKED, headers, [SECRET])


def test_C10_without_a_secret_nothing_passes() -> None:
    with pytest.raises(ForgedMessage):
        verified_body(LINKED, signed(LINKED), [])


def test_C10_while_a_secret_is_replaced_both_are_good() -> None:
    assert verified_body(LINKED, signed(LINKED, b"new"), [SECRET, b"new"]) == LINKED


def test_C17_a_body_beyond_the_limit_is_not_even_hashed() -> None:
    with pytest.raises(BadInput):
        verified_body(b"x" * (BODY_BYTES_MAX + 1), {}, [SECRET])


def test_C10_the_recorded_events_are_read() -> None:
    assert linking_events(LINKED, PAGE) == (LinkingEvent("linked", VICTIM, "S7cZ0nQp2b"),)
    assert linking_events(event(account_linking={"status": "unlinked"}), PAGE) == (LinkingEvent("unlinked", VICTIM),)
    assert linking_events(event(message={"mid": "m", "text": "123 456"}), PAGE) == (LinkingEvent("typed", VICTIM, "123 456"),)


@pytest.mark.parametrize(
    "body",
    [
        event(account_linking={"status": "linked"}),
        event(account_linking="linked"),
        event(account_linking={"status": ["linked"], "authorization_code": {}}),
        event(message={"mid": "m", "text": "123456", "is_echo": True}),
        event(message={"text": 123456}),
        event(sender={"id": 7001}, message={"text": "123456"}),
        event(recipient={"id": "999"}, message={"text": "123456"}),
        event(delivery={"watermark": 1}),
        json.dumps({"object": "page", "entry": [{"id": PAGE, "messaging": "no list"}]}).encode(),
        json.dumps({"object": "page", "entry": [{"id": PAGE}]}).encode(),
        json.dumps({"object": "page", "entry": [{"id": PAGE, "messaging": [1, None, []]}]}).encode(),
    ],
)
def test_C10_events_of_another_kind_or_shape_are_passed_over(body: bytes) -> None:
    assert linking_events(body, PAGE) == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 4000,
        b'{"a":' * 4000,
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"object": "user", "entry": []}',
        b'{"object": "page", "object": "page", "entry": []}',
        b'{"object": "page", "entry": {}}',
        b'{"object": "page", "entry": [{"id": "999", "messaging": []}]}',
        b'{"object": "page", "entry": [7]}',
        b'{"object": "page", "entry": [{"id": ' + b"9" * 5000 + b"}]}",
    ],
)
def test_C10_nonsense_another_pages_body_and_repeated_keys_are_refused(body: bytes) -> None:
    with pytest.raises((BadInput, ForgedMessage)):
        linking_events(body, PAGE)


@pytest.mark.parametrize(("text", "number"), [("123456", "123456"), (" 123-456\n", "123456"), ("12 34 56", "123456")])
def test_C4_people_may_group_the_digits(text: str, number: str) -> None:
    assert number_in(text) == number


@pytest.mark.parametrize("text", ["12345", "1234567", "١٢٣٤٥٦", "123456!", "a123456", " " * 100 + "123456", ""])
def test_C4_anything_else_is_an_ordinary_message(text: str) -> None:
    assert number_in(text) is None
