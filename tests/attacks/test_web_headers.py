"""Every response of every address carries the house's security headers, and every address refuses the methods that it does not know."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from parley.channels.web.protect import security_headers
from tests.fakes.visitor import Visitor
from tests.fakes.web_house import House, build_house, running_house

ADDRESSES = {
    "/": {"GET", "HEAD"},
    "/chat/ask": {"POST"},
    "/chat/stop": {"POST"},
    "/chat/receipts/1": {"GET", "HEAD"},
    "/log.vkey": {"GET", "HEAD"},
    "/static/web/none.css": {"GET", "HEAD"},
    "/static/linking/none.css": {"GET", "HEAD"},
    "/terminal/state": {"GET", "HEAD"},
    "/terminal/session": {"POST"},
    "/terminal/pair": {"POST"},
    "/link": {"POST"},
    "/link/callback": {"GET", "HEAD"},
    "/consent": {"GET", "HEAD", "POST"},
    "/paired": {"GET", "HEAD"},
    "/pair/none": {"GET", "HEAD", "POST"},
    "/signout": {"POST"},
    "/signed-out": {"GET", "HEAD"},
    "/me/sign-in/bank": {"POST"},
    "/no/such/address": set(),
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running_house() as running:
        yield running


def test_the_list_of_addresses_is_complete(house: House) -> None:
    app = house.app
    mounted = {route.path.replace("{index}", "1").replace("{token}", "none").replace("{name}", "none.css") for route in app._app.routes}  # type: ignore[attr-defined]
    assert mounted == set(ADDRESSES) - {"/no/such/address"}


@pytest.mark.parametrize("address", ADDRESSES)
def test_B34_every_response_is_protected(house: House, address: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        seen = Visitor(house.origin).send(method, address)
        policy = seen.header("content-security-policy") or ""
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "base-uri 'none'" in policy
        assert f"form-action 'self' {house.bank.origin}" in policy
        assert "unsafe" not in policy
        assert seen.header("x-content-type-options") == "nosniff"
        assert seen.header("referrer-policy") in ("no-referrer", "same-origin")
        assert seen.header("cross-origin-opener-policy") == "same-origin"
        assert seen.header("cross-origin-resource-policy") == "same-origin"
        assert "camera=()" in (seen.header("permissions-policy") or "")
        assert seen.header("cache-control") == "no-store"
        assert seen.header("access-control-allow-origin") is None
        assert seen.header("server") is None


@pytest.mark.parametrize(("address", "known"), ADDRESSES.items())
def test_B34_unknown_methods_are_refused(house: House, address: str, known: set[str]) -> None:
    for method in set(METHODS) - known:
        seen = Visitor(house.origin).send(method, address)
        assert seen.status == (405 if known else 404)
        assert seen.body == b"" if method == "HEAD" else seen.json["code"] == ("method_unknown" if known else "address_unknown")


def test_static_files_have_their_type_and_are_kept_by_their_hash(house: House) -> None:
    page = Visitor(house.origin).get("/").text
    for name, kind in (("chat.css", "text/css"), ("chat.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        stem, ending = name.split(".")
        start = page.index(f"/static/web/{stem}.")
        address = page[start : page.index('"', start)]
        while not address.endswith(ending):
            start = page.index(f"/static/web/{stem}.", start + 1)
            address = page[start : page.index('"', start)]
        seen = Visitor(house.origin).get(address)
        assert (seen.header("content-type") or "").startswith(kind)
        assert "immutable" in (seen.header("cache-control") or "")


def test_B19_pages_hold_no_inline_script_style_or_handler_and_nothing_from_elsewhere(house: House) -> None:
    visitor = Visitor(house.origin)
    state = visitor.set_out("balance")
    visitor.come_back(state, house.bank.issue(state))
    for page in (visitor.get("/"), visitor.get("/consent"), visitor.get("/signed-out")):
        assert "<style" not in page.text
        assert " style=" not in page.text
        assert " onclick" not in page.text
        assert "<script>" not in page.text
        assert "http://" not in page.text
        assert "https://" not in page.text


def test_B19_on_https_the_cookies_and_headers_are_the_strict_ones() -> None:
    house = build_house("https://chat.brook.example")
    assert house.sessions.cookie_name == "__Host-parley"
    assert "; Secure" in house.sessions.set_cookie("__Host-parley", "x", life=house.clock.now - house.clock.now)
    assert b"strict-transport-security" in dict(security_headers("https://chat.brook.example", ()))
    assert b"strict-transport-security" not in dict(security_headers("http://127.0.0.1:1", ()))


def test_C17_headers_beyond_measure_are_refused(house: House) -> None:
    assert Visitor(house.origin).get("/", **{f"x-{index}": "v" * 4000 for index in range(12)}).status in (400, 431)


def test_a_probe_with_head_leaves_no_session_behind(house: House) -> None:
    before = len(house.records.sessions)
    assert Visitor(house.origin).send("HEAD", "/").status == 200
    assert len(house.records.sessions) == before


def test_the_public_key_of_the_log_can_be_fetched(house: House) -> None:
    assert Visitor(house.origin).get("/log.vkey").text == "log.example/demo+1a2b3c4d+AAAA\n"
