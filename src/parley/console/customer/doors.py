"""What every door of the customer's page shares: who is signed in, the pages for whoever is not, and how a failure is said."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from parley.console.customer.ceremonies import Ceremonies
from parley.console.customer.pages import DONE, Pages
from parley.console.customer.ports import CustomerSettings, House
from parley.console.customer.reading import HEADER_CSRF, check_csrf, lower_headers, read_form
from parley.model.customers import LedgerLine, SignIn
from parley.model.refusals import BadInput, Fault, Refusal

STATUS: Mapping[str, int] = {
    "body_too_large": 413,
    "content_type_wrong": 415,
    "form_stale": 409,
    "origin_wrong": 403,
    "session_unknown": 401,
    "proof_needed": 401,
    "passkey_rejected": 403,
    "body_wrong_shape": 422,
    "body_not_json": 400,
    "receipt_unknown": 404,
    "too_many": 429,
    "records_conflict": 409,
}
LINES_COUNTED_MAX = 50_000
LINES_AT_ONCE = 500

Work = Callable[[SignIn], Awaitable[Response]]
Shape = TypeVar("Shape")


class TooMany(Refusal):
    code = "too_many"
    plain_words = "That was a lot in a short time. Please wait a minute and try again."


class ProofNeeded(Refusal):
    """She is signed in, but proved who she is too long ago for what she wants to do."""

    code = "proof_needed"
    plain_words = "Please confirm first that it is you."


class Doors:
    def __init__(self, house: House, settings: CustomerSettings, on_fault: Callable[[str], None]) -> None:
        self._house = house
        self._settings = settings
        self._on_fault = on_fault
        self._pages = Pages(settings)
        self._ceremonies = Ceremonies(house.records, settings.site, house.clock, house.chance) if settings.site is not None else None
        self._knock_cookie = "__Host-parley-knock" if settings.secure else "parley-knock"

    async def _hers(self, request: Request, work: Work) -> Response:
        """`work` for whoever is signed in; the sign-in page for everybody else."""
        try:
            sign_in = await self._house.sign_ins.find(lower_headers(request))
            return await work(sign_in) if sign_in is not None else await self._sign_in_page(request)
        except (Refusal, Fault) as failure:
            return self._failure_page(failure)
        except Exception as unforeseen:
            self._on_fault(type(unforeseen).__name__)
            return self._failure_page(Fault())

    async def _sign_in_page(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response()
        visit, cookie = await self._visit(request)
        status = 200 if request.url.path == "/me" and request.method == "GET" else 401
        response = self._pages.render("sign_in.html", status=status, visit_csrf=visit, passkeys=self._ceremonies is not None)
        return with_cookie(response, cookie)

    async def _visit(self, request: Request) -> tuple[str, str | None]:
        """The token that forms of a browser show before anybody is signed in, and the cookie that goes with a new one."""
        found = await self._house.visitors.find(lower_headers(request))
        if found is not None and found.ambient:
            return found.csrf, None
        opened = await self._house.visitors.open(client_address(request))
        if opened is None:
            raise TooMany()
        return opened[0].csrf, opened[1]

    async def _check_visit(self, request: Request) -> None:
        headers = lower_headers(request)
        found = await self._house.visitors.find(headers)
        if found is None:
            raise BadInput("session_unknown")
        check_csrf(found.csrf, headers.get(HEADER_CSRF, ""))

    async def _proven(self, request: Request, *, fresh: bool) -> SignIn:
        """Who is signed in, with the token that only our page has. Raises BadInput; with `fresh`, also when her proof is an old one."""
        headers = lower_headers(request)
        sign_in = await self._house.sign_ins.find(headers)
        if sign_in is None:
            raise BadInput("session_unknown")
        check_csrf(sign_in.csrf, headers.get(HEADER_CSRF, ""))
        if fresh and not self._house.sign_ins.is_fresh(sign_in):
            raise ProofNeeded()
        return sign_in

    async def _form(self, request: Request, sign_in: SignIn) -> dict[str, str]:
        form = await read_form(request, self._settings.public_origin)
        check_csrf(sign_in.csrf, form.get("csrf", ""))
        return form

    async def _title(self) -> Callable[[str], str]:
        """What customers call a platform, by its registered name."""
        titles = await self._house.titles()
        return lambda platform: titles.get(platform, platform)

    async def _all_lines(self, customer: str) -> tuple[LedgerLine, ...]:
        """Her whole ledger, newest first, up to LINES_COUNTED_MAX. In small pages, between which others' questions are answered."""
        await self._house.catch_up(customer)
        lines: list[LedgerLine] = []
        before: int | None = None
        while len(lines) < LINES_COUNTED_MAX and (page := await self._house.records.disclosures_of(customer, before=before, count=LINES_AT_ONCE)):
            lines += page
            before = page[-1].number
            await asyncio.sleep(0)
        return tuple(lines)

    def _page(self, template: str, request: Request, sign_in: SignIn, *, status: int = 200, **values: object) -> Response:
        done = DONE.get(request.query_params.get("done", ""))
        return self._pages.render(template, status=status, csrf=sign_in.csrf, done=done, passkeys_possible=self._ceremonies is not None, **values)

    def _failure_page(self, failure: Refusal | Fault) -> Response:
        status = STATUS.get(failure.code, 403 if isinstance(failure, Refusal) else 503)
        heading = "That didn't work this time" if status == 503 else "This isn't here" if status == 404 else "This can't go on here"
        lines = (failure.plain_words,) if status != 404 else ("There is nothing of yours at this address.",)
        response = self._pages.render("message.html", status=status, heading=heading, lines=lines, code=failure.code)
        if status in (429, 503):
            response.headers["retry-after"] = "60" if status == 429 else "5"
        return response

    async def _json(self, work: Callable[[], Awaitable[Response]]) -> Response:
        try:
            return await work()
        except (Refusal, Fault) as failure:
            outcome = "refused" if isinstance(failure, Refusal) else "fault"
            text = "You have that passkey already, or as many as one may have." if failure.code == "records_conflict" else failure.plain_words
            body = {"outcome": outcome, "code": failure.code, "text": text}
            return JSONResponse(body, status_code=STATUS.get(failure.code, 403 if outcome == "refused" else 503))
        except Exception as unforeseen:
            self._on_fault(type(unforeseen).__name__)
            return JSONResponse({"outcome": "fault", "code": "internal", "text": Fault.plain_words}, status_code=503)


def decoded(body: bytes, shape: type[Shape]) -> Shape:
    """Raises BadInput."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError:
        raise BadInput("body_wrong_shape") from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise BadInput("body_not_json") from None


def see(address: str, done: str) -> Response:
    return RedirectResponse(f"{address}?done={done}", status_code=303)


def see_confirm(leads_to: str) -> Response:
    return RedirectResponse(f"/me/confirm?to={leads_to}", status_code=303)


def with_cookie(response: Response, cookie: str | None) -> Response:
    if cookie:
        response.headers.append("set-cookie", cookie)
    return response


def client_address(request: Request) -> str:
    return request.client.host if request.client else "unknown"
