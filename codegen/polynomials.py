"""Polynomials for exp and log as the C target prints them: fitted by balls, their errors proven by balls.

Each stands for a power series whose coefficients are known exactly. It is interpolated at
Chebyshev's points, its coefficients are rounded to the format that they are printed in, and what
it then misses is bounded on the whole interval: the interval is cut into pieces, the difference is
expanded about the middle of each, and the sizes of its terms are summed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property

from flint import arb, arb_poly, arb_series, ctx, fmpq
from lossmith.derivations.approximation import WORKING, Ball, Table, working
from lossmith.derivations.ulp import FORMATS, round_fraction

TERMS = 64  # of a series; what follows them is bounded by a geometric series
PIECES = 96
BITS = 300


@dataclass(frozen=True)
class Series:
    """sum of c_n (x - about)^n for low <= x <= high; |c_n| is at most 1 and never grows, and |x - about| < 1.

    expanded: c_n for n < TERMS, enclosed.
    """

    name: str
    meaning: str
    expanded: Callable[[], list[Ball]]
    low: Fraction
    high: Fraction
    about: Fraction = Fraction(0)
    spared: int = 0  # bits that may be missing in float32, since the series is a small part of what it is added to
    rising: bool = False  # what it misses is multiplied by x - low, and may be more where that is little

    @property
    def tail(self) -> Ball:
        """What the terms from TERMS on can add up to."""
        reach = max(abs(self.low - self.about), abs(self.high - self.about))
        return abs(self.balls[-1]) * _ball(reach**TERMS / (1 - reach))

    def value(self, x: Ball) -> Ball:
        """The sum at a ball, enclosed."""
        total, moved = arb(0), x - _ball(self.about)
        for c in reversed(self.balls):
            total = total * moved + c
        return total + arb(0, 1) * self.tail

    @cached_property
    def balls(self) -> list[Ball]:
        """The coefficients, enclosed."""
        with working(WORKING):
            return self.expanded()


@dataclass(frozen=True)
class Polynomial:
    """Coefficients, lowest power first, exact in `format`; |polynomial - series| <= bound on the interval, where the
    series is `rising` (x - low) |polynomial - series|."""

    series: Series
    format: str
    coefficients: tuple[float, ...]
    bound: float


ROOT_HALF = Fraction(math.isqrt(2**99), 2**50)
REACH = Fraction(3473, 10000)  # a little beyond ln(2) / 2
UNIT = Fraction(1, 2)  # the middle of 0 .. 1


def _powers(term: Callable[[int], Fraction]) -> Callable[[], list[Ball]]:
    return lambda: [_ball(term(n)) for n in range(TERMS)]


def _log_unit() -> list[Ball]:
    """(log(1 + u) - u) / u^2 about the middle: the integral of -t / (1 + u t) over 0 < t < 1, whose derivatives
    fall faster than by the factor 2/3."""
    held, ctx.cap = ctx.cap, TERMS
    try:
        u = arb_series([_ball(UNIT), 1])
        made = ((1 + u).log() - u) / (u * u)
        return [made[n] for n in range(TERMS)]
    finally:
        ctx.cap = held


EXP = Series("exp", "(exp(r) - 1 - r) / r^2", _powers(lambda n: Fraction(1, math.factorial(n + 2))), -REACH, REACH,
             spared=3)
LOG = Series("log", "(log(1 + f) - f + f^2 / 2) / f^3", _powers(lambda n: Fraction((-1) ** n, n + 3)),
             ROOT_HALF - 1 - Fraction(1, 2**20), 1 / ROOT_HALF - 1 + Fraction(1, 2**20), spared=2)
LOG_UNIT = Series("log_unit", "(log(1 + u) - u) / u^2", _log_unit, Fraction(0), Fraction(1), UNIT, 5, True)
LOG1PMX = Series("log1pmx", "(atanh(s) / s - 1) / z, z = s^2", _powers(lambda n: Fraction(1, 2 * n + 3)),
                 Fraction(0), Fraction(1, 9) + Fraction(1, 2**12))
EXPM1MX = Series("expm1mx", "(exp(a) - 1 - a) / a^2", _powers(lambda n: Fraction(1, math.factorial(n + 2))),
                 Fraction(-63, 64), Fraction(63, 64))
SINH = Series("sinh", "(sinh(a) / a - 1) / z, z = a^2", _powers(lambda n: Fraction(1, math.factorial(2 * n + 3))),
              Fraction(0), Fraction(63, 64))
SERIES = (EXP, LOG, LOG_UNIT, LOG1PMX, EXPM1MX, SINH)
# What a polynomial may miss of the least value of its series: below what rounding its last operations loses.
MISSING = {"float32": 25, "float64": 54}


@cache
def polynomial(name: str, format_name: str) -> Polynomial:
    """The polynomial of that name for a format, with its proven bound. Raises KeyError."""
    series = {s.name: s for s in SERIES}[name]
    table = Table(series.value, series.low, series.high, missing(series, format_name), unscaled=True)
    with working(BITS):
        if series.rising:
            moved = _through(series, len(table))
        else:
            moved = _moved([_ball(c) for c in reversed(table.exact)], -_ball((series.low + series.high) / 2))
        exact = [_fraction(c) for c in moved]
    rounded = tuple(round_fraction(c, FORMATS[format_name]) for c in exact)
    return Polynomial(series, format_name, rounded, bound(series, rounded))


def missing(series: Series, format_name: str) -> int:
    """The bits of the least value of a series that its polynomial has right."""
    return MISSING[format_name] - (series.spared if format_name == "float32" else 0)


def _through(series: Series, count: int) -> list[Ball]:
    """The polynomial through `count` points that, with `low` before them, are the zeros of one of Chebyshev's:
    x - low times what it misses is then as large everywhere."""
    angles = [arb.pi() * (2 * j + 1) / (2 * count + 2) for j in range(count + 1)]
    first, *others = [a.cos() for a in reversed(angles)]
    points = [_ball(series.low) + _ball(series.high - series.low) * (t - first) / (1 - first) for t in others]
    return list(arb_poly.interpolate(points, [series.value(x) for x in points]))


def bound(series: Series, coefficients: tuple[float, ...]) -> float:
    """A proven bound of |sum of c_n x^n - series|, times x - low where the series is rising, on the interval of the
    series, rounded up."""
    with working(BITS):
        given = _moved([_ball(Fraction(c)) for c in coefficients], _ball(series.about))
        difference = [c - s for c, s in zip([*given, *[arb(0)] * (TERMS - len(given))], series.balls, strict=True)]
        if series.rising:
            difference = list(arb_poly(difference) * arb_poly([_ball(series.about - series.low), 1]))
        half = _ball((series.high - series.low) / (2 * PIECES))
        worst = arb(0)
        for piece in range(PIECES):
            middle = series.low - series.about + (series.high - series.low) * Fraction(2 * piece + 1, 2 * PIECES)
            total = arb(0)
            for c in reversed(_moved(difference, _ball(middle))):
                total = total * half + abs(c)
            worst = worst.max(total)
        return _rounded_up(worst + series.tail)


def _moved(coefficients: list[Ball], by: Ball) -> list[Ball]:
    """The coefficients of p(x + by)."""
    return list(arb_poly(coefficients)(arb_poly([by, 1])))


def _ball(value: Fraction) -> Ball:
    return arb(fmpq(value.numerator, value.denominator))


def _fraction(ball: Ball) -> Fraction:
    mantissa, exponent = ball.mid().man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _rounded_up(ball: Ball) -> float:
    """Two digits, not below the ball."""
    top = _fraction(ball.upper())
    if not top:
        return 0.0
    scale = Fraction(10) ** (math.floor(math.log10(top)) - 1)
    return float(math.ceil(top / scale) * scale)
