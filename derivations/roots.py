"""Roots of formulas of one argument: expansions about a point that no float is, carried as a sum of floats.

Near a root x0 every part of a formula is rounded at a size that the value does not have. What helps
is the distance u = x - x0, from x0 as a sum of short numbers: each difference of
((x - first) - second) - .. is exact where it cancels, so u is accurate down to the float beside x0.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import arb
from lossmith.derivations import balls
from lossmith.derivations.constants import BITS, BallConstants, NotKnownError, rational
from lossmith.derivations.enclosing import working
from lossmith.derivations.loss import Argument
from lossmith.derivations.power_series import BallExpander, Coefficient, Expander, NoSeriesError, Series, core
from lossmith.derivations.remainder import NotAnalyticError
from lossmith.derivations.series import LONGEST, TERMS, Expansion, Local, Prepared, U, fitting, stating
from lossmith.derivations.terms import ONE, Term, add, const, is_const, leaves, name_of, number, replace, sub, var, walk
from lossmith.derivations.ulp import FORMATS

ROOT = var("root'")  # where the expansion is, a name that no argument can have
MOST = 3  # roots of a formula that are expanded about
SCANNED, LARGEST = 64, 2**10  # places between which a sign may change, and how far from zero they go
DIGITS, HALVINGS = 700, 380  # bits at which signs are asked, and how often a root is halved upon
NOTHING = Fraction(1, 2**220)  # a coefficient known to be less is one that vanishes
PARTS = (24, 24, 24, 53)  # bits of the numbers that a root is the sum of: each is a float32 but the last


class _At(BallConstants):
    """Constants in balls, the root among them."""

    def __init__(self, place: Any) -> None:
        super().__init__()
        self.place = place

    def leaf(self, term: Term) -> Any:
        return self.place if term is ROOT else BallConstants.leaf(self, term)

    def vanishes(self, value: Any) -> bool:
        return super().vanishes(value) or bool(arb(value).contains(0) and abs(arb(value)) < arb(rational(NOTHING)))

    def certain(self, value: Any) -> bool:
        return not arb(value).contains(0)

    def sign(self, value: Any) -> int:
        if arb(value).contains(0):
            raise NotKnownError("a sign at the root")
        return 1 if arb(value) > 0 else -1


@dataclass
class _Expander(BallExpander):
    """Series in balls about a root, which says itself what vanishes there."""

    def strip(self, term: Term, order: int, c: Sequence[Coefficient]) -> Series:
        return Expander.strip(self, term, order, c)

    def _branch(self, t: Term) -> Term:
        return self.chosen[t.id] if t.id in self.chosen else Expander._branch(self, t)


class _Prepared(Prepared):
    """A formula about its root: all that is known of its coefficients is balls."""

    @property
    def longest(self) -> int:
        return min(LONGEST, len(self.balls.c))

    def coefficient(self, k: int) -> Fraction:
        return self.rounded(k)


@dataclass(frozen=True)
class Root:
    """Where a formula changes its sign: between two numbers that agree to hundreds of bits, or exactly there."""

    low: Fraction
    high: Fraction

    @property
    def ball(self) -> Any:
        return arb(rational(self.low)).union(arb(rational(self.high)))

    @property
    def parts(self) -> tuple[Fraction, ...]:
        """Short numbers whose sum it is, as far as they go."""
        out, rest = [], self.low
        for bits in PARTS:
            out.append(shortened(rest, bits))
            rest -= out[-1]
        return tuple(p for p in out if p)

    def distance(self, argument: Term) -> Term:
        return functools.reduce(lambda u, p: sub(u, const(p)), self.parts, argument)


def shortened(x: Fraction, bits: int) -> Fraction:
    """x rounded to so many significant bits."""
    if not x:
        return x
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length() - bits
    unit = Fraction(2) ** (exponent + 1)
    return round(x / unit) * unit


@functools.lru_cache(maxsize=64)
def roots_of(definition: Term, argument: Argument) -> tuple[Root, ...]:
    """Where a formula of one argument changes its sign, not at simple numbers: those nearest to zero first."""
    if len({*leaves(definition)}) != 1 or definition.sort != "scalar":
        return ()
    line = [(x, _sign(definition, argument.name, x)) for x in _places(definition, argument)]
    line = [(x, s) for x, s in line if s]
    found = [_halved(definition, argument.name, low, high, s)
             for (low, s), (high, t) in itertools.pairwise(line) if s != t]
    found.sort(key=lambda r: (abs(r.low), r.low))
    return tuple(found[:MOST])


def _places(definition: Term, argument: Argument) -> list[Fraction]:
    low, high = argument.domain.low, argument.domain.high
    steps = [Fraction(2) ** k * f for k in range(-10, 11) for f in (Fraction(1), Fraction(5, 4), Fraction(3, 2))]
    found = {s * x for x in steps for s in (-1, 1) if x <= LARGEST}
    if isinstance(low, Fraction | int) and isinstance(high, Fraction | int):
        width = Fraction(high) - low
        found |= {low + width * Fraction(k, SCANNED) for k in range(1, SCANNED)}
        found |= {e for k in range(7, 40, 3) for e in (low + width / 2**k, high - width / 2**k)}
    own = {number(t) for t in walk(definition) if is_const(t) and abs(number(t)) <= LARGEST}
    found = {x + Fraction(1, 2**20) for x in found | own}  # beside simple numbers, where formulas are 0 / 0
    return sorted(x for x in found if low < x < high)


def _sign(definition: Term, name: str, x: Fraction) -> int:
    """Of the formula at a rational number; 0 where it has no value, or none that is told from 0."""
    ball = balls.enclose(definition, {name: x}, DIGITS)
    if isinstance(ball, list) or not ball.is_finite() or ball.contains(0):
        return 0
    return 1 if ball > 0 else -1


def _halved(definition: Term, name: str, low: Fraction, high: Fraction, sign: int) -> Root:
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = _sign(definition, name, middle)
        if not found:
            return Root(middle, middle)
        low, high = (middle, high) if found == sign else (low, middle)
    simple = low.limit_denominator(2**20)
    return Root(simple, simple) if low <= simple <= high else Root(low, high)


@functools.lru_cache(maxsize=64)
def prepared_at(definition: Term, argument: Argument, root: Root) -> Prepared | None:
    """The formula about a root, expanded in balls; None where it has no series there, or does not vanish."""
    term = replace(definition, {var(argument.name): add(ROOT, U)})
    try:
        with working(BITS):
            reduced = core(term)
            expander = _Expander(U, TERMS, _At(root.ball))
            found = expander(reduced)
            for t in list(expander.apart):
                expander(t)
    except (NoSeriesError, NotKnownError, NotAnalyticError, ZeroDivisionError):
        return None
    return _Prepared(reduced, found, found, expander, tuple(expander.apart)) if found.order > 0 else None


def root_expansions(definition: Term, arguments: Sequence[Argument],
                    formats: Sequence[str] = ("float64", "float32")) -> Iterator[tuple[Root, Expansion]]:
    """Expansions of a formula of one argument about its roots.

    The remainder is that at numbers of a format; the distance from the root is known to 120 bits.
    """
    used = list(dict.fromkeys(leaves(definition)))
    argument = next((a for a in arguments if len(used) == 1 and a.name == name_of(used[0])), None)
    for root in roots_of(definition, argument) if argument is not None else ():
        found = prepared_at(definition, argument, root) if argument is not None else None
        if found is None or found.tail is None:
            continue
        local = Local(found.term, root.distance(used[0]), ONE)
        pieces = [piece for name in formats for piece in fitting(found, FORMATS[name])]
        for expansion in stating(definition, local, pieces):
            yield root, expansion
