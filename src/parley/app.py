"""Puts the house together: the only module that knows every other. `python -m parley.app` is one gateway process."""

from __future__ import annotations

import argparse
import asyncio
import gc
import secrets
import socket
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit

import structlog
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from parley import __version__
from parley.authorization.bank_client import BankClient, BankClientSettings
from parley.authorization.bank_door import LinkedBank
from parley.authorization.client_key import BadKeyFile, ClientKey
from parley.authorization.consent_text import DAYS_OFFERED, PURPOSE_WORDS, ConsentOffer
from parley.authorization.credentials import BankCredentials
from parley.authorization.grants import GrantDesk
from parley.authorization.linking import LinkingDesk, PairingDesk
from parley.authorization.pages.routes import LinkingSettings, authorization_routes
from parley.authorization.sessions import Sessions
from parley.banks.fdx import FdxBank, FdxSettings
from parley.banks.transport import AiohttpTransport
from parley.channels.web import ERROR_HANDLERS, LinkState, Protected, Reply, WebSettings, Why, web_routes
from parley.channels.web.reply import reply_to_failure
from parley.log.client import NotaryClient
from parley.log.errors import GrantChanged, GrantClosed, LogError, LogRefused
from parley.model.extensions import Channel, Offering, OfferingCard
from parley.model.grants import Budget
from parley.model.refusals import Fault, GrantRevoked, LogUnavailable, Refusal, StopAsked
from parley.model.stages import Envelope, Slots
from parley.model.stages import Release as FinishedRelease
from parley.model.words import Delivery, Provenance
from parley.offerings import load_offerings
from parley.policy import Policy, PolicyRejected, load_policy
from parley.proof import Inclusion, Verifier, format_receipt
from parley.release.entries import build_entry, open_private, policy_entry
from parley.release.pipeline import House, Released, release
from parley.settings import BankSettings, Settings, SettingsRejected, load_settings
from parley.store import FileKeyRing, KeysUnsafe, Records, open_records
from parley.understanding import KeywordUnderstanding

EXIT_LOOK = 78
"""EX_CONFIG: starting again will not help, a person has to look. The supervisor does not restart after it."""

VKEY_SECONDS_MAX = 15.0
REVOCATION_PERIOD_SECONDS = 2.0
PRUNE_PERIOD_SECONDS = 60.0
CONNECTIONS_MAX = 2048
REQUEST_SECONDS_MAX = 10.0
SAMPLE = Slots(amount=Decimal(1))
"""A question that names all that any offering asks for: tells which projection it cannot do without."""
HEAD_BYTES_MAX = 64 * 1024

diagnostics = structlog.get_logger("parley")
"""What operators read. It carries codes, counts and type names: never a value, a text, a token or an account."""


class HouseLog:
    """The notary as the road and the grants see it: its errors in the house's own words."""

    def __init__(self, client: NotaryClient) -> None:
        self._client = client

    async def record(self, entry: bytes, side: bytes, *, handle: bytes | None, version: int | None) -> Inclusion:
        with_words = self._client.record(entry, side, handle=handle, version=version)
        return await translated(with_words)

    async def open_grant(self, entry: bytes, side: bytes, *, handle: bytes, version: int) -> Inclusion:
        return await translated(self._client.open_grant(entry, side, handle=handle, version=version))

    async def close_grant(self, entry: bytes, side: bytes, *, handle: bytes) -> Inclusion:
        return await translated(self._client.close_grant(entry, side, handle=handle))


async def translated(call: Awaitable[Inclusion]) -> Inclusion:
    """Raises GrantRevoked where the notary holds another version of the grant, LogUnavailable for everything else that it says no to."""
    try:
        return await call
    except (GrantChanged, GrantClosed):
        raise GrantRevoked() from None
    except LogRefused as refused:
        raise LogUnavailable(f"the log refused: {refused.code}") from None
    except LogError as error:
        raise LogUnavailable(error.code) from None


