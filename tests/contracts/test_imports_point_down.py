"""The house's import contracts hold, and would catch what they are there to catch: each is tried on a copy with a sin planted in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def copy_of_the_house(directory: Path) -> Path:
    shutil.copytree(ROOT / "src", directory / "src", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    shutil.copy(ROOT / "pyproject.toml", directory / "pyproject.toml")
    return directory


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on that tree, and on no installed copy of it."""
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())", "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(directory / "src"), "NO_COLOR": "1"}
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_imports_only_point_down_the_house(tmp_path: Path) -> None:
    done = lint(copy_of_the_house(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_a_new_top_level_folder_fails_until_it_has_a_place(tmp_path: Path) -> None:
    house = copy_of_the_house(tmp_path)
    (house / "src/parley/helpers").mkdir()
    (house / "src/parley/helpers/__init__.py").write_text('"""A room without a name."""\n')
    done = lint(house)
    assert done.returncode != 0
    assert "parley.helpers" in done.stdout + done.stderr or "helpers" in done.stdout + done.stderr


SINS = {
    "a channel reaches for the road": ("parley/channels/web/planted.py", "import parley.release.pipeline", "A channel is handed releases"),
    "a channel opens a connection": ("parley/channels/web/planted.py", "import aiohttp", "A channel is handed releases"),
    "a bank reads the policy": ("parley/banks/planted.py", "import parley.policy", "A bank connector cannot reach"),
    "an offering looks at the clock": ("parley/offerings/balance/planted.py", "import time", "An offering is arithmetic"),
    "an offering throws dice": ("parley/offerings/afford/planted.py", "import random", "An offering is arithmetic"),
    "an offering leans on another": ("parley/offerings/afford/planted.py", "import parley.offerings.balance", "Extensions of a kind"),
    "the model climbs up": ("parley/model/planted.py", "import parley.policy", "Imports only point down"),
    "the proof imports ours": ("parley/proof/planted.py", "import parley.model.words", "Imports only point down"),
    "the log learns of customers": ("parley/log/planted.py", "import parley.model.grants", "The log handles bytes"),
    "a room opens the records": ("parley/consent/planted.py", "import sqlite3", "Only the store opens the records"),
    "the sandbox knows the gateway": ("parley_sandbox/planted.py", "import parley.model.words", "The sandbox bank and the gateway"),
}


def test_each_planted_sin_breaks_the_contract_that_is_there_for_it(tmp_path: Path) -> None:
    """All at once, for speed; each is then looked for by its file in the section of its contract."""
    house = copy_of_the_house(tmp_path)
    for number, (path, line, _) in enumerate(SINS.values()):
        file = house / "src" / path.replace("planted", f"planted_{number}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'"""Planted."""\n\n{line}\n')
    done = lint(house)
    assert done.returncode != 0
    report = done.stdout[done.stdout.index("Broken contracts") :]
    for number, (name, (path, _, contract)) in enumerate(SINS.items()):
        module = path.removesuffix(".py").replace("/", ".").replace("planted", f"planted_{number}")
        start = report.index(contract)
        section = report[start : min((at for at in (report.find(each[2], start + 1) for each in SINS.values()) if at > start), default=None)]
        assert module in section, (name, section)


@pytest.mark.parametrize("room", ["model", "proof", "consent", "policy", "release", "offerings", "understanding"])
def test_the_rooms_of_the_road_open_with_a_line_that_says_what_they_are(room: str) -> None:
    for file in (ROOT / "src/parley" / room).rglob("*.py"):
        assert file.read_text().startswith('"""'), file
