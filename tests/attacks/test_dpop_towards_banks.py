"""Our DPoP proofs towards banks: each is for one request, one token and one bank, and a server's nonce is honoured once and not for ever."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from parley.authorization.client_key import ClientKey
from parley.authorization.dpop_client import ORIGINS_MAX, DpopTransport
from parley.model.transport import TransportResponse

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
API = "https://api.bank.example/accounts"
CHALLENGE = {"www-authenticate": 'DPoP error="use_dpop_nonce"'}


class Wire:
    """A server that answers as told, and remembers which headers came."""

    def __init__(self, *answers: TransportResponse) -> None:
        self.answers = list(answers)
        self.seen: list[Mapping[str, str]] = []

    async def get(self, url: str, headers: Mapping[str, str], *, seconds: float, bytes_max: int) -> TransportResponse:
        self.seen.append(headers)
        return self.answers.pop(0) if self.answers else answer(200)

    async def post_form(self, url: str, form: Mapping[str, str], headers: Mapping[str, str], *, seconds: float, bytes_max: int) -> TransportResponse:
        return await self.get(url, headers, seconds=seconds, bytes_max=bytes_max)


def answer(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"{}") -> TransportResponse:
    return TransportResponse(status, headers or {}, body)


@pytest.fixture
def key(tmp_path: Path) -> ClientKey:
    return ClientKey.load_or_create(tmp_path / "dpop.pem")


def get(transport: DpopTransport, url: str = API) -> TransportResponse:
    return asyncio.run(transport.get(url, {"authorization": "Bearer token-of-ada"}, seconds=1, bytes_max=100))


def proof_in(headers: Mapping[str, str]) -> tuple[dict[str, object], dict[str, object]]:
    """(header, claims), the signature checked with the key in the header."""
    header = json.loads(base64url(headers["dpop"].split(".")[0]))
    opened = jws.deserialize_compact(headers["dpop"], ECKey.import_key(header["jwk"]), algorithms=["ES256"])
    return header, json.loads(opened.payload)


def base64url(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_proof_names_the_request_and_the_token_and_holds_the_public_key_only(key: ClientKey) -> None:
    wire = Wire()
    get(DpopTransport(wire, key, lambda: AT), API + "?limit=3#x")
    (headers,) = wire.seen
    header, claims = proof_in(headers)
    assert headers["authorization"] == "DPoP token-of-ada"
    assert header["typ"] == "dpop+jwt" and header["alg"] == "ES256" and set(header["jwk"]) == {"kty", "crv", "x", "y"}
    assert (claims["htm"], claims["htu"], claims["iat"]) == ("GET", API, int(AT.timestamp()))
    assert claims["ath"] == urlsafe_b64encode(sha256(b"token-of-ada").digest()).rstrip(b"=").decode()


def test_C5_no_two_proofs_are_the_same(key: ClientKey) -> None:
    wire = Wire()
    transport = DpopTransport(wire, key, lambda: AT)
    get(transport)
    get(transport)
    first, second = (proof_in(headers)[1]["jti"] for headers in wire.seen)
    assert first != second


def test_A23_the_nonce_is_sent_once_more_and_not_for_ever(key: ClientKey) -> None:
    greedy = [answer(401, {**CHALLENGE, "dpop-nonce": f"nonce-{number}"}) for number in range(5)]
    wire = Wire(*greedy)
    assert get(DpopTransport(wire, key, lambda: AT)).status == 401
    assert [proof_in(headers)[1].get("nonce") for headers in wire.seen] == [None, "nonce-0"]


def test_A23_the_same_nonce_again_is_not_a_reason_to_ask_again(key: ClientKey) -> None:
    wire = Wire(answer(200, {"dpop-nonce": "n"}), answer(401, {**CHALLENGE, "dpop-nonce": "n"}))
    transport = DpopTransport(wire, key, lambda: AT)
    get(transport)
    assert get(transport).status == 401
    assert len(wire.seen) == 2


def test_a_form_is_not_sent_again_by_the_transport_for_its_assertion_works_once(key: ClientKey) -> None:
    wire = Wire(answer(400, {"dpop-nonce": "n"}, b'{"error":"use_dpop_nonce"}'))
    transport = DpopTransport(wire, key, lambda: AT)
    response = asyncio.run(transport.post_form("https://bank.example/token", {"a": "b"}, {}, seconds=1, bytes_max=100))
    assert response.status == 400 and len(wire.seen) == 1


@pytest.mark.parametrize("nonce", ["", "n" * 513, 'a"b', "a\\b", "a b", "a\nb", "ü"])
def test_a_nonce_that_is_none_is_not_kept(key: ClientKey, nonce: str) -> None:
    wire = Wire(answer(401, {**CHALLENGE, "dpop-nonce": nonce}))
    transport = DpopTransport(wire, key, lambda: AT)
    get(transport)
    get(transport)
    assert all("nonce" not in proof_in(headers)[1] for headers in wire.seen)


def test_C13_a_nonce_of_one_server_goes_to_no_other_and_their_number_has_a_limit(key: ClientKey) -> None:
    wire = Wire(*(answer(200, {"dpop-nonce": f"n{number}"}) for number in range(ORIGINS_MAX * 3)))
    transport = DpopTransport(wire, key, lambda: AT)
    for number in range(ORIGINS_MAX * 3):
        get(transport, f"https://api{number}.bank.example/")
    assert all("nonce" not in proof_in(headers)[1] for headers in wire.seen)
    assert len(transport._nonces) <= ORIGINS_MAX


def test_nothing_of_key_or_token_is_printed(key: ClientKey) -> None:
    transport = DpopTransport(Wire(), key, lambda: AT)
    get(transport)
    assert "token-of-ada" not in repr(transport) + repr(vars(transport))
