"""For whoever runs the demo, on this machine only: switch faults, end consents, and see which reads were served (never their values)."""

import ipaddress
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from parley_sandbox.bank import Bank, bank_of
from parley_sandbox.faults import FAULTS, Fault, checked_fault, written_fault
from parley_sandbox.pages import page
from parley_sandbox.sessions import Session, Sessions
from parley_sandbox.web import Refusal, content_type, json_response, read_form, read_json, require_same_origin, single

COOKIE = "larkspur_operator"


async def desk(request: Request) -> Response:
    """GET /operator: the control page."""
    bank = bank_of(request)
    shown = {fault["name"]: fault for fault in bank.faults.listed()}

    def form(session: Session) -> Response:
        consents = [(consent, consent.state(bank.clock())) for consent in reversed(bank.authorizations.consents()[-20:])]
        return page(request, "operator.html", csrf=session.csrf, faults=FAULTS, shown=shown, consents=consents, reads=bank.reads_total)

    session = _sessions(request).of(request, 60)
    return form(session) if session is not None else _sessions(request).start(form)


async def get_faults(request: Request) -> Response:
    """GET /operator/faults: what is on, and what there is."""
    known = {name: {"default": default, "help": text} for name, (default, text) in FAULTS.items()}
    return json_response({"faults": bank_of(request).faults.listed(), "known": known})


async def set_faults(request: Request) -> Response:
    """POST /operator/faults: exactly these faults on, all others off; JSON from scripts, a form with its token from the page."""
    bank = bank_of(request)
    require_same_origin(request, bank.issuer)
    if content_type(request) == "application/json":
        bank.faults.replace(_from_json(await read_json(request)))
        return json_response({"faults": bank.faults.listed()})
    fields = await read_form(request)
    names = fields.pop("fault", [])
    given = single(fields)
    _sessions(request).checked(request, given.get("csrf", ""))
    bank.faults.replace([_from_form(name, given) for name in names])
    return RedirectResponse("/operator", 303)


def _from_json(content: object) -> list[Fault]:
    listed = content.get("faults") if isinstance(content, dict) and content.keys() == {"faults"} else None
    if not isinstance(listed, list) or len(listed) > len(FAULTS):
        raise Refusal(400, "bad_fault", 'Send {"faults": [...]}; an empty list switches all off.')
    return [_one(entry) for entry in listed]


def _one(entry: object) -> Fault:
    if isinstance(entry, str):
        return written_fault(entry)
    if isinstance(entry, dict) and entry.keys() <= {"name", "value", "times"}:
        return checked_fault(entry.get("name"), entry.get("value"), entry.get("times"))
    raise Refusal(400, "bad_fault", "A fault is a string or an object with name, value and times.")


def _from_form(name: str, given: dict[str, str]) -> Fault:
    times = given.get(f"times_{name}", "")
    if times and not (times.isdecimal() and times.isascii() and len(times) <= 6):
        raise Refusal(400, "bad_fault", "A fault's count is a whole number from 1.")
    return checked_fault(name, given.get(f"value_{name}", ""), int(times) if times else None)


async def reads(request: Request) -> Response:
    """GET /operator/reads: interaction ids, minutes, path classes and consents of the reads served, newest last."""
    bank = bank_of(request)
    listed = [
        {"interactionId": read.interaction_id, "minute": read.minute, "pathClass": read.path_class, "consentId": read.consent_id}
        for read in bank.reads
    ]
    return json_response({"total": bank.reads_total, "reads": listed})


async def consents(request: Request) -> Response:
    """GET /operator/consents: every consent with its state."""
    bank = bank_of(request)
    return json_response({"consents": [consent.wire(bank.clock()) for consent in bank.authorizations.consents()]})


async def end_consent(request: Request) -> Response:
    """POST /operator/consents/{id}/end: the customer cuts the link at the bank; JSON `{}` from scripts, a form from the page."""
    bank = bank_of(request)
    require_same_origin(request, bank.issuer)
    from_script = content_type(request) == "application/json"
    if from_script:
        await read_json(request)
    else:
        _sessions(request).checked(request, single(await read_form(request)).get("csrf", ""))
    ended = _end(bank, request.path_params["consent_id"])
    return json_response({"ended": ended}) if from_script else RedirectResponse("/operator", 303)


def _end(bank: Bank, consent_id: str) -> bool:
    consent = bank.authorizations.consent(consent_id)
    if consent is None:
        raise Refusal(404, "1107", "There is no such consent.")
    ended = bank.authorizations.end_consent(consent, "USER_ACTION", "INDIVIDUAL")
    client = bank.register.find(consent.client_id)
    if ended and client is not None and client.listener is not None:
        bank.messenger.consent_ended(client.listener, consent_id)
    return ended


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.operator_sessions
    return sessions


def _local(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Lets only this machine in. The outermost layer has already refused foreign host names, so a rebound name does not pass either."""

    async def guarded(request: Request) -> Response:
        try:
            if request.client is None or not ipaddress.ip_address(request.client.host).is_loopback:
                raise Refusal(403, "loopback", "The operator's desk is open on this machine only.")
            if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
                raise Refusal(403, "cross_site", "This was sent from another site.")
            return await endpoint(request)
        except Refusal as refusal:
            return json_response({"code": refusal.code, "message": refusal.message}, refusal.status, refusal.headers)

    return guarded


ROUTES = [
    Route("/operator", _local(desk), methods=["GET"]),
    Route("/operator/faults", _local(get_faults), methods=["GET"]),
    Route("/operator/faults", _local(set_faults), methods=["POST"]),
    Route("/operator/reads", _local(reads), methods=["GET"]),
    Route("/operator/consents", _local(consents), methods=["GET"]),
    Route("/operator/consents/{consent_id}/end", _local(end_consent), methods=["POST"]),
]
