"""Truncated power series: of a term in one quantity u about u = 0, with exact coefficients and in balls.

The arithmetic is written once for three kinds of coefficient: rationals (flint's fmpq), sums of
products of constants such as pi and log 2 (`constants.Sum`), and balls (flint's arb). The exact
kinds tell which leading coefficients vanish; balls know only what the exact ones have told them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from flint import arb, fmpq
from lossmith.derivations import terms
from lossmith.derivations.constants import BallConstants, Constants, NotKnownError
from lossmith.derivations.polynomial import collect
from lossmith.derivations.terms import (
    HALF,
    ONE,
    PI,
    TWO,
    ZERO,
    Term,
    add,
    const,
    div,
    is_const,
    make,
    mul,
    neg,
    node,
    number,
    sub,
)

Coefficient = Any  # fmpq, constants.Sum or arb
POWERS = 64  # the highest whole power that is taken by repeated multiplication of series
DEEP = 400  # nodes of a term that is expanded


class NoSeriesError(Exception):
    """There is no Laurent series at the point, or none that this module can find; says why."""


@dataclass(frozen=True)
class Series:
    """u**order * (c[0] + c[1] u + .. + O(u**len(c))); c[0] is not zero. No c at all: exactly zero."""

    order: int
    c: tuple[Coefficient, ...]

    @property
    def zero(self) -> bool:
        return not self.c

    def dense(self, count: int) -> list[Coefficient]:
        """The coefficients of u**0, u**1, ..: at most `count`, as far as they are known."""
        if self.zero:
            return [fmpq(0)] * count
        if self.order < 0:
            raise NoSeriesError("a function of what is infinite at the point")
        return ([fmpq(0)] * self.order + list(self.c))[:count]


def core(term: Term) -> Term:
    """`term` by the few functions that have a series of their own here."""
    done: dict[int, Term] = {}
    order = terms.walk(term)
    if len(order) > DEEP:
        raise NoSeriesError("the formula is too large")
    for t in order:
        args = tuple(done[a.id] for a in t.args)
        meaning = MEANING.get(t.op)
        done[t.id] = meaning(*args) if meaning is not None else terms.rebuild(t, args) if args else t
    return done[term.id]


def _exp(a: Term) -> Term:
    return make("exp", a)


def _sum_of(a: Term, b: Term) -> Term:
    return make("log", _product(a.args[0], b.args[0])) if a.op == b.op == "log" else add(a, b)


def _difference(a: Term, b: Term) -> Term:
    """a - b; two logarithms may be infinite at a point where their difference is not."""
    return make("log", _quotient(a.args[0], b.args[0])) if a.op == b.op == "log" else sub(a, b)


def _power(a: Term, b: Term) -> Term:
    if is_const(b) and number(b).denominator == 1 and a.op == "div":
        return div(node("pow", (a.args[0], b)), node("pow", (a.args[1], b)))
    return node("pow", (a, b)) if is_const(b) else _exp(mul(b, make("log", a)))


def _quotient(a: Term, b: Term) -> Term:
    """a / b; a zero of the denominator of b is none of the quotient's, and narrows no disc."""
    return collect(div(mul(a, b.args[1]), b.args[0])) if b.op == "div" else div(a, b)


def _product(a: Term, b: Term) -> Term:
    """a b, over one denominator where one of them is a quotient."""
    if a.op != "div" and b.op != "div":
        return mul(a, b)
    (p, q), (r, s) = (t.args if t.op == "div" else (t, ONE) for t in (a, b))
    return collect(div(mul(p, r), mul(q, s)))


