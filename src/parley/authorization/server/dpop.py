"""DPoP proofs (RFC 9449): whoever shows a token also shows, freshly and for this very request, that she holds the key it is bound to.

The attacks: a proof taken from another request (method, address and token are in it), one that was seen before (remembered by all
processes together and across restarts), one made in advance (its age, and our nonce where the profile asks for one).
"""

from __future__ import annotations

import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from parley.authorization.server.errors import OAuthError
from parley.authorization.server.jose import BadJwt, check_signature, instant, public_key, read_jwt, text
from parley.authorization.server.ports import TokenRecords

AGE_SECONDS_MAX = 60.0
NONCE_SECONDS_MAX = 300
NONCE_CHARS_MAX = 256


class Proofs:
    """Checks DPoP proofs. `nonces`: a proof must carry a nonce of ours; one that carries one is always held to it."""

    def __init__(self, records: TokenRecords, clock: Callable[[], datetime], *, nonces: bool) -> None:
        self._records = records
        self._clock = clock
        self._nonces = nonces

    async def key_of(
        self, proofs: Sequence[str], *, method: str, url: str, token: str | None = None, status: int = 400, remembered: bool = True
    ) -> str:
        """The thumbprint (RFC 7638) of the key behind the one proof of this request. Raises OAuthError with `status`.

        `url` as the client knows it, without query. `token`: the access token that the proof must be for. `remembered` False: for a caller
        that is refused whatever the proof says, or asked again once she is known; a proof costs a stranger nothing and must cost no row.
        """
        if len(proofs) != 1:
            raise OAuthError("invalid_dpop_proof", "Exactly one DPoP header is needed.", status=status)
        try:
            return await self._checked(proofs[0], method, url, token, status, remembered)
        except BadJwt as bad:
            raise OAuthError("invalid_dpop_proof", f"The DPoP proof is not good: {bad}.", status=status) from None

    def nonce(self) -> str:
        """A nonce that any process of this house knows again, and nobody can make."""
        note = struct.pack(">Q", int(self._clock().timestamp()))
        return urlsafe_b64encode(self._records.seal_note("dpop nonce", note)).rstrip(b"=").decode()

    async def _checked(self, proof: str, method: str, url: str, token: str | None, status: int, remembered: bool) -> str:
        # 1. It is a proof, and its own key signed it.
        header, claims = read_jwt(proof, types=frozenset({"dpop+jwt"}))
        key = public_key(header.get("jwk"))
        check_signature(proof, header["alg"], key)
        # 2. It was made for this request, and for this token.
        if claims.get("htm") != method:
            raise BadJwt("htm")
        if not same_address(text(claims, "htu", 2048), url):
            raise BadJwt("htu")
        if token is not None and not hmac.compare_digest(text(claims, "ath").encode(), _digest(token)):
            raise BadJwt("ath")
        # 3. It was made now. Our own nonce, where there is one, proves the same without trusting the client's clock.
        now = self._clock().timestamp()
        issued = instant(claims, "iat")
        if issued is None or abs(now - issued) > AGE_SECONDS_MAX:
            raise BadJwt("iat")
        if not self._fresh_nonce(claims, now):
            raise OAuthError("use_dpop_nonce", "A fresh nonce is needed.", status=status, headers={"dpop-nonce": self.nonce()})
        # 4. It was never seen before. Last, so that what is refused leaves no row.
        thumbprint = key.thumbprint()
        until = datetime.fromtimestamp(issued + AGE_SECONDS_MAX, UTC) + timedelta(seconds=1)
        name = f"{thumbprint}\0{text(claims, 'jti')}"
        if remembered and not await self._records.see_once("proof", name, until):
            raise BadJwt("jti")
        return thumbprint

    def _fresh_nonce(self, claims: dict[str, Any], now: float) -> bool:
        nonce = claims.get("nonce")
        if nonce is None:
            return not self._nonces
        if not isinstance(nonce, str) or not 0 < len(nonce) <= NONCE_CHARS_MAX or not nonce.isascii():
            return False
        try:
            sealed = urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4))
        except ValueError:
            return False
        note = self._records.open_note("dpop nonce", sealed)
        return note is not None and -5 <= now - struct.unpack(">Q", note)[0] <= NONCE_SECONDS_MAX


def same_address(stated: str, ours: str) -> bool:
    """Scheme and host in any case, the usual port written or not, query and fragment left out (RFC 9449 4.3 check 9)."""
    try:
        left, right = urlsplit(stated), urlsplit(ours)
        ports = {"https": 443, "http": 80}
        same_port = (left.port or ports.get(left.scheme.lower())) == (right.port or ports.get(right.scheme))
    except ValueError:
        return False
    plain = left.username is None and left.scheme.lower() == right.scheme and left.hostname == right.hostname
    return plain and same_port and (left.path or "/") == (right.path or "/")


def _digest(token: str) -> bytes:
    return urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=")
