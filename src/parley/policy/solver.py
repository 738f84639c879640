"""A second opinion on the invariants, by z3: symbolic, over words without end, and from the syntax trees themselves.

It shares nothing with the table but the parser: neither our compiled conditions nor the enumeration. Needs the extra `proof`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

import msgspec
from cedarpy import pst

from parley.model.words import Purpose
from parley.policy.domain import ANY_OTHER, Data
from parley.policy.language import baseline_text
from parley.policy.particulars import Particulars
from parley.policy.read import parse
from parley.policy.text import statements

SECONDS_MAX = 30
SCOPE = {"principal": "Platform", "action": "Action", "resource": "Data"}
CONTEXT = {"purpose": "Purpose", "channel": "Channel", "assurance": "Assurance"}
VARIABLES = (*SCOPE.values(), *CONTEXT.values())


class SolverMissing(Exception):
    """z3 is not installed. The message says how to get it."""


class SolverFinding(msgspec.Struct, frozen=True):
    """One invariant: whether z3 proved it, and if not the case that it found: a word for each Cedar type (empty where time ran out)."""

    name: str
    proved: bool
    case: dict[str, str]


def second_opinion(text: str, particulars: Particulars, *, baseline: str | None = None) -> tuple[SolverFinding, ...]:
    """Ask z3 for a case that breaks an invariant of `text` under the baseline (`baseline`: another text in its place, for a test).

    Raises SolverMissing without the extra, PolicyRejected for text that does not parse.
    """
    above = baseline_text(particulars) if baseline is None else baseline
    trees = [tree for each, name in ((above, "baseline"), (text, "policy")) for tree in parse(each, statements(each, name), name)]
    encoder = Encoder(z3())
    allowed = encoder.allowed(trees)
    listed = [platform.id for platform in particulars.platforms if platform.off_platform]
    platforms = [platform.id for platform in particulars.platforms]
    broken = {
        "no-advertising": encoder.none_of("Purpose", tuple(Purpose)),
        "off-platform": encoder.both(encoder.one_of("Data", [Data.OFF_PLATFORM]), encoder.none_of("Platform", listed)),
        "nobody-unnamed": encoder.either(encoder.none_of("Platform", platforms), encoder.none_of("Channel", particulars.channels)),
    }
    return tuple(encoder.finding(name, allowed, breaks) for name, breaks in broken.items())


def z3() -> Any:
    try:
        return import_module("z3")
    except ImportError:
        raise SolverMissing("z3 is not installed. Install the extra: pip install 'parley-gateway[proof]'.") from None


class Encoder:
    """Cedar's meaning in z3. A name is a number of its type; every further number is a name that nobody wrote, so none is left out."""

    def __init__(self, z3: Any) -> None:
        self.z3 = z3
        self.context = z3.Context()
        self.variables = {name: z3.Int(name, self.context) for name in VARIABLES}
        self.words: dict[str, dict[str, int]] = {name: {} for name in VARIABLES}

    def allowed(self, trees: Iterable[pst.Template]) -> Any:
        """Some permit holds, and no forbid does."""
        permits: list[Any] = []
        forbids: list[Any] = []
        for tree in trees:
            (permits if tree.effect == "permit" else forbids).append(self.holds(tree))
        return self.both(self.any(permits), self.z3.Not(self.any(forbids)))

    def holds(self, tree: pst.Template) -> Any:
        heads = (("principal", tree.principal), ("action", tree.action), ("resource", tree.resource))
        parts = [self.head(name, constraint) for name, constraint in heads]
        for clause in tree.clauses:
            expr = self.expr(clause.expr)
            parts.append(self.z3.Not(expr) if isinstance(clause, pst.Unless) else expr)
        return self.all(parts)

    def head(self, name: str, constraint: pst.PrincipalOrResourceConstraint | pst.ActionConstraint) -> Any:
        match constraint:
            case pst.ScopeAny():
                return self.all([])
            case pst.ActionIn(entities=entities):
                return self.one_of(SCOPE[name], [uid.id for uid in entities])
            case pst.ScopeEq(entity=pst.EntityUid(id=id)) | pst.ScopeIn(entity=pst.EntityUid(id=id)) | pst.ActionEq(entity=pst.EntityUid(id=id)):
                return self.one_of(SCOPE[name], [id])
        raise ValueError(f"a head that is not encoded: {type(constraint).__name__}")

    def expr(self, expr: pst.Expr) -> Any:
        match expr:
            case pst.BinaryOp(op="and", left=left, right=right):
                return self.both(self.expr(left), self.expr(right))
            case pst.BinaryOp(op="or", left=left, right=right):
                return self.either(self.expr(left), self.expr(right))
            case pst.UnaryOp(op="not", arg=arg):
                return self.z3.Not(self.expr(arg))
            case pst.BinaryOp(op="not_eq", left=left, right=right):
                return self.z3.Not(self.equal(left, right))
            case pst.BinaryOp(op="in", left=left, right=pst.Set(elements=elements)):
                return self.any([self.equal(left, each) for each in elements])
            case pst.BinaryOp(op="contains", left=pst.Set(elements=elements), right=right):
                return self.any([self.equal(right, each) for each in elements])
            case pst.BinaryOp(op="eq" | "in", left=left, right=right):
                return self.equal(left, right)
        raise ValueError(f"an expression that is not encoded: {type(expr).__name__}")

    def equal(self, left: pst.Expr, right: pst.Expr) -> Any:
        """Names of two types are never equal."""
        (one, term), (other, second) = self.term(left), self.term(right)
        return term == second if one == other else self.any([])

    def term(self, expr: pst.Expr) -> tuple[str, Any]:
        """The type, and the number or the variable."""
        match expr:
            case pst.EntityLit(value=uid):
                return str(uid.type), self.word(str(uid.type), uid.id)
            case pst.Var(name=name) if name in SCOPE:
                return SCOPE[name], self.variables[SCOPE[name]]
            case pst.GetAttr(base=pst.Var(name="context"), attr=attr) if attr in CONTEXT:
                return CONTEXT[attr], self.variables[CONTEXT[attr]]
        raise ValueError(f"a term that is not encoded: {type(expr).__name__}")

    def word(self, name: str, text: str) -> Any:
        words = self.words[name]
        return self.z3.IntVal(words.setdefault(text, len(words)), self.context)

    def one_of(self, name: str, words: Sequence[str]) -> Any:
        return self.any([self.variables[name] == self.word(name, str(each)) for each in words])

    def none_of(self, name: str, words: Sequence[str]) -> Any:
        return self.z3.Not(self.one_of(name, words))

    def both(self, left: Any, right: Any) -> Any:
        return self.all([left, right])

    def either(self, left: Any, right: Any) -> Any:
        return self.any([left, right])

    def all(self, parts: Sequence[Any]) -> Any:
        return self.z3.And(*parts) if parts else self.z3.BoolVal(True, self.context)

    def any(self, parts: Sequence[Any]) -> Any:
        return self.z3.Or(*parts) if parts else self.z3.BoolVal(False, self.context)

    def finding(self, name: str, allowed: Any, breaks: Any) -> SolverFinding:
        solver = self.z3.Solver(ctx=self.context)
        solver.set("timeout", SECONDS_MAX * 1000)
        solver.add(allowed, breaks)
        answer = solver.check()
        if answer == self.z3.unsat:
            return SolverFinding(name, True, {})
        return SolverFinding(name, False, self.spelled(solver.model()) if answer == self.z3.sat else {})

    def spelled(self, model: Any) -> dict[str, str]:
        """The case in words."""
        case = {}
        for name, variable in self.variables.items():
            number = model.eval(variable, model_completion=True).as_long()
            case[name] = next((word for word, of in self.words[name].items() if of == number), ANY_OTHER)
        return case
