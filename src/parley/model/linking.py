"""What waits while a customer links: sessions, trips to the bank, an open consent page, a terminal's pairing. Values only; times are UTC."""

from __future__ import annotations

from datetime import datetime

from parley.model.ledger import Discreet


class Session(Discreet, frozen=True):
    """A browser's or terminal's server-side session. `conversation` is the chat's address on the web channel. Times are UTC."""

    token_hash: bytes
    conversation: str
    csrf: str
    created_at: datetime
    expires_at: datetime


class LinkAttempt(Discreet, frozen=True):
    """A trip to the bank's own page. `state_hash` SHA-256 of the OAuth state; bound to the session that started it; used once.

    `verifier` is the PKCE code verifier (sealed at rest under the gateway's key). `wish` the offering that was asked for, if any.
    """

    state_hash: bytes
    session_hash: bytes
    bank: str
    verifier: str
    wish: str | None
    expires_at: datetime


class ConsentAttempt(Discreet, frozen=True):
    """The consent page, waiting for a decision. Bound to the session, used once. `text_hash` of the text as shown.

    `customer` is known to the bank by now.
    """

    token_hash: bytes
    session_hash: bytes
    customer: str
    wish: str | None
    text_hash: str
    expires_at: datetime


class Pairing(Discreet, frozen=True):
    """A terminal that wants to be linked through a browser. `number` is shown in both places and compared by the customer. Used once."""

    token_hash: bytes
    session_hash: bytes
    number: str
    expires_at: datetime
