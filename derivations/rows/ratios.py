"""Rules of rows for functions of the ratio of two softmaxes: divergences and their gradients, whatever the function.

With v = log(q/p), whatever has degree one in p and q is p times a function of v alone. Since both sum
to one, a multiple of p (e^v - 1) sums to zero: taken away, the function has a double root at v = 0, where
the two are equal. A function of one number is what the scalar search makes stable.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from lossmith.derivations import balls
from lossmith.derivations.partial import partial
from lossmith.derivations.rows import expr as x
from lossmith.derivations.rows import forms
from lossmith.derivations.rows.algebra import Algebra
from lossmith.derivations.rows.expr import ZERO, Expr, coefficient, factors, terms_of, to_term
from lossmith.derivations.rows.recognise import lse_term, without
from lossmith.derivations.rows.tilting import NEARBY, tilt
from lossmith.derivations.terms import (
    HALF,
    Term,
    add,
    const,
    is_const,
    make,
    mul,
    neg,
    node,
    replace,
    row,
    sub,
    var,
    walk,
)
from lossmith.derivations.terms import ONE as ONE_TERM
from lossmith.derivations.terms import ZERO as ZERO_TERM

if TYPE_CHECKING:
    from lossmith.derivations.rows.rules import Holes

RATIO = row("@ratio")  # log(q/p), one per class
SCALAR = var("ratio")  # the same, as the one number that a function of it has
REACH = Fraction(2)  # q is then more than seven times p, which is less than one half
FAR = 250  # a function of e^v has its limit there to more digits than TINY
NEAR = const(Fraction(1, 16))
TINY = Fraction(1, 10**40)
SHORT = 4096  # the largest denominator of a slope
MULTIPLES = tuple(Fraction(n, 4) for n in (2, -2, 4, -4, 1, -1, 3, -3, 8, -8))  # of a logarithm in a value


@dataclass(frozen=True)
class Pair:
    """Two softmaxes: the row and the log-sum-exp of each."""

    a: Expr
    la: Expr
    b: Expr
    lb: Expr

    def ratio(self) -> Term:
        """log(q/p) where neither can be infinite: by the rows' difference where that is small."""
        t = tilt(self.a, self.la, self.b)
        near = sub(t.u, make("log1p", add(t.bend, t.mean)))
        far = sub(add(forms.gap(self.a, self.la), forms.tail(self.la)), add(forms.gap(self.b, self.lb),
                                                                            forms.tail(self.lb)))
        return node("where", (t.within(NEARBY), near, far))


@dataclass(frozen=True)
class Known:
    """A function of v, as a term of `SCALAR`, and how many times lse(a) stands beside it."""

    g: Term
    logs: Fraction


def of_ratio(e: Expr, h: Holes) -> Term | None:
    """sum(p g(v)), or p (g(v_k) - sum(p g(v))): a function of v = log(q/p), with a root at 0."""
    if e.op not in ("add", "sum", "mul"):
        return None
    for pair in _pairs(e):
        p = h.algebra.exp(h.algebra.sub(pair.a, pair.la))
        if e.sort == "scalar":
            mean = _mean_of(terms_of(e), pair, h.algebra)
            made = _mean_term(mean.g, pair, h) if mean and not mean.logs and _worth(mean.g) else None
            if made is not None:
                return made
            continue
        inverse = h.algebra.pow(p, x.num(-1))
        made = _gradient(h.algebra.add(*(h.algebra.mul(t, inverse) for t in terms_of(e))), pair, h)
        if made is not None:
            return made
    return None


def _gradient(e: Expr, pair: Pair, h: Holes) -> Term | None:
    """p (g(v_k) + sum(p m(v))), given over p, with roots at 0."""
    algebra = h.algebra
    e = algebra.add(*(u for t in terms_of(e) for u in _spread(t, algebra)))
    here = _function(algebra.add(*(t for t in terms_of(e) if t.sort == "row")), pair, algebra)
    mean = _mean_of([t for t in terms_of(e) if t.sort == "scalar"], pair, algebra)
    if here is None or mean is None or here.logs + mean.logs or not (_worth(here.g) or _worth(mean.g)):
        return None
    start = _constant(here.g, _constants(here.g, mean.g))
    if start is None:
        return None
    apart, beside = sub(here.g, start), add(mean.g, start)
    slope = _constant(partial(add(apart, beside), SCALAR), _constants(here.g, mean.g))
    if slope is not None and _is_nothing(sub(add(apart, beside), mul(slope, make("expm1", SCALAR)))):
        return _measured(apart, here.g, pair, h)
    total = _mean_term(beside, pair, h)
    return None if total is None else add(_by_larger(apart, pair, h), mul(forms.share(pair.a, pair.la), total))


def _measured(apart: Term, whole: Term, pair: Pair, h: Holes) -> Term:
    """p (g(v_k) - sum(p g(v))), to which a constant in g is nothing: it is 0 where p and q are equal, or, unless they
    are near that, where q is nothing beside p: both are where many classes can have nearly the same value."""
    end = _constant(replace(whole, {SCALAR: const(-FAR)}), _constants(whole))
    near = _centred(apart, pair, h)
    if end is None or _is_nothing(sub(sub(whole, end), apart)):
        return near
    mean = make("abs", node("sum", (_by_larger(apart, pair, h),)))
    return node("where", (node("lt", (mean, NEAR)), near, _centred(sub(whole, end), pair, h)))


