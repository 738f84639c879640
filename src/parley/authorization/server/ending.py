"""What becomes of a customer's decision about a client's request: grants, an authorization and a code, or "access_denied"."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from parley.authorization.linking import Approval
from parley.authorization.server.ports import ClientRecords, GrantMaker, ServerRecords
from parley.authorization.server.requests import answer_address, seen
from parley.authorization.sessions import hash_token
from parley.model.grants import Grant
from parley.model.linking import Errand
from parley.model.refusals import BadInput, Fault, LogUnavailable
from parley.model.tokens import Authorization, AuthorizationRequest, Code

CODE_LIFE_MAX = timedelta(seconds=60)


class OAuthEnding:
    """Implements parley.authorization.linking.Ending for requests of clients, of every profile that has codes."""

    def __init__(
        self,
        records: ServerRecords,
        grants: GrantMaker,
        clock: Callable[[], datetime],
        chance: Callable[[int], bytes] = secrets.token_bytes,
        *,
        clients: ClientRecords | None = None,
    ) -> None:
        """`clients` finds clients: the records, or what stands before them."""
        self._records = records
        self._clients = clients or records
        self._grants = grants
        self._clock = clock
        self._chance = chance

    async def allowed(self, approval: Approval) -> str | None:
        """The client's address with a code. Raises BadInput("form_stale") where the request was answered already, or a Fault."""
        # 1. The request is used up here, at the decision: of two pages about it, one counts.
        reference = approval.errand.reference
        request = await self._records.take_request(reference, self._clock())
        if request is None:
            raise BadInput("form_stale", "the client's request has expired or was answered")
        # 2. The client is still who it was when it asked, and what is to be replaced is this customer's.
        client = await self._clients.find_client(request.client)
        before = await self._records.find_authorization(request.replaces) if request.replaces is not None else None
        if client is None or seen(client) != request.client_seen or not _replaceable(request, before, approval):
            return answer_address(request, {"error": "access_denied"})
        # 3. The grants are made and recorded. When that fails nothing was allowed, and she may try again.
        try:
            made = await self._grants.approve(approval)
        except Fault:
            with suppress(Fault):
                await self._records.add_request(reference, request)
            raise
        # 4. What they are called towards the client, and the code for it.
        try:
            code = await self._note(request, approval, made, before)
        except Fault:
            await self._grants.end_grants(approval.customer, tuple(grant.id for grant in made))
            raise
        if before is not None:
            with suppress(LogUnavailable):  # Their end stands all the same, and the log is told later.
                await self._grants.end_grants(approval.customer, before.grants)
        return answer_address(request, {"code": code})

    async def denied(self, errand: Errand) -> str | None:
        request = await self._records.take_request(errand.reference, self._clock())
        return answer_address(request, {"error": "access_denied"}) if request is not None else None

    async def _note(self, request: AuthorizationRequest, approval: Approval, made: tuple[Grant, ...], before: Authorization | None) -> str:
        now = self._clock()
        authorization = Authorization(
            id=before.id if before is not None else self._random_text(),
            client=request.client,
            issuer=request.issuer,
            audience=request.audience,
            customer=approval.customer,
            platform=approval.platform,
            channel=approval.channel,
            conversation=approval.conversation,
            grants=tuple(grant.id for grant in made),
            version=before.version + 1 if before is not None else 1,
            created_at=now,
            until=max(grant.expires_at for grant in made),
            client_seen=request.client_seen,
        )
        code_text = self._random_text()
        code = Code(
            client=request.client,
            issuer=request.issuer,
            redirect_uri=request.redirect_uri,
            challenge=request.challenge,
            jkt=request.jkt,
            authorization=authorization.id,
            version=authorization.version,
            family=self._chance(16),
            expires_at=now + CODE_LIFE_MAX,
        )
        await self._records.add_authorization(authorization, hash_token(code_text), code)
        return code_text

    def _random_text(self) -> str:
        return urlsafe_b64encode(self._chance(32)).rstrip(b"=").decode()


def _replaceable(request: AuthorizationRequest, before: Authorization | None, approval: Approval) -> bool:
    """Nothing is to be replaced, or it is this client's, and this very customer's."""
    if request.replaces is None:
        return True
    return before is not None and (before.client, before.issuer, before.customer) == (request.client, request.issuer, approval.customer)
