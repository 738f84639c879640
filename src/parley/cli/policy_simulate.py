"""A policy tried on the past: how much of what the log says has left would it have refused?

The log's public halves name platform, channel, purpose, projection, a coarse size and a month, and no value, customer or grant. That is all
this reads, so it says what the rules would have done at least: terms that no public half shows, such as how exact a figure was, stay out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from parley.cli.policy_words import LESSER, Steps, Unusable, opened, plain, print_json, table_of
from parley.log.history import History, ReleaseClass, TooManyKinds, release_history
from parley.model.refusals import PurposeForbidden, PurposeUnknown
from parley.model.words import Assurance, Projection
from parley.policy import Case, Data, Policy, Verdict, purpose_named
from parley.policy.domain import WHATS
from parley.policy.ruling import DELIVERIES_BUILT

EXIT_SAME, EXIT_CHANGED = 0, 3
FEWEST = (1, 2, 11, 51)
"""The fewest records that a release of each coarse size told of: what is certain. It may have told of more."""


class Outcome(StrEnum):
    """What the policy would have made of a release, from the strictest on."""

    REFUSED = "refused"
    LESSER = "lesser"
    STEP_UP = "step_up"
    UNDELIVERABLE = "undeliverable"
    ROWS_WITHHELD = "rows_withheld"
    SHORTENED = "shortened"
    SAME = "same"


OUTCOME_WORDS: Mapping[Outcome, str] = {
    Outcome.REFUSED: "refused",
    Outcome.LESSER: "refused, or told as less",
    Outcome.STEP_UP: "refused until she confirms",
    Outcome.UNDELIVERABLE: "refused: no such delivery yet",
    Outcome.ROWS_WITHHELD: "answered without rows made elsewhere",
    Outcome.SHORTENED: "answered with fewer rows",
    Outcome.SAME: "answered",
}
STOPPED = frozenset({Outcome.REFUSED, Outcome.LESSER, Outcome.STEP_UP, Outcome.UNDELIVERABLE})


class Group(msgspec.Struct, frozen=True):
    """Releases that the policy treats alike, of one purpose, platform, channel, projection and month."""

    outcome: Outcome
    purpose: str
    platform: str
    channel: str
    projection: str
    month: str
    releases: int


class Report(msgspec.Struct, frozen=True):
    """As printed with --json. `releases` were found among `entries`; `refused` of them would not have left."""

    policy: str
    digest: str
    dropped: tuple[str, ...]
    entries: int
    unreadable: int
    releases: int
    refused: int
    outcomes: Mapping[str, int]
    groups: tuple[Group, ...]


def show_simulation(named: str, data: Path, drop: tuple[str, ...], *, rows_max: int, as_json: bool) -> int:
    """0 where all that left would leave again, 3 where some of it would not. Raises PolicyRejected, Unusable."""
    dropped = tuple(projection_named(each) for each in drop)
    with Steps(quiet=as_json) as steps:
        policy = opened(named, steps.loading(named))
        report = simulated(policy, read_history(data, steps), dropped)
    if as_json:
        print_json(report)
    else:
        show(report, rows_max)
    return EXIT_CHANGED if report.refused else EXIT_SAME


def projection_named(text: str) -> Projection:
    try:
        return Projection(text)
    except ValueError:
        raise Unusable(f"there is no projection {plain(text)!r} to drop. There are: {', '.join(Projection)}.") from None


def read_history(data: Path, steps: Steps) -> History:
    try:
        return release_history(data, steps.begin("Reading the log"))
    except FileNotFoundError:
        raise Unusable(f"there is no log in {data}. Name the gateway's data directory with --data DIR.") from None
    except TooManyKinds as error:
        raise Unusable(f"{error}. That is no honest log: `parley log audit --data {data}` says more.") from None


def simulated(policy: Policy, history: History, dropped: Iterable[Projection]) -> Report:
    """What the policy, without the dropped projections, would have made of every release."""
    without = frozenset(dropped)
    groups: Counter[tuple[Outcome, str, str, str, str, str]] = Counter()
    for left, count in history.releases.items():
        result = outcome(policy, left, without)
        groups[result, left.purpose, left.platform, left.channel, left.projection, left.month] += count
    outcomes: Counter[Outcome] = Counter()
    for key, count in groups.items():
        outcomes[key[0]] += count
    return Report(
        policy=policy.name,
        digest=policy.digest,
        dropped=tuple(sorted(without)),
        entries=history.entries,
        unreadable=history.unreadable,
        releases=history.total,
        refused=sum(count for each, count in outcomes.items() if each in STOPPED),
        outcomes={each.value: outcomes[each] for each in Outcome if outcomes[each]},
        groups=tuple(Group(*key, count) for key, count in sorted(groups.items(), key=order)),
    )


def order(item: tuple[tuple[Outcome, str, str, str, str, str], int]) -> tuple[int, tuple[str, ...]]:
    key, _ = item
    return tuple(Outcome).index(key[0]), key[1:]


def outcome(policy: Policy, left: ReleaseClass, without: frozenset[Projection] = frozenset()) -> Outcome:
    """Of one kind of release. Words of an older release that have no meaning any more are refused, as the house would."""
    result = Outcome.REFUSED if left.projection in without else strict_outcome(policy, left)
    lesser = LESSER.get(left.projection)
    if result in STOPPED and lesser is not None and lesser not in without:
        again = strict_outcome(policy, left._replace(projection=lesser))
        return Outcome.LESSER if again not in STOPPED else result
    return result


def strict_outcome(policy: Policy, left: ReleaseClass) -> Outcome:
    """Of the release as it was, told as nothing less."""
    verdicts = verdicts_on(policy, left)
    linked = {case.data: verdict for case, verdict in verdicts.items() if verdict.allow and case.assurance is Assurance.LINKED}
    if not linked:
        return Outcome.STEP_UP if any(verdict.allow for verdict in verdicts.values()) else Outcome.REFUSED
    if Data.OFF_PLATFORM in linked and Data.ON_PLATFORM not in linked:
        return Outcome.REFUSED
    if any(verdict.delivery not in DELIVERIES_BUILT for verdict in linked.values()):
        return Outcome.UNDELIVERABLE
    if Data.ACCOUNT in linked:
        return Outcome.SAME
    if Data.OFF_PLATFORM not in linked:
        return Outcome.ROWS_WITHHELD
    fewest = FEWEST[left.size] if 0 <= left.size < len(FEWEST) else 1
    return Outcome.SHORTENED if min(each.rows_max for each in linked.values()) < fewest else Outcome.SAME


def verdicts_on(policy: Policy, left: ReleaseClass) -> dict[Case, Verdict]:
    """What the policy says of every case that the release may have been."""
    try:
        purpose, projection = purpose_named(left.purpose), Projection(left.projection)
    except (PurposeForbidden, PurposeUnknown, ValueError):
        return {}
    cases = (
        Case(left.platform, left.channel, purpose, projection, data, assurance)
        for assurance in Assurance
        for what, data in WHATS
        if what is projection
    )
    return {case: verdict for case in cases if (verdict := policy.table.get(case)) is not None}


def show(report: Report, rows_max: int) -> None:
    console = Console(highlight=False)
    without = f" without {', '.join(report.dropped)}" if report.dropped else ""
    heads = ("Would be", "Who asked, over which channel, what for", "What", "Month", "Releases")
    rows = (
        (OUTCOME_WORDS[each.outcome], f"{each.platform} over {each.channel}, for {each.purpose}", each.projection, each.month, f"{each.releases:,}")
        for each in report.groups
        if each.outcome is not Outcome.SAME
    )
    if report.outcomes.keys() - {Outcome.SAME.value}:
        console.print(table_of(f"Policy {report.policy}{without}, on what has left so far", heads, rows, rows_max))
    console.print(Text(f"Of {report.releases:,} releases in {report.entries:,} entries, {report.refused:,} would have been refused."))
    if report.outcomes.get(Outcome.LESSER):
        lesser = ", ".join(f"{more} as {less}" for more, less in LESSER.items() if any(each.projection == more for each in report.groups))
        console.print(Text(f"{report.outcomes[Outcome.LESSER]:,} of these might have been told as less ({lesser}), where the grant has that, too."))
    for kind in (Outcome.ROWS_WITHHELD, Outcome.SHORTENED):
        if report.outcomes.get(kind):
            console.print(Text(f"{report.outcomes[kind]:,} would have been {OUTCOME_WORDS[kind]}."))
    if report.unreadable:
        console.print(Text(f"{report.unreadable:,} entries could not be read; `parley log audit` says what is wrong.", style="bold red"))
    console.print(Text(f"Policy {report.digest}. Read from the log's public halves: no value, no customer, no grant.", style="dim"))
