"""The pages that customers see when a client sends them here: login, then the choice of accounts, then back with a code or a no."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from parley_sandbox.authorization import REQUEST_SECONDS, OAuthError, PushedRequest
from parley_sandbox.bank import Bank, bank_of
from parley_sandbox.books import password
from parley_sandbox.consents import ConsentRequest, clusters
from parley_sandbox.ledger import Customer
from parley_sandbox.pages import page, problem
from parley_sandbox.people import CAST
from parley_sandbox.sessions import GuessBrake, Session, Sessions
from parley_sandbox.web import Refusal, query, read_form, require_same_origin, single

COOKIE = "larkspur_login"
LOGIN_FIELD_CHARACTERS_MAX = 100
ACCOUNTS_MAX = 50
WRONG_LOGIN = "That user name and password do not match."
WAIT = "Too many wrong passwords for this name. Please wait a minute."

CLUSTER_WORDS = {
    "ACCOUNT_BASIC": "Names, kinds and the last four digits of the accounts you choose",
    "BALANCES": "Their balances",
    "TRANSACTIONS": "Their transactions, with merchants, amounts and messages",
    "CUSTOMER_CONTACT": "Your name",
}


async def home(request: Request) -> Response:
    """GET /: what this is, and who banks here with which password."""
    bank = bank_of(request)
    people = [(person, password(bank.seed, person.username)) for person in CAST]
    return page(request, "home.html", people=people, seed=bank.seed)


async def authorize(request: Request) -> Response:
    """GET /authorize: the login page for a pushed request. Only client_id and request_uri are read."""
    given = query(request)
    pushed = _pushed(bank_of(request), given)
    session = _sessions(request).of(request, REQUEST_SECONDS)

    def login_page(session: Session) -> Response:
        return page(request, "login.html", asker=pushed.client.client_name, csrf=session.csrf, given=given, problem="", username="")

    return login_page(session) if session is not None else _sessions(request).start(login_page)


async def login(request: Request) -> Response:
    """POST /authorize/login: user name and password; on success a new session and on to the accounts."""
    bank, fields = bank_of(request), single(await read_form(request))
    _sessions(request).checked(request, fields.get("csrf", ""))
    require_same_origin(request, bank.issuer)
    pushed = _pushed(bank, fields)
    username, unverified_password = (fields.get(name, "")[:LOGIN_FIELD_CHARACTERS_MAX] for name in ("username", "password"))
    username = username.strip().lower()
    message = _login_problem(request, bank, username, unverified_password)
    if message:
        session = _sessions(request).checked(request, fields["csrf"])
        status = 429 if message == WAIT else 401
        asker = pushed.client.client_name
        return page(request, "login.html", status, asker=asker, csrf=session.csrf, given=fields, problem=message, username=username)
    _sessions(request).end(request)

    def onwards(session: Session) -> Response:
        session.signed_in[fields["request_uri"]] = username
        return RedirectResponse(f"/authorize/accounts?{urlencode(_names(fields))}", 303, {"cache-control": "no-store"})

    return _sessions(request).start(onwards)


def _login_problem(request: Request, bank: Bank, username: str, unverified_password: str) -> str:
    """Why the login fails, or nothing. An unknown name takes the same path as a wrong password."""
    brake = _brake(request)
    if brake.holds(username):
        return WAIT
    known = any(person.username == username for person in CAST)
    right = hmac.compare_digest(_digest(password(bank.seed, username)), _digest(unverified_password))
    if known and right:
        return ""
    brake.failed(username)
    return WRONG_LOGIN


async def choose_accounts(request: Request) -> Response:
    """GET /authorize/accounts: who asks, for what, for how long; nothing is ticked beforehand."""
    bank, given = bank_of(request), query(request)
    pushed = _pushed(bank, given)
    session = _sessions(request).of(request)
    username = session.signed_in.get(given["request_uri"]) if session else None
    if session is None or username is None:
        return RedirectResponse(f"/authorize?{urlencode(_names(given))}", 303, {"cache-control": "no-store"})
    return _choice(request, pushed, _customer(bank, username), session.csrf, given)


def _choice(request: Request, pushed: PushedRequest, customer: Customer, csrf: str, given: dict[str, str], message: str = "") -> Response:
    back = urlsplit(pushed.redirect_uri)
    targets = f"'self' {back.scheme}://{back.netloc}"
    return page(
        request,
        "accounts.html",
        400 if message else 200,
        form_targets=targets,
        asker=pushed.client.client_name,
        back=back.netloc,
        customer=customer,
        wanted=[CLUSTER_WORDS[cluster] for cluster in clusters(pushed.consent)],
        duration=duration_words(pushed.consent),
        lookback=pushed.consent.lookbackPeriod,
        csrf=csrf,
        given=given,
        problem=message,
    )


async def decide(request: Request) -> Response:
    """POST /authorize/accounts: approve with at least one account, or deny; either way the request is used up and the browser goes back."""
    bank, fields = bank_of(request), await read_form(request)
    chosen = tuple(dict.fromkeys(fields.pop("account", [])))
    given = single(fields)
    session = _sessions(request).checked(request, given.get("csrf", ""))
    require_same_origin(request, bank.issuer)
    pushed = _pushed(bank, given)
    username = session.signed_in.get(given["request_uri"])
    if username is None:
        raise Refusal(403, "login", "Please log in first.")
    customer = _customer(bank, username)
    if given.get("decision") == "deny":
        bank.authorizations.deny(pushed)
        return _back(request, pushed, {"error": "access_denied", "error_description": "the customer said no"})
    if given.get("decision") != "approve":
        raise Refusal(400, "decision", "Please choose approve or deny.")
    if len(chosen) > ACCOUNTS_MAX or any(customer.account(account_id) is None for account_id in chosen):
        raise Refusal(400, "account", "That is not one of your accounts.")
    if not chosen:
        return _choice(request, pushed, customer, session.csrf, given, "Please tick at least one account, or deny.")
    return _back(request, pushed, {"code": bank.authorizations.approve(pushed, username, chosen)})


def _back(request: Request, pushed: PushedRequest, answer: dict[str, str]) -> Response:
    """Sends the browser back with 303, so that the form is never posted on; `iss` says which bank answered (RFC 9207)."""
    bank = bank_of(request)
    _sessions(request).end(request)
    state = {} if pushed.state is None else {"state": pushed.state}
    issuer = "https://elsewhere.invalid" if bank.faults.strikes("wrong_iss") is not None else bank.issuer
    parts = urlsplit(pushed.redirect_uri)
    added = urlencode(answer | state | {"iss": issuer})
    location = urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))
    return RedirectResponse(location, 303, {"cache-control": "no-store"})


def duration_words(consent: ConsentRequest) -> str:
    """How long the consent lasts, in words."""
    if consent.durationType == "ONE_TIME":
        return "once, today"
    days = consent.durationPeriod or 365
    return f"{days} day{'' if days == 1 else 's'}, unless you end it earlier"


def _pushed(bank: Bank, given: dict[str, str]) -> PushedRequest:
    try:
        return bank.authorizations.pushed(given.get("client_id", ""), given.get("request_uri", ""))
    except OAuthError:
        raise Refusal(400, "request", "This request is unknown, used up or too old. Please start again where you came from.") from None


def _customer(bank: Bank, username: str) -> Customer:
    customer = bank.customer(username)
    if customer is None:
        raise Refusal(403, "login", "Please log in first.")
    return customer


def _names(given: dict[str, str]) -> dict[str, str]:
    return {name: given[name] for name in ("client_id", "request_uri")}


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.login_sessions
    return sessions


def _brake(request: Request) -> GuessBrake:
    brake: GuessBrake = request.app.state.guess_brake
    return brake


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _page(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Shows a refusal as a page; a browser that cannot be trusted with a redirect stays here."""

    async def shown(request: Request) -> Response:
        try:
            return await endpoint(request)
        except OAuthError:
            return problem(request, 400, "This request is used up or too old. Please start again where you came from.")
        except Refusal as refusal:
            return problem(request, refusal.status, refusal.message)

    return shown


ROUTES = [
    Route("/", _page(home), methods=["GET"]),
    Route("/authorize", _page(authorize), methods=["GET"]),
    Route("/authorize/login", _page(login), methods=["POST"]),
    Route("/authorize/accounts", _page(choose_accounts), methods=["GET"]),
    Route("/authorize/accounts", _page(decide), methods=["POST"]),
]
