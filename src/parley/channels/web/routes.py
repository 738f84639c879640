"""The addresses of the web chat: the page, its files, its JSON, receipts, and the terminal's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from importlib.resources import files
from types import MappingProxyType

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from parley.channels.web.ask import ask_door, read_headers, stop_door
from parley.channels.web.desk import ChatDesk, SessionKeeper, WebSettings
from parley.channels.web.reply import INTERNAL, STATUS, encode_reply, reply_to_failure, status_of
from parley.model.refusals import BadInput, Fault, Refusal

MEDIA_TYPES: Mapping[str, str] = MappingProxyType({"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"})
STATIC_FILES = ("chat.css", "chat.js", "icon.svg")
INDEX_DIGITS_MAX = 18


def web_routes(
    *,
    desk: ChatDesk,
    sessions: SessionKeeper,
    settings: WebSettings,
    clock: Callable[[], datetime],
    on_fault: Callable[[str], None] = lambda name: None,
) -> list[BaseRoute]:
    """The routes of the web chat, for the app to mount at the root. `on_fault` hears the type of whatever broke unforeseen."""
    pages = _Pages(desk, sessions, settings, on_fault)
    return [
        Route("/", pages.chat, methods=["GET"]),
        Route("/chat/ask", ask_door(desk, sessions, settings, clock=clock, on_fault=on_fault), methods=["POST"]),
        Route("/chat/stop", stop_door(desk, sessions, settings, clock=clock, on_fault=on_fault), methods=["POST"]),
        Route("/chat/receipts/{index}", pages.receipt, methods=["GET"]),
        Route("/terminal/state", pages.state, methods=["GET"]),
        Route("/log.vkey", pages.log_vkey, methods=["GET"]),
        Route("/static/web/{name}", pages.static, methods=["GET"]),
    ]


class _Pages:
    def __init__(self, desk: ChatDesk, sessions: SessionKeeper, settings: WebSettings, on_fault: Callable[[str], None]) -> None:
        self._desk = desk
        self._sessions = sessions
        self._settings = settings
        self._on_fault = on_fault
        self._assets = _Assets()
        templates = Environment(
            loader=PackageLoader("parley.channels.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._chat = templates.get_template("chat.html")
        self._too_many = templates.get_template("too_many.html")

    async def chat(self, request: Request) -> Response:
        """The chat page; the first visit gets a session. HEAD is answered without one, so that a probe leaves no row behind."""
        if request.method == "HEAD":
            return HTMLResponse()
        try:
            presented, cookie = await self._sessions.find(read_headers(request.scope)), None
            if presented is None or not presented.ambient:
                opened = await self._sessions.open(request.client.host if request.client else "unknown")
                if opened is None:
                    return HTMLResponse(self._too_many.render(self._words()), status_code=429, headers={"retry-after": "60"})
                presented, cookie = opened
            state = await self._desk.state(presented.conversation)
        except Fault as fault:
            return HTMLResponse(self._too_many.render(self._words() | {"problem": fault.plain_words}), 503, {"retry-after": "5"})
        response = HTMLResponse(self._chat.render(self._words() | {"csrf": presented.csrf, "state": state}))
        response.headers["referrer-policy"] = "same-origin"  # so that browsers name our origin with our own forms; see authorization
        if cookie:
            response.headers.append("set-cookie", cookie)
        return response

    async def receipt(self, request: Request) -> Response:
        """A receipt as a file, for the session in whose conversation the answer was given; the same 404 for every other one."""
        index = request.path_params["index"]
        try:
            session = await self._sessions.find(read_headers(request.scope))
            if session is None:
                raise BadInput("session_unknown")
            if not (index.isascii() and index.isdecimal() and len(index) <= INDEX_DIGITS_MAX):
                raise BadInput("receipt_unknown")
            text = await self._desk.receipt(session.conversation, int(index))
            if text is None:
                raise BadInput("receipt_unknown")
        except (Refusal, Fault) as failure:
            return self._failure(failure)
        disposition = f'attachment; filename="parley-receipt-{int(index)}.txt"'
        return PlainTextResponse(text, headers={"content-disposition": disposition})

    async def state(self, request: Request) -> Response:
        """Whether the terminal's conversation is linked: nothing about whom to."""
        try:
            session = await self._sessions.find(read_headers(request.scope))
            if session is None or session.ambient:
                raise BadInput("session_unknown")
            state = await self._desk.state(session.conversation)
        except (Refusal, Fault) as failure:
            return self._failure(failure)
        return Response(b'{"linked":true}' if state.linked else b'{"linked":false}', media_type="application/json")

    async def log_vkey(self, request: Request) -> Response:
        return PlainTextResponse(self._settings.log_vkey.strip() + "\n", headers={"content-disposition": 'attachment; filename="log.vkey"'})

    async def static(self, request: Request) -> Response:
        return self._assets.response(request.path_params["name"])

    def _failure(self, failure: Refusal | Fault) -> Response:
        reply = reply_to_failure(failure)
        return Response(encode_reply(reply), status_code=status_of(reply), media_type="application/json")

    def _words(self) -> dict[str, object]:
        return {"settings": self._settings, "assets": self._assets.urls, "problem": None}


class _Assets:
    """Our few static files under names with their hash, so that browsers may keep them for good and never mix versions."""

    def __init__(self) -> None:
        folder = files("parley.channels.web") / "static"
        self._files: dict[str, tuple[bytes, str]] = {}
        self.urls: dict[str, str] = {}
        for name in STATIC_FILES:
            content = folder.joinpath(name).read_bytes()
            stem, _, kind = name.rpartition(".")
            hashed = f"{stem}.{sha256(content).hexdigest()[:16]}.{kind}"
            self._files[hashed] = (content, MEDIA_TYPES[kind])
            self.urls[name] = f"/static/web/{hashed}"

    def response(self, name: str) -> Response:
        found = self._files.get(name)
        if found is None:
            return PlainTextResponse("Not found\n", status_code=404)
        return Response(found[0], media_type=found[1], headers={"cache-control": "public, max-age=31536000, immutable"})


__all__ = ["INTERNAL", "STATUS", "web_routes"]
