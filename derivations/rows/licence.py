"""Unit sums as a licence: a multiple of sum p - sum q, which is zero, makes every term non-negative.

For a body f(p, q) of two rows that each sum to one, with f = 0 at p = q, the multiple is the slope
of f there: what is added takes the tangent plane away, and a convex f is then non-negative.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce

import numpy as np
from lossmith.derivations.evaluate import evaluate
from lossmith.derivations.loss import Argument
from lossmith.derivations.partial import partial
from lossmith.derivations.rows.algebra import Algebra
from lossmith.derivations.rows.shape import reduces
from lossmith.derivations.rows.signs import sign
from lossmith.derivations.terms import (
    ONE,
    Term,
    add,
    const,
    div,
    is_const,
    leaves,
    mul,
    name_of,
    neg,
    node,
    number,
    replace,
    show,
    sub,
    walk,
)

TRIES = 200


@dataclass(frozen=True)
class UnitSums:
    """A body to which a zero was added: in words, and the rows that must sum to one."""

    body: Term
    names: tuple[str, ...]
    added: str
    latex: str


def unit_sums(body: Term, arguments: Sequence[Argument]) -> UnitSums | None:
    """The body with c (q - p) added, if that makes it non-negative and it was not before."""
    domains = {a.name: a.domain for a in arguments}
    if sign(body, domains) != "?":
        return None
    used = list(dict.fromkeys(t for t in leaves(body) if t.op == "row"))
    units = [t for t in used if name_of(t) in domains and domains[name_of(t)].unit_sum]
    for p, q in itertools.combinations(units, 2):
        slope = _slope(body, p, q, arguments)
        if slope is None:
            continue
        zero = mul(slope, sub(p, q))
        made = sub(body, zero) if slope is not ONE else add(sub(body, p), q)
        if len(used) == 2 and _nonnegative(made, p, q):
            names = (name_of(p), name_of(q))
            shown = show(neg(zero) if slope is not ONE else sub(q, p))
            latex = rf"\textstyle\sum_k ({names[1]}_k - {names[0]}_k) = 0"
            return UnitSums(made, names, shown, latex)
    return None


def _slope(body: Term, p: Term, q: Term, arguments: Sequence[Argument]) -> Term | None:
    """The constant d f / d p = -d f / d q at p = q, where f itself is zero there."""
    algebra = Algebra(arguments)

    def at_equality(t: Term) -> Term:
        return algebra.normal(replace(t, {q: p}))

    by_p, by_q = (at_equality(partial(body, leaf)) for leaf in (p, q))
    if not is_const(at_equality(body), 0) or not is_const(by_p) or neg(by_p) is not by_q or is_const(by_p, 0):
        return None
    return by_p


def unit_constant(term: Term, arguments: Sequence[Argument]) -> UnitSums | None:
    """K - sum f as one sum: K is put into it as a combination of rows that sum to one, if no term cancels then.

    Of two rows, the combination that takes the tangent plane at equality away; of one, K of it.
    """
    sums: list[Term] = []
    rest: list[Term] = []
    if term.sort != "scalar" or not _collect(term, ONE, sums, rest) or not sums or not rest:
        return None
    whole = Algebra(arguments).normal(reduce(add, rest))
    body = reduce(add, sums)
    units = _units(body, arguments)
    if not is_const(whole) or is_const(whole, 0) or any(n.op == "at" for n in walk(body)):
        return None
    for names in (*itertools.combinations(units, 2), *((u,) for u in units)):
        zero = _combination(body, number(whole), names, arguments)
        if zero is not None and (_nonnegative(add(body, zero), *names) or _nonnegative(neg(add(body, zero)), *names)):
            latex = " = ".join(rf"\textstyle\sum_k {name_of(u)}_k" for u in names) + " = 1"
            return UnitSums(add(body, zero), tuple(name_of(u) for u in names), show(zero), latex)
    return None


def _units(body: Term, arguments: Sequence[Argument]) -> list[Term]:
    """The rows in a body that are declared to sum to one, where it has no others."""
    unit = {a.name for a in arguments if a.domain.unit_sum}
    used = list(dict.fromkeys(t for t in leaves(body) if t.op == "row"))
    return used if all(name_of(t) in unit for t in used) else []


def _combination(body: Term, total: Fraction, rows: Sequence[Term], arguments: Sequence[Argument]) -> Term | None:
    """a p + b q, a + b = total, such that body + a p + b q is zero to second order at p = q; or total * p."""
    if len(rows) == 1:
        return mul(const(total), rows[0])
    algebra = Algebra(arguments)
    slopes = [algebra.normal(replace(partial(body, leaf), {rows[1]: rows[0]})) for leaf in rows]
    if not all(is_const(s) for s in slopes) or sum(number(s) for s in slopes) != -total:
        return None
    return add(mul(neg(slopes[0]), rows[0]), mul(neg(slopes[1]), rows[1]))


def _nonnegative(body: Term, *rows: Term) -> bool:
    """Whether no value is negative, as far as trying goes: what reads a parameter too is not tried."""
    if any(t.op in ("var", "row") and t not in rows for t in leaves(body)):
        return False
    rng = random.Random(3)
    env = {name_of(t): [rng.uniform(0.001, 0.999) for _ in range(TRIES)] for t in rows}
    with np.errstate(all="ignore"):
        return bool((evaluate(body, env) > -1e-12).all())


def one_sum(term: Term) -> Term | None:
    """A sum of several plain sums as one sum; None where there is only one, or where they do not join."""
    sums: list[Term] = []
    rest: list[Term] = []
    if not _collect(term, ONE, sums, rest) or len(sums) < 2:
        return None
    return reduce(add, [node("sum", (reduce(add, sums),)), *rest])


def _collect(t: Term, factor: Term, sums: list[Term], rest: list[Term]) -> bool:
    """Take a linear combination of sums apart, each body times its factor."""
    if t.op in ("add", "sub"):
        second = neg(factor) if t.op == "sub" else factor
        return _collect(t.args[0], factor, sums, rest) and _collect(t.args[1], second, sums, rest)
    if t.op == "neg":
        return _collect(t.args[0], neg(factor), sums, rest)
    if t.op == "mul" and not reduces(t.args[0]):
        return _collect(t.args[1], mul(factor, t.args[0]), sums, rest)
    if t.op == "mul" and not reduces(t.args[1]):
        return _collect(t.args[0], mul(factor, t.args[1]), sums, rest)
    if t.op == "div" and not reduces(t.args[1]):
        return _collect(t.args[0], div(factor, t.args[1]), sums, rest)
    if t.op == "sum":
        sums.append(mul(factor, t.args[0]))
        return True
    rest.append(mul(factor, t))
    return not reduces(t)
