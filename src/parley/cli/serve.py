"""Running a house from a settings file, and writing the first one."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from parley.cli.supervise import ChildFailed, Supervisor, private_folder, stop_signals
from parley.settings import SettingsRejected, describe, load_settings


async def run_house(config: Path) -> int:
    stop = stop_signals()
    try:
        settings = load_settings(config)
        private_folder(settings.data)
        supervisor = Supervisor(settings, config, report)
        await supervisor.start()
    except (SettingsRejected, ChildFailed) as error:
        print(f"parley serve: {error}", file=sys.stderr)
        return 1
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, supervisor.reload)
    report(f"open at {settings.public_url} (listening on {supervisor.address})")
    await stop.wait()
    await supervisor.stop()
    return 0


def report(line: str) -> None:
    print(f"parley: {line}", file=sys.stderr, flush=True)


def write_first_settings(path: Path) -> str:
    """Write every setting with its default and meaning. Raises FileExistsError rather than overwrite."""
    top = [row for row in describe() if not row[0].startswith("banks")]
    bank = [row for row in describe() if row[0].startswith("banks.")]
    lines = ["# Parley's settings. Lines that begin with # show the default.", ""]
    for name, _, default, help_text in top:
        lines += [f"# {help_text}", f"# {name} = {default}", ""]
    lines += ["[[banks]]"]
    for name, _, default, help_text in bank:
        short = name.removeprefix("banks.")
        lines += [f"# {help_text}", f'{short} = "…"' if default == "required" else f"# {short} = {default}", ""]
    with path.open("x") as file:
        file.write("\n".join(lines))
    return f"Wrote {path}. Fill in the lines that hold …, then: parley doctor --config {path}"


def list_settings(*, as_json: bool) -> None:
    rows = describe()
    if as_json:
        print(msgspec.json.encode([dict(zip(("name", "type", "default", "help"), row, strict=True)) for row in rows]).decode())
        return
    table = Table("Setting", "Type", "Default", "What it does")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
