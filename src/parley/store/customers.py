"""The drawer of customers: one key each, what her bank gave us sealed under it, and her erasure."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

import msgspec

from parley.model.grants import BankTokens, GrantState
from parley.model.ledger import LinkedAccount
from parley.model.refusals import Fault, LinkExpired, LinkLost
from parley.store.cabinet import to_micros
from parley.store.cases import ACCOUNTS_CONTEXT, TOKENS_CONTEXT, open_accounts, open_tokens
from parley.store.driver import RecordsConflict, Values, Work, only
from parley.store.endings import Endings, Held, end_grant, forget_told, owe_bank, take_tokens
from parley.store.grant_rows import GrantRows, number_of
from parley.store.grants import HOLDS_CUSTOMER, read_grant
from parley.store.keys import KEY_BYTES, KeysUnsafe
from parley.store.nicknames import nicknamed, read_nicknames
from parley.store.vault import CustomerVault

ACCOUNTS_MAX = 200
"""Accounts of one customer at one bank; a bank that names more is not believed."""

UPDATES_MAX = 8
"""How often an exchange of tokens is tried where the link changes under it."""

LIVES_MAX = 100
"""How often one person may be erased and come back as someone new."""

_WRAPPED = (("gateway_keys", "name"), ("customers", "id"))
"""Every table that holds wrapped keys, and the column that names a row."""

_WRAPPED_PAGE = "SELECT {name}, wrapped_key FROM {table} WHERE {name} > ? ORDER BY {name} LIMIT 500"
_FIND_KEY = "SELECT id, wrapped_key FROM customers WHERE id = ?"
_ADD_CUSTOMER = "INSERT INTO customers (id, wrapped_key, created_at, number) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_SAVE_LINK = """
INSERT INTO bank_links (customer, bank, sealed_tokens, sealed_accounts, linked_at, consent_hash) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (customer) DO UPDATE SET bank = excluded.bank, sealed_tokens = excluded.sealed_tokens,
sealed_accounts = excluded.sealed_accounts, linked_at = excluded.linked_at, consent_hash = excluded.consent_hash
"""
_WAIT = "INSERT INTO links_waiting (customer, since) VALUES (?, ?) ON CONFLICT (customer) DO UPDATE SET since = excluded.since"
_BURY = """
INSERT INTO tombstones (customer, erased_at, number) VALUES (?, ?, ?) ON CONFLICT (customer) DO UPDATE SET number = excluded.number
"""
_LINK = """
SELECT c.id, c.wrapped_key, b.bank, b.sealed_tokens, b.sealed_accounts FROM customers c JOIN bank_links b ON b.customer = c.id WHERE c.id = ?
"""


class Customers(Endings):
    """The bank links' part of `parley.authorization.ports.LinkRecords`, and what concerns a customer's key."""

    async def save_bank_link(self, bank: str, owner: str, tokens: BankTokens, accounts: tuple[LinkedAccount, ...]) -> str:
        """Store what the bank gave, sealed under the customer's key (made on her first link), and return our id of her.

        The id is a keyed hash of (bank, owner), so the same person is the same customer on every channel, and the bank's id is never
        stored in clear. Each account gets its `ref`: 16 hex digits, stable for the customer. Raises ValueError for more than ACCOUNTS_MAX.
        """
        if len(accounts) > ACCOUNTS_MAX:
            raise ValueError("too many accounts")
        ids = tuple(self._gateway.customer(bank, owner, life) for life in range(LIVES_MAX))
        fresh = await self._keys.wrap(secrets.token_bytes(KEY_BYTES))
        now = to_micros(self._clock())
        customer, wrapped_key = await self._driver.write(lambda: _ensure(ids, fresh, now))
        vault = await self._vault(customer, wrapped_key)
        named = tuple(msgspec.structs.replace(account, ref=vault.account_ref(bank, account.native_id)) for account in accounts)
        named = nicknamed(named, await read_nicknames(self._driver, customer, vault))
        sealed_accounts = vault.seal(ACCOUNTS_CONTEXT, msgspec.msgpack.encode(named))
        row = (customer, bank, _seal_tokens(vault, tokens), sealed_accounts, now, self._consent_hash(bank, tokens))
        before = await self.bank_tokens(customer)
        replaced = await self.held_tokens(customer) if before is not None and before[1].refresh_token != tokens.refresh_token else None
        await self._driver.write(lambda: _save(row, replaced, now))
        return customer

    async def bank_accounts(self, customer: str) -> tuple[LinkedAccount, ...]:
        """The accounts that she chose at the bank; empty when she is unknown. Raises Fault when they do not open."""
        rows = await self._driver.read(_LINK, (customer,))
        return open_accounts(await self._vault(rows[0][0], rows[0][1]), rows[0][4]) if rows else ()

    async def bank_tokens(self, customer: str) -> tuple[str, BankTokens] | None:
        """(bank, tokens) of a live link, None when there is none or it was lost. Raises Fault when they do not open."""
        rows = await self._driver.read(_LINK, (customer,))
        if not rows or rows[0][3] is None:
            return None
        return rows[0][2], open_tokens(await self._vault(rows[0][0], rows[0][1]), rows[0][3])

    async def update_tokens(self, customer: str, tokens: BankTokens, *, instead_of: BankTokens | None = None) -> BankTokens:
        """Replace the tokens of a live link; returns those that stand now. With `instead_of`, only where the link still has those: where she
        linked anew meanwhile, or another gateway renewed them first, what is stored stands. Raises LinkLost when the link was lost or she was
        erased: a renewal revives nothing.
        """
        for _ in range(UPDATES_MAX):
            rows = await self._driver.read(_LINK, (customer,))
            if not rows or rows[0][3] is None:
                raise LinkLost("the link was lost, or the customer is gone")
            vault, sealed = await self._vault(rows[0][0], rows[0][1]), rows[0][3]
            held = open_tokens(vault, sealed)
            if instead_of is not None and held != instead_of:
                return held
            sql = "UPDATE bank_links SET sealed_tokens = ? WHERE customer = ? AND sealed_tokens = ? RETURNING bank"
            if await self._driver.write(only(sql, _seal_tokens(vault, tokens), customer, sealed)):
                return tokens
        raise RecordsConflict("the link kept changing")

    async def mark_link_lost(self, customer: str) -> None:
        """The bank takes the tokens no more, so they are deleted; the accounts stay, to be named when she links again.

        So does the consent's keyed hash: the bank's event that this consent has ended may come later, or once more after a crash.
        """
        await self._driver.write(only("UPDATE bank_links SET sealed_tokens = NULL WHERE customer = ?", customer))

    async def vault_of(self, customer: str) -> CustomerVault | None:
        """Her key at work, None when she is unknown or erased."""
        rows = await self._driver.read(_FIND_KEY, (customer,))
        return await self._vault(rows[0][0], rows[0][1]) if rows else None

    async def erase(self, customer: str, now: datetime) -> None:
        """Delete her key row: the links and the bank's data go with it, and nothing that she sealed anywhere opens again.

        Her grants are revoked and stay until the notary was told. First of all she is noted outside the records, so that neither a
        crash here nor a restored backup brings her back; then the files are scrubbed. Idempotent.
        """
        await self._keys.remember_erased(customer)
        at = to_micros(now)
        await self._with_tokens(customer, lambda held: _erase(self._grant_rows, customer, held, at))
        self._forget()
        await self._driver.scrub(("customers", "bank_links", "links"))

    async def replay_erasures(self) -> int:
        """Erase again whoever a restored backup brought back. Returns how many."""
        noted = await self._keys.erased()
        again = [customer for customer in sorted(noted) if not await self._driver.read("SELECT 1 FROM tombstones WHERE customer = ?", (customer,))]
        for customer in again:
            at = to_micros(self._clock())
            await self._driver.write(partial(_erase, self._grant_rows, customer, Held(b"", None), at))
        if again:
            await self._driver.scrub(("customers", "bank_links", "links"))
        return len(again)

    async def rewrap(self, progress: Callable[[int, int], None] = lambda done, whole: None) -> int:
        """After a rotation: wrap every key under the newest wrapping key. No sealed data is touched; gateways may go on meanwhile.

        `progress` is told how many keys were looked at, of how many. Returns how many were wrapped again. May be interrupted and begun anew.
        """
        whole = sum([(await self._driver.read(f"SELECT count(*) FROM {table}"))[0][0] for table, _ in _WRAPPED])  # noqa: S608
        seen = again = 0
        newest = await self._keys.newest()
        for table, name in _WRAPPED:
            last = ""
            while rows := await self._driver.read(_WRAPPED_PAGE.format(table=table, name=name), (last,)):
                last = rows[-1][0]
                old = [row for row in rows if self._keys.generation_of(row[1]) != newest]
                new = [(await self._keys.wrap(await self._keys.unwrap(wrapped)), owner, wrapped) for owner, wrapped in old]
                await self._driver.write(partial(_each, f"UPDATE {table} SET wrapped_key = ? WHERE {name} = ? AND wrapped_key = ?", new))  # noqa: S608
                seen, again = seen + len(rows), again + len(new)
                progress(seen, whole)
        return again

    async def wrapped_by(self) -> dict[int, int]:
        """How many keys each generation of the wrapping key holds."""
        counts: dict[int, int] = {}
        for table, name in _WRAPPED:
            last = ""
            while rows := await self._driver.read(_WRAPPED_PAGE.format(table=table, name=name), (last,)):
                last = rows[-1][0]
                for _, wrapped in rows:
                    generation = self._keys.generation_of(wrapped)
                    counts[generation] = counts.get(generation, 0) + 1
        return counts

    async def destroy_wrapping_key(self, generation: int) -> None:
        """Destroy an old wrapping key, and with it what only backups still hold. Raises KeysUnsafe while a stored key hangs on it."""
        held = (await self.wrapped_by()).get(generation, 0)
        if held:
            raise KeysUnsafe(f"{held} keys still hang on wrapping key {generation}")
        await self._keys.destroy(generation)

    def _consent_hash(self, bank: str, tokens: BankTokens) -> bytes | None:
        return self._gateway.bank_consent(bank, tokens.consent_id) if tokens.consent_id else None


def _ensure(ids: tuple[str, ...], wrapped_key: bytes, now: int) -> Work[tuple[str, bytes]]:
    """The customer's row, made where missing. Two that link at once agree on whichever key came first."""
    for customer in ids:
        if not (yield "SELECT 1 FROM tombstones WHERE customer = ?", (customer,)):
            yield _ADD_CUSTOMER, (customer, wrapped_key, now, number_of(customer))
            rows = yield _FIND_KEY, (customer,)
            if not rows:
                raise RecordsConflict("two customers share a number")
            return rows[0][0], rows[0][1]
    raise RecordsConflict("erased too often")


