"""Is this truly the client? private_key_jwt (RFC 7523, as FAPI 2.0 Final narrows it), secrets for the profiles that have them, or a name alone.

The attacks: an assertion meant for another server (the audience is our issuer, as a string, and nothing else), one that was seen before,
a key that the assertion brings along itself, a client that is asked about to learn whether it exists.
"""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from urllib.parse import unquote_plus

from joserfc.jwk import ECKey

from parley.authorization.server.client_keys import ClientKeys
from parley.authorization.server.errors import NoClient
from parley.authorization.server.jose import BadJwt, check_signature, instant, read_jwt, text
from parley.authorization.server.ports import ClientRecords, Params, TokenRecords
from parley.authorization.server.profile import Authentication, Profile
from parley.model.clients import Client

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_TYPES: frozenset[str | None] = frozenset({None, "jwt", "client-authentication+jwt"})
AHEAD_SECONDS_MAX = 30.0
"""Clocks differ: FAPI 2.0 5.3.2.1 wants 10 seconds accepted and 60 refused."""
LIFE_SECONDS_MAX = 600.0
"""An assertion's id is remembered until it expires, so nobody may ask for years of it."""
CLIENT_ID = re.compile(r"[!-~]{1,512}")
"""What may be looked up at all; registration is stricter, and a client that is known by a document has its address for a name."""
_NOBODY = ECKey.generate_key("P-256", private=False)
"""A signature is checked for a client that does not exist, too, so that the time taken does not tell."""


class ClientGate:
    """Finds out which client is calling, for one profile. Raises NoClient, the same for every reason."""

    def __init__(
        self, profile: Profile, issuer: str, clients: ClientRecords, records: TokenRecords, keys: ClientKeys, clock: Callable[[], datetime]
    ) -> None:
        self._profile = profile
        self._issuer = issuer
        self._clients = clients
        self._records = records
        self._keys = keys
        self._clock = clock

    async def named(self, client_id: str) -> Client | None:
        """The client of this name, if it lives by this profile. Proves nothing."""
        if not CLIENT_ID.fullmatch(client_id):
            return None
        client = await self._clients.find_client(client_id)
        return client if client is not None and client.profile is self._profile.kind else None

    async def proved(self, params: Params, headers: Mapping[str, str]) -> Client:
        """The client that sent this. `headers` with lower-case names, a repeated one joined by commas."""
        methods = self._profile.authentication
        basic, assertion, secret = "authorization" in headers, "client_assertion" in params, "client_secret" in params
        if basic + assertion + secret > 1:
            raise NoClient
        if assertion and Authentication.PRIVATE_KEY_JWT in methods:
            return await self._by_assertion(params)
        if basic and Authentication.SECRET_BASIC in methods:
            return await self._by_secret(*_basic(headers["authorization"]), params)
        if secret and Authentication.SECRET_POST in methods:
            return await self._by_secret(params.get("client_id", ""), params["client_secret"], params)
        if not (basic or assertion or secret) and Authentication.NONE in methods:
            client = await self.named(params.get("client_id", ""))
            if client is not None:
                return client
        raise NoClient

    async def _by_assertion(self, params: Params) -> Client:
        if params.get("client_assertion_type") != ASSERTION_TYPE:
            raise NoClient
        try:
            return await self._asserted(params["client_assertion"], params.get("client_id"))
        except BadJwt:
            raise NoClient from None

    async def _asserted(self, assertion: str, named: str | None) -> Client:
        # 1. What does it say, in what form? Nothing of it is believed yet.
        header, claims = read_jwt(assertion, types=ASSERTION_TYPES)
        client_id = text(claims, "sub")
        # 2. It says the same client everywhere, and speaks to us alone.
        if text(claims, "iss") != client_id or (named is not None and named != client_id):
            raise BadJwt("iss")
        if claims.get("aud") != self._issuer:
            raise BadJwt("aud")
        # 3. The client's own registered key signed it.
        client = await self.named(client_id)
        if client is None:
            check_signature(assertion, "ES256", _NOBODY)
            raise BadJwt("sub")
        check_signature(assertion, header["alg"], await self._keys.key(client, header))
        # 4. It is of now.
        now = self._clock().timestamp()
        expires = instant(claims, "exp")
        if expires is None or not now < expires <= now + LIFE_SECONDS_MAX:
            raise BadJwt("exp")
        if any((instant(claims, name) or 0) > now + AHEAD_SECONDS_MAX for name in ("iat", "nbf")):
            raise BadJwt("iat")
        # 5. It was never seen before, by any process. Last, so that a stranger's assertion leaves no row.
        until = datetime.fromtimestamp(expires, UTC) + timedelta(seconds=1)
        if not await self._records.see_once("assertion", f"{self._issuer}\0{client_id}\0{text(claims, 'jti')}", until):
            raise BadJwt("jti")
        return client

    async def _by_secret(self, client_id: str, secret: str, params: Params) -> Client:
        client = await self.named(client_id)
        expected = client.secret_hash if client is not None else None
        right = hmac.compare_digest(sha256(secret.encode()).digest(), expected or bytes(32))
        if client is None or expected is None or not right or params.get("client_id", client_id) != client_id:
            raise NoClient
        return client


def _basic(header: str) -> tuple[str, str]:
    """(id, secret), form-encoded as RFC 6749 2.3.1 has it. Raises NoClient."""
    scheme, _, value = header.partition(" ")
    try:
        client_id, colon, secret = b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise NoClient from None
    if scheme.lower() != "basic" or not colon or len(value) > 2048:
        raise NoClient
    return unquote_plus(client_id), unquote_plus(secret)
