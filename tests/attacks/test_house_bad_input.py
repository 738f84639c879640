"""Bad input against the running house: each gets a stable code and the right status, never a 500, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any
from urllib.parse import urljoin, urlsplit
from uuid import uuid4

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from parley.cli.robot import Page
from parley.log.audit import audit
from tests.house import Answer, RunningHouse, Visitor, run

MEGABYTES_10 = 10 * 1024 * 1024
QUESTION = {"message_id": "message-0001", "text": "what's my balance?"}


def question(**changes: Any) -> bytes:
    return json.dumps({**QUESTION, "message_id": uuid4().hex, **changes}).encode()


NESTED = b"[" * 4000 + b"]" * 4000
UNREADABLE: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "body_not_json"),
    "garbage": (b"}{ what", 400, "body_not_json"),
    "half": (question()[:-9], 400, "body_not_json"),
    "invalid UTF-8": (b'{"message_id":"message-0001","text":"\xff\xfe"}', 400, "body_not_json"),
    "UTF-16": (json.dumps(QUESTION).encode("utf-16"), 400, "body_not_json"),
    "trailing words": (question() + b" and more", 400, "body_not_json"),
    "not a number": (b'{"message_id":NaN,"text":"x"}', 400, "body_not_json"),
    "4,000 nested brackets": (NESTED, 400, "body_too_deep"),
    "brackets inside a field": (b'{"message_id":"message-0001","text":' + NESTED[:6000] + b"}", 400, "body_too_deep"),
    "nested objects": (b'{"a":' * 1000 + b"1" + b"}" * 1000, 400, "body_too_deep"),
    "a list": (b"[]", 422, "body_wrong_shape"),
    "null": (b"null", 422, "body_wrong_shape"),
    "a missing field": (b'{"text":"what is my balance?"}', 422, "body_wrong_shape"),
    "an unknown field": (question(customer="ada"), 422, "body_wrong_shape"),
    "a customer of one's choice": (question(conversation="x", grant="y"), 422, "body_wrong_shape"),
    "a number as text": (question(text=7), 422, "body_wrong_shape"),
    "a key twice": (b'{"message_id":"message-0001","text":"a","text":"b"}', 422, "body_wrong_shape"),
    "an id too short": (question(message_id="x"), 422, "body_wrong_shape"),
    "an id with a path in it": (question(message_id="../../../etc/passwd"), 422, "body_wrong_shape"),
    "an id too long": (question(message_id="a" * 65), 422, "body_wrong_shape"),
    "a purpose too long": (question(purpose="p" * 65), 422, "body_wrong_shape"),
    "no words": (question(text=" \u0000\u2028 "), 422, "text_empty"),
    "too many words": (question(text="a" * 501), 422, "text_too_long"),
    "10 MB": (b" " * MEGABYTES_10, 413, "body_too_large"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_refused_with_its_code(house: RunningHouse, name: str) -> None:
    body, status, code = UNREADABLE[name]

    async def story() -> None:
        async with house.visitor() as visitor:
            answer = await visitor.call("POST", "/chat/ask", BytesIO(body), content_type="application/json")
            assert (answer.status, answer.code) == (status, code)
            assert_protected(answer)

    asyncio.run(story())


def assert_protected(answer: Answer) -> None:
    assert answer.headers["x-content-type-options"] == "nosniff" and "default-src 'none'" in answer.headers["content-security-policy"]
    assert "Traceback" not in answer.text and "parley" not in answer.headers.get("server", "")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"content-type": "text/plain"}, 415, "content_type_wrong"),
        ({"content-type": ""}, 415, "content_type_wrong"),
        ({"content-type": "application/json; charset=utf-16"}, 415, "content_type_wrong"),
        ({"content-type": "application/x-www-form-urlencoded"}, 415, "content_type_wrong"),
        ({"origin": "http://127.0.0.1:1"}, 403, "origin_wrong"),
        ({"origin": "null"}, 403, "origin_wrong"),
        ({"sec-fetch-site": "cross-site"}, 403, "origin_wrong"),
        ({"x-parley-csrf": ""}, 403, "forged_message"),
        ({"x-parley-csrf": "guess"}, 403, "forged_message"),
        ({"authorization": "Bearer nobody"}, 401, "session_unknown"),
        ({"authorization": "Basic Zm9vOmJhcg=="}, 401, "session_unknown"),
        ({"cookie": "parley=unknown"}, 401, "session_unknown"),
        ({"cookie": "parley=a; parley=b"}, 401, "session_unknown"),
    ],
)
def test_a_request_that_our_page_did_not_send_is_refused_before_anything_is_read(
    house: RunningHouse, headers: dict[str, str], status: int, code: str
) -> None:
    async def story() -> None:
        async with house.visitor() as visitor:
            reads = house.bank_reads()
            if "cookie" in headers:
                visitor.client.cookie_jar.clear()
            answer = await visitor.post_json("/chat/ask", question(), **headers)
            assert (answer.status, answer.code) == (status, code)
            assert house.bank_reads() == reads

    asyncio.run(story())


def test_a_body_without_end_is_cut_off_at_its_limit(house: RunningHouse) -> None:
    """Chunked, so that no length warns: 10 MB in pieces, of which the house reads a few kilobytes."""
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(MEGABYTES_10 // 65_536):
            sent += 65_536
            yield b" " * 65_536

    async def story() -> None:
        async with house.visitor() as visitor:
            for path, kind in (("/chat/ask", "application/json"), ("/link", "application/x-www-form-urlencoded")):
                try:
                    answer = await visitor.call("POST", path, pieces(), content_type=kind)
                except aiohttp.ClientError:
                    continue  # Closed in the middle of what nobody wants to read: just as good.
                assert answer.status == 413 and "body_too_large" in answer.text
            assert (await visitor.question("what's my balance?"))["code"] == "not_linked"

    asyncio.run(story())


@pytest.mark.timeout(60)
def test_C17_who_dawdles_is_shown_the_door_while_others_are_served(house: RunningHouse) -> None:
    """A head, a body or nothing at all that never comes to its end must not hold a connection for ever."""
    host, port = urlsplit(house.url).hostname, urlsplit(house.url).port
    head = f"POST /chat/ask HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
    starts = (
        b"",
        b"GET / HT",
        head.encode(),
        f"{head}content-length: 200\r\n\r\n{{".encode(),
        f"{head}transfer-encoding: chunked\r\n\r\n5\r\n".encode(),
    )

    async def dawdle(start: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(start)
        try:
            return await asyncio.wait_for(reader.read(), 30)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def story() -> None:
        async with house.visitor() as visitor:
            slow = [asyncio.create_task(dawdle(start)) for start in starts for _ in range(20)]
            assert (await visitor.question("what's my balance?"))["code"] == "not_linked"
            said = await asyncio.gather(*slow)
            assert not any(each.startswith(b"HTTP/1.1 5") for each in said)

    asyncio.run(story())


def test_a_head_without_end_is_refused(house: RunningHouse) -> None:
    async def story() -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection(urlsplit(house.url).hostname, urlsplit(house.url).port)
        writer.write(b"GET / HTTP/1.1\r\nx-endless: ")
        sent = 0
        try:
            while sent < 8 * 1024 * 1024:
                writer.write(b"a" * 65_536)
                await writer.drain()
                sent += 65_536
        except ConnectionError:
            pass
        try:
            return sent, await asyncio.wait_for(reader.read(), 10)
        except ConnectionError:
            return sent, b""
        finally:
            writer.close()

    sent, answer = asyncio.run(story())
    assert sent < 8 * 1024 * 1024
    assert not answer or answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("bytes_in_header", [20_000, 40_000, 60_000, 2_000_000])
def test_huge_headers_are_refused_and_ordinary_ones_are_not(house: RunningHouse, bytes_in_header: int) -> None:
    async def story() -> None:
        async with house.visitor() as visitor:
            try:
                answer = await visitor.call("GET", "/", **{"x-padding": "a" * bytes_in_header})
            except aiohttp.ClientError:
                assert bytes_in_header > 65_536
                return
            assert answer.status == (200 if bytes_in_header < 32_000 else 431 if bytes_in_header < 64_000 else 400)

    asyncio.run(story())


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET / HTTP/9.9",
        b"GET /\x00 HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"GARBAGE",
        b"GET http://[ HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"GET /%00%ff HTTP/1.1",
    ],
)
def test_a_request_that_is_not_http_gets_a_4xx_and_a_closed_door(house: RunningHouse, request_line: bytes) -> None:
    async def story() -> bytes:
        reader, writer = await asyncio.open_connection(urlsplit(house.url).hostname, urlsplit(house.url).port)
        writer.write(request_line + b"\r\nhost: x\r\nconnection: close\r\n\r\n")
        try:
            return await asyncio.wait_for(reader.read(), 15)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    answer = asyncio.run(story())
    assert not answer or answer.startswith(b"HTTP/1.1 4"), answer[:40]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/chat/ask", 405, "method_unknown"),
        ("DELETE", "/", 405, "method_unknown"),
        ("PUT", "/consent", 405, "method_unknown"),
        ("GET", "/link", 405, "method_unknown"),
        ("POST", "/healthz", 405, "method_unknown"),
        ("TRACE", "/", 405, "method_unknown"),
        ("GET", "/nowhere", 404, "address_unknown"),
        ("GET", "/chat/receipts/abc", 404, "receipt_unknown"),
        ("GET", "/chat/receipts/-1", 404, "receipt_unknown"),
        ("GET", "/chat/receipts/99999999999999999999999999", 404, "receipt_unknown"),
        ("GET", "/chat/receipts/%D9%A1", 404, "receipt_unknown"),
        ("GET", "/terminal/state", 401, "session_unknown"),
    ],
)
def test_addresses_and_methods_that_do_not_exist_say_so(house: RunningHouse, method: str, path: str, status: int, code: str) -> None:
    async def story() -> None:
        async with house.visitor() as visitor:
            answer = await visitor.call(method, path)
            assert (answer.status, answer.code) == (status, code)
            assert_protected(answer)

    asyncio.run(story())


@pytest.mark.parametrize("folder", ["/static/web/", "/static/linking/"])
@pytest.mark.parametrize(
    "climb", ["..%2f..%2fapp.py", "%2e%2e/%2e%2e/settings.py", "..%5c..%5capp.py", "%2fetc%2fpasswd", "chat.js%00.css", "....//app.py"]
)
def test_static_files_are_a_list_and_not_a_folder(house: RunningHouse, folder: str, climb: str) -> None:
    async def story() -> bytes:
        reader, writer = await asyncio.open_connection(urlsplit(house.url).hostname, urlsplit(house.url).port)
        writer.write(f"GET {folder}{climb} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        try:
            return await asyncio.wait_for(reader.read(), 15)
        finally:
            writer.close()

    answer = asyncio.run(story())
    assert answer.startswith(b"HTTP/1.1 404") and b"import" not in answer


# Linking: expired, used, foreign and repeated.


class SteppingVisitor(Visitor):
    """Walks as far as the consent page and stops there; keeps the address that the bank sent it back to."""

    callback = ""

    async def to_consent(self, username: str, password: str) -> Page:
        home = await self.get(self.chat_url + "/")
        login = await self.submit(home, home.form_for("/link"), {})
        accounts = await self.submit(login, login.form_with("username", "password"), {"username": [username], "password": [password]})
        choice = accounts.form_with("account", "decision")
        fields = choice.filled({"account": choice.values("account"), "decision": ["approve"]})
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(accounts.url))
        async with self.client.post(urljoin(accounts.url, choice.action), data=fields, headers={"origin": origin}, allow_redirects=False) as answer:
            self.callback = answer.headers["location"]
        return await self.get(self.callback)

    async def decide(self, page: Page, **changes: list[str]) -> Answer:
        form = page.form_with("account", "projection", "decision")
        answers = {"account": form.values("account"), "projection": form.values("projection"), "decision": ["allow"], **changes}
        return await self.call("POST", "/consent", aiohttp.FormData(form.filled(answers))())


def code_on(page: Answer | Page) -> str:
    found = re.search(r"<code>(\w+)</code>", page.text)
    return found[1] if found else ""


def test_a_callback_that_was_used_or_never_begun_is_an_expired_link(house: RunningHouse) -> None:
    async def story() -> None:
        async with SteppingVisitor(house.url) as visitor, SteppingVisitor(house.url) as stranger:
            person = house.customer("noor")
            await visitor.to_consent(person.username, person.password)
            for who, address in (
                (visitor, visitor.callback),
                (stranger, visitor.callback),
                (visitor, house.url + "/link/callback?state=unknown&code=x"),
                (visitor, house.url + "/link/callback"),
                (visitor, house.url + "/link/callback?state=a&state=b&code=x"),
                (visitor, house.url + "/link/callback?state=" + "a" * 9000),
            ):
                page = await who.get(address)
                assert (page.status, code_on(page)) == (410, "link_expired")
            assert (await visitor.question("what's my balance?"))["code"] == "not_linked"

    asyncio.run(story())


def test_a_consent_form_counts_once(house: RunningHouse) -> None:
    async def story() -> None:
        async with SteppingVisitor(house.url) as visitor:
            person = house.customer("noor")
            page = await visitor.to_consent(person.username, person.password)
            grants = audit(house.data).kinds.get("grant", 0)
            answers = await asyncio.gather(*(visitor.decide(page) for _ in range(6)))
            assert Counter(answer.status for answer in answers) == {303: 1, 409: 5}
            assert {code_on(answer) for answer in answers if answer.status == 409} == {"form_stale"}
            again = await visitor.decide(page)
            assert (again.status, code_on(again)) == (409, "form_stale")
            assert audit(house.data).kinds["grant"] - grants == 1

    asyncio.run(story())


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"account": ["somebody-elses"]}, 409, "form_stale"),
        ({"projection": ["everything"]}, 409, "form_stale"),
        ({"days": ["3650"]}, 409, "form_stale"),
        ({"csrf": ["guess"]}, 409, "form_stale"),
        ({"once": ["guess"]}, 409, "form_stale"),
        ({"text_hash": ["0" * 64]}, 409, "form_stale"),
        ({"decision": ["allow", "deny"]}, 422, "body_wrong_shape"),
        ({"decision": ["ALLOW"]}, 409, "form_stale"),
        ({"account": []}, 422, ""),
    ],
)
def test_C20_a_consent_form_that_was_changed_grants_nothing(house: RunningHouse, changes: dict[str, list[str]], status: int, code: str) -> None:
    async def story() -> None:
        async with SteppingVisitor(house.url) as visitor:
            person = house.customer("noor")
            page = await visitor.to_consent(person.username, person.password)
            grants = audit(house.data).kinds.get("grant", 0)
            answer = await visitor.decide(page, **changes)
            assert (answer.status, code_on(answer)) == (status, code)
            assert audit(house.data).kinds.get("grant", 0) == grants
            assert (await visitor.question("what's my balance?"))["code"] == "not_linked"

    asyncio.run(story())


# The bank misbehaves.


FAULTS: dict[str, set[str]] = {
    "garbage": {"bank_nonsense"},
    "nested": {"bank_nonsense"},
    "huge": {"bank_nonsense"},
    "half_page": {"bank_nonsense"},
    "cut_connection": {"bank_unavailable"},
    "redirect": {"bank_nonsense", "bank_unavailable"},
    "error500": {"bank_unavailable"},
    "maintenance": {"bank_unavailable"},
    "rate_limit=30": {"bank_busy"},
    "repeat_cursor": {"bank_nonsense"},
    "foreign_next_link": {"bank_nonsense"},
    "foreign_account": {"bank_uncertain"},
    "wrong_currency": {"bank_uncertain"},
    "no_currency": {"answered"},
    "no_memo": {"bank_uncertain"},
    "wrong_interaction_id": {"bank_nonsense"},
    "slow=900ms": {"bank_timeout"},
    "unknown_fields": {"answered"},
    "duplicate_rows": {"answered"},
}


@pytest.fixture(scope="module")
def impatient_house(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A house that waits half a second for its bank, so that a slow bank costs a test no more."""
    settings_file = "answers_per_day = 1000000\nrows_per_day = 10000000\n"
    running = RunningHouse(tmp_path_factory.mktemp("impatient"), settings_file, bank_settings="timeout_seconds = 0.5").start()
    yield running
    running.stop_unharmed()


