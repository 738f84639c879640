"""The OAuth client towards banks, attacked: mix-up, forged returns, downgrades, oversized and slow answers, lost and stolen tokens."""

from __future__ import annotations

import asyncio
import base64
import json
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from parley.authorization.bank_client import BadClientSettings, BankClient, BankClientSettings, challenge_of, metadata_url
from parley.authorization.client_key import BadKeyFile, ClientKey
from parley.banks.pool import PooledTransport
from parley.model.grants import BankTokens
from parley.model.refusals import (
    BankBusy,
    BankNonsense,
    BankTimeout,
    BankUnavailable,
    Fault,
    ForgedMessage,
    LinkExpired,
    LinkLost,
    NotConsented,
    Refusal,
)
from tests.fakes.hostile_bank import WIRE_MISCHIEF, Asked, HostileBank, Told, running

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
BACK = "http://127.0.0.1:8000/link/callback"
SECRETS = ("SECRET-CODE", "SECRET-ACCESS", "SECRET-REFRESH", "CANARY")
HELD = BankTokens("SECRET-ACCESS-0", "SECRET-REFRESH-0", NOW, "consent-1", "scope-1")


class Door:
    """An authorization server in a test's hands: what it says at each path may be changed."""

    def __init__(self) -> None:
        self.bank = HostileBank(self.answer)
        self.metadata: dict[str, Any] = {}
        self.pushed: Told = told({"request_uri": "urn:ietf:params:oauth:request_uri:abc", "expires_in": 60}, 201)
        self.tokens: Told = told(good_tokens())

    def answer(self, asked: Asked) -> Told:
        if asked.path.startswith("/.well-known/oauth-authorization-server"):
            return told({**self.good_metadata(), **self.metadata})
        return {"/par": self.pushed, "/token": self.tokens, "/revoke": told({})}[asked.path]

    def good_metadata(self) -> dict[str, Any]:
        url = self.bank.url
        return {
            "issuer": url,
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
            "pushed_authorization_request_endpoint": f"{url}/par",
            "revocation_endpoint": f"{url}/revoke",
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "authorization_response_iss_parameter_supported": True,
        }

    def sent(self, path: str) -> list[dict[str, str]]:
        return [dict(parse_qsl(asked.body.decode(), keep_blank_values=True)) for asked in self.bank.asked if asked.path == path]


def told(content: Any, status: int = 200) -> Told:
    return Told(json.dumps(content).encode(), status)


def good_tokens(**changes: Any) -> dict[str, Any]:
    answer = {
        "access_token": "SECRET-ACCESS-1",
        "refresh_token": "SECRET-REFRESH-1",
        "token_type": "Bearer",
        "expires_in": 900,
        "grant_id": "consent-2",
    }
    return {name: value for name, value in (answer | changes).items() if value is not None}


KEY: ClientKey


@pytest.fixture(scope="module", autouse=True)
def a_key(tmp_path_factory: pytest.TempPathFactory) -> None:
    global KEY
    KEY = ClientKey.load_or_create(tmp_path_factory.mktemp("key") / "client.pem")


def at(door: Door, use: Callable[[BankClient], Awaitable[Any]], seconds: float = 2.0) -> Any:
    """The outcome of using a client at this bank: a value, or the Refusal or Fault. Anything else fails the test at once."""

    async def inside() -> Any:
        async with running(door.bank), PooledTransport() as transport:
            client = BankClient(BankClientSettings("bank", door.bank.url, "parley", BACK, seconds=seconds), KEY, transport, lambda: NOW)
            try:
                outcome = await use(client)
            except (Refusal, Fault) as reason:
                said = "".join(traceback.format_exception(reason)) + repr(reason)
                assert not [secret for secret in SECRETS if secret in said]
                outcome = reason
            assert not door.bank.mistakes
            return outcome

    return asyncio.run(inside())


def back(issuer: str, *others: tuple[str, str], **changes: str | None) -> list[tuple[str, str]]:
    params: dict[str, str | None] = {"code": "SECRET-CODE", "state": "the-state", "iss": issuer, **changes}
    return [(name, value) for name, value in params.items() if value is not None] + list(others)


