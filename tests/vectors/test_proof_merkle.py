"""Our tree, its paths and its consistency against a naive implementation written straight from RFC 6962's definitions."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.log.tree import Tile, Tree
from parley.proof import Frontier, ProofRejected, leaf_hash, root_from_inclusion, verify_consistency


def naive_root(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) <= 1:
        return leaves[0] if leaves else sha256(b"").digest()
    split = split_of(len(leaves))
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def naive_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    if len(leaves) <= 1:
        return []
    split = split_of(len(leaves))
    if index < split:
        return [*naive_path(index, leaves[:split]), naive_root(leaves[split:])]
    return [*naive_path(index - split, leaves[split:]), naive_root(leaves[:split])]


def naive_consistency(old: int, leaves: Sequence[bytes], whole: bool = True) -> list[bytes]:
    if old == len(leaves):
        return [] if whole else [naive_root(leaves)]
    split = split_of(len(leaves))
    if old <= split:
        return [*naive_consistency(old, leaves[:split], whole), naive_root(leaves[split:])]
    return [*naive_consistency(old - split, leaves[split:], False), naive_root(leaves[:split])]


def split_of(count: int) -> int:
    return 1 << (count - 1).bit_length() - 1


def numbered(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


def cut(path: bytes) -> list[bytes]:
    return [path[at : at + 32] for at in range(0, len(path), 32)]


class Stored:
    """A tree with its finished tiles kept as the storage keeps them."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], Tile] = {}
        self.tree = Tree(self.read)

    def read(self, level: int, number: int) -> bytes:
        return self.tiles[level, number].hashes

    def append(self, leaves: Sequence[bytes]) -> None:
        self.tiles.update({(tile.level, tile.number): tile for tile in self.tree.append(leaves)})

    def restart(self, leaves: Sequence[bytes]) -> None:
        size, edges, level = len(leaves), [list(leaves[len(leaves) >> 8 << 8 :])], 1
        while size >> (8 * level):
            first = size >> (8 * level + 8) << 8
            edges.append([self.tiles[level - 1, number].root for number in range(first, size >> (8 * level))])
            level += 1
        self.tree = Tree.restored(size, edges, self.read)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=12), st.data())
def test_every_path_of_a_growing_tree_is_the_naive_one(batches: list[int], data: st.DataObject) -> None:
    stored, leaves = Stored(), numbered(sum(batches))
    first = 0
    for batch in batches:
        stored.append(leaves[first : first + batch])
        crown = stored.tree.crown()
        now = leaves[: first + batch]
        assert crown.root == naive_root(now)
        paths = stored.tree.paths(first, crown)
        picked = data.draw(st.integers(0, batch - 1))
        assert cut(paths[picked]) == naive_path(first + picked, now)
        stored.tree.forget_finished()
        old = data.draw(st.integers(0, len(now) - 1))
        assert cut(stored.tree.path(old, crown)) == naive_path(old, now)
        if data.draw(st.booleans()):
            stored.restart(now)
            assert stored.tree.crown() == crown
        first += batch


def test_a_tree_of_three_tile_levels_gives_paths_that_verify_after_a_restart() -> None:
    stored, leaves, frontier = Stored(), numbered(66_000), Frontier()
    for first in range(0, len(leaves), 4096):
        stored.append(leaves[first : first + 4096])
        stored.tree.forget_finished()
    for leaf in leaves:
        frontier.append(leaf)
    stored.restart(leaves)
    crown = stored.tree.crown()
    assert crown.root == frontier.root()
    for index in [0, 255, 256, 65_535, 65_536, 65_999, 40_000]:
        assert root_from_inclusion(leaves[index], index, crown.size, cut(stored.tree.path(index, crown))) == crown.root


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 130), st.data())
def test_inclusion_holds_for_the_naive_path_and_for_no_other_place(size: int, data: st.DataObject) -> None:
    leaves = numbered(size)
    index = data.draw(st.integers(0, size - 1))
    path = naive_path(index, leaves)
    assert root_from_inclusion(leaves[index], index, size, path) == naive_root(leaves)
    other = data.draw(st.integers(0, size + 3))
    if other != index:
        assert not leads(leaves[index], other, size, path, naive_root(leaves))
    assert not leads(leaves[index], index, size, [*path, leaves[0]], naive_root(leaves))
    if path:
        assert not leads(leaves[index], index, size, path[:-1], naive_root(leaves))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 130), st.data())
def test_consistency_holds_for_the_naive_proof_and_not_for_a_changed_history(size: int, data: st.DataObject) -> None:
    leaves = numbered(size)
    old = data.draw(st.integers(0, size))
    proof = naive_consistency(old, leaves) if old else []
    verify_consistency(old, naive_root(leaves[:old]), size, naive_root(leaves), proof)
    if old:
        changed = [leaf_hash(b"another"), *leaves[1:old]]
        with pytest.raises(ProofRejected):
            verify_consistency(old, naive_root(changed), size, naive_root(leaves), proof)
    with pytest.raises(ProofRejected):
        verify_consistency(old, naive_root(leaves[:old]), size, naive_root(leaves), [*proof, leaves[0]])


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0), (2**63, 2**63)])
def test_a_place_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(ProofRejected) as rejected:
        root_from_inclusion(leaf_hash(b""), index, size, [])
    assert rejected.value.code == "index_outside"


def test_a_giant_proof_is_refused_before_it_is_walked() -> None:
    with pytest.raises(ProofRejected) as rejected:
        root_from_inclusion(leaf_hash(b""), 0, 2**62, [leaf_hash(b"")] * 65)
    assert rejected.value.code == "hashes"
    with pytest.raises(ProofRejected):
        root_from_inclusion(leaf_hash(b""), 0, 2, [b"short"])


def leads(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    try:
        return root_from_inclusion(leaf, index, size, path) == root
    except ProofRejected:
        return False
