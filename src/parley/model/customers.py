"""What the customer's own page keeps: sign-ins, passkeys, and what each platform has learned. Values only; times are UTC and aware."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from parley.model.ledger import Discreet
from parley.model.words import Projection, Purpose


class SignInMethod(StrEnum):
    """How she proved who she is."""

    PASSKEY = "passkey"
    BANK = "bank"


class SignIn(Discreet, frozen=True):
    """A browser in which a customer is signed in to her own page.

    `token_hash` SHA-256 of the cookie's token, `device` a few words of ours (a browser and a system), `proved_at` when she last proved
    who she is, `seen_at` when it was last used (to the minute), `expires_at` its absolute end.
    """

    token_hash: bytes
    customer: str
    csrf: str
    method: SignInMethod
    device: str
    signed_in_at: datetime
    proved_at: datetime
    seen_at: datetime
    expires_at: datetime


class StoredPasskey(Discreet, frozen=True):
    """A passkey of a customer. `public_key` is COSE (RFC 9052); `uses` counts its sign-ins, so that two at once cannot both count."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    name: str
    created_at: datetime
    used_at: datetime | None = None
    uses: int = 0


class PasskeyUse(StrEnum):
    """What a challenge was made for; an answer to one is no answer to another."""

    SIGN_IN = "sign-in"
    STEP_UP = "step-up"
    ADD = "add"


class PasskeyChallenge(Discreet, frozen=True):
    """A challenge that waits for its passkey. Bound to the browser by a token that it holds, used once. `customer` None before a sign-in."""

    token_hash: bytes
    use: PasskeyUse
    customer: str | None
    challenge: bytes
    expires_at: datetime


class Disclosed(Discreet, frozen=True, array_like=True):
    """One release, as the customer's ledger remembers it: what kind of thing went where, and where its receipt is. Never a value."""

    grant_id: str
    grant_version: int
    platform: str
    channel: str
    projection: Projection
    purpose: Purpose
    records: int
    log_index: int
    at: datetime


class LedgerLine(Discreet, frozen=True):
    """A disclosure and its number in her ledger: 1 is the oldest."""

    number: int
    disclosed: Disclosed


class Spent(Discreet, frozen=True):
    """What one grant has used of its budget on one UTC day."""

    answers: int
    rows: int
