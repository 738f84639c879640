"""Reading what browsers send to the customer's page: bounded, exact, and only from our own pages."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from parley.model.refusals import BadInput

FORM_BYTES_MAX = 8 * 1024
FORM_FIELDS_MAX = 20
JSON_BYTES_MAX = 20 * 1024
HEADER_CSRF = "x-parley-csrf"


async def read_form(request: Request, origin: str) -> dict[str, str]:
    """The fields of a form from one of our own pages, each once. Raises BadInput, before reading when it comes from elsewhere."""
    headers = lower_headers(request)
    check_origin(headers, origin)
    kind, _, _ = headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/x-www-form-urlencoded":
        raise BadInput("content_type_wrong")
    body = (await read_body(request, FORM_BYTES_MAX)).decode("utf-8", "replace")
    try:
        pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX, errors="replace")
    except ValueError:
        raise BadInput("body_wrong_shape", "too many fields") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadInput("body_wrong_shape", "a repeated field")
    return fields


async def read_json(request: Request, origin: str) -> bytes:
    """The bytes that one of our own scripts sent. Nothing is parsed before its sender is known. Raises BadInput."""
    headers = lower_headers(request)
    check_origin(headers, origin)
    if headers.get("content-type") != "application/json":
        raise BadInput("content_type_wrong")
    return await read_body(request, JSON_BYTES_MAX)


def check_origin(headers: Mapping[str, str], origin: str) -> None:
    """A browser says where a request comes from, and no page can make it lie. What says nothing is not a browser that we know."""
    stated = headers.get("origin")
    site = headers.get("sec-fetch-site")
    if (stated is not None and stated != origin) or (site is not None and site not in ("same-origin", "none")):
        raise BadInput("origin_wrong")


def check_csrf(expected: str, sent: str) -> None:
    if not hmac.compare_digest(expected.encode(), sent.encode()):
        raise BadInput("form_stale", "csrf")


def lower_headers(request: Request) -> dict[str, str]:
    """Header names in lower case; repeated ones joined, so that a repetition never passes an exact comparison."""
    merged: dict[str, str] = {}
    for name, value in request.headers.items():
        joint = "; " if name == "cookie" else ", "
        merged[name] = f"{merged[name]}{joint}{value}" if name in merged else value
    return merged


def read_cookie(headers: Mapping[str, str], name: str) -> str | None:
    """The cookie's value, or None when it is missing or comes twice: then somebody planted one of them."""
    wanted = f"{name}="
    found = [part.strip()[len(wanted) :] for part in headers.get("cookie", "").split(";") if part.strip().startswith(wanted)]
    return found[0] if len(found) == 1 else None


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
