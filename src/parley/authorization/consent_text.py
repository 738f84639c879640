"""The words of the consent page as data: the page shows them, the grant carries their SHA-256, so both are of one text.

Every item of 12 CFR 1033.411(b) has its section: who (b)(1)-(2), what for (b)(3), which data (b)(4), the certification (b)(5), how
long (b)(6), how to stop (b)(7). The law is a design specification here, not a claim that it applies.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType

from parley.model.grants import GRANT_LIFETIME, GRANT_LIFETIME_MAX, Budget
from parley.model.ledger import AccountKind, AccountStatus, LinkedAccount
from parley.model.strangers import clean_name
from parley.model.words import Delivery, Projection, Provenance, Purpose

DAYS_OFFERED: tuple[int, ...] = (1, 30, GRANT_LIFETIME.days, GRANT_LIFETIME_MAX.days)
DAYS_DEFAULT = GRANT_LIFETIME.days
ACCOUNT_NAME_CHARS_MAX = 40
ACCOUNTS_SHOWN_MAX = 50
CONSENT_FORMAT = "parley-consent-text-1"

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


@dataclass(frozen=True, slots=True)
class ConsentOffer:
    """What the bank lets a customer agree to on one platform. Titles are for people, `contact` a way to reach one.

    `needed_for` maps an offering's name to the projection that it cannot do without. `lookback_days` how far back a question may read.
    """

    platform_title: str
    bank_title: str
    purposes: tuple[Purpose, ...]
    projections: tuple[Projection, ...]
    needed_for: Mapping[str, Projection]
    delivery: Delivery
    lookback_days: int
    provenance: Provenance
    budget: Budget
    contact: str
    days_offered: tuple[int, ...] = DAYS_OFFERED
    days_default: int = DAYS_DEFAULT

    def __post_init__(self) -> None:
        if not self.purposes or not self.projections:
            raise ValueError("A consent page needs at least one purpose and one projection.")
        if self.days_default not in self.days_offered or not all(0 < days <= GRANT_LIFETIME_MAX.days for days in self.days_offered):
            raise ValueError("A consent lasts between one day and one year, and the default is one of the durations offered.")


@dataclass(frozen=True, slots=True)
class Section:
    heading: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing to tick. `value` is what the form sends, `label` and `note` what is shown. Never ticked by us."""

    value: str
    label: str = field(repr=False)
    note: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConsentText:
    """The whole text, in the order of the page."""

    title: str
    sections: tuple[Section, ...]
    accounts_heading: str
    accounts_hint: str
    accounts: tuple[Choice, ...]
    projections_heading: str
    projections_hint: str
    projections: tuple[Choice, ...]
    duration_heading: str
    duration_hint: str
    durations: tuple[Choice, ...]
    allow: str = "Allow"
    deny: str = "Don't allow"

    @property
    def canonical(self) -> str:
        """The text as hashed: NFC, one line for each thing shown, in the order shown."""
        return unicodedata.normalize("NFC", "\n".join((CONSENT_FORMAT, *self.lines())) + "\n")

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the canonical text in UTF-8."""
        return sha256(self.canonical.encode()).hexdigest()

    def lines(self) -> Iterator[str]:
        yield self.title
        for section in self.sections:
            yield from (section.heading, *section.lines)
        yield from (self.accounts_heading, self.accounts_hint, *_choice_lines(self.accounts))
        yield from (self.projections_heading, self.projections_hint, *_choice_lines(self.projections))
        yield from (self.duration_heading, self.duration_hint, *_choice_lines(self.durations))
        yield from (self.allow, self.deny)


def consent_text(offer: ConsentOffer, accounts: Iterable[LinkedAccount], wish: str | None) -> ConsentText:
    """The text for these accounts. `wish`: the offering that the customer asked for, whose projection is marked as needed, never ticked."""
    return ConsentText(
        title=f"May {offer.platform_title} answer questions about your accounts?",
        sections=(*_who_and_what_for(offer), *_limits(offer), *_ends(offer)),
        accounts_heading="Which accounts",
        accounts_hint="Choose at least one. Nothing is chosen for you, and accounts you open later are not added.",
        accounts=tuple(account_choice(account) for account in shown_accounts(accounts)),
        projections_heading="What may be answered",
        projections_hint="Choose at least one. Nothing else can be asked for.",
        projections=_projection_choices(offer, wish),
        duration_heading="For how long",
        duration_hint="Then it ends by itself. Never longer than one year without asking you again.",
        durations=tuple(Choice(str(days), _days_words(days), "") for days in offer.days_offered),
    )


def shown_accounts(accounts: Iterable[LinkedAccount]) -> tuple[LinkedAccount, ...]:
    """Accounts that can be chosen: none that is closed, and no more than fit a page."""
    return tuple(account for account in accounts if account.status is not AccountStatus.CLOSED)[:ACCOUNTS_SHOWN_MAX]


def account_choice(account: LinkedAccount) -> Choice:
    """Name and last digits. The name came from the bank, and through it from anyone: it is cleaned and cut."""
    kind = KIND_WORDS[account.kind]
    name = clean_name(account.name)[:ACCOUNT_NAME_CHARS_MAX].strip() or kind
    mask = "".join(character for character in account.mask if character.isascii() and character.isalnum())[-4:]
    return Choice(account.ref, name, f"{kind}, ending in {mask}" if mask else kind)


def _who_and_what_for(offer: ConsentOffer) -> tuple[Section, ...]:
    return (
        Section("Who", (f"{offer.platform_title} would receive answers. {offer.bank_title} holds your data and gives it.",)),
        Section(
            "What for",
            (
                *(f"Only {PURPOSE_WORDS[purpose]}." for purpose in offer.purposes),
                "Your data is collected, used and kept only as reasonably necessary for that.",
            ),
        ),
    )


def _projection_choices(offer: ConsentOffer, wish: str | None) -> tuple[Choice, ...]:
    needed = offer.needed_for.get(wish) if wish is not None else None
    return tuple(
        Choice(projection.value, _capitalised(projection.plain_words), "Needed for your question" if projection is needed else "")
        for projection in offer.projections
    )


def _limits(offer: ConsentOffer) -> tuple[Section, ...]:
    answers, rows = offer.budget.answers_per_day, offer.budget.rows_per_day
    return (
        Section(
            "How much, and how",
            (
                f"Questions may reach back {_days_words(offer.lookback_days)} at most. {PROVENANCE_WORDS[offer.provenance]}",
                f"At most {answers:,} answers and {rows:,} transactions a day.",
                DELIVERY_WORDS[offer.delivery],
                "Each answer is first recorded in a log that cannot be changed unnoticed, and you get a receipt. No record, no answer.",
            ),
        ),
        Section(
            "What can never happen",
            (
                "Your data is never used for advertising, cross-selling, selling, profiling or training. Nobody can allow that here, not even you.",
                "Your bank password, full account numbers and addresses are never shared.",
                f"{offer.platform_title} certifies that it keeps to these limits.",
            ),
        ),
    )


def _ends(offer: ConsentOffer) -> tuple[Section, ...]:
    return (
        Section(
            "How to stop",
            (
                "Press “Stop sharing” in the chat or type stop, at any time. It takes effect at once and costs nothing.",
                f"Questions or complaints: {offer.contact}",
            ),
        ),
    )


def _days_words(days: int) -> str:
    if days == GRANT_LIFETIME_MAX.days:
        return "1 year"
    return "1 day" if days == 1 else f"{days} days"


def _capitalised(words: str) -> str:
    return words[:1].upper() + words[1:]


def _choice_lines(choices: Iterable[Choice]) -> Iterator[str]:
    for choice in choices:
        yield from (part for part in (choice.label, choice.note) if part)
