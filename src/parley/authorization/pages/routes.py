"""The HTTP side of linking: addresses, cookies, status codes. What happens is decided in `linking`; here it becomes pages.

Cookies: the session's (Lax), `parley-trip` (Lax, the consent page's token: the return from the bank is a navigation from another
site), `parley-consent` (Strict, set by the consent page itself: a decision is only ever sent from that page), `parley-pairing` (Lax,
the short session in which a terminal is linked). No secret stands in an address, but for the one-time code of a pairing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from parley.authorization.linking import CONSENT_LIFE, OWN_PAGE, ConsentPage, Decided, Decision, DeclinedAtBank, LinkingDesk, ShowAgain
from parley.authorization.pages.forms import Form, check_csrf, lower_headers, read_empty_json, read_form, read_query
from parley.authorization.pages.onward import TRIP_COOKIE, TooMany, client_address, onward_response, session_or_new
from parley.authorization.pages.render import Pages
from parley.authorization.pairing import PAIRING_LIFE, PairingDesk
from parley.authorization.sessions import Presented, Sessions, Throttle, read_cookie
from parley.model.customers import SignInMethod
from parley.model.linking import Asker, Errand, Origin
from parley.model.refusals import BadInput, Fault, LinkExpired, Refusal

STATUS: Mapping[str, int] = {
    "body_too_large": 413,
    "body_not_json": 400,
    "body_too_deep": 400,
    "content_type_wrong": 415,
    "form_stale": 409,
    "origin_wrong": 403,
    "session_unknown": 401,
    "choice_missing": 422,
    "body_wrong_shape": 422,
    "link_expired": 410,
    "too_many": 429,
}
CONSENT_POLICY = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self' {}; frame-ancestors 'none'; base-uri 'none'"
ANSWERS: Mapping[str, Literal["allow", "deny", "undecided"]] = {"allow": "allow", "deny": "deny", "undecided": "undecided"}


@dataclass(frozen=True, slots=True)
class LinkingSettings:
    """`public_origin` as browsers spell it (scheme, host, port); titles and `contact` for people."""

    public_origin: str
    bank_title: str
    contact: str


class Arrivals(Protocol):
    """Customers' sign-ins, as linking needs them. Header names are lower case."""

    async def arrived(self, customer: str, method: SignInMethod, headers: Mapping[str, str]) -> str:
        """She has proved who she is in this browser: the Set-Cookie value of her sign-in."""

    async def fresh_customer(self, headers: Mapping[str, str]) -> str | None:
        """The customer whose proof in this browser is a few minutes old at most."""

    async def leave(self, headers: Mapping[str, str]) -> str:
        """Her sign-in in this browser ends: the Set-Cookie value that clears it."""


def authorization_routes(
    *,
    linking: LinkingDesk,
    pairing: PairingDesk,
    sessions: Sessions,
    settings: LinkingSettings,
    clock: Callable[[], datetime],
    trips: Throttle | None = None,
    arrivals: Arrivals | None = None,
    on_fault: Callable[[str], None] = lambda name: None,
) -> list[BaseRoute]:
    """The routes of linking, for the app to mount at the root. `trips` bounds how often one client address may begin something.

    `arrivals` hears who came back from the bank, and tells who has signed in; None in a house without customers' pages.
    `on_fault` hears the type of whatever broke unforeseen, and nothing of its text.
    """
    doors = _Doors(linking, pairing, sessions, settings, clock, trips or Throttle(per_second=0.5, burst=60), arrivals, on_fault)
    return [
        Route("/link", doors.link, methods=["POST"]),
        Route("/link/callback", doors.callback, methods=["GET"]),
        Route("/me/sign-in/bank", doors.sign_in, methods=["POST"]),
        Route("/consent", doors.consent, methods=["GET"]),
        Route("/consent", doors.decide, methods=["POST"]),
        Route("/paired", doors.paired, methods=["GET"]),
        Route("/pair/{token}", doors.pair, methods=["GET"]),
        Route("/pair/{token}", doors.confirm_pairing, methods=["POST"]),
        Route("/signout", doors.sign_out, methods=["POST"]),
        Route("/signed-out", doors.signed_out, methods=["GET"]),
        Route("/terminal/session", doors.terminal_session, methods=["POST"]),
        Route("/terminal/pair", doors.terminal_pair, methods=["POST"]),
        Route("/static/linking/{name}", doors.static, methods=["GET"]),
    ]


