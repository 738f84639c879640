"""What the bank sent beyond the ruling never reaches an offering, whoever the connector is."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.model.extensions import Need, Order
from parley.model.ledger import Balance, Statement, Transaction, TransactionState
from parley.model.money import EXPONENTS, Money
from parley.model.refusals import BankUncertain
from parley.model.stages import Answer, Permission, Request, RuledValues, Ruling, Slots
from parley.model.words import Delivery, Field, Projection, Provenance, Purpose
from parley.offerings import load_offering
from parley.release.minimise import NAME_CHARACTERS_MAX, minimise, one_line
from parley.release.pipeline import Released
from tests.fakes.road import CARD, CHECKING, GRANT, NOW, SAVINGS, STATEMENT, balance, build_town, row

TODAY = NOW.date()


class Spy:
    """An offering that keeps what it was handed."""

    name = "spy"
    title = "Spy"
    examples = ()
    purpose = Purpose.ANSWER_CUSTOMER
    projections = tuple(Projection)

    def needs(self, slots: Slots, granted: frozenset[Projection]) -> Need:
        return Need(Projection.BALANCE_AVAILABLE)

    def answer(self, values: RuledValues, slots: Slots, today: date) -> Answer:
        self.values = values
        return Answer("seen")


def seen(statement: Statement, projection: Projection, *, rows_max: int = 100, fields: frozenset[Field] | None = None, **terms: Any) -> RuledValues:
    """What an offering is handed of a statement under a ruling of that projection, for the checking and savings accounts."""
    request = Request("c", "web", "p", "spy", Purpose.ANSWER_CUSTOMER, projection, (), 30, rows_max, Slots(), NOW)
    permission = Permission(GRANT, request, (CHECKING.ref, SAVINGS.ref))
    ruled = projection.fields if fields is None else fields
    ruling = Ruling(permission, "digest", ("rule",), ruled, Delivery.INLINE, rows_max, **{"provenance": Provenance.ANY, **terms})
    order = Order((CHECKING, SAVINGS), ruling.fields, TODAY - timedelta(days=30), TODAY + timedelta(days=1), rows_max, "id")
    spy = Spy()
    minimise(statement, order, ruling, spy, TODAY)
    return spy.values


currencies = st.sampled_from(["USD", "EUR", "JPY", "KWD"])
money = st.builds(Money, st.integers(-(10**12), 10**12), currencies)
words = st.text(max_size=80)
references = st.sampled_from([CHECKING.ref, SAVINGS.ref, "ref-card", "ref-stranger"])
transactions = st.builds(
    Transaction,
    id=st.text("abc", max_size=2),
    ref=references,
    state=st.sampled_from(TransactionState),
    on=st.dates(TODAY - timedelta(days=60), TODAY + timedelta(days=5)),
    amount=money,
    merchant=st.none() | words,
    replaces=st.none() | st.text("abc", max_size=2),
    provenance_id=st.none() | words,
)
usd = st.builds(Money, st.integers(-(10**12), 10**12), st.just("USD"))
balances = st.lists(
    st.builds(Balance, ref=references, name=words, booked=usd, available=usd, as_of=st.just(NOW)), max_size=4, unique_by=lambda each: each.ref
)
statements = st.builds(
    Statement,
    balances=balances.map(tuple),
    transactions=st.lists(transactions, max_size=12).map(tuple),
    fetched_at=st.just(NOW),
    interaction_id=st.just("i"),
    partial=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(statements, st.sampled_from(Projection), st.integers(0, 6))
def test_fields_that_were_not_ruled_never_reach_the_offering(statement: Statement, projection: Projection, rows_max: int) -> None:
    values = seen(statement, projection, rows_max=rows_max)
    fields = projection.fields
    for each in values.balances:
        assert Field.BALANCE_AVAILABLE in fields or each.available is None
        assert Field.BALANCE_BOOKED in fields or each.booked is None
        assert (each.name is not None) == (Field.ACCOUNT_NAME in fields)
    if not fields & {Field.BALANCE_AVAILABLE, Field.BALANCE_BOOKED}:
        assert values.balances == ()
    if Field.TRANSACTION_AMOUNT not in fields:
        assert values.transactions == ()
    if Field.TRANSACTION_MERCHANT not in fields:
        assert all(each.merchant is None for each in values.transactions)
    assert len(values.transactions) <= rows_max


@settings(max_examples=150, deadline=None)
@given(statements)
def test_rows_of_other_accounts_outside_the_window_or_rejected_are_dropped(statement: Statement) -> None:
    values = seen(statement, Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT)
    inside = [
        each
        for each in statement.transactions
        if each.ref in (CHECKING.ref, SAVINGS.ref)
        and TODAY - timedelta(days=30) <= each.on <= TODAY + timedelta(days=1)
        and each.state is not TransactionState.REJECTED
    ]
    allowed = [(each.amount, each.on, each.state) for each in inside]
    for shown in values.transactions:
        allowed.remove((shown.amount, shown.on, shown.state))
    days = [each.on for each in values.transactions]
    assert days == sorted(days, reverse=True)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=400))
def test_a_strangers_name_becomes_one_short_visible_line(text: str) -> None:
    line = one_line(text)
    assert len(line) <= NAME_CHARACTERS_MAX
    assert not [sign for sign in line if sign in "\n\r\t\u202e\u2066\u200f\x00"]
    line.encode()


def test_a_name_that_turns_the_reading_direction_cannot_turn_an_amount() -> None:
    statement = msgspec.structs.replace(STATEMENT, transactions=(row(1, -500, "Shop\u202e00.005-$\n\ud800"),))
    (shown,) = seen(statement, Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT).transactions
    assert shown.merchant == "Shop 00.005-$"


def test_the_pending_twin_of_a_booked_row_is_dropped() -> None:
    rows = (row(9, -500, "Shop", replaces="row-8"), row(8, -450, "Shop", days_ago=2, state=TransactionState.PENDING))
    values = seen(msgspec.structs.replace(STATEMENT, transactions=rows), Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT)
    assert [(each.amount.minor, each.state) for each in values.transactions] == [(-500, TransactionState.BOOKED)]


def test_a_row_of_another_account_with_the_twins_id_stays() -> None:
    rows = (row(9, -500, "Shop", replaces="row-8"), row(8, -450, "Inn", account=SAVINGS))
    values = seen(msgspec.structs.replace(STATEMENT, transactions=rows), Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT)
    assert len(values.transactions) == 2


def test_a_row_that_says_it_replaces_itself_is_not_lost() -> None:
    rows = (row(9, -500, "Shop", replaces="row-9"),)
    assert len(seen(msgspec.structs.replace(STATEMENT, transactions=rows), Projection.TRANSACTIONS_AMOUNT).transactions) == 1


def test_two_balances_of_one_account_are_uncertain_and_never_added() -> None:
    doubled = msgspec.structs.replace(STATEMENT, balances=(balance(CHECKING, 100), balance(CHECKING, 100), balance(SAVINGS, 1)))
    with pytest.raises(BankUncertain):
        seen(doubled, Projection.AFFORD_YESNO)


def test_a_balance_that_did_not_come_makes_the_answer_partial() -> None:
    half = msgspec.structs.replace(STATEMENT, balances=(balance(CHECKING, 100),))
    assert seen(half, Projection.BALANCE_AVAILABLE).partial
    assert not seen(half, Projection.TRANSACTIONS_AMOUNT).partial


def test_a_balance_in_another_currency_than_its_account_is_uncertain() -> None:
    odd = msgspec.structs.replace(STATEMENT, balances=(balance(CHECKING, 100, currency="EUR"), balance(SAVINGS, 1)))
    with pytest.raises(BankUncertain):
        seen(odd, Projection.AFFORD_YESNO)


def test_a_ruling_without_the_date_shows_no_row_at_all() -> None:
    assert seen(STATEMENT, Projection.TRANSACTIONS_AMOUNT, fields=frozenset({Field.TRANSACTION_AMOUNT})).transactions == ()


def test_an_account_that_was_not_ordered_is_not_told_of() -> None:
    more = msgspec.structs.replace(STATEMENT, balances=(*STATEMENT.balances, balance(CARD, -5)))
    assert len(seen(more, Projection.BALANCE_AVAILABLE).balances) == 2


def test_a_currency_that_nobody_knows_is_a_plain_fault(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    odd: dict[str, Any] = {"currency": "XAU"}
    town.change_case(accounts=tuple(msgspec.structs.replace(each, **odd) for each in (CHECKING, SAVINGS)))
    town.bank.statement = msgspec.structs.replace(STATEMENT, balances=(balance(CHECKING, 1, currency="XAU"), balance(SAVINGS, 1, currency="XAU")))
    outcome = asyncio.run(town.ask("what's my balance?"))
    assert outcome.reason.code == "bank_uncertain"
    assert "XAU" not in EXPONENTS


def test_a_bank_that_sends_everything_still_answers_with_one_bit(tmp_path: Path) -> None:
    town = build_town(tmp_path)
    outcome = asyncio.run(town.ask("can I pay 640 rent on Friday?"))
    assert isinstance(outcome, Released)
    assert outcome.release.answer.text == "Yes, you can afford $640.00 right now."
    assert load_offering("afford").projections == (Projection.AFFORD_YESNO,)
