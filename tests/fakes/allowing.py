"""A customer's browser that a client sent here: over "who asks", the bank's login and the consent page, to the client's own address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urljoin, urlsplit

import aiohttp

from parley.cli.robot import Page, Robot, RobotLost
from parley_sandbox.ledger import Customer
from tests.house import own_address

REDIRECTS_MAX = 12


class Arrived(Exception):
    """The browser was sent to the client: its address with the answer."""

    def __init__(self, address: str) -> None:
        super().__init__("sent to the client")
        self.address = address


class AllowingRobot(Robot):
    """As every robot, but it stops before an address of the client, where nobody may listen."""

    def __init__(self, chat_url: str, client_address: str) -> None:
        super().__init__(chat_url)
        self.client_address = client_address

    async def __aenter__(self) -> AllowingRobot:
        connector = aiohttp.TCPConnector(local_addr=(own_address(), 0))
        jar = aiohttp.CookieJar(unsafe=True)
        self.client = aiohttp.ClientSession(cookie_jar=jar, connector=connector, timeout=aiohttp.ClientTimeout(total=30), trust_env=False)
        return self

    async def allow(self, authorize_url: str, customer: Customer, *, projections: Sequence[str] | None = None) -> str:
        """She goes on, signs in at her bank, and allows what is asked (or only these projections). The client's address with the answer."""
        try:
            asking = await self.get(authorize_url)
            login = await self.submit(asking, asking.form_with("request_uri", "decision"), {"decision": ["go"]})
            signed_in = {"username": [customer.username], "password": [customer.password]}
            accounts = await self.submit(login, login.form_with("username", "password"), signed_in)
            choice = accounts.form_with("account", "decision")
            consent = await self.submit(accounts, choice, {"account": choice.values("account"), "decision": ["approve"]})
            form = consent.form_with("account", "projection", "decision")
            chosen = list(projections) if projections is not None else form.values("projection")
            await self.submit(consent, form, {"account": form.values("account"), "projection": chosen, "decision": ["allow"]})
        except Arrived as arrived:
            return arrived.address
        raise RobotLost("the browser was not sent to the client")

    async def refuse(self, authorize_url: str) -> str:
        """She says no on the first page."""
        try:
            asking = await self.get(authorize_url)
            await self.submit(asking, asking.form_with("request_uri", "decision"), {"decision": ["deny"]})
        except Arrived as arrived:
            return arrived.address
        raise RobotLost("the browser was not sent to the client")

    async def _follow(self, method: str, url: str, fields: list[tuple[str, str]] | None, *, referrer: str) -> Page:
        for _ in range(REDIRECTS_MAX):
            origin = "{0.scheme}://{0.netloc}".format(urlsplit(referrer))
            headers: Mapping[str, str] = {"origin": origin} if method == "POST" else {}
            async with self.client.request(method, url, data=fields, headers=headers, allow_redirects=False) as answer:
                text = await answer.text(errors="replace")
                where = answer.headers.get("location")
                if answer.status not in (301, 302, 303, 307, 308) or where is None:
                    return Page(url, answer.status, text)
                method, fields, referrer, url = "GET", None, url, urljoin(url, where)
                if url.startswith(self.client_address):
                    raise Arrived(url)
        raise RobotLost("too many redirects")
