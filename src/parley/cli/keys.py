"""`parley keys`: the keys that wrap every other key. Rotated while the house runs; an old one is destroyed only when nothing hangs on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from parley.cli.records_desk import AsJson, ConfigFile, DataFolder, settings_of, with_records
from parley.store import KeyRing, Records

keys = typer.Typer(help="The keys that wrap every other key: list, rotate, destroy.", no_args_is_help=True)


@keys.command("list")
def list_keys(config: ConfigFile = Path("parley.toml"), data: DataFolder = None, as_json: AsJson = False) -> None:
    """Every wrapping key, and how many keys hang on it."""

    async def look(records: Records, ring: KeyRing) -> list[dict[str, int | bool]]:
        held, newest = await records.wrapped_by(), await ring.newest()
        return [{"key": each, "in_use": each == newest, "holds": held.get(each, 0)} for each in await ring.generations()]

    rows = with_records(settings_of(config, data), look)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("wrapping key", "in use", "keys that hang on it")
    for row in rows:
        table.add_row(str(row["key"]), "yes" if row["in_use"] else "", f"{row['holds']:,}")
    Console().print(table)


@keys.command("rotate")
def rotate(config: ConfigFile = Path("parley.toml"), data: DataFolder = None, as_json: AsJson = False) -> None:
    """Make a new wrapping key and wrap every key under it. What is sealed stays as it is, and gateways go on meanwhile.

    May be interrupted: run it again, and it finishes what was begun before it makes another key. The old key stays until you destroy it.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())

    async def work(records: Records, ring: KeyRing) -> tuple[int, int, bool]:
        newest = await ring.newest()
        unfinished = any(each != newest for each in await records.wrapped_by())
        newest = newest if unfinished else await ring.rotate()
        with Progress(*columns, console=Console(stderr=True), transient=True, disable=as_json) as progress:
            task = progress.add_task(f"Wrapping under key {newest}", total=None)
            again = await records.rewrap(lambda done, whole: progress.update(task, completed=done, total=whole))
        return newest, again, unfinished

    newest, again, unfinished = with_records(settings_of(config, data), work)
    if as_json:
        typer.echo(json.dumps({"key": newest, "wrapped_again": again, "finished_an_earlier_rotation": unfinished}))
        return
    typer.echo(f"{'Finished the rotation to' if unfinished else 'Rotated to'} wrapping key {newest}: {again:,} keys wrapped again.")
    typer.echo("Older keys still open older backups. `parley keys destroy N` ends that.")


@keys.command("destroy")
def destroy(
    generation: Annotated[int, typer.Argument(metavar="N", help="Which wrapping key; `parley keys list` names them.")],
    config: ConfigFile = Path("parley.toml"),
    data: DataFolder = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Destroy an old wrapping key. Backups of the records from its time open no more: for the erased, that is the point."""
    settings = settings_of(config, data)
    if not yes:
        typer.confirm(f"Destroy wrapping key {generation}? Backups of the records that were made under it can never be opened again.", abort=True)
    with_records(settings, lambda records, ring: records.destroy_wrapping_key(generation))
    typer.echo(f"Wrapping key {generation} is gone.")
