"""Starts what is measured on a core of its own, and reads how much processor time all of its processes have used.

The kernel keeps a clock of processor time for every process (`clock_getcpuclockid(3)`): nanoseconds, user and system, all threads,
those that ended included. It is read here for a process and all of its children, so that a notary counts with its gateway.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
STOP_SECONDS_MAX = 15.0
LINE_BYTES_MAX = 64 * 1024
_CLOCK_OF_ALL_THREADS = 2
"""CPUCLOCK_SCHED, which counts user and system time as the scheduler gave it out."""


class BenchFailed(Exception):
    """A measurement would be wrong, so there is none. The message says what to look at."""


ALL_CORES = os.sched_getaffinity(0)
SERVER_CORE = {min(ALL_CORES)}
"""Where the thing under test runs."""

LOAD_CORE = {max(ALL_CORES)}
"""Where the load generator and the bank run: another core, where there is one."""


class Process:
    """A child process on the cores named. Its standard error goes to a file that `complaint` shows when something fails."""

    def __init__(self, name: str, command: Sequence[str], *, cores: set[int], one_stream: bool = False) -> None:
        """`one_stream`: standard error is read together with standard output, for commands that tell people what programs do not read."""
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `stop`
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)  # a child inherits it, and so do its own children
        try:
            errors = subprocess.STDOUT if one_stream else self._errors
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT)
        finally:
            os.sched_setaffinity(0, before)

    @property
    def pid(self) -> int:
        return self._child.pid

    def ready_line(self, *needles: str) -> str:
        """The first line on standard output that holds all of `needles`. Raises BenchFailed when the process ends before."""
        out = self._child.stdout
        while out is not None and (line := out.readline(LINE_BYTES_MAX)):
            text = line.decode(errors="replace")
            if all(needle in text for needle in needles):
                return text
        raise BenchFailed(f"{self.name} ended before it was ready: {self.complaint()}")

    def ready_json(self, *needles: str) -> dict[str, Any]:
        """The same for a line of JSON."""
        line = self.ready_line(*needles)
        try:
            told: dict[str, Any] = json.loads(line)
        except ValueError:
            raise BenchFailed(f"{self.name} said something else than JSON when it was ready.") from None
        return told

    def complaint(self) -> str:
        """The end of what it wrote to standard error."""
        self._errors.seek(0)
        return self._errors.read()[-2000:].decode(errors="replace").strip() or "(nothing)"

    def stop(self) -> None:
        """End it in order; by force when it does not listen."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._errors):
            if stream is not None:
                stream.close()


class CpuMeter:
    """Processor time of a process and its children between two looks."""

    def __init__(self, pid: int) -> None:
        self._root = pid
        self._before = _family_ns(pid)

    def spent_us(self) -> float:
        """Microseconds since the meter was made. Raises BenchFailed when a process came or went, since its time would be missing."""
        now = _family_ns(self._root)
        if now.keys() != self._before.keys():
            raise BenchFailed("A process of the thing under test came or went during a measurement.")
        return sum(now[pid] - self._before[pid] for pid in now) / 1000

    def spent_us_each(self) -> dict[str, float]:
        """The same for each process, by its command line."""
        now = _family_ns(self._root)
        return {_command_of(pid): (now[pid] - self._before.get(pid, 0)) / 1000 for pid in now}


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    root = psutil.Process(pid)
    return [pid, *(child.pid for child in root.children(recursive=True))]


def memory_mib(pid: int) -> float:
    """What the process and its children keep to themselves, in MiB."""
    return sum(float(psutil.Process(each).memory_full_info().uss) for each in family(pid)) / 2**20


def leave_with_parent() -> None:
    """For our own servers: end when standard input closes, which it does when the bench is gone, however it went."""

    def wait() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def python(*arguments: str) -> list[str]:
    """A command that runs this very interpreter."""
    return [sys.executable, *arguments]


def _family_ns(pid: int) -> dict[int, int]:
    return {each: cpu_ns(each) for each in family(pid)}


def cpu_ns(pid: int) -> int:
    """Processor time of all threads of a process so far, in nanoseconds."""
    return time.clock_gettime_ns((~pid << 3) | _CLOCK_OF_ALL_THREADS)


def _command_of(pid: int) -> str:
    return " ".join(Path(part).name for part in psutil.Process(pid).cmdline()[:4]) + f" [{pid}]"
