"""The server's door for browsers: a client sent the customer here with a request. Who asks is shown before she goes anywhere.

    GET {issuer}/authorize (reads, changes nothing) -> POST {issuer}/authorize (with our own form) -> her bank, or the consent page

The attacks: a link that somebody else prepared (so the page says who asks, and going on takes a form of ours), an address that would make
us send browsers elsewhere (nothing is ever sent to an address that the request or the client is not known to have), a page in a frame.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from parley.authorization.linking import LinkingDesk, leads_to
from parley.authorization.pages.forms import check_csrf, lower_headers, read_form
from parley.authorization.pages.onward import TooMany, client_address, onward_response, session_or_new
from parley.authorization.pages.render import Pages
from parley.authorization.server.client_documents import is_on_loopback
from parley.authorization.server.doors import AuthorizationServer
from parley.authorization.server.errors import OAuthError
from parley.authorization.server.exchange import query_params
from parley.authorization.server.requests import REQUEST_URI_PREFIX, STATE_CHARS_MAX, answer_address, seen, told_address
from parley.authorization.sessions import Sessions, Throttle, hash_token
from parley.model.clients import Client
from parley.model.refusals import BadInput, Fault, LinkExpired, Refusal
from parley.model.strangers import clean_name
from parley.model.tokens import AuthorizationRequest

STATUS: Mapping[str, int] = {
    "origin_wrong": 403,
    "content_type_wrong": 415,
    "body_too_large": 413,
    "body_wrong_shape": 422,
    "form_stale": 409,
    "session_unknown": 401,
    "link_expired": 410,
    "too_many": 429,
}
TITLE_CHARS_MAX = 40
REFERENCE_CHARS_MAX = 128
POLICY = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action {}; frame-ancestors 'none'; base-uri 'none'"
SignedIn = Callable[[Mapping[str, str]], Awaitable[str | None]]
"""Who has signed in on the browser with these headers (lower case), and freshly; None for nobody."""


async def nobody(headers: Mapping[str, str]) -> str | None:
    return None


def asking_doors(
    server: AuthorizationServer,
    *,
    linking: LinkingDesk,
    sessions: Sessions,
    pages: Pages,
    bank_origins: Sequence[str],
    signed_in: SignedIn = nobody,
    clock: Callable[[], datetime],
    trips: Throttle | None = None,
    on_fault: Callable[[str], None] = lambda name: None,
) -> list[BaseRoute]:
    """The two routes of one profile for browsers. `bank_origins`: where the form may lead beside the client's own address.

    `trips` bounds how often one client address may begin something.
    """
    doors = _Asking(server, linking, sessions, pages, bank_origins, signed_in, clock, trips or Throttle(per_second=0.5, burst=120), on_fault)
    path = f"{server.profile.path}/authorize"
    return [Route(path, doors.ask, methods=["GET"]), Route(path, doors.go_on, methods=["POST"])]


class _Asking:
    def __init__(
        self,
        server: AuthorizationServer,
        linking: LinkingDesk,
        sessions: Sessions,
        pages: Pages,
        bank_origins: Sequence[str],
        signed_in: SignedIn,
        clock: Callable[[], datetime],
        trips: Throttle,
        on_fault: Callable[[str], None],
    ) -> None:
        self._server = server
        self._linking = linking
        self._sessions = sessions
        self._pages = pages
        self._bank_origins = tuple(bank_origins)
        self._signed_in = signed_in
        self._clock = clock
        self._on_fault = on_fault
        self._trips = trips

    async def ask(self, request: Request) -> Response:
        """Who asks, on one page. Loading it twice is harmless: the request is used up by the decision alone."""

        async def work() -> Response:
            params = query_params(request)
            if self._server.profile.pushed:
                client, request_uri, asked = await self._pushed(params.get("client_id", ""), params.get("request_uri", ""))
            else:
                return await self._direct(request, params)
            return await self._page_of(request, client, request_uri, asked)

        return await self._page(work)

    async def go_on(self, request: Request) -> Response:
        """She goes on, or does not. Only ever from our own page, in the session that it was shown in."""

        async def work() -> Response:
            form = await read_form(request, self._server.public_url)
            presented = check_csrf(await self._sessions.find(lower_headers(request)), form.one("csrf"))
            self._not_too_many(request)
            _, _, asked = await self._pushed(form.one("client_id"), form.one("request_uri"))
            if form.one("decision") == "deny":
                taken = await self._server.records.take_request(asked.errand.reference, self._clock())
                if taken is None:
                    raise LinkExpired("the request was answered")
                return RedirectResponse(answer_address(taken, {"error": "access_denied"}), status_code=303)
            if form.one("decision") != "go":
                raise BadInput("form_stale", "no decision")
            customer = await self._signed_in(lower_headers(request))
            return onward_response(self._sessions, await self._linking.set_out(presented, asked.errand, customer))

        return await self._page(work)

    async def _pushed(self, client_id: str, request_uri: str) -> tuple[Client, str, AuthorizationRequest]:
        """The request that waits under this reference, if it is this client's and the client is still who it was. Raises LinkExpired."""
        reference = request_uri.removeprefix(REQUEST_URI_PREFIX)
        if not 0 < len(reference) <= REFERENCE_CHARS_MAX:
            raise LinkExpired("no such request")
        asked = await self._server.records.peek_request(hash_token(reference), self._clock())
        client = await self._server.gate.named(client_id)
        if asked is None or client is None or (asked.client, asked.issuer) != (client.id, self._server.issuer):
            raise LinkExpired("no such request")
        if seen(client) != asked.client_seen:
            raise LinkExpired("the client has changed since")
        return client, request_uri, asked

    async def _direct(self, request: Request, params: Mapping[str, str]) -> Response:
        """A profile without pushed requests: the request itself stands in the address, and waits from here on as a pushed one does."""
        self._not_too_many(request)
        client = await self._server.gate.named(params.get("client_id", ""))
        if client is None:
            raise LinkExpired("no such client")
        try:
            redirect_uri = self._server.requests.redirect_uri(params, client)
        except OAuthError:
            raise LinkExpired("no such address of this client") from None
        try:
            reference_hash, reference, asked = await self._server.requests.read(params, client)
        except OAuthError as error:
            # From here on the address is known to be the client's own, so it may hear of the error there.
            address = told_address(redirect_uri, self._server.issuer, params.get("state", "")[:STATE_CHARS_MAX] or None, {"error": error.code})
            return RedirectResponse(address, status_code=303)
        await self._server.records.add_request(reference_hash, asked)
        return await self._page_of(request, client, f"{REQUEST_URI_PREFIX}{reference}", asked)

    async def _page_of(self, request: Request, client: Client, request_uri: str, asked: AuthorizationRequest) -> Response:
        presented, cookie = await session_or_new(self._sessions, request)
        response = self._pages.ask(
            asker=clean_name(client.title)[:TITLE_CHARS_MAX] or client.host,
            host=client.host,
            verified=client.verified,
            on_loopback=is_on_loopback(asked.redirect_uri),
            action=f"{self._server.profile.path}/authorize",
            csrf=presented.csrf,
            client_id=client.id,
            request_uri=request_uri,
        )
        places = " ".join(("'self'", *self._bank_origins, leads_to(asked.redirect_uri)))
        response.headers["content-security-policy"] = POLICY.format(places)
        if cookie:
            response.headers.append("set-cookie", cookie)
        return response

    def _not_too_many(self, request: Request) -> None:
        if not self._trips.admits(client_address(request), self._clock()):
            raise TooMany("trips")

    async def _page(self, work: Callable[[], Awaitable[Response]]) -> Response:
        """Errors end on a page of ours. Nobody is sent anywhere for a request that is not known to be a client's."""
        try:
            return await work()
        except OAuthError:
            return self._pages.refusal("request_wrong", "This request can't be read. Please start again where you came from.", status=400)
        except Refusal as refusal:
            return self._pages.refusal(refusal.code, refusal.plain_words, status=STATUS.get(refusal.code, 403))
        except Fault as fault:
            return self._pages.refusal(fault.code, fault.plain_words, status=503)
        except Exception as unforeseen:
            self._on_fault(type(unforeseen).__name__)
            return self._pages.refusal("internal", Fault.plain_words, status=503)
