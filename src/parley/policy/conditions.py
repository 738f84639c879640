"""Conditions compiled from Cedar's syntax tree: only comparisons with listed names, joined by and, or, not.

A second implementation of Cedar must stay small enough to be read whole. So the subset has no numbers, no text, no attributes that may be
missing, no hierarchies: nothing in it can raise while it is decided. That closes Cedar's own trap, a `forbid` that errors and is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator

from cedarpy import pst

from parley.policy.domain import ASSURANCE, CHANNEL, DATA, ENTITY_TYPES, PLATFORM, PROJECTION, PURPOSE
from parley.policy.rules import Clause

SCOPE = {"principal": PLATFORM, "action": PROJECTION, "resource": DATA}
CONTEXT = {"purpose": PURPOSE, "channel": CHANNEL, "assurance": ASSURANCE}
TYPE_AT = {place: name for name, place in ENTITY_TYPES.items()}
SUBSET = (
    "Rules may compare principal, action, resource and context.purpose, .channel, .assurance with names by ==, !=, in and contains, "
    "and join with &&, || and !."
)


class Unreadable(Exception):
    """A rule that says something outside of the subset. The message names it and the mend."""


def clauses_of(tree: pst.Template) -> Iterator[Clause]:
    """The conditions that must all hold for the rule to match. Raises Unreadable."""
    scope = (("principal", tree.principal), ("action", tree.action), ("resource", tree.resource))
    for name, constraint in scope:
        uids = constrained(constraint)
        if uids is not None:
            yield membership(SCOPE[name], uids)
    for condition in tree.clauses:
        if isinstance(condition, pst.Unless):
            yield negated(clause_of(condition.expr))
        else:
            yield from (clause_of(each) for each in conjuncts(condition.expr))


def constrained(constraint: pst.PrincipalOrResourceConstraint | pst.ActionConstraint) -> tuple[pst.EntityUid, ...] | None:
    """The names that a rule's head allows; None where it allows all."""
    match constraint:
        case pst.ScopeAny():
            return None
        case pst.ScopeEq(entity=pst.EntityUid() as uid) | pst.ScopeIn(entity=pst.EntityUid() as uid) | pst.ActionEq(entity=uid):
            return (uid,)
        case pst.ActionIn(entities=uids):
            return uids
        case _:
            raise Unreadable(f"its head says more than a name. {SUBSET}")


def conjuncts(expr: pst.Expr) -> Iterator[pst.Expr]:
    if isinstance(expr, pst.BinaryOp) and expr.op == "and":
        yield from conjuncts(expr.left)
        yield from conjuncts(expr.right)
    else:
        yield expr


def clause_of(expr: pst.Expr) -> Clause:
    match expr:
        case pst.BinaryOp(op="and" | "or" as op, left=left, right=right):
            return joined(op, clause_of(left), clause_of(right))
        case pst.UnaryOp(op="not", arg=arg):
            return negated(clause_of(arg))
        case pst.BinaryOp(op="eq" | "not_eq" | "in" | "contains" as op, left=left, right=right):
            return comparison(op, left, right)
        case _:
            raise Unreadable(f"it uses {spoken(expr)}, which is not decided here. {SUBSET}")


def spoken(expr: pst.Expr) -> str:
    """What a rule's author would call it."""
    match expr:
        case pst.BinaryOp(op="add" | "sub" | "mul" | "less" | "less_eq" | "greater" | "greater_eq") | pst.UnaryOp(op="neg") | pst.LongLit():
            return "numbers or arithmetic (in Cedar a forbid whose sum overflows is skipped)"
        case pst.HasAttr():
            return "an attribute that may be missing (in Cedar a forbid that reads one is skipped)"
        case pst.BinaryOp(op=op) | pst.UnaryOp(op=op):
            return f"the operator {op}"
        case _:
            return f"an expression of the kind {type(expr).__name__}"


def comparison(op: str, left: pst.Expr, right: pst.Expr) -> Clause:
    """`place == name`, `place != name`, `place in [names]`, `[names].contains(place)`."""
    if op == "contains" or (op != "in" and place_of(left) is None):
        left, right = right, left
    place = place_of(left)
    uids = names_of(right, one=op in ("eq", "not_eq"))
    if place is None or uids is None:
        culprit = next((side for side in (left, right) if isinstance(side, pst.BinaryOp | pst.UnaryOp | pst.LongLit | pst.HasAttr)), None)
        raise Unreadable(f"it uses {spoken(culprit)}. {SUBSET}" if culprit else f"a comparison with something else than a listed name. {SUBSET}")
    clause = membership(place, uids)
    return negated(clause) if op == "not_eq" else clause


def place_of(expr: pst.Expr) -> int | None:
    match expr:
        case pst.Var(name=name):
            return SCOPE.get(name)
        case pst.GetAttr(base=pst.Var(name="context"), attr=attr):
            return CONTEXT.get(attr)
        case _:
            return None


def names_of(expr: pst.Expr, *, one: bool) -> tuple[pst.EntityUid, ...] | None:
    match expr:
        case pst.EntityLit(value=uid):
            return (uid,)
        case pst.Set(elements=elements) if not one:
            uids = tuple(each.value for each in elements if isinstance(each, pst.EntityLit))
            return uids if len(uids) == len(elements) else None
        case _:
            return None


def membership(place: int, uids: tuple[pst.EntityUid, ...]) -> Clause:
    """Raises Unreadable for a name of another kind: Cedar would call a purpose that is compared with a channel merely unequal."""
    odd = next((uid for uid in uids if str(uid.type) != TYPE_AT[place]), None)
    if odd is not None:
        raise Unreadable(f"{odd} stands where a {TYPE_AT[place]} belongs. Mend the name.")
    names = frozenset(uid.id for uid in uids)
    return Clause(frozenset({place}), lambda words: words[place] in names, True, frozenset((place, name) for name in names), names)


def negated(clause: Clause) -> Clause:
    holds = clause.holds
    return Clause(clause.reads, lambda words: not holds(words), False, clause.mentions)


def joined(op: str, left: Clause, right: Clause) -> Clause:
    one, other = left.holds, right.holds
    same, reads, mentions = left.reads == right.reads, left.reads | right.reads, left.mentions | right.mentions
    if op == "and":
        return Clause(reads, lambda words: one(words) and other(words), same and (left.names or right.names), mentions)
    return Clause(reads, lambda words: one(words) or other(words), same and left.names and right.names, mentions)
