"""Seeded chance: every random draw of the bank comes from a stream named by what it decides, so that data never depends on call order."""

import hashlib
import random


def stream(*name: object) -> random.Random:
    """A reproducible stream of chance for this name, for example stream(seed, "ada", "2026-11-20", "purchases")."""
    return random.Random(int.from_bytes(_digest(*name)))


def identifier(*name: object, length: int = 20) -> str:
    """A stable lowercase hexadecimal identifier of `length` characters (at most 64) for this name."""
    return _digest(*name).hex()[:length]


def _digest(*name: object) -> bytes:
    return hashlib.sha256("\x1f".join(str(part) for part in name).encode()).digest()
