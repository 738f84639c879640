"""Checks the release log without trusting it: hashes, signed heads, receipts. Imports nothing of ours; an auditor reads this folder alone."""

from .entry import canonical, commitment_text, read_entry
from .forbidden import FORBIDDEN_PURPOSES, is_forbidden
from .merkle import EMPTY_ROOT, Frontier, leaf_hash, node_hash, root_from_inclusion, verify_consistency
from .note import Checkpoint, Inclusion, Verifier, format_vkey, verify_cosignature
from .receipt import Receipt, VerifiedReceipt, format_receipt, parse_receipt, verify_receipt
from .rejection import ProofRejected

__all__ = ["EMPTY_ROOT", "Frontier", "leaf_hash", "node_hash", "root_from_inclusion", "verify_consistency"]
__all__ += ["Checkpoint", "Inclusion", "ProofRejected", "Verifier", "format_vkey", "verify_cosignature"]
__all__ += ["Receipt", "VerifiedReceipt", "format_receipt", "parse_receipt", "verify_receipt"]
__all__ += ["FORBIDDEN_PURPOSES", "canonical", "commitment_text", "is_forbidden", "read_entry"]
