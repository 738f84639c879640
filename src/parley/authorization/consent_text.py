"""The words of the consent page as data: the page shows them, the grant carries their SHA-256, so both are of one text.

Every item of 12 CFR 1033.411(b) has its section: who (b)(1)-(2), what for (b)(3), which data (b)(4), the certification (b)(5), how
long (b)(6), how to stop (b)(7). The law is a design specification here, not a claim that it applies.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

from parley.model.grants import GRANT_LIFETIME, GRANT_LIFETIME_MAX, Budget, Grant
from parley.model.ledger import AccountStatus, LinkedAccount
from parley.model.linking import Errand
from parley.model.plain_words import DELIVERY_WORDS, PROVENANCE_WORDS, PURPOSE_WORDS, account_words, capitalised, days_words
from parley.model.refusals import NotAllowed
from parley.model.strangers import clean
from parley.model.words import Delivery, Projection, Provenance, Purpose

DAYS_OFFERED: tuple[int, ...] = (1, 30, GRANT_LIFETIME.days, GRANT_LIFETIME_MAX.days)
DAYS_DEFAULT = GRANT_LIFETIME.days
LOOKBACKS_OFFERED: tuple[int, ...] = (7, 30, 90, 365)
ACCOUNTS_SHOWN_MAX = 50
TITLE_CHARS_MAX = 40
HOST_CHARS_MAX = 60
"""A longer name or address could push what is being asked out of sight."""

CONSENT_FORMAT = "parley-consent-text-2"
RENEWAL_FORMAT = "parley-renewal-text-1"


@dataclass(frozen=True, slots=True)
class ConsentOffer:
    """What the bank lets a customer agree to on one platform. Titles are for people, `contact` a way to reach one.

    `needed_for` maps an offering's name to the projection that it cannot do without. `lookback_days` how far back a question may read at
    most; `lookback_default` what is proposed, None for the most. `host`: where a client lives on the web, empty for the bank's own chat;
    `verified`: the bank registered it, so that its title is more than its own word.
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
    lookback_default: int | None = None
    host: str = ""
    verified: bool = True

    @property
    def lookbacks_offered(self) -> tuple[int, ...]:
        """Days, the fewest first; the last is the most."""
        proposed = self.lookback_default or self.lookback_days
        return tuple(sorted({*(days for days in LOOKBACKS_OFFERED if days < self.lookback_days), proposed, self.lookback_days}))

    def __post_init__(self) -> None:
        if not self.purposes or not self.projections:
            raise ValueError("A consent page needs at least one purpose and one projection.")
        if self.days_default not in self.days_offered or not all(0 < days <= GRANT_LIFETIME_MAX.days for days in self.days_offered):
            raise ValueError("A consent lasts between one day and one year, and the default is one of the durations offered.")
        if not 0 < (self.lookback_default or self.lookback_days) <= self.lookback_days:
            raise ValueError("What is proposed reaches no further back than what is allowed.")


def offer_for(offer: ConsentOffer, errand: Errand) -> ConsentOffer:
    """What the bank offers, narrowed to what an errand asks for and told about whoever asks. Raises NotAllowed where nothing is left.

    What is asked for beyond the offer is not shown as a choice that would not count: a purpose, days or a look back that the bank does
    not offer are left out, or cut to what it does.
    """
    purposes = tuple(each for each in offer.purposes if not errand.purposes or each in errand.purposes)
    projections = tuple(each for each in offer.projections if not errand.projections or each in errand.projections)
    if not purposes or not projections:
        raise NotAllowed("nothing of what is asked for is offered")
    days = min(errand.days or offer.days_default, max(offer.days_offered))
    return replace(
        offer,
        platform_title=errand.asker.title or offer.platform_title,
        host=errand.asker.host,
        verified=errand.asker.verified,
        purposes=purposes,
        projections=projections,
        lookback_default=min(errand.lookback_days or offer.lookback_days, offer.lookback_days),
        days_offered=tuple(sorted({*offer.days_offered, days})),
        days_default=days,
    )


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
    lookback_heading: str
    lookback_hint: str
    lookbacks: tuple[Choice, ...]
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
        yield from (self.lookback_heading, self.lookback_hint, *_choice_lines(self.lookbacks))
        yield from (self.duration_heading, self.duration_hint, *_choice_lines(self.durations))
        yield from (self.allow, self.deny)


def consent_text(offer: ConsentOffer, accounts: Iterable[LinkedAccount], wish: str | None) -> ConsentText:
    """The text for these accounts. `wish`: the offering that the customer asked for, whose projection is marked as needed, never ticked."""
    return ConsentText(
        title=f"May {_title(offer)} answer questions about your accounts?",
        sections=(*_who_and_what_for(offer), *_limits(offer), *_ends(offer)),
        accounts_heading="Which accounts",
        accounts_hint="Choose at least one. Nothing is chosen for you, and accounts you open later are not added.",
        accounts=tuple(account_choice(account) for account in shown_accounts(accounts)),
        projections_heading="What may be answered",
        projections_hint="Choose at least one. Nothing else can be asked for.",
        projections=_projection_choices(offer, wish),
        duration_heading="For how long",
        duration_hint="Then it ends by itself. Never longer than one year without asking you again.",
        durations=tuple(Choice(str(days), days_words(days), "") for days in offer.days_offered),
        lookback_heading="How far back",
        lookback_hint="No question may reach back further. Today’s balance needs no look back.",
        lookbacks=tuple(Choice(str(days), days_words(days), "") for days in offer.lookbacks_offered),
    )


