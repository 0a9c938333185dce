"""Curves for reports: values and errors along one input, with the other inputs held still.

An elementwise subject moves its first input over all floats; a row subject moves the first logit
of short rows, the others being 0. Places are ordinals of the format, so that every exponent is as wide
as any other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from lossmith.audit.adapters import Adapter, Unavailable
from lossmith.audit.foreign import Misbehaved
from lossmith.audit.measure import exact
from lossmith.audit.samples import HARD, Batch, hard_values
from lossmith.audit.subject import Subject
from lossmith.derivations.domains import Domain
from lossmith.derivations.loss import Argument
from lossmith.derivations.points import from_ordinal, special_values
from lossmith.derivations.relations import holds
from lossmith.derivations.ulp import Array, Doubles, Format, error, ordinals, round_array

POINTS = 320  # along a curve
NEAR = 48  # numbers beside a point that a curve goes through, on either side
CURVES = 4  # combinations of the other inputs
CLASSES = 4  # of rows


@dataclass(frozen=True)
class Curve:
    """One output along one input. `held`: the other inputs, in words. `got`, `truth` and `ulps` by place;
    an error is NaN where value and truth are not of a kind (one is infinite or no number)."""

    output: str
    moved: str
    held: str
    x: Doubles
    got: Doubles
    truth: Doubles
    ulps: Doubles
    fmt: Format

    def to_json(self) -> dict[str, Any]:
        """Plain data; infinities and NaN as text. `place`: where along the axis, from 0 to 1."""
        digits = 9 if self.fmt.precision <= 24 else 17
        columns = {n: [_plain(v, d) for v in getattr(self, n).tolist()]
                   for n, d in (("x", digits), ("got", digits), ("truth", digits), ("ulps", 4))}
        return {"output": self.output, "moved": self.moved, "held": self.held, "dtype": self.fmt.name,
                "place": [round(p, 5) for p in self.places.tolist()], "ticks": self.ticks(), **columns}

    @property
    def places(self) -> Doubles:
        """Where each point stands along the axis, from 0 to 1, by its ordinal in the format."""
        first, *_, last = found = ordinals(self.x, self.fmt).astype(np.float64)
        return np.asarray((found - first) / max(last - first, 1.0))

    def ticks(self) -> list[tuple[float, str]]:
        """Decades along the axis and where they stand."""
        top = round(math.log10(self.fmt.largest))
        step = max(1, top // 4)
        sizes = [0.0, *(s * 10.0**e for e in range(-3 * step, top + 1, step) for s in (1, -1))]
        inside = sorted(v for v in sizes if self.x[0] <= v <= self.x[-1])
        span = ordinals(self.x[[0, -1]], self.fmt).astype(np.float64)
        found = ordinals(np.array(inside), self.fmt).astype(np.float64)
        return [(round(float((o - span[0]) / max(span[1] - span[0], 1.0)), 4), _tick(v))
                for o, v in zip(found, inside, strict=True)]


def _tick(value: float) -> str:
    return "0" if value == 0 else f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")


def _plain(value: float, digits: int) -> float | str:
    if math.isnan(value):
        return "nan"
    return float(f"{value:.{digits}g}") if math.isfinite(value) else "inf" if value > 0 else "-inf"


def curves(subject: Subject, given: Adapter, fmt: Format, tier: str, points: int = POINTS,
           through: Mapping[str, float] | None = None) -> Iterator[Curve]:
    """Every output that the adapter offers along the first input; calls that fail give no curve.

    through: a point of numbers of the format; the last curve goes through it, of its other inputs' values.
    """
    for held, batch in itertools.chain(_batches(subject, fmt, points), _through(subject, fmt, points, through or {})):
        moved = subject.given[0].name
        x = batch.arrays[moved] if batch.classes is None else batch.arrays[moved][:, 0]
        for output in subject.outputs:
            if not given.offers(subject, output, batch, fmt.name, tier):
                continue
            try:
                got = given.call(subject, output, batch, fmt.name, tier)
            except (Misbehaved, Unavailable):
                continue
            yield _curve(subject, output, batch, fmt, held, x, got)


def _curve(subject: Subject, output: str, batch: Batch, fmt: Format, held: str, x: Doubles, got: Array) -> Curve:
    truth = exact(subject, output, batch)
    ulps = error(got, (truth.high, truth.low), fmt)
    nearest = truth.nearest(fmt)
    odd = (np.isnan(got) != np.isnan(nearest)) | (np.isinf(got) != np.isinf(nearest))
    columns = [np.asarray(got, dtype=np.float64), nearest, np.where(odd, np.nan, ulps)]
    if got.ndim == 2:  # a value per class: that of the class which moves
        columns = [c[:, 0] for c in columns]
    values, exact_values, errors = columns
    return Curve(output, subject.given[0].name, held, x, values, exact_values, errors, fmt)


def _batches(subject: Subject, fmt: Format, points: int) -> Iterator[tuple[str, Batch]]:
    first, *others = subject.given
    line = line_of(first.domain, fmt, points)
    if subject.is_row:
        yield from _row_batches(subject, fmt, line)
        return
    choices = [_held(a, fmt) for a in others]
    for picked in itertools.islice(itertools.product(*choices), CURVES):
        arrays = {first.name: line} | {a.name: np.full(len(line), v) for a, v in zip(others, picked, strict=True)}
        if subject.unit.given:
            kept = holds(subject.unit.given, arrays)
            arrays = {n: c[kept] for n, c in arrays.items()}
        if len(arrays[first.name]):
            held = ", ".join(f"{a.name} = {v:.6g}" for a, v in zip(others, picked, strict=True))
            yield held, Batch(HARD, arrays, subject.parameters(fmt))


def _through(subject: Subject, fmt: Format, points: int, point: Mapping[str, float]) -> Iterator[tuple[str, Batch]]:
    """The line through a point, with the numbers beside it; nothing where there is but one input."""
    first, *others = subject.given
    if subject.is_row or not others or any(a.name not in point for a in subject.given):
        return
    here = int(ordinals(np.array([point[first.name]]), fmt)[0])
    near = [from_ordinal(here + k, fmt) for k in range(-NEAR, NEAR + 1)]
    line = np.unique([*line_of(first.domain, fmt, points), *(v for v in near if first.domain.holds(v))])
    arrays = {first.name: line} | {a.name: np.full(len(line), point[a.name]) for a in others}
    if subject.unit.given:
        kept = holds(subject.unit.given, arrays)
        arrays = {n: c[kept] for n, c in arrays.items()}
    held = ", ".join(f"{a.name} = {point[a.name]:.6g}" for a in others)
    yield f"{held}, where an error was the worst", Batch(HARD, arrays, subject.parameters(fmt))


def line_of(domain: Domain, fmt: Format, points: int) -> Doubles:
    """Numbers of the format spread evenly by ordinal over a domain, with its special values."""
    low, high = max(float(domain.low), -fmt.largest), min(float(domain.high), fmt.largest)
    first, last = (int(o) for o in ordinals(np.array([low, high]), fmt))
    spread = [from_ordinal(first + (last - first) * k // (points - 1), fmt) for k in range(points)]
    special = [v for v in special_values(domain, fmt) if math.isfinite(v)]
    chosen = [v for v in (*spread, *special[:: max(1, len(special) // 60)]) if domain.holds(v)]
    return np.unique(np.array(chosen, dtype=np.float64))


def _held(a: Argument, fmt: Format) -> list[float]:
    values = hard_values(a.domain, fmt)
    return [float(v) for v in values] or [float(round_array(np.array(0.5), fmt))]


def _row_batches(subject: Subject, fmt: Format, line: Doubles) -> Iterator[tuple[str, Batch]]:
    """Rows of a few classes: the first element of the first input moves, all other elements are alike."""
    count = len(line)
    arrays: dict[str, Array] = {}
    for a in subject.given:
        if a.role == "label":
            arrays[a.name] = np.zeros(count, dtype=np.int64)
        elif a.axis == "class":
            arrays[a.name] = np.tile(_row(a.domain), (count, 1))
        else:
            arrays[a.name] = np.full(count, _held(a, fmt)[0])
    first = subject.given[0]
    if first.axis != "class" or first.domain.unit_sum:
        return  # a row that sums to one has no element that moves alone
    arrays[first.name][:, 0] = line
    held = ", ".join(f"{a.name} = {_row(a.domain).tolist()}" if a.axis == "class" else f"{a.name} = {arrays[a.name][0]}"
                     for a in subject.given[1:])
    yield f"{CLASSES} classes, the others 0" + (f", {held}" if held else ""), Batch(
        HARD, arrays, subject.parameters(fmt), CLASSES)


def _row(domain: Domain) -> Doubles:
    """A plain row: zeros, or where they are no values of the domain, equal shares or the middle."""
    if domain.unit_sum:
        row = np.zeros(CLASSES)
        row[0] = 1.0
        return row if domain.low_closed else np.full(CLASSES, 1 / CLASSES)
    if domain.holds(0.0):
        return np.zeros(CLASSES)
    return np.full(CLASSES, 0.5 if domain.holds(0.5) else -1.0 if domain.holds(-1.0) else 1.0)