LOG2, LOG10 = make("log", TWO), make("log", const(10))
MEANING: Mapping[str, Callable[..., Term]] = {
    "add": _sum_of, "sub": _difference, "mul": _product, "div": _quotient,
    "expm1": lambda a: sub(_exp(a), ONE), "log1p": lambda a: make("log", add(ONE, a)),
    "exp2": lambda a: _exp(mul(a, LOG2)), "log2": lambda a: div(make("log", a), LOG2),
    "log10": lambda a: div(make("log", a), LOG10),
    "tan": lambda a: div(make("sin", a), make("cos", a)), "tanh": lambda a: div(make("sinh", a), make("cosh", a)),
    "acos": lambda a: sub(mul(PI, HALF), make("asin", a)),
    "sigmoid": lambda a: div(ONE, add(ONE, _exp(neg(a)))), "softplus": lambda a: make("log", add(ONE, _exp(a))),
    "logaddexp": lambda a, b: add(a, make("log", add(ONE, _exp(sub(b, a))))),
    "xlogy": lambda a, b: mul(a, make("log", b)), "log1pmx": lambda a: sub(make("log", add(ONE, a)), a),
    "expm1mx": lambda a: sub(sub(_exp(a), ONE), a), "absorb": mul, "gap": sub,
    "exp_diff": lambda a, b: _exp(sub(a, b)),
    "erfc": lambda a: sub(ONE, make("erf", a)),
    "erfcx": lambda a: mul(_exp(mul(a, a)), sub(ONE, make("erf", a))),
    "erfcx_rest": lambda a: sub(div(ONE, node("pow", (PI, HALF))), mul(a, MEANING["erfcx"](a))),
    "binet": lambda a: sub(add(sub(make("lgamma", a), mul(sub(a, HALF), make("log", a))), a),
                           mul(HALF, make("log", mul(TWO, PI)))),
    "binet_slope": lambda a: sub(sub(make("log", a), make("digamma", a)), div(HALF, a)),
    "binet_gap": lambda a, b: sub(MEANING["binet"](add(a, b)), MEANING["binet"](a)),
    "lgamma1p": lambda a: make("lgamma", add(ONE, a)),
    "gamma": lambda a: _exp(make("lgamma", a)),
    "sqrt": lambda a: node("pow", (a, HALF)), "pow": _power,
    "abs": lambda a: node("where", (make("ge", a, ZERO), a, neg(a))),
    "sign": lambda a: node("where", (make("gt", a, ZERO), ONE, const(-1))),
    "max": lambda a, b: node("where", (make("ge", a, b), a, b)),
    "min": lambda a, b: node("where", (make("le", a, b), a, b)),
    "clip": lambda a, b, c: core(make("min", make("max", a, b), c)),
    "clip_through": lambda a, b, c: core(make("min", make("max", a, b), c)),
}
# Functions with a series of their own: those that `core` leaves.
OWN = frozenset({"exp", "log", "sin", "cos", "sinh", "cosh", "asin", "atan", "asinh", "acosh", "atanh", "erf", "lgamma",
                 "digamma"})


# --- recurrences ---------------------------------------------------------------------------------

Dense = list[Coefficient]


def _places(h: Sequence[Coefficient]) -> list[int]:
    """Where h is not plainly zero: many series have only every second coefficient."""
    return [j for j, x in enumerate(h) if j and not (isinstance(x, fmpq) and x == 0)]


def product(a: Sequence[Coefficient], b: Sequence[Coefficient], count: int) -> Dense:
    out: Dense = [fmpq(0)] * count
    right = [(j, y) for j, y in enumerate(b[:count]) if not (isinstance(y, fmpq) and y == 0)]
    for i, x in enumerate(a[:count]):
        if isinstance(x, fmpq) and x == 0:
            continue
        for j, y in right:
            if i + j >= count:
                break
            out[i + j] += x * y
    return out


def exponential(h: Dense, e0: Coefficient) -> Dense:
    out, places = [e0], _places(h)
    weighted = {j: h[j] * j for j in places}
    for k in range(1, len(h)):
        out.append(_sum(weighted[j] * out[k - j] for j in places if j <= k) / k)
    return out


def logarithm(h: Dense, l0: Coefficient) -> Dense:
    out, places = [l0], _places(h)
    for k in range(1, len(h)):
        inner = _sum(out[k - j] * h[j] * (k - j) for j in places if j < k)
        out.append((h[k] * k - inner) / h[0] / k)
    return out


def powered(h: Dense, exponent: fmpq, p0: Coefficient) -> Dense:
    out, places = [p0], _places(h)
    for k in range(1, len(h)):
        inner = _sum(h[j] * out[k - j] * (exponent * j - (k - j)) for j in places if j <= k)
        out.append(inner / h[0] / k)
    return out


def circular(h: Dense, s0: Coefficient, c0: Coefficient, sign: int) -> tuple[Dense, Dense]:
    """sin and cos (sign -1), or sinh and cosh (sign 1), of h."""
    sines, cosines, places = [s0], [c0], _places(h)
    weighted = {j: h[j] * j for j in places}
    for k in range(1, len(h)):
        s = _sum(weighted[j] * cosines[k - j] for j in places if j <= k) / k
        c = _sum(weighted[j] * sines[k - j] for j in places if j <= k) / k
        sines.append(s)
        cosines.append(c if sign > 0 else -c)
    return sines, cosines


