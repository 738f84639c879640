"""Another authorization server in the place of ours: the bank's Keycloak, PingFederate or Curity issues the tokens, and the consent stays here.

`grant_from_token` by introspection (RFC 7662) at that server. A token of it is believed only where all of this agrees: the server says that
it is active, it is for our resource, it is bound to the key whose proof came along, it names one consent of ours in its
authorization_details, and that consent was given by the very person that the token is about, to the very client that it was issued to.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from parley.authorization.bank_client import metadata_url
from parley.authorization.client_key import ClientKey
from parley.authorization.server.access import Access, Shown, no_token
from parley.authorization.server.details import DETAILS_TYPE
from parley.authorization.server.dpop import Proofs
from parley.authorization.server.issuing import live_grants
from parley.authorization.server.ports import TokenRecords
from parley.model.refusals import BankNonsense, BankUnavailable
from parley.model.transport import Transport

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 55
ANSWER_BYTES_MAX = 64 * 1024
Shape = TypeVar("Shape", bound=msgspec.Struct)
TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]{1,4096}=*")


@dataclass(frozen=True, slots=True)
class ForeignServer:
    """`issuer` byte for byte as it names itself; `client_id` ours there; `audience` what its tokens for us say. `clients` maps its client
    ids to ours: a token for a client that is not here opens nothing. `seconds` for each introspection."""

    issuer: str
    client_id: str
    audience: str
    clients: Mapping[str, str]
    seconds: float = 3.0


class Confirmation(msgspec.Struct, frozen=True):
    jkt: str = ""


class Introspected(msgspec.Struct, frozen=True):
    """What we use of the answer. Everything else that the server says is passed over."""

    active: bool
    client_id: str = ""
    sub: str = ""
    iss: str | None = None
    exp: float = 0.0
    aud: str | list[str] = ""
    cnf: Confirmation = Confirmation()
    authorization_details: tuple[dict[str, Any], ...] = ()


class _Metadata(msgspec.Struct, frozen=True):
    issuer: str
    introspection_endpoint: str


class ForeignTokens:
    """Implements parley.authorization.server.access.GrantSource. `is_person` says whether a subject of that server is a customer of ours."""

    def __init__(
        self,
        server: ForeignServer,
        *,
        key: ClientKey,
        transport: Transport,
        records: TokenRecords,
        proofs: Proofs,
        is_person: Callable[[str, str], bool],
        clock: Callable[[], datetime],
    ) -> None:
        self._server = server
        self._key = key
        self._transport = transport
        self._records = records
        self._proofs = proofs
        self._is_person = is_person
        self._clock = clock
        self._endpoint: str | None = None
        self._asking = asyncio.Lock()

    async def grant_from_token(self, shown: Shown) -> Access:
        # 1. Shown as a bound token, by whoever holds the key. Only then is the other server asked at all.
        if shown.scheme.lower() != "dpop" or not TOKEN.fullmatch(shown.token):
            raise no_token()
        jkt = await self._proved_key(shown, remembered=False)
        # 2. What does its server say of it?
        told = await self._introspected(shown.token)
        audience = (told.aud,) if isinstance(told.aud, str) else tuple(told.aud)
        if not told.active or told.exp <= self._clock().timestamp() or told.iss not in (None, self._server.issuer):
            raise no_token()
        if self._server.audience not in audience or not told.cnf.jkt or told.cnf.jkt != jkt:
            raise no_token()
        # The proof is remembered, and so used up, only now that it is a known token's: a stranger's leaves no row.
        await self._proved_key(shown, remembered=True)
        # 3. Which consent of ours does it name, and is it this person's, for this client?
        authorization = await self._records.find_authorization(_consent_named(told))
        ours = self._server.clients.get(told.client_id)
        if authorization is None or ours is None or authorization.client != ours or not self._is_person(told.sub, authorization.customer):
            raise no_token()
        # 4. It still stands.
        grants = await live_grants(self._records, authorization, self._clock())
        if not grants:
            raise no_token()
        return Access(
            id=authorization.id,
            client=authorization.client,
            customer=authorization.customer,
            platform=authorization.platform,
            channel=authorization.channel,
            conversation=authorization.conversation,
            grants=grants,
        )

    async def _proved_key(self, shown: Shown, *, remembered: bool) -> str:
        return await self._proofs.key_of(shown.proofs, method=shown.method, url=shown.url, token=shown.token, status=401, remembered=remembered)

    async def _introspected(self, token: str) -> Introspected:
        form = {
            "token": token,
            "token_type_hint": "access_token",
            "client_id": self._server.client_id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._assertion(),
        }
        endpoint = await self._introspection_endpoint()
        response = await self._transport.post_form(endpoint, form, {}, seconds=self._server.seconds, bytes_max=ANSWER_BYTES_MAX)
        if response.status != 200:
            raise BankUnavailable("the authorization server did not answer for a token")
        return _decoded(response.unverified_body, Introspected)

    async def _introspection_endpoint(self) -> str:
        """From the server's metadata, asked once. It must be the server's own, or our assertions would go to a stranger."""
        async with self._asking:
            if self._endpoint is None:
                issuer = self._server.issuer
                response = await self._transport.get(metadata_url(issuer), {}, seconds=self._server.seconds, bytes_max=ANSWER_BYTES_MAX)
                if response.status != 200:
                    raise BankUnavailable("the authorization server has no metadata")
                metadata = _decoded(response.unverified_body, _Metadata)
                if metadata.issuer != issuer or not metadata.introspection_endpoint.startswith(f"{issuer.rstrip('/')}/"):
                    raise BankNonsense("metadata of another issuer, or an endpoint elsewhere")
                self._endpoint = metadata.introspection_endpoint
            return self._endpoint

    def _assertion(self) -> str:
        now = int(self._clock().timestamp())
        client_id = self._server.client_id
        claims: dict[str, str | int] = {"iss": client_id, "sub": client_id, "aud": self._server.issuer, "jti": secrets.token_urlsafe(24)}
        return self._key.signed({**claims, "iat": now, "exp": now + ASSERTION_SECONDS})


def _consent_named(told: Introspected) -> str:
    """The one consent that the token names. A token that names several, or none, opens nothing."""
    named = [each.get("grant_id") for each in told.authorization_details if each.get("type") == DETAILS_TYPE]
    if len(named) != 1 or not isinstance(named[0], str) or not 0 < len(named[0]) <= 128:
        raise no_token()
    return named[0]


def _decoded(body: bytes, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BankNonsense("the authorization server's answer cannot be read") from None
