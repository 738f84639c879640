"""What the commands share that work on the records of a house, whether it runs meanwhile or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer

from parley.model.refusals import Fault
from parley.settings import Settings, SettingsRejected, load_settings
from parley.store import FileKeyRing, KeyRing, Records, open_records

Result = TypeVar("Result")
ConfigFile = Annotated[Path, typer.Option("--config", metavar="FILE", help="Settings file of the house.")]
DataFolder = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Instead: a folder with the house's parley.toml in it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of words for a person.")]


def settings_of(config: Path, data: Path | None) -> Settings:
    """Ends the command with a sentence where there are no good settings."""
    try:
        return load_settings(data / "parley.toml" if data is not None else config)
    except SettingsRejected as rejected:
        fail(str(rejected))


def with_records(settings: Settings, work: Callable[[Records, KeyRing], Awaitable[Result]]) -> Result:
    """Run the work on the house's own records and keys. Ends the command with a sentence where they refuse."""

    async def opened() -> Result:
        keys = FileKeyRing(settings.data / "keys")
        records = await open_records(settings.records, keys, lambda: datetime.now(UTC))
        try:
            return await work(records, keys)
        finally:
            await records.aclose()

    try:
        return asyncio.run(opened())
    except Fault as fault:
        fail(f"{fault.detail or fault.plain_words} [{fault.code}]")


def fail(words: str) -> NoReturn:
    typer.echo(f"parley: {words}", err=True)
    raise typer.Exit(1)
