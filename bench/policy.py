"""`python -m bench.policy`: what one decision costs, at 50 and at 5,000 rules, beside other engines on the same policy in the same run.

Every engine is given the same made policy and the same requests, and must decide them all alike before it is measured. Engines are measured
once in every round, in random order. Those of other people are bench-only packages (requirements/bench.in); one that is missing is left out
and named.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from importlib.metadata import version
from random import Random
from statistics import median
from typing import Any

import cedarpy
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.policies import made_policy
from bench.processes import ROOT
from bench.report import machine
from parley.model.grants import Budget, Grant, GrantState
from parley.model.refusals import Fault, Refusal
from parley.model.stages import Permission, Request, Slots
from parley.model.words import Delivery, Provenance
from parley.policy import Policy, load_policy, rule
from parley.policy.domain import WHATS
from parley.policy.judge import NO_ENTITIES, asked, opinion, ours
from parley.policy.rules import Effect, Rule
from parley.policy.solver import SolverMissing, second_opinion

PAGE = ROOT / "docs" / "policy-speed.md"
SIZES = (50, 5_000)
REQUESTS = 400
DECISION_US_MAX = 3.0
LOAD_SECONDS_MAX = {50: 0.5, 5_000: 5.0}
WORDS = ("platform", "channel", "purpose", "projection", "data", "assurance")
Decide = Callable[[Sequence[str]], bool]


class NotInstalled(Exception):
    """A bench-only package is missing."""


@dataclass
class Engine:
    """One way to decide: how it is made from a policy, and how many requests a measurement asks (slow engines are asked fewer)."""

    name: str
    make: Callable[[Policy], Decide]
    package: str = ""
    only: bool | None = None
    """Measured on the allowed requests, on the refused ones, or (None) on all."""
    share: dict[int, int] = field(default_factory=dict)
    cpu_us: dict[int, list[float]] = field(default_factory=dict)


def table(policy: Policy) -> Decide:
    """The look-up alone."""
    rows = policy.table

    def decide(words: Sequence[str]) -> bool:
        verdict = rows.get(words)  # type: ignore[call-overload]
        return verdict is not None and verdict.allow

    return decide


def compiled(policy: Policy) -> Decide:
    """Our compiled rules, indexed by platform, without the table."""
    by_platform = {platform: [policy.judge.rules[number] for number in policy.judge.slice_of(platform)] for platform in policy.platforms}
    return lambda words: ours(by_platform[words[0]], words).allow


def on_the_road(policy: Policy) -> Decide:
    """`rule()` as the road calls it: switches of its own, table, off-platform rows, obligations, and the ruling that it builds."""
    permissions: dict[Sequence[str], Permission] = {}

    def permission(words: Sequence[str]) -> Permission:
        grant = Grant(
            "g", b"h" * 16, 1, GrantState.ACTIVE, "c", words[0], words[1], words[2], frozenset({words[3]}), ("a",), Delivery.INLINE, 0,  # type: ignore[arg-type]
            Provenance.ON_PLATFORM, Budget(1000, 1000), datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC), "t", policy.digest,
        )  # fmt: skip
        request = Request("c", words[1], words[0], "x", words[2], words[3], (), 0, 5, Slots(), grant.created_at, words[5])  # type: ignore[arg-type]
        return Permission(grant, request, ("a",))

    def decide(words: Sequence[str]) -> bool:
        known = permissions.get(words)
        if known is None:
            known = permissions[words] = permission(words)
        try:
            rule(known, policy)
        except (Refusal, Fault):
            return False
        return True

    return decide


def cedar_whole(policy: Policy) -> Decide:
    """The Rust engine over all rules, parsed once."""
    policies = cedarpy.PolicySet.from_str(policy.judge.text)
    ids: dict[str, str] = {}
    return lambda words: opinion(cedarpy.is_authorized(asked(words), policies, NO_ENTITIES), ids).allow


def cedar_sliced(policy: Policy) -> Decide:
    """The Rust engine over the rules of one platform."""
    policies = {platform: cedarpy.PolicySet.from_str(policy.judge.text_of(platform)) for platform in policy.platforms}
    ids: dict[str, str] = {}
    return lambda words: opinion(cedarpy.is_authorized(asked(words), policies[words[0]], NO_ENTITIES), ids).allow


REGO_RULES_A_FILE = 1_000
"""regorus reads no file above 1 MiB, and no line above 1,024 characters."""
SEPARATOR = ",\n"


def rego_files(rules: Sequence[Rule]) -> list[str]:
    """The same rules in Rego: a partial set of ids for each effect; a permit counts where no forbid does."""
    head = ["package parley", "import rego.v1"]
    decision = ["default allow := false", "allow if { count(permits) > 0; count(forbids) == 0 }"]
    files = ["\n".join(head + decision)]
    for first in range(0, len(rules), REGO_RULES_A_FILE):
        files.append("\n".join(head + [rego_rule(each) for each in rules[first : first + REGO_RULES_A_FILE]]))
    return files


def rego_rule(each: Rule) -> str:
    name = "forbids" if each.effect is Effect.FORBID else "permits"
    conditions = [f"input.{WORDS[place]} in {{{SEPARATOR.join(sorted(map(quoted, allowed)))}}}" for place, allowed in sorted(each.only.items())]
    return f"{name} contains {quoted(each.id)} if {{ {'; '.join(conditions) or 'true'} }}"


def quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def regorus(policy: Policy) -> Decide:
    module = package("regorus")
    engine = module.Engine()
    for number, text in enumerate(rego_files(policy.judge.rules)):
        engine.add_policy(f"parley-{number}.rego", text)

    def decide(words: Sequence[str]) -> bool:
        engine.set_input(dict(zip(WORDS, words, strict=True)))
        return bool(engine.eval_rule("data.parley.allow"))

    return decide


def regopy(policy: Policy) -> Decide:
    module = package("regopy")
    interpreter = module.Interpreter()
    for number, text in enumerate(rego_files(policy.judge.rules)):
        interpreter.add_module(f"parley-{number}", text)
    bundle = interpreter.build("x=data.parley.allow")

    def decide(words: Sequence[str]) -> bool:
        interpreter.set_input(dict(zip(WORDS, words, strict=True)))
        return bool(interpreter.query_bundle(bundle).results[0].bindings["x"])

    return decide


CASBIN_MODEL = """
[request_definition]
r = sub
[policy_definition]
p = condition, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = eval(p.condition)
"""


def casbin(policy: Policy) -> Decide:
    module = package("casbin")
    model = module.Model()
    model.load_model_from_text(CASBIN_MODEL)
    enforcer = module.Enforcer(model)
    lines = [[casbin_condition(each), "deny" if each.effect is Effect.FORBID else "allow"] for each in policy.judge.rules]
    enforcer.add_policies(lines)
    return lambda words: bool(enforcer.enforce(Asking(*words)))


@dataclass(frozen=True)
class Asking:
    """What pycasbin calls the subject: the six words as attributes."""

    platform: str
    channel: str
    purpose: str
    projection: str
    data: str
    assurance: str


def casbin_condition(each: Rule) -> str:
    parts = [f"r.sub.{WORDS[place]} in ({', '.join(sorted(map(repr, map(str, allowed))))},)" for place, allowed in sorted(each.only.items())]
    return " && ".join(parts) or "True"


def package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise NotInstalled(name) from None


ENGINES = (
    Engine("Parley: look-up in the table", table),
    Engine("Parley: rule() as the road calls it, allowed", on_the_road, only=True),
    Engine("Parley: rule() as the road calls it, refused", on_the_road, only=False),
    Engine("Parley: compiled rules without the table", compiled, share={5_000: 200}),
    Engine("cedarpy, the platform's slice", cedar_sliced, "cedarpy", share={50: 100, 5_000: 100}),
    Engine("cedarpy, all rules", cedar_whole, "cedarpy", share={50: 100, 5_000: 5}),
    Engine("regorus (gordon-to-regorus)", regorus, "gordon-to-regorus", share={50: 100, 5_000: 5}),
    Engine("regopy, built bundle", regopy, "regopy", share={50: 50, 5_000: 3}),
    Engine("pycasbin", casbin, "pycasbin", share={50: 20, 5_000: 1}),
)


@dataclass
class Load:
    """One load of a policy: CPU seconds of each step, and of z3's second opinion where it is installed."""

    rules: int
    steps: dict[str, float]
    z3: float | None
    comparison: str

    @property
    def total(self) -> float:
        return sum(self.steps.values())


