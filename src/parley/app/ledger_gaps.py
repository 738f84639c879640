"""After a crash: what a killed process had not written into customers' ledgers yet is found again in the log, when a customer looks.

Every process says now and then below which log entry it has stored all of its releases. Where one falls silent, the entries from there
to the head of the log are a gap. Only her own key opens the private half of an entry, so that is what tells which of them are hers.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from parley.console.customer import Ledger
from parley.log.client import NotaryClient, Proved
from parley.log.errors import LogError, LogRefused
from parley.model.customers import Disclosed
from parley.model.refusals import Fault, LogUnavailable
from parley.model.words import Projection, Purpose
from parley.proof import read_entry
from parley.release.entries import open_private, private_json
from parley.release.ports import Vault
from parley.store import Records
from parley.store.disclosures import Note

SAYS_SECONDS = 10.0
SILENT = timedelta(seconds=60)
TRIED_MAX = 2_000
"""Entries that are tried for one look at the page; the next look goes on with the next gap."""

RECORDS_AT_LEAST = (1, 2, 11, 51)
"""The log keeps a class of how many records an answer told of, see docs/audit/receipt.md; its least is what the ledger then says."""

Answer = TypeVar("Answer")
_PURPOSES = {purpose.dpv: purpose for purpose in Purpose}


class LedgerWatch:
    """Says for one process that its ledger is whole, finds those that fell silent, and fills a customer's gaps."""

    def __init__(self, records: Records, notary: NotaryClient, ledger: Ledger[Note], clock: Callable[[], datetime], *, alone: bool) -> None:
        """`alone`: no other process writes to these records, so whoever wrote before this one is gone."""
        self._records = records
        self._notary = notary
        self._ledger = ledger
        self._clock = clock
        self._silent = timedelta(0) if alone else SILENT
        self._writer = secrets.token_hex(8)
        self._low: int | None = None

    async def begin(self) -> None:
        """Before the first release of this process."""
        head = await self.head()
        await self._records.find_gaps(self._writer, self._clock() - self._silent, head)
        await self._records.writer_stands(self._writer, head, self._clock())
        self._low = head

    async def run(self) -> None:
        """Every few seconds, for ever. Outlives outages of records and log."""
        while True:
            await asyncio.sleep(SAYS_SECONDS)
            with suppress(Fault):
                await self.say()

    async def say(self) -> None:
        """What was at the log's head one turn ago is stored by now: a release waits for the log a few seconds at most."""
        head = await self.head()
        await self._ledger.flush()
        await self._records.writer_stands(self._writer, self._low or 0, self._clock())
        self._low = head
        await self._records.find_gaps(self._writer, self._clock() - SILENT, head)

    async def leave(self) -> None:
        """In order: everything is stored, so no gap is left."""
        await self._ledger.flush()
        await self._records.writer_leaves(self._writer)

    async def fill(self, customer: str) -> int:
        """Write down what is hers in the gaps that she has not looked into. Returns how many releases were found."""
        await self._ledger.flush()
        vault, tried, found = await self._records.vault_of(customer), 0, 0
        for first, end in await self._records.gaps_of(customer) if vault is not None else ():
            if tried + end - first > TRIED_MAX and tried:
                break
            notes = [note for index in range(first, end) if (note := await self._note(customer, index, vault)) is not None] if vault else []
            await self._records.note_disclosures(notes)
            await self._records.looked_until(customer, end)
            tried, found = tried + end - first, found + len(notes)
        return found

    async def head(self) -> int:
        """How many entries the log has. Raises LogUnavailable."""
        checkpoint = await _asked(self._notary.head())
        return int(checkpoint.split(b"\n")[1])

    async def _note(self, customer: str, index: int, vault: Vault) -> Note | None:
        try:
            proved: Proved = await _asked(self._notary.prove(index))
        except LogRefused:
            return None
        entry = read_entry(proved.entry)
        if entry.get("k") != "release":
            return None
        try:
            salt, private = open_private(proved.side, vault)
        except Fault:
            return None  # Somebody else's.
        return Note(customer, vault, salt, disclosed(entry, private_json(private), index))


def disclosed(entry: dict[str, str | int], private: dict[str, object], index: int) -> Disclosed:
    """What an entry of hers says of a release. Its records are the least of their class."""
    return Disclosed(
        grant_id=str(private["grant"]),
        grant_version=int(str(private["grant_version"])),
        platform=str(entry["p"]),
        channel=str(entry["ch"]),
        projection=Projection(str(entry["d"])),
        purpose=_PURPOSES[str(entry["u"])],
        records=RECORDS_AT_LEAST[int(entry["n"])],
        log_index=index,
        at=moment(int(str(private["t_ms"]))),
    )


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


async def _asked(call: Awaitable[Answer]) -> Answer:
    try:
        return await call
    except LogRefused:
        raise
    except LogError as error:
        raise LogUnavailable(error.code) from None