class WebDesk:
    """Implements the web chat's ChatDesk: questions go down the road, the rest to grants and receipts."""

    def __init__(self, house: House, records: Records, notary: NotaryClient, grants: GrantDesk, settings: Settings) -> None:
        self._house = house
        self._records = records
        self._notary = notary
        self._grants = grants
        self._platform_name = settings.platform_name

    async def answer(self, envelope: Envelope, channel: Channel) -> Reply:
        outcome = await release(envelope, channel, self._house)
        if isinstance(outcome, Released):
            return self._reply(outcome)
        if isinstance(outcome.reason, StopAsked) and outcome.question is not None:
            return await self.stop(outcome.question.conversation)
        if isinstance(outcome.reason, Fault):
            diagnostics.warning("fault", code=outcome.reason.code, detail=outcome.reason.detail)
        reply = reply_to_failure(outcome.reason, self.examples)
        wish = getattr(outcome.reason, "wish", None)
        return Reply(reply.outcome, reply.code, reply.text, suggestions=reply.suggestions, wish=wish, ms=outcome.laps)

    async def stop(self, conversation: str) -> Reply:
        customer = await self._records.customer_of("web", conversation)
        ended = await self._grants.stop(customer, "web") if customer is not None else 0
        text = "I have stopped sharing here. Nothing more leaves until you link again." if ended else "Nothing is shared here."
        return Reply("answered", "stopped", text)

    async def receipt(self, conversation: str, index: int) -> str | None:
        """Only the customer's own key opens the private half, so that a receipt of somebody else's is the same as none."""
        customer = await self._records.customer_of("web", conversation)
        vault = await self._records.vault_of(customer) if customer is not None else None
        if vault is None:
            return None
        try:
            proved = await self._notary.prove(index)
        except LogRefused:
            return None
        except LogError as error:
            raise LogUnavailable(error.code) from None
        try:
            salt, private = open_private(proved.side, vault)
        except Fault:
            return None
        return format_receipt(proved.entry, salt, private, proved.inclusion)

    async def state(self, conversation: str) -> LinkState:
        customer = await self._records.customer_of("web", conversation)
        if customer is None:
            return LinkState(False)
        grants = await self._records.grants_of(customer, active_only=True, now=self._house.clock())
        ends = [grant.expires_at for grant in grants if grant.channel == "web"]
        return LinkState(bool(ends), max(ends, default=None))

    @property
    def examples(self) -> tuple[str, ...]:
        return examples_of(self._house.offerings.values())

    def _reply(self, outcome: Released) -> Reply:
        finished: FinishedRelease = outcome.release
        request = finished.ruling.permission.request
        index = finished.inclusion.index
        count = len(finished.ruling.permission.accounts)
        why = Why(
            purpose=PURPOSE_WORDS[request.purpose],
            what_left=f"{request.projection.plain_words}; from {count} account{'s' if count != 1 else ''} that you chose",
            policy=finished.ruling.policy_digest,
            platform=self._platform_name,
            channel=request.channel,
            log_index=index,
            recorded_at=finished.sealed.disclosure.fetched_at,
            receipt=format_receipt(finished.sealed.entry, finished.sealed.salt, finished.sealed.private, finished.inclusion),
            receipt_url=f"/chat/receipts/{index}",
        )
        answer = finished.answer
        return Reply("answered", "answered", answer.text, answer.lines, answer.heading, why=why, ms=outcome.laps)


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncIterator[ASGIApp]:
    """Everything that one gateway needs, opened in order and closed in reverse. Raises what stops a start, with the way out."""
    async with AsyncExitStack() as stack:
        policy = load_policy(policy_file(settings))
        vkey = await log_vkey(settings)
        records = await open_records(settings.records, FileKeyRing(settings.data / "keys"), now)
        stack.push_async_callback(records.aclose)
        notary = NotaryClient(settings.notary_socket, call_seconds_max=settings.log_deadline_seconds)
        stack.push_async_callback(notary.aclose)
        transport = AiohttpTransport()
        stack.push_async_callback(transport.aclose)
        log = HouseLog(notary)
        await announce(log, policy)
        app, grants = furnish(settings, policy, vkey, records, notary, log, transport)
        upkeep = asyncio.create_task(keep_up(grants, records))
        stack.push_async_callback(ended, upkeep)
        yield app


