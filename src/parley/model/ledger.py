"""What a bank's account holds, in one shape for every dialect: accounts, balances, transactions.

Sign rule: the customer's view. Negative money leaves or a debt grows; positive money arrives or a debt shrinks. A credit card on
which 120.00 is owed has a booked balance of -12000 minor units.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum

import msgspec

from parley.model.money import Money


class Discreet(msgspec.Struct, frozen=True):
    """A struct that never prints what it holds: diagnostics, tracebacks and logs show stars."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"


class AccountKind(StrEnum):
    CHECKING = "checking"
    SAVINGS = "savings"
    CREDIT_CARD = "credit_card"
    LOAN = "loan"
    INVESTMENT = "investment"
    OTHER = "other"

    @property
    def is_debt(self) -> bool:
        """Whether its balance is what the customer owes."""
        return self in (AccountKind.CREDIT_CARD, AccountKind.LOAN)


class AccountStatus(StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    RESTRICTED = "restricted"
    UNKNOWN = "unknown"


class TransactionState(StrEnum):
    PENDING = "pending"
    BOOKED = "booked"
    REJECTED = "rejected"


class Quality(StrEnum):
    """What a connector noticed while it read: recorded, never guessed over."""

    SIGN_FROM_TYPE = "sign_from_type"
    SIGN_FROM_BALANCE_TYPE = "sign_from_balance_type"
    SIGN_DISAGREES = "sign_disagrees"
    AMOUNT_WAS_TEXT = "amount_was_text"
    DATE_WITHOUT_TIME = "date_without_time"
    DATE_WITHOUT_ZONE = "date_without_zone"
    SYNTHETIC_ID = "synthetic_id"
    STATUS_MISSING = "status_missing"
    CURRENCY_FROM_ACCOUNT = "currency_from_account"
    DUPLICATE_ROW = "duplicate_row"


class LinkedAccount(Discreet, frozen=True):
    """An account that the customer chose at her bank: `ref` is ours (opaque, per customer), `native_id` the bank's. Kept sealed at rest.

    `mask` is at most the last four digits, for the consent page only.
    """

    ref: str
    bank: str
    native_id: str
    kind: AccountKind
    name: str
    mask: str
    currency: str
    status: AccountStatus


class Balance(Discreet, frozen=True):
    """`booked` and `available` as the customer sees them (see the sign rule); None where not ruled or not told. Times are UTC."""

    ref: str
    name: str | None
    booked: Money | None
    available: Money | None
    as_of: datetime | None
    quality: frozenset[Quality] = frozenset()


class Transaction(Discreet, frozen=True):
    """One row. `id` is stable and opaque; `replaces` the id of the pending row that this one books; `on` the customer's date of it.

    `provenance_id` is what the bank's books say of the id that Parley gave the payment (parley.model.marks), None where they say nothing.
    Alone it proves nothing: a merchant may write what he likes into a reference. Without a mark that is recognised a row is off-platform.
    """

    id: str
    ref: str
    state: TransactionState
    on: date
    amount: Money
    merchant: str | None = None
    replaces: str | None = None
    provenance_id: str | None = None
    quality: frozenset[Quality] = frozenset()


class Statement(Discreet, frozen=True):
    """What the bank told us for one question. Never leaves the house, never prints itself, never stored.

    `partial`: the bank said that something is missing. `fetched_at` UTC. `interaction_id`: the x-fapi-interaction-id of the first read.
    """

    balances: tuple[Balance, ...]
    transactions: tuple[Transaction, ...]
    fetched_at: datetime
    interaction_id: str
    partial: bool = False
