"""`python -m bench`: measure, print the tables, and write docs/performance.md."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.processes import LOAD_CORE, BenchFailed
from bench.report import PAGE, machine, page, show, verdicts, versions
from bench.rounds import Plan, Results, Run, quick, scratch

WIDTH = 150
"""Columns where the output is no terminal."""


def main() -> int:
    """Returns the exit code: 0 measured, 1 a measurement was impossible. A missed target is said, and is not a failure of the run."""
    options = _parser().parse_args()
    plan = Plan(rounds=options.rounds, seconds=options.seconds, connections=options.connections, starts=options.starts)
    plan = quick(plan) if options.quick else plan
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    try:
        results = measure(plan, options.seed if options.seed is not None else time.time_ns(), console)
    except BenchFailed as reason:
        console.print(f"No figures: {reason}", markup=False, style="bold")
        return 1
    show(results, console)
    if options.json is not None:
        options.json.write_bytes(as_json(results))
    if not options.quick:
        PAGE.write_text(page(results, datetime.now(UTC), "python -m bench"))
        console.print(f"Written: {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")
    return 0


def measure(plan: Plan, seed: int, console: Console) -> Results:
    """The run, with a progress bar that is drawn only between measurements."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    os.sched_setaffinity(0, LOAD_CORE)
    logging.disable(logging.WARNING)
    with Progress(*columns, console=console, auto_refresh=False) as progress, scratch() as folder:
        task = progress.add_task("starting", total=None)

        def said(sentence: str) -> None:
            progress.update(task, description=sentence, refresh=True)

        run = Run(plan, said, lambda: progress.update(task, advance=1, refresh=True), seed)
        progress.update(task, total=run.steps)
        return uvloop.run(run.all(Path(folder)))


def as_json(results: Results) -> bytes:
    """Every sample, for those who want to look closer."""
    answers = {f"{which}, {question}": [asdict(each) for each in samples] for (which, question), samples in results.answers.items()}
    rest = {
        "machine": machine(),
        "versions": versions(),
        "plan": asdict(results.plan),
        "body_bytes": results.body_bytes,
        "rates": {name: [asdict(each) for each in samples] for name, samples in results.rates.items()},
        "records": {name: [asdict(each) for each in samples] for name, samples in results.records.items()},
        "starts": [asdict(each) for each in results.starts],
        "verdicts": [asdict(each) for each in verdicts(results)],
    }
    return msgspec.json.format(msgspec.json.encode({"answers": answers, **rest}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What an answer with proof costs, beside what people run without it.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; every variant is measured once in each")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds for each variant and question in each round")
    parser.add_argument("--connections", type=int, default=16, help="keep-alive connections of the load generator")
    parser.add_argument("--starts", type=int, default=5, help="how often the demo is started for the start-up figure; 0 leaves it out")
    parser.add_argument("--quick", action="store_true", help="a look in seconds; writes no page")
    parser.add_argument("--seed", type=int, default=None, help="of the order in each round")
    parser.add_argument("--json", type=Path, default=None, help="write every sample to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