def furnish(
    settings: Settings, policy: Policy, vkey: str, records: Records, notary: NotaryClient, log: HouseLog, transport: AiohttpTransport
) -> tuple[ASGIApp, GrantDesk]:
    """The rooms, each handed what it needs and no more."""
    bank = settings.banks[0]
    client = bank_client(settings, bank, transport)
    connector = FdxBank(FdxSettings(bank.name, bank.api_url, bank.profile, request_seconds=bank.timeout_seconds), transport, now)
    offerings = load_offerings(settings.offerings)
    house = House(
        offerings=offerings,
        cards=tuple(OfferingCard(each.name, each.title, tuple(each.examples)) for each in offerings.values()),
        understanding=KeywordUnderstanding(),
        records=records,
        credentials=BankCredentials({bank.name: client}, records, now),
        banks={bank.name: connector},
        log=log,
        verifier=Verifier(vkey),
        policy=lambda: policy,
        clock=now,
        random_bytes=secrets.token_bytes,
        time_zone=settings.zone,
        timer=time.perf_counter,
    )
    offer = consent_offer(settings, offerings)
    grants = GrantDesk(
        records=records,
        log=log,
        offer=offer,
        platform=settings.platform,
        policy_digest=lambda: policy.digest,
        clock=now,
        random_bytes=secrets.token_bytes,
    )
    sessions = Sessions(records, secure=settings.public_url.startswith("https://"), clock=now)
    linking = LinkingDesk(
        records=records,
        sessions=sessions,
        door=LinkedBank(client, connector, secrets.token_bytes),
        offer=offer,
        approve=grants.approve,
        clock=now,
    )
    pairing = PairingDesk(records=records, session_records=records, sessions=sessions, clock=now)
    desk = WebDesk(house, records, notary, grants, settings)
    web = WebSettings(
        public_origin=settings.public_url,
        platform=settings.platform,
        bank_title=settings.bank_name,
        examples=desk.examples,
        log_vkey=vkey,
        contact=settings.contact,
    )
    pages = LinkingSettings(settings.public_url, settings.bank_name, settings.contact)
    routes = [
        *web_routes(desk=desk, sessions=sessions, settings=web, clock=now, on_fault=unforeseen),
        *authorization_routes(linking=linking, pairing=pairing, sessions=sessions, settings=pages, clock=now, on_fault=unforeseen),
        Route("/healthz", health(notary), methods=["GET"]),
    ]
    origins = [origin_of(bank.issuer)]
    pages_app = Starlette(routes=routes, exception_handlers=dict(ERROR_HANDLERS))
    ask = next(route.app for route in routes if isinstance(route, Route) and route.path == "/chat/ask")

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        """A question takes no way round through the framework; everything else does."""
        direct = scope["type"] == "http" and scope["path"] == "/chat/ask" and scope["method"] == "POST"
        await (ask if direct else pages_app)(scope, receive, send)

    return Protected(
        front,
        public_origin=settings.public_url,
        bank_origins=origins,
        on_fault=unforeseen,
    ), grants


def bank_client(settings: Settings, bank: BankSettings, transport: AiohttpTransport) -> BankClient:
    key = ClientKey.load_or_create(settings.data / bank.client_key_file)
    asked = BankClientSettings(bank.name, bank.issuer, bank.client_id, f"{settings.public_url}/link/callback", seconds=bank.timeout_seconds)
    return BankClient(asked, key, transport, now)


def consent_offer(settings: Settings, offerings: dict[str, Offering]) -> ConsentOffer:
    """What the consent page puts up for choice: what the named offerings can be answered from, and no more."""
    purposes = dict.fromkeys(each.purpose for each in offerings.values())
    projections = dict.fromkeys(projection for each in offerings.values() for projection in each.projections)
    return ConsentOffer(
        platform_title=settings.platform_name,
        bank_title=settings.bank_name,
        purposes=tuple(purposes),
        projections=tuple(projections),
        needed_for={name: each.needs(SAMPLE, frozenset(each.projections)).projection for name, each in offerings.items()},
        delivery=Delivery.INLINE,
        lookback_days=settings.lookback_days,
        provenance=Provenance.ANY,
        budget=Budget(settings.answers_per_day, settings.rows_per_day),
        contact=settings.contact,
        days_offered=tuple(sorted({*DAYS_OFFERED, settings.grant_days})),
        days_default=settings.grant_days,
    )


async def announce(log: HouseLog, policy: Policy) -> None:
    """The policy's digest and the running build are in the log before the first question is answered."""
    await log.record(policy_entry(policy.digest, len(policy.table), now()), b"", handle=None, version=None)
    await log.record(build_entry(__version__, now()), b"", handle=None, version=None)


