"""C3, C5, C6, C11, C13 and C19 between the profiles: what is made at one is nothing at another, and of two at once one wins."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from parley.authorization.server.errors import OAuthError
from parley.authorization.server.link import LinkTokens, link_profile
from parley.model.refusals import ForgedMessage, NotLinked
from parley.model.stages import Envelope
from tests.fakes.profiles import ASSISTANT, PUBLIC, REDIRECTS, SECRET, VERIFIER, ProfilesHouse, challenge_of, random_token, told
from tests.fixtures_postgres import RecordsBench


@pytest.fixture
def sqlite_bench(tmp_path: Path) -> RecordsBench:
    """Where what is tested is no race and no transaction, one kind of records is enough."""
    return RecordsBench(f"sqlite:///{tmp_path / 'data' / 'records.db'}", tmp_path / "keys")


def test_an_assistant_gets_tokens_and_renews_them(bench_of_records: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        tokens = await house.tokens(house.assistants, customer, ASSISTANT, scope="balance:read", resource=f"{PUBLIC}/mcp")
        assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 300, "balance:read")
        opened = await house.opens(house.assistants, tokens["access_token"])
        assert opened is not None
        assert (opened.customer, opened.platform, opened.channel, opened.client) == (customer, ASSISTANT, "mcp", ASSISTANT)
        renewed = (await house.renew(house.assistants, ASSISTANT, tokens["refresh_token"])).json
        assert renewed["refresh_token"] != tokens["refresh_token"]
        assert await house.opens(house.assistants, renewed["access_token"]) is not None

    told(bench_of_records, story)


def test_C3_a_code_of_one_profile_is_nothing_at_another(sqlite_bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        for made_at, name in ((house.assistants, ASSISTANT), (house.alexa, "alexa"), (house.google, "google")):
            for shown_at in (house.assistants, house.alexa, house.google):
                if made_at is shown_at:
                    continue
                code = await house.allow(made_at, customer, name)
                for pretended in (ASSISTANT, "alexa", "google"):
                    answer = await house.exchange(shown_at, pretended, code, redirect_uri=REDIRECTS[name])
                    assert answer.json["error"] in ("invalid_grant", "invalid_client")
                assert (await house.exchange(made_at, name, code)).status == 200, "a stranger's try does not burn it"

    told(sqlite_bench, story)


def test_C3_a_code_of_one_profile_is_nothing_at_the_partners_server_either(sqlite_bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        code = await house.allow(house.assistants, customer, ASSISTANT)
        fields = {"grant_type": "authorization_code", "code": code, "client_id": ASSISTANT, "redirect_uri": REDIRECTS[ASSISTANT]}
        answer = await house.post("/fapi/token", {**fields, "code_verifier": VERIFIER})
        assert (answer.status, answer.json["error"]) == (401, "invalid_client")

    told(sqlite_bench, story)


def test_C3_another_client_cannot_use_a_code(sqlite_bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        code = await house.allow(house.assistants, customer, ASSISTANT)
        stolen = await house.exchange(house.assistants, "other-assistant", code, redirect_uri=REDIRECTS[ASSISTANT])
        assert stolen.json["error"] == "invalid_grant"

    told(sqlite_bench, story)


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": None},
        {"code_verifier": challenge_of(VERIFIER)},
        {"redirect_uri": None},
        {"redirect_uri": REDIRECTS[ASSISTANT] + "/"},
        {"redirect_uri": "http://127.0.0.1:1/callback"},
    ],
)
def test_C3_a_code_injected_by_somebody_without_the_verifier_or_address_is_nothing(
    sqlite_bench: RecordsBench, changes: dict[str, str | None]
) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        code = await house.allow(house.assistants, customer, ASSISTANT)
        assert (await house.exchange(house.assistants, ASSISTANT, code, **changes)).json["error"] == "invalid_grant"

    told(sqlite_bench, story)


def test_C6_a_token_of_one_profile_opens_no_other_resource(sqlite_bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        made = {server: (await house.tokens(server, customer, name))["access_token"] for server, name in of(house)}
        for mine, token in made.items():
            for server in house.servers:
                for scheme in ("Bearer", "DPoP", "bearer", "Basic"):
                    opened = await house.opens(server, token, scheme)
                    assert (opened is not None) == (server is mine and scheme.lower() == "bearer")

    told(sqlite_bench, story)


def of(house: ProfilesHouse) -> list[tuple[object, str]]:
    return [(house.assistants, ASSISTANT), (house.alexa, "alexa"), (house.google, "google")]


def test_C6_a_refresh_token_is_no_access_token_and_the_other_way_round(sqlite_bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        tokens = await house.tokens(house.assistants, customer, ASSISTANT)
        assert await house.opens(house.assistants, tokens["refresh_token"]) is None
        assert (await house.renew(house.assistants, ASSISTANT, tokens["access_token"])).json["error"] == "invalid_grant"

    told(sqlite_bench, story)


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge": "short"},
        {"response_type": "token"},
        {"response_type": "code token"},
        {"response_type": None},
        {"response_mode": "fragment"},
        {"request": "eyJhbGciOiJub25lIn0.e30."},
        {"request_uri": "urn:ietf:params:oauth:request_uri:x"},
    ],
)
def test_C6_an_assistant_cannot_ask_for_less_protection(sqlite_bench: RecordsBench, changes: dict[str, str | None]) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        with pytest.raises(OAuthError):
            await house.allow(house.assistants, customer, ASSISTANT, **changes)

    told(sqlite_bench, story)


@pytest.mark.parametrize("response_type", ["token", "id_token", "code token", "none", None])
def test_C6_a_voice_platform_gets_no_implicit_flow(sqlite_bench: RecordsBench, response_type: str | None) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        with pytest.raises(OAuthError, match="unsupported_response_type"):
            await house.allow(house.alexa, customer, "alexa", response_type=response_type)

    told(sqlite_bench, story)


@pytest.mark.parametrize(
    "resource", ["https://gateway.example/api/v1", "https://gateway.example", "https://evil.example/mcp", "https://gateway.example/mcp/"]
)
def test_C11_a_request_for_another_resource_is_refused(sqlite_bench: RecordsBench, resource: str) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        with pytest.raises(OAuthError, match="invalid_target"):
            await house.allow(house.assistants, customer, ASSISTANT, resource=resource)
        code = await house.allow(house.assistants, customer, ASSISTANT)
        assert (await house.exchange(house.assistants, ASSISTANT, code, resource=resource)).json["error"] == "invalid_target"
        tokens = await house.tokens(house.assistants, customer, ASSISTANT)
        assert (await house.renew(house.assistants, ASSISTANT, tokens["refresh_token"], resource=resource)).json["error"] == "invalid_target"

    told(sqlite_bench, story)


def test_C11_the_grants_of_one_client_are_not_another_clients(sqlite_bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        mine = await house.tokens(house.assistants, customer, ASSISTANT)
        theirs = await house.tokens(house.assistants, customer, "other-assistant", redirect_uri=REDIRECTS["other-assistant"])
        one, other = await house.opens(house.assistants, mine["access_token"]), await house.opens(house.assistants, theirs["access_token"])
        assert one is not None
        assert other is not None
        assert not {grant.id for grant in one.grants} & {grant.id for grant in other.grants}
        assert one.conversation != other.conversation
        assert (await house.renew(house.assistants, "other-assistant", mine["refresh_token"])).json["error"] == "invalid_grant"
        await house.post("/assistants/revoke", {"client_id": "other-assistant", "token": mine["refresh_token"]})
        assert await house.opens(house.assistants, mine["access_token"]) is not None

    told(sqlite_bench, story)


def test_C24_a_scope_that_means_advertising_is_refused_and_noted(sqlite_bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        for scope in ("dpv:Advertising", "advertising:read", "balance:read marketing", "dpv:SellDataToThirdParties"):
            with pytest.raises(OAuthError, match="invalid_scope"):
                await house.allow(house.assistants, customer, ASSISTANT, scope=scope)
        assert house.makers.refusals == [(ASSISTANT, "purpose_forbidden")] * 4
        with pytest.raises(OAuthError, match="invalid_scope"):
            await house.allow(house.alexa, customer, "alexa", scope="link advertising")

    told(sqlite_bench, story)


@pytest.mark.parametrize("scope", ["balance:read  transactions:read", "openid", "offline_access", "BALANCE:READ", "balance:read\tx", "*"])
def test_C11_no_scope_beyond_the_list_can_be_asked_for(sqlite_bench: RecordsBench, scope: str) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        with pytest.raises(OAuthError, match="invalid_scope"):
            await house.allow(house.assistants, customer, ASSISTANT, scope=scope)

    told(sqlite_bench, story)


# Rotation.


def test_C19_of_many_renewals_at_once_one_succeeds_or_the_family_dies(bench_of_records: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        tokens = await house.tokens(house.assistants, customer, ASSISTANT)
        answers = await asyncio.gather(*(house.renew(house.assistants, ASSISTANT, tokens["refresh_token"]) for _ in range(16)))
        won = [answer.json for answer in answers if answer.status == 200]
        assert len(won) <= 1
        for left in (tokens, *won):
            assert await house.opens(house.assistants, left["access_token"]) is None, "two users of one refresh token: one is a thief"
            assert (await house.renew(house.assistants, ASSISTANT, left["refresh_token"])).status == 400

    told(bench_of_records, story)


def test_B7_a_rotated_refresh_token_that_comes_back_ends_the_whole_family(bench_of_records: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        first = await house.tokens(house.assistants, customer, ASSISTANT)
        second = (await house.renew(house.assistants, ASSISTANT, first["refresh_token"])).json
        third = (await house.renew(house.assistants, ASSISTANT, second["refresh_token"])).json
        assert (await house.renew(house.assistants, ASSISTANT, first["refresh_token"])).json["error"] == "invalid_grant"
        assert await house.opens(house.assistants, third["access_token"]) is None
        assert (await house.renew(house.assistants, ASSISTANT, third["refresh_token"])).json["error"] == "invalid_grant"

    told(bench_of_records, story)


def test_C5_what_was_used_once_is_used_for_every_process(bench_of_records: RecordsBench) -> None:
    """Two gateways share the records; so does one that was restarted."""
    bench = bench_of_records

    async def story(house: ProfilesHouse, customer: str) -> None:
        other = ProfilesHouse(bench, await bench.second())
        code = await house.allow(house.assistants, customer, ASSISTANT)
        first = (await house.exchange(house.assistants, ASSISTANT, code)).json
        assert (await other.exchange(other.assistants, ASSISTANT, code)).json["error"] == "invalid_grant"
        assert await house.opens(house.assistants, first["access_token"]) is None, "a code used twice ends what it gave"
        tokens = await house.tokens(house.assistants, customer, ASSISTANT)
        renewed = (await other.renew(other.assistants, ASSISTANT, tokens["refresh_token"])).json
        assert await house.opens(house.assistants, renewed["access_token"]) is not None
        assert (await house.renew(house.assistants, ASSISTANT, tokens["refresh_token"])).status == 400
        assert await other.opens(other.assistants, renewed["access_token"]) is None

    told(bench, story)


def test_B9_no_token_outlives_the_consent(sqlite_bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        tokens = await house.tokens(house.assistants, customer, ASSISTANT)
        for _ in range(3):
            sqlite_bench.now += timedelta(days=29)
            tokens = (await house.renew(house.assistants, ASSISTANT, tokens["refresh_token"])).json
            assert "access_token" in tokens
        sqlite_bench.now += timedelta(days=3)
        assert (await house.renew(house.assistants, ASSISTANT, tokens["refresh_token"])).json["error"] == "invalid_grant"
        assert await house.opens(house.assistants, tokens["access_token"]) is None

    told(sqlite_bench, story)


@pytest.mark.parametrize(("server", "name", "seconds"), [("assistants", ASSISTANT, 300), ("alexa", "alexa", 3600)])
def test_B9_an_access_token_lives_for_its_minutes(sqlite_bench: RecordsBench, server: str, name: str, seconds: int) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        profile = getattr(house, server)
        tokens = await house.tokens(profile, customer, name)
        sqlite_bench.now += timedelta(seconds=seconds - 1)
        assert await house.opens(profile, tokens["access_token"]) is not None
        sqlite_bench.now += timedelta(seconds=1)
        assert await house.opens(profile, tokens["access_token"]) is None

    told(sqlite_bench, story)


def test_B10_after_the_customers_stop_no_token_opens_or_renews_anything(bench_of_records: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        for server, name in of(house):
            tokens = await house.tokens(server, customer, name)  # type: ignore[arg-type]
            opened = await house.opens(server, tokens["access_token"])  # type: ignore[arg-type]
            assert opened is not None
            await house.makers.end_grants(customer, tuple(grant.id for grant in opened.grants))
            assert await house.opens(server, tokens["access_token"]) is None  # type: ignore[arg-type]
            assert (await house.renew(server, name, tokens["refresh_token"])).json["error"] == "invalid_grant"  # type: ignore[arg-type]

    told(bench_of_records, story)


# Account linking.


class Signature:
    """A platform's proof: this header, for the test."""

    def check(self, envelope: Envelope) -> None:
        if envelope.unverified_headers.get("signature") != "good":
            raise ForgedMessage("signature")


