"""Keys at work: what one customer's key, and the gateway's own, seal and hash."""

from __future__ import annotations

import hmac
import secrets
import struct
from functools import cached_property
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from parley.model.refusals import Fault

SEAL_VERSION = b"\x01"
_NONCE_BYTES = 12
_SALT_NONCE_BYTES = 16


class CustomerVault:
    """One customer's key at work; implements `parley.release.ports.Vault`.

    Every use has its own HKDF sub-key (RFC 5869 expand: the key is uniform already). Sealing is AES-256-GCM-SIV (RFC 8452), which a
    repeated nonce does not break open, with "version | customer | context" as associated data: what was sealed for one customer, row or
    schema does not open as another's, even where somebody with the database swaps rows and keys.
    """

    def __init__(self, customer: str, key: bytes) -> None:
        self._customer = customer
        self._key = key

    def __repr__(self) -> str:
        return "CustomerVault(***)"

    def salt(self, nonce: bytes) -> bytes:
        """32 bytes, HMAC-SHA256 of a 16 byte nonce. Raises ValueError for another length."""
        if len(nonce) != _SALT_NONCE_BYTES:
            raise ValueError("a salt's nonce has 16 bytes")
        return hmac.digest(self._salt_key, nonce, "sha256")

    def seal(self, context: str, plain: bytes) -> bytes:
        return self._sealer.seal(context, plain)

    def open(self, context: str, sealed: bytes) -> bytes:
        """Raises Fault when it does not open."""
        return self._sealer.open(context, sealed)

    def account_ref(self, bank: str, native_id: str) -> str:
        """Our name of an account: 16 hex digits, stable for this customer, meaningless without her key."""
        message = _pair(bank, native_id)
        return blake2b(message, key=sub_key(self._key, "account ref"), digest_size=8).hexdigest()

    @cached_property
    def _salt_key(self) -> bytes:
        return sub_key(self._key, "salt")

    @cached_property
    def _sealer(self) -> Sealer:
        return Sealer(sub_key(self._key, "seal"), self._customer)


class GatewayKeys:
    """The gateway's own key: names people and chats without saying who they are, and seals what belongs to no customer yet.

    Hashes are keyed BLAKE2b: without the key nobody can try out conversation ids or the bank's customer numbers against the records.
    """

    def __init__(self, key: bytes) -> None:
        self._sealer = Sealer(sub_key(key, "gateway seal"), "gateway")
        self._conversation_key = sub_key(key, "gateway conversation")
        self._message_key = sub_key(key, "gateway message")
        self._customer_key = sub_key(key, "gateway customer")
        self._consent_key = sub_key(key, "gateway bank consent")
        self._mark_key = sub_key(key, "gateway row mark")

    def __repr__(self) -> str:
        return "GatewayKeys(***)"

    def conversation(self, channel: str, conversation: str) -> tuple[int, bytes]:
        """(63 bit integer for the index, whole 32 byte hash to compare): the platform's address of a chat."""
        message = f"{channel}\0{conversation}".encode("utf-8", "surrogatepass")
        digest = blake2b(message, key=self._conversation_key, digest_size=32).digest()
        return int.from_bytes(digest[:8], "big") >> 1, digest

    def message(self, channel: str, platform: str, conversation: str, message_id: str) -> int:
        """A message's number: 63 bits. Two messages that share one by chance cost the second a refusal, never a release."""
        message = f"{channel}\0{platform}\0{len(conversation)}\0{conversation}{message_id}".encode("utf-8", "surrogatepass")
        return int.from_bytes(blake2b(message, key=self._message_key, digest_size=8).digest(), "big") >> 1

    def customer(self, bank: str, owner: str, life: int) -> str:
        """Our id of a bank's customer: 32 hex digits. `life` starts at 0 and grows when she was erased and comes back, as someone new."""
        return blake2b(_pair(bank, owner) + struct.pack(">I", life), key=self._customer_key, digest_size=16).hexdigest()

    def bank_consent(self, bank: str, consent_id: str) -> bytes:
        """16 bytes to find a link by, when the bank says that a consent was ended there."""
        return blake2b(_pair(bank, consent_id), key=self._consent_key, digest_size=16).digest()

    def mark(self, row: bytes) -> bytes:
        """16 bytes, keyed BLAKE2b (RFC 7693) of a row's canonical bytes: who can only write the database cannot make one."""
        return blake2b(row, key=self._mark_key, digest_size=16).digest()

    def seal(self, context: str, plain: bytes) -> bytes:
        return self._sealer.seal(context, plain)

    def open(self, context: str, sealed: bytes) -> bytes:
        """Raises Fault when it does not open."""
        return self._sealer.open(context, sealed)


class Sealer:
    """AES-256-GCM-SIV under one key, for one owner. Sealed form: version byte, 12 byte nonce, ciphertext and tag (29 bytes more than the plain)."""

    def __init__(self, key: bytes, owner: str) -> None:
        self._cipher = AESGCMSIV(key)
        self._bound = SEAL_VERSION + owner.encode() + b"\0"

    def __repr__(self) -> str:
        return "Sealer(***)"

    def seal(self, context: str, plain: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return SEAL_VERSION + nonce + self._cipher.encrypt(nonce, plain, self._bound + context.encode())

    def open(self, context: str, sealed: bytes) -> bytes:
        """Raises Fault, one for every way of failing: who probes learns nothing from the difference."""
        if sealed[:1] != SEAL_VERSION:
            raise Fault("a sealed value does not open")
        body = 1 + _NONCE_BYTES
        try:
            return self._cipher.decrypt(sealed[1:body], sealed[body:], self._bound + context.encode())
        except (InvalidTag, ValueError):
            raise Fault("a sealed value does not open") from None


def customer_number(customer: str) -> int:
    """63 bits of a customer's id, which is a keyed hash already: what other rows point to her with. Raises ValueError for another form."""
    return int(customer[:16], 16) >> 1


def sub_key(key: bytes, use: str) -> bytes:
    """A 32 byte key for one use, HKDF-Expand with SHA-256 (RFC 5869)."""
    return HKDFExpand(SHA256(), 32, f"parley/v1/{use}".encode()).derive(key)


def _pair(bank: str, number: str) -> bytes:
    """Both strings, their border marked, so that no two pairs read the same."""
    name = bank.encode("utf-8", "surrogatepass")
    return struct.pack(">I", len(name)) + name + number.encode("utf-8", "surrogatepass")
