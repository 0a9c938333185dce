"""What a rule is: two sides, a side condition and a reason; and the text in which rules are written.

In a rule's text the letters n, m and k stand for rational numbers, v for any term that is none, every other name for
any term. Square brackets around a part of the right side mean: collected, where that is shorter.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from lossmith.derivations.terms import OPS, PI, Term, const, make, name_of, neg, node, walk

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow",
}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Gt: "gt", ast.GtE: "ge", ast.Lt: "lt", ast.LtE: "le", ast.Eq: "eq", ast.NotEq: "ne",
}


class RuleError(ValueError):
    """A rule that cannot be read, or that the registry must not take."""


@dataclass(frozen=True)
class Rule:
    """One identity, used from left to right.

    pattern, replacement: terms whose `var` leaves are pattern variables. collected: nodes of the
    replacement to be collected. conditions: comparisons of variables that must all hold. words:
    the reason in words; reason_latex: the same for a derivation's margin.
    """

    name: str
    family: str
    pattern: Term
    replacement: Term
    collected: frozenset[Term]
    conditions: tuple[Term, ...]
    words: str
    reason_latex: str
    text: str = ""

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def condition(self) -> str:
        """The side condition as it was written, empty if there is none."""
        return self.text.partition(" if ")[2]


@dataclass
class _Reader:
    """Python's own syntax tree, read by a whitelist: numbers, names, arithmetic, calls of known functions."""

    text: str

    def __post_init__(self) -> None:
        self.collected: set[Term] = set()

    def read(self) -> Term:
        try:
            tree = ast.parse(self.text.strip(), mode="eval")
        except SyntaxError as error:
            raise RuleError(f"'{self.text}' cannot be read: {error.msg}") from None
        return self.term(tree.body)

    def term(self, tree: ast.expr) -> Term:
        if isinstance(tree, ast.Constant) and isinstance(tree.value, int | float):
            return const(str(tree.value))
        if isinstance(tree, ast.Name):
            return PI if tree.id == "pi" else node("var", (), tree.id)
        if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
            return neg(self.term(tree.operand))
        if isinstance(tree, ast.BinOp) and type(tree.op) in _BINARY:
            return make(_BINARY[type(tree.op)], self.term(tree.left), self.term(tree.right))
        if isinstance(tree, ast.Compare) and len(tree.ops) == 1 and type(tree.ops[0]) in _COMPARE:
            return make(_COMPARE[type(tree.ops[0])], self.term(tree.left), self.term(tree.comparators[0]))
        if isinstance(tree, ast.List) and len(tree.elts) == 1:
            inner = self.term(tree.elts[0])
            self.collected.add(inner)
            return inner
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in OPS:
            return make(tree.func.id, *(self.term(a) for a in tree.args))
        raise RuleError(f"'{self.text}' holds what no rule may hold: {ast.dump(tree)[:60]}")


def pattern_term(text: str) -> Term:
    """A term from rule text, without brackets. Raises RuleError."""
    return _Reader(text).read()


def rule(name: str, left: str, right: str, when: str = "", *, words: str, because: str, family: str = "") -> Rule:
    """A rule from text. Raises RuleError where the right side or the condition has an unbound variable."""
    reader = _Reader(right)
    pattern, replacement = pattern_term(left), reader.read()
    conditions = tuple(pattern_term(c) for c in when.split(",") if c.strip())
    bound = {name_of(t) for t in walk(pattern) if t.op == "var"}
    for t in walk(replacement, *conditions):
        if t.op == "var" and name_of(t) not in bound:
            raise RuleError(f"rule {name}: '{name_of(t)}' is not bound on the left")
    if pattern is replacement:
        raise RuleError(f"rule {name} changes nothing")
    text = f"{left} -> {right}" + (f" if {when}" if when else "")
    return Rule(name, family, pattern, replacement, frozenset(reader.collected), conditions, words, because, text)


def family(name: str, *rules: Rule) -> tuple[Rule, ...]:
    """The rules of one file, each told the family that it belongs to."""
    return tuple(
        Rule(r.name, name, r.pattern, r.replacement, r.collected, r.conditions, r.words, r.reason_latex, r.text)
        for r in rules
    )
