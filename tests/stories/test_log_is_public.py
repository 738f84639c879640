"""Anybody may read the house's log at its public address, without an account and from any site's page."""

from __future__ import annotations

import aiohttp

from parley.proof import Verifier
from tests.house import RunningHouse, run


async def fetched(url: str) -> tuple[int, bytes, dict[str, str]]:
    async with aiohttp.ClientSession() as browser, browser.get(url) as response:
        return response.status, await response.read(), {name.lower(): value for name, value in response.headers.items()}


def test_the_checkpoint_the_key_and_the_entries_are_there_for_everybody(house: RunningHouse) -> None:
    status, note, headers = run(fetched(f"{house.url}/log/checkpoint"))
    assert status == 200
    assert headers["access-control-allow-origin"] == "*" and headers["cache-control"] == "no-cache"
    assert headers["x-content-type-options"] == "nosniff"
    head = Verifier(house.vkey).verify_checkpoint(note)
    assert run(fetched(f"{house.url}/log/vkey"))[1].decode().strip() == house.vkey
    width = min(head.size, 256)
    partial = "" if width == 256 else f".p/{width}"
    status, bundle, headers = run(fetched(f"{house.url}/log/tile/entries/000{partial}"))
    assert status == 200 and "immutable" in headers["cache-control"]
    assert b'"k":"build"' in bundle


def test_what_is_not_there_is_a_plain_404(house: RunningHouse) -> None:
    for path in ("tile/9/000", "log.key", "%2e%2e/log.key", "tile/0/x999/999"):
        status, _, _ = run(fetched(f"{house.url}/log/{path}"))
        assert status == 404
