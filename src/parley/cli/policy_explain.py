"""One decision in plain words: which rules matched, which of them decided, on what terms, and what would have to change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeVar

import msgspec
from rich.console import Console
from rich.text import Text

from parley.cli.policy_cases import DATA_WORDS
from parley.cli.policy_words import DELIVERY_WORDS, LESSER, Steps, Unusable, opened, plain, print_json, says, table_of
from parley.model.refusals import PlatformUnknown, PurposeForbidden, PurposeUnknown
from parley.model.words import Assurance, Delivery, Projection, Purpose
from parley.policy import Case, Data, Policy, Verdict, purpose_named
from parley.policy.domain import CHANNEL, PROJECTION, PURPOSE, WHATS
from parley.policy.language import BASELINE_PREFIX
from parley.policy.rules import Effect, Rule
from parley.policy.ruling import DELIVERIES_BUILT

EXIT_ALLOWED, EXIT_REFUSED = 0, 3
NEAR_MAX = 6
Word = TypeVar("Word", bound=str)


class Asked(msgspec.Struct, frozen=True):
    """The request as the officer named it; nothing in it is believed to be on a list yet."""

    platform: str
    channel: str
    purpose: str
    projection: str
    lookback_days: int = 0


class Decision(msgspec.Struct, frozen=True):
    """What the policy says of one case. `matched` are all rules whose conditions hold, `decided` those that the verdict rests on."""

    data: Data
    assurance: Assurance
    allow: bool
    says: str
    matched: tuple[str, ...]
    decided: tuple[str, ...]


class RuleSaid(msgspec.Struct, frozen=True):
    """One rule that matched. `line` is where it starts in policy.cedar, 0 in the baseline."""

    id: str
    effect: Effect
    reason: str
    basis: str
    line: int
    decided: bool


class Explanation(msgspec.Struct, frozen=True):
    """The whole answer. `answer` is one sentence; `changes` say what would have to change for more to be allowed."""

    asked: Asked
    policy: str
    digest: str
    allow: bool
    answer: str
    decisions: tuple[Decision, ...] = ()
    rules: tuple[RuleSaid, ...] = ()
    changes: tuple[str, ...] = ()


def explain_decision(named: str, asked: Asked, *, as_json: bool) -> int:
    """0 where the policy allows the request to a linked customer, 3 where it does not. Raises PolicyRejected, Unusable."""
    with Steps(quiet=as_json) as steps:
        policy = opened(named, steps.loading(named))
    explanation = explained(policy, asked)
    if as_json:
        print_json(explanation)
    else:
        show(explanation)
    return EXIT_ALLOWED if explanation.allow else EXIT_REFUSED


def explained(policy: Policy, asked: Asked) -> Explanation:
    """Raises Unusable for a projection that does not exist: that is a slip of the pen, not a decision."""
    try:
        projection = Projection(asked.projection)
    except ValueError:
        raise Unusable(f"there is no projection {plain(asked.projection)!r}. There are: {', '.join(Projection)}.") from None
    early = unlisted(policy, asked)
    if early is not None:
        return early
    purpose = purpose_named(asked.purpose)
    found = {
        Case(asked.platform, asked.channel, purpose, projection, data, assurance): None
        for assurance in Assurance
        for what, data in WHATS
        if what is projection
    }
    verdicts: dict[Case, Verdict | None] = {case: policy.table.get(case) for case in found}
    allow, answer = answered(verdicts, asked)
    return Explanation(
        asked=asked,
        policy=policy.name,
        digest=policy.digest,
        allow=allow,
        answer=answer,
        decisions=tuple(decision(policy, case, verdict) for case, verdict in verdicts.items()),
        rules=tuple(rules_said(policy, verdicts)),
        changes=tuple(dict.fromkeys(chain(changes(policy, asked, verdicts), () if allow else instead(policy, verdicts)))),
    )


def unlisted(policy: Policy, asked: Asked) -> Explanation | None:
    """The requests that end before any rule is looked at: a purpose, platform or channel that is on no list."""

    def refused(answer: str, change: str) -> Explanation:
        return Explanation(asked, policy.name, policy.digest, False, answer, changes=(change,))

    try:
        purpose_named(asked.purpose)
    except PurposeForbidden as no:
        return refused(f"No. {no.plain_words}", "Nothing that a bank writes can change this: the purpose has no word here.")
    except PurposeUnknown as no:
        return refused(f"No. {no.plain_words}", f"Name one of the closed list: {', '.join(Purpose)}.")
    if asked.platform not in policy.platforms:
        return refused(f"No. {PlatformUnknown.plain_words}", "List the platform in particulars.toml, with what is public about it.")
    if asked.channel not in policy.channels:
        listed = ", ".join(sorted(policy.channels))
        return refused("No. The policy lists no such channel.", f"The channels are: {listed}. A new one is listed in particulars.toml.")
    return None


def answered(verdicts: dict[Case, Verdict | None], asked: Asked) -> tuple[bool, str]:
    """Whether a linked customer is answered, and the sentence that says so."""
    linked = [verdict for case, verdict in verdicts.items() if case.assurance is Assurance.LINKED]
    passing = [verdict for verdict in linked if verdict is not None and verdict.allow]
    confirmed = [verdict for verdict in verdicts.values() if verdict is not None and verdict.allow]
    if not passing:
        return False, "No. Only to a customer who has just confirmed that it is she." if confirmed else "No. The policy refuses it."
    reach = min(verdict.lookback_days_max for verdict in passing)
    if asked.lookback_days > reach:
        return False, f"No. It reaches {asked.lookback_days} days back, and the rules allow {reach}."
    delay = max(verdict.delay_days for verdict in passing)
    if Projection(asked.projection).reads_transactions and asked.lookback_days < delay:
        return False, f"No. The rules hold back the last {delay} days, and it reaches {asked.lookback_days} days back."
    odd = undeliverable(passing)
    if odd is not None:
        return False, f"No. It may only leave {DELIVERY_WORDS[odd]}, which no channel of this release can do; it is never weakened."
    if len(passing) < len(linked):
        return True, "In part. Where the customer's grant agrees, she is shown some of the transactions, and the others stay back."
    return True, "Yes, where the customer's grant agrees. Of policy and grant the stricter holds."


def undeliverable(passing: Iterable[Verdict]) -> Delivery | None:
    return next((verdict.delivery for verdict in passing if verdict.delivery not in DELIVERIES_BUILT), None)


def decision(policy: Policy, case: Case, verdict: Verdict | None) -> Decision:
    matched = tuple(rule.id for rule in policy.rules.values() if rule.matches(case))
    decided = () if verdict is None else verdict.rules
    return Decision(case.data, case.assurance, verdict is not None and verdict.allow, says(verdict, case.projection), matched, decided)


def rules_said(policy: Policy, verdicts: dict[Case, Verdict | None]) -> Iterator[RuleSaid]:
    deciding = {rule for verdict in verdicts.values() if verdict is not None for rule in verdict.rules}
    for rule in policy.rules.values():
        if any(rule.matches(case) for case in verdicts):
            line = 0 if is_baseline(rule) else rule.line
            yield RuleSaid(rule.id, rule.effect, rule.reason, rule.basis, line, rule.id in deciding)


def is_baseline(rule: Rule) -> bool:
    return rule.id.startswith(BASELINE_PREFIX)


def changes(policy: Policy, asked: Asked, verdicts: dict[Case, Verdict | None]) -> Iterator[str]:
    """A sentence for each thing in the way."""
    for case, verdict in verdicts.items():
        if verdict is None:
            yield from changes_without_a_rule(policy, case)
        elif not verdict.allow:
            yield from changes_under_a_forbid(policy, case, verdict)
        elif asked.lookback_days > verdict.lookback_days_max:
            yield f"To reach further back, raise @lookback_days_max in {', '.join(verdict.rules)}."
        elif verdict.delivery not in DELIVERIES_BUILT:
            yield f"To let it leave in a way that this release can deliver, change @delivery in {', '.join(verdict.rules)}."


def instead(policy: Policy, verdicts: dict[Case, Verdict | None]) -> Iterator[str]:
    """What the road answers in place of a refusal, where there is something lesser."""
    for case in verdicts:
        lesser = LESSER.get(case.projection)
        if lesser is not None and case.assurance is Assurance.LINKED and allowed(policy, changed(case, PROJECTION, lesser)):
            yield f"As things stand, the question is answered with {lesser} instead, where the customer's grant has that, too."


def changes_without_a_rule(policy: Policy, case: Case) -> Iterator[str]:
    names = f"{case.platform}, {case.channel}, {case.purpose}, {case.projection} and {DATA_WORDS[case.data]}"
    yield f"No rule permits it. A permit that names {names} would."
    near = "; ".join(nearby(policy, case))
    if near:
        yield f"As things stand, the same would be allowed {near}."


def nearby(policy: Policy, case: Case) -> Iterator[str]:
    """What is allowed already and differs in one word."""
    alternatives: tuple[tuple[int, str, Iterable[str]], ...] = (
        (CHANNEL, "over", sorted(policy.channels)),
        (PURPOSE, "for", Purpose),
        (PROJECTION, "as", Projection),
    )
    for place, preposition, words in alternatives:
        names = [word for word in words if allowed(policy, changed(case, place, word))]
        if names:
            yield f"{preposition} {', '.join(names[:NEAR_MAX])}"


def changed(case: Case, place: int, word: str) -> Case:
    return Case(*(word if at == place else old for at, old in enumerate(case)))  # type: ignore[arg-type]


def allowed(policy: Policy, case: Case) -> bool:
    verdict = policy.table.get(case)
    return verdict is not None and verdict.allow


def changes_under_a_forbid(policy: Policy, case: Case, verdict: Verdict) -> Iterator[str]:
    for rule in (policy.rules[id] for id in verdict.rules):
        if not is_baseline(rule):
            yield f"The rule {rule.id} (line {rule.line}) forbids it, and no permit outweighs that. Narrow it or take it out."
        elif rule.id == f"{BASELINE_PREFIX}off-platform":
            yield (
                f"Transactions that were not made through {case.platform} stay away from it, unless particulars.toml lists it with"
                " off_platform = true, a permit names them, and the customer's grant agrees."
            )
        else:
            yield f"The baseline forbids it ({rule.id}), which no bank can change."
    if not any(rule.effect is Effect.PERMIT and rule.matches(case) for rule in policy.rules.values()):
        yield "Beneath the forbid, no rule permits it either."


def show(explanation: Explanation) -> None:
    console = Console(highlight=False)
    asked = explanation.asked
    console.print(Text(plain(f"{asked.platform} asks over {asked.channel} for {asked.projection}, in order to {asked.purpose}.")))
    console.print(Text(plain(explanation.answer), style="bold green" if explanation.allow else "bold red"))
    if explanation.decisions:
        rows = ((DATA_WORDS[each.data], each.assurance, each.says, ", ".join(each.decided) or "no rule") for each in explanation.decisions)
        console.print(table_of(f"What policy {explanation.policy} says", ("Of", "Customer is", "Decision", "Decided by"), rows))
    if explanation.rules:
        said = ((each.id, each.effect, each.line or "baseline", "yes" if each.decided else "", each.reason) for each in explanation.rules)
        console.print(table_of("Rules that matched", ("Rule", "Effect", "Line", "Decided", "Reason"), said))
    for change in explanation.changes:
        console.print(Text(f"- {plain(change)}"))
    console.print(Text(f"Policy {explanation.digest}", style="dim"))
