"""The authorization server of one profile with everything real behind it but bank and notary: records on SQLite, sessions, linking, grants.

It runs on a thread and a loop of its own under a clock that a test moves.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode, urlsplit

import uvicorn
from starlette.applications import Starlette

from parley.authorization.consent_text import offer_for
from parley.authorization.grants import ChatEnding, GrantDesk
from parley.authorization.linking import LinkingDesk
from parley.authorization.pages.render import Pages
from parley.authorization.pages.routes import LinkingSettings, authorization_routes
from parley.authorization.pairing import PairingDesk
from parley.authorization.server.asking import asking_doors
from parley.authorization.server.doors import AuthorizationServer, server_doors
from parley.authorization.server.ending import OAuthEnding
from parley.authorization.server.fapi import FAPI
from parley.authorization.server.ports import Limits
from parley.authorization.server.profile import Profile
from parley.authorization.server.registration import Registration, registered
from parley.authorization.sessions import Sessions, Throttle
from parley.channels.web import ERROR_HANDLERS, Protected
from parley.model.clients import Client, ClientProfile
from parley.model.linking import Asker, Errand, Origin
from parley.model.refusals import LogUnavailable, Refusal
from parley.model.words import Projection, Purpose
from parley.proof import Inclusion
from parley.store import FileKeyRing, Records, open_records
from tests.fakes.partner import Partner, answer_in
from tests.fakes.visitor import FORM, Seen, Visitor
from tests.fakes.web_house import ACCOUNTS, OFFER, BankNextDoor, Clock, listen, served

T = TypeVar("T")


class QuietLog:
    """Counts what it is told; `down` makes it refuse."""

    def __init__(self) -> None:
        self.opened: list[bytes] = []
        self.closed: list[bytes] = []
        self.down = False

    async def open_grant(self, entry: bytes, side: bytes, *, handle: bytes, version: int) -> Inclusion:
        if self.down:
            raise LogUnavailable("test")
        self.opened.append(entry)
        return Inclusion(len(self.opened), b"", ())

    async def close_grant(self, entry: bytes, side: bytes, *, handle: bytes) -> Inclusion:
        self.closed.append(handle)
        return Inclusion(1000 + len(self.closed), b"", ())


@dataclass
class EveryRule:
    """A policy that allows balances and yes or no, thirty days back."""

    projections: frozenset[Projection] = frozenset({Projection.BALANCE_AVAILABLE, Projection.AFFORD_YESNO})
    days: int = 90

    def limits(self, platform: str, channel: str, purpose: Purpose) -> Limits:
        return Limits(self.projections, self.days)


@dataclass
class Refusals:
    noted: list[tuple[str, str, str]] = field(default_factory=list)

    async def refused(self, platform: str, channel: str, refusal: Refusal) -> None:
        self.noted.append((platform, channel, refusal.code))


@dataclass
class OAuthHouse:
    """`origin` is the public address. `records` may be asked through `run` only."""

    origin: str
    clock: Clock
    bank: BankNextDoor
    log: QuietLog
    rules: EveryRule
    refusals: Refusals
    records: Records
    server: AuthorizationServer
    grants: GrantDesk
    faults: list[str]
    signed_in: dict[str, str]
    loop: asyncio.AbstractEventLoop

    def run(self, work: Awaitable[T]) -> T:
        async def waited() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(waited(), self.loop).result(30)

    @property
    def issuer(self) -> str:
        return self.server.issuer

    def seconds(self) -> float:
        return self.clock().timestamp()

    def partner(self, name: str = "partner", **changes: Any) -> Partner:
        """A registered client with keys of its own, on a platform of its own."""
        partner = Partner(self.issuer, client_id=name, clock=self.seconds, **changes)
        self.register(partner)
        return partner

    def register(self, partner: Partner, **changes: Any) -> Client:
        platform, redirects = f"platform-{partner.client_id}", (partner.redirect_uri,)
        asked = Registration(partner.client_id, ClientProfile.FAPI, platform, "A partner", "partner.example", redirects, partner.jwks)
        client, _ = registered(replace(asked, **changes), (), self.clock())
        self.run(self.records.add_client(client))
        return client

    # What a program sends.

    def post(self, path: str, params: dict[str, Any], **headers: str) -> Seen:
        sent = {"content-type": FORM} | {name.replace("_", "-"): value for name, value in headers.items()}
        return Visitor(self.origin).send("POST", f"{self.server.profile.path}{path}", urlencode(params, doseq=True).encode(), sent)

    def push(self, partner: Partner, **changes: Any) -> Seen:
        return self.post("/par", partner.authenticated(partner.asked(**changes)))

    def pushed(self, partner: Partner, **changes: Any) -> str:
        seen = self.push(partner, **changes)
        assert seen.status == 201, seen.text
        return str(seen.json["request_uri"])

    def token(self, partner: Partner, params: dict[str, Any], *, proof: str | None = None, **changes: Any) -> Seen:
        shown = proof if proof is not None else partner.proof("POST", f"{self.issuer}/token")
        return self.post("/token", partner.authenticated(params, **changes), **({"dpop": shown} if shown else {}))

    # What a customer does.

    def to_consent(self, url: str, visitor: Visitor | None = None) -> tuple[Visitor, Seen]:
        """From the client's link over our page and the bank to the consent page."""
        visitor = visitor or Visitor(self.origin)
        page = visitor.get(url.removeprefix(self.origin))
        assert page.status == 200, page.text
        way = visitor.post_form(f"{self.server.profile.path}/authorize", asking_fields(page))
        assert way.status == 303, way.text
        state = parse_qs(urlsplit(way.location).query)["state"][0]
        assert visitor.come_back(state, self.bank.issue(state)).location == "/consent"
        return visitor, visitor.get("/consent")

    def allow(self, partner: Partner, request_uri: str | None = None, **changes: Any) -> dict[str, str]:
        """What the client is told after its customer decided."""
        visitor, page = self.to_consent(partner.authorize_url(request_uri or self.pushed(partner)))
        done = visitor.post_form("/consent", visitor.consent_fields(page, **changes))
        assert done.status == 303, done.text
        assert done.location.startswith(partner.redirect_uri), done.location
        return answer_in(done.location)

    def tokens(self, partner: Partner, **changes: Any) -> dict[str, Any]:
        """The whole flow, to the token answer."""
        code = self.allow(partner, self.pushed(partner, **changes))["code"]
        seen = self.token(partner, partner.redeeming(code))
        assert seen.status == 200, seen.text
        return dict(seen.json)

    def show(self, partner: Partner, token: str, path: str, method: str = "GET", *, scheme: str = "DPoP", proof: str | None = None) -> Seen:
        """A token shown at one of the server's own resources."""
        url = f"{self.issuer}{path}"
        headers = {"authorization": f"{scheme} {token}", "dpop": partner.proof(method, url, token) if proof is None else proof}
        return Visitor(self.origin).send(method, f"{self.server.profile.path}{path}", None, {name: value for name, value in headers.items() if value})