def test_A22_a_trip_tells_the_browser_nothing_but_who_asks_and_a_reference() -> None:
    door = Door()
    trip = at(door, lambda client: client.begin())
    assert dict(parse_qsl(urlsplit(trip.url).query)) == {"client_id": "parley", "request_uri": "urn:ietf:params:oauth:request_uri:abc"}
    assert trip.state not in trip.url and trip.verifier not in trip.url and trip.verifier not in repr(trip) + str(trip)
    assert len(trip.state) >= 43 and len(trip.verifier) >= 43 and trip.state != trip.verifier
    [pushed] = door.sent("/par")
    assert pushed["code_challenge"] == challenge_of(trip.verifier) and pushed["code_challenge_method"] == "S256"
    assert pushed["state"] == trip.state and pushed["redirect_uri"] == BACK and trip.verifier not in str(pushed)
    [detail] = json.loads(pushed["authorization_details"])
    assert detail["type"] == "fdx_v1.0" and detail["consentRequest"]["durationType"] == "TIME_BOUND"
    assert detail["consentRequest"]["resources"] == [{"resourceType": "ACCOUNT", "dataClusters": ["ACCOUNT_BASIC", "BALANCES", "TRANSACTIONS"]}]


def test_A23_the_assertion_is_for_this_bank_alone_once_and_a_minute() -> None:
    door = Door()

    async def twice(client: BankClient) -> None:
        await client.begin()
        await client.begin()

    at(door, twice)
    numbers = set()
    for pushed in door.sent("/par"):
        token = jwt.decode(pushed["client_assertion"], KeySet.import_key_set(KEY.jwks()), algorithms=["ES256"])
        claims = token.claims
        assert claims["aud"] == door.bank.url and claims["iss"] == claims["sub"] == "parley"
        assert 0 < claims["exp"] - claims["iat"] <= 60 and claims["iat"] == int(NOW.timestamp())
        numbers.add(claims["jti"])
    assert len(numbers) == 2


@pytest.mark.parametrize(
    "params",
    [
        lambda issuer: back(issuer, iss=None),
        lambda issuer: back(issuer, iss="https://other.example"),
        lambda issuer: back(issuer, iss=issuer + "/"),
        lambda issuer: back(issuer, iss=issuer.upper()),
        lambda issuer: back(issuer, ("iss", "https://other.example")),
        lambda issuer: back(issuer, ("iss", issuer)),
        lambda issuer: back(issuer, iss=""),
        lambda issuer: back(issuer, iss="\ud800"),
        lambda issuer: back(issuer, iss=None, code=None, error="access_denied"),
        lambda issuer: back(issuer, iss="https://other.example", code=None, error="access_denied"),
        lambda issuer: back(issuer, state="another"),
        lambda issuer: back(issuer, state=None),
        lambda issuer: back(issuer, state=""),
        lambda issuer: back(issuer, state="the-statE"),
        lambda issuer: back(issuer, ("state", "the-state")),
        lambda issuer: back(issuer, ("code", "another-code")),
        lambda issuer: back(issuer, error="access_denied"),
        lambda issuer: back(issuer, **{f"x{number}": "y" for number in range(40)}),
        lambda issuer: back(issuer, session_state="a" * 5000),
    ],
)
def test_A21_C1_B3_a_forged_return_sends_nothing_to_any_token_endpoint(params: Callable[[str], list[tuple[str, str]]]) -> None:
    door = Door()
    outcome = at(door, lambda client: client.finish(params(door.bank.url), "the-state", "v" * 43))
    assert type(outcome) is ForgedMessage
    assert not door.bank.asked


def test_C1_C13_a_code_for_one_bank_is_never_carried_to_another() -> None:
    honest, hostile = Door(), Door()

    async def inside() -> None:
        async with running(honest.bank), running(hostile.bank), PooledTransport() as transport:
            clients = [
                BankClient(BankClientSettings("bank", door.bank.url, "parley", BACK), KEY, transport, lambda: NOW) for door in (honest, hostile)
            ]
            for client, other in ((clients[0], hostile), (clients[1], honest)):
                trip = await client.begin()
                with pytest.raises(ForgedMessage):
                    await client.finish(back(other.bank.url, state=trip.state), trip.state, trip.verifier)

    asyncio.run(inside())
    assert not honest.sent("/token") and not hostile.sent("/token")


def test_an_empty_expected_state_matches_nothing() -> None:
    door = Door()
    for state in ("", "the-state"):
        outcome = at(door, lambda client, state=state: client.finish(back(door.bank.url, state=""), state, "v" * 43))
        assert type(outcome) is ForgedMessage


def test_what_the_customer_decided_at_the_bank_has_its_own_words() -> None:
    door = Door()
    expected = {"access_denied": NotConsented, "server_error": BankUnavailable, "temporarily_unavailable": BankUnavailable, "CANARY": LinkExpired}
    for error, kind in expected.items():
        outcome = at(door, lambda client, error=error: client.finish(back(door.bank.url, code=None, error=error), "the-state", "v" * 43))
        assert type(outcome) is kind
    for code in (None, "", "a b", "\n", "ü", "a" * 2049):
        outcome = at(door, lambda client, code=code: client.finish(back(door.bank.url, code=code), "the-state", "v" * 43))
        assert isinstance(outcome, LinkExpired | ForgedMessage)
    assert not door.bank.asked