@dataclass(frozen=True, slots=True)
class RenewalText:
    """The whole text of going on with a grant, in the order of the page. Nothing on it can be chosen."""

    title: str
    sections: tuple[Section, ...]
    allow: str
    deny: str = "Not now"

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the text in UTF-8, NFC, one line for each thing shown, in the order shown."""
        lines = [line for section in self.sections for line in (section.heading, *section.lines)]
        text = "\n".join((RENEWAL_FORMAT, self.title, *lines, self.allow, self.deny)) + "\n"
        return sha256(unicodedata.normalize("NFC", text).encode()).hexdigest()


def renewal_text(offer: ConsentOffer, grant: Grant, accounts: Iterable[LinkedAccount], days: int) -> RenewalText:
    """The limits of a grant as they are, said again before it goes on for as long as it was given. `offer` says the grant in its terms."""
    named = [account_words(account) for account in accounts if account.ref in grant.accounts]
    chosen = tuple(f"{name} ({note})" for name, note in named)
    missing = len(grant.accounts) - len(named)
    gone = (f"{missing} more that you no longer share at your bank.",) if missing else ()
    return RenewalText(
        title=f"Go on with {_title(offer)} for {days_words(days)} more?",
        sections=(
            *_who_and_what_for(offer),
            Section("Which accounts, as before", chosen + gone),
            Section("What may be answered, as before", tuple(capitalised(each.plain_words) for each in sorted(grant.projections))),
            Section("How far back", (f"{capitalised(days_words(grant.lookback_days))} at most.",)),
            *_limits(offer),
            Section("For how long", (f"{capitalised(days_words(days))} from now. Then it ends by itself, unless you extend it again.",)),
            *_ends(offer),
        ),
        allow=f"Allow for {days_words(days)} more",
    )


def shown_accounts(accounts: Iterable[LinkedAccount]) -> tuple[LinkedAccount, ...]:
    """Accounts that can be chosen: none that is closed, and no more than fit a page."""
    return tuple(account for account in accounts if account.status is not AccountStatus.CLOSED)[:ACCOUNTS_SHOWN_MAX]


def account_choice(account: LinkedAccount) -> Choice:
    """Name and last digits. The name came from the bank, and through it from anyone: it is cleaned and cut."""
    return Choice(account.ref, *account_words(account))


def _who_and_what_for(offer: ConsentOffer) -> tuple[Section, ...]:
    return (
        Section("Who", _who(offer)),
        Section(
            "What for",
            (
                *(f"Only {PURPOSE_WORDS[purpose]}." for purpose in offer.purposes),
                "Your data is collected, used and kept only as reasonably necessary for that.",
            ),
        ),
    )


def _who(offer: ConsentOffer) -> tuple[str, ...]:
    """Who would receive answers. A name that nobody checked is said to be one, beside the address, which is all that is known."""
    bank, host = offer.bank_title, _cut(offer.host, HOST_CHARS_MAX)
    if not host:
        return (f"{_title(offer)} would receive answers. {bank} holds your data and gives it.",)
    back = f"You come from there, and your decision leads back there. {bank} holds your data and gives it."
    if offer.verified:
        return (f"{_title(offer)}, at {host}, would receive answers. {bank} has registered it.", back)
    return (f"Somebody at {host} would receive answers and calls itself {_title(offer)}. Nobody has checked that name.", back)


def _certification(offer: ConsentOffer) -> str:
    """(b)(5). Of a client that nobody checked, nobody holds such a word."""
    if offer.verified:
        return f"{capitalised(_title(offer))} certifies that it keeps to these limits."
    return f"{offer.bank_title} holds it to these limits in what it gives, and has no word from it beyond that."


def _title(offer: ConsentOffer) -> str:
    """Its own word about itself: one short line, and what reads from right to left turns nothing around it."""
    title = _cut(offer.platform_title, TITLE_CHARS_MAX) or "a client without a name"
    return title if title.isascii() else f"\u2068{title}\u2069"


def _cut(text: str, characters_max: int) -> str:
    cleaned = clean(text)
    return cleaned if len(cleaned) <= characters_max else cleaned[: characters_max - 1].rstrip() + "…"


def _projection_choices(offer: ConsentOffer, wish: str | None) -> tuple[Choice, ...]:
    needed = offer.needed_for.get(wish) if wish is not None else None
    return tuple(
        Choice(projection.value, capitalised(projection.plain_words), "Needed for your question" if projection is needed else "")
        for projection in offer.projections
    )


def _limits(offer: ConsentOffer) -> tuple[Section, ...]:
    answers, rows = offer.budget.answers_per_day, offer.budget.rows_per_day
    return (
        Section(
            "How much, and how",
            (
                PROVENANCE_WORDS[offer.provenance],
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
                _certification(offer),
            ),
        ),
    )


def _ends(offer: ConsentOffer) -> tuple[Section, ...]:
    return (
        Section(
            "How to stop",
            (
                "Press “Stop sharing” in the chat, type stop, or open “My consents”, at any time. It takes effect at once and costs nothing.",
                f"Questions or complaints: {offer.contact}",
            ),
        ),
    )


def _choice_lines(choices: Iterable[Choice]) -> Iterator[str]:
    for choice in choices:
        yield from (part for part in (choice.label, choice.note) if part)
