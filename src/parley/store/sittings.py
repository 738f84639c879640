"""The drawer of short-lived things: sessions, and the attempts (to link, to consent, to pair) that work once.

All of it is sealed whole under the gateway's key, bound to its own token: the file tells neither which chat a session belongs to nor
the verifier of a trip to the bank. Tokens themselves are never here, only their SHA-256.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeVar

import msgspec

from parley.model.ledger import Discreet
from parley.model.linking import ConsentAttempt, LinkAttempt, Pairing, Session
from parley.model.refusals import Fault
from parley.store.cabinet import Cabinet, to_micros
from parley.store.driver import only

Sealed = TypeVar("Sealed", bound=Discreet)


class _Kind(StrEnum):
    SESSION = "session"
    LINK = "link"
    CONSENT = "consent"
    PAIRING = "pairing"


_ADD = "INSERT INTO attempts (kind, token_hash, sealed, expires_at) VALUES (?, ?, ?, ?)"
_TAKE = "DELETE FROM attempts WHERE kind = ? AND token_hash = ? RETURNING sealed, expires_at"
_PEEK = "SELECT sealed, expires_at FROM attempts WHERE kind = ? AND token_hash = ?"


class Sittings(Cabinet):
    """Implements `parley.authorization.ports.SessionRecords` and the attempts' part of `LinkRecords`."""

    async def add_session(self, session: Session) -> None:
        sealed = self._close(_Kind.SESSION, session.token_hash, session)
        sql = "INSERT INTO sessions (token_hash, sealed, expires_at) VALUES (?, ?, ?)"
        await self._driver.write(only(sql, session.token_hash, sealed, to_micros(session.expires_at)))

    async def find_session(self, token_hash: bytes, now: datetime) -> Session | None:
        """None when unknown, ended or expired."""
        rows = await self._driver.read("SELECT sealed FROM sessions WHERE token_hash = ? AND expires_at > ?", (token_hash, to_micros(now)))
        if not rows:
            return None
        exact = (token_hash, rows[0][0])
        session = self._sittings.get(exact)
        if session is None:
            session = self._reopen(_Kind.SESSION, token_hash, rows[0][0], Session)
            self._sittings.put(exact, session)
        return session

    async def end_session(self, token_hash: bytes) -> None:
        await self._driver.write(only("DELETE FROM sessions WHERE token_hash = ?", token_hash))

    async def add_attempt(self, attempt: LinkAttempt) -> None:
        await self._add(_Kind.LINK, attempt.state_hash, attempt, attempt.expires_at)

    async def take_attempt(self, state_hash: bytes, now: datetime) -> LinkAttempt | None:
        """Read and delete in one step, so that a state works once. None when unknown or expired."""
        return await self._take(_Kind.LINK, state_hash, now, LinkAttempt)

    async def add_consent_attempt(self, attempt: ConsentAttempt) -> None:
        await self._add(_Kind.CONSENT, attempt.token_hash, attempt, attempt.expires_at)

    async def take_consent_attempt(self, token_hash: bytes, now: datetime) -> ConsentAttempt | None:
        """As `take_attempt`."""
        return await self._take(_Kind.CONSENT, token_hash, now, ConsentAttempt)

    async def add_pairing(self, pairing: Pairing) -> None:
        await self._add(_Kind.PAIRING, pairing.token_hash, pairing, pairing.expires_at)

    async def take_pairing(self, token_hash: bytes, now: datetime) -> Pairing | None:
        """As `take_attempt`."""
        return await self._take(_Kind.PAIRING, token_hash, now, Pairing)

    async def peek_pairing(self, token_hash: bytes, now: datetime) -> Pairing | None:
        """Read without using it up."""
        rows = await self._driver.read(_PEEK, (_Kind.PAIRING.value, token_hash))
        if not rows or rows[0][1] <= to_micros(now):
            return None
        return self._reopen(_Kind.PAIRING, token_hash, rows[0][0], Pairing)

    async def _add(self, kind: _Kind, token_hash: bytes, attempt: Discreet, expires_at: datetime) -> None:
        sealed = self._close(kind, token_hash, attempt)
        await self._driver.write(only(_ADD, kind.value, token_hash, sealed, to_micros(expires_at)))

    async def _take(self, kind: _Kind, token_hash: bytes, now: datetime, shape: type[Sealed]) -> Sealed | None:
        rows = await self._driver.write(only(_TAKE, kind.value, token_hash))
        if not rows or rows[0][1] <= to_micros(now):
            return None
        return self._reopen(kind, token_hash, rows[0][0], shape)

    def _close(self, kind: _Kind, token_hash: bytes, value: Discreet) -> bytes:
        return self._gateway.seal(f"{kind} {token_hash.hex()}", msgspec.msgpack.encode(value))

    def _reopen(self, kind: _Kind, token_hash: bytes, sealed: bytes, shape: type[Sealed]) -> Sealed:
        try:
            return msgspec.msgpack.decode(self._gateway.open(f"{kind} {token_hash.hex()}", sealed), type=shape)
        except msgspec.MsgspecError:
            raise Fault("a sealed record has a foreign shape") from None
