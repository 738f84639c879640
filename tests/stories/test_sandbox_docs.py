"""The page about the demo bank names everything that there is, and its commands run."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from parley_sandbox import browser, fdx, oauth, operator_desk
from parley_sandbox.books import find_person
from parley_sandbox.faults import FAULTS
from parley_sandbox.people import CAST

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()


def test_every_fault_has_its_line() -> None:
    listed = re.findall(r"^\| `([a-z0-9_]+)` \|", PAGE, re.MULTILINE)
    assert [name for name in listed if name in FAULTS] == list(FAULTS)


def test_every_address_that_answers_is_listed() -> None:
    routes = [*browser.ROUTES, *oauth.ROUTES, *fdx.ROUTES, *operator_desk.ROUTES]
    real = {(method, route.path) for route in routes for method in (route.methods or set()) - {"HEAD"}}
    listed = set(re.findall(r"^\| `(GET|POST|PUT) (/[^`]*)` \|", PAGE, re.MULTILINE))
    assert listed == real


def test_every_customer_is_introduced() -> None:
    listed = re.findall(r"^\| `([a-z]+)` \|", PAGE, re.MULTILINE)
    assert [name for name in listed if find_person(name)] == [person.username for person in CAST]


COMMANDS = re.findall(r"^ *\$ python -m parley_sandbox (.*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.startswith("serve")])
def test_the_commands_of_the_page_run(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "parley_sandbox", *shlex.split(command)], capture_output=True, timeout=60, check=True)
    assert done.stdout


def test_the_bank_starts_as_the_page_says() -> None:
    command = next(command for command in COMMANDS if command.startswith("serve"))
    started = subprocess.Popen(
        [sys.executable, "-m", "parley_sandbox", *shlex.split(command), "--exit-with-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with started:
        if started.stdout is None or started.stdin is None:
            raise RuntimeError("no pipes")
        assert json.loads(started.stdout.readline())["event"] == "listening"
        started.stdin.close()
        assert started.wait(10) == 0
