"""Taking back: whatever ends a grant, or lets it rest, does so here, at once and for every process.

A word in a chat, a button, a client's request, the bank's own event and the end of its time all go the same way. The records first, in
one transaction, so that no new question passes; then the log, which closes the grant's handle, so that no release under way is recorded
any more. The records remember what the log still has to be told, so a restart carries on. The bank is asked later to end its tokens
(`parley.authorization.bank_returns`): nobody here waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from parley.consent import ends_at
from parley.model.grants import Grant, GrantState
from parley.model.refusals import Fault, GrantRevoked, LogUnavailable
from parley.proof import Inclusion, canonical, commitment_text
from parley.release.entries import NONCE_BYTES, PRIVATE_CONTEXT, erasure_entry, grant_entry
from parley.release.ports import Vault

SALT_BYTES = 32
TELLING_LEASE = timedelta(seconds=10)
"""Longer than a call to the notary may take: while one process tells it of an end, no other resumes the same grant."""

OPENINGS_MAX = 8
"""Versions that a resumption tries: one for each crash between the log's word and the records' since the grant was paused."""

EVENTS = {GrantState.PAUSED: "pause", GrantState.REVOKED: "revoke", GrantState.EXPIRED: "expire", GrantState.ACTIVE: "grant"}


class GrantLog(Protocol):
    """The notary as grants need it. Raises GrantRevoked where the handle is closed already or further on, LogUnavailable otherwise."""

    async def record(self, entry: bytes, side: bytes, *, handle: bytes | None, version: int | None) -> Inclusion: ...
    async def open_grant(self, entry: bytes, side: bytes, *, handle: bytes, version: int) -> Inclusion: ...
    async def close_grant(self, entry: bytes, side: bytes, *, handle: bytes) -> Inclusion: ...


class EndingRecords(Protocol):
    """The records as ending needs them; see parley.store.endings."""

    async def grants_of(self, customer: str, *, active_only: bool, now: datetime) -> tuple[Grant, ...]: ...
    async def end_grants(self, grant_ids: Sequence[str], state: GrantState, now: datetime) -> tuple[Grant, ...]: ...
    async def reserve_resumption(self, grant_id: str, now: datetime, lease: timedelta) -> bool: ...
    async def resume_grant(self, grant_id: str, version: int, log_index: int, now: datetime, lease: timedelta) -> Grant: ...
    async def revocations_due(self) -> tuple[Grant, ...]: ...
    async def claim_revocation(self, grant_id: str, now: datetime, lease: timedelta) -> bool: ...
    async def revocation_waits(self, grant_id: str, now: datetime) -> None: ...
    async def revocation_told(self, grant_id: str, log_index: int | None) -> None: ...
    async def expire_some(self, now: datetime) -> tuple[Grant, ...]: ...
    async def customer_of_bank_consent(self, bank: str, consent_id: str) -> str | None: ...
    async def mark_link_lost(self, customer: str) -> None: ...
    async def erase(self, customer: str, now: datetime) -> None: ...
    async def erasures_due(self) -> tuple[str, ...]: ...
    async def erasure_logged(self, customer: str, log_index: int) -> None: ...
    async def vault_of(self, customer: str) -> Vault | None:
        """The customer's key at work, None when she is unknown or was erased."""


