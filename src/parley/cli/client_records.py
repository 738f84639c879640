"""What stands behind `parley client`: registering, listing and removing, with the gateway's own records."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from parley.authorization.server.fapi import FAPI
from parley.authorization.server.registration import BadRegistration, Registration, registered
from parley.model.clients import Client, ClientProfile
from parley.model.refusals import Fault
from parley.settings import Settings, SettingsRejected, load_settings
from parley.store import FileKeyRing, KeysUnsafe, Records, open_records

JWKS_BYTES_MAX = 64 * 1024
Result = TypeVar("Result")


def add_client(
    config: Path, client_id: str, profile: ClientProfile, platform: str, title: str, host: str, redirects: list[str], jwks: Path | None, jwks_uri: str
) -> None:
    asked = Registration(client_id, profile, platform, title, host, tuple(redirects), read_file(jwks), jwks_uri or None)
    settings = settings_of(config)
    try:
        client, secret = registered(asked, settings.client_hosts, datetime.now(UTC))
    except BadRegistration as bad:
        fail(str(bad))
    run(settings, lambda records: records.add_client(client))
    typer.echo(f"{client.id} may ask from now on, as {client.platform}.")
    if client.profile is FAPI.kind:
        typer.echo(f"Its issuer: {settings.public_url}{FAPI.path}")
    if secret is not None:
        typer.echo(f"Its secret, shown this once and kept here only as a hash: {secret}")


def show_clients(config: Path, *, as_json: bool) -> None:
    found = run(settings_of(config), lambda records: records.clients())
    if as_json:
        typer.echo(json.dumps([row_of(client) for client in found], indent=2))
        return
    table = Table("id", "profile", "platform", "title", "host", "redirect addresses", "since")
    for client in found:
        redirects = "\n".join(client.redirect_uris)
        since = client.created_at.date().isoformat()
        table.add_row(client.id, client.profile.value, client.platform, client.title, client.host, redirects, since)
    Console().print(table if found else "There are no clients yet. `parley client add --help` says how to add one.")


def remove_client(config: Path, client_id: str) -> None:
    if not run(settings_of(config), lambda records: records.remove_client(client_id)):
        fail(f"there is no client {client_id!r}; `parley client list` names them all")
    typer.echo(f"{client_id} may ask nothing any more.")


def row_of(client: Client) -> dict[str, str | list[str]]:
    return {
        "id": client.id,
        "profile": client.profile.value,
        "platform": client.platform,
        "title": client.title,
        "host": client.host,
        "redirect_uris": list(client.redirect_uris),
        "created_at": client.created_at.isoformat(),
    }


def read_file(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return file.read(JWKS_BYTES_MAX)
    except OSError as error:
        fail(f"{path} cannot be read ({error.strerror})")


def settings_of(config: Path) -> Settings:
    try:
        return load_settings(config)
    except SettingsRejected as rejected:
        fail(str(rejected))


def run(settings: Settings, work: Callable[[Records], Awaitable[Result]]) -> Result:
    """With the gateway's own records, which may be running meanwhile."""

    async def opened() -> Result:
        records = await open_records(settings.records, FileKeyRing(settings.data / "keys"), lambda: datetime.now(UTC))
        try:
            return await work(records)
        finally:
            await records.aclose()

    try:
        return asyncio.run(opened())
    except KeysUnsafe as unsafe:
        fail(str(unsafe))
    except Fault as fault:
        fail(f"the records refused it ({fault.code}): {fault.detail or fault.plain_words}")


def fail(words: str) -> NoReturn:
    typer.echo(f"parley: {words}", err=True)
    raise typer.Exit(1)
