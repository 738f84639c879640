"""A partner's program and its customer's browser: what a registered client sends, right or wrong, signed with keys of its own."""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
DETAILS = {"type": "parley_account_answers", "purpose": "answer_customer", "projections": ["balance.available", "afford.yesno"]}
Key = ECKey | RSAKey | OKPKey


class LongHeaders(jws.JWSRegistry):
    max_header_length = 8192


def new_key(algorithm: str = "ES256") -> Key:
    if algorithm in ("PS256", "RS256"):
        return RSAKey.generate_key(2048)
    return OKPKey.generate_key("Ed25519") if algorithm in ("EdDSA", "Ed25519") else ECKey.generate_key("P-256")


def signed(header: Mapping[str, Any], claims: Any, key: Any) -> str:
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    told = {name: value for name, value in header.items() if value is not None}
    registry = LongHeaders(algorithms=[header["alg"]], strict_check_header=False)
    return jws.serialize_compact(told, body, key, registry=registry)


def public(key: Key, **more: str) -> dict[str, Any]:
    return {**key.as_dict(private=False), **more}


def thumbprint_of(key: Key) -> str:
    return key.thumbprint()


def s256(verifier: str) -> str:
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@dataclass
class Partner:
    """A FAPI client. `clock` seconds since 1970. Every method takes changes, so that a test can send what no honest client would."""

    issuer: str
    client_id: str = "partner"
    redirect_uri: str = "https://partner.example/callback"
    algorithm: str = "ES256"
    key: Key = field(default_factory=new_key)
    dpop_key: Key = field(default_factory=new_key)
    clock: Callable[[], float] = time.time
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    kid: str = "key-1"

    @property
    def jwks(self) -> bytes:
        return json.dumps({"keys": [public(self.key, kid=self.kid, use="sig", alg=self.algorithm)]}).encode()

    def assertion(self, *, header: Mapping[str, Any] | None = None, key: Key | None = None, **changes: Any) -> str:
        """A change to None leaves the claim out."""
        now = int(self.clock())
        claims = {"iss": self.client_id, "sub": self.client_id, "aud": self.issuer, "jti": secrets.token_hex(12), "iat": now, "exp": now + 60}
        told = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        return signed({"alg": self.algorithm, "kid": self.kid, **(header or {})}, told, key or self.key)

    def proof(
        self, method: str, url: str, token: str | None = None, *, header: Mapping[str, Any] | None = None, key: Key | None = None, **changes: Any
    ) -> str:
        by = key or self.dpop_key
        algorithm = {"RSA": "PS256", "EC": "ES256", "OKP": "EdDSA"}[by.key_type]
        claims: dict[str, Any] = {"jti": secrets.token_hex(12), "htm": method, "htu": url, "iat": int(self.clock())}
        if token is not None:
            claims["ath"] = s256(token)
        told = {name: value for name, value in {**claims, **changes}.items() if value is not None}
        return signed({"alg": algorithm, "typ": "dpop+jwt", "jwk": public(by), **(header or {})}, told, by)

    def authenticated(self, params: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
        """The parameters with an assertion; `changes` are to the assertion's claims."""
        return {
            "client_id": self.client_id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self.assertion(**changes),
            **params,
        }

    def asked(self, **changes: Any) -> dict[str, Any]:
        """Parameters of an authorization request; a change to None leaves one out."""
        params = {
            "response_type": "code",
            "redirect_uri": self.redirect_uri,
            "state": "state-of-the-partner",
            "code_challenge": s256(self.verifier),
            "code_challenge_method": "S256",
            "authorization_details": json.dumps([DETAILS]),
        }
        return {name: value for name, value in {**params, **changes}.items() if value is not None}

    def redeeming(self, code: str, **changes: Any) -> dict[str, Any]:
        params = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect_uri, "code_verifier": self.verifier}
        return {name: value for name, value in {**params, **changes}.items() if value is not None}

    def authorize_url(self, request_uri: str) -> str:
        return f"{self.issuer}/authorize?" + urlencode({"client_id": self.client_id, "request_uri": request_uri})


def answer_in(address: str) -> dict[str, str]:
    """What the client is told in the address that the browser was sent to."""
    return dict(parse_qsl(urlsplit(address).query, keep_blank_values=True))
