"""The bench measures only what answers right: every variant, every figure, every process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
import uvloop

from bench.bank import newest_rows
from bench.baselines import main as proxies
from bench.house import BALANCE, QUESTIONS, ROWS, TRANSACTIONS, House, right_words
from bench.load import Numbers, Target, drive
from bench.log_rates import Notary
from bench.processes import SERVER_CORE, BenchFailed, CpuMeter, Process, family, python
from bench.report import page, verdicts
from bench.rounds import BARE, PARLEY, USUAL, Plan, Results, Sample, pass_through
from bench.startup import Seconds

ANSWERS = 32
SPINS_AS_A_CHILD = """
import subprocess, sys
spin = "import time\\nwhile time.process_time() < 0.3: pass\\nprint('spun', flush=True)\\ninput()"
child = subprocess.Popen([sys.executable, '-c', spin], stdin=subprocess.PIPE)
print('started', flush=True)
child.wait()
"""
HAS_A_CHILD = "import subprocess; print('on', flush=True); subprocess.run(['sleep', '60']); input()"


def test_parley_and_both_proxies_answer_every_question_from_the_same_bank_right() -> None:
    with TemporaryDirectory(prefix="parley-bench-") as folder:
        assert uvloop.run(answers_of_all(Path(folder))) == [ANSWERS] * 6


async def answers_of_all(folder: Path) -> list[int]:
    house, numbers, proxies = House(folder), Numbers(), []
    try:
        await house.start(customers=2)
        targets = [await house.checked(question, numbers) for question in QUESTIONS]
        for which in ("bare", "usual"):
            proxy = Process(which, python("-m", "bench.baselines", which, "--bank", house.bank_url), cores=SERVER_CORE)
            proxies.append(proxy)
            url = str(proxy.ready_json('"url"')["url"])
            targets += [pass_through(url, house.recorded(question)) for question in QUESTIONS]
        rows = msgspec.json.decode(house.recorded(TRANSACTIONS)[0][1])["transactions"]
        assert len(rows) == ROWS
        return [(await drive(target, connections=4, numbers=numbers, count=ANSWERS)).answers for target in targets]
    finally:
        for proxy in proxies:
            proxy.stop()
        await house.stop()


def test_the_notary_alone_is_believed_only_as_far_as_its_log_grew() -> None:
    async def rate() -> float:
        with TemporaryDirectory(prefix="parley-bench-") as folder:
            notary = Notary(Path(folder))
            try:
                await notary.open()
                return (await notary.rate(8, 0.2)).per_second
            finally:
                await notary.close()

    assert uvloop.run(rate()) > 0


class SaysYes(asyncio.Protocol):
    """A server with one answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes" * data.count(b"\r\n\r\n"))


def test_one_wrong_answer_ends_the_run() -> None:
    async def both() -> int:
        server = await asyncio.get_running_loop().create_server(SaysYes, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        right = Target("127.0.0.1", port, lambda _: b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", lambda _, body: body == b"yes")
        with pytest.raises(BenchFailed, match="wrong"):
            await drive(replace(right, is_right=lambda _, body: body == b"no"), connections=2, numbers=Numbers(), count=4)
        answers = (await drive(right, connections=2, numbers=Numbers(), count=4)).answers
        server.close()
        return answers

    assert asyncio.run(both()) == 4


def test_an_answer_without_one_of_the_banks_figures_is_not_right() -> None:
    reply = {"outcome": "answered", "text": "There is $1,204.50 in Everyday.", "lines": [["Everyday", "$1,204.50"]]}
    told = b'{"availableBalance": 1204.50}'
    assert b"1,204.50" in right_words(BALANCE, msgspec.json.encode(reply), [told])
    for other in (b'{"availableBalance": 1204.51}', b'{"availableBalance": -1204.5}'):
        with pytest.raises(BenchFailed, match="not what the bank says"):
            right_words(BALANCE, msgspec.json.encode(reply), [other])
    with pytest.raises(BenchFailed):
        right_words(BALANCE, msgspec.json.encode(reply), [])


def test_a_page_keeps_the_banks_own_bytes_of_its_newest_booked_rows() -> None:
    rows = [b'{"amount":1.50,"status":"PENDING"}', b'{ "amount":2.500,"status":"POSTED"}', b'{"amount":3,"status":"POSTED"}']
    page = b'{"page":{"nextPageKey":"x"},"links":{"next":{}},"transactions":[' + b",".join(rows) + b"]}"
    cut = newest_rows(page, 1)
    assert rows[1] in cut
    assert b"nextPageKey" not in cut
    assert len(msgspec.json.decode(cut)["transactions"]) == 1


def test_processor_time_of_a_child_counts_with_its_parent() -> None:
    process = Process("spinner", [sys.executable, "-c", SPINS_AS_A_CHILD], cores=SERVER_CORE)
    try:
        process.ready_line("started")
        meter = CpuMeter(process.pid)
        process.ready_line("spun")
        assert meter.spent_us() > 150_000
        assert CpuMeter(process.pid).spent_us() < 150_000
    finally:
        process.stop()


def test_a_process_that_went_makes_the_figure_worthless() -> None:
    process = Process("spinner", [sys.executable, "-c", HAS_A_CHILD], cores=SERVER_CORE)
    try:
        process.ready_line("on")
        while len(both := family(process.pid)) < 2:
            pass
        meter = CpuMeter(process.pid)
        os.kill(both[1], signal.SIGTERM)
        with pytest.raises(BenchFailed, match="came or went"):
            while meter.spent_us() >= 0:
                pass
    finally:
        process.stop()


def results(parley_us: float, per_second: float) -> Results:
    answers = {}
    for question in QUESTIONS:
        for which, time in ((BARE, 100.0), (USUAL, 700.0), (PARLEY, parley_us)):
            answers[which, question.name] = [Sample(time * factor, 1e6 / time, 1.0, 2.0) for factor in (0.9, 1.0, 1.3)]
    rates = {name: [Sample(30.0, per_second)] for name in ("notary, 64 in flight", "notary, 256 in flight")}
    return Results(Plan(), answers, {question.name: 400 for question in QUESTIONS}, rates, {"claim": [Sample(70.0, 9000.0)]}, [Seconds(2.0, 4.0)])


def test_a_missed_target_is_said_plainly() -> None:
    assert [each.reached for each in verdicts(results(400.0, 5_000.0))] == [True] * 6
    assert [each.reached for each in verdicts(results(401.0, 4_999.0))] == [False, True, False, True, False, True]
    assert [each.reached for each in verdicts(results(600.0, 9_999.0))] == [False, False, False, False, True, True]


def test_the_page_shows_medians_and_says_what_was_missed() -> None:
    from datetime import UTC, datetime

    text = page(results(500.0, 9_000.0), datetime(2030, 1, 2, 3, 4, tzinfo=UTC), "python -m bench")
    assert "| balance | parley | 500 | 40% | 2,000 | 0.20 | 1.40 |" in text
    assert "≥ 0.25 | 0.20 | MISSED |" in text
    assert "≥ 1.3 | 1.40 | reached |" in text


def test_a_proxy_that_nobody_knows_is_not_started(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.baselines", "fancy", "--bank", "http://127.0.0.1:1"])
    with pytest.raises(SystemExit):
        proxies()
    assert "fancy" in capsys.readouterr().err
