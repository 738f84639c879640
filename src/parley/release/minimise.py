"""Keep the ruled fields, drop the rest, and only then let the offering speak."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from parley.model.extensions import Offering, Order
from parley.model.ledger import Balance, LinkedAccount, Statement, Transaction, TransactionState
from parley.model.refusals import BankUncertain
from parley.model.stages import Disclosure, RuledBalance, RuledTransaction, RuledValues, Ruling
from parley.model.words import Field


def minimise(statement: Statement, order: Order, ruling: Ruling, offering: Offering, today: date) -> Disclosure:
    """The answer, made of ruled values only. What the bank sent beyond the order is dropped here a second time, whoever the connector is."""
    known = {account.ref: account for account in order.accounts}
    values = RuledValues(
        balances=tuple(ruled_balance(each, known, ruling.fields) for each in statement.balances if each.ref in known),
        transactions=ruled_rows(statement.transactions, known, order, ruling),
        partial=statement.partial,
        as_of=statement.fetched_at,
    )
    answer = offering.answer(values, ruling.permission.request.slots, today)
    return Disclosure(ruling, answer, statement.interaction_id, statement.fetched_at)


def ruled_balance(balance: Balance, known: Mapping[str, LinkedAccount], fields: frozenset[Field]) -> RuledBalance:
    """Raises BankUncertain when a figure is in another currency than the account that was linked."""
    account = known[balance.ref]
    for figure in (balance.available, balance.booked):
        if figure is not None and figure.currency != account.currency:
            raise BankUncertain("a balance in another currency than its account")
    return RuledBalance(
        available=balance.available if Field.BALANCE_AVAILABLE in fields else None,
        booked=balance.booked if Field.BALANCE_BOOKED in fields else None,
        name=account.name if Field.ACCOUNT_NAME in fields else None,
        kind=account.kind,
    )


def ruled_rows(rows: tuple[Transaction, ...], known: Mapping[str, LinkedAccount], order: Order, ruling: Ruling) -> tuple[RuledTransaction, ...]:
    """Newest first, inside the ordered window, no more than ruled; the pending row of a booked one is dropped."""
    fields = ruling.fields
    if Field.TRANSACTION_AMOUNT not in fields:
        return ()
    booked = {row.replaces for row in rows if row.replaces}
    inside = [row for row in rows if row.ref in known and order.since <= row.on <= order.until and row.id not in booked]
    shown = [row for row in inside if row.state is not TransactionState.REJECTED]
    shown.sort(key=lambda row: row.on, reverse=True)
    merchants = Field.TRANSACTION_MERCHANT in fields
    return tuple(RuledTransaction(row.amount, row.on, row.state, row.merchant if merchants else None) for row in shown[: ruling.rows_max])
