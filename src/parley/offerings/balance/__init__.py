"""What's my balance? One account, several, or all that were granted."""

from __future__ import annotations

from datetime import date

from parley.model.extensions import Need
from parley.model.ledger import AccountKind
from parley.model.money import Money, in_words
from parley.model.refusals import BankUncertain
from parley.model.stages import Answer, AnswerLine, Band, RuledBalance, RuledValues, Slots
from parley.model.words import Projection, Purpose


class Balance:
    name = "balance"
    title = "Account balance"
    examples = ("What's my balance?", "How much is in my savings?")
    purpose = Purpose.ANSWER_CUSTOMER
    projections = (Projection.BALANCE_BAND, Projection.BALANCE_AVAILABLE)

    def needs(self, slots: Slots, granted: frozenset[Projection]) -> Need:
        """The balance, since that is what was asked; only a band where the customer granted no more."""
        banded = Projection.BALANCE_BAND in granted and Projection.BALANCE_AVAILABLE not in granted
        return Need(Projection.BALANCE_BAND if banded else Projection.BALANCE_AVAILABLE)

    def answer(self, values: RuledValues, slots: Slots, today: date) -> Answer:
        """A sentence for one account, a short list for several. Raises BankUncertain where the bank told no balance at all."""
        if not values.balances:
            raise BankUncertain("no balance came")
        lines = tuple(AnswerLine(each.name or "Account", figure_of(each)) for each in values.balances)
        missing = " One account could not be read just now." if values.partial else ""
        if len(lines) == 1:
            return Answer(f"{lines[0].label}: {lines[0].value}.{missing}", lines, 1, "Your balance:" + missing)
        text = "Your balances: " + "; ".join(f"{line.label} {line.value}" for line in lines) + f".{missing}"
        return Answer(text, lines, len(lines), "Your balances:" + missing)


def figure_of(balance: RuledBalance) -> str:
    """What is there to spend; for a debt what is owed, in words, so that nobody has to know the sign rule."""
    if balance.band is not None:
        return f"{band_in_words(balance.band)} {'owed' if balance.kind.is_debt else 'available'}"
    if balance.kind.is_debt:
        return debt_in_words(balance)
    if balance.available is None:
        return f"{in_words(known(balance.booked))} booked"
    if balance.booked is not None and balance.booked != balance.available:
        return f"{in_words(balance.available)} available ({in_words(balance.booked)} booked)"
    return f"{in_words(balance.available)} available"


def band_in_words(band: Band) -> str:
    """`between $100.00 and $500.00`: the lower sum may be reached, the higher one is not."""
    if band.low is None:
        return f"less than {in_words(known(band.high))}"
    return f"{in_words(band.low)} or more" if band.high is None else f"between {in_words(band.low)} and {in_words(band.high)}"


def debt_in_words(balance: RuledBalance) -> str:
    booked = known(balance.booked)
    owed = f"{in_words(-booked)} owed" if booked.minor < 0 else f"{in_words(booked)} in your favour" if booked.minor else "nothing owed"
    if balance.available is None or balance.kind is AccountKind.LOAN:
        return owed
    return f"{owed}, {in_words(balance.available)} of credit left"


def known(money: Money | None) -> Money:
    if money is None:
        raise BankUncertain("the bank told no balance for an account")
    return money


OFFERING = Balance()
