"""Who may ask this bank for data: clients registered in a file, and the signed assertions with which they prove who they are (RFC 7523)."""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from parley_sandbox.events import BadSecret, Listener, read_secret

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ("ES256", "PS256", "EdDSA", "Ed25519")
ASSERTION_BYTES_MAX = 8 * 1024
ASSERTION_SECONDS_MAX = 3600
CLOCK_SKEW_SECONDS = 30
REMEMBERED_MAX = 50_000
FILE_BYTES_MAX = 1024 * 1024
RSA_BITS_MIN = 2048

Key = ECKey | RSAKey | OKPKey


class InvalidClient(Exception):
    """The client is not who it says. One exception for every cause, so that a stranger learns nothing from the difference."""


class BadClientFile(Exception):
    """The file of clients cannot be used; the message says why, for the operator."""


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client: its public keys by `kid`, the only addresses to which a customer is ever sent back, and who hears of events."""

    client_id: str
    client_name: str
    redirect_uris: frozenset[str]
    keys: dict[str, Key] = field(repr=False)
    listener: Listener | None = None


class _Registration(msgspec.Struct, forbid_unknown_fields=True):
    client_id: str
    client_name: str
    redirect_uris: list[str]
    jwks: dict[str, list[dict[str, str | list[str] | bool]]]
    events_url: str = ""
    events_secret: str = ""


class ClientRegister:
    """The clients of a file, read again when the file changes; while it cannot be read nobody is a client."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._clients: dict[str, Client] = {}
        if path is not None:
            self._clients = read_clients(path)
            self._stamp = _stamp(path)

    def find(self, client_id: str) -> Client | None:
        """The client of that id, or None."""
        self._reload()
        return self._clients.get(client_id)

    def _reload(self) -> None:
        if self._path is None or (stamp := _stamp(self._path)) == self._stamp:
            return
        try:
            self._clients = read_clients(self._path)
        except BadClientFile as problem:
            self._clients = {}
            print(f"parley-sandbox: no client is accepted: {problem}", file=sys.stderr)
        self._stamp = stamp


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def read_clients(path: Path) -> dict[str, Client]:
    """Reads `[{client_id, client_name, redirect_uris, jwks, events_url?, events_secret?}]`. Raises BadClientFile."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError:
        raise BadClientFile("the file cannot be read") from None
    if len(raw) > FILE_BYTES_MAX:
        raise BadClientFile("the file is larger than one megabyte")
    try:
        registrations = msgspec.json.decode(raw, type=list[_Registration])
    except (msgspec.DecodeError, RecursionError) as problem:
        raise BadClientFile(f"it is not a list of clients ({type(problem).__name__})") from None
    return {registration.client_id: _client(registration) for registration in registrations}


def _client(registration: _Registration) -> Client:
    if not re.fullmatch(r"[A-Za-z0-9._~:/-]{1,200}", registration.client_id):
        raise BadClientFile("a client_id has characters that are not allowed, or is too long")
    if not 1 <= len(registration.client_name) <= 60 or not registration.client_name.isprintable():
        raise BadClientFile("a client_name must be 1 to 60 printable characters")
    if not 1 <= len(registration.redirect_uris) <= 10 or not all(map(_redirect_ok, registration.redirect_uris)):
        raise BadClientFile("a redirect_uri must be https, or http on this machine, without fragment, user or spaces")
    keys = [_key(parameters) for parameters in registration.jwks.get("keys", [])[:10]]
    named = {str(key.kid or ""): key for key in keys}
    if not keys or len(named) != len(keys):
        raise BadClientFile("a client needs one to ten public keys with different kids")
    return Client(registration.client_id, registration.client_name, frozenset(registration.redirect_uris), named, _listener(registration))


def _listener(registration: _Registration) -> Listener | None:
    if not registration.events_url and not registration.events_secret:
        return None
    if not _redirect_ok(registration.events_url):
        raise BadClientFile("an events_url must be https, or http on this machine, without fragment, user or spaces")
    try:
        return Listener(registration.events_url, read_secret(registration.events_secret))
    except BadSecret:
        raise BadClientFile("an events_secret is whsec_ and at least 24 bytes in base64") from None


def _redirect_ok(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        allowed = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))
        return allowed and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc and bool(re.fullmatch(r"[!-\"$-\[\]-~]{1,500}", uri))
    except ValueError:
        return False


def _key(parameters: dict[str, str | list[str] | bool]) -> Key:
    if {"d", "k", "p", "q"} & parameters.keys():
        raise BadClientFile("a jwks holds a private or symmetric key; register public keys only")
    plain: dict[str, str | list[str]] = {name: value for name, value in parameters.items() if not isinstance(value, bool)}
    try:
        key = JWKRegistry.import_key(plain)
    except (JoseError, ValueError, KeyError, TypeError):
        raise BadClientFile("a key in a jwks cannot be read") from None
    if isinstance(key, ECKey) and key.curve_name == "P-256":
        return key
    if isinstance(key, RSAKey) and key.raw_value.key_size >= RSA_BITS_MIN:
        return key
    if isinstance(key, OKPKey) and plain.get("crv") == "Ed25519":
        return key
    raise BadClientFile("keys are P-256, Ed25519 or RSA of at least 2048 bits")


class AssertionCheck:
    """Checks client assertions and remembers their `jti` until they expire, so that none is used twice."""

    def __init__(self, issuer: str, register: ClientRegister, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._register = register
        self._clock = clock
        self._seen: dict[tuple[str, str], float] = {}

    def client(self, fields: dict[str, str]) -> Client:
        """The client that signed `client_assertion`. Raises InvalidClient; secrets and every other way to authenticate are refused."""
        unverified_assertion = fields.get("client_assertion", "")
        if fields.get("client_assertion_type") != ASSERTION_TYPE or "client_secret" in fields:
            raise InvalidClient
        if not unverified_assertion or len(unverified_assertion) > ASSERTION_BYTES_MAX:
            raise InvalidClient
        try:
            client, claims = self._verify(unverified_assertion)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError, msgspec.DecodeError):
            raise InvalidClient from None
        if fields.get("client_id", client.client_id) != client.client_id:
            raise InvalidClient
        self._accept(client, claims)
        return client

    def _verify(self, unverified_assertion: str) -> tuple[Client, dict[str, object]]:
        unverified = jws.extract_compact(unverified_assertion.encode("ascii"))
        unverified_claims = msgspec.json.decode(unverified.payload, type=dict[str, object])
        client = self._register.find(str(unverified_claims.get("iss", "")))
        header = unverified.headers()
        if client is None or header.get("typ", "JWT") not in ("JWT", "client-authentication+jwt"):
            raise InvalidClient
        key = _chosen(client, header.get("kid"))
        verified = jws.deserialize_compact(unverified_assertion, key, algorithms=ALGORITHMS)
        return client, msgspec.json.decode(verified.payload, type=dict[str, object])

    def _accept(self, client: Client, claims: dict[str, object]) -> None:
        now = self._clock()
        expires, jti = claims.get("exp"), claims.get("jti")
        if not claims.get("iss") == claims.get("sub") == client.client_id or claims.get("aud") != self._issuer:
            raise InvalidClient
        if not _number(expires) or not now < expires <= now + ASSERTION_SECONDS_MAX:  # type: ignore[operator]
            raise InvalidClient
        if any(not _number(claims[name]) or claims[name] > now + CLOCK_SKEW_SECONDS for name in ("iat", "nbf") if name in claims):  # type: ignore[operator]
            raise InvalidClient
        if not isinstance(jti, str) or not 1 <= len(jti) <= 200:
            raise InvalidClient
        self._use_once((client.client_id, jti), now, float(expires))  # type: ignore[arg-type]

    def _use_once(self, name: tuple[str, str], now: float, expires: float) -> None:
        if len(self._seen) >= REMEMBERED_MAX:
            self._seen = {seen: until for seen, until in self._seen.items() if until > now}
        if name in self._seen or len(self._seen) >= REMEMBERED_MAX:
            raise InvalidClient
        self._seen[name] = expires


def _chosen(client: Client, kid: object) -> Key:
    """The registered key that the header names; a key inside the header is never looked at."""
    if kid is None and len(client.keys) == 1:
        return next(iter(client.keys.values()))
    if not isinstance(kid, str) or kid not in client.keys:
        raise InvalidClient
    return client.keys[kid]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
