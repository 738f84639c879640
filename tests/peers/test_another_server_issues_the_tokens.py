"""The bank's own authorization server in the place of ours: npm's `oidc-provider` issues the tokens, and the consent stays with the gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from parley.authorization.client_key import ClientKey
from parley.cli.supervise import private_folder
from parley.proof import verify_receipt
from tests.fakes.allowing import AllowingRobot
from tests.fakes.partner import Partner, answer_in, new_key
from tests.house import RunningHouse, balance_line, run
from tests.peers.certified_server import CertifiedServer, sign_in_and_agree
from tests.peers.partnered import CLIENT, register

pytestmark = pytest.mark.peers
REDIRECT = "http://127.0.0.1:4713/callback"
FOREIGN_CLIENT = "partner-at-the-bank"
TYPE = "parley_account_answers"
QUESTION = "what's my balance?"


def at_the_bank(client_id: str, jwks: dict[str, Any], **more: object) -> dict[str, object]:
    return {
        "client_id": client_id,
        "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "jwks": jwks,
        **more,
    }


@dataclass
class Bank:
    """A house that takes the tokens of another server, that server, and one partner known to both."""

    house: RunningHouse
    server: CertifiedServer
    here: Partner
    there: Partner
    stranger: Partner

    def consent(self, username: str) -> str:
        """The customer allows it on the gateway's pages; the consent's name, as the partner is told it."""
        here = self.here
        pushed = requests.post(f"{here.issuer}/par", data=here.authenticated(here.asked()), timeout=20)

        async def browse() -> str:
            async with AllowingRobot(self.house.url, REDIRECT) as robot:
                return await robot.allow(here.authorize_url(pushed.json()["request_uri"]), self.house.customer(username))

        code = answer_in(run(browse()))["code"]
        proof = here.proof("POST", f"{here.issuer}/token")
        told = requests.post(f"{here.issuer}/token", data=here.authenticated(here.redeeming(code)), headers={"dpop": proof}, timeout=20)
        return str(told.json()["grant_id"])

    def token(self, username: str, *consents: str, by: Partner | None = None) -> str:
        """A token of the other server for this person, which names these consents."""
        there, url = by or self.there, self.server.url
        details = json.dumps([{"type": TYPE, "grant_id": consent} for consent in consents])
        asked = there.asked(authorization_details=details, scope="openid", redirect_uri=REDIRECT)
        pushed = requests.post(f"{url}/request", data=there.authenticated(asked), headers={"dpop": there.proof("POST", f"{url}/request")}, timeout=20)
        assert pushed.status_code == 201, pushed.text
        address = f"{url}/auth?client_id={there.client_id}&request_uri={pushed.json()['request_uri']}"
        answer = dict(run(sign_in_and_agree(address, REDIRECT, login=self.house.customer(username).customer_id)))
        redeeming = there.authenticated(there.redeeming(answer["code"], redirect_uri=REDIRECT))
        told = requests.post(f"{url}/token", data=redeeming, headers={"dpop": there.proof("POST", f"{url}/token")}, timeout=20)
        assert told.status_code == 200, told.text
        return str(told.json()["access_token"])

    def ask(
        self, token: str, *, by: Partner | None = None, scheme: str = "DPoP", question: str = "what's my balance?", **changes: Any
    ) -> requests.Response:
        url = f"{self.house.url}/api/v1/answers"
        headers = {"authorization": f"{scheme} {token}", "dpop": (by or self.there).proof("POST", url, token, **changes)}
        return requests.post(url, json={"question": question}, headers=headers, timeout=20)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    folder = tmp_path_factory.mktemp("foreign")
    data = private_folder(folder / "data")
    ours = ClientKey.load_or_create(private_folder(data / "keys") / "token-server-client.pem")
    here, there = Partner("", client_id=CLIENT, redirect_uri=REDIRECT), Partner("", client_id=FOREIGN_CLIENT, redirect_uri=REDIRECT)
    stranger = Partner("", client_id="stranger-at-the-bank", redirect_uri=REDIRECT)
    bound = {"dpop_bound_access_tokens": True, "authorization_details_types": [TYPE]}
    clients = [
        at_the_bank("gateway", ours.jwks()),
        at_the_bank(FOREIGN_CLIENT, json.loads(there.jwks), **bound),
        at_the_bank("stranger-at-the-bank", json.loads(stranger.jwks), **bound),
    ]
    with CertifiedServer(folder, clients=clients, types=[TYPE]) as server:
        there.issuer = stranger.issuer = server.url
        settings = "\n".join(
            (
                "[[token_servers]]",
                f'issuer = "{server.url}"',
                'client_id = "gateway"',
                f'audience = "{server.url}/api"',
                f'clients = {{ "{FOREIGN_CLIENT}" = "{CLIENT}" }}',
            )
        )
        house = RunningHouse(data, settings).start()
        here.issuer = f"{house.url}/fapi"
        register(house, json.loads(here.jwks), REDIRECT, folder)
        yield Bank(house, server, here, there, stranger)
        house.stop_unharmed()


def test_a_token_of_the_banks_own_server_opens_the_consent_that_it_names(bank: Bank) -> None:
    consent = bank.consent("ada")
    token = bank.token("ada", consent)
    seen = bank.ask(token)
    assert seen.status_code == 200, seen.text
    assert any(balance_line(account)[1] in seen.json()["answer"] for account in bank.house.customer("ada").accounts)
    assert verify_receipt(seen.json()["receipt"], bank.house.vkey)

    # Only by whoever holds the key, and once.
    assert bank.ask(token, scheme="Bearer").status_code == 401
    assert bank.ask(token, key=new_key()).status_code == 401
    # Only for the person that the token is about, and only one consent that stands.
    for person, consents in (("ben", (consent,)), ("ada", ("A" * 43,)), ("ada", (consent, consent))):
        refused = bank.ask(bank.token(person, *consents))
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")
    # Only for the client that it was given to, whoever else the other server lets name it.
    assert bank.ask(bank.token("ada", consent, by=bank.stranger), by=bank.stranger).json()["error"] == "invalid_token"
    # The customer's "stop" ends it at once, whatever the other server says of its token.
    assert bank.ask(token, question="stop sharing").status_code == 401
    assert bank.ask(token).json()["error"] == "invalid_token"


def test_nonsense_is_no_token(bank: Bank) -> None:
    for token in ("x", "a.b.c", "x" * 5000, "ü"):
        url = f"{bank.house.url}/api/v1/answers"
        headers = {"authorization": f"DPoP {token}".encode(), "dpop": bank.there.proof("POST", url, token)}
        refused = requests.post(url, json={"question": "balance"}, headers=headers, timeout=20)
        assert refused.status_code == 401
