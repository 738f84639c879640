"""Registering a client: what the bank must know before a program may ask anybody anything. Checked here, whoever registers."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from urllib.parse import urlsplit

from parley.authorization.server.client_keys import read_keys
from parley.authorization.server.fetch import FetchRefused, checked_url
from parley.authorization.server.jose import BadJwt
from parley.authorization.server.requests import LOOPBACK
from parley.model.clients import Client, ClientProfile
from parley.model.strangers import clean

CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PLATFORM = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
HOST = re.compile(r"(?=.{1,100}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
REDIRECTS_MAX = 10
REDIRECT_CHARS_MAX = 512
SECRET_BYTES = 32
WITH_KEYS = frozenset({ClientProfile.FAPI})
WITH_SECRET = frozenset({ClientProfile.LINK})
WITH_LOOPBACK = frozenset({ClientProfile.FAPI, ClientProfile.MCP})
"""Native apps, and developers' own machines, take answers on a literal loopback address, where nobody listens in between (RFC 8252 7.3)."""


class BadRegistration(Exception):
    """The client cannot be registered as it is; the message says what to mend."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What a bank's operator says of a client. There is no field for what data is to be used for: purposes are a closed list."""

    client_id: str
    profile: ClientProfile
    platform: str
    title: str
    host: str
    redirect_uris: tuple[str, ...]
    jwks: bytes | None = field(default=None, repr=False)
    jwks_uri: str | None = None


def registered(asked: Registration, hosts: Collection[str], now: datetime) -> tuple[Client, str | None]:
    """(the client, its secret where its profile has one: 256 random bits, kept nowhere). `hosts`: where keys may be fetched from.

    Raises BadRegistration.
    """
    if not CLIENT_ID.fullmatch(asked.client_id):
        raise BadRegistration("the id is 1 to 64 letters, digits, dots, hyphens and underscores")
    if not PLATFORM.fullmatch(asked.platform):
        raise BadRegistration("the platform is one that the policy names: small letters, digits, dots, hyphens and underscores")
    if clean(asked.title) != asked.title or not asked.title:
        raise BadRegistration("the title is one line of at most 64 visible characters")
    if not HOST.fullmatch(asked.host):
        raise BadRegistration("the host is a name such as partner.example, in small ASCII letters")
    _check_redirects(asked)
    jwks = _checked_keys(asked, hosts)
    secret = secrets.token_urlsafe(SECRET_BYTES) if asked.profile in WITH_SECRET else None
    client = Client(
        id=asked.client_id,
        profile=asked.profile,
        platform=asked.platform,
        title=asked.title,
        host=asked.host,
        redirect_uris=asked.redirect_uris,
        created_at=now,
        jwks=jwks,
        jwks_uri=asked.jwks_uri,
        secret_hash=sha256(secret.encode()).digest() if secret is not None else None,
    )
    return client, secret


def _check_redirects(asked: Registration) -> None:
    if not 1 <= len(asked.redirect_uris) <= REDIRECTS_MAX or len(set(asked.redirect_uris)) != len(asked.redirect_uris):
        raise BadRegistration(f"1 to {REDIRECTS_MAX} redirect addresses, each once")
    for address in asked.redirect_uris:
        if not _is_redirect(address, asked.profile):
            raise BadRegistration("a redirect address is https, without user, fragment or wildcard; http on 127.0.0.1 or [::1] for apps only")


def _is_redirect(address: str, profile: ClientProfile) -> bool:
    if len(address) > REDIRECT_CHARS_MAX or not re.fullmatch(r"[!-~]+", address) or any(sign in address for sign in "\\*<>\"'`{}|^#;"):
        return False
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.password is not None:
        return False
    if parts.scheme == "https":
        return HOST.fullmatch(host) is not None and "." in host and address.startswith(f"https://{host}")
    return profile in WITH_LOOPBACK and LOOPBACK.match(address) is not None


def _checked_keys(asked: Registration, hosts: Collection[str]) -> bytes | None:
    if asked.profile not in WITH_KEYS:
        if asked.jwks is not None or asked.jwks_uri is not None:
            raise BadRegistration("clients of this profile have no keys")
        return None
    if (asked.jwks is None) == (asked.jwks_uri is None):
        raise BadRegistration("a client of this profile has keys: a JWK Set, or an address of one")
    if asked.jwks_uri is not None:
        try:
            checked_url(asked.jwks_uri, hosts)
        except FetchRefused:
            raise BadRegistration("jwks_uri is an https address, on port 443, of a host in the setting client_hosts") from None
        return None
    try:
        read_keys(asked.jwks or b"")
        return json.dumps(json.loads(asked.jwks or b""), separators=(",", ":")).encode()
    except (BadJwt, ValueError):
        raise BadRegistration(
            "the JWK Set holds public keys only: RSA of 2048 to 4096 bits, EC on P-256, or Ed25519, each with a kid of its own"
        ) from None
