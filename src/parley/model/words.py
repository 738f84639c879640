"""The nouns of consent: purpose, field, projection, delivery, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Purpose(StrEnum):
    """Why data may leave: a closed list. There is no word for advertising, selling, profiling or training, so nobody can grant one."""

    ANSWER_CUSTOMER = "answer_customer"
    SPENDING_INSIGHT = "spending_insight"
    WARN_OF_FRAUD = "warn_of_fraud"
    MAKE_PAYMENT = "make_payment"
    CUSTOMER_CARE = "customer_care"

    @property
    def dpv(self) -> str:
        """The term of the W3C Data Privacy Vocabulary (DPV 2.3, purposes) that this purpose maps to, as the log spells it."""
        return DPV_TERMS[self]


DPV_TERMS: Mapping[Purpose, str] = MappingProxyType(
    {
        Purpose.ANSWER_CUSTOMER: "dpv:RequestedServiceProvision",
        Purpose.SPENDING_INSIGHT: "parley:SpendingInsight",
        Purpose.WARN_OF_FRAUD: "dpv:FraudPreventionAndDetection",
        Purpose.MAKE_PAYMENT: "dpv:PaymentManagement",
        Purpose.CUSTOMER_CARE: "dpv:CustomerCare",
    }
)


class Field(StrEnum):
    """One thing that a bank may be asked for. Account numbers, addresses and memos have no word here."""

    ACCOUNT_NAME = "account_name"
    BALANCE_AVAILABLE = "balance_available"
    BALANCE_BOOKED = "balance_booked"
    TRANSACTION_DATE = "transaction_date"
    TRANSACTION_AMOUNT = "transaction_amount"
    TRANSACTION_MERCHANT = "transaction_merchant"
    TRANSACTION_STATE = "transaction_state"


class Projection(StrEnum):
    """A named, fixed set of fields with a transform: the unit that is consented to, ruled on and logged."""

    AFFORD_YESNO = "afford.yesno"
    BALANCE_BAND = "balance.band"
    BALANCE_AVAILABLE = "balance.available"
    TRANSACTIONS_AMOUNT = "transactions.amount"
    TRANSACTIONS_MERCHANT_AND_AMOUNT = "transactions.merchant_and_amount"

    @property
    def fields(self) -> frozenset[Field]:
        """What the bank is asked for, and nothing else."""
        return PROJECTION_FIELDS[self]

    @property
    def plain_words(self) -> str:
        """How the consent page and the receipts call it."""
        return PROJECTION_WORDS[self]

    @property
    def tells_figures(self) -> bool:
        """Whether a figure of the bank's is told as it is, so that rounding or masking it makes sense."""
        return self not in (Projection.AFFORD_YESNO, Projection.BALANCE_BAND)

    @property
    def reads_transactions(self) -> bool:
        return Field.TRANSACTION_AMOUNT in self.fields


PROJECTION_FIELDS: Mapping[Projection, frozenset[Field]] = MappingProxyType(
    {
        Projection.AFFORD_YESNO: frozenset({Field.BALANCE_AVAILABLE}),
        Projection.BALANCE_BAND: frozenset({Field.ACCOUNT_NAME, Field.BALANCE_AVAILABLE, Field.BALANCE_BOOKED}),
        Projection.BALANCE_AVAILABLE: frozenset({Field.ACCOUNT_NAME, Field.BALANCE_AVAILABLE, Field.BALANCE_BOOKED}),
        Projection.TRANSACTIONS_AMOUNT: frozenset({Field.TRANSACTION_DATE, Field.TRANSACTION_AMOUNT, Field.TRANSACTION_STATE}),
        Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT: frozenset(
            {Field.TRANSACTION_DATE, Field.TRANSACTION_AMOUNT, Field.TRANSACTION_STATE, Field.TRANSACTION_MERCHANT}
        ),
    }
)

PROJECTION_WORDS: Mapping[Projection, str] = MappingProxyType(
    {
        Projection.AFFORD_YESNO: "whether you can afford a sum: yes or no, never the balance",
        Projection.BALANCE_BAND: "roughly how much is in each chosen account, between two round sums, with the account's name",
        Projection.BALANCE_AVAILABLE: "the balance of each chosen account, with the account's name",
        Projection.TRANSACTIONS_AMOUNT: "recent transactions: date and amount, without merchants",
        Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT: "recent transactions: date, merchant and amount",
    }
)


class Delivery(StrEnum):
    """How an answer travels. Ordered from the most private to the most open, see `at_least_as_private`."""

    SEALED = "sealed"
    MASKED = "masked"
    INLINE = "inline"

    def at_least_as_private(self, other: Delivery) -> bool:
        order = tuple(Delivery)
        return order.index(self) <= order.index(other)


class Provenance(StrEnum):
    """Whether a transaction was made through the platform that asks. What was not is off-platform."""

    ON_PLATFORM = "on_platform"
    ANY = "any"


class Assurance(StrEnum):
    """How sure the house is of who asks, at this moment. A rule may ask for more than a linked conversation."""

    LINKED = "linked"
    """The conversation was linked to the customer at her bank, some time ago."""
    CONFIRMED = "confirmed"
    """She has just confirmed with strong customer authentication."""
