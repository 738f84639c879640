"""Keep the ruled fields, drop the rest, and only then let the offering speak."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from operator import attrgetter
from unicodedata import category

from parley.model.extensions import Offering, Order
from parley.model.ledger import Balance, LinkedAccount, Statement, Transaction, TransactionState
from parley.model.marks import PlatformMarks
from parley.model.money import UncertainMoney
from parley.model.refusals import BankUncertain
from parley.model.stages import Disclosure, RuledBalance, RuledTransaction, RuledValues, Ruling
from parley.model.words import Delivery, Field, Provenance
from parley.release.coarsen import annotated, banded, figure, withholds

BALANCES = frozenset({Field.BALANCE_AVAILABLE, Field.BALANCE_BOOKED})
ROW = frozenset({Field.TRANSACTION_AMOUNT, Field.TRANSACTION_DATE, Field.TRANSACTION_STATE})
"""Without these a row says nothing, so a ruling that leaves one out shows no row."""
NAME_CHARACTERS_MAX = 60
UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def minimise(statement: Statement, order: Order, ruling: Ruling, offering: Offering, today: date, marks: PlatformMarks | None = None) -> Disclosure:
    """The answer, made of ruled values only. What the bank sent beyond the order is dropped here a second time, whoever the connector is.

    `marks` knows the payments that were made through a platform; without it every transaction is off-platform.
    """
    known = {account.ref: account for account in order.accounts}
    told = [each for each in statement.balances if each.ref in known and not ruling.fields.isdisjoint(BALANCES)]
    if len({each.ref for each in told}) != len(told):
        raise BankUncertain("two balances of one account")
    silent = not ruling.fields.isdisjoint(BALANCES) and len(told) < len(known)
    values = RuledValues(
        balances=tuple(ruled_balance(each, known, ruling) for each in told),
        transactions=ruled_rows(statement.transactions, known, order, ruling, marks),
        partial=statement.partial or silent,
        as_of=statement.fetched_at,
        withheld=withholds(ruling),
    )
    try:
        answer = offering.answer(values, ruling.permission.request.slots, today)
    except UncertainMoney:
        raise BankUncertain("a currency that cannot be told exactly") from None
    return Disclosure(ruling, annotated(answer, ruling), statement.interaction_id, statement.fetched_at)


def ruled_balance(balance: Balance, known: Mapping[str, LinkedAccount], ruling: Ruling) -> RuledBalance:
    """Raises BankUncertain when a figure is in another currency than the account that was linked."""
    account = known[balance.ref]
    for told in (balance.available, balance.booked):
        if told is not None and told.currency != account.currency:
            raise BankUncertain("a balance in another currency than its account")
    fields, available, booked = ruling.fields, balance.available, balance.booked
    ruled = RuledBalance(
        available=figure(available, ruling) if available is not None and Field.BALANCE_AVAILABLE in fields else None,
        booked=figure(booked, ruling) if booked is not None and Field.BALANCE_BOOKED in fields else None,
        name=one_line(account.name) if Field.ACCOUNT_NAME in fields else None,
        kind=account.kind,
    )
    return banded(ruled, ruling)


def ruled_rows(
    rows: tuple[Transaction, ...], known: Mapping[str, LinkedAccount], order: Order, ruling: Ruling, marks: PlatformMarks | None
) -> tuple[RuledTransaction, ...]:
    """Newest first, inside the ordered window, no more than ruled; the pending row of a booked one is dropped.

    Unless rows of any provenance were ruled, those that carry no mark of this platform's stay back, each for itself.
    """
    fields = ruling.fields
    if not fields >= ROW:
        return ()
    since, until = order.since, order.until
    inside = [row for row in rows if since <= row.on <= until and row.ref in known]
    replaced = {row.replaces for row in rows if row.replaces}
    if not replaced.isdisjoint([row.id for row in inside]):
        booked = {(row.ref, row.replaces) for row in rows if row.replaces and row.replaces != row.id}
        inside = [row for row in inside if (row.ref, row.id) not in booked]
    if ruling.provenance is not Provenance.ANY:
        platform = ruling.permission.request.platform
        inside = [row for row in inside if marks is not None and marks.recognises(row.provenance_id, platform)]
    shown = [row for row in inside if row.state is not TransactionState.REJECTED]
    shown.sort(key=attrgetter("on"), reverse=True)
    merchants = Field.TRANSACTION_MERCHANT in fields
    kept = shown[: max(0, ruling.rows_max)]
    coarse = ruling.rounding or ruling.delivery is Delivery.MASKED
    return tuple(
        [
            RuledTransaction(
                figure(row.amount, ruling) if coarse else row.amount,
                row.on,
                row.state,
                one_line(row.merchant) if merchants and row.merchant else None,
            )
            for row in kept
        ]
    )


def one_line(text: str) -> str:
    """A stranger's name as one short visible line: no line breaks, nothing that turns the reading direction and so a figure around."""
    if len(text) <= NAME_CHARACTERS_MAX and text.isascii() and text.isprintable():
        # Nothing to hide in: most names, without a look at each letter.
        return text if "  " not in text and text.strip() == text else " ".join(text.split())
    visible = "".join(" " if category(sign) in UNSEEN else sign for sign in text[: NAME_CHARACTERS_MAX * 4])
    short = " ".join(visible.split())
    return short if len(short) <= NAME_CHARACTERS_MAX else short[: NAME_CHARACTERS_MAX - 1].rstrip() + "…"
