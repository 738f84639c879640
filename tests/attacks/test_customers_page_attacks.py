"""What must not work at the customer's page: other people's things, forms of other sites, old sign-ins, passkeys that are not hers."""

from __future__ import annotations

import asyncio
import csv
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from parley.console.customer.export import export_csv, harmless
from parley.console.passkeys import PasskeyRejected
from parley.model.customers import Disclosed, LedgerLine, SignInMethod
from parley.model.words import Projection, Purpose
from parley.store import Records
from parley.store.disclosures import Note
from tests.fakes.authenticator import SoftAuthenticator
from tests.fakes.customers_page import ORIGIN, PageBrowser, PageHouse
from tests.fixtures_postgres import RecordsBench

Story = Callable[[PageHouse, RecordsBench], Awaitable[None]]
PAGES = ("/me", "/me/releases", "/me/accounts", "/me/security", "/me/data", "/me/erase", "/me/confirm", "/me/export.json", "/me/export.csv")
FORMS = (
    "/me/pause", "/me/resume", "/me/stop", "/me/accounts", "/me/security/passkeys/remove", "/me/security/sign-ins/end", "/me/erase", "/me/sign-out",
)  # fmt: skip


@pytest.fixture
def bench(tmp_path: Any) -> RecordsBench:
    return RecordsBench(f"sqlite:///{tmp_path / 'data' / 'records.db'}", tmp_path / "keys")


@pytest.fixture
def tell(bench: RecordsBench) -> Callable[[Story], None]:
    def run(story: Story) -> None:
        async def whole(records: Records) -> None:
            house = PageHouse(records, lambda: bench.now, {"chat.example": "Brook chat"})
            await story(house, bench)
            assert house.faults == []

        bench.run(whole)

    return run


async def two_customers(house: PageHouse, bench: RecordsBench) -> tuple[tuple[str, Any, PageBrowser], tuple[str, Any, PageBrowser]]:
    """Ada and Ben, each signed in, each with a grant, a release and a receipt of it."""
    people = []
    for number, owner in enumerate(("ada", "ben")):
        customer, grant = await bench.linked(house.records, owner, f"conversation-{owner}")
        vault = await house.records.vault_of(customer)
        told = Disclosed(grant.id, 1, "chat.example", "web", Projection.BALANCE_AVAILABLE, Purpose.ANSWER_CUSTOMER, 2, 40 + number, bench.now)
        await house.records.note_disclosures([Note(customer, vault, secrets.token_bytes(32), told)])
        house.receipts[customer, 40 + number] = f"the receipt of {owner}"
        browser = house.browser()
        await browser.sign_in(customer)
        people.append((customer, grant, browser))
    return people[0], people[1]


