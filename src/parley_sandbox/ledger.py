"""The bank's books as values: accounts, postings and what they add up to. Amounts are signed minor units in the customer's view."""

from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import Literal

Kind = Literal["checking", "savings", "credit_card", "loan"]
Status = Literal["OPEN", "CLOSED", "RESTRICTED"]


@dataclass(frozen=True, slots=True)
class Posting:
    """One row of an account. `amount` is negative when money leaves or debt grows; `posted_at` is None while the row is pending."""

    transaction_id: str
    occurred_at: datetime
    posted_at: datetime | None
    amount: int
    description: str
    transaction_type: str
    merchant: str = ""
    merchant_category: str = ""
    individual: str = ""
    memo: str = ""
    card: str = ""
    reference: str = ""
    foreign_currency: str = ""
    foreign_amount: int = 0

    @property
    def pending(self) -> bool:
        """Whether the row is only an authorization so far."""
        return self.posted_at is None

    @property
    def day(self) -> date:
        """The day by which windows select the row: the posting day, or the day it happened while pending."""
        return (self.posted_at or self.occurred_at).date()


@dataclass(frozen=True)
class Account:
    """One account with its rows, newest first. `opening` is the booked balance before the first row, in the customer's view."""

    account_id: str
    kind: Kind
    product: str
    nickname: str
    number: str
    currency: str
    status: Status
    opening: int
    as_of: datetime
    credit_line: int = 0
    postings: tuple[Posting, ...] = field(default=(), repr=False)

    @property
    def number_display(self) -> str:
        """The masked number, last four digits only."""
        return f"****{self.number[-4:]}"

    @property
    def owes(self) -> bool:
        """Whether this is a debt (credit card, loan) rather than an asset."""
        return self.kind in ("credit_card", "loan")

    @cached_property
    def booked(self) -> int:
        """Opening balance plus every booked row, in the customer's view: negative means owed."""
        return self.opening + sum(posting.amount for posting in self.postings if not posting.pending)

    @cached_property
    def holds(self) -> int:
        """What pending debits will take, as a negative number; a pending row whose posted twin is already booked no longer counts."""
        settled = {posting.reference for posting in self.postings if not posting.pending and posting.reference}
        return sum(p.amount for p in self.postings if p.pending and p.amount < 0 and p.transaction_id not in settled)

    @cached_property
    def available(self) -> int:
        """What can be spent now: booked less holds, plus the credit line of a card."""
        return self.booked + self.holds + self.credit_line


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer of the demo bank with her accounts. The password is public on purpose: it stands on the bank's home page."""

    customer_id: str
    username: str
    password: str
    name: str
    portrait: str
    accounts: tuple[Account, ...] = field(repr=False)

    def account(self, account_id: str) -> Account | None:
        """The account of that id, or None when the customer has no such account."""
        return next((account for account in self.accounts if account.account_id == account_id), None)
