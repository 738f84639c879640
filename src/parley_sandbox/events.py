"""Tells a client that a customer cut its consent at the bank's own page: a signed POST in the shape of Standard Webhooks, tried a few times."""

import asyncio
import hmac
import secrets
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import sha256

import aiohttp
import msgspec

SECRET_PREFIX = "whsec_"  # noqa: S105 - how a secret is written, not one
SECRET_BYTES_MIN = 24
TRY_SECONDS = 5.0
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 0.0)
"""Seconds after each try that failed; then the bank gives up."""

UNDER_WAY_MAX = 100


class BadSecret(ValueError):
    """The secret is not whsec_ and at least 24 bytes in base64."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a client hears of events, and the secret that it shares with the bank."""

    url: str
    secret: bytes = field(repr=False)


class Messenger:
    """Sends in the background: no page waits for a client. More than a hundred at once are dropped."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[bool]] = set()

    def consent_ended(self, listener: Listener, consent_id: str) -> None:
        """From within the bank's event loop."""
        if len(self._under_way) < UNDER_WAY_MAX:
            task = asyncio.create_task(deliver(listener, msgspec.json.encode({"type": "consent.ended", "consent_id": consent_id})))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)


async def deliver(listener: Listener, body: bytes) -> bool:
    """Whether the client took it. Each try has its own time and the same id, so that a client can tell a repeat."""
    message_id = f"msg_{secrets.token_hex(16)}"
    timeout = aiohttp.ClientTimeout(total=TRY_SECONDS)
    async with aiohttp.ClientSession(trust_env=False, timeout=timeout) as client:
        for wait in WAITS:
            try:
                headers = signed_headers(listener.secret, message_id, int(time.time()), body)
                async with client.post(listener.url, data=body, headers=headers, allow_redirects=False) as answer:
                    if 200 <= answer.status < 300:
                        return True
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            await asyncio.sleep(wait)
    return False


def signed_headers(secret: bytes, message_id: str, sent_at: int, body: bytes) -> dict[str, str]:
    """The three headers; `sent_at` in seconds since 1970."""
    signed = f"{message_id}.{sent_at}.".encode() + body
    signature = "v1," + b64encode(hmac.digest(secret, signed, sha256)).decode()
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": signature,
    }


def read_secret(written: str) -> bytes:
    """The bytes of a secret as a registration writes it. Raises BadSecret."""
    try:
        secret = b64decode(written.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        raise BadSecret from None
    if not written.startswith(SECRET_PREFIX) or len(secret) < SECRET_BYTES_MIN:
        raise BadSecret
    return secret
