"""What stands behind `parley`: options and help; the work is in the modules beside."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from parley import __version__
from parley.cli.clients import clients
from parley.cli.consent import consent
from parley.cli.keys import keys
from parley.cli.policy import policy
from parley.cli.staff import app as staff

app = typer.Typer(
    name="parley",
    help="Parley lets a bank's customers ask about their accounts in chats and assistants that neither of them has to trust: no receipt, no release.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
log = typer.Typer(help="The release log: audit it.", no_args_is_help=True)
app.add_typer(log, name="log")
app.add_typer(clients, name="client")
app.add_typer(consent, name="consent")
app.add_typer(keys, name="keys")
app.add_typer(policy, name="policy")
app.add_typer(staff, name="staff")

Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="Settings file; `parley init` writes one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of words for a person.")]


@app.command()
def demo(
    ask: Annotated[
        list[str] | None, typer.Option("--ask", metavar="TEXT", help="Ask this as a demo customer, print the answer and stop; may be repeated.")
    ] = None,
    channel: Annotated[str, typer.Option(help="Through which channel to ask. So far: web.")] = "web",
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Which demo bank: the same seed and day give the same customers.")] = 7,
    customer: Annotated[str, typer.Option(help="Which demo customer asks; the bank's first page lists them.")] = "ada",
    keep: Annotated[Path | None, typer.Option("--keep", metavar="DIR", help="Keep the data directory here instead of a temporary one.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the chat page; 8080 unless that is taken, 0 for any.")] = None,
    bank_port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the demo bank; 8081 unless that is taken, 0 for any.")] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the chat page in your browser, where there is one.")] = True,
    as_json: AsJson = False,
) -> None:
    """A demo bank, the notary and the gateway, with nothing preconfigured. Stop it with Ctrl-C."""
    from parley.cli.show_demo import ask_and_stop, stay_open

    if channel != "web":
        fail(f"there is no channel {channel!r} in this release; there is: web", code=2)
    if ask:
        sys.exit(asyncio.run(ask_and_stop(ask, seed=seed, customer=customer, keep=keep, as_json=as_json)))
    sys.exit(asyncio.run(stay_open(seed=seed, keep=keep, port=port, bank_port=bank_port, open_page=open_page)))


@app.command()
def serve(config: Config = Path("parley.toml")) -> None:
    """Run the notary and the gateways until stopped; what dies is started again."""
    from parley.cli.serve import run_house

    sys.exit(asyncio.run(run_house(config)))


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write the settings file.")] = Path("parley.toml"),
) -> None:
    """Write a settings file to start from, with every setting explained. Never overwrites."""
    from parley.cli.serve import write_first_settings

    say_or_fail(write_first_settings, path)


@app.command()
def chat(
    url: Annotated[str, typer.Option(help="Address of a running gateway; the demo's unless given.")] = "http://localhost:8080",
    customer: Annotated[str, typer.Option(help="Demo only: link this customer of the demo bank without a browser.")] = "",
    password: Annotated[str, typer.Option(help="Demo only: her password there.", envvar="PARLEY_DEMO_PASSWORD")] = "",
) -> None:
    """Ask in the terminal. Links through your browser; the number that is shown here is asked for there."""
    from parley.cli.chat import converse

    sys.exit(asyncio.run(converse(url.rstrip("/"), customer, password)))


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="RECEIPT", help="The receipt, or a signed consent record.")],
    key: Annotated[
        str,
        typer.Option("--key", metavar="FILE|KEY", help="The log's public key, or the file that holds it; log.vkey beside the receipt unless given."),
    ] = "",
    keys: Annotated[
        str, typer.Option("--keys", metavar="FILE", help="For a consent record: the published keys; consent-records.jwks beside it unless given.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check a receipt offline, against nothing but the log's public key. Exits 0 when it holds, 1 when it does not."""
    from parley.cli.verify import verify_file
    from parley.cli.verify_record import looks_like_record, verify_record_file

    if file.is_file() and looks_like_record(file):
        sys.exit(verify_record_file(file, key, keys, as_json=as_json))
    sys.exit(verify_file(file, key, as_json=as_json))


@log.command("audit")
def log_audit(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The gateway's data directory.")] = Path("parley-data"),
    as_json: AsJson = False,
) -> None:
    """Check the whole log, count what left by kind and purpose, and say how much carried an advertising purpose."""
    from parley.cli.verify import audit_log

    sys.exit(audit_log(data, as_json=as_json))


@app.command()
def settings(as_json: AsJson = False) -> None:
    """List every setting with its type, default and meaning."""
    from parley.cli.serve import list_settings

    list_settings(as_json=as_json)


@app.command()
def doctor(config: Config = Path("parley.toml"), as_json: AsJson = False) -> None:
    """Say what is wrong with an installation, and how to mend it. Exits 0 when nothing is."""
    from parley.cli.doctor import examine

    sys.exit(asyncio.run(examine(config, as_json=as_json)))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def say_or_fail(work: object, path: Path) -> None:
    try:
        print(work(path))  # type: ignore[operator]
    except (OSError, ValueError) as error:
        fail(str(error))


def fail(sentence: str, code: int = 1) -> NoReturn:
    print(f"parley: {sentence}", file=sys.stderr)
    sys.exit(code)


def main() -> None:
    """Entry point."""
    app()
