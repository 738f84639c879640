"""The drawer of grants: one row for every version of a grant, the newest one marked; and the revocations that the notary must be told of."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from parley.model.grants import Budget, Grant, GrantState
from parley.model.refusals import Fault, LinkExpired
from parley.model.words import Delivery, Projection, Provenance, Purpose
from parley.store.cabinet import Cabinet, from_micros, to_micros
from parley.store.driver import RecordsConflict, Row, Values, Work, only

GRANT_COLUMNS = (
    "id", "version", "handle", "state", "customer", "platform", "channel", "purpose", "projections", "accounts", "delivery", "lookback_days",
    "provenance", "answers_per_day", "rows_per_day", "created_at", "expires_at", "text_hash", "policy_digest", "log_index",
)  # fmt: skip
DUE_MAX = 1_000
"""Revocations handed out at once; the next call brings the next ones."""

_COLUMNS = ", ".join(GRANT_COLUMNS)
_INSERT = f"INSERT INTO grants ({_COLUMNS}, latest) VALUES ({', '.join('?' * len(GRANT_COLUMNS))}, 1)"  # noqa: S608 - our own names
_LATEST = f"SELECT {_COLUMNS} FROM grants WHERE id = ? AND latest = 1"  # noqa: S608
_OF_CUSTOMER = f"SELECT {_COLUMNS} FROM grants WHERE customer = ? AND latest = 1 ORDER BY state, created_at DESC, id"  # noqa: S608
_ACTIVE = f"""
SELECT {_COLUMNS} FROM grants WHERE customer = ? AND latest = 1 AND state = 'active' AND expires_at > ? ORDER BY created_at DESC, id
"""  # noqa: S608
_HISTORY = f"SELECT {_COLUMNS} FROM grants WHERE id = ? ORDER BY version"  # noqa: S608
_DUE = f"""
SELECT {", ".join(f"g.{name}" for name in GRANT_COLUMNS)} FROM revocations_due d JOIN grants g ON g.id = d.grant_id AND g.latest = 1
ORDER BY d.due_at, g.id LIMIT {DUE_MAX}
"""  # noqa: S608
_RETIRE = "UPDATE grants SET latest = 0 WHERE id = ? AND version = ? AND latest = 1 AND state = 'active' RETURNING id"
_RETIRE_OLDER = "UPDATE grants SET latest = 0 WHERE id = ? AND customer = ? AND version < ? AND latest = 1 AND state = 'active' RETURNING id"

_names_decoder = msgspec.json.Decoder(tuple[str, ...])
_projections_decoder = msgspec.json.Decoder(frozenset[Projection])


class Grants(Cabinet):
    """The grants' part of `parley.authorization.ports.LinkRecords`."""

    async def join(self, channel: str, conversation: str, customer: str, grants: tuple[Grant, ...]) -> None:
        """Bind the conversation to the customer and store her grants, in one transaction. Ends nothing that stands.

        A grant whose version is above 1 takes the place of its active predecessor. Raises ValueError for another customer's grant,
        LinkExpired when she has been erased meanwhile, RecordsConflict when a version exists already or its predecessor is revoked.
        """
        if any(grant.customer != customer for grant in grants):
            raise ValueError("a grant of another customer")
        key, conversation_hash = self._gateway.conversation(channel, conversation)
        link = (key, channel, conversation_hash, customer, to_micros(self._clock()))
        await self._driver.write(lambda: _join(link, customer, grants))

    async def customer_of(self, channel: str, conversation: str) -> str | None:
        key, conversation_hash = self._gateway.conversation(channel, conversation)
        sql = "SELECT customer FROM links WHERE key = ? AND channel = ? AND conversation_hash = ?"
        rows = await self._driver.read(sql, (key, channel, conversation_hash))
        return rows[0][0] if rows else None

    async def grants_of(self, customer: str, *, active_only: bool, now: datetime) -> tuple[Grant, ...]:
        """The newest version of each; with `active_only`, those neither revoked nor expired at `now`."""
        rows = await (self._driver.read(_ACTIVE, (customer, to_micros(now))) if active_only else self._driver.read(_OF_CUSTOMER, (customer,)))
        return tuple(map(grant_from_row, rows))

    async def grant_history(self, grant_id: str) -> tuple[Grant, ...]:
        """Every version, oldest first."""
        return tuple(map(grant_from_row, await self._driver.read(_HISTORY, (grant_id,))))

    async def revoke_grant(self, grant_id: str, now: datetime) -> Grant | None:
        """Mark as revoked at once, and remember that the notary must be told (see `revocations_due`). Idempotent; None when unknown."""
        return await self._driver.write(lambda: revoke(grant_id, now))

    async def revocations_due(self) -> tuple[Grant, ...]:
        """Revoked versions that the notary has not confirmed, longest waiting first."""
        return tuple(map(grant_from_row, await self._driver.read(_DUE)))

    async def revocation_told(self, grant_id: str, log_index: int | None) -> None:
        """The notary holds the revocation. What is left of an erased customer's grant goes with it."""
        await self._driver.write(lambda: _told(grant_id, log_index))

    async def grant_logged(self, grant_id: str, version: int, log_index: int) -> None:
        """Remember which log entry holds this version of the grant."""
        await self._driver.write(only("UPDATE grants SET log_index = ? WHERE id = ? AND version = ?", log_index, grant_id, version))


