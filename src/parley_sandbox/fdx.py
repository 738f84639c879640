"""The resource API under /fdx/v6: accounts, rows, the customer, and the consent itself. Every call checks token and consent anew."""

import re
from collections.abc import Awaitable, Callable
from datetime import date
from urllib.parse import urlencode

from msgspec import structs
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from parley_sandbox import mishaps
from parley_sandbox.bank import Bank, bank_of
from parley_sandbox.chance import identifier
from parley_sandbox.consents import Consent
from parley_sandbox.entities import Entity, account_entity, customer_entity, transaction_entity
from parley_sandbox.ledger import Account, Customer
from parley_sandbox.web import Refusal, json_response, query, read_json
from parley_sandbox.windows import PageKey, Window, read_limit, read_page_key, read_window, write_page_key

INTERACTION_HEADER = "x-fapi-interaction-id"
ACCOUNT_IDS_MAX = 50
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

Reader = Callable[[Request, Bank, Consent, Customer], Entity]


def accounts(request: Request, bank: Bank, consent: Consent, customer: Customer) -> Entity:
    """GET /accounts: the consented accounts; `lightweight` (the default) carries no balances, `details` does."""
    _need(consent, "ACCOUNT_BASIC", "BALANCES")
    parameters = _known(query(request), "accountIds", "resultType", "pageKey", "limit")
    result_type = parameters.get("resultType", "lightweight")
    if result_type not in ("lightweight", "details"):
        raise Refusal(400, "401", "resultType is lightweight or details.")
    shared = _asked_accounts(consent, customer, parameters)
    place = PageKey(customer.customer_id, identifier(parameters.get("accountIds"), length=16), "", 0)
    if "pageKey" in parameters:
        key = read_page_key(bank.seed, parameters["pageKey"], customer.customer_id)
        if key.start != place.start:
            raise Refusal(400, "401", "pageKey belongs to another list.")
        place = key
    limit = read_limit(parameters)
    page = [account_entity(a, consent.clusters, details=result_type == "details") for a in shared[place.offset : place.offset + limit]]
    return _page(bank, "/fdx/v6/accounts", parameters, place, limit, len(shared)) | {"accounts": page}


def account(request: Request, bank: Bank, consent: Consent, customer: Customer) -> Entity:
    """GET /accounts/{id}: one account in full."""
    del bank
    _need(consent, "ACCOUNT_BASIC", "BALANCES")
    _known(query(request))
    return account_entity(_shared_account(consent, customer, request.path_params["account_id"]), consent.clusters, details=True)


def transactions(request: Request, bank: Bank, consent: Consent, customer: Customer) -> Entity:
    """GET /accounts/{id}/transactions: rows of a window, newest first, page by page."""
    _need(consent, "TRANSACTIONS")
    found = _shared_account(consent, customer, request.path_params["account_id"])
    parameters = _known(query(request), "startTime", "endTime", "startDate", "endDate", "pageKey", "limit")
    window, offset = _where(bank, consent, found, parameters)
    limit = read_limit(parameters)
    rows = [row for row in found.postings if window.start <= row.day <= window.end]
    place = PageKey(found.account_id, window.start.isoformat(), window.end.isoformat(), offset)
    path = f"/fdx/v6/accounts/{found.account_id}/transactions"
    entities = [transaction_entity(found, row) for row in rows[offset : offset + limit]]
    return _page(bank, path, parameters, place, limit, len(rows)) | {"transactions": entities}


def current_customer(request: Request, bank: Bank, consent: Consent, customer: Customer) -> Entity:
    """GET /customers/current: who granted the consent."""
    del bank
    _known(query(request))
    return customer_entity(customer, consent.clusters)


