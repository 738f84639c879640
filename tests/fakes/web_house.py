"""A small real house for the web pages: records in memory that behave like records, a bank that is another web site, a steerable clock."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any
from urllib.parse import parse_qsl, urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from parley.authorization.consent_text import ConsentOffer
from parley.authorization.grants import ChatEnding
from parley.authorization.linking import Approval, LinkingDesk
from parley.authorization.pages import LinkingSettings, authorization_routes
from parley.authorization.pairing import PairingDesk
from parley.authorization.sessions import Sessions, Throttle
from parley.channels.web import ERROR_HANDLERS, LinkState, Protected, Reply, WebSettings, Why, web_routes
from parley.model.extensions import Channel
from parley.model.grants import BankTokens, Budget, Grant
from parley.model.ledger import AccountKind, AccountStatus, Discreet, LinkedAccount
from parley.model.linking import Asker, ConsentAttempt, Errand, LinkAttempt, Origin, Pairing, Session
from parley.model.refusals import BankTimeout, LinkExpired, LogUnavailable, NotConsented, NotLinked, NotUnderstood, PurposeForbidden, ReplayedMessage
from parley.model.stages import AnswerLine, Envelope
from parley.model.words import Delivery, Projection, Provenance, Purpose

START = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)
RECEIPT = "c2sp.org/tlog-proof@v1\nextra AAAA\nindex 41\n\nlog.example/demo\n42\nAAAA\n\n— log.example/demo AAAA\n"


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, span: timedelta) -> None:
        self.now += span


class MemoryRecords:
    """Sessions and linking as the ports promise them: taken once, gone when expired. Not durable, which no test here needs."""

    def __init__(self) -> None:
        self.sessions: dict[bytes, Session] = {}
        self.attempts: dict[bytes, LinkAttempt] = {}
        self.consents: dict[bytes, ConsentAttempt] = {}
        self.pairings: dict[bytes, Pairing] = {}
        self.links: dict[str, tuple[str, BankTokens, tuple[LinkedAccount, ...]]] = {}
        self.lost: set[str] = set()
        self.given_back: list[BankTokens] = []

    async def add_session(self, session: Session) -> None:
        self.sessions[session.token_hash] = session

    async def find_session(self, token_hash: bytes, now: datetime) -> Session | None:
        found = self.sessions.get(token_hash)
        return found if found is not None and now < found.expires_at else None

    async def end_session(self, token_hash: bytes) -> None:
        self.sessions.pop(token_hash, None)

    async def add_attempt(self, attempt: LinkAttempt) -> None:
        self.attempts[attempt.state_hash] = attempt

    async def take_attempt(self, state_hash: bytes, now: datetime) -> LinkAttempt | None:
        found = self.attempts.pop(state_hash, None)
        return found if found is not None and now < found.expires_at else None

    async def add_consent_attempt(self, attempt: ConsentAttempt) -> None:
        self.consents[attempt.token_hash] = attempt

    async def take_consent_attempt(self, token_hash: bytes, now: datetime) -> ConsentAttempt | None:
        found = self.consents.pop(token_hash, None)
        return found if found is not None and now < found.expires_at else None

    async def add_pairing(self, pairing: Pairing) -> None:
        self.pairings[pairing.token_hash] = pairing

    async def take_pairing(self, token_hash: bytes, now: datetime) -> Pairing | None:
        found = self.pairings.pop(token_hash, None)
        return found if found is not None and now < found.expires_at else None

    async def peek_pairing(self, token_hash: bytes, now: datetime) -> Pairing | None:
        found = self.pairings.get(token_hash)
        return found if found is not None and now < found.expires_at else None

    async def save_bank_link(self, bank: str, owner: str, tokens: BankTokens, accounts: tuple[LinkedAccount, ...]) -> str:
        customer = f"customer-of-{owner}"
        with_refs = tuple(
            LinkedAccount(f"{index:016x}", a.bank, a.native_id, a.kind, a.name, a.mask, a.currency, a.status) for index, a in enumerate(accounts)
        )
        self.links[customer] = (bank, tokens, with_refs)
        self.lost.discard(customer)
        return customer

    async def bank_accounts(self, customer: str) -> tuple[LinkedAccount, ...]:
        return self.links[customer][2]

    async def bank_tokens(self, customer: str) -> tuple[str, BankTokens] | None:
        return None if customer in self.lost or customer not in self.links else self.links[customer][:2]

    async def update_tokens(self, customer: str, tokens: BankTokens, *, instead_of: BankTokens | None = None) -> BankTokens:
        bank, held, accounts = self.links[customer]
        if instead_of is not None and held != instead_of:
            return held
        self.links[customer] = (bank, tokens, accounts)
        return tokens

    async def mark_link_lost(self, customer: str) -> None:
        self.lost.add(customer)

    async def join(self, channel: str, conversation: str, customer: str, grants: tuple[Grant, ...]) -> None:
        raise NotImplementedError

    async def grants_of(self, customer: str, *, active_only: bool, now: datetime) -> tuple[Grant, ...]:
        return ()

    async def customer_of(self, channel: str, conversation: str) -> str | None:
        raise NotImplementedError

    async def let_go(self, customer: str, now: datetime) -> None:
        if customer not in self.lost and customer in self.links:
            self.given_back.append(self.links[customer][1])
        self.lost.add(customer)


class Trip(Discreet, frozen=True):
    url: str
    state: str
    verifier: str
    expires_at: datetime


def account(name: str, mask: str, kind: AccountKind = AccountKind.CHECKING, status: AccountStatus = AccountStatus.OPEN) -> LinkedAccount:
    return LinkedAccount("", "brook", f"native-{mask}", kind, name, mask, "USD", status)


ACCOUNTS = (
    account("Everyday", "4417"),
    account("Rainy day", "0932", AccountKind.SAVINGS),
    account("Travel card", "7710", AccountKind.CREDIT_CARD),
)


class BankNextDoor:
    """The bank's side of linking, with a page of its own on another site. `fail_with` is raised by `finish`; `finished` counts calls."""

    name = "brook"

    def __init__(self, clock: Clock, accounts: tuple[LinkedAccount, ...] = ACCOUNTS) -> None:
        self.clock = clock
        self.chosen = accounts
        self.origin = ""
        self.back = ""
        self.codes: dict[str, str] = {}
        self.finished = 0
        self.revoked: list[str] = []
        self.fail_with: Exception | None = None

    async def begin(self) -> Trip:
        state = secrets.token_urlsafe(24)
        url = f"{self.origin}/authorize?" + urlencode({"state": state})
        return Trip(url, state, secrets.token_urlsafe(32), self.clock() + timedelta(minutes=10))

    async def finish(self, params: Sequence[tuple[str, str]], state: str, verifier: str) -> BankTokens:
        self.finished += 1
        if self.fail_with is not None:
            raise self.fail_with
        code = dict(params).get("code")
        if dict(params).get("error") == "access_denied":
            raise NotConsented("test")
        if code is None or self.codes.pop(code, None) != state:
            raise LinkExpired("no such code")
        return BankTokens(f"access-{code}", None, self.clock() + timedelta(minutes=15), None, "")

    async def owner(self, tokens: BankTokens) -> str:
        return "ada"

    async def accounts(self, tokens: BankTokens) -> tuple[LinkedAccount, ...]:
        return self.chosen

    async def revoke(self, tokens: BankTokens) -> None:
        self.revoked.append(tokens.access_token)

    def issue(self, state: str) -> str:
        code = secrets.token_urlsafe(16)
        self.codes[code] = state
        return code

    def site(self) -> ASGIApp:
        async def authorize(request: Request) -> Response:
            state = escape(request.query_params.get("state", ""))
            return HTMLResponse(
                f"<!doctype html><title>Brook Bank</title><link rel=icon href=data:,>"
                f"<form method=post action=/authorize><input type=hidden name=state value='{state}'>"
                "<button name=go value=yes>Sign in</button><button name=go value=no>Cancel</button></form>"
            )

        async def decide(request: Request) -> Response:
            form = dict(parse_qsl((await request.body()).decode()))
            state = form["state"]
            answer = {"code": self.issue(state)} if form["go"] == "yes" else {"error": "access_denied"}
            return RedirectResponse(f"{self.back}?" + urlencode({**answer, "state": state}), status_code=303)

        return Starlette(routes=[Route("/authorize", authorize, methods=["GET"]), Route("/authorize", decide, methods=["POST"])])


