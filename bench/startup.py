"""How long a stranger waits: from typing the command to a house that is ready, and to the first answer with its receipt."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.processes import ALL_CORES, BenchFailed, Process, python

QUESTION = "What is my balance?"


@dataclass(frozen=True, slots=True)
class Seconds:
    """`ready`: `parley demo` printed its addresses. `answered`: `parley demo --ask` linked a customer and printed the first answer."""

    ready: float
    answered: float


def start_once() -> Seconds:
    """Start the demo twice, once to look at and once to ask. All cores, as for a stranger."""
    ready = _seconds_until(["--no-open", "--port", "0", "--bank-port", "0"], "Chat", "http://")
    return Seconds(ready, _seconds_until(["--ask", QUESTION, "--json"], '"answered"'))


def _seconds_until(arguments: list[str], *needles: str) -> float:
    started = time.perf_counter()
    process = Process("parley demo", python("-m", "parley.cli", "demo", *arguments), cores=ALL_CORES, one_stream=True)
    try:
        process.ready_line(*needles)
        return time.perf_counter() - started
    except BenchFailed:
        raise BenchFailed(f"`parley demo {' '.join(arguments)}` did not do it: {process.complaint()}") from None
    finally:
        process.stop()
