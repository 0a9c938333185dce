"""Measuring: outputs against truth, in ulps, with every kind of wrong value counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from lossmith.audit.samples import Batch
from lossmith.audit.spread import Spread, spread_of
from lossmith.audit.subject import Subject
from lossmith.derivations import balls
from lossmith.derivations.terms import Term
from lossmith.derivations.ulp import Array, Doubles, Format, error, round_array, split

EXCUSES = 400  # examples that are asked for their condition, at least: each costs some evaluations of truth
Excuse = Callable[[int, "int | None"], float]


@dataclass(frozen=True)
class Exact:
    """The exact values of one output on one batch, as high + low; NaN where there is none."""

    high: Doubles
    low: Doubles

    def nearest(self, fmt: Format) -> Doubles:
        return round_array(self.high, fmt)


@dataclass(frozen=True)
class Report:
    """One output of one target in one dtype and tier, on one group of points.

    `max_ulp`: the worst error, a flush or a wrong sign counted as the error that it is, NaN and
    infinities apart, and points that only their own condition can explain left out (those are
    `conditioned`, the worst of them `conditioned_ulp`, and `conditioned_ratio` is that in units of
    what the condition allows: at most the bound). `where`: the worst point, in hex. `wrong_nan`,
    `wrong_inf`: NaN or infinity where truth is not, or the reverse; `flushed`: 0 where truth rounds
    to another number. `over`: values beyond the bound of their own batch (`bound` is the largest of
    those). `spread`: how all errors are spread, excused ones too. `normal_ulp`: the worst error where
    truth rounds to a normal number or 0; `subnormals`: at how many values it does not.
    """

    unit: str
    output: str
    target: str
    dtype: str
    tier: str
    group: str
    points: int = 0
    max_ulp: float = 0.0
    where: str = ""
    got: str = ""
    wanted: str = ""
    wrong_nan: int = 0
    wrong_inf: int = 0
    wrong_sign: int = 0
    flushed: int = 0
    conditioned: int = 0
    conditioned_ulp: float = 0.0
    conditioned_ratio: float = 0.0
    over: int = 0
    bound: float = float("inf")
    spread: Spread = field(default_factory=Spread)
    normal_ulp: float = 0.0
    subnormals: int = 0

    @property
    def wrong(self) -> int:
        """Wrong special values of every kind."""
        return self.wrong_nan + self.wrong_inf + self.wrong_sign + self.flushed

    @property
    def holds(self) -> bool:
        return self.wrong == 0 and self.over == 0

    def __add__(self, other: Report) -> Report:
        """Two batches of the same group together."""
        worst = self if self.max_ulp >= other.max_ulp else other
        return Report(
            self.unit, self.output, self.target, self.dtype, self.tier, self.group, self.points + other.points,
            worst.max_ulp, worst.where, worst.got, worst.wanted, self.wrong_nan + other.wrong_nan,
            self.wrong_inf + other.wrong_inf, self.wrong_sign + other.wrong_sign, self.flushed + other.flushed,
            self.conditioned + other.conditioned, max(self.conditioned_ulp, other.conditioned_ulp),
            max(self.conditioned_ratio, other.conditioned_ratio), self.over + other.over, max(self.bound, other.bound),
            self.spread + other.spread, max(self.normal_ulp, other.normal_ulp), self.subnormals + other.subnormals,
        )


def exact(subject: Subject, output: str, batch: Batch) -> Exact:
    """Truth on a batch: shape (n,), or (n, classes) for an output with one value per class."""
    term = subject.outputs[output]
    found = exact_of(term, [batch.point(i) for i in range(batch.count)], subject)
    if subject.per_class(output) and found.high.ndim == 1:  # a derivative that is the same for every class
        shape = (batch.count, batch.classes or 1)
        return Exact(*(np.array(np.broadcast_to(half[:, None], shape)) for half in (found.high, found.low)))
    return found


# What stands in for a NaN to see whether an output depends on it.
STAND_INS = (0.375, 0.75)


def exact_of(term: Term, points: list[dict[str, Any]], subject: Subject) -> Exact:
    """Truth of a term at some points."""
    high, low = [], []
    for point in points:
        value = _value_at(term, point, subject)
        pairs = [_halves(v) for v in (value if isinstance(value, list) else [value])]
        high.append([p[0] for p in pairs] if isinstance(value, list) else pairs[0][0])
        low.append([p[1] for p in pairs] if isinstance(value, list) else pairs[0][1])
    return Exact(np.array(high, dtype=np.float64), np.array(low, dtype=np.float64))


def _value_at(term: Term, point: dict[str, Any], subject: Subject) -> Any:
    """Truth at a point; beside a NaN that does not matter, the value for whatever else stands in its place."""
    value = balls.pair(term, point, subject.arguments)
    if not any(np.isnan(v).any() for v in point.values()):
        return value
    one, other = (balls.pair(term, {n: _replaced(v, s) for n, v in point.items()}, subject.arguments)
                  for s in STAND_INS)
    if not isinstance(value, list) or not isinstance(one, list) or not isinstance(other, list):
        return one if _halves(one)[0] == _halves(other)[0] else value  # type: ignore[arg-type]
    return [a if _halves(a)[0] == _halves(b)[0] else v for v, a, b in zip(value, one, other, strict=True)]


def _replaced(value: Any, stand_in: float) -> Any:
    return value if np.asarray(value).dtype.kind == "i" else np.where(np.isnan(value), stand_in, value)[()]


def _halves(value: Fraction | float) -> tuple[float, float]:
    return split(value) if isinstance(value, Fraction) else (value, 0.0)


@dataclass(frozen=True)
class Wrong:
    """Where an output is wrong in kind, not in degree."""

    nan: Array
    inf: Array
    sign: Array
    flushed: Array

    @property
    def any(self) -> Array:
        return self.nan | self.inf | self.side

    @property
    def side(self) -> Array:
        """Zero, or beyond it: what a root nearby may explain."""
        return self.sign | self.flushed

    def without(self, places: Array) -> Wrong:
        return Wrong(self.nan, self.inf, self.sign & ~places, self.flushed & ~places)


def wrong_kinds(got: Array, truth: Exact, errors: Doubles, fmt: Format) -> Wrong:
    """An infinity for a number within a few ulp of overflow, or the reverse, is a matter of degree."""
    nearest = truth.nearest(fmt)
    with np.errstate(all="ignore"):
        nan = np.isnan(got) != np.isnan(nearest)
        inf = ~nan & (np.isinf(got) != np.isinf(nearest)) & ~(errors <= 4)
        both = ~nan & np.isfinite(got) & (nearest != 0)
        flushed = both & (got == 0) & ~(np.abs(nearest) <= fmt.smallest)
        sign = (both | (np.isinf(got) & np.isinf(nearest))) & (got * np.sign(nearest) < 0)
    return Wrong(nan, inf, sign, flushed)


def measure(got: Array, truth: Exact, fmt: Format, bound: float, head: Report, batch: Batch,
            excuse: Excuse | None = None, excuses: int = 0) -> Report:
    """Compare an output with the truth. `head` names what is measured; `excuse(i, k)` gives the
    factor by which the condition of example i (class k) excuses an error, 1 where it does not; it
    is asked of at most `excuses` examples (EXCUSES, or a tenth of them all), the worst first."""
    return located(got, truth, fmt, bound, head, batch, excuse, excuses)[0]


def located(got: Array, truth: Exact, fmt: Format, bound: float, head: Report, batch: Batch,
            excuse: Excuse | None = None, excuses: int = 0) -> tuple[Report, Array]:
    """What `measure` finds, and where: which values are wrong in kind or beyond the bound, in the shape of truth."""
    got = np.asarray(got, dtype=np.float64)
    if got.shape != truth.high.shape:
        raise ValueError(f"{head.unit} {head.output}: shape {got.shape} where truth has {truth.high.shape}")
    allowed = np.isnan(got) & may_be_nan(head.output, batch, got.ndim)
    errors = np.where(allowed, 0.0, error(got, (truth.high, truth.low), fmt))
    wrong = wrong_kinds(np.where(allowed, truth.nearest(fmt), got), truth, errors, fmt)
    spread = spread_of(np.where(wrong.nan | wrong.inf, np.inf, errors), got, truth.high)
    errors = np.where(wrong.nan | wrong.inf, 0.0, errors).reshape(-1)
    excused = _excused(errors, wrong.side.reshape(-1), got.shape, bound, excuse,
                       excuses or max(EXCUSES, batch.count // 10))
    wrong = wrong.without(excused.places.reshape(got.shape))
    counted = np.where(excused.places, 0.0, errors)
    kind = (wrong.nan | wrong.inf).reshape(-1)
    worst = int(np.argmax(kind if kind.any() else counted)) if counted.size else 0
    width = got.shape[1] if got.ndim == 2 else 1
    failing = wrong.any | (counted > bound).reshape(got.shape)
    faint = _subnormal(truth.nearest(fmt), fmt).reshape(-1)
    report = Report(
        head.unit, head.output, head.target, head.dtype, head.tier, head.group, got.size,
        float(np.max(counted, initial=0.0)), describe(batch, worst // width, worst % width if got.ndim == 2 else None),
        float(got.reshape(-1)[worst]).hex(), float(truth.high.reshape(-1)[worst]).hex(),
        int(wrong.nan.sum()), int(wrong.inf.sum()), int(wrong.sign.sum()), int(wrong.flushed.sum()),
        int(excused.places.sum()), excused.ulp, excused.ratio, int((counted > bound).sum()), bound, spread,
        float(np.where(faint, 0.0, counted).max(initial=0.0)), int(faint.sum()),
    )
    return report, failing


def _subnormal(values: Doubles, fmt: Format) -> Array:
    return np.asarray((np.abs(values) < fmt.tiny) & (values != 0))


def may_be_nan(output: str, batch: Batch, dimensions: int) -> Array:
    """Where NaN is as good as the truth; shape (n,), or (n, 1) or (n, classes) for outputs of two dimensions.

    A NaN among the inputs that the output does not read (a constant second derivative) may be
    handed on. A row that is -inf throughout, or +inf more than once, is documented to give NaN,
    although the limit of some outputs exists. And the derivative by a target that is 0 where an
    infinite input makes the class impossible depends on which of them is taken to its limit first.
    """
    found = np.zeros(batch.count, dtype=bool)
    for a in batch.arrays.values():
        found |= np.isnan(a).reshape(batch.count, -1).any(axis=1)
        if a.ndim == 2:
            found |= np.isneginf(a).all(axis=1) | (np.isposinf(a).sum(axis=1) > 1)
    if dimensions == 1:
        return found
    by = batch.arrays.get(output.partition("_")[2])
    rows = [a for a in batch.arrays.values() if a.ndim == 2]
    infinite = np.logical_or.reduce([np.isinf(a) | np.isposinf(a).any(axis=1, keepdims=True) for a in rows])
    return found[:, None] | (infinite & (by == 0) if by is not None and by.ndim == 2 else False)


@dataclass(frozen=True)
class Excused:
    """Which values their condition explains, the worst of them, and the worst against what it allows."""

    places: Array
    ulp: float = 0.0
    ratio: float = 0.0


def _excused(errors: Doubles, side: Array, shape: tuple[int, ...], bound: float, excuse: Excuse | None,
             limit: int) -> Excused:
    """Ask for the condition of every value beyond the bound or on the wrong side of zero, the worst first."""
    places = np.zeros(len(errors), dtype=bool)
    if excuse is None:
        return Excused(places)
    over = np.flatnonzero((errors > bound) | side)
    over = over[np.argsort(-errors[over], kind="stable")]
    raw, ratio = 0.0, 0.0
    width = shape[1] if len(shape) == 2 else 1
    asked: set[int] = set()
    for i in over.tolist():
        asked.add(i // width)
        if len(asked) > limit:
            break
        factor = excuse(i // width, i % width if len(shape) == 2 else None)
        if factor > 1 and errors[i] <= bound * factor:
            raw, ratio = max(raw, float(errors[i])), max(ratio, float(errors[i]) / factor)
            places[i] = True
    return Excused(places, raw, ratio)


def describe(batch: Batch, i: int, k: int | None) -> str:
    """A point in words that reproduce it: hex for floats, the largest and k-th element of long rows."""
    if not batch.count:
        return ""
    parts = []
    for name, a in batch.arrays.items():
        value = a[i]
        if np.ndim(value) == 0:
            parts.append(f"{name}={int(value)}" if a.dtype.kind == "i" else f"{name}={float(value).hex()}")
        elif len(value) <= 4:
            parts.append(f"{name}=[{', '.join(float(v).hex() for v in value)}]")
        else:
            parts.append(f"{name}=row {i} of {len(value)}, max {float(np.max(value)):.6g}"
                         + (f", {name}[{k}]={float(value[k]).hex()}" if k is not None else ""))
    return " ".join(parts) + (f" class {k}" if k is not None else "")