class Desk:
    """Answers by keyword from fixed figures; what is under test is the page, not the road."""

    def __init__(self) -> None:
        self.approvals: list[Approval] = []
        self.joined: dict[str, datetime] = {}
        self.asked: list[str] = []
        self.ids: list[str] = []
        self.receipts: dict[tuple[str, int], str] = {}
        self.seen: set[tuple[str, str]] = set()
        self.approval_fails = False

    async def approve(self, approval: Approval) -> None:
        if self.approval_fails:
            raise LogUnavailable("test")
        self.approvals.append(approval)
        self.joined[approval.conversation] = approval.decided_at + timedelta(days=approval.days)

    async def answer(self, envelope: Envelope, channel: Channel) -> Reply:
        question = channel.open(envelope)
        self.asked.append(question.text)
        self.ids.append(question.message_id)
        if question.purpose_named == "advertising":
            raise PurposeForbidden("test")
        if question.text == "stop":
            return await self.stop(question.conversation)
        if "explode" in question.text:
            raise ZeroDivisionError("a secret 4417 in an exception")
        if "slow bank" in question.text:
            raise BankTimeout("test")
        if (question.conversation, question.message_id) in self.seen:
            raise ReplayedMessage("test")
        if "weather" in question.text:
            raise NotUnderstood
        if question.conversation not in self.joined:
            return Reply("refused", NotLinked.code, NotLinked.plain_words, wish="balance")
        self.seen.add((question.conversation, question.message_id))
        self.receipts[(question.conversation, 41)] = RECEIPT
        return _figures(question.text)

    async def stop(self, conversation: str) -> Reply:
        self.joined.pop(conversation, None)
        return Reply("answered", "stopped", "Sharing has stopped. Nothing about your accounts is answered here any more.")

    async def receipt(self, conversation: str, index: int) -> str | None:
        return self.receipts.get((conversation, index))

    async def state(self, conversation: str) -> LinkState:
        until = self.joined.get(conversation)
        return LinkState(until is not None, until)


