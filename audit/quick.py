"""Truth for many points at once: the stable form in float64 where its bound suffices, ball arithmetic where not."""

from __future__ import annotations

import functools

import numpy as np
from lossmith.audit.measure import Exact, exact_of
from lossmith.audit.running import NoBound, Running
from lossmith.audit.samples import Batch
from lossmith.audit.subject import Subject
from lossmith.derivations.derive import derive
from lossmith.derivations.ulp import Array, Format, ulp_of

ENOUGH = 1e-6  # ulp of the format within which the reference stands for the truth
NEAR_TIE = 2.0**-12  # and this far from the middle between two numbers
FEWEST = 20_000  # points from which on it is worth while


@functools.lru_cache(maxsize=64)
def _reference(subject: Subject, output: str) -> Running | None:
    by = subject.wrt(output)
    order = by * 2 if output.startswith("hessian") and len(by) == 1 else by
    try:
        return Running(derive(subject.unit, order).form.term)
    except (NoBound, ValueError, ArithmeticError):
        return None


def quick_exact(subject: Subject, output: str, batch: Batch, fmt: Format) -> Exact | None:
    """Truth on a batch of an elementwise subject to within ENOUGH ulp; None where no bound is known."""
    reference = _reference(subject, output) if batch.count >= FEWEST and not subject.is_row else None
    if reference is None:
        return None
    given = {**{n: a.astype(np.float64) for n, a in batch.arrays.items()},
             **{n: np.array([v]) for n, v in batch.parameters.items()}}
    with np.errstate(all="ignore"):
        found = reference(given)
        high, bound = (np.array(np.broadcast_to(v, (batch.count,)), dtype=np.float64) for v in found)
        unit = ulp_of(np.where(np.isfinite(high), high, 1.0), fmt)
        sizes = np.abs(high) / unit
        tie = np.abs(sizes - np.floor(sizes) - 0.5) < NEAR_TIE
        sure = np.isfinite(high) & (bound / unit <= ENOUGH) & ~tie & (np.abs(high) < fmt.largest)
        for a in batch.arrays.values():
            sure &= np.isfinite(a)
    _decided(subject, output, batch, np.flatnonzero(~sure), high)
    return Exact(high, np.zeros(batch.count))


def _decided(subject: Subject, output: str, batch: Batch, places: Array, high: Array) -> None:
    """By ball arithmetic, each distinct point once."""
    if not len(places):
        return
    table = np.stack([batch.arrays[n][places].astype(np.float64) for n in batch.arrays], axis=1)
    _, first, back = _distinct(table)
    found = exact_of(subject.outputs[output], [batch.point(int(i)) for i in places[first]], subject)
    high[places] = found.high[back.reshape(-1)]


def _distinct(table: Array) -> tuple[Array, Array, Array]:
    """Rows that differ, all NaN alike and apart from every number."""
    marked = np.concatenate([np.nan_to_num(table, nan=0.0, posinf=np.inf, neginf=-np.inf), np.isnan(table)], axis=1)
    values, first, back = np.unique(marked, axis=0, return_index=True, return_inverse=True)
    return values, first, back
