"""Money: integer minor units and a currency. Never a float."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

import msgspec

MINOR_UNITS_MAX = 10**15
"""No account of ours holds more; a larger figure is a fault at the source, not a fortune."""

DIGITS_MAX = 40
"""Written digits of one amount; no bank needs more, and a longer one only costs time."""

_CENTS = ["USD", "EUR", "GBP", "CHF", "CAD", "AUD", "NZD", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "MXN", "INR", "BRL", "CNY", "SGD", "HKD", "ZAR"]
_WHOLE = ["JPY", "KRW", "CLP", "ISK", "VND"]
_THOUSANDTHS = ["BHD", "KWD", "JOD", "OMR", "TND"]
EXPONENTS: Mapping[str, int] = MappingProxyType(dict.fromkeys(_CENTS, 2) | dict.fromkeys(_WHOLE, 0) | dict.fromkeys(_THOUSANDTHS, 3))
"""Digits behind the point for each currency that Parley knows (ISO 4217). A currency that is not here is uncertain and refused."""


class UncertainMoney(ValueError):
    """A figure whose amount or currency cannot be told exactly. The message never holds the figure."""


class Money(msgspec.Struct, frozen=True, gc=False, order=False):
    """`minor` signed integer minor units (cents for USD, yen for JPY) of `currency` (ISO 4217 code).

    `masked`: every digit but the first was taken away, and `in_words` says so; such a sum is of no use for reckoning.
    """

    minor: int
    currency: str
    masked: bool = False

    def __repr__(self) -> str:
        return f"Money(*** {self.currency})"

    def __neg__(self) -> Money:
        return Money(-self.minor, self.currency, self.masked)

    def __add__(self, other: Money) -> Money:
        if self.currency != other.currency:
            raise UncertainMoney("two currencies cannot be added")
        if self.masked or other.masked:
            raise UncertainMoney("a masked sum cannot be reckoned with")
        return Money(self.minor + other.minor, self.currency)

    @property
    def exponent(self) -> int:
        return exponent_of(self.currency)

    def decimal(self) -> Decimal:
        """The same sum as an exact decimal of major units."""
        return Decimal(self.minor).scaleb(-self.exponent)


def exponent_of(currency: str) -> int:
    """Digits behind the point (ISO 4217). Raises UncertainMoney for a currency that is not known here."""
    try:
        return EXPONENTS[currency]
    except KeyError:
        raise UncertainMoney("unknown currency") from None


def money_from_decimal(amount: Decimal, currency: str) -> Money:
    """Exact conversion of major units. Raises UncertainMoney for a fraction of a minor unit, a non-number, or an absurd size."""
    exponent = exponent_of(currency)
    if not amount.is_finite():
        raise UncertainMoney("not a finite amount")
    if not amount:
        return Money(0, currency)
    if amount.adjusted() > 18:
        raise UncertainMoney("an amount beyond any account")
    return Money(minor_units(amount, exponent), currency)


def minor_units(amount: Decimal, exponent: int) -> int:
    """Whole-number arithmetic on the digits: the decimal context would round a long fraction away and call it exact."""
    sign, digits, power = amount.as_tuple()
    if len(digits) > DIGITS_MAX or not isinstance(power, int) or amount.adjusted() < -exponent:
        raise UncertainMoney("a fraction of a minor unit")
    shift = power + exponent
    whole = int("".join(map(str, digits)))
    factor: int = 10 ** abs(shift)
    minor, rest = divmod(whole, factor) if shift < 0 else (whole * factor, 0)
    if rest:
        raise UncertainMoney("a fraction of a minor unit")
    if minor > MINOR_UNITS_MAX:
        raise UncertainMoney("an amount beyond any account")
    return -minor if sign else minor


SYMBOLS: Mapping[str, str] = MappingProxyType({"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"})
_FORMS = {code: (SYMBOLS.get(code) or f"{code} ", exponent) for code, exponent in EXPONENTS.items()}


def in_words(money: Money) -> str:
    """The sum as an English reader expects it, exact: `$1,234.50`, `-€3.00`, `¥1,200`, `CHF 12.00`. A minus sign stands in front of everything."""
    minor = money.minor
    form = _FORMS.get(money.currency)
    if form is None:
        raise UncertainMoney("unknown currency")
    symbol, exponent = form
    sign = ""
    if minor < 0:
        sign, minor = "-", -minor
    if money.masked:
        return sign + symbol + veiled(minor, exponent)
    if exponent == 2 and 99 < minor < 100_000:  # Most sums: their own digits with a point between them, without a format made for each.
        digits = str(minor)
        return f"{sign}{symbol}{digits[:-2]}.{digits[-2:]}"
    whole, rest = divmod(minor, 10**exponent)
    return f"{sign}{symbol}{whole:,}.{rest:0{exponent}d}" if exponent else f"{sign}{symbol}{whole:,}"


def veiled(minor: int, exponent: int) -> str:
    """The first digit, and a dot for every other: `2,•••.••`."""
    whole, point, rest = f"{minor // 10**exponent:,}", "." if exponent else "", "•" * exponent
    return whole[0] + "".join("," if sign == "," else "•" for sign in whole[1:]) + point + rest
