"""A customer cuts the consent at her bank's own page: the bank says so, and nothing is fetched or answered any more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from parley_sandbox import events
from parley_sandbox.clients import BadClientFile, read_clients
from parley_sandbox.events import Listener, deliver
from parley_sandbox.robot import RobotClient, write_clients
from tests.attacks.test_checklist_B_house import signed_in
from tests.house import RunningHouse, http, until

SECRET = b"the secret of bank and client..."


def standing(house: RunningHouse) -> set[str]:
    listed = http("GET", f"{house.demo.bank_url}/operator/consents")["consents"]
    return {each["id"] for each in listed if each["status"] == "ACTIVE"}


def test_a_consent_that_is_cut_at_the_bank_ends_the_grants_at_once_and_on_every_page(house: RunningHouse) -> None:
    async def story() -> None:
        before = standing(house)
        async with signed_in(house, "noor") as noor:
            assert (await noor.question("what's my balance?"))["outcome"] == "answered"
            stopped = (await noor.get(f"{house.url}/me")).text.count("Stopped")
            reads, entries = house.bank_reads(), len(house.entries())
            for consent in standing(house) - before:
                assert http("POST", f"{house.demo.bank_url}/operator/consents/{consent}/end", {}) == {"ended": True}
            until(lambda: [entry for entry in house.entries(entries) if entry.facts["k"] == "revoke"])
            assert (await noor.question("what's my balance?"))["code"] == "grant_revoked"
            assert house.bank_reads() == reads, "the house did not have to ask the bank"
            assert (await noor.get(f"{house.url}/me")).text.count("Stopped") > stopped

    asyncio.run(story())


def delivered(answers: list[int], then: Callable[[Listener], Awaitable[bool]]) -> tuple[bool, list[tuple[dict[str, str], bytes]]]:
    """What `then` told, and what a client that answers so was sent."""
    seen: list[tuple[dict[str, str], bytes]] = []

    async def take(request: web.Request) -> web.Response:
        seen.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.Response(status=answers.pop(0) if len(answers) > 1 else answers[0], headers={"location": "/elsewhere"})

    async def whole() -> bool:
        app = web.Application()
        app.router.add_post("/{tail:.*}", take)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            return await then(Listener(f"http://127.0.0.1:{runner.addresses[0][1]}/events", SECRET))
        finally:
            await runner.cleanup()

    return asyncio.run(whole()), seen


def test_the_demo_bank_tries_again_under_the_same_id_and_then_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "WAITS", (0.0, 0.0, 0.0))
    taken, seen = delivered([503, 307, 202], lambda listener: deliver(listener, b"{}"))
    assert taken and len(seen) == 3
    assert len({headers["webhook-id"] for headers, _ in seen}) == 1
    taken, seen = delivered([500], lambda listener: deliver(listener, b"{}"))
    assert not taken and len(seen) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"events_url": "http://127.0.0.1:1/events"},
        {"events_secret": "whsec_" + "A" * 40},
        {"events_url": "http://bank.example/events", "events_secret": "whsec_" + "A" * 40},
        {"events_url": "http://127.0.0.1:1/events", "events_secret": "whsec_AAAA"},
        {"events_url": "http://127.0.0.1:1/events", "events_secret": "A" * 40},
        {"events_url": "http://127.0.0.1:1/events", "events_secret": "whsec_!" + "A" * 40},
    ],
)
def test_a_client_that_would_hear_of_events_names_a_safe_address_and_a_secret(tmp_path: Path, wrong: dict[str, str]) -> None:
    path = write_clients(tmp_path / "clients.json", RobotClient())
    registered = json.loads(path.read_text())
    right = {"events_url": "http://127.0.0.1:1/events", "events_secret": "whsec_" + "A" * 40}
    path.write_text(json.dumps([registered[0] | right]))
    assert [client.listener is not None for client in read_clients(path).values()] == [True]
    path.write_text(json.dumps([registered[0] | wrong]))
    with pytest.raises(BadClientFile):
        read_clients(path)
