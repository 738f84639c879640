"""The drawer of clients: who may ask customers for consent. Sealed whole under the gateway's key, so that a stranger's row is no client."""

from __future__ import annotations

import msgspec

from parley.model.clients import Client
from parley.model.refusals import Fault
from parley.store.cabinet import Cabinet, to_micros
from parley.store.driver import RecordsConflict, Work

CLIENTS_MAX = 1_000


class Clients(Cabinet):
    """Implements `parley.authorization.server.ports.ClientRecords`."""

    async def add_client(self, client: Client) -> None:
        """Raises RecordsConflict where the id, or the platform, is taken: two clients of one platform would share grants."""
        sealed = self._gateway.seal(f"client {client.id}", msgspec.msgpack.encode(client))
        await self._driver.write(lambda: _add(client, sealed))

    async def find_client(self, client_id: str) -> Client | None:
        rows = await self._driver.read("SELECT sealed FROM clients WHERE id = ?", (client_id,))
        return self._client(client_id, rows[0][0]) if rows else None

    async def clients(self) -> tuple[Client, ...]:
        """By id; at most CLIENTS_MAX."""
        rows = await self._driver.read(f"SELECT id, sealed FROM clients ORDER BY id LIMIT {CLIENTS_MAX}")  # noqa: S608
        return tuple(self._client(client_id, sealed) for client_id, sealed in rows)

    async def remove_client(self, client_id: str) -> bool:
        """Its tokens and codes end with it; the grants are the customers' and end by their own hand or in time. False when unknown."""

        def work() -> Work[bool]:
            for table in ("tokens", "codes"):
                yield f"DELETE FROM {table} WHERE client = ?", (client_id,)  # noqa: S608 - our own names
            return bool((yield "DELETE FROM clients WHERE id = ? RETURNING id", (client_id,)))

        return await self._driver.write(work)

    def _client(self, client_id: str, sealed: bytes) -> Client:
        try:
            client = msgspec.msgpack.decode(self._gateway.open(f"client {client_id}", sealed), type=Client)
        except msgspec.MsgspecError:
            raise Fault("a stored client cannot be read") from None
        return client


def _add(client: Client, sealed: bytes) -> Work[None]:
    taken = yield "SELECT 1 FROM clients WHERE id = ? OR platform = ?", (client.id, client.platform)
    if taken:
        raise RecordsConflict("a client of this id or platform exists")
    if len((yield "SELECT id FROM clients LIMIT ?", (CLIENTS_MAX,))) >= CLIENTS_MAX:
        raise RecordsConflict("there are too many clients")
    values = (client.id, client.platform, sealed, to_micros(client.created_at))
    yield "INSERT INTO clients (id, platform, sealed, created_at) VALUES (?, ?, ?, ?)", values
