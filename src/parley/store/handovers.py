"""The drawer of consents that wait for their chat: bound to it by the platform's signed word, released by the number that the page showed.

Rows stand among the attempts, sealed whole under the gateway's key, keyed by hashes of the code and of the chat.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

import msgspec

from parley.model.ledger import Discreet
from parley.model.messenger import CodeOutcome, Handover, Presentation, WayBack
from parley.model.refusals import Fault
from parley.store.cabinet import Cabinet, to_micros
from parley.store.driver import Row, Step, Work, only

Sealed = TypeVar("Sealed", bound=Discreet)

_CODE = "messenger.code"
_USED = "messenger.used"
_CHAT = "messenger.chat"
_PAGE = "messenger.page"

_ADD = "INSERT INTO attempts (kind, token_hash, sealed, expires_at) VALUES (?, ?, ?, ?)"
_PUT = f"{_ADD} ON CONFLICT (token_hash, kind) DO UPDATE SET sealed = excluded.sealed, expires_at = excluded.expires_at"
_TAKE = "DELETE FROM attempts WHERE kind = ? AND token_hash = ? RETURNING sealed, expires_at"
_PEEK = "SELECT sealed, expires_at FROM attempts WHERE kind = ? AND token_hash = ?"


class _Used(Discreet, frozen=True):
    """Which chat presented a code: remembered, so that the same code from another chat is noticed."""

    chat: str


class Handovers(Cabinet):
    """Implements `parley.authorization.server.messenger.HandoverRecords`."""

    async def add_handover(self, code_hash: bytes, handover: Handover, expires_at: datetime) -> None:
        sealed = self._shut(_CODE, code_hash, handover)
        await self._driver.write(only(_ADD, _CODE, code_hash, sealed, to_micros(expires_at)))

    async def present_code(self, code_hash: bytes, chat: str, now: datetime, *, waits_until: datetime, remembered_until: datetime) -> Presentation:
        """Bind what waits under a code to the chat that presents it, in one transaction. A second chat with the same code ends it for both."""

        def work() -> Work[Presentation]:
            rows = yield _TAKE, (_CODE, code_hash)
            if rows and rows[0][1] > to_micros(now):
                handover = self._unshut(_CODE, code_hash, rows[0][0], Handover)
                yield self._put(_CHAT, self._chat_key(chat), handover, waits_until)
                yield self._put(_USED, code_hash, _Used(chat), remembered_until)
                return Presentation(CodeOutcome.WAITS)
            seen = yield _PEEK, (_USED, code_hash)
            if not seen or seen[0][1] <= to_micros(now):
                return Presentation(CodeOutcome.UNKNOWN)
            earlier = self._unshut(_USED, code_hash, seen[0][0], _Used).chat
            if earlier == chat:
                return Presentation(CodeOutcome.AGAIN)
            yield _TAKE, (_CHAT, self._chat_key(earlier))
            return Presentation(CodeOutcome.ANOTHER_CHAT, earlier)

        return await self._driver.write(work)

    async def awaited(self, chat: str, now: datetime) -> bool:
        """Whether a number is awaited from this chat."""
        rows = await self._driver.read(_PEEK, (_CHAT, self._chat_key(chat)))
        return bool(rows) and self._fresh(rows, now)

    async def take_handover(self, chat: str, now: datetime) -> Handover | None:
        """What waits for this chat's number, once. None when nothing does."""
        key = self._chat_key(chat)
        rows = await self._driver.write(only(_TAKE, _CHAT, key))
        return self._unshut(_CHAT, key, rows[0][0], Handover) if rows and self._fresh(rows, now) else None

    async def put_back_handover(self, chat: str, handover: Handover, expires_at: datetime) -> None:
        """The number was right and the log out of reach: the customer may type it again."""

        def work() -> Work[None]:
            yield self._put(_CHAT, self._chat_key(chat), handover, expires_at)

        await self._driver.write(work)

    async def put_way_back(self, conversation: str, way: WayBack, expires_at: datetime) -> None:
        """What the browser of this conversation shows next; a later consent in it replaces an earlier one."""
        key = self._gateway.conversation(_PAGE, conversation)[1]

        def work() -> Work[None]:
            yield self._put(_PAGE, key, way, expires_at)

        await self._driver.write(work)

    async def way_back(self, conversation: str, now: datetime) -> WayBack | None:
        key = self._gateway.conversation(_PAGE, conversation)[1]
        rows = await self._driver.read(_PEEK, (_PAGE, key))
        return self._unshut(_PAGE, key, rows[0][0], WayBack) if rows and self._fresh(rows, now) else None

    def _put(self, kind: str, key: bytes, value: Discreet, expires_at: datetime) -> Step:
        return _PUT, (kind, key, self._shut(kind, key, value), to_micros(expires_at))

    def _chat_key(self, chat: str) -> bytes:
        """A keyed hash: a platform's ids of chats are short numbers, which a plain hash would not hide."""
        return self._gateway.conversation(_CHAT, chat)[1]

    @staticmethod
    def _fresh(rows: list[Row], now: datetime) -> bool:
        return bool(rows[0][1] > to_micros(now))

    def _shut(self, kind: str, key: bytes, value: Discreet) -> bytes:
        return self._gateway.seal(f"{kind} {key.hex()}", msgspec.msgpack.encode(value))

    def _unshut(self, kind: str, key: bytes, sealed: bytes, shape: type[Sealed]) -> Sealed:
        try:
            return msgspec.msgpack.decode(self._gateway.open(f"{kind} {key.hex()}", sealed), type=shape)
        except msgspec.MsgspecError:
            raise Fault("a sealed record has a foreign shape") from None
