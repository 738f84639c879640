"""The drawer of what ledgers may lack: the stretches of the log in which a process died before it had written down its releases.

Nobody but a customer's own key can tell which entries of such a stretch are hers, so it is tried when she looks, and once for each stretch.
"""

from __future__ import annotations

from datetime import datetime

from parley.store.cabinet import Cabinet, to_micros
from parley.store.driver import Work, only

GAPS_MAX = 1_000

_STANDS = """
INSERT INTO ledger_writers (id, low, seen_at) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET low = excluded.low, seen_at = excluded.seen_at
"""
_GONE = "DELETE FROM ledger_writers WHERE id <> ? AND seen_at < ? RETURNING low"
_GAP = "INSERT INTO ledger_gaps (first_index, end_index) VALUES (?, ?) ON CONFLICT (end_index, first_index) DO NOTHING"
_GAPS = f"SELECT first_index, end_index FROM ledger_gaps WHERE end_index > ? ORDER BY end_index, first_index LIMIT {GAPS_MAX}"  # noqa: S608
_LOOKED = "INSERT INTO ledger_looked (customer, until) VALUES (?, ?) ON CONFLICT (customer) DO UPDATE SET until = excluded.until"


class LedgerGaps(Cabinet):
    """Implements `parley.app.ledger_gaps.GapRecords`. Indices are of log entries; `low`: all of a writer's releases below it are stored."""

    async def writer_stands(self, writer: str, low: int, now: datetime) -> None:
        await self._driver.write(only(_STANDS, writer, low, to_micros(now)))

    async def writer_leaves(self, writer: str) -> None:
        """It has stored everything, so it leaves no gap."""
        await self._driver.write(only("DELETE FROM ledger_writers WHERE id = ?", writer))

    async def find_gaps(self, writer: str, silent_since: datetime, end: int) -> int:
        """Turn every other writer that was not seen since into a gap that reaches up to `end`. Returns how many."""
        return await self._driver.write(lambda: _find(writer, to_micros(silent_since), end))

    async def gaps_of(self, customer: str) -> tuple[tuple[int, int], ...]:
        """(first, end) of the gaps in which her key has not been tried, in the order of their ends."""
        looked = await self._driver.read("SELECT until FROM ledger_looked WHERE customer = ?", (customer,))
        return tuple((first, end) for first, end in await self._driver.read(_GAPS, (looked[0][0] if looked else -1,)))

    async def looked_until(self, customer: str, end: int) -> None:
        """Her key was tried in all gaps up to the one with this end."""
        await self._driver.write(lambda: _looked(customer, end))


def _find(writer: str, silent_since: int, end: int) -> Work[int]:
    gone = yield _GONE, (writer, silent_since)
    for (low,) in gone:
        if low < end:
            yield _GAP, (low, end)
    return len(gone)


def _looked(customer: str, end: int) -> Work[None]:
    if (yield "SELECT 1 FROM customers WHERE id = ?", (customer,)):
        yield _LOOKED, (customer, end)
