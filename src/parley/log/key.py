"""The log's only key: made once, readable by nobody but the notary, and never leaving this process.

Trusted with: everything the log promises. Who has this key can sign a second history; that only witnesses and old receipts can show.
"""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from parley.log.errors import NotaryCannotStart
from parley.proof import format_vkey
from parley.proof.note import key_id

KEY_FILE = "log.key"
VKEY_FILE = "log.vkey"
ORIGIN_CHARACTERS_MAX = 128


class LogKey:
    """Signs checkpoints under one origin."""

    def __init__(self, origin: str, seed: bytes) -> None:
        self.origin = origin
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._private.public_key().public_bytes_raw()
        self._identifier = key_id(origin, public)
        self.vkey = format_vkey(origin, public)

    def sign(self, size: int, root: bytes) -> bytes:
        """The 64-byte Ed25519 signature of the checkpoint of that size and root."""
        return self._private.sign(checkpoint_text(self.origin, size, root))

    def note(self, size: int, root: bytes, signature: bytes) -> bytes:
        """The signed checkpoint as it is handed out."""
        return signed_note(self.origin, self._identifier, size, root, signature)


def checkpoint_text(origin: str, size: int, root: bytes) -> bytes:
    """The bytes that a log signs (c2sp.org/tlog-checkpoint): three lines, each ended by a newline."""
    return b"%s\n%d\n%s\n" % (origin.encode(), size, b64encode(root))


def signed_note(origin: str, identifier: bytes, size: int, root: bytes, signature: bytes) -> bytes:
    """A checkpoint with the log's signature line (c2sp.org/signed-note); `identifier` is the four-byte key id."""
    encoded = b64encode(identifier + signature)
    return b"%s\n\xe2\x80\x94 %s %s\n" % (checkpoint_text(origin, size, root), origin.encode(), encoded)


def check_origin(origin: str) -> None:
    """A log's name, such as bank.example/parley: printable ASCII without spaces or plus signs."""
    plain = origin.isascii() and origin.isprintable() and " " not in origin and "+" not in origin
    if not plain or not 0 < len(origin) <= ORIGIN_CHARACTERS_MAX:
        raise NotaryCannotStart("origin", "The log's name must be up to 128 printable ASCII characters without space or plus sign.")


def check_private(path: Path) -> None:
    """Refuse a key file or folder that others may read: it may have been copied already."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise NotaryCannotStart(
            "key_exposed",
            f"{path} must belong to the notary's user alone and be no link. Others may have read it: find out, then "
            f"chmod 600 it (700 for the folder), or start a new log under a new origin.",
        )


def load_key(folder: Path, origin: str) -> LogKey:
    """The existing key."""
    path = folder / KEY_FILE
    check_private(path)
    seed = path.read_bytes()
    if len(seed) != 32:
        raise NotaryCannotStart("key_damaged", f"{path} is not the 32 bytes of an Ed25519 key. Restore it from its own backup.")
    return LogKey(origin, seed)


def make_key(folder: Path, origin: str) -> LogKey:
    """A new key, durable before anything is signed with it."""
    seed = Ed25519PrivateKey.generate().private_bytes_raw()
    _write_durably(folder / KEY_FILE, seed, 0o600)
    return LogKey(origin, seed)


def publish_vkey(folder: Path, key: LogKey) -> None:
    """Write the public half beside it; this file is for everyone."""
    path = folder / VKEY_FILE
    if not path.exists():
        _write_durably(path, key.vkey.encode() + b"\n", 0o644)
    elif path.read_text().strip() != key.vkey:
        raise NotaryCannotStart("key_other", f"{path} is the public half of another key. Restore the key that belongs to this log.")


def _write_durably(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names of new files in a folder durable; syncing a file does not promise that it will be found again."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