def integrated(h: Dense, slope: Dense, f0: Coefficient) -> Dense:
    """f0 + the integral of slope * h'."""
    rate = [h[k] * k for k in range(1, len(h))]
    inner = product(rate, slope, len(h) - 1)
    return [f0] + [x / (k + 1) for k, x in enumerate(inner)]


def composed(h: Dense, a: Sequence[Coefficient]) -> Dense:
    """sum of a[k] w**k, w = h less its constant."""
    w = [fmpq(0), *h[1:]]
    out: Dense = [a[-1]] + [fmpq(0)] * (len(h) - 1)
    for x in reversed(a[:-1]):
        out = product(out, w, len(h))
        out[0] += x
    return out


def _sum(values: Any) -> Coefficient:
    total: Coefficient = fmpq(0)
    for v in values:
        total += v
    return total


def _squared_and(h: Dense, one: int, sign: int) -> Dense:
    """one + sign * h**2."""
    out = [x * sign for x in product(h, h, len(h))]
    out[0] += one
    return out


# --- terms ---------------------------------------------------------------------------------------


@dataclass
class Expander:
    """Series of the nodes of a core term in the variable `by`, exact.

    one_sided: only u > 0 matters, so that |u| is u. chosen: for each `where` that was met, the
    branch that is taken near the point. apart: terms that must keep their sign for that.
    """

    by: Term
    count: int
    constants: Constants
    one_sided: bool = False
    chosen: dict[int, Term] = field(default_factory=dict)
    apart: list[Term] = field(default_factory=list)
    done: dict[int, Series] = field(default_factory=dict)

    def __call__(self, term: Term) -> Series:
        found = self.done.get(term.id)
        if found is None:
            try:
                found = self.done[term.id] = self._step(term)
            except (NotKnownError, ZeroDivisionError) as problem:
                raise NoSeriesError(str(problem)) from None
        return found

    def strip(self, term: Term, order: int, c: Sequence[Coefficient]) -> Series:
        """The series without the leading coefficients that vanish."""
        for k, x in enumerate(c):
            if not self.constants.vanishes(x):
                if not self.constants.certain(x):
                    raise NoSeriesError("a leading coefficient is neither zero nor known to differ from zero")
                return Series(order + k, tuple(c[k:]))
        raise NoSeriesError("every coefficient that was computed is zero")

    def _plain(self, value: Coefficient) -> Series:
        if self.constants.vanishes(value):
            return Series(0, ())
        return Series(0, (value, *[fmpq(0)] * (self.count - 1)))

    def _step(self, t: Term) -> Series:
        if t is self.by:
            return Series(1, (fmpq(1), *[fmpq(0)] * (self.count - 1)))
        if not t.args:
            return self._plain(self.constants.leaf(t))
        if t.op in ("add", "sub"):
            a, b = self(t.args[0]), self(t.args[1])
            return self._sum(t, a, b if t.op == "add" else Series(b.order, tuple(-x for x in b.c)))
        if t.op == "neg":
            a = self(t.args[0])
            return Series(a.order, tuple(-x for x in a.c))
        if t.op in ("mul", "div"):
            return self._product(t)
        if t.op == "pow":
            return self._power(t)
        if t.op == "where":
            return self(self._branch(t))
        if t.op in OWN:
            return self._function(t)
        raise NoSeriesError(f"{t.op} has no series here")

    def _sum(self, t: Term, a: Series, b: Series) -> Series:
        if a.zero or b.zero:
            return b if a.zero else a
        low = min(a.order, b.order)
        length = min(a.order + len(a.c), b.order + len(b.c)) - low
        out: Dense = [fmpq(0)] * length
        for s in (a, b):
            for k, x in enumerate(s.c):
                if s.order - low + k < length:
                    out[s.order - low + k] += x
        return self.strip(t, low, out)

    def _product(self, t: Term) -> Series:
        a, b = self(t.args[0]), self(t.args[1])
        if t.op == "div" and b.zero:
            raise NoSeriesError("division by zero")
        if a.zero or b.zero:
            return Series(0, ())
        count = min(len(a.c), len(b.c))
        if t.op == "mul":
            return self.strip(t, a.order + b.order, product(a.c, b.c, count))
        inverse = powered(list(b.c[:count]), fmpq(-1), 1 / b.c[0])
        return self.strip(t, a.order - b.order, product(a.c, inverse, count))

    def _power(self, t: Term) -> Series:
        a, exponent = self(t.args[0]), number(t.args[1])
        if a.zero:
            if exponent > 0:
                return Series(0, ())
            raise NoSeriesError("a power of zero")
        whole = exponent.denominator == 1
        order = a.order * exponent
        if order.denominator != 1 or not (whole or self.one_sided or a.order == 0 or
                                          (a.order % 2 == 0 and order % 2 == 0)):
            raise NoSeriesError("a root of what is zero or infinite at the point")
        first = self.constants.power(a.c[0], exponent)
        return Series(int(order), tuple(powered(list(a.c), fmpq(exponent.numerator, exponent.denominator), first)))

    def _function(self, t: Term) -> Series:
        h = self(t.args[0]).dense(self.count)
        if t.op == "log" and self(t.args[0]).order != 0:
            raise NoSeriesError("a logarithm of what is zero or infinite at the point")
        return self.strip(t, 0, function(t.op, h, self.constants))

    def _branch(self, t: Term) -> Term:
        holds = self._truth(t.args[0])
        found = self.chosen[t.id] = t.args[1] if holds else t.args[2]
        return found

    def _truth(self, t: Term) -> bool:
        if t.op == "not":
            return not self._truth(t.args[0])
        if t.op in ("and", "or"):
            both = [self._truth(a) for a in t.args]
            return all(both) if t.op == "and" else any(both)
        if t.op in ("eq", "ne"):
            raise NoSeriesError("a choice by equality")
        difference = sub(*t.args)
        if is_const(difference):
            sign = (number(difference) > 0) - (number(difference) < 0)
            return {"gt": sign > 0, "ge": sign >= 0, "lt": sign < 0, "le": sign <= 0}[t.op]
        found = self(difference)
        if found.zero:
            return t.op in ("ge", "le")
        if found.order and not self.one_sided:
            raise NoSeriesError("a choice that changes at the point")
        self.apart.append(difference)
        return (self.constants.sign(found.c[0]) > 0) == (t.op in ("gt", "ge"))


