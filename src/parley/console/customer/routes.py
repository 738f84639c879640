"""The addresses of the customer's page. Whatever is read or changed is hers: no address names a customer, the sign-in does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from parley.console.customer.ceremonies import CHALLENGE_LIFE, Ceremonies
from parley.console.customer.export import export_csv, export_json
from parley.console.customer.pages import DONE, Pages
from parley.console.customer.ports import CustomerSettings, House
from parley.console.customer.reading import HEADER_CSRF, check_csrf, lower_headers, read_cookie, read_form, read_json
from parley.console.customer.views import (
    account_views,
    grant_view,
    passkey_views,
    platform_views,
    public_id,
    release_views,
    sign_in_views,
    title_words,
)
from parley.model.customers import LedgerLine, PasskeyUse, SignIn, SignInMethod
from parley.model.plain_words import account_words
from parley.model.refusals import BadInput, Fault, LogUnavailable, Refusal
from parley.model.strangers import clean_name

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
RELEASES_A_PAGE = 25
LINES_COUNTED_MAX = 50_000
NICKNAME_CHARS_MAX = 40
EVERYWHERE = "*"
ERASE_WORD = "erase"
CONFIRMED: Mapping[str, str] = {"erase": "/me/erase", "security": "/me/security"}
"""Where a fresh proof leads. The address names one of these; nothing of it is ever followed."""

Work = Callable[[SignIn], Awaitable[Response]]
Shape = TypeVar("Shape")


class TooMany(Refusal):
    code = "too_many"
    plain_words = "That was a lot in a short time. Please wait a minute and try again."


class ProofNeeded(Refusal):
    """She is signed in, but proved who she is too long ago for what she wants to do."""

    code = "proof_needed"
    plain_words = "Please confirm first that it is you."


class Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    use: PasskeyUse


class NewPasskey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    credential: msgspec.Raw
    name: str = ""


def customer_routes(house: House, settings: CustomerSettings, *, on_fault: Callable[[str], None] = lambda name: None) -> list[BaseRoute]:
    """The routes of the customer's page, for the app to mount at the root. `on_fault` hears the type of whatever broke unforeseen."""
    doors = _Doors(house, settings, on_fault)
    return [
        Route("/me", doors.overview, methods=["GET"]),
        Route("/me/releases", doors.releases, methods=["GET"]),
        Route("/me/receipts/{index}", doors.receipt, methods=["GET"]),
        Route("/me/grants/{grant}", doors.grant, methods=["GET"]),
        Route("/me/grants/{grant}/{version}/record.json", doors.record, methods=["GET"]),
        Route("/me/pause", doors.change("pause", "paused"), methods=["POST"]),
        Route("/me/resume", doors.change("resume", "resumed"), methods=["POST"]),
        Route("/me/stop", doors.change("stop_platform", "stopped"), methods=["POST"]),
        Route("/me/accounts", doors.accounts, methods=["GET"]),
        Route("/me/accounts", doors.rename, methods=["POST"]),
        Route("/me/security", doors.security, methods=["GET"]),
        Route("/me/security/passkeys/remove", doors.remove_passkey, methods=["POST"]),
        Route("/me/security/sign-ins/end", doors.end_sign_in, methods=["POST"]),
        Route("/me/data", doors.data, methods=["GET"]),
        Route("/me/export.json", doors.export_json, methods=["GET"]),
        Route("/me/export.csv", doors.export_csv, methods=["GET"]),
        Route("/me/erase", doors.erase_page, methods=["GET"]),
        Route("/me/erase", doors.erase, methods=["POST"]),
        Route("/me/confirm", doors.confirm, methods=["GET"]),
        Route("/me/sign-out", doors.sign_out, methods=["POST"]),
        Route("/me/passkeys/challenge", doors.challenge, methods=["POST"]),
        Route("/me/passkeys/sign-in", doors.passkey_sign_in, methods=["POST"]),
        Route("/me/passkeys/step-up", doors.passkey_step_up, methods=["POST"]),
        Route("/me/passkeys/add", doors.passkey_add, methods=["POST"]),
        Route("/static/me/{name}", doors.static, methods=["GET"]),
    ]


