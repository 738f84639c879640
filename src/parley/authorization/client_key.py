"""The key with which the gateway proves to a bank who it is: ES256, made once, kept in a file that only we can read."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

FILE_BYTES_MAX = 8 * 1024


class BadKeyFile(Exception):
    """The key file cannot be used, or others may read it; the message says which, for the operator, and holds nothing of the key."""


class ClientKey:
    """An EC key on P-256. Prints nothing of itself."""

    def __init__(self, key: ECKey) -> None:
        self._key = key
        self._header = {"alg": "ES256", "typ": "JWT", "kid": key.thumbprint()}

    def __repr__(self) -> str:
        return "ClientKey(***)"

    @classmethod
    def load_or_create(cls, path: Path) -> ClientKey:
        """The key in the file (PEM, PKCS #8), made there with mode 0600 if there is none. Raises BadKeyFile."""
        try:
            return cls(_made(path))
        except FileExistsError:
            return cls(_read(path))
        except OSError as reason:
            raise BadKeyFile(f"the client key cannot be written: {reason.strerror}") from None

    @property
    def thumbprint(self) -> str:
        """RFC 7638, and our `kid`."""
        return self._header["kid"]

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The public half as the bank registers it."""
        return {"keys": [{**self._public(), "kid": self.thumbprint, "use": "sig", "alg": "ES256"}]}

    def _public(self) -> dict[str, str]:
        return {name: str(value) for name, value in self._key.as_dict(private=False).items() if name in ("kty", "crv", "x", "y")}

    def proof(self, claims: Mapping[str, str | int]) -> str:
        """A DPoP proof (RFC 9449 section 4.2): the claims signed, with the public half of the key in the header."""
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self._public()}
        return jws.serialize_compact(header, msgspec.json.encode(dict(claims)), self._key, algorithms=["ES256"])

    def signed(self, claims: Mapping[str, str | int]) -> str:
        """A compact JWS of the claims."""
        return jws.serialize_compact(dict(self._header), msgspec.json.encode(dict(claims)), self._key, algorithms=["ES256"])


def _made(path: Path) -> ECKey:
    """Written whole beside its place, then linked into it: neither a crash nor a second process leaves half a key. Raises FileExistsError."""
    if path.exists():
        raise FileExistsError
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return ECKey.import_key(pem)


def _read(path: Path) -> ECKey:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            pem = file.read(FILE_BYTES_MAX)
    except OSError as reason:
        raise BadKeyFile(f"the client key cannot be read: {reason.strerror}") from None
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & 0o077:
        raise BadKeyFile("the client key's file is open to others: its mode must be 0600")
    try:
        key = ECKey.import_key(pem)
    except (JoseError, ValueError, TypeError):
        raise BadKeyFile("the file holds no key") from None
    if key.curve_name != "P-256" or not key.is_private:
        raise BadKeyFile("the file holds another kind of key")
    return key
