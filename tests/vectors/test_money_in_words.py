"""Money against Babel's en_US and against the decimal arithmetic of the standard library."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from babel.numbers import format_currency, get_currency_precision
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parley.model.money import EXPONENTS, MINOR_UNITS_MAX, SYMBOLS, Money, UncertainMoney, exponent_of, in_words, money_from_decimal

LOCAL_SYMBOLS = frozenset(EXPONENTS) - SYMBOLS.keys()
"""Babel writes CA$ or A$ where we write the code: a code cannot be taken for another country's dollar."""
any_minor = st.integers(-MINOR_UNITS_MAX, MINOR_UNITS_MAX)


@settings(max_examples=100, deadline=None)
@given(any_minor, st.sampled_from(["USD", "EUR", "GBP", "JPY"]))
@example(-1, "USD")
@example(0, "JPY")
@example(-100_000, "EUR")
@example(99, "USD")
@example(100, "GBP")
@example(-12_305, "USD")
@example(99_999, "EUR")
def test_symbols_and_figures_are_those_of_babel(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    assert in_words(money) == format_currency(money.decimal(), currency, locale="en_US")


@settings(max_examples=100, deadline=None)
@given(any_minor, st.sampled_from(sorted(LOCAL_SYMBOLS)))
@example(123_450, "CHF")
@example(1_234_567, "KWD")
@example(-5, "CAD")
def test_other_currencies_are_babels_figures_behind_their_code(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    pattern = "¤¤ #,##0." + "0" * money.exponent if money.exponent else "¤¤ #,##0"
    assert in_words(money) == format_currency(money.decimal(), currency, pattern, locale="en_US", currency_digits=False)


@pytest.mark.parametrize("currency", sorted(EXPONENTS))
def test_digits_behind_the_point_are_those_of_iso_4217(currency: str) -> None:
    assert get_currency_precision(currency) == exponent_of(currency)


@settings(max_examples=80, deadline=None)
@given(any_minor, st.sampled_from(sorted(EXPONENTS)))
def test_minor_units_survive_the_way_through_decimal(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    assert money_from_decimal(money.decimal(), currency) == money


@settings(max_examples=150, deadline=None)
@given(st.decimals(), st.sampled_from(["USD", "JPY", "KWD"]))
@example(Decimal("1.00000000000000000000000000000001"), "USD")
@example(Decimal("0E-999999"), "USD")
@example(Decimal("0E+999999"), "USD")
@example(Decimal("1E-999999"), "USD")
@example(Decimal("9E+999999"), "USD")
@example(Decimal("1E+3"), "JPY")
@example(Decimal("-0.005"), "USD")
@example(Decimal("10000000000000.001"), "USD")
@example(Decimal("NaN"), "USD")
@example(Decimal("sNaN"), "USD")
@example(Decimal("-Infinity"), "USD")
def test_a_decimal_is_taken_exactly_or_not_at_all(amount: Decimal, currency: str) -> None:
    try:
        money = money_from_decimal(amount, currency)
    except UncertainMoney as error:
        assert not any(sign.isdigit() for sign in str(error))
        return
    assert abs(money.minor) <= MINOR_UNITS_MAX
    with localcontext() as context:
        context.prec = 100
        assert Decimal(money.minor).scaleb(-money.exponent) == amount


@pytest.mark.parametrize("figure", ["0.001", "1000000000000001", "1E+14", "0.0000000000000000000000000000001", "NaN", "Infinity"])
def test_what_is_no_exact_sum_of_dollars_is_uncertain(figure: str) -> None:
    with pytest.raises(UncertainMoney):
        money_from_decimal(Decimal(figure), "USD")


@pytest.mark.parametrize("currency", ["XXX", "XAU", "usd", "US", "", "USD ", "\u0405EK"])
def test_a_currency_that_is_not_known_is_uncertain(currency: str) -> None:
    with pytest.raises(UncertainMoney):
        in_words(Money(1, currency))
    with pytest.raises(UncertainMoney):
        money_from_decimal(Decimal(1), currency)


def test_two_currencies_are_not_added_and_nothing_is_printed() -> None:
    with pytest.raises(UncertainMoney) as caught:
        Money(123, "USD") + Money(456, "EUR")
    assert "123" not in str(caught.value) + repr(Money(123, "USD"))
    assert Money(123, "USD") + Money(-23, "USD") == Money(100, "USD") == -Money(-100, "USD")
