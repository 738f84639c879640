"""Checks the release log without trusting it: hashes, signed heads, receipts. Imports nothing of ours; an auditor reads this folder alone."""

from parley.proof.entry import canonical, commitment, commitment_text, read_entry
from parley.proof.forbidden import FORBIDDEN_PURPOSES, is_forbidden
from parley.proof.merkle import EMPTY_ROOT, leaf_hash, node_hash, root_from_inclusion, verify_consistency
from parley.proof.note import Checkpoint, Inclusion, Verifier, format_vkey
from parley.proof.receipt import Receipt, VerifiedReceipt, format_receipt, parse_receipt, verify_receipt
from parley.proof.rejection import ProofRejected

__all__ = ["EMPTY_ROOT", "leaf_hash", "node_hash", "root_from_inclusion", "verify_consistency"]
__all__ += ["Checkpoint", "Inclusion", "ProofRejected", "Verifier", "format_vkey"]
__all__ += ["Receipt", "VerifiedReceipt", "format_receipt", "parse_receipt", "verify_receipt"]
__all__ += ["FORBIDDEN_PURPOSES", "canonical", "commitment", "commitment_text", "is_forbidden", "read_entry"]
