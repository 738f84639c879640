"""What every offering keeps to. Each folder under offerings/ is attacked, whoever wrote it."""

from __future__ import annotations

import asyncio
import re
import tomllib
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parley.offerings
from parley.model.extensions import Offering, OfferingCard
from parley.model.ledger import AccountKind, TransactionState
from parley.model.money import Money, in_words
from parley.model.refusals import BankUncertain, Fault, NoSuitableAccount, NotUnderstood, Refusal
from parley.model.stages import Answer, RuledBalance, RuledTransaction, RuledValues, Slots
from parley.model.words import Projection, Purpose
from parley.offerings import load_offering, load_offerings
from parley.release.pipeline import Released
from parley.understanding import KeywordUnderstanding
from tests.fakes.road import CHECKING as CHECKING_ACCOUNT
from tests.fakes.road import NOW, STATEMENT, balance, build_town
from tests.fakes.road import SAVINGS as SAVINGS_ACCOUNT

FOLDER = Path(parley.offerings.__file__).parent
NAMES = sorted(each.name for each in FOLDER.iterdir() if (each / "__init__.py").exists())
OFFERINGS = [load_offering(name) for name in NAMES]
TODAY = date(2026, 11, 22)
CHECKS = ("code", "readme", "consent_words", "phrases", "one_bit_or_least", "sign_rule", "currencies", "partial")

every_offering = pytest.mark.parametrize("offering", OFFERINGS, ids=NAMES)
figures = st.integers(-(10**13), 10**13)
money = st.builds(Money, figures, st.sampled_from(["USD", "EUR", "GBP", "JPY", "KWD"]))
names = st.none() | st.sampled_from(["Everyday", "Rainy Day", "Кошелёк", "a: b; c"])
values = st.builds(
    RuledValues,
    balances=st.lists(
        st.builds(RuledBalance, available=st.none() | money, booked=st.none() | money, name=names, kind=st.sampled_from(AccountKind)), max_size=4
    ).map(tuple),
    transactions=st.lists(
        st.builds(
            RuledTransaction,
            amount=money,
            on=st.dates(TODAY - timedelta(days=400), TODAY + timedelta(days=2)),
            state=st.sampled_from(TransactionState),
            merchant=names,
        ),
        max_size=5,
    ).map(tuple),
    partial=st.booleans(),
    as_of=st.just(NOW),
)
slots = st.builds(
    Slots,
    amount=st.none() | st.decimals(allow_nan=True, allow_infinity=True) | st.decimals(0, 10**6, places=2),
    currency=st.none() | st.sampled_from(["USD", "EUR", "JPY", "XXX", ""]),
    account=st.none() | st.just("Everyday"),
    count=st.none() | st.integers(-5, 200),
)
grants = st.frozensets(st.sampled_from(Projection))


def answer_or_no(offering: Offering, ruled: RuledValues, asked: Slots) -> Answer | None:
    """The answer, or None for a plain no; any other exception is the offering's mistake."""
    try:
        return offering.answer(ruled, asked, TODAY)
    except (Refusal, Fault, NotUnderstood):
        return None


def figures_in(text: str) -> set[str]:
    """Every sum that is printed: digits with their separators."""
    return set(re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text))


@every_offering
def test_its_folder_says_what_it_is_and_how_far_it_is(offering: Offering) -> None:
    folder = FOLDER / offering.name
    readme = (folder / "README.md").read_text()
    assert readme.startswith(f"# {offering.title}")
    for projection in offering.projections:
        assert projection.value in readme
    for example in offering.examples:
        assert example in readme
    scale = tomllib.loads((folder / "scale.toml").read_text())
    assert set(scale) == set(CHECKS)
    for check in scale.values():
        assert check["status"] in ("done", "exempt")
        assert check["status"] == "done" or check["why"]


@every_offering
def test_it_says_its_name_purpose_and_projections_in_closed_words(offering: Offering) -> None:
    assert offering.name.isidentifier()
    assert isinstance(offering.purpose, Purpose)
    assert offering.title and offering.examples and offering.projections
    assert all(isinstance(each, Projection) for each in offering.projections)
    assert all(each.plain_words for each in offering.projections)


@every_offering
def test_its_own_examples_are_understood_as_it(offering: Offering) -> None:
    cards = [OfferingCard(each.name, each.title, each.examples) for each in OFFERINGS]
    for example in offering.examples:
        understood = KeywordUnderstanding().understand(example, offerings=cards, nicknames=(), today=TODAY)
        assert understood.offering == offering.name


@every_offering
@settings(max_examples=40, deadline=None)
@given(asked=slots, granted=grants)
def test_it_needs_one_of_its_own_projections_and_never_less_than_nothing(offering: Offering, asked: Slots, granted: frozenset[Projection]) -> None:
    try:
        need = offering.needs(asked, granted)
    except (NotUnderstood, Refusal):
        return
    assert need.projection in offering.projections
    assert need.lookback_days >= 0
    suitable = granted & set(offering.projections)
    assert not suitable or need.projection in suitable


