"""`parley consent`: what customers have agreed to, for the people who run the house. Ids and limits only; no value, name or chat is ever shown.

A revocation or erasure stands in the records when the command returns, so no new question passes; the running gateways tell the log within
seconds, which ends releases that are under way.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from parley.cli.records_desk import AsJson, ConfigFile, DataFolder, fail, settings_of, with_records
from parley.model.grants import Grant, GrantState
from parley.store import KeyRing, Records

consent = typer.Typer(help="What customers have agreed to: list, revoke, erase.", no_args_is_help=True)
Customer = Annotated[str, typer.Option("--customer", metavar="ID", help="The house's own id of the customer, 32 hexadecimal digits.")]
Conversation = Annotated[
    str,
    typer.Option("--conversation", metavar="CHANNEL:ADDRESS", help="Instead: the address of a chat of hers."),
]


@consent.command("list")
def list_grants(
    customer: Customer = "",
    conversation: Conversation = "",
    config: ConfigFile = Path("parley.toml"),
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """A customer's grants, those that stand first."""

    async def look(records: Records, ring: KeyRing) -> tuple[Grant, ...]:
        return await grants_of(records, customer, conversation)

    rows = [row_of(grant) for grant in with_records(settings_of(config, data), look)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("grant", "version", "state", "platform", "channel", "purpose", "projections", "accounts", "ends")
    for row in rows:
        table.add_row(*(str(row[name]) for name in ("grant", "version", "state", "platform", "channel", "purpose")), *_limits(row))
    Console().print(table if rows else "No grants.")


@consent.command("revoke")
def revoke(
    grant: Annotated[str, typer.Option("--grant", metavar="ID", help="One grant; without it, all that the customer has given.")] = "",
    customer: Customer = "",
    conversation: Conversation = "",
    config: ConfigFile = Path("parley.toml"),
    data: DataFolder = None,
) -> None:
    """End grants now. The bank is asked to end its tokens when none is left that needs them."""

    async def work(records: Records, ring: KeyRing) -> int:
        ids = [grant] if grant else [each.id for each in await grants_of(records, customer, conversation) if each.state.stands]
        return len(await records.end_grants(ids, GrantState.REVOKED, datetime.now(UTC)))

    ended = with_records(settings_of(config, data), work)
    if grant and not ended:
        fail("there is no such grant; `parley consent list` names them")
    typer.echo(f"{ended} grant{'' if ended == 1 else 's'} revoked.")


@consent.command("erase")
def erase(
    customer: Customer = "",
    conversation: Conversation = "",
    config: ConfigFile = Path("parley.toml"),
    data: DataFolder = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a customer: her key, her links, her grants. What she sealed anywhere never opens again; the log still verifies."""
    settings = settings_of(config, data)
    if not yes:
        typer.confirm("Erase this customer for good? Nothing brings her back.", abort=True)

    async def work(records: Records, ring: KeyRing) -> None:
        found = await customer_of(records, customer, conversation)
        if await records.vault_of(found) is None:
            fail("there is no such customer")
        await records.erase(found, datetime.now(UTC))

    with_records(settings, work)
    typer.echo("Erased.")


async def customer_of(records: Records, customer: str, conversation: str) -> str:
    """Ends the command where neither was named, or nobody is linked to the chat."""
    if bool(customer) == bool(conversation):
        fail("name the customer by --customer or by --conversation")
    if customer:
        return customer
    channel, _, address = conversation.partition(":")
    found = await records.customer_of(channel, address)
    return found if found is not None else fail("nobody is linked to that chat")


async def grants_of(records: Records, customer: str, conversation: str) -> tuple[Grant, ...]:
    return await records.grants_of(await customer_of(records, customer, conversation), active_only=False, now=datetime.now(UTC))


def row_of(grant: Grant) -> dict[str, str | int | list[str]]:
    return {
        "grant": grant.id,
        "version": grant.version,
        "state": grant.state.value,
        "customer": grant.customer,
        "platform": grant.platform,
        "channel": grant.channel,
        "purpose": grant.purpose.value,
        "projections": sorted(grant.projections),
        "accounts": len(grant.accounts),
        "created_at": grant.created_at.isoformat(),
        "ends": grant.expires_at.isoformat(),
    }


def _limits(row: dict[str, str | int | list[str]]) -> tuple[str, str, str]:
    projections = row["projections"]
    return "\n".join(projections if isinstance(projections, list) else ()), str(row["accounts"]), str(row["ends"])[:10]
