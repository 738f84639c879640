"""The drawer of endings: grants that rest or are over, what the notary must hear of them, and what must be given back to banks.

Whatever ends a grant ends it in one transaction: the grant, the word that the notary is owed, and, with the last grant that stood, the
bank's tokens, which leave the link and wait, sealed under the gateway's key, until the bank has taken them back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

import msgspec

from parley.model.grants import GRANT_LIFETIME_MAX, BankReturn, BankTokens, Grant, GrantState
from parley.model.refusals import Fault
from parley.store.cabinet import from_micros, to_micros
from parley.store.cases import open_tokens
from parley.store.driver import RecordsConflict, Result, Work, only
from parley.store.grant_rows import GrantRows, grant_key, number_of, to_millis, to_seconds
from parley.store.grants import HOLDS_CUSTOMER, Grants, read_grant, replace_grant

DUE_MAX = 1_000
"""Revocations handed out at once; the next call brings the next ones."""

SWEPT_AT_ONCE = 100
EXPIRY_PAGE = 2_000
"""Rows that one look for expired grants passes over: a few milliseconds, so that questions do not wait for it."""

_RETURNS_MAX = 100
_TRIES = 8
_RETURN = "bank return"
_DUE_IDS = f"SELECT grant_id FROM revocations_due ORDER BY due_at, grant_id LIMIT {DUE_MAX}"  # noqa: S608 - our own numbers and words only, here and below
_OWE_NOTARY = "INSERT INTO revocations_due (grant_id, due_at) VALUES (?, ?) ON CONFLICT (grant_id) DO UPDATE SET due_at = excluded.due_at"
_RESERVE = "INSERT INTO revocations_due (grant_id, due_at) VALUES (?, ?) ON CONFLICT (grant_id) DO NOTHING RETURNING grant_id"
_LEASE = "UPDATE revocations_due SET due_at = ? WHERE grant_id = ? AND due_at <= ? RETURNING grant_id"
_STANDING = "SELECT 1 FROM grants WHERE customer = ? AND state IN (1, 2) LIMIT 1"
_HELD = """
SELECT c.id, c.wrapped_key, b.bank, b.sealed_tokens FROM customers c JOIN bank_links b ON b.customer = c.id
WHERE c.id = ? AND b.sealed_tokens IS NOT NULL
"""
_TAKE_TOKENS = "UPDATE bank_links SET sealed_tokens = NULL, consent_hash = NULL WHERE customer = ? AND sealed_tokens = ? RETURNING customer"
_HAS_TOKENS = "SELECT 1 FROM bank_links WHERE customer = ? AND sealed_tokens IS NOT NULL"
_OWE_BANK = "INSERT INTO bank_revocations_due (bank, sealed, tries, since, due_at) VALUES (?, ?, 0, ?, ?)"
_EXPIRED = "SELECT id FROM grants WHERE number > ? AND number <= ? AND state IN (1, 2) AND (expires_at <= ? OR created_at <= ?) ORDER BY number"
_RETURNS = f"""
SELECT number, bank, sealed, tries, since FROM bank_revocations_due WHERE due_at <= ? ORDER BY due_at, number LIMIT {_RETURNS_MAX}
"""  # noqa: S608 - our own number only
_UNLOGGED_ERASURES = f"SELECT customer FROM tombstones WHERE log_index IS NULL ORDER BY erased_at LIMIT {_RETURNS_MAX}"  # noqa: S608
_CLAIM_RETURN = "UPDATE bank_revocations_due SET tries = tries + 1, due_at = ? WHERE number = ? AND due_at <= ? RETURNING number"
_TOLD = "UPDATE grants SET log_index = coalesce(?, log_index) WHERE substr(id, 1, 8) = ? AND id = ? AND state <> 1"
_OF_ERASED = "AND customer IN (SELECT number FROM tombstones)"


class Held(NamedTuple):
    """A customer's tokens as they are sealed now; and what the bank is owed for them: (bank, sealed under the gateway's key)."""

    sealed: bytes
    owed: tuple[str, bytes] | None


class _Changed(RecordsConflict):
    """Somebody else changed what the work rests on: look again."""


class Endings(Grants):
    """Implements the ends' part of `parley.authorization.ports.LinkRecords` and `parley.authorization.bank_returns.ReturnRecords`."""

    _looked_until = 0

    async def revoke_grant(self, grant_id: str, now: datetime) -> Grant | None:
        """Mark as revoked at once, and remember that the notary must be told (see `revocations_due`). Idempotent; None when unknown."""
        ended = await self.end_grants((grant_id,), GrantState.REVOKED, now)
        return ended[0] if ended else None

    async def end_grants(self, grant_ids: Sequence[str], state: GrantState, now: datetime) -> tuple[Grant, ...]:
        """Revoke, expire or pause grants of one customer, all in one transaction; the bank's tokens go with the last one that stood.

        Returns each as it is afterwards. Idempotent: what is over already stays as it is. Unknown ids are passed over. Raises ValueError
        for ids of two customers.
        """
        found = [await self.find_grant(grant_id) for grant_id in grant_ids]
        owners = {grant.customer for grant in found if grant is not None}
        if len(owners) > 1:
            raise ValueError("grants of two customers")
        if not owners:
            return ()
        customer, at = owners.pop(), to_micros(now)
        return await self._with_tokens(customer, lambda held: _end(self._grant_rows, customer, tuple(grant_ids), state, held, at))

    async def reserve_resumption(self, grant_id: str, now: datetime, lease: timedelta) -> bool:
        """Whether the caller may have a paused grant opened at the notary. Unless the resumption follows within the lease, the notary must be
        told to close it again. False when it is not paused, when the notary has not confirmed the pause, or when somebody else resumes it."""
        return await self._driver.write(lambda: _reserve(self._grant_rows, grant_id, to_micros(now + lease)))

    async def resume_grant(self, grant_id: str, version: int, log_index: int, now: datetime, lease: timedelta) -> Grant:
        """A paused grant answers again, as `version`, which the log holds at `log_index`; `now` and `lease` as they were reserved.

        Raises RecordsConflict when it is not paused any more or the reservation is over.
        """
        return await self._driver.write(lambda: _resume(self._grant_rows, grant_id, version, log_index, to_micros(now + lease)))

    async def revocations_due(self) -> tuple[Grant, ...]:
        """Ended or paused versions that the notary has not confirmed, longest waiting first. One whose row does not open holds up no other."""
        due = []
        for (grant_id,) in await self._driver.read(_DUE_IDS):
            with suppress(Fault):
                due.append(await self.find_grant(grant_id))
        return tuple(grant for grant in due if grant is not None)

    async def claim_revocation(self, grant_id: str, now: datetime, lease: timedelta) -> bool:
        """Whether the caller may tell the notary of this one. Nobody else may until the lease is over, so that a late word meets no resumption."""
        return bool(await self._driver.write(only(_LEASE, to_micros(now + lease), grant_id, to_micros(now))))

    async def revocation_waits(self, grant_id: str, now: datetime) -> None:
        """The notary could not be told: it is due again at once."""
        await self._driver.write(only("UPDATE revocations_due SET due_at = ? WHERE grant_id = ?", to_micros(now), grant_id))

    async def revocation_told(self, grant_id: str, log_index: int | None) -> None:
        """The notary holds the end. What is left of an erased customer's grant goes with it."""
        await self._driver.write(lambda: _told(grant_id, log_index))

    async def expire_some(self, now: datetime) -> tuple[Grant, ...]:
        """Look through the next EXPIRY_PAGE rows and end those grants whose time is over. Whoever calls often looks at all in turn.

        Nothing waits for it: an expired grant answers nothing from the moment that it expires.
        """
        first, last = self._looked_until, self._looked_until + EXPIRY_PAGE
        ended: list[Grant] = []
        for (identifier,) in await self._driver.read(_EXPIRED, (first, last, to_seconds(now), to_millis(now - GRANT_LIFETIME_MAX))):
            ended += await self.end_grants((identifier.hex(),), GrantState.EXPIRED, now)
        newest = await self._driver.read("SELECT max(number) FROM grants")
        self._looked_until = last if newest[0][0] is not None and newest[0][0] > last else 0
        return tuple(ended)

    async def let_go(self, customer: str, now: datetime) -> None:
        """Give the bank's tokens back unless a grant stands that lives on them. Idempotent."""
        at = to_micros(now)
        await self._with_tokens(customer, lambda held: _let_go(customer, held, at))

    async def let_go_of_undecided(self, before: datetime, now: datetime) -> int:
        """Give back the tokens of links that were made before this moment and on whose consent page nothing was decided. Returns how many."""
        sql = f"SELECT customer FROM links_waiting WHERE since <= ? ORDER BY since LIMIT {SWEPT_AT_ONCE}"  # noqa: S608
        waiting = await self._driver.read(sql, (to_micros(before),))
        for (customer,) in waiting:
            await self.let_go(customer, now)
        return len(waiting)

    async def customer_of_bank_consent(self, bank: str, consent_id: str) -> str | None:
        """Whose link rests on this consent at the bank, or did until the link was lost: one that lives comes first."""
        find = "SELECT customer FROM bank_links WHERE consent_hash = ? ORDER BY sealed_tokens IS NULL, linked_at DESC LIMIT 1"
        rows = await self._driver.read(find, (self._gateway.bank_consent(bank, consent_id),))
        return str(rows[0][0]) if rows else None

    async def erasures_due(self) -> tuple[str, ...]:
        """Who was erased without the log having heard of it yet."""
        return tuple(str(row[0]) for row in await self._driver.read(_UNLOGGED_ERASURES))

    async def erasure_logged(self, customer: str, log_index: int) -> None:
        await self._driver.write(only("UPDATE tombstones SET log_index = ? WHERE customer = ?", log_index, customer))

    async def bank_returns_due(self, now: datetime) -> tuple[BankReturn, ...]:
        """Tokens that their bank must be asked to end, those that are due."""
        return tuple(self._bank_return(*row) for row in await self._driver.read(_RETURNS, (to_micros(now),)))

    async def claim_bank_return(self, number: int, now: datetime, again_at: datetime) -> bool:
        """Whether the caller may try; if nothing more is heard of it, it is due again at `again_at`."""
        return bool(await self._driver.write(only(_CLAIM_RETURN, to_micros(again_at), number, to_micros(now))))

    async def bank_return_done(self, number: int) -> None:
        """The bank took them back, or never will: they are forgotten."""
        await self._driver.write(only("DELETE FROM bank_revocations_due WHERE number = ?", number))

    async def held_tokens(self, customer: str) -> Held | None:
        """Her tokens as they stand, and the same under the gateway's key: the bank may keep us waiting for longer than her key lives."""
        rows = await self._driver.read(_HELD, (customer,))
        if not rows:
            return None
        bank, sealed = rows[0][2:]
        try:
            tokens = open_tokens(await self._vault(rows[0][0], rows[0][1]), sealed)
        except Fault:
            return Held(sealed, None)  # They cannot be read, so nobody can give them back; they go all the same.
        return Held(sealed, (bank, self._gateway.seal(f"{_RETURN} {bank}", msgspec.msgpack.encode(tokens))))

    async def _with_tokens(self, customer: str, work: Callable[[Held | None], Work[Result]]) -> Result:
        """Run the work with her tokens as they stand; again, when somebody renewed them meanwhile."""
        for _ in range(_TRIES):
            held = await self.held_tokens(customer)
            try:
                return await self._driver.write(partial(work, held))
            except _Changed:
                continue
        raise RecordsConflict("the link is being changed")

    def _bank_return(self, number: int, bank: str, sealed: bytes, tries: int, since: int) -> BankReturn:
        tokens = msgspec.msgpack.decode(self._gateway.open(f"{_RETURN} {bank}", sealed), type=BankTokens)
        return BankReturn(number, bank, tokens, tries, from_micros(since))


