"""A client: a program of somebody else's that may ask a customer for consent, registered by the bank before it can ask anything.

There is no field here for what a client would like to use data for beyond the closed list of purposes: a client that wants to
advertise cannot even be written down.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from parley.model.ledger import Discreet
from parley.model.linking import Asker


class ClientProfile(StrEnum):
    """Which rules a client lives by, and so which audience its tokens are for. A token of one is nothing at the doors of another."""

    FAPI = "fapi"
    MCP = "mcp"
    LINK = "link"
    MESSENGER = "messenger"


class Client(Discreet, frozen=True):
    """`platform` is the recipient that the bank's policy knows; no two clients share one, so that neither's grants are the other's.

    `title` is the client's own word about itself, shown cleaned; `host` where it lives. `verified`: the bank registered it. `jwks` its
    public keys (a JWK Set as JSON, RFC 7517), or `jwks_uri` where to fetch them; `secret_hash` SHA-256 of a secret, for the profiles that have one.
    """

    id: str
    profile: ClientProfile
    platform: str
    title: str
    host: str
    redirect_uris: tuple[str, ...]
    created_at: datetime
    verified: bool = True
    jwks: bytes | None = None
    jwks_uri: str | None = None
    secret_hash: bytes | None = None

    @property
    def asker(self) -> Asker:
        return Asker(self.title, self.host, self.verified)
