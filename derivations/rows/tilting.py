"""Two softmaxes by the difference of their rows, from which its mean is taken: what is left is small near equality."""

from __future__ import annotations

from dataclasses import dataclass

from lossmith.derivations.precise import wrap
from lossmith.derivations.rows import forms
from lossmith.derivations.rows.expr import Expr
from lossmith.derivations.terms import ONE, ZERO, Term, add, const, make, mul, node, sub

NEARBY = const(4)  # as far as this two rows are told apart by their difference; exp of it is a moderate number


@dataclass(frozen=True)
class Tilt:
    """Two softmaxes by the difference of their rows: p, u = b - a less its mean under p, and the means of
    exp(u) - 1 - u and of u itself. The difference keeps its low part."""

    p: Term
    u: Term
    bend: Term
    mean: Term

    def within(self, reach: Term) -> Term:
        """Whether no u is larger than the reach."""
        return node("lt", (node("peak", (make("abs", self.u),)), reach))


def tilt(a: Expr, lse: Expr, b: Expr) -> Tilt:
    """The softmax of a row a, whose log-sum-exp is `lse`, beside that of a row b."""
    first, second, p = forms.element(a), forms.element(b), forms.share(a, lse)
    d = node("gap", (second, first))
    back = sub(d, second)
    low = sub(sub(second, sub(d, back)), add(first, back))
    return _from_mean(p, add(sub(d, node("sum", (mul(p, d),))), low))


def _from_mean(p: Term, u: Term) -> Tilt:
    u = sub(u, node("sum", (mul(p, u),)))  # the mean was rounded; what is left of it is small
    return Tilt(p, u, node("sum", (mul(p, make("expm1mx", u)),)), node("sum", (mul(p, u),)))


def divergence_from_given(w: Term, b: Expr, lse: Expr, apart: Term) -> Term:
    """The sum of w log(w/q) - w + q, q being the softmax of b: by u = b - log w less its mean, where that is small.

    The logarithm is taken in twice the digits: the two rows may be nearer to each other than it is rounded. With
    A = sum w (exp(u) - 1 - u), r = sum w u, s = sum w - 1, the divergence is (1 + s) log(1 + s + A + r) - s - r.
    """
    rest = forms.rest(lse)
    level = node("where", (node("gt", (rest, ZERO)), add(forms.peak(lse), make("log1p", rest)), forms.peak(lse)))
    t = _from_mean(w, wrap(sub(sub(forms.element(b), level), make("log", w))))
    beyond = sub(node("sum", (w,)), ONE)
    whole = add(beyond, add(t.bend, t.mean))
    near = add(add(t.bend, make("log1pmx", whole)), mul(beyond, make("log1p", whole)))
    return node("where", (t.within(NEARBY), near, apart))
