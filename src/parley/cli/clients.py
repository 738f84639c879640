"""`parley client`: which programs of others may ask customers for consent. A client is added before it can ask anything, and removed at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from parley.model.clients import ClientProfile

clients = typer.Typer(help="Programs that may ask customers for consent: add, list, remove.", no_args_is_help=True)
Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="Settings file of the gateway.")]


@clients.command("add")
def add(
    client_id: Annotated[str, typer.Argument(metavar="ID", help="How the client calls itself: letters, digits, . _ - (at most 64).")],
    platform: Annotated[str, typer.Option(help="Which platform of the bank's policy it is. One client for each.")],
    title: Annotated[str, typer.Option(help="Its name, as customers read it.")],
    host: Annotated[str, typer.Option(help="Where it lives on the web, as customers read it: partner.example")],
    redirect: Annotated[list[str], typer.Option("--redirect", metavar="URL", help="Where it takes answers, exact; may be repeated.")],
    profile: Annotated[ClientProfile, typer.Option(help="Which rules it lives by.")] = ClientProfile.FAPI,
    jwks: Annotated[Path | None, typer.Option("--jwks", metavar="FILE", help="Its public keys, a JWK Set.")] = None,
    jwks_uri: Annotated[str, typer.Option("--jwks-uri", metavar="URL", help="Where its public keys are, on a host of client_hosts.")] = "",
    config: Config = Path("parley.toml"),
) -> None:
    """Register a client. It may ask from the next moment on."""
    from parley.cli.client_records import add_client

    add_client(config, client_id, profile, platform, title, host, redirect, jwks, jwks_uri)


@clients.command("list")
def list_clients(
    config: Config = Path("parley.toml"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of words for a person.")] = False,
) -> None:
    """All clients, without keys."""
    from parley.cli.client_records import show_clients

    show_clients(config, as_json=as_json)


@clients.command("remove")
def remove(client_id: Annotated[str, typer.Argument(metavar="ID")], config: Config = Path("parley.toml")) -> None:
    """Remove a client: its tokens and codes end at once. What customers allowed stays on their pages until it ends."""
    from parley.cli.client_records import remove_client

    remove_client(config, client_id)
