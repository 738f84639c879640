"""Answers that nobody here wrote and that break the published schema: each is read to the cent, or refused by name."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from parley.banks.fdx import FdxBank, FdxSettings
from parley.banks.pool import PooledTransport
from parley.model.extensions import BankCredential, Order
from parley.model.ledger import AccountKind, AccountStatus, LinkedAccount, Quality, Statement
from parley.model.refusals import BankNonsense, BankUncertain, Fault
from parley.model.words import Field
from tests.fakes.hostile_bank import Asked, HostileBank, Told, running

FIXTURES = Path(__file__).parent / "banks/fixtures/mastercard"
NOW = datetime(2026, 3, 5, tzinfo=UTC)
CREDENTIAL = BankCredential("token", NOW)
FIRST = "44444444-4444-4444-8444-444444444444"


def account(native_id: str, kind: AccountKind) -> LinkedAccount:
    return LinkedAccount("r", "mc", native_id, kind, "n", "", "USD", AccountStatus.OPEN)


DEPOSIT = account("10001", AccountKind.CHECKING)
LOAN = account("20001", AccountKind.LOAN)
LINE = account("5326884", AccountKind.LOAN)
INVESTMENT = account("3746272", AccountKind.INVESTMENT)


def read(file: str, asked: LinkedAccount | None, fields: frozenset[Field] = frozenset(), currency_default: str | None = None) -> object:
    """The connector's outcome when this file is the answer; further pages of a list are empty."""
    body = (FIXTURES / file).read_bytes()

    def answer(request: Asked) -> Told:
        further = "offset" in request.query
        return Told(b'{"accounts":[],"transactions":[]}' if further else body)

    async def inside() -> object:
        async with running(HostileBank(answer)) as bank, PooledTransport() as transport:
            fdx = FdxBank(FdxSettings("mc", f"{bank.url}/fdx/v6", currency_default=currency_default), transport, lambda: NOW)
            try:
                if asked is None:
                    return await fdx.accounts(CREDENTIAL, FIRST)
                return await fdx.fetch(CREDENTIAL, Order((asked,), fields, date(2015, 1, 1), date(2026, 1, 1), 100, FIRST))
            except Fault as reason:
                return reason

    return asyncio.run(inside())


BALANCES = frozenset({Field.BALANCE_AVAILABLE, Field.BALANCE_BOOKED, Field.ACCOUNT_NAME})
ROWS = frozenset({Field.TRANSACTION_AMOUNT, Field.TRANSACTION_DATE, Field.TRANSACTION_STATE, Field.TRANSACTION_MERCHANT})


@pytest.mark.parametrize(
    ("file", "asked", "booked", "available"),
    [
        ("deposit_acc_details.json", DEPOSIT, 498_446, 498_446),
        ("lineofcredit_acc_details.json", LINE, -10_291_198, 0),
        ("loan_acc_details.json", LOAN, -13_300_035, None),
        ("investment_acc_details.json", INVESTMENT, 5_000, 38_131),
    ],
)
def test_balances_are_in_the_customers_view(file: str, asked: LinkedAccount, booked: int, available: int | None) -> None:
    statement = read(file, asked, BALANCES)
    assert isinstance(statement, Statement)
    [balance] = statement.balances
    assert balance.booked is not None and balance.booked.minor == booked
    assert (balance.available.minor if balance.available else None) == available


def test_a_list_without_currencies_links_accounts_whose_figures_stay_uncertain() -> None:
    listed = read("accounts_response.json", None)
    assert isinstance(listed, tuple)
    assert [(each.native_id, each.kind, each.currency) for each in listed] == [
        ("10001", AccountKind.CHECKING, ""),
        ("10002", AccountKind.CHECKING, ""),
        ("20001", AccountKind.LOAN, ""),
    ]
    settled = read("accounts_response.json", None, currency_default="USD")
    assert isinstance(settled, tuple) and {each.currency for each in settled} == {"USD"}
    assert isinstance(read("depositTransaction.json", listed[0], ROWS), BankUncertain)


def test_signed_rows_without_memo_are_read_by_their_type() -> None:
    statement = read("depositTransaction.json", DEPOSIT, ROWS)
    assert isinstance(statement, Statement)
    assert [(row.amount.minor, Quality.SIGN_FROM_TYPE in row.quality) for row in statement.transactions] == [
        (1, True),
        (3, True),
        (-30_000, True),
        (10_172, False),
    ]
    assert "3770527921" not in str([row.merchant for row in statement.transactions])


def test_signed_rows_without_memo_or_type_are_read_by_asset_or_debt() -> None:
    statement = read("loanTransaction.json", LOAN, ROWS)
    assert isinstance(statement, Statement)
    assert {row.id for row in statement.transactions} and all(Quality.SIGN_FROM_BALANCE_TYPE in row.quality for row in statement.transactions)
    assert {30_000, 233_505, -176_824} <= {row.amount.minor for row in statement.transactions}
    assert all(Quality.DATE_WITHOUT_TIME in row.quality and Quality.STATUS_MISSING in row.quality for row in statement.transactions)


def test_rows_whose_direction_nothing_tells_are_refused() -> None:
    assert type(read("locTransaction.json", LINE, ROWS)) is BankUncertain


def test_a_bare_list_of_trades_is_refused() -> None:
    assert type(read("investmentTransaction.json", INVESTMENT, ROWS)) is BankNonsense
