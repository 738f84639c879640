"""`grant_from_token`: what a token that somebody shows is worth, now. The one question that the resource side asks of an authorization server.

A bank that has Keycloak, PingFederate or Curity puts its own in this place (see `parley.authorization.foreign`); the gateway then is the
resource server and keeps the consent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from parley.authorization.server.dpop import Proofs
from parley.authorization.server.errors import OAuthError
from parley.authorization.server.issuing import TOKEN_CHARS_MAX, live_grants
from parley.authorization.server.ports import TokenRecords
from parley.authorization.sessions import hash_token
from parley.model.grants import Grant
from parley.model.ledger import Discreet
from parley.model.tokens import Token, TokenKind


@dataclass(frozen=True, slots=True)
class Shown:
    """What came with a request: the Authorization header's scheme and token, every DPoP header, the method, and the address without query."""

    scheme: str
    token: str = field(repr=False)
    proofs: Sequence[str] = field(repr=False)
    method: str
    url: str


class Access(Discreet, frozen=True):
    """What the token opens: these grants of this customer, in this conversation, and nothing else of hers. `id` is the client's grant_id."""

    id: str
    client: str
    customer: str
    platform: str
    channel: str
    conversation: str
    grants: tuple[Grant, ...]


class GrantSource(Protocol):
    """An authorization server, as the resource side needs it."""

    async def grant_from_token(self, shown: Shown) -> Access:
        """Raises OAuthError("invalid_token", 401) and the like for a token that is worth nothing here, or a Fault."""


class OwnTokens:
    """Tokens of our own server: opaque, for one audience, resolved through the grants as they are at this moment."""

    def __init__(self, issuer: str, audience: str, records: TokenRecords, proofs: Proofs | None, clock: Callable[[], datetime]) -> None:
        """`proofs` None: the profile's tokens are bearer tokens."""
        self._issuer = issuer
        self._audience = audience
        self._records = records
        self._proofs = proofs
        self._clock = clock

    async def grant_from_token(self, shown: Shown) -> Access:
        # 1. The token is shown in the way that the profile has. A bound token as a bearer token is nothing.
        if shown.scheme.lower() != ("dpop" if self._proofs is not None else "bearer") or not 0 < len(shown.token) <= TOKEN_CHARS_MAX:
            raise no_token()
        found = await self._records.find_token(hash_token(shown.token), self._clock())
        # 2. Whoever shows it holds the key. Checked for unknown tokens too, so that nothing is told apart by what comes first; but a stranger
        #    makes proofs by the thousand, and those of unknown tokens leave no row.
        jkt = await self._key(shown, remembered=found is not None)
        # 3. It is one of ours, for this very resource, and bound to that key.
        if found is None or not self._fits(found[0], jkt):
            raise no_token()
        # 4. What the customer allowed still stands.
        authorization = found[1]
        grants = await live_grants(self._records, authorization, self._clock())
        if not grants:
            raise no_token()
        return Access(
            id=authorization.id,
            client=authorization.client,
            customer=authorization.customer,
            platform=authorization.platform,
            channel=authorization.channel,
            conversation=authorization.conversation,
            grants=grants,
        )

    async def _key(self, shown: Shown, *, remembered: bool) -> str | None:
        if self._proofs is None:
            return None
        return await self._proofs.key_of(shown.proofs, method=shown.method, url=shown.url, token=shown.token, status=401, remembered=remembered)

    def _fits(self, token: Token, jkt: str | None) -> bool:
        ours = (TokenKind.ACCESS, self._issuer, self._audience, jkt)
        return (token.kind, token.issuer, token.audience, token.jkt) == ours


def no_token() -> OAuthError:
    return OAuthError("invalid_token", "The token is unknown, has expired, was taken back, or is for something else.", status=401)