@pytest.mark.parametrize("fault", FAULTS)
def test_B36_whatever_the_bank_does_the_customer_hears_a_clear_no_and_next_time_an_answer(impatient_house: RunningHouse, fault: str) -> None:
    house = impatient_house

    async def story() -> None:
        async with house.visitor() as visitor:
            await visitor.link_as(house.customer("iris"))
            before = audit(house.data)
            text = "what's my balance?" if "currency" in fault else "show my last 20 transactions"
            with house.faults(fault):
                answer = await visitor.post_json("/chat/ask", question(text=text))
            assert answer.code in FAULTS[fault]
            assert answer.status == (200 if answer.code == "answered" else 503)
            after = audit(house.data)
            assert after.releases - before.releases == (1 if answer.code == "answered" else 0)
            again = await visitor.question("what's my balance?")
            for _ in range(30):
                if again["code"] != "bank_unavailable":
                    break
                await asyncio.sleep(0.5)  # The breaker spares a bank that has just failed again and again.
                again = await visitor.question("what's my balance?")
            assert again["outcome"] == "answered", again["code"]

    asyncio.run(story())


def test_a_link_that_the_bank_has_ended_must_be_made_again(house: RunningHouse) -> None:
    async def story() -> None:
        async with house.visitor() as visitor:
            await visitor.link_as(house.customer("liam"))
            with house.faults("link_lost"):
                assert (await visitor.question("what's my balance?"))["code"] == "link_lost"
            reads = house.bank_reads()
            assert (await visitor.question("what's my balance?"))["code"] == "link_lost"
            assert house.bank_reads() == reads, "a lost link is remembered"
            await visitor.link_as(house.customer("liam"))
            assert (await visitor.question("what's my balance?"))["outcome"] == "answered"

    asyncio.run(story())


