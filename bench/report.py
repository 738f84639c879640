"""From samples to words: medians, spread, ratios and targets, as tables for the terminal and as the page docs/performance.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.house import QUESTIONS
from bench.processes import ROOT
from bench.rounds import BARE, IN_FLIGHT, PARLEY, USUAL, Results, Sample

SHARE_MIN = 0.25
TIMES_USUAL_MIN = 1.3
ENTRIES_PER_SECOND_MIN = 5_000
START_SECONDS_MAX = 5.0
PACKAGES = ("starlette", "uvicorn", "uvloop", "httptools", "aiohttp", "msgspec", "cryptography", "fastapi", "httpx2")

PAGE = ROOT / "docs" / "performance.md"

METHOD = """\
* **CPU µs an answer** is user and system time of *all* processes of the thing under test, divided by the answers it gave: for Parley the
  `parley serve` supervisor, the gateway and the notary with all their threads. It is read from the kernel's own clock of each process
  (nanoseconds). `1,000,000 / CPU µs` is how many answers a second one core is good for, and that is what "capacity" means here. What
  kernel threads do for a process, such as the file system's journal, is not charged to any process and not counted.
* Everything is measured once in every round, in an order that is drawn anew for each round; shown are medians over the rounds. Spread is
  (largest - smallest) / median of the CPU figure. Answers a second and latencies depend on what else the machine does: compare them only
  within one table, and trust the CPU figures.
* What is under test runs on the first core, the load generator and the bank on the last. {connections} keep-alive connections each send
  the next question when the last answer is in. Every single answer is checked: status 200, and for Parley the outcome and the exact words,
  which were compared with the bank's figures first; for the proxies the bank's very bytes. Message ids are never used twice.
* Parley answers over `POST /chat/ask` for {customers} customers who linked one account each through the real pages: session, CSRF check,
  one read of the records, understanding, consent, policy, a durable claim of message and budget, the bank's API, minimising, words, the
  entry with its sealed side, the notary's durable commit and signed checkpoint, the check of the inclusion proof, and the receipt in the
  reply. Nothing is switched off for the run; only the grants' daily budgets are raised.
* The bank is a small server that asked the sandbox bank once and repeats its bytes, so that bank work stays out of the figures. The
  gateway and both proxies read the same addresses and get the same bodies.
* **{bare}**: plain ASGI on uvicorn (uvloop, httptools), aiohttp's client, body passed through. **{usual}**: FastAPI on the same
  uvicorn, httpx2's client, body passed through. Neither checks, hides, records or proves anything.
"""

RECORDS = """\
SQLite. Processor time of the whole process, the writing thread included. "Seen lately" are customers whose case is still in memory, keyed
by the very rows that were read; for "anybody" the customer's key is mostly unwrapped and her link opened anew."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target: what was asked for, what was seen, and whether it was reached."""

    name: str
    wanted: str
    seen: str
    reached: bool

    @property
    def word(self) -> str:
        return "reached" if self.reached else "MISSED"


def cpu(samples: Sequence[Sample]) -> float:
    """Median processor time of an answer, in microseconds."""
    return median(sample.cpu_us for sample in samples)


def per_second(samples: Sequence[Sample]) -> float:
    """Median of answers (or rows, or entries) a second."""
    return median(sample.per_second for sample in samples)


def spread(samples: Sequence[Sample]) -> float:
    """(largest - smallest) / median of the processor time, or of the rate where no time was measured."""
    values = [sample.cpu_us or sample.per_second for sample in samples]
    return (max(values) - min(values)) / median(values)


def share(results: Results, question: str) -> float:
    """What part of the bare proxy's capacity the whole path has."""
    return cpu(results.answers[BARE, question]) / cpu(results.answers[PARLEY, question])


def times_usual(results: Results, question: str) -> float:
    """How many times the usual stack's capacity the whole path has."""
    return cpu(results.answers[USUAL, question]) / cpu(results.answers[PARLEY, question])


def verdicts(results: Results) -> list[Verdict]:
    """Every target of the house, reached or missed."""
    found = []
    for question in QUESTIONS:
        part, times = share(results, question.name), times_usual(results, question.name)
        found.append(Verdict(f"{question.name}: share of the bare proxy's capacity", f"≥ {SHARE_MIN}", f"{part:.2f}", part >= SHARE_MIN))
        found.append(Verdict(f"{question.name}: × the usual stack's capacity", f"≥ {TIMES_USUAL_MIN}", f"{times:.2f}", times >= TIMES_USUAL_MIN))
    rates = {count: per_second(results.rates[f"notary, {count} in flight"]) for count in IN_FLIGHT}
    least = min(rates.values())
    seen = ", ".join(f"{rate:,.0f} with {count} in flight" for count, rate in rates.items())
    found.append(Verdict("notary: durable entries a second", f"≥ {ENTRIES_PER_SECOND_MIN:,}", seen, least >= ENTRIES_PER_SECOND_MIN))
    if results.starts:
        ready = median(start.ready for start in results.starts)
        found.append(Verdict("`parley demo`: seconds until ready", f"< {START_SECONDS_MAX:.0f}", f"{ready:.2f}", ready < START_SECONDS_MAX))
    return found


