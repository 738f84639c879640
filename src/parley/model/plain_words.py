"""What the nouns of consent are called when they are said to a customer: one wording for the consent page, her own page and the chat."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from parley.model.grants import GRANT_LIFETIME_MAX
from parley.model.ledger import AccountKind, LinkedAccount
from parley.model.strangers import clean_name
from parley.model.words import Delivery, Provenance, Purpose

ACCOUNT_NAME_CHARS_MAX = 40

PURPOSE_WORDS: Mapping[Purpose, str] = MappingProxyType(
    {
        Purpose.ANSWER_CUSTOMER: "to answer the questions that you ask about your own accounts",
        Purpose.SPENDING_INSIGHT: "to show you where your money goes when you ask",
        Purpose.WARN_OF_FRAUD: "to warn you of fraud on your accounts",
        Purpose.MAKE_PAYMENT: "to prepare a payment that you confirm at your bank",
        Purpose.CUSTOMER_CARE: "to let a person at your bank help you",
    }
)

DELIVERY_WORDS: Mapping[Delivery, str] = MappingProxyType(
    {
        Delivery.SEALED: "Answers are sealed for your own device. The platform only sees that there is one.",
        Delivery.MASKED: "Answers come in the chat with figures partly hidden. The platform can read what is shown.",
        Delivery.INLINE: "Answers come in the chat in plain words. Whoever runs the chat platform can read them.",
    }
)

PROVENANCE_WORDS: Mapping[Provenance, str] = MappingProxyType(
    {
        Provenance.ON_PLATFORM: "Only transactions that were made through this platform are shown.",
        Provenance.ANY: "Transactions may be shown wherever they were made.",
    }
)

KIND_WORDS: Mapping[AccountKind, str] = MappingProxyType(
    {
        AccountKind.CHECKING: "Checking account",
        AccountKind.SAVINGS: "Savings account",
        AccountKind.CREDIT_CARD: "Credit card",
        AccountKind.LOAN: "Loan",
        AccountKind.INVESTMENT: "Investment account",
        AccountKind.OTHER: "Account",
    }
)

CHANNEL_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "web": "web chat",
        "mcp": "AI assistant",
        "api": "app",
        "messenger": "Messenger",
        "whatsapp": "WhatsApp",
        "alexa": "Alexa",
        "dialogflow": "Google",
        "matrix": "Matrix",
    }
)


def days_words(days: int) -> str:
    if days == GRANT_LIFETIME_MAX.days:
        return "1 year"
    return "1 day" if days == 1 else f"{days} days"


def account_words(account: LinkedAccount) -> tuple[str, str]:
    """(name, note) of an account. The name came from the bank, and through it from anyone: it is cleaned and cut."""
    kind = KIND_WORDS[account.kind]
    name = clean_name(account.name)[:ACCOUNT_NAME_CHARS_MAX].strip() or kind
    mask = "".join(character for character in account.mask if character.isascii() and character.isalnum())[-4:]
    return name, f"{kind}, ending in {mask}" if mask else kind


def capitalised(words: str) -> str:
    return words[:1].upper() + words[1:]