def _save(row: Values, replaced: Held | None, now: int) -> Work[None]:
    if not (yield HOLDS_CUSTOMER, row[:1]):
        raise LinkExpired("the customer is gone")
    yield from _give_back_replaced(row, replaced, now)
    yield _SAVE_LINK, row
    yield _WAIT, (row[0], now)


def _give_back_replaced(row: Values, replaced: Held | None, now: int) -> Work[None]:
    """Tokens of an earlier link would live on at the bank without anybody knowing them."""
    if replaced is None or replaced.owed is None:
        return
    if (yield "SELECT 1 FROM bank_links WHERE customer = ? AND sealed_tokens = ?", (row[0], replaced.sealed)):
        yield from owe_bank(replaced.owed, now)


def _erase(rows: GrantRows, customer: str, held: Held | None, now: int) -> Work[None]:
    """`held` as it was read; its `sealed` empty where a backup brought the row back and nothing is owed to the bank."""
    number = number_of(customer)
    yield _BURY, (customer, now, number)
    if held is None or held.sealed:
        yield from take_tokens(customer, held, now)
    yield "DELETE FROM customers WHERE id = ?", (customer,)
    for (identifier,) in (yield "SELECT id FROM grants WHERE customer = ? ORDER BY number", (number,)):
        yield from _end_erased(rows, identifier.hex(), now)


def _end_erased(rows: GrantRows, grant_id: str, now: int) -> Work[None]:
    """Ended where it stood, and gone unless the notary is owed a word of it. A row that does not open must not keep her from being erased."""
    try:
        grant = yield from read_grant(rows, grant_id)
        if grant is not None:
            yield from end_grant(rows, grant, GrantState.REVOKED, now)
    except Fault:
        yield "DELETE FROM revocations_due WHERE grant_id = ?", (grant_id,)
    if not (yield "SELECT 1 FROM revocations_due WHERE grant_id = ?", (grant_id,)):
        yield from forget_told(grant_id)


def _each(sql: str, rows: Sequence[Values]) -> Work[None]:
    for values in rows:
        yield sql, values


def _seal_tokens(vault: CustomerVault, tokens: BankTokens) -> bytes:
    return vault.seal(TOKENS_CONTEXT, msgspec.msgpack.encode(tokens))
