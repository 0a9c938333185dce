"""Seams and specials as a table: the exact value beside what each implementation gives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from lossmith.audit.adapters import Adapter, Unavailable
from lossmith.audit.foreign import Misbehaved
from lossmith.audit.measure import exact, may_be_nan
from lossmith.audit.page import OFF, Cell
from lossmith.audit.samples import HARD, Batch, hard_values
from lossmith.audit.subject import Subject
from lossmith.derivations.domains import Domain
from lossmith.derivations.relations import holds
from lossmith.derivations.ulp import Array, Format, error

ROWS = 14  # inputs


def seam_rows(subject: Subject, fmt: Format, tier: str, given: Sequence[Adapter]) -> Iterator[list[Cell]]:
    """Rows of cells: output, input, exact value, and each implementation's. Elementwise subjects only."""
    if subject.is_row:
        return
    batch = _batch(subject, fmt)
    for output in subject.outputs:
        truth = exact(subject, output, batch)
        found = [_called(one, subject, output, batch, fmt, tier) for one in given]
        if all(f is None for f in found):
            continue
        errors = [None if f is None else error(f, (truth.high, truth.low), fmt) for f in found]
        excused = may_be_nan(output, batch, 1)
        for i in range(batch.count):
            where = ", ".join(f"{n} = {_short(float(a[i]))}" for n, a in batch.arrays.items())
            right, free = float(truth.nearest(fmt)[i]), bool(excused[i])
            cells = [_cell(f, e, i, right, free) for f, e in zip(found, errors, strict=True)]
            yield [Cell(output), Cell(where), Cell(_short(right)), *cells]


def _batch(subject: Subject, fmt: Format) -> Batch:
    first, *others = subject.given
    places = _places(first.domain, fmt)
    held = [h if len(h) else np.array([0.5]) for h in (hard_values(a.domain, fmt)[:2] for a in others)]
    mesh = [m.reshape(-1) for m in np.meshgrid(places, *held, indexing="ij")]
    arrays = {a.name: m for a, m in zip(subject.given, mesh, strict=True)}
    if subject.unit.given:
        kept = holds(subject.unit.given, arrays)
        arrays = {n: c[kept] for n, c in arrays.items()}
    return Batch(HARD, arrays, subject.parameters(fmt))


def _places(domain: Domain, fmt: Format) -> Array:
    """Zero, the ends of the domain, where exponentials begin to vanish, overflow, and infinity."""
    ends = [float(b) for b in (domain.low, domain.high) if math.isfinite(b)]
    sizes = [20.0, (fmt.precision + 1) * math.log(2), 90.0, (fmt.emax + 1) * math.log(2) + 1, fmt.largest, math.inf]
    tiny = [fmt.smallest, fmt.eps / 2]
    every = [0.0, *ends, *(e + s * fmt.eps for e in ends for s in (-1, 1)), *sizes, *(-s for s in sizes), *tiny]
    inside = [float(np.float64(v)) for v in every if domain.holds(float(v))]
    return np.unique(np.array(inside).astype(fmt.dtype).astype(np.float64))[: 2 * ROWS]


def _called(one: Adapter, subject: Subject, output: str, batch: Batch, fmt: Format, tier: str) -> Array | None:
    try:
        if not one.offers(subject, output, batch, fmt.name, tier if tier in one.tiers else one.tiers[0]):
            return None
        return one.call(subject, output, batch, fmt.name, tier if tier in one.tiers else one.tiers[0])
    except (Unavailable, Misbehaved, RuntimeError):
        return None


def _cell(found: Array | None, errors: Array | None, i: int, truth: float, excused: bool) -> Cell:
    if found is None or errors is None:
        return Cell("-")
    got = float(found[i])
    if math.isnan(got) and (excused or math.isnan(truth)):
        return Cell("nan")
    bad = math.isnan(got) != math.isnan(truth) or math.isinf(got) != math.isinf(truth) or not errors[i] <= OFF
    return Cell(_short(got), bad)


def _short(value: float) -> str:
    return f"{value:.7g}"
