"""Our side of DPoP (RFC 9449) towards one bank: a proof beside every request, so that a token that is stolen there or here is worth nothing alone.

A wrapper around the Transport port, so that neither the OAuth client nor a bank's connector knows the difference: what goes out as a
bearer token goes out bound to our key instead.
"""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from urllib.parse import urlsplit

from parley.authorization.client_key import ClientKey
from parley.model.transport import Transport, TransportResponse

NONCE = re.compile(r"[!#-\[\]-~]{1,512}")
"""RFC 9449 section 8.1: a nonce is made of NQCHAR."""
ORIGINS_MAX = 8
"""A bank's authorization server and its API, and then some."""


class DpopTransport:
    """Implements parley.model.transport.Transport. One key for each bank: a bank that saw our proofs cannot use them at another.

    `key` is used for nothing else. `clock` gives aware UTC. `secret` gives a fresh identifier for each proof.
    """

    def __init__(
        self, transport: Transport, key: ClientKey, clock: Callable[[], datetime], *, secret: Callable[[], str] = lambda: secrets.token_urlsafe(16)
    ) -> None:
        self._transport = transport
        self._key = key
        self._clock = clock
        self._secret = secret
        self._nonces: dict[str, str] = {}

    async def get(self, url: str, headers: Mapping[str, str], *, seconds: float, bytes_max: int) -> TransportResponse:
        """Sent again once where the server wants its nonce in the proof (RFC 9449 section 9), and never a third time."""
        for asked_before in (False, True):
            response = await self._transport.get(url, self._bound("GET", url, headers), seconds=seconds, bytes_max=bytes_max)
            if not self._brought_nonce(url, response) or not wants_nonce(response) or asked_before:
                break
        return response

    async def post_form(self, url: str, form: Mapping[str, str], headers: Mapping[str, str], *, seconds: float, bytes_max: int) -> TransportResponse:
        """Never sent again here: the form holds an assertion that works once. Its sender asks anew, see `wants_nonce`."""
        response = await self._transport.post_form(url, form, self._bound("POST", url, headers), seconds=seconds, bytes_max=bytes_max)
        self._brought_nonce(url, response)
        return response

    def _bound(self, method: str, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        bearer = token if scheme.lower() == "bearer" else None
        bound = dict(headers)
        if bearer is not None:
            bound["authorization"] = f"DPoP {bearer}"
        bound["dpop"] = self._proof(method, url, bearer)
        return bound

    def _proof(self, method: str, url: str, token: str | None) -> str:
        claims: dict[str, str | int] = {
            "jti": self._secret(),
            "htm": method,
            "htu": without_query(url),
            "iat": int(self._clock().timestamp()),
        }
        if token is not None:
            claims["ath"] = urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode()
        nonce = self._nonces.get(origin_of(url))
        if nonce is not None:
            claims["nonce"] = nonce
        return self._key.proof(claims)

    def _brought_nonce(self, url: str, response: TransportResponse) -> bool:
        """Keeps the server's nonce for the next proof. True for one that we did not have."""
        nonce = response.headers.get("dpop-nonce", "")
        origin = origin_of(url)
        if not NONCE.fullmatch(nonce) or self._nonces.get(origin) == nonce:
            return False
        if len(self._nonces) >= ORIGINS_MAX and origin not in self._nonces:
            self._nonces.clear()
        self._nonces[origin] = nonce
        return True


def wants_nonce(response: TransportResponse) -> bool:
    """The request was not looked at for want of the server's nonce, so no code or token in it is used up.

    A token endpoint says so in the body of a 400 (RFC 9449 section 8), an API in the challenge of a 401 (section 9).
    """
    if response.status == 400:
        return b'"use_dpop_nonce"' in response.unverified_body
    return response.status == 401 and (
        "use_dpop_nonce" in response.headers.get("www-authenticate", "") or b'"use_dpop_nonce"' in response.unverified_body
    )


def without_query(url: str) -> str:
    """`htu`: the address without query and fragment (RFC 9449 section 4.2)."""
    return url.partition("#")[0].partition("?")[0]


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
