"""Keep the ruled fields, drop the rest, and only then let the offering speak."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from operator import attrgetter
from unicodedata import category

from parley.model.extensions import Offering, Order
from parley.model.ledger import Balance, LinkedAccount, Statement, Transaction, TransactionState
from parley.model.money import UncertainMoney
from parley.model.refusals import BankUncertain
from parley.model.stages import Disclosure, RuledBalance, RuledTransaction, RuledValues, Ruling
from parley.model.words import Field, Provenance

BALANCES = frozenset({Field.BALANCE_AVAILABLE, Field.BALANCE_BOOKED})
ROW = frozenset({Field.TRANSACTION_AMOUNT, Field.TRANSACTION_DATE, Field.TRANSACTION_STATE})
"""Without these a row says nothing, so a ruling that leaves one out shows no row."""
NAME_CHARACTERS_MAX = 60
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def minimise(statement: Statement, order: Order, ruling: Ruling, offering: Offering, today: date) -> Disclosure:
    """The answer, made of ruled values only. What the bank sent beyond the order is dropped here a second time, whoever the connector is."""
    known = {account.ref: account for account in order.accounts}
    told = [each for each in statement.balances if each.ref in known and not ruling.fields.isdisjoint(BALANCES)]
    if len({each.ref for each in told}) != len(told):
        raise BankUncertain("two balances of one account")
    silent = not ruling.fields.isdisjoint(BALANCES) and len(told) < len(known)
    values = RuledValues(
        balances=tuple(ruled_balance(each, known, ruling.fields) for each in told),
        transactions=ruled_rows(statement.transactions, known, order, ruling),
        partial=statement.partial or silent,
        as_of=statement.fetched_at,
    )
    try:
        answer = offering.answer(values, ruling.permission.request.slots, today)
    except UncertainMoney:
        raise BankUncertain("a currency that cannot be told exactly") from None
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
        name=one_line(account.name) if Field.ACCOUNT_NAME in fields else None,
        kind=account.kind,
    )


def ruled_rows(rows: tuple[Transaction, ...], known: Mapping[str, LinkedAccount], order: Order, ruling: Ruling) -> tuple[RuledTransaction, ...]:
    """Newest first, inside the ordered window, no more than ruled; the pending row of a booked one is dropped."""
    fields = ruling.fields
    if not fields >= ROW:
        return ()
    booked = {(row.ref, row.replaces) for row in rows if row.replaces and row.replaces != row.id}
    inside = [row for row in rows if row.ref in known and order.since <= row.on <= order.until and (row.ref, row.id) not in booked]
    anyones = ruling.provenance is Provenance.ANY
    shown = [row for row in inside if row.state is not TransactionState.REJECTED and (anyones or row.provenance_id is not None)]
    shown.sort(key=attrgetter("on"), reverse=True)
    merchants = Field.TRANSACTION_MERCHANT in fields
    kept = shown[: max(0, ruling.rows_max)]
    return tuple(RuledTransaction(row.amount, row.on, row.state, one_line(row.merchant) if merchants and row.merchant else None) for row in kept)


def one_line(text: str) -> str:
    """A stranger's name as one short visible line: no line breaks, nothing that turns the reading direction and so a figure around."""
    if len(text) <= NAME_CHARACTERS_MAX and text.isascii() and text.isprintable():
        return " ".join(text.split())  # Nothing to hide in: most names, without a look at each letter.
    visible = "".join(" " if category(sign) in UNSEEN else sign for sign in text[: NAME_CHARACTERS_MAX * 4])
    short = " ".join(visible.split())
    return short if len(short) <= NAME_CHARACTERS_MAX else short[: NAME_CHARACTERS_MAX - 1].rstrip() + "…"
