"""The customer's page in this process, over real records: with a clock to turn, a log that proves what it is told to, and no browser."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.types import Message

from parley.authorization.sessions import Sessions, Throttle
from parley.authorization.sign_ins import SignIns
from parley.console.customer import CustomerSettings, customer_routes
from parley.console.customer.ports import House
from parley.console.passkeys import PasskeySite
from parley.model.customers import SignInMethod
from parley.model.grants import Grant
from parley.store import Records

ORIGIN = "https://chat.bank.example"


@dataclass
class Kept:
    """What the page asked of whoever keeps grants."""

    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    async def pause(self, customer: str, platform: str | None) -> int:
        self.asked.append(("pause", customer, platform))
        return 1

    async def resume(self, customer: str, platform: str | None) -> int:
        self.asked.append(("resume", customer, platform))
        return 1

    async def stop_platform(self, customer: str, platform: str | None) -> int:
        self.asked.append(("stop", customer, platform))
        return 1

    async def erase(self, customer: str) -> None:
        self.asked.append(("erase", customer, None))


@dataclass(frozen=True)
class Seen:
    status: int
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def cookie(self, name: str) -> str:
        found = [value for key, value in self.headers if key == "set-cookie" and value.startswith(f"{name}=")]
        return found[-1].split(";")[0].partition("=")[2] if found else ""


class PageHouse:
    """`receipts`: (customer, index) to the text that the log would prove."""

    def __init__(self, records: Records, clock: Any, titles: Mapping[str, str] | None = None) -> None:
        self.records = records
        self.clock = clock
        self.keeper = Kept()
        self.receipts: dict[tuple[str, int], str] = {}
        self.faults: list[str] = []
        self.sign_ins = SignIns(records, secure=True, clock=clock)
        self.sessions = Sessions(records, secure=True, clock=clock, throttle=Throttle(per_second=1000, burst=10_000))
        self.site = PasskeySite.at(ORIGIN, "Brook Bank")
        self.admitting = True

        async def receipt(customer: str, index: int) -> str | None:
            return self.receipts.get((customer, index))

        async def record(grant: Grant) -> bytes:
            return f'{{"grant":"{grant.id}"}}'.encode()

        async def called() -> Mapping[str, str]:
            return titles or {}

        async def nothing(customer: str) -> None:
            return None

        house = House(
            records=records,
            sign_ins=self.sign_ins,
            visitors=self.sessions,
            keeper=self.keeper,
            receipt=receipt,
            consent_record=record,
            titles=called,
            log_vkey="log.example/demo+1a2b3c4d+AAAA",
            admits=lambda client: self.admitting,
            clock=clock,
            chance=secrets.token_bytes,
            catch_up=nothing,
        )
        settings = CustomerSettings(ORIGIN, "Brook Bank", "privacy@brook.example", UTC, self.site)
        self.app = Starlette(routes=customer_routes(house, settings, on_fault=self.faults.append))

    def browser(self) -> PageBrowser:
        return PageBrowser(self)


class PageBrowser:
    """One browser: its cookies, and the token that its page shows."""

    def __init__(self, house: PageHouse) -> None:
        self.house = house
        self.cookies: dict[str, str] = {}
        self.csrf = ""

    async def sign_in(self, customer: str, method: SignInMethod = SignInMethod.BANK) -> None:
        """As the return from the bank does it."""
        cookie = await self.house.sign_ins.arrived(customer, method, self._headers())
        self._keep(cookie)
        found = await self.house.sign_ins.find(self._headers())
        assert found is not None
        self.csrf = found.csrf

    async def visit(self) -> None:
        """The sign-in page, as anybody sees it."""
        seen = await self.get("/me")
        self.csrf = seen.text.partition('data-csrf="')[2].partition('"')[0]

    async def get(self, path: str) -> Seen:
        return await self.send("GET", path)

    async def post(self, path: str, _fields: Mapping[str, str] | None = None, **more: Any) -> Seen:
        body = urlencode({"csrf": self.csrf, **(_fields or {})}).encode()
        return await self.send("POST", path, body, {"content-type": "application/x-www-form-urlencoded", **more})

    async def json(self, path: str, body: bytes, **more: Any) -> Seen:
        return await self.send("POST", path, body, {"content-type": "application/json", "x-parley-csrf": self.csrf, **more})

    async def send(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Seen:
        told = {**self._headers(), "origin": ORIGIN, **(headers or {})}
        where, _, query = path.partition("?")
        messages: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def answer(message: Message) -> None:
            messages.append(message)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": where, "raw_path": where.encode(),
            "root_path": "", "query_string": query.encode(), "scheme": "https", "server": ("chat.bank.example", 443), "client": ("192.0.2.7", 4711),
            "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in told.items() if value],
        }  # fmt: skip
        await self.house.app(scope, receive, answer)
        start = messages[0]
        kept = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
        for name, value in kept:
            if name == "set-cookie":
                self._keep(value)
        text = b"".join(bytes(each.get("body", b"")) for each in messages[1:]).decode(errors="replace")
        return Seen(start["status"], kept, text)

    def _keep(self, cookie: str) -> None:
        name, _, value = cookie.split(";")[0].partition("=")
        self.cookies[name] = value

    def _headers(self) -> dict[str, str]:
        return {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()), "user-agent": "Mozilla/5.0 (X11; Linux) Firefox/130"}
