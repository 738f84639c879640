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

import msgspec

from parley.model.grants import Grant
from parley.model.ledger import AccountKind, Discreet, TransactionState
from parley.model.money import Money
from parley.model.words import Delivery, Field, Projection, Purpose
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
    """A known customer asks an offering for one projection, for one purpose, on one channel. `accounts`: refs wanted, empty for all granted."""

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


class Permission(Discreet, frozen=True):
    """The customer's consent that covers the whole request, and the granted accounts that it is answered from."""

    grant: Grant
    request: Request
    accounts: tuple[str, ...]


class Ruling(Discreet, frozen=True):
    """The bank's policy agrees, and says what must still be held back."""

    permission: Permission
    policy_digest: str
    rules: tuple[str, ...]
    fields: frozenset[Field]
    delivery: Delivery
    rows_max: int


class RuledBalance(Discreet, frozen=True):
    """A balance after minimising. None where the ruling does not name the field. `name` is the customer's name for the account."""

    available: Money | None = None
    booked: Money | None = None
    name: str | None = None
    kind: AccountKind = AccountKind.OTHER


class RuledTransaction(Discreet, frozen=True):
    """A row after minimising. None where the ruling does not name the field."""

    amount: Money
    on: date
    state: TransactionState
    merchant: str | None = None


class RuledValues(Discreet, frozen=True):
    """All that an offering is handed: the ruled fields, whether something is missing, and how old it is (UTC)."""

    balances: tuple[RuledBalance, ...]
    transactions: tuple[RuledTransaction, ...]
    partial: bool
    as_of: datetime


class AnswerLine(Discreet, frozen=True):
    """One row of a card: what it is and what it says, both already in words."""

    label: str
    value: str


class Answer(Discreet, frozen=True):
    """The answer in words, the same as a card, and how many records it tells of (balances or rows; a yes or no tells of one)."""

    text: str
    lines: tuple[AnswerLine, ...] = ()
    records: int = 1


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


@dataclass(frozen=True, slots=True)
class Release:
    """An answer and the proof that it was recorded. It cannot be built without one: no receipt, no release.

    This is all that a channel is ever handed for delivery, and all that a customer needs to check the log later.
    Raises ProofRejected when the proof, the head's signature, the commitment or the channel is not right.
    """

    question: Question
    sealed: SealedEntry = field(repr=False)
    inclusion: Inclusion
    verifier: Verifier = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        self.verifier.verify_inclusion(self.sealed.entry, self.inclusion)
        public = msgspec.json.decode(self.sealed.entry, type=dict[str, str | int])
        if public["c"] != commitment_text(self.sealed.salt, self.sealed.private):
            raise ProofRejected("commitment", "The recorded commitment is to another answer.")
        if public["k"] != "release" or public["ch"] != self.question.channel or public["p"] != self.question.platform:
            raise ProofRejected("wrong_channel", "The entry was recorded for another channel or platform.")
        if self.question.channel != self.sealed.disclosure.ruling.permission.request.channel:
            raise ProofRejected("wrong_channel", "The answer was made for another channel.")

    @property
    def answer(self) -> Answer:
        return self.sealed.disclosure.answer

    @property
    def ruling(self) -> Ruling:
        return self.sealed.disclosure.ruling
