"""Consistency paths out of published tiles: that a later head continues an earlier one (RFC 6962 section 2.1.2)."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from parley.log.tree import TILE_LEVELS

Tile = Callable[[int, int, int], bytes]
"""(tile level, tile number, width) -> that many hashes of 32 bytes."""


def consistency_path(old: int, new: int, tile: Tile) -> list[bytes]:
    """The hashes that lead from the root over `old` entries to the root over `new`; none where no proof is needed. 0 <= old <= new."""
    return [] if old in (0, new) else _Range(tile).path(old, 0, new, whole=True)


class _Range:
    """Hashes over ranges of entries; each tile is read once."""

    def __init__(self, tile: Tile) -> None:
        self._tile = tile
        self._kept: dict[tuple[int, int], bytes] = {}

    def path(self, old: int, first: int, last: int, *, whole: bool) -> list[bytes]:
        """SUBPROOF of RFC 6962 for the entries from `first` to before `last`, of which the first `old` are known; `whole`: as a tree of their own."""
        if old == last - first:
            return [] if whole else [self.root(first, last)]
        split = _split(last - first)
        if old <= split:
            return [*self.path(old, first, first + split, whole=whole), self.root(first + split, last)]
        return [*self.path(old - split, first + split, last, whole=False), self.root(first, first + split)]

    def root(self, first: int, last: int) -> bytes:
        """The hash over these entries; `first` is aligned, as every range of a path is."""
        count = last - first
        if count & (count - 1) == 0:
            level = count.bit_length() - 1
            return self._subtree(level, first >> level)
        split = _split(count)
        return sha256(b"\x01" + self.root(first, first + split) + self.root(first + split, last)).digest()

    def _subtree(self, level: int, position: int) -> bytes:
        """The hash over 2**level entries: 2**step neighbours of a tile, folded."""
        tile_level, step = divmod(level, TILE_LEVELS)
        first = position << step
        number, offset = first >> TILE_LEVELS, first % (1 << TILE_LEVELS)
        hashes = self._hashes(tile_level, number, offset + (1 << step))
        row = [hashes[at * 32 : at * 32 + 32] for at in range(offset, offset + (1 << step))]
        while len(row) > 1:
            row = [sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row), 2)]
        return row[0]

    def _hashes(self, level: int, number: int, width: int) -> bytes:
        kept = self._kept.get((level, number), b"")
        if len(kept) < width * 32:
            kept = self._kept[level, number] = self._tile(level, number, width)
        return kept


def _split(count: int) -> int:
    """The largest power of two below `count` (2 or more)."""
    return 1 << ((count - 1).bit_length() - 1)
