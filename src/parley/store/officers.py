"""The drawer of the bank's own people: who they are, their passkeys and sign-ins, and what they did. Nothing in it concerns a customer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from parley.model.staff import Act, Role, StaffMember, StaffPasskey, StaffSession, StaffTicket, TicketKind
from parley.store.cabinet import Cabinet, from_micros, to_micros
from parley.store.driver import RecordsConflict, Row, Work, only

STAFF_MAX = 500
SESSIONS_MAX = 10
"""Sign-ins of one person at once; the one that was idle longest gives way."""

ACTS_MAX = 200
DUE_MAX = 50

_MEMBER = "s.id, s.name, s.role, s.created_at, (SELECT count(*) FROM staff_passkeys p WHERE p.staff = s.id)"
_SESSION = f"SELECT t.id, t.token_hash, t.signed_in_at, t.seen_at, t.expires_at, {_MEMBER} FROM staff_sessions t JOIN staff s ON s.id = t.staff"  # noqa: S608
_FIND_PASSKEY = f"""
SELECT k.credential_id, k.public_key, k.sign_count, {_MEMBER} FROM staff_passkeys k JOIN staff s ON s.id = k.staff WHERE k.credential_id = ?
"""  # noqa: S608 - only our own column names are put in
_COUNT = "UPDATE staff_passkeys SET sign_count = ? WHERE credential_id = ? AND sign_count = ? RETURNING staff"
_ADD_SESSION = "INSERT INTO staff_sessions (id, token_hash, staff, signed_in_at, seen_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)"
_CROWD_OUT = """
DELETE FROM staff_sessions WHERE staff = ? AND id NOT IN (
    SELECT id FROM staff_sessions WHERE staff = ? AND expires_at > ? ORDER BY seen_at DESC, id LIMIT ?)
"""
_TAKE_BACK = "UPDATE proposals SET state = 'rejected', decided_by = ?, decided_at = ? WHERE proposed_by = ? AND state IN ('open', 'approving')"
_TAKE_TICKET = "DELETE FROM staff_tickets WHERE kind = ? AND token_hash = ? RETURNING staff, challenge, expires_at"
_ADD_ACT = "INSERT INTO staff_acts (id, actor, kind, facts, at, log_index, tried_at) VALUES (?, ?, ?, ?, ?, ?, ?)"
_ACTS = "SELECT id, actor, kind, facts, at, log_index FROM staff_acts"
_LEASE = f"""
UPDATE staff_acts SET tried_at = ? WHERE log_index IS NULL AND tried_at <= ? AND id IN (
    SELECT id FROM staff_acts WHERE log_index IS NULL AND tried_at <= ? ORDER BY at, id LIMIT {DUE_MAX})
