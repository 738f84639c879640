"""The drawer of what each platform learned: one sealed line for every release, never a value; nicknames, budgets, reminders beside it.

A line is sealed under the customer's key. Its place among the log's entries is sealed with it, so that the table, even out of an old
backup, does not tell which entries of the log belong to one person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from hashlib import sha256
from typing import Protocol

import msgspec

from parley.model.customers import Disclosed, LedgerLine, Spent
from parley.model.refusals import LinkExpired, RecordsUnavailable
from parley.store.cabinet import Cabinet, to_micros
from parley.store.cases import ACCOUNTS_CONTEXT, open_accounts
from parley.store.driver import RecordsConflict, Row, Values, Work
from parley.store.nicknames import nicknamed, read_nicknames, seal_nicknames
from parley.store.passkeys import opened
from parley.store.vault import CustomerVault

LINES_MAX = 5_000
"""Lines read at once; whoever wants more asks for those before the oldest."""

_CONTEXT = "disclosure"
_TRIES = 4

_NOTE = """
INSERT INTO disclosures (customer, number, mark, sealed) SELECT ?, COALESCE(MAX(number), 0) + 1, ?, ? FROM disclosures WHERE customer = ?
ON CONFLICT (customer, mark) DO NOTHING
"""
_LINES = """
SELECT c.id, c.wrapped_key, d.number, d.mark, d.sealed FROM disclosures d JOIN customers c ON c.id = d.customer
WHERE d.customer = ? AND d.number < ? ORDER BY d.number DESC LIMIT ?
"""
_ACCOUNTS = "SELECT c.id, c.wrapped_key, b.sealed_accounts FROM customers c JOIN bank_links b ON b.customer = c.id WHERE c.id = ?"
_SAVE_NICKNAMES = "INSERT INTO nicknames (customer, sealed) VALUES (?, ?) ON CONFLICT (customer) DO UPDATE SET sealed = excluded.sealed"
_REMIND = "INSERT INTO reminders (customer, grant_id, version, said_at) VALUES (?, ?, ?, ?) ON CONFLICT (grant_id, version) DO NOTHING RETURNING 1"


class SealingVault(Protocol):
    """A customer's key at work, as far as noting needs it."""

    def seal(self, context: str, plain: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Note:
    """A release to be written down. `salt`: that of its log entry (32 bytes, hers alone), by which it is known when it comes twice."""

    customer: str
    vault: SealingVault
    salt: bytes
    disclosed: Disclosed

    def __repr__(self) -> str:
        return "Note(***)"


class Disclosures(Cabinet):
    """Implements `parley.console.customer.ports.LedgerRecords`."""

    async def note_disclosures(self, notes: Sequence[Note]) -> None:
        """Write them down in one transaction, each once, in this order. Whoever was erased meanwhile is passed over."""
        rows = [_sealed(note) for note in notes]
        for _ in range(_TRIES):
            try:
                await self._driver.write(lambda: _note(rows))
            except RecordsConflict:
                continue  # Another process numbered a line of the same customer at the same moment.
            return
        raise RecordsUnavailable("the ledger is too busy")

    async def disclosures_of(self, customer: str, *, before: int | None = None, count: int = LINES_MAX) -> tuple[LedgerLine, ...]:
        """The newest lines with a number below `before`, newest first; at most LINES_MAX."""
        border = before if before is not None else 2**62
        rows = await self._driver.read(_LINES, (customer, border, min(count, LINES_MAX)))
        return tuple([await self._line(row) for row in rows])

    async def spent(self, grant_ids: Sequence[str], day: date) -> Mapping[str, Spent]:
        """What these grants used of their budgets on a UTC day; a grant that used nothing is missing."""
        rows = await self._driver.claim(lambda: _spent(tuple(grant_ids), day.toordinal()))
        return {grant_id: Spent(answers, row_count) for grant_id, answers, row_count in rows}

    async def rename_account(self, customer: str, ref: str, name: str | None) -> bool:
        """Give one of her linked accounts a name of her own (None: the bank's from the next linking on). False when there is no such account.

        Answers and pages use it from the very next question on. Raises LinkExpired when she was erased meanwhile.
        """
        for _ in range(_TRIES):
            rows = await self._driver.read(_ACCOUNTS, (customer,))
            if not rows:
                return False
            vault = await self._vault(rows[0][0], rows[0][1])
            accounts = open_accounts(vault, rows[0][2])
            if not any(account.ref == ref for account in accounts):
                return False
            names = {**await self.nicknames(customer), ref: name or ""}
            kept = {each: given for each, given in names.items() if given}
            sealed = vault.seal(ACCOUNTS_CONTEXT, msgspec.msgpack.encode(nicknamed(accounts, {ref: name} if name else {})))
            work = partial(_rename, customer, rows[0][2], sealed, seal_nicknames(kept, vault))
            if await self._driver.write(work):
                return True
        raise RecordsUnavailable("the link is being changed")

    async def nicknames(self, customer: str) -> dict[str, str]:
        """ref to her own name for it."""
        rows = await self._driver.read("SELECT id, wrapped_key FROM customers WHERE id = ?", (customer,))
        return await read_nicknames(self._driver, customer, await self._vault(rows[0][0], rows[0][1])) if rows else {}

    async def remind_once(self, customer: str, grant_id: str, version: int, now: datetime) -> bool:
        """Whether this is the first time that she is reminded of the end of this version of the grant."""
        row = (customer, grant_id, version, to_micros(now))
        return bool(await self._driver.write(lambda: _remind(row)))

    async def _line(self, row: Row) -> LedgerLine:
        customer, wrapped_key, number, mark, sealed = row
        vault: CustomerVault = await self._vault(customer, wrapped_key)
        return LedgerLine(number, opened(vault.open(f"{_CONTEXT} {mark}", sealed), Disclosed))


def mark_of(salt: bytes) -> int:
    """By which a release is known in her ledger: 63 bits of a hash of its entry's salt, which only her key makes."""
    return int.from_bytes(sha256(b"parley/v1/ledger\0" + salt).digest()[:8], "big") >> 1


def _sealed(note: Note) -> Values:
    mark = mark_of(note.salt)
    sealed = note.vault.seal(f"{_CONTEXT} {mark}", msgspec.msgpack.encode(note.disclosed))
    return note.customer, mark, sealed, note.customer


def _note(rows: Sequence[Values]) -> Work[None]:
    standing = {}
    for customer in {row[0] for row in rows}:
        standing[customer] = bool((yield "SELECT 1 FROM customers WHERE id = ?", (customer,)))
    for row in rows:
        if standing[row[0]]:
            yield _NOTE, row


def _spent(grant_ids: tuple[str, ...], day: int) -> Work[list[Row]]:
    found: list[Row] = []
    for grant_id in grant_ids:
        found += yield "SELECT grant_id, answers, row_count FROM budgets WHERE grant_id = ? AND day = ?", (grant_id, day)
    return found


def _rename(customer: str, before: bytes, after: bytes, nicknames: bytes) -> Work[bool]:
    sql = "UPDATE bank_links SET sealed_accounts = ? WHERE customer = ? AND sealed_accounts = ? RETURNING 1"
    if not (yield sql, (after, customer, before)):
        return False
    yield _SAVE_NICKNAMES, (customer, nicknames)
    return True


def _remind(row: Values) -> Work[list[Row]]:
    if not (yield "SELECT 1 FROM customers WHERE id = ?", row[:1]):
        raise LinkExpired("the customer is gone")
    return (yield _REMIND, row)
