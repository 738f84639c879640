"""The authorization server's profiles beside each other over real records: a customer who decides at once, clients that send what tests like."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.types import Message

from parley.authorization.linking import Approval
from parley.authorization.server.access import Access, Shown
from parley.authorization.server.doors import AuthorizationServer, server_doors
from parley.authorization.server.ending import OAuthEnding
from parley.authorization.server.errors import OAuthError
from parley.authorization.server.fapi import FAPI
from parley.authorization.server.link import ClientsOfPlatform, link_profile
from parley.authorization.server.mcp import MCP
from parley.authorization.server.ports import ClientRecords, Limits
from parley.authorization.server.profile import Profile
from parley.model.clients import Client, ClientProfile
from parley.model.grants import Grant
from parley.model.refusals import Refusal
from parley.model.words import Projection, Purpose
from parley.store import Records
from tests.fakes.consent import approval_of
from tests.fixtures_postgres import RecordsBench

PUBLIC = "https://gateway.example"
ASSISTANT = "assistant"
SECRET = "a-secret-of-256-bits-that-nobody-can-guess"
REDIRECTS = {
    ASSISTANT: "https://assistant.example/callback",
    "alexa": "https://pitangui.amazon.com/api/skill/link/M1",
    "google": "https://oauth-redirect.googleusercontent.com/r/project",
    "other-assistant": "https://other.example/callback",
}
VERIFIER = "v" * 43
UNTHROTTLED = (10_000.0, 100_000)


@dataclass
class Answer:
    """What a door answered."""

    status: int
    headers: dict[str, str]
    json: Any = field(repr=False)


@dataclass
class Makers:
    """Makes grants as the house does, without a log; remembers refusals. A policy that allows everything that exists."""

    bench: RecordsBench
    records: Records
    refusals: list[tuple[str, str]] = field(default_factory=list)

    async def approve(self, approval: Approval) -> tuple[Grant, ...]:
        plain = self.bench.grant(approval.customer, platform=approval.platform, channel=approval.channel)
        until = self.bench.now + timedelta(days=approval.days)
        grant = msgspec.structs.replace(plain, projections=approval.projections, expires_at=until)
        await self.records.join(approval.channel, approval.conversation, approval.customer, (grant,))
        return (grant,)

    async def end_grants(self, customer: str, grant_ids: tuple[str, ...]) -> None:
        for grant_id in grant_ids:
            await self.records.revoke_grant(grant_id, self.bench.now)

    def limits(self, platform: str, channel: str, purpose: Purpose) -> Limits:
        return Limits(frozenset(Projection), 90)

    async def refused(self, platform: str, channel: str, refusal: Refusal) -> None:
        self.refusals.append((platform, refusal.code))


class ProfilesHouse:
    """FAPI, assistants, Alexa and Google beside each other, as the app mounts them. `clients` stands before the records for assistants."""

    def __init__(self, bench: RecordsBench, records: Records, clients: ClientRecords | None = None, limits: tuple[float, int] = UNTHROTTLED) -> None:
        self.bench, self.records = bench, records
        self.limits = limits
        self.address = "192.0.2.1"
        self.makers = Makers(bench, records)
        self.faults: list[str] = []
        self.assistants = self._server(MCP, clients)
        self.alexa = self._server(link_profile("alexa"), ClientsOfPlatform(records, "alexa"))
        self.google = self._server(link_profile("google"), ClientsOfPlatform(records, "google"))
        self.fapi = self._server(FAPI, None)
        self.servers = (self.assistants, self.alexa, self.google, self.fapi)
        self.ending = OAuthEnding(records, self.makers, lambda: bench.now, clients=clients)
        self.app = Starlette(routes=[route for each in self.servers for route in server_doors(each, self.faults.append)])

    def _server(self, profile: Profile, clients: ClientRecords | None) -> AuthorizationServer:
        return AuthorizationServer(
            profile,
            public_url=PUBLIC,
            records=self.records,
            grants=self.makers,
            rules=self.makers,
            refusals=self.makers,
            keys=None,
            clock=lambda: self.bench.now,
            clients=clients,
            limits=self.limits,
        )

    async def settle(self) -> str:
        """Registered clients of every kind, and one customer of the bank. Returns her id."""
        for name in (ASSISTANT, "other-assistant"):
            await self.records.add_client(self.client(name, ClientProfile.MCP))
        for name in ("alexa", "google"):
            await self.records.add_client(self.client(name, ClientProfile.LINK, secret_hash=sha256(SECRET.encode()).digest()))
        return await self.customer("owner-1")

    async def customer(self, owner: str) -> str:
        return await self.records.save_bank_link("oakbank", owner, self.bench.tokens(), (self.bench.account(),))

    def client(self, name: str, profile: ClientProfile, **more: Any) -> Client:
        redirects = (REDIRECTS[name], "http://127.0.0.1/callback") if profile is ClientProfile.MCP else (REDIRECTS[name],)
        told = {"id": name, "profile": profile, "platform": name, "title": name.title(), "host": f"{name}.example"}
        return Client(**told, redirect_uris=redirects, created_at=self.bench.now, **more)

    # A client's way, in steps.

    def asked(self, name: str, **changes: str | None) -> dict[str, str]:
        """The parameters of an authorization request; None leaves one out."""
        params: dict[str, str | None] = {
            "response_type": "code",
            "client_id": name,
            "redirect_uri": REDIRECTS.get(name, ""),
            "state": "state-1",
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
            **changes,
        }
        return {key: value for key, value in params.items() if value is not None}

    async def allow(self, server: AuthorizationServer, customer: str, name: str, **changes: str | None) -> str:
        """The customer allows what the client asks for; the code that the client's address is given. Raises OAuthError, LookupError."""
        client = await server.gate.named(name)
        if client is None:
            raise LookupError(name)
        reference_hash, _, request = await server.requests.read(self.asked(name, **changes), client)
        await self.records.add_request(reference_hash, request)
        projections = frozenset(request.errand.projections or (Projection.BALANCE_AVAILABLE,))
        conversation = request.errand.conversation
        approval = approval_of(request.errand, conversation, customer=customer, projections=projections, decided_at=self.bench.now)
        told = query_of(await self.ending.allowed(approval) or "")
        if "code" not in told:
            raise LookupError(told.get("error", ""))
        return told["code"]

    async def post(self, path: str, fields: dict[str, str], *, basic: tuple[str, str] | None = None, **headers: str) -> Answer:
        sent = {"content-type": "application/x-www-form-urlencoded", **{key.replace("_", "-"): value for key, value in headers.items()}}
        if basic is not None:
            sent["authorization"] = "Basic " + b64encode(f"{basic[0]}:{basic[1]}".encode()).decode()
        return await self.send("POST", path, urlencode(fields).encode(), sent)

    async def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        messages: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            messages.append(message)

        scope = {
            "type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "scheme": "https",
            "server": ("gateway.example", 443), "client": (self.address, 4711),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        }  # fmt: skip
        await self.app(scope, receive, send)
        content = b"".join(bytes(each.get("body", b"")) for each in messages[1:])
        told = {name.decode(): value.decode("latin-1") for name, value in messages[0]["headers"]}
        return Answer(messages[0]["status"], told, json.loads(content) if content[:1] in (b"{", b"[") else content.decode())

    async def exchange(self, server: AuthorizationServer, name: str, code: str, **changes: str | None) -> Answer:
        told: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": name,
            "redirect_uri": REDIRECTS.get(name, ""),
            "code_verifier": VERIFIER,
            **changes,
        }
        fields = {key: value for key, value in told.items() if value is not None}
        return await self.post(f"{server.profile.path}/token", fields, basic=secret_of(server, name))

    async def renew(self, server: AuthorizationServer, name: str, refresh_token: str, **changes: str) -> Answer:
        fields = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": name, **changes}
        return await self.post(f"{server.profile.path}/token", fields, basic=secret_of(server, name))

    async def tokens(self, server: AuthorizationServer, customer: str, name: str, **changes: str | None) -> dict[str, Any]:
        code = await self.allow(server, customer, name, **changes)
        redirect = changes.get("redirect_uri") or REDIRECTS.get(name, "")
        answer = await self.exchange(server, name, code, redirect_uri=redirect)
        if answer.status != 200:
            raise LookupError(str(answer.json))
        return dict(answer.json)

    async def opens(self, server: AuthorizationServer, token: str, scheme: str = "Bearer") -> Access | None:
        """What a token opens at a profile's resource; None for nothing."""
        try:
            return await server.tokens.grant_from_token(Shown(scheme, token, (), "POST", server.resource))
        except OAuthError:
            return None


def secret_of(server: AuthorizationServer, name: str) -> tuple[str, str] | None:
    return (name, SECRET) if server.profile.kind is ClientProfile.LINK else None


def challenge_of(verifier: str) -> str:
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def query_of(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query))


def random_token() -> str:
    return secrets.token_urlsafe(32)


def told(bench: RecordsBench, story: Callable[[ProfilesHouse, str], Awaitable[None]]) -> None:
    """Tell a story of (house, customer) over opened records."""

    async def whole(records: Records) -> None:
        house = ProfilesHouse(bench, records)
        await story(house, await house.settle())
        assert house.faults == []

    bench.run(whole)
