"""The log as everybody may read it: exactly the addresses of c2sp.org/tlog-tiles, nothing beyond the signed head, and a copy that adds up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import uvloop

from parley.log.client import NotaryClient
from parley.log.published import LogUnreadable, PublishedLog, number_in, number_text, paths_of
from parley.proof import Verifier, canonical, leaf_hash
from tests.notary_process import NotaryProcess

BUCKET = int(time.time()) // 600 * 600
COUNT = 700
"""Two whole tiles of entries and a part of a third."""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PublishedLog, str]]:
    data: Path = tmp_path_factory.mktemp("published")
    notary = NotaryProcess(data, data / "s", origin="bank.example/log")
    notary.start()
    published = PublishedLog(data)
    try:
        uvloop.run(_fill(notary))
        yield published, notary.vkey
    finally:
        published.close()
        notary.stop()


async def _fill(notary: NotaryProcess) -> None:
    client = NotaryClient(notary.socket_path, call_seconds_max=20)
    await asyncio.gather(*(client.record(canonical({"b": BUCKET, "k": "policy", "n": number, "v": 1})) for number in range(COUNT)))
    await client.aclose()


def size_of(published: PublishedLog, vkey: str) -> tuple[int, bytes]:
    found = published.at("checkpoint")
    assert found is not None and not found.lasts
    head = Verifier(vkey).verify_checkpoint(found.body)
    return head.size, head.root


def entries_in(bundle: bytes) -> list[bytes]:
    found = []
    while bundle:
        length = int.from_bytes(bundle[:2], "big")
        found.append(bundle[2 : 2 + length])
        bundle = bundle[2 + length :]
    return found


def root_over(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, as it is written there."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + root_over(leaves[:split]) + root_over(leaves[split:])).digest()


def test_a_copy_of_every_bundle_and_tile_adds_up_to_the_signed_root(log: tuple[PublishedLog, str]) -> None:
    published, vkey = log
    size, root = size_of(published, vkey)
    copies = {path: published.at(path) for path in paths_of(size)}
    assert all(found is not None and found.lasts for found in copies.values())
    bodies = {path: found.body for path, found in copies.items() if found is not None}
    leaves = [leaf_hash(entry) for path, body in bodies.items() if path.startswith("tile/entries/") for entry in entries_in(body)]
    assert len(leaves) == size
    assert root_over(leaves) == root
    joined = b"".join(body for path, body in bodies.items() if path.startswith("tile/0/"))
    assert joined == b"".join(leaves)
    assert bodies[f"tile/1/000.p/{size // 256}"] == b"".join(root_over(leaves[n * 256 : (n + 1) * 256]) for n in range(size // 256))


@pytest.mark.parametrize("kind", ["0", "entries"])
def test_a_partial_tile_is_the_beginning_of_the_whole_one(log: tuple[PublishedLog, str], kind: str) -> None:
    published, _ = log
    whole = published.at(f"tile/{kind}/001")
    assert whole is not None
    for width in (1, 2, 100, 255):
        part = published.at(f"tile/{kind}/001.p/{width}")
        assert part is not None and whole.body.startswith(part.body) and len(part.body) < len(whole.body)


def test_nothing_beyond_the_signed_head_is_shown(log: tuple[PublishedLog, str]) -> None:
    published, vkey = log
    size, _ = size_of(published, vkey)
    rest = size % 256
    last = number_text(size // 256)
    assert published.at(f"tile/0/{last}.p/{rest}") is not None
    beyond = [f"{last}.p/{rest + 1}", last, number_text(size // 256 + 1), "x999/999", "x999/x999/x999/x999/x999/x999/999"]
    for number in beyond:
        assert published.at(f"tile/0/{number}") is None
        assert published.at(f"tile/entries/{number}") is None
        assert published.at(f"tile/7/{number}") is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint/",
        "tile",
        "tile/8/000",
        "tile/-1/000",
        "tile/00/000",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/000/",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/x000/000",
        "tile/0/x00/000",
        "tile/0/001/000",
        "tile/entries/000.p/-1",
        "tile/entries/../0/000",
        "../log.key",
        "tile/0/000\n",
        "tile/0/٠٠٠",
        "tile/0/" + "x000/" * 20 + "000",
        "tile/0/000" + "0" * 1000,
    ],
)
def test_another_spelling_of_an_address_is_no_address(log: tuple[PublishedLog, str], path: str) -> None:
    assert log[0].at(path) is None


@pytest.mark.parametrize(("number", "text"), [(0, "000"), (67, "067"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067")])
def test_numbers_are_spelled_as_the_specification_spells_them(number: int, text: str) -> None:
    assert number_text(number) == text
    assert number_in(text) == number


def test_the_size_of_a_copy_is_known_beforehand() -> None:
    assert paths_of(0) == []
    assert paths_of(1) == ["tile/0/000.p/1", "tile/entries/000.p/1"]
    assert paths_of(256) == ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]


def test_a_log_that_is_not_there_is_said_to_be_unreadable(tmp_path: Path) -> None:
    with pytest.raises(LogUnreadable):
        PublishedLog(tmp_path).at("checkpoint")