def test_nothing_of_hers_is_shown_or_changed_without_a_sign_in(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (_, grant, _), _ = await two_customers(house, bench)
        stranger = house.browser()
        await stranger.visit()
        for path in (*PAGES, "/me/receipts/40", f"/me/grants/{grant.id}", f"/me/grants/{grant.id}/1/record.json"):
            seen = await stranger.get(path)
            assert seen.status == (200 if path == "/me" else 401), path
            assert "Sign in at your bank" in seen.text
            assert "Brook chat" not in seen.text
        for path in FORMS:
            assert (await stranger.post(path, {"platform": "*", "word": "erase"})).status == 401, path
        assert house.keeper.asked == []

    tell(story)


def test_B27_what_belongs_to_another_customer_is_the_same_as_what_does_not_exist(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (ada, grant, hers), (_, _, his) = await two_customers(house, bench)
        (account,) = await house.records.bank_accounts(ada)
        pairs = [("/me/receipts/40", "/me/receipts/9999"), (f"/me/grants/{grant.id}", f"/me/grants/{'0' * 32}")]
        pairs.append((f"/me/grants/{grant.id}/1/record.json", f"/me/grants/{'0' * 32}/1/record.json"))
        for real, invented in pairs:
            assert (await hers.get(real)).status == 200, real
            seen, nothing = await his.get(real), await his.get(invented)
            assert (seen.status, seen.text) == (nothing.status, nothing.text) == (404, nothing.text), real
        for ref in (account.ref, "ffffffffffffffff"):
            assert (await his.post("/me/accounts", {"account": ref, "name": "Mine now"})).status == 404
        (mine,) = await house.records.sign_ins_of(ada, bench.now)
        from parley.console.customer.views import public_id

        for wanted in (public_id(mine), "0" * 32):
            ended = await his.post("/me/security/sign-ins/end", {"sign_in": wanted})
            assert ended.header("location") == "/me/security?done=nothing"
        assert len(await house.records.sign_ins_of(ada, bench.now)) == 1
        listed = await his.get("/me/export.json")
        assert grant.id not in listed.text
        assert ada not in listed.text

    tell(story)


def test_C2_a_form_of_another_site_or_without_her_token_changes_nothing(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (_, _, hers), (_, _, his) = await two_customers(house, bench)
        everything = {"platform": "*", "word": "erase", "sign_in": "*", "account": "a", "name": "b", "passkey": "00"}
        for path in FORMS:
            assert (await hers.post(path, everything, origin="https://evil.example")).status == 403, path
            assert (await hers.post(path, everything, **{"sec-fetch-site": "cross-site"})).status == 403, path
            assert (await hers.post(path, {**everything, "csrf": his.csrf})).status == 409, path
            assert (await hers.post(path, {**everything, "csrf": ""})).status == 409, path
            assert (await hers.send("POST", path, b"{}", {"content-type": "application/json"})).status == 415, path
            if path not in PAGES:
                assert (await hers.get(path)).status == 405, path
        assert house.keeper.asked == []
        assert (await hers.get("/me")).status == 200

    tell(story)


def test_C23_a_sign_in_ends_when_she_signs_out_lies_idle_or_is_old(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (customer, _, hers), _ = await two_customers(house, bench)
        stolen = dict(hers.cookies)
        await hers.post("/me/sign-out")
        thief = house.browser()
        thief.cookies = stolen
        assert (await thief.get("/me/releases")).status == 401
        await hers.sign_in(customer)
        bench.now += timedelta(minutes=14)
        assert (await hers.get("/me/releases")).status == 200
        bench.now += timedelta(minutes=14)
        assert (await hers.get("/me/releases")).status == 200, "what is used does not lie idle"
        bench.now += timedelta(minutes=15)
        assert (await hers.get("/me/releases")).status == 401
        await hers.sign_in(customer)
        for _ in range(23):
            bench.now += timedelta(minutes=10)
            assert (await hers.get("/me/releases")).status == 200
        bench.now += timedelta(minutes=10)
        assert (await hers.get("/me/releases")).status == 401, "four hours are the most"

    tell(story)


def test_C23_a_planted_cookie_is_worth_nothing_after_she_signs_in(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (ada, _, hers), (ben, _, his) = await two_customers(house, bench)
        victim = house.browser()
        victim.cookies = dict(his.cookies)
        await victim.sign_in(ada)
        assert victim.cookies[house.sign_ins.cookie_name] != his.cookies[house.sign_ins.cookie_name]
        assert (await his.get("/me/releases")).status == 401, "the planted token ended"
        before = dict(hers.cookies)
        await hers.sign_in(ada, SignInMethod.PASSKEY)
        old = house.browser()
        old.cookies = before
        assert (await old.get("/me/releases")).status == 401, "a new proof makes a new token"
        assert await house.records.sign_ins_of(ben, bench.now) == ()

    tell(story)


def test_C23_an_old_proof_erases_nothing_and_lets_nobody_in(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (customer, _, hers), _ = await two_customers(house, bench)
        bench.now += timedelta(minutes=5)
        assert (await hers.get("/me/erase")).header("location") == "/me/confirm?to=erase"
        assert (await hers.post("/me/erase", {"word": "erase"})).header("location") == "/me/confirm?to=erase"
        assert (await hers.post("/me/security/passkeys/remove", {"passkey": "00"})).header("location") == "/me/confirm?to=security"
        refused = await hers.json("/me/passkeys/challenge", b'{"use":"add"}')
        assert (refused.status, msgspec.json.decode(refused.text)["code"]) == (401, "proof_needed")
        assert await house.sign_ins.fresh_customer({"cookie": f"{house.sign_ins.cookie_name}={hers.cookies[house.sign_ins.cookie_name]}"}) is None
        assert house.keeper.asked == []
        await hers.sign_in(customer, SignInMethod.PASSKEY)
        assert (await hers.post("/me/erase", {"word": "erase"})).status == 200
        assert house.keeper.asked == [("erase", customer, None)]

    tell(story)


def test_a_fresh_proof_leads_only_to_places_of_ours(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (_, _, hers), _ = await two_customers(house, bench)
        for query, place in (
            ("to=erase", "/me/erase"), ("to=https://evil.example", "/me"), ("to=//evil.example", "/me"), ("to=extend&grant=../../x", "/me"),
            (f"to=extend&grant={'a' * 32}", f"/consent/extend/{'a' * 32}"), ("", "/me"),
        ):  # fmt: skip
            assert (await hers.get(f"/me/confirm?{query}")).header("location") == place, query

    tell(story)


def test_nothing_of_an_address_is_repeated_on_a_page(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (_, _, hers), _ = await two_customers(house, bench)
        for path in ("/me?done=%3Cscript%3Ealert(1)%3C/script%3E", "/me/releases?before=%3Cb%3E", "/me/grants/%3Cscript%3E", "/me/receipts/-1"):
            seen = await hers.get(path)
            assert "<script>alert" not in seen.text
            assert "<b>" not in seen.text
            assert seen.status in (200, 404)

    tell(story)


def test_a_cookie_that_comes_twice_signs_nobody_in(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (_, _, hers), _ = await two_customers(house, bench)
        name = house.sign_ins.cookie_name
        twice = await hers.send("GET", "/me/releases", b"", {"cookie": f"{name}={hers.cookies[name]}; {name}={hers.cookies[name]}"})
        assert twice.status == 401
        for value in ("", "x" * 5000, "\u00ff" * 20, "a b"):
            assert (await hers.send("GET", "/me/releases", b"", {"cookie": f"{name}={value}"})).status == 401

    tell(story)


def authenticator() -> SoftAuthenticator:
    return SoftAuthenticator(ORIGIN, "chat.bank.example")


async def options(browser: PageBrowser, use: str) -> dict[str, Any]:
    seen = await browser.json("/me/passkeys/challenge", msgspec.json.encode({"use": use}))
    assert seen.status == 200, seen.text
    return msgspec.json.decode(seen.text, type=dict[str, Any])


async def add_passkey(browser: PageBrowser) -> SoftAuthenticator:
    device = authenticator()
    made = device.create(await options(browser, "add"))
    seen = await browser.json("/me/passkeys/add", b'{"name":"Phone","credential":' + made + b"}")
    assert seen.status == 200, seen.text
    return device


def test_B15_a_passkey_signs_in_once_for_each_challenge_and_only_in_the_browser_that_asked(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (customer, _, hers), _ = await two_customers(house, bench)
        device = await add_passkey(hers)
        fresh, other = house.browser(), house.browser()
        await fresh.visit()
        await other.visit()
        answer = device.get(await options(fresh, "sign-in"))
        assert (await other.json("/me/passkeys/sign-in", answer)).status == 403, "another browser"
        assert (await fresh.json("/me/passkeys/sign-in", answer)).status == 200
        stand = await house.records.sign_ins_of(customer, bench.now)
        assert {each.method for each in stand} == {SignInMethod.BANK, SignInMethod.PASSKEY}, "both of this very moment, in no order"
        again = await fresh.json("/me/passkeys/sign-in", answer)
        assert again.status == 403, "the challenge is used up"
        late = device.get(await options(fresh, "sign-in"))
        bench.now += timedelta(minutes=2)
        assert (await fresh.json("/me/passkeys/sign-in", late)).status == 403, "too late"

    tell(story)


def test_B15_a_challenge_for_one_thing_is_no_challenge_for_another(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (_, _, hers), (_, _, his) = await two_customers(house, bench)
        device, foreign = await add_passkey(hers), await add_passkey(his)
        assert (await hers.json("/me/passkeys/step-up", foreign.get(await options(hers, "step-up")))).status == 403, "somebody else's passkey"
        visitor = house.browser()
        await visitor.visit()
        answer = device.get(await options(visitor, "sign-in"))
        hers.cookies["__Host-parley-knock"] = visitor.cookies["__Host-parley-knock"]
        assert (await hers.json("/me/passkeys/step-up", answer)).status == 403, "made for signing in"
        bench.now += timedelta(minutes=6)
        assert (await hers.json("/me/passkeys/step-up", device.get(await options(hers, "step-up")))).status == 200
        found = await house.sign_ins.find({"cookie": f"{house.sign_ins.cookie_name}={hers.cookies[house.sign_ins.cookie_name]}"})
        assert found is not None
        assert house.sign_ins.is_fresh(found)

    tell(story)


def test_B16_an_unknown_passkey_and_a_wrong_one_are_refused_in_the_same_words(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (_, _, hers), _ = await two_customers(house, bench)
        known = await add_passkey(hers)
        visitor = house.browser()
        await visitor.visit()
        first, second = await options(visitor, "sign-in"), await options(visitor, "sign-in")
        assert {key: value for key, value in first.items() if key != "challenge"} == {
            key: value for key, value in second.items() if key != "challenge"
        }
        assert first["allowCredentials"] == [], "who is known is not told"
        unknown = await visitor.json("/me/passkeys/sign-in", authenticator().get(await options(visitor, "sign-in")))
        known.flags = 0x01
        wrong = await visitor.json("/me/passkeys/sign-in", known.get(await options(visitor, "sign-in")))
        assert (unknown.status, unknown.text) == (wrong.status, wrong.text)
        assert PasskeyRejected.code in unknown.text
        for nonsense in (b"", b"[]", b"{}", b"[" * 5000, b'{"response":' * 900, b"\xff", b"x" * 30_000):
            seen = await visitor.json("/me/passkeys/sign-in", nonsense)
            assert seen.status in (400, 403, 413), nonsense[:10]

    tell(story)


def test_ceremonies_without_the_pages_token_or_from_elsewhere_do_not_begin(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (_, _, hers), _ = await two_customers(house, bench)
        visitor = house.browser()
        await visitor.visit()
        for browser, use in ((visitor, b'{"use":"sign-in"}'), (hers, b'{"use":"step-up"}'), (hers, b'{"use":"add"}')):
            assert (await browser.json("/me/passkeys/challenge", use, origin="https://evil.example")).status == 403
            assert (await browser.json("/me/passkeys/challenge", use, **{"x-parley-csrf": "nothing"})).status == 409
        for use in (b'{"use":"everything"}', b'{"use":"sign-in","customer":"x"}', b"{}", b"[", b'"add"'):
            assert (await visitor.json("/me/passkeys/challenge", use)).status in (400, 422)
        assert (await visitor.json("/me/passkeys/challenge", b'{"use":"add"}')).status == 401
        house.admitting = False
        for path in ("/me/export.json", "/me/export.csv"):
            assert (await hers.get(path)).status == 429
        assert (await visitor.json("/me/passkeys/challenge", b'{"use":"sign-in"}')).status == 429

    tell(story)


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =cmd|' /C calc'!A0", "＝1", "\ufeff=1"])
def test_B26_no_cell_of_the_export_is_a_formula(cell: str) -> None:
    assert harmless(cell).startswith("'")


def test_B26_a_platform_that_calls_itself_a_formula_stays_text_in_the_export(bench: RecordsBench) -> None:
    told = Disclosed("g", 1, "evil", "api", Projection.BALANCE_AVAILABLE, Purpose.ANSWER_CUSTOMER, 2, 3, bench.now)
    text = export_csv([LedgerLine(1, told)], lambda platform: '=HYPERLINK("https://evil.example","Click")\n"x').decode()
    (row,) = csv.DictReader(text.splitlines())
    assert row["platform_name"].startswith("'=HYPERLINK")
    assert row["records"] == "2"


def test_the_doors_stay_shut_to_a_body_without_end(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (_, _, hers), _ = await two_customers(house, bench)
        assert (await hers.post("/me/stop", {"platform": "x" * 10_000})).status == 413
        many = "&".join(f"a{number}=1" for number in range(300)).encode()
        assert (await hers.send("POST", "/me/stop", many, {"content-type": "application/x-www-form-urlencoded"})).status == 422
        twice = f"csrf={hers.csrf}&platform=a&platform=b".encode()
        assert (await hers.send("POST", "/me/stop", twice, {"content-type": "application/x-www-form-urlencoded"})).status == 422
        assert house.keeper.asked == []

    tell(story)


def test_two_at_once_with_one_challenge_are_one_sign_in(tell):
    async def story(house: PageHouse, bench: RecordsBench) -> None:
        (_, _, hers), _ = await two_customers(house, bench)
        device = await add_passkey(hers)
        fresh = house.browser()
        await fresh.visit()
        answer = device.get(await options(fresh, "sign-in"))
        seen = await asyncio.gather(*(fresh.json("/me/passkeys/sign-in", answer) for _ in range(4)))
        assert sorted(each.status for each in seen) == [200, 403, 403, 403]

    tell(story)
