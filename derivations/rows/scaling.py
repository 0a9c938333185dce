"""Norms of tiny and huge rows: what is homogeneous in a row is computed of the row over its largest size.

Squares of a row underflow, or overflow, long before its norm does. Where every term has the same
degree d in a row a, the formula of a is n**d times the formula of a/n; n is 1 unless a power of
the largest element would leave the range, so that ordinary rows are computed as before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import (
    COMPARISONS,
    HALF,
    ONE,
    Term,
    const,
    div,
    is_const,
    leaves,
    make,
    mul,
    name_of,
    node,
    number,
    power,
    replace,
    walk,
)

SPAN = 60  # powers of the largest element stay within 2**-SPAN and 2**SPAN, or it is divided by
HIGHEST = Fraction(12)
SAME = frozenset({"neg", "abs", "sum", "peak", "at"})
ALIKE = frozenset({"add", "sub", "gap", "max", "min"})


class UnevenError(ValueError):
    """A term that is not homogeneous."""


def scaled(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` of rows that are divided by their largest element where it is tiny or huge, and multiplied back.

    Rows in which the term is not homogeneous, or has no power that leaves the range sooner than the
    whole does, stay as they are.
    """
    found: dict[Term, Term] = {}
    factor = ONE
    for a in arguments:
        leaf = next((t for t in leaves(term) if t.op == "row" and name_of(t) == a.name), None)
        if leaf is None or a.domain.unit_sum or math.isfinite(a.domain.high) or a.domain.values:
            continue
        degrees = degrees_in(term, leaf)
        if degrees is None or not (high := _worth(degrees, term)):
            continue
        size = _size(leaf, high)
        found[leaf] = div(leaf, size)
        d = degrees[term]
        if d:
            factor = mul(factor, power(size, const(abs(d)))) if d > 0 else div(factor, power(size, const(-d)))
    if not found:
        return term
    inner = replace(term, found)
    return inner if factor is ONE else mul(factor, inner)


def _worth(degrees: Mapping[Term, Fraction | None], whole: Term) -> Fraction | None:
    """The highest degree of a part, where it is beyond that of the whole; None where scaling gains nothing."""
    known = [abs(d) for d in degrees.values() if d is not None]
    high, own = max(known), degrees[whole]
    return high if own is not None and high > max(abs(own), Fraction(1)) and high <= HIGHEST else None


def _size(leaf: Term, degree: Fraction) -> Term:
    """The largest size of a row's elements, 1 where a power of it stays in range, or nothing can be divided by it."""
    top = node("peak", (make("abs", leaf),))
    reach = 2 ** max(1, int(SPAN / degree))
    low = node("and", (node("gt", (top, const(0))), node("lt", (top, const(Fraction(1, reach))))))
    high = node("and", (node("gt", (top, const(reach))), node("gt", (top, mul(HALF, top)))))  # not of infinity
    return node("where", (node("or", (low, high)), top, ONE))


def degrees_in(term: Term, leaf: Term) -> dict[Term, Fraction | None] | None:
    """The degree of every node in one row, None standing for zero, which has any; None where one has no degree."""
    known: dict[Term, Fraction | None] = {}
    try:
        for t in walk(term):
            known[t] = Fraction(1) if t is leaf else _degree(t, [known[a] for a in t.args])
    except UnevenError:
        return None
    return known


def _degree(t: Term, d: list[Fraction | None]) -> Fraction | None:
    if not t.args:
        return None if is_const(t, 0) else Fraction(0)
    if t.op in SAME:
        return d[0]
    if t.op in ALIKE or t.op in COMPARISONS:
        return _common(d) if t.op in ALIKE else _nothing(_common(d))
    if t.op == "where":
        return _common(d[1:])
    if t.op in ("and", "or", "not", "sign"):
        return Fraction(0)
    if t.op in ("mul", "absorb"):
        return None if None in d else Fraction(0) + (d[0] or 0) + (d[1] or 0)
    if t.op == "div":
        return None if d[0] is None else d[0] - (d[1] or 0)
    if t.op == "sqrt":
        return None if d[0] is None else d[0] / 2
    if t.op == "pow" and is_const(t.args[1]):
        return None if d[0] is None else d[0] * number(t.args[1])
    if all(not e for e in d):
        return Fraction(0)
    raise UnevenError


def _nothing(_: Fraction | None) -> Fraction:
    return Fraction(0)


def _common(d: list[Fraction | None]) -> Fraction | None:
    found = {e for e in d if e is not None}
    if len(found) > 1:
        raise UnevenError
    return next(iter(found), None)
