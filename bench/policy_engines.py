"""The engines of the policy speed table: each turns the same loaded policy into a function that says yes or no to six words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import cedarpy
import msgspec

from parley.model.grants import Budget, Grant, GrantState
from parley.model.refusals import Fault, Refusal
from parley.model.stages import Permission, Request, Slots
from parley.model.words import Delivery, Provenance
from parley.policy import Policy, rule
from parley.policy.judge import NO_ENTITIES, asked, opinion, ours
from parley.policy.rules import Effect, Rule

REQUESTS = 400
"""That every engine may be asked; slow ones are asked fewer."""
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
