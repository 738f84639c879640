"""Our hashing and notes against values that others published: the Certificate Transparency test tree, and Go's note example."""

from __future__ import annotations

import pytest

from parley.proof import EMPTY_ROOT, ProofRejected, Verifier, leaf_hash, node_hash, root_from_inclusion, verify_consistency
from parley.proof.note import key_id, read_vkey

LEAVES = [bytes.fromhex(text) for text in ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]]
ROOTS = [
    bytes.fromhex(text)
    for text in [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
]
FIRST_LEAF_OF_EIGHT = [
    bytes.fromhex(text)
    for text in [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
]
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_NOTE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_an_empty_leaf_and_a_node_hash_as_published() -> None:
    assert leaf_hash(b"") == ROOTS[0]
    assert node_hash(leaf_hash(LEAVES[0]), leaf_hash(LEAVES[1])) == ROOTS[1]


def test_the_published_path_leads_to_the_published_root() -> None:
    assert root_from_inclusion(leaf_hash(LEAVES[0]), 0, 8, FIRST_LEAF_OF_EIGHT) == ROOTS[7]


def test_the_published_trees_continue_each_other() -> None:
    hashes = [bytes.fromhex("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"), ROOTS[7]]
    six_to_eight = [
        bytes.fromhex("0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"),
        bytes.fromhex("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"),
        bytes.fromhex("d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ]
    verify_consistency(6, ROOTS[5], 8, ROOTS[7], six_to_eight)
    with pytest.raises(ProofRejected):
        verify_consistency(6, ROOTS[5], 8, ROOTS[7], hashes)


def test_a_key_text_of_go_is_read_and_its_id_agrees() -> None:
    name, identifier, key = read_vkey(NEUMANN)
    assert (name, identifier.hex()) == ("PeterNeumann", "c74f20a3")
    assert key_id(name, key.public_bytes_raw()) == identifier


def test_a_note_of_go_passes_the_signature_and_fails_only_as_a_checkpoint() -> None:
    with pytest.raises(ProofRejected) as rejected:
        Verifier(NEUMANN).verify_checkpoint(NEUMANN_NOTE)
    assert rejected.value.code == "checkpoint"
    with pytest.raises(ProofRejected) as rejected:
        Verifier(NEUMANN).verify_checkpoint(NEUMANN_NOTE.replace(b"answer", b"anzwer"))
    assert rejected.value.code == "signature"
