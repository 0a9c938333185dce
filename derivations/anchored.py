"""Anchored numbers: an exact rational plus a ball, so that 1 - e^-1000000 keeps what it lacks to 1.

A plain ball forgets e^-1000000 beside 1 at any precision that a machine can afford. Here the 1 is
kept apart as an exact anchor, the rest as a ball with its own relative accuracy, and an anchor
that cancels leaves the rest. The infinities are numbers too, with the arithmetic of limits:
inf - inf, 0 * inf and x / 0 are NaN, which the caller resolves by approaching the point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from flint import arb, ctx, fmpq

Ball = Any  # flint.arb
Truth = bool | None  # None: the balls do not decide
_NIL = fmpq(0)
_MAX_BITS = 60000


class Anchored:
    """anchor + rest. `rest` alone says whether the number is infinite (an exact infinity) or NaN."""

    __slots__ = ("anchor", "rest")

    def __init__(self, anchor: Any, rest: Ball) -> None:
        self.anchor = anchor
        self.rest = rest

    @property
    def ball(self) -> Ball:
        """The whole number as one ball, at the working precision."""
        return arb(self.anchor) + self.rest if self.anchor != 0 else self.rest

    @property
    def kind(self) -> int | None:
        """0 finite, 1 or -1 infinite, None NaN or unbounded."""
        if self.rest.is_finite():
            return 0
        return 1 if self.rest == arb.pos_inf() else -1 if self.rest == arb.neg_inf() else None

    @property
    def exact(self) -> bool:
        """Whether the number is known exactly: its anchor is all of it."""
        return bool(self.rest.is_zero())

    @property
    def sign(self) -> int | None:
        """1, 0 or -1; None where the ball does not decide."""
        kind = self.kind
        if kind != 0:
            return kind
        if self.exact:
            return int(self.anchor > 0) - int(self.anchor < 0)
        ball = self.ball
        return 1 if ball > 0 else -1 if ball < 0 else 0 if ball.is_zero() else None


def exactly(value: Fraction | int) -> Anchored:
    """An exact rational."""
    value = Fraction(value)
    return Anchored(fmpq(value.numerator, value.denominator), arb(0))


def inexact(ball: Ball) -> Anchored:
    """A ball with no anchor; NaN unless it is finite."""
    return Anchored(_NIL, ball) if ball.is_finite() else NAN


NAN = Anchored(_NIL, arb.nan())
INF = Anchored(_NIL, arb.pos_inf())
NEG_INF = Anchored(_NIL, arb.neg_inf())
ZERO = exactly(0)
ONE = exactly(1)
TWO = exactly(2)


def _infinite(sign: int | None) -> Anchored:
    return INF if sign == 1 else NEG_INF if sign == -1 else NAN


def _made(anchor: Any, rest: Ball) -> Anchored:
    """The number, its anchor melted into the ball where the ball outweighs it or it has grown too long to carry."""
    outweighed = anchor != 0 and not rest.is_zero() and not abs(rest) < abs(arb(anchor))
    if outweighed or int(anchor.p).bit_length() + int(anchor.q).bit_length() > _MAX_BITS:
        return inexact(arb(anchor) + rest)
    return Anchored(anchor, rest)


def neg(a: Anchored) -> Anchored:
    return Anchored(-a.anchor, -a.rest) if a.kind == 0 else _infinite(None if a.kind is None else -a.kind)


def add(a: Anchored, b: Anchored) -> Anchored:
    if a.kind == 0 and b.kind == 0:
        return _made(a.anchor + b.anchor, a.rest + b.rest)
    if a.kind == 0 or b.kind == 0 or a.kind == b.kind:
        return a if a.kind != 0 else b
    return NAN


def sub(a: Anchored, b: Anchored) -> Anchored:
    return add(a, neg(b))


def mul(a: Anchored, b: Anchored) -> Anchored:
    if a.kind != 0 or b.kind != 0:
        one, other = a.sign, b.sign
        return NAN if not one or not other else _infinite(one * other)
    rest = a.rest * b.rest
    if a.anchor != 0:
        rest += b.rest * a.anchor
    if b.anchor != 0:
        rest += a.rest * b.anchor
    return _made(a.anchor * b.anchor, rest)


def div(a: Anchored, b: Anchored) -> Anchored:
    if b.kind != 0:
        return ZERO if b.kind is not None and a.kind == 0 else NAN
    if a.kind != 0:
        return mul(a, ONE if b.sign == 1 else exactly(-1)) if b.sign else NAN
    if b.exact:
        return NAN if b.anchor == 0 else _made(a.anchor / b.anchor, a.rest / arb(b.anchor))
    if b.anchor == 0:
        return inexact(a.ball / b.rest)
    # (c + d)/(C + D) = c/C + (C d - c D)/(C (C + D))
    quotient = (a.rest * b.anchor - b.rest * a.anchor) / (b.ball * b.anchor)
    return _made(a.anchor / b.anchor, quotient) if quotient.is_finite() else NAN


def _small(ball: Ball) -> bool:
    return bool(abs(ball) < 0.5)


def exp(a: Anchored) -> Anchored:
    if a.kind != 0:
        return {1: INF, -1: ZERO}.get(a.kind or 0, NAN)
    ball = a.ball
    return Anchored(fmpq(1), ball.expm1()) if _small(ball) else inexact(ball.exp())


def expm1(a: Anchored) -> Anchored:
    if a.kind == 0 and _small(a.ball):
        return inexact(a.ball.expm1())
    return sub(exp(a), ONE)


def log(a: Anchored) -> Anchored:
    if a.kind != 0 or a.sign == 0:
        return INF if a.kind == 1 else NEG_INF if a.sign == 0 else NAN
    return inexact(a.rest.log1p()) if a.anchor == 1 else inexact(a.ball.log())


def log1p(a: Anchored) -> Anchored:
    return log(add(a, ONE))


def exp2(a: Anchored) -> Anchored:
    if a.kind == 0 and a.exact and a.anchor.q == 1 and abs(int(a.anchor.p)) < 4096:
        return exactly(Fraction(2) ** int(a.anchor.p))
    return exp(mul(a, inexact(arb(2).log())))


def _to_base(base: int) -> Callable[[Anchored], Anchored]:
    """The logarithm to a base."""
    return lambda a: div(log(a), inexact(arb(base).log()))


def sigmoid(a: Anchored) -> Anchored:
    if a.kind == 0 and a.ball > 1:
        return Anchored(fmpq(1), -1 / (1 + a.ball.exp()))
    return div(ONE, add(ONE, exp(neg(a)))) if a.kind != -1 else ZERO


def softplus(a: Anchored) -> Anchored:
    return add(a, log1p(exp(neg(a)))) if a.sign == 1 else log1p(exp(a))


def tanh(a: Anchored) -> Anchored:
    if a.kind == 0 and not abs(a.ball) > 1:
        return inexact(a.ball.tanh())
    if a.sign == 1:
        return sub(ONE, div(TWO, add(exp(add(a, a)), ONE)))
    return neg(tanh(neg(a))) if a.sign == -1 else NAN


def erfc(a: Anchored) -> Anchored:
    if a.kind != 0:
        return {1: ZERO, -1: TWO}.get(a.kind or 0, NAN)
    return sub(TWO, inexact((-a.ball).erfc())) if a.ball < -1 else inexact(a.ball.erfc())


def erf(a: Anchored) -> Anchored:
    if a.kind == 0 and not abs(a.ball) > 1:
        return inexact(a.ball.erf())
    return sub(ONE, erfc(a)) if a.sign == 1 else sub(erfc(neg(a)), ONE)


def erfcx(a: Anchored) -> Anchored:
    return {1: ZERO, -1: INF}.get(a.kind or 0, NAN) if a.kind != 0 else inexact(erfcx_ball(a.ball))


def sqrt(a: Anchored) -> Anchored:
    if a.kind != 0 or a.sign == 0:
        return INF if a.kind == 1 else ZERO if a.sign == 0 else NAN
    if a.anchor > 0:
        top, bottom = Fraction(int(a.anchor.p), int(a.anchor.q)).as_integer_ratio()
        root = fmpq(math.isqrt(top), math.isqrt(bottom))
        if root * root == a.anchor:
            rest = a.rest / (a.ball.sqrt() + root)
            return Anchored(root, rest) if rest.is_finite() else NAN
    return inexact(a.ball.sqrt())


def power(a: Anchored, b: Anchored) -> Anchored:
    """a ** b by its limit: 0 ** 0 = 1 (the base moves, the exponent stays), 0 ** -1 is NaN."""
    if b.exact and b.anchor == 0:
        return ONE if a.kind is not None else NAN
    if b.exact and b.anchor.q == 1 and 0 < abs(int(b.anchor.p)) <= 16:
        product = a
        for _ in range(abs(int(b.anchor.p)) - 1):
            product = mul(product, a)
        return product if b.anchor > 0 else div(ONE, product)
    if a.sign == 0:
        return ZERO if b.sign == 1 else NAN
    if a.kind == 0 and b.kind == 0:
        if a.anchor == 1 and _small(a.rest):
            return exp(mul(b, inexact(a.rest.log1p())))
        if a.sign is None and b.sign == 1:  # a negative base has no power: what there is of it lies above zero
            return inexact((a.ball.upper() ** b.ball).union(arb(0)))
        return inexact(a.ball ** b.ball)
    return exp(mul(b, log(a)))


def difference_sign(a: Anchored, b: Anchored) -> int | None:
    """The sign of a - b, equal infinities being equal; None where it is not decided."""
    if a.kind is None or b.kind is None:
        return None
    if a.kind or b.kind:
        return (a.kind > b.kind) - (a.kind < b.kind)
    return sub(a, b).sign


def union(a: Anchored, b: Anchored) -> Anchored:
    """A number that holds both."""
    if a.kind != 0 or b.kind != 0:
        return a if a.kind == b.kind else NAN
    if a.anchor == b.anchor:
        return Anchored(a.anchor, a.rest.union(b.rest))
    return inexact(a.ball.union(b.ball))


def maximum(a: Anchored, b: Anchored) -> Anchored:
    sign = difference_sign(a, b)
    if sign is None:
        return NAN if a.kind != 0 or b.kind != 0 else inexact(a.ball.max(b.ball))
    return a if sign >= 0 else b


def minimum(a: Anchored, b: Anchored) -> Anchored:
    return neg(maximum(neg(a), neg(b)))


def absolute(a: Anchored) -> Anchored:
    sign = a.sign
    if sign is None:
        return NAN if a.kind != 0 else inexact(abs(a.ball))
    return a if sign >= 0 else neg(a)


def signum(a: Anchored) -> Anchored:
    return exactly(a.sign) if a.sign is not None else NAN if a.kind != 0 else inexact(a.ball.sgn())


def series(a: Ball, first: Callable[[int], Fraction]) -> Ball:
    """sum over k >= 2 of first(k) a**k for |a| < 2**-8, |first(k)| <= 1: the tail held by a ball."""
    if a.is_zero():
        return arb(0)
    mantissa, exponent = abs(a).upper().man_exp()
    terms = ctx.prec // -(int(mantissa).bit_length() + int(exponent)) + 4
    total = arb(0)
    for k in range(terms, 1, -1):
        value = first(k)
        total = total * a + arb(fmpq(value.numerator, value.denominator))
    tail = (abs(a).upper() ** (terms - 1)) * 2
    return a * a * (total + arb(0, tail))


def log1pmx_ball(a: Ball) -> Ball:
    """log(1 + a) - a."""
    return series(a, lambda k: Fraction(1 if k % 2 else -1, k)) if abs(a) < 0.004 else a.log1p() - a


def expm1mx_ball(a: Ball) -> Ball:
    """exp(a) - 1 - a."""
    return series(a, lambda k: Fraction(1, math.factorial(k))) if abs(a) < 0.004 else a.expm1() - a


def lgamma_ball(a: Ball) -> Ball:
    """log |gamma(a)|, left of zero too."""
    return a.lgamma() if a > 0 else abs(a.gamma()).log()


def _enveloped(a: Ball, order: int, direct: Callable[[Ball], Ball]) -> Ball:
    """binet(a) (order 0) or binet_slope(a) (order 1): far out a series that encloses it, else its definition."""
    bits = ctx.prec
    if not a > bits:
        ctx.prec = bits + 64
        try:
            return direct(a)
        finally:
            ctx.prec = bits
    total, k = arb(0), 1
    while True:
        part = arb(fmpq.bernoulli(2 * k)) / (2 * k * (2 * k - 1 if order == 0 else 1)) / a ** (2 * k - 1 + order)
        if abs(part) < arb(2) ** -bits * abs(total):  # the next term bounds what is left
            return total + arb(0, abs(part).upper())
        total, k = total + part, k + 1


def binet_ball(a: Ball) -> Ball:
    """lgamma(a) less its Stirling formula, a > 0."""
    return _enveloped(a, 0, lambda x: x.lgamma() - (x - arb(0.5)) * x.log() + x - (2 * arb.pi()).log() / 2)


def binet_slope_ball(a: Ball) -> Ball:
    """log(a) - digamma(a) - 1 / (2 a), a > 0."""
    return _enveloped(a, 1, lambda x: x.log() - x.digamma() - 1 / (2 * x))


def erfcx_rest_ball(a: Ball) -> Ball:
    """1 / sqrt(pi) - a erfcx(a): falling; on the right by the derivative of the confluent U."""
    if not a.is_exact() and a.is_finite():
        return erfcx_rest_ball(a.lower()).union(erfcx_rest_ball(a.upper()))
    if a > 2:
        return a * (a * a).hypgeom_u(arb(1.5), arb(1.5)) / (2 * arb.pi().sqrt())
    return 1 / arb.pi().sqrt() - a * erfcx_ball(a)


def binet(a: Anchored) -> Anchored:
    return _of_positive(a, binet_ball)


def binet_slope(a: Anchored) -> Anchored:
    return _of_positive(a, binet_slope_ball)


def binet_gap(a: Anchored, b: Anchored) -> Anchored:
    return sub(binet(add(a, b)), binet(a))


def lgamma1p(a: Anchored) -> Anchored:
    return lgamma(add(ONE, a))


def _of_positive(a: Anchored, ball: Callable[[Ball], Ball]) -> Anchored:
    """A function that falls from infinity at 0 to 0."""
    if a.kind != 0 or not a.ball > 0:
        return ZERO if a.kind == 1 else INF if a.sign == 0 else NAN
    return inexact(ball(a.ball))


def erfcx_rest(a: Anchored) -> Anchored:
    return {1: ZERO, -1: INF}.get(a.kind or 0, NAN) if a.kind != 0 else inexact(erfcx_rest_ball(a.ball))


def erfcx_ball(a: Ball) -> Ball:
    """exp(a^2) erfc(a): falling, so its ends enclose it; on the right by the confluent U, which cannot overflow."""
    if not a.is_exact() and a.is_finite():
        return erfcx_ball(a.lower()).union(erfcx_ball(a.upper()))
    if a > 2:
        return (a * a).hypgeom_u(arb(0.5), arb(0.5)) / arb.pi().sqrt()
    return (a * a).exp() * a.erfc()


def lgamma(a: Anchored) -> Anchored:
    if a.kind != 0:
        return INF if a.kind == 1 else NAN
    pole = a.exact and a.anchor.q == 1 and a.anchor <= 0
    return INF if pole else inexact(lgamma_ball(a.ball))


def log1pmx(a: Anchored) -> Anchored:
    if a.kind:
        return NEG_INF if a.kind == 1 else NAN
    return inexact(log1pmx_ball(a.ball)) if a.kind == 0 and a.ball > -1 else sub(log1p(a), a)


def expm1mx(a: Anchored) -> Anchored:
    if a.kind:
        return INF
    return inexact(expm1mx_ball(a.ball)) if a.kind == 0 and abs(a.ball) < 1 else sub(expm1(a), a)


def xlogy(a: Anchored, b: Anchored) -> Anchored:
    return (ZERO if b.kind is not None else NAN) if a.sign == 0 else mul(a, log(b))


def absorb(a: Anchored, b: Anchored) -> Anchored:
    return (ZERO if b.kind is not None else NAN) if a.sign == 0 else mul(a, b)


def gap(a: Anchored, b: Anchored) -> Anchored:
    return ZERO if difference_sign(a, b) == 0 else sub(a, b)


def exp_diff(a: Anchored, b: Anchored) -> Anchored:
    return exp(gap(a, b))


def clip(a: Anchored, low: Anchored, high: Anchored) -> Anchored:
    return minimum(maximum(a, low), high)


def logaddexp(a: Anchored, b: Anchored) -> Anchored:
    return lse([a, b])


def total(row: Sequence[Anchored]) -> Anchored:
    """The sum of a row."""
    out = ZERO
    for a in row:
        out = add(out, a)
    return out


def peak(row: Sequence[Anchored]) -> Anchored:
    """The largest of a row."""
    out = row[0]
    for a in row[1:]:
        out = maximum(out, a)
    return out


def _pivot(row: Sequence[Anchored]) -> tuple[int, Ball]:
    """An element that attains the peak or nearly so, and a bound on how far below the peak it may lie."""
    best, slack = 0, arb(0)
    for k in range(1, len(row)):
        sign = difference_sign(row[k], row[best])
        if sign is None:
            apart = sub(row[k], row[best]).ball
            slack = (slack + abs(apart)).upper()
        elif sign > 0:
            best = k
    return best, slack


def _others(row: Sequence[Anchored], best: int) -> Anchored:
    return total([exp(gap(a, row[best])) for k, a in enumerate(row) if k != best])


def rest(row: Sequence[Anchored]) -> Anchored:
    """The sum of exp(a - peak) without one that attains the peak; NaN where the peak is not a number to lean on."""
    if any(a.kind is None for a in row):
        return NAN
    best, slack = _pivot(row)
    kind = row[best].kind
    if kind == -1 or (kind == 1 and sum(a.kind == 1 for a in row) > 1):
        return NAN
    others = _others(row, best)
    if slack.is_zero():
        return others
    below = inexact(-arb(0).union(slack))
    return add(mul(others, exp(below)), expm1(below))


def lse(row: Sequence[Anchored]) -> Anchored:
    """log of the sum of exp."""
    if any(a.kind is None for a in row):
        return NAN
    best, _ = _pivot(row)
    if row[best].kind != 0:
        return row[best]
    return add(row[best], log1p(_others(row, best)))


def _less(a: Anchored, b: Anchored) -> Truth:
    sign = difference_sign(a, b)
    if sign is not None:
        return sign < 0
    return None if a.kind != 0 or b.kind != 0 or not sub(a, b).ball >= 0 else False


def _equal(a: Anchored, b: Anchored) -> Truth:
    sign = difference_sign(a, b)
    return None if sign is None else sign == 0


def negation(a: Truth) -> Truth:
    """Not, with None for undecided."""
    return None if a is None else not a


def both(a: Truth, b: Truth) -> Truth:
    """And, with None for undecided."""
    return False if a is False or b is False else None if a is None or b is None else True


def _function(name: str, at_inf: Anchored, at_minus_inf: Anchored, poles: Mapping[int, Anchored] | None = None,
              ball: Callable[[Ball], Ball] | None = None) -> Callable[[Anchored], Anchored]:
    """A function with no anchor of its own: arb's, its limits at infinity, its exact poles."""
    compute = ball or getattr(arb, name)

    def apply(a: Anchored) -> Anchored:
        if a.kind != 0:
            return at_inf if a.kind == 1 else at_minus_inf if a.kind == -1 else NAN
        if poles and a.exact and a.anchor.q == 1 and int(a.anchor.p) in poles:
            return poles[int(a.anchor.p)]
        return inexact(compute(a.ball))

    return apply


