"""The shapes data takes on its way through the house, in order.

    Envelope -> Question -> Request -> Permission -> Ruling -> Statement -> Disclosure -> Release

Each step takes the shape before it and returns the next, so a step cannot be skipped. Shapes that hold a customer's words or
figures never print themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from typing import final

import msgspec

from parley.model.grants import Grant
from parley.model.ledger import AccountKind, Discreet, TransactionState
from parley.model.money import Money
from parley.model.words import Assurance, Delivery, Field, Projection, Provenance, Purpose
from parley.proof import Inclusion, ProofRejected, Verifier, commitment_text


@dataclass(frozen=True, slots=True)
class Envelope:
    """Bytes from a platform. Nothing in it may be believed yet. Header names are lower case."""

    unverified_body: bytes = field(repr=False)
    unverified_headers: Mapping[str, str] = field(repr=False)
    received_at: datetime


class Question(Discreet, frozen=True):
    """A message that the platform truly sent. Who stands behind the conversation at the bank is not known yet.

    `conversation` is the platform's address of the chat, `message_id` the platform's id of the message (both only ever stored as
    keyed hashes), `purpose_named` the purpose that the platform stated, if any, in its own words.
    """

    channel: str
    platform: str
    conversation: str
    message_id: str
    text: str
    asked_at: datetime
    purpose_named: str | None = None


class Slots(Discreet, frozen=True):
    """What a question named beside the offering.

    `amount` in major units, exact. `account` and `merchant` are the customer's own words, matched later against rows.
    """

    amount: Decimal | None = None
    currency: str | None = None
    account: str | None = None
    merchant: str | None = None
    by: date | None = None
    since: date | None = None
    count: int | None = None


class Request(Discreet, frozen=True):
    """A known customer asks an offering for one projection, for one purpose, on one channel. `accounts`: refs wanted, empty for all granted.

    `assurance`: how sure the house is of her at this moment.
    """

    customer: str
    channel: str
    platform: str
    offering: str
    purpose: Purpose
    projection: Projection
    accounts: tuple[str, ...]
    lookback_days: int
    rows: int
    slots: Slots
    asked_at: datetime
    assurance: Assurance = Assurance.LINKED


class Permission(Discreet, frozen=True):
    """The customer's consent that covers the whole request, and the granted accounts that it is answered from."""

    grant: Grant
    request: Request
    accounts: tuple[str, ...]


class Ruling(Discreet, frozen=True):
    """The bank's policy agrees, and says what must still be held back.

    `provenance`: whether rows that were not made through the platform may be among the answer. `rounding`: figures are told in steps of so
    many major units, 0 for exact. `bands`: edges in major units. `delay_days`: transactions of the last so many days stay back.
    """

    permission: Permission
    policy_digest: str
    rules: tuple[str, ...]
    fields: frozenset[Field]
    delivery: Delivery
    rows_max: int
    provenance: Provenance = Provenance.ON_PLATFORM
    rounding: int = 0
    bands: tuple[int, ...] = ()
    delay_days: int = 0


class Band(Discreet, frozen=True):
    """Between which two round sums a balance lies: `low` included, `high` not; None for no bound on that side. One of them is given."""

    low: Money | None
    high: Money | None


class RuledBalance(Discreet, frozen=True):
    """A balance after minimising. None where the ruling does not name the field. `name` is the customer's name for the account.

    `band`: in place of both figures where only a band was ruled; of a debt, how much is owed.
    """

    available: Money | None = None
    booked: Money | None = None
    name: str | None = None
    kind: AccountKind = AccountKind.OTHER
    band: Band | None = None


class RuledTransaction(Discreet, frozen=True):
    """A row after minimising. None where the ruling does not name the field."""

    amount: Money
    on: date
    state: TransactionState
    merchant: str | None = None


class RuledValues(Discreet, frozen=True):
    """All that an offering is handed: the ruled fields, whether something is missing, and how old it is (UTC).

    `withheld`: rows of some kind stay back by rule, so that none being here does not mean that there are none.
    """

    balances: tuple[RuledBalance, ...]
    transactions: tuple[RuledTransaction, ...]
    partial: bool
    as_of: datetime
    withheld: bool = False


class AnswerLine(Discreet, frozen=True):
    """One row of a card: what it is and what it says, both already in words."""

    label: str
    value: str


