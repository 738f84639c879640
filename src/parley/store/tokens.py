"""The drawer of the authorization server: requests that wait, codes, tokens, what they stand for, and which proofs were seen.

Codes and tokens are here as SHA-256 only; what they say is sealed whole under the gateway's key and bound to that hash, so that a row
copied under another hash does not open. Several processes share all of it, and so does a restarted one: what was used once stays used.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import TypeVar

import msgspec

from parley.model.ledger import Discreet
from parley.model.refusals import Fault
from parley.model.tokens import Authorization, AuthorizationRequest, Code, Token
from parley.store.cabinet import Cabinet, to_micros
from parley.store.customers import LIVES_MAX
from parley.store.driver import RecordsConflict, Row, Work, only

Sealed = TypeVar("Sealed", bound=Discreet)

USED_CODES_REMEMBERED = timedelta(days=1)
"""How long a second use of a code is still told from a code that never was."""

_REQUEST = "request"
_PRUNED_AT_ONCE = 512
_PRUNE_STEPS_MAX = 64
_TAKE_REQUEST = "DELETE FROM attempts WHERE kind = ? AND token_hash = ? RETURNING sealed, expires_at"
_PEEK_REQUEST = "SELECT sealed, expires_at FROM attempts WHERE kind = ? AND token_hash = ?"
_FIND = """
SELECT t.sealed, t.state, t.authorization_hash, a.sealed, a.version FROM tokens t
JOIN authorizations a ON a.id_hash = t.authorization_hash WHERE t.token_hash = ? AND t.expires_at > ?
"""
_STORE = """
INSERT INTO tokens (token_hash, client, family, authorization_hash, state, sealed, expires_at)
SELECT ?, ?, ?, id_hash, 0, ?, ? FROM authorizations WHERE id_hash = ? AND version = ? RETURNING token_hash
"""
_SEE = "INSERT INTO seen_tokens (key, expires_at) VALUES (?, ?) ON CONFLICT (key) DO NOTHING RETURNING key"
_PRUNE = (
    ("tokens", "token_hash", "expires_at"),
    ("codes", "code_hash", "forget_at"),
    ("seen_tokens", "key", "expires_at"),
    ("authorizations", "id_hash", "until"),
)


class Tokens(Cabinet):
    """Implements `parley.authorization.server.ports.TokenRecords`."""

    # Requests that wait for a customer: read as often as the page is loaded, used up at her decision.

    async def add_request(self, reference_hash: bytes, request: AuthorizationRequest) -> None:
        sealed = self._seal_row(_REQUEST, reference_hash, request)
        sql = "INSERT INTO attempts (kind, token_hash, sealed, expires_at) VALUES (?, ?, ?, ?) ON CONFLICT (token_hash, kind) DO NOTHING"
        await self._driver.write(only(sql, _REQUEST, reference_hash, sealed, to_micros(request.expires_at)))

    async def peek_request(self, reference_hash: bytes, now: datetime) -> AuthorizationRequest | None:
        return self._waiting(reference_hash, await self._driver.read(_PEEK_REQUEST, (_REQUEST, reference_hash)), now)

    async def take_request(self, reference_hash: bytes, now: datetime) -> AuthorizationRequest | None:
        """Read and delete in one step: of two decisions about one request, one counts."""
        return self._waiting(reference_hash, await self._driver.write(only(_TAKE_REQUEST, _REQUEST, reference_hash)), now)

    # Codes.

    async def add_authorization(self, authorization: Authorization, code_hash: bytes, code: Code) -> None:
        """Store what was allowed and the code for it, in one transaction.

        A version above 1 takes the place of the one before, and all tokens made under that end. Raises RecordsConflict where the version
        before does not stand, or the customer is gone.
        """
        id_hash = sha256(authorization.id.encode()).digest()
        sealed = self._seal_row("authorization", id_hash, authorization)
        sealed_code = self._seal_row("code", code_hash, code)

        def work() -> Work[None]:
            if not (yield "SELECT 1 FROM customers WHERE id = ?", (authorization.customer,)):
                raise RecordsConflict("the customer is gone")
            until, version = to_micros(authorization.until), authorization.version
            if version == 1:
                first = (id_hash, authorization.customer, version, sealed, until)
                yield "INSERT INTO authorizations (id_hash, customer, version, sealed, until) VALUES (?, ?, ?, ?, ?)", first
            else:
                replace = "UPDATE authorizations SET version = ?, sealed = ?, until = ? WHERE id_hash = ? AND version = ? RETURNING version"
                if not (yield replace, (version, sealed, until, id_hash, version - 1)):
                    raise RecordsConflict("the authorization before does not stand")
                yield "DELETE FROM tokens WHERE authorization_hash = ?", (id_hash,)
            forget = to_micros(code.expires_at + USED_CODES_REMEMBERED)
            row = (code_hash, code.client, sealed_code, forget)
            yield "INSERT INTO codes (code_hash, client, state, sealed, forget_at) VALUES (?, ?, 0, ?, ?)", row

        await self._driver.write(work)

    async def peek_code(self, code_hash: bytes) -> Code | None:
        """Read without using it: whose it is, before anybody may use it. Expired and used ones too."""
        rows = await self._driver.read("SELECT sealed FROM codes WHERE code_hash = ?", (code_hash,))
        return self._open_row("code", code_hash, rows[0][0], Code) if rows else None

    async def use_code(self, code_hash: bytes, now: datetime) -> bool:
        """True for the first use in time, and only for one of many at once. A further use ends every token that came of the code."""

        def work() -> Work[bool]:
            rows = yield "UPDATE codes SET state = 1 WHERE code_hash = ? AND state = 0 RETURNING sealed", (code_hash,)
            if rows:
                return self._open_row("code", code_hash, rows[0][0], Code).expires_at > now
            rows = yield "SELECT sealed FROM codes WHERE code_hash = ?", (code_hash,)
            if rows:
                family = self._open_row("code", code_hash, rows[0][0], Code).family
                # Marked first: the winner stores its tokens only while it holds the row as its own, so none slips in behind the deletion.
                yield "UPDATE codes SET state = 2 WHERE code_hash = ?", (code_hash,)
                yield "DELETE FROM tokens WHERE family = ?", (family,)
            return False

        return await self._driver.write(work)

    # Tokens.

    async def add_tokens(self, tokens: tuple[tuple[bytes, Token], ...], *, code_hash: bytes | None = None, rotated_hash: bytes | None = None) -> bool:
        """Store them, in one transaction; what they are given for was used up before (a code, or a refresh token that rotates).

        False, and nothing stored: the authorization has changed or ended, or the code or refresh token was used again meanwhile.
        """
        # Updates that change nothing take the row's lock, so that a second use waits for us, or we for it.
        held_code = "UPDATE codes SET state = 1 WHERE code_hash = ? AND state = 1 RETURNING state"
        held_refresh = "UPDATE tokens SET state = 1 WHERE token_hash = ? AND state = 1 RETURNING state"

        def work() -> Work[bool]:
            if code_hash is not None and not (yield held_code, (code_hash,)):
                return False
            if rotated_hash is not None and not (yield held_refresh, (rotated_hash,)):
                return False
            for token_hash, token in tokens:
                id_hash = sha256(token.authorization.encode()).digest()
                sealed = self._seal_row("token", token_hash, token)
                row = (token_hash, token.client, token.family, sealed, to_micros(token.expires_at), id_hash, token.version)
                if not (yield _STORE, row):
                    return False
            return True

        return await self._driver.write(work)

    async def find_token(self, token_hash: bytes, now: datetime) -> tuple[Token, Authorization] | None:
        """A token that stands, with what it stands for: one read. None when unknown, expired, used up, or of an earlier version."""
        rows = await self._driver.read(_FIND, (token_hash, to_micros(now)))
        if not rows or rows[0][1] != 0:
            return None
        token = self._open_row("token", token_hash, rows[0][0], Token)
        authorization = self._open_row("authorization", rows[0][2], rows[0][3], Authorization)
        if token.version != authorization.version or rows[0][4] != authorization.version or token.expires_at <= now:
            return None
        return token, authorization

    async def use_token(self, token_hash: bytes, now: datetime) -> Token | None:
        """Use up a refresh token that rotates. A second use ends the whole family: one of the two users is a thief. None when it does not stand."""

        def work() -> Work[Token | None]:
            sql = "UPDATE tokens SET state = 1 WHERE token_hash = ? AND state = 0 AND expires_at > ? RETURNING sealed"
            rows = yield sql, (token_hash, to_micros(now))
            if rows:
                return self._open_row("token", token_hash, rows[0][0], Token)
            yield "DELETE FROM tokens WHERE family IN (SELECT family FROM tokens WHERE token_hash = ? AND state = 1)", (token_hash,)
            return None

        return await self._driver.write(work)

    async def end_token(self, token_hash: bytes) -> None:
        await self._driver.write(only("DELETE FROM tokens WHERE token_hash = ?", token_hash))

    async def end_family(self, family: bytes) -> None:
        await self._driver.write(only("DELETE FROM tokens WHERE family = ?", family))

    async def find_authorization(self, authorization_id: str) -> Authorization | None:
        id_hash = sha256(authorization_id.encode()).digest()
        rows = await self._driver.read("SELECT sealed FROM authorizations WHERE id_hash = ?", (id_hash,))
        return self._open_row("authorization", id_hash, rows[0][0], Authorization) if rows else None

    async def end_authorization(self, authorization_id: str) -> None:
        """Its tokens go with it."""
        id_hash = sha256(authorization_id.encode()).digest()
        await self._driver.write(only("DELETE FROM authorizations WHERE id_hash = ?", id_hash))

    # What was seen.

    async def see_once(self, use: str, name: str, until: datetime) -> bool:
        """True the first time that this name is seen for this use, in any process; it is remembered until `until`."""
        return bool(await self._driver.write(only(_SEE, _seen_key(use, name), to_micros(until))))

    async def was_seen(self, use: str, name: str) -> bool:
        """Whether `see_once` was told of it, and it is remembered still."""
        return bool(await self._driver.read("SELECT 1 FROM seen_tokens WHERE key = ?", (_seen_key(use, name),)))

    def is_person(self, bank: str, owner: str, customer: str) -> bool:
        """Whether this customer of ours is the person that the bank calls by that id, in any of her lives here."""
        return any(self._gateway.customer(bank, owner, life) == customer for life in range(LIVES_MAX))

    def seal_note(self, use: str, plain: bytes) -> bytes:
        """A note of the server to itself that strangers carry about, such as a nonce: nobody else can make or change one."""
        return self._gateway.seal(f"note {use}", plain)

    def open_note(self, use: str, sealed: bytes) -> bytes | None:
        """None for anything that we did not seal for this use."""
        try:
            return self._gateway.open(f"note {use}", sealed)
        except Fault:
            return None

    async def prune_tokens(self) -> int:
        """Forget what has ended, in small steps, so that no other write waits long. Rows deleted."""
        now = to_micros(self._clock())
        return sum([await self._prune_table(table, key, column, now) for table, key, column in _PRUNE])

    async def _prune_table(self, table: str, key: str, column: str, now: int) -> int:
        """A proof is remembered for every request, so the steps must keep up with some hundred of those a second."""
        oldest = f"SELECT {key} FROM {table} WHERE {column} <= ? ORDER BY {column}, {key} LIMIT ?"  # noqa: S608 - our own names
        delete = f"DELETE FROM {table} WHERE {key} IN ({oldest}) RETURNING 1"  # noqa: S608
        deleted = 0
        for _ in range(_PRUNE_STEPS_MAX):
            step = len(await self._driver.write(only(delete, now, _PRUNED_AT_ONCE)))
            deleted += step
            if step < _PRUNED_AT_ONCE:
                break
        return deleted

    def _waiting(self, reference_hash: bytes, rows: list[Row], now: datetime) -> AuthorizationRequest | None:
        if not rows or rows[0][1] <= to_micros(now):
            return None
        return self._open_row(_REQUEST, reference_hash, rows[0][0], AuthorizationRequest)

    def _seal_row(self, use: str, key: bytes, value: Discreet) -> bytes:
        return self._gateway.seal(f"{use} {key.hex()}", msgspec.msgpack.encode(value))

    def _open_row(self, use: str, key: bytes, sealed: bytes, shape: type[Sealed]) -> Sealed:
        try:
            return msgspec.msgpack.decode(self._gateway.open(f"{use} {key.hex()}", sealed), type=shape)
        except msgspec.MsgspecError:
            raise Fault("a sealed record has a foreign shape") from None


def _seen_key(use: str, name: str) -> bytes:
    return sha256(f"{use}\0{name}".encode("utf-8", "surrogatepass")).digest()[:16]
