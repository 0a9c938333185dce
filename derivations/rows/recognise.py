"""Recognising parts of a normal form: softmaxes, weights, log-sum-exps with their coefficients."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from lossmith.derivations.rows import expr as x
from lossmith.derivations.rows.algebra import Algebra
from lossmith.derivations.rows.expr import ONE, Expr, coefficient, factors, terms_of
from lossmith.derivations.terms import name_of


def softmax_power(e: Expr, algebra: Algebra) -> tuple[Expr, Expr, int] | None:
    """(a, L, n) where e = exp(n (a - L)), a (or its element at a label) being an argument of L, n >= 1."""
    found = softmax_root(e, algebra)
    return (found[0], found[1], int(found[2])) if found is not None and found[2].denominator == 1 else None


def softmax_root(e: Expr, algebra: Algebra) -> tuple[Expr, Expr, Fraction] | None:
    """(a, L, n) where e = exp(n (a - L)), a (or its element at a label) being an argument of L, n >= 1 rational."""
    if e.op != "exp":
        return None
    for t in terms_of(e.args[0]):
        c, lse = coefficient(t)
        if lse.op == "lse" and c <= -1:
            others = algebra.add(*(o for o in terms_of(e.args[0]) if o is not t))
            a = algebra.mul(x.num(1 / -c), others) if others.op != "add" else algebra.add(
                *(algebra.mul(x.num(1 / -c), o) for o in others.args))
            if is_argument(a, lse, algebra):
                return a, lse, -c
    return None


def is_argument(a: Expr, lse: Expr, algebra: Algebra) -> bool:
    """Whether a is an argument of a log-sum-exp, or the element of one at a label."""
    if a in lse.args:
        return True
    return a.sort == "scalar" and any(
        a is algebra.at(b, label) for b in lse.args if b.sort == "row" for label in labels_of(a))


def is_softmax(e: Expr, algebra: Algebra) -> tuple[Expr, Expr] | None:
    """(a, L) where e = exp(a - L)."""
    found = softmax_power(e, algebra)
    return (found[0], found[1]) if found is not None and found[2] == 1 else None


def labels_of(*parts: Expr) -> list[str]:
    """The labels at which some expressions read elements, in order of appearance."""
    return list(dict.fromkeys(n.name for n in x.walk(*parts) if n.op == "at"))


def lse_term(t: Expr, algebra: Algebra) -> tuple[Expr, Expr] | None:
    """(c, L) where the term t is c times the log-sum-exp L."""
    found = [f for f in factors(t) if f.op == "lse"]
    if len(found) != 1:
        return None
    return algebra.mul(*(f for f in factors(t) if f is not found[0])), found[0]


def sums_of(e: Expr) -> Iterator[tuple[Expr, Expr]]:
    """(term, body) for every term of e that is a scalar times a plain sum."""
    for t in terms_of(e):
        for f in factors(t):
            if f.op == "sum":
                yield t, f.args[0]


def without(t: Expr, f: Expr, algebra: Algebra) -> Expr:
    """A term with one of its factors left out."""
    return algebra.mul(*(g for g in factors(t) if g is not f))


def weight_candidates(e: Expr, a: Expr, algebra: Algebra) -> list[Expr]:
    """Weights w such that a sum of w * a may stand in e: one, and what multiplies parts of a in its sums."""
    found: dict[Expr, None] = {ONE: None}
    parts = {coefficient(t)[1] for t in terms_of(a)} | {f for t in terms_of(a) for f in factors(t)}
    for _, body in sums_of(e):
        for f in factors(body):
            if f in parts and f.sort == "row" and body is not f:
                w = without(body, f, algebra)
                if w.sort == "row":
                    found[w] = None
            elif f.sort == "row" and body is not f:
                found[f] = None
    return list(found)


def size(e: Expr) -> int:
    """How many terms a sum has."""
    return len(terms_of(e))


def weight(e: Expr) -> tuple[int, int]:
    """How much is left to balance: the terms that are not numbers count first."""
    return sum(t.op != "num" for t in terms_of(e)), size(e)


def is_indicator(w: Expr, algebra: Algebra) -> bool:
    """Whether a row is 1 or 0 by the domain of the one input that it reads: that, or 1 less it."""
    inputs = [n for n in x.walk(w) if n.op == "leaf"]
    own = w if w.op == "leaf" else algebra.sub(ONE, w)
    if len(inputs) != 1 or own is not inputs[0] or own.term.op != "row":
        return False
    domain = algebra.domains.get(name_of(own.term))
    return domain is not None and bool(domain.values) and set(domain.values) <= {0, 1}


def negative(t: Expr) -> bool:
    """Whether a term has a negative number in front."""
    return coefficient(t)[0] < Fraction(0)


def places(lse: Expr, base: Expr, e: Expr, algebra: Algebra) -> list[Expr]:
    """What a log-sum-exp may be compared with in e: its arguments, and their elements at the labels of base."""
    out: list[Expr] = []
    for a in lse.args:
        if e.sort == "row" or a.sort == "scalar":
            out.append(a)
        if a.sort == "row":
            out += [algebra.at(a, y) for y in labels_of(base)]
    return out
