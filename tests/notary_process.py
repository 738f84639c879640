"""A real notary as a child of the test: started, killed, stopped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
POLL_SECONDS = 0.02


class NotaryProcess:
    """A notary that belongs to this process and ends with it."""

    def __init__(self, data: Path, socket_path: Path, *, origin: str | None = None, options: Sequence[str] = ()) -> None:
        self.data, self.socket_path = data, socket_path
        self._command = [sys.executable, "-m", "parley.log.notary", "--data", str(data), "--socket", str(socket_path)]
        self._command += ["--exit-with-parent", str(os.getpid()), *(["--origin", origin] if origin else []), *options]
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The child's process id; 0 when there is none."""
        return self._child.pid if self._child is not None else 0

    @property
    def vkey(self) -> str:
        """The log's public key text; there once the notary has started."""
        return (self.data / "notary" / "log.vkey").read_text().strip()

    def start(self) -> None:
        """Start the child and wait until it listens; raises RuntimeError when it gives up."""
        self._launch()
        end = time.monotonic() + READY_SECONDS_MAX
        while not self._ready(end):
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """End the child without warning, as a power cut would."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def stop(self) -> int:
        """Ask the child to end in order and return its exit code; kill it when it does not."""
        if self._child is None:
            return 0
        self._child.terminate()
        try:
            return self._child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._child.kill()
            return self._child.wait()

    def _launch(self) -> None:
        self._child = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)

    def _ready(self, end: float) -> bool:
        code = self._child.poll() if self._child is not None else None
        if code is not None:
            raise RuntimeError(f"The notary ended while starting (exit code {code}); its own message says why.")
        if time.monotonic() > end:
            raise RuntimeError("The notary did not start listening in time.")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(str(self.socket_path)) == 0
