"""Server-side sessions of browsers and terminals: random tokens, stored as SHA-256 only, ended by the server alone.

A cookie that carries its own state cannot be taken back, so ours carries 256 random bits and nothing else (OWASP ASVS 5.0 V7).
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256

from parley.authorization.ports import SessionRecords
from parley.model.linking import Session

SESSION_LIFE = timedelta(hours=12)
TOKEN_BYTES = 32
TOKEN_CHARS_MAX = 64
CLIENTS_MAX = 4096
"""How many client addresses a throttle remembers. Older ones are forgotten first, so that strangers cannot fill the memory."""


@dataclass(frozen=True, slots=True)
class Presented:
    """A session and the token that somebody presented for it.

    `ambient`: it came in a cookie, which a browser also sends for other sites' forms, so that a CSRF token must come beside it.
    """

    session: Session
    token: str = field(repr=False)
    ambient: bool

    @property
    def conversation(self) -> str:
        return self.session.conversation

    @property
    def csrf(self) -> str:
        return self.session.csrf


class Sessions:
    """Makes, finds, renews and ends sessions.

    `secure`: the public address is https, so the cookie gets the `__Host-` prefix, which no sub-domain and no plain http can plant.
    `clock` gives aware UTC times; `chance` gives random bytes, and is an argument only for tests.
    """

    def __init__(
        self,
        records: SessionRecords,
        *,
        secure: bool,
        clock: Callable[[], datetime],
        chance: Callable[[int], bytes] = secrets.token_bytes,
        throttle: Throttle | None = None,
    ) -> None:
        self._records = records
        self._secure = secure
        self._clock = clock
        self._chance = chance
        self._throttle = throttle or Throttle(per_second=2, burst=120)
        self.cookie_name = self.cookie_named("parley")

    async def find(self, headers: Mapping[str, str]) -> Presented | None:
        """The session that the headers (lower case) present: a bearer token, or else the cookie. None when there is none that stands."""
        authorization = headers.get("authorization")
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            return await self.find_token(token, ambient=False) if scheme.lower() == "bearer" else None
        return await self.find_token(read_cookie(headers, self.cookie_name), ambient=True)

    async def find_token(self, token: str | None, *, ambient: bool) -> Presented | None:
        if not token or len(token) > TOKEN_CHARS_MAX or not token.isascii():
            return None
        session = await self._records.find_session(hash_token(token), self._clock())
        return None if session is None else Presented(session, token, ambient)

    async def open(self, client: str) -> tuple[Presented, str] | None:
        """A new session for a first visit, with the Set-Cookie value for it. None: this client address opened too many lately."""
        if not self._throttle.admits(client, self._clock()):
            return None
        presented = await self.start(self._random_text())
        return presented, self.set_cookie(self.cookie_name, presented.token, life=SESSION_LIFE)

    async def start(self, conversation: str, *, ambient: bool = True, life: timedelta = SESSION_LIFE) -> Presented:
        """A new session in a conversation."""
        now = self._clock()
        token = self._random_text()
        session = Session(hash_token(token), conversation, self._random_text(), now, now + life)
        await self._records.add_session(session)
        return Presented(session, token, ambient)

    async def renew(self, old: Presented) -> tuple[Presented, str]:
        """The same conversation under a new token; the old token ends.

        Called when a sign-in at the bank has raised what a session is worth: a token that somebody planted before is then worth nothing.
        The absolute end stays where it was.
        """
        now = self._clock()
        life = max(old.session.expires_at - now, timedelta(0))
        renewed = await self.start(old.conversation, ambient=old.ambient, life=life)
        await self._records.end_session(old.session.token_hash)
        return renewed, self.set_cookie(self.cookie_name, renewed.token, life=life)

    async def end(self, presented: Presented) -> str:
        """Sign out. Returns the Set-Cookie value that also clears the browser's copy."""
        await self._records.end_session(presented.session.token_hash)
        return self.clear_cookie(self.cookie_name)

    async def leave(self, headers: Mapping[str, str]) -> str:
        """Whoever sits at this browser leaves it: its session ends, if it has one. Returns the Set-Cookie value that also clears its copy."""
        presented = await self.find(headers)
        return await self.end(presented) if presented is not None and presented.ambient else self.clear_cookie(self.cookie_name)

    def new_conversation(self) -> str:
        return self._random_text()

    def cookie_named(self, name: str) -> str:
        return f"__Host-{name}" if self._secure else name

    def set_cookie(self, name: str, value: str, *, life: timedelta, same_site: str = "Lax") -> str:
        """Lax, not Strict, by default: the return from the bank is a navigation from another site and must find the session."""
        secure = "; Secure" if self._secure else ""
        return f"{name}={value}; Path=/; Max-Age={int(life.total_seconds())}; HttpOnly; SameSite={same_site}{secure}"

    def clear_cookie(self, name: str) -> str:
        return self.set_cookie(name, "", life=timedelta(0))

    def _random_text(self) -> str:
        return urlsafe_b64encode(self._chance(TOKEN_BYTES)).rstrip(b"=").decode()


class Throttle:
    """A token bucket for each client address: `burst` at once, then `per_second`. Bounded in memory; forgets the longest unseen."""

    def __init__(self, *, per_second: float, burst: int, clients_max: int = CLIENTS_MAX) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._clients_max = clients_max
        self._buckets: OrderedDict[str, tuple[float, datetime]] = OrderedDict()

    def admits(self, client: str, now: datetime) -> bool:
        left, since = self._buckets.pop(client, (self._burst, now))
        left = min(self._burst, left + max((now - since).total_seconds(), 0.0) * self._per_second)
        admitted = left >= 1.0
        self._buckets[client] = (left - 1.0 if admitted else left, now)
        if len(self._buckets) > self._clients_max:
            self._buckets.popitem(last=False)
        return admitted


def hash_token(token: str) -> bytes:
    """What is stored of a token. Plain SHA-256 is enough for 256 random bits: there is nothing to guess."""
    return sha256(token.encode()).digest()


def read_cookie(headers: Mapping[str, str], name: str) -> str | None:
    """The cookie's value, or None when it is missing or comes twice.

    Two cookies of one name mean that somebody planted the second; which of them a browser sends first is not ours to guess.
    """
    wanted = f"{name}="
    found = [part.strip()[len(wanted) :] for part in headers.get("cookie", "").split(";") if part.strip().startswith(wanted)]
    return found[0] if len(found) == 1 else None