def revoke(grant_id: str, now: datetime) -> Work[Grant | None]:
    """A unit of work: the next version, revoked. Two that revoke at once are one revocation: the first retires the row, the second finds it so."""
    rows = yield _LATEST, (grant_id,)
    if not rows:
        return None
    grant = grant_from_row(rows[0])
    if grant.state is GrantState.REVOKED:
        return grant
    if not (yield _RETIRE, (grant_id, grant.version)):
        rows = yield _LATEST, (grant_id,)
        return grant_from_row(rows[0]) if rows else None
    revoked = msgspec.structs.replace(grant, version=grant.version + 1, state=GrantState.REVOKED, log_index=None)
    yield _INSERT, row_from_grant(revoked)
    yield "INSERT INTO revocations_due (grant_id, due_at) VALUES (?, ?) ON CONFLICT (grant_id) DO NOTHING", (grant_id, to_micros(now))
    return revoked


def row_from_grant(grant: Grant) -> Values:
    return (
        grant.id, grant.version, grant.handle, grant.state.value, grant.customer, grant.platform, grant.channel, grant.purpose.value,
        _listed(grant.projections), msgspec.json.encode(grant.accounts).decode(), grant.delivery.value, grant.lookback_days,
        grant.provenance.value, grant.budget.answers_per_day, grant.budget.rows_per_day, to_micros(grant.created_at),
        to_micros(grant.expires_at), grant.text_hash, grant.policy_digest, grant.log_index,
    )  # fmt: skip


def grant_from_row(row: Row) -> Grant:
    """Raises Fault for a row with a word that we do not know: a grant that cannot be read exactly is no consent."""
    try:
        return Grant(
            id=row[0], version=row[1], handle=row[2], state=GrantState(row[3]), customer=row[4], platform=row[5], channel=row[6],
            purpose=Purpose(row[7]), projections=_projections_decoder.decode(row[8]), accounts=_names_decoder.decode(row[9]),
            delivery=Delivery(row[10]), lookback_days=row[11], provenance=Provenance(row[12]), budget=Budget(row[13], row[14]),
            created_at=from_micros(row[15]), expires_at=from_micros(row[16]), text_hash=row[17], policy_digest=row[18], log_index=row[19],
        )  # fmt: skip
    except (ValueError, OverflowError):
        raise Fault("a stored grant cannot be read") from None


def _join(link: Values, customer: str, grants: tuple[Grant, ...]) -> Work[None]:
    if not (yield "SELECT 1 FROM customers WHERE id = ?", (customer,)):
        raise LinkExpired("the customer is gone")
    bound = yield _LINK, link
    if not bound:
        raise RecordsConflict("two conversations share a key")
    for grant in grants:
        if grant.version > 1 and not (yield _RETIRE_OLDER, (grant.id, customer, grant.version)):
            raise RecordsConflict("the version before does not stand")
        yield _INSERT, row_from_grant(grant)


_LINK = """
INSERT INTO links (key, channel, conversation_hash, customer, linked_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET customer = excluded.customer, linked_at = excluded.linked_at
WHERE links.channel = excluded.channel AND links.conversation_hash = excluded.conversation_hash RETURNING key
"""


def _told(grant_id: str, log_index: int | None) -> Work[None]:
    yield "UPDATE grants SET log_index = ? WHERE id = ? AND latest = 1 AND state = 'revoked'", (log_index, grant_id)
    yield "DELETE FROM revocations_due WHERE grant_id = ?", (grant_id,)
    yield "DELETE FROM grants WHERE id = ? AND customer IN (SELECT customer FROM tombstones)", (grant_id,)


def _listed(projections: Iterable[Projection]) -> str:
    return msgspec.json.encode(sorted(projections)).decode()
