"""Runs in the peer's own environment: downloads a log over HTTP as c2sp.org/tlog-tiles has it, and authenticates every tile and entry.

Arguments: the log's address and its vkey. Output: one JSON object; any failure ends with a traceback and a non-zero exit.
"""

from __future__ import annotations

import json
import sys
import urllib.request

from aics_tlog import HttpTileReader, audit_tiles, parse_checkpoint, parse_note, parse_vkey, tree_root_from_tiles, verify_checkpoint  # type: ignore[import-not-found]


def main() -> None:
    address, vkey = sys.argv[1:]
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{address}/checkpoint", timeout=10) as response:
        note = parse_note(response.read().decode())
    if not verify_checkpoint(note, parse_vkey(vkey)).log_ok:
        raise SystemExit("the log's signature did not hold")
    head = parse_checkpoint(note.text)
    reader = HttpTileReader(address, proxies={})
    report = audit_tiles(reader, head.size, head.root)
    same = tree_root_from_tiles(reader, head.size) == head.root
    print(json.dumps({"size": report.size, "tiles": report.tiles, "bundles": report.bundles, "same_root": same}))


main()
