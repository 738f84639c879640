"""`parley-verify RECEIPT KEY`: 0 and one sentence when the receipt holds, 1 and one sentence when it does not."""

from __future__ import annotations

import sys
from pathlib import Path

from . import ProofRejected, verify_receipt
from .receipt import RECEIPT_BYTES_MAX


def main() -> int:
    if len(sys.argv) != 3:
        print("Usage: parley-verify RECEIPT KEY    both are files; KEY holds the log's public key, from a place that you trust.")  # noqa: T201
        return 2
    try:
        with Path(sys.argv[1]).open("rb") as file:
            held = verify_receipt(file.read(RECEIPT_BYTES_MAX + 1), Path(sys.argv[2]).read_text()[:4096])
    except (ProofRejected, OSError, UnicodeDecodeError) as no:
        print(f"This receipt does not hold: {no}")  # noqa: T201
        return 1
    print(f"This receipt holds: entry {held.index} of {held.checkpoint.size} in the log {held.checkpoint.origin}.")  # noqa: T201
    print(*(f"  {name}: {value!a}" for name, value in {**held.entry, **held.private}.items()), sep="\n")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
