"""The power goes, the disk refuses: what was acknowledged is there, what was refused is not, and nothing is half."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import parley
from parley.model.linking import Session
from parley.model.refusals import ReplayedMessage
from parley.store import Records
from parley.store.claims import CLAIMS_FILE

KILLS = 8
only_sqlite = pytest.mark.parametrize("bench_of_records", ["sqlite"], indirect=True)

_WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from parley.model.stages import Question
from parley.store import FileKeyRing, open_records
now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
def question(message):
    return Question("web", "chat.example", "conversation-one", message, "", now)
async def claim_for_ever(records, grant, lane, run):
    number = 0
    while True:
        message = f"{run}-{lane}-{number}"
        await records.claim(question(message), grant, day=now.date(), rows=1)
        sys.stdout.write(message + "\\n")
        sys.stdout.flush()
        number += 1
async def main():
    records = await open_records(sys.argv[1], FileKeyRing(Path(sys.argv[2])), lambda: now)
    grant = (await records.open_case(question("none"))).grants[0]
    await asyncio.gather(*(claim_for_ever(records, grant, lane, sys.argv[3]) for lane in range(8)))
asyncio.run(main())
"""


def _start(program: str, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(parley.__file__).parents[1])}
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True, env=environment)


@only_sqlite
def test_what_was_acknowledged_before_a_kill_is_there_afterwards(bench_of_records):
    bench = bench_of_records
    chance = random.Random(20261122)
    acknowledged: set[str] = set()

    async def link(records: Records) -> None:
        await bench.linked(records, answers=10**9, rows=10**9)

    bench.run(link)
    for run in range(KILLS):
        with _start(_WRITER, bench.url, str(bench.keys_directory), str(run)) as process:
            for _ in range(chance.randrange(20, 400)):
                acknowledged.add(process.stdout.readline().strip())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split("\n")
        acknowledged.update(rest[:-1])

    async def count(records: Records) -> None:
        grant = (await records.open_case(bench.question())).grants[0]
        for message in sorted(acknowledged)[::7]:
            with pytest.raises(ReplayedMessage):
                await records.claim(bench.question(message), grant, day=bench.today, rows=1)
        claims = sqlite3.connect(Path(bench.url.removeprefix("sqlite:///")).parent / CLAIMS_FILE)
        ((seen,),) = claims.execute("SELECT count(*) FROM seen_messages").fetchall()
        ((answers, rows),) = claims.execute("SELECT answers, row_count FROM budgets").fetchall()
        claims.close()
        assert seen == answers == rows, "a claim is whole or not at all"
        assert seen >= len(acknowledged) > KILLS * 20
        # What was durable when the kill came but not yet said aloud: at most one claim for each lane and kill.
        assert seen - len(acknowledged) <= KILLS * 8

    bench.run(count)
    with sqlite3.connect(bench.url.removeprefix("sqlite:///")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


_DISK_FULL = """
import asyncio, resource, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from parley.model.refusals import RecordsUnavailable
from parley.model.stages import Question
from parley.store import FileKeyRing, open_records
now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
def question(message):
    return Question("web", "chat.example", "conversation-one", message, "", now)
async def attempt(records, grant, message):
    try:
        await records.claim(question(message), grant, day=now.date(), rows=1)
        print("claimed", message)
    except RecordsUnavailable:
        print("refused", message)
async def main():
    database = Path(sys.argv[1].removeprefix("sqlite:///"))
    records = await open_records(sys.argv[1], FileKeyRing(Path(sys.argv[2])), lambda: now)
    grant = (await records.open_case(question("none"))).grants[0]
    await attempt(records, grant, "before")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    size = Path(str(database) + "-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30_000, hard))
    for number in range(40):
        await attempt(records, grant, f"full-{number}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await attempt(records, grant, "room-again")
    print("read", (await records.open_case(question("none"))).customer is not None)
asyncio.run(main())
"""


@only_sqlite
def test_a_disk_that_refuses_a_write_stops_all_writes_and_loses_none_that_was_acknowledged(bench_of_records):
    """A real limit of the kernel on the file's size: the commit fails in the middle of writing the log."""
    bench = bench_of_records

    async def link(records: Records) -> None:
        await bench.linked(records, answers=10**9, rows=10**9)

    bench.run(link)
    with _start(_DISK_FULL, bench.url, str(bench.keys_directory)) as process:
        lines = [line.split() for line in process.stdout.read().splitlines()]
    words = [line[0] for line in lines]
    claimed = [message for word, message in lines if word == "claimed"]
    assert claimed[0] == "before"
    assert "refused" in words
    assert "claimed" not in words[words.index("refused") :], "one failed commit ends all writing"
    assert lines[-2:] == [["refused", "room-again"], ["read", "True"]]

    async def after(records: Records) -> None:
        grant = (await records.open_case(bench.question())).grants[0]
        for message in claimed:
            with pytest.raises(ReplayedMessage):
                await records.claim(bench.question(message), grant, day=bench.today, rows=1)
        await records.claim(bench.question("room-again"), grant, day=bench.today, rows=1)

    bench.run(after)


def test_a_cancelled_question_leaves_the_others_in_its_commit_alone(bench_of_records):
    bench = bench_of_records

    async def story(records: Records) -> None:
        later = bench.now + timedelta(hours=1)
        sessions = [Session(bytes([n]) * 32, f"c{n}", "csrf", bench.now, later) for n in range(8)]
        writes = [asyncio.ensure_future(records.add_session(session)) for session in sessions]
        await asyncio.sleep(0)
        writes[3].cancel()
        results = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["NoneType"] * 3 + ["CancelledError"] + ["NoneType"] * 4
        for session in (*sessions[:3], *sessions[4:]):
            assert await records.find_session(session.token_hash, bench.now) == session

    bench.run(story)