def _centred(g: Term, pair: Pair, h: Holes) -> Term:
    """p (g(v_k) - sum(p g(v))), measured from the mean as it comes out rounded: at the class that has nearly all of
    p the two are the same number."""
    p, v = forms.share(pair.a, pair.la), pair.ratio()
    mean = node("sum", (_by_larger(g, pair, h),))
    far, near = _halves(g, pair, h)
    apart = node("gap", (near, mean))
    left = node("sum", (_choice(v, sub(far, mul(p, mean)), mul(p, apart)),))
    return _choice(v, sub(far, mul(p, add(mean, left))), mul(p, sub(apart, left)))


def _spread(t: Expr, algebra: Algebra) -> list[Expr]:
    """A product with a sum in it as its terms."""
    for f in factors(t):
        if f.op == "add":
            return [u for s in f.args for u in _spread(algebra.mul(without(t, f, algebra), s), algebra)]
    return [t]


def _pairs(e: Expr) -> Iterator[Pair]:
    """Two rows whose softmaxes may be in an expression."""
    found = sorted((n for n in e.within if n.op == "lse" and len(n.args) == 1 and n.args[0].sort == "row"),
                   key=lambda n: n.key)
    if len(found) == 2:
        for la, lb in itertools.permutations(found):
            if all(n.op not in ("log", "onehot", "fn") for n in x.walk(la.args[0], lb.args[0])):
                yield Pair(la.args[0], la, lb.args[0], lb)


def _mean_of(parts: tuple[Expr, ...] | list[Expr], pair: Pair, algebra: Algebra) -> Known | None:
    """g where a scalar is sum(p g(v)); what stands outside sums is a multiple of sum p = 1, or of sum q."""
    p, q = algebra.exp(algebra.sub(pair.a, pair.la)), algebra.exp(algebra.sub(pair.b, pair.lb))
    body = ZERO
    for t in parts:
        sums = [f for f in factors(t) if f.op == "sum"]
        found = lse_term(t, algebra)
        if len(sums) == 1:
            made = algebra.mul(without(t, sums[0], algebra), sums[0].args[0])
        elif found is not None and found[0].op == "num":
            made = algebra.mul(t, q if found[1] is pair.lb else p)
        else:
            made = algebra.mul(t, p)
        body = algebra.add(body, made)
    return _function(algebra.add(*(algebra.mul(t, algebra.pow(p, x.num(-1))) for t in terms_of(body))), pair, algebra)


def _function(e: Expr, pair: Pair, algebra: Algebra) -> Known | None:
    """A function of v, and a multiple of lse(a), where a row is that; None where it reads something else."""
    v, share = x.leaf(RATIO), x.leaf(row("@share"))
    other = algebra.add(pair.b, algebra.neg(pair.a), pair.la, algebra.neg(v))
    made = _put(_put(e, pair.lb, other, algebra), pair.la, algebra.sub(pair.a, share), algebra)
    made = algebra.add(*(u for t in terms_of(made) for u in _spread(t, algebra)))
    logs = sum((-c for c, rest in map(coefficient, terms_of(made)) if rest is share), Fraction(0))
    made = algebra.sub(made, algebra.add(*(algebra.mul(x.num(logs), t) for t in terms_of(pair.a)),
                                         algebra.mul(x.num(-logs), share)))
    if any((n.op == "leaf" and n is not v) or n.op in ("lse", "sum", "at", "onehot") for n in x.walk(made)):
        return None
    return Known(replace(to_term(made), {RATIO: SCALAR}), logs)


def _put(e: Expr, old: Expr, new: Expr, algebra: Algebra) -> Expr:
    """An expression with one part in the place of another, logarithms of sums as functions of differences."""
    if e is old:
        return new
    if not e.args or e.op in ("sum", "lse", "at"):
        return e
    args = tuple(_put(a, old, new, algebra) for a in e.args)
    if e.op == "fn" and e.name == "logaddexp":
        return algebra.add(args[0], x.function("softplus", algebra.sub(args[1], args[0])))
    return algebra.again(e, args)


def _worth(g: Term) -> bool:
    """Whether a function is more than v and e^v: those have rules of their own."""
    known = {SCALAR, make("exp", SCALAR)}
    return any(t not in known and t.op not in ("const", "add", "sub", "mul", "neg", "div") for t in walk(g)) or any(
        t.op in ("mul", "div") and sum(a in known for a in t.args) > 1 for t in walk(g))


def _constants(*terms: Term) -> list[Term]:
    """Logarithms of numbers in some functions."""
    known = [t for t in walk(*terms) if t.op == "log" and is_const(t.args[0])]
    known += [make("log", const(2)) for t in walk(*terms) if t.op in ("softplus", "logaddexp")]
    return list(dict.fromkeys(known))


