"""The same black-box list for our authorization server and for a certified one, side by side; what differs is explained here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest
from joserfc.jwk import ECKey

from tests.fakes.oauth_house import OAuthHouse, oauth_house
from tests.fakes.partner import DETAILS, Partner, answer_in
from tests.peers.black_box import CHECKS, Check, Target
from tests.peers.certified_server import CertifiedServer, sign_in_and_agree
from tests.peers.raw_client import RawClient

pytestmark = pytest.mark.peers

REDIRECT = "https://partner.example/callback"

DIFFERENCES: dict[str, tuple[str, str]] = {
    "A6 no proof, no token": ("400 invalid_grant", "It calls a missing proof a grant that cannot be used; we name what is missing."),
    "A19 a proof that is ten minutes old is refused": ("400 use_dpop_nonce", "It asks for its nonce instead of trusting any clock that is off."),
    "A19 a proof of the next hour is refused": ("400 use_dpop_nonce", "The same: with its nonce in it, such a proof would say when it was made."),
    "A19 a proof works once": ("400 invalid_grant", "It calls a proof that was seen before a grant that cannot be used; we name the proof."),
}
"""The check's name: what the certified server does, and why that is right for it or why we ask more."""


class Loop:
    """An event loop in a thread of its own, for connections that outlive one test."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: object) -> object:
        future: Future[object] = asyncio.run_coroutine_threadsafe(work, self._loop)  # type: ignore[arg-type]
        return future.result(60)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Certified:
    """The certified server as a target."""

    def __init__(self, url: str, keys: tuple[ECKey, ECKey]) -> None:
        self.client = RawClient(url, "first", keys[0], REDIRECT, [DETAILS], scope="openid")
        self.other = RawClient(url, "second", keys[1], REDIRECT, [DETAILS], scope="openid")

    async def bring_back(self, url: str, *, agree: bool = True) -> dict[str, str]:
        return dict(await sign_in_and_agree(url, REDIRECT, agree=agree))


class Ours:
    """Our server as a target: its real records and pages, and the world's time on its clock."""

    def __init__(self, house: OAuthHouse) -> None:
        self._house = house
        self.client = raw(house, house.partner("first"))
        self.other = raw(house, house.partner("second", redirect_uri="https://other.example/callback"))

    def wind(self) -> None:
        self._house.clock.now = datetime.now(UTC)

    async def bring_back(self, url: str, *, agree: bool = True) -> dict[str, str]:
        return await asyncio.to_thread(self._decide, url, "allow" if agree else "deny")

    def _decide(self, url: str, decision: str) -> dict[str, str]:
        visitor, page = self._house.to_consent(url)
        done = visitor.post_form("/consent", visitor.consent_fields(page, decision=decision))
        assert done.status == 303, done.text
        return answer_in(done.location)


def raw(house: OAuthHouse, partner: Partner) -> RawClient:
    return RawClient(house.issuer, partner.client_id, partner.key, partner.redirect_uri, [DETAILS])


def registration(client_id: str, key: ECKey) -> dict[str, object]:
    return {
        "client_id": client_id,
        "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "dpop_bound_access_tokens": True,
        "authorization_details_types": ["parley_account_answers"],
        "jwks": {"keys": [{**key.as_dict(private=False), "alg": "ES256", "use": "sig"}]},
        "scope": "openid",
    }


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory, loop: Loop) -> Iterator[Certified]:
    keys = (ECKey.generate_key("P-256"), ECKey.generate_key("P-256"))
    clients = [registration("first", keys[0]), registration("second", keys[1])]
    folder: Path = tmp_path_factory.mktemp("certified")
    with CertifiedServer(folder, clients=clients, types=["parley_account_answers"]) as server:
        target = Certified(server.url, keys)
        loop.run(opened(target))
        yield target
        loop.run(closed(target))


async def opened(target: Target) -> None:
    await target.client.__aenter__()
    await target.other.__aenter__()


async def closed(target: Target) -> None:
    await target.client.__aexit__()
    await target.other.__aexit__()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, loop: Loop) -> Iterator[Ours]:
    with oauth_house(tmp_path_factory.mktemp("ours")) as house:
        target = Ours(house)
        loop.run(opened(target))
        yield target
        loop.run(closed(target))
        assert house.faults == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_our_server(ours: Ours, loop: Loop, check: Check) -> None:
    ours.wind()
    assert loop.run(check.work(ours)) in check.expected


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_the_certified_server_as_control(certified: Certified, loop: Loop, check: Check) -> None:
    outcome = loop.run(check.work(certified))
    if check.name in DIFFERENCES:
        assert outcome == DIFFERENCES[check.name][0]
        assert outcome not in check.expected
    else:
        assert outcome in check.expected