RETURNING id, actor, kind, facts, at, log_index
"""  # noqa: S608


class Officers(Cabinet):
    """Implements `parley.console.officer.ports.StaffRecords`, but for policies and switches (see rulebook.py)."""

    async def add_staff(self, member: StaffMember, invitation: StaffTicket) -> None:
        """A new person, and the link that makes her first passkey. Raises RecordsConflict when the name is taken or the list is full."""
        row = (member.id, member.name, member.role.value, to_micros(member.created_at))
        await self._driver.write(lambda: _add_staff(row, _ticket_row(invitation)))

    async def all_staff(self) -> tuple[StaffMember, ...]:
        rows = await self._driver.read(f"SELECT {_MEMBER} FROM staff s ORDER BY s.name, s.id")  # noqa: S608
        return tuple(map(_member, rows))

    async def remove_staff(self, staff: str) -> bool:
        """She can no longer sign in, and her sessions end with her. False when there is no such person. What she did stays known.

        What she asked for and nobody agreed to yet goes, too: under a new id she could agree to it herself.
        """
        return await self._driver.write(lambda: _remove(staff, to_micros(self._clock())))

    async def add_ticket(self, ticket: StaffTicket) -> None:
        await self._driver.write(lambda: _add_ticket(ticket, to_micros(self._clock())))

    async def peek_ticket(self, kind: TicketKind, token_hash: bytes, now: datetime) -> StaffTicket | None:
        """Read without using it up."""
        rows = await self._driver.read(
            "SELECT staff, challenge, expires_at FROM staff_tickets WHERE kind = ? AND token_hash = ?", (kind.value, token_hash)
        )
        return _ticket(kind, token_hash, rows, now)

    async def take_ticket(self, kind: TicketKind, token_hash: bytes, now: datetime) -> StaffTicket | None:
        """Read and delete in one step, so that it works once. None when unknown, used or expired."""
        return _ticket(kind, token_hash, await self._driver.write(only(_TAKE_TICKET, kind.value, token_hash)), now)

    async def enrol(self, invitation_hash: bytes, passkey: StaffPasskey, now: datetime) -> bool:
        """Use the invitation up and keep the passkey, in one transaction. False when the invitation no longer stands.

        Raises RecordsConflict when the passkey is known already.
        """
        return await self._driver.write(lambda: _enrol(invitation_hash, passkey, to_micros(now)))

    async def find_staff_passkey(self, credential_id: bytes) -> StaffPasskey | None:
        rows = await self._driver.read(_FIND_PASSKEY, (credential_id,))
        return StaffPasskey(rows[0][0], _member(rows[0][3:]), rows[0][1], rows[0][2]) if rows else None

    async def staff_passkeys_of(self, staff: str) -> tuple[bytes, ...]:
        """Credential ids."""
        rows = await self._driver.read("SELECT credential_id FROM staff_passkeys WHERE staff = ? ORDER BY created_at", (staff,))
        return tuple(row[0] for row in rows)

    async def open_staff_session(self, session: StaffSession, passkey: StaffPasskey, sign_count: int) -> bool:
        """Store the new count and the session, in one transaction. False when the passkey has been used or removed since it was read."""
        return await self._driver.write(lambda: _open_session(session, passkey, sign_count))

    async def find_staff_session(self, token_hash: bytes, now: datetime, idle_max: timedelta) -> StaffSession | None:
        """None when unknown, ended, expired, or not seen for longer than `idle_max`."""
        sql = f"{_SESSION} WHERE t.token_hash = ? AND t.expires_at > ? AND t.seen_at > ?"
        rows = await self._driver.read(sql, (token_hash, to_micros(now), to_micros(now - idle_max)))
        return _session(rows[0]) if rows else None

    async def staff_session_seen(self, session: str, now: datetime) -> None:
        await self._driver.write(only("UPDATE staff_sessions SET seen_at = ? WHERE id = ? AND seen_at < ?", to_micros(now), session, to_micros(now)))

    async def staff_sessions(self, now: datetime, idle_max: timedelta) -> tuple[StaffSession, ...]:
        """Everybody's that stand, most recent first."""
        sql = f"{_SESSION} WHERE t.expires_at > ? AND t.seen_at > ? ORDER BY t.seen_at DESC, t.id"
        return tuple(map(_session, await self._driver.read(sql, (to_micros(now), to_micros(now - idle_max)))))

    async def end_staff_session(self, session: str) -> bool:
        return bool(await self._driver.write(only("DELETE FROM staff_sessions WHERE id = ? RETURNING id", session)))

    async def add_act(self, act: Act) -> None:
        tried = to_micros(act.at)
        facts = msgspec.json.encode(act.facts).decode()
        await self._driver.write(only(_ADD_ACT, act.id, act.actor, act.kind, facts, tried, act.log_index, tried))

    async def act_logged(self, act: str, log_index: int) -> None:
        await self._driver.write(only("UPDATE staff_acts SET log_index = ? WHERE id = ?", log_index, act))

    async def acts(self) -> tuple[Act, ...]:
        """The newest ACTS_MAX, newest first."""
        return tuple(map(_act, await self._driver.read(f"{_ACTS} ORDER BY at DESC, id LIMIT {ACTS_MAX}")))

    async def lease_acts(self, now: datetime, untried_for: timedelta) -> tuple[Act, ...]:
        """Acts that the log has not been told of and nobody has tried to tell it of lately: the caller tells it now."""
        moment, before = to_micros(now), to_micros(now - untried_for)
        return tuple(map(_act, await self._driver.write(only(_LEASE, moment, before, before))))


