"""Which way money went, in the customer's view. Three conventions are about; the order in which they are believed is fixed here.

1. `debitCreditMemo`: DEBIT leaves, CREDIT arrives, whatever sign the figure carries.
2. the type of the row, where that type only ever goes one way: flagged.
3. the figure's own sign: positive raises an asset and lowers a debt, which is "arrives" in both: flagged.

A witness that contradicts the answer is flagged. The whole reading is refused where the contradictions outnumber the agreements (then it is
the memo that means something else at this bank), and where rule 3 would have to believe a positive figure although nothing in the same answer
shows that this bank's figures carry signs.
"""

from __future__ import annotations

from typing import TypeAlias

from parley.model.ledger import AccountKind, Quality
from parley.model.refusals import BankUncertain

_OUT_EVERYWHERE = frozenset({"ATMWITHDRAWAL", "BILLPAYMENT", "CHECK", "FEE", "POSDEBIT", "WITHDRAWAL", "DIRECTDEBIT", "PURCHASE", "CASHADVANCE"})
_IN_ASSET = frozenset({"ATMDEPOSIT", "DEPOSIT", "DIRECTDEPOSIT", "DIVIDEND", "INTEREST", "POSCREDIT"})
_OUT_DEBT = (_OUT_EVERYWHERE - {"BILLPAYMENT", "DIRECTDEBIT"}) | {"INTEREST"}
_IN_DEBT = frozenset({"PAYMENT"})
_DEBTS = frozenset({AccountKind.CREDIT_CARD, AccountKind.LOAN})
_ASSETS = frozenset({AccountKind.CHECKING, AccountKind.SAVINGS})

_PLAIN: frozenset[Quality] = frozenset()
_FROM_TYPE = frozenset({Quality.SIGN_FROM_TYPE})
_FROM_TYPE_DISAGREES = _FROM_TYPE | {Quality.SIGN_DISAGREES}
_FROM_BALANCE_TYPE = frozenset({Quality.SIGN_FROM_BALANCE_TYPE})
_DISAGREES = frozenset({Quality.SIGN_DISAGREES})


Signed: TypeAlias = tuple[int, frozenset[Quality]]
"""Minor units in the customer's view, and what was noticed on the way."""


class SignRules:
    """Reads the signs of one account's rows, and remembers which convention they show. Ask `settle` after the last row."""

    def __init__(self, kind: AccountKind) -> None:
        debt = kind in _DEBTS
        self._sides_known = debt or kind in _ASSETS
        self._leaves = _OUT_DEBT if debt else _OUT_EVERYWHERE
        self._arrives = _IN_DEBT if debt else _IN_ASSET
        self._refund_type = "PURCHASE" if debt else None
        self._agreements = 0
        self._contradictions = 0
        self._absolute_seen = False
        self._negative_seen = False
        self._positive_believed = False

    def signed(self, minor: int, memo: str | None, kind: str | None) -> Signed:
        """`minor` as the customer sees it. Raises BankUncertain where nothing tells the direction."""
        if memo == "DEBIT":
            if minor > 0:
                self._absolute_seen = True
                minor = -minor
            if kind in self._leaves:  # Most rows, without a further call.
                self._agreements += 1
                return minor, _PLAIN
            return self._by_memo(minor, kind, self._leaves, self._arrives, False)
        if memo == "CREDIT":
            return self._by_memo(abs(minor), kind, self._arrives, self._leaves, minor < 0)
        if memo is not None and memo != "MEMO":
            raise BankUncertain("a memo that is neither DEBIT, CREDIT nor MEMO")
        self._negative_seen = self._negative_seen or minor < 0
        if kind in self._leaves:
            self._absolute_seen = self._absolute_seen or minor > 0
            return -abs(minor), _FROM_TYPE_DISAGREES if minor > 0 else _FROM_TYPE
        if kind in self._arrives:
            return abs(minor), _FROM_TYPE_DISAGREES if minor < 0 else _FROM_TYPE
        return self._by_balance_type(minor)

    def settle(self) -> None:
        """Raises BankUncertain when the rows as a whole show that what was believed of each cannot be."""
        if self._contradictions > self._agreements:
            raise BankUncertain("memos and types contradict each other")
        if self._positive_believed and (self._absolute_seen or not self._negative_seen):
            raise BankUncertain("rows without direction, and no sign that figures carry one")

    def _by_memo(self, minor: int, kind: str | None, agreeing: frozenset[str], contradicting: frozenset[str], sign_disagrees: bool) -> Signed:
        """A refund on a card is a purchase with CREDIT, at some banks a negative one: flagged, but not held against the bank."""
        if kind in agreeing:
            self._agreements += 1
        elif kind in contradicting:
            self._contradictions += kind != self._refund_type
            return minor, _DISAGREES
        return minor, _DISAGREES if sign_disagrees else _PLAIN

    def _by_balance_type(self, minor: int) -> Signed:
        if not self._sides_known and minor:
            raise BankUncertain("no direction, and neither asset nor debt")
        self._positive_believed = self._positive_believed or minor > 0
        return minor, _FROM_BALANCE_TYPE
