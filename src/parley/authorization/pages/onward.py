"""What every door that leads to a consent page shares: the browser's session, and the way to the bank or to the page."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from parley.authorization.linking import CONSENT_LIFE, Onward
from parley.authorization.pages.forms import lower_headers
from parley.authorization.sessions import Presented, Sessions
from parley.model.refusals import Refusal

TRIP_COOKIE = "parley-trip"


class TooMany(Refusal):
    """Somebody begins things faster than people do."""

    code = "too_many"
    plain_words = "That was a lot in a short time. Please wait a minute and try again."


async def session_or_new(sessions: Sessions, request: Request) -> tuple[Presented, str | None]:
    """The browser's session, or a new one and its Set-Cookie value. Raises TooMany for an address that opens too many."""
    presented = await sessions.find(lower_headers(request))
    if presented is not None and presented.ambient:
        return presented, None
    opened = await sessions.open(client_address(request))
    if opened is None:
        raise TooMany("sessions")
    return opened


def onward_response(sessions: Sessions, way: Onward) -> Response:
    """303, so that a form is never sent on to the bank."""
    response = RedirectResponse(way.url, status_code=303)
    if way.token is not None:
        response.headers.append("set-cookie", sessions.set_cookie(sessions.cookie_named(TRIP_COOKIE), way.token, life=CONSENT_LIFE))
    return response


def client_address(request: Request) -> str:
    return request.client.host if request.client else "unknown"
