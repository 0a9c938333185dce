"""Measuring candidate forms of one formula: points, truth at them, and each form's error in bits.

Truth is ball arithmetic on the definition. A form is evaluated in each storage format with every
operation correctly rounded, so a measurement is the same on every machine. One judge holds the
points of all formats side by side: a form is good only where it is good in every one of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from lossmith.derivations import balls, evaluate, points, relations, ulp
from lossmith.derivations.derivation import Measurement
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term, is_const, leaves, name_of, number, walk
from lossmith.derivations.ulp import Doubles, Format

SCANNED, BISECTIONS = 60, 40  # how hard roots are looked for
ROOTS = 3  # roots of a formula of one argument; changes of sign that are bisected in one of several
NEARNESS = (2, 4, 6, 9, 12, 15, 18, 21, 26, 33, 40, 48)  # points are added at a root times 1 +- 2**-k
FAINT = 700.0  # a value of so many times the smallest number, where all that is proportional to it has few digits
FAR = 64.0  # a condition beyond which a root is near
MOST = 2.0**1000  # a condition stays a number, so that an infinite error over it stays infinite
BRIM = 16.0  # ulp within which an infinity beside the largest number is a matter of degree
WORST_BITS = 64.0  # what a NaN, a wrong infinity or a wrong sign far away counts
Columns = dict[str, Doubles]


def bits(ulps: Doubles) -> Doubles:
    """Errors in ulp as bits lost, at most WORST_BITS."""
    with np.errstate(all="ignore"):
        return np.minimum(np.log2(1 + ulps), WORST_BITS)


def apart(got: npt.ArrayLike, truth: npt.ArrayLike, fmt: Format) -> Doubles:
    """|got - truth| / ulp(truth); infinite where just one of them is NaN, or infinite far from overflow."""
    b = np.asarray(truth, dtype=np.float64)
    unit = ulp.ulp_of(b, fmt)
    return _apart(np.asarray(got, dtype=np.float64), b, unit, np.asarray(fmt.largest))


def _apart(a: Doubles, b: Doubles, unit: Doubles, largest: Doubles) -> Doubles:
    """|a - b| in units; infinite for a NaN and for a wrong infinity, but for one within a few ulp of overflow."""
    with np.errstate(all="ignore"):
        out = np.abs(a / unit - b / unit)
        near = [np.where(np.isinf(v), np.copysign(largest / unit + 1, v), v / unit) for v in (a, b)]
        brim = np.abs(near[0] - near[1])
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    brim = np.where(brim <= BRIM, brim, np.inf)
    return np.asarray(np.where(same, 0.0, np.where(np.isfinite(a) & np.isfinite(b), out, brim)), dtype=np.float64)


class _Mixed(evaluate.Evaluator):
    """Evaluates on the points of several formats at once: each stretch is rounded to its own."""

    def __init__(self, env: Mapping[str, npt.ArrayLike], stretches: Sequence[tuple[Format, slice]], count: int) -> None:
        super().__init__(env, max((f for f, _ in stretches), key=lambda f: f.precision))
        self.stretches, self.count = stretches, count

    def _round(self, values: Any) -> Doubles:
        out = np.array(values, dtype=np.float64)
        if out.ndim == 0:
            if all(ulp.round_array(out, f) == out for f, _ in self.stretches):
                return out
            out = np.full(self.count, out)
        for fmt, place in self.stretches:
            if fmt.name != "float64":
                out[place] = ulp.round_array(out[place], fmt)
        return out

    def _compute(self, t: Term) -> Doubles:
        if t.op == "precise":
            return self._precise(t)
        return self._number(t) if t.op == "const" else np.asarray(super()._compute(t))

    def _precise(self, t: Term) -> Doubles:
        """Each stretch as its format does it: only float64 needs pairs."""
        out = np.array(np.broadcast_to(super()._precise(t), (self.count,)))
        for fmt, place in self.stretches:
            if fmt.name != "float64" and t.value is not None:
                args = [np.broadcast_to(a, (self.count,))[place] for a in self._aligned(t)]
                out[place] = ulp.round_array(evaluate.in_float64(t, args), fmt)
        return out

    def _number(self, t: Term) -> Doubles:
        rounded = [ulp.round_fraction(number(t), f) for f, _ in self.stretches]
        if all(r == rounded[0] for r in rounded):
            return np.asarray(rounded[0])
        return np.concatenate([np.full(s.stop - s.start, r) for r, (_, s) in zip(rounded, self.stretches, strict=True)])


@dataclass
class Judge:
    """Points of the domain and what the definition is there; measures terms against it.

    `env`: a float64 column per argument. `fmts`: the formats, narrow before wide; `kind`: for each
    point the index of the format whose number it is. `truth`: the definition rounded to that format.
    Points at which the definition has no value are left out.
    """

    definition: Term
    env: Columns
    truth: Doubles
    fmts: tuple[Format, ...]
    kind: npt.NDArray[np.int64]
    arguments: tuple[Argument, ...] = ()
    _conditions: dict[int, tuple[float, ...]] = field(default_factory=dict)

    @cached_property
    def stretches(self) -> list[tuple[Format, slice]]:
        """Runs of points of one format."""
        ends = [0, *(np.nonzero(np.diff(self.kind))[0] + 1).tolist(), self.count]
        return [(self.fmts[int(self.kind[a])], slice(a, b)) for a, b in itertools.pairwise(ends) if b > a]

    @cached_property
    def evaluator(self) -> evaluate.Evaluator:
        if len(self.stretches) < 2:
            return evaluate.Evaluator(self.env, self.stretches[0][0] if self.stretches else self.fmts[0])
        return _Mixed(self.env, self.stretches, self.count)

    @cached_property
    def unit(self) -> Doubles:
        """The unit in the last place of the truth, at every point in its format."""
        parts = [ulp.ulp_of(self.truth[place], fmt) for fmt, place in self.stretches]
        return np.concatenate(parts) if parts else np.zeros(0)

    @cached_property
    def largest(self) -> Doubles:
        """The largest number of the format, at every point."""
        return np.array([f.largest for f in self.fmts], dtype=np.float64)[self.kind]

    @property
    def count(self) -> int:
        return len(self.truth)

    def fmt(self, i: int) -> Format:
        return self.fmts[int(self.kind[i])]

    def value(self, term: Term) -> Doubles:
        """The term on every point, in the point's format."""
        return np.broadcast_to(np.asarray(self.evaluator(term), dtype=np.float64), self.truth.shape)

    def ulps(self, term: Term) -> Doubles:
        """|term - truth| in ulp of the truth, at every point."""
        return _apart(self.value(term), self.truth, self.unit, self.largest)

    def point(self, i: int) -> dict[str, float]:
        return {name: float(column[i]) for name, column in self.env.items()}

    def where(self, i: int) -> str:
        """A point in words: `x = 0.5, z = 1`."""
        digits = 9 if self.fmt(i).precision <= 24 else 17
        return ", ".join(f"{name} = {value:.{digits}g}" for name, value in self.point(i).items())

    def measurement(self, term: Term, allowance: Doubles | None = None) -> Measurement:
        """The worst error (each point's error divided by its allowance) and where it is."""
        return self._worst(self.ulps(term) / (1.0 if allowance is None else allowance), np.arange(self.count))

    def measurements(self, term: Term, allowance: Doubles | None = None) -> tuple[Measurement, ...]:
        """The same for each format that has points."""
        errors = self.ulps(term) / (1.0 if allowance is None else allowance)
        every = [np.nonzero(self.kind == k)[0] for k in range(len(self.fmts))]
        return tuple(self._worst(errors, rows) for rows in every if len(rows))

    def _worst(self, errors: Doubles, rows: npt.NDArray[np.int64]) -> Measurement:
        if not len(rows):
            return Measurement(self.fmts[0].name, 0.0, "", 0)
        worst = int(rows[np.argmax(errors[rows])])
        return Measurement(self.fmt(worst).name, float(errors[worst]), self.where(worst), len(rows))

    def condition(self, i: int) -> float:
        """How many ulp the truth moves when every input moves by half an ulp: what no form can avoid."""
        return min(max(1.0, sum(self.conditions(i))), MOST)

    def conditions(self, i: int) -> tuple[float, ...]:
        """The same for each input on its own."""
        if i not in self._conditions:
            self._conditions[i] = tuple(self._condition(i))
        return self._conditions[i]

    def near_root(self, i: int) -> bool:
        """Whether the conditioning is that of a root, and not what an exponential of an input has anyway."""
        most = 128.0 if self.fmt(i).precision <= 24 else 1024.0
        return any(c > 2 * min(max(abs(v), 1.0), most) for v, c in zip(self.point(i).values(), self.conditions(i)))

    def excused(self, i: int) -> float:
        """By what a form's error may be divided at a point: its condition; near a root, where every part of a
        formula is rounded at a size that the value does not have, twice that."""
        return self.condition(i) * (2.0 if self.condition(i) > FAR and self.near_root(i) else 1.0)

    def _condition(self, i: int) -> Iterator[float]:
        here, fmt = self.point(i), self.fmt(i)
        for name, value in here.items() if math.isfinite(self.truth[i]) else ():
            worst = 0.0
            for sign in (-1, 1):
                moved = points.step(value, sign, fmt)
                there = balls.truth(self.definition, {**here, name: moved}, fmt)
                if isinstance(there, float) and math.isfinite(there):
                    worst = max(worst, float(apart(there, self.truth[i], fmt)) / 2)
            yield worst

    def select(self, rows: npt.ArrayLike) -> Judge:
        """This judge on some of its points: indices, or a mask."""
        chosen = np.arange(self.count)[np.asarray(rows)]
        env = {n: c[chosen] for n, c in self.env.items()}
        known = {new: self._conditions[old] for new, old in enumerate(chosen.tolist()) if old in self._conditions}
        return Judge(self.definition, env, self.truth[chosen], self.fmts, self.kind[chosen], self.arguments, known)

    def joined(self, other: Judge) -> Judge:
        """This judge's points followed by those of another that it does not have."""
        more = other.select(self._new(other))
        env = {n: np.concatenate([c, more.env[n]]) for n, c in self.env.items()}
        return Judge(self.definition, env, np.concatenate([self.truth, more.truth]), self.fmts,
                     np.concatenate([self.kind, more.kind]), self.arguments, dict(self._conditions))

    def without(self, other: Judge) -> Judge:
        """The points that another judge does not have."""
        return self.select(other._new(self))

    def _new(self, other: Judge) -> npt.NDArray[np.bool_]:
        known = set(self._rows())
        return np.array([row not in known for row in other._rows()], dtype=bool)

    def _rows(self) -> list[tuple[float, ...]]:
        return list(zip(self.kind.tolist(), *(c.tolist() for c in self.env.values()), strict=True))

    def at(self, columns: Mapping[str, Doubles], fmt: Format) -> Judge:
        """A judge of the same formula on other points of one of its formats, those without a value left out."""
        return _on(self.definition, self.arguments, dict(columns), fmt, self.fmts)


