"""The addresses of the customer's page. Whatever is read or changed is hers: no address names a customer, the sign-in does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from parley.console.customer.doors import Doors, TooMany, see, see_confirm, with_cookie
from parley.console.customer.export import export_csv, export_json
from parley.console.customer.passkey_doors import PasskeyDoors
from parley.console.customer.ports import CustomerSettings, House
from parley.console.customer.reading import lower_headers
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
from parley.model.customers import SignIn
from parley.model.plain_words import account_words
from parley.model.refusals import BadInput, LogUnavailable
from parley.model.strangers import clean_name

RELEASES_A_PAGE = 25
NICKNAME_CHARS_MAX = 40
EVERYWHERE = "*"
ERASE_WORD = "erase"
CONFIRMED: Mapping[str, str] = {"erase": "/me/erase", "security": "/me/security"}
"""Where a fresh proof leads. The address names one of these; nothing of it is ever followed."""


def customer_routes(house: House, settings: CustomerSettings, *, on_fault: Callable[[str], None] = lambda name: None) -> list[BaseRoute]:
    """The routes of the customer's page, for the app to mount at the root. `on_fault` hears the type of whatever broke unforeseen."""
    doors, passkeys = _PageDoors(house, settings, on_fault), PasskeyDoors(house, settings, on_fault)
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
        Route("/me/passkeys/challenge", passkeys.challenge, methods=["POST"]),
        Route("/me/passkeys/sign-in", passkeys.passkey_sign_in, methods=["POST"]),
        Route("/me/passkeys/step-up", passkeys.passkey_step_up, methods=["POST"]),
        Route("/me/passkeys/add", passkeys.passkey_add, methods=["POST"]),
        Route("/static/me/{name}", doors.static, methods=["GET"]),
    ]


class _PageDoors(Doors):
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
            await self._house.catch_up(sign_in.customer)
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
        """Out of her page and of the chat in this browser, which would go on answering whoever sits here next."""

        async def work(sign_in: SignIn) -> Response:
            await self._form(request, sign_in)
            response = RedirectResponse("/me", status_code=303)
            response.headers.append("set-cookie", await self._house.sign_ins.end(sign_in))
            response.headers.append("set-cookie", await self._house.visitors.leave(lower_headers(request)))
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
            if not self._house.admits(sign_in.customer):
                raise TooMany()
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
            if not self._house.admits(sign_in.customer):
                raise TooMany()
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

    async def static(self, request: Request) -> Response:
        return self._pages.static(request.path_params["name"])


ERASED = (
    "Your key is gone, and with it everything that it opened: links, consents, the list of releases, passkeys.",
    "The log keeps its entries, which say nothing about you. Receipts that you saved still check.",
)


def number_in(text: str) -> int | None:
    """A plain decimal number, None for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def confirmed_address(to: str, grant: str) -> str:
    """Where a fresh proof leads: one of our own few places, whatever the address says."""
    if to == "extend" and len(grant) == 32 and all(letter in "0123456789abcdef" for letter in grant):
        return f"/consent/extend/{grant}"
    return CONFIRMED.get(to, "/me")


def attachment(content: bytes, kind: str, name: str) -> Response:
    return Response(content, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"})