def end_grant(rows: GrantRows, before: Grant, state: GrantState, now: int) -> Work[Grant]:
    """Inside a unit of work: the next version, in that state, and the word that the notary is owed. What is over stays as it is."""
    if not before.state.stands or before.state is state:
        return before
    after = msgspec.structs.replace(before, version=before.version + 1, state=state, log_index=None)
    if not (yield from replace_grant(rows, before, after)):
        raise _Changed("the grant was changed meanwhile")
    yield _OWE_NOTARY, (before.id, now)
    return after


def take_tokens(customer: str, held: Held | None, now: int) -> Work[None]:
    """Inside a unit of work: her tokens leave the link and are owed to the bank. Raises where they are not the ones that were read."""
    if held is not None and (yield _TAKE_TOKENS, (customer, held.sealed)):
        if held.owed is not None:
            yield from owe_bank(held.owed, now)
    elif (yield _HAS_TOKENS, (customer,)):
        raise _Changed("the tokens were renewed meanwhile")


def owe_bank(owed: tuple[str, bytes], now: int) -> Work[None]:
    """Inside a unit of work: the bank must be asked to end these tokens."""
    yield _OWE_BANK, (*owed, now, now)


def forget_told(grant_id: str) -> Work[None]:
    """Inside a unit of work: what is left of an erased customer's grant, once the notary is owed nothing for it."""
    key = grant_key(grant_id)
    if key is not None:
        yield f"DELETE FROM grant_versions WHERE id = ? {_OF_ERASED}", key[1:]  # noqa: S608
        yield f"DELETE FROM grants WHERE substr(id, 1, 8) = ? AND id = ? {_OF_ERASED}", key  # noqa: S608


