"""`parley policy`: check, explain, diff and simulate a policy before it takes effect, and start from a pack. Options and help; the work is beside.

Exit codes of all of them: 0 yes, or nothing changes · 1 it cannot be used or read, and the message says what to mend · 2 the command line
is wrong · 3 no, or something changes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

EXIT_CODES = (
    "Exits 0 for yes or no change, 1 for what cannot be used (the message says what to mend), 2 for a wrong command line, 3 for no or a change."
)

policy = typer.Typer(help="The bank's policy: check it, see what it says and what a change would do.", no_args_is_help=True, epilog=EXIT_CODES)

Named = Annotated[str, typer.Argument(metavar="PATH|PACK", help="A policy's folder or file, or a pack's name; `parley policy packs` lists them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of words for a person.")]
Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="The gateway's data directory: reads counts from it, and nothing else.")]
Rows = Annotated[int, typer.Option("--rows", min=1, help="Lines of a table at most; --json gives all.")]


@policy.command("check", epilog=EXIT_CODES)
def check(
    named: Named = "standard",
    all_rows: Annotated[bool, typer.Option("--table", help="Show every row of the decision table, too.")] = False,
    z3: Annotated[bool, typer.Option("--z3", help="Ask z3 for a second opinion on the invariants; needs the extra `proof`.")] = False,
    as_json: AsJson = False,
) -> None:
    """Load a policy as the gateway does, step by step: read, check, compile, tabulate, compare, prove."""
    from parley.cli.policy_check import check_policy

    finish(lambda: check_policy(named, whole_table=all_rows, ask_z3=z3, as_json=as_json), "check")


@policy.command("explain", epilog=EXIT_CODES)
def explain(
    named: Named,
    platform: Annotated[str, typer.Option(help="Which platform asks.")],
    channel: Annotated[str, typer.Option(help="Through which channel.")],
    purpose: Annotated[str, typer.Option(help="What for, such as answer_customer.")],
    projection: Annotated[str, typer.Option(help="What is asked, such as balance.available.")],
    lookback_days: Annotated[int, typer.Option(min=0, help="How far back the question reaches.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Say of one request whether the policy allows it, by which rules, on what terms, and what would have to change."""
    from parley.cli.policy_explain import Asked, explain_decision

    asked = Asked(platform, channel, purpose, projection, lookback_days)
    finish(lambda: explain_decision(named, asked, as_json=as_json), "explain")


@policy.command("diff", epilog=EXIT_CODES)
def diff(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The policy in force: a path or a pack's name.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The policy proposed: a path or a pack's name.")],
    data: Data = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Or its settings file, where records are in PostgreSQL.")] = None,
    rows: Rows = 40,
    as_json: AsJson = False,
) -> None:
    """Show every decision that changes; with --data or --config, how many customers and grants would meet the change."""
    from parley.cli.policy_diff import records_of, show_difference

    finish(lambda: show_difference(old, new, records_of(data, config), rows_max=rows, as_json=as_json), "diff")


@policy.command("simulate", epilog=EXIT_CODES)
def simulate(
    new: Annotated[str, typer.Argument(metavar="NEW", help="The policy to try: a path or a pack's name.")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The gateway's data directory, whose log is gone through.")] = Path(
        "parley-data"
    ),
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="PROJECTION", help="Refuse this projection as well, such as transactions.merchant_and_amount."),
    ] = None,
    rows: Rows = 40,
    as_json: AsJson = False,
) -> None:
    """Go through all that the log says has left, and count how much of it this policy would have refused. The log holds no value."""
    from parley.cli.policy_simulate import show_simulation

    finish(lambda: show_simulation(new, data, tuple(drop or ()), rows_max=rows, as_json=as_json), "simulate")


@policy.command("packs", epilog=EXIT_CODES)
def packs(as_json: AsJson = False) -> None:
    """List the policies that a bank can start from."""
    from parley.cli.policy_check import list_packs

    finish(lambda: list_packs(as_json=as_json), "packs")


@policy.command("init", epilog=EXIT_CODES)
def init(
    pack: Annotated[str, typer.Argument(metavar="PACK", help="The pack to start from.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the bank's own copy.")],
) -> None:
    """Copy a pack into a folder of your own, to change it there. Overwrites nothing."""
    from parley.cli.policy_check import copy_out

    finish(lambda: copy_out(pack, folder), "init")


def finish(work: Callable[[], int], command: str) -> None:
    """Run the command and exit with its code; whatever it cannot use becomes one sentence and code 1."""
    from parley.cli.policy_words import Unusable, plain
    from parley.policy import PolicyRejected

    try:
        code = work()
    except (PolicyRejected, Unusable) as error:
        print(f"parley policy {command}: {plain(str(error))}", file=sys.stderr)
        code = 1
    sys.exit(code)
