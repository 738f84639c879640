"""Kill -9 of gateways and notary at random moments under load: never a delivery without an entry, nothing acknowledged is lost.

`PARLEY_KILLS` says how often (100), `PARLEY_SIMULATION_SEED` chooses the moments and victims; a failure prints the seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Coroutine
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from parley.cli import supervise
from parley.cli.robot import RobotLost
from parley.log.audit import audit
from parley.proof import Verifier, verify_receipt
from parley.proof.receipt import parse_receipt
from tests.conftest import GENEROUS, postgres_settings
from tests.house import RunningHouse, Visitor

KILLS = int(os.environ.get("PARLEY_KILLS", "100"))
SEED = int(os.environ.get("PARLEY_SIMULATION_SEED", "20261122"))
ASKERS = ("ada", "mei", "hugo", "kamala", "iris")
WAVERERS = ("ben", "noor")
QUESTIONS = ("can I afford 20?", "what's my balance?", "can I afford 999999?", "show my last 3 transactions")
TRIES_MAX = 400
ANSWER_SECONDS_MAX = 30.0
EXPECTED = {"answered", "replayed_message"}
TROUBLE = {"log_unavailable", "records_unavailable", "internal", "fault", "bank_unavailable"}
"""What a customer may be told while a part is dead. All of these are 503 and mean that nothing left."""
BROKEN_LINES = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass
class Witness:
    """What customers saw: the answers that were delivered, and what stood in the way."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    per_message: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    revoked: int = 0
    over: bool = False
    answered: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def note(self, message_id: str, reply: dict[str, Any]) -> None:
        async with self.answered:
            self.answers.append(reply)
            self.per_message[message_id] += 1
            self.answered.notify_all()

    async def next_answer(self) -> None:
        """Until somebody got an answer to a question that was asked from now on."""
        mark = self.asked
        async with self.answered:
            await asyncio.wait_for(self.answered.wait_for(lambda: any(each["asked"] >= mark for each in self.answers[-20:])), ANSWER_SECONDS_MAX)


async def asking(visitor: Visitor, witness: Witness, chance: random.Random) -> None:
    """Ask for ever. A question whose line breaks, or that met a fault, is sent again under the same id until the house decides it."""
    while not witness.over:
        message_id = chance.randbytes(16).hex()
        text = chance.choice(QUESTIONS)
        reply = await asked_until_decided(visitor, witness, text, message_id)
        if reply["code"] == "answered" and chance.random() < 0.1:
            again = await asked_until_decided(visitor, witness, text, message_id)
            assert again["code"] == "replayed_message", again["code"]


async def asked_until_decided(visitor: Visitor, witness: Witness, text: str, message_id: str) -> dict[str, Any]:
    for _ in range(TRIES_MAX):
        witness.asked += 1
        asked = witness.asked
        try:
            reply = await visitor.question(text, message_id)
        except BROKEN_LINES as error:
            witness.troubles[type(error).__name__] += 1
            await asyncio.sleep(0.02)
            continue
        code = reply["code"]
        if code in EXPECTED:
            if code == "answered":
                await witness.note(message_id, {**reply, "asked": asked})
            return reply
        assert code in TROUBLE, code
        witness.troubles[code] += 1
        await asyncio.sleep(0.02)
    raise AssertionError("one question was never decided")


async def wavering(visitor: Visitor, username: str, password: str, witness: Witness) -> None:
    """Link, ask, stop, ask: a stop that was acknowledged must hold whatever is killed afterwards."""
    while not witness.over:
        with suppress(RobotLost, *BROKEN_LINES):
            await visitor.link(username, password)
            await visitor.reload()
            message_id = uuid4().hex
            answer = await visitor.question("can I afford 1?", message_id)
            if answer["code"] == "answered":
                await witness.note(message_id, {**answer, "asked": 0})
            reply = await visitor.stop()
            if reply["code"] != "stopped":
                continue
            witness.revoked += 1
            for _ in range(3):
                refused = await visitor.question("can I afford 1?")
                assert refused["code"] in {"grant_revoked", *TROUBLE}, refused["code"]


async def killing(house: RunningHouse, witness: Witness, chance: random.Random, kills: int) -> Counter[str]:
    """SIGKILL at a random moment, and on as soon as the house has answered again."""
    killed: Counter[str] = Counter()
    for _ in range(kills):
        await moment(witness, chance)
        victims = chance.choices(([house.notary], house.gateways, [house.notary, *house.gateways]), (6, 5, 1))[0]
        victims = victims if len(victims) != len(house.gateways) or len(victims) == 1 else [chance.choice(victims)]
        for victim in victims:
            process = victim.process
            if process is not None and process.returncode is None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                    killed[victim.name.split("-")[0]] += 1
        await witness.next_answer()
    return killed


