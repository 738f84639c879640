"""An authenticator in software (Web Authentication Level 3): makes passkeys and signs with them as a browser's answers say it, lies on demand."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import cbor2
import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class SoftAuthenticator:
    """One passkey of one person. The fields say how it lies: every one of them is honest unless set."""

    origin: str
    relying_party: str
    flags: int = PRESENT | VERIFIED
    count: int = 0
    step: int = 1
    more_client_data: dict[str, Any] = field(default_factory=dict)
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    user_handle: bytes = b""
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def create(self, options: dict[str, Any]) -> bytes:
        """What a page would send after `navigator.credentials.create(options)`."""
        self.user_handle = options["user"]["id"].encode()
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        attested = bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + cbor2.dumps(cose)
        data = self.authenticator_data(ATTESTED) + attested
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        return self.answer({"clientDataJSON": self.client_data("webauthn.create", options), "attestationObject": base64url(attestation)})

    def get(self, options: dict[str, Any]) -> bytes:
        """What a page would send after `navigator.credentials.get(options)`."""
        self.count += self.step
        client_data = self.client_data("webauthn.get", options)
        data = self.authenticator_data(0)
        signature = self.key.sign(data + sha256(unbase64url(client_data)).digest(), ec.ECDSA(hashes.SHA256()))
        response = {"clientDataJSON": client_data, "authenticatorData": base64url(data), "signature": base64url(signature)}
        return self.answer(response | ({"userHandle": self.user_handle.decode()} if self.user_handle else {}))

    def authenticator_data(self, more_flags: int) -> bytes:
        return sha256(self.relying_party.encode()).digest() + bytes([self.flags | more_flags]) + self.count.to_bytes(4, "big")

    def client_data(self, kind: str, options: dict[str, Any]) -> str:
        said = {"type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": False} | self.more_client_data
        return base64url(msgspec.json.encode(said))

    def answer(self, response: dict[str, Any]) -> bytes:
        name = base64url(self.credential_id)
        return msgspec.json.encode({"id": name, "rawId": name, "type": "public-key", "response": response, "clientExtensionResults": {}})


def unbase64url(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