async def keep_up(grants: GrantDesk, records: Records) -> None:
    """Tell the log of revocations that it has not heard of, and let old rows go. Outlives outages of either."""
    last_prune = 0.0
    while True:
        with suppress(Fault, Refusal):
            await grants.tell_revocations()
            if time.monotonic() - last_prune > PRUNE_PERIOD_SECONDS:
                await records.prune()
                last_prune = time.monotonic()
        await asyncio.sleep(REVOCATION_PERIOD_SECONDS)


def health(notary: NotaryClient) -> Callable[[Request], Awaitable[Response]]:
    async def healthz(request: Request) -> Response:
        """200 while an answer could be given: this process runs and the log answers it."""
        try:
            await notary.head()
        except LogError as error:
            return JSONResponse({"ok": False, "code": error.code}, status_code=503)
        return JSONResponse({"ok": True})

    return healthz


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def log_vkey(settings: Settings) -> str:
    """The log's public key, which the notary writes at its first start."""
    path = settings.data / "notary" / "log.vkey"
    end = time.monotonic() + VKEY_SECONDS_MAX
    while time.monotonic() < end:
        with suppress(OSError):
            text = path.read_text().strip()
            if text:
                return text
        await asyncio.sleep(0.02)
    raise LogUnavailable("the notary has not written its public key")


def policy_file(settings: Settings) -> Path:
    return Path(settings.policy_file) if settings.policy_file else Path(str(files("parley.policy") / "packs" / "standard.toml"))


def examples_of(offerings: object) -> tuple[str, ...]:
    return tuple(each.examples[0] for each in offerings)  # type: ignore[attr-defined]


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def unforeseen(name: str) -> None:
    diagnostics.error("unforeseen", type=name)


def now() -> datetime:
    return datetime.now(UTC)


def configure_diagnostics() -> None:
    """One JSON object a line on standard error."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


class BoundedHttp(HttpToolsProtocol):
    """Uvicorn's protocol with the two limits that it lacks: how long a request may take to arrive, and how long its head may be.

    Without them a stranger holds every connection open by sending a byte now and then, or fills the memory with one endless header.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_head = True
        self._patience = self.loop.call_later(REQUEST_SECONDS_MAX, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self.send_400_response("The head of this request is too long.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._patience.cancel()
        self._patience = self.loop.call_later(REQUEST_SECONDS_MAX, self.transport.abort)

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._patience.cancel()
        super().on_message_complete()


async def serve(settings: Settings, listening: socket.socket, *, exit_with_parent: bool) -> None:
    async with open_house(settings) as app:
        # Nothing made so far becomes garbage; the collector need not walk it while questions wait.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=BoundedHttp,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
        )
        server = uvicorn.Server(config)
        if exit_with_parent:
            threading.Thread(target=leave_with_parent, args=(server,), daemon=True).start()
        await server.serve(sockets=[listening])


def leave_with_parent(server: uvicorn.Server) -> None:
    """Standard input closes when the supervisor is gone, whatever ended it."""
    while sys.stdin.buffer.read(4096):
        pass
    server.should_exit = True


def main() -> None:
    parser = argparse.ArgumentParser(prog="parley.app", description="One gateway process; `parley serve` starts it, and the notary beside it.")
    parser.add_argument("--config", type=Path, required=True, help="settings file")
    parser.add_argument("--fd", type=int, required=True, help="inherited listening socket")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input closes")
    options = parser.parse_args()
    configure_diagnostics()
    try:
        settings = load_settings(options.config)
        uvloop.run(serve(settings, socket.socket(fileno=options.fd), exit_with_parent=options.exit_with_parent))
    except (SettingsRejected, PolicyRejected, BadKeyFile, KeysUnsafe, ValueError) as error:
        diagnostics.error("start_refused", type=type(error).__name__, reason=str(error))
        sys.exit(EXIT_LOOK)
    except Fault as fault:
        diagnostics.error("start_failed", code=fault.code, detail=fault.detail)
        sys.exit(1)
    except Exception as error:
        diagnostics.error("ended_unforeseen", type=type(error).__name__, place=place_of(error))
        sys.exit(1)


def place_of(error: Exception) -> str:
    """Where it broke, and nothing of what it said: an exception's text may hold what a customer wrote."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"


if __name__ == "__main__":
    main()
