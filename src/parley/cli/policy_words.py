"""What the policy commands share: opening a policy, and saying verdicts, cases and changes in a privacy officer's words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import count

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from parley.model.words import Delivery, Projection
from parley.policy import Policy, Step, Verdict, load_policy
from parley.policy.packs import policy_place

DELIVERY_WORDS = {
    Delivery.SEALED: "sealed to the customer's own device",
    Delivery.MASKED: "with figures partly hidden",
    Delivery.INLINE: "readable in the chat",
}
LESSER: Mapping[str, Projection] = {
    Projection.TRANSACTIONS_MERCHANT_AND_AMOUNT: Projection.TRANSACTIONS_AMOUNT,
    Projection.BALANCE_AVAILABLE: Projection.BALANCE_BAND,
}
"""What the same question is answered with where the bank allows no more, and the customer's grant has it too."""
LOAD_STEPS = 6
"""How many parley.policy.load takes, for the progress."""
NO_RULE = "refused: no rule permits it"


class Unusable(Exception):
    """What was named cannot be used. The message says what to do instead."""


def opened(named: str, tell: Callable[[Step], None] | None = None) -> Policy:
    """Load the policy of a path or pack. Raises PolicyRejected."""
    return load_policy(policy_place(named), tell=tell)


def says(verdict: Verdict | None, projection: Projection) -> str:
    """A verdict in one line."""
    if verdict is None:
        return NO_RULE
    if not verdict.allow:
        return f"refused ({verdict.basis}): {verdict.reason}"
    return "allowed: " + "; ".join(terms(verdict, projection).values())


def terms(verdict: Verdict, projection: Projection) -> dict[str, str]:
    """By the name of the obligation, what a verdict that allows obliges to, in words. What binds nothing is left out."""
    said = {"delivery": DELIVERY_WORDS[verdict.delivery]}
    if projection.reads_transactions:
        said["rows_max"] = f"at most {verdict.rows_max} row{'s' if verdict.rows_max > 1 else ''}"
        said["lookback_days_max"] = f"at most {verdict.lookback_days_max} days back"
        if verdict.delay_days:
            said["delay_days"] = f"not the last {verdict.delay_days} days"
    if verdict.rounding and projection.tells_figures:
        said["rounding"] = f"figures in steps of {verdict.rounding:,}"
    if verdict.bands and projection is Projection.BALANCE_BAND:
        said["bands"] = "in bands with edges at " + ", ".join(f"{edge:,}" for edge in verdict.bands)
    return said


def plain(text: str) -> str:
    """Somebody else's words for a terminal: control characters could move its cursor and write over what stands there."""
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def table_of(title: str, heads: Iterable[str], rows: Iterable[Iterable[object]], rows_max: int | None = None) -> Table:
    """A table whose cells are text and never markup, and are folded rather than cut where the terminal is narrow.

    Beyond `rows_max` the last line says how many are left out.
    """
    heads = tuple(heads)
    table = Table(*(Column(head, overflow="fold") for head in heads), title=Text(plain(title)), title_justify="left")
    shown = left_out = 0
    for row in rows:
        if rows_max is not None and shown >= rows_max:
            left_out += 1
            continue
        shown += 1
        table.add_row(*(Text(plain(str(cell))) for cell in row))
    if left_out:
        table.add_row(f"and {left_out:,} more", *("" for _ in heads[1:]))
    return table


def print_json(value: object) -> None:
    print(msgspec.json.encode(value).decode())


class Steps:
    """Progress on standard error, none with --json. Remembers how long each step took, in milliseconds of this machine's clock."""

    def __init__(self, *, quiet: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet)

    def __enter__(self) -> Steps:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__(None, None, None)

    def loading(self, named: str) -> Callable[[Step], None]:
        """A line of progress for a policy that is being loaded: call what is returned after each step."""
        taken = count(1)
        progress = self.begin(f"Checking {plain(named)}")
        return lambda _: progress(next(taken), LOAD_STEPS)

    def begin(self, what: str) -> Callable[[int, int], None]:
        """A new line of progress; call what is returned with (done, total)."""
        task: TaskID = self._progress.add_task(what, total=None)
        return lambda done, total: self._progress.update(task, completed=done, total=total)