def _where(bank: Bank, consent: Consent, found: Account, parameters: dict[str, str]) -> tuple[Window, int]:
    """The window and place: from the page key where there is one (a window beside it must agree), else from the dates."""
    if "pageKey" not in parameters:
        return read_window(parameters, bank.today, consent.earliest_day), 0
    key = read_page_key(bank.seed, parameters["pageKey"], found.account_id)
    window = Window(date.fromisoformat(key.start), date.fromisoformat(key.end))
    dated = any(name.startswith(("start", "end")) for name in parameters)
    if dated and read_window(parameters, bank.today, consent.earliest_day) != window:
        raise Refusal(400, "401", "pageKey belongs to another window.")
    if window.start < consent.earliest_day:
        raise Refusal(400, "703", "The window starts before the agreed lookback.")
    return window, key.offset


def _page(bank: Bank, path: str, parameters: dict[str, str], place: PageKey, limit: int, total: int) -> Entity:
    """The page and links objects. `HERE` names this very page, for the fault that repeats it; it never leaves the house."""
    here: Entity = {mishaps.HERE: write_page_key(bank.seed, place)}
    page: Entity = {"totalElements": total}
    if place.offset + limit >= total:
        return here | {"page": page}
    key = write_page_key(bank.seed, structs.replace(place, offset=place.offset + limit))
    kept = {name: value for name, value in parameters.items() if name in ("accountIds", "resultType", "limit")}
    return here | {"page": page | {"nextPageKey": key}, "links": {"next": {"href": f"{path}?{urlencode(kept | {'pageKey': key})}"}}}


def _asked_accounts(consent: Consent, customer: Customer, parameters: dict[str, str]) -> list[Account]:
    if "accountIds" not in parameters:
        return [found for found in customer.accounts if found.account_id in consent.account_ids]
    wanted = parameters["accountIds"].split(",")
    if len(wanted) > ACCOUNT_IDS_MAX:
        raise Refusal(400, "401", f"accountIds names at most {ACCOUNT_IDS_MAX} accounts.")
    return [_shared_account(consent, customer, account_id) for account_id in dict.fromkeys(wanted)]


def _known(parameters: dict[str, str], *names: str) -> dict[str, str]:
    """The parameters, or a refusal where a token stands in the address; unknown ones are ignored as FDX asks."""
    if "access_token" in parameters:
        raise Refusal(400, "401", "Tokens belong in the Authorization header.")
    return {name: value for name, value in parameters.items() if name in names}


def _need(consent: Consent, *clusters: str) -> None:
    if not consent.clusters & set(clusters):
        raise Refusal(403, "403", "The consent does not cover this data.")


def _shared_account(consent: Consent, customer: Customer, account_id: str) -> Account:
    """A consented account; any other, whoever owns it, does not exist."""
    found = customer.account(account_id) if account_id in consent.account_ids else None
    if found is None:
        raise Refusal(404, "701", "There is no such account.")
    return found


def served(path_class: mishaps.PathClass, reader: Reader) -> Callable[[Request], Awaitable[Response]]:
    """Wraps a reader in what every read shares, in this order: interaction id, token, faults, consent, data, access record."""

    async def endpoint(request: Request) -> Response:
        interaction_id = _interaction_id(request)
        if interaction_id is None:
            return _error(Refusal(400, "401", f"{INTERACTION_HEADER} is required: one UUID."))
        bank = bank_of(request)
        headers = {INTERACTION_HEADER: interaction_id}
        try:
            consent = _token_holder(request, bank)
            await mishaps.before(bank.faults)
            if consent.state(bank.clock()) != "ACTIVE":
                raise Refusal(403, "602", "The customer's permission has ended.")
            customer = bank.customer(consent.username)
            if customer is None:
                raise Refusal(404, "601", "There is no such customer.")
            content, status = mishaps.bend(bank.faults, path_class, reader(request, bank, consent, customer))
            bank.record_read(interaction_id, path_class, consent.consent_id)
            return mishaps.after(bank.faults, json_response(content, status, headers))
        except Refusal as refusal:
            return _error(refusal, headers)

    return endpoint


