"""Passkeys at the customer's page: signing in, confirming that it is she, adding one. The cryptography is `parley.console.passkeys`.

A challenge is kept on the server and belongs to the browser that asked, by a Strict cookie. Whoever is not signed in is offered whatever
passkeys the browser has, and every failure is the same refusal, so that nobody learns who has a page here.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from parley.console.customer.ports import PasskeyRecords
from parley.console.passkeys import (
    CHALLENGE_BYTES,
    Passkey,
    PasskeyRejected,
    PasskeySite,
    assertion_options,
    presented,
    registration_options,
    verify_assertion,
    verify_registration,
)
from parley.model.customers import PasskeyChallenge, PasskeyUse, SignIn, StoredPasskey
from parley.model.strangers import clean

CHALLENGE_LIFE = timedelta(minutes=2)
NAME_CHARS_MAX = 40
TOKEN_CHARS_MAX = 64


@dataclass(frozen=True, slots=True)
class Knock:
    """A ceremony that begins: what the browser is asked, and the token for its cookie."""

    options: dict[str, Any]
    token: str = field(repr=False)


class Ceremonies:
    def __init__(self, records: PasskeyRecords, site: PasskeySite, clock: Callable[[], datetime], chance: Callable[[int], bytes]) -> None:
        self._records = records
        self._site = site
        self._clock = clock
        self._chance = chance

    async def begin(self, use: PasskeyUse, sign_in: SignIn | None, user_name: str) -> Knock:
        """`sign_in` None only for signing in. `user_name`: what the browser's own dialogue calls the account."""
        if (sign_in is None) != (use is PasskeyUse.SIGN_IN):
            raise PasskeyRejected("nobody is signed in")
        challenge = self._chance(CHALLENGE_BYTES)
        token = urlsafe_b64encode(self._chance(32)).rstrip(b"=").decode()
        customer = sign_in.customer if sign_in is not None else None
        until = self._clock() + CHALLENGE_LIFE
        await self._records.add_challenge(PasskeyChallenge(_hash(token), use, customer, challenge, until))
        if customer is None:
            return Knock(assertion_options(self._site, challenge=challenge), token)
        known = [each.credential_id for each in await self._records.passkeys_of(customer)]
        if use is PasskeyUse.ADD:
            handle = user_handle(customer)
            return Knock(registration_options(self._site, challenge=challenge, user_handle=handle, user_name=user_name, existing=known), token)
        return Knock(assertion_options(self._site, challenge=challenge, allowed=known), token)

    async def sign_in(self, token: str | None, sent: bytes) -> str:
        """The customer whose passkey answered. Raises PasskeyRejected for every way of failing."""
        return await self._assert(await self._challenge(token, PasskeyUse.SIGN_IN, None), sent)

    async def step_up(self, token: str | None, sent: bytes, sign_in: SignIn) -> None:
        """She is the one who is signed in. Raises PasskeyRejected."""
        challenge = await self._challenge(token, PasskeyUse.STEP_UP, sign_in.customer)
        if await self._assert(challenge, sent) != sign_in.customer:
            raise PasskeyRejected("somebody else's passkey")

    async def add(self, token: str | None, sent: bytes, sign_in: SignIn, name: str) -> None:
        """Keep a new passkey of hers. Raises PasskeyRejected, or RecordsConflict for one too many."""
        challenge = await self._challenge(token, PasskeyUse.ADD, sign_in.customer)
        made = verify_registration(self._site, sent, challenge.challenge)
        shown = clean(name)[:NAME_CHARS_MAX] or sign_in.device
        kept = StoredPasskey(made.credential_id, made.public_key, made.sign_count, shown, self._clock())
        await self._records.add_passkey(sign_in.customer, kept)

    async def _assert(self, challenge: PasskeyChallenge, sent: bytes) -> str:
        claimed = presented(sent)
        found = await self._records.find_passkey(claimed.credential_id)
        if found is None:
            raise PasskeyRejected("unknown")
        customer, kept = found
        if claimed.user_handle and claimed.user_handle != user_handle(customer):
            raise PasskeyRejected("another person's handle")
        count = verify_assertion(self._site, sent, challenge.challenge, Passkey(kept.credential_id, kept.public_key, kept.sign_count))
        if not await self._records.passkey_used(customer, kept, count, self._clock()):
            raise PasskeyRejected("used at the same moment")
        return customer

    async def _challenge(self, token: str | None, use: PasskeyUse, customer: str | None) -> PasskeyChallenge:
        if not token or len(token) > TOKEN_CHARS_MAX or not token.isascii():
            raise PasskeyRejected("no challenge")
        found = await self._records.take_challenge(_hash(token), self._clock())
        if found is None or found.use is not use or found.customer != customer:
            raise PasskeyRejected("no such challenge")
        return found


def user_handle(customer: str) -> bytes:
    """What an authenticator keeps of her: 32 bytes that mean nothing outside this house."""
    return sha256(b"parley/v1/user-handle\0" + customer.encode()).digest()


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()
