"""The API's one address. Refusals are problem details (RFC 9457) with a stable code; what is wrong with a token is said as OAuth has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from parley.channels.api.ask import BODY_BYTES_MAX, ApiConversation, fallback_id, read_question, typed
from parley.channels.api.ports import AnswerDesk, Gate, Knock, NotAdmitted
from parley.model.refusals import BadInput, Fault, NotUnderstood, Refusal
from parley.model.stages import Envelope

ANSWERS_PATH = "/api/v1/answers"
NO_SCOPE = frozenset({"not_consented", "not_linked", "purpose_unknown"})
"""The token is good and says less than was asked (RFC 6750 3.1: insufficient_scope)."""
STATUS: Mapping[str, int] = {
    "body_too_large": 413,
    "content_type_wrong": 415,
    "body_not_json": 400,
    "body_too_deep": 400,
    "body_wrong_shape": 422,
    "text_empty": 422,
    "text_too_long": 422,
    "offering_unknown": 422,
    "no_suitable_account": 422,
    "not_understood": 422,
    "replayed_message": 409,
    "link_lost": 409,
    "grant_revoked": 401,
    "grant_expired": 401,
    "budget_spent": 429,
}
_encode = msgspec.json.Encoder().encode


def api_routes(
    *, gate: Gate, desk: AnswerDesk, challenge: str, clock: Callable[[], datetime], on_fault: Callable[[str], None] = lambda name: None
) -> list[BaseRoute]:
    """For the app to mount at the root. `challenge`: what WWW-Authenticate tells a client without a good token, error and scope apart."""
    door = _Door(gate, desk, challenge, clock, on_fault)
    return [Route(ANSWERS_PATH, door.answer, methods=["POST"])]


class _Door:
    def __init__(self, gate: Gate, desk: AnswerDesk, challenge: str, clock: Callable[[], datetime], on_fault: Callable[[str], None]) -> None:
        self._gate = gate
        self._desk = desk
        self._challenge = challenge
        self._clock = clock
        self._on_fault = on_fault

    async def answer(self, request: Request) -> Response:
        try:
            return await self._answered(request)
        except NotAdmitted as refused:
            return self._not_admitted(refused)
        except (Refusal, NotUnderstood) as refusal:
            return self._refused(refusal)
        except Fault as fault:
            return problem(503, fault.code, fault.plain_words, {"retry-after": "5"})
        except Exception as unforeseen:
            self._on_fault(type(unforeseen).__name__)
            return problem(503, "internal", Fault.plain_words, {"retry-after": "5"})

    async def _answered(self, request: Request) -> Response:
        # 1. Who is it? Nothing of the body is read before that.
        proofs = request.headers.getlist("dpop")
        query = request.scope.get("query_string", b"")
        knock = Knock(request.headers.getlist("authorization"), proofs, request.method, request.url.path, query)
        admitted = await self._gate.admit(knock)
        # 2. What is asked?
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise BadInput("content_type_wrong")
        body = await read_body(request)
        asked = read_question(body)
        # 3. Down the road, and the answer out.
        channel = ApiConversation(admitted, asked, fallback_id("".join(proofs)))
        reply = await self._desk.answer(Envelope(body, {}, self._clock()), channel, admitted, typed(asked))
        return Response(_encode(reply), media_type="application/json", headers={"cache-control": "no-store"})

    def _not_admitted(self, refused: NotAdmitted) -> Response:
        body = {"error": refused.code, "error_description": refused.words}
        told = self._challenge if refused.code == "token_missing" else f'{self._challenge}, error="{refused.code}"'
        headers = {**refused.headers, **({"www-authenticate": told} if refused.status == 401 else {}), "cache-control": "no-store"}
        return JSONResponse(body, status_code=refused.status, headers=headers)

    def _refused(self, refusal: Refusal | NotUnderstood) -> Response:
        status = STATUS.get(refusal.code, 403)
        headers: dict[str, str] = {}
        if refusal.code in NO_SCOPE:
            headers["www-authenticate"] = f'{self._challenge}, error="insufficient_scope"'
        elif status == 401:
            headers["www-authenticate"] = f'{self._challenge}, error="invalid_token"'
        elif status == 429:
            headers["retry-after"] = str(seconds_to_midnight(self._clock()))
        basis = refusal.basis.value if isinstance(refusal, Refusal) else "input"
        return problem(status, refusal.code, refusal.plain_words, headers, basis=basis)


def problem(status: int, code: str, words: str, headers: Mapping[str, str], *, basis: str | None = None) -> Response:
    body = {"type": f"urn:parley:{code}", "title": HTTPStatus(status).phrase, "status": status, "detail": words, "code": code}
    if code in NO_SCOPE:
        body["error"] = "insufficient_scope"
    if basis is not None:
        body["basis"] = basis
    return JSONResponse(body, status_code=status, headers={"cache-control": "no-store", **headers}, media_type="application/problem+json")


def seconds_to_midnight(now: datetime) -> int:
    """Budgets are of UTC days."""
    tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return int((tomorrow - now).total_seconds()) + 1


async def read_body(request: Request) -> bytes:
    """Raises BadInput as soon as it is longer than a question can be; the rest is never read."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise BadInput("body_too_large")
    return bytes(body)
