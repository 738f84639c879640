"""Turns integer minor units into the exact decimal numbers that go on the wire; no float ever touches an amount."""

from decimal import Decimal

EXPONENTS = {"USD": 2, "EUR": 2, "JPY": 0, "GBP": 2, "CAD": 2}
"""Digits after the decimal point, by ISO 4217 code."""


def wire_number(minor: int, currency: str) -> Decimal:
    """The decimal for an amount in minor units: (241377, "USD") is 2413.77 and (1500, "JPY") is 1500. Raises KeyError on an unknown currency."""
    return Decimal(minor).scaleb(-EXPONENTS[currency])
