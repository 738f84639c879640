"""The outermost shell of the web server: security headers on every response, and a last resort when something unforeseen breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from types import MappingProxyType
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parley.channels.web.reply import INTERNAL, Reply, encode_reply
from parley.model.refusals import BadInput

PERMISSIONS = (
    "accelerometer=(), autoplay=(), camera=(), clipboard-read=(), display-capture=(), encrypted-media=(), geolocation=(), "
    "gyroscope=(), hid=(), magnetometer=(), microphone=(), midi=(), payment=(), serial=(), usb=(), xr-spatial-tracking=(), "
    "browsing-topics=(), interest-cohort=()"
)
HSTS_SECONDS = 2 * 365 * 24 * 3600
HEADER_BYTES_MAX = 32 * 1024


class Protected:
    """Wraps the whole app. `bank_origins`: where a form may lead to (browsers apply form-action to the redirect after it, too).

    `on_fault` is told the type of an unforeseen exception, and nothing of its text, which may hold what a customer wrote.
    """

    def __init__(
        self, app: ASGIApp, *, public_origin: str, bank_origins: Iterable[str] = (), on_fault: Callable[[str], None] = lambda name: None
    ) -> None:
        self._app = app
        self._on_fault = on_fault
        self._headers = security_headers(public_origin, bank_origins)
        self._names = frozenset(name for name, _ in self._headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_protected(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = list(message.get("headers", ()))
                stated = {name for name, _ in headers}
                ours = self._headers
                headers += ours if self._names.isdisjoint(stated) else [each for each in ours if each[0] not in stated]
                message = {**message, "headers": headers}
            await send(message)

        if sum(map(len, chain.from_iterable(scope["headers"]))) > HEADER_BYTES_MAX:
            await respond(send_protected, 431, _TOO_LARGE)
            return
        try:
            await self._app(scope, receive, send_protected)
        except Exception as unforeseen:
            self._on_fault(type(unforeseen).__name__)
            if not started:
                await respond(send_protected, 503, encode_reply(INTERNAL))


async def refuse_address(request: Request, failure: Exception) -> Response:
    """For Starlette's `exception_handlers`, under HTTPException: an unknown address or method in the shape of every other refusal."""
    status = failure.status_code if isinstance(failure, HTTPException) else 404
    headers = dict(failure.headers or {}) if isinstance(failure, HTTPException) else {}
    code, text = ("method_unknown", "That can't be done here.") if status == 405 else ("address_unknown", "There is nothing here.")
    return Response(encode_reply(Reply("refused", code, text)), status_code=status, media_type="application/json", headers=headers)


async def last_resort(request: Request, unforeseen: Exception) -> Response:
    """For Starlette's `exception_handlers`, under Exception: its own last resort would answer 500. It raises again, so `Protected` is told."""
    return Response(encode_reply(INTERNAL), status_code=503, media_type="application/json")


ERROR_HANDLERS: Mapping[Any, Any] = MappingProxyType({HTTPException: refuse_address, Exception: last_resort})
"""For the `exception_handlers` of the one Starlette app that holds every route."""


def security_headers(public_origin: str, bank_origins: Iterable[str]) -> list[tuple[bytes, bytes]]:
    """Headers for every response that does not set its own of the same name."""
    forms = " ".join(("'self'", *bank_origins))
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        f"form-action {forms}; frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": PERMISSIONS,
        "cache-control": "no-store",
    }
    if public_origin.startswith("https://"):
        headers["strict-transport-security"] = f"max-age={HSTS_SECONDS}; includeSubDomains"
    return [(name.encode(), value.encode()) for name, value in headers.items()]


async def respond(send: Send, status: int, body: bytes, content_type: bytes = b"application/json", extra: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """A whole response, without a framework between."""
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_TOO_LARGE = encode_reply(Reply("refused", "body_too_large", BadInput("body_too_large").plain_words))
