"""Loading a policy before it takes effect, step by step, and starting from a pack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from parley.cli.policy_cases import HEADS, folded
from parley.cli.policy_words import Steps, Unusable, opened, plain, print_json, says, table_of
from parley.policy import Case, Policy, PolicyRejected, Step, Verdict
from parley.policy.invariants import Finding
from parley.policy.packs import FOLDER, STANDARD, copy_pack, pack_names

ALLOWED_SHOWN_MAX = 40
STEPS = 6
"""How many there are, for the progress; parley.policy.load takes them."""


class Row(msgspec.Struct, frozen=True):
    """One row of the decision table, as printed with --json."""

    platform: str
    channel: str
    purpose: str
    projection: str
    data: str
    assurance: str
    verdict: Verdict


class Report(msgspec.Struct, frozen=True):
    """As printed with --json. `table` is empty unless asked for; times are of this machine."""

    name: str
    bank: str
    digest: str
    text_digest: str
    table_digest: str
    proof_digest: str
    steps: tuple[Step, ...]
    decisions: int
    allowed: int
    invariants: tuple[Finding, ...]
    missing_particulars: Mapping[str, tuple[str, ...]]
    table: tuple[Row, ...] = ()


def check_policy(named: str, *, whole_table: bool, as_json: bool) -> int:
    """0 where the policy would take effect. Raises PolicyRejected with the step's message where not."""
    console = Console(highlight=False)
    with Steps(quiet=as_json) as steps:
        progress = steps.begin("Checking")
        done: list[Step] = []

        def tell(step: Step) -> None:
            done.append(step)
            progress(len(done), STEPS)

        try:
            policy = opened(named, tell)
        except PolicyRejected:
            if not as_json and done:
                console.print(steps_table(f"{named}: refused after", done))
            raise
    if as_json:
        print_json(report(policy, whole_table=whole_table))
    else:
        show(console, policy, whole_table=whole_table)
    return 0


def report(policy: Policy, *, whole_table: bool) -> Report:
    return Report(
        name=policy.name,
        bank=policy.bank,
        digest=policy.digest,
        text_digest=policy.text_digest,
        table_digest=policy.table_digest,
        proof_digest=policy.proof.digest,
        steps=policy.steps,
        decisions=len(policy.table),
        allowed=sum(verdict.allow for verdict in policy.table.values()),
        invariants=policy.proof.findings,
        missing_particulars=missing(policy),
        table=tuple(Row(*case, verdict) for case, verdict in sorted(policy.table.items())) if whole_table else (),
    )


def missing(policy: Policy) -> dict[str, tuple[str, ...]]:
    """Platforms of which something is not public that 12 CFR 1033.321(d)(2) asks for."""
    return {platform.id: platform.missing_particulars for platform in policy.platforms.values() if platform.missing_particulars}


def show(console: Console, policy: Policy, *, whole_table: bool) -> None:
    console.print(steps_table(f"Policy {policy.name} of {policy.bank}", policy.steps))
    title = "Every decision" if whole_table else "What it allows; everything else is refused"
    console.print(
        table_of(title, (*HEADS, "Decision", "Rules"), sorted(lines(policy, whole_table=whole_table)), None if whole_table else ALLOWED_SHOWN_MAX)
    )
    proofs = (
        (each.sentence, f"{each.combinations:,}", "holds" if each.holds else f"broken: {each.counterexample}") for each in policy.proof.findings
    )
    console.print(table_of("Shown by enumeration", ("Invariant", "Combinations", "Result"), proofs))
    for platform, particulars in missing(policy).items():
        console.print(Text(f"Not public of {platform}: {', '.join(particulars)}."))
    for name, digest in (("Policy", policy.digest), ("Text", policy.text_digest), ("Table", policy.table_digest), ("Proof", policy.proof.digest)):
        console.print(Text(f"{name:7}{digest}", style="dim"))


def steps_table(title: str, steps: Iterable[Step]) -> object:
    rows = ((step.name, step.found, f"{step.seconds * 1000:,.1f} ms") for step in steps)
    return table_of(title, ("Step", "Result", "Time"), rows)


def lines(policy: Policy, *, whole_table: bool) -> Iterator[tuple[str, ...]]:
    """One line for cases that are decided alike by the same rules."""
    alike: dict[tuple[str, str], list[Case]] = {}
    for case, verdict in policy.table.items():
        if whole_table or verdict.allow:
            alike.setdefault((says(verdict, case.projection), ", ".join(verdict.rules)), []).append(case)
    for (said, rules), cases in alike.items():
        for cells in folded(cases, (policy,)):
            yield *cells, said, rules


def list_packs(*, as_json: bool) -> int:
    packs = [(name, description(name)) for name in pack_names()]
    if as_json:
        print_json([{"name": name, "for": words} for name, words in packs])
        return 0
    Console(highlight=False).print(table_of("Packs", ("Name", "For"), packs))
    print(f"`parley policy init {STANDARD} my-policy` copies one out.")
    return 0


def description(pack: str) -> str:
    """The first paragraph of the pack's README, under its title."""
    paragraphs = (FOLDER / pack / "README.md").read_text().split("\n\n")
    return " ".join(paragraphs[1].split()) if len(paragraphs) > 1 else ""


def copy_out(pack: str, folder: Path) -> int:
    """Raises PolicyRejected for an unknown pack, Unusable where nothing may be written."""
    try:
        written = copy_pack(pack, folder)
    except FileExistsError as error:
        raise Unusable(str(error)) from None
    except OSError as error:
        raise Unusable(f"cannot write into {folder} ({error.strerror}). Name a folder that this account may make.") from None
    print(f"Wrote {', '.join(str(path) for path in written)}.")
    print(
        plain(
            f"Change them, then: parley policy check {folder}. To use it: policy_file = {msgspec.json.encode(str(folder)).decode()} in the settings."
        )
    )
    return 0
