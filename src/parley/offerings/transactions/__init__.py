"""What were my last transactions? Rows, newest first, without merchants where the customer granted no merchants."""

from __future__ import annotations

from datetime import date

from parley.model.extensions import Need
from parley.model.ledger import TransactionState
from parley.model.money import in_words
from parley.model.refusals import BankUncertain
from parley.model.stages import Answer, AnswerLine, RuledTransaction, RuledValues, Slots
from parley.model.words import Projection, Purpose

LOOKBACK_DAYS = 30
ROWS_DEFAULT = 5
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""Not strftime: that would speak whatever language the process was started in."""


class Transactions:
    name = "transactions"
    title = "Recent transactions"
    examples = ("Show my last 5 transactions", "What did I spend recently?")
    purpose = Purpose.ANSWER_CUSTOMER
    projections = (Projection.TRANSACTIONS_AMOUNT, Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT)

    def needs(self, slots: Slots, granted: frozenset[Projection]) -> Need:
        """Rows with merchants, since that is what was asked; only dates and amounts where the customer granted no more."""
        wanted = Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT
        if wanted not in granted and Projection.TRANSACTIONS_AMOUNT in granted:
            wanted = Projection.TRANSACTIONS_AMOUNT
        return Need(wanted, LOOKBACK_DAYS, slots.count or ROWS_DEFAULT)

    def answer(self, values: RuledValues, slots: Slots, today: date) -> Answer:
        """The newest rows, as many as were asked for, at most all that the ruling let through.

        Raises BankUncertain where nothing came and something is missing: "there are none" would be a guess.
        """
        rows = values.transactions
        if values.partial and not rows:
            raise BankUncertain("no row came and something is missing")
        missing = " Something could not be read just now, so there may be more." if values.partial else ""
        if not rows and values.withheld:
            return Answer(f"There is nothing to show here from the last {LOOKBACK_DAYS} days.", (), 1)
        if not rows:
            return Answer(f"There are no transactions in the last {LOOKBACK_DAYS} days.", (), 1)
        days = {on: day_of(on, today) for on in {row.on for row in rows}}
        lines = tuple([line_of(row, days[row.on]) for row in rows])
        heading = "Your latest transaction:" if len(rows) == 1 else f"Your latest {len(rows)} transactions:"
        text = "; ".join([f"{line.label}: {line.value}" for line in lines])
        return Answer(f"{heading} {text}.{missing}", lines, len(rows), heading + missing)


def line_of(row: RuledTransaction, day: str) -> AnswerLine:
    """Money in carries a plus, money out a minus: never a colour alone."""
    amount = row.amount
    words = in_words(amount)
    label = f"{day}, {row.merchant}" if row.merchant else day
    if row.state is TransactionState.PENDING:
        label = f"{label} (pending)"
    return AnswerLine(label, f"+{words}" if amount.minor > 0 else words)


def day_of(on: date, today: date) -> str:
    days = today.toordinal() - on.toordinal()
    if days == 0:
        return "Today"
    if days == 1:
        return "Yesterday"
    year = "" if on.year == today.year else f" {on.year}"
    return f"{on.day} {MONTHS[on.month - 1]}{year}"


OFFERING = Transactions()