def asking_fields(page: Seen, decision: str = "go") -> dict[str, str]:
    return {name: page.hidden(name) for name in ("csrf", "client_id", "request_uri")} | {"decision": decision}


@contextmanager
def oauth_house(folder: Path, profile: Profile = FAPI, *, limits: tuple[float, int] = (1000.0, 100_000)) -> Iterator[OAuthHouse]:
    ours, theirs = listen(), listen()
    origin, bank_origin = (f"http://127.0.0.1:{ours.getsockname()[1]}", f"http://localhost:{theirs.getsockname()[1]}")
    clock, log, rules, refusals, faults = Clock(), QuietLog(), EveryRule(), Refusals(), []
    signed_in: dict[str, str] = {}

    async def fresh_customer(headers: Mapping[str, str]) -> str | None:
        """Whoever a test has signed in, in browsers that say so."""
        return signed_in.get(headers.get("x-test-browser", ""))

    bank = BankNextDoor(clock, ACCOUNTS)
    bank.origin, bank.back = bank_origin, f"{origin}/link/callback"
    ready = threading.Event()
    made: list[OAuthHouse] = []
    stop: list[uvicorn.Server] = []

    async def live() -> None:
        records = await open_records(f"sqlite:///{folder / 'records.sqlite'}", FileKeyRing(folder / "keys"), clock)
        made.append(await build(records))
        ready.set()
        try:
            await stop[0].serve(sockets=[ours])
        finally:
            await records.aclose()

    async def build(records: Records) -> OAuthHouse:
        grants = GrantDesk(records=records, log=log, platform="web", policy_digest=lambda: "p" * 64, clock=clock, random_bytes=secrets.token_bytes)
        server = AuthorizationServer(
            profile, public_url=origin, records=records, grants=grants, rules=rules, refusals=refusals, keys=None, clock=clock, limits=limits
        )
        sessions = Sessions(records, secure=False, clock=clock, throttle=Throttle(per_second=1000, burst=100_000))
        linking = LinkingDesk(
            records=records,
            sessions=sessions,
            door=bank,
            home=Errand(Origin.CHAT, "web", "web", Asker("Chat")),
            offers=lambda errand: offer_for(OFFER, errand),
            endings={Origin.CHAT: ChatEnding(grants.approve), profile.origin: OAuthEnding(records, grants, clock)},
            clock=clock,
        )
        pairing = PairingDesk(records=records, session_records=records, sessions=sessions, clock=clock)
        trips = Throttle(per_second=1000, burst=100_000)
        routes = [
            *server_doors(server, faults.append),
            *asking_doors(
                server,
                linking=linking,
                sessions=sessions,
                pages=Pages("Brook Bank", "privacy@brook.example"),
                bank_origins=[bank_origin],
                signed_in=fresh_customer,
                clock=clock,
                on_fault=faults.append,
                trips=trips,
            ),
            *authorization_routes(
                linking=linking,
                pairing=pairing,
                sessions=sessions,
                settings=LinkingSettings(origin, "Brook Bank", "privacy@brook.example"),
                clock=clock,
                trips=trips,
                on_fault=faults.append,
            ),
        ]
        app = Protected(Starlette(routes=routes, exception_handlers=dict(ERROR_HANDLERS)), public_origin=origin, bank_origins=(bank_origin,))
        stop.append(uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", server_header=False, date_header=False)))
        return OAuthHouse(origin, clock, bank, log, rules, refusals, records, server, grants, faults, signed_in, asyncio.get_running_loop())

    thread = threading.Thread(target=lambda: asyncio.run(live()), daemon=True)
    with served(bank.site(), theirs):
        thread.start()
        if not ready.wait(30):
            raise RuntimeError("the house did not open")
        try:
            yield made[0]
        finally:
            stop[0].should_exit = True
            thread.join(10)
            ours.close()