def main() -> int:
    """Returns the exit code: 0 measured, 1 engines that decide differently. A missed target is said, and is not a failure of the run."""
    parser = argparse.ArgumentParser(prog="python -m bench.policy", description="What a decision costs, beside other engines on the same policy.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="50 rules, two rounds; writes no page")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    sizes, rounds = (SIZES[:1], 2) if options.quick else (SIZES, options.rounds)
    loads, missing, engines = measure(sizes, rounds, console)
    show(console, engines, loads, missing, sizes)
    if not options.quick:
        PAGE.write_text(page(engines, loads, missing, sizes, rounds))
        console.print(f"Written: {PAGE.relative_to(ROOT)}")
    return 0


def measure(sizes: Sequence[int], rounds: int, console: Console) -> tuple[list[Load], list[str], Sequence[Engine]]:
    loads: list[Load] = []
    missing: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("loading", total=len(sizes) * (1 + len(ENGINES) * (rounds + 1)))
        for size in sizes:
            said = partial(progress.update, task, advance=1)
            said(description=f"loading {size} rules")
            policy, load = loaded(size)
            loads.append(load)
            ready = made(policy, size, missing, said)
            for number in range(rounds):
                for engine, decide, cases in Random(number).sample(ready, len(ready)):
                    progress.update(task, description=f"{engine.name}, {size} rules")
                    engine.cpu_us.setdefault(size, []).append(timed(decide, cases, quick_one=not engine.share))
                    progress.advance(task)
    return loads, missing, [engine for engine in ENGINES if engine.cpu_us]


def loaded(size: int) -> tuple[Policy, Load]:
    """The policy, and the median of three loads' steps."""
    sources = made_policy(size, 7, plain=True)
    several = [load_policy(sources, timer=time.process_time) for _ in range(3)]
    policy = min(several, key=lambda each: sum(step.seconds for step in each.steps))
    began = time.process_time()
    try:
        second_opinion(sources["policy.cedar"].decode(), policy.particulars)
        z3 = time.process_time() - began
    except SolverMissing:
        z3 = None
    asked_of = f"{policy.comparison.asked:,} cases" + ("" if policy.comparison.complete else ", drawn")
    return policy, Load(size, {step.name: step.seconds for step in policy.steps}, z3, asked_of)


Ready = tuple[Engine, Decide, list[tuple[str, ...]]]


def made(policy: Policy, size: int, missing: list[str], said: Callable[..., None]) -> list[Ready]:
    """Every engine that is installed, once it has decided its requests like the table."""
    requests = drawn(policy)
    truth = table(policy)
    ready: list[Ready] = []
    for engine in ENGINES:
        said(description=f"{engine.name}, {size} rules")
        try:
            decide = engine.make(policy)
        except NotInstalled:
            missing.append(engine.package)
            continue
        fitting = [case for case in requests if engine.only is None or truth(case) is engine.only]
        cases = fitting[: engine.share.get(size, REQUESTS)]
        if wrong := next((case for case in cases if decide(case) != truth(case)), None):
            sys.exit(f"{engine.name} decides otherwise: {wrong}")
        ready.append((engine, decide, cases))
    return ready


def drawn(policy: Policy) -> list[tuple[str, ...]]:
    """Requests without off-platform data: that is asked beside another request on the road, not for itself."""
    chance = Random(3)
    domain, whats = policy.domain, [what for what in WHATS if what[1] != "off_platform"]
    return [
        (
            chance.choice(domain.platforms),
            chance.choice(domain.channels),
            chance.choice(domain.purposes),
            *chance.choice(whats),
            chance.choice(domain.assurances),
        )
        for _ in range(REQUESTS)
    ]


def timed(decide: Decide, cases: Sequence[Sequence[str]], *, quick_one: bool) -> float:
    """CPU microseconds of one decision."""
    repeats = max(1, 20_000 // len(cases)) if quick_one else 1
    gc.disable()
    began = time.process_time()
    for _ in range(repeats):
        for case in cases:
            decide(case)
    spent = time.process_time() - began
    gc.enable()
    return spent / repeats / len(cases) * 1e6


def figures(engine: Engine, sizes: Sequence[int]) -> list[str]:
    return [f"{median(engine.cpu_us[size]):,.2f}" if size in engine.cpu_us else "—" for size in sizes]


def verdicts(engines: Sequence[Engine], loads: Sequence[Load]) -> list[str]:
    lines = []
    for load in loads:
        for engine in (each for each in engines if each.make is on_the_road):
            seen = median(engine.cpu_us[load.rules])
            word = "reached" if seen <= DECISION_US_MAX else "MISSED"
            which = "allows" if engine.only else "refuses"
            lines.append(f"A decision that {which}, at {load.rules:,} rules, costs at most {DECISION_US_MAX} µs: {seen:.2f} µs, {word}.")
        word = "reached" if load.total <= LOAD_SECONDS_MAX[load.rules] else "MISSED"
        lines.append(f"Loading {load.rules:,} rules takes at most {LOAD_SECONDS_MAX[load.rules]} s of CPU: {load.total:.2f} s, {word}.")
    return lines


def show(console: Console, engines: Sequence[Engine], loads: Sequence[Load], missing: Sequence[str], sizes: Sequence[int]) -> None:
    grid = Table("Engine", *(f"{size:,} rules" for size in sizes), title="CPU µs a decision, median of the rounds")
    for engine in engines:
        grid.add_row(engine.name, *figures(engine, sizes))
    console.print(grid)
    for load in loads:
        console.print(
            f"Load of {load.rules:,} rules: " + ", ".join(f"{name} {spent:.3f}" for name, spent in load.steps.items()) + f"; {load.comparison}"
        )
    for line in verdicts(engines, loads):
        console.print(line)
    if missing:
        console.print(f"Not installed: {', '.join(sorted(set(missing)))}. `make bench` installs requirements/bench.txt.")


def page(engines: Sequence[Engine], loads: Sequence[Load], missing: Sequence[str], sizes: Sequence[int], rounds: int) -> str:
    lines = [
        "# What a policy costs",
        "",
        f"Written by `make bench` (`python -m bench.policy`) on {datetime.now(UTC):%Y-%m-%d}. {machine()}",
        "",
        f"CPU µs a decision, median of {rounds} rounds in random order; every engine has the same made policy (`bench/policies.py`: 50 rules a",
        "platform, 5 channels) and decided the same requests alike before it was measured. Engines of other people are asked one request at a",
        "time, the way a gateway would. The Rego rules are one rule a policy rule; pycasbin evaluates one condition a policy rule.",
        "",
        f"| Engine | {' | '.join(f'{size:,} rules' for size in sizes)} |",
        f"|---|{'---:|' * len(sizes)}",
        *(f"| {engine.name} | {' | '.join(figures(engine, sizes))} |" for engine in engines),
        "",
        "CPU seconds of loading, the fastest of three:",
        "",
        f"| | {' | '.join(f'{load.rules:,} rules' for load in loads)} |",
        f"|---|{'---:|' * len(loads)}",
        *(f"| {name} | {' | '.join(f'{load.steps[name]:.3f}' for load in loads)} |" for name in loads[0].steps),
        f"| **sum** | {' | '.join(f'{load.total:.2f}' for load in loads)} |",
        f"| compared with the Rust engine | {' | '.join(load.comparison for load in loads)} |",
        f"| z3's second opinion (not part of loading) | {' | '.join('—' if load.z3 is None else f'{load.z3:.2f}' for load in loads)} |",
        "",
        *(f"* {line}" for line in verdicts(engines, loads)),
        "",
        f"Versions: {', '.join(f'{name} {version(name)}' for name in sorted({each.package for each in engines if each.package}))}.",
    ]
    if missing:
        lines.append(f"Not installed for this run: {', '.join(sorted(set(missing)))}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