def answer_rows(results: Results) -> list[list[str]]:
    """The speed table."""
    rows = []
    for (which, question), samples in sorted(results.answers.items(), key=lambda item: (item[0][1], cpu(item[1]))):
        time = cpu(samples)
        row = [question, which, f"{time:.0f}", f"{spread(samples):.0%}", f"{1e6 / time:,.0f}"]
        row += [f"{cpu(results.answers[BARE, question]) / time:.2f}", f"{cpu(results.answers[USUAL, question]) / time:.2f}"]
        row += [f"{per_second(samples):,.0f}", f"{median(s.p50_ms for s in samples):.1f}", f"{median(s.p99_ms for s in samples):.1f}"]
        rows.append(row)
    return rows


ANSWER_HEADS = ["question", "variant", "CPU µs", "spread", "answers/s a core", "× bare proxy", "× usual stack", "seen/s", "p50 ms", "p99 ms"]


def part_rows(parts: dict[str, list[Sample]]) -> list[list[str]]:
    """Rates with what each costs, where that was measured."""
    return [
        [name, f"{per_second(samples):,.0f}", f"{cpu(samples):.0f}" if cpu(samples) else "-", f"{spread(samples):.0%}"]
        for name, samples in parts.items()
    ]


PART_HEADS = ["what", "a second", "CPU µs each", "spread"]


def verdict_rows(results: Results) -> list[list[str]]:
    return [[each.name, each.wanted, each.seen, each.word] for each in verdicts(results)]


VERDICT_HEADS = ["target", "wanted", "seen", ""]


def start_rows(results: Results) -> list[list[str]]:
    """Median, quickest and slowest start."""
    columns = {
        "`parley demo` prints its addresses": [each.ready for each in results.starts],
        "`parley demo --ask`: linked, asked, answered with receipt": [each.answered for each in results.starts],
    }
    return [[name, f"{median(seen):.2f}", f"{min(seen):.2f}", f"{max(seen):.2f}"] for name, seen in columns.items() if seen]


START_HEADS = ["from typing the command until", "seconds, median", "quickest", "slowest"]


def show(results: Results, console: Console) -> None:
    """All tables in the terminal."""
    console.print(_table("One answer", ANSWER_HEADS, answer_rows(results)))
    console.print(_table("The log's parts", PART_HEADS, part_rows(results.rates)))
    console.print(_table("The records", PART_HEADS, part_rows(results.records)))
    if results.starts:
        console.print(_table("Start-up", START_HEADS, start_rows(results)))
    console.print(_table("Targets", VERDICT_HEADS, verdict_rows(results)))


def page(results: Results, now: datetime, command: str) -> str:
    """docs/performance.md."""
    plan = results.plan
    sizes = ", ".join(f"{name}: {size:,} bytes" for name, size in results.body_bytes.items())
    method = METHOD.format(connections=plan.connections, customers=plan.customers, bare=BARE, usual=USUAL)
    parts = [
        "# What an answer costs\n",
        f"Written by `{command}` on {now:%Y-%m-%d %H:%M} UTC; run it again to replace this page with your machine's figures.\n",
        f"{machine()}\n",
        f"Versions: {versions()}.\n",
        "## Targets\n",
        *lines(VERDICT_HEADS, verdict_rows(results)),
        f"\n## One answer\n\n{plan.rounds} rounds of {plan.seconds:g} s for each variant and question, {plan.connections} connections."
        f" What the bank sends ({sizes}).\n",
        *lines(ANSWER_HEADS, answer_rows(results)),
        f"\nThe supervisor, the gateway and the notary together keep {results.memory_mib:.0f} MiB to themselves at the end of the run.",
        "\n## The log's parts\n\nOne notary, its client on the other core. Releases of the usual size, each acknowledged when it is durable.\n",
        *lines(PART_HEADS, part_rows(results.rates)),
        f"\n## The records\n\n{RECORDS}\n",
        *lines(PART_HEADS, part_rows(results.records)),
        *([] if not results.starts else ["\n## Start-up\n", *lines(START_HEADS, start_rows(results))]),
        f"\n## How it was measured\n\n{method}",
    ]
    return "\n".join(parts)


def machine() -> str:
    """The machine in one sentence."""
    names = [line.partition(":")[2].strip() for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    memory = next((int(line.split()[1]) for line in _read("/proc/meminfo").splitlines() if line.startswith("MemTotal")), 0)
    load = os.getloadavg()[2]
    system = f"Linux {platform.release()}, CPython {platform.python_version()}"
    cores = f"{os.cpu_count()} cores ({names[0] if names else 'unknown'})"
    return f"Machine: {cores}, {memory / 2**20:.0f} GiB, {system}; load average over the last 15 minutes {load:.1f}."


def versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in PACKAGES)


def lines(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows]]


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, head in enumerate(heads):
        table.add_column(head, justify="left" if number < 2 or not head else "right")
    for row in rows:
        table.add_row(*(cell.replace("`", "") for cell in row))
    return table


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
