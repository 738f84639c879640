"""Our OAuth client towards banks walks its whole flow at `oidc-provider` with its FAPI 2.0 profile: pushed, bound to our key, renewed, given back."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from parley.authorization.bank_client import ASSERTION_TYPE, SCOPES, BankClient, BankClientSettings
from parley.authorization.client_key import ClientKey
from parley.authorization.dpop_client import DpopTransport
from parley.banks.transport import AiohttpTransport
from parley.model.refusals import BankNonsense, LinkExpired, LinkLost, NotConsented
from tests.peers.certified_server import CertifiedServer, sign_in_and_agree

pytestmark = pytest.mark.peers

CLIENT_ID = "parley-at-the-certified-bank"
REDIRECT_URI = "https://chat.bank.example/link/callback"


def now() -> datetime:
    return datetime.now(UTC)


class House:
    """Our two keys, and what the bank registered of us."""

    def __init__(self, folder: Path) -> None:
        self.key = ClientKey.load_or_create(folder / "client.pem")
        self.dpop_key = ClientKey.load_or_create(folder / "dpop.pem")

    def registration(self) -> dict[str, object]:
        return {
            "client_id": CLIENT_ID,
            "redirect_uris": [REDIRECT_URI],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "private_key_jwt",
            "token_endpoint_auth_signing_alg": "ES256",
            "dpop_bound_access_tokens": True,
            "authorization_details_types": ["fdx_v1.0"],
            "jwks": self.key.jwks(),
            "scope": " ".join(("openid", *SCOPES.values())),
        }

    def client(self, issuer: str, transport: AiohttpTransport) -> tuple[BankClient, DpopTransport]:
        bound = DpopTransport(transport, self.dpop_key, now)
        settings = BankClientSettings("certified", issuer, CLIENT_ID, REDIRECT_URI, bound_tokens=True)
        return BankClient(settings, self.key, bound, now), bound


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def server(tmp_path: Path, house: House, **settings: object) -> CertifiedServer:
    return CertifiedServer(tmp_path, clients=[house.registration()], types=["fdx_v1.0"], scopes=list(SCOPES.values()), **settings)


async def key_of(token: str, url: str, house: House, transport: AiohttpTransport) -> str:
    """The thumbprint of the key that the server bound this token to (RFC 9449 section 6), asked with our client's assertion."""
    moment = int(now().timestamp())
    claims = {"iss": CLIENT_ID, "sub": CLIENT_ID, "aud": url, "jti": uuid4().hex, "iat": moment, "exp": moment + 55}
    form = {"token": token, "client_id": CLIENT_ID, "client_assertion_type": ASSERTION_TYPE, "client_assertion": house.key.signed(claims)}
    response = await transport.post_form(f"{url}/token/introspection", form, {}, seconds=5, bytes_max=10_000)
    told = json.loads(response.unverified_body)
    assert told["active"], told
    return str(told["cnf"]["jkt"])


@pytest.mark.parametrize("nonce", [False, True], ids=["no nonce", "the server wants its nonce"])
def test_the_whole_flow_with_tokens_bound_to_our_key(tmp_path: Path, house: House, *, nonce: bool) -> None:
    """A22; A23 and A24, with and without a nonce; A25 without rotation."""

    async def flow(url: str) -> None:
        transport = AiohttpTransport()
        try:
            client, _ = house.client(url, transport)
            trip = await client.begin()
            assert trip.url.count("&") == 1 and "client_id=" in trip.url and "request_uri=" in trip.url  # A22
            tokens = await client.finish(await sign_in_and_agree(trip.url, REDIRECT_URI), trip.state, trip.verifier)
            assert await key_of(tokens.access_token, url, house, transport) == house.dpop_key.thumbprint
            fresh = await client.refresh(tokens)
            again = await client.refresh(fresh)
            assert again.refresh_token == tokens.refresh_token
            assert len({tokens.access_token, fresh.access_token, again.access_token}) == 3
            await client.revoke(again)
            with pytest.raises(LinkLost):
                await client.refresh(again)
        finally:
            await transport.aclose()

    with server(tmp_path, house, nonce=nonce) as running:
        asyncio.run(flow(running.url))


def test_A25_refresh_tokens_that_rotate_survive_too(tmp_path: Path, house: House) -> None:
    async def flow(url: str) -> None:
        transport = AiohttpTransport()
        try:
            client, _ = house.client(url, transport)
            trip = await client.begin()
            tokens = await client.finish(await sign_in_and_agree(trip.url, REDIRECT_URI), trip.state, trip.verifier)
            fresh = await client.refresh(tokens)
            assert fresh.refresh_token != tokens.refresh_token
            assert (await client.refresh(fresh)).refresh_token != fresh.refresh_token
        finally:
            await transport.aclose()

    with server(tmp_path, house, rotate=True) as running:
        asyncio.run(flow(running.url))


def test_a_no_at_the_bank_and_a_code_used_twice_are_told_apart(tmp_path: Path, house: House) -> None:
    async def flow(url: str) -> None:
        transport = AiohttpTransport()
        try:
            client, _ = house.client(url, transport)
            refused = await client.begin()
            with pytest.raises(NotConsented):
                await client.finish(await sign_in_and_agree(refused.url, REDIRECT_URI, agree=False), refused.state, refused.verifier)
            trip = await client.begin()
            brought_back = await sign_in_and_agree(trip.url, REDIRECT_URI)
            tokens = await client.finish(brought_back, trip.state, trip.verifier)
            with pytest.raises(LinkExpired):
                await client.finish(brought_back, trip.state, trip.verifier)
            with pytest.raises(LinkLost):  # the server takes back what a code that was used twice had given
                await client.refresh(tokens)
        finally:
            await transport.aclose()

    with server(tmp_path, house) as running:
        asyncio.run(flow(running.url))


def test_A24_a_bearer_token_from_a_bank_that_agreed_to_bind_them_is_refused(tmp_path: Path, house: House) -> None:
    """A downgrade at the token endpoint: the same client, registered without binding, gets bearer tokens and takes none."""

    async def flow(url: str) -> None:
        transport = AiohttpTransport()
        try:
            settings = BankClientSettings("certified", url, CLIENT_ID, REDIRECT_URI, bound_tokens=True)
            client = BankClient(settings, house.key, transport, now)
            trip = await client.begin()
            with pytest.raises(BankNonsense):
                await client.finish(await sign_in_and_agree(trip.url, REDIRECT_URI), trip.state, trip.verifier)
        finally:
            await transport.aclose()

    registration = {**house.registration(), "dpop_bound_access_tokens": False}
    with CertifiedServer(tmp_path, clients=[registration], types=["fdx_v1.0"], scopes=list(SCOPES.values()), fapi=False) as running:
        asyncio.run(flow(running.url))
