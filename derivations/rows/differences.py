"""Rules of rows for differences of whole reductions: log-sum-exps, variances, directions.

As in `rules.py`, each takes an expression in normal form and gives a term with holes, or None.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from lossmith.derivations.rows import expr as x
from lossmith.derivations.rows import forms
from lossmith.derivations.rows.algebra import Algebra
from lossmith.derivations.rows.expr import ONE, ZERO, Expr, coefficient, factors, terms_of
from lossmith.derivations.rows.recognise import is_indicator, is_softmax, lse_term, places, size, weight, without
from lossmith.derivations.terms import COUNT, HALF, Term, add, div, make, mul, node, sub, var
from lossmith.derivations.terms import ONE as ONE_TERM

if TYPE_CHECKING:
    from lossmith.derivations.rows.rules import Holes


def split_balance(e: Expr, h: Holes) -> Term | None:
    """c L - k a + .. -> k (gap + log1p(rest)) + (c - k) L + ..: a part of L for each that is taken from it.

    Only where nothing is left over: the coefficients add up, so that a shift of all logits changes nothing.
    """
    if e.op != "add" or e.sort != "scalar":
        return None
    algebra = h.algebra
    for t in e.args:
        found = lse_term(t, algebra)
        if found is None or len(found[1].args) != 1 or not _shift_free(e, found[1], algebra):
            continue
        c, lse = found
        base = algebra.sub(e, t)
        for a in places(lse, base, e, algebra):
            for k in _taken(a, base, algebra):
                left = algebra.add(base, algebra.mul(k, a))
                if k is not c and weight(left) < weight(base):
                    rest = algebra.add(left, algebra.mul(algebra.sub(c, k), lse))
                    return add(mul(h.hole(k), add(forms.gap(a, lse), forms.tail(lse))), h.hole(rest))
    return None


def _taken(a: Expr, base: Expr, algebra: Algebra) -> list[Expr]:
    """The coefficients with which a is subtracted somewhere: those of its first term."""
    own, first = coefficient(terms_of(a)[0]) if a is not ZERO else (Fraction(1), ZERO)
    parts = [without(t, f, algebra) for t in terms_of(base) for f in factors(t) if f is first]
    total = algebra.mul(algebra.add(*parts), x.num(-1 / own))
    return [total] if parts and total is not ZERO else []


def _shift_free(e: Expr, lse: Expr, algebra: Algebra) -> bool:
    """Whether a constant added to the row of a log-sum-exp changes nothing."""
    rows = [n for n in terms_of(lse.args[0]) if n.op == "leaf" and n.term.op == "row"]
    if len(rows) != 1:
        return False
    shift = x.leaf(var("@shift"))
    moved = _moved(e, rows[0], algebra.add(rows[0], shift), algebra)
    return moved is e


def _moved(e: Expr, old: Expr, new: Expr, algebra: Algebra) -> Expr:
    """An expression with one row in the place of another, a shift leaving log-sum-exps."""
    if e is old:
        return new
    if old not in e.within:
        return e
    if e.op == "at":
        return algebra.at(_moved(e.args[0], old, new, algebra), e.name)
    args = tuple(_moved(a, old, new, algebra) for a in e.args)
    if e.op == "lse" and len(args) == 1:
        free = [t for t in terms_of(args[0]) if t.sort == "scalar"]
        return algebra.add(algebra.lse(algebra.sub(args[0], algebra.add(*free))), *free)
    if e.op == "mul":
        sums = [b for a, b in zip(e.args, args, strict=True) if a is not b and b.op == "add"]
        others = [b for b in args if not any(b is s for s in sums[:1])]
        if sums:
            return algebra.add(*(algebra.mul(t, *others) for t in sums[0].args))
    return algebra.again(e, args)


def nested(e: Expr, h: Holes) -> Term | None:
    """c lse(b) - c lse(b + log w) -> c log(1 + s), s = sum (1 - w) exp b over sum w exp b, w between 0 and 1."""
    if e.op != "add" or e.sort != "scalar":
        return None
    algebra = h.algebra
    for t in e.args:
        whole = lse_term(t, algebra)
        if whole is None or len(whole[1].args) != 1:
            continue
        for other in e.args:
            part = lse_term(other, algebra)
            if part is None or len(part[1].args) != 1 or algebra.add(part[0], whole[0]) is not ZERO:
                continue
            log = algebra.sub(part[1].args[0], whole[1].args[0])
            w = log.args[0] if log.op == "log" else ONE
            beside = algebra.sub(ONE, w)
            if log.op == "log" and w.sort == "row" and (algebra.nonnegative(beside) or x.others_of(w) is not None):
                return _nested(e, t, other, whole, part[1], beside, h)
    return None


def _nested(e: Expr, t: Expr, other: Expr, whole: tuple[Expr, Expr], part: Expr, beside: Expr, h: Holes) -> Term:
    algebra, (c, lse) = h.algebra, whole
    rest = algebra.lse(algebra.add(lse.args[0], algebra.log(beside)))
    apart = sub(h.hole(rest), h.hole(part))
    left = algebra.sub(algebra.sub(e, t), other)
    return add(mul(h.hole(c), make("softplus", apart)), h.hole(left))


def variance(e: Expr, h: Holes) -> Term | None:
    """c sum(p v**2) - c sum(p v)**2 -> c sum(p (v - mean)**2), p being a softmax, or one class as good as another."""
    if e.op != "add" or e.sort != "scalar":
        return None
    algebra = h.algebra
    for t in e.args:
        for f in factors(t):
            if f.op != "pow" or f.args[1].op != "num" or x.value(f.args[1]) != 2 or f.args[0].op != "sum":
                continue
            first, c = f.args[0], algebra.neg(without(t, f, algebra))
            found = _variance(e, t, first.args[0], c, h)
            if found is not None:
                return found
    return None


def _variance(e: Expr, t: Expr, body: Expr, c: Expr, h: Holes) -> Term | None:
    algebra = h.algebra
    weights = [f for f in factors(body) if algebra.sum(f) is ONE or h.unit(f) is not None]
    for p, scale in [*((p, ONE) for p in weights), (ONE, x.COUNT)]:
        v = without(body, p, algebra) if p is not ONE else body
        second = algebra.mul(c, scale, algebra.sum(algebra.mul(p, v, v)))
        left = algebra.sub(algebra.sub(e, t), second)
        if size(left) < size(e) - 1 and (p is ONE or h.unit(p) is None):
            share, element = (h.hole(p) if p is not ONE else ONE_TERM), h.hole(v)
            mean = node("sum", (mul(share, element),))
            apart = node("gap", (element, mean if p is not ONE else div(mean, COUNT)))
            mean = node("sum", (mul(share, apart),))
            apart = sub(apart, mean if p is not ONE else div(mean, COUNT))  # the mean was rounded
            total = node("sum", (mul(share, mul(apart, apart)),))
            return add(mul(h.hole(algebra.mul(c, scale)), total), h.hole(left))
    return None


def angle(e: Expr, h: Holes) -> Term | None:
    """c - c sum(a b) / sqrt(sum a**2 sum b**2) -> c/2 sum((a/|a| - b/|b|)**2): two directions near each other."""
    if e.op != "add" or e.sort != "scalar":
        return None
    algebra = h.algebra
    for t in e.args:
        powers = [f for f in factors(t) if f.op == "pow" and f.args[0].op == "sum"]
        roots = [f for f in powers if f.args[1] is x.num(Fraction(-1, 2))]
        inner = [f for f in factors(t) if f.op == "sum"]
        squares = [_root_of_square(f.args[0].args[0], algebra) for f in roots]
        if len(roots) != 2 or len(inner) != 1 or None in squares:
            continue
        a, b = (s for s in squares if s is not None)
        c = algebra.mul(*(f for f in factors(t) if f not in (*roots, *inner)))
        left = algebra.add(algebra.sub(e, t), c)
        if inner[0].args[0] is algebra.mul(a, b) and size(left) < size(e) - 1:
            ends = [div(h.hole(v), make("sqrt", h.hole(f.args[0]))) for v, f in zip((a, b), roots, strict=True)]
            apart = sub(*ends)
            total = mul(HALF, node("sum", (mul(apart, apart),)))
            return add(mul(h.hole(algebra.neg(c)), total), h.hole(left))
    return None


def _root_of_square(body: Expr, algebra: Algebra) -> Expr | None:
    """v where a body is v**2."""
    powers = [(f.args[0], f.args[1]) if f.op == "pow" else (f, ONE) for f in factors(body)]
    if any(e.op != "num" or x.value(e) % 2 for _, e in powers):
        return None
    return algebra.mul(*(algebra.pow(b, x.num(x.value(e) / 2)) for b, e in powers))


def part_and_whole(e: Expr, h: Holes) -> Term | None:
    """c p - c q, q being p of the classes in a set by itself -> c ((1 - w) p - q s), s the share of the others.

    w is 1 or 0: a class outside the set has the one term, a class in it has the other.
    """
    if e.op != "add" or len(e.args) != 2:
        return None
    algebra = h.algebra
    for whole, part in (e.args, e.args[::-1]):
        for f in factors(whole):
            for g in factors(part):
                one, other = is_softmax(f, algebra), is_softmax(g, algebra)
                c = without(whole, f, algebra)
                if one is None or other is None or algebra.add(c, without(part, g, algebra)) is not ZERO:
                    continue
                w = _chosen(algebra.sub(other[0], one[0]), one, other, algebra)
                if w is not None:
                    return mul(h.hole(c), _apart(w, f, g, one, other, h))
    return None


def _apart(w: Expr, p: Expr, q: Expr, one: tuple[Expr, Expr], other: tuple[Expr, Expr], h: Holes) -> Term:
    algebra = h.algebra
    beside = algebra.sub(ONE, w)
    outside = algebra.lse(algebra.add(one[0], algebra.log(beside)))
    beyond = make("sigmoid", sub(h.hole(outside), h.hole(other[1])))
    return sub(mul(h.hole(beside), h.hole(p)), mul(h.hole(q), beyond))


def _chosen(log: Expr, one: tuple[Expr, Expr], other: tuple[Expr, Expr], algebra: Algebra) -> Expr | None:
    """w where the second of two softmaxes has log(w) in its row beside the first, and w is 1 or 0 by its domain."""
    if log.op != "log" or log.sort != "row" or one[1].args != (one[0],) or other[1].args != (other[0],):
        return None
    return log.args[0] if is_indicator(log.args[0], algebra) else None