def _figures(text: str) -> Reply:
    rows: tuple[AnswerLine, ...] = (AnswerLine("Everyday ··4417", "$2,417.08"), AnswerLine("Rainy day ··0932", "$11,300.00"))
    left = Projection.BALANCE_AVAILABLE
    words = "You have $2,417.08 in Everyday and $11,300.00 in Rainy day."
    if "afford" in text:
        rows, words, left = (), "Yes, you can afford $640.00.", Projection.AFFORD_YESNO
    elif "markup" in text:
        rows, words = (AnswerLine("<img src=x onerror=alert(1)>", "</dd><script>alert(1)</script>"),), "<b onclick=alert(1)>bold</b>"
    elif "spend" in text or "transactions" in text:
        rows = (
            AnswerLine("27 Feb · Corner Grocery", "−$84.12"),
            AnswerLine("26 Feb · Salary", "$3,150.00"),
            AnswerLine("25 Feb · City Transit", "−$2.90"),
            AnswerLine("24 Feb · Blue Door Books (pending)", "−$31.50"),
        )
        words, left = "Your last four transactions:", Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT
    why = Why(
        purpose="To answer a question that you asked about your own accounts.",
        what_left=left.plain_words,
        policy="9f2c1ab47d5e0c3388aa",
        platform="Brook Bank web chat",
        channel="web",
        log_index=41,
        recorded_at=START,
        receipt=RECEIPT,
        receipt_url="/chat/receipts/41",
    )
    return Reply("answered", "answered", words, rows, why=why, ms={"total": 1.0})