@every_offering
@settings(max_examples=60, deadline=None)
@given(ruled=values, asked=slots)
def test_it_answers_or_says_no_whatever_it_is_handed(offering: Offering, ruled: RuledValues, asked: Slots) -> None:
    answer = answer_or_no(offering, ruled, asked)
    if answer is not None:
        assert answer.text and answer.text == answer.text.strip()
        assert 1 <= answer.records <= max(1, len(ruled.balances), len(ruled.transactions))
        for line in answer.lines:
            assert line.label in answer.text
            assert line.value in answer.text
        answer.text.encode()


@every_offering
@settings(max_examples=60, deadline=None)
@given(ruled=values, asked=slots)
def test_it_never_prints_a_sum_that_it_was_not_handed(offering: Offering, ruled: RuledValues, asked: Slots) -> None:
    answer = answer_or_no(offering, ruled, asked)
    if answer is None:
        return
    handed = [each for row in ruled.balances for each in (row.available, row.booked) if each] + [row.amount for row in ruled.transactions]
    allowed = {figure for each in handed for figure in figures_in(in_words(each))}
    allowed |= {figure for row in ruled.transactions for figure in (str(row.on.day), str(row.on.year))}
    if asked.amount is not None and asked.amount.is_finite():
        allowed |= {f"{asked.amount:,.{places}f}" for places in (0, 2, 3)}
    allowed |= {str(len(ruled.transactions)), "30"}
    assert figures_in(answer.text) <= allowed


@every_offering
@settings(max_examples=25, deadline=None)
@given(ruled=values, asked=slots)
def test_the_same_values_always_give_the_same_answer(offering: Offering, ruled: RuledValues, asked: Slots) -> None:
    assert answer_or_no(offering, ruled, asked) == answer_or_no(offering, ruled, asked)


@every_offering
def test_where_nothing_came_it_does_not_make_something_up(offering: Offering) -> None:
    nothing = RuledValues((), (), True, NOW)
    assert answer_or_no(offering, nothing, Slots(amount=Decimal(5))) is None


def test_a_name_that_is_no_folder_is_not_loaded() -> None:
    for name in ("nothing_here", "../balance", "balance.evil", "", "os", "__init__"):
        with pytest.raises((ValueError, AttributeError)):
            load_offering(name)
    assert list(load_offerings(("balance",))) == ["balance"]


# Can I afford it: one bit.

AFFORD = load_offering("afford")


def holding(minor: int, *, currency: str = "USD", kind: AccountKind = AccountKind.CHECKING, name: str | None = None) -> RuledBalance:
    return RuledBalance(Money(minor, currency), None, name, kind)


def ruled(*balances: RuledBalance, partial: bool = False) -> RuledValues:
    return RuledValues(balances, (), partial, NOW)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10**9), st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_afford_releases_one_bit_whatever_the_balance(price: int, own: int, other: int) -> None:
    asked = Slots(amount=Decimal(price).scaleb(-2))
    first, second = (AFFORD.answer(ruled(holding(each)), asked, TODAY) for each in (own, other))
    assert (first == second) == ((own >= price) == (other >= price))
    assert first.lines == ()
    assert first.text.startswith("Yes" if own >= price else "No")


def test_afford_counts_own_money_only() -> None:
    credit = holding(10**6, kind=AccountKind.CREDIT_CARD)
    assert AFFORD.answer(ruled(holding(100), credit), Slots(amount=Decimal(2)), TODAY).text.startswith("No")
    with pytest.raises(NoSuitableAccount):
        AFFORD.answer(ruled(credit), Slots(amount=Decimal(2)), TODAY)
    assert AFFORD.answer(ruled(holding(100), holding(150)), Slots(amount=Decimal("2.50")), TODAY).text.startswith("Yes")
    assert AFFORD.answer(ruled(holding(100), holding(10**6, kind=AccountKind.SAVINGS)), Slots(amount=Decimal(2)), TODAY).text.startswith("No")


def test_afford_never_adds_two_currencies() -> None:
    mixed = ruled(holding(1_000), holding(1_000, currency="EUR"))
    with pytest.raises(NoSuitableAccount):
        AFFORD.answer(mixed, Slots(amount=Decimal(5)), TODAY)
    assert AFFORD.answer(mixed, Slots(amount=Decimal(15), currency="EUR"), TODAY).text == "No, you cannot afford €15.00 right now."


