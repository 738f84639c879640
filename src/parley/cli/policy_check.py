"""Loading a policy before it takes effect, step by step, and starting from a pack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from rich.console import Console
from rich.text import Text

from parley.cli.policy_cases import DATA_WORDS, HEADS, folded
from parley.cli.policy_words import Steps, Unusable, opened, plain, print_json, says, table_of
from parley.policy import Case, Policy, PolicyRejected, Step, Unevenness, Verdict, uneven
from parley.policy.invariants import Finding
from parley.policy.load import RULES_FILE
from parley.policy.packs import FOLDER, STANDARD, copy_pack, pack_names
from parley.policy.solver import SolverFinding, SolverMissing, second_opinion
from parley.policy.text import decoded

ALLOWED_SHOWN_MAX = 40


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
    uneven: tuple[Unevenness, ...]
    second_opinion: tuple[SolverFinding, ...] | None
    table: tuple[Row, ...] = ()


def check_policy(named: str, *, whole_table: bool, ask_z3: bool, as_json: bool) -> int:
    """0 where the policy would take effect. Raises PolicyRejected with the step's message where not, Unusable where z3 cannot agree."""
    console = Console(highlight=False)
    with Steps(quiet=as_json) as steps:
        progress = steps.loading(named)
        done: list[Step] = []

        def tell(step: Step) -> None:
            done.append(step)
            progress(step)

        try:
            policy = opened(named, tell)
        except PolicyRejected:
            if not as_json and done:
                console.print(steps_table(f"{named}: refused after", done))
            raise
        agreed = asked_z3(policy) if ask_z3 else None
    found = report(policy, agreed, whole_table=whole_table)
    if as_json:
        print_json(found)
    else:
        show(console, policy, found, whole_table=whole_table)
    return 0


def asked_z3(policy: Policy) -> tuple[SolverFinding, ...]:
    """Raises Unusable without z3, and for a case that z3 finds against the table."""
    try:
        findings = second_opinion(decoded(policy.sources[RULES_FILE], RULES_FILE), policy.particulars)
    except SolverMissing as error:
        raise Unusable(str(error)) from None
    for finding in findings:
        if not finding.proved:
            case = ", ".join(f"{name} {word}" for name, word in finding.case.items()) or "no case, but no proof in time either"
            raise Unusable(f"z3 does not agree on {finding.name}: {case}. Keep the policy that is in force, and report this text.")
    return findings


def report(policy: Policy, agreed: tuple[SolverFinding, ...] | None, *, whole_table: bool) -> Report:
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
        uneven=uneven(policy),
        second_opinion=agreed,
        table=tuple(Row(*case, verdict) for case, verdict in sorted(policy.table.items())) if whole_table else (),
    )


def missing(policy: Policy) -> dict[str, tuple[str, ...]]:
    """Platforms of which something is not public that 12 CFR 1033.321(d)(2) asks for."""
    return {platform.id: platform.missing_particulars for platform in policy.platforms.values() if platform.missing_particulars}


def show(console: Console, policy: Policy, found: Report, *, whole_table: bool) -> None:
    console.print(steps_table(f"Policy {policy.name} of {policy.bank}", policy.steps))
    title = "Every decision" if whole_table else "What it allows; everything else is refused"
    console.print(
        table_of(title, (*HEADS, "Decision", "Rules"), sorted(lines(policy, whole_table=whole_table)), None if whole_table else ALLOWED_SHOWN_MAX)
    )
    proofs = (
        (each.sentence, f"{each.combinations:,}", "holds" if each.holds else f"broken: {each.counterexample}") for each in policy.proof.findings
    )
    console.print(table_of("Shown by enumeration", ("Invariant", "Combinations", "Result"), proofs))
    if found.second_opinion:
        console.print(Text(f"z3 agrees on {', '.join(each.name for each in found.second_opinion)}: no case breaks them, over names without end."))
    show_unevenness(console, found.uneven)
    for platform, particulars in found.missing_particulars.items():
        console.print(Text(f"Not public of {platform}: {', '.join(particulars)}."))
    for name, digest in (("Policy", policy.digest), ("Text", policy.text_digest), ("Table", policy.table_digest), ("Proof", policy.proof.digest)):
        console.print(Text(f"{name:7}{digest}", style="dim"))


def show_unevenness(console: Console, found: tuple[Unevenness, ...]) -> None:
    if not found:
        console.print(Text("All platforms are treated alike."))
        return
    heads = ("The same request", "Allowed to", "Refused to", "Refused without a recorded ground")
    console.print(table_of("Platforms that are not treated alike", heads, uneven_lines(found), ALLOWED_SHOWN_MAX))


def uneven_lines(found: Iterable[Unevenness]) -> Iterator[tuple[str, ...]]:
    """One line for requests that the same platforms are treated differently for in the same way."""
    alike: dict[tuple[str, ...], dict[tuple[str, str], list[str]]] = {}
    for each in found:
        allowed = "; ".join(f"{one.platform} by {', '.join(one.rules)}" for one in each.allowed)
        refused = "; ".join(f"{one.platform} by {', '.join(one.rules)} ({one.basis})" if one.rules else one.platform for one in each.refused)
        treatment: tuple[str, ...] = (allowed, refused or "none: other terms", ", ".join(each.unexplained))
        alike.setdefault(treatment, {}).setdefault((DATA_WORDS[each.data], each.purpose), []).append(each.projection)
    for treatment, requests in alike.items():
        said = (f"{', '.join(dict.fromkeys(projections))} of {data}, for {purpose}" for (data, purpose), projections in requests.items())
        yield "; ".join(said), *treatment


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
    setting = f"policy_file = {msgspec.json.encode(str(folder.resolve())).decode()}"
    print(plain(f"Change them, then: parley policy check {folder}. To use it: {setting} in the settings."))
    return 0
