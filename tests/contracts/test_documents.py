"""The documents say what is true: pages made from code are fresh, every path and command they name exists, the README's commands run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.make_docs import PAGES

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("README.md")])
PARLEY = str(Path(sys.executable).parent / "parley")


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_that_is_made_from_code_is_fresh(name: str) -> None:
    assert (ROOT / name).read_text() == PAGES[name](), f"{name} is stale; run make docs"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_and_parley_command_that_a_page_names_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"`make ([a-z]+)", document.read_text()):
        assert target in targets, f"make {target}"
    for command in set(re.findall(r"`parley ((?:log |policy )?[a-z]+)", document.read_text())):
        assert help_of(*command.split()).returncode == 0, f"parley {command}"


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rooms = [path for path in (ROOT / "src/parley").iterdir() if path.name not in ("__init__.py", "__pycache__", "py.typed")]
    missing = [path.name for path in rooms if f"  {path.name}" not in text and f"  {path.name}/" not in text]
    assert not missing


def test_the_readmes_shell_commands_run_as_written(tmp_path: Path) -> None:
    """All but make and serve, in the order of the page, in one folder, as a stranger would type them."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith(".venv/bin/parley ") and " serve " not in line]
    assert len(lines) >= 6
    for line in lines:
        command = [PARLEY, *shlex.split(line)[1:]]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=plain(), check=False)
        wanted = 1 if " doctor " in line else 0  # A fresh settings file still holds …: the doctor says so.
        assert done.returncode == wanted, f"{line}\n{done.stdout}\n{done.stderr}"
    kept = sorted((tmp_path / "kept-demo" / "receipts").glob("receipt-*.txt"))
    assert kept, "the README's demo kept a receipt"


def test_the_shell_commands_of_the_policy_tools_run_as_written(tmp_path: Path) -> None:
    """In the order of the page, in one folder; a command that is meant to say no ends with the code that the page gives it."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "policy-tools.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) >= 10
    for line in lines:
        code = re.search(r" # exits (\d)$", line)
        words = shlex.split(line, comments=True)
        assert words[0] == ".venv/bin/parley"
        done = subprocess.run([PARLEY, *words[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=120, env=plain(), check=False)
        assert done.returncode == (int(code[1]) if code else 0), f"{line}\n{done.stdout}\n{done.stderr}"


def test_every_command_has_a_help_that_says_what_it_does() -> None:
    policy = [["policy", each] for each in ("check", "explain", "diff", "simulate", "packs", "init")]
    for command in ([], ["demo"], ["serve"], ["init"], ["chat"], ["verify"], ["log", "audit"], *policy, ["settings"], ["doctor"]):
        done = help_of(*command)
        assert done.returncode == 0
        assert "Usage" in done.stdout
        assert len(done.stdout.splitlines()) > 5


def test_no_document_claims_a_certificate() -> None:
    for document in DOCUMENTS:
        for sentence in re.split(r"(?<=[.!?])\s", document.read_text()):
            if re.search(r"\b(?:certified|compliant)\b", sentence, re.IGNORECASE):
                assert re.search(r"\b(?:not|never|nobody|against)\b", sentence, re.IGNORECASE), f"{document.name}: {sentence}"


def test_settings_as_json_are_the_settings() -> None:
    done = subprocess.run([PARLEY, "settings", "--json"], capture_output=True, text=True, timeout=60, check=True)
    assert {"public_url", "banks.issuer"} <= {row["name"] for row in json.loads(done.stdout)}


def help_of(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PARLEY, *command, "--help"], capture_output=True, text=True, timeout=60, env=plain(), check=False)


def plain() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"}
