"""Transactions: FDX's rows into the canonical model, each row once, with a lasting id and the customer's sign."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime
from hashlib import sha256
from operator import itemgetter

from parley.banks.fdx.amounts import is_missing, read_money
from parley.banks.fdx.dates import BadDate, read_moment
from parley.banks.fdx.signs import SignRules
from parley.banks.fdx.wire import Row, RowWithMerchant
from parley.model.ledger import LinkedAccount, Quality, Transaction, TransactionState
from parley.model.money import Money, UncertainMoney
from parley.model.refusals import BankNonsense, BankUncertain
from parley.model.strangers import clean_name

ID_HEX_DIGITS = 32
_TEXT = frozenset({Quality.AMOUNT_WAS_TEXT})
_DUPLICATE = frozenset({Quality.DUPLICATE_ROW})
_STATES = {
    "POSTED": TransactionState.BOOKED,
    "PENDING": TransactionState.PENDING,
    "AUTHORIZATION": TransactionState.PENDING,
    "MEMO": TransactionState.PENDING,
    "REJECTED": TransactionState.REJECTED,
    "DECLINED": TransactionState.REJECTED,
}


class RowReader:
    """Reads one account's rows, page after page, and keeps each once. `since` and `until` inclusive; what lies outside was not ordered."""

    def __init__(self, account: LinkedAccount, since: date, until: date) -> None:
        self._account = account
        self._since = since
        self._until = until
        self._signs = SignRules(account.kind)
        self._ids = sha256(f"{len(account.bank)}:{account.bank}{len(account.native_id)}:{account.native_id}/".encode())
        self._read: dict[str, tuple[datetime, Transaction]] = {}
        self._alike: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._read)

    def read(self, rows: Iterable[Row]) -> None:
        """Raises BankUncertain where amount, sign, currency or owner of a row cannot be relied on, BankNonsense for a row without a date."""
        for row in rows:
            moment, transaction = self._canonical(row)
            known = self._read.get(transaction.id)
            if known is None:
                self._read[transaction.id] = (moment, transaction)
            else:
                self._read[transaction.id] = _one_of(known, (moment, transaction))

    def finish(self) -> list[tuple[datetime, Transaction]]:
        """The rows of the window with their moments, newest first. A pending row whose booked row is here too is left out. Raises BankUncertain."""
        self._signs.settle()
        booked = {row.replaces for _, row in self._read.values() if row.replaces is not None and row.state is TransactionState.BOOKED}
        kept = [
            pair
            for pair in self._read.values()
            if self._since <= pair[1].on <= self._until and not (pair[1].id in booked and pair[1].state is TransactionState.PENDING)
        ]
        return sorted(kept, key=_newest, reverse=True)

    def _canonical(self, row: Row) -> tuple[datetime, Transaction]:
        if row.accountId is not None and str(row.accountId) != self._account.native_id:
            raise BankUncertain("a row of another account")
        moment, quality = _moment(row)
        told = self._money(row)
        minor, noticed = self._signs.signed(told.minor, row.debitCreditMemo, row.transactionType)
        if noticed:
            quality |= noticed
        if bytes(row.amount)[:1] == b'"':
            quality |= _TEXT
        state = _STATES.get(row.status or "")
        if state is None:
            state = TransactionState.BOOKED if row.postedTimestamp else TransactionState.PENDING
            quality |= {Quality.STATUS_MISSING}
        if row.transactionId in (None, ""):
            transaction_id, quality = self._synthetic_id(moment, minor), quality | {Quality.SYNTHETIC_ID}
        else:
            transaction_id = self._id(str(row.transactionId))
        return moment, Transaction(
            transaction_id,
            self._account.ref,
            state,
            moment.date(),
            told if minor == told.minor else Money(minor, told.currency),
            _merchant(row) if isinstance(row, RowWithMerchant) else None,
            None if row.referenceTransactionId in (None, "") else self._id(str(row.referenceTransactionId)),
            None,
            quality,
        )

    def _money(self, row: Row) -> Money:
        """FDX's rows are in the currency of their account; one that says otherwise is refused."""
        currency = self._account.currency
        if row.currency is not None and row.currency.currencyCode not in (None, currency):
            raise BankUncertain("a row in another currency than its account")
        if is_missing(row.amount):
            raise BankUncertain("a row without an amount")
        try:
            return read_money(row.amount, currency)
        except UncertainMoney as reason:
            raise BankUncertain(f"row: {reason}") from None

    def _id(self, native: str) -> str:
        digest = self._ids.copy()
        digest.update(native.encode())
        return digest.hexdigest()[:ID_HEX_DIGITS]

    def _synthetic_id(self, moment: datetime, minor: int) -> str:
        """For a row without an id: day, figure, and how many alike came before. No text: so the id does not depend on what was ordered."""
        alike = f"\0{moment.date().isoformat()}\0{minor}"
        self._alike[alike] += 1
        return self._id(f"{alike}\0{self._alike[alike]}")


_newest = itemgetter(0)


def _one_of(known: tuple[datetime, Transaction], again: tuple[datetime, Transaction]) -> tuple[datetime, Transaction]:
    """One row for two with the same id: the booked one. Raises BankUncertain for two of the same state with different figures."""
    first, second = known[1], again[1]
    if first.state is second.state and first.amount != second.amount:
        raise BankUncertain("one id, two figures")
    moment, kept = again if second.state is TransactionState.BOOKED and first.state is not TransactionState.BOOKED else known
    return moment, Transaction(
        kept.id, kept.ref, kept.state, kept.on, kept.amount, kept.merchant, kept.replaces, kept.provenance_id, kept.quality | _DUPLICATE
    )


def _moment(row: Row) -> tuple[datetime, frozenset[Quality]]:
    text = row.postedTimestamp or row.transactionTimestamp
    if not text:
        raise BankNonsense("a row without a date")
    try:
        return read_moment(text)
    except BadDate:
        raise BankNonsense("a row with an unreadable date") from None


def _merchant(row: RowWithMerchant) -> str | None:
    """The merchant's name, else the bank's own descriptor. Payments between people name nobody: the other person agreed to nothing."""
    payee = row.transactionPayee
    if payee is not None and payee.merchantName and (name := clean_name(payee.merchantName)):
        return name
    if row.transactionType == "PERSONTOPERSON":
        return None
    return clean_name(row.description or "") or None
