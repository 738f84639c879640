"""What linking and sessions need from the records and the bank. Every token is stored as its SHA-256 only; every secret sealed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from parley.model.grants import BankTokens, Grant
from parley.model.ledger import LinkedAccount
from parley.model.linking import ConsentAttempt, LinkAttempt, Pairing, Session


class SessionRecords(Protocol):
    async def add_session(self, session: Session) -> None: ...
    async def find_session(self, token_hash: bytes, now: datetime) -> Session | None:
        """None when unknown, ended or expired."""

    async def end_session(self, token_hash: bytes) -> None: ...


class LinkRecords(Protocol):
    async def add_attempt(self, attempt: LinkAttempt) -> None: ...
    async def take_attempt(self, state_hash: bytes, now: datetime) -> LinkAttempt | None:
        """Read and delete in one step, so that a state works once. None when unknown or expired."""

    async def add_consent_attempt(self, attempt: ConsentAttempt) -> None: ...
    async def take_consent_attempt(self, token_hash: bytes, now: datetime) -> ConsentAttempt | None: ...
    async def add_pairing(self, pairing: Pairing) -> None: ...
    async def take_pairing(self, token_hash: bytes, now: datetime) -> Pairing | None: ...
    async def peek_pairing(self, token_hash: bytes, now: datetime) -> Pairing | None: ...

    async def save_bank_link(self, bank: str, owner: str, tokens: BankTokens, accounts: tuple[LinkedAccount, ...]) -> str:
        """Store what the bank gave, sealed under the customer's key (made on her first link), and return our id of her.

        The id is a keyed hash of (bank, owner), so the same person is the same customer on every channel, and the bank's id is never stored in clear.
        Each account gets its `ref`: opaque, stable for the customer.
        """

    async def customer_at(self, bank: str, owner: str) -> str | None:
        """Our id of a person at a bank, None when nothing of hers is kept here. Asking makes no customer."""

    async def bank_accounts(self, customer: str) -> tuple[LinkedAccount, ...]: ...
    async def bank_tokens(self, customer: str) -> tuple[str, BankTokens] | None:
        """(bank, tokens) of a live link, None when there is none or it was lost."""

    async def update_tokens(self, customer: str, tokens: BankTokens, *, instead_of: BankTokens | None = None) -> BankTokens: ...
    async def mark_link_lost(self, customer: str) -> None: ...

    async def join(self, channel: str, conversation: str, customer: str, grants: tuple[Grant, ...]) -> None:
        """Bind the conversation to the customer and store her grants, in one transaction. Ends nothing that stands."""

    async def grants_of(self, customer: str, *, active_only: bool, now: datetime) -> tuple[Grant, ...]: ...
    async def customer_of(self, channel: str, conversation: str) -> str | None: ...
    async def let_go(self, customer: str, now: datetime) -> None:
        """Give the bank's tokens back unless a grant stands that lives on them. Idempotent."""


class BankTrip(Protocol):
    """A trip to the bank's own page: where to, the OAuth state, the PKCE verifier, and until when (UTC) it may come back."""

    @property
    def url(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def verifier(self) -> str: ...
    @property
    def expires_at(self) -> datetime: ...


class BankDoor(Protocol):
    """The bank as linking needs it: its OAuth server and the two reads that say who came back and with which accounts.

    Every method raises a Refusal or a Fault of parley.model.refusals and nothing else.
    """

    @property
    def name(self) -> str: ...

    async def begin(self) -> BankTrip: ...

    async def finish(self, params: Sequence[tuple[str, str]], state: str, verifier: str) -> BankTokens:
        """`params` as they came back, repetitions included; checks `iss` before anything else, on errors too.

        Raises NotConsented when the customer said no at the bank.
        """

    async def owner(self, tokens: BankTokens) -> str: ...

    async def accounts(self, tokens: BankTokens) -> tuple[LinkedAccount, ...]: ...

    async def revoke(self, tokens: BankTokens) -> None: ...
