"""Measuring candidate forms of one formula: points, truth at them, and each form's error in bits.

Truth is ball arithmetic on the definition. A form is evaluated in the storage format with every
operation correctly rounded, so a measurement is the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from lossmith.derivations import balls, evaluate, points, ulp
from lossmith.derivations.derivation import Measurement
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term, is_const, leaves, name_of, number, walk
from lossmith.derivations.ulp import Doubles, Format

SCANNED, BISECTIONS = 60, 40  # how hard roots are looked for
NEARNESS = (2, 4, 6, 9, 12, 15, 18, 21)  # points are added at a root times 1 +- 2**-k
WORST_BITS = 64.0  # what a NaN, a wrong infinity or a wrong sign far away counts


def bits(ulps: Doubles) -> Doubles:
    """Errors in ulp as bits lost, at most WORST_BITS."""
    with np.errstate(all="ignore"):
        return np.minimum(np.log2(1 + ulps), WORST_BITS)


def apart(got: npt.ArrayLike, truth: npt.ArrayLike, fmt: Format) -> Doubles:
    """|got - truth| / ulp(truth); infinite where just one of them is NaN or infinite."""
    a, b = np.asarray(got, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    with np.errstate(all="ignore"):
        unit = ulp.ulp_of(b, fmt)
        out = np.abs(a / unit - b / unit)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.asarray(np.where(same, 0.0, np.where(np.isfinite(a) & np.isfinite(b), out, np.inf)), dtype=np.float64)


@dataclass
class Judge:
    """Points of the domain and what the definition is there; measures terms against it.

    `env`: a float64 column per argument, numbers of the format. `truth`: the definition rounded to
    the format. Points at which the definition has no value are left out.
    """

    definition: Term
    env: dict[str, Doubles]
    truth: Doubles
    fmt: Format

    @cached_property
    def evaluator(self) -> evaluate.Evaluator:
        return evaluate.Evaluator(self.env, self.fmt)

    @property
    def count(self) -> int:
        return len(self.truth)

    def value(self, term: Term) -> Doubles:
        """The term on every point, in the format."""
        return np.broadcast_to(np.asarray(self.evaluator(term), dtype=np.float64), self.truth.shape)

    def ulps(self, term: Term) -> Doubles:
        """|term - truth| in ulp of the truth, at every point."""
        return apart(self.value(term), self.truth, self.fmt)

    def point(self, i: int) -> dict[str, float]:
        return {name: float(column[i]) for name, column in self.env.items()}

    def where(self, i: int) -> str:
        """A point in words: `x = 0.5, z = 1`."""
        return ", ".join(f"{name} = {value:.9g}" for name, value in self.point(i).items())

    def measurement(self, term: Term, allowance: Doubles | None = None) -> Measurement:
        """The worst error (each point's error divided by its allowance) and where it is."""
        errors = self.ulps(term) / (1.0 if allowance is None else allowance)
        if not len(errors):
            return Measurement(self.fmt.name, 0.0, "", 0)
        worst = int(np.argmax(errors))
        return Measurement(self.fmt.name, float(errors[worst]), self.where(worst), len(errors))

    def condition(self, i: int) -> float:
        """How many ulp the truth moves when one input moves by half an ulp: what no form can avoid."""
        if i not in self._conditions:
            self._conditions[i] = self._condition(i)
        return self._conditions[i]

    def near_root(self, i: int) -> bool:
        """Whether the conditioning is that of a root, and not what an exponential of the inputs has anyway."""
        size = max(abs(v) for v in self.point(i).values())
        return self.condition(i) > 2 * min(max(size, 1.0), 128.0)

    @cached_property
    def _conditions(self) -> dict[int, float]:
        return {}

    def _condition(self, i: int) -> float:
        here = self.point(i)
        worst = 1.0
        for name, value in here.items():
            for sign in (-1, 1):
                moved = points.step(value, sign, self.fmt)
                there = balls.truth(self.definition, {**here, name: moved}, self.fmt)
                if isinstance(there, float) and math.isfinite(there):
                    worst = max(worst, float(apart(there, self.truth[i], self.fmt)) / 2)
        return worst

    def with_points(self, other: Judge, chosen: Sequence[int]) -> Judge:
        """This judge with some points of another added."""
        rows = np.asarray(chosen, dtype=np.int64)
        env = {n: np.concatenate([c, other.env[n][rows]]) for n, c in self.env.items()}
        return Judge(self.definition, env, np.concatenate([self.truth, other.truth[rows]]), self.fmt)


def constants(term: Term) -> list[float]:
    """The numbers that occur in a term: places where a formula may change."""
    return sorted({float(number(t)) for t in walk(term) if is_const(t)})


def judge(definition: Term, arguments: tuple[Argument, ...], fmt: Format, count: int, seed: int,
          infinite: bool = False, given: Sequence[Term] = ()) -> Judge:
    """A judge on `count` drawn points. With `infinite`, only points with an infinite input or truth."""
    used = {name_of(t) for t in leaves(definition)}
    chosen = [a for a in arguments if a.name in used] or list(arguments)
    columns = points.scalar_points(chosen, count, seed, fmt, constants(definition), infinite=infinite)
    if infinite:
        wild = np.any([~np.isfinite(c) for c in columns.values()], axis=0)
        columns = {n: c[wild] for n, c in columns.items()}
    elif len(columns) == 1:
        columns = _with_roots(definition, chosen[0], columns[chosen[0].name], fmt)
    columns = _distinct(columns)
    length = len(next(iter(columns.values()))) if columns else 0
    truth = balls.truth_many(definition, columns, fmt, arguments) if length else np.zeros(0)
    keep = ~np.isnan(truth)
    return Judge(definition, {n: c[keep] for n, c in columns.items()}, truth[keep], fmt)


def _with_roots(definition: Term, argument: Argument, column: Doubles, fmt: Format) -> dict[str, Doubles]:
    """The points of a formula of one argument, and more on both sides of where it changes sign.

    Formulas of several arguments are left alone: at their roots errors are a matter of luck.
    """
    line = np.unique(column)
    added: list[float] = []
    for root in _sign_changes(definition, argument.name, line[:: max(1, len(line) // SCANNED)]):
        near = [root * (1 + s * math.ldexp(1.0, -k)) for k in NEARNESS for s in (-1, 1)]
        added += [v for v in ulp.round_array(np.array([root, *near]), fmt).tolist() if argument.domain.holds(v)]
    return {argument.name: np.concatenate([column, added])}


def _sign_changes(definition: Term, name: str, line: Doubles) -> list[float]:
    """Where the definition crosses zero: bisected, at most three places."""

    def sign(x: float) -> float:
        value = balls.truth(definition, {name: x})
        assert isinstance(value, float)
        return value

    values = np.array([sign(float(x)) for x in line])
    line, values = line[(values < 0) | (values > 0)], values[(values < 0) | (values > 0)]
    found: list[float] = []
    for j in np.nonzero((values[:-1] < 0) != (values[1:] < 0))[0][:3]:
        low, high, rising = float(line[j]), float(line[j + 1]), values[j] < 0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            if (sign(middle) < 0) == rising:
                low = middle
            else:
                high = middle
        found.append(low)
    return found


def _distinct(columns: dict[str, Doubles]) -> dict[str, Doubles]:
    if not columns:
        return columns
    table = np.unique(np.stack(list(columns.values()), axis=1), axis=0)
    return {n: table[:, j].copy() for j, n in enumerate(columns)}
