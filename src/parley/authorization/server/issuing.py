"""Codes into tokens, tokens into fresher ones, and the end of both. Every token stands for an authorization, and ends with its grants.

exchange (a code, once) -> access token, refresh token -> renew ... -> revoke, or the customer's "stop"
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from parley.authorization.server.details import told_details
from parley.authorization.server.errors import OAuthError
from parley.authorization.server.ports import Params, TokenRecords
from parley.authorization.server.profile import Profile, Refresh
from parley.authorization.server.requests import seen
from parley.authorization.sessions import hash_token
from parley.model.clients import Client
from parley.model.grants import Grant
from parley.model.tokens import Authorization, Code, Token, TokenKind

VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")
TOKEN_CHARS_MAX = 128


class Issuing:
    """The token endpoint of one profile, without HTTP. `clock` gives aware UTC."""

    def __init__(
        self,
        profile: Profile,
        issuer: str,
        records: TokenRecords,
        clock: Callable[[], datetime],
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._profile = profile
        self._issuer = issuer
        self._records = records
        self._clock = clock
        self._chance = chance

    async def exchange(self, client: Client, params: Params, jkt: str | None) -> dict[str, Any]:
        """Tokens for a code. A second use of it fails and ends what the first one got. Raises OAuthError("invalid_grant")."""
        code_text = params.get("code", "")
        if not 0 < len(code_text) <= TOKEN_CHARS_MAX:
            raise _no_grant()
        code_hash = hash_token(code_text)
        code = await self._records.peek_code(code_hash)
        # 1. The code was made here, for this client, this address, this verifier and this key.
        if code is None or (code.client, code.issuer) != (client.id, self._issuer) or params.get("redirect_uri") != code.redirect_uri:
            raise _no_grant()
        if not self._verified(params.get("code_verifier", ""), code) or (code.jkt is not None and code.jkt != jkt):
            raise _no_grant()
        # 2. It is used for the first time, in time; of many at once, by one.
        if not await self._records.use_code(code_hash, self._clock()):
            raise _no_grant()
        # 3. What the customer allowed still stands.
        authorization, grants = await self.standing(code.authorization)
        if authorization is None or authorization.version != code.version or not grants:
            raise _no_grant()
        if params.get("resource", authorization.audience) != authorization.audience:
            raise OAuthError("invalid_target", "This code is for another resource.")
        return await self._issue(authorization, grants, code.family, jkt, code_hash=code_hash)

    async def renew(self, client: Client, params: Params, jkt: str | None) -> dict[str, Any]:
        """A fresh access token for a refresh token, while the consent stands. Raises OAuthError("invalid_grant")."""
        text = params.get("refresh_token", "")
        found = await self._found(text)
        if found is None:
            if self._profile.refresh is Refresh.ROTATES and 0 < len(text) <= TOKEN_CHARS_MAX:
                await self._records.use_token(hash_token(text), self._clock())  # Seen before? Then its family ends.
            raise _no_grant()
        token, authorization = found
        if token.kind is not TokenKind.REFRESH or (token.client, token.issuer) != (client.id, self._issuer) or token.jkt not in (None, jkt):
            raise _no_grant()
        # She allowed the client that she was shown. One that goes by a document of its own may have become another since: it asks her again.
        if authorization.client_seen not in ("", seen(client)):
            raise _no_grant()
        if params.get("resource", authorization.audience) != authorization.audience:
            raise OAuthError("invalid_target", "This token is for another resource.")
        rotated: bytes | None = None
        if self._profile.refresh is Refresh.ROTATES:
            rotated = hash_token(text)
            if await self._records.use_token(rotated, self._clock()) is None:
                raise _no_grant()
        _, grants = await self.standing(authorization.id)
        if not grants:
            raise _no_grant()
        kept = text if self._profile.refresh is Refresh.KEPT else None
        return await self._issue(authorization, grants, token.family, jkt, rotated_hash=rotated, kept=kept)

    async def revoke(self, client: Client, text: str) -> None:
        """RFC 7009: a refresh token ends with all that came of it, an access token alone. Nothing is said about tokens of others."""
        found = await self._found(text)
        if found is None or (found[0].client, found[0].issuer) != (client.id, self._issuer):
            return
        if found[0].kind is TokenKind.REFRESH:
            await self._records.end_family(found[0].family)
        else:
            await self._records.end_token(hash_token(text))

    async def introspect(self, client: Client, text: str) -> dict[str, Any]:
        """RFC 7662, for the client's own tokens; everything else is not active, and nothing more is said of it."""
        found = await self._found(text)
        if found is None or (found[0].client, found[0].issuer) != (client.id, self._issuer):
            return {"active": False}
        token, authorization = found
        _, grants = await self.standing(authorization.id)
        if not grants:
            return {"active": False}
        told: dict[str, Any] = {
            "active": True,
            "client_id": token.client,
            "iss": token.issuer,
            "aud": token.audience,
            "exp": int(token.expires_at.timestamp()),
            "iat": int(token.created_at.timestamp()),
            "grant_id": authorization.id,
            "authorization_details": told_details(grants, self._clock()),
        }
        if token.kind is TokenKind.ACCESS:
            told["token_type"] = self._profile.token_type
        return told | ({"cnf": {"jkt": token.jkt}} if token.jkt is not None else {})

    async def standing(self, authorization_id: str) -> tuple[Authorization | None, tuple[Grant, ...]]:
        """An authorization and those of its grants that stand now. Without one that stands, no token is worth anything."""
        authorization = await self._records.find_authorization(authorization_id)
        if authorization is None:
            return None, ()
        return authorization, await live_grants(self._records, authorization, self._clock())

    async def _found(self, text: str) -> tuple[Token, Authorization] | None:
        if not 0 < len(text) <= TOKEN_CHARS_MAX:
            return None
        return await self._records.find_token(hash_token(text), self._clock())

    async def _issue(
        self,
        authorization: Authorization,
        grants: Sequence[Grant],
        family: bytes,
        jkt: str | None,
        *,
        code_hash: bytes | None = None,
        rotated_hash: bytes | None = None,
        kept: str | None = None,
    ) -> dict[str, Any]:
        now = self._clock()
        ends = min(now + self._profile.access_life, authorization.until)
        access = self._random_text()
        made = [(hash_token(access), self._token(TokenKind.ACCESS, authorization, family, jkt, now, ends))]
        refresh = kept
        if refresh is None and self._profile.refresh is not Refresh.NONE:
            refresh = self._random_text()
            # A confidential client proves who it is at each renewal, so its refresh token need not be bound to a key (RFC 9449 section 5).
            made.append((hash_token(refresh), self._token(TokenKind.REFRESH, authorization, family, None, now, authorization.until)))
        if not await self._records.add_tokens(tuple(made), code_hash=code_hash, rotated_hash=rotated_hash):
            raise _no_grant()
        told: dict[str, Any] = {"access_token": access, "token_type": self._profile.token_type, "expires_in": int((ends - now).total_seconds())}
        if refresh is not None:
            told["refresh_token"] = refresh
        if self._profile.details:
            told |= {"authorization_details": told_details(grants, now), "grant_id": authorization.id}
        allowed = self._profile.scopes if self._profile.scopes_granted is None else self._profile.scopes_granted(grants)
        return told | ({"scope": " ".join(allowed)} if self._profile.scopes else {})

    def _token(self, kind: TokenKind, authorization: Authorization, family: bytes, jkt: str | None, now: datetime, ends: datetime) -> Token:
        return Token(
            kind=kind,
            client=authorization.client,
            issuer=authorization.issuer,
            audience=authorization.audience,
            authorization=authorization.id,
            version=authorization.version,
            family=family,
            jkt=jkt,
            created_at=now,
            expires_at=ends,
        )

    def _verified(self, verifier: str, code: Code) -> bool:
        if not code.challenge and not self._profile.pkce_needed:
            return not verifier  # A verifier to a code that never had a challenge: the code was planted.
        if not VERIFIER.fullmatch(verifier):
            return False
        challenge = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=")
        return hmac.compare_digest(challenge, code.challenge.encode())

    def _random_text(self) -> str:
        return urlsafe_b64encode(self._chance(32)).rstrip(b"=").decode()


async def live_grants(records: TokenRecords, authorization: Authorization, now: datetime) -> tuple[Grant, ...]:
    """Of the grants that were made for this authorization and no other, those that stand. A paused one does; it only answers nothing."""
    held = await records.grants_of(authorization.customer, active_only=False, now=now)
    return tuple(grant for grant in held if grant.id in authorization.grants and grant.state.stands and now < grant.expires_at)


def _no_grant() -> OAuthError:
    return OAuthError("invalid_grant", "It has expired, was used, was taken back, or was not made for this client.")
