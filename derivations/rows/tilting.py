"""Two softmaxes by the difference of their rows, from which its mean is taken: what is left is small near equality."""

from __future__ import annotations

from dataclasses import dataclass

from lossmith.derivations.rows import forms
from lossmith.derivations.rows.expr import Expr
from lossmith.derivations.terms import Term, add, const, make, mul, node, sub

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
    u = add(sub(d, node("sum", (mul(p, d),))), low)
    u = sub(u, node("sum", (mul(p, u),)))  # the mean was rounded; what is left of it is small
    return Tilt(p, u, node("sum", (mul(p, make("expm1mx", u)),)), node("sum", (mul(p, u),)))
