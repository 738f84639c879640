"""The officer's desk for tests: the `parley` commands in this process, and a bank's own copy of a pack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from parley.cli.main import app


def said(*words: str | Path) -> Result:
    """`parley …` in this process: what it prints, and its exit code. Nothing may escape as an exception."""
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "240", "TERM": "dumb"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def told(*words: str | Path) -> tuple[int, Any]:
    """The same with --json."""
    result = said(*words, "--json")
    return result.exit_code, json.loads(result.stdout)


def own_copy(folder: Path, *changes: tuple[str, str], pack: str = "standard") -> Path:
    """A bank's own policy: a pack with these words changed, each of them found."""
    assert said("policy", "init", pack, folder).exit_code == 0
    rules = folder / "policy.cedar"
    text = rules.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    rules.write_text(text)
    return folder


SHORTER = ('@rows_max("25")\n@lookback_days_max("90")', '@rows_max("25")\n@lookback_days_max("30")')
NO_MERCHANTS = (', Action::"transactions.merchant_and_amount"', "")
