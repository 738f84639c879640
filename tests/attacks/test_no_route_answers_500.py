"""Whatever is sent to whichever address: no 500, and nothing breaks unforeseen. `make fuzz` sends 10,000 requests, this test some hundreds.

The whole house is opened in this very process, beside a running bank and notary, so that what breaks unforeseen is seen even where the
last resort hides it from the sender.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message

from parley.app import house as app_house
from parley.settings import load_settings
from tests.house import RunningHouse

CASES = int(os.environ.get("PARLEY_FUZZ_CASES", "300"))
KNOWN_FIELDS = (
    "csrf", "once", "text_hash", "account", "projection", "days", "decision", "wish", "number", "state", "code", "iss", "error", "client_id",
    "redirect_uri", "response_type", "scope", "resource", "request_uri", "request", "code_challenge", "code_challenge_method", "grant_type",
    "code_verifier", "refresh_token", "token", "token_type_hint", "client_assertion", "client_assertion_type", "client_secret",
    "authorization_details", "account_linking_token", "grant_id", "grant_management_action", "message_id", "text", "purpose", "jsonrpc", "id",
    "method", "params", "offering", "slots", "question",
)  # fmt: skip
EVERY_DOOR = """
messenger_platform = "larkspur-messenger"

[[linked_platforms]]
channel = "alexa"
platform = "larkspur-voice"
"""
TOKEN_HERE = "the-token-of-this-session"
KNOWN_VALUES = (
    "", TOKEN_HERE, "code", "S256", "authorization_code", "refresh_token", "client_credentials", "answer_customer", "allow", "deny",
    "balance:read", "link",
    "http://127.0.0.1:1/callback", "https://client.example/client.json", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "2.0",
    "tools/call", "[]", "{}", "null", "0", "-1", "1e999", "9" * 400, "a" * 3000, "\x00", "\ud800", "\u202e", "%", "%zz", "../..",
    "eyJhbGciOiJub25lIn0.e30.",
)  # fmt: skip
HEADERS = (
    (
        "content-type",
        ("application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "application/json; charset=x", ""),
    ),
    ("origin", ("null", "https://evil.example", "")),
    ("sec-fetch-site", ("cross-site", "same-origin", "x")),
    ("authorization", ("Bearer aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "DPoP x", "Basic OjpEOg==", "Basic \xff", "Bearer", "Negotiate x")),
    ("dpop", ("x", "a.b.c", "eyJ0eXAiOiJkcG9wK2p3dCJ9.e30.x")),
    ("cookie", ("parley=x", "parley=a; parley=b", ";;;=", "parley-trip=x; parley-consent=y", "\xff")),
    ("accept", ("application/json", "*/*", "x")),
    ("mcp-protocol-version", ("2026-07-28", "2025-11-25", "x")),
    ("content-length", ("-1", "x", "99999999999999999999")),
    ("if-none-match", ("*",)),
    ("range", ("bytes=0-", "bytes=9-1")),
    ("accept-encoding", ("gzip",)),
)


@dataclass
class Opened:
    """The house in this process: its front door, every address that it opens, and what broke unforeseen."""

    app: ASGIApp
    routes: list[tuple[str, tuple[str, ...]]]
    loop: asyncio.AbstractEventLoop
    broken: list[str] = field(default_factory=list)
    cookie: str = ""
    csrf: str = ""

    def send(self, method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes) -> tuple[int, dict[str, str], bytes]:
        async def exchange() -> tuple[int, dict[str, str], bytes]:
            sent = [False]
            messages: list[Message] = []

            async def receive() -> Message:
                if sent[0]:
                    return {"type": "http.disconnect"}
                sent[0] = True
                return {"type": "http.request", "body": body, "more_body": False}

            async def send(message: Message) -> None:
                messages.append(message)

            scope = {
                "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path, "raw_path": quote(path).encode(),
                "root_path": "", "query_string": query.encode("latin-1", "replace"), "scheme": "http", "server": ("127.0.0.1", 80),
                "client": ("192.0.2.7", 4711),
                "headers": [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers],
            }  # fmt: skip
            await asyncio.wait_for(self.app(scope, receive, send), 20)
            start = next(each for each in messages if each["type"] == "http.response.start")
            content = b"".join(bytes(each.get("body", b"")) for each in messages if each["type"] == "http.response.body")
            return start["status"], {name.decode(): value.decode("latin-1") for name, value in start["headers"]}, content

        return self.loop.run_until_complete(exchange())


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    running = RunningHouse(tmp_path_factory.mktemp("fuzzed"), EVERY_DOOR).start()
    patch = pytest.MonkeyPatch()
    loop = asyncio.new_event_loop()
    routes: list[tuple[str, tuple[str, ...]]] = []
    broken: list[str] = []

    class Recording(Starlette):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            routes.extend(addresses(named.get("routes", ())))
            super().__init__(*arguments, **named)

    patch.setattr(app_house, "Starlette", Recording)
    for module in watched():
        patch.setattr(module, "unforeseen", broken.append)

    async def open_it() -> tuple[AsyncExitStack, ASGIApp]:
        stack = AsyncExitStack()
        return stack, await stack.enter_async_context(app_house.open_house(load_settings(running.data / "parley.toml")))

    stack, app = loop.run_until_complete(open_it())
    try:
        found = Opened(app, routes, loop, broken)
        _, headers, page = found.send("GET", "/", "", [], b"")
        found.cookie = headers["set-cookie"].partition(";")[0]
        found.csrf = page.decode().split('data-csrf="')[1].split('"')[0]
        yield found
    finally:
        loop.run_until_complete(stack.aclose())
        loop.close()
        patch.undo()
        running.stop()


def watched() -> Iterator[Any]:
    """Every module of the app that hands `unforeseen` to a room."""
    import sys

    yield from (module for name, module in list(sys.modules.items()) if name.startswith("parley.app") and hasattr(module, "unforeseen"))


def addresses(routes: Any, before: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    for route in routes:
        if isinstance(route, Route):
            yield before + route.path, tuple(sorted(route.methods or ("GET",)))
        elif isinstance(route, Mount):
            yield from addresses(route.routes, before + route.path)


text = some.sampled_from(KNOWN_VALUES) | some.text(max_size=40)
segments = text.filter(bool).map(lambda each: each.encode(errors="replace").decode())
"""As a server decodes them: no lone surrogates."""

pairs = some.lists(some.tuples(some.sampled_from(KNOWN_FIELDS) | some.text(max_size=8), text), max_size=8)
values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | text, lambda inner: some.lists(inner, max_size=4), max_leaves=6
)
bodies = (
    some.builds(lambda told: urlencode(told, errors="replace").encode(), pairs)
    | some.builds(
        lambda told: json.dumps(told).encode(), some.dictionaries(some.sampled_from(KNOWN_FIELDS) | some.text(max_size=8), values, max_size=8)
    )
    | some.binary(max_size=64)
    | some.sampled_from([b"[" * 4000, b'{"a":' * 2000, b"&" * 2000, b"a=1&" * 500, b"x" * 70_000, b"\xef\xbb\xbf{}"])
)
headers = some.lists(some.sampled_from(HEADERS).flatmap(lambda each: some.tuples(some.just(each[0]), some.sampled_from(each[1]))), max_size=5)


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=some.data())
def test_C17_no_route_answers_500_to_anything(opened: Opened, data: some.DataObject) -> None:
    path, methods = data.draw(some.sampled_from(opened.routes))
    method = data.draw(some.sampled_from([*methods, *methods, "POST", "PUT", "OPTIONS", "X"]))
    path = re.sub(r"\{[^}]*\}", lambda _: data.draw(segments), path)
    sent = dict(data.draw(headers))
    if data.draw(some.booleans()):
        sent |= {"content-type": data.draw(some.sampled_from(["application/json", "application/x-www-form-urlencoded"]))}
    if data.draw(some.booleans()):
        sent |= {"cookie": opened.cookie, "x-parley-csrf": opened.csrf}
    query = urlencode(data.draw(pairs), errors="replace")
    body = data.draw(bodies).replace(TOKEN_HERE.encode(), opened.csrf.encode())
    status, answered, content = opened.send(method, path, query, list(sent.items()), body)
    assert status < 500 or status == 503, (method, path)
    assert opened.broken == []
    assert answered["x-content-type-options"] == "nosniff"
    assert b"Traceback" not in content


def test_B35_the_fuzzed_addresses_are_all_that_the_house_opens(opened: Opened) -> None:
    paths = {path for path, _ in opened.routes}
    assert {
        "/",
        "/chat/ask",
        "/consent",
        "/link/callback",
        "/healthz",
        "/mcp",
        "/assistants/token",
        "/linking/alexa/token",
        "/link/messenger",
    } <= paths


def test_B35_every_address_is_on_the_published_list(opened: Opened) -> None:
    page = (Path(__file__).parents[2] / "docs" / "routes.md").read_text()
    listed = {path: set(methods.split(", ")) for path, methods in re.findall(r"^\| `([^`]+)` \| ([A-Z, ]+) \|", page, re.MULTILINE)}
    mounted: dict[str, set[str]] = {}
    for path, methods in opened.routes:
        mounted.setdefault(path, set()).update(set(methods) - {"HEAD"})
    assert mounted == listed, "docs/routes.md lists every address with what it needs"


NAMING = {
    "/chat/receipts/{index}": "test_checklist_B_house",
    "/me/receipts/{index}": "test_checklist_B_house",
    "/me/grants/{grant}": "test_checklist_B_house",
    "/me/grants/{grant}/{version}/record.json": "test_checklist_B_house",
    "/consent/extend/{grant}": "test_checklist_B_house",
    "/fapi/grants/{grant_id}": "test_checklist_A",
    "/bank/events/{bank}": "test_bank_events",
    "/pair/{token}": "test_linking_attacks",
    "/officer/policy/proposals/{proposal}": "test_officer_doors",
    "/officer/policy/proposals/{proposal}/approve": "test_officer_doors",
    "/officer/policy/proposals/{proposal}/reject": "test_officer_doors",
    "/officer/policy/versions/{version}": "test_officer_doors",
    "/log/{path:path}": "test_log_published",
    "/static/linking/{name}": "test_web_headers",
    "/static/me/{name}": "test_web_headers",
    "/static/web/{name}": "test_web_headers",
    "/officer/static/{name}": "test_officer_doors",
}
"""Every address that names something, and the tests of what a stranger gets there. A new one fails here until somebody has thought of it."""


def test_B27_every_address_that_names_something_has_a_test_of_strangers(opened: Opened) -> None:
    assert {path for path, _ in opened.routes if "{" in path} == set(NAMING)
    shelf = Path(__file__).parent
    assert all((shelf / f"{test}.py").exists() for test in NAMING.values())


PUBLIC_LOG = ("/log/vkey", "/log/{path:path}")
"""Anybody may read the log, other sites' scripts too."""


def test_B34_no_address_lets_other_sites_scripts_in_or_answers_without_its_headers(opened: Opened) -> None:
    for path, methods in opened.routes:
        for method in {*methods, "OPTIONS", "TRACE"}:
            asked = [
                ("origin", "https://evil.example"),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "x-parley-csrf"),
            ]
            status, headers, _ = opened.send(method, re.sub(r"\{[^}]*\}", "1", path), "", asked, b"")
            assert path in PUBLIC_LOG or not [name for name in headers if name.startswith("access-control-")], path
            assert {"content-security-policy", "x-content-type-options", "cross-origin-opener-policy", "cache-control"} <= set(headers), path
            assert "server" not in headers
            assert status != 200 or method in methods, (method, path)
    assert opened.broken == []