class _Doors:
    def __init__(
        self,
        linking: LinkingDesk,
        pairing: PairingDesk,
        sessions: Sessions,
        settings: LinkingSettings,
        clock: Callable[[], datetime],
        trips: Throttle,
        arrivals: Arrivals | None,
        on_fault: Callable[[str], None],
    ) -> None:
        self._linking = linking
        self._pairing = pairing
        self._sessions = sessions
        self._settings = settings
        self._clock = clock
        self._pages = Pages(settings.bank_title, settings.contact)
        self._trips = trips
        self._arrivals = arrivals
        self._on_fault = on_fault
        self._trip_cookie = sessions.cookie_named(TRIP_COOKIE)
        self._seal_cookie = sessions.cookie_named("parley-consent")
        self._pairing_cookie = sessions.cookie_named("parley-pairing")

    # To the bank and back.

    async def link(self, request: Request) -> Response:
        async def work() -> Response:
            form = await read_form(request, self._settings.public_origin)
            presented = check_csrf(await self._session(request), form.one("csrf"))
            self._not_too_many(request)
            errand = self._linking.chat_errand(form.one("wish") or None)
            return onward_response(self._sessions, await self._linking.set_out(presented, errand, await self._known(request)))

        return await self._page(work)

    async def callback(self, request: Request) -> Response:
        async def work() -> Response:
            params = read_query(request)
            try:
                back = await self._linking.come_back(await self._candidates(request), params)
            except DeclinedAtBank as declined:
                return self._ended(declined.ended) or self._pages.message("declined_at_bank", status=200)
            if back.customer is None:
                return self._pages.message("unknown_here", status=200)
            response = RedirectResponse(OWN_PAGE if back.token is None else "/consent", status_code=303)
            if back.token is not None:
                self._cookie(response, self._sessions.set_cookie(self._trip_cookie, back.token, life=CONSENT_LIFE))
            if self._arrivals is not None:
                self._cookie(response, await self._arrivals.arrived(back.customer, SignInMethod.BANK, lower_headers(request)))
            return response

        return await self._page(work)

    async def sign_in(self, request: Request) -> Response:
        """To the bank's own login, and from there to her page."""

        async def work() -> Response:
            form = await read_form(request, self._settings.public_origin)
            presented = check_csrf(await self._session(request), form.one("csrf"))
            self._not_too_many(request)
            errand = Errand(Origin.SIGN_IN, "", "", Asker(self._settings.bank_title))
            return onward_response(self._sessions, await self._linking.set_out(presented, errand))

        return await self._page(work)

    # The consent page.

    async def consent(self, request: Request) -> Response:
        async def work() -> Response:
            token = self._read(request, self._trip_cookie)
            return self._consent_page(await self._linking.show(await self._candidates(request), token))

        return await self._page(work)

    async def decide(self, request: Request) -> Response:
        async def work() -> Response:
            form = await read_form(request, self._settings.public_origin)
            decision = self._decision(request, form)
            try:
                decided = await self._linking.decide(await self._candidates(request), decision)
            except ShowAgain as again:
                return self._consent_page(again.page, status=503 if again.is_fault else STATUS.get(again.code, 422))
            response = await self._allowed(request, decided) if decided.allowed else self._ended(decided)
            response = response or self._pages.message("not_allowed", status=200)
            self._cookie(response, self._sessions.clear_cookie(self._trip_cookie))
            self._cookie(response, self._sessions.clear_cookie(self._seal_cookie))
            return response

        return await self._page(work)

    async def _allowed(self, request: Request, decided: Decided) -> Response:
        """The session gets a new token now that it is worth something. A pairing's session has done its work and ends."""
        presented = decided.presented
        if self._read(request, self._pairing_cookie) == presented.token:
            await self._sessions.end(presented)
            response = RedirectResponse("/paired", status_code=303)
            self._cookie(response, self._sessions.clear_cookie(self._pairing_cookie))
            return response
        _, cookie = await self._sessions.renew(presented)
        response = self._ended(decided) or RedirectResponse("/", status_code=303)
        self._cookie(response, cookie)
        return response

    def _ended(self, decided: Decided) -> RedirectResponse | None:
        """303 and never 307, which would send the form on to the client. The address is one that the client registered."""
        return RedirectResponse(decided.address, status_code=303) if decided.address is not None else None

    def _decision(self, request: Request, form: Form) -> Decision:
        answer = ANSWERS.get(form.one("decision"))
        if answer is None:
            raise BadInput("form_stale", "no decision")
        return Decision(
            token=self._read(request, self._trip_cookie) or "",
            seal=self._read(request, self._seal_cookie) or "",
            once=form.one("once"),
            csrf=form.one("csrf"),
            text_hash=form.one("text_hash"),
            answer=answer,
            accounts=form.all("account"),
            projections=form.all("projection"),
            lookback=form.one("lookback"),
            days=form.one("days"),
        )

    def _consent_page(self, page: ConsentPage, status: int = 200) -> Response:
        response = self._pages.consent(page, status=status)
        self._cookie(response, self._sessions.set_cookie(self._trip_cookie, page.token, life=CONSENT_LIFE))
        self._cookie(response, self._sessions.set_cookie(self._seal_cookie, page.seal, life=CONSENT_LIFE, same_site="Strict"))
        if page.leads_to:
            # Browsers hold form-action against the redirect after a form, too: this page's decision may lead to this client, and no other.
            response.headers["content-security-policy"] = CONSENT_POLICY.format(page.leads_to)
        return response

    # Terminals.

    async def terminal_session(self, request: Request) -> Response:
        async def work() -> Response:
            await read_empty_json(request, self._settings.public_origin)
            self._not_too_many(request)
            presented = await self._sessions.start(self._sessions.new_conversation(), ambient=False)
            return JSONResponse({"token": presented.token, "csrf": presented.csrf, "expires_at": presented.session.expires_at.isoformat()})

        return await self._json(work)

    async def terminal_pair(self, request: Request) -> Response:
        async def work() -> Response:
            await read_empty_json(request, self._settings.public_origin)
            presented = await self._session(request)
            if presented is None or presented.ambient:
                raise BadInput("session_unknown")
            self._not_too_many(request)
            token, number = await self._pairing.offer(presented)
            url = f"{self._settings.public_origin}/pair/{token}"
            return JSONResponse({"url": url, "number": number, "expires_in": int(PAIRING_LIFE.total_seconds())})

        return await self._json(work)

    async def pair(self, request: Request) -> Response:
        async def work() -> Response:
            token = request.path_params["token"]
            if not await self._pairing.waits(token):
                raise LinkExpired("no such pairing")
            presented, cookie = await session_or_new(self._sessions, request)
            response = self._pages.pair(token, presented.csrf)
            if cookie:
                self._cookie(response, cookie)
            return response

        return await self._page(work)

    async def confirm_pairing(self, request: Request) -> Response:
        async def work() -> Response:
            form = await read_form(request, self._settings.public_origin)
            check_csrf(await self._session(request), form.one("csrf"))
            self._not_too_many(request)
            presented = await self._pairing.confirm(request.path_params["token"], form.one("number"))
            way = await self._linking.set_out(presented, self._linking.chat_errand(None))
            response = onward_response(self._sessions, way)
            self._cookie(response, self._sessions.set_cookie(self._pairing_cookie, presented.token, life=PAIRING_LIFE + CONSENT_LIFE))
            return response

        return await self._page(work)

    async def paired(self, request: Request) -> Response:
        return self._pages.message("paired", status=200)

    # Signing out.

    async def sign_out(self, request: Request) -> Response:
        """Out of the chat and of her page: whoever sits here next could allow herself what a fresh sign-in may."""

        async def work() -> Response:
            form = await read_form(request, self._settings.public_origin)
            presented = check_csrf(await self._session(request), form.one("csrf"))
            response = RedirectResponse("/signed-out", status_code=303)
            self._cookie(response, await self._sessions.end(presented))
            if self._arrivals is not None:
                self._cookie(response, await self._arrivals.leave(lower_headers(request)))
            return response

        return await self._page(work)

    async def signed_out(self, request: Request) -> Response:
        return self._pages.message("signed_out", status=200)

    async def static(self, request: Request) -> Response:
        return self._pages.static(request.path_params["name"])

    # What every door shares.

    async def _session(self, request: Request) -> Presented | None:
        return await self._sessions.find(lower_headers(request))

    async def _candidates(self, request: Request) -> list[Presented]:
        """The sessions that this browser presents: its own, and that of a pairing under way."""
        pairing = await self._sessions.find_token(self._read(request, self._pairing_cookie), ambient=True)
        return [each for each in (await self._session(request), pairing) if each is not None and each.ambient]

    async def _known(self, request: Request) -> str | None:
        """The customer who has just proved who she is in this browser. A proof that is older makes nobody known: what she allows may widen."""
        return await self._arrivals.fresh_customer(lower_headers(request)) if self._arrivals is not None else None

    def _read(self, request: Request, name: str) -> str | None:
        return read_cookie(lower_headers(request), name)

    def _cookie(self, response: Response, cookie: str) -> None:
        response.headers.append("set-cookie", cookie)

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

    async def _json(self, work: Callable[[], Awaitable[Response]]) -> Response:
        try:
            return await work()
        except Refusal as refusal:
            body = {"outcome": "refused", "code": refusal.code, "text": refusal.plain_words}
            return JSONResponse(body, status_code=STATUS.get(refusal.code, 403))
        except Fault as fault:
            return JSONResponse({"outcome": "fault", "code": fault.code, "text": fault.plain_words}, status_code=503)
        except Exception as unforeseen:
            self._on_fault(type(unforeseen).__name__)
            return JSONResponse({"outcome": "fault", "code": "internal", "text": Fault.plain_words}, status_code=503)
