"""From Cedar text to checked rules: parse, validate strictly, lint. What Cedar would shrug at is refused here, with the place and the mend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import cedarpy
from cedarpy import pst

from parley.model.refusals import Basis
from parley.policy.conditions import Unreadable, clauses_of
from parley.policy.domain import CHANNEL, DATA, ENTITY_TYPES, PLATFORM, PROJECTION, PURPOSE, Domain
from parley.policy.language import BASELINE_PREFIX
from parley.policy.particulars import NAME
from parley.policy.rejection import PolicyRejected
from parley.policy.rules import OBLIGATIONS, REASON_CHARACTERS_MAX, Clause, Effect, Obligations, Rule
from parley.policy.text import Statement

WORDS = frozenset({"id", "reason", "basis"})
MUST_NAME: Mapping[int, str] = {
    PLATFORM: "a platform (principal == …)",
    PROJECTION: "its projections (action in […])",
    DATA: "its data (resource)",
    PURPOSE: "its purposes (context.purpose)",
    CHANNEL: "its channels (context.channel)",
}
"""What a permit says by name: a projection or platform that is new one day is allowed by nobody until the bank writes it."""


def parse(text: str, found: Sequence[Statement], where: str) -> tuple[pst.Template, ...]:
    """The rules' syntax trees, one for each statement and in its order. Raises PolicyRejected with the place of what does not parse."""
    try:
        parsed = cedarpy.policies_to_pst(text)
    except ValueError as error:
        culprit = next((each for each in found if not parses(each.text)), None)
        place = culprit.place if culprit else "the file"
        raise PolicyRejected(f"{where}: {place}: {error}. Mend the rule; docs/policy.md shows how rules are written.") from None
    if parsed.templates or parsed.template_links:
        raise PolicyRejected(f"{where}: a rule has a slot such as ?principal. Name the platform instead.")
    ordered = [parsed.static_policies.get(f"policy{number}") for number in range(len(found))]
    trees = tuple(each for each in ordered if each is not None)
    if len(trees) != len(found) or len(parsed.static_policies) != len(found):
        # Fail closed: were our cut and the parser's ever to disagree, messages and slices would speak of the wrong rule.
        raise PolicyRejected(f"{where}: the file cannot be cut into rules one by one. Write each rule on lines of its own.")
    return trees


def parses(text: str) -> bool:
    try:
        cedarpy.policies_to_pst(text)
    except ValueError:
        return False
    return True


def validate(text: str, found: Sequence[Statement], schema: str, where: str) -> None:
    """Strict validation by the Rust engine. Raises PolicyRejected with the first rule's mistakes."""
    result = cedarpy.validate_policies(text, schema)
    if result.validation_passed and not result.errors:
        return
    errors = [(number_of(error.policy_id), error.error) for error in result.errors] or [(-1, "validation failed")]
    first = min(number for number, _ in errors)
    place = found[first].place if 0 <= first < len(found) else "the file"
    said = "; ".join(dict.fromkeys(text.removeprefix(f"for policy `policy{first}`").strip(", :") for number, text in errors if number == first))
    raise PolicyRejected(f"{where}: {place}: {said}. Mend the name; platforms and channels are those of the particulars, see docs/policy.md.")


def number_of(policy_id: str) -> int:
    digits = policy_id.removeprefix("policy")
    return int(digits) if digits.isdigit() else -1


def rules_of(trees: Sequence[pst.Template], found: Sequence[Statement], domain: Domain, where: str, *, baseline: bool = False) -> tuple[Rule, ...]:
    """Lint and compile. Raises PolicyRejected at the first rule that may not stand. `baseline`: our own rules, whose ids are reserved."""
    compiled: list[Rule] = []
    seen: set[str] = set()
    for tree, statement in zip(trees, found, strict=True):
        mend = next(mends(tree, seen, baseline=baseline), None)
        if mend is not None:
            raise PolicyRejected(f"{where}: {statement.place}: {mend}")
        try:
            rule = compiled_rule(tree, statement.line, domain)
        except Unreadable as odd:
            raise PolicyRejected(f"{where}: {statement.place}: {odd}") from None
        missing = [words for place, words in MUST_NAME.items() if place not in rule.named] if rule.effect is Effect.PERMIT else []
        if missing and not baseline:
            raise PolicyRejected(f"{where}: {statement.place}: a permit that leaves something out would allow all of that kind. Name {missing[0]}.")
        seen.add(rule.id)
        compiled.append(rule)
    return tuple(compiled)


def mends(tree: pst.Template, seen: set[str], *, baseline: bool) -> Iterator[str]:
    """What Cedar leaves open: annotations are free text to it."""
    notes = tree.annotations
    id = notes.get("id", "")
    if not NAME.fullmatch(id):
        yield 'no @id, or one that is not made of small letters, digits, dots and dashes (64 at most). Give the rule one: @id("own-chat").'
    if id in seen:
        yield "its @id is used twice. Give each rule its own."
    if id.startswith(BASELINE_PREFIX) and not baseline:
        yield f"an @id that begins with {BASELINE_PREFIX} belongs to the baseline. Choose another."
    if not notes.get("reason", "").strip() or len(notes["reason"]) > REASON_CHARACTERS_MAX or not notes["reason"].isprintable():
        yield f"no @reason, or one of more than {REASON_CHARACTERS_MAX} characters. Say in plain words why, the customer may read it."
    if notes.get("basis", "bank_policy") not in tuple(Basis):
        yield f"@basis must be one of {', '.join(Basis)}."
    known = WORDS | OBLIGATIONS.keys()
    for odd in sorted(notes.keys() - known)[:1]:
        yield f"unknown annotation @{odd}. What may stand there: {', '.join('@' + name for name in sorted(known))}."
    for name, annotation in OBLIGATIONS.items():
        if name in notes:
            yield from mends_of_obligation(tree, name, annotation.says)


def mends_of_obligation(tree: pst.Template, name: str, says: str) -> Iterator[str]:
    if tree.effect == "forbid":
        yield f"@{name} on a forbid holds nothing back, since nothing passes. Move it to a permit."
    try:
        OBLIGATIONS[name].read(tree.annotations[name])
    except ValueError:
        yield f"@{name} must be {says}."


def compiled_rule(tree: pst.Template, line: int, domain: Domain) -> Rule:
    """Raises Unreadable for what is outside of the compiled subset."""
    only: dict[int, frozenset[str]] = {}
    rest: list[Clause] = []
    named: set[int] = set()
    for clause in clauses_of(tree):
        if len(clause.reads) == 1:
            (place,) = clause.reads
            allowed = clause.listed if clause.listed is not None else passing(clause, place, domain)
            only[place] = only.get(place, allowed) & allowed
            named |= clause.reads if clause.names else set()
        else:
            rest.append(clause)
    notes = tree.annotations
    obligations = Obligations(**{name: OBLIGATIONS[name].read(notes[name]) for name in OBLIGATIONS if name in notes})  # type: ignore[arg-type]
    return Rule(
        id=notes.get("id", ""),
        effect=Effect(tree.effect),
        reason=notes.get("reason", ""),
        basis=Basis(notes.get("basis", Basis.BANK_POLICY)),
        obligations=obligations,
        line=line,
        only=only,
        rest=tuple(rest),
        named=frozenset(named),
    )


def passing(clause: Clause, place: int, domain: Domain) -> frozenset[str]:
    """The words of the domain that a condition on one place lets pass."""
    words = [""] * len(ENTITY_TYPES)
    passed = []
    for word in domain.words[place]:
        words[place] = word
        if clause.holds(words):
            passed.append(word)
    return frozenset(passed)
