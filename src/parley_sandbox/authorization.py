"""The authorization server's memory: pushed requests, codes, tokens and consents. Secrets are kept as hashes, and every use is checked here."""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

from parley_sandbox.clients import Client
from parley_sandbox.consents import SCOPES, BadDetails, Consent, ConsentRequest, new_consent, read_details

REQUEST_URI_PREFIX = "urn:ietf:params:oauth:request_uri:"
REQUEST_SECONDS = 540
CODE_SECONDS = 60
ACCESS_SECONDS_MAX = 900
KEPT_MAX = 20_000
STATE_CHARACTERS_MAX = 2000
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


class OAuthError(Exception):
    """A refusal in the words of RFC 6749: `error` is the stable code."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(error)
        self.error = error
        self.description = description
        self.status = status


@dataclass(slots=True)
class PushedRequest:
    """What a client pushed (RFC 9126): checked once, then only referred to."""

    client: Client
    redirect_uri: str
    state: str | None
    challenge: str
    consent: ConsentRequest
    expires: float
    used: bool = False


@dataclass(slots=True)
class _Code:
    client_id: str
    redirect_uri: str
    challenge: str
    consent_id: str
    expires: float
    used: bool = False


@dataclass(frozen=True, slots=True)
class _Token:
    consent_id: str
    client_id: str
    expires: float
    refresh: bool


@dataclass(frozen=True, slots=True)
class Issued:
    """Fresh tokens for a consent, in clear for their only trip to the client."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_in: int
    consent: Consent


