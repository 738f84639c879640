"""The drawer of the road: everything known about a question in one read, and the claim that spends its message and budget."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import msgspec

from parley.model.grants import BankTokens, Grant
from parley.model.ledger import LinkedAccount
from parley.model.refusals import BudgetSpent, Fault, GrantRevoked, ReplayedMessage
from parley.model.stages import Question
from parley.release.ports import CaseFile
from parley.store.cabinet import CASES_MAX, Cabinet, Clock, to_micros
from parley.store.driver import Driver, Row, Work, only
from parley.store.grant_rows import GRANT_COLUMNS, grant_key
from parley.store.keys import KeyRing
from parley.store.memory import Memory
from parley.store.vault import CustomerVault, GatewayKeys

ACCOUNTS_CONTEXT = "bank link accounts"
TOKENS_CONTEXT = "bank link tokens"
GRANTS_MAX = 64
"""Grants that one question is checked against, active and newest first."""

SEEN_FOR = timedelta(days=8)
"""Platforms repeat a webhook for up to seven days; after the eighth a channel's own freshness check refuses it."""

_SEEN_BUCKET_SECONDS = 600
_CLAIMS_PER_PRUNING = 128
_PRUNED_AT_ONCE = 512

_OPEN_CASE = f"""
SELECT l.customer, c.wrapped_key, l.mac, b.bank, b.sealed_tokens, b.sealed_accounts, {", ".join(f"g.{name}" for name in GRANT_COLUMNS)}
FROM links l
JOIN customers c ON c.id = l.customer
LEFT JOIN bank_links b ON b.customer = l.customer
LEFT JOIN grants g ON g.customer = c.number AND EXISTS (SELECT 1 FROM terms t WHERE t.number = g.terms AND t.platform = ? AND t.channel = ?)
WHERE l.key = ? AND l.channel = ? AND l.conversation_hash = ?
"""  # noqa: S608 - only our own column names are put in
_FIRST_TWO = f"{_OPEN_CASE} LIMIT 2"
_IN_ORDER = f"{_OPEN_CASE} ORDER BY g.state, g.number DESC LIMIT {GRANTS_MAX}"
"""Sorting costs half as much as the read itself, and nearly everybody has one grant in one chat: there is nothing to sort."""

_FIRST_OF_GRANT = 6
_SEE = "INSERT INTO seen_messages (key, bucket) VALUES (?, ?) ON CONFLICT (key) DO NOTHING RETURNING key"
_CHARGE = """
INSERT INTO budgets (grant_id, day, answers, row_count)
SELECT ?, ?, 1, ? FROM grants WHERE substr(id, 1, 8) = ? AND id = ? AND version = ? AND state = 1
ON CONFLICT (grant_id, day) DO UPDATE SET answers = budgets.answers + 1, row_count = budgets.row_count + excluded.row_count
WHERE budgets.answers + 1 <= ? AND budgets.row_count + excluded.row_count <= ? RETURNING answers
"""
_STANDS = "SELECT 1 FROM grants WHERE substr(id, 1, 8) = ? AND id = ? AND version = ? AND state = 1"

_NEXT_SEEN = "SELECT key FROM seen_messages WHERE key >= ? ORDER BY key LIMIT ?"
_PRUNE_SEEN = "DELETE FROM seen_messages WHERE key BETWEEN ? AND ? AND bucket < ? RETURNING 1"
"""Seen messages are gone through in the order of their keys, some at each step: an index by age would cost every claim a third more."""

_PRUNE_BUDGETS = """
DELETE FROM budgets WHERE (grant_id, day) IN (SELECT grant_id, day FROM budgets WHERE day < ? ORDER BY day, grant_id LIMIT ?) RETURNING 1
"""
_PRUNE_SESSIONS = """
DELETE FROM sessions WHERE token_hash IN (SELECT token_hash FROM sessions WHERE expires_at <= ? ORDER BY expires_at, token_hash LIMIT ?) RETURNING 1
"""
_PRUNE_ATTEMPTS = """
DELETE FROM attempts WHERE token_hash IN (SELECT token_hash FROM attempts WHERE expires_at <= ? ORDER BY expires_at, token_hash LIMIT ?) RETURNING 1
"""

_accounts_decoder = msgspec.msgpack.Decoder(tuple[LinkedAccount, ...])
_tokens_decoder = msgspec.msgpack.Decoder(BankTokens)


