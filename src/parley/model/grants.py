"""What a customer agreed to: the grant, and the link between a conversation and a customer."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from parley.model.ledger import Discreet
from parley.model.words import Delivery, Projection, Provenance, Purpose

GRANT_LIFETIME = timedelta(days=90)
GRANT_LIFETIME_MAX = timedelta(days=365)
"""12 CFR 1033.421(b)(2): an authorization lasts one year at most."""


class GrantState(StrEnum):
    """Only an active grant answers. A paused one may be resumed; revoked and expired ones are over for good."""

    ACTIVE = "active"
    PAUSED = "paused"
    REVOKED = "revoked"
    EXPIRED = "expired"

    @property
    def stands(self) -> bool:
        """Whether it is still the customer's wish, at work or resting: the bank's tokens are kept for such grants only."""
        return self in (GrantState.ACTIVE, GrantState.PAUSED)


class Budget(Discreet, frozen=True):
    """How much may leave under one grant on one UTC day."""

    answers_per_day: int
    rows_per_day: int


class Grant(Discreet, frozen=True):
    """One consent: customer x platform x accounts x projections x purpose x channel x delivery x lookback x provenance x budget x expiry.

    `id` and `handle` are random: the id is ours alone, the handle (16 bytes) is what the notary knows the grant by. `version` starts
    at 1 and grows with every change; a release is recorded only while the notary holds the same version. `accounts` are our refs.
    `text_hash` is SHA-256 (hex) of the consent page's text as shown. `log_index` is the log entry of this version. Times are UTC;
    `created_at` is kept to the millisecond, `expires_at` to the second, both rounded down. `client` is the OAuth client that it
    was given to, empty for the house's own chats.
    """

    id: str
    handle: bytes
    version: int
    state: GrantState
    customer: str
    platform: str
    channel: str
    purpose: Purpose
    projections: frozenset[Projection]
    accounts: tuple[str, ...]
    delivery: Delivery
    lookback_days: int
    provenance: Provenance
    budget: Budget
    created_at: datetime
    expires_at: datetime
    text_hash: str
    policy_digest: str
    log_index: int | None = None
    client: str = ""


class BankTokens(Discreet, frozen=True):
    """What the bank's authorization server gave us for one customer. Sealed at rest under her key. `expires_at` UTC, of the access token."""

    access_token: str
    refresh_token: str | None
    expires_at: datetime
    consent_id: str | None
    scope: str


class BankReturn(Discreet, frozen=True):
    """Tokens that no grant lives on any more and that their bank must be asked to end. `tries` so far; owed `since` (UTC)."""

    number: int
    bank: str
    tokens: BankTokens
    tries: int
    since: datetime
