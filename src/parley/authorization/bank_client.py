"""The OAuth client towards one bank: a trip to the bank's own page, tokens from what came back, renewed and given back later.

    begin -> (browser at the bank) -> finish -> refresh ... -> revoke

Authorization code flow with pushed requests (RFC 9126), PKCE S256 (RFC 7636), rich authorization requests (RFC 9396, type fdx_v1.0),
private_key_jwt (RFC 7523), issuer identification (RFC 9207) and revocation (RFC 7009). The bank's issuer comes from the settings alone:
whatever a browser brings back is compared with it before a single byte goes to any token endpoint, so that a code for one bank can never be
carried to another.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from parley.authorization.client_key import ClientKey
from parley.authorization.dpop_client import wants_nonce
from parley.model.grants import BankTokens
from parley.model.refusals import (
    BankBusy,
    BankNonsense,
    BankUnavailable,
    Fault,
    ForgedMessage,
    LinkExpired,
    LinkLost,
    NotConsented,
    Refusal,
)
from parley.model.transport import Transport, TransportResponse

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 55
TRIP_LIFE = timedelta(minutes=10)
METADATA_LIFE = timedelta(hours=1)
ANSWER_BYTES_MAX = 64 * 1024
PARAMETER_CHARS_MAX = 2048
PARAMETERS_MAX = 32
TOKEN_CHARS_MAX = 8192
ACCESS_SECONDS_MAX = 7 * 86_400
ACCESS_SECONDS_UNTOLD = 60
"""RFC 6749 lets a bank leave `expires_in` out; then we ask for a fresh token soon."""

CLUSTERS = ("ACCOUNT_BASIC", "BALANCES", "TRANSACTIONS")
SCOPES: Mapping[str, str] = {
    "ACCOUNT_BASIC": "fdx:accountbasic:read",
    "BALANCES": "fdx:balances:read",
    "TRANSACTIONS": "fdx:transactions:read",
}
"""The only clusters that Parley ever asks for. Account numbers, contacts, statements and payments have no place here."""

Body = TypeVar("Body")


class BadClientSettings(ValueError):
    """The settings of a client cannot be used; the message says which, for the operator."""


@dataclass(frozen=True, slots=True)
class BankClientSettings:
    """Who we are at one bank. `issuer` byte for byte as the bank spells it; `redirect_uri` exactly as registered there. Times in days and seconds.

    `bound_tokens`: the bank was agreed to bind its tokens to our key (RFC 9449), which wants a `DpopTransport`. Tokens of another type than
    agreed are refused.
    """

    bank: str
    issuer: str
    client_id: str
    redirect_uri: str
    clusters: tuple[str, ...] = CLUSTERS
    duration_days: int = 90
    lookback_days: int = 730
    seconds: float = 5.0
    bound_tokens: bool = False

    def __post_init__(self) -> None:
        if not _is_safe_url(self.issuer) or "?" in self.issuer or "#" in self.issuer:
            raise BadClientSettings("issuer must be https (http on a loopback address), without query or fragment")
        if not _is_own_url(self.redirect_uri) or "#" in self.redirect_uri:
            raise BadClientSettings("redirect_uri must be https (http on a loopback address), without fragment")
        if not self.clusters or not set(self.clusters) <= set(CLUSTERS) or len(set(self.clusters)) != len(self.clusters):
            raise BadClientSettings("clusters are some of ACCOUNT_BASIC, BALANCES, TRANSACTIONS")
        if not 1 <= self.duration_days <= 365 or not 1 <= self.lookback_days <= 730:
            raise BadClientSettings("duration_days is 1 to 365, lookback_days 1 to 730")
        if not re.fullmatch(r"[!-~]{1,200}", self.client_id):
            raise BadClientSettings("client_id is 1 to 200 visible characters")


@dataclass(frozen=True, slots=True)
class BankTrip:
    """A trip to the bank's own page: where to, the OAuth state and PKCE verifier to keep for the return, and until when (UTC) it may come back."""

    url: str = field(repr=False)
    state: str = field(repr=False)
    verifier: str = field(repr=False)
    expires_at: datetime


