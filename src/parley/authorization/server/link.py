"""The profile of account linking: a voice platform holds a token that says which customer stands behind one of its users, and no more.

The token is a link credential. It is for the webhook of that platform alone, and worth nothing there without the platform's own verified
signature on the very request that carries it: who steals it from the platform can ask us nothing with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from parley.authorization.server.errors import OAuthError
from parley.authorization.server.issuing import live_grants
from parley.authorization.server.ports import ClientRecords, Params, TokenRecords
from parley.authorization.server.profile import Asked, Authentication, Profile, Refresh, scopes_of
from parley.authorization.sessions import hash_token
from parley.model.clients import Client, ClientProfile
from parley.model.ledger import Discreet
from parley.model.linking import Origin
from parley.model.refusals import ForgedMessage, NotLinked
from parley.model.stages import Envelope
from parley.model.tokens import TokenKind
from parley.model.words import Purpose

SCOPE = "link"
ACCESS_LIFE = timedelta(hours=1)
TOKEN_ANSWER_SECONDS_MAX = 4.0
"""The strictest platform gives up on a token request after 4.5 seconds."""


def read_link(params: Params, client: Client) -> Asked:
    """A platform asks for a link and nothing more; what may be answered there is the customer's choice on our page. Raises OAuthError."""
    if "authorization_details" in params or not set(scopes_of(params)) <= {SCOPE}:
        raise OAuthError("invalid_scope", "The scope is link.")
    return Asked((Purpose.ANSWER_CUSTOMER,), ())


def link_profile(channel: str) -> Profile:
    """The profile of one platform, such as "alexa": an issuer, an audience and a webhook of its own."""
    return Profile(
        kind=ClientProfile.LINK,
        path=f"/linking/{channel}",
        resource=f"/webhooks/{channel}",
        channel=channel,
        origin=Origin.OAUTH,
        reads=read_link,
        authentication=frozenset({Authentication.SECRET_BASIC, Authentication.SECRET_POST}),
        pushed=False,
        bound=False,
        details=False,
        refresh=Refresh.KEPT,
        scopes=(SCOPE,),
        introspects=False,
        pkce_needed=False,
        answer_seconds_max=TOKEN_ANSWER_SECONDS_MAX,
        access_life=ACCESS_LIFE,
    )


class ClientsOfPlatform:
    """The clients of one platform: another platform's client is nobody here, though it lives by the same profile. Implements ClientRecords."""

    def __init__(self, registered: ClientRecords, platform: str) -> None:
        self._registered = registered
        self._platform = platform

    async def find_client(self, client_id: str) -> Client | None:
        client = await self._registered.find_client(client_id)
        return client if client is not None and client.platform == self._platform else None


class PlatformSignature(Protocol):
    """The platform's own proof on a request: its certificate chain, its ID token, its HMAC. What checks it lives with the channel."""

    def check(self, envelope: Envelope) -> None:
        """Raises ForgedMessage unless the platform truly sent this very body, lately."""


class LinkedUser(Discreet, frozen=True):
    """Who stands behind a link token: the conversation in which the road finds the customer, on this platform and channel."""

    conversation: str
    platform: str
    channel: str


class LinkTokens:
    """Reads the link tokens of one platform. `issuer` and `audience` are that profile's; `signature` proves the platform."""

    def __init__(
        self, issuer: str, audience: str, platform: str, records: TokenRecords, signature: PlatformSignature, clock: Callable[[], datetime]
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._platform = platform
        self._records = records
        self._signature = signature
        self._clock = clock

    async def user(self, token: str, envelope: Envelope) -> LinkedUser:
        """Raises ForgedMessage without the platform's proof, whatever the token; NotLinked for a token that is not good here now."""
        # 1. The platform sent this. Checked first: a token alone opens nothing, and nobody may try tokens out.
        self._signature.check(envelope)
        # 2. The token was made for this platform's webhook, and stands.
        if not re.fullmatch(r"[A-Za-z0-9_-]{43}", token):
            raise NotLinked("no token of ours")
        now = self._clock()
        found = await self._records.find_token(hash_token(token), now)
        if found is None:
            raise NotLinked("unknown or ended")
        held, authorization = found
        if held.kind is not TokenKind.ACCESS or (held.issuer, held.audience) != (self._issuer, self._audience):
            raise NotLinked("made for another audience")
        if authorization.platform != self._platform:
            raise ForgedMessage("made for another platform")
        # 3. Something that the customer allowed still stands.
        if not await live_grants(self._records, authorization, now):
            raise NotLinked("nothing is granted any more")
        return LinkedUser(authorization.conversation, authorization.platform, authorization.channel)