class Authorizations:
    """Everything that was asked, agreed and issued. One event loop owns it: each method checks and acts without waiting in between."""

    def __init__(self, clock: Callable[[], float], today: date, access_seconds: int = ACCESS_SECONDS_MAX) -> None:
        self._clock = clock
        self._today = today
        self._access_seconds = min(access_seconds, ACCESS_SECONDS_MAX)
        self._pushed: dict[str, PushedRequest] = {}
        self._codes: dict[str, _Code] = {}
        self._tokens: dict[str, _Token] = {}
        self._consents: dict[str, Consent] = {}

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def push(self, client: Client, fields: dict[str, str]) -> tuple[str, int]:
        """Takes a pushed authorization request; returns its `request_uri` and its life in seconds. Raises OAuthError."""
        request = self._checked(client, fields)
        self._forget_expired()
        request_uri = REQUEST_URI_PREFIX + secrets.token_urlsafe(32)
        self._pushed[_hashed(request_uri)] = request
        return request_uri, REQUEST_SECONDS

    def _checked(self, client: Client, fields: dict[str, str]) -> PushedRequest:
        if "request_uri" in fields or "request" in fields:
            raise OAuthError("invalid_request", "request and request_uri are not accepted here")
        if fields.get("redirect_uri") not in client.redirect_uris:
            raise OAuthError("invalid_request", "redirect_uri is not registered")
        if fields.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "response_type must be code")
        if fields.get("response_mode", "query") != "query":
            raise OAuthError("invalid_request", "response_mode must be query")
        if fields.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(fields.get("code_challenge", "")):
            raise OAuthError("invalid_request", "a code_challenge with method S256 is required")
        state = fields.get("state")
        if state is not None and (len(state) > STATE_CHARACTERS_MAX or not state.isprintable()):
            raise OAuthError("invalid_request", "state is too long or not printable")
        if not set(fields.get("scope", "").split()) <= set(SCOPES.values()):
            raise OAuthError("invalid_scope", "a scope is unknown")
        try:
            consent = read_details(fields.get("authorization_details", ""))
        except BadDetails as problem:
            raise OAuthError("invalid_authorization_details", str(problem)) from None
        expires = self.now + REQUEST_SECONDS
        return PushedRequest(client, fields["redirect_uri"], state, fields["code_challenge"], consent, expires)

    def pushed(self, client_id: str, request_uri: str) -> PushedRequest:
        """The pushed request, still open, of that client. Raises OAuthError; loading it twice is fine, deciding twice is not."""
        request = self._pushed.get(_hashed(request_uri))
        if request is None or request.client.client_id != client_id or request.used or self.now >= request.expires:
            raise OAuthError("invalid_request_uri", "this request is unknown, used up or too old")
        return request

    def approve(self, request: PushedRequest, username: str, account_ids: tuple[str, ...]) -> str:
        """The customer's yes: uses the request up, makes the consent and returns the code."""
        self._forget_expired()
        self._use_up(request)
        consent = new_consent(secrets.token_hex(16), request.client.client_id, username, request.consent, account_ids, self.now, self._today)
        self._consents[consent.consent_id] = consent
        code = secrets.token_urlsafe(32)
        self._codes[_hashed(code)] = _Code(consent.client_id, request.redirect_uri, request.challenge, consent.consent_id, self.now + CODE_SECONDS)
        return code

    def deny(self, request: PushedRequest) -> None:
        """The customer's no: uses the request up."""
        self._use_up(request)

    def _use_up(self, request: PushedRequest) -> None:
        if request.used or self.now >= request.expires:
            raise OAuthError("invalid_request_uri", "this request is used up or too old")
        request.used = True

    def redeem(self, client: Client, code: str, redirect_uri: str, verifier: str) -> Issued:
        """Tokens for a code. A code seen twice was stolen by one of the two who sent it, so what it gave is taken back. Raises OAuthError."""
        known = self._codes.get(_hashed(code))
        if known is None or known.client_id != client.client_id:
            raise OAuthError("invalid_grant", "the code is not valid")
        if known.used:
            self._drop_tokens(known.consent_id)
            raise OAuthError("invalid_grant", "the code is not valid")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        proven = bool(_VERIFIER.fullmatch(verifier)) and hmac.compare_digest(challenge, known.challenge)
        if not proven or redirect_uri != known.redirect_uri or self.now >= known.expires:
            raise OAuthError("invalid_grant", "the code is not valid")
        known.used = True
        consent = self._consents[known.consent_id]
        once = consent.request.durationType == "ONE_TIME"
        refresh = None if once else self._issue(consent, consent.expires, refresh=True)
        return self._issued(consent, refresh)

    def refresh(self, client: Client, refresh_token: str) -> Issued:
        """A new access token. The refresh token stays as it is, so that a lost answer can be asked for again. Raises OAuthError."""
        token = self._tokens.get(_hashed(refresh_token))
        if token is None or not token.refresh or token.client_id != client.client_id or self.now >= token.expires:
            raise OAuthError("invalid_grant", "the refresh token is not valid")
        consent = self._consents[token.consent_id]
        if consent.state(self.now) != "ACTIVE":
            raise OAuthError("invalid_grant", "the refresh token is not valid")
        return self._issued(consent, refresh_token)

    def _issued(self, consent: Consent, refresh_token: str | None) -> Issued:
        until = min(self.now + self._access_seconds, consent.expires)
        return Issued(self._issue(consent, until, refresh=False), refresh_token, round(until - self.now), consent)

    def _issue(self, consent: Consent, expires: float, *, refresh: bool) -> str:
        self._forget_expired()
        token = secrets.token_urlsafe(32)
        self._tokens[_hashed(token)] = _Token(consent.consent_id, consent.client_id, expires, refresh)
        return token

    def holder(self, access_token: str) -> Consent | None:
        """The consent behind a live access token, whatever the consent's state, or None."""
        token = self._tokens.get(_hashed(access_token))
        if token is None or token.refresh or self.now >= token.expires:
            return None
        return self._consents.get(token.consent_id)

    def revoke_token(self, client: Client, token: str) -> None:
        """Forgets a token of this client (RFC 7009); a refresh token takes its access tokens with it. Unknown tokens are no error."""
        known = self._tokens.get(_hashed(token))
        if known is None or known.client_id != client.client_id:
            return
        if known.refresh:
            self._drop_tokens(known.consent_id)
        else:
            del self._tokens[_hashed(token)]

    def consent(self, consent_id: str) -> Consent | None:
        """The consent of that id, or None."""
        return self._consents.get(consent_id)

    def consents(self) -> list[Consent]:
        """All consents, oldest first."""
        return list(self._consents.values())

    def end_consent(self, consent: Consent, reason: str, initiator: str) -> bool:
        """Revokes a consent for good; False when it had already ended. Its access tokens stay known until they expire, to be answered 602."""
        if consent.state(self.now) != "ACTIVE":
            return False
        consent.revoked, consent.reason, consent.initiator = self.now, reason, initiator
        self._tokens = {key: token for key, token in self._tokens.items() if token.consent_id != consent.consent_id or not token.refresh}
        return True

    def _drop_tokens(self, consent_id: str) -> None:
        self._tokens = {key: token for key, token in self._tokens.items() if token.consent_id != consent_id}

    def _forget_expired(self) -> None:
        """Keeps memory bounded: expired things go when a table is full, and a table full of live things refuses more."""
        now = self.now
        if len(self._pushed) >= KEPT_MAX:
            self._pushed = {key: request for key, request in self._pushed.items() if now < request.expires and not request.used}
        if len(self._codes) >= KEPT_MAX:
            self._codes = {key: code for key, code in self._codes.items() if now < code.expires + REQUEST_SECONDS}
        if len(self._tokens) >= KEPT_MAX:
            self._tokens = {key: token for key, token in self._tokens.items() if now < token.expires}
        if max(len(self._pushed), len(self._codes), len(self._tokens), len(self._consents)) >= KEPT_MAX:
            raise OAuthError("temporarily_unavailable", "too many requests are open", 503)


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
