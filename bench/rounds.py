"""One run: everything is measured once in every round, in random order, so that what the machine does meanwhile falls on all alike."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from bench.house import QUESTIONS, House, Question
from bench.load import Numbers, Target, drive
from bench.log_rates import Disk, Notary, PlainSqlite
from bench.processes import SERVER_CORE, CpuMeter, Process, memory_mib, python
from bench.records import RecordsBench
from bench.startup import Seconds, start_once

BARE, USUAL, PARLEY = "bare proxy", "usual stack", "parley"
WARMING_ANSWERS = 400
IN_FLIGHT = (64, 256)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard. `seconds` for each variant and question in each round; `starts`: how often the demo is started;
    `records`: customers in the larger set of records."""

    rounds: int = 5
    seconds: float = 2.0
    connections: int = 16
    customers: int = 8
    starts: int = 5
    records: int = 10_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: processor time for each answer in microseconds, answers a second, and latencies in milliseconds."""

    cpu_us: float
    per_second: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0


@dataclass(slots=True)
class Results:
    """All samples of a run by what was measured, in the order of the rounds."""

    plan: Plan
    answers: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)
    body_bytes: dict[str, int] = field(default_factory=dict)
    rates: dict[str, list[Sample]] = field(default_factory=dict)
    records: dict[str, list[Sample]] = field(default_factory=dict)
    starts: list[Seconds] = field(default_factory=list)
    memory_mib: float = 0.0


Step = Callable[[], Awaitable[None]]


class Run:
    """Starts everything, measures, and ends everything. `said` is told what is going on, `done` that a step is over."""

    def __init__(self, plan: Plan, said: Callable[[str], None], done: Callable[[], None], seed: int) -> None:
        self.plan, self._said, self._done = plan, said, done
        self._chance = random.Random(seed)
        self._numbers = Numbers()
        self.results = Results(plan)
        self._proxies: dict[str, Process] = {}

    @property
    def steps(self) -> int:
        """How often `done` will be called."""
        return self.plan.rounds * (len(QUESTIONS) * 3 + len(IN_FLIGHT) + 3) + self.plan.starts

    async def all(self, folder: Path) -> Results:
        """The whole run; every process that it started has ended when this returns."""
        house = House(folder)
        notary = Notary(folder)
        disk, plain = Disk(folder), PlainSqlite(folder)
        records = RecordsBench(folder)
        try:
            self._said("starting the banks, the gateway and the proxies")
            await house.start(self.plan.customers)
            await notary.open()
            await records.open(self.plan.records)
            steps = await self._http_steps(house)
            steps += [*self._rate_steps(notary, disk, plain), self._records_step(records)]
            for number in range(self.plan.rounds):
                self._said(f"round {number + 1} of {self.plan.rounds}")
                for step in self._chance.sample(steps, len(steps)):
                    await step()
                    self._done()
            self.results.memory_mib = memory_mib(house.gateway.pid)
        finally:
            await notary.close()
            disk.close()
            plain.close()
            await records.close()
            for proxy in self._proxies.values():
                await asyncio.to_thread(proxy.stop)
            await house.stop()
        await self._starts()
        return self.results

    async def _http_steps(self, house: House) -> list[Step]:
        """One step for each question and variant, each warmed up, each known to answer right."""
        steps: list[Step] = []
        checked = {question: await house.checked(question, self._numbers) for question in QUESTIONS}
        places = {PARLEY: house.gateway.pid}
        for which in (BARE, USUAL):
            self._proxies[which] = Process(which, python("-m", "bench.baselines", which.split()[0], "--bank", house.bank_url), cores=SERVER_CORE)
            places[which] = self._proxies[which].pid
        urls = {which: str((await asyncio.to_thread(process.ready_json, '"url"'))["url"]) for which, process in self._proxies.items()}
        for question in QUESTIONS:
            bodies = house.recorded(question)
            self.results.body_bytes[question.name] = sum(len(body) for _, body in bodies) // len(bodies)
            targets = {PARLEY: checked[question], **{which: pass_through(url, bodies) for which, url in urls.items()}}
            for which, target in targets.items():
                await drive(target, connections=self.plan.connections, numbers=self._numbers, count=WARMING_ANSWERS)
                steps.append(self._http_step(which, question, target, places[which]))
        return steps

    def _http_step(self, which: str, question: Question, target: Target, pid: int) -> Step:
        samples = self.results.answers.setdefault((which, question.name), [])

        async def step() -> None:
            meter = CpuMeter(pid)
            outcome = await drive(target, connections=self.plan.connections, numbers=self._numbers, seconds=self.plan.seconds)
            spent = meter.spent_us()
            samples.append(
                Sample(spent / outcome.answers, outcome.answers / outcome.seconds, outcome.percentile_ms(0.5), outcome.percentile_ms(0.99))
            )

        return step

    def _rate_steps(self, notary: Notary, disk: Disk, plain: PlainSqlite) -> list[Step]:
        seconds = self.plan.seconds / 2

        def noted(name: str, measure: Callable[[], Awaitable[Sample]]) -> Step:
            samples = self.results.rates.setdefault(name, [])

            async def step() -> None:
                samples.append(await measure())

            return step

        def notary_at(in_flight: int) -> Callable[[], Awaitable[Sample]]:
            async def measure() -> Sample:
                rate = await notary.rate(in_flight, seconds)
                return Sample(rate.cpu_us, rate.per_second)

            return measure

        async def sync() -> Sample:
            return Sample(0.0, disk.rate(seconds / 2).per_second)

        async def insert() -> Sample:
            return Sample(0.0, plain.rate(seconds / 2).per_second)

        steps = [noted(f"notary, {count} in flight", notary_at(count)) for count in IN_FLIGHT]
        return [*steps, noted("disk: overwrite 4 KiB, fdatasync", sync), noted("SQLite: one row, one commit, FULL", insert)]

    def _records_step(self, records: RecordsBench) -> Step:
        async def step() -> None:
            for name, rate in (await records.measure(self.plan.seconds / 6)).items():
                self.results.records.setdefault(name, []).append(Sample(rate.cpu_us, rate.per_second))

        return step

    async def _starts(self) -> None:
        for number in range(self.plan.starts):
            self._said(f"start-up {number + 1} of {self.plan.starts}")
            self.results.starts.append(await asyncio.to_thread(start_once))
            self._done()


def pass_through(url: str, bodies: list[tuple[str, bytes]]) -> Target:
    """What the load generator asks a proxy: the addresses that the gateway read, in turn, each answered with the bank's very bytes."""
    place = urlsplit(url)
    requests = [f"GET {target} HTTP/1.1\r\nhost: {place.netloc}\r\n\r\n".encode() for target, _ in bodies]
    wanted = [body for _, body in bodies]
    count = len(bodies)
    return Target(str(place.hostname), int(place.port or 0), lambda n: requests[n % count], lambda n, body: body == wanted[n % count])


def quick(plan: Plan) -> Plan:
    """The same in a fraction of the time: good enough to see that everything answers right, too short for a figure to be quoted."""
    return replace(plan, rounds=2, seconds=min(plan.seconds, 0.3), customers=2, starts=min(plan.starts, 1), records=2_000)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder on the disk that is measured: a short path, since a Unix socket lives in it. Gone afterwards."""
    return tempfile.TemporaryDirectory(prefix="parley-bench-", ignore_cleanup_errors=True)
