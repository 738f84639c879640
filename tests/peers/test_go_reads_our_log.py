"""The Go project's checksum-database packages (Debian's golang-golang-x-mod-dev) check our notes, proofs and whole tree."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from base64 import b64encode
from pathlib import Path

import pytest
import uvloop

from parley.log.client import NotaryClient
from parley.proof import canonical, commitment_text, format_receipt
from tests.notary_process import NotaryProcess

pytestmark = pytest.mark.peers

PACKAGES = Path("/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog")
PROGRAM = Path(__file__).parent / "gotlog"
BUCKET = int(time.time()) // 600 * 600
COUNT = 700


def entry_of(number: int, salt: bytes, private: bytes) -> bytes:
    return canonical({"b": BUCKET, "c": commitment_text(salt, private), "k": "release", "n": number, "u": "dpv:PaymentManagement", "v": 1})


async def _fill(notary: NotaryProcess) -> tuple[list[str], bytes, list[bytes]]:
    client = NotaryClient(notary.socket_path, call_seconds_max=20)
    handle = os.urandom(16)
    await client.open_grant(canonical({"b": BUCKET, "k": "grant", "v": 1}), handle=handle, version=1)

    async def one(number: int) -> str:
        salt, private = os.urandom(32), canonical({"number": number})
        entry = entry_of(number, salt, private)
        return format_receipt(entry, salt, private, await client.record(entry, handle=handle, version=1))

    receipts = [await one(number) for number in range(40)]
    receipts += await asyncio.gather(*(one(number) for number in range(40, COUNT)))
    entries = [entry for first in range(0, COUNT + 1, 100) for entry in await client.pages(first, 100)]
    head = await client.head()
    await client.aclose()
    return receipts, head, entries


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str], bytes, list[bytes]]:
    data = tmp_path_factory.mktemp("log")
    notary = NotaryProcess(data, data / "s", origin="bank.example/log")
    notary.start()
    filled = uvloop.run(_fill(notary))
    vkey = notary.vkey
    notary.stop()
    return vkey, *filled


@pytest.fixture(scope="module")
def gotlog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checking program, built without network from Debian's sources."""
    go = shutil.which("go")
    if go is None or not PACKAGES.is_dir():
        sentence = "not run: Go's sumdb/tlog against our log (needs Debian's golang-go and golang-golang-x-mod-dev)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(sentence)
    folder = tmp_path_factory.mktemp("go")
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(folder / "cache"), "GOFLAGS": "-p=2"}
    program = folder / "gotlog"
    subprocess.run([str(go), "build", "-o", str(program), "."], cwd=PROGRAM, env=environment, check=True, timeout=240)
    return program


def ask(gotlog: Path, what: str, vkey: str, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(gotlog), what, vkey], input=text, capture_output=True, text=True, timeout=60, check=False)


def whole(head: bytes, entries: list[bytes]) -> str:
    return head.decode() + "\n\n" + "\n".join(b64encode(entry).decode() for entry in entries) + "\n"


def test_go_accepts_our_receipts(gotlog: Path, log: tuple[str, list[str], bytes, list[bytes]]) -> None:
    vkey, receipts, _, entries = log
    for receipt in [*receipts[:20], *receipts[20::29], receipts[-1]]:
        outcome = ask(gotlog, "receipt", vkey, receipt)
        assert outcome.returncode == 0, outcome.stderr
        index, _, entry = outcome.stdout.strip().split(" ", 2)
        assert entries[int(index)].decode() == entry


def test_go_computes_our_root_from_our_entries(gotlog: Path, log: tuple[str, list[str], bytes, list[bytes]]) -> None:
    vkey, _, head, entries = log
    outcome = ask(gotlog, "tree", vkey, whole(head, entries))
    assert (outcome.returncode, outcome.stdout) == (0, f"{COUNT + 1}\n"), outcome.stderr


def test_go_refuses_what_was_tampered_with(gotlog: Path, log: tuple[str, list[str], bytes, list[bytes]]) -> None:
    vkey, receipts, head, entries = log
    lines = receipts[300].split("\n")
    for changed in [
        receipts[300].replace(lines[2], "index 5"),
        receipts[300].replace(lines[3], receipts[301].split("\n")[4]),
        receipts[300].replace("\n— ", "\n\n— ", 1),
        receipts[300].replace("bank.example/log\n", "rank.example/log\n", 1),
        receipts[300].replace(lines[1], receipts[299].split("\n")[1]),
    ]:
        assert changed != receipts[300]
        assert ask(gotlog, "receipt", vkey, changed).returncode != 0
    assert ask(gotlog, "tree", vkey, whole(head, [*entries[:-1], b"{}"])).returncode != 0
