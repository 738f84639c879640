"""Load a policy: every step in order, and the first that fails refuses it. Nothing is released under a policy that did not pass them all."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import msgspec

from parley.model.words import Assurance, Projection, Purpose
from parley.policy.domain import Case, Domain, domain_of, widened
from parley.policy.invariants import Proof, prove
from parley.policy.judge import ROWS_COMPARED_MAX, Comparison, Judge, compare
from parley.policy.language import baseline_text, schema_text
from parley.policy.particulars import FILE as PARTICULARS_FILE
from parley.policy.particulars import Particulars, Platform, read_particulars
from parley.policy.read import parse, rules_of, validate
from parley.policy.rejection import PolicyRejected
from parley.policy.rules import Rule
from parley.policy.table import Key, Verdict, decision_table, table_digest
from parley.policy.text import TEXT_BYTES_MAX, Statement, decoded, statements
from parley.policy.watch import Watch

RULES_FILE = "policy.cedar"
PARTICULARS_BYTES_MAX = 1024 * 1024
NOTHING: frozenset[Projection] = frozenset()
LIMITS: Mapping[str, int] = {RULES_FILE: TEXT_BYTES_MAX, PARTICULARS_FILE: PARTICULARS_BYTES_MAX}
"""The two files of a policy's folder, and how many bytes of each are read."""

__all__ = ["RULES_FILE", "Key", "Policy", "PolicyRejected", "Step", "Verdict", "load_policy"]


class Step(msgspec.Struct, frozen=True):
    """One step of loading: its name, what it found, and how long it took."""

    name: str
    found: str
    seconds: float


class Policy:
    """A policy that passed every step: its rules, its decision table, and the digests of what it is made of.

    `sources` are the files' bytes by name: a policy that was stored as these loads again with the same `digest`. `digest` names it in every
    entry of the log and is made of `text_digest` and `table_digest`; `proof.digest` stands in the log beside them. `watch` has the Rust engine
    repeat some of its decisions while it is in force. Nothing else of it changes.
    """

    def __init__(self, sources: Mapping[str, bytes], particulars: Particulars, rules: tuple[Rule, ...], judge: Judge, domain: Domain) -> None:
        self.sources = dict(sources)
        self.particulars = particulars
        self.name = particulars.name
        self.bank = particulars.bank
        self.platforms: dict[str, Platform] = {platform.id: platform for platform in particulars.platforms}
        self.channels = frozenset(particulars.channels)
        self.rules = {rule.id: rule for rule in rules}
        self.judge = judge
        self.domain = domain
        self.table: Mapping[Key, Verdict] = {}
        self._permitted: Mapping[tuple[str, str, Purpose], frozenset[Projection]] = {}
        self.comparison = Comparison(0, 0, False, ())
        self.proof = Proof("", ())
        self.text_digest = text_digest(sources)
        self.table_digest = ""
        self.digest = ""
        self.steps_up = False
        """Whether some rule asks for a confirmed customer."""
        self.watch = Watch(judge)
        self.steps: tuple[Step, ...] = ()

    def tabulated(self, table: Mapping[Key, Verdict]) -> None:
        """Give it its decisions, and with them its name."""
        self.table = table
        self.table_digest = table_digest(table)
        self.digest = sha256(f"{self.text_digest}{self.table_digest}".encode()).hexdigest()
        found: dict[tuple[str, str, Purpose], set[Projection]] = {}
        for case, verdict in table.items():
            if verdict.allow:
                if case.assurance is Assurance.CONFIRMED and not self.steps_up:
                    linked = table.get(case._replace(assurance=Assurance.LINKED))
                    self.steps_up = linked is None or not linked.allow
                found.setdefault((case.platform, case.channel, case.purpose), set()).add(case.projection)
        self._permitted = {place: frozenset(projections) for place, projections in found.items()}

    def permitted(self, platform: str, channel: str, purpose: Purpose) -> frozenset[Projection]:
        """The projections that some rule permits there, to a linked or at least to a confirmed customer. For choosing the least; it rules
        on nothing."""
        return self._permitted.get((platform, channel, purpose), NOTHING)

    def verdict(self, case: Case) -> Verdict | None:
        """What the rules say of a case; None where no rule says anything, which refuses."""
        return self.table.get(case)


def load_policy(
    source: Path | Mapping[str, bytes],
    *,
    rows_compared_max: int | None = ROWS_COMPARED_MAX,
    tell: Callable[[Step], None] | None = None,
    timer: Callable[[], float] = time.perf_counter,
) -> Policy:
    """Read, validate, lint, compile, tabulate, compare and prove. Raises PolicyRejected, and then nothing of it is in force.

    `source` is the policy's folder, the path of its `policy.cedar`, or the two files' bytes by name (as `Policy.sources`). `tell` hears of
    each step as it is done. `rows_compared_max`: how many cases at most the Rust engine is asked about, None for all that rules can tell
    apart.
    """
    with uncollected():
        return loaded(source, Steps(timer, tell), rows_compared_max)


