"""How the bank's people become known here: an invitation makes a passkey, a passkey makes a session. There is no password to steal."""

from __future__ import annotations

import asyncio
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from parley.console.officer.journal import Journal
from parley.console.officer.ports import StaffRecords
from parley.console.officer.roles import InvitationSpent, SignedOut, SignInTooOld
from parley.console.passkeys import (
    CHALLENGE_BYTES,
    Passkey,
    PasskeyRejected,
    PasskeySite,
    assertion_options,
    presented,
    registration_options,
    verify_assertion,
    verify_registration,
)
from parley.model.staff import StaffMember, StaffPasskey, StaffSession, StaffTicket, TicketKind

SESSION_LIFE = timedelta(hours=8)
IDLE_MAX = timedelta(minutes=15)
FRESH_FOR = timedelta(minutes=10)
"""How old a sign-in may be for a decision that opens something."""
CEREMONY_LIFE = timedelta(minutes=3)
SEEN_EVERY = timedelta(minutes=1)
TOKEN_BYTES = 32
TOKEN_CHARS_MAX = 64


class SigningIn:
    """Ceremonies and sessions of staff: apart from customers' in every way (own tables, own cookie, own addresses)."""

    def __init__(self, records: StaffRecords, journal: Journal, site: PasskeySite, clock: Callable[[], datetime]) -> None:
        self._records = records
        self._journal = journal
        self._site = site
        self._clock = clock

    async def begin_enrolling(self, invitation: str) -> tuple[dict[str, Any], str]:
        """(the browser's options, the ceremony's token) for whoever holds an invitation. Raises InvitationSpent."""
        staff = await self._invited(invitation)
        challenge, token = secrets.token_bytes(CHALLENGE_BYTES), new_token()
        await self._records.add_ticket(self._ticket(token, TicketKind.ENROLLING, staff.id, challenge))
        existing = await self._records.staff_passkeys_of(staff.id)
        name = f"{staff.name} ({staff.role.value})"
        return registration_options(self._site, challenge=challenge, user_handle=bytes.fromhex(staff.id), user_name=name, existing=existing), token

    async def enrol(self, invitation: str, token: str, answer: bytes) -> None:
        """Keep the passkey and use the invitation up. Raises InvitationSpent, PasskeyRejected."""
        ticket = await self._records.take_ticket(TicketKind.ENROLLING, hash_of(token), self._clock())
        staff = await self._invited(invitation)
        if ticket is None or ticket.staff != staff.id:
            raise PasskeyRejected("no such ceremony")
        made = await asyncio.to_thread(verify_registration, self._site, answer, ticket.challenge)
        passkey = StaffPasskey(made.credential_id, staff, made.public_key, made.sign_count)
        if not await self._records.enrol(hash_of(invitation), passkey, self._clock()):
            raise InvitationSpent()
        await self._journal.note(staff, "staff", act="enrol")

    async def begin_sign_in(self) -> tuple[dict[str, Any], str]:
        """(the browser's options, the ceremony's token). They name nobody, so that nobody can ask who works here."""
        challenge, token = secrets.token_bytes(CHALLENGE_BYTES), new_token()
        await self._records.add_ticket(self._ticket(token, TicketKind.SIGNING_IN, "", challenge))
        return assertion_options(self._site, challenge=challenge), token

    async def sign_in(self, token: str, answer: bytes) -> str:
        """A new session's token. Raises PasskeyRejected, in the same words for an unknown passkey as for a wrong one."""
        ticket = await self._records.take_ticket(TicketKind.SIGNING_IN, hash_of(token), self._clock())
        if ticket is None:
            raise PasskeyRejected("no such ceremony")
        claimed = presented(answer)
        passkey = await self._records.find_staff_passkey(claimed.credential_id)
        if passkey is None or claimed.user_handle not in (b"", bytes.fromhex(passkey.staff.id)):
            raise PasskeyRejected("unknown passkey")
        known = Passkey(passkey.credential_id, passkey.public_key, passkey.sign_count)
        count = await asyncio.to_thread(verify_assertion, self._site, answer, ticket.challenge, known)
        now, session_token = self._clock(), new_token()
        session = StaffSession(secrets.token_hex(8), hash_of(session_token), passkey.staff, now, now, now + SESSION_LIFE)
        if not await self._records.open_staff_session(session, passkey, count):
            raise PasskeyRejected("the passkey was used meanwhile")
        await self._journal.note(passkey.staff, "staff", act="sign_in")
        return session_token

    async def find(self, token: str | None) -> StaffSession:
        """The session behind a cookie. Raises SignedOut."""
        if not token or len(token) > TOKEN_CHARS_MAX:
            raise SignedOut()
        now = self._clock()
        session = await self._records.find_staff_session(hash_of(token), now, IDLE_MAX)
        if session is None:
            raise SignedOut()
        if now - session.seen_at > SEEN_EVERY:
            await self._records.staff_session_seen(session.id, now)
        return session

    def must_be_fresh(self, session: StaffSession) -> None:
        """Raises SignInTooOld: whoever finds an unlocked screen may look, and may pull a switch, but opens nothing."""
        if self._clock() - session.signed_in_at > FRESH_FOR:
            raise SignInTooOld()

    async def sessions(self) -> tuple[StaffSession, ...]:
        return await self._records.staff_sessions(self._clock(), IDLE_MAX)

    async def end(self, actor: StaffMember, session_id: str) -> bool:
        """Sign out, oneself or somebody else; whether somebody may is for the door to ask. False when it had ended already."""
        ended = await self._records.end_staff_session(session_id)
        if ended:
            await self._journal.note(actor, "staff", act="sign_out")
        return ended

    async def _invited(self, invitation: str) -> StaffMember:
        if not invitation or len(invitation) > TOKEN_CHARS_MAX:
            raise InvitationSpent()
        ticket = await self._records.peek_ticket(TicketKind.INVITATION, hash_of(invitation), self._clock())
        staff = next((each for each in await self._records.all_staff() if ticket is not None and each.id == ticket.staff), None)
        if staff is None:
            raise InvitationSpent()
        return staff

    def _ticket(self, token: str, kind: TicketKind, staff: str, challenge: bytes) -> StaffTicket:
        return StaffTicket(hash_of(token), kind, staff, challenge, self._clock() + CEREMONY_LIFE)


def new_token() -> str:
    """256 random bits as text."""
    return urlsafe_b64encode(secrets.token_bytes(TOKEN_BYTES)).rstrip(b"=").decode()


def hash_of(token: str) -> bytes:
    """What is stored of a token: there is nothing to guess in 256 random bits."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


def csrf_of(token: str) -> str:
    """What a form of this session shows and only its own pages can know: derived from the cookie that no script and no other site reads."""
    return sha256(b"parley/officer/csrf\0" + token.encode("utf-8", "surrogatepass")).hexdigest()