class _Metadata(msgspec.Struct, frozen=True):
    """What we use of the bank's metadata (RFC 8414)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    pushed_authorization_request_endpoint: str
    revocation_endpoint: str | None = None
    code_challenge_methods_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ()
    authorization_response_iss_parameter_supported: bool = False


class _Pushed(msgspec.Struct, frozen=True):
    request_uri: str
    expires_in: int


class _Tokens(msgspec.Struct, frozen=True):
    access_token: str
    token_type: str
    expires_in: int | None = None
    refresh_token: str | None = None
    scope: str | None = None
    grant_id: str | None = None
    fdxConsentId: str | None = None


class _Error(msgspec.Struct, frozen=True):
    error: str = ""


class BankClient:
    """One bank's client. Every method raises a Refusal or a Fault of parley.model.refusals and nothing else, whatever the bank sends.

    `clock` gives aware UTC. `secret` gives a fresh url-safe random string of at least 256 bits.
    """

    def __init__(
        self,
        settings: BankClientSettings,
        key: ClientKey,
        transport: Transport,
        clock: Callable[[], datetime],
        *,
        secret: Callable[[], str] = lambda: secrets.token_urlsafe(32),
    ) -> None:
        self._settings = settings
        self._key = key
        self._transport = transport
        self._clock = clock
        self._secret = secret
        self._known: tuple[_Metadata, datetime] | None = None
        self._asking = asyncio.Lock()

    @property
    def name(self) -> str:
        return self._settings.bank

    async def begin(self) -> BankTrip:
        """Push the request to the bank. The address for the browser holds the client's id and a reference, and nothing about anybody."""
        metadata = await self._metadata()
        state, verifier = self._secret(), self._secret()
        form = {
            "response_type": "code",
            "redirect_uri": self._settings.redirect_uri,
            "scope": " ".join(SCOPES[cluster] for cluster in self._settings.clusters),
            "state": state,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
            "authorization_details": authorization_details(self._settings),
        }
        response = await self._post(metadata.pushed_authorization_request_endpoint, form)
        if response.status not in (200, 201):
            raise _fault_of(response)
        pushed = _decode(response, _Pushed)
        if not re.fullmatch(r"[!-~]{1,512}", pushed.request_uri) or not 0 < pushed.expires_in <= 86_400:
            raise BankNonsense("a pushed request without a usable reference")
        endpoint = metadata.authorization_endpoint
        joint = "&" if "?" in endpoint else "?"
        query = urlencode({"client_id": self._settings.client_id, "request_uri": pushed.request_uri})
        return BankTrip(f"{endpoint}{joint}{query}", state, verifier, self._clock() + TRIP_LIFE)

    async def finish(self, params: Sequence[tuple[str, str]], state: str, verifier: str) -> BankTokens:
        """Tokens for what the browser brought back. `params` as they came, repetitions included; one token call per callback.

        Raises ForgedMessage when the issuer is missing, foreign or repeated (checked first, on errors too) or the state is not the one of
        this trip, NotConsented when the customer said no, LinkExpired when the code is no longer good, or a Fault.
        """
        answer = self._checked_answer(params, state)
        if "error" in answer:
            raise _refusal_at_bank(answer["error"])
        code = answer.get("code", "")
        if not re.fullmatch(r"[!-~]{1,2048}", code):
            raise LinkExpired("no usable code came back")
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self._settings.redirect_uri, "code_verifier": verifier}
        response = await self._post((await self._metadata()).token_endpoint, form)
        if _error_of(response) == "invalid_grant":
            raise LinkExpired("the bank refuses the code")
        return self._tokens(response, None)

    async def refresh(self, tokens: BankTokens) -> BankTokens:
        """Fresh tokens. A refresh token that does not change is kept, one that does is replaced. Raises LinkLost when the bank says no."""
        if tokens.refresh_token is None:
            raise LinkLost("no refresh token")
        form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh_token}
        response = await self._post((await self._metadata()).token_endpoint, form)
        if _error_of(response) == "invalid_grant":
            raise LinkLost("the bank no longer renews our access")
        return self._tokens(response, tokens)

    async def revoke(self, tokens: BankTokens) -> None:
        """Give the tokens back (RFC 7009): the refresh token first, for it makes new ones. A bank without such an endpoint is asked nothing."""
        endpoint = (await self._metadata()).revocation_endpoint
        if endpoint is None:
            return
        held = [("refresh_token", tokens.refresh_token), ("access_token", tokens.access_token)]
        for hint, token in held:
            if token is not None:
                response = await self._post(endpoint, {"token": token, "token_type_hint": hint})
                if response.status != 200:
                    raise _fault_of(response)

    def _checked_answer(self, params: Sequence[tuple[str, str]], state: str) -> dict[str, str]:
        issuers = [value for name, value in params if name == "iss"]
        if len(issuers) != 1 or not _same(issuers[0], self._settings.issuer):
            raise ForgedMessage("the answer does not come from this bank")
        answer = dict(params)
        if len(answer) != len(params) or len(params) > PARAMETERS_MAX or any(len(value) > PARAMETER_CHARS_MAX for value in answer.values()):
            raise ForgedMessage("a parameter is repeated, or there is too much")
        if not state or not _same(answer.get("state", ""), state):
            raise ForgedMessage("the answer belongs to another trip")
        if "error" in answer and "code" in answer:
            raise ForgedMessage("both a code and an error")
        return answer

    async def _metadata(self) -> _Metadata:
        """The bank's endpoints, asked once an hour and by one caller at a time."""
        async with self._asking:
            if self._known is not None and timedelta(0) <= self._clock() - self._known[1] < METADATA_LIFE:
                return self._known[0]
            settings = self._settings
            response = await self._transport.get(metadata_url(settings.issuer), {}, seconds=settings.seconds, bytes_max=ANSWER_BYTES_MAX)
            if response.status != 200:
                raise _fault_of(response)
            metadata = _decode(response, _Metadata)
            _check_metadata(metadata, settings.issuer)
            self._known = (metadata, self._clock())
            return metadata

    async def _post(self, endpoint: str, form: Mapping[str, str]) -> TransportResponse:
        """Not tried twice, for a code works once and a refresh may rotate: but where the bank looked at nothing for want of its nonce, once more."""
        response = await self._post_once(endpoint, form)
        if self._settings.bound_tokens and wants_nonce(response):
            response = await self._post_once(endpoint, form)
        return response

    async def _post_once(self, endpoint: str, form: Mapping[str, str]) -> TransportResponse:
        """Each with an assertion of its own, which works once."""
        whole = {
            **form,
            "client_id": self._settings.client_id,
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": self._assertion(),
        }
        return await self._transport.post_form(endpoint, whole, {}, seconds=self._settings.seconds, bytes_max=ANSWER_BYTES_MAX)

    def _assertion(self) -> str:
        """Who we are, to this bank only: the audience is its issuer as a string, so that no other bank can use it."""
        now = int(self._clock().timestamp())
        client_id = self._settings.client_id
        claims: dict[str, str | int] = {
            "iss": client_id,
            "sub": client_id,
            "aud": self._settings.issuer,
            "jti": self._secret(),
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
        }
        return self._key.signed(claims)

    def _tokens(self, response: TransportResponse, before: BankTokens | None) -> BankTokens:
        if response.status != 200:
            raise _fault_of(response)
        told = _decode(response, _Tokens)
        if told.token_type.lower() != ("dpop" if self._settings.bound_tokens else "bearer"):
            raise BankNonsense("tokens of a type that was not agreed")
        for token in (told.access_token, told.refresh_token):
            if token is not None and (len(token) > TOKEN_CHARS_MAX or not re.fullmatch(r"[A-Za-z0-9\-._~+/]+=*", token)):
                raise BankNonsense("a token that cannot stand in a header")
        seconds = ACCESS_SECONDS_UNTOLD if told.expires_in is None else told.expires_in
        if seconds <= 0:
            raise BankNonsense("a token that has expired already")
        return BankTokens(
            access_token=told.access_token,
            refresh_token=told.refresh_token or (before.refresh_token if before else None),
            expires_at=self._clock() + timedelta(seconds=min(seconds, ACCESS_SECONDS_MAX)),
            consent_id=_short(told.fdxConsentId or told.grant_id) or (before.consent_id if before else None),
            scope=_short(told.scope) or (before.scope if before else ""),
        )


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a PKCE verifier (RFC 7636 4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def metadata_url(issuer: str) -> str:
    """Where an issuer's metadata is: the well-known path goes between host and path (RFC 8414 3.1)."""
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"


def authorization_details(settings: BankClientSettings) -> str:
    """What is asked of the customer at her bank: reading, for a bounded time, of as few clusters as the offerings need."""
    resources = [{"resourceType": "ACCOUNT", "dataClusters": list(settings.clusters)}]
    request = {
        "durationType": "TIME_BOUND",
        "durationPeriod": settings.duration_days,
        "lookbackPeriod": settings.lookback_days,
        "resources": resources,
    }
    return msgspec.json.encode([{"type": "fdx_v1.0", "consentRequest": request}]).decode()


def _check_metadata(metadata: _Metadata, issuer: str) -> None:
    """Raises BankNonsense for metadata of another issuer, endpoints without TLS, or a server too weak to link with."""
    if metadata.issuer != issuer:
        raise BankNonsense("metadata of another issuer")
    endpoints = (
        metadata.authorization_endpoint,
        metadata.token_endpoint,
        metadata.pushed_authorization_request_endpoint,
        metadata.revocation_endpoint or metadata.token_endpoint,
    )
    if not all(_is_endpoint(endpoint, issuer) for endpoint in endpoints):
        raise BankNonsense("an endpoint that is neither https nor the issuer's own")
    if "S256" not in metadata.code_challenge_methods_supported or not metadata.authorization_response_iss_parameter_supported:
        raise BankNonsense("no PKCE with S256, or no issuer in answers")
    if "private_key_jwt" not in metadata.token_endpoint_auth_methods_supported:
        raise BankNonsense("no private_key_jwt")


def _is_endpoint(url: str, issuer: str) -> bool:
    if not _is_safe_url(url) or "#" in url:
        return False
    here, there = urlsplit(issuer), urlsplit(url)
    return there.scheme == "https" or (there.scheme, there.netloc) == (here.scheme, here.netloc)


def _is_own_url(url: str) -> bool:
    """Where browsers come back to us. `localhost` may be it on one machine, since browsers take it for that machine and make passkeys for it."""
    return _is_safe_url(re.sub(r"^http://localhost(?=[:/])", "http://127.0.0.1", url))


def _is_safe_url(url: str) -> bool:
    """https, or http to this very machine; no user, no blanks, nothing that two readers could read differently."""
    if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[!-\[\]-~]*)?", url) or len(url) > PARAMETER_CHARS_MAX or "@" in url:
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        return bool(host) and (parts.scheme == "https" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False


def _decode(response: TransportResponse, shape: type[Body]) -> Body:
    if response.media_type != "application/json":
        raise BankNonsense("not JSON")
    try:
        return msgspec.json.decode(response.unverified_body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BankNonsense("not the JSON that was asked for") from None


def _error_of(response: TransportResponse) -> str:
    """OAuth's error code of a 400 or 401, else nothing."""
    if response.status not in (400, 401):
        return ""
    try:
        return _decode(response, _Error).error
    except BankNonsense:
        return ""


def _fault_of(response: TransportResponse) -> Fault:
    if response.status == 429:
        return BankBusy("too many requests")
    if response.status >= 500:
        return BankUnavailable(f"status {response.status}")
    known = {"invalid_client", "invalid_request", "invalid_scope", "invalid_authorization_details", "unauthorized_client", "invalid_grant"}
    error = _error_of(response)
    return BankNonsense(f"status {response.status} {error if error in known else ''}".strip())


def _refusal_at_bank(error: str) -> Refusal | Fault:
    """Only the code is looked at: the description is a stranger's text."""
    if error == "access_denied":
        return NotConsented("denied at the bank", plain_words="You said no at your bank, so nothing was linked.")
    if error in ("server_error", "temporarily_unavailable"):
        return BankUnavailable("the bank's sign-in is not working")
    return LinkExpired("the bank ended the trip")


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))


def _short(text: str | None) -> str:
    return text if text is not None and len(text) <= 512 else ""
