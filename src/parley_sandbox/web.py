"""What every page and endpoint shares: limits on what comes in, safe headers on what goes out, and JSON that keeps decimals exact."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES_MAX = 64 * 1024
FIELDS_MAX = 64
QUERY_BYTES_MAX = 8 * 1024

JSON = msgspec.json.Encoder(decimal_format="number")
"""Writes Decimal as a JSON number with its exact digits."""


class Refusal(Exception):
    """The bank says no: an HTTP status, a stable code and plain words. Nothing a stranger sent is repeated in it."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


def json_response(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer that no cache keeps. Decimals stay exact numbers."""
    return Response(JSON.encode(content), status, {"cache-control": "no-store", **(headers or {})}, "application/json")


async def read_body(request: Request) -> bytes:
    """The request's body, at most 64 KiB. Raises Refusal 413."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise Refusal(413, "413", "The request is too large.")
    return bytes(body)


async def read_form(request: Request) -> dict[str, list[str]]:
    """The fields of a form, each with all its values. Raises Refusal 400, 413 or 415."""
    if content_type(request) != "application/x-www-form-urlencoded":
        raise Refusal(415, "invalid_request", "Send a form: application/x-www-form-urlencoded.")
    fields: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl((await read_body(request)).decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        raise Refusal(400, "invalid_request", "The form cannot be read.") from None
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields


def single(fields: Mapping[str, list[str]]) -> dict[str, str]:
    """The fields when each stands there once. Raises Refusal 400: a repeated parameter is how two readers are made to disagree."""
    if any(len(values) != 1 for values in fields.values()):
        raise Refusal(400, "invalid_request", "A parameter is repeated.")
    return {name: values[0] for name, values in fields.items()}


def query(request: Request) -> dict[str, str]:
    """The parameters of the address, each once. Raises Refusal 400."""
    raw = request.scope.get("query_string", b"")
    if len(raw) > QUERY_BYTES_MAX:
        raise Refusal(400, "400", "The address is too long.")
    fields: dict[str, list[str]] = {}
    try:
        for name, value in parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict"):
            fields.setdefault(name, []).append(value)
    except ValueError:
        raise Refusal(400, "400", "The address cannot be read.") from None
    return single(fields)


async def read_json(request: Request) -> Any:
    """A JSON body. Raises Refusal 400, 413 or 415; nesting that exhausts the stack is refused like any other nonsense."""
    if content_type(request) != "application/json":
        raise Refusal(415, "invalid_request", "Send JSON: application/json.")
    try:
        return msgspec.json.decode(await read_body(request))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Refusal(400, "invalid_request", "The JSON cannot be read.") from None


def content_type(request: Request) -> str:
    """The media type without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_same_origin(request: Request, origin: str) -> None:
    """Refuses a form that another site submitted. A script without a browser sends neither header and is held by the CSRF token alone."""
    if request.headers.get("origin", origin) != origin or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refusal(403, "cross_site", "This form was sent from another site.")


class SafeEdge:
    """Outermost layer: one host name only (so that no foreign name can be rebound to this port) and headers that every answer carries."""

    HEADERS = (
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
        (b"x-frame-options", b"DENY"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
    )
    POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if hosts != [self._host]:
            refusal = Response("This bank answers to its own address only.\n", 421, media_type="text/plain")
            await refusal(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                present = {name for name, _ in headers}
                headers += [pair for pair in (*self.HEADERS, self.POLICY) if pair[0] not in present]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_safely)
