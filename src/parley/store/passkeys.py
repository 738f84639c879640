"""The drawer of who may open a customer's page: her passkeys, her sign-ins, and the challenges that wait for a passkey.

A sign-in and a passkey are sealed under the customer's own key and go with it when she is erased. Of a cookie's token and of a
passkey's id only the SHA-256 is kept: both are long and random, so there is nothing to guess.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import TypeVar

import msgspec

from parley.model.customers import PasskeyChallenge, SignIn, SignInMethod, StoredPasskey
from parley.model.ledger import Discreet
from parley.model.refusals import Fault, LinkExpired
from parley.store.cabinet import Cabinet, from_micros, to_micros
from parley.store.customers import LIVES_MAX
from parley.store.driver import RecordsConflict, Row, Values, Work, only
from parley.store.vault import CustomerVault

Shape = TypeVar("Shape")

PASSKEYS_MAX = 10
SIGN_INS_MAX = 20
"""Of one customer at once; a further one ends the one that was used least recently."""

_CHALLENGE = "passkey"
_SIGN_IN = "sign-in"
_PASSKEY = "passkey"
_CUSTOMER_STANDS = "SELECT 1 FROM customers WHERE id = ?"

_FIND_SIGN_IN = """
SELECT c.id, c.wrapped_key, s.token_hash, s.sealed, s.seen_at, s.expires_at FROM sign_ins s JOIN customers c ON c.id = s.customer
WHERE s.token_hash = ? AND s.expires_at > ?
"""
_SIGN_INS_OF = """
SELECT c.id, c.wrapped_key, s.token_hash, s.sealed, s.seen_at, s.expires_at FROM sign_ins s JOIN customers c ON c.id = s.customer
WHERE s.customer = ? AND s.expires_at > ? ORDER BY s.seen_at DESC, s.token_hash LIMIT 100
"""
_PASSKEY_ROWS = """
SELECT c.id, c.wrapped_key, p.id_hash, p.sealed, p.uses FROM passkeys p JOIN customers c ON c.id = p.customer WHERE
"""
_ADD_ATTEMPT = "INSERT INTO attempts (kind, token_hash, sealed, expires_at) VALUES (?, ?, ?, ?)"
_TAKE_ATTEMPT = "DELETE FROM attempts WHERE kind = ? AND token_hash = ? RETURNING sealed, expires_at"


class _SealedSignIn(Discreet, frozen=True):
    csrf: str
    method: SignInMethod
    device: str
    signed_in_at: datetime
    proved_at: datetime


class Passkeys(Cabinet):
    """Implements `parley.authorization.sign_ins.SignInRecords` and `parley.console.customer.ports.PasskeyRecords`."""

    # Sign-ins.

    async def add_sign_in(self, sign_in: SignIn) -> None:
        """Raises LinkExpired when she was erased meanwhile."""
        vault = await self._vault_for(sign_in.customer)
        row = (sign_in.token_hash, sign_in.customer, _seal_sign_in(vault, sign_in), to_micros(sign_in.seen_at), to_micros(sign_in.expires_at))
        await self._driver.write(lambda: _add_sign_in(row))

    async def find_sign_in(self, token_hash: bytes, now: datetime) -> SignIn | None:
        """None when unknown, ended or past its absolute end."""
        rows = await self._driver.read(_FIND_SIGN_IN, (token_hash, to_micros(now)))
        return await self._sign_in(rows[0]) if rows else None

    async def sign_ins_of(self, customer: str, now: datetime) -> tuple[SignIn, ...]:
        """Those that stand, the one used last first."""
        return tuple([await self._sign_in(row) for row in await self._driver.read(_SIGN_INS_OF, (customer, to_micros(now)))])

    async def touch_sign_in(self, token_hash: bytes, now: datetime) -> None:
        await self._driver.write(only("UPDATE sign_ins SET seen_at = ? WHERE token_hash = ?", to_micros(now), token_hash))

    async def end_sign_in(self, token_hash: bytes, customer: str) -> bool:
        """Only her own. Returns whether there was one to end."""
        sql = "DELETE FROM sign_ins WHERE token_hash = ? AND customer = ? RETURNING 1"
        return bool(await self._driver.write(only(sql, token_hash, customer)))

    async def end_other_sign_ins(self, token_hash: bytes, customer: str) -> int:
        """All of hers but one. Returns how many."""
        sql = "DELETE FROM sign_ins WHERE token_hash <> ? AND customer = ? RETURNING 1"
        return len(await self._driver.write(only(sql, token_hash, customer)))

    async def prune_sign_ins(self, now: datetime) -> int:
        """Forget what is past its absolute end. Returns how many."""
        return len(await self._driver.write(only("DELETE FROM sign_ins WHERE expires_at <= ? RETURNING 1", to_micros(now))))

    async def customer_at(self, bank: str, owner: str) -> str | None:
        """Our id of a person at a bank, None when nothing of hers is kept here. Asking makes no customer."""
        for life in range(LIVES_MAX):
            customer = self._gateway.customer(bank, owner, life)
            if not await self._driver.read("SELECT 1 FROM tombstones WHERE customer = ?", (customer,)):
                return customer if await self._driver.read("SELECT 1 FROM customers WHERE id = ?", (customer,)) else None
        return None

    # Passkeys.

    async def add_passkey(self, customer: str, passkey: StoredPasskey) -> None:
        """Raises RecordsConflict when it is known already or she has PASSKEYS_MAX, LinkExpired when she was erased meanwhile."""
        vault = await self._vault_for(customer)
        row = (id_hash(passkey.credential_id), customer, _seal_passkey(vault, passkey), to_micros(passkey.created_at))
        await self._driver.write(lambda: _add_passkey(row))

    async def find_passkey(self, credential_id: bytes) -> tuple[str, StoredPasskey] | None:
        """(customer, passkey) of a credential id."""
        rows = await self._driver.read(f"{_PASSKEY_ROWS} p.id_hash = ?", (id_hash(credential_id),))
        return (rows[0][0], await self._passkey(rows[0])) if rows else None

    async def passkeys_of(self, customer: str) -> tuple[StoredPasskey, ...]:
        """Hers, the oldest first."""
        rows = await self._driver.read(f"{_PASSKEY_ROWS} p.customer = ? ORDER BY p.created_at, p.id_hash", (customer,))
        return tuple([await self._passkey(row) for row in rows])

    async def passkey_used(self, customer: str, passkey: StoredPasskey, sign_count: int, now: datetime) -> bool:
        """Store the new count, unless the passkey was used or removed since it was read: then False, and the sign-in does not count."""
        vault = await self._vault_for(customer)
        used = msgspec.structs.replace(passkey, sign_count=sign_count, used_at=now)
        sql = "UPDATE passkeys SET sealed = ?, uses = uses + 1 WHERE id_hash = ? AND customer = ? AND uses = ? RETURNING 1"
        rows = await self._driver.write(only(sql, _seal_passkey(vault, used), id_hash(passkey.credential_id), customer, passkey.uses))
        return bool(rows)

    async def remove_passkey(self, customer: str, hashed: bytes) -> bool:
        """Only her own. `hashed` as `id_hash` gives it. Returns whether there was one."""
        sql = "DELETE FROM passkeys WHERE id_hash = ? AND customer = ? RETURNING 1"
        return bool(await self._driver.write(only(sql, hashed, customer)))

    # Challenges.

    async def add_challenge(self, challenge: PasskeyChallenge) -> None:
        sealed = self._gateway.seal(_challenge_context(challenge.token_hash), msgspec.msgpack.encode(challenge))
        await self._driver.write(only(_ADD_ATTEMPT, _CHALLENGE, challenge.token_hash, sealed, to_micros(challenge.expires_at)))

    async def take_challenge(self, token_hash: bytes, now: datetime) -> PasskeyChallenge | None:
        """Read and delete in one step, so that a challenge is answered once. None when unknown or expired."""
        rows = await self._driver.write(only(_TAKE_ATTEMPT, _CHALLENGE, token_hash))
        if not rows or rows[0][1] <= to_micros(now):
            return None
        return opened(self._gateway.open(_challenge_context(token_hash), rows[0][0]), PasskeyChallenge)

    async def _vault_for(self, customer: str) -> CustomerVault:
        """Raises LinkExpired when she is gone."""
        rows = await self._driver.read("SELECT id, wrapped_key FROM customers WHERE id = ?", (customer,))
        if not rows:
            raise LinkExpired("the customer is gone")
        return await self._vault(rows[0][0], rows[0][1])

    async def _sign_in(self, row: Row) -> SignIn:
        customer, wrapped_key, token_hash, sealed, seen_at, expires_at = row
        vault = await self._vault(customer, wrapped_key)
        kept = opened(vault.open(_context(_SIGN_IN, token_hash), sealed), _SealedSignIn)
        return SignIn(
            token_hash,
            customer,
            kept.csrf,
            kept.method,
            kept.device,
            kept.signed_in_at,
            kept.proved_at,
            from_micros(seen_at),
            from_micros(expires_at),
        )

    async def _passkey(self, row: Row) -> StoredPasskey:
        customer, wrapped_key, hashed, sealed, uses = row
        vault = await self._vault(customer, wrapped_key)
        kept = opened(vault.open(_context(_PASSKEY, hashed), sealed), StoredPasskey)
        return msgspec.structs.replace(kept, uses=uses)


def id_hash(credential_id: bytes) -> bytes:
    """By what a passkey is found and named: SHA-256 of the id that its authenticator chose."""
    return sha256(credential_id).digest()


def _add_sign_in(row: Values) -> Work[None]:
    customer = row[1]
    if not (yield _CUSTOMER_STANDS, (customer,)):
        raise LinkExpired("the customer is gone")
    yield "INSERT INTO sign_ins (token_hash, customer, sealed, seen_at, expires_at) VALUES (?, ?, ?, ?, ?)", row
    mine = yield "SELECT token_hash FROM sign_ins WHERE customer = ? ORDER BY seen_at DESC, token_hash", (customer,)
    for (token_hash,) in mine[SIGN_INS_MAX:]:
        yield "DELETE FROM sign_ins WHERE token_hash = ?", (token_hash,)


def _add_passkey(row: Values) -> Work[None]:
    if not (yield _CUSTOMER_STANDS, (row[1],)):
        raise LinkExpired("the customer is gone")
    if len((yield "SELECT 1 FROM passkeys WHERE customer = ?", (row[1],))) >= PASSKEYS_MAX:
        raise RecordsConflict("she has as many passkeys as one may have")
    if (yield "SELECT 1 FROM passkeys WHERE id_hash = ?", (row[0],)):
        raise RecordsConflict("that passkey is known")
    yield "INSERT INTO passkeys (id_hash, customer, sealed, created_at, uses) VALUES (?, ?, ?, ?, 0)", row


def _seal_sign_in(vault: CustomerVault, sign_in: SignIn) -> bytes:
    kept = _SealedSignIn(sign_in.csrf, sign_in.method, sign_in.device, sign_in.signed_in_at, sign_in.proved_at)
    return vault.seal(_context(_SIGN_IN, sign_in.token_hash), msgspec.msgpack.encode(kept))


def _seal_passkey(vault: CustomerVault, passkey: StoredPasskey) -> bytes:
    return vault.seal(_context(_PASSKEY, id_hash(passkey.credential_id)), msgspec.msgpack.encode(passkey))


def _context(kind: str, key: bytes) -> str:
    return f"{kind} {key.hex()}"


def _challenge_context(token_hash: bytes) -> str:
    return f"passkey challenge {token_hash.hex()}"


def opened(plain: bytes, shape: type[Shape]) -> Shape:
    """What was sealed, in its shape. Raises Fault for bytes that are not what we wrote."""
    try:
        return msgspec.msgpack.decode(plain, type=shape)
    except msgspec.MsgspecError:
        raise Fault("a sealed record has a foreign shape") from None
