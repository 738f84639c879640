"""`parley staff`: who may open the officer's console. Run where the data lives, by whoever runs the house; every use of it is in the log."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
import typer

from parley.model.staff import Role

if TYPE_CHECKING:
    from parley.cli.staff_desk import Invited
    from parley.settings import Settings

T = TypeVar("T")

app = typer.Typer(help="The bank's own people at the officer's console: add, list, invite again, remove.", no_args_is_help=True)

ConfigFile = Annotated[Path, typer.Option("--config", metavar="FILE", help="Settings file of the house.")]
DataFolder = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Instead: a folder with the house's parley.toml in it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of words for a person.")]
Name = Annotated[str, typer.Argument(help="The person's name, as colleagues know her.")]


@app.command("add")
def add_command(
    name: Name,
    role: Annotated[Role, typer.Option(help="officer decides, auditor reads, operator pulls switches.")] = Role.OFFICER,
    config: ConfigFile = Path("parley.toml"),
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Add somebody, and print the link with which she makes her passkey. It works once, for a day. The house must be running."""
    from parley.cli import staff_desk

    say(act(staff_desk.add(settings_of(config, data), name, role)), as_json=as_json)


@app.command("invite")
def invite_command(name: Name, config: ConfigFile = Path("parley.toml"), data: DataFolder = None, as_json: AsJson = False) -> None:
    """Print a new link for somebody who lost hers, or who needs another passkey."""
    from parley.cli import staff_desk

    say(act(staff_desk.invite(settings_of(config, data), name)), as_json=as_json)


@app.command("list")
def list_command(config: ConfigFile = Path("parley.toml"), data: DataFolder = None, as_json: AsJson = False) -> None:
    """List who may sign in."""
    from parley.cli import staff_desk

    staff = act(staff_desk.everybody(settings_of(config, data)))
    if as_json:
        print(msgspec.json.encode(staff).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("Name", "Role", "Id in the log", "Passkey")
    for each in staff:
        table.add_row(each.name, each.role.value, each.id, "yes" if each.enrolled else "invited")
    Console().print(table)


@app.command("remove")
def remove_command(name: Name, config: ConfigFile = Path("parley.toml"), data: DataFolder = None) -> None:
    """Remove somebody: her sign-ins end at once, and her passkey opens nothing any more. What she did stays in the log."""
    from parley.cli import staff_desk

    act(staff_desk.remove(settings_of(config, data), name))
    print(f"{name} can no longer sign in.")


def settings_of(config: Path, data: Path | None) -> Settings:
    from parley.settings import SettingsRejected, load_settings

    try:
        return load_settings(data / "parley.toml" if data is not None else config)
    except SettingsRejected as rejected:
        print(f"parley staff: {rejected}", file=sys.stderr)
        sys.exit(1)


def act(work: Coroutine[Any, Any, T]) -> T:
    """Do it, or say why not and leave with 1."""
    from parley.cli import staff_desk
    from parley.model.refusals import Fault, LogUnavailable
    from parley.store import KeysUnsafe

    try:
        return asyncio.run(work)
    except staff_desk.StaffTrouble as trouble:
        sentence = str(trouble)
    except LogUnavailable:
        sentence = "the log cannot be reached, and whoever may open the console must stand in it first. Start the house (parley serve), then again"
    except (Fault, KeysUnsafe) as trouble:
        sentence = f"the records cannot be opened ({trouble}); parley doctor says more"
    print(f"parley staff: {sentence}", file=sys.stderr)
    sys.exit(1)


def say(invited: Invited, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode({"id": invited.staff.id, "name": invited.staff.name, "role": invited.staff.role, "link": invited.link}).decode())
        return
    print(f"{invited.staff.name} ({invited.staff.role.value}). Open this once, within a day, on the device that keeps the passkey:\n{invited.link}")
