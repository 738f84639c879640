"""A profile: the rules that one kind of client lives by. Four of them share one server's code, and nothing else.

Each profile is an issuer of its own with its own addresses (RFC 8414 puts a path into the issuer), so that its metadata says what holds
for it, and a code, token or assertion for one is nothing at another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from parley.authorization.server.ports import Params
from parley.model.clients import Client, ClientProfile
from parley.model.grants import Grant
from parley.model.linking import Origin
from parley.model.words import Projection, Purpose


class Authentication(StrEnum):
    """How a client proves who it is, as RFC 8414 spells it in token_endpoint_auth_methods_supported."""

    PRIVATE_KEY_JWT = "private_key_jwt"
    SECRET_BASIC = "client_secret_basic"  # noqa: S105 - the name of a method
    SECRET_POST = "client_secret_post"  # noqa: S105
    NONE = "none"


class Refresh(StrEnum):
    """KEPT: the same refresh token works until the consent ends, so that a lost answer loses nothing (FAPI 2.0 5.3.2.1).
    ROTATES: each works once, and a second use ends the family (OAuth 2.1 4.3.1). NONE: there are none."""

    KEPT = "kept"
    ROTATES = "rotates"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks a customer for, checked against the closed lists. Days; None for what the bank proposes."""

    purposes: tuple[Purpose, ...]
    projections: tuple[Projection, ...]
    lookback_days: int | None = None
    days: int | None = None


AskReader = Callable[[Params, Client], Asked]
"""Reads what is asked for out of a request. Raises OAuthError, PurposeForbidden or PurposeUnknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`path` of its issuer under the public address; `resource` the path of the one resource that its tokens are for.

    `pushed`: requests come by PAR (RFC 9126) only, otherwise by /authorize only. `bound`: tokens are bound to a DPoP key (RFC 9449).
    `details`: asks by authorization_details (RFC 9396), otherwise by `scopes`. `loopback`: a native client's redirect address may be on
    127.0.0.1 or [::1] with any port (RFC 8252 7.3). `channel` of the grants. `pkce_needed` False: a client that proves itself by a secret may
    leave PKCE out, and is held to it where it began with it. `documents`: clients may be known by a document at their own address.
    `scopes_granted` says which scopes a customer's grants amount to; without it, all of `scopes`. `answer_seconds_max`: a platform that gives
    up on a token request after some seconds is told before that to try again.
    """

    kind: ClientProfile
    path: str
    resource: str
    channel: str
    origin: Origin
    reads: AskReader
    authentication: frozenset[Authentication]
    pushed: bool
    bound: bool
    details: bool
    refresh: Refresh
    scopes: tuple[str, ...] = ()
    scopes_granted: Callable[[Iterable[Grant]], tuple[str, ...]] | None = None
    loopback: bool = False
    documents: bool = False
    pkce_needed: bool = True
    answer_seconds_max: float | None = None
    nonces: bool = False
    introspects: bool = True
    access_life: timedelta = timedelta(minutes=5)
    code_life: timedelta = timedelta(seconds=60)
    request_life: timedelta = timedelta(seconds=300)

    @property
    def token_type(self) -> str:
        return "DPoP" if self.bound else "Bearer"


def scopes_of(params: Mapping[str, str]) -> tuple[str, ...]:
    """The scopes named, each once, in the order named."""
    return tuple(dict.fromkeys(params.get("scope", "").split(" "))) if params.get("scope") else ()