def _on(definition: Term, arguments: tuple[Argument, ...], columns: Columns, fmt: Format,
        fmts: tuple[Format, ...]) -> Judge:
    length = len(next(iter(columns.values()))) if columns else 0
    truth = balls.truth_many(definition, columns, fmt, arguments) if length else np.zeros(0)
    keep = ~np.isnan(truth)
    kind = np.full(int(keep.sum()), fmts.index(fmt), dtype=np.int64)
    return Judge(definition, {n: c[keep] for n, c in columns.items()}, truth[keep], fmts, kind, arguments)


def constants(term: Term) -> list[float]:
    """The numbers that occur in a term: places where a formula may change."""
    return sorted({float(number(t)) for t in walk(term) if is_const(t)})


def judge(definition: Term, arguments: tuple[Argument, ...], fmt: Format, count: int, seed: int,
          infinite: bool = False, given: Sequence[Term] = ()) -> Judge:
    """A judge on `count` drawn points. With `infinite`, only points with an infinite input or truth.

    given: relations between arguments; only points at which they all hold are drawn.
    """
    return judges(definition, arguments, {fmt: count}, seed, infinite, given)


def judges(definition: Term, arguments: tuple[Argument, ...], counts: Mapping[Format, int], seed: int,
           infinite: bool = False, given: Sequence[Term] = (), faint: bool = False) -> Judge:
    """A judge on drawn points of several formats, so many of each.

    faint: points too at which a formula of several arguments is about to vanish or to overflow.
    """
    fmts = tuple(sorted(counts, key=lambda f: f.precision))
    used = {name_of(t) for t in leaves(definition)} | set(relations.names_in(given))
    chosen = [a for a in arguments if a.name in used] or list(arguments)
    parts = []
    for fmt in fmts:
        columns = _drawn(definition, chosen, fmt, counts[fmt], seed, infinite, given)
        part = _on(definition, arguments, _distinct(columns), fmt, fmts)
        if not infinite:
            # With several arguments a faint value hides what a better form is worth near the roots.
            levels = (0.0, FAINT * fmt.smallest, fmt.tiny, fmt.largest / 2) if faint or len(chosen) == 1 else (0.0,)
            for level in levels:
                more = _crossings(part, chosen, fmt, given, level)
                part = part.joined(part.at(more, fmt)) if more else part
        parts.append(part)
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.joined(part)
    return whole


