"""What the bank must answer, for tests: customers, balances and rows straight from the books, without a server."""

from dataclasses import dataclass
from datetime import date

from parley_sandbox.books import keep_books
from parley_sandbox.ledger import Account, Customer, Posting
from parley_sandbox.people import CAST


@dataclass(frozen=True, slots=True)
class Balance:
    """Signed minor units in the customer's view (negative = owed); `available` counts holds and, for a card, its credit line."""

    booked: int
    available: int
    currency: str


def customers(seed: int, today: date) -> tuple[Customer, ...]:
    """All customers of the bank with that seed on that day, in the order of its home page."""
    return tuple(keep_books(person, seed, today) for person in CAST)


def customer(seed: int, today: date, username: str) -> Customer:
    """One customer by user name. Raises KeyError when the bank has none."""
    for person in CAST:
        if person.username == username:
            return keep_books(person, seed, today)
    raise KeyError(username)


def balance(account: Account) -> Balance:
    """The account's balance."""
    return Balance(account.booked, account.available, account.currency)


def transactions(account: Account, start: date | None = None, end: date | None = None) -> tuple[Posting, ...]:
    """The account's rows, newest first, between two days (both included)."""
    return tuple(row for row in account.postings if (start or date.min) <= row.day <= (end or date.max))