def loaded(source: Path | Mapping[str, bytes], steps: Steps, rows_compared_max: int | None) -> Policy:
    """The steps, in their order."""
    # 1. The two files, within their limits.
    place, sources = read_sources(source)
    where = f"{place}{RULES_FILE}"
    particulars = read_particulars(sources[PARTICULARS_FILE], f"{place}{PARTICULARS_FILE}")
    text = decoded(sources[RULES_FILE], where)
    found = statements(text, where)
    steps.done("read", f"{len(found)} rules, {len(particulars.platforms)} platforms, {len(particulars.channels)} channels")
    # 2. Strict validation by the Rust engine against our closed schema.
    trees = parse(text, found, where)
    validate(text, found, schema_text(particulars), where)
    steps.done("validate", "every name is on its list")
    # 3. Lint and compile what Cedar leaves open; our baseline stands before the bank's rules and outside of its file.
    domain = domain_of(tuple(platform.id for platform in particulars.platforms), particulars.channels)
    rules, judged = with_baseline(baseline_text(particulars), rules_of(trees, found, widened(domain), where), found, domain)
    steps.done("compile", f"{len(rules)} rules with the baseline")
    # 4. The whole decision table.
    policy = Policy(sources, particulars, rules, Judge(rules, judged), domain)
    policy.tabulated(decision_table(rules, domain, where))
    steps.done("tabulate", f"{len(policy.table)} decisions of {domain.combinations} combinations")
    # 5. The Rust engine decides the same cases.
    policy.comparison = agreed(compare(policy.judge, rules, widened(domain), seed=policy.text_digest, rows_max=rows_compared_max), where)
    steps.done("compare", f"{policy.comparison.asked} cases asked, no difference")
    # 6. The invariants hold of every combination.
    policy.proof = proven(prove(rules, domain, particulars, policy.table_digest), where)
    steps.done("prove", f"{len(policy.proof.findings)} invariants over {policy.proof.findings[0].combinations} combinations")
    policy.steps = tuple(steps.taken)
    return policy


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector: some hundred thousand nodes come to stay, and walking them again and again is a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class Steps:
    """What was done, and how long it took."""

    def __init__(self, timer: Callable[[], float], tell: Callable[[Step], None] | None) -> None:
        self._timer = timer
        self._tell = tell
        self._last = timer()
        self.taken: list[Step] = []

    def done(self, name: str, found: str) -> None:
        now = self._timer()
        step = Step(name, found, now - self._last)
        self._last = now
        self.taken.append(step)
        if self._tell is not None:
            self._tell(step)


def read_sources(source: Path | Mapping[str, bytes]) -> tuple[str, dict[str, bytes]]:
    """Where the files stand, for messages, and their bytes. Raises PolicyRejected for a file that cannot be read or has no place here."""
    if isinstance(source, Path):
        folder = source if source.is_dir() else source.parent
        chosen = {RULES_FILE: folder / RULES_FILE if source.is_dir() else source, PARTICULARS_FILE: folder / PARTICULARS_FILE}
        return f"{folder}/", {name: read_file(path, LIMITS[name]) for name, path in chosen.items()}
    for name in sorted(LIMITS.keys() ^ source.keys()):
        raise PolicyRejected(f"{name}: a policy is made of {' and '.join(sorted(LIMITS))}. Send these two files and no other.")
    for name in LIMITS:
        if len(source[name]) > LIMITS[name]:
            raise PolicyRejected(f"{name}: larger than {LIMITS[name]} bytes. Merge rules that differ only in their lists.")
    return "", dict(source)


def read_file(path: Path, bytes_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            source = file.read(bytes_max + 1)
    except OSError as error:
        mend = f"A policy is a folder with {' and '.join(sorted(LIMITS))}; name it in the setting policy_file."
        raise PolicyRejected(f"{path}: cannot be read ({error.strerror}). {mend}") from None
    if len(source) > bytes_max:
        raise PolicyRejected(f"{path}: larger than {bytes_max} bytes. Merge rules that differ only in their lists.")
    return source


def text_digest(sources: Mapping[str, bytes]) -> str:
    """SHA-256 (hex) over the digests of the files, in the order of their names: no byte can move from one file to the other unseen."""
    return sha256(b"".join(sha256(sources[name]).digest() for name in sorted(sources))).hexdigest()


def with_baseline(
    baseline: str, rules: tuple[Rule, ...], found: tuple[Statement, ...], domain: Domain
) -> tuple[tuple[Rule, ...], tuple[Statement, ...]]:
    above = statements(baseline, "baseline")
    ours = rules_of(parse(baseline, above, "baseline"), above, widened(domain), "baseline", baseline=True)
    return (*ours, *rules), (*above, *found)


def agreed(comparison: Comparison, where: str) -> Comparison:
    if comparison.differing:
        cases = "; ".join(", ".join(case) for case in comparison.differing)
        raise PolicyRejected(f"{where}: the two engines decide differently: {cases}. Keep the policy that is in force, and report this text.")
    return comparison


def proven(proof: Proof, where: str) -> Proof:
    for finding in proof.findings:
        if finding.counterexample is not None:
            raise PolicyRejected(f"{where}: {finding.sentence} This case breaks it: {finding.counterexample}. Take the permit back.")
    return proof
