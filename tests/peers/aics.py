"""The environment of `aics-tlog` and `aics-witness`, installed once for a list of hashes. The packages ask for a newer Python than they need."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from tests.peers.once import alone_in

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements-aics.txt"
CACHE = HERE.parent.parent / ".cache" / "peers"


def python_of_aics() -> Path:
    """That environment's Python. Skips, or fails under CI, where it cannot be made."""
    folder = CACHE / f"aics-{sys.version_info.minor}-{sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]}"
    python, done = folder / "bin" / "python", folder / "installed"
    with alone_in(folder):
        if not done.exists():
            install = [
                "-m",
                "pip",
                "install",
                "-q",
                "--disable-pip-version-check",
                "--require-hashes",
                "--only-binary=:all:",
                "--ignore-requires-python",
            ]
            try:
                subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, timeout=120)
                subprocess.run([str(python), *install, "-r", str(REQUIREMENTS)], check=True, timeout=180)
            except (subprocess.SubprocessError, OSError):
                (pytest.fail if os.environ.get("CI") else pytest.skip)("not run: aics-tlog and aics-witness (they could not be installed)")
            done.touch()
    return python
