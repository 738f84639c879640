"""An OAuth client that will send anything: the right request by default, and with every part of it open to be bent or left out."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LEFT_OUT = object()
"""In place of a value: the parameter, claim or header is not sent."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a server said. `error` is OAuth's code, from the body or the challenge."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def error(self) -> str:
        told = self.body.get("error")
        if isinstance(told, str):
            return told
        return self.headers.get("www-authenticate", "").partition('error="')[2].partition('"')[0]

    @property
    def summary(self) -> str:
        return f"{self.status} {self.error}".strip()


class RawClient:
    """One registered client at one issuer. `details` is what it asks for with RAR; `key` signs its assertions, `dpop_key` its proofs."""

    def __init__(
        self, issuer: str, client_id: str, key: Key, redirect_uri: str, details: Sequence[Mapping[str, object]], *, scope: str | None = None
    ) -> None:
        self.issuer = issuer
        self.client_id = client_id
        self.key = key
        self.redirect_uri = redirect_uri
        self.details = details
        self.scope = scope
        self.dpop_key: Key = ECKey.generate_key("P-256")
        self.verifier = token_urlsafe(48)
        self.metadata: Mapping[str, Any] = {}

    async def __aenter__(self) -> RawClient:
        self._http = aiohttp.ClientSession()
        self.metadata = (await self.ask("GET", metadata_url(self.issuer))).body
        return self

    async def __aexit__(self, *what: object) -> None:
        await self._http.close()

    async def ask(self, method: str, url: str, *, form: object = None, headers: Mapping[str, str] | None = None) -> Told:
        async with self._http.request(method, url, data=form, headers=headers, allow_redirects=False) as response:
            text = await response.text()
            lower = {name.lower(): value for name, value in response.headers.items()}
        try:
            body = json.loads(text)
        except ValueError:
            body = {}
        return Told(response.status, body if isinstance(body, dict) else {}, lower)

    # The right parts, each open to be bent.

    def assertion(self, *, key: Key | None = None, algorithm: str = "ES256", header: Mapping[str, object] | None = None, **claims: object) -> str:
        moment = int(datetime.now(UTC).timestamp())
        right = {"iss": self.client_id, "sub": self.client_id, "aud": self.issuer, "jti": token_urlsafe(16), "iat": moment, "exp": moment + 50}
        kept = {name: value for name, value in {**right, **claims}.items() if value is not LEFT_OUT}
        return signed({"alg": algorithm, "typ": "JWT", **(header or {})}, kept, key or self.key)

    def proof(
        self, method: str, url: str, *, token: str | None = None, key: Key | None = None, header: Mapping[str, object] | None = None, **claims: object
    ) -> str:
        used = key or self.dpop_key
        right: dict[str, object] = {"htm": method, "htu": url, "iat": int(datetime.now(UTC).timestamp()), "jti": token_urlsafe(16)}
        if token is not None:
            right["ath"] = urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode()
        kept = {name: value for name, value in {**right, **claims}.items() if value is not LEFT_OUT}
        public = {name: value for name, value in used.as_dict(private=False).items() if name in ("kty", "crv", "x", "y", "n", "e")}
        whole = {"typ": "dpop+jwt", "alg": algorithm_of(used), "jwk": public, **(header or {})}
        return signed({name: value for name, value in whole.items() if value is not LEFT_OUT}, kept, used)

    def authenticated(self, form: Mapping[str, object], assertion: str | None = None) -> list[tuple[str, str]]:
        whole = {
            **form,
            **({"client_id": self.client_id} if "client_id" not in form else {}),
            "client_assertion_type": form.get("client_assertion_type", ASSERTION_TYPE),
            "client_assertion": form.get("client_assertion", assertion or self.assertion()),
        }
        return [(name, str(value)) for name, value in whole.items() if value is not LEFT_OUT]

    def request(self, **bent: object) -> dict[str, object]:
        right: dict[str, object] = {
            "response_type": "code",
            "redirect_uri": self.redirect_uri,
            "state": "s" * 32,
            "code_challenge": urlsafe_b64encode(sha256(self.verifier.encode()).digest()).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            "authorization_details": json.dumps(list(self.details)),
        }
        if self.scope is not None:
            right["scope"] = self.scope
        return {**right, **bent}

    # The endpoints.

    @property
    def par_url(self) -> str:
        return str(self.metadata["pushed_authorization_request_endpoint"])

    @property
    def token_url(self) -> str:
        return str(self.metadata["token_endpoint"])

    async def par(self, *, assertion: str | None = None, proof: str | None = None, extra: Sequence[tuple[str, str]] = (), **bent: object) -> Told:
        form = [*self.authenticated(self.request(**bent), assertion), *extra]
        return await self.ask("POST", self.par_url, form=form, headers={"dpop": proof} if proof is not None else None)

    def authorization_url(self, request_uri: str, **beside: str) -> str:
        return f"{self.metadata['authorization_endpoint']}?{urlencode({'client_id': self.client_id, 'request_uri': request_uri, **beside})}"

    async def token(self, *, assertion: str | None = None, proof: object = None, **form: object) -> Told:
        headers = {"dpop": str(proof or self.proof("POST", self.token_url))} if proof is not LEFT_OUT else None
        return await self.ask("POST", self.token_url, form=self.authenticated(form, assertion), headers=headers)

    async def redeem(self, code: str, *, assertion: str | None = None, proof: object = None, **bent: object) -> Told:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect_uri, "code_verifier": self.verifier, **bent}
        return await self.token(assertion=assertion, proof=proof, **form)

    async def refresh(self, token: str, *, assertion: str | None = None, proof: object = None, **bent: object) -> Told:
        return await self.token(assertion=assertion, proof=proof, grant_type="refresh_token", refresh_token=token, **bent)


def metadata_url(issuer: str) -> str:
    """RFC 8414 section 3.1."""
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"


def signed(header: Mapping[str, object], claims: Mapping[str, object], key: Key) -> str:
    registry = jws.JWSRegistry(algorithms=[str(header["alg"])], strict_check_header=False)
    registry.max_header_length = 8192
    return jws.serialize_compact(dict(header), json.dumps(claims), key, registry=registry)


def unsigned(header: Mapping[str, object], claims: Mapping[str, object]) -> str:
    parts = (urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims))
    return f"{'.'.join(parts)}."


def algorithm_of(key: Key) -> str:
    if isinstance(key, RSAKey):
        return "PS256"
    return "EdDSA" if isinstance(key, OKPKey) else "ES256"
