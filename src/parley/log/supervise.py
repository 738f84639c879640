"""Starts the notary as a child process, and starts it again when it dies: a failed write ends a notary, and the next one recovers.

It is not restarted when it refused to start (exit code 78): then a person has to look.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from parley.log.errors import NotaryCannotStart

READY_SECONDS_MAX = 15.0
STOP_SECONDS_MAX = 10.0
POLL_SECONDS = 0.02
RESTART_PAUSE_SECONDS = 0.2
EXIT_LOOK = 78


class NotaryProcess:
    """A notary that belongs to this process and ends with it."""

    def __init__(self, data: Path, socket_path: Path, *, origin: str | None = None, options: Sequence[str] = ()) -> None:
        self.data, self.socket_path = data, socket_path
        self._command = [sys.executable, "-m", "parley.log.notary", "--data", str(data), "--socket", str(socket_path)]
        self._command += ["--exit-with-parent", str(os.getpid()), *(["--origin", origin] if origin else []), *options]
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False

    @property
    def pid(self) -> int:
        """The child's process id; 0 when there is none."""
        return self._child.pid if self._child is not None else 0

    @property
    def vkey(self) -> str:
        """The log's public key text; there once the notary has started."""
        return (self.data / "notary" / "log.vkey").read_text().strip()

    def start(self) -> None:
        """Start the child and wait until it listens; raises NotaryCannotStart when it gives up."""
        self._launch()
        end = time.monotonic() + READY_SECONDS_MAX
        while not self._ready(end):
            time.sleep(POLL_SECONDS)

    async def keep_running(self, restarted: Callable[[int], None] | None = None) -> None:
        """Watch the child until `stop`, and start another when it ends; `restarted` is told the exit code.

        Raises NotaryCannotStart when the notary says that a person has to look.
        """
        while not self._stopping:
            code = self._child.poll() if self._child is not None else None
            if code is None:
                await asyncio.sleep(POLL_SECONDS)
                continue
            if code == EXIT_LOOK:
                raise NotaryCannotStart("look", "The notary refuses to start; its own message says why.")
            if restarted is not None:
                restarted(code)
            await asyncio.sleep(RESTART_PAUSE_SECONDS)
            if not self._stopping:
                self._launch()

    def kill(self) -> None:
        """End the child without warning, as a power cut would."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def stop(self) -> int:
        """Ask the child to end in order and return its exit code; kill it when it does not."""
        self._stopping = True
        if self._child is None:
            return 0
        self._child.terminate()
        try:
            return self._child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()

    def _launch(self) -> None:
        self._stopping = False
        self._child = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)

    def _ready(self, end: float) -> bool:
        code = self._child.poll() if self._child is not None else None
        if code is not None:
            raise NotaryCannotStart("look", f"The notary ended while starting (exit code {code}); its own message says why.")
        if time.monotonic() > end:
            raise NotaryCannotStart("slow", "The notary did not start listening in time.")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(str(self.socket_path)) == 0
