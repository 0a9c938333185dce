"""Polynomials that stand for a function on an interval: interpolated by balls, nothing typed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from typing import Any, overload

from flint import arb, ctx, fmpq
from lossmith.derivations.ulp import FORMATS, round_fraction

Ball = Any  # flint.arb
NODES = 80
WORKING = 400


@contextmanager
def working(precision: int) -> Iterator[None]:
    """Ball arithmetic at this many bits."""
    before = ctx.prec
    ctx.prec = precision
    try:
        yield
    finally:
        ctx.prec = before


class Table:
    """The coefficients of a polynomial, highest first, computed when they are first read.

    function: the value at a ball, to some 300 bits. It is interpolated on [low, high]; the
    polynomial is in `(x - middle) / half`, or in `x - middle` where `unscaled`. As many terms as
    leave out less than 2^-bits of the least value. Iterating gives float64.
    """

    def __init__(self, function: Callable[[Ball], Ball], low: float | Fraction, high: float | Fraction, bits: int = 56,
                 unscaled: bool = False) -> None:
        self.function, self.low, self.high = function, Fraction(low), Fraction(high)
        self.bits, self.unscaled = bits, unscaled

    @cached_property
    def exact(self) -> tuple[Fraction, ...]:
        """The coefficients to some hundred digits."""
        with working(WORKING):
            return tuple(_fraction(c) for c in self._fitted())

    def _fitted(self) -> list[Ball]:
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        angles = [arb.pi() * (2 * j + 1) / (2 * NODES) for j in range(NODES)]
        values = [self.function(_ball(middle) + _ball(half) * a.cos()) for a in angles]
        chebyshev = [sum((v * (a * k).cos() for v, a in zip(values, angles, strict=True)), arb(0)) * 2 / NODES
                     for k in range(NODES)]
        chebyshev[0] /= 2
        least = min((abs(v).lower() for v in values), key=float)
        tail, count = arb(0), NODES
        while abs(tail) + abs(chebyshev[count - 1]) < least * arb(2) ** -self.bits:
            count -= 1
            tail = abs(tail) + abs(chebyshev[count])
        if count == NODES:
            raise ValueError("the function is not smooth enough here for a polynomial")
        made = _monomials(chebyshev[:count])
        if self.unscaled:
            made = [c / _ball(half) ** k for k, c in enumerate(made)]
        return made[::-1]

    @cached_property
    def doubles(self) -> tuple[float, ...]:
        """The coefficients in float64."""
        return tuple(float(c) for c in self.exact)

    def __iter__(self) -> Iterator[float]:
        return iter(self.doubles)

    def __len__(self) -> int:
        return len(self.doubles)

    @overload
    def __getitem__(self, at: int) -> float: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[float, ...]: ...
    def __getitem__(self, at: int | slice) -> float | tuple[float, ...]:
        return self.doubles[at]


class Parts(Table):
    """A number as a sum of floats, each of so many bits, the largest first."""

    def __init__(self, number: Callable[[], Ball], *bits: int) -> None:
        self.number, self.parts = number, bits

    @cached_property
    def exact(self) -> tuple[Fraction, ...]:
        with working(WORKING):
            rest = _fraction(self.number())
        found = []
        for bits in self.parts:
            found.append(round_fraction(rest, replace(FORMATS["float64"], precision=bits)))
            rest -= Fraction(found[-1])
        return tuple(map(Fraction, found))


class Low(Table):
    """What float64 leaves of the lowest `count` coefficients of a table, highest first."""

    def __init__(self, table: Table, count: int) -> None:
        self.table, self.count = table, count

    @cached_property
    def exact(self) -> tuple[Fraction, ...]:
        return tuple(c - Fraction(float(c)) for c in self.table.exact[-self.count:])


def _monomials(chebyshev: list[Ball]) -> list[Ball]:
    """A sum of Chebyshev polynomials as coefficients of powers, lowest first (Clenshaw's recurrence on polynomials)."""
    one: list[Ball] = []
    two: list[Ball] = []
    for c in reversed(chebyshev[1:]):
        one, two = _sum([arb(0), *(2 * b for b in one)], [-b for b in two], [c]), one
    return _sum([arb(0), *one], [-b for b in two], [chebyshev[0]])


def _sum(*polynomials: list[Ball]) -> list[Ball]:
    length = max(map(len, polynomials))
    return [sum((p[k] for p in polynomials if k < len(p)), arb(0)) for k in range(length)]


def _ball(value: Fraction) -> Ball:
    return arb(fmpq(value.numerator, value.denominator))


def _fraction(ball: Ball) -> Fraction:
    mantissa, exponent = ball.mid().man_exp()
    m, e = int(mantissa), int(exponent)
    return Fraction(m << e) if e >= 0 else Fraction(m, 1 << -e)
