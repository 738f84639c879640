"""The HTTP side of extending a grant: one page and its form, for whoever is signed in and has just proved it."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from parley.authorization.linking import OWN_PAGE
from parley.authorization.pages.forms import lower_headers, read_form
from parley.authorization.pages.render import Pages
from parley.authorization.pages.routes import STATUS, LinkingSettings
from parley.authorization.renewal import RenewalDesk
from parley.authorization.sign_ins import SignIns
from parley.model.customers import SignIn
from parley.model.refusals import BadInput, Fault, Refusal

VERSION_DIGITS_MAX = 9


def renewal_routes(
    *, desk: RenewalDesk, sign_ins: SignIns, settings: LinkingSettings, on_fault: Callable[[str], None] = lambda name: None
) -> list[BaseRoute]:
    """`/consent/extend/…`, for the app to mount at the root."""
    doors = _Doors(desk, sign_ins, settings, on_fault)
    return [
        Route("/consent/extend/{grant}", doors.show, methods=["GET"]),
        Route("/consent/extend/{grant}", doors.decide, methods=["POST"]),
    ]


class _Doors:
    def __init__(self, desk: RenewalDesk, sign_ins: SignIns, settings: LinkingSettings, on_fault: Callable[[str], None]) -> None:
        self._desk = desk
        self._sign_ins = sign_ins
        self._settings = settings
        self._on_fault = on_fault
        self._pages = Pages(settings.bank_title, settings.contact)

    async def show(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            page = await self._desk.show(sign_in.customer, request.path_params["grant"])
            return self._pages.extend(page, csrf=sign_in.csrf)

        return await self._hers(request, work)

    async def decide(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            form = await read_form(request, self._settings.public_origin)
            if not _same(form.one("csrf"), sign_in.csrf):
                raise BadInput("form_stale", "csrf")
            decision, version = form.one("decision"), form.one("version")
            if decision == "deny":
                return RedirectResponse(OWN_PAGE, status_code=303)
            if decision != "allow" or not version.isdecimal() or not version.isascii() or len(version) > VERSION_DIGITS_MAX:
                raise BadInput("form_stale", "no decision")
            await self._desk.allow(sign_in.customer, request.path_params["grant"], int(version), form.one("text_hash"))
            return RedirectResponse(f"{OWN_PAGE}?done=extended", status_code=303)

        return await self._hers(request, work)

    async def _hers(self, request: Request, work: Callable[[SignIn], Awaitable[Response]]) -> Response:
        """`work` for whoever has just proved who she is; everybody else is sent to do so first."""
        try:
            sign_in = await self._sign_ins.find(lower_headers(request))
            if sign_in is None:
                return RedirectResponse(OWN_PAGE, status_code=303)
            if not self._sign_ins.is_fresh(sign_in):
                return RedirectResponse(f"{OWN_PAGE}/confirm?to=extend&grant={_hexadecimal(request.path_params['grant'])}", status_code=303)
            return await work(sign_in)
        except Refusal as refusal:
            return self._pages.refusal(refusal.code, refusal.plain_words, status=STATUS.get(refusal.code, 404))
        except Fault as fault:
            return self._pages.refusal(fault.code, fault.plain_words, status=503)
        except Exception as unforeseen:
            self._on_fault(type(unforeseen).__name__)
            return self._pages.refusal("internal", Fault.plain_words, status=503)


def _hexadecimal(text: str) -> str:
    """A grant's id as ours are written; nothing of a stranger's address is repeated in another."""
    return text if len(text) == 32 and all(letter in "0123456789abcdef" for letter in text) else ""


def _same(sent: str, expected: str) -> bool:
    return hmac.compare_digest(sent.encode(), expected.encode())
