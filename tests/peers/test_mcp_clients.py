"""Two MCP clients that nobody here wrote, the official ones for Python and TypeScript, do their whole OAuth flow and a tool call against us."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from tests.fakes.allowing import AllowingRobot
from tests.fakes.partner import answer_in
from tests.house import RunningHouse, balance_line, parley, run
from tests.peers.node import BIN, environment, installed

pytestmark = pytest.mark.peers

CLIENT = "assistant"
CALLBACK = "http://127.0.0.1:4711/callback"
REGISTERED = "http://127.0.0.1/callback"
PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.fixture(scope="module")
def assisted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHouse]:
    """A running house whose bank has registered one assistant."""
    running = RunningHouse(tmp_path_factory.mktemp("assisted")).start()
    register(running)
    yield running
    running.stop_unharmed()


def register(house: RunningHouse) -> None:
    told = ("--platform", "larkspur-assistant", "--title", "Assistant", "--host", "assistant.example", "--redirect", REGISTERED, "--profile", "mcp")
    done = parley("client", "add", CLIENT, *told, "--config", house.data / "parley.toml")
    assert done.returncode == 0, done.stderr


@dataclass
class Storage:
    """What the client keeps. It was registered beforehand, as banks want it."""

    tokens: OAuthToken | None = None
    renewals: int = 0
    client: OAuthClientInformationFull = field(
        default_factory=lambda: OAuthClientInformationFull(
            client_id=CLIENT, redirect_uris=[AnyUrl(CALLBACK)], token_endpoint_auth_method="none", grant_types=["authorization_code", "refresh_token"]
        )
    )

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens
        self.renewals += 1

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@dataclass
class Browser:
    """The customer, where the client sends her."""

    house: RunningHouse
    username: str
    answered: str = ""
    visits: int = 0

    async def open(self, url: str) -> None:
        self.visits += 1
        async with AllowingRobot(self.house.url, CALLBACK) as robot:
            self.answered = await robot.allow(url, self.house.customer(self.username))

    async def result(self) -> AuthorizationCodeResult:
        told = answer_in(self.answered)
        return AuthorizationCodeResult(code=told["code"], state=told.get("state"), iss=told.get("iss"))


def provider(house: RunningHouse, storage: Storage, browser: Browser) -> OAuthClientProvider:
    metadata = OAuthClientMetadata(client_name="Assistant", redirect_uris=[AnyUrl(CALLBACK)], token_endpoint_auth_method="none")
    return OAuthClientProvider(f"{house.url}/mcp", metadata, storage, browser.open, browser.result)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_python_client_asks_is_allowed_and_calls_a_tool(assisted: RunningHouse, mode: str) -> None:
    house = assisted
    storage, browser = Storage(), Browser(house, "ada")

    async def story() -> tuple[list[str], Any]:
        async with (
            httpx2.AsyncClient(auth=provider(house, storage, browser), trust_env=False) as http,
            Client(streamable_http_client(f"{house.url}/mcp", http_client=http), mode=mode) as client,
        ):
            tools = await client.list_tools()
            return [tool.name for tool in tools.tools], await client.call_tool("get_balance", {})

    names, result = run(story())
    assert names == ["get_balance", "get_recent_transactions"]
    told = result.structured_content
    assert (told["outcome"], told["purpose"], browser.visits) == ("answered", "answer_customer", 1)
    ada = house.customer("ada")
    for account in ada.accounts:
        if account.nickname in told["untrusted"]["text"]:
            assert all(part in told["untrusted"]["text"] for part in balance_line(account))
    assert ada.accounts[0].nickname in told["untrusted"]["text"]
    assert house.verified({"why": {"receipt": result.meta["gateway.parley/receipt"]}}).index == told["log_index"]
    assert storage.tokens is not None
    assert storage.tokens.token_type == "Bearer"


def test_the_python_client_renews_by_itself(assisted: RunningHouse) -> None:
    """Its access token has ended; the refresh token gets it another pair without the customer, and the first refresh token is used up."""
    house = assisted
    storage, browser = Storage(), Browser(house, "ben")

    async def story() -> None:
        auth = provider(house, storage, browser)
        async with (
            httpx2.AsyncClient(auth=auth, trust_env=False) as http,
            Client(streamable_http_client(f"{house.url}/mcp", http_client=http)) as client,
        ):
            assert not (await client.call_tool("get_balance", {})).is_error
            assert storage.tokens is not None
            first = storage.tokens
            auth.context.token_expiry_time = 1
            assert not (await client.call_tool("get_balance", {})).is_error
            assert storage.tokens.refresh_token != first.refresh_token
            assert storage.tokens.access_token != first.access_token
        assert browser.visits == 1

    run(story())


def test_the_typescript_client_asks_is_allowed_calls_a_tool_and_renews(assisted: RunningHouse) -> None:
    house = assisted
    folder = installed(Path(__file__).parent / "mcp_typescript")
    command = [str(BIN / "node"), "client.mjs", f"{house.url}/mcp", CLIENT, CALLBACK]
    browser = Browser(house, "chiara")
    with subprocess.Popen(command, cwd=folder, env=environment(), text=True, **PIPES) as client:
        try:
            sent = client.stdout.readline()
            assert sent, client.communicate(timeout=30)[1][-2000:]
            run(browser.open(json.loads(sent)["url"]))
            out, complaints = client.communicate(f"{browser.answered}\n", timeout=60)
        finally:
            client.kill()
    assert client.returncode == 0, complaints[-2000:]
    told = json.loads(out)
    assert told["tools"] == ["get_balance", "get_recent_transactions"]
    assert (told["balance"]["outcome"], told["again"], told["saved"]) == ("answered", "answered", 2)
    assert told["scope"] == "balance:read transactions:read"
    assert house.customer("chiara").accounts[0].nickname in told["balance"]["untrusted"]["text"]
    assert house.verified({"why": {"receipt": told["receipt"]}}).index == told["balance"]["log_index"]


def test_the_client_on_the_page_for_developers_does_what_the_page_says(assisted: RunningHouse) -> None:
    """The example of docs/platform/mcp.md as it stands there, but for the gateway's address; the customer does what it prints."""
    page = (Path(__file__).parents[2] / "docs" / "platform" / "mcp.md").read_text()
    source = page.split("```python\n")[1].split("```")[0]
    assert source.startswith('GATEWAY = "https://gateway.example"\n')
    printed: list[str] = []

    def customer(prompt: str) -> str:
        browser = Browser(assisted, "esme")
        run(browser.open(printed[-1].rsplit(" ", 1)[1]))
        return browser.answered

    told = {"print": lambda *words: printed.append(" ".join(map(str, words))), "input": customer}
    exec(compile(source.replace("https://gateway.example", assisted.url), "mcp.md", "exec"), told)  # noqa: S102 - the page's own example
    assert assisted.customer("esme").accounts[0].nickname in printed[1]
    assert assisted.verified({"why": {"receipt": printed[2]}})