def _drawn(definition: Term, chosen: Sequence[Argument], fmt: Format, count: int, seed: int, infinite: bool,
           given: Sequence[Term]) -> Columns:
    columns = points.scalar_points(chosen, count, seed, fmt, constants(definition), infinite=infinite, given=given)
    if infinite:
        wild = np.any([~np.isfinite(c) for c in columns.values()], axis=0)
        columns = {n: c[wild] for n, c in columns.items()}
    return columns


def satisfying(columns: Columns, given: Sequence[Term]) -> Columns:
    """The points at which every relation holds."""
    if not given or not columns:
        return columns
    keep = relations.holds(given, columns)
    return {n: c[keep] for n, c in columns.items()}


def _crossings(part: Judge, arguments: Sequence[Argument], fmt: Format, given: Sequence[Term], level: float) -> Columns:
    """Points on both sides of where the definition changes sign, or its size passes a level: bisected along one
    argument, the others fixed."""
    if not part.count:
        return {}
    found: list[dict[str, float]] = []
    side = np.sign(np.abs(part.truth) - level) if level else np.sign(part.truth)
    line = _one_line(part, side) if len(arguments) == 1 else _legs(part, side, level)
    for here, name, low, high in line:
        root = _crossing(part.definition, here, name, low, high, level)
        domain = next(a.domain for a in arguments if a.name == name)
        steps = NEARNESS[::3] if len(arguments) > 1 or level else NEARNESS
        near = [root, *(root * (1 + s * math.ldexp(1.0, -k)) for k in steps if k < fmt.precision for s in (-1, 1))]
        near = sorted(set(ulp.round_array(np.array(near), fmt).tolist()))
        found += [{**here, name: v} for v in near if domain.holds(v) and math.isfinite(v)]
    columns = {n: np.array([p[n] for p in found]) for n in part.env}
    return satisfying(columns, given) if found else {}