class Withdrawals:
    """Ends grants. Every method raises LogUnavailable where the log could not be told; the end stands all the same and the log is told later."""

    def __init__(
        self, *, records: EndingRecords, log: GrantLog, platform: str, clock: Callable[[], datetime], random_bytes: Callable[[int], bytes]
    ) -> None:
        self._ends = records
        self._log = log
        self._platform = platform
        self._clock = clock
        self._random_bytes = random_bytes

    async def stop(self, customer: str, channel: str) -> int:
        """Revoke every grant that the customer gave on the house's own platform and this channel. Returns how many; none is no error."""
        return await self._end(customer, GrantState.REVOKED, lambda grant: grant.platform == self._platform and grant.channel == channel)

    async def stop_platform(self, customer: str, platform: str | None) -> int:
        """Revoke what one platform was granted, or (None) everything. Returns how many were ended."""
        return await self._end(customer, GrantState.REVOKED, lambda grant: platform in (None, grant.platform))

    async def end_grants(self, customer: str, grant_ids: Sequence[str]) -> None:
        """Revoke these. Idempotent; ids that are not hers are passed over."""
        await self._end(customer, GrantState.REVOKED, lambda grant: grant.id in grant_ids)

    async def pause(self, customer: str, platform: str | None) -> int:
        """Let what one platform was granted rest, or (None) everything. Returns how many rest now that did not before."""
        return await self._end(customer, GrantState.PAUSED, lambda grant: grant.state is GrantState.ACTIVE and platform in (None, grant.platform))

    async def resume(self, customer: str, platform: str | None) -> int:
        """What was paused and has not run out answers again, as it was agreed to and no wider. Returns how many."""
        now = self._clock()
        paused = [
            grant
            for grant in await self._ends.grants_of(customer, active_only=False, now=now)
            if grant.state is GrantState.PAUSED and platform in (None, grant.platform) and now < ends_at(grant)
        ]
        for grant in paused:
            await self._resume(grant)
        return len(paused)

    async def ended_at_bank(self, bank: str, consent_id: str) -> int:
        """The bank says that this consent was ended there: its tokens are dead, and every grant that lived on them ends. Returns how many.

        The caller has made sure that it is the bank that says so.
        """
        customer = await self._ends.customer_of_bank_consent(bank, consent_id)
        if customer is None:
            return 0
        await self._ends.mark_link_lost(customer)
        return await self.stop_platform(customer, None)

    async def erase(self, customer: str) -> None:
        """End everything, delete her key and with it all that it opens, and record that somebody was erased.

        Waits for no log: what it could not be told stays due.
        """
        with suppress(LogUnavailable):
            await self.stop_platform(customer, None)
        await self._ends.erase(customer, self._clock())
        with suppress(LogUnavailable):
            await self._log_erasures()

    async def keep_up(self) -> None:
        """End what has run out, and tell the log what it has not heard. To be called every few seconds; each call does a bounded amount."""
        for grant in await self._ends.expire_some(self._clock()):
            await self._tell(grant)
        await self.tell_revocations()
        await self._log_erasures()

    async def tell_revocations(self) -> int:
        """Tell the log of ends that it has not heard of, after a crash or an outage. Returns how many waited."""
        due = await self._ends.revocations_due()
        await self._tell_all(due)
        return len(due)

    async def _end(self, customer: str, state: GrantState, chosen: Callable[[Grant], bool]) -> int:
        """All that is chosen, in one transaction; then the log, for each."""
        held = await self._ends.grants_of(customer, active_only=False, now=self._clock())
        ids = [grant.id for grant in held if grant.state.stands and chosen(grant)]
        ended = await self._ends.end_grants(ids, state, self._clock()) if ids else ()
        await self._tell_all(ended)
        return len(ended)

    async def _tell_all(self, grants: Iterable[Grant]) -> None:
        """One that cannot be told holds up no other; afterwards the first fault is raised."""
        unheard: Fault | None = None
        for grant in grants:
            try:
                await self._tell(grant)
            except Fault as fault:
                unheard = unheard or fault
        if unheard is not None:
            raise unheard

    async def _tell(self, grant: Grant) -> None:
        """Idempotent at both ends: a closed handle stays closed."""
        if not await self._ends.claim_revocation(grant.id, self._clock(), TELLING_LEASE):
            return
        entry, side = self._seal(grant, "revoke", await self._ends.vault_of(grant.customer))
        try:
            index: int | None = (await self._log.close_grant(entry, side, handle=grant.handle)).index
        except GrantRevoked:
            index = None
        except Fault:
            await self._ends.revocation_waits(grant.id, self._clock())
            raise
        await self._ends.revocation_told(grant.id, index)

    async def _resume(self, grant: Grant) -> None:
        """The log first, then the records. A crash in between leaves a reservation, and whoever finds it has the handle closed again."""
        await self._tell(grant)
        reserved_at = self._clock()
        if not await self._ends.reserve_resumption(grant.id, reserved_at, TELLING_LEASE):
            raise LogUnavailable("the pause is not in the log yet")
        vault = await self._ends.vault_of(grant.customer)
        for version in range(grant.version + 1, grant.version + 1 + OPENINGS_MAX):
            opened = msgspec.structs.replace(grant, version=version, state=GrantState.ACTIVE)
            entry, side = self._seal(opened, "grant", vault)
            try:
                inclusion = await self._log.open_grant(entry, side, handle=grant.handle, version=version)
            except GrantRevoked:
                continue
            await self._ends.resume_grant(grant.id, version, inclusion.index, reserved_at, TELLING_LEASE)
            return
        raise LogUnavailable("the log holds a much later version")

    async def _log_erasures(self) -> None:
        for customer in await self._ends.erasures_due():
            inclusion = await self._log.record(erasure_entry(self._clock()), b"", handle=None, version=None)
            await self._ends.erasure_logged(customer, inclusion.index)

    def _seal(self, grant: Grant, kind: str, vault: Vault | None) -> tuple[bytes, bytes]:
        """(public entry, sealed private half) of a change to a grant: commitment only, nothing that links it to a customer.

        Of an erased customer the commitment is to a salt that nobody keeps: the entry stands, and nothing opens it. The public half tells
        a pause, a revocation and an expiry not apart; the customer's key does.
        """
        now = self._clock()
        nonce = self._random_bytes(NONCE_BYTES)
        private = canonical(private_half(grant, EVENTS[grant.state], now))
        if vault is None:
            unkept = commitment_text(self._random_bytes(SALT_BYTES), private)
            return grant_entry(kind, unkept, grant.channel, grant.platform, now), b""
        entry = grant_entry(kind, commitment_text(vault.salt(nonce), private), grant.channel, grant.platform, now)
        return entry, nonce + vault.seal(PRIVATE_CONTEXT, private)


def private_half(grant: Grant, event: str, now: datetime) -> dict[str, str | int | list[str]]:
    return {
        "accounts": sorted(grant.accounts),
        "delivery": grant.delivery.value,
        "event": event,
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
