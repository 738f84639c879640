"""C5: what was used once is used up for every gateway process, on PostgreSQL: a proof, a code, a pushed request."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from tests.conftest import postgres_settings
from tests.fakes.allowing import AllowingRobot
from tests.fakes.partner import Partner, answer_in
from tests.fixtures_postgres import PostgresServer
from tests.house import RunningHouse, run
from tests.peers.partnered import register

REDIRECT = "https://partner.example/callback"
AT_ONCE = 12


async def at_once(url: str, body: Any, headers: list[dict[str, str]]) -> list[int]:
    """Each on a connection of its own, so that both gateways get some of them."""

    async def one(each: dict[str, str]) -> int:
        async with aiohttp.ClientSession(trust_env=False) as client, client.post(url, data=body, headers=each) as answer:
            return answer.status

    return await asyncio.gather(*(one(each) for each in headers))


def test_C5_a_proof_and_a_code_are_used_up_for_both_gateways(postgres_server: PostgresServer, tmp_path: Path) -> None:
    house = RunningHouse(tmp_path / "house", postgres_settings(postgres_server), records="postgresql").start()
    try:
        partner = Partner(f"{house.url}/fapi", client_id="partner-app", redirect_uri=REDIRECT)
        register(house, json.loads(partner.jwks), REDIRECT, tmp_path)
        run(walked(house, partner))
    finally:
        house.stop_unharmed()


async def walked(house: RunningHouse, partner: Partner) -> None:
    token_url, answers = f"{partner.issuer}/token", f"{house.url}/api/v1/answers"
    async with aiohttp.ClientSession(trust_env=False) as client:

        async def sent(url: str, params: dict[str, Any], **headers: str) -> dict[str, Any]:
            async with client.post(url, data=params, headers=headers) as answer:
                return dict(await answer.json(content_type=None))

        async def code() -> str:
            pushed = await sent(f"{partner.issuer}/par", partner.authenticated(partner.asked()))
            async with AllowingRobot(house.url, REDIRECT) as robot:
                return answer_in(await robot.allow(partner.authorize_url(pushed["request_uri"]), house.customer("ada")))["code"]

        # One assertion works once, whichever gateway it reaches.
        same = partner.authenticated(partner.asked())
        assert sorted(await at_once(f"{partner.issuer}/par", same, [{}] * AT_ONCE)) == [201] + [401] * (AT_ONCE - 1)

        # One proof opens one answer.
        told = await sent(token_url, partner.authenticated(partner.redeeming(await code())), dpop=partner.proof("POST", token_url))
        shown = {"authorization": f"DPoP {told['access_token']}", "content-type": "application/json"}
        proof = partner.proof("POST", answers, told["access_token"])
        body = json.dumps({"question": "what's my balance?"}).encode()
        assert sorted(await at_once(answers, body, [{**shown, "dpop": proof}] * AT_ONCE)) == [200] + [401] * (AT_ONCE - 1)

        # One code gives tokens at most once, and a second use ends what it gave.
        again = await code()
        uses = [partner.authenticated(partner.redeeming(again)) for _ in range(AT_ONCE)]
        seen = await asyncio.gather(*(at_once(token_url, use, [{"dpop": partner.proof("POST", token_url)}]) for use in uses))
        assert sorted(status for each in seen for status in each)[1:] == [400] * (AT_ONCE - 1)