Leg = tuple[dict[str, float], str, float, float]  # a point, the argument that varies, from where to where


def _one_line(part: Judge, side: Doubles) -> Iterator[Leg]:
    """Where the formula of one argument changes sides, between neighbouring points."""
    ((name, column),) = part.env.items()
    order = np.argsort(column, kind="stable")
    sign = side[order]
    order, sign = order[sign != 0], sign[sign != 0]
    line = column[order]
    for j in np.nonzero(sign[:-1] != sign[1:])[0][:ROOTS]:
        yield {}, name, float(line[j]), float(line[j + 1])


def _legs(part: Judge, signs: Doubles, level: float) -> Iterator[Leg]:
    """Moves of one argument between two points at which the formula is on different sides."""
    size = np.max([np.abs(np.log2(np.abs(c) + 2.0**-40)) for c in part.env.values()], axis=0)
    above, below = ([i for i in np.argsort(size, kind="stable").tolist() if signs[i] == s][:40] for s in (1, -1))
    count = 0
    for a, b in zip(above, below):
        here, there = part.point(a), part.point(b)
        sign = 1.0
        for name in part.env:
            moved = {**here, name: there[name]}
            value = _sign(part.definition, moved, level)
            if value * sign < 0:
                yield {n: v for n, v in here.items() if n != name}, name, here[name], there[name]
                count += 1
                break
            here, sign = moved, value or sign
        if count == ROOTS:
            return


def _sign(definition: Term, here: Mapping[str, float], level: float) -> float:
    value = balls.truth(definition, here)
    assert isinstance(value, float)
    return 0.0 if math.isnan(value) else float(np.sign(abs(value) - level if level else value))


def _crossing(definition: Term, here: Mapping[str, float], name: str, low: float, high: float, level: float) -> float:
    """Where the definition crosses zero, or its size a level, between two values of one argument: bisected."""
    first = _sign(definition, {**here, name: low}, level)
    for _ in range(BISECTIONS):
        middle = low / 2 + high / 2
        if _sign(definition, {**here, name: middle}, level) == first:
            low = middle
        else:
            high = middle
    return high


def _distinct(columns: Columns) -> Columns:
    if not columns:
        return columns
    table = np.unique(np.stack(list(columns.values()), axis=1), axis=0)
    return {n: table[:, j].copy() for j, n in enumerate(columns)}
