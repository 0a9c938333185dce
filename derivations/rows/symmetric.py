"""The rule of rows for the symmetric divergence of two softmaxes: one sum whose terms have one sign."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from lossmith.derivations.rows import expr as x
from lossmith.derivations.rows import forms
from lossmith.derivations.rows.expr import Expr, factors, terms_of
from lossmith.derivations.rows.recognise import is_softmax, size
from lossmith.derivations.rows.tilting import NEARBY, tilt
from lossmith.derivations.terms import HALF, Term, add, make, mul, node, sub

if TYPE_CHECKING:
    from lossmith.derivations.rows.rules import Holes


def symmetric(e: Expr, h: Holes) -> Term | None:
    """c sum((p - q) (a - b)), p and q the softmaxes of a and b -> c sum(p v expm1(v)), v = log(q / p)."""
    if e.op != "add" or e.sort != "scalar":
        return None
    algebra = h.algebra
    bodies = [f.args[0] for t in terms_of(e) for f in factors(t) if f.op == "sum"]
    found = dict.fromkeys(pair for b in bodies for f in factors(b) if (pair := is_softmax(f, algebra)))
    plain = [(a, lse) for a, lse in found if lse.args == (a,)]
    for (a, one), (b, other) in itertools.combinations(plain, 2):
        p, q = (algebra.exp(algebra.sub(*pair)) for pair in ((a, one), (b, other)))
        whole = algebra.sum(algebra.mul(algebra.sub(p, q), algebra.sub(a, b)))
        for c in _scales(e, whole, h):
            left = algebra.sub(e, algebra.mul(c, whole))
            if size(left) < size(e) - 2:
                return add(mul(h.hole(c), _total((a, one), (b, other))), h.hole(left))
    return None


def _scales(e: Expr, whole: Expr, h: Holes) -> list[Expr]:
    """What the first term of a sum may be multiplied with in e."""
    inverse = h.algebra.pow(terms_of(whole)[0], x.num(-1))
    made = (h.algebra.mul(t, inverse) for t in terms_of(e))
    return [c for c in made if c.sort == "scalar" and not any(n.op == "sum" for n in x.walk(c))]


def _total(one: tuple[Expr, Expr], other: tuple[Expr, Expr]) -> Term:
    """Every term is the product of two differences of one sign: near equality both are that of the rows."""
    t = tilt(*one, other[0])
    v = sub(t.u, make("log1p", add(t.bend, t.mean)))
    near = node("sum", (mul(mul(t.p, make("expm1", v)), v),))
    p, q = forms.share(*one), forms.share(*other)
    both = node("and", (node("gt", (p, HALF)), node("gt", (q, HALF))))
    apart = node("where", (both, sub(forms.others(*other), forms.others(*one)), sub(p, q)))
    logs = sub(add(forms.gap(*other), forms.tail(other[1])), add(forms.gap(*one), forms.tail(one[1])))
    return node("where", (t.within(NEARBY), near, node("sum", (node("absorb", (apart, logs)),))))
