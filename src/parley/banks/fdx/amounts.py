"""A figure as it stands on the wire, turned into minor units without ever being a float."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec

from parley.model.money import MINOR_UNITS_MAX, Money, UncertainMoney, exponent_of, money_from_decimal

NOTHING = msgspec.Raw(b"")
"""Where a figure is missing from the answer."""

CHARS_MAX = 28
"""No more digits than decimal arithmetic keeps exactly, so that nothing is rounded on the way to a check."""

_QUOTE = ord('"')


def is_missing(raw: msgspec.Raw) -> bool:
    """Absent, null, or an empty string: some banks send `""` for a figure that they don't have."""
    return bytes(raw) in (b"", b"null", b'""')


def is_text(raw: msgspec.Raw) -> bool:
    """Whether the figure came as a string instead of a number."""
    return bytes(raw)[:1] == b'"'


def read_money(raw: msgspec.Raw, currency: str) -> Money:
    """Exact minor units of a JSON number or a string that holds one. Raises UncertainMoney for anything else; the message holds no figure."""
    return Money(read_minor(bytes(raw), currency), currency)


def read_minor(figure: bytes, currency: str) -> int:
    """The same from the raw text, as a bare number of minor units."""
    if figure[-3:-2] == b"." and len(figure) < 18 and figure[0] != _QUOTE and exponent_of(currency) == 2:
        # The common case, without Decimal: JSON's grammar was checked, so only a sign, digits and one point can stand here (an exponent in
        # front of the point would not be JSON).
        minor = int(figure.replace(b".", b""))
        if -MINOR_UNITS_MAX <= minor <= MINOR_UNITS_MAX:
            return minor
        raise UncertainMoney("an amount beyond any account")
    return money_from_decimal(_decimal(figure), currency).minor


def _decimal(figure: bytes) -> Decimal:
    if figure[:1] == b'"':
        figure = figure[1:-1].strip()
    if not 0 < len(figure) <= CHARS_MAX or figure.strip(b"0123456789+-.eE"):
        raise UncertainMoney("not a number")
    try:
        return Decimal(figure.decode("ascii"))
    except (InvalidOperation, UnicodeDecodeError):
        raise UncertainMoney("not a number") from None
