"""Who may open the officer's console: added, invited and removed where the data lives, and in the log."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from parley.app.log_port import HouseLog
from parley.app.officers import OfficersLog, officers_site
from parley.console.officer.journal import Journal
from parley.console.officer.signing_in import hash_of, new_token
from parley.log.client import NotaryClient
from parley.model.staff import Role, StaffMember, StaffTicket, TicketKind
from parley.model.strangers import clean
from parley.settings import Settings
from parley.store import FileKeyRing, Records, RecordsConflict, open_records

INVITATION_LIFE = timedelta(hours=24)


class StaffTrouble(Exception):
    """What keeps the command from doing it, with the way out."""


@dataclass(frozen=True, slots=True)
class Invited:
    """A new or known person, and the link that makes her passkey: it works once, for a day."""

    staff: StaffMember
    link: str


async def add(settings: Settings, name: str, role: Role) -> Invited:
    """Raises StaffTrouble."""
    shown = clean(name)
    if not shown:
        raise StaffTrouble("give a name that can be read")
    async with house(settings) as (records, journal):
        member = StaffMember(secrets.token_hex(8), shown, role, now(), enrolled=False)
        token = new_token()
        # In the log first: whoever can open the console was announced there.
        await journal.first(COMMAND_LINE, "staff", act="add", whom=member.id, whom_role=role.value)
        try:
            await records.add_staff(member, invitation(token, member))
        except RecordsConflict:
            raise StaffTrouble(f"there is somebody called {shown!r} already (or the list is full); parley staff list shows everybody") from None
        return Invited(member, link_of(settings, token))


async def invite(settings: Settings, name: str) -> Invited:
    """Raises StaffTrouble."""
    async with house(settings) as (records, journal):
        member = await found(records, name)
        token = new_token()
        await journal.first(COMMAND_LINE, "staff", act="invite", whom=member.id, whom_role=member.role.value)
        await records.add_ticket(invitation(token, member))
        return Invited(member, link_of(settings, token))


async def remove(settings: Settings, name: str) -> None:
    """Raises StaffTrouble. Works while the log is down; the house tells it later."""
    async with house(settings) as (records, journal):
        member = await found(records, name)
        await records.remove_staff(member.id)
        await journal.note(COMMAND_LINE, "staff", act="remove", whom=member.id, whom_role=member.role.value)


async def everybody(settings: Settings) -> tuple[StaffMember, ...]:
    async with house(settings) as (records, _):
        return await records.all_staff()


COMMAND_LINE = StaffMember("command-line", "the command line", Role.OPERATOR, datetime(1970, 1, 1, tzinfo=UTC), enrolled=False)
"""Whoever runs the house's commands on its machine: the log names the machine's account and no person."""


@asynccontextmanager
async def house(settings: Settings) -> AsyncIterator[tuple[Records, Journal]]:
    records = await open_records(settings.records, FileKeyRing(settings.data / "keys"), now)
    notary = NotaryClient(settings.notary_socket)
    try:
        yield records, Journal(records, OfficersLog(HouseLog(notary), notary), now)
    finally:
        await notary.aclose()
        await records.aclose()


async def found(records: Records, name: str) -> StaffMember:
    wanted = clean(name).casefold()
    for each in await records.all_staff():
        if wanted in (each.name.casefold(), each.id):
            return each
    raise StaffTrouble(f"there is nobody called {name!r}; parley staff list shows everybody")


def invitation(token: str, member: StaffMember) -> StaffTicket:
    return StaffTicket(hash_of(token), TicketKind.INVITATION, member.id, b"", now() + INVITATION_LIFE)


def link_of(settings: Settings, token: str) -> str:
    """Behind the #, so that the invitation is never sent with an address: no server writes it down."""
    site = officers_site(settings.public_url, settings.bank_name)
    if site is None:
        raise StaffTrouble("public_url is an address of digits, for which browsers make no passkeys; give the house a name first")
    return f"{site.origin}/officer/enrol#{token}"


def now() -> datetime:
    return datetime.now(UTC)
