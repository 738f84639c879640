"""What a channel, a bank and an offering are: three small promises, one for each kind of folder."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Protocol

from parley.model.ledger import Discreet, LinkedAccount, Statement
from parley.model.stages import Answer, Envelope, Question, RuledValues, Slots
from parley.model.words import Field, Projection, Purpose


class Channel(Protocol):
    """Sees the platform's bytes and the finished release. Never sees what the bank knows."""

    @property
    def name(self) -> str: ...

    def open(self, envelope: Envelope) -> Question:
        """Check that the platform truly sent it, before anything is parsed. Raises ForgedMessage or BadInput."""


class BankCredential(Discreet, frozen=True):
    """One customer's access to one bank. `expires_at` UTC. `ip_address` of the customer where she is present, for banks that want it."""

    access_token: str
    expires_at: datetime


class Order(Discreet, frozen=True):
    """What to ask a bank for: these accounts and fields only; transactions from `since` to `until` inclusive, newest first, `rows_max` at most."""

    accounts: tuple[LinkedAccount, ...]
    fields: frozenset[Field]
    since: date
    until: date
    rows_max: int
    interaction_id: str


class Bank(Protocol):
    """Sees a credential, accounts and a list of fields. Never sees the conversation, the platform or the purpose.

    Every method raises LinkLost or a Fault of parley.model.refusals, and nothing else, whatever the bank sends.
    """

    @property
    def name(self) -> str: ...

    async def owner(self, credential: BankCredential, interaction_id: str) -> str:
        """The bank's own lasting id of the customer behind the credential."""

    async def accounts(self, credential: BankCredential, interaction_id: str) -> tuple[LinkedAccount, ...]:
        """The accounts that the customer chose at the bank. `ref` is left empty: the house gives it."""

    async def fetch(self, credential: BankCredential, order: Order) -> Statement:
        """Read the ordered fields and no others. Refuses where an amount, sign, currency or owner would be uncertain."""


class Need(Discreet, frozen=True):
    """What an offering needs to answer: the least projection that does, how far back (days), and how many rows."""

    projection: Projection
    lookback_days: int = 0
    rows: int = 0


class Offering(Protocol):
    """Sees ruled values and today's date. Never sees whose they are or where they go; has no network, clock or chance."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str:
        """As the consent page and the help name it."""

    @property
    def examples(self) -> tuple[str, ...]: ...

    @property
    def purpose(self) -> Purpose: ...

    @property
    def projections(self) -> tuple[Projection, ...]:
        """Every projection that it can answer from, the least telling first."""

    def needs(self, slots: Slots, granted: frozenset[Projection]) -> Need:
        """The least telling projection that answers the question. Where the customer granted several that would do, the least of those."""

    def answer(self, values: RuledValues, slots: Slots, today: date) -> Answer: ...


class OfferingCard(Discreet, frozen=True):
    """What understanding may know of an offering: its name and examples."""

    name: str
    title: str
    examples: tuple[str, ...]


class Understood(Discreet, frozen=True):
    offering: str
    slots: Slots


class Understanding(Protocol):
    """Free text to an offering and slots. Sees the text, the offerings' names and the accounts' nicknames; never who asks, never bank data."""

    def understand(self, text: str, *, offerings: Sequence[OfferingCard], nicknames: Sequence[str], today: date) -> Understood:
        """Raises NotUnderstood where the words fit nothing that is offered."""
