"""Merkle tree hashing and the two proofs over it (RFC 6962 section 2.1; algorithms of RFC 9162 section 2.1.3 and 2.1.4)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from .rejection import ProofRejected

HASH_BYTES = 32
HASHES_MAX = 64
"""No tree of fewer than 2**64 leaves needs a longer path."""

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256 of 0x00 and the entry: the prefix keeps a leaf from ever passing as a node."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of 0x01 and both children."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The hashes of the full subtrees that make up a growing tree: enough for its root at every size."""

    def __init__(self) -> None:
        self.size = 0
        self._full: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        position, self.size = self.size, self.size + 1
        while position & 1:
            position, leaf = position >> 1, sha256(b"\x01" + self._full.pop() + leaf).digest()
        self._full.append(leaf)

    def root(self) -> bytes:
        """The root over everything appended."""
        root = self._full[-1] if self._full else EMPTY_ROOT
        for left in self._full[-2::-1]:
            root = node_hash(left, root)
        return root


def root_from_inclusion(leaf: bytes, index: int, size: int, hashes: Sequence[bytes]) -> bytes:
    """The root that `hashes` (the leaf's sibling first) lead to from the leaf hash at `index` in a tree of `size` leaves.

    Raises ProofRejected when the path has the wrong length for that place; comparing the root is the caller's part.
    """
    if not 0 <= index < size:
        raise ProofRejected("index_outside", "The index lies outside the tree of the checkpoint.")
    _check_hashes(hashes)
    here, last, root = index, size - 1, leaf
    for sibling in hashes:
        if last == 0:
            raise ProofRejected("path_length", "The inclusion path is longer than the tree is high.")
        if here & 1 or here == last:
            root = node_hash(sibling, root)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            root = node_hash(root, sibling)
        here, last = here >> 1, last >> 1
    if last:
        raise ProofRejected("path_length", "The inclusion path is shorter than the tree is high.")
    return root


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, hashes: Sequence[bytes]) -> None:
    """Check that the tree of `new_size` leaves begins with all of the tree of `old_size` leaves; raises ProofRejected if not."""
    _check_hashes(hashes)
    if not 0 <= old_size <= new_size:
        raise ProofRejected("consistency", "The older tree is larger than the newer one.")
    if old_size in (0, new_size):
        if hashes or old_root != (EMPTY_ROOT if old_size == 0 else new_root):
            raise ProofRejected("consistency", "Two trees that need no proof between them disagree.")
        return
    if _roots_from_consistency(old_size, old_root, new_size, hashes) != (old_root, new_root):
        raise ProofRejected("consistency", "The newer tree does not continue the older one.")


def _roots_from_consistency(old_size: int, old_root: bytes, new_size: int, hashes: Sequence[bytes]) -> tuple[bytes, bytes]:
    here, last = old_size - 1, new_size - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    # When the older tree is a full one its root is itself a node of the newer tree, and the proof leaves it out.
    path = [old_root, *hashes] if here == 0 else list(hashes)
    if not path:
        raise ProofRejected("path_length", "The consistency proof is empty.")
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofRejected("path_length", "The consistency proof is longer than the tree is high.")
        if here & 1 or here == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        here, last = here >> 1, last >> 1
    if last:
        raise ProofRejected("path_length", "The consistency proof is shorter than the tree is high.")
    return old, new


def _check_hashes(hashes: Sequence[bytes]) -> None:
    if len(hashes) > HASHES_MAX or any(len(each) != HASH_BYTES for each in hashes):
        raise ProofRejected("hashes", "The proof holds too many hashes or one of the wrong length.")