def test_A27_tokens_come_once_for_one_callback_and_are_asked_for_once() -> None:
    door = Door()
    tokens = at(door, lambda client: client.finish(back(door.bank.url), "the-state", "v" * 43))
    assert (tokens.access_token, tokens.refresh_token, tokens.consent_id) == ("SECRET-ACCESS-1", "SECRET-REFRESH-1", "consent-2")
    assert tokens.expires_at == NOW + timedelta(seconds=900) and "SECRET" not in repr(tokens)
    [sent] = door.sent("/token")
    assert (sent["code"], sent["code_verifier"], sent["redirect_uri"], sent["grant_type"]) == ("SECRET-CODE", "v" * 43, BACK, "authorization_code")
    door = Door()
    door.tokens = told({"error": "temporarily_unavailable"}, 503)
    assert type(at(door, lambda client: client.finish(back(door.bank.url), "the-state", "v" * 43))) is BankUnavailable
    assert len(door.sent("/token")) == 1
    door.tokens = told({"error": "invalid_grant", "error_description": "CANARY"}, 400)
    assert type(at(door, lambda client: client.finish(back(door.bank.url), "the-state", "v" * 43))) is LinkExpired


@pytest.mark.parametrize(
    "changes",
    [
        {"token_type": "DPoP"}, {"token_type": "mac"}, {"token_type": None}, {"access_token": None}, {"access_token": ""}, {"access_token": 7},
        {"access_token": "a b"}, {"access_token": "a\r\nx-evil: 1"}, {"access_token": "a" * 9000}, {"refresh_token": "a\nb"}, {"expires_in": 0},
        {"expires_in": -5}, {"expires_in": "soon"}, {"expires_in": 1e400},
    ],
)  # fmt: skip
def test_A24_tokens_that_were_not_agreed_are_refused(changes: dict[str, Any]) -> None:
    door = Door()
    door.tokens = told(good_tokens(**changes))
    assert type(at(door, lambda client: client.finish(back(door.bank.url), "the-state", "v" * 43))) is BankNonsense


def test_a_token_for_ever_and_one_without_an_end_are_both_renewed_soon_enough() -> None:
    door = Door()
    door.tokens = told(good_tokens(expires_in=10**12))
    assert at(door, lambda client: client.refresh(HELD)).expires_at <= NOW + timedelta(days=7)
    door.tokens = told(good_tokens(expires_in=None))
    assert at(door, lambda client: client.refresh(HELD)).expires_at == NOW + timedelta(seconds=60)


def test_A25_refresh_tokens_that_stay_and_that_rotate_both_survive() -> None:
    door = Door()
    door.tokens = told(good_tokens(refresh_token=None, grant_id=None))
    kept = at(door, lambda client: client.refresh(HELD))
    assert (kept.refresh_token, kept.consent_id, kept.scope) == (HELD.refresh_token, HELD.consent_id, HELD.scope)
    door.tokens = told(good_tokens())
    assert at(door, lambda client: client.refresh(HELD)).refresh_token == "SECRET-REFRESH-1"
    door.tokens = told({"error": "invalid_grant"}, 400)
    assert type(at(door, lambda client: client.refresh(HELD))) is LinkLost
    door.tokens = told({"error": "invalid_client", "error_description": "CANARY"}, 401)
    assert type(at(door, lambda client: client.refresh(HELD))) is BankNonsense
    door.tokens = told({}, 429)
    assert type(at(door, lambda client: client.refresh(HELD))) is BankBusy
    assert type(at(door, lambda client: client.refresh(BankTokens("a", None, NOW, None, "")))) is LinkLost


