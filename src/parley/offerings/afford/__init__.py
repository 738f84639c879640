"""Can I afford N? One bit leaves: yes or no, never the balance."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from parley.model.extensions import Need
from parley.model.ledger import AccountKind
from parley.model.money import Money, UncertainMoney, in_words, money_from_decimal
from parley.model.refusals import BankUncertain, NoSuitableAccount, NotUnderstood
from parley.model.stages import Answer, RuledBalance, RuledValues, Slots
from parley.model.words import Projection, Purpose


class Afford:
    name = "afford"
    title = "Can I afford it? (yes or no)"
    examples = ("Can I afford 640?",)
    purpose = Purpose.ANSWER_CUSTOMER
    projections = (Projection.AFFORD_YESNO,)

    def needs(self, slots: Slots, granted: frozenset[Projection]) -> Need:
        """Raises NotUnderstood where no sum above zero was named: "yes, you can afford nothing" would still tell who is overdrawn."""
        sum_named(slots)
        return Need(Projection.AFFORD_YESNO)

    def answer(self, values: RuledValues, slots: Slots, today: date) -> Answer:
        """Compares the sum with what is available to spend, pending payments already taken off.

        Checking accounts decide; savings only where no checking account was granted; credit never counts as one's own money.
        Raises NoSuitableAccount where nothing in the asked currency was granted, BankUncertain where a balance is missing,
        NotUnderstood where no sum was named.
        """
        accounts = spendable(values.balances)
        if values.partial or any(each.available is None for each in accounts):
            raise BankUncertain("an available balance is missing")
        sums = [each.available for each in accounts if each.available is not None]
        price = price_of(slots, sums)
        own = sum(each.minor for each in sums if each.currency == price.currency)
        word = "Yes" if own >= price.minor else "No"
        return Answer(f"{word}, you {'can' if word == 'Yes' else 'cannot'} afford {in_words(price)} right now.", (), 1)


def sum_named(slots: Slots) -> Decimal:
    amount = slots.amount
    if amount is None or not amount.is_finite() or amount <= 0:
        raise NotUnderstood()
    return amount


def spendable(balances: tuple[RuledBalance, ...]) -> list[RuledBalance]:
    for kind in (AccountKind.CHECKING, AccountKind.SAVINGS):
        chosen = [each for each in balances if each.kind is kind]
        if chosen:
            return chosen
    raise NoSuitableAccount()


def price_of(slots: Slots, sums: list[Money]) -> Money:
    """The sum asked about, in the asked currency, or in the accounts' own where they share one."""
    currencies = {each.currency for each in sums}
    currency = slots.currency or (next(iter(currencies)) if len(currencies) == 1 else None)
    if currency is None or currency not in currencies:
        raise NoSuitableAccount(plain_words="I can only compare with accounts in the same currency. Say for example: can I afford 640 USD?")
    try:
        return money_from_decimal(sum_named(slots), currency)
    except UncertainMoney:
        raise NoSuitableAccount(plain_words="I can't work with that sum. Say for example: can I afford 640?") from None


OFFERING = Afford()