def envelope(signature: str = "good") -> Envelope:
    return Envelope(b"{}", {"signature": signature}, datetime(2026, 11, 22, tzinfo=UTC))


def test_C6_a_link_token_is_worth_nothing_without_the_platforms_own_proof(sqlite_bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        alexa = (await house.tokens(house.alexa, customer, "alexa", scope="link"))["access_token"]
        google = (await house.tokens(house.google, customer, "google"))["access_token"]
        assistant = (await house.tokens(house.assistants, customer, ASSISTANT))["access_token"]
        server = house.alexa
        reader = LinkTokens(server.issuer, server.resource, "alexa", house.records, Signature(), lambda: sqlite_bench.now)
        user = await reader.user(alexa, envelope())
        assert (user.platform, user.channel) == ("alexa", "alexa")
        for token in (alexa, google, assistant, "", "x" * 43):
            with pytest.raises(ForgedMessage):
                await reader.user(token, envelope("bad"))
        for token in (google, assistant, "", "x" * 43, alexa + "x", random_token()):
            with pytest.raises(NotLinked):
                await reader.user(token, envelope())
        sqlite_bench.now += timedelta(hours=1)
        with pytest.raises(NotLinked):
            await reader.user(alexa, envelope())

    told(sqlite_bench, story)


def test_B11_a_voice_platform_proves_itself_by_its_secret_in_either_place_and_once(sqlite_bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        async def send(code: str, basic: tuple[str, str] | None, **more: str) -> int:
            fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECTS["alexa"], "code_verifier": VERIFIER, **more}
            return (await house.post("/linking/alexa/token", fields, basic=basic)).status

        for basic, more in ((("alexa", SECRET), {}), (None, {"client_id": "alexa", "client_secret": SECRET})):
            assert await send(await house.allow(house.alexa, customer, "alexa"), basic, **more) == 200
        code = await house.allow(house.alexa, customer, "alexa")
        for basic, more in (
            (("alexa", "wrong"), {}),
            (("alexa", ""), {}),
            (("alexa", SECRET), {"client_secret": SECRET}),
            (("alexa", SECRET), {"client_id": "google"}),
            (("google", SECRET), {}),
            (("nobody", SECRET), {}),
            (None, {"client_id": "alexa"}),
            (None, {"client_id": "alexa", "client_secret": "wrong"}),
            (None, {}),
        ):
            assert await send(code, basic, **more) == 401
        assert await send(code, ("alexa", SECRET)) == 200

    told(sqlite_bench, story)


def test_C3_where_a_platform_began_with_pkce_it_is_held_to_it_and_where_not_a_verifier_is_refused(sqlite_bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        with_pkce = await house.allow(house.alexa, customer, "alexa")
        assert (await house.exchange(house.alexa, "alexa", with_pkce, code_verifier=None)).json["error"] == "invalid_grant"
        without = await house.allow(house.alexa, customer, "alexa", code_challenge=None, code_challenge_method=None)
        assert (await house.exchange(house.alexa, "alexa", without)).json["error"] == "invalid_grant"
        assert (await house.exchange(house.alexa, "alexa", without, code_verifier=None)).status == 200
        for weak in ({"code_challenge_method": "plain"}, {"code_challenge_method": None}, {"code_challenge": None}):
            with pytest.raises(OAuthError):
                await house.allow(house.alexa, customer, "alexa", **weak)

    told(sqlite_bench, story)


def test_A25_a_voice_platform_may_renew_twice_with_one_token_for_answers_get_lost(sqlite_bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        tokens = await house.tokens(house.alexa, customer, "alexa")
        for _ in range(2):
            renewed = (await house.renew(house.alexa, "alexa", tokens["refresh_token"])).json
            assert renewed["refresh_token"] == tokens["refresh_token"]
            assert await house.opens(house.alexa, renewed["access_token"]) is not None

    told(sqlite_bench, story)


def test_a_voice_platform_hears_in_time_that_it_should_try_again(sqlite_bench: RecordsBench) -> None:
    """It gives up after 4.5 seconds. Where our records take longer, it is told so before that; a client that can wait is not hurried."""
    assert (link_profile("alexa").answer_seconds_max or 9.0) < 4.5

    async def story(house: ProfilesHouse, customer: str) -> None:
        stuck = asyncio.Event()

        house.alexa.profile = replace(house.alexa.profile, answer_seconds_max=0.05)
        house.alexa.gate._clients = Stuck(stuck)
        answer = await house.renew(house.alexa, "alexa", "x" * 43)
        assert (answer.status, answer.json["error"]) == (503, "temporarily_unavailable")
        assert int(answer.headers["retry-after"]) > 0

    told(sqlite_bench, story)


class Stuck:
    """Records that never answer."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def find_client(self, client_id: str) -> None:
        await self._event.wait()


@pytest.mark.parametrize(
    "uri",
    [
        REDIRECTS["alexa"] + "/",
        REDIRECTS["alexa"] + "?x=y",
        REDIRECTS["google"],
        REDIRECTS["alexa"].replace("https", "http"),
        "https://layla.amazon.com/api/skill/link/M1",
        "http://127.0.0.1/callback",
        "",
    ],
)
def test_B6_a_voice_platform_is_answered_at_its_registered_addresses_only(sqlite_bench: RecordsBench, uri: str) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        with pytest.raises(OAuthError):
            await house.allow(house.alexa, customer, "alexa", redirect_uri=uri)

    told(sqlite_bench, story)


def test_B6_an_assistant_on_the_customers_own_computer_may_choose_its_port(sqlite_bench: RecordsBench) -> None:
    async def story(house: ProfilesHouse, customer: str) -> None:
        assert await house.allow(house.assistants, customer, ASSISTANT, redirect_uri="http://127.0.0.1:51234/callback")
        for uri in (
            "http://127.0.0.1:51234/other",
            "http://localhost:51234/callback",
            "http://[::1]:51234/callback",
            "https://127.0.0.1:51234/callback",
        ):
            with pytest.raises(OAuthError):
                await house.allow(house.assistants, customer, ASSISTANT, redirect_uri=uri)

    told(sqlite_bench, story)


def test_C13_an_authorization_of_one_bank_is_nothing_at_anothers(sqlite_bench: RecordsBench, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two houses, two sets of records: a token that opens one is unknown at the other."""
    folder = tmp_path_factory.mktemp("another-bank")
    other_bench = RecordsBench(f"sqlite:///{folder / 'data' / 'records.db'}", folder / "keys")

    async def story(house: ProfilesHouse, customer: str) -> None:
        tokens = await house.tokens(house.assistants, customer, ASSISTANT)
        code = await house.allow(house.assistants, customer, ASSISTANT)
        records = await other_bench.open()
        try:
            other = ProfilesHouse(other_bench, records)
            await other.settle()
            assert await other.opens(other.assistants, tokens["access_token"]) is None
            assert (await other.exchange(other.assistants, ASSISTANT, code)).json["error"] == "invalid_grant"
            assert (await other.renew(other.assistants, ASSISTANT, tokens["refresh_token"])).json["error"] == "invalid_grant"
        finally:
            await records.aclose()

    told(sqlite_bench, story)
