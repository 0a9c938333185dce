"""Facts about some failing values of one output: what the function does beside them, and in other formats."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from lossmith.audit.adapters import kind_of
from lossmith.audit.evidence import Lab, Seen, agree, changed, largest, picked, sizes
from lossmith.audit.measure import Exact
from lossmith.audit.samples import Batch
from lossmith.derivations.loss import Argument
from lossmith.derivations.points import from_ordinal
from lossmith.derivations.ulp import FORMATS, Array, Doubles, Format, error, ordinals, round_array

NEAR = 64.0  # ulp within which a value counts as right when the question is what is wrong with another
SHARE = 2.0**-12  # an error that a wider format makes so many times smaller is one of rounding
PLAIN_FIRST, SPREAD = 5, 7  # how many failing values of each kind are looked at: the plainest, and evenly spread ones


@dataclass(frozen=True)
class Case:
    """Failing values of one output on one batch; every fact is an array with one entry for each of them.

    rows: where they are in the batch that was seen; batch: their inputs, one example each; classes: which
    class of the output, for one with a value per class.
    """

    lab: Lab
    seen: Seen
    rows: Array
    batch: Batch
    got: Doubles
    truth: Exact
    classes: Array | None

    @property
    def output(self) -> str:
        return self.seen.output

    @property
    def kind(self) -> str:
        """`loss`, `gradient` or `hessian`."""
        return kind_of(self.output)

    @property
    def count(self) -> int:
        return len(self.got)

    def of(self, values: Array) -> Array:
        """From values of the output on `batch`, those of the classes that are looked at."""
        return values[np.arange(self.count), self.classes] if values.ndim == 2 and self.classes is not None else values

    @cached_property
    def nearest(self) -> Doubles:
        return self.truth.nearest(self.lab.fmt)

    @cached_property
    def ulps(self) -> Doubles:
        with np.errstate(all="ignore"):
            return np.nan_to_num(error(self.got, (self.truth.high, self.truth.low), self.lab.fmt), nan=math.inf)

    @cached_property
    def bad(self) -> Array:
        """NaN where there is a value, or infinite where it is finite."""
        return (np.isnan(self.got) & ~np.isnan(self.nearest)) | (np.isinf(self.got) & np.isfinite(self.nearest))

    @cached_property
    def ordinary(self) -> Array:
        """Finite, and so is the exact value: a matter of degree."""
        return np.isfinite(self.got) & np.isfinite(self.nearest)

    def _right(self, batch: Batch, output: str | None = None, fmt: Format | None = None, ulp: float = NEAR) -> Array:
        found = self.lab.right(output or self.output, batch, ulp, fmt)
        if found is None:
            return np.zeros(self.count, dtype=bool)
        if found.ndim == 2:
            return self.of(found) if output is None or output == self.output else _every(found)
        return found

    def offers(self, output: str) -> bool:
        """Whether the function has this output too."""
        return output in self.lab.subject.outputs and self.lab.call(output, self.batch) is not None

    @cached_property
    def wide(self) -> Doubles | None:
        """The same function's values in a wider format, as float64."""
        fmt = self.lab.wider
        found = self.lab.call(self.output, self.batch, fmt) if fmt else None
        return None if found is None else self.of(found)

    @cached_property
    def wide_right(self) -> Array:
        if self.wide is None:
            return np.zeros(self.count, dtype=bool)
        return agree(self.wide, self.truth, self.lab.fmt, 2.0, self.output, self.batch)

    @cached_property
    def rounding(self) -> Array:
        """Where the error is one of rounding: it shrinks with the precision, or is of the size of its unit."""
        with np.errstate(all="ignore"):
            here = np.abs(self.got - self.truth.high)
            if self.wide is not None and self.lab.wider is not None:
                there = np.abs(self.wide - self.truth.high)
                small = there <= 2.0**8 * self.lab.wider.eps * largest(self.batch)
                shrunk = (there <= SHARE * here) | (small & (there <= here))
                return np.asarray(self.ordinary & (self.wide_right | shrunk))
            if self.lab.wider is not None:
                return np.asarray(self.ordinary & (here <= 2.0**8 * self.lab.fmt.eps * largest(self.batch)))
        return self.ordinary & self._shrinks(here)

    def _shrinks(self, here: Doubles) -> Array:
        """For the widest format: whether the error is larger by as much in a narrower one, or of the unit's size."""
        small = here <= 2.0**8 * self.lab.fmt.eps * largest(self.batch)
        narrow = FORMATS["float32"]
        near = changed(self.batch, **{n: round_array(a, narrow) for n, a in self.batch.arrays.items()
                                      if a.dtype.kind == "f"})
        one, other = (self.lab.call(self.output, near, f) for f in (narrow, self.lab.fmt))
        if one is None or other is None:
            return small
        truth = self.of(self.lab.exact(self.output, near).high)
        with np.errstate(all="ignore"):
            low, high = (np.abs(self.of(v) - truth) for v in (one, other))
        return np.asarray(small | ((high <= 2.0**-16 * low) & (low > 0)))

    @cached_property
    def value_right(self) -> Array:
        """Where the loss itself is right, and the function gives it."""
        return self._right(self.batch, "loss") & (self.kind != "loss")

    @cached_property
    def alone(self) -> bool:
        """Whether the function gives this derivative only, and no loss to compare it with."""
        return self.kind != "loss" and not self.offers("loss")

    @cached_property
    def gradient_right(self) -> Array:
        """For a second derivative: where the first is right; also where the function has none."""
        name = "gradient_" + self.lab.subject.wrt(self.output)[0]
        return self._right(self.batch, name) if self.offers(name) else np.ones(self.count, dtype=bool)

    @cached_property
    def endless(self) -> Array:
        """Where some input is infinite."""
        found = [np.isinf(a).reshape(self.count, -1).any(axis=1) for a in self.batch.arrays.values()]
        return np.asarray(np.logical_or.reduce(found))

    @cached_property
    def empty(self) -> Array:
        """Where a bounded input is at the end of its domain, and just inside it the function has a number."""
        inner: dict[str, Array] = {}
        moved = np.zeros(self.count, dtype=bool)
        for a in self._floats():
            if a.domain.values or math.isinf(a.domain.low) or not a.domain.low_closed:
                continue
            values = self.batch.arrays[a.name]
            low, high = float(a.domain.low), float(a.domain.high)
            at_end = (values == low) | (values == high)
            inner[a.name] = np.where(values == low, low + 2.0**-10, np.where(values == high, high - 2.0**-7, values))
            moved |= at_end.reshape(self.count, -1).any(axis=1)
        found = self.lab.call(self.output, changed(self.batch, **inner)) if moved.any() else None
        return np.asarray(moved & np.isfinite(self.of(found))) if found is not None else moved & False

    def _floats(self) -> list[Argument]:
        return [a for a in self.lab.subject.given if a.role != "label"]

    @cached_property
    def tame(self) -> Array:
        """Where the function is right once all unbounded inputs are of ordinary size."""
        moved = {}
        for a in self._floats():
            values = self.batch.arrays[a.name]
            if (math.isfinite(a.domain.low) and math.isfinite(a.domain.high)) or not np.isfinite(values).all():
                continue
            size = np.clip(np.abs(values), 2.0**-4, 2.0)
            moved[a.name] = round_array(np.where(values == 0, 0.0, np.copysign(size, values)), self.lab.fmt)
        return self._right(changed(self.batch, **moved)) if moved else np.zeros(self.count, dtype=bool)

    @cached_property
    def isolated(self) -> Array:
        """Where the function is right at the next number on both sides, along some input."""
        if self.lab.subject.is_row:
            return self._untied()
        found = np.zeros(self.count, dtype=bool)
        for a in self._floats():
            if a.domain.values:
                continue
            values = self.batch.arrays[a.name]
            both = np.ones(self.count, dtype=bool)
            for way in (-1, 1):
                side = np.array([_beside(v, way, self.lab.fmt, a) for v in values])
                both &= (side != values) & self._right(changed(self.batch, **{a.name: side}))
            found |= both
        return found

    def _untied(self) -> Array:
        """Rows: right once equal elements differ a little, whichever of them is the largest."""
        tied = np.zeros(self.count, dtype=bool)
        both = np.ones(self.count, dtype=bool)
        rows = [a for a in self._floats() if self.batch.arrays[a.name].ndim == 2]
        for a in rows:
            ordered = np.sort(self.batch.arrays[a.name], axis=1)
            tied |= (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
        for way in (-1, 1):
            moved = {}
            for a in rows[:1]:
                values = self.batch.arrays[a.name]
                steps = np.arange(values.shape[1])[::way]
                moved[a.name] = np.stack([[_beside(v, int(s), self.lab.fmt, a) for v, s in zip(r, steps, strict=True)]
                                          for r in values]) if tied.any() else values
            both &= self._right(changed(self.batch, **moved))
        return tied & both

    @cached_property
    def reordered(self) -> Array:
        """Rows: right once the masked classes stand last."""
        if not self.lab.subject.is_row:
            return np.zeros(self.count, dtype=bool)
        masked = np.zeros((self.count, self.batch.classes or 1), dtype=bool)
        for row in self.batch.arrays.values():
            masked |= np.isneginf(row) if row.ndim == 2 else False
        places: Array = np.argsort(masked, axis=1, kind="stable")
        moved = {}
        for a in self.lab.subject.given:
            values = self.batch.arrays[a.name]
            if values.ndim == 2:
                moved[a.name] = np.take_along_axis(values, places, axis=1)
            elif a.role == "label":
                moved[a.name] = np.argmax(places == values[:, None], axis=1)
        batch = changed(self.batch, **moved)
        found = self.lab.right(self.output, batch, NEAR)
        return _every(found) if found is not None else np.zeros(self.count, dtype=bool)

    @cached_property
    def slope(self) -> tuple[Array, Array]:
        """For a gradient: whether it is, and whether it is not, what differences of the function's own loss give."""
        name = self.lab.subject.wrt(self.output)[0]
        never = np.zeros(self.count, dtype=bool)
        wide = FORMATS["float64"]
        found = self.lab.call(self.output, self.batch, wide)
        if self.kind != "gradient" or found is None:
            return never, never
        values = self.batch.arrays[name]
        step = 2.0**-9 * np.maximum(1.0, np.abs(self.of(values)))
        estimates = []
        for h in (step, step / 2):
            ends = [self.lab.call("loss", changed(self.batch, **{name: self._shifted(values, w * h)}), wide)
                    for w in (1, -1)]
            if ends[0] is None or ends[1] is None:
                return never, never
            with np.errstate(all="ignore"):
                estimates.append((ends[0] - ends[1]) / (2 * h))
        with np.errstate(all="ignore"):
            best = (4 * estimates[1] - estimates[0]) / 3
            doubt = 8 * np.abs(estimates[1] - estimates[0]) + 2.0**-30
            off = np.abs(best - self.of(found))
        return off <= doubt, off > 4 * doubt + 2.0**-10 * np.abs(best)

    def _shifted(self, values: Array, by: Doubles) -> Array:
        if values.ndim == 1 or self.classes is None:
            return np.asarray(values + by)
        moved = np.array(values)
        with np.errstate(all="ignore"):
            moved[np.arange(self.count), self.classes] += by
        return moved


def _every(values: Array) -> Array:
    """Whether all values of each example are true."""
    return np.asarray(values.reshape(len(values), -1).all(axis=1), dtype=bool)


def _beside(value: float, way: int, fmt: Format, a: Argument) -> float:
    """The number next to another (or some numbers on); itself where its domain ends."""
    if not math.isfinite(value):
        return float(value)
    found = from_ordinal(int(ordinals(np.array(value), fmt)) + way, fmt)
    return found if a.domain.holds(found) and math.isfinite(found) else float(value)


def case_of(lab: Lab, seen: Seen) -> Case:
    """The failing values that are looked at: of each kind the plainest, and some spread over the rest."""
    places = np.argwhere(seen.failing)
    rows = places[:, 0]
    classes = places[:, 1] if seen.got.ndim == 2 else None
    got = seen.got[tuple(places.T)]
    high, low = seen.truth.high[tuple(places.T)], seen.truth.low[tuple(places.T)]
    plain = sizes(seen.batch)[rows]
    kinds = np.where(np.isnan(got), 0, np.where(np.isinf(got), 1, np.where(got == 0, 2, np.where(
        np.isinf(high), 3, 4))))
    wanted: list[int] = []
    for kind in range(5):
        inside = np.flatnonzero(kinds == kind)
        inside = inside[np.argsort(plain[inside], kind="stable")]
        step = max(1, len(inside) // SPREAD)
        wanted += dict.fromkeys([*inside[:PLAIN_FIRST].tolist(), *inside[::step][:SPREAD].tolist()])
    w = np.array(wanted, dtype=np.int64)
    return Case(lab, seen, rows[w], picked(seen.batch, rows[w]), got[w], Exact(high[w], low[w]),
                None if classes is None else classes[w])
