"""Runs in the peer's own environment: checks a log, given as JSON on standard input, with `aics_tlog` and nothing of the gateway's.

Input: {"vkey": text, "head": checkpoint, "entries": [base64], "proofs": [{"index", "checkpoint", "hashes": [hex]}]}.
Output: one JSON object with what held; any failure ends with a traceback and a non-zero exit.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode

from aics_tlog import MerkleTree, parse_checkpoint, parse_note, parse_vkey, verify_checkpoint, verify_consistency, verify_leaf_inclusion  # type: ignore[import-not-found]


def main() -> None:
    given = json.load(sys.stdin)
    key = parse_vkey(given["vkey"])
    entries = [b64decode(entry) for entry in given["entries"]]
    tree = MerkleTree(entries)
    size, root = opened(given["head"], key)
    included, continued, refused = 0, 0, 0
    for proof in given["proofs"]:
        at, its_root = opened(proof["checkpoint"], key)
        hashes = [bytes.fromhex(each) for each in proof["hashes"]]
        entry = entries[proof["index"]]
        included += verify_leaf_inclusion(entry, proof["index"], at, hashes, its_root)
        refused += not verify_leaf_inclusion(entry + b" ", proof["index"], at, hashes, its_root)
        continued += verify_consistency(at, size, its_root, root, tree.consistency_proof(at, size))
    same = size == len(entries) and tree.root() == root
    print(json.dumps({"same_root": same, "included": included, "continued": continued, "refused": refused}))


def opened(checkpoint: str, key: object) -> tuple[int, bytes]:
    note = parse_note(checkpoint)
    outcome = verify_checkpoint(note, key)
    if not outcome.log_ok:
        raise SystemExit(f"the log's signature did not hold: {outcome.error}")
    parsed = parse_checkpoint(note.text)
    return parsed.size, parsed.root


main()
