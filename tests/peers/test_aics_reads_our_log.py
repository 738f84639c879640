"""`aics-tlog`, a verifier written by others from the C2SP texts, checks our checkpoints, proofs and tree in an environment of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import uvloop

from parley.log.client import NotaryClient
from parley.log.published import PublishedLog, Resource
from parley.proof import Inclusion, canonical
from tests.fakes.log_server import serving
from tests.notary_process import NotaryProcess
from tests.peers.aics import python_of_aics

pytestmark = pytest.mark.peers

HERE = Path(__file__).parent
BUCKET = int(time.time()) // 600 * 600
COUNT = 600


@pytest.fixture(scope="module")
def peer() -> Path:
    return python_of_aics()


async def _fill(notary: NotaryProcess) -> dict[str, Any]:
    client = NotaryClient(notary.socket_path, call_seconds_max=20)

    async def one(number: int) -> Inclusion:
        return await client.record(canonical({"b": BUCKET, "k": "policy", "n": number, "v": 1}))

    promised = [await one(number) for number in range(70)]
    promised += await asyncio.gather(*(one(number) for number in range(70, COUNT)))
    proved = [(await client.prove(index)).inclusion for index in range(0, COUNT, 7)]
    entries = [entry for first in range(0, COUNT, 100) for entry in await client.pages(first, 100)]
    head = (await client.head()).decode()
    await client.aclose()
    proofs = [{"index": i.index, "checkpoint": i.checkpoint.decode(), "hashes": [each.hex() for each in i.hashes]} for i in promised + proved]
    return {"vkey": notary.vkey, "head": head, "entries": [b64encode(entry).decode() for entry in entries], "proofs": proofs}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    data = tmp_path_factory.mktemp("log")
    notary = NotaryProcess(data, data / "s", origin="bank.example/log")
    notary.start()
    filled = uvloop.run(_fill(notary))
    notary.stop()
    return filled


def ask(peer: Path, given: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    command = [str(peer), "-I", str(HERE / "check_with_aics.py")]
    return subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=120, check=False)


def test_a_strangers_verifier_accepts_every_promise_and_computes_our_root(peer: Path, log: dict[str, Any]) -> None:
    outcome = ask(peer, log)
    assert outcome.returncode == 0, outcome.stderr
    count = len(log["proofs"])
    assert count > COUNT
    assert json.loads(outcome.stdout) == {"same_root": True, "included": count, "continued": count, "refused": count}


def test_a_strangers_verifier_refuses_a_changed_log(peer: Path, log: dict[str, Any]) -> None:
    changed = {**log, "entries": [*log["entries"][:-1], b64encode(b"{}").decode()]}
    assert json.loads(ask(peer, changed).stdout)["same_root"] is False
    other = {**log, "head": log["head"].replace("bank", "rank")}
    assert ask(peer, other).returncode != 0


def test_a_stranger_downloads_our_log_and_authenticates_every_tile_and_entry(peer: Path, tmp_path: Path) -> None:
    """256 entries and more, so that a whole tile, a partial one and a second level are among what is downloaded."""
    notary = NotaryProcess(tmp_path, tmp_path / "s", origin="bank.example/log")
    notary.start()
    try:
        uvloop.run(_fill(notary))
        published = PublishedLog(tmp_path)
        with serving(published.at) as address:
            outcome = audited(peer, address, notary.vkey)
            assert outcome.returncode == 0, outcome.stderr
            told = json.loads(outcome.stdout)
            assert told["size"] >= COUNT and told["same_root"] and told["bundles"] == -(-told["size"] // 256)
        with serving(lambda path: bent(published.at(path), path)) as address:
            assert audited(peer, address, notary.vkey).returncode != 0
    finally:
        notary.stop()


def audited(peer: Path, address: str, vkey: str) -> subprocess.CompletedProcess[str]:
    command = [str(peer), "-I", str(HERE / "audit_with_aics.py"), address, vkey]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def bent(found: Resource | None, path: str) -> Resource | None:
    """The same log with one bit of one entry turned."""
    if found is None or path != "tile/entries/001":
        return found
    return Resource(found.body[:100] + bytes([found.body[100] ^ 1]) + found.body[101:], found.media_type, found.lasts)
