"""How far a power series may be trusted: bounds of its tail on a disc of the complex plane.

Every node of a core term is f(u) = u**order * g(u) with g analytic for |u| <= R; its tail is
g less the coefficients that are known. The bound of a tail follows from those of the arguments
(Moore's Taylor models on a disc), singularities are refused where they come up: a denominator, or
the argument of a logarithm or a root, must be nearer to its value at 0 than that is to the
singularity, all over the disc, or a denominator must not turn around 0 on the circle. A function
that starts with u**n is at most (|u|/R)**n times its bound (the maximum principle), which is what
makes a crude bound enough.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flint import acb, acb_poly, arb, fmpq
from lossmith.derivations.constants import rational
from lossmith.derivations.enclosing import working
from lossmith.derivations.power_series import BallExpander, Series
from lossmith.derivations.terms import Term, number

WIDER = fmpq(9, 8)
BITS = 80  # of the balls in which bounds are computed
ARCS, MOST_ARCS = 16, 160  # of half a circle, on which a denominator is kept away from 0
Ball = Any


class NotAnalyticError(Exception):
    """Something within the disc may be singular, or change its sign."""


def size(x: Any) -> Ball:
    """An upper bound of |x|."""
    return abs(arb(x)).upper()


def weights(c: tuple[Any, ...], radius: fmpq) -> list[Ball]:
    """|c[k]| R**k, rounded up."""
    out: list[Ball] = []
    power, step = arb(1), arb(radius)
    for x in c:
        out.append(arb(0) if isinstance(x, fmpq) and x == 0 else (size(x) * power).upper())
        power = (power * step).upper()
    return out


def total(values: list[Ball]) -> Ball:
    out = arb(0)
    for v in values:
        out += v
    return out.upper()


@dataclass(frozen=True)
class Bound:
    """g on the disc: the weights of its known coefficients, and what the rest is at most."""

    weights: list[Ball]
    tail: Ball

    @property
    def most(self) -> Ball:
        """At most |g|."""
        return (total(self.weights) + self.tail).upper()

    @property
    def spread(self) -> Ball:
        """At most |g - g(0)|."""
        return (total(self.weights[1:]) + self.tail).upper()

    def cut(self, count: int) -> Bound:
        """The same with fewer coefficients known."""
        return Bound(self.weights[:count], (self.tail + total(self.weights[count:])).upper())


def crossing(a: list[Ball], b: list[Ball]) -> Ball:
    """The weights of a product of two polynomials of one length, from that length on."""
    after = [arb(0)]
    for w in reversed(b):
        after.append(after[-1] + w)
    out = arb(0)
    for i, w in enumerate(a):
        out += w * after[i]
    return out.upper()


@dataclass
class Disc:
    """Bounds for the nodes of a term that was expanded in balls, on |u| <= radius."""

    expander: BallExpander
    radius: fmpq
    done: dict[int, Bound] = field(default_factory=dict)
    least: dict[int, Ball] = field(default_factory=dict)

    def __call__(self, term: Term) -> Bound:
        """The bound of a node. Raises NotAnalyticError."""
        found = self.done.get(term.id)
        if found is None:
            found = self.done[term.id] = Bound(weights(self.series(term).c, self.radius), self._tail(term))
            if not found.tail.is_finite():
                raise NotAnalyticError("no bound")
        return found

    def series(self, term: Term) -> Series:
        return self.expander(term)

    def away(self, term: Term) -> Ball:
        """At least |g|, which is positive all over the disc."""
        found = self.least.get(term.id)
        if found is None:
            series, bound = self.series(term), self(term)
            found = (abs(arb(series.c[0])) - bound.spread).lower()
            if not found > 0:
                found = least_on_disc(series.c, bound.tail, self.radius)
            self.least[term.id] = found
        return found

    def _tail(self, t: Term) -> Ball:
        series = self.series(t)
        if not t.args or t is self.expander.by:
            return arb(0)
        if t.op == "where":
            return self(self.expander._branch(t)).tail
        if series.zero and t.op not in ("add", "sub"):
            return arb(0)
        if t.op == "neg":
            return self(t.args[0]).tail
        exact = {"add": self._sum, "sub": self._sum, "mul": self._product, "div": self._quotient}.get(t.op)
        if exact is not None:
            return exact(t, series).upper()
        try:
            return (self.outer.crude(t) / arb(WIDER) ** len(series.c)).upper()
        except NotAnalyticError:
            return self.crude(t)

    @functools.cached_property
    def outer(self) -> Disc:
        """A wider disc: a crude bound there is a good one here."""
        return Disc(self.expander, self.radius * WIDER)

    def crude(self, t: Term) -> Ball:
        """The tail of a function or a power, from the largest value that it may have on the disc."""
        rule = self._power if t.op == "pow" else self._function
        return rule(t, self.series(t)).upper()

    def _raise(self, power: int) -> Ball:
        return arb(self.radius) ** power

    def _sum(self, t: Term, series: Series) -> Ball:
        parts = [a for a in t.args if not self.series(a).zero]
        if len(parts) < 2:
            return self(parts[0]).tail if parts else arb(0)
        low = min(self.series(a).order for a in parts)
        length = min(self.series(a).order + len(self.series(a).c) for a in parts) - low
        out = arb(0)
        for a in parts:
            shift = self.series(a).order - low
            out += self(a).cut(max(length - shift, 0)).tail * self._raise(shift)
        return out / self._raise(series.order - low)

    def _pair(self, t: Term) -> tuple[Bound, Bound]:
        a, b = (self(x) for x in t.args)
        count = min(len(a.weights), len(b.weights))
        return a.cut(count), b.cut(count)

    def _product(self, t: Term, series: Series) -> Ball:
        a, b = self._pair(t)
        return (crossing(a.weights, b.weights) + total(a.weights) * b.tail + total(b.weights) * a.tail
                + a.tail * b.tail)

    def _quotient(self, t: Term, series: Series) -> Ball:
        a, b = self._pair(t)
        q = weights(series.c, self.radius)
        left = a.tail + crossing(q, b.weights) + total(q) * b.tail
        return left / self.away(t.args[1])

    def _power(self, t: Term, series: Series) -> Ball:
        base, exponent = t.args[0], number(t.args[1])
        bound = self(base)
        if exponent > 0 and exponent.denominator == 1:
            most = bound.most ** int(exponent)
        else:
            least = self.away(base)
            most = (bound.most if exponent > 0 else least) ** arb(rational(exponent))
        return most + total(weights(series.c, self.radius))

    def _function(self, t: Term, series: Series) -> Ball:
        inner, bound = self.series(t.args[0]), self(t.args[0])
        if inner.order:
            h0, wide = arb(0), (self._raise(inner.order) * bound.most).upper()
        else:
            h0, wide = (arb(0), arb(0)) if inner.zero else (arb(inner.c[0]), bound.spread)
        most = MOST[t.op](h0, wide)
        known = total(weights(series.c, self.radius))
        return most / self._raise(series.order) + known


# --- zeros ---------------------------------------------------------------------------------------


def least_on_disc(c: tuple[Any, ...], tail: Ball, radius: fmpq) -> Ball:
    """At least |g| on |u| <= radius, g a polynomial of real coefficients but for `tail`. Raises NotAnalyticError.

    Along the circle g stays away from 0 and does not turn around it: then it has no zero within, and
    is smallest on the circle. Half of the circle tells, arc by arc, in halves as far as it takes.
    """
    whole = acb_poly([acb(arb(x)) for x in c])
    arcs = [(fmpq(k, ARCS), fmpq(k + 1, ARCS)) for k in reversed(range(ARCS))]
    least, turned, spent = arb("inf"), arb(0), 0
    while arcs:
        low, high = arcs.pop()
        middle, half = (low + high) / 2, (high - low) / 2
        away = (abs(whole(_on_circle(radius, arb(arb(middle), arb(half).upper())))).lower() - tail).lower()
        spent += 1
        if away > 0:
            least = min(least, away)
            turned += (whole(_on_circle(radius, arb(high))) / whole(_on_circle(radius, arb(low)))).arg()
        elif spent + len(arcs) < MOST_ARCS:
            arcs += [(middle, high), (low, middle)]
        else:
            raise NotAnalyticError("a zero may lie within the disc")
    if not abs(turned) < 1:
        raise NotAnalyticError("a zero lies within the disc")
    return least


def _on_circle(radius: fmpq, half_turns: Ball) -> Any:
    return acb(arb(radius)) * (acb(0, 1) * acb(half_turns * arb.pi())).exp()


# --- functions on a disc around h0 ---------------------------------------------------------------


def _positive(x: Ball) -> Ball:
    if not x > 0:
        raise NotAnalyticError("a branch point may lie within the disc")
    return x.lower()


def _logarithm(h0: Ball, wide: Ball) -> Ball:
    _positive(h0 - wide)
    return abs(h0.log()) - (1 - wide / h0).log()


def _sloped(name: str, sign: int, root: bool) -> Callable[[Ball, Ball], Ball]:
    """A function whose slope is 1/(1 + sign h**2), or the root of that."""

    def most(h0: Ball, wide: Ball) -> Ball:
        least = _positive(1 + sign * h0**2 - 2 * abs(h0) * wide - wide**2)
        return abs(getattr(h0, name)()) + wide / (least.sqrt() if root else least)

    return most


def _acosh(h0: Ball, wide: Ball) -> Ball:
    nearest = _positive(h0 - wide - 1) + 1
    return abs(h0.acosh()) + wide / (nearest**2 - 1).sqrt()


def _erf(h0: Ball, wide: Ball) -> Ball:
    return abs(h0.erf()) + 2 * wide * ((abs(h0) + wide) ** 2).exp()


def _lgamma(h0: Ball, wide: Ball) -> Ball:
    """Its coefficients alternate from the second on: their sizes are those of lgamma(h0 - w)."""
    nearest = _positive(h0 - wide)
    curved = abs(nearest.lgamma() - h0.lgamma() + h0.digamma() * wide)
    return abs(h0.lgamma()) + abs(h0.digamma()) * wide + curved


def _digamma(h0: Ball, wide: Ball) -> Ball:
    nearest = _positive(h0 - wide)
    return abs(h0.digamma()) + abs(h0.digamma() - nearest.digamma())


MOST: Mapping[str, Callable[[Ball, Ball], Ball]] = {
    "exp": lambda h0, wide: (h0 + wide).exp(), "log": _logarithm,
    **dict.fromkeys(("sin", "cos"), lambda h0, wide: wide.cosh()),
    **dict.fromkeys(("sinh", "cosh"), lambda h0, wide: (abs(h0) + wide).cosh()),
    "atan": _sloped("atan", 1, False), "atanh": _sloped("atanh", -1, False),
    "asin": _sloped("asin", -1, True), "asinh": _sloped("asinh", 1, True), "acosh": _acosh,
    "erf": _erf, "lgamma": _lgamma, "digamma": _digamma,
}


@dataclass(frozen=True)
class Tail:
    """The end of a series on |u| <= radius: known coefficients c (of g) and the bound of the rest."""

    c: tuple[Any, ...]
    radius: fmpq
    rest: Ball

    def relative(self, count: int, r: fmpq, rounded: tuple[fmpq, ...]) -> float:
        """At most |g - P| / |g| for |u| <= r, P the first `count` coefficients as rounded; inf where unknown.

        It grows with |u| where P starts with c[0] exactly, so the bound at r holds for all.
        """
        with working(BITS):
            sizes = weights(self.c, r)
            beyond = (self.rest * (arb(r) / arb(self.radius)) ** len(self.c)).upper()
            after = total(sizes[count:]) + beyond
            slips = tuple(arb(x) - arb(y) for x, y in zip(self.c, rounded))
            slip = total(weights(slips, r))
            least = (abs(arb(self.c[0])) - total(sizes[1:]) - beyond).lower()
            if not least > 0:
                return float("inf")
            found = ((after + slip) / least).upper()
            return float(found) * (1 + 2.0**-40)


def tail_on(expander: BallExpander, term: Term, radius: fmpq, apart: list[Term]) -> Tail:
    """The tail of an expanded term on a disc. Raises NotAnalyticError."""
    with working(BITS):
        disc = Disc(expander, radius)
        for t in apart:
            disc.away(t)
        bound = disc(term)
        return Tail(disc.series(term).c, radius, bound.tail)