def _end(rows: GrantRows, customer: str, grant_ids: tuple[str, ...], state: GrantState, held: Held | None, now: int) -> Work[tuple[Grant, ...]]:
    yield HOLDS_CUSTOMER, (customer,)
    ended = []
    for grant_id in grant_ids:
        before = yield from read_grant(rows, grant_id)
        if before is not None:
            ended.append((yield from end_grant(rows, before, state, now)))
    yield from _let_go(customer, held, now)
    return tuple(ended)


def _let_go(customer: str, held: Held | None, now: int) -> Work[None]:
    yield HOLDS_CUSTOMER, (customer,)
    if not (yield _STANDING, (number_of(customer),)):
        yield from take_tokens(customer, held, now)
    yield "DELETE FROM links_waiting WHERE customer = ?", (customer,)


def _reserve(rows: GrantRows, grant_id: str, until: int) -> Work[bool]:
    before = yield from read_grant(rows, grant_id)
    if before is None or before.state is not GrantState.PAUSED:
        return False
    return bool((yield _RESERVE, (grant_id, until)))


def _resume(rows: GrantRows, grant_id: str, version: int, log_index: int, until: int) -> Work[Grant]:
    if not (yield "DELETE FROM revocations_due WHERE grant_id = ? AND due_at = ? RETURNING grant_id", (grant_id, until)):
        raise RecordsConflict("the reservation is over")
    before = yield from read_grant(rows, grant_id)
    if before is None or before.state is not GrantState.PAUSED or version <= before.version:
        raise RecordsConflict("the grant is not paused")
    after = msgspec.structs.replace(before, version=version, state=GrantState.ACTIVE, log_index=log_index)
    if not (yield from replace_grant(rows, before, after)):
        raise RecordsConflict("the grant was changed meanwhile")
    return after


def _told(grant_id: str, log_index: int | None) -> Work[None]:
    key = grant_key(grant_id)
    if key is not None:
        yield _TOLD, (log_index, *key)
    yield "DELETE FROM revocations_due WHERE grant_id = ?", (grant_id,)
    yield from forget_told(grant_id)
