"""Giving and taking back: a decision on the consent page becomes a grant, and a "stop" ends it everywhere at once.

Order when giving: the log first, then the records. A crash in between leaves an entry without a grant, which lets nothing out.
Order when taking back: the records first, so that no new question passes, then the log, so that no release under way is recorded any
more. The records remember what the log still has to be told, so a restart carries on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from parley.authorization.linking import Approval
from parley.authorization.ports import LinkRecords
from parley.model.grants import Grant, GrantState
from parley.model.linking import Errand
from parley.model.refusals import GrantRevoked, RecordsUnavailable
from parley.model.words import Purpose
from parley.proof import Inclusion, canonical, commitment_text
from parley.release.entries import NONCE_BYTES, PRIVATE_CONTEXT, grant_entry
from parley.release.ports import Vault

HANDLE_BYTES = 16
SALT_BYTES = 32


class GrantLog(Protocol):
    """The notary as grants need it. Raises GrantRevoked where the handle is closed already, LogUnavailable otherwise."""

    async def open_grant(self, entry: bytes, side: bytes, *, handle: bytes, version: int) -> Inclusion: ...
    async def close_grant(self, entry: bytes, side: bytes, *, handle: bytes) -> Inclusion: ...


class GrantRecords(LinkRecords, Protocol):
    async def vault_of(self, customer: str) -> Vault | None:
        """The customer's key at work, None when she is unknown or was erased."""


class GrantDesk:
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
        self._records = records
        self._log = log
        self._platform = platform
        self._policy_digest = policy_digest
        self._clock = clock
        self._random_bytes = random_bytes

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

    async def stop(self, customer: str, channel: str) -> int:
        """Revoke every grant that the customer gave on this platform and channel. Returns how many were ended; none is no error."""
        active = await self._records.grants_of(customer, active_only=True, now=self._clock())
        mine = [grant for grant in active if grant.platform == self._platform and grant.channel == channel]
        for grant in mine:
            await self._records.revoke_grant(grant.id, self._clock())
        for grant in mine:
            await self._tell(grant)
        return len(mine)

    async def end_grants(self, customer: str, grant_ids: Sequence[str]) -> None:
        """Revoke these grants of this customer. Idempotent; ids that are not hers, or that have ended, are passed over."""
        active = await self._records.grants_of(customer, active_only=True, now=self._clock())
        mine = [grant for grant in active if grant.id in grant_ids]
        for grant in mine:
            await self._records.revoke_grant(grant.id, self._clock())
        for grant in mine:
            await self._tell(grant)

    async def tell_revocations(self) -> int:
        """Tell the log of revocations that it has not heard of, after a crash or an outage. Returns how many it was told of now."""
        due = await self._records.revocations_due()
        for grant in due:
            await self._tell(grant)
        return len(due)

    async def _tell(self, grant: Grant) -> None:
        """Idempotent at both ends: a closed handle stays closed."""
        entry, side = self._seal(grant, "revoke", await self._records.vault_of(grant.customer))
        try:
            inclusion = await self._log.close_grant(entry, side, handle=grant.handle)
        except GrantRevoked:
            await self._records.revocation_told(grant.id, None)
            return
        await self._records.revocation_told(grant.id, inclusion.index)

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
            lookback_days=approval.offer.lookback_days,
            provenance=approval.offer.provenance,
            budget=approval.offer.budget,
            created_at=now,
            expires_at=(now + timedelta(days=approval.days)).replace(microsecond=0),
            text_hash=approval.text_hash,
            policy_digest=self._policy_digest(),
        )

    def _seal(self, grant: Grant, kind: str, vault: Vault | None) -> tuple[bytes, bytes]:
        """(public entry, sealed private half) of a change to a grant: commitment only, nothing that links it to a customer.

        Of an erased customer the commitment is to a salt that nobody keeps: the entry stands, and nothing opens it.
        """
        now = self._clock()
        nonce = self._random_bytes(NONCE_BYTES)
        private = canonical(private_half(grant, kind, now))
        if vault is None:
            unkept = commitment_text(self._random_bytes(SALT_BYTES), private)
            return grant_entry(kind, unkept, grant.channel, grant.platform, now), b""
        entry = grant_entry(kind, commitment_text(vault.salt(nonce), private), grant.channel, grant.platform, now)
        return entry, nonce + vault.seal(PRIVATE_CONTEXT, private)


def private_half(grant: Grant, kind: str, now: datetime) -> dict[str, str | int | list[str]]:
    return {
        "accounts": sorted(grant.accounts),
        "delivery": grant.delivery.value,
        "event": kind,
        "expires_at": int(grant.expires_at.timestamp()),
        "grant": grant.id,
        "grant_version": grant.version,
        "lookback_days": grant.lookback_days,
        "projections": sorted(grant.projections),
        "provenance": grant.provenance.value,
        "purpose": grant.purpose.dpv,
        "t_ms": int(now.timestamp() * 1000),
        "text_sha256": grant.text_hash,
    }


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
