"""Rules of rows for what is measured from a mean: weighted, of equal shares, or squared.

As in `rules.py`, each takes an expression in normal form and gives a term with holes, or None.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from lossmith.derivations.rows import expr as x
from lossmith.derivations.rows import forms
from lossmith.derivations.rows.algebra import Algebra
from lossmith.derivations.rows.expr import ONE, ZERO, Expr, coefficient, factors, terms_of
from lossmith.derivations.rows.recognise import is_indicator, is_softmax, lse_term, size, without
from lossmith.derivations.terms import COUNT, HALF, Term, add, const, div, make, mul, neg, node, sub
from lossmith.derivations.terms import ONE as ONE_TERM
from lossmith.derivations.terms import ZERO as ZERO_TERM

if TYPE_CHECKING:
    from lossmith.derivations.rows.rules import Holes


def multiply_out(e: Expr, h: Holes) -> Term | None:
    """s (u + v) - s v -> s u: products of a sum are multiplied out where terms then cancel."""
    if e.op != "add":
        return None
    algebra = h.algebra
    products = [(t, f) for t in e.args for f in factors(t) if f.op == "add"]
    every = list(dict(products).items())
    for some in (*([pair] for pair in products), every):  # one by one, then one of each term: no fewer terms will do
        made = e
        for t, f in some:
            s = without(t, f, algebra)
            made = algebra.add(algebra.sub(made, t), *(algebra.mul(s, part) for part in f.args))
        if size(made) < size(e) + (len(some) > 1):
            return h.hole(made)
    return None


def equal_shares(e: Expr, h: Holes) -> Term | None:
    """c p - c / C: a softmax beside equal shares."""
    if e.op != "add" or e.sort != "row":
        return None
    algebra = h.algebra
    for t in e.args:
        for f in factors(t):
            found = is_softmax(f, algebra)
            c = without(t, f, algebra)
            left = algebra.add(algebra.sub(e, t), algebra.mul(c, algebra.pow(x.COUNT, x.num(-1))))
            if found is None or found[1].args != (found[0],) or size(left) > size(e) - 2:
                continue
            return add(mul(h.hole(c), _beside_equal(found[0], found[1], ONE_TERM, COUNT)), h.hole(left))
    return None


def _beside_equal(a: Expr, lse: Expr, weight: Term, count: Term, outside: Term | None = None) -> Term:
    """p - w / count, p the softmax of a row: equal shares of the `count` classes of weight 1; other weights are 0.

    Near each other, p is measured from the mean of the classes of weight 1, and loses its part of what is outside:
    the sum of exp(a - peak) over the other classes. What the mean was rounded by is the same for every class.
    """
    element, share, equal = forms.element(a), forms.share(a, lse), div(weight, count)
    inside = (element,) if weight is ONE_TERM else (
        node("where", (node("gt", (weight, ZERO_TERM)), element, make("log", weight))),)
    peak, rest = node("peak", inside), node("rest", inside)
    below = make("expm1", neg(node("gap", (peak, element))))
    lacking = div(node("sum", (neg(_only(weight, below)),)), count)
    many = make("log", div(add(ONE_TERM, rest), count))
    level = add(peak, node("where", (node("lt", (lacking, HALF)), make("log1p", neg(lacking)), many)))
    above = make("expm1", node("gap", (element, level)))
    left = div(node("sum", (_only(weight, above),)), count)
    near = div(sub(above, left), add(ONE_TERM, left))
    if outside is not None:
        own = mul(node("exp_diff", (peak, forms.peak(lse))), add(ONE_TERM, rest))
        near = sub(mul(div(own, add(own, outside)), near), div(outside, add(own, outside)))
    ratios = (node("lt", (mul(HALF, equal), share)), node("lt", (mul(HALF, share), equal)))
    return node("where", (node("and", ratios), div(near, count), sub(share, equal)))


def _only(weight: Term, t: Term) -> Term:
    return t if weight is ONE_TERM else node("absorb", (weight, t))


def parts_of_whole(e: Expr, h: Holes) -> Term | None:
    """c p - c w / sum(w), w being 1 or 0: a softmax beside equal shares of the classes in a set."""
    if e.op != "add" or e.sort != "row":
        return None
    algebra = h.algebra
    for t in e.args:
        for f in factors(t):
            found = is_softmax(f, algebra)
            if found is None or found[1].args != (found[0],):
                continue
            c = without(t, f, algebra)
            for other in e.args:
                w = _even_part(algebra.mul(other, algebra.pow(algebra.neg(c), x.num(-1))), algebra)
                if w is not None:
                    left = algebra.sub(algebra.sub(e, t), other)
                    return add(mul(h.hole(c), _of_set(w, *found, h)), h.hole(left))
    return None


def _even_part(e: Expr, algebra: Algebra) -> Expr | None:
    """w where e is w / sum(w), and w is 1 or 0."""
    for total in (f.args[0] for f in factors(e) if f.op == "pow" and f.args[1] is x.num(-1)):
        w = algebra.mul(e, total)
        if total.op == "sum" and total.args[0] is w and is_indicator(w, algebra):
            return w
    return None


def _of_set(w: Expr, a: Expr, lse: Expr, h: Holes) -> Term:
    chosen, beside = h.hole(w), h.hole(h.algebra.sub(ONE, w))
    outside = node("sum", (mul(beside, node("exp_diff", (forms.element(a), forms.peak(lse)))),))
    return _beside_equal(a, lse, chosen, node("sum", (chosen,)), outside)


def square_from_mean(e: Expr, h: Holes) -> Term | None:
    """c v**2 - 2 c v S -> c (v - S)**2 - c S**2, S being the mean of v under a softmax or given weights."""
    if e.op != "add" or e.sort != "row":
        return None
    algebra = h.algebra
    for t in e.args:
        for f in (f for f in factors(t) if f.op == "sum"):
            for p, v in _unit_means(f.args[0], h):
                c = algebra.mul(x.num(Fraction(-1, 2)), without(t, f, algebra), algebra.pow(v, x.num(-1)))
                square = algebra.mul(c, v, v)
                if c.sort == "row" or square not in e.args:
                    continue
                left = algebra.sub(algebra.sub(e, algebra.add(t, square)), algebra.mul(c, f, f))
                share, element = h.hole(p), h.hole(v)
                apart = node("gap", (element, node("sum", (mul(share, element),))))
                apart = sub(apart, node("sum", (mul(share, apart),)))  # the mean was rounded
                return add(mul(h.hole(c), mul(apart, apart)), h.hole(left))
    return None


def _unit_means(body: Expr, h: Holes) -> Iterator[tuple[Expr, Expr]]:
    """(p, v) where a body is p v, p summing to one."""
    for p in factors(body):
        if p.sort == "row" and h.algebra.sum(p) is ONE:
            yield p, without(body, p, h.algebra)


def weighted_mean(e: Expr, h: Holes) -> Term | None:
    """c a - c sum(w a) / sum(w) -> c ((a - m) - sum(w (a - m)) / sum(w)), m the mean as it comes out rounded."""
    if e.op != "add":
        return None
    algebra = h.algebra
    for t in e.args:
        for total in (f.args[0] for f in factors(t) if f.op == "pow" and f.args[1] is x.num(-1)):
            for f in (f for f in factors(t) if f.op == "sum" and total.op == "sum"):
                w = total.args[0]
                a = algebra.mul(f.args[0], algebra.pow(w, x.num(-1)))
                c = algebra.neg(algebra.mul(without(t, f, algebra), total))
                left = algebra.sub(algebra.sub(e, t), algebra.mul(c, a))
                if w in a.within or w.sort != "row" or size(left) > size(e) - 2:
                    continue
                weight, element = h.hole(w), h.hole(a)
                apart = node("gap", (element, _mean(weight, element)))
                return add(mul(h.hole(c), sub(apart, _mean(weight, apart))), h.hole(left))
    return None


def _mean(w: Term, a: Term) -> Term:
    return div(node("sum", (mul(w, a),)), node("sum", (w,)))


def power_sum(e: Expr, h: Holes) -> Term | None:
    """c lse(n a) - n c lse(a) = c log sum(p**n) -> c log(1 - sum(p (1 - p**(n - 1)))), where that sum is small."""
    if e.op != "add" or e.sort != "scalar":
        return None
    algebra = h.algebra
    found = [(t, *pair) for t in e.args if (pair := lse_term(t, algebra)) and len(pair[1].args) == 1]
    for t, c, upper in found:
        for _, _, lower in found:
            n, one = _multiple(upper.args[0], lower.args[0], algebra)
            if upper is lower or n is None or n <= 1:
                continue
            left = algebra.add(algebra.sub(e, t), algebra.mul(x.num(n), c, lower))
            if size(left) > size(e) - 2:
                continue
            p = algebra.exp(algebra.sub(one, lower))
            lacking = node("sum", (mul(h.hole(p), h.hole(algebra.sub(ONE, algebra.pow(p, x.num(n - 1))))),))
            far = sub(forms.tail(upper), mul(const(n), forms.tail(lower)))
            near = node("where", (node("lt", (lacking, HALF)), make("log1p", neg(lacking)), far))
            return add(mul(h.hole(c), near), h.hole(left))
    return None


def _multiple(a: Expr, b: Expr, algebra: Algebra) -> tuple[Fraction | None, Expr]:
    """(n, b) where a = n b for a number n."""
    own, other = terms_of(a), terms_of(b)
    if not own or not other or a.sort != "row":
        return None, b
    (c, one), (d, two) = coefficient(own[0]), coefficient(other[0])
    n = c / d
    same = one is two and algebra.sub(a, algebra.add(*(algebra.mul(x.num(n), t) for t in other))) is ZERO
    return (n if same else None), b
