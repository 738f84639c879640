"""Make figures say less, where a ruling demands it: in steps, behind a mask, or only between two round sums."""

from __future__ import annotations

from collections.abc import Sequence

from parley.model.money import Money, exponent_of
from parley.model.refusals import BankUncertain
from parley.model.stages import Answer, Band, RuledBalance, Ruling
from parley.model.words import Delivery, Projection, Provenance

BANDS_DEFAULT = (0, 100, 500, 1_000, 5_000, 10_000)
"""Edges in major units, where no rule names any."""


def figure(money: Money, ruling: Ruling) -> Money:
    """The figure as it may be told. What is rounded off or masked is gone from the value itself, not only from how it is written."""
    if not ruling.permission.request.projection.tells_figures:
        return money
    if ruling.rounding:
        money = rounded(money, ruling.rounding)
    return masked(money) if ruling.delivery is Delivery.MASKED else money


def rounded(money: Money, step: int) -> Money:
    """Towards zero, in steps of so many major units: a balance is never told as more than it is."""
    size = step * 10 ** exponent_of(money.currency)
    minor = abs(money.minor) // size * size
    return Money(-minor if money.minor < 0 else minor, money.currency)


def masked(money: Money) -> Money:
    """The first digit of the whole units and zeros behind it."""
    unit: int = 10 ** exponent_of(money.currency)
    whole = str(abs(money.minor) // unit)
    minor = int(whole[0]) * 10 ** (len(whole) - 1) * unit
    return Money(-minor if money.minor < 0 else minor, money.currency, masked=True)


def banded(balance: RuledBalance, ruling: Ruling) -> RuledBalance:
    """The balance with a band in place of its figures; of a debt, of what is owed. Raises BankUncertain where the bank told none."""
    if ruling.permission.request.projection is not Projection.BALANCE_BAND:
        return balance
    held = balance.booked if balance.kind.is_debt else balance.available or balance.booked
    if held is None:
        raise BankUncertain("no figure to band")
    minor = -held.minor if balance.kind.is_debt else held.minor
    return RuledBalance(name=balance.name, kind=balance.kind, band=band_of(minor, held.currency, ruling.bands or BANDS_DEFAULT))


def band_of(minor: int, currency: str, edges: Sequence[int]) -> Band:
    unit = 10 ** exponent_of(currency)
    below = [edge for edge in edges if edge * unit <= minor]
    above = [edge for edge in edges if edge * unit > minor]
    return Band(Money(below[-1] * unit, currency) if below else None, Money(above[0] * unit, currency) if above else None)


def withholds(ruling: Ruling) -> bool:
    """Whether rows of some kind stay back by rule, whatever rows there are."""
    request = ruling.permission.request
    return request.projection.reads_transactions and (ruling.provenance is not Provenance.ANY or ruling.delay_days > 0)


def annotated(answer: Answer, ruling: Ruling) -> Answer:
    """The answer with a sentence for everything that was held back, so that nobody takes the part for the whole."""
    said = " ".join(notes(ruling))
    if not said:
        return answer
    heading = f"{answer.heading} {said}" if answer.heading else answer.heading
    return Answer(f"{answer.text} {said}", answer.lines, answer.records, heading)


def notes(ruling: Ruling) -> list[str]:
    projection = ruling.permission.request.projection
    said = []
    if projection.reads_transactions and ruling.provenance is not Provenance.ANY:
        said.append("Only transactions made through this chat are shown here.")
    if projection.reads_transactions and ruling.delay_days:
        said.append(
            f"Transactions of the last {ruling.delay_days} days are not shown here." if ruling.delay_days > 1 else "Today's are not shown here."
        )
    if projection.tells_figures and ruling.rounding:
        said.append(f"Sums are rounded down to steps of {ruling.rounding:,}.")
    if projection.tells_figures and ruling.delivery is Delivery.MASKED:
        said.append("Only the first digit of each sum is shown here.")
    return said
