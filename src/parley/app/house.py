"""The house, put together: what every room is handed, which routes it opens, and what goes on beside the questions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from parley import __version__
from parley.app.bank_events import bank_events
from parley.app.customers_page import customers_page_routes, open_ledger, record_key, record_key_entry
from parley.app.diagnostics import unforeseen
from parley.app.frame import Frame, now
from parley.app.ledger_gaps import LedgerWatch
from parley.app.linking import LinkingRooms, linking_rooms, linking_routes
from parley.app.log_port import HouseLog, log_vkey
from parley.app.oauth import oauth_routes
from parley.app.officers import officers_desks, officers_routes
from parley.app.policies import keep_judging, not_looking, open_guard, reload_on_hangup
from parley.app.publish import log_routes
from parley.app.road import road
from parley.app.upkeep import ended, keep_up
from parley.app.web_desk import WebDesk
from parley.banks.pool import PooledTransport
from parley.banks.transport import AiohttpTransport
from parley.channels.web import ERROR_HANDLERS, Protected, WebSettings, web_routes
from parley.console.officer import Desks
from parley.log.client import NotaryClient
from parley.log.errors import LogError
from parley.model.refusals import Fault
from parley.offerings import load_offerings
from parley.release.entries import build_entry
from parley.settings import Settings
from parley.store import FileKeyRing, open_records


@asynccontextmanager
async def open_house(settings: Settings, clock: Callable[[], datetime] = now) -> AsyncIterator[ASGIApp]:
    """Everything that one gateway needs, opened in order and closed in reverse. Raises what stops a start, with the way out.

    `clock` tells aware UTC; a test may turn it.
    """
    async with AsyncExitStack() as stack:
        vkey = await log_vkey(settings)
        records = await open_records(settings.records, FileKeyRing(settings.data / "keys"), clock)
        stack.push_async_callback(records.aclose)
        notary = NotaryClient(settings.notary_socket, call_seconds_max=settings.log_deadline_seconds)
        stack.push_async_callback(notary.aclose)
        transport = PooledTransport() if settings.bank_http == "own" else AiohttpTransport()
        stack.push_async_callback(transport.aclose)
        log = HouseLog(notary)
        ledger = open_ledger(records)
        ledger_watch = LedgerWatch(records, notary, ledger, clock, alone=settings.records_url == "sqlite")
        await ledger_watch.begin()
        for beside in (ledger.run(), ledger_watch.run()):
            stack.push_async_callback(closed, ledger_watch, asyncio.create_task(beside))
        policies, guard = await open_guard(settings, records, log)
        watching = asyncio.create_task(guard.watch(not_looking))
        stack.push_async_callback(ended, watching)
        for beside in (keep_judging(policies, log, records), reload_on_hangup(settings, policies)):
            stack.push_async_callback(ended, asyncio.create_task(beside))
        frame = Frame(
            settings=settings,
            records=records,
            notary=notary,
            log=log,
            transport=transport,
            policy=policies.current,
            policies=policies,
            guard=guard,
            vkey=vkey,
            offerings=load_offerings(settings.offerings),
            ledger=ledger,
            ledger_watch=ledger_watch,
            clock=clock,
        )
        await log.record(record_key_entry(record_key(settings).thumbprint, clock()), b"", handle=None, version=None)
        await log.record(build_entry(__version__, clock()), b"", handle=None, version=None)
        linking = linking_rooms(frame)
        keep_up(stack, frame, linking)
        officers = officers_desks(frame)
        if officers is not None:
            stack.push_async_callback(ended, asyncio.create_task(officers.keep_up()))
        yield front_door(frame, linking, officers)


def front_door(frame: Frame, linking: LinkingRooms, officers: Desks | None) -> ASGIApp:
    """Every route that the house opens, behind the headers that protect them all."""
    settings = frame.settings
    routes = [
        *web_chat_routes(frame, linking),
        *linking_routes(frame, linking),
        *bank_events(frame, linking),
        *oauth_routes(frame, linking),
        *customers_page_routes(frame, linking, record_key(settings)),
        *log_routes(frame),
        *officers_routes(frame, officers),
        Route("/healthz", health(frame.notary), methods=["GET"]),
    ]
    pages = Starlette(routes=routes, exception_handlers=dict(ERROR_HANDLERS))
    # An address with a slash too many is no address: to redirect it, the framework would believe the Host header of whoever asks.
    pages.router.redirect_slashes = False
    ask = next(route.app for route in routes if isinstance(route, Route) and route.path == "/chat/ask")

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        """A question takes no way round through the framework; everything else does."""
        direct = scope["type"] == "http" and scope["path"] == "/chat/ask" and scope["method"] == "POST"
        await (ask if direct else pages)(scope, receive, send)

    origins = [origin_of(bank.issuer) for bank in settings.banks]
    return Protected(front, public_origin=settings.public_url, bank_origins=origins, on_fault=unforeseen)


def web_chat_routes(frame: Frame, linking: LinkingRooms) -> list[BaseRoute]:
    settings = frame.settings
    desk = WebDesk(road(frame, linking.bank_clients), frame.records, frame.notary, linking.grants, settings)
    web = WebSettings(
        public_origin=settings.public_url,
        platform=settings.platform,
        bank_title=settings.bank_name,
        examples=desk.examples,
        log_vkey=frame.vkey,
        contact=settings.contact,
    )
    return list(web_routes(desk=desk, sessions=linking.sessions, settings=web, clock=frame.clock, on_fault=unforeseen))


def health(notary: NotaryClient) -> Callable[[Request], Awaitable[Response]]:
    async def healthz(request: Request) -> Response:
        """200 while an answer could be given: this process runs and the log answers it."""
        try:
            await notary.head()
        except LogError as error:
            return JSONResponse({"ok": False, "code": error.code}, status_code=503)
        return JSONResponse({"ok": True})

    return healthz


async def closed(watch: LedgerWatch, task: asyncio.Task[None]) -> None:
    """Store what the ledger still holds. Where the records are gone already, the next start finds it in the log."""
    await ended(task)
    with suppress(Fault):
        await watch.leave()


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
