"""The doors of the console: one table says which address asks for which right, and one way in checks it before anything else happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from parley.console.officer.desks import Desks
from parley.console.officer.render import STATIC_PATH, ConsoleSettings, Pages
from parley.console.officer.requests import FORM_BYTES_MAX, POLICY_BYTES_MAX, Ceremonies, read_cookie, read_form, read_json
from parley.console.officer.roles import RIGHTS, ConsoleRefusal, NotYourRole, Right, SignedOut
from parley.console.officer.rooms import Rooms
from parley.console.officer.signing_in import CEREMONY_LIFE, SESSION_LIFE, csrf_of
from parley.console.officer.visits import Visit
from parley.console.passkeys import ANSWER_BYTES_MAX, PasskeySite
from parley.model.refusals import BadInput, Fault, Refusal

INPUT_STATUS: Mapping[str, int] = {"body_too_large": 413, "content_type_wrong": 415, "form_stale": 409, "origin_wrong": 403, "body_wrong_shape": 422}
HEADINGS: Mapping[int, str] = {404: "Nothing here", 409: "Not done", 422: "Not accepted", 503: "Not now"}

Work = Callable[[Rooms, Visit], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Door:
    """One address for people who are signed in. `fresh`: it opens something, so the sign-in must not be old."""

    method: str
    path: str
    right: Right
    work: Work = field(repr=False)
    fresh: bool = False
    bytes_max: int = FORM_BYTES_MAX


DOORS: tuple[Door, ...] = (
    Door("GET", "/officer/", Right.SEE_COUNTS, Rooms.overview),
    Door("GET", "/officer/refusals", Right.SEE_COUNTS, Rooms.refusals),
    Door("GET", "/officer/releases", Right.SEE_COUNTS, Rooms.releases),
    Door("GET", "/officer/switches", Right.SEE_COUNTS, Rooms.switches),
    Door("POST", "/officer/switches/pull", Right.PULL, Rooms.pull),
    Door("POST", "/officer/switches/ask", Right.DECIDE, Rooms.ask_undo),
    Door("POST", "/officer/switches/keep", Right.DECIDE, Rooms.keep_off),
    Door("POST", "/officer/switches/undo", Right.DECIDE, Rooms.undo, fresh=True),
    Door("GET", "/officer/policy", Right.SEE_POLICY, Rooms.policy),
    Door("GET", "/officer/policy/versions/{version}", Right.SEE_POLICY, Rooms.version),
    Door("GET", "/officer/policy/propose", Right.DECIDE, Rooms.propose_form),
    Door("POST", "/officer/policy/propose", Right.DECIDE, Rooms.propose, bytes_max=POLICY_BYTES_MAX),
    Door("GET", "/officer/policy/proposals/{proposal}", Right.SEE_POLICY, Rooms.proposal),
    Door("POST", "/officer/policy/proposals/{proposal}/approve", Right.DECIDE, Rooms.approve, fresh=True),
    Door("POST", "/officer/policy/proposals/{proposal}/reject", Right.DECIDE, Rooms.reject),
    Door("GET", "/officer/people", Right.SEE_POLICY, Rooms.people),
    Door("GET", "/officer/sign-ins", Right.SEE_COUNTS, Rooms.sign_ins),
    Door("POST", "/officer/sign-ins/end", Right.SEE_COUNTS, Rooms.end_sign_in),
    Door("POST", "/officer/sign-out", Right.SEE_COUNTS, Rooms.sign_out),
)


def officer_routes(
    *,
    desks: Desks,
    site: PasskeySite,
    settings: ConsoleSettings,
    clock: Callable[[], datetime],
    on_fault: Callable[[str], None] = lambda name: None,
) -> list[BaseRoute]:
    """The routes of the console, for the app to mount at the root. `on_fault` hears the type of whatever broke unforeseen, and no more."""
    entrance = _Entrance(desks, site, settings, clock, on_fault)
    open_to_all = [
        Route("/officer", entrance.home, methods=["GET"]),
        Route("/officer/sign-in", entrance.sign_in_page, methods=["GET"]),
        Route("/officer/sign-in", entrance.sign_in, methods=["POST"]),
        Route("/officer/sign-in/options", entrance.sign_in_options, methods=["POST"]),
        Route("/officer/enrol", entrance.enrol_page, methods=["GET"]),
        Route("/officer/enrol", entrance.enrol, methods=["POST"]),
        Route("/officer/enrol/options", entrance.enrol_options, methods=["POST"]),
        Route(STATIC_PATH + "/{name}", entrance.static, methods=["GET"]),
    ]
    return [*open_to_all, *(Route(door.path, entrance.behind(door), methods=[door.method]) for door in DOORS)]


class _Entrance:
    def __init__(
        self, desks: Desks, site: PasskeySite, settings: ConsoleSettings, clock: Callable[[], datetime], on_fault: Callable[[str], None]
    ) -> None:
        self._signing = desks.signing
        self._site = site
        self._host = urlsplit(site.origin).netloc
        self._secure = settings.secure
        self._clock = clock
        self._on_fault = on_fault
        self._pages = Pages(settings)
        self._rooms = Rooms(desks, self._pages, clock)
        self._ceremonies = Ceremonies()
        # `__Host-`: no sub-domain and no plain http can plant it. It demands the path /, and path is no boundary between pages anyway.
        prefix = "__Host-" if settings.secure else ""
        self._cookie = f"{prefix}parley-officer"
        self._ceremony_cookie = f"{prefix}parley-officer-ceremony"

    # For people who are signed in.

    def behind(self, door: Door) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            async def work() -> Response:
                token = read_cookie(request, self._cookie)
                session = await self._signing.find(token)
                if door.right not in RIGHTS[session.staff.role]:
                    raise NotYourRole()
                form: Mapping[str, str] = {}
                if door.method == "POST":
                    form = await read_form(request, origin=self._site.origin, token=token or "", bytes_max=door.bytes_max)
                    if door.fresh:
                        self._signing.must_be_fresh(session)
                cookie = self._end_cookie(self._cookie)
                visit = Visit(session, csrf_of(token or ""), form, request.url.path, request.path_params, cookie)
                return await door.work(self._rooms, visit)

            return await self._page(request, work)

        return handle

    async def home(self, request: Request) -> Response:
        return RedirectResponse(f"{self._site.origin}/officer/", status_code=303)

    # For whoever wants to be.

    async def sign_in_page(self, request: Request) -> Response:
        async def work() -> Response:
            return self._pages.page("sign_in.html", visit=None)

        return await self._page(request, work)

    async def enrol_page(self, request: Request) -> Response:
        """The invitation stands behind the # of the address, so that no server log and no other site ever reads it."""

        async def work() -> Response:
            return self._pages.page("enrol.html", visit=None)

        return await self._page(request, work)

    async def sign_in_options(self, request: Request) -> Response:
        async def work() -> Response:
            await read_json(request, self._site.origin, 64)
            self._ceremonies.one_more(request, self._clock())
            options, token = await self._signing.begin_sign_in()
            return self._with_ceremony(JSONResponse(options), token)

        return await self._json(work)

    async def sign_in(self, request: Request) -> Response:
        async def work() -> Response:
            answer = await read_json(request, self._site.origin, ANSWER_BYTES_MAX)
            old = read_cookie(request, self._cookie)
            token = await self._signing.sign_in(read_cookie(request, self._ceremony_cookie) or "", answer)
            await self._end_old(old)
            response = JSONResponse({"next": "/officer/"})
            response.headers.append("set-cookie", self._set_cookie(self._cookie, token, int(SESSION_LIFE.total_seconds())))
            response.headers.append("set-cookie", self._end_cookie(self._ceremony_cookie))
            return response

        return await self._json(work)

    async def enrol_options(self, request: Request) -> Response:
        async def work() -> Response:
            await read_json(request, self._site.origin, 64)
            self._ceremonies.one_more(request, self._clock())
            options, token = await self._signing.begin_enrolling(request.headers.get("x-parley-invitation", ""))
            return self._with_ceremony(JSONResponse(options), token)

        return await self._json(work)

    async def enrol(self, request: Request) -> Response:
        async def work() -> Response:
            answer = await read_json(request, self._site.origin, ANSWER_BYTES_MAX)
            token = read_cookie(request, self._ceremony_cookie) or ""
            await self._signing.enrol(request.headers.get("x-parley-invitation", ""), token, answer)
            response = JSONResponse({"next": "/officer/sign-in"})
            response.headers.append("set-cookie", self._end_cookie(self._ceremony_cookie))
            return response

        return await self._json(work)

    async def static(self, request: Request) -> Response:
        return self._pages.static(request.path_params["name"])

    # What every door shares.

    async def _end_old(self, token: str | None) -> None:
        """A sign-in makes a new session and leaves none behind: a token that somebody planted before is worth nothing after it."""
        try:
            session = await self._signing.find(token)
        except SignedOut:
            return
        await self._signing.end(session.staff, session.id)

    async def _page(self, request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
        if request.method == "GET" and request.headers.get("host") != self._host:
            # Passkeys belong to one origin. The address that was asked for is ours, whatever the header said, so this leads nowhere else.
            return RedirectResponse(f"{self._site.origin}{request.url.path}", status_code=307)
        try:
            return await work()
        except SignedOut as refusal:
            if request.method == "GET":
                return RedirectResponse("/officer/sign-in", status_code=303)
            return self._refused(refusal, refusal.status)
        except ConsoleRefusal as refusal:
            return self._refused(refusal, refusal.status)
        except Refusal as refusal:
            return self._refused(refusal, INPUT_STATUS.get(refusal.code, 403))
        except Fault as fault:
            return self._pages.message("Not now", fault.plain_words, status=503, code=fault.code)
        except Exception as unforeseen:
            self._on_fault(type(unforeseen).__name__)
            return self._pages.message("Not now", Fault.plain_words, status=503, code="internal")

    def _refused(self, refusal: Refusal, status: int) -> Response:
        return self._pages.message(HEADINGS.get(status, "Not allowed"), refusal.plain_words, status=status, code=refusal.code)

    async def _json(self, work: Callable[[], Awaitable[Response]]) -> Response:
        try:
            return await work()
        except Refusal as refusal:
            fallback = 401 if not isinstance(refusal, BadInput) else 422
            status = refusal.status if isinstance(refusal, ConsoleRefusal) else INPUT_STATUS.get(refusal.code, fallback)
            return JSONResponse({"code": refusal.code, "text": refusal.plain_words}, status_code=status)
        except Fault as fault:
            return JSONResponse({"code": fault.code, "text": fault.plain_words}, status_code=503)
        except Exception as unforeseen:
            self._on_fault(type(unforeseen).__name__)
            return JSONResponse({"code": "internal", "text": Fault.plain_words}, status_code=503)

    def _with_ceremony(self, response: Response, token: str) -> Response:
        response.headers.append("set-cookie", self._set_cookie(self._ceremony_cookie, token, int(CEREMONY_LIFE.total_seconds())))
        return response

    def _set_cookie(self, name: str, value: str, seconds: int) -> str:
        """Strict: no other site's link or form ever comes with it."""
        return f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{'; Secure' if self._secure else ''}"

    def _end_cookie(self, name: str) -> str:
        return self._set_cookie(name, "", 0)