class Cases(Cabinet):
    """Implements `parley.release.ports.Records`."""

    def __init__(self, driver: Driver, keys: KeyRing, gateway: GatewayKeys, clock: Clock) -> None:
        super().__init__(driver, keys, gateway, clock)
        self._cases: Memory[tuple[Row, ...], CaseFile] = Memory(CASES_MAX)
        self._claims = 0
        self._prune_from = 0

    def _forget(self) -> None:
        super()._forget()
        self._cases.clear()

    async def open_case(self, question: Question) -> CaseFile:
        """The link of (channel, conversation), the customer's grants on that platform and channel, her bank link: one read.

        `tokens` is None with `bank` set where the bank link was lost. Grants come newest version only, revoked and expired ones too,
        so that the right "no" can be given. Raises Fault when something sealed does not open, RecordsUnavailable.
        """
        key, conversation_hash = self._gateway.conversation(question.channel, question.conversation)
        place = (question.platform, question.channel, key, question.channel, conversation_hash)
        rows = await self._driver.read(_FIRST_TWO, place)
        if not rows:
            return CaseFile(customer=None)
        if len(rows) > 1:
            rows = await self._driver.read(_IN_ORDER, place)
            if not rows:
                return CaseFile(customer=None)  # Erased between the two reads.
        exact = tuple(rows)
        case = self._cases.get(exact)
        if case is None:
            self._grant_rows.check_link(rows[0][2], question.channel, conversation_hash, rows[0][0])
            grants = tuple([await self._case_grant(row) for row in rows if row[_FIRST_OF_GRANT] is not None])
            case = _case_from_row(rows[0], grants, await self._vault(rows[0][0], rows[0][1]))
            self._cases.put(exact, case)
        return case

    async def _case_grant(self, row: Row) -> Grant:
        of_grant = row[_FIRST_OF_GRANT:]
        terms = self._grant_rows.known_terms(of_grant[3]) or await self._terms(of_grant[3])
        return self._grant_rows.grant(of_grant, row[0], terms)

    async def claim(self, question: Question, grant: Grant, *, day: date, rows: int) -> None:
        """Mark the message as seen and charge the grant's budget for the UTC day, durably, in one transaction.

        Raises ReplayedMessage when the message was claimed before, BudgetSpent when answers or rows would pass the grant's budget,
        GrantRevoked when this version of the grant stands no longer; after the last two the message is not spent. ValueError for `rows` < 0.
        """
        if rows < 0:
            raise ValueError("a claim cannot give rows back")
        self._claims += 1
        if self._claims % _CLAIMS_PER_PRUNING == 0:
            await self.prune()
        message = self._gateway.message(question.channel, question.platform, question.conversation, question.message_id)
        bucket = to_micros(self._clock()) // 1_000_000 // _SEEN_BUCKET_SECONDS
        await self._driver.claim(lambda: _claim(message, bucket, grant, day.toordinal(), rows))

    async def prune(self) -> int:
        """One small step of forgetting: seen messages and budgets of more than eight days ago, ended sessions and attempts. Rows deleted."""
        now = self._clock()
        oldest = now - SEEN_FOR
        bucket = to_micros(oldest) // 1_000_000 // _SEEN_BUCKET_SECONDS
        keys = await self._driver.claim(only(_NEXT_SEEN, self._prune_from, _PRUNED_AT_ONCE))
        seen = await self._driver.claim(only(_PRUNE_SEEN, keys[0][0], keys[-1][0], bucket)) if keys else []
        self._prune_from = keys[-1][0] if len(keys) == _PRUNED_AT_ONCE else 0
        budgets = await self._driver.claim(only(_PRUNE_BUDGETS, oldest.date().toordinal(), _PRUNED_AT_ONCE))
        sittings = ((_PRUNE_SESSIONS, to_micros(now)), (_PRUNE_ATTEMPTS, to_micros(now)))
        return len(seen) + len(budgets) + await self._driver.write(_pruning(sittings))


def _claim(message: int, bucket: int, grant: Grant, day: int, rows: int) -> Work[None]:
    if not (yield _SEE, (message, bucket)):
        raise ReplayedMessage
    budget = grant.budget
    if budget.answers_per_day < 1 or rows > budget.rows_per_day:
        raise BudgetSpent
    key = grant_key(grant.id)
    if key is None:
        raise GrantRevoked
    if (yield _CHARGE, (grant.id, day, rows, *key, grant.version, budget.answers_per_day, budget.rows_per_day)):
        return
    if (yield _STANDS, (*key, grant.version)):
        raise BudgetSpent
    raise GrantRevoked


def _pruning(steps: tuple[tuple[str, int], ...]) -> Callable[[], Work[int]]:
    def work() -> Work[int]:
        deleted = 0
        for sql, border in steps:
            deleted += len((yield sql, (border, _PRUNED_AT_ONCE)))
        return deleted

    return work


def _case_from_row(row: Row, grants: tuple[Grant, ...], vault: CustomerVault) -> CaseFile:
    customer, _, _, bank, sealed_tokens, sealed_accounts = row[:_FIRST_OF_GRANT]
    if bank is None:
        return CaseFile(customer=customer, grants=grants, vault=vault)
    tokens = None if sealed_tokens is None else open_tokens(vault, sealed_tokens)
    return CaseFile(customer=customer, grants=grants, bank=bank, accounts=open_accounts(vault, sealed_accounts), tokens=tokens, vault=vault)


def open_tokens(vault: CustomerVault, sealed: bytes) -> BankTokens:
    """Raises Fault when they do not open or are not what we wrote."""
    try:
        return _tokens_decoder.decode(vault.open(TOKENS_CONTEXT, sealed))
    except msgspec.MsgspecError:
        raise Fault("sealed tokens have a foreign shape") from None


def open_accounts(vault: CustomerVault, sealed: bytes) -> tuple[LinkedAccount, ...]:
    """Raises Fault when they do not open or are not what we wrote."""
    try:
        return _accounts_decoder.decode(vault.open(ACCOUNTS_CONTEXT, sealed))
    except msgspec.MsgspecError:
        raise Fault("sealed accounts have a foreign shape") from None
