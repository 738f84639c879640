"""The partners' API, wired: a token becomes an admission, and a question goes down the road with the grants of that token and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from parley.app.diagnostics import diagnostics
from parley.authorization.server.access import Access, GrantSource, Shown
from parley.authorization.server.errors import OAuthError
from parley.authorization.server.ports import GrantMaker
from parley.channels.api.ports import Knock, NotAdmitted, Reply
from parley.model.extensions import Channel, OfferingCard, Understood
from parley.model.grants import Grant
from parley.model.refusals import Fault, GrantRevoked, StopAsked
from parley.model.stages import Envelope, Question
from parley.proof import format_receipt
from parley.release.pipeline import House, Released, release
from parley.release.ports import CaseFile, Records


class TokenGate:
    """Implements parley.channels.api.ports.Gate over whichever authorization server the bank has. `public_url` as clients spell it."""

    def __init__(self, grants: GrantSource, public_url: str) -> None:
        self._grants = grants
        self._public_url = public_url

    async def admit(self, knock: Knock) -> Access:
        if b"access_token" in knock.query:
            raise NotAdmitted("invalid_request", "A token never belongs into an address.", status=400)
        scheme, _, token = knock.authorization[0].partition(" ") if len(knock.authorization) == 1 else ("", "", "")
        if not token:
            raise NotAdmitted("token_missing", "A token is needed.", status=401)
        shown = Shown(scheme, token.strip(), knock.proofs, knock.method, f"{self._public_url}{knock.path}")
        try:
            return await self._grants.grant_from_token(shown)
        except OAuthError as error:
            raise NotAdmitted(error.code, error.words, status=error.status, headers=error.headers) from None


@dataclass(frozen=True, slots=True)
class OnlyThese:
    """The road's records, seen through a token: the grants that it stands for, of the customer that it stands for."""

    records: Records
    access: Access

    async def open_case(self, question: Question) -> CaseFile:
        case = await self.records.open_case(question)
        if case.customer != self.access.customer:
            return CaseFile(customer=None)
        held = {grant.id for grant in self.access.grants}
        return replace(case, grants=tuple(grant for grant in case.grants if grant.id in held))

    async def claim(self, question: Question, grant: Grant, *, day: date, rows: int) -> None:
        await self.records.claim(question, grant, day=day, rows=rows)


@dataclass(frozen=True, slots=True)
class Typed:
    """A question that says its offering and slots itself: nothing is left to be understood."""

    understood: Understood

    def understand(self, text: str, *, offerings: Sequence[OfferingCard], nicknames: Sequence[str], today: date) -> Understood:
        return self.understood


class TokenDesk:
    """Implements parley.channels.api.ports.AnswerDesk; assistants over MCP use it as well."""

    def __init__(self, house: House, grants: GrantMaker) -> None:
        self._house = house
        self._grants = grants

    async def answer(self, envelope: Envelope, channel: Channel, admitted: Access, typed: Understood | None) -> Reply:
        """Raises the road's own refusal or fault. "stop" ends the grants behind this token, as it does in any chat."""
        seen_through = replace(self._house, records=OnlyThese(self._house.records, admitted))
        house = seen_through if typed is None else replace(seen_through, understanding=Typed(typed))
        outcome = await release(envelope, channel, house)
        if isinstance(outcome, Released):
            return reply(outcome)
        if isinstance(outcome.reason, StopAsked):
            await self._grants.end_grants(admitted.customer, tuple(grant.id for grant in admitted.grants))
            raise GrantRevoked()
        if isinstance(outcome.reason, Fault):
            diagnostics.warning("fault", code=outcome.reason.code, detail=outcome.reason.detail)
        raise outcome.reason


def reply(outcome: Released) -> Reply:
    finished = outcome.release
    request = finished.ruling.permission.request
    answer = finished.answer
    return Reply(
        answer=answer.text,
        lines=answer.lines,
        heading=answer.heading,
        purpose=request.purpose.value,
        projection=request.projection.value,
        policy=finished.ruling.policy_digest,
        log_index=finished.inclusion.index,
        recorded_at=finished.sealed.disclosure.fetched_at,
        receipt=format_receipt(finished.sealed.entry, finished.sealed.salt, finished.sealed.private, finished.inclusion),
    )
