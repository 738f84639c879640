"""Pairing: a terminal, which has no browser, is linked through one."""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime, timedelta

from parley.authorization.linking import CONSENT_LIFE, STATE_CHARS_MAX, TOKEN_BYTES
from parley.authorization.ports import LinkRecords, SessionRecords
from parley.authorization.sessions import Presented, Sessions, hash_token
from parley.model.linking import Pairing
from parley.model.refusals import LinkExpired

PAIRING_LIFE = timedelta(minutes=10)


class PairingDesk:
    """Lets a terminal, which has no browser, be linked through one. The customer types the number that only her terminal shows.

    The danger is a stranger who runs a terminal and sends its address to a victim: whoever confirms gives that terminal answers. So the
    page says what it is about to do, never shows the number itself, and a wrong number ends the pairing.
    """

    def __init__(
        self,
        *,
        records: LinkRecords,
        session_records: SessionRecords,
        sessions: Sessions,
        clock: Callable[[], datetime],
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._records = records
        self._session_records = session_records
        self._sessions = sessions
        self._clock = clock
        self._chance = chance

    async def offer(self, terminal: Presented) -> tuple[str, str]:
        """A pairing for this terminal: (token for the address, number of six digits for the terminal's screen)."""
        token = urlsafe_b64encode(self._chance(TOKEN_BYTES)).rstrip(b"=").decode()
        number = f"{int.from_bytes(self._chance(8), 'big') % 1_000_000:06d}"
        await self._records.add_pairing(Pairing(hash_token(token), terminal.session.token_hash, number, self._clock() + PAIRING_LIFE))
        return token, number

    async def waits(self, token: str) -> bool:
        return len(token) <= STATE_CHARS_MAX and await self._records.peek_pairing(hash_token(token), self._clock()) is not None

    async def confirm(self, token: str, number: str) -> Presented:
        """A short session of this browser in the terminal's conversation, for linking only. Raises LinkExpired for a wrong number too."""
        pairing = await self._records.take_pairing(hash_token(token), self._clock()) if len(token) <= STATE_CHARS_MAX else None
        digits = "".join(character for character in number if character in "0123456789")
        if pairing is None or not hmac.compare_digest(digits.encode(), pairing.number.encode()):
            raise LinkExpired("no such pairing, or another number")
        terminal = await self._session_records.find_session(pairing.session_hash, self._clock())
        if terminal is None:
            raise LinkExpired("the terminal's session has ended")
        return await self._sessions.start(terminal.conversation, life=PAIRING_LIFE + CONSENT_LIFE)