def _constant(g: Term, logs: Sequence[Term]) -> Term | None:
    """The value of a function at 0: a short fraction, and maybe a simple multiple of one of some logarithms."""
    value = _middle(replace(g, {SCALAR: ZERO_TERM}))
    if value is None:
        return None
    for log, n in [(ONE_TERM, Fraction(0)), *itertools.product(logs, MULTIPLES)]:
        beside = value - n * (_middle(log) or 0)
        short = beside.limit_denominator(SHORT)
        if abs(beside - short) < TINY:
            return add(const(short), mul(const(n), log))
    return None


def _is_nothing(g: Term) -> bool:
    """Whether a function is zero everywhere, as far as a few balls say."""
    found = [balls.enclose(g, {"ratio": v}, 300) for v in (-1.25, 0.75, 2.5)]
    return all(not isinstance(b, list) and b.is_finite() and float(abs(b)) < TINY for b in found)


def _middle(t: Term) -> Fraction | None:
    """A constant to many digits."""
    ball = balls.enclose(t, {}, 300)
    if isinstance(ball, list) or not ball.is_finite():
        return None
    digits, exponent = ball.mid().man_exp()
    return Fraction(int(digits)) * Fraction(2) ** int(exponent)


def _mean_term(g: Term, pair: Pair, h: Holes) -> Term | None:
    """sum(p g(v)) for a g with a root at 0: no term cancels another; each by the larger of p and q."""
    root, slope = (_constant(f, _constants(g)) for f in (g, partial(g, SCALAR)))
    if slope is None or root is None or not is_const(root, 0):
        return None
    double = sub(g, mul(slope, make("expm1", SCALAR)))
    if _is_nothing(double):
        return ZERO_TERM
    return node("sum", (_by_larger(double, pair, h),))


def _by_larger(g: Term, pair: Pair, h: Holes) -> Term:
    """p g(v), or q (e^-v g(v)) where q is the larger by far: neither function is beyond what the search gets."""
    far, near = _halves(g, pair, h)
    return _choice(pair.ratio(), far, mul(forms.share(pair.a, pair.la), near))


def _halves(g: Term, pair: Pair, h: Holes) -> tuple[Term, Term]:
    """q (e^-v g(v)) for large v, and g(v) for others."""
    v = pair.ratio()
    algebra = h.algebra
    body = algebra.read(mul(make("exp", SCALAR), replace(g, {SCALAR: neg(SCALAR)})))
    turned = to_term(algebra.add(*(u for t in terms_of(body) for u in _spread(t, algebra))))
    return mul(forms.share(pair.b, pair.lb), h.function(turned, neg(v), -REACH)), h.function(g, v, REACH)


def _choice(v: Term, far: Term, near: Term) -> Term:
    return node("where", (node("gt", (v, const(REACH))), far, near))


def power_of_ratio(e: Expr, h: Holes) -> Term | None:
    """c lse(n a + (1 - n) b) - n c lse(a) - (1 - n) c lse(b) = c log sum(p e^((1 - n) v))."""
    if e.op != "add" or e.sort != "scalar":
        return None
    algebra = h.algebra
    found = [known for t in e.args if (known := lse_term(t, algebra)) and len(known[1].args) == 1]
    for (_, la), (_, lb), (c, mixed) in itertools.permutations(found, 3):
        n = _share_of(mixed.args[0], la.args[0], lb.args[0], algebra)
        if n is None or la.args[0].sort != "row" or lb.args[0].sort != "row":
            continue
        beside = algebra.add(algebra.mul(x.num(n), la), algebra.mul(x.num(1 - n), lb))
        whole = algebra.mul(c, algebra.sub(mixed, beside))
        left = algebra.sub(e, whole)
        if len(terms_of(left)) > len(e.args) - 3:
            continue
        pair = Pair(la.args[0], la, lb.args[0], lb)
        beyond = _mean_term(make("expm1", mul(const(1 - n), SCALAR)), pair, h)
        if beyond is None:
            return None
        near = node("and", (node("gt", (beyond, neg(HALF))), node("lt", (beyond, ONE_TERM))))
        own = [add(forms.peak(t), forms.tail(t)) for t in (mixed, la, lb)]
        far = sub(sub(own[0], mul(const(n), own[1])), mul(const(1 - n), own[2]))
        return add(mul(h.hole(c), node("where", (near, make("log1p", beyond), far))), h.hole(left))
    return None


def _share_of(mixed: Expr, a: Expr, b: Expr, algebra: Algebra) -> Fraction | None:
    """n where a row is n a + (1 - n) b."""
    one = next((t for t in terms_of(a) if coefficient(t)[1] not in {coefficient(s)[1] for s in terms_of(b)}), None)
    if one is None:
        return None
    c, rest = coefficient(one)
    n = next((d / c for d, r in map(coefficient, terms_of(mixed)) if r is rest), Fraction(0))
    made = algebra.add(*(algebra.mul(x.num(n), t) for t in terms_of(a)),
                       *(algebra.mul(x.num(1 - n), t) for t in terms_of(b)))
    return n if n not in (0, 1) and made is mixed else None