def test_merchants_with_hostile_names_stay_names(house: RunningHouse) -> None:
    async def story() -> None:
        async with house.visitor() as visitor:
            await visitor.link_as(house.customer("liam"))
            reply = await visitor.question("show my last 25 transactions")
            assert reply["outcome"] == "answered"
            for line in reply["lines"]:
                assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", line["label"])

    asyncio.run(story())


# All at once, and at random.


def test_three_hundred_customers_at_once_are_all_answered(house: RunningHouse) -> None:
    async def story() -> None:
        async with house.visitor() as visitor, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as crowd:
            await visitor.link_as(house.customer("ada"))

            async def one(number: int) -> str:
                if number % 3:
                    async with crowd.get(house.url + "/healthz") as answer:
                        assert answer.status == 200
                        return "healthy"
                return str((await visitor.question("can I afford 4?"))["code"])

            seen = Counter(await asyncio.gather(*(one(number) for number in range(300))))
            assert seen == {"healthy": 200, "answered": 100}

    asyncio.run(story())


ROUTES = (
    "/", "/chat/ask", "/chat/stop", "/chat/receipts/3", "/terminal/state", "/terminal/session", "/terminal/pair", "/log.vkey", "/healthz",
    "/static/web/x", "/static/linking/x", "/link", "/link/callback", "/consent", "/paired", "/pair/abc", "/signout", "/signed-out",
)  # fmt: skip
TEXTS = some.text(some.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=40)
HEADERS = some.dictionaries(
    some.sampled_from(
        ["content-type", "origin", "authorization", "cookie", "x-parley-csrf", "sec-fetch-site", "referer", "expect", "range", "accept"]
    ),
    TEXTS.filter(lambda text: text == text.strip()) | some.sampled_from(["application/json", "application/x-www-form-urlencoded", "Bearer x"]),
    max_size=4,
)
BODIES = some.one_of(
    some.none(),
    some.binary(max_size=300),
    some.recursive(
        some.none() | some.integers() | TEXTS, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXTS, inner, max_size=3)
    ).map(lambda value: json.dumps(value).encode()),
    some.builds(lambda text, purpose: question(text=text, purpose=purpose), TEXTS, some.none() | TEXTS),
    some.dictionaries(some.sampled_from(["csrf", "once", "decision", "account", "number", "wish", "state"]), TEXTS).map(
        lambda fields: "&".join(f"{key}={value}" for key, value in fields.items()).encode("latin-1", "replace")
    ),
)


@pytest.mark.timeout(120)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    method=some.sampled_from(["GET", "POST", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH"]),
    path=some.sampled_from(ROUTES),
    query=some.none() | some.from_regex(r"[a-z0-9%&=;+.~-]{0,60}", fullmatch=True),
    headers=HEADERS,
    body=BODIES,
)
def test_no_request_makes_the_house_stumble(
    small_house: RunningHouse, method: str, path: str, query: str | None, headers: dict[str, str], body: bytes | None
) -> None:
    """Whatever comes in: no 5xx but a 503 that has a stable code, and no word about our inside."""

    async def story() -> None:
        async with aiohttp.ClientSession(trust_env=False, timeout=aiohttp.ClientTimeout(total=15)) as client:
            address = small_house.url + path + (f"?{query}" if query else "")
            try:
                async with client.request(method, address, data=body, headers=headers, allow_redirects=False) as answer:
                    text = (await answer.read()).decode(errors="replace")
                    status = answer.status
            except (ValueError, aiohttp.ClientError):
                return  # What the client cannot send at all, or what the server ends without a word.
            assert status < 500 or (status == 503 and ('"code"' in text or "<code>" in text)), status
            assert "Traceback" not in text and "Error" not in text

    run(story())
