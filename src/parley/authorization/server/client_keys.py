"""The public keys of clients: strong, unambiguous, and from registration only; those behind an address are fetched and kept for a while."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from parley.authorization.server.fetch import FetchRefused
from parley.authorization.server.jose import ALGORITHMS, BadJwt, Key, public_key
from parley.authorization.server.ports import KeySource
from parley.model.clients import Client

KEYS_MAX = 10
KEYS_LIFE = timedelta(minutes=10)
KEYS_FETCHED_AGAIN_AFTER = timedelta(seconds=30)
"""A client that signs with a new key is believed after one more look, but cannot make us look for every request."""
REMEMBERED_MAX = 256


def read_keys(jwks: bytes) -> dict[str, tuple[Key, dict[str, Any]]]:
    """The signing keys of a JWK Set by `kid` (or by number where there is only one without). Raises BadJwt for any key that may not be used."""
    try:
        found = json.loads(jwks)
    except (ValueError, RecursionError):
        raise BadJwt("keys") from None
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not 1 <= len(listed) <= KEYS_MAX:
        raise BadJwt("keys")
    keys: dict[str, tuple[Key, dict[str, Any]]] = {}
    for jwk in listed:
        if isinstance(jwk, dict) and jwk.get("use") == "enc":
            continue
        key = public_key(jwk)
        kid = jwk.get("kid", "")
        if not isinstance(kid, str) or len(kid) > 200 or kid in keys or (not kid and len(listed) > 1):
            raise BadJwt("kid")
        algorithm = jwk.get("alg", "PS256")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise BadJwt("alg")
        keys[kid] = (key, jwk)
    if not keys:
        raise BadJwt("keys")
    return keys


class ClientKeys:
    """Finds the one key that a client's signature must be of."""

    def __init__(self, source: KeySource | None, clock: Callable[[], datetime]) -> None:
        self._source = source
        self._clock = clock
        self._fetched: OrderedDict[str, tuple[datetime, bytes]] = OrderedDict()

    async def key(self, client: Client, header: Mapping[str, Any]) -> Key:
        """By `kid`; without one only where the client has a single key for the algorithm. Raises BadJwt where no key, or more than one, fits."""
        keys = read_keys(await self._jwks(client, timedelta(0)))
        try:
            return _chosen(keys, header)
        except BadJwt:
            if client.jwks_uri is None:
                raise
        return _chosen(read_keys(await self._jwks(client, KEYS_FETCHED_AGAIN_AFTER)), header)

    async def _jwks(self, client: Client, again_after: timedelta) -> bytes:
        """`again_after` above zero: what was fetched longer ago than that is not enough."""
        if client.jwks is not None:
            return client.jwks
        if client.jwks_uri is None or self._source is None:
            raise BadJwt("keys")
        life = again_after or KEYS_LIFE
        kept = self._fetched.get(client.jwks_uri)
        if kept is not None and self._clock() - kept[0] < life:
            return kept[1]
        try:
            jwks = await self._source.keys(client.jwks_uri)
        except FetchRefused:
            raise BadJwt("keys") from None
        self._fetched[client.jwks_uri] = (self._clock(), jwks)
        self._fetched.move_to_end(client.jwks_uri)
        if len(self._fetched) > REMEMBERED_MAX:
            self._fetched.popitem(last=False)
        return jwks


def _chosen(keys: Mapping[str, tuple[Key, dict[str, Any]]], header: Mapping[str, Any]) -> Key:
    algorithm, kid = header["alg"], header.get("kid")
    fitting = [
        key
        for name, (key, jwk) in keys.items()
        if (kid is None or name == kid) and isinstance(key, ALGORITHMS[algorithm]) and jwk.get("alg", algorithm) == algorithm
    ]
    if len(fitting) != 1:
        raise BadJwt("kid")
    return fitting[0]
