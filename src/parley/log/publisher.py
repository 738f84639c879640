"""Publishes heads that enough witnesses have seen: asks them as the log grows, and keeps the newest head that the quorum signed.

Its own process beside the notary (`parley serve` starts it where `witness_policy` is set), reading the log's database and without its key. A
witness that is away delays nothing but the published head: releases go on, and how old the newest witnessed head is can be read at its address.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from parley.log.consistency import consistency_path
from parley.log.published import WITNESSED_FILE, PublishedLog
from parley.log.quorum import Quorum, QuorumRejected, load_quorum
from parley.log.witnesses import Cosigned, Refused, Witnesses
from parley.proof import ProofRejected, Verifier

PERIOD_SECONDS = 1.0
REFRESH_SECONDS = 60.0
"""A log that stands still is cosigned again this often, so that the witnesses' time shows that nothing was held back."""
EXIT_LOOK = 78


class Publisher:
    """One log's publisher. `tell` hears a stable word for each witness that refuses, once for each change."""

    def __init__(self, data_dir: Path, quorum: Quorum, session: aiohttp.ClientSession, *, tell: Callable[[str, str], None]) -> None:
        self._folder = data_dir / "notary"
        self._log = PublishedLog(data_dir)
        self._quorum = quorum
        self._witnesses = Witnesses(quorum, lambda old, new: consistency_path(old, new, self._log.tile), session)
        self._tell = tell
        self._said: dict[str, str] = {}
        self._last: tuple[bytes, float] = (b"", float("-inf"))

    async def publish(self) -> bool:
        """Have the newest head cosigned, where it is new or was signed a while ago. True when the quorum signed and the head was written."""
        note = self._log.newest_checkpoint()
        if note == self._last[0] and time.monotonic() - self._last[1] < REFRESH_SECONDS:
            return False
        head = Verifier((self._folder / "log.vkey").read_text()).verify_checkpoint(note)
        answers = await self._witnesses.cosign(note, head)
        self._report(answers)
        agreed = {name: answer for name, answer in answers.items() if isinstance(answer, Cosigned)}
        if not self._quorum.satisfied(agreed.keys()):
            return False
        write_whole(self._folder / WITNESSED_FILE, note + b"".join(answer.line for answer in agreed.values()))
        self._last = (note, time.monotonic())
        return True

    async def run(self) -> None:
        while True:
            try:
                await self.publish()
            except (OSError, sqlite3.Error, ProofRejected) as trouble:
                # A log that is not founded yet, or a disk that is away for a moment: the next round looks again.
                self._report({"publisher": Refused(type(trouble).__name__)})
            await asyncio.sleep(PERIOD_SECONDS)

    def close(self) -> None:
        self._log.close()

    def _report(self, answers: dict[str, Cosigned | Refused]) -> None:
        for name, answer in answers.items():
            word = answer.why if isinstance(answer, Refused) else "cosigned"
            if self._said.get(name) != word:
                self._said[name] = word
                self._tell(name, word)


def write_whole(path: Path, content: bytes) -> None:
    """Either the old content or the new one, whatever happens on the way."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def say(name: str, word: str) -> None:
    sys.stderr.write(f"witness {name}: {word}\n")


async def serve(data_dir: Path, quorum: Quorum, *, parent: int) -> None:
    """Until asked to stop, or until the parent process is gone (0: it has none to wait for)."""
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, enough.set)
    async with aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar()) as session:
        publisher = Publisher(data_dir, quorum, session, tell=say)
        working = asyncio.create_task(publisher.run())
        while not enough.is_set() and (not parent or os.getppid() == parent):
            try:
                await asyncio.wait_for(enough.wait(), 1.0)
            except TimeoutError:
                continue
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        publisher.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="parley.log.publisher", description="Has the log's heads cosigned by witnesses, and publishes them.")
    parser.add_argument("--data", type=Path, required=True, help="the gateway's data directory")
    parser.add_argument("--policy", type=Path, required=True, help="quorum file (c2sp.org/tlog-policy)")
    parser.add_argument("--exit-with-parent", type=int, default=0, help="end when this parent process is gone")
    options = parser.parse_args()
    try:
        quorum = load_quorum(options.policy)
    except QuorumRejected as no:
        sys.stderr.write(f"parley.log.publisher: {no}\n")
        sys.exit(EXIT_LOOK)
    asyncio.run(serve(options.data, quorum, parent=options.exit_with_parent))


if __name__ == "__main__":
    main()