def _add_staff(row: tuple[str, str, str, int], invitation: tuple[bytes, str, str, bytes, int]) -> Work[None]:
    known = yield "SELECT name FROM staff", ()
    if len(known) >= STAFF_MAX or any(name.casefold() == row[1].casefold() for (name,) in known):
        raise RecordsConflict("the name is taken, or the list is full")
    yield "INSERT INTO staff (id, name, role, created_at) VALUES (?, ?, ?, ?)", row
    yield _insert_ticket(), invitation


def _remove(staff: str, now: int) -> Work[bool]:
    yield _TAKE_BACK, (staff, now, staff)
    yield "UPDATE switches SET undo_by = '' WHERE undo_by = ?", (staff,)
    yield "DELETE FROM staff_sessions WHERE staff = ?", (staff,)
    yield "DELETE FROM staff_passkeys WHERE staff = ?", (staff,)
    yield "DELETE FROM staff_tickets WHERE staff = ?", (staff,)
    return bool((yield "DELETE FROM staff WHERE id = ? RETURNING id", (staff,)))


def _add_ticket(ticket: StaffTicket, now: int) -> Work[None]:
    """Whoever adds one clears away what has expired: nothing else does."""
    yield "DELETE FROM staff_tickets WHERE expires_at <= ?", (now,)
    yield _insert_ticket(), _ticket_row(ticket)


def _insert_ticket() -> str:
    return "INSERT INTO staff_tickets (token_hash, kind, staff, challenge, expires_at) VALUES (?, ?, ?, ?, ?)"


def _ticket_row(ticket: StaffTicket) -> tuple[bytes, str, str, bytes, int]:
    return ticket.token_hash, ticket.kind.value, ticket.staff, ticket.challenge, to_micros(ticket.expires_at)


def _ticket(kind: TicketKind, token_hash: bytes, rows: list[Row], now: datetime) -> StaffTicket | None:
    if not rows or rows[0][2] <= to_micros(now):
        return None
    return StaffTicket(token_hash, kind, rows[0][0], rows[0][1], from_micros(rows[0][2]))


def _enrol(invitation_hash: bytes, passkey: StaffPasskey, now: int) -> Work[bool]:
    taken = yield _TAKE_TICKET, (TicketKind.INVITATION.value, invitation_hash)
    if not taken or taken[0][2] <= now or taken[0][0] != passkey.staff.id:
        return False
    row = (passkey.credential_id, passkey.staff.id, passkey.public_key, passkey.sign_count, now)
    yield "INSERT INTO staff_passkeys (credential_id, staff, public_key, sign_count, created_at) VALUES (?, ?, ?, ?, ?)", row
    return True


def _open_session(session: StaffSession, passkey: StaffPasskey, sign_count: int) -> Work[bool]:
    if not (yield _COUNT, (sign_count, passkey.credential_id, passkey.sign_count)):
        return False
    moment = to_micros(session.signed_in_at)
    staff = session.staff.id
    yield _ADD_SESSION, (session.id, session.token_hash, staff, moment, moment, to_micros(session.expires_at))
    yield _CROWD_OUT, (staff, staff, moment, SESSIONS_MAX)
    return True


def _member(row: Row) -> StaffMember:
    return StaffMember(row[0], row[1], Role(row[2]), from_micros(row[3]), bool(row[4]))


def _session(row: Row) -> StaffSession:
    return StaffSession(row[0], row[1], _member(row[5:]), from_micros(row[2]), from_micros(row[3]), from_micros(row[4]))


_facts: Callable[[str], dict[str, str]] = msgspec.json.Decoder(dict[str, str]).decode


def _act(row: Row) -> Act:
    return Act(row[0], row[1], row[2], _facts(row[3]), from_micros(row[4]), row[5])
