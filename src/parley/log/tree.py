"""The growing Merkle tree, held as its unfinished right edge only.

Hashes are numbered by level (0: leaves) and position. 256 neighbours of every eighth level make a tile (c2sp.org/tlog-tiles); a
finished tile goes to the storage and out of memory, so that memory stays at some tens of KiB for any size of log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256

from parley.proof import EMPTY_ROOT

TILE_LEVELS = 8
TILE_WIDTH = 256
_SHARED_LEVELS = 4

ReadTile = Callable[[int, int], bytes]
"""(tile level, tile number) -> the 256 hashes of a finished tile, 8,192 bytes."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A finished tile and the hash over it, which is one hash of the tile above."""

    level: int
    number: int
    hashes: bytes
    root: bytes


@dataclass(frozen=True, slots=True)
class Crown:
    """One size of the tree: its root, and for each level the hash over the leaves that fill no whole subtree there (None: none)."""

    size: int
    root: bytes
    ragged: tuple[bytes | None, ...]


class Tree:
    """Appends leaves and answers for paths. Not thread-safe: it belongs to the notary's event loop."""

    def __init__(self, read_tile: ReadTile) -> None:
        self._read_tile = read_tile
        self._size = 0
        self._levels: list[list[bytes]] = [[]]
        self._first: list[int] = [0]

    @classmethod
    def restored(cls, size: int, edges: list[list[bytes]], read_tile: ReadTile) -> Tree:
        """The tree again after a restart; `edges[n]` are the hashes of the unfinished tile at tile level n."""
        tree = cls(read_tile)
        tree._size = size
        height = max(1, len(edges) * TILE_LEVELS)
        tree._levels = [[] for _ in range(height)]
        tree._first = [tree._edge_start(level) for level in range(height)]
        for level, edge in enumerate(edges):
            tree._levels[level * TILE_LEVELS] = list(edge)
            for step in range(level * TILE_LEVELS, min((level + 1) * TILE_LEVELS, height) - 1):
                tree._grow(step)
        return tree

    def append(self, leaves: Iterable[bytes]) -> list[Tile]:
        """Add leaf hashes at the right; returns the tiles that this finished. They stay readable here until `forget_finished`."""
        before = self._size
        self._levels[0].extend(leaves)
        self._size = self._first[0] + len(self._levels[0])
        level = 0
        # A level that gained nothing gives the levels above it nothing either.
        while self._grow(level):
            level += 1
        return self._finished(before)

    def crown(self) -> Crown:
        """The root over everything appended so far, with what the paths of this size need besides whole subtrees."""
        size, rest = self._size, None
        ragged: list[bytes | None] = []
        for level in range(size.bit_length()):
            ragged.append(rest)
            if size >> level & 1:
                whole = self._hash(level, (size >> level) - 1)
                rest = whole if rest is None else sha256(b"\x01" + whole + rest).digest()
        return Crown(size, rest if rest is not None else EMPTY_ROOT, tuple(ragged))

    def path(self, index: int, crown: Crown) -> bytes:
        """The inclusion path of a leaf in the tree of that crown: joined hashes, the leaf's sibling first."""
        return self._climb(index, 0, len(crown.ragged), crown)

    def paths(self, first: int, crown: Crown) -> list[bytes]:
        """The paths of all leaves from `first` to the end of the crown; neighbours share the upper part, so it is climbed once."""
        upper: dict[int, bytes] = {}
        found = []
        height = len(crown.ragged)
        shared = min(_SHARED_LEVELS, height)
        for index in range(first, crown.size):
            group = index >> shared
            if group not in upper:
                upper[group] = self._climb(index, shared, height, crown)
            found.append(self._climb(index, 0, shared, crown) + upper[group])
        return found

    def forget_finished(self) -> None:
        """Let go of finished tiles, once they are in the storage."""
        for level, hashes in enumerate(self._levels):
            start = self._edge_start(level)
            del hashes[: start - self._first[level]]
            self._first[level] = start

    def _climb(self, index: int, start: int, end: int, crown: Crown) -> bytes:
        path = b""
        for level in range(start, end):
            sibling = index >> level ^ 1
            whole = crown.size >> level
            if sibling < whole:
                path += self._hash(level, sibling)
            elif sibling == whole:
                path += crown.ragged[level] or b""
        return path

    def _hash(self, level: int, position: int) -> bytes:
        offset = position - self._first[level]
        if offset >= 0:
            return self._levels[level][offset]
        step = level % TILE_LEVELS
        per_tile = TILE_LEVELS - step
        tile = self._read_tile(level // TILE_LEVELS, position >> per_tile)
        start = (position << step) % TILE_WIDTH * 32
        return _subtree(tile[start : start + (32 << step)])

    def _grow(self, level: int) -> bool:
        """Make the parents that two finished children at `level` now allow; says whether there were any."""
        if self._size >> (level + 1) == 0:
            return False
        if level + 1 == len(self._levels):
            self._levels.append([])
            self._first.append(0)
        parents, children, first = self._levels[level + 1], self._levels[level], self._first[level]
        start = (self._first[level + 1] + len(parents)) * 2 - first
        end = len(children) - 1
        made = [sha256(b"\x01" + children[i] + children[i + 1]).digest() for i in range(start, end, 2)]
        parents.extend(made)
        return bool(made)

    def _finished(self, before: int) -> list[Tile]:
        tiles = []
        for level in range(-(-len(self._levels) // TILE_LEVELS)):
            shift = (level + 1) * TILE_LEVELS
            hashes, first = self._levels[level * TILE_LEVELS], self._first[level * TILE_LEVELS]
            for number in range(before >> shift, self._size >> shift):
                start = number * TILE_WIDTH - first
                tiles.append(Tile(level, number, b"".join(hashes[start : start + TILE_WIDTH]), self._hash(shift, number)))
        return tiles

    def _edge_start(self, level: int) -> int:
        step = level % TILE_LEVELS
        return self._size >> (level - step + TILE_LEVELS) << TILE_LEVELS >> step


def _subtree(joined: bytes) -> bytes:
    hashes = [joined[i : i + 32] for i in range(0, len(joined), 32)]
    while len(hashes) > 1:
        hashes = [sha256(b"\x01" + hashes[i] + hashes[i + 1]).digest() for i in range(0, len(hashes), 2)]
    return hashes[0]
