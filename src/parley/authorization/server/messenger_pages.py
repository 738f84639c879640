"""The two pages of linking a Messenger chat: where the platform's button leads, and where the customer reads the number for her chat.

The first only begins a trip on a POST with the session's own token, so that no other page can send a customer on one; the way back is
checked before anything else, so that it can lead to the platform and nowhere else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from parley.authorization.linking import LinkingDesk
from parley.authorization.pages.forms import check_csrf, lower_headers, read_form, read_query
from parley.authorization.pages.onward import TooMany, client_address, onward_response, session_or_new
from parley.authorization.pages.render import Pages
from parley.authorization.pages.routes import STATUS, LinkingSettings
from parley.authorization.server.messenger import NUMBER_PAGE, MessengerDesk
from parley.authorization.sessions import Presented, Sessions, Throttle
from parley.model.refusals import BadInput, Fault, LinkExpired, Refusal

LINK_PAGE = "/link/messenger"


def messenger_routes(
    *,
    desk: MessengerDesk,
    linking: LinkingDesk,
    sessions: Sessions,
    settings: LinkingSettings,
    clock: Callable[[], datetime],
    trips: Throttle | None = None,
    on_fault: Callable[[str], None] = lambda name: None,
) -> list[BaseRoute]:
    """The routes, for the app to mount where the bank links Messenger. `on_fault` hears the type of what broke, and nothing of its text."""
    doors = _Doors(desk, linking, sessions, settings, clock, trips or Throttle(per_second=0.5, burst=60), on_fault)
    return [
        Route(LINK_PAGE, doors.begin, methods=["GET"]),
        Route(LINK_PAGE, doors.set_out, methods=["POST"]),
        Route(NUMBER_PAGE, doors.number, methods=["GET"]),
    ]


class _Doors:
    def __init__(
        self,
        desk: MessengerDesk,
        linking: LinkingDesk,
        sessions: Sessions,
        settings: LinkingSettings,
        clock: Callable[[], datetime],
        trips: Throttle,
        on_fault: Callable[[str], None],
    ) -> None:
        self._desk = desk
        self._linking = linking
        self._sessions = sessions
        self._settings = settings
        self._clock = clock
        self._trips = trips
        self._on_fault = on_fault
        self._pages = Pages(settings.bank_title, settings.contact)

    async def begin(self, request: Request) -> Response:
        async def work() -> Response:
            sent = read_query(request)
            redirect_uri, token = _only(sent, "redirect_uri"), _only(sent, "account_linking_token")
            self._desk.errand(redirect_uri, token)
            presented, cookie = await session_or_new(self._sessions, request)
            page = self._pages.messenger_link(csrf=presented.csrf, redirect_uri=redirect_uri, token=token)
            if cookie:
                page.headers.append("set-cookie", cookie)
            return page

        return await self._page(work)

    async def set_out(self, request: Request) -> Response:
        async def work() -> Response:
            form = await read_form(request, self._settings.public_origin)
            presented = check_csrf(await self._session(request), form.one("csrf"))
            self._not_too_many(request)
            way = await self._linking.set_out(presented, self._desk.errand(form.one("redirect_uri"), form.one("account_linking_token")))
            return onward_response(self._sessions, way)

        return await self._page(work)

    async def number(self, request: Request) -> Response:
        async def work() -> Response:
            presented = await self._session(request)
            way = await self._desk.way_back(presented.conversation) if presented is not None else None
            if way is None:
                raise LinkExpired("nothing waits for this browser")
            return self._pages.messenger_number(number=way.number, url=way.url)

        return await self._page(work)

    async def _session(self, request: Request) -> Presented | None:
        presented = await self._sessions.find(lower_headers(request))
        return presented if presented is not None and presented.ambient else None

    def _not_too_many(self, request: Request) -> None:
        if not self._trips.admits(client_address(request), self._clock()):
            raise TooMany("trips")

    async def _page(self, work: Callable[[], Awaitable[Response]]) -> Response:
        try:
            return await work()
        except Refusal as refusal:
            return self._pages.refusal(refusal.code, refusal.plain_words, status=STATUS.get(refusal.code, 403))
        except Fault as fault:
            return self._pages.refusal(fault.code, fault.plain_words, status=503)
        except Exception as unforeseen:
            self._on_fault(type(unforeseen).__name__)
            return self._pages.refusal("internal", Fault.plain_words, status=503)


def _only(sent: Sequence[tuple[str, str]], name: str) -> str:
    values = [value for key, value in sent if key == name]
    if len(values) != 1:
        raise BadInput("body_wrong_shape", name)
    return values[0]
