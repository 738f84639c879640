"""Writes down what each platform learned, beside the road: a release waits for none of it.

A release leaves a few words in memory; half a second later they are sealed and stored, many at a time. What a crash takes with it is
missing from the customer's list and from nothing else: the release itself is in the log, and she holds its receipt.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from parley.model.customers import Disclosed
from parley.model.refusals import Fault
from parley.model.stages import Release
from parley.release.ports import Vault

WRITE_SECONDS = 0.5
NOTES_AT_ONCE = 256
NOTES_MAX = 50_000
"""What is held while the records are out of reach. Beyond it the oldest are dropped, and `on_fault` is told."""

Note = TypeVar("Note")


class Ledger(Generic[Note]):
    """Takes notes of releases at once and stores them soon. `make` turns (customer, vault, salt, disclosed) into what `store` takes."""

    def __init__(
        self,
        store: Callable[[Sequence[Note]], Awaitable[None]],
        make: Callable[[str, Vault, bytes, Disclosed], Note],
        *,
        on_fault: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._store = store
        self._make = make
        self._on_fault = on_fault
        self._waiting: deque[tuple[str, Vault, bytes, Disclosed]] = deque()
        self._writing = asyncio.Lock()

    def released(self, release: Release, vault: Vault) -> None:
        """Remember that it happened, and nothing of what it said. Never waits: it is called on the road."""
        permission = release.ruling.permission
        grant, request = permission.grant, permission.request
        disclosed = Disclosed(
            grant.id,
            grant.version,
            request.platform,
            request.channel,
            request.projection,
            request.purpose,
            release.answer.records,
            release.inclusion.index,
            release.sealed.disclosure.fetched_at,
        )
        self._waiting.append((grant.customer, vault, release.sealed.salt, disclosed))

    async def run(self) -> None:
        """Store what waits, for ever. Outlives outages of the records."""
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            if self._waiting:
                try:
                    await self.flush()
                except Fault as fault:
                    self._on_fault(fault.code)

    async def flush(self) -> None:
        """Store everything that waits now. Raises a Fault when the records are out of reach; nothing is forgotten then, up to NOTES_MAX."""
        async with self._writing:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), NOTES_AT_ONCE))]
                try:
                    await self._store([self._make(*each) for each in batch])
                except Fault:
                    self._keep(batch)
                    raise

    def _keep(self, batch: list[tuple[str, Vault, bytes, Disclosed]]) -> None:
        self._waiting.extendleft(reversed(batch))
        lost = len(self._waiting) - NOTES_MAX
        for _ in range(lost):
            self._waiting.popleft()
        if lost > 0:
            self._on_fault("ledger_notes_lost")