def test_giving_back_starts_with_the_token_that_makes_new_ones() -> None:
    door = Door()
    at(door, lambda client: client.revoke(HELD))
    assert [sent["token"] for sent in door.sent("/revoke")] == ["SECRET-REFRESH-0", "SECRET-ACCESS-0"]


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://other.example"}, {"issuer": "http://127.0.0.1:1"}, {"issuer": None},
        {"token_endpoint": "http://bank.example/token"}, {"token_endpoint": "http://127.0.0.1:9/token"}, {"token_endpoint": "//x"},
        {"token_endpoint": "file:///etc/passwd"}, {"token_endpoint": "https://user@bank.example/token"}, {"token_endpoint": 7},
        {"authorization_endpoint": "javascript:alert(1)"}, {"authorization_endpoint": "https://bank.example/a\r\nset-cookie: x"},
        {"authorization_endpoint": "https://bank.example\\@evil.example/"}, {"authorization_endpoint": "https://bank.example/a#b"},
        {"pushed_authorization_request_endpoint": "http://192.0.2.1/par"}, {"pushed_authorization_request_endpoint": None},
        {"revocation_endpoint": "ftp://bank.example/"}, {"code_challenge_methods_supported": ["plain"]}, {"code_challenge_methods_supported": None},
        {"token_endpoint_auth_methods_supported": ["client_secret_basic"]}, {"authorization_response_iss_parameter_supported": False},
    ],
)  # fmt: skip
def test_A21_metadata_that_would_weaken_or_lead_astray_is_refused_before_anything_is_sent(changes: dict[str, Any]) -> None:
    door = Door()
    door.metadata = changes
    assert type(at(door, lambda client: client.begin())) is BankNonsense
    assert len(door.bank.asked) == 1


def test_metadata_is_asked_once_for_many_trips() -> None:
    door = Door()

    async def many(client: BankClient) -> None:
        await asyncio.gather(*(client.begin() for _ in range(8)))

    at(door, many)
    assert len([asked for asked in door.bank.asked if asked.path.startswith("/.well-known")]) == 1
    assert len({sent["state"] for sent in door.sent("/par")}) == 8


@pytest.mark.parametrize(
    "pushed",
    [{}, {"request_uri": "a b", "expires_in": 60}, {"request_uri": "urn:x", "expires_in": 0}, {"request_uri": "u" * 600, "expires_in": 60},
     {"request_uri": "urn:x"}, {"request_uri": ["urn:x"], "expires_in": 60}],
)  # fmt: skip
def test_a_pushed_request_without_a_usable_reference_ends_the_trip(pushed: dict[str, Any]) -> None:
    door = Door()
    door.pushed = told(pushed, 201)
    assert type(at(door, lambda client: client.begin())) is BankNonsense


@pytest.mark.parametrize("mischief", WIRE_MISCHIEF)
def test_whatever_comes_over_the_wire_ends_in_a_named_refusal(mischief: str) -> None:
    door = Door()
    door.bank.mischief = WIRE_MISCHIEF[mischief]
    for use in (lambda client: client.begin(), lambda client: client.refresh(HELD)):
        outcome = at(door, use, seconds=0.4)
        assert isinstance(outcome, BankUnavailable), outcome
        if mischief in ("slow first byte", "one byte at a time"):
            assert type(outcome) is BankTimeout


@pytest.mark.parametrize(
    "changes",
    [{"issuer": "http://bank.example"}, {"issuer": "https://bank.example?x=1"}, {"issuer": "https://u:p@bank.example"}, {"redirect_uri": "http://a.example/"},
     {"redirect_uri": "https://a.example/#x"}, {"clusters": ()}, {"clusters": ("ACCOUNT_PAYMENTS",)}, {"duration_days": 366}, {"lookback_days": 0},
     {"client_id": ""}, {"issuer": "http://localhost:1"}],
)  # fmt: skip
def test_settings_that_would_send_secrets_in_clear_stop_the_start(changes: dict[str, Any]) -> None:
    good: dict[str, Any] = {"bank": "b", "issuer": "https://bank.example", "client_id": "parley", "redirect_uri": "https://p.example/cb"}
    BankClientSettings(**good)
    with pytest.raises(BadClientSettings):
        BankClientSettings(**{**good, **changes})


def test_the_well_known_path_goes_between_host_and_path() -> None:
    assert metadata_url("https://bank.example/tenant/7") == "https://bank.example/.well-known/oauth-authorization-server/tenant/7"


def test_the_key_is_made_once_only_for_us_and_never_printed(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "client.pem"
    key = ClientKey.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600 and [each.name for each in path.parent.iterdir()] == ["client.pem"]
    assert ClientKey.load_or_create(path).jwks() == key.jwks()
    [public] = key.jwks()["keys"]
    assert set(public) == {"kty", "crv", "x", "y", "kid", "use", "alg"} and "***" in repr(key)
    header = json.loads(base64.urlsafe_b64decode(key.signed({"iss": "x"}).split(".")[0] + "=="))
    assert header == {"alg": "ES256", "typ": "JWT", "kid": public["kid"]}
    path.chmod(0o640)
    with pytest.raises(BadKeyFile):
        ClientKey.load_or_create(path)
    path.chmod(0o600)
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\nCANARY\n")
    with pytest.raises(BadKeyFile) as caught:
        ClientKey.load_or_create(path)
    assert "CANARY" not in str(caught.value)