def arctangent(a: Anchored) -> Anchored:
    if a.kind:
        return inexact(arb.pi() / 2 * a.kind)
    return inexact(a.ball.atan())


def angle(a: Anchored, b: Anchored) -> Anchored:
    """atan2(a, b); 0 at the origin, NaN where both are infinite: there is no limit."""
    if a.kind is None or b.kind is None or (a.kind and b.kind):
        return NAN
    if a.sign == 0 and b.sign == 0:
        return ZERO
    if a.kind:
        return inexact(arb.pi() / 2 * a.kind)
    if b.kind == 1 or (a.sign == 0 and b.sign == 1):
        return ZERO
    if b.kind == -1:
        return NAN if a.sign is None else inexact(arb.pi() * (1 if a.sign >= 0 else -1))
    return inexact(arb.atan2(a.ball, b.ball))


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "add": add, "sub": sub, "mul": mul, "div": div, "neg": neg, "pow": power, "max": maximum, "min": minimum,
    "abs": absolute, "sign": signum, "sqrt": sqrt, "exp": exp, "expm1": expm1, "log": log, "log1p": log1p,
    "tanh": tanh, "erf": erf, "erfc": erfc, "atan": arctangent,
    "exp2": exp2, "log2": _to_base(2), "log10": _to_base(10),
    "erfcx": erfcx, "atan2": angle, "gamma": _function("gamma", INF, NAN),
    "sinh": _function("sinh", INF, NEG_INF), "cosh": _function("cosh", INF, INF),
    "asinh": _function("asinh", INF, NEG_INF), "acosh": _function("acosh", INF, NAN),
    "atanh": _function("atanh", NAN, NAN, {1: INF, -1: NEG_INF}),
    "sin": _function("sin", NAN, NAN), "cos": _function("cos", NAN, NAN), "tan": _function("tan", NAN, NAN),
    "asin": _function("asin", NAN, NAN), "acos": _function("acos", NAN, NAN),
    "lgamma": lgamma,
    "digamma": _function("digamma", INF, NAN),
    "sigmoid": sigmoid, "softplus": softplus, "logaddexp": logaddexp, "xlogy": xlogy, "log1pmx": log1pmx,
    "expm1mx": expm1mx, "binet": binet, "binet_slope": binet_slope, "erfcx_rest": erfcx_rest,
    "binet_gap": binet_gap, "lgamma1p": lgamma1p,
    "clip": clip, "clip_through": clip, "absorb": absorb, "gap": gap, "exp_diff": exp_diff,
    "lt": _less, "gt": lambda a, b: _less(b, a), "le": lambda a, b: negation(_less(b, a)),
    "ge": lambda a, b: negation(_less(a, b)), "eq": _equal, "ne": lambda a, b: negation(_equal(a, b)),
    "and": both, "or": lambda a, b: negation(both(negation(a), negation(b))), "not": negation,
    "sum": total, "peak": peak, "rest": rest, "lse": lse,
}