def _consented(answer: Callable[[Request, Bank, Consent], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Wraps the consent endpoints: a token sees its own consent only, even when that has ended."""

    async def endpoint(request: Request) -> Response:
        interaction_id = _interaction_id(request)
        if interaction_id is None:
            return _error(Refusal(400, "401", f"{INTERACTION_HEADER} is required: one UUID."))
        headers = {INTERACTION_HEADER: interaction_id}
        try:
            bank = bank_of(request)
            consent = _token_holder(request, bank)
            if request.path_params["consent_id"] != consent.consent_id:
                raise Refusal(404, "1107", "There is no such consent.")
            response = await answer(request, bank, consent)
        except Refusal as refusal:
            return _error(refusal, headers)
        response.headers.update(headers)
        return response

    return endpoint


async def get_consent(request: Request, bank: Bank, consent: Consent) -> Response:
    """GET /consents/{id}."""
    del request
    return json_response(consent.wire(bank.clock()))


async def get_revocation(request: Request, bank: Bank, consent: Consent) -> Response:
    """GET /consents/{id}/revocation: how it ended, an empty list while it stands."""
    del request, bank
    return json_response({"revocations": consent.revocation()})


async def put_revocation(request: Request, bank: Bank, consent: Consent) -> Response:
    """PUT /consents/{id}/revocation: ends it for good with 204; 409 when it had ended before."""
    body = await read_json(request)
    known = isinstance(body, dict) and body.keys() <= {"reason", "initiator"}
    if not known or body.get("reason", "OTHER") not in ("USER_ACTION", "BUSINESS_RULE", "SECURITY_EVENT", "OTHER"):
        raise Refusal(400, "401", "reason is USER_ACTION, BUSINESS_RULE, SECURITY_EVENT or OTHER.")
    if body.get("initiator", "DATA_RECIPIENT") not in ("INDIVIDUAL", "DATA_RECIPIENT", "DATA_ACCESS_PLATFORM", "DATA_PROVIDER"):
        raise Refusal(400, "401", "initiator is not known.")
    if not bank.authorizations.end_consent(consent, body.get("reason", "OTHER"), body.get("initiator", "DATA_RECIPIENT")):
        raise Refusal(409, "409", "The consent has already ended.")
    return Response(status_code=204, headers={"cache-control": "no-store"})


def _token_holder(request: Request, bank: Bank) -> Consent:
    """The consent of the bearer token in the one Authorization header (RFC 6750). Raises Refusal 401, code 603."""
    values = request.headers.getlist("authorization")
    scheme, _, token = (values[0] if len(values) == 1 else "").partition(" ")
    consent = bank.authorizations.holder(token) if scheme.lower() == "bearer" and 20 <= len(token) <= 200 else None
    if consent is None:
        raise Refusal(401, "603", "The access token is missing, unknown or expired.", {"www-authenticate": 'Bearer error="invalid_token"'})
    return consent


def _interaction_id(request: Request) -> str | None:
    values = request.headers.getlist(INTERACTION_HEADER)
    return values[0] if len(values) == 1 and _UUID.fullmatch(values[0]) else None


def _error(refusal: Refusal, headers: dict[str, str] | None = None) -> Response:
    content = {"code": refusal.code, "message": refusal.message}
    return json_response(content, refusal.status, {**refusal.headers, **(headers or {})})


ROUTES = [
    Route("/fdx/v6/accounts", served("accounts", accounts), methods=["GET"]),
    Route("/fdx/v6/accounts/{account_id}", served("account", account), methods=["GET"]),
    Route("/fdx/v6/accounts/{account_id}/transactions", served("transactions", transactions), methods=["GET"]),
    Route("/fdx/v6/customers/current", served("customer", current_customer), methods=["GET"]),
    Route("/fdx/v6/consents/{consent_id}", _consented(get_consent), methods=["GET"]),
    Route("/fdx/v6/consents/{consent_id}/revocation", _consented(get_revocation), methods=["GET"]),
    Route("/fdx/v6/consents/{consent_id}/revocation", _consented(put_revocation), methods=["PUT"]),
]
