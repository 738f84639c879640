"""What a client asks for, read and checked whole before a customer hears of it.

The attacks: an address that is nearly the registered one, a request without PKCE or with a weak one, parameters that come twice, a
request inside a request, more asked for than the bank would ever allow, and advertising under any name.
"""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from urllib.parse import urlencode

import msgspec

from parley.authorization.server.errors import OAuthError
from parley.authorization.server.ports import Params, RefusalLog, Rules
from parley.authorization.server.profile import Asked, Profile
from parley.authorization.sessions import hash_token
from parley.model.clients import Client
from parley.model.linking import Errand
from parley.model.refusals import NotAllowed, PurposeForbidden, PurposeUnknown, Refusal
from parley.model.tokens import AuthorizationRequest

STATE_CHARS_MAX = 2048
REQUEST_URI_PREFIX = "urn:ietf:params:oauth:request_uri:"
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
GRANT_ID = re.compile(r"[A-Za-z0-9_-]{43}")
LOOPBACK = re.compile(r"http://(?:127\.0\.0\.1|\[::1\])(?::[1-9]\d{0,4})?(?=/|$)")
REFUSED = ("request", "request_uri", "response_mode", "id_token_hint")
"""Requests inside requests, and other ways for an answer to travel: not supported, and refused rather than passed over."""


class Requests:
    """Reads authorization requests of one profile. `resource` is the audience that tokens will have."""

    def __init__(
        self,
        profile: Profile,
        issuer: str,
        resource: str,
        rules: Rules,
        refusals: RefusalLog,
        clock: Callable[[], datetime],
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._profile = profile
        self._issuer = issuer
        self._resource = resource
        self._rules = rules
        self._refusals = refusals
        self._clock = clock
        self._chance = chance

    async def read(self, params: Params, client: Client, *, jkt: str | None = None) -> tuple[bytes, str, AuthorizationRequest]:
        """(hash of the reference, the reference, the request). Raises OAuthError. `jkt` of a DPoP proof that came with the request."""
        redirect_uri = self.redirect_uri(params, client)
        self._check_form(params)
        asked = await self._asked(params, client)
        stated = params.get("dpop_jkt")
        if stated is not None and (not THUMBPRINT.fullmatch(stated) or jkt not in (None, stated)):
            raise OAuthError("invalid_dpop_proof", "dpop_jkt and the proof name different keys.")
        reference = _random_text(self._chance)
        reference_hash = hash_token(reference)
        errand = Errand(
            origin=self._profile.origin,
            platform=client.platform,
            channel=self._profile.channel,
            asker=client.asker,
            conversation=_random_text(self._chance),
            purposes=asked.purposes,
            projections=asked.projections,
            lookback_days=asked.lookback_days,
            days=asked.days,
            return_to=redirect_uri,
            reference=reference_hash,
        )
        request = AuthorizationRequest(
            issuer=self._issuer,
            client=client.id,
            redirect_uri=redirect_uri,
            state=params.get("state"),
            challenge=params.get("code_challenge", ""),
            audience=self._resource,
            errand=errand,
            client_seen=seen(client),
            expires_at=self._clock() + self._profile.request_life,
            jkt=jkt or stated,
            replaces=_replaced(params),
        )
        return reference_hash, reference, request

    def redirect_uri(self, params: Params, client: Client) -> str:
        """The address asked for, byte for byte one that the client registered (a native client's loopback port apart). Raises OAuthError."""
        asked = params.get("redirect_uri", "")
        if asked in client.redirect_uris:
            return asked
        loopbacks = {_portless(each) for each in client.redirect_uris if LOOPBACK.match(each)}
        if self._profile.loopback and LOOPBACK.match(asked) and _portless(asked) in loopbacks:
            return asked
        raise OAuthError("invalid_request", "redirect_uri is not one that the client registered.")

    def _check_form(self, params: Params) -> None:
        if params.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "response_type is code.")
        if any(name in params for name in REFUSED):
            raise OAuthError("invalid_request", "A parameter is not supported here.")
        left_out = not self._profile.pkce_needed and not {"code_challenge", "code_challenge_method"} & set(params)
        if not left_out and (params.get("code_challenge_method") != "S256" or not CHALLENGE.fullmatch(params.get("code_challenge", ""))):
            raise OAuthError("invalid_request", "PKCE with S256 is needed.")
        if len(params.get("state", "")) > STATE_CHARS_MAX:
            raise OAuthError("invalid_request", "state is too long.")
        if params.get("resource", self._resource) != self._resource:
            raise OAuthError("invalid_target", "Tokens of this server are for another resource.")

    async def _asked(self, params: Params, client: Client) -> Asked:
        """Checked against the bank's policy as well: what it would never allow is not even put before a customer."""
        try:
            asked = self._profile.reads(params, client)
        except (PurposeForbidden, PurposeUnknown) as refusal:
            raise await self._on_record(client, refusal, refusal.plain_words) from None
        for purpose in asked.purposes:
            limits = self._rules.limits(client.platform, self._profile.channel, purpose)
            if not set(asked.projections) <= limits.projections:
                raise await self._on_record(client, NotAllowed(), "The bank's policy does not allow this client to ask for all of that.")
            if (asked.lookback_days or 0) > limits.lookback_days_max:
                raise await self._on_record(client, NotAllowed(), "The bank's policy does not reach that far back for this client.")
        return asked

    async def _on_record(self, client: Client, refusal: Refusal, words: str) -> OAuthError:
        """The error for the client, once the bank's no stands in the log: whether platforms are treated alike is seen there."""
        await self._refusals.refused(client.platform, self._profile.channel, refusal)
        return OAuthError("invalid_authorization_details" if self._profile.details else "invalid_scope", words)


def seen(client: Client) -> str:
    """A digest of who the client was when it asked: whoever has changed keys, name or addresses since must ask again."""
    return sha256(msgspec.msgpack.encode(client)).hexdigest()


def answer_address(request: AuthorizationRequest, answer: Mapping[str, str]) -> str:
    """The client's own address with the answer, our name and its state."""
    return told_address(request.redirect_uri, request.issuer, request.state, answer)


def told_address(redirect_uri: str, issuer: str, state: str | None, answer: Mapping[str, str]) -> str:
    """With our name (RFC 9207), on errors too, and the state exactly as sent; none where none was sent."""
    told = {**answer, "iss": issuer, **({"state": state} if state is not None else {})}
    joint = "&" if "?" in redirect_uri else "?"
    return f"{redirect_uri}{joint}{urlencode(told)}"


def _replaced(params: Params) -> str | None:
    """The grant that a new consent takes the place of (Grant Management, replace), None for a new one (create)."""
    action, grant_id = params.get("grant_management_action"), params.get("grant_id")
    if action in (None, "create") and grant_id is None:
        return None
    if action == "replace" and grant_id is not None and GRANT_ID.fullmatch(grant_id):
        return grant_id
    raise OAuthError("invalid_request", "grant_management_action is create, or replace with a grant_id.")


def _portless(address: str) -> str:
    found = LOOPBACK.match(address)
    if found is None:
        return address
    host = "http://[::1]" if address.startswith("http://[") else "http://127.0.0.1"
    return host + address[found.end() :]


def _random_text(chance: Callable[[int], bytes]) -> str:
    return urlsafe_b64encode(chance(32)).rstrip(b"=").decode()
