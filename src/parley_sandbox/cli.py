"""The command line: `serve` runs the demo bank, `customers` prints who banks there."""

import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from parley_sandbox.ledger import Customer

app = typer.Typer(
    name="parley-sandbox",
    help="A demo bank for development: an FDX 6 server with its own login pages, invented customers and faults on demand.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Which bank: the same seed and day give the same customers, byte for byte.")]
Today = Annotated[str, typer.Option(metavar="YYYY-MM-DD", help="The bank's day; today (UTC) unless given. It does not move while the bank runs.")]


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 picks a free one.")] = 0,
    seed: Seed = 7,
    today: Today = "",
    clients: Annotated[Path | None, typer.Option(help="JSON file of clients: [{client_id, client_name, redirect_uris, jwks}].")] = None,
    fault: Annotated[list[str] | None, typer.Option(help="A fault to switch on, NAME[=VALUE][:TIMES]; may be repeated.")] = None,
    access_token_seconds: Annotated[int, typer.Option(min=1, max=900, help="How long an access token lives.")] = 900,
    exit_with_parent: Annotated[bool, typer.Option("--exit-with-parent", help="Stop when standard input closes.")] = False,
) -> None:
    """Run the bank until it is stopped. When it listens it prints one line: {"event":"listening","url":...,"pid":...}."""
    from parley_sandbox.bank import new_bank
    from parley_sandbox.clients import BadClientFile
    from parley_sandbox.faults import FaultBoard, written_fault
    from parley_sandbox.server import listen
    from parley_sandbox.server import serve as serve_bank
    from parley_sandbox.web import Refusal

    day = _day(today)
    try:
        faults = FaultBoard(written_fault(text) for text in fault or [])
        listener, url = listen(port)
        bank = new_bank(url, seed, day, clients, faults, access_token_seconds)
    except Refusal as refusal:
        _stop(f"--fault: {refusal.message}")
    except BadClientFile as problem:
        _stop(f"--clients: {problem}")
    except OSError as problem:
        _stop(f"port {port}: {problem.strerror}")
    serve_bank(bank, listener, exit_with_parent=exit_with_parent)


@app.command()
def customers(
    seed: Seed = 7,
    today: Today = "",
    username: Annotated[str, typer.Option(help="Only this customer.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, amounts in minor units.")] = False,
) -> None:
    """Print the customers with passwords, accounts and balances: what the bank must answer."""
    from parley_sandbox import oracle
    from parley_sandbox.money import wire_number

    try:
        listed = (oracle.customer(seed, _day(today), username),) if username else oracle.customers(seed, _day(today))
    except KeyError:
        _stop("--username: there is no such customer.")
    if as_json:
        print(json.dumps([_customer_json(customer) for customer in listed], indent=1))
        return
    for customer in listed:
        print(f"{customer.username:8} {customer.password:22} {customer.name}. {customer.portrait}")
        for account in customer.accounts:
            amount = f"{wire_number(account.booked, account.currency):,} {account.currency}"
            print(f"         {account.nickname:22} {account.kind:12} {account.number_display} {account.status:10} {amount:>16}")


def main() -> None:
    """Entry point."""
    app()


def _customer_json(customer: "Customer") -> dict[str, object]:
    accounts = [
        {
            "accountId": account.account_id,
            "kind": account.kind,
            "nickname": account.nickname,
            "numberDisplay": account.number_display,
            "status": account.status,
            "currency": account.currency,
            "bookedMinor": account.booked,
            "availableMinor": account.available,
            "creditLineMinor": account.credit_line,
            "rows": len(account.postings),
        }
        for account in customer.accounts
    ]
    return {
        "username": customer.username,
        "password": customer.password,
        "customerId": customer.customer_id,
        "name": customer.name,
        "portrait": customer.portrait,
        "accounts": accounts,
    }


def _day(text: str) -> date:
    if not text:
        return datetime.now(UTC).date()
    try:
        day = date.fromisoformat(text)
    except ValueError:
        _stop("--today is written YYYY-MM-DD.")
    if not 2000 <= day.year <= 2100:
        _stop("--today is a day between 2000 and 2100.")
    return day


def _stop(message: str) -> NoReturn:
    print(f"parley-sandbox: {message}", file=sys.stderr)
    raise typer.Exit(2)
