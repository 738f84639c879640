"""What waits while a customer links: sessions, the errand she is on, trips to the bank, an open consent page, a terminal's pairing.

Values only; times are UTC.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from parley.model.ledger import Discreet
from parley.model.words import Projection, Purpose


class Session(Discreet, frozen=True):
    """A browser's or terminal's server-side session. `conversation` is the chat's address on the web channel. Times are UTC."""

    token_hash: bytes
    conversation: str
    csrf: str
    created_at: datetime
    expires_at: datetime


class Origin(StrEnum):
    """Which door an errand came through, and so what becomes of the decision."""

    CHAT = "chat"
    OAUTH = "oauth"
    LINK = "link"
    MESSENGER = "messenger"
    SIGN_IN = "sign_in"
    """Nobody asks: she wants to see her own page, and the bank's login says who she is."""


class Asker(Discreet, frozen=True):
    """Who would receive the answers. `title` is its own word about itself and is only ever shown cleaned.

    `host` is where it lives on the web, empty for the bank's own chat. `verified`: the bank registered it; otherwise only the host is known.
    """

    title: str
    host: str = ""
    verified: bool = True


class Errand(Discreet, frozen=True):
    """Why a customer is on the way to a consent page: who asks, for which platform and channel, for what, and where she goes afterwards.

    `conversation`: the address that answers will go to; empty for the session's own chat. `wish`: the offering that she asked for, whose
    projection is marked as needed. Empty `purposes` or `projections`: whatever may be offered on that platform. `lookback_days` and `days`
    as asked, None for what the bank proposes. `return_to`: the client's own address, where the browser goes with the decision.
    `reference`: what waits elsewhere for this decision, such as the hash of a pushed request.
    """

    origin: Origin
    platform: str
    channel: str
    asker: Asker
    conversation: str = ""
    wish: str | None = None
    purposes: tuple[Purpose, ...] = ()
    projections: tuple[Projection, ...] = ()
    lookback_days: int | None = None
    days: int | None = None
    return_to: str = ""
    reference: bytes = b""


class LinkAttempt(Discreet, frozen=True):
    """A trip to the bank's own page. `state_hash` SHA-256 of the OAuth state; bound to the session that started it; used once.

    `verifier` is the PKCE code verifier (sealed at rest under the gateway's key).
    """

    state_hash: bytes
    session_hash: bytes
    bank: str
    verifier: str
    errand: Errand
    expires_at: datetime


class ConsentAttempt(Discreet, frozen=True):
    """The consent page, waiting for a decision. Bound to the session, used once. `text_hash` of the text as shown.

    `customer` is known to the bank by now.
    """

    token_hash: bytes
    session_hash: bytes
    customer: str
    errand: Errand
    text_hash: str
    expires_at: datetime


class Pairing(Discreet, frozen=True):
    """A terminal that wants to be linked through a browser. `number` is shown in both places and compared by the customer. Used once."""

    token_hash: bytes
    session_hash: bytes
    number: str
    expires_at: datetime
