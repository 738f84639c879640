"""Partners that nobody here wrote do the FAPI flow against a running house: npm's `oauth4webapi` and PyPI's `requests_oauth2client`."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from joserfc.jwk import ECKey
from requests_oauth2client import DPoPKey, OAuth2Client, PrivateKeyJwt

from parley.proof import verify_receipt
from tests.fakes.allowing import AllowingRobot
from tests.fakes.partner import DETAILS, public
from tests.house import RunningHouse, balance_line, run
from tests.peers.node import BIN, environment, installed
from tests.peers.partnered import CLIENT, register, unregister

pytestmark = pytest.mark.peers
REDIRECT = "http://127.0.0.1:4712/callback"
QUESTION = "what's my balance?"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    running = RunningHouse(tmp_path_factory.mktemp("partnered")).start()
    yield running
    running.stop_unharmed()


@pytest.fixture
def key(house: RunningHouse, tmp_path: Path) -> Iterator[ECKey]:
    key = ECKey.generate_key("P-256")
    register(house, {"keys": [public(key, kid="k1", use="sig", alg="ES256")]}, REDIRECT, tmp_path)
    yield key
    unregister(house)


def allowed(house: RunningHouse, address: str) -> str:
    async def browse() -> str:
        async with AllowingRobot(house.url, REDIRECT) as robot:
            return await robot.allow(address, house.customer("ada"))

    return run(browse())


def test_oauth4webapi_asks_renews_and_ends(house: RunningHouse, key: ECKey, tmp_path: Path) -> None:
    folder = installed(Path(__file__).parent / "oauth4webapi")
    settings = {
        "issuer": f"{house.url}/fapi",
        "api": f"{house.url}/api/v1",
        "client_id": CLIENT,
        "kid": "k1",
        "jwk": key.as_dict(private=True),
        "redirect_uri": REDIRECT,
        "details": DETAILS,
        "state": "s" * 40,
        "question": QUESTION,
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    outcome = conversed(house, folder, str(tmp_path / "settings.json"))
    answer = outcome.pop("answer")
    assert any(balance_line(account)[1] in answer["answer"] for account in house.customer("ada").accounts)
    assert verify_receipt(answer["receipt"], house.vkey)
    assert outcome == {
        "methods": ["private_key_jwt"],
        "pushed_only": True,
        "token_type": "dpop",
        "access_seconds": 300,
        "allowed": ["afford.yesno", "balance.available"],
        "refresh_stays": True,
        "active": True,
        "beyond": "not_consented",
        "advertising": "purpose_forbidden",
        "without_a_key": 401,
        "after_revocation": 401,
        "grant": True,
        "second_use_of_the_code": "invalid_grant",
        "tokens_of_a_code_used_twice": 401,
        "renewing_after_that": "invalid_grant",
    }


def conversed(house: RunningHouse, folder: Path, settings: str) -> dict[str, Any]:
    """The program runs; where it says to open an address, the customer does."""
    command = [str(BIN / "node"), "fapi.mjs", settings]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=folder, env=environment(), text=True, **pipes)
    kill = threading.Timer(60, process.kill)
    kill.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        back = allowed(house, json.loads(line)["open"]) if line else ""
        output, complaint = process.communicate(f"{back}\n", timeout=60)
    finally:
        kill.cancel()
    assert process.returncode == 0, complaint[-2000:]
    return dict(json.loads(output))


def test_requests_oauth2client_asks_and_renews(house: RunningHouse, key: ECKey) -> None:
    client = OAuth2Client.from_discovery_endpoint(
        f"{house.url}/.well-known/oauth-authorization-server/fapi",
        issuer=f"{house.url}/fapi",
        auth=PrivateKeyJwt(CLIENT, {**key.as_dict(private=True), "kid": "k1", "alg": "ES256"}, aud=f"{house.url}/fapi"),
        redirect_uri=REDIRECT,
        dpop_bound_access_tokens=True,
        testing=True,
    )
    asking = client.authorization_request(scope=None, authorization_details=json.dumps([DETAILS]))
    pushed = client.pushed_authorization_request(asking)
    answer = asking.validate_callback(allowed(house, str(pushed)))
    tokens = client.authorization_code(answer, dpop_key=DPoPKey.generate())
    seen = requests.post(f"{house.url}/api/v1/answers", json={"question": QUESTION}, auth=tokens, timeout=30)
    assert seen.status_code == 200, seen.text
    assert any(balance_line(account)[1] in seen.json()["answer"] for account in house.customer("ada").accounts)
    renewed = client.refresh_token(tokens)
    again = requests.post(f"{house.url}/api/v1/answers", json={"question": QUESTION}, auth=renewed, timeout=30)
    assert again.status_code == 200
    assert client.introspect_token(renewed)["active"] is True
    client.revoke_refresh_token(tokens)
    assert client.introspect_token(renewed)["active"] is False
