"""Separation: a formula of several arguments as M * g(u), M a product of powers and u one quantity.

With x = y (1 + u) a formula that scales with its arguments becomes a power of y times a function of
u alone; with x = y + u one of differences of exponents becomes exp(k y) times such a function. Each
node is kept as a sum of products of atoms (other arguments, their exponentials and logarithms) with
factors that are formulas of u; logarithms of products and exponentials of sums are taken apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from lossmith.derivations.loss import Argument
from lossmith.derivations.polynomial import canon
from lossmith.derivations.power_series import NoSeriesError, core
from lossmith.derivations.terms import (
    ONE,
    ZERO,
    Term,
    add,
    const,
    div,
    is_const,
    leaves,
    make,
    mul,
    name_of,
    neg,
    number,
    power,
    replace,
    sub,
    var,
    walk,
)

PARTS = 12  # products that a node may be a sum of
Product = tuple[tuple[Term, Fraction], ...]
Parts = dict[Product, Term]
PURE: Product = ()


class NotSeparableError(Exception):
    """The formula is not M * g(u)."""


@dataclass(frozen=True)
class Quantity:
    """u in terms of the arguments, and those that it replaces as terms of u and of the others.

    rest: what REST stands for in them, a part that is taken as a whole.
    """

    u: Term
    values: tuple[tuple[Term, Term], ...]
    rest: Term = ONE
    positive: bool = False  # whether the rest is


REST = var("rest'")  # a name that no argument can have


def product_term(product: Product) -> Term:
    """A product of powers as a term."""
    top, bottom = ONE, ONE
    for atom, e in product:
        if e > 0:
            top = mul(top, power(atom, const(e)))
        else:
            bottom = mul(bottom, power(atom, const(-e)))
    return div(top, bottom)


def separated(term: Term, quantity: Quantity, u: Term, positive: frozenset[str]) -> tuple[Term, Term]:
    """(M, g): `term` is M times g, a formula of `u` alone, wherever the quantity is u. Raises NotSeparableError."""
    try:
        local = replace(core(term), {quantity.u: u})
    except NoSeriesError as problem:
        raise NotSeparableError(str(problem)) from None
    if quantity.rest is not ONE:
        local = replace(local, {quantity.rest: REST})
    known = positive | {name_of(REST)} if quantity.positive else positive
    mapping = {x: replace(value, {quantity.u: u}) for x, value in quantity.values}
    parts = _Separation(u, known)(replace(local, mapping))
    if len(parts) != 1:
        raise NotSeparableError("more than one product")
    ((product, factor),) = parts.items()
    return replace(product_term(product), {REST: quantity.rest}), factor


class _Separation:
    def __init__(self, u: Term, positive: frozenset[str]) -> None:
        self.u, self.positive = u, positive
        self.done: dict[int, Parts] = {}

    def __call__(self, t: Term) -> Parts:
        found = self.done.get(t.id)
        if found is None:
            found = self.done[t.id] = self._step(t)
            if len(found) > PARTS:
                raise NotSeparableError("too many products")
        return found

    def _step(self, t: Term) -> Parts:
        if t.op == "var" and t is not self.u:
            return {((t, Fraction(1)),): ONE}
        if not t.args:
            return {} if is_const(t, 0) else {PURE: t}
        if t.op in ("add", "sub"):
            return _sum(self(t.args[0]), self(t.args[1]), t.op)
        if t.op == "neg":
            return {p: neg(f) for p, f in self(t.args[0]).items()}
        if t.op == "mul":
            return _times(self(t.args[0]), self(t.args[1]))
        if t.op == "div":
            return _times(self(t.args[0]), self._raised(self(t.args[1]), Fraction(-1)))
        if t.op == "pow":
            return self._raised(self(t.args[0]), number(t.args[1]))
        if t.op == "sqrt":
            return self._raised(self(t.args[0]), Fraction(1, 2))
        if t.op == "exp":
            return self._exponential(self(t.args[0]))
        if t.op == "log":
            return self._logarithm(self(t.args[0]))
        if t.op == "where":
            return self._choice(t)
        inner = [self(a) for a in t.args]
        if any(p != PURE for parts in inner for p in parts):
            raise NotSeparableError(f"{t.op} of more than u")
        return {PURE: make(t.op, *(parts.get(PURE, ZERO) for parts in inner))}

    def _is_positive(self, product: Product) -> bool:
        return all(a.op == "exp" or (a.op == "var" and name_of(a) in self.positive) for a, _ in product)

    def _raised(self, parts: Parts, exponent: Fraction) -> Parts:
        if len(parts) != 1:
            if exponent.denominator == 1 and 0 < exponent <= 4 and parts:
                out = parts
                for _ in range(int(exponent) - 1):
                    out = _times(out, parts)
                return out
            raise NotSeparableError("a power of a sum")
        ((product, factor),) = parts.items()
        if exponent.denominator != 1 and not self._is_positive(product):
            raise NotSeparableError("a root of what may be negative")
        raised = tuple((a, e * exponent) for a, e in product)
        return {raised: div(ONE, factor) if exponent == -1 else make("pow", factor, const(exponent))}

    def _exponential(self, parts: Parts) -> Parts:
        product: Product = PURE
        for p, f in parts.items():
            if p == PURE:
                continue
            if not is_const(f):
                raise NotSeparableError("an exponential of u times another argument")
            atom = p[0][0].args[0] if len(p) == 1 and p[0][1] == 1 and p[0][0].op == "log" else None
            base = atom if atom is not None else make("exp", product_term(p))
            product = _joined(product, ((base, number(f)),))
        return {product: make("exp", parts.get(PURE, ZERO))}

    def _logarithm(self, parts: Parts) -> Parts:
        if len(parts) != 1:
            raise NotSeparableError("a logarithm of a sum")
        ((product, factor),) = parts.items()
        if not self._is_positive(product):
            raise NotSeparableError("a logarithm of what may be negative")
        out: Parts = {PURE: make("log", factor)}
        for atom, e in product:
            part = self(atom.args[0]) if atom.op == "exp" else {((make("log", atom), Fraction(1)),): ONE}
            out = _sum(out, {p: mul(const(e), f) for p, f in part.items()}, "add")
        return out

    def _choice(self, t: Term) -> Parts:
        condition, a, b = t.args
        if condition.op not in ("lt", "le", "gt", "ge"):
            raise NotSeparableError("a choice")
        by, yes, no = self(sub(*condition.args)), self(a), self(b)
        same = set(yes) | set(no)
        if len(by) > 1 or len(same) > 1 or not all(self._is_positive(p) for p in by):
            raise NotSeparableError("a choice between several products")
        (product,) = same or {PURE}
        test = make(condition.op, next(iter(by.values()), ZERO), ZERO)
        return {product: make("where", test, yes.get(product, ZERO), no.get(product, ZERO))}


def _joined(p: Product, q: Product) -> Product:
    powers: dict[Term, Fraction] = dict(p)
    for a, e in q:
        powers[a] = powers.get(a, Fraction(0)) + e
    return tuple(sorted(((a, e) for a, e in powers.items() if e), key=lambda x: x[0].key))


def _times(a: Parts, b: Parts) -> Parts:
    out: Parts = {}
    for p, f in a.items():
        for q, g in b.items():
            out = _sum(out, {_joined(p, q): mul(f, g)}, "add")
    return out


def _sum(a: Parts, b: Parts, op: str) -> Parts:
    """The sum or difference; what is plainly zero is left out."""
    out = dict(a)
    for p, f in b.items():
        before = out.get(p, ZERO)
        total = add(before, f) if op == "add" else sub(before, f)
        if canon(total):
            out[p] = total
        else:
            out.pop(p, None)
    return out


# --- which quantity ------------------------------------------------------------------------------


def quantities(term: Term, arguments: Sequence[Argument]) -> Iterator[Quantity]:
    """Quantities that may be small: relative and plain differences of arguments, their ratios, products that occur."""
    used = [v for v in leaves(term) if v.op == "var"]
    positive = {a.name for a in arguments if a.domain.low >= 0}
    pairs = [(x, y) for x in used for y in used if x is not y and {name_of(x), name_of(y)} <= positive]
    for i, x in enumerate(used):
        for y in used[i + 1:]:
            if (x, y) in pairs:
                u, half = div(sub(x, y), add(x, y)), mul(const(Fraction(1, 2)), add(x, y))
                yield Quantity(u, ((x, mul(REST, add(ONE, u))), (y, mul(REST, sub(ONE, u)))), half, True)
    for x, y in pairs:
        u = div(sub(x, y), y)
        yield Quantity(u, ((x, mul(y, add(ONE, u))),))
    for i, x in enumerate(used):
        for y in used[i + 1:]:
            yield Quantity(sub(x, y), ((x, add(y, sub(x, y))),))
    yield from _products(term)
    for x in used:
        for y in used:
            if x is not y and name_of(y) in positive:
                yield Quantity(div(x, y), ((x, mul(y, div(x, y))),))


def _products(term: Term) -> Iterator[Quantity]:
    """Products that the formula forms, a log(x) of x**a among them."""
    try:
        reduced = core(term)
    except NoSeriesError:
        return
    for t in walk(reduced):
        if t.op == "mul" and len({*leaves(t)}) > 1:
            for x, rest in (t.args, t.args[::-1]):
                if x.op == "var" and x not in set(leaves(rest)):
                    yield Quantity(t, ((x, div(t, REST)),), rest)
                    break


__all__ = ["NotSeparableError", "Quantity", "quantities", "separated"]
