"""`python -m bench.policy`: what one decision costs, at 50 and at 5,000 rules, beside other engines on the same policy in the same run.

Every engine is given the same made policy and the same requests, and must decide them all alike before it is measured. Engines are measured
once in every round, in random order. Those of other people are bench-only packages (requirements/bench.in); one that is missing is left out
and named.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from random import Random
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.policies import made_policy
from bench.policy_engines import ENGINES, REQUESTS, Decide, Engine, NotInstalled, on_the_road, table
from bench.processes import ROOT
from bench.report import machine
from parley.policy import Policy, load_policy
from parley.policy.domain import WHATS
from parley.policy.solver import SolverMissing, second_opinion

PAGE = ROOT / "docs" / "policy-speed.md"
SIZES = (50, 5_000)
DECISION_US_MAX = 3.0
LOAD_SECONDS_MAX = {50: 0.5, 5_000: 5.0}


@dataclass
class Load:
    """One load of a policy: CPU seconds of each step, and of z3's second opinion where it is installed."""

    rules: int
    steps: dict[str, float]
    z3: float | None
    comparison: str

    @property
    def total(self) -> float:
        return sum(self.steps.values())


def main() -> int:
    """Returns the exit code: 0 measured, 1 engines that decide differently. A missed target is said, and is not a failure of the run."""
    parser = argparse.ArgumentParser(prog="python -m bench.policy", description="What a decision costs, beside other engines on the same policy.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="50 rules, two rounds; writes no page")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    sizes, rounds = (SIZES[:1], 2) if options.quick else (SIZES, options.rounds)
    loads, missing, engines = measure(sizes, rounds, console)
    show(console, engines, loads, missing, sizes)
    if not options.quick:
        PAGE.write_text(page(engines, loads, missing, sizes, rounds))
        console.print(f"Written: {PAGE.relative_to(ROOT)}")
    return 0


def measure(sizes: Sequence[int], rounds: int, console: Console) -> tuple[list[Load], list[str], Sequence[Engine]]:
    loads: list[Load] = []
    missing: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("loading", total=len(sizes) * (1 + len(ENGINES) * (rounds + 1)))
        for size in sizes:
            said = partial(progress.update, task, advance=1)
            said(description=f"loading {size} rules")
            policy, load = loaded(size)
            loads.append(load)
            ready = made(policy, size, missing, said)
            for number in range(rounds):
                for engine, decide, cases in Random(number).sample(ready, len(ready)):
                    progress.update(task, description=f"{engine.name}, {size} rules")
                    engine.cpu_us.setdefault(size, []).append(timed(decide, cases, quick_one=not engine.share))
                    progress.advance(task)
    return loads, missing, [engine for engine in ENGINES if engine.cpu_us]


def loaded(size: int) -> tuple[Policy, Load]:
    """The policy, and the median of three loads' steps."""
    sources = made_policy(size, 7, plain=True)
    several = [load_policy(sources, timer=time.process_time) for _ in range(3)]
    policy = min(several, key=lambda each: sum(step.seconds for step in each.steps))
    began = time.process_time()
    try:
        second_opinion(sources["policy.cedar"].decode(), policy.particulars)
        z3 = time.process_time() - began
    except SolverMissing:
        z3 = None
    asked_of = f"{policy.comparison.asked:,} cases" + ("" if policy.comparison.complete else ", drawn")
    return policy, Load(size, {step.name: step.seconds for step in policy.steps}, z3, asked_of)


Ready = tuple[Engine, Decide, list[tuple[str, ...]]]


def made(policy: Policy, size: int, missing: list[str], said: Callable[..., None]) -> list[Ready]:
    """Every engine that is installed, once it has decided its requests like the table."""
    requests = drawn(policy)
    truth = table(policy)
    ready: list[Ready] = []
    for engine in ENGINES:
        said(description=f"{engine.name}, {size} rules")
        try:
            decide = engine.make(policy)
        except NotInstalled:
            missing.append(engine.package)
            continue
        fitting = [case for case in requests if engine.only is None or truth(case) is engine.only]
        cases = fitting[: engine.share.get(size, REQUESTS)]
        if wrong := next((case for case in cases if decide(case) != truth(case)), None):
            sys.exit(f"{engine.name} decides otherwise: {wrong}")
        ready.append((engine, decide, cases))
    return ready


def drawn(policy: Policy) -> list[tuple[str, ...]]:
    """Requests without off-platform data: that is asked beside another request on the road, not for itself."""
    chance = Random(3)
    domain, whats = policy.domain, [what for what in WHATS if what[1] != "off_platform"]
    return [
        (
            chance.choice(domain.platforms),
            chance.choice(domain.channels),
            chance.choice(domain.purposes),
            *chance.choice(whats),
            chance.choice(domain.assurances),
        )
        for _ in range(REQUESTS)
    ]


def timed(decide: Decide, cases: Sequence[Sequence[str]], *, quick_one: bool) -> float:
    """CPU microseconds of one decision."""
    repeats = max(1, 20_000 // len(cases)) if quick_one else 1
    gc.disable()
    began = time.process_time()
    for _ in range(repeats):
        for case in cases:
            decide(case)
    spent = time.process_time() - began
    gc.enable()
    return spent / repeats / len(cases) * 1e6


def figures(engine: Engine, sizes: Sequence[int]) -> list[str]:
    return [f"{median(engine.cpu_us[size]):,.2f}" if size in engine.cpu_us else "—" for size in sizes]


def verdicts(engines: Sequence[Engine], loads: Sequence[Load]) -> list[str]:
    lines = []
    for load in loads:
        for engine in (each for each in engines if each.make is on_the_road):
            seen = median(engine.cpu_us[load.rules])
            word = "reached" if seen <= DECISION_US_MAX else "MISSED"
            which = "allows" if engine.only else "refuses"
            lines.append(f"A decision that {which}, at {load.rules:,} rules, costs at most {DECISION_US_MAX} µs: {seen:.2f} µs, {word}.")
        word = "reached" if load.total <= LOAD_SECONDS_MAX[load.rules] else "MISSED"
        lines.append(f"Loading {load.rules:,} rules takes at most {LOAD_SECONDS_MAX[load.rules]} s of CPU: {load.total:.2f} s, {word}.")
    return lines


def show(console: Console, engines: Sequence[Engine], loads: Sequence[Load], missing: Sequence[str], sizes: Sequence[int]) -> None:
    grid = Table("Engine", *(f"{size:,} rules" for size in sizes), title="CPU µs a decision, median of the rounds")
    for engine in engines:
        grid.add_row(engine.name, *figures(engine, sizes))
    console.print(grid)
    for load in loads:
        console.print(
            f"Load of {load.rules:,} rules: " + ", ".join(f"{name} {spent:.3f}" for name, spent in load.steps.items()) + f"; {load.comparison}"
        )
    for line in verdicts(engines, loads):
        console.print(line)
    if missing:
        console.print(f"Not installed: {', '.join(sorted(set(missing)))}. `make bench` installs requirements/bench.txt.")


def page(engines: Sequence[Engine], loads: Sequence[Load], missing: Sequence[str], sizes: Sequence[int], rounds: int) -> str:
    lines = [
        "# What a policy costs",
        "",
        f"Written by `make bench` (`python -m bench.policy`) on {datetime.now(UTC):%Y-%m-%d}. {machine()}",
        "",
        f"CPU µs a decision, median of {rounds} rounds in random order; every engine has the same made policy (`bench/policies.py`: 50 rules a",
        "platform, 5 channels) and decided the same requests alike before it was measured. Engines of other people are asked one request at a",
        "time, the way a gateway would. The Rego rules are one rule a policy rule; pycasbin evaluates one condition a policy rule.",
        "",
        f"| Engine | {' | '.join(f'{size:,} rules' for size in sizes)} |",
        f"|---|{'---:|' * len(sizes)}",
        *(f"| {engine.name} | {' | '.join(figures(engine, sizes))} |" for engine in engines),
        "",
        "CPU seconds of loading, the fastest of three:",
        "",
        f"| | {' | '.join(f'{load.rules:,} rules' for load in loads)} |",
        f"|---|{'---:|' * len(loads)}",
        *(f"| {name} | {' | '.join(f'{load.steps[name]:.3f}' for load in loads)} |" for name in loads[0].steps),
        f"| **sum** | {' | '.join(f'{load.total:.2f}' for load in loads)} |",
        f"| compared with the Rust engine | {' | '.join(load.comparison for load in loads)} |",
        f"| z3's second opinion (not part of loading) | {' | '.join('—' if load.z3 is None else f'{load.z3:.2f}' for load in loads)} |",
        "",
        *(f"* {line}" for line in verdicts(engines, loads)),
        "",
        f"Versions: {', '.join(f'{name} {version(name)}' for name in sorted({each.package for each in engines if each.package}))}.",
    ]
    if missing:
        lines.append(f"Not installed for this run: {', '.join(sorted(set(missing)))}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