async def moment(witness: Witness, chance: random.Random) -> None:
    """Some time, or right behind the nth answer: then its entry, if it was promised too early, is not on the disk yet."""
    if chance.random() < 0.4:
        await asyncio.sleep(chance.random() * 0.05)
        return
    goal = len(witness.answers) + chance.randrange(1, 16)
    async with witness.answered:
        await asyncio.wait_for(witness.answered.wait_for(lambda: len(witness.answers) >= goal), ANSWER_SECONDS_MAX)


async def story(house: RunningHouse, witness: Witness, chance: random.Random, kills: int) -> Counter[str]:
    visitors = [house.visitor() for _ in (*ASKERS, *WAVERERS)]
    for visitor in visitors:
        await visitor.__aenter__()
    try:
        people = [house.customer(name) for name in (*ASKERS, *WAVERERS)]
        for visitor, person in zip(visitors[: len(ASKERS)], people, strict=False):
            await visitor.link_as(person)
        work: list[Coroutine[Any, Any, None]] = [
            asking(visitor, witness, random.Random(chance.random())) for visitor in visitors[: len(ASKERS)] for _ in range(2)
        ]
        work += [
            wavering(visitor, person.username, person.password, witness)
            for visitor, person in zip(visitors[len(ASKERS) :], people[len(ASKERS) :], strict=True)
        ]
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
            killed = await killing(house, witness, chance, kills)
            witness.over = True
        return killed
    finally:
        for visitor in visitors:
            await visitor.__aexit__()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("records", "share"), [("sqlite", 0.75), ("postgresql", 0.25)])
def test_killed_at_random_moments_nothing_is_delivered_without_an_entry_and_nothing_acknowledged_is_lost(
    records: str, share: float, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A child that dies every second is not started again at once; here it is, so that a hundred kills fit into two minutes.
    monkeypatch.setattr(supervise, "PAUSE_SECONDS_MAX", 0.1)
    print(f"\nPARLEY_SIMULATION_SEED={SEED} PARLEY_KILLS={KILLS} records={records}")
    extra = GENEROUS
    if records == "postgresql":
        extra += postgres_settings(request.getfixturevalue("postgres_server"))
    house = RunningHouse(tmp_path / "h", extra, records=records).start()
    try:
        witness = Witness()
        killed = asyncio.run(story(house, witness, random.Random(SEED), max(1, round(KILLS * share))))
        restarts = Counter({"notary": house.notary.restarts, "gateway": sum(each.restarts for each in house.gateways)})
    finally:
        house.stop()
    print(f"killed {dict(killed)}, answers {len(witness.answers)}, revocations {witness.revoked}, troubles {dict(witness.troubles)}")
    assert restarts >= killed, (SEED, restarts, killed)
    check(house, witness)


def check(house: RunningHouse, witness: Witness) -> None:
    """The log, the receipts and the records, once everything has stopped."""
    report = audit(house.data)
    assert report.sound, (SEED, report.problems)
    assert report.kinds["revoke"] >= witness.revoked > 0, (SEED, "nobody stopped anything")
    # 1. Never a delivery without an entry: each delivered answer's receipt holds, and the log has those very bytes at that place.
    stored = {each.index: each.entry for each in house.entries()}
    heads = stored_heads(house.data)
    for reply in witness.answers:
        receipt = parse_receipt(reply["why"]["receipt"])
        verified = verify_receipt(reply["why"]["receipt"], house.vkey)
        assert stored[verified.index] == receipt.entry, SEED
        # 2. Nothing acknowledged is lost: the head that she was given is one that the log still has.
        checkpoint = Verifier(house.vkey).verify_checkpoint(receipt.inclusion.checkpoint)
        assert heads[checkpoint.size] == checkpoint.root, SEED
    indexes = [reply["why"]["log_index"] for reply in witness.answers]
    assert len(set(indexes)) == len(indexes), SEED
    # 3. No message was answered twice, however often it was sent.
    assert max(witness.per_message.values()) == 1, SEED
    # 4. The log is an upper bound of what was delivered.
    assert report.releases >= len(witness.answers)
    for database in (house.data / "records.sqlite", *(house.data / "notary").glob("*.sqlite3")):
        if database.exists():
            with closing(sqlite3.connect(database)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], database.name


def stored_heads(data: Path) -> dict[int, bytes]:
    with closing(sqlite3.connect(f"file:{data}/notary/log.sqlite3?mode=ro", uri=True)) as connection:
        return {size: bytes(root) for size, root in connection.execute("SELECT size, CAST(root AS BLOB) FROM heads")}
