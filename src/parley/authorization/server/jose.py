"""Signed JWTs that strangers present (RFC 7515, 7519): read within limits, checked with keys that the caller already trusts.

Traps closed here: the algorithm is on our list before a signature is looked at; a key in the header is never used unless it is a DPoP
proof's; nested JSON may raise RecursionError; a number that is a boolean or not finite is no time.
"""

from __future__ import annotations

import binascii
import json
import warnings
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, TypeAlias

from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

Key: TypeAlias = ECKey | OKPKey | RSAKey

JWT_CHARS_MAX = 8 * 1024
HEADER_BYTES_MAX = 2048
"""A DPoP proof carries its key in the header: 573 bytes with RSA-2048, where joserfc by itself stops at 512."""

INSTANT_MAX = 2**40
"""Seconds since 1970: some thirty thousand years, and what is not a number or infinite is not below it either."""

RSA_BITS_MIN = 2048
RSA_BITS_MAX = 4096
"""Checking a signature of a longer key costs us more than making one costs the stranger."""

ALGORITHMS: Mapping[str, type[Key]] = {"PS256": RSAKey, "ES256": ECKey, "EdDSA": OKPKey, "Ed25519": OKPKey}
"""FAPI 2.0 5.4: PS256, ES256 and EdDSA with Ed25519. Nothing else is ever asked of the library, `none` and HS256 least of all."""

CURVES: Mapping[type[Key], str] = {ECKey: "P-256", OKPKey: "Ed25519"}


warnings.filterwarnings("ignore", category=SecurityWarning)
"""The library would write a line of its own into the diagnostics for a stranger's weak key. What is weak is refused here, without a word."""


class BadJwt(Exception):
    """It cannot be believed. The message names the check that failed, for tests; nothing of the token."""


def read_jwt(token: str, *, types: frozenset[str | None]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(header, claims) of a compact JWS, believed in nothing yet. Raises BadJwt for a `typ` not in `types`, `crit`, or an algorithm not ours."""
    if len(token) > JWT_CHARS_MAX or not token.isascii() or token.count(".") != 2:
        raise BadJwt("form")
    header_text, claims_text, _ = token.split(".")
    header, claims = _json_object(header_text), _json_object(claims_text)
    typ, algorithm = header.get("typ"), header.get("alg")
    if not isinstance(typ, str | None) or (typ.lower() if typ is not None else None) not in types:
        raise BadJwt("typ")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or "crit" in header or "b64" in header:
        raise BadJwt("alg")
    return header, claims


def check_signature(token: str, algorithm: str, key: Key) -> None:
    """Raises BadJwt unless this very key signed it with this algorithm."""
    if not isinstance(key, ALGORITHMS[algorithm]):
        raise BadJwt("key")
    # The library passes over its `algorithms` argument where it is handed a registry, so the registry itself names the one algorithm.
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    registry.max_header_length = HEADER_BYTES_MAX
    try:
        jws.deserialize_compact(token, key, registry=registry)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise BadJwt("signature") from None


def public_key(jwk: Any) -> Key:
    """A public key that is strong enough, from a JWK that a stranger wrote. Raises BadJwt for private, symmetric, weak and unknown ones."""
    if not isinstance(jwk, dict) or any(name in jwk for name in ("d", "k", "p", "q", "dp", "dq", "qi", "oth")):
        raise BadJwt("key")
    known = {name: value for name, value in jwk.items() if name in ("kty", "crv", "x", "y", "n", "e") and isinstance(value, str)}
    if sum(map(len, known.values())) > HEADER_BYTES_MAX:
        raise BadJwt("key")
    try:
        key = import_key(dict(known))
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        raise BadJwt("key") from None
    if isinstance(key, RSAKey):
        if not RSA_BITS_MIN <= key.public_key.key_size <= RSA_BITS_MAX:
            raise BadJwt("key")
        return key
    if isinstance(key, ECKey | OKPKey) and key.curve_name == CURVES[type(key)]:
        return key
    raise BadJwt("key")


def instant(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate, None where the claim is missing. Raises BadJwt for what is no finite number in reach."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < INSTANT_MAX:
        raise BadJwt(name)
    return float(value)


def text(claims: Mapping[str, Any], name: str, chars_max: int = 512) -> str:
    """A claim that must be a short string of ASCII, as all that we read are. Raises BadJwt."""
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= chars_max or not value.isascii():
        raise BadJwt(name)
    return value


def _json_object(part: str) -> dict[str, Any]:
    if len(part) > JWT_CHARS_MAX or "=" in part:
        raise BadJwt("form")
    try:
        found = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)), object_pairs_hook=_no_repetition)
    except (ValueError, binascii.Error, RecursionError):
        raise BadJwt("form") from None
    if not isinstance(found, dict):
        raise BadJwt("form")
    return found


def _no_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """RFC 7515 section 4 allows refusing names that come twice; two readers of one token must not read two different things."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found
