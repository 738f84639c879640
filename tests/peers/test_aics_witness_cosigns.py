"""`aics-witness`, a witness that nobody here wrote, cosigns our heads as the log grows, and refuses a fork and keeps it as evidence."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from parley.cli.demo import free_port
from parley.log.client import NotaryClient
from parley.log.consistency import consistency_path
from parley.log.published import WITNESSED_FILE, PublishedLog
from parley.log.publisher import Publisher
from parley.log.quorum import Quorum, Witness, load_quorum
from parley.log.witnesses import Refused, Witnesses
from parley.proof import ProofRejected, Verifier, canonical, verify_cosignature
from tests.house import RunningHouse
from tests.notary_process import NotaryProcess
from tests.peers.aics import python_of_aics

pytestmark = pytest.mark.peers

ORIGIN = "bank.example/log"
BUCKET = int(time.time()) // 600 * 600
READY_SECONDS_MAX = 20.0


class WitnessProcess:
    """A running witness that trusts the given logs."""

    def __init__(self, folder: Path) -> None:
        self._command = [str(python_of_aics()), "-I", "-m", "aics_witness"]
        self._config = ["--config", str(folder / "witness.json")]
        told = self._run("init", "--name", "witness.example/w1")
        self.vkey = next(word for word in told.split() if word.startswith("witness.example/w1+"))
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    async def start(self, vkey: str, origin: str = ORIGIN) -> WitnessProcess:
        """Trusting one log."""
        self._run("add-log", "--origin", origin, "--vkey", vkey)
        self._launch()
        await self._ready()
        return self

    def _launch(self) -> None:
        serve = [*self._command, "serve", *self._config, "--listen", f"127.0.0.1:{self._port}"]
        self._process = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _run(self, name: str, *arguments: str) -> str:
        return subprocess.run([*self._command, name, *self._config, *arguments], check=True, capture_output=True, text=True, timeout=60).stdout

    def evidence(self) -> list[object]:
        found = json.loads(self._run("evidence", "--origin", ORIGIN))
        return list(found) if isinstance(found, list) else list(found.values())

    async def _ready(self) -> None:
        end = time.monotonic() + READY_SECONDS_MAX
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < end:
                try:
                    async with session.get(f"{self.url}/healthz") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)
        raise AssertionError("the witness did not start")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture
def notary(tmp_path: Path) -> Iterator[NotaryProcess]:
    running = NotaryProcess(tmp_path, tmp_path / "s", origin=ORIGIN)
    running.start()
    yield running
    running.stop()


async def grow(notary: NotaryProcess, first: int, count: int) -> None:
    client = NotaryClient(notary.socket_path, call_seconds_max=20)
    entries = (canonical({"b": BUCKET, "k": "policy", "n": number, "v": 1}) for number in range(first, first + count))
    await asyncio.gather(*(client.record(entry) for entry in entries))
    await client.aclose()


def test_a_strangers_witness_cosigns_every_growth_of_the_log(notary: NotaryProcess, tmp_path: Path) -> None:
    async def story() -> None:
        witness = await WitnessProcess(tmp_path).start(notary.vkey)
        said: list[tuple[str, str]] = []
        try:
            quorum_file = tmp_path / "quorum"
            quorum_file.write_text(f"# one witness\nwitness w1 {witness.vkey} {witness.url}\ngroup all all w1\nquorum all\n")
            async with aiohttp.ClientSession() as session:
                publisher = Publisher(tmp_path, load_quorum(quorum_file), session, tell=lambda name, word: said.append((name, word)))
                for first, count in ((0, 3), (3, 300), (303, 700)):
                    await grow(notary, first, count)
                    assert await publisher.publish()
                    published = (tmp_path / "notary" / WITNESSED_FILE).read_bytes()
                    assert Verifier(notary.vkey).verify_checkpoint(published).size >= first + count
                    assert abs(verify_cosignature(published, witness.vkey) - time.time()) < 60
                    assert not await publisher.publish()  # nothing new, and not long ago
                publisher.close()
                # A publisher that starts anew knows nothing of what the witness has seen, and learns it.
                await grow(notary, 1003, 5)
                again = Publisher(tmp_path, load_quorum(quorum_file), session, tell=lambda name, word: said.append((name, word)))
                assert await again.publish()
                again.close()
            assert said == [("w1", "cosigned"), ("w1", "cosigned")]
        finally:
            witness.stop()

    asyncio.run(story())


def test_a_fork_of_the_log_is_refused_and_kept_as_evidence(notary: NotaryProcess, tmp_path: Path) -> None:
    """Two histories under one key: what a notary whose key was stolen, or that was restored from an old backup, would show."""
    other_folder = tmp_path / "other"
    (other_folder / "notary").mkdir(parents=True, mode=0o700)
    for name in ("log.key", "log.vkey"):
        copy = other_folder / "notary" / name
        copy.write_bytes((tmp_path / "notary" / name).read_bytes())
        copy.chmod(0o600)
    other = NotaryProcess(other_folder, other_folder / "s", origin=ORIGIN)
    other.start()

    async def story() -> None:
        witness = await WitnessProcess(tmp_path).start(notary.vkey)
        try:
            await grow(notary, 0, 40)
            await grow(other, 1000, 60)
            quorum = Quorum((Witness("w1", witness.vkey, witness.url),), {}, "w1")
            async with aiohttp.ClientSession() as session:
                first = Publisher(tmp_path, quorum, session, tell=lambda name, word: None)
                assert await first.publish()
                first.close()
                forked = PublishedLog(other_folder)
                note = forked.newest_checkpoint()
                head = Verifier(notary.vkey).verify_checkpoint(note)
                asked = Witnesses(quorum, lambda old, new: consistency_path(old, new, forked.tile), session)
                assert await asked.cosign(note, head) == {"w1": Refused("fork")}
                forked.close()
            assert len(witness.evidence()) == 1
        finally:
            witness.stop()

    try:
        asyncio.run(story())
    finally:
        other.stop()


def test_a_house_with_witnesses_publishes_the_head_that_they_signed(tmp_path: Path) -> None:
    """The publisher waits for a witness that is away, and what it signs is published once it is back."""
    witness = WitnessProcess(tmp_path)
    quorum = tmp_path / "quorum"
    quorum.write_text(f"witness w1 {witness.vkey} {witness.url}\nquorum w1\n")
    house = RunningHouse(tmp_path / "house", f'witness_policy = "{quorum}"\n').start()

    async def witnessed_head() -> int:
        await witness.start(house.vkey, origin=house.vkey.split("+")[0])
        end = time.monotonic() + READY_SECONDS_MAX
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < end:
                async with session.get(f"{house.url}/log/checkpoint") as response:
                    note = await response.read()
                try:
                    verify_cosignature(note, witness.vkey)
                    return Verifier(house.vkey).verify_checkpoint(note).size
                except ProofRejected:
                    await asyncio.sleep(0.1)
        raise AssertionError("no witnessed head was published")

    try:
        assert asyncio.run(witnessed_head()) > 0
    finally:
        witness.stop()
        house.stop_unharmed()
