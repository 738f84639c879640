"""Who is signed in to her own page: by a passkey, or by the bank's own login. Server-side, short, and renewed with every proof.

A sign-in shows what each platform may ask and has learned, so it is worth more than a chat session and is kept apart from it: its own
cookie, its own end, its own list that the customer can see and cut short. A widening of consent needs a fresh proof on top of it.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from parley.authorization.sessions import TOKEN_CHARS_MAX, hash_token, read_cookie
from parley.model.customers import SignIn, SignInMethod

SIGN_IN_LIFE = timedelta(hours=4)
SIGN_IN_IDLE = timedelta(minutes=15)
FRESH = timedelta(minutes=5)
"""How long a proof of who she is counts for what needs one: erasing, passkeys, and anything that widens a grant."""

SEEN_STEP = timedelta(minutes=1)
TOKEN_BYTES = 32
_BROWSERS = (("edg", "Edge"), ("opr", "Opera"), ("firefox", "Firefox"), ("chrome", "Chrome"), ("chromium", "Chromium"), ("safari", "Safari"))
_SYSTEMS = (("iphone", "iPhone"), ("ipad", "iPad"), ("android", "Android"), ("windows", "Windows"), ("mac os", "macOS"), ("linux", "Linux"))


class SignInRecords(Protocol):
    async def add_sign_in(self, sign_in: SignIn) -> None: ...
    async def find_sign_in(self, token_hash: bytes, now: datetime) -> SignIn | None: ...
    async def touch_sign_in(self, token_hash: bytes, now: datetime) -> None: ...
    async def end_sign_in(self, token_hash: bytes, customer: str) -> bool: ...


class SignIns:
    """Makes, finds, renews and ends sign-ins. `secure`: the public address is https, so the cookie gets the `__Host-` prefix."""

    def __init__(
        self, records: SignInRecords, *, secure: bool, clock: Callable[[], datetime], chance: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._records = records
        self._secure = secure
        self._clock = clock
        self._chance = chance
        self.cookie_name = "__Host-parley-me" if secure else "parley-me"

    async def find(self, headers: Mapping[str, str]) -> SignIn | None:
        """The sign-in of the cookie (header names in lower case). One that lay idle too long is ended by being asked for."""
        token = read_cookie(headers, self.cookie_name)
        if not token or len(token) > TOKEN_CHARS_MAX or not token.isascii():
            return None
        now = self._clock()
        found = await self._records.find_sign_in(hash_token(token), now)
        if found is None:
            return None
        if now - found.seen_at >= SIGN_IN_IDLE:
            await self._records.end_sign_in(found.token_hash, found.customer)
            return None
        if now - found.seen_at >= SEEN_STEP:
            await self._records.touch_sign_in(found.token_hash, now)
        return found

    async def fresh_customer(self, headers: Mapping[str, str]) -> str | None:
        """The customer whose proof in this browser is fresh, so that she may widen what she allows; None for everybody else."""
        found = await self.find(headers)
        return found.customer if found is not None and self.is_fresh(found) else None

    def is_fresh(self, sign_in: SignIn) -> bool:
        return timedelta(0) <= self._clock() - sign_in.proved_at < FRESH

    async def arrived(self, customer: str, method: SignInMethod, headers: Mapping[str, str]) -> str:
        """She has proved who she is in this browser: the Set-Cookie value of her sign-in, renewed where it was hers before."""
        previous = await self.find(headers)
        if previous is not None and previous.customer == customer:
            return (await self.prove(previous, method))[1]
        return (await self.open(customer, method, headers))[1]

    async def open(self, customer: str, method: SignInMethod, headers: Mapping[str, str]) -> tuple[SignIn, str]:
        """A new sign-in and its Set-Cookie value. Whatever token the browser showed before is ended: a planted one is worth nothing."""
        now = self._clock()
        previous = await self.find(headers)
        if previous is not None:
            await self._records.end_sign_in(previous.token_hash, previous.customer)
        token = self._random_text()
        device = device_words(headers.get("user-agent", ""))
        made = SignIn(hash_token(token), customer, self._random_text(), method, device, now, now, now, now + SIGN_IN_LIFE)
        await self._records.add_sign_in(made)
        return made, self._cookie(token, SIGN_IN_LIFE)

    async def prove(self, sign_in: SignIn, method: SignInMethod) -> tuple[SignIn, str]:
        """She proved again who she is: the same sign-in under a new token, its proof fresh, its absolute end where it was."""
        now = self._clock()
        token = self._random_text()
        renewed = msgspec.structs.replace(sign_in, token_hash=hash_token(token), csrf=self._random_text(), method=method, proved_at=now, seen_at=now)
        await self._records.add_sign_in(renewed)
        await self._records.end_sign_in(sign_in.token_hash, sign_in.customer)
        return renewed, self._cookie(token, max(sign_in.expires_at - now, timedelta(0)))

    async def end(self, sign_in: SignIn) -> str:
        """Sign out. Returns the Set-Cookie value that also clears the browser's copy."""
        await self._records.end_sign_in(sign_in.token_hash, sign_in.customer)
        return self.clear()

    async def leave(self, headers: Mapping[str, str]) -> str:
        """She leaves this browser, wherever she said so. Returns the Set-Cookie value that also clears the browser's copy."""
        found = await self.find(headers)
        return await self.end(found) if found is not None else self.clear()

    def clear(self) -> str:
        return self._cookie("", timedelta(0))

    def _cookie(self, value: str, life: timedelta) -> str:
        """Lax: the return from the bank is a navigation from another site, and the page it leads to must find the sign-in."""
        secure = "; Secure" if self._secure else ""
        return f"{self.cookie_name}={value}; Path=/; Max-Age={int(life.total_seconds())}; HttpOnly; SameSite=Lax{secure}"

    def _random_text(self) -> str:
        return urlsafe_b64encode(self._chance(TOKEN_BYTES)).rstrip(b"=").decode()


def device_words(user_agent: str) -> str:
    """A browser and a system out of our own short lists, so that nothing a stranger wrote is kept or shown."""
    said = user_agent[:1024].lower()
    browser = next((name for mark, name in _BROWSERS if mark in said), "A browser")
    system = next((name for mark, name in _SYSTEMS if mark in said), "")
    return f"{browser} on {system}" if system else browser
