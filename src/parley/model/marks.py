"""Marks that Parley gives to payments made through a platform, and by which it knows them again in the bank's books.

A transaction is on-platform for the platform whose mark it carries and off-platform for every other; without a mark it is off-platform
everywhere. A mark cannot be made without the house's key, nor turned into another platform's. It is 32 letters and digits, which fits an
end-to-end reference (ISO 20022 EndToEndId, 35 characters).
"""

from __future__ import annotations

import hmac
from base64 import b32decode, b32encode
from typing import final

NONCE_BYTES = 8
TAG_BYTES = 12
CHARACTERS = 32
KEY_BYTES_MIN = 32


@final
class PlatformMarks:
    """Gives marks and knows them again, with one secret key. Raises ValueError for a key of fewer than 32 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES_MIN:
            raise ValueError("a key for marks has at least 32 bytes")
        self._key = key

    def __repr__(self) -> str:
        return "PlatformMarks(***)"

    def give(self, platform: str, nonce: bytes) -> str:
        """The mark for one payment through this platform. `nonce`: 8 fresh random bytes."""
        if len(nonce) != NONCE_BYTES:
            raise ValueError("a nonce has 8 bytes")
        return b32encode(nonce + self._tag(platform, nonce)).decode()

    def recognises(self, mark: str | None, platform: str) -> bool:
        """Whether we gave this mark to a payment through this platform. Never raises, whatever a bank's books hold."""
        if mark is None or len(mark) != CHARACTERS or not mark.isascii():
            return False
        try:
            raw = b32decode(mark)
        except ValueError:
            return False
        return hmac.compare_digest(raw[NONCE_BYTES:], self._tag(platform, raw[:NONCE_BYTES]))

    def _tag(self, platform: str, nonce: bytes) -> bytes:
        return hmac.digest(self._key, b"parley-mark\0" + nonce + platform.encode(), "sha256")[:TAG_BYTES]
