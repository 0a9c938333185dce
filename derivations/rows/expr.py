"""Expressions of the row algebra: immutable, hash-consed, with sums and products of any length.

Made by `algebra.Algebra`; `to_term` gives them back as terms. The order of the parts of a sum or
product depends on structure alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cached_property

from lossmith.derivations import terms as t
from lossmith.derivations.terms import Sort, Term

Go = Callable[["Expr"], Term]


class Expr:
    """One node: num, leaf, add, mul, pow, exp, log, lse, sum, at, onehot, or fn (any other operation)."""

    op: str
    args: tuple[Expr, ...]
    value: Fraction | Term | str | None
    sort: Sort
    id: int

    def __hash__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        return t.show(to_term(self))

    @cached_property
    def key(self) -> tuple[object, ...]:
        """A total order that depends on structure alone: numbers, then small before large."""
        own = self.value.key if isinstance(self.value, Term) else ("" if self.value is None else str(self.value))
        return (self.op != "num", self.size, self.op, repr(own), tuple(a.key for a in self.args))

    @cached_property
    def size(self) -> int:
        return 1 + sum(a.size for a in self.args)

    @cached_property
    def within(self) -> frozenset[Expr]:
        """Every node of the expression."""
        return frozenset([self]).union(*(a.within for a in self.args))

    @cached_property
    def has_exp(self) -> bool:
        """Whether an exponential is a factor of the expression."""
        return self.op == "exp" or (self.op in ("mul", "sum") and any(a.has_exp for a in self.args))

    @property
    def name(self) -> str:
        """The label of `at` and `onehot`, the operation of `fn`."""
        assert isinstance(self.value, str)
        return self.value

    @property
    def term(self) -> Term:
        """The term of a leaf."""
        assert isinstance(self.value, Term)
        return self.value


_table: dict[tuple[object, ...], Expr] = {}


def make(op: str, args: tuple[Expr, ...] = (), value: Fraction | Term | str | None = None) -> Expr:
    """The expression with exactly this structure; the constructors of `Algebra` simplify, this does not."""
    key = (op, tuple(a.id for a in args), value)
    found = _table.get(key)
    if found is None:
        found = _table[key] = Expr()
        found.op, found.args, found.value, found.id = op, args, value, len(_table)
        found.sort = _sort(op, args, value)
    return found


def _sort(op: str, args: tuple[Expr, ...], value: Fraction | Term | str | None) -> Sort:
    if op in ("sum", "at", "lse", "num"):
        return "scalar"
    if op == "onehot":
        return "row"
    if isinstance(value, Term):
        return value.sort
    return "row" if any(a.sort == "row" for a in args) else "scalar"


def num(value: Fraction | int) -> Expr:
    return make("num", (), Fraction(value))


ZERO, ONE = num(0), num(1)
COUNT = make("leaf", (), t.COUNT)


def leaf(term: Term) -> Expr:
    return make("leaf", (), term)


def label_leaf(name: str) -> Expr:
    return leaf(t.label(name))


def onehot(name: str) -> Expr:
    return make("onehot", (), name)


def others(name: str) -> Expr:
    """1 for every class but the one at the label, 0 there."""
    sides = sorted((leaf(t.POSITION), label_leaf(name)), key=lambda e: e.key)
    return function("where", function("eq", *sides), ZERO, ONE)


def others_of(e: Expr) -> str | None:
    """The label y where e is `others(y)`."""
    if e.op != "fn" or e.name != "where" or e.args[1] is not ZERO or e.args[2] is not ONE or e.args[0].op != "fn":
        return None
    found = [a.term for a in e.args[0].args if a.op == "leaf" and a.term.op == "label"]
    return t.name_of(found[0]) if len(found) == 1 and others(t.name_of(found[0])) is e else None


def same_label(a: str, b: str) -> Expr:
    """1 where two labels are equal, else 0."""
    return function("where", function("eq", label_leaf(a), label_leaf(b)), ONE, ZERO)


def function(op: str, *args: Expr) -> Expr:
    """An operation that the algebra knows nothing of."""
    return make("fn", args, op)


def value(e: Expr) -> Fraction:
    """The value of a number."""
    assert isinstance(e.value, Fraction)
    return e.value


def nary(op: str, parts: Sequence[Expr], unit: Expr) -> Expr:
    """A sum or product in canonical order."""
    ordered = tuple(sorted(parts, key=lambda p: p.key))
    if len(ordered) < 2:
        return ordered[0] if ordered else unit
    return make(op, ordered)


def terms_of(e: Expr) -> tuple[Expr, ...]:
    """The terms of a sum; nothing for zero."""
    if e.op == "add":
        return e.args
    return () if e is ZERO else (e,)


def factors(e: Expr) -> tuple[Expr, ...]:
    return e.args if e.op == "mul" else (e,)


def coefficient(e: Expr) -> tuple[Fraction, Expr]:
    """A term as a number times what is left."""
    if e.op == "num":
        return value(e), ONE
    if e.op == "mul" and e.args[0].op == "num":
        rest = e.args[1:]
        return value(e.args[0]), rest[0] if len(rest) == 1 else make("mul", rest)
    return Fraction(1), e


def walk(*roots: Expr) -> list[Expr]:
    """Every distinct node, arguments first."""
    seen: set[int] = set()
    out: list[Expr] = []

    def visit(e: Expr) -> None:
        if e.id in seen:
            return
        seen.add(e.id)
        for a in e.args:
            visit(a)
        out.append(e)

    for r in roots:
        visit(r)
    return out


def to_term(e: Expr) -> Term:
    """The expression as a person would write it: positive terms first, divisions as divisions."""
    done: dict[int, Term] = {}

    def go(n: Expr) -> Term:
        if n.id not in done:
            done[n.id] = _term(n, go)
        return done[n.id]

    return go(e)


def _term(e: Expr, go: Go) -> Term:
    match e.op:
        case "num":
            return t.const(value(e))
        case "leaf":
            return e.term
        case "onehot":
            return t.node("onehot", (t.label(e.name),))
        case "at":
            return t.node("at", (go(e.args[0]), t.label(e.name)))
        case "add":
            return written_sum([_signed(p, go) for p in e.args])
        case "mul":
            return _product(e, go)
        case "pow":
            return _power(go(e.args[0]), e.args[1], go)
        case "fn":
            return t.make(e.name, *(go(a) for a in e.args))
    return t.make(e.op, *(go(a) for a in e.args)) if e.op != "lse" else t.node("lse", tuple(go(a) for a in e.args))


def _signed(e: Expr, go: Go) -> tuple[bool, Term]:
    """Whether a term of a sum is subtracted, and its size."""
    c, rest = coefficient(e)
    if c >= 0:
        return False, go(e)
    if rest is ONE:
        return True, t.const(-c)
    return True, go(rest) if c == -1 else go(make("mul", (num(-c), *factors(rest))))


def written_sum(parts: Sequence[tuple[bool, Term]]) -> Term:
    """A sum of (negative, size) pairs, the positive ones first."""
    total: Term = t.ZERO
    for negative, term in sorted(parts, key=lambda p: p[0]):
        total = t.sub(total, term) if negative else t.add(total, term)
    return total


def _product(e: Expr, go: Go) -> Term:
    """Factors over divisors; w log(b) is written xlogy(w, b)."""
    c, rest = coefficient(e)
    above, below = t.ONE, t.const(c.denominator)
    logs = [f for f in factors(rest) if f.op == "log"]
    for f in factors(rest):
        exponent = f.args[1] if f.op == "pow" else ONE
        if exponent.op == "num" and value(exponent) < 0:
            below = t.mul(below, _power(go(f.args[0]), num(-value(exponent)), go))
        elif logs != [f]:
            above = t.mul(above, go(f))
    if len(logs) == 1:
        above = t.make("log", go(logs[0].args[0])) if above is t.ONE else t.node("xlogy", (above, go(logs[0].args[0])))
    return t.div(t.mul(t.const(c.numerator), above), below)


def _power(base: Term, exponent: Expr, go: Go) -> Term:
    if exponent.op == "num" and value(exponent) < 0:
        return t.div(t.ONE, _power(base, num(-value(exponent)), go))
    return t.power(base, go(exponent))
