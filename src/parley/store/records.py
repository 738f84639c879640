"""The records: everything that must be remembered, on SQLite or PostgreSQL, sealed under keys that are kept elsewhere."""

from __future__ import annotations

import secrets

from parley.model.refusals import Fault
from parley.store.cabinet import Clock
from parley.store.cases import Cases
from parley.store.clients import Clients
from parley.store.customers import Customers
from parley.store.disclosures import Disclosures
from parley.store.driver import Driver, Work
from parley.store.grant_rows import GrantRows
from parley.store.handovers import Handovers
from parley.store.keys import KEY_BYTES, KeyRing, KeysUnsafe
from parley.store.ledger_gaps import LedgerGaps
from parley.store.marking import mark_rows
from parley.store.migrate import migrate, sqlite_path
from parley.store.officers import Officers
from parley.store.passkeys import Passkeys
from parley.store.renewals import Renewals
from parley.store.rulebook import RuleBook
from parley.store.sittings import Sittings
from parley.store.sqlite import SqliteDriver
from parley.store.tallies import Tallies
from parley.store.tokens import Tokens
from parley.store.vault import GatewayKeys


class Records(Cases, Customers, Sittings, Passkeys, Disclosures, LedgerGaps, Renewals, Officers, RuleBook, Handovers, Clients, Tokens, Tallies):
    """All drawers in one: implements `parley.release.ports.Records`, `parley.authorization.ports.SessionRecords` and `LinkRecords`.

    Every method may raise RecordsUnavailable (the database is out of reach; nothing was changed, or it cannot be known) beside its own.
    """

    async def aclose(self) -> None:
        """Finish what was accepted and let go of the database. Idempotent."""
        self._forget()
        await self._driver.aclose()


async def open_records(url: str, keys: KeyRing, clock: Clock) -> Records:
    """Bring the schema up to date, open the records, and erase again whom a restored backup brought back.

    `url`: `sqlite:///path` (an absolute path makes four slashes) or `postgresql://…`. Raises ValueError for another URL, KeysUnsafe for
    files open to others or keys that are not those of these records, RecordsNewer, RecordsUnavailable.
    """
    await migrate(url)
    driver = await _open_driver(url)
    try:
        gateway = await _gateway_keys(driver, keys)
        if not await keys.rows_are_marked():
            await mark_rows(driver, GrantRows(gateway))
            await keys.remember_rows_are_marked()
        records = Records(driver, keys, gateway, clock)
        await records.replay_erasures()
    except BaseException:
        await driver.aclose()
        raise
    return records


async def _open_driver(url: str) -> Driver:
    path = sqlite_path(url)
    if path is not None:
        return SqliteDriver(path)
    from parley.store.postgres import open_postgres  # Costs its import only where it is used.

    return await open_postgres(url)


async def _gateway_keys(driver: Driver, keys: KeyRing) -> GatewayKeys:
    """The gateway's own key, made on the first start. Processes that start at once agree on whichever came first."""
    rows = await driver.read("SELECT wrapped_key FROM gateway_keys WHERE name = 'gateway'")
    if not rows:
        fresh = await keys.wrap(secrets.token_bytes(KEY_BYTES))

        def work() -> Work[list[tuple[bytes]]]:
            yield "INSERT INTO gateway_keys (name, wrapped_key) VALUES ('gateway', ?) ON CONFLICT (name) DO NOTHING", (fresh,)
            return (yield "SELECT wrapped_key FROM gateway_keys WHERE name = 'gateway'", ())

        rows = await driver.write(work)
    try:
        return GatewayKeys(await keys.unwrap(rows[0][0]))
    except Fault:
        raise KeysUnsafe("these keys are not the ones that the records were made with") from None
