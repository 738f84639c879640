"""Reading what browsers and terminals send to the linking pages: bounded, exact, and only from our own pages."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from starlette.requests import Request

from parley.authorization.sessions import Presented
from parley.model.refusals import BadInput

FORM_BYTES_MAX = 32 * 1024
FORM_FIELDS_MAX = 200
QUERY_BYTES_MAX = 16 * 1024


class Form:
    """Fields of a form, each possibly repeated. `one` is empty for a missing field and refuses a repeated one (parameter pollution)."""

    def __init__(self, fields: Sequence[tuple[str, str]]) -> None:
        self._fields = fields

    def one(self, name: str) -> str:
        values = self.all(name)
        if len(values) > 1:
            raise BadInput("body_wrong_shape", "a repeated field")
        return values[0] if values else ""

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(value for key, value in self._fields if key == name)


async def read_form(request: Request, origin: str) -> Form:
    """The form of a POST from one of our own pages. Raises BadInput before reading when it comes from elsewhere."""
    headers = lower_headers(request)
    check_origin(headers, origin)
    kind, _, _ = headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/x-www-form-urlencoded":
        raise BadInput("content_type_wrong")
    return Form(_pairs((await read_body(request, FORM_BYTES_MAX)).decode("utf-8", "replace")))


async def read_empty_json(request: Request, origin: str) -> None:
    """A terminal's POST says nothing but that it wants something: `{}` as JSON."""
    headers = lower_headers(request)
    check_origin(headers, origin)
    if headers.get("content-type") != "application/json":
        raise BadInput("content_type_wrong")
    try:
        sent = json.loads(await read_body(request, 64) or b"{}")
    except RecursionError:
        raise BadInput("body_too_deep") from None
    except ValueError:
        raise BadInput("body_not_json") from None
    if sent != {}:
        raise BadInput("body_wrong_shape")


def read_query(request: Request) -> tuple[tuple[str, str], ...]:
    """Query parameters, repetitions kept: what to make of a repetition is for whoever reads them."""
    query = request.scope.get("query_string", b"")
    if len(query) > QUERY_BYTES_MAX:
        raise BadInput("body_too_large")
    return tuple(_pairs(query.decode("latin-1")))


def check_origin(headers: Mapping[str, str], origin: str) -> None:
    """A browser says where a request comes from, and no page can make it lie. What says nothing is not a browser that we know."""
    stated = headers.get("origin")
    site = headers.get("sec-fetch-site")
    if (stated is not None and stated != origin) or (site is not None and site not in ("same-origin", "none")):
        raise BadInput("origin_wrong")


def lower_headers(request: Request) -> dict[str, str]:
    """Header names in lower case; repeated ones joined, so that a repetition never passes an exact comparison."""
    merged: dict[str, str] = {}
    for name, value in request.headers.items():
        joint = "; " if name == "cookie" else ", "
        merged[name] = f"{merged[name]}{joint}{value}" if name in merged else value
    return merged


def check_csrf(presented: Presented | None, sent: str) -> Presented:
    if presented is None:
        raise BadInput("session_unknown")
    if not hmac.compare_digest(presented.csrf.encode(), sent.encode()):
        raise BadInput("form_stale", "csrf")
    return presented


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The body, or BadInput as soon as it is longer than it may be: what follows is never read."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > bytes_max:
        raise BadInput("body_too_large")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            raise BadInput("body_too_large")
    return bytes(body)


def _pairs(encoded: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(encoded, keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX, errors="replace")
    except ValueError:
        raise BadInput("body_wrong_shape", "too many fields") from None
