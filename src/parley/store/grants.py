"""The drawer of grants: one row for each grant as it stands, its earlier versions beside it, and the links between chats and customers."""

from __future__ import annotations

from datetime import datetime

from parley.model.grants import Grant
from parley.model.refusals import LinkExpired
from parley.store.cabinet import Cabinet, to_micros
from parley.store.driver import RecordsConflict, Row, Values, Work
from parley.store.grant_rows import COLUMNS, GRANT_COLUMNS, GrantRows, grant_key, number_of, to_seconds

HOLDS_CUSTOMER = "UPDATE customers SET number = number WHERE id = ? RETURNING id"
"""A lock on her row in words that both databases know, so that giving and ending take turns; no row when she is gone."""

_OF_GRANT = ", ".join(f"g.{name}" for name in GRANT_COLUMNS)
_OWNED = "LEFT JOIN customers c ON c.number = g.customer LEFT JOIN tombstones x ON x.number = g.customer"
GRANT_WITH_OWNER = f"SELECT coalesce(c.id, x.customer), {_OF_GRANT} FROM grants g {_OWNED} WHERE substr(g.id, 1, 8) = ? AND g.id = ?"  # noqa: S608
_VERSIONS = f"SELECT coalesce(c.id, x.customer), {_OF_GRANT} FROM grant_versions g {_OWNED} WHERE g.id = ? ORDER BY g.version"  # noqa: S608
_OF_CUSTOMER = f"SELECT {COLUMNS} FROM grants WHERE customer = ? ORDER BY state, number DESC"  # noqa: S608
_ACTIVE = f"SELECT {COLUMNS} FROM grants WHERE customer = ? AND state = 1 AND expires_at > ? ORDER BY number DESC"  # noqa: S608
_MARKS = ", ".join("?" * len(GRANT_COLUMNS))
_INSERT = f"INSERT INTO grants (customer, {COLUMNS}) VALUES (?, {_MARKS})"  # noqa: S608
_KEEP_VERSION = f"INSERT INTO grant_versions (customer, {COLUMNS}) VALUES (?, {_MARKS})"  # noqa: S608
_REPLACE = f"""
UPDATE grants SET {", ".join(f"{name} = ?" for name in GRANT_COLUMNS[1:])}
WHERE substr(id, 1, 8) = ? AND id = ? AND version = ? AND state = ? RETURNING number
"""  # noqa: S608
_LINK = """
INSERT INTO links (key, channel, conversation_hash, customer, linked_at, mac) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET customer = excluded.customer, linked_at = excluded.linked_at, mac = excluded.mac
WHERE links.channel = excluded.channel AND links.conversation_hash = excluded.conversation_hash RETURNING key
"""


class Grants(Cabinet):
    """The grants' part of `parley.authorization.ports.LinkRecords`. How grants end is in `parley.store.endings`."""

    async def join(self, channel: str, conversation: str, customer: str, grants: tuple[Grant, ...]) -> None:
        """Bind the conversation to the customer and store her grants, in one transaction. Ends nothing that stands.

        A grant whose version is above 1 takes the place of its standing predecessor. Raises ValueError for another customer's grant,
        LinkExpired when she has been erased meanwhile, RecordsConflict when the id exists already or its predecessor is over.
        """
        if any(grant.customer != customer for grant in grants):
            raise ValueError("a grant of another customer")
        key, conversation_hash = self._gateway.conversation(channel, conversation)
        mac = self._grant_rows.link_mark(channel, conversation_hash, customer)
        link = (key, channel, conversation_hash, customer, to_micros(self._clock()), mac)
        await self._driver.write(lambda: _join(self._grant_rows, link, customer, grants))

    async def customer_of(self, channel: str, conversation: str) -> str | None:
        """Raises Fault for a link that does not bear our mark."""
        key, conversation_hash = self._gateway.conversation(channel, conversation)
        sql = "SELECT customer, mac FROM links WHERE key = ? AND channel = ? AND conversation_hash = ?"
        rows = await self._driver.read(sql, (key, channel, conversation_hash))
        if not rows:
            return None
        self._grant_rows.check_link(rows[0][1], channel, conversation_hash, rows[0][0])
        return str(rows[0][0])

    async def grants_of(self, customer: str, *, active_only: bool, now: datetime) -> tuple[Grant, ...]:
        """The newest version of each; with `active_only`, those that are active and not expired at `now`."""
        number = number_of(customer)
        rows = await (self._driver.read(_ACTIVE, (number, to_seconds(now))) if active_only else self._driver.read(_OF_CUSTOMER, (number,)))
        known = self._grant_rows.known_terms  # Looked up here: a coroutine for each row would cost more than the rest of reading it.
        return tuple([self._grant_rows.grant(row, customer, known(row[3]) or await self._terms(row[3])) for row in rows])

    async def find_grant(self, grant_id: str) -> Grant | None:
        """Its newest version; None for an id that is not ours, and for what is left of an erased customer's grant."""
        key = grant_key(grant_id)
        rows = await self._driver.read(GRANT_WITH_OWNER, key) if key is not None else []
        return await self._opened(rows[0][1:], rows[0][0]) if rows and rows[0][0] is not None else None

    async def grant_history(self, grant_id: str) -> tuple[Grant, ...]:
        """Every version, oldest first."""
        key = grant_key(grant_id)
        if key is None:
            return ()
        rows = [*await self._driver.read(_VERSIONS, key[1:]), *await self._driver.read(GRANT_WITH_OWNER, key)]
        return tuple([await self._opened(row[1:], row[0]) for row in rows if row[0] is not None])

    async def _opened(self, row: Row, customer: str) -> Grant:
        return self._grant_rows.grant(row, customer, await self._terms(row[3]))


def read_grant(rows: GrantRows, grant_id: str) -> Work[Grant | None]:
    """Inside a unit of work: the newest version, None when there is none of that id."""
    key = grant_key(grant_id)
    found = (yield GRANT_WITH_OWNER, key) if key is not None else []
    if not found or found[0][0] is None:
        return None
    terms = yield from rows.terms(found[0][4])
    return rows.grant(found[0][1:], found[0][0], terms)


def replace_grant(rows: GrantRows, before: Grant, after: Grant) -> Work[bool]:
    """Inside a unit of work: the next version in the place of the one that stands, which is kept beside it. False when another was quicker."""
    terms = yield from rows.terms_number(after)
    key = grant_key(before.id)
    new, old = rows.row(after, terms), rows.row(before, (yield from rows.terms_number(before)))
    if key is None or not (yield _REPLACE, (*new[1:], *key, before.version, old[2])):
        return False
    yield _KEEP_VERSION, (number_of(before.customer), *old)
    return True


def _join(rows: GrantRows, link: Values, customer: str, grants: tuple[Grant, ...]) -> Work[None]:
    if not (yield HOLDS_CUSTOMER, (customer,)):
        raise LinkExpired("the customer is gone")
    bound = yield _LINK, link
    if not bound:
        raise RecordsConflict("two conversations share a key")
    for grant in grants:
        if grant.version == 1:
            yield _INSERT, (number_of(customer), *rows.row(grant, (yield from rows.terms_number(grant))))
            continue
        before = yield from read_grant(rows, grant.id)
        if before is None or before.customer != customer or before.version >= grant.version or not before.state.stands:
            raise RecordsConflict("the version before does not stand")
        if not (yield from replace_grant(rows, before, grant)):
            raise RecordsConflict("the version before does not stand")
    yield "DELETE FROM links_waiting WHERE customer = ?", (customer,)
