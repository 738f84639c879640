"""Transactions: FDX's rows into the canonical model, each row once, with a lasting id and the customer's sign."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, datetime
from hashlib import blake2s

import msgspec

from parley.banks.fdx.amounts import read_minor
from parley.banks.fdx.dates import BadDate, read_moment
from parley.banks.fdx.signs import SignRules
from parley.banks.fdx.wire import Row, RowWithMerchant
from parley.model.ledger import LinkedAccount, Quality, Transaction, TransactionState
from parley.model.money import Money, UncertainMoney
from parley.model.refusals import BankNonsense, BankUncertain
from parley.model.strangers import clean_name

ID_BYTES = 16
_TEXT = frozenset({Quality.AMOUNT_WAS_TEXT})
_DUPLICATE = frozenset({Quality.DUPLICATE_ROW})
_NO_STATUS = frozenset({Quality.STATUS_MISSING})
_SYNTHETIC = frozenset({Quality.SYNTHETIC_ID})
_STATES = {
    "POSTED": TransactionState.BOOKED,
    "PENDING": TransactionState.PENDING,
    "AUTHORIZATION": TransactionState.PENDING,
    "MEMO": TransactionState.PENDING,
    "REJECTED": TransactionState.REJECTED,
    "DECLINED": TransactionState.REJECTED,
}


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A row that has been understood but not yet written out: most rows of a window are only read to know that others are newer.

    `key` is the bank's id of the row, or what stands in for it; `minor` is in the customer's view.
    """

    moment: datetime
    key: str
    state: TransactionState
    minor: int
    row: Row
    quality: frozenset[Quality]


class RowReader:
    """Reads one account's rows, page after page, and keeps each once. `since` and `until` inclusive; what lies outside was not ordered."""

    def __init__(self, account: LinkedAccount, since: date, until: date) -> None:
        self._account = account
        self._native_id = account.native_id
        self._currency = account.currency
        self._since = since
        self._until = until
        self._signs = SignRules(account.kind)
        place = f"{len(account.bank)}:{account.bank}{len(account.native_id)}:{account.native_id}/"
        self._ids = blake2s(place.encode(), digest_size=ID_BYTES)
        self._read: dict[str, Draft] = {}
        self._alike: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._read)

    def read(self, rows: Iterable[Row]) -> None:
        """Raises BankUncertain where amount, sign, currency or owner of a row cannot be relied on, BankNonsense for a row without a date."""
        drafts = self._read
        for row in rows:
            draft = self._draft(row)
            known = drafts.setdefault(draft.key, draft)
            if known is not draft:
                drafts[draft.key] = _one_of(known, draft)

    def finish(self) -> list[Draft]:
        """The rows of the window. A pending row whose booked row is here too is left out. Raises BankUncertain."""
        self._signs.settle()
        drafts = self._read.values()
        pending = TransactionState.PENDING
        inside = [each for each in drafts if self._since <= each.moment.date() <= self._until]
        if all(each.state is not pending for each in inside):
            return inside
        booked = {
            str(each.row.referenceTransactionId) for each in drafts if each.state is TransactionState.BOOKED and each.row.referenceTransactionId
        }
        return [each for each in inside if each.state is not pending or each.key not in booked]

    def transaction(self, draft: Draft) -> Transaction:
        """A draft of this reader, written out."""
        row, account = draft.row, self._account
        booked_from = row.referenceTransactionId or None
        return Transaction(
            self._id(draft.key),
            account.ref,
            draft.state,
            draft.moment.date(),
            Money(draft.minor, account.currency),
            _merchant(row) if type(row) is RowWithMerchant else None,
            None if booked_from is None else self._id(str(booked_from)),
            None,
            draft.quality,
        )

    def _draft(self, row: Row) -> Draft:
        """One row understood. Everything that most rows share is done here without a further call: a window may hold thousands."""
        owner, currency = row.accountId, row.currency
        if owner != self._native_id and owner is not None and str(owner) != self._native_id:
            raise BankUncertain("a row of another account")
        if currency is not None and currency.currencyCode not in (None, self._currency):
            raise BankUncertain("a row in another currency than its account")
        text = row.postedTimestamp or row.transactionTimestamp
        figure = bytes(row.amount)
        try:
            moment, quality = read_moment(text or "")
            minor, noticed = self._signs.signed(read_minor(figure, self._currency), row.debitCreditMemo, row.transactionType)
        except BadDate:
            raise BankNonsense("a row with an unreadable date" if text else "a row without a date") from None
        except UncertainMoney as reason:
            raise BankUncertain(f"row: {reason}") from None
        if noticed:
            quality |= noticed
        if figure[:1] == b'"':
            quality |= _TEXT
        state = _STATES.get(row.status or "")
        if state is None:
            state = TransactionState.BOOKED if row.postedTimestamp else TransactionState.PENDING
            quality |= _NO_STATUS
        key = row.transactionId
        if key is None or key == "":
            key, quality = self._stand_in(moment, minor), quality | _SYNTHETIC
        return Draft(moment, key if type(key) is str else str(key), state, minor, row, quality)

    def _id(self, key: str) -> str:
        digest = self._ids.copy()
        digest.update(key.encode())
        return digest.hexdigest()

    def _stand_in(self, moment: datetime, minor: int) -> str:
        """For a row without an id: day, figure, and how many alike came before. No text: so the id does not depend on what was ordered."""
        alike = f"\0{moment.date().isoformat()}\0{minor}"
        self._alike[alike] += 1
        return f"{alike}\0{self._alike[alike]}"


def _one_of(known: Draft, again: Draft) -> Draft:
    """One row for two with the same id: the booked one. Raises BankUncertain for two of the same state with different figures."""
    if known.state is again.state and known.minor != again.minor:
        raise BankUncertain("one id, two figures")
    kept = again if again.state is TransactionState.BOOKED and known.state is not TransactionState.BOOKED else known
    return msgspec.structs.replace(kept, quality=kept.quality | _DUPLICATE)


def _merchant(row: RowWithMerchant) -> str | None:
    """The merchant's name, else the bank's own descriptor. Payments between people name nobody: the other person agreed to nothing."""
    payee = row.transactionPayee
    if payee is not None and payee.merchantName and (name := clean_name(payee.merchantName)):
        return name
    if row.transactionType == "PERSONTOPERSON":
        return None
    return clean_name(row.description or "") or None
