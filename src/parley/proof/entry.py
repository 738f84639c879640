"""What an entry of the log may look like, and how its hidden half is tied to it.

An entry is one flat JSON object of at most 512 bytes, canonical (RFC 8785) and narrowed to printable ASCII without quotes or backslashes
and to whole numbers below 2**53, so that every program reads and writes it the same way.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NoReturn

from .rejection import ProofRejected

ENTRY_BYTES_MAX = 512
SALT_BYTES = 32
INTEGER_MAX = 2**53 - 1
COMMITMENT_DOMAIN = b"parley/v1/commit\0"
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def commitment_text(salt: bytes, private: bytes) -> str:
    """What binds the private half without telling it, as the entry's `c` spells it: the salt (32 random-looking bytes) makes guessing hopeless."""
    if len(salt) != SALT_BYTES:
        raise ValueError("A commitment needs a salt of 32 bytes.")
    return b64encode(sha256(COMMITMENT_DOMAIN + salt + private).digest()).decode()


def canonical(value: Mapping[str, Any]) -> bytes:
    """The canonical JSON of an object: sorted keys, no spaces, UTF-8."""
    return _encode(value).encode()


def read_entry(entry: bytes) -> dict[str, str | int]:
    """The fields of an entry; raises ProofRejected unless it is in the one form described above."""
    if len(entry) > ENTRY_BYTES_MAX:
        raise ProofRejected("entry_size", "The entry is longer than 512 bytes.")
    if b"\\" in entry or any(not 32 <= byte < 127 for byte in entry):
        raise ProofRejected("entry_form", "The entry holds a byte that is not plain printable ASCII.")
    fields = read_object(entry, "entry_form")
    for value in fields.values():
        if type(value) is not str and (type(value) is not int or abs(value) > INTEGER_MAX):
            raise ProofRejected("entry_form", "The entry holds something other than texts and whole numbers.")
    return fields


def read_object(data: bytes, code: str) -> dict[str, Any]:
    """A JSON object in canonical form, without fractions; a doubled key cannot hide, since it would not encode back."""
    try:
        value = json.loads(data, parse_float=_refuse, parse_constant=_refuse)
        same = isinstance(value, dict) and canonical(value) == data
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise ProofRejected(code, "A part of the receipt is not a JSON object in canonical form.")
    return value  # type: ignore[no-any-return]


def _refuse(_: str) -> NoReturn:
    raise ValueError("no fractions")
