"""Reading what programs send to the server's doors, and answering them as OAuth has it: bounded, each parameter once, never a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from parley.authorization.pages.forms import QUERY_BYTES_MAX, read_body
from parley.authorization.server.errors import OAuthError
from parley.model.refusals import BadInput, Fault, Refusal

FORM_BYTES_MAX = 32 * 1024
PARAMETERS_MAX = 40
HEADERS = {"cache-control": "no-store", "pragma": "no-cache"}


async def read_params(request: Request) -> dict[str, str]:
    """The form of a POST, each parameter exactly once; empty ones count as missing (RFC 6749 3.1). Raises OAuthError."""
    kind, _, _ = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "The body is a form.")
    if request.scope.get("query_string"):
        raise OAuthError("invalid_request", "Parameters belong into the body, not into the address.")
    try:
        body = await read_body(request, FORM_BYTES_MAX)
    except BadInput:
        raise OAuthError("invalid_request", "The body is too long.", status=413) from None
    return parsed(body)


def query_params(request: Request) -> dict[str, str]:
    query = request.scope.get("query_string", b"")
    if len(query) > QUERY_BYTES_MAX:
        raise OAuthError("invalid_request", "The address is too long.")
    return parsed(query)


def parsed(encoded: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(encoded.decode("ascii"), keep_blank_values=True, max_num_fields=PARAMETERS_MAX, errors="strict")
    except ValueError:
        raise OAuthError("invalid_request", "The parameters cannot be read.") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise OAuthError("invalid_request", "A parameter comes twice.")
    return {name: value for name, value in found.items() if value}


def header_values(request: Request, name: str) -> list[str]:
    return request.headers.getlist(name)


def one_header(request: Request, *names: str) -> Mapping[str, str]:
    """These headers where present; a repeated one joined by commas, so that it never passes as one."""
    return {name: ", ".join(values) for name in names if (values := request.headers.getlist(name))}


def told(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse(body, status_code=status, headers={**HEADERS, **(headers or {})})


async def answered(work: Callable[[], Awaitable[Response]], on_fault: Callable[[str], None]) -> Response:
    """Never a 500, whatever comes in or breaks: an OAuth error, or 503 for what may be tried again."""
    try:
        return await work()
    except OAuthError as error:
        return refused(error)
    except Refusal as refusal:
        return refused(OAuthError("invalid_request", refusal.plain_words))
    except Fault:
        return refused(OAuthError("temporarily_unavailable", "Please try again in a moment.", status=503, headers={"retry-after": "5"}))
    except Exception as unforeseen:
        on_fault(type(unforeseen).__name__)
        return refused(OAuthError("server_error", "Something went wrong on our side.", status=503, headers={"retry-after": "5"}))


def refused(error: OAuthError) -> Response:
    body = {"error": error.code, **({"error_description": error.words} if error.words else {})}
    return told(body, error.status, error.headers)