class Answer(Discreet, frozen=True):
    """The answer in words; the same as a card (`heading` above `lines`); how many records it tells of (a yes or no tells of one)."""

    text: str
    lines: tuple[AnswerLine, ...] = ()
    records: int = 1
    heading: str = ""


class Disclosure(Discreet, frozen=True):
    """What may leave: the ruling that allows it, and the answer that carries it."""

    ruling: Ruling
    answer: Answer
    interaction_id: str
    fetched_at: datetime


class SealedEntry(Discreet, frozen=True):
    """A disclosure made ready for the log.

    `entry` the public half, `private` what its commitment opens to with `salt`, `side` the private half sealed under the customer's key.
    """

    disclosure: Disclosure
    entry: bytes
    salt: bytes
    private: bytes
    side: bytes


@final
@dataclass(frozen=True, slots=True)
class Release:
    """An answer and the proof that it was recorded. It cannot be built without one: no receipt, no release.

    This is all that a channel is ever handed for delivery, and all that a customer needs to check the log later.
    Raises ProofRejected when the proof, the head's signature, the commitment, the answer or the channel is not right.
    Nobody may derive from it: a subclass could leave the checks out.
    """

    question: Question
    sealed: SealedEntry = field(repr=False)
    inclusion: Inclusion
    verifier: Verifier = field(repr=False, compare=False)

    def __init_subclass__(cls) -> None:
        raise TypeError("A Release is not derived from: its checks are the promise.")

    def __post_init__(self) -> None:
        self.verifier.verify_inclusion(self.sealed.entry, self.inclusion)
        check_public_half(self.sealed, self.question)
        check_private_half(self.sealed)

    @property
    def answer(self) -> Answer:
        return self.sealed.disclosure.answer

    @property
    def ruling(self) -> Ruling:
        return self.sealed.disclosure.ruling


def answer_digest(answer: Answer) -> str:
    """SHA-256 (hex) of the answer's text. Inside the salted private half only: alone, a digest of a short answer could be guessed."""
    return sha256(answer.text.encode()).hexdigest()


def check_public_half(sealed: SealedEntry, question: Question) -> None:
    """The recorded words are those of this ruling and of this question: an entry of something milder does not cover what leaves."""
    request = sealed.disclosure.ruling.permission.request
    public = fields_of(sealed.entry)
    try:
        committed = commitment_text(sealed.salt, sealed.private)
    except ValueError:
        raise ProofRejected("commitment", "The salt is not 32 bytes long.") from None
    if public.get("c") != committed:
        raise ProofRejected("commitment", "The recorded commitment is to another answer.")
    if public.get("k") != "release" or (public.get("ch"), public.get("p")) != (question.channel, question.platform):
        raise ProofRejected("wrong_channel", "The entry was recorded for another channel or platform.")
    if (question.channel, question.platform) != (request.channel, request.platform):
        raise ProofRejected("wrong_channel", "The answer was made for another channel or platform.")
    recorded = (public.get("u"), public.get("d"), public.get("pol"))
    if recorded != (request.purpose.dpv, request.projection.value, sealed.disclosure.ruling.policy_digest):
        raise ProofRejected("wrong_ruling", "The entry was recorded for another purpose, projection or policy.")


def check_private_half(sealed: SealedEntry) -> None:
    """What the customer's receipt opens to is this very answer under this very grant, and a card says nothing beyond the recorded text."""
    answer, grant = sealed.disclosure.answer, sealed.disclosure.ruling.permission.grant
    private = fields_of(sealed.private)
    if private.get("answer_sha256") != answer_digest(answer):
        raise ProofRejected("wrong_answer", "The private half was made for another answer.")
    if (private.get("grant"), private.get("grant_version")) != (grant.id, grant.version):
        raise ProofRejected("wrong_grant", "The private half was made under another grant.")
    text, at = answer.text, 0
    for line in answer.lines:
        # A card nearly always follows its text, so each search goes on where the last one ended.
        label_at = text.find(line.label, at)
        value_at = text.find(line.value, label_at) if label_at >= 0 else -1
        if value_at >= 0:
            at = value_at
        elif line.label not in text or line.value not in text:
            raise ProofRejected("wrong_answer", "The card says something that the recorded text does not say.")


def fields_of(half: bytes) -> dict[str, object]:
    try:
        return _half_decoder.decode(half)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProofRejected("entry_form", "A half of the entry is not a JSON object.") from None


_half_decoder = msgspec.json.Decoder(dict[str, object])