def function(op: str, h: Dense, constants: Constants) -> Dense:
    """One of the functions OWN of a series, from its recurrence; h[0] is its value at the point."""
    h0, at = h[0], constants.function
    if op == "exp":
        return exponential(h, at("exp", h0))
    if op == "log":
        return logarithm(h, at("log", h0))
    if op in ("sin", "cos", "sinh", "cosh"):
        round_ = op in ("sin", "cos")
        names = ("sin", "cos") if round_ else ("sinh", "cosh")
        pair = circular(h, at(names[0], h0), at(names[1], h0), -1 if round_ else 1)
        return pair[names.index(op)]
    if op in ("lgamma", "digamma"):
        return composed(h, [constants.gamma(op, h0, k) for k in range(len(h))])
    if op == "erf":
        square = [-x for x in product(h, h, len(h))]
        slope = exponential(square, at("exp", square[0]))
        scale = constants.two_over_root_pi()
        return integrated(h, [x * scale for x in slope], at("erf", h0))
    one, sign, exponent = {"atan": (1, 1, fmpq(-1)), "atanh": (1, -1, fmpq(-1)), "asin": (1, -1, fmpq(-1, 2)),
                           "asinh": (1, 1, fmpq(-1, 2)), "acosh": (-1, 1, fmpq(-1, 2))}[op]
    under = _squared_and(h, one, sign)
    if constants.vanishes(under[0]):
        raise NoSeriesError(f"the edge of {op}")
    first = constants.power(under[0], Fraction(int(exponent.p), int(exponent.q)))
    return integrated(h, powered(under, exponent, first), at(op, h0))


@dataclass
class BallExpander(Expander):
    """The same in balls, to more terms: what vanishes and which branch is taken, an exact expander has found."""

    exact: Expander | None = None

    def strip(self, term: Term, order: int, c: Sequence[Coefficient]) -> Series:
        assert self.exact is not None
        known = self.exact(term)
        if known.zero:
            return known
        start = known.order - order
        if start >= len(c) or not all(arb(0).overlaps(arb(x)) for x in c[:start]):
            raise NoSeriesError("balls and exact coefficients disagree")
        # Plain zeros stay: the recurrences skip them.
        found = tuple(x if isinstance(x, fmpq) and x == 0 else arb(x) for x in c[start:])
        if arb(found[0]).contains(0):
            raise NoSeriesError("a leading coefficient is too close to zero to tell")
        return Series(known.order, found)

    def _branch(self, t: Term) -> Term:
        assert self.exact is not None
        return self.exact.chosen[t.id]


def balls_of(exact: Expander, term: Term, count: int) -> tuple[BallExpander, Series]:
    """The expander in balls that follows an exact one, and the series of `term`."""
    made = BallExpander(exact.by, count, BallConstants(), exact.one_sided, exact=exact)
    return made, made(term)
