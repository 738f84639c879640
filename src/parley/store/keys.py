"""The keys that wrap every other key: a KMS-shaped port, and its plain form, files with mode 0600.

    wrapping key (here)  ->  wraps each customer's key and the gateway's key  ->  HKDF sub-keys  ->  seals and hashes

Trusted with everything: who reads these files and the records reads what the customers' keys seal. So they live beside the
records, not in them, and a backup of the one must never travel with a backup of the other.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import struct
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding, aes_key_wrap_with_padding

from parley.model.refusals import Fault

KEY_BYTES = 32
ERASED_BYTES_MAX = 256 * 1024 * 1024
_GENERATION = struct.Struct(">I")
_KEY_NAME = re.compile(r"wrapping-([1-9][0-9]{0,8})\.key")
_CUSTOMER = re.compile(r"[0-9a-f]{32}")


class KeysUnsafe(Fault):
    """The keys are missing, readable by others, or not the ones that the records were made with. The start is refused."""

    code = "keys_unsafe"


class KeyRing(Protocol):
    """What a key management service does for us. Asynchronous because a PKCS#11 token (CKM_AES_KEY_WRAP_KWP) or a cloud KMS is a call away.

    `wrapped` names the generation of the wrapping key that made it, so that an old one opens until it has been wrapped again.
    """

    async def wrap(self, key: bytes) -> bytes:
        """Wrap a 32 byte key under the newest wrapping key."""

    async def unwrap(self, wrapped: bytes) -> bytes:
        """Raises KeysUnsafe when the wrapping key is gone or the bytes were changed."""

    def generation_of(self, wrapped: bytes) -> int:
        """Which wrapping key made it."""

    async def newest(self) -> int:
        """The generation that `wrap` uses now, also where another process rotated meanwhile."""

    async def rotate(self) -> int:
        """Make a new wrapping key and return its generation. What is wrapped already stays readable until `destroy`."""

    async def generations(self) -> tuple[int, ...]:
        """Every wrapping key that still exists, oldest first."""

    async def destroy(self, generation: int) -> None:
        """Destroy an old wrapping key, and with it what only a backup still holds. Raises KeysUnsafe for the newest."""

    async def remember_erased(self, customer: str) -> None:
        """Note durably, apart from the records, that this customer was erased: a restored backup is corrected from here."""

    async def erased(self) -> frozenset[str]:
        """Every customer id that `remember_erased` was told of."""

    async def rows_are_marked(self) -> bool:
        """Whether every row that should bear a mark does. Noted apart from the records: who can write those must not be able to have rows
        of his own marked at the next start."""

    async def remember_rows_are_marked(self) -> None:
        """Note it durably. Idempotent."""


class FileKeyRing:
    """Wrapping keys in DIRECTORY/wrapping-<n>.key, 32 random bytes each, mode 0600, owned by the account that runs the gateway."""

    def __init__(self, directory: Path) -> None:
        """Opens the ring, or makes it with its first key where the directory is new or empty. Raises KeysUnsafe."""
        self._directory = directory
        make_private_directory(directory)
        if not self._names():
            self._create(1)
        self._keys: dict[int, bytes] = {}
        self._newest = 0
        self._look()

    def __repr__(self) -> str:
        return "FileKeyRing(***)"

    @property
    def generation(self) -> int:
        """The generation of the newest wrapping key."""
        return self._newest

    async def wrap(self, key: bytes) -> bytes:
        """Looks at the directory each time: what is wrapped under a key that another process has replaced would be lost with that key."""
        newest = await self.newest()
        return _GENERATION.pack(newest) + aes_key_wrap_with_padding(self._keys[newest], key)

    async def unwrap(self, wrapped: bytes) -> bytes:
        generation = _generation_of(wrapped)
        if generation not in self._keys:
            self._look()  # Another process may have rotated.
        try:
            return aes_key_unwrap_with_padding(self._keys[generation], wrapped[_GENERATION.size :])
        except (KeyError, InvalidUnwrap, ValueError):
            raise KeysUnsafe("a key does not unwrap") from None

    def generation_of(self, wrapped: bytes) -> int:
        return _generation_of(wrapped)

    async def newest(self) -> int:
        self._look()
        return self._newest

    async def rotate(self) -> int:
        generation = await self.newest() + 1
        self._create(generation)
        self._look()
        return generation

    async def generations(self) -> tuple[int, ...]:
        self._look()
        return tuple(sorted(self._keys))

    async def destroy(self, generation: int) -> None:
        if generation == await self.newest():
            raise KeysUnsafe("the newest wrapping key is in use")
        self._keys.pop(generation, None)
        (self._directory / f"wrapping-{generation}.key").unlink(missing_ok=True)
        _sync_directory(self._directory)

    async def remember_erased(self, customer: str) -> None:
        if not _CUSTOMER.fullmatch(customer):
            raise ValueError("not a customer id")
        self._note("erased", f"{customer}\n")

    async def erased(self) -> frozenset[str]:
        path = self._directory / "erased"
        if not path.exists():
            return frozenset()
        lines = _read_private(path, None).decode("ascii", "replace").splitlines()
        return frozenset(line for line in lines if _CUSTOMER.fullmatch(line))

    async def rows_are_marked(self) -> bool:
        path = self._directory / "marked"
        return path.exists() and _read_private(path, None).startswith(b"1")

    async def remember_rows_are_marked(self) -> None:
        self._note("marked", "1\n")

    def _note(self, name: str, line: str) -> None:
        """Append a line to a file beside the keys, durably."""
        descriptor = os.open(self._directory / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _sync_directory(self._directory)

    def _look(self) -> None:
        """Read keys that are new in the directory. One that was destroyed there is forgotten here."""
        names = self._names()
        new = {generation: _read_private(self._directory / name, KEY_BYTES) for generation, name in names.items() if generation not in self._keys}
        self._keys = {generation: key for generation, key in (self._keys | new).items() if generation in names}
        if not self._keys:
            raise KeysUnsafe("the wrapping keys are gone")
        self._newest = max(self._keys)

    def _names(self) -> dict[int, str]:
        matches = (_KEY_NAME.fullmatch(path.name) for path in self._directory.iterdir())
        return {int(match[1]): match[0] for match in matches if match}

    def _create(self, generation: int) -> None:
        """Written aside and linked into place, so that another process starting now sees a whole key or none, and never two different ones."""
        draft = self._directory / f".draft-{secrets.token_hex(8)}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, secrets.token_bytes(KEY_BYTES))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(draft, self._directory / f"wrapping-{generation}.key")
        except FileExistsError:
            pass  # Another process made this generation first; theirs is the key.
        finally:
            draft.unlink()
        _sync_directory(self._directory)


def make_private_directory(directory: Path) -> None:
    """Make the directory with mode 0700, or check that an existing one is ours and closed to others. Raises KeysUnsafe."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private(directory.lstat(), stat.S_IFDIR, directory.name)


def check_private(status: os.stat_result, kind: int, name: str) -> None:
    """Raises KeysUnsafe unless it is of the kind, belongs to the account we run as, and no one else may read or write it."""
    if stat.S_IFMT(status.st_mode) != kind:
        raise KeysUnsafe(f"{name} is not what it should be")
    if status.st_uid != os.geteuid():
        raise KeysUnsafe(f"{name} belongs to another account")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise KeysUnsafe(f"{name} is open to others: mode {stat.S_IMODE(status.st_mode):04o}")


def _read_private(path: Path, size: int | None) -> bytes:
    """The whole file, checked on the open descriptor: checking the path first would let it be swapped in between."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        raise KeysUnsafe(f"{path.name} cannot be opened") from None
    with os.fdopen(descriptor, "rb") as file:
        check_private(os.fstat(file.fileno()), stat.S_IFREG, path.name)
        content = file.read(ERASED_BYTES_MAX if size is None else size + 1)
    if size is not None and len(content) != size:
        raise KeysUnsafe(f"{path.name} has the wrong size")
    return content


def _generation_of(wrapped: bytes) -> int:
    return int(_GENERATION.unpack_from(wrapped)[0]) if len(wrapped) > _GENERATION.size else 0


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
