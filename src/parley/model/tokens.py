"""What an authorization server hands out and remembers: pushed requests, authorizations, codes, tokens. Values only; times are UTC and aware."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from parley.model.ledger import Discreet
from parley.model.linking import Errand


class AuthorizationRequest(Discreet, frozen=True):
    """What a client asks for, checked, waiting for a customer. `issuer` is the profile's server that was asked.

    `challenge` PKCE S256. `jkt` the thumbprint (RFC 7638) of the DPoP key that the code will be bound to, None where the profile binds none
    yet. `replaces` the id of the authorization that a new consent takes the place of. `audience` the resource that the tokens are for.
    `client_seen` a digest of the client as it was then: one that has changed since is asked to ask again.
    """

    issuer: str
    client: str
    redirect_uri: str
    state: str | None
    challenge: str
    audience: str
    errand: Errand
    client_seen: str
    expires_at: datetime
    jkt: str | None = None
    replaces: str | None = None


class Authorization(Discreet, frozen=True):
    """What a customer allowed one client: the grants, and the conversation in which the road finds them.

    `id` is the `grant_id` of Grant Management: random, told to the client. `version` grows when a new consent takes the old one's place.
    `until` is the latest end of its grants, which no token outlives. `client_seen`: a digest of who the client was when the customer allowed it.
    """

    id: str
    client: str
    issuer: str
    audience: str
    customer: str
    platform: str
    channel: str
    conversation: str
    grants: tuple[str, ...]
    version: int
    created_at: datetime
    until: datetime
    client_seen: str = ""


class Code(Discreet, frozen=True):
    """An authorization code, known by its SHA-256. Bound to client, redirect address, PKCE challenge and, where there is one, DPoP key."""

    client: str
    issuer: str
    redirect_uri: str
    challenge: str
    jkt: str | None
    authorization: str
    version: int
    family: bytes
    expires_at: datetime


class TokenKind(StrEnum):
    ACCESS = "access"
    REFRESH = "refresh"


class Token(Discreet, frozen=True):
    """A token, known by its SHA-256. `family`: all tokens that came of one code, which end together when the code or a token is used twice.

    `jkt` the DPoP key that it is bound to, None for a bearer token. `version` of the authorization that it was made under.
    """

    kind: TokenKind
    client: str
    issuer: str
    audience: str
    authorization: str
    version: int
    family: bytes
    jkt: str | None
    created_at: datetime
    expires_at: datetime