class _Doors:
    def __init__(self, house: House, settings: CustomerSettings, on_fault: Callable[[str], None]) -> None:
        self._house = house
        self._settings = settings
        self._on_fault = on_fault
        self._pages = Pages(settings)
        self._ceremonies = Ceremonies(house.records, settings.site, house.clock, house.chance) if settings.site is not None else None
        self._knock_cookie = "__Host-parley-knock" if settings.secure else "parley-knock"

    # What each platform may ask and has learned.

    async def overview(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            records, now = self._house.records, self._house.clock()
            lines = await self._all_lines(sign_in.customer)
            grants = await records.grants_of(sign_in.customer, active_only=False, now=now)
            accounts = await records.bank_accounts(sign_in.customer)
            standing = [grant.id for grant in grants if grant.state.stands]
            spent = await records.spent(standing, now.astimezone(UTC).date())
            platforms = platform_views(grants, lines, accounts, spent, await self._title(), now)
            return self._page("overview.html", request, sign_in, at="consents", platforms=platforms, releases=len(lines))

        return await self._hers(request, work)

    async def releases(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            before = number_in(request.query_params.get("before", ""))
            await self._house.flush()
            lines = await self._house.records.disclosures_of(sign_in.customer, before=before, count=RELEASES_A_PAGE + 1)
            shown = release_views(lines[:RELEASES_A_PAGE], await self._title())
            older = shown[-1].number if len(lines) > RELEASES_A_PAGE else None
            return self._page(
                "releases.html", request, sign_in, at="releases", releases=shown, older=older, newest=before is None, vkey=self._house.log_vkey
            )

        return await self._hers(request, work)

    async def receipt(self, request: Request) -> Response:
        """The receipt of one of her releases or grants; the same 404 for every other entry."""

        async def work(sign_in: SignIn) -> Response:
            index = number_in(request.path_params["index"])
            text = await self._house.receipt(sign_in.customer, index) if index is not None else None
            if text is None:
                raise BadInput("receipt_unknown")
            return PlainTextResponse(text, headers={"content-disposition": f'attachment; filename="parley-receipt-{index}.txt"'})

        return await self._hers(request, work)

    async def grant(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            history = [each for each in await self._house.records.grant_history(request.path_params["grant"]) if each.customer == sign_in.customer]
            if not history:
                raise BadInput("receipt_unknown", "no such grant of hers")
            now = self._house.clock()
            names = {account.ref: account_words(account)[0] for account in await self._house.records.bank_accounts(sign_in.customer)}
            versions = [grant_view(each, names, None, now) for each in reversed(history)]
            title = title_words((await self._title())(history[-1].platform), history[-1].platform)
            return self._page("grant.html", request, sign_in, at="consents", versions=versions, title=title, text_hash=history[-1].text_hash)

        return await self._hers(request, work)

    async def record(self, request: Request) -> Response:
        """The signed consent record of one version."""

        async def work(sign_in: SignIn) -> Response:
            history = await self._house.records.grant_history(request.path_params["grant"])
            version = number_in(request.path_params["version"])
            found = [each for each in history if each.customer == sign_in.customer and each.version == version]
            if not found:
                raise BadInput("receipt_unknown", "no such version of hers")
            return attachment(await self._house.consent_record(found[0]), "application/json", f"consent-{found[0].id[:8]}-{version}.json")

        return await self._hers(request, work)

    def change(self, what: str, done: str) -> Callable[[Request], Awaitable[Response]]:
        """Pause, resume or stop: one platform, or all with `*`."""

        async def door(request: Request) -> Response:
            async def work(sign_in: SignIn) -> Response:
                form = await self._form(request, sign_in)
                platform = form.get("platform", "")
                if not platform or len(platform) > 200:
                    raise BadInput("body_wrong_shape")
                act: Callable[[str, str | None], Awaitable[int]] = getattr(self._house.keeper, what)
                try:
                    changed = await act(sign_in.customer, None if platform == EVERYWHERE else platform)
                except LogUnavailable:
                    if what == "resume":
                        raise
                    return see("/me", f"{done}-unlogged")
                return see("/me", done if changed else "nothing")

            return await self._hers(request, work)

        return door

    # Accounts.

    async def accounts(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            records = self._house.records
            views = account_views(await records.bank_accounts(sign_in.customer), await records.nicknames(sign_in.customer))
            return self._page("accounts.html", request, sign_in, at="accounts", accounts=views)

        return await self._hers(request, work)

    async def rename(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            form = await self._form(request, sign_in)
            name = clean_name(form.get("name", ""))[:NICKNAME_CHARS_MAX].strip()
            changed = await self._house.records.rename_account(sign_in.customer, form.get("account", ""), name or None)
            if not changed:
                raise BadInput("receipt_unknown", "no such account of hers")
            return see("/me/accounts", "renamed")

        return await self._hers(request, work)

    # Who may open this page.

    async def security(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            records = self._house.records
            return self._page(
                "security.html",
                request,
                sign_in,
                at="security",
                fresh=self._house.sign_ins.is_fresh(sign_in),
                passkeys=passkey_views(await records.passkeys_of(sign_in.customer)),
                sign_ins=sign_in_views(await records.sign_ins_of(sign_in.customer, self._house.clock()), sign_in),
            )

        return await self._hers(request, work)

    async def remove_passkey(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            form = await self._form(request, sign_in)
            if not self._house.sign_ins.is_fresh(sign_in):
                return see_confirm("security")
            try:
                hashed = bytes.fromhex(form.get("passkey", ""))
            except ValueError:
                raise BadInput("body_wrong_shape") from None
            removed = await self._house.records.remove_passkey(sign_in.customer, hashed)
            return see("/me/security", "passkey-removed" if removed else "nothing")

        return await self._hers(request, work)

    async def end_sign_in(self, request: Request) -> Response:
        """One of her sign-ins by its id, or all but this one with `*`."""

        async def work(sign_in: SignIn) -> Response:
            form = await self._form(request, sign_in)
            records, wanted = self._house.records, form.get("sign_in", "")
            if wanted == EVERYWHERE:
                ended = await records.end_other_sign_ins(sign_in.token_hash, sign_in.customer)
                return see("/me/security", "ended" if ended else "nothing")
            mine = await records.sign_ins_of(sign_in.customer, self._house.clock())
            found = next((each for each in mine if public_id(each) == wanted), None)
            if found is None:
                return see("/me/security", "nothing")
            await records.end_sign_in(found.token_hash, sign_in.customer)
            return see("/me/security", "ended")

        return await self._hers(request, work)

    async def sign_out(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            await self._form(request, sign_in)
            response = RedirectResponse("/me", status_code=303)
            response.headers.append("set-cookie", await self._house.sign_ins.end(sign_in))
            return response

        return await self._hers(request, work)

    async def confirm(self, request: Request) -> Response:
        """Once more who she is, before what cannot be taken back."""

        async def work(sign_in: SignIn) -> Response:
            leads_to = confirmed_address(request.query_params.get("to", ""), request.query_params.get("grant", ""))
            if self._house.sign_ins.is_fresh(sign_in):
                return RedirectResponse(leads_to, status_code=303)
            visit, cookie = await self._visit(request)
            has_passkey = bool(await self._house.records.passkeys_of(sign_in.customer))
            response = self._page(
                "confirm.html", request, sign_in, at="security", leads_to=leads_to, visit_csrf=visit, has_passkey=has_passkey and self._ceremonies
            )
            return with_cookie(response, cookie)

        return await self._hers(request, work)

    # Taking her data away, and erasing it.

    async def data(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            return self._page("data.html", request, sign_in, at="data")

        return await self._hers(request, work)

    async def export_json(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            records, now, customer = self._house.records, self._house.clock(), sign_in.customer
            grants = await records.grants_of(customer, active_only=False, now=now)
            histories = [[each for each in await records.grant_history(grant.id) if each.customer == customer] for grant in grants]
            told = export_json(
                bank=self._settings.bank_title,
                now=now,
                grants=histories,
                lines=await self._all_lines(customer),
                accounts=await records.bank_accounts(customer),
                nicknames=await records.nicknames(customer),
                passkeys=await records.passkeys_of(customer),
                sign_ins=await records.sign_ins_of(customer, now),
                title=await self._title(),
            )
            return attachment(told, "application/json", "my-consents.json")

        return await self._hers(request, work)

    async def export_csv(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            told = export_csv(await self._all_lines(sign_in.customer), await self._title())
            return attachment(told, "text/csv; charset=utf-8", "my-releases.csv")

        return await self._hers(request, work)

    async def erase_page(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            if not self._house.sign_ins.is_fresh(sign_in):
                return see_confirm("erase")
            return self._page("erase.html", request, sign_in, at="data", word=ERASE_WORD, problem=None)

        return await self._hers(request, work)

    async def erase(self, request: Request) -> Response:
        async def work(sign_in: SignIn) -> Response:
            form = await self._form(request, sign_in)
            if not self._house.sign_ins.is_fresh(sign_in):
                return see_confirm("erase")
            if form.get("word", "").strip().casefold() != ERASE_WORD:
                problem = f"Nothing was erased. Type the word “{ERASE_WORD}” if you mean it."
                return self._page("erase.html", request, sign_in, at="data", word=ERASE_WORD, problem=problem, status=422)
            await self._house.keeper.erase(sign_in.customer)
            response = self._pages.render("message.html", heading="Everything is erased", lines=ERASED, code=None)
            response.headers.append("set-cookie", self._house.sign_ins.clear())
            return response

        return await self._hers(request, work)

    # Passkeys.

    async def challenge(self, request: Request) -> Response:
        async def work() -> Response:
            body = await read_json(request, self._settings.public_origin)
            if not self._house.admits(client_address(request)):
                raise TooMany()
            use = decoded(body, Sent).use
            sign_in = None if use is PasskeyUse.SIGN_IN else await self._proven(request, fresh=use is PasskeyUse.ADD)
            if sign_in is None:
                await self._check_visit(request)
            knock = await self._with_passkeys().begin(use, sign_in, self._settings.bank_title)
            secure = "; Secure" if self._settings.secure else ""
            cookie = f"{self._knock_cookie}={knock.token}; Path=/; Max-Age={int(CHALLENGE_LIFE.total_seconds())}; HttpOnly; SameSite=Strict{secure}"
            return with_cookie(JSONResponse(knock.options), cookie)

        return await self._json(work)

    async def passkey_sign_in(self, request: Request) -> Response:
        async def work() -> Response:
            sent = await read_json(request, self._settings.public_origin)
            await self._check_visit(request)
            headers = lower_headers(request)
            customer = await self._with_passkeys().sign_in(read_cookie(headers, self._knock_cookie), sent)
            cookie = await self._house.sign_ins.arrived(customer, SignInMethod.PASSKEY, headers)
            return with_cookie(JSONResponse({"next": "/me"}), cookie)

        return await self._json(work)

    async def passkey_step_up(self, request: Request) -> Response:
        async def work() -> Response:
            sent = await read_json(request, self._settings.public_origin)
            sign_in = await self._proven(request, fresh=False)
            headers = lower_headers(request)
            await self._with_passkeys().step_up(read_cookie(headers, self._knock_cookie), sent, sign_in)
            cookie = await self._house.sign_ins.arrived(sign_in.customer, SignInMethod.PASSKEY, headers)
            return with_cookie(JSONResponse({"next": "/me"}), cookie)

        return await self._json(work)

    async def passkey_add(self, request: Request) -> Response:
        async def work() -> Response:
            body = await read_json(request, self._settings.public_origin)
            sign_in = await self._proven(request, fresh=True)
            sent = decoded(body, NewPasskey)
            knock = read_cookie(lower_headers(request), self._knock_cookie)
            await self._with_passkeys().add(knock, bytes(sent.credential), sign_in, sent.name)
            return JSONResponse({"next": "/me/security?done=passkey-added"})

        return await self._json(work)

    async def static(self, request: Request) -> Response:
        return self._pages.static(request.path_params["name"])

    # What every door shares.

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

    def _with_passkeys(self) -> Ceremonies:
        if self._ceremonies is None:
            raise BadInput("session_unknown", "no passkeys at this address")
        return self._ceremonies

    async def _form(self, request: Request, sign_in: SignIn) -> dict[str, str]:
        form = await read_form(request, self._settings.public_origin)
        check_csrf(sign_in.csrf, form.get("csrf", ""))
        return form

    async def _title(self) -> Callable[[str], str]:
        """What customers call a platform, by its registered name."""
        titles = await self._house.titles()
        return lambda platform: titles.get(platform, platform)

    async def _all_lines(self, customer: str) -> tuple[LedgerLine, ...]:
        """Her whole ledger, newest first, up to LINES_COUNTED_MAX."""
        await self._house.flush()
        lines: list[LedgerLine] = []
        before: int | None = None
        while len(lines) < LINES_COUNTED_MAX and (page := await self._house.records.disclosures_of(customer, before=before)):
            lines += page
            before = page[-1].number
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


ERASED = (
    "Your key is gone, and with it everything that it opened: links, consents, the list of releases, passkeys.",
    "The log keeps its entries, which say nothing about you. Receipts that you saved still check.",
)


def number_in(text: str) -> int | None:
    """A plain decimal number, None for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def decoded(body: bytes, shape: type[Shape]) -> Shape:
    """Raises BadInput."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError:
        raise BadInput("body_wrong_shape") from None
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise BadInput("body_not_json") from None


def confirmed_address(to: str, grant: str) -> str:
    """Where a fresh proof leads: one of our own few places, whatever the address says."""
    if to == "extend" and len(grant) == 32 and all(letter in "0123456789abcdef" for letter in grant):
        return f"/consent/extend/{grant}"
    return CONFIRMED.get(to, "/me")


def see(address: str, done: str) -> Response:
    return RedirectResponse(f"{address}?done={done}", status_code=303)


def see_confirm(leads_to: str) -> Response:
    return RedirectResponse(f"/me/confirm?to={leads_to}", status_code=303)


def attachment(content: bytes, kind: str, name: str) -> Response:
    return Response(content, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"})


def with_cookie(response: Response, cookie: str | None) -> Response:
    if cookie:
        response.headers.append("set-cookie", cookie)
    return response


def client_address(request: Request) -> str:
    return request.client.host if request.client else "unknown"
