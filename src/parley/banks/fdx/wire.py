"""What is decoded of FDX's JSON, and thereby all that the house ever sees of it: a field without a name here never becomes an object.

Names are FDX's own, hence not in our style. Figures stay raw text until `amounts` reads them. A bank that sends more, or other fields
as null, is understood; one that sends another shape is refused.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, cast

import msgspec

from parley.banks.fdx.amounts import NOTHING
from parley.model.refusals import BankNonsense
from parley.model.words import Field

Body = TypeVar("Body")


class Currency(msgspec.Struct, frozen=True, gc=False):
    currencyCode: str | None = None


class Payee(msgspec.Struct, frozen=True, gc=False):
    """The merchant's name only: never an individual's, an address or a telephone."""

    merchantName: str | None = None


class Row(msgspec.Struct, frozen=True, gc=False):
    """A transaction without a word on who was paid. `referenceTransactionId` of a booked row names the pending row that it books."""

    amount: msgspec.Raw = NOTHING
    accountId: str | int | None = None
    transactionId: str | int | None = None
    status: str | None = None
    postedTimestamp: str | None = None
    transactionTimestamp: str | None = None
    debitCreditMemo: str | None = None
    transactionType: str | None = None
    referenceTransactionId: str | int | None = None
    currency: Currency | None = None


class RowWithMerchant(Row, frozen=True, gc=False):
    """`description` is read where no merchant is named. `memo` is not: anyone may write there."""

    transactionPayee: Payee | None = None
    description: str | None = None


class Page(msgspec.Struct, frozen=True, gc=False):
    nextPageKey: str | None = None
    nextOffset: str | int | None = None
    totalElements: int | None = None


class Rows(msgspec.Struct, frozen=True):
    transactions: list[Row]
    page: Page | None = None
    links: msgspec.Raw = NOTHING


class RowsWithMerchant(msgspec.Struct, frozen=True):
    transactions: list[RowWithMerchant]
    page: Page | None = None
    links: msgspec.Raw = NOTHING


class AccountHead(msgspec.Struct, frozen=True):
    """What every account says about itself. `error`: this one account failed inside a good list."""

    accountId: str | int | None = None
    accountCategory: str | None = None
    balanceType: str | None = None
    currency: Currency | None = None
    error: msgspec.Raw = NOTHING


class ListedAccount(AccountHead, frozen=True):
    """An account as the consent page needs it: no figures."""

    accountType: str | None = None
    accountNumberDisplay: str | None = None
    productName: str | None = None
    nickname: str | None = None
    status: str | None = None


class ListedAccounts(msgspec.Struct, frozen=True):
    accounts: list[ListedAccount]
    page: Page | None = None
    links: msgspec.Raw = NOTHING


class Customer(msgspec.Struct, frozen=True):
    customerId: str | int | None = None


class Problem(msgspec.Struct, frozen=True):
    """An error's code, which FDX calls a string and some banks send as a number. Its message is a stranger's text and not read."""

    code: str | int | None = None


class NextLink(msgspec.Struct, frozen=True):
    href: str | None = None


class Links(msgspec.Struct, frozen=True):
    next: NextLink | None = None


FIELDS_READ: dict[Field, tuple[str, ...]] = {
    Field.ACCOUNT_NAME: ("nickname", "productName"),
    Field.BALANCE_AVAILABLE: ("availableBalance", "availableCredit", "availableCashBalance"),
    Field.BALANCE_BOOKED: ("currentBalance", "principalBalance", "currentValue"),
}
"""The keys of an account that each ordered field needs."""

rows_decoder = msgspec.json.Decoder(Rows)
rows_with_merchant_decoder = msgspec.json.Decoder(RowsWithMerchant)
listed_accounts_decoder = msgspec.json.Decoder(ListedAccounts)
customer_decoder = msgspec.json.Decoder(Customer)
problem_decoder = msgspec.json.Decoder(Problem)
links_decoder = msgspec.json.Decoder(Links)


@cache
def balance_type(fields: frozenset[Field]) -> type[AccountHead]:
    """An account with the keys that the ordered fields need and no others; there are eight combinations."""
    figures = [
        (name, msgspec.Raw, NOTHING) for field in (Field.BALANCE_AVAILABLE, Field.BALANCE_BOOKED) if field in fields for name in FIELDS_READ[field]
    ]
    names: list[tuple[str, Any, Any]] = [(name, str | None, None) for name in FIELDS_READ[Field.ACCOUNT_NAME] if Field.ACCOUNT_NAME in fields]
    moment: list[tuple[str, Any, Any]] = [("balanceAsOf", str | None, None)]
    ordered = msgspec.defstruct("OrderedAccount", [*figures, *names, *moment], bases=(AccountHead,), frozen=True, module=__name__)
    return cast(type[AccountHead], ordered)


class AccountPage(msgspec.Struct, frozen=True):
    accounts: list[msgspec.Raw]
    page: Page | None = None
    links: msgspec.Raw = NOTHING


@cache
def balance_decoder(fields: frozenset[Field]) -> msgspec.json.Decoder[AccountHead]:
    return msgspec.json.Decoder(balance_type(fields))


account_page_decoder = msgspec.json.Decoder(AccountPage)


def decode(decoder: msgspec.json.Decoder[Body], unverified: bytes | msgspec.Raw) -> Body:
    """Raises BankNonsense for whatever is not JSON of the expected shape, nesting that exhausts the stack included; never quotes it."""
    try:
        return decoder.decode(unverified)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BankNonsense("not the JSON that was asked for") from None