def test_afford_says_no_to_sums_that_are_none() -> None:
    for amount in (None, Decimal(0), Decimal(-1), Decimal("NaN"), Decimal("Infinity")):
        with pytest.raises(NotUnderstood):
            AFFORD.needs(Slots(amount=amount), frozenset(Projection))
        with pytest.raises(NotUnderstood):
            AFFORD.answer(ruled(holding(100)), Slots(amount=amount), TODAY)
    for amount in (Decimal("0.001"), Decimal("1E+30"), Decimal("1.00000000000000000000000000000001")):
        with pytest.raises(NoSuitableAccount):
            AFFORD.answer(ruled(holding(100)), Slots(amount=amount), TODAY)


def test_afford_does_not_guess_over_a_missing_balance() -> None:
    for partly in (ruled(holding(10**6), partial=True), ruled(holding(10**6), RuledBalance(kind=AccountKind.CHECKING))):
        with pytest.raises(BankUncertain):
            AFFORD.answer(partly, Slots(amount=Decimal(1)), TODAY)


def test_the_same_yes_is_the_same_release_for_a_rich_and_a_poor_customer(tmp_path: Path) -> None:
    texts = set()
    for minor in (64_000, 9_999_999):
        town = build_town(tmp_path)
        town.bank.statement = msgspec.structs.replace(STATEMENT, balances=(balance(CHECKING_ACCOUNT, minor), balance(SAVINGS_ACCOUNT, 0)))
        outcome = asyncio.run(town.ask("can I pay 640 rent on Friday?"))
        assert isinstance(outcome, Released)
        texts.add((outcome.release.answer.text, outcome.release.answer.lines, outcome.release.answer.records))
    assert len(texts) == 1


# Balance: the sign rule in words.

BALANCE = load_offering("balance")
CREDIT, LOAN, CHECKING = AccountKind.CREDIT_CARD, AccountKind.LOAN, AccountKind.CHECKING
SPOKEN = [
    (CHECKING, 214_387, 220_011, "$2,143.87 available ($2,200.11 booked)"),
    (CHECKING, 214_387, 214_387, "$2,143.87 available"),
    (CHECKING, -500, -500, "-$5.00 available"),
    (CHECKING, None, 700, "$7.00 booked"),
    (CREDIT, 88_000, -12_000, "$120.00 owed, $880.00 of credit left"),
    (CREDIT, None, -12_000, "$120.00 owed"),
    (CREDIT, 100_000, 0, "nothing owed, $1,000.00 of credit left"),
    (CREDIT, 103_000, 3_000, "$30.00 in your favour, $1,030.00 of credit left"),
    (LOAN, 5, -1_234_567, "$12,345.67 owed"),
]


@pytest.mark.parametrize(("kind", "available", "booked", "words"), SPOKEN)
def test_a_balance_is_said_so_that_nobody_needs_the_sign_rule(kind: AccountKind, available: int | None, booked: int, words: str) -> None:
    each = RuledBalance(None if available is None else Money(available, "USD"), Money(booked, "USD"), "Mine", kind)
    assert BALANCE.answer(ruled(each), Slots(), TODAY).text == f"Mine: {words}."


def test_several_currencies_are_listed_and_never_added() -> None:
    answer = BALANCE.answer(
        ruled(holding(100, name="A"), holding(200, currency="EUR", name="B"), holding(300, currency="JPY", name="C")), Slots(), TODAY
    )
    assert answer.text == "Your balances: A $1.00 available; B €2.00 available; C ¥300 available."
    assert answer.records == 3


def test_a_partial_statement_says_that_something_is_missing() -> None:
    assert BALANCE.answer(ruled(holding(100, name="A"), partial=True), Slots(), TODAY).text.endswith("could not be read just now.")
    rows = RuledValues((), (RuledTransaction(Money(-100, "USD"), TODAY, TransactionState.BOOKED),), True, NOW)
    assert "there may be more" in load_offering("transactions").answer(rows, Slots(), TODAY).text


# Transactions: signs, days and the least that was granted.

TRANSACTIONS = load_offering("transactions")


def test_rows_are_told_with_sign_day_and_state() -> None:
    rows = (
        RuledTransaction(Money(-550, "USD"), TODAY, TransactionState.PENDING, "Café"),
        RuledTransaction(Money(320_055, "USD"), TODAY - timedelta(days=1), TransactionState.BOOKED, "Zephyr"),
        RuledTransaction(Money(-1, "USD"), date(2025, 3, 1), TransactionState.BOOKED),
    )
    answer = TRANSACTIONS.answer(RuledValues((), rows, False, NOW), Slots(), TODAY)
    assert answer.text == "Your latest 3 transactions: Today, Café (pending): -$5.50; Yesterday, Zephyr: +$3,200.55; 1 Mar 2025: -$0.01."


def test_without_merchants_granted_none_is_asked_for() -> None:
    assert TRANSACTIONS.needs(Slots(), frozenset({Projection.TRANSACTIONS_AMOUNT})).projection is Projection.TRANSACTIONS_AMOUNT
    assert TRANSACTIONS.needs(Slots(), frozenset(Projection)).projection is Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT
