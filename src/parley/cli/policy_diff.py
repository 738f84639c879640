"""Two versions of a policy as the set of decisions that change, and how many customers and grants would meet the change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from parley.cli.policy_cases import HEADS, folded
from parley.cli.policy_words import NO_RULE, Steps, Unusable, opened, plain, print_json, says, table_of, terms
from parley.model.refusals import Fault
from parley.policy import Case, Policy, Verdict
from parley.policy.difference import Change, ChangeKind, Difference, difference, kinds_by_case, touched
from parley.settings import SettingsRejected, load_settings
from parley.store import KeysUnsafe
from parley.store.tallies import Tally, open_for_counting, tally

EXIT_SAME, EXIT_CHANGED = 0, 3
KIND_WORDS: Mapping[ChangeKind, str] = {
    ChangeKind.NEWLY_ALLOWED: "newly allowed",
    ChangeKind.NEWLY_REFUSED: "newly refused",
    ChangeKind.OTHER_TERMS: "allowed on other terms",
    ChangeKind.OTHER_REASON: "refused for another reason",
}


class Report(msgspec.Struct, frozen=True):
    """As printed with --json. `changes` counts cases by kind; `touched` is None where no records were named."""

    old: str
    new: str
    cases: int
    changes: Mapping[str, int]
    touched: Tally | None
    decisions: tuple[Change, ...]


def show_difference(old: str, new: str, records: str | None, *, rows_max: int, as_json: bool) -> int:
    """0 where both decide alike, 3 where anything changes. `records` is their URL, None to count nobody. Raises PolicyRejected, Unusable."""
    with Steps(quiet=as_json) as steps:
        policies = opened(old, steps.loading(old)), opened(new, steps.loading(new))
        found = difference(*policies)
        tallied = asyncio.run(count_touched(found, records, steps)) if records is not None else None
    if as_json:
        counts = {kind.value: count for kind, count in found.counts.items()}
        print_json(Report(found.old, found.new, found.cases, counts, tallied, found.changes))
    else:
        show((old, new), policies, found, tallied, rows_max)
    return EXIT_CHANGED if found.changes else EXIT_SAME


def records_of(data: Path | None, config: Path | None) -> str | None:
    """The records' URL: the SQLite file of a data directory, or what a settings file says. Raises Unusable."""
    if config is not None:
        try:
            return load_settings(config).records
        except SettingsRejected as error:
            raise Unusable(str(error)) from None
    return None if data is None else f"sqlite:///{(data / 'records.sqlite').resolve()}"


async def count_touched(found: Difference, records: str, steps: Steps) -> Tally:
    """Raises Unusable where the records cannot be read, with the way out."""
    by_case = kinds_by_case(found.changes)
    try:
        async with open_for_counting(records) as reader:
            return await tally(reader, lambda shape: touched(shape, by_case), datetime.now(UTC), steps.begin("Counting grants"))
    except FileNotFoundError:
        raise Unusable("there are no records there. Name the gateway's data directory with --data DIR, or its settings with --config FILE.") from None
    except (Fault, KeysUnsafe, ValueError) as error:
        raise Unusable(f"the records cannot be counted: {error}. `parley doctor` says what is wrong with them.") from None


def show(names: tuple[str, str], policies: Sequence[Policy], found: Difference, tallied: Tally | None, rows_max: int) -> None:
    console = Console(highlight=False)
    old, new = names
    if not found.changes:
        console.print(Text(plain(f"{old} and {new} decide all {found.cases:,} cases alike.")))
        return
    for kind in found.counts:
        rows = lines((change for change in found.changes if change.kind is kind), policies)
        title = f"From {old} to {new}: {KIND_WORDS[kind]}"
        console.print(table_of(title, (*HEADS, "Before", "After"), rows, rows_max))
    console.print(table_of(f"{found.cases:,} cases compared", count_heads(tallied), counted(found, tallied)))
    if tallied is not None:
        console.print(Text(f"Of {tallied.all_grants:,} standing grants of {tallied.all_customers:,} customers. Counts only: nobody was looked up."))
    console.print(Text(f"{found.old} to {found.new}", style="dim"))


def count_heads(tallied: Tally | None) -> tuple[str, ...]:
    return ("Change", "Cases") if tallied is None else ("Change", "Cases", "Grants", "Customers")


def counted(found: Difference, tallied: Tally | None) -> Iterator[tuple[object, ...]]:
    for kind, count in found.counts.items():
        more = () if tallied is None else (f"{tallied.grants.get(kind, 0):,}", f"{tallied.customers.get(kind, 0):,}")
        yield KIND_WORDS[kind], f"{count:,}", *more


def lines(changes: Iterable[Change], policies: Sequence[Policy]) -> Iterator[tuple[str, ...]]:
    """One line for cases that change alike."""
    alike: dict[tuple[str, str], list[Case]] = {}
    for change in changes:
        alike.setdefault(words_of(change), []).append(change.case)
    for words, cases in sorted(alike.items(), key=lambda item: item[0]):
        for cells in folded(cases, policies):
            yield *cells, *words


def words_of(change: Change) -> tuple[str, str]:
    """Before and after. Where only the terms change, the terms that do."""
    if change.kind is ChangeKind.OTHER_TERMS and change.before is not None and change.after is not None:
        return some_terms(change, change.before), some_terms(change, change.after)
    return says(change.before, change.case.projection), says(change.after, change.case.projection)


def some_terms(change: Change, verdict: Verdict) -> str:
    said = terms(verdict, change.case.projection)
    return "; ".join(said[name] for name in change.terms if name in said) or ("as exact as it is" if verdict.allow else NO_RULE)
