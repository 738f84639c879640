"""Receipts: one text that shows, without network or trust, what left and that the log had recorded it.

Format: c2sp.org/tlog-proof@v1. Its `extra` holds what the checkpoint alone cannot show: the entry, the salt and the private half.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

from .entry import SALT_BYTES, commitment_text, read_entry, read_object
from .merkle import HASHES_MAX
from .note import Checkpoint, Inclusion, Verifier, decode_base64, read_number
from .rejection import ProofRejected

HEADER = "c2sp.org/tlog-proof@v1"
RECEIPT_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt taken apart; nothing in it has been checked against a key yet."""

    entry: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    private: bytes = field(repr=False)
    inclusion: Inclusion


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """A receipt that held: what the log shows everyone, what only the customer holds, and the head that covers both."""

    entry: dict[str, str | int] = field(repr=False)
    private: dict[str, Any] = field(repr=False)
    checkpoint: Checkpoint
    index: int


def verify_receipt(text: str | bytes, vkey: str) -> VerifiedReceipt:
    """Check a receipt against a log's public key alone; raises ProofRejected with the first check that failed."""
    # 1. It is exactly the text that the format allows.
    receipt = parse_receipt(text)
    # 2. The log signed a head, and the head holds the entry at this index.
    checkpoint = Verifier(vkey).verify_inclusion(receipt.entry, receipt.inclusion)
    # 3. The entry says what it says in one way only.
    entry = read_entry(receipt.entry)
    # 4. The private half is the one that the entry committed to.
    if entry.get("c") != commitment_text(receipt.salt, receipt.private):
        raise ProofRejected("commitment", "The private half is not the one that the logged entry commits to.")
    return VerifiedReceipt(entry, read_object(receipt.private, "private_form"), checkpoint, receipt.inclusion.index)


def format_receipt(entry: bytes, salt: bytes, private: bytes, inclusion: Inclusion) -> str:
    """The receipt for an entry that the log has acknowledged."""
    if len(salt) != SALT_BYTES:
        raise ValueError("A receipt needs the salt of 32 bytes.")
    extra = len(entry).to_bytes(2, "big") + entry + salt + private
    lines = [HEADER, f"extra {b64encode(extra).decode()}", f"index {inclusion.index}", *(b64encode(each).decode() for each in inclusion.hashes)]
    return "\n".join(lines) + "\n\n" + inclusion.checkpoint.decode()


def parse_receipt(text: str | bytes) -> Receipt:
    """Take a receipt apart strictly; raises ProofRejected for anything that this format would not itself have written."""
    try:
        data = text.encode() if isinstance(text, str) else text
        decoded = data[: RECEIPT_BYTES_MAX + 1].decode()
    except UnicodeError:
        raise ProofRejected("receipt_form", "The receipt is not valid UTF-8, or too long.") from None
    if len(data) > RECEIPT_BYTES_MAX:
        raise ProofRejected("receipt_size", "The receipt is longer than 16 KiB.")
    head, _, note = decoded.partition("\n\n")
    lines = head.split("\n")
    if len(lines) < 3 or lines[0] != HEADER or lines[1][:6] != "extra " or lines[2][:6] != "index " or not note:
        raise ProofRejected("receipt_form", "The receipt does not have the lines of c2sp.org/tlog-proof@v1.")
    if len(lines) > 3 + HASHES_MAX:
        raise ProofRejected("hashes", "The receipt holds more than 64 hashes.")
    hashes = tuple(decode_base64(line, "receipt_form") for line in lines[3:])
    inclusion = Inclusion(read_number(lines[2][6:], "receipt_form"), note.encode(), hashes)
    return Receipt(*_open_extra(decode_base64(lines[1][6:], "receipt_form")), inclusion)


def _open_extra(extra: bytes) -> tuple[bytes, bytes, bytes]:
    entry_end = 2 + int.from_bytes(extra[:2], "big")
    salt_end = entry_end + SALT_BYTES
    if len(extra) <= salt_end:
        raise ProofRejected("receipt_form", "The extra line is too short for an entry, a salt and a private half.")
    return extra[2:entry_end], extra[entry_end:salt_end], extra[salt_end:]
