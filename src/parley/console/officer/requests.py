"""Reading what staff's browsers send: bounded, exact, and only from the console's own pages."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import parse_qsl

from starlette.requests import Request

from parley.console.officer.roles import TooMuch
from parley.console.officer.signing_in import csrf_of
from parley.model.refusals import BadInput

FORM_BYTES_MAX = 16 * 1024
POLICY_BYTES_MAX = 4 * 1024 * 1024
"""A form with a whole policy in it. Only read from somebody who is signed in and may propose."""
FIELDS_MAX = 20
CLIENTS_MAX = 4096


async def read_form(request: Request, *, origin: str, token: str, bytes_max: int) -> Mapping[str, str]:
    """The fields of a form from one of our own pages, each once. Raises BadInput; nothing is read of what comes from elsewhere."""
    check_origin(request, origin)
    kind, _, _ = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/x-www-form-urlencoded":
        raise BadInput("content_type_wrong")
    body = await read_body(request, bytes_max)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        raise BadInput("body_wrong_shape", "not a form, or too many fields") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadInput("body_wrong_shape", "a repeated field")
    if not hmac.compare_digest(csrf_of(token).encode(), fields.get("csrf", "").encode()):
        raise BadInput("form_stale", "csrf")
    return fields


async def read_json(request: Request, origin: str, bytes_max: int) -> bytes:
    """The body of a script's request from one of our own pages."""
    check_origin(request, origin)
    if request.headers.get("content-type") != "application/json":
        raise BadInput("content_type_wrong")
    return await read_body(request, bytes_max)


def check_origin(request: Request, origin: str) -> None:
    """A browser says with every POST where it comes from, and no page can make it lie. Here nobody but a browser has any business."""
    if request.headers.get("origin") != origin or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise BadInput("origin_wrong")


async def read_body(request: Request, bytes_max: int) -> bytes:
    """The body, or BadInput as soon as it is longer than it may be: what follows is never read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > bytes_max:
            raise BadInput("body_too_large")
    return bytes(body)


def read_cookie(request: Request, name: str) -> str | None:
    """The cookie's value; None when it is missing or comes twice, since then somebody planted the second."""
    wanted = f"{name}="
    parts = [part.strip() for value in request.headers.getlist("cookie") for part in value.split(";")]
    found = [part[len(wanted) :] for part in parts if part.startswith(wanted)]
    return found[0] if len(found) == 1 else None


class Ceremonies:
    """How often one client address may begin a ceremony: thirty at once, then one in two seconds. Forgets the longest unseen."""

    def __init__(self, burst: float = 30.0, per_second: float = 0.5) -> None:
        self._burst = burst
        self._per_second = per_second
        self._left: OrderedDict[str, tuple[float, datetime]] = OrderedDict()

    def one_more(self, request: Request, now: datetime) -> None:
        """Raises TooMuch."""
        client = request.client.host if request.client else "unknown"
        left, since = self._left.pop(client, (self._burst, now))
        left = min(self._burst, left + max((now - since).total_seconds(), 0.0) * self._per_second)
        self._left[client] = (max(left - 1.0, 0.0), now)
        if len(self._left) > CLIENTS_MAX:
            self._left.popitem(last=False)
        if left < 1.0:
            raise TooMuch()
