"""Giving: a decision on the consent page becomes grants. How they end is in `parley.authorization.withdrawal`.

Order when giving: the log first, then the records. A crash in between leaves an entry without a grant, which lets nothing out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from parley.authorization.linking import Approval
from parley.authorization.ports import LinkRecords
from parley.authorization.withdrawal import EndingRecords, GrantLog, Withdrawals
from parley.model.grants import Grant, GrantState
from parley.model.linking import Errand
from parley.model.refusals import GrantRevoked, RecordsUnavailable
from parley.model.words import Purpose

HANDLE_BYTES = 16


class GrantRecords(EndingRecords, LinkRecords, Protocol):
    """The records as giving and taking back need them."""


class GrantDesk(Withdrawals):
    """Makes and ends grants. `platform` is the house's own chat, where "stop" is typed; `policy_digest` names the policy in force."""

    def __init__(
        self,
        *,
        records: GrantRecords,
        log: GrantLog,
        platform: str,
        policy_digest: Callable[[], str],
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        super().__init__(records=records, log=log, platform=platform, clock=clock, random_bytes=random_bytes)
        self._records = records
        self._policy_digest = policy_digest

    async def approve(self, approval: Approval) -> tuple[Grant, ...]:
        """Record and store the grants of one decision, one for each purpose that the page named. Raises a Fault, and then nothing was granted."""
        vault = await self._records.vault_of(approval.customer)
        if vault is None:
            raise RecordsUnavailable("the customer has no key")
        grants = []
        for purpose in approval.offer.purposes:
            grant = self._grant(approval, purpose)
            entry, side = self._seal(grant, "grant", vault)
            inclusion = await self._log.open_grant(entry, side, handle=grant.handle, version=grant.version)
            grants.append(msgspec.structs.replace(grant, log_index=inclusion.index))
        await self._records.join(approval.channel, approval.conversation, approval.customer, tuple(grants))
        return tuple(grants)

    async def open_version(self, grant: Grant) -> int:
        """Record a further version of a grant that stands and open its handle at it: the entry's index. For renewals.

        Raises GrantRevoked where the notary holds that version or a later one already, LogUnavailable, RecordsUnavailable.
        """
        vault = await self._records.vault_of(grant.customer)
        if vault is None:
            raise RecordsUnavailable("the customer has no key")
        entry, side = self._seal(grant, "grant", vault)
        return (await self._log.open_grant(entry, side, handle=grant.handle, version=grant.version)).index

    async def close_version(self, grant: Grant) -> None:
        """Close a handle whose newest version never came to stand. Raises LogUnavailable; nothing can be released under it either way."""
        over = msgspec.structs.replace(grant, state=GrantState.REVOKED)
        entry, side = self._seal(over, "revoke", await self._records.vault_of(grant.customer))
        with suppress(GrantRevoked):
            await self._log.close_grant(entry, side, handle=grant.handle)

    def _grant(self, approval: Approval, purpose: Purpose) -> Grant:
        now = whole_milliseconds(approval.decided_at)
        return Grant(
            id=self._random_bytes(16).hex(),
            handle=self._random_bytes(HANDLE_BYTES),
            version=1,
            state=GrantState.ACTIVE,
            customer=approval.customer,
            platform=approval.platform,
            channel=approval.channel,
            purpose=purpose,
            projections=approval.projections,
            accounts=approval.accounts,
            delivery=approval.offer.delivery,
            lookback_days=approval.lookback_days,
            provenance=approval.offer.provenance,
            budget=approval.offer.budget,
            created_at=now,
            expires_at=(now + timedelta(days=approval.days)).replace(microsecond=0),
            text_hash=approval.text_hash,
            policy_digest=self._policy_digest(),
        )


class ChatEnding:
    """A decision about the house's own chat: grants for this conversation, and the browser stays here."""

    def __init__(self, approve: Callable[[Approval], Awaitable[object]]) -> None:
        self._approve = approve

    async def allowed(self, approval: Approval) -> str | None:
        await self._approve(approval)
        return None

    async def denied(self, errand: Errand) -> str | None:
        return None


def whole_milliseconds(moment: datetime) -> datetime:
    """As the records keep it, so that what is handed on is what is stored."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
