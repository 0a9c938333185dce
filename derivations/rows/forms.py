"""The stable composites of a row: share, complement, gap and the split log-sum-exp, as terms.

All are built of the peak of a log-sum-exp (its largest argument) and its rest (the sum of
exp(a - peak) over the other arguments). None of them subtracts nearly equal numbers.
"""

from __future__ import annotations

from lossmith.derivations.rows.expr import Expr, to_term
from lossmith.derivations.terms import ONE, Term, add, div, make, neg, node, sub


def element(a: Expr) -> Term:
    """An argument of a log-sum-exp, or its element at a label."""
    return to_term(a)


def peak(lse: Expr) -> Term:
    """The largest argument of a log-sum-exp."""
    return node("peak", tuple(element(a) for a in lse.args))


def rest(lse: Expr) -> Term:
    """The sum of exp(a - peak) over all arguments but one that attains the peak."""
    return node("rest", tuple(element(a) for a in lse.args))


def tail(lse: Expr) -> Term:
    """What a log-sum-exp exceeds its peak by."""
    return make("log1p", rest(lse))


def gap(a: Expr, lse: Expr) -> Term:
    """How far the argument a lies below the peak: never negative."""
    return node("gap", (peak(lse), element(a)))


def share(a: Expr, lse: Expr) -> Term:
    """exp(a - lse): the softmax at a."""
    return div(node("exp_diff", (element(a), peak(lse))), add(ONE, rest(lse)))


def others(a: Expr, lse: Expr) -> Term:
    """1 - exp(a - lse), both parts of the numerator being non-negative."""
    return div(sub(rest(lse), make("expm1", neg(gap(a, lse)))), add(ONE, rest(lse)))