OFFER = ConsentOffer(
    platform_title="Brook Bank web chat",
    bank_title="Brook Bank",
    purposes=(Purpose.ANSWER_CUSTOMER,),
    projections=tuple(Projection),
    needed_for={"balance": Projection.BALANCE_AVAILABLE, "afford": Projection.AFFORD_YESNO},
    delivery=Delivery.INLINE,
    lookback_days=90,
    provenance=Provenance.ANY,
    budget=Budget(50, 500),
    contact="privacy@brook.example, +1 555 0100",
)


@dataclass
class Offers:
    """What the bank offers on every errand: one offer, which a test may change while a page is open."""

    offer: ConsentOffer

    def __call__(self, errand: Errand) -> ConsentOffer:
        return self.offer


@dataclass
class House:
    """Everything of one running house. `origin` is where its pages are."""

    origin: str
    clock: Clock
    records: MemoryRecords
    bank: BankNextDoor
    desk: Desk
    sessions: Sessions
    linking: LinkingDesk
    offers: Offers
    app: ASGIApp
    faults: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.origin.rsplit(":", 1)[1])


def build_house(origin: str, *, throttle: Throttle | None = None, **changes: Any) -> House:
    clock, records, desk = Clock(), MemoryRecords(), Desk()
    bank = BankNextDoor(clock, changes.pop("accounts", ACCOUNTS))
    secure = origin.startswith("https://")
    sessions = Sessions(records, secure=secure, clock=clock, throttle=throttle or Throttle(per_second=1000, burst=100_000))
    offers = Offers(changes.pop("offer", OFFER))
    linking = LinkingDesk(
        records=records,
        sessions=sessions,
        door=bank,
        home=Errand(Origin.CHAT, "web", "web", Asker("Brook Bank web chat")),
        offers=offers,
        endings={Origin.CHAT: ChatEnding(desk.approve), **changes.pop("endings", {})},
        clock=clock,
    )
    pairing = PairingDesk(records=records, session_records=records, sessions=sessions, clock=clock)
    contact = OFFER.contact
    examples = ("What’s my balance?", "Can I afford $640?", "Show my last transactions")
    web = WebSettings(origin, "web", "Brook Bank", examples, "log.example/demo+1a2b3c4d+AAAA", contact)
    faults: list[str] = []
    routes = [
        *web_routes(desk=desk, sessions=sessions, settings=web, clock=clock, on_fault=faults.append),
        *authorization_routes(
            linking=linking,
            pairing=pairing,
            sessions=sessions,
            settings=LinkingSettings(origin, "Brook Bank", contact),
            clock=clock,
            trips=Throttle(per_second=1000, burst=100_000),
            on_fault=faults.append,
        ),
    ]
    bank.back = f"{origin}/link/callback"
    app = Protected(
        Starlette(routes=routes, exception_handlers=dict(ERROR_HANDLERS)),
        public_origin=origin,
        bank_origins=changes.pop("bank_origins", ()),
        on_fault=faults.append,
    )
    return House(origin, clock, records, bank, desk, sessions, linking, offers, app, faults)


@contextmanager
def served(app: ASGIApp, listener: socket.socket) -> Iterator[None]:
    """Runs an app on a listening socket, in a thread of its own, until the block ends."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", server_header=False, date_header=False))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def listen() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    return listener


@contextmanager
def running_house(**changes: Any) -> Iterator[House]:
    """A house and its bank, each on a port of its own. The bank is called localhost: another site than 127.0.0.1, as banks are."""
    ours, theirs = listen(), listen()
    bank_origin = f"http://localhost:{theirs.getsockname()[1]}"
    house = build_house(f"http://127.0.0.1:{ours.getsockname()[1]}", bank_origins=(bank_origin,), **changes)
    house.bank.origin = bank_origin
    with served(house.bank.site(), theirs), served(house.app, ours):
        yield house
