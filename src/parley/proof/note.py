"""Signed checkpoints: who signed the head of the log, and what it says.

Formats: c2sp.org/signed-note (Ed25519, type 0x01), c2sp.org/tlog-checkpoint (three lines: origin, size, root) and
c2sp.org/tlog-cosignature (Ed25519, type 0x04: a witness says when it had seen the checkpoint continue all that it had seen before).
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .merkle import HASH_BYTES, leaf_hash, root_from_inclusion
from .rejection import ProofRejected

ED25519 = b"\x01"
COSIGNATURE = b"\x04"
NOTE_BYTES_MAX = 8192
SIGNATURES_MAX = 16
HEADS_KEPT = 16


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log's signed head says: whose log, how many entries, and the root over all of them (32 bytes)."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Inclusion:
    """The log's promise for one entry: its index, the exact signed checkpoint, and the path (leaf's sibling first, 32 bytes each)."""

    index: int
    checkpoint: bytes
    hashes: tuple[bytes, ...]


_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f]")


class Verifier:
    """Checks what one log promised, knowing nothing but its public key (`vkey`: name+hash+base64).

    Remembers the exact bytes of the last few checkpoints that held: one head covers a batch of entries, and signatures cost most.
    """

    def __init__(self, vkey: str) -> None:
        self.name, self._key_id, self._key = read_vkey(vkey)
        self._kept: dict[bytes, Checkpoint] = {}

    def verify_inclusion(self, entry: bytes, inclusion: Inclusion) -> Checkpoint:
        """The checkpoint that holds `entry` at `inclusion.index`; raises ProofRejected when signature, origin or path fails."""
        checkpoint = self.verify_checkpoint(inclusion.checkpoint)
        root = root_from_inclusion(leaf_hash(entry), inclusion.index, checkpoint.size, inclusion.hashes)
        if root != checkpoint.root:
            raise ProofRejected("inclusion", "The path does not lead from this entry to the root of the checkpoint.")
        return checkpoint

    def verify_checkpoint(self, note: bytes) -> Checkpoint:
        """The checkpoint in a signed note, once the log's own signature on it has been checked."""
        kept = self._kept.get(note)
        if kept is None:
            kept = self._check(note)
            if len(self._kept) >= HEADS_KEPT:
                self._kept.pop(next(iter(self._kept)), None)
            self._kept[bytes(note)] = kept
        return kept

    def _check(self, note: bytes) -> Checkpoint:
        text, signature = _signature_in(note, self.name, self._key_id)
        try:
            self._key.verify(signature, text)
        except InvalidSignature:
            raise ProofRejected("signature", "The signature on the checkpoint is not the log's.") from None
        checkpoint = read_checkpoint(text)
        if checkpoint.origin != self.name:
            raise ProofRejected("origin", "The checkpoint names another log than the key that signed it.")
        return checkpoint


def verify_cosignature(note: bytes, vkey: str) -> int:
    """When (seconds since 1970) the witness with this key cosigned the checkpoint. Says nothing about the log's own signature."""
    name, identifier, key = read_vkey(vkey, COSIGNATURE)
    text, signature = _signature_in(note, name, identifier)
    moment = int.from_bytes(signature[:8], "big")
    try:
        key.verify(signature[8:], b"cosignature/v1\ntime %d\n%s" % (moment, text))
    except InvalidSignature:
        raise ProofRejected("cosignature", "The cosignature on the checkpoint is not the witness's.") from None
    return moment


def key_id(name: str, public_key: bytes, kind: bytes = ED25519) -> bytes:
    """Four bytes that name a key in a note: a hint for finding it, not a proof of anything."""
    return sha256(name.encode() + b"\n" + kind + public_key).digest()[:4]


def format_vkey(name: str, public_key: bytes) -> str:
    """The text that publishes a log's Ed25519 key (32 bytes) under its name."""
    return f"{name}+{key_id(name, public_key).hex()}+{b64encode(ED25519 + public_key).decode()}"


def read_checkpoint(text: bytes) -> Checkpoint:
    """The three lines of a checkpoint; an extension line is refused, for this log writes none."""
    lines = text.decode().split("\n")
    if len(lines) != 4 or lines[3] or not lines[0]:
        raise ProofRejected("checkpoint", "The checkpoint is not exactly the three lines origin, size and root.")
    root = decode_base64(lines[2], "checkpoint")
    if len(root) != HASH_BYTES:
        raise ProofRejected("checkpoint", "The root in the checkpoint is not 32 bytes long.")
    return Checkpoint(lines[0], read_number(lines[1], "checkpoint"), root)


def read_number(text: str, code: str) -> int:
    """A decimal of at most 19 digits in its only spelling: no sign, no leading zero."""
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or (text[0] == "0" and text != "0"):
        raise ProofRejected(code, "A number is not written as a plain decimal.")
    return int(text)


def decode_base64(text: str, code: str) -> bytes:
    """Standard base64 in its only spelling: the same bytes must encode to the same text, or a flipped bit could hide in the padding."""
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or b64encode(data).decode() != text:
        raise ProofRejected(code, "A base64 text is not in its canonical spelling.")
    return data


def read_vkey(vkey: str, kind: bytes = ED25519) -> tuple[str, bytes, Ed25519PublicKey]:
    """Name, key id (4 bytes) and key of a `vkey` text: a log's, or with COSIGNATURE a witness's."""
    name, identifier, encoded = [*vkey.strip().split("+", 2), "", ""][:3]
    key = decode_base64(encoded, "vkey")
    if not name.isprintable() or not name or len(key) != 33 or key[:1] != kind or key_id(name, key[1:], kind).hex() != identifier:
        raise ProofRejected("vkey", "The public key is not an Ed25519 key of the right kind in the form name+hash+base64.")
    return name, key_id(name, key[1:], kind), Ed25519PublicKey.from_public_bytes(key[1:])


def _signature_in(note: bytes, name: str, identifier: bytes) -> tuple[bytes, bytes]:
    """The signed text and our log's signature; lines of keys we do not know (witnesses) are passed over, as the format demands."""
    split = note.rfind(b"\n\n")
    if split < 0 or len(note) > NOTE_BYTES_MAX or not note.endswith(b"\n") or _CONTROL.search(note) is not None:
        raise ProofRejected("checkpoint", "The checkpoint is not a signed note.")
    try:
        lines = note[split + 2 : -1].decode().split("\n")
        note[: split + 1].decode()
    except UnicodeDecodeError:
        raise ProofRejected("checkpoint", "The checkpoint is not valid UTF-8.") from None
    if len(lines) > SIGNATURES_MAX:
        raise ProofRejected("checkpoint", "The checkpoint carries too many signatures.")
    found = [signature for line in lines if (signature := _own_signature(line, name, identifier)) is not None]
    if len(found) != 1:
        raise ProofRejected("signature", "The checkpoint does not carry exactly one signature of this key.")
    return note[: split + 1], found[0]


def _own_signature(line: str, name: str, identifier: bytes) -> bytes | None:
    dash, signer, encoded = [*line.split(" "), "", ""][:3]
    if dash != "—" or not signer or line.count(" ") != 2:
        raise ProofRejected("checkpoint", "A signature line of the checkpoint is malformed.")
    data = decode_base64(encoded, "checkpoint")
    return data[4:] if (signer, data[:4]) == (name, identifier) else None
