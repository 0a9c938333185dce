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
ENOUGH_IN_SUMS = 1e-5  # and in float32, where long rows are summed
FEWEST = 10_000  # values from which on it is worth while
MOST_CHECKED = 40  # examples at which balls check what is taken from the reference


@functools.lru_cache(maxsize=64)
def _reference(subject: Subject, output: str) -> Running | None:
    by = subject.wrt(output)
    order = by * 2 if output.startswith("hessian") and len(by) == 1 else by
    try:
        return Running(derive(subject.unit, order).form.term)
    except (NoBound, ValueError, ArithmeticError):
        return None


def quick_exact(subject: Subject, output: str, batch: Batch, fmt: Format) -> Exact | None:
    """Truth on a batch to within ENOUGH ulp; None where no bound is known."""
    found = referred(subject, output, batch) if batch.count * (batch.classes or 1) >= FEWEST else None
    if found is None:
        return None
    enough = ENOUGH if fmt.bits == 16 else ENOUGH_IN_SUMS
    high, bound = (v.reshape(v.shape if subject.per_class(output) else batch.count) for v in found)
    with np.errstate(all="ignore"):
        unit = ulp_of(np.where(np.isfinite(high), high, 1.0), fmt)
        beyond = (np.abs(high) > 2 * fmt.largest) & (bound <= np.abs(high) / 4)  # an infinity, however far
        near = bound / unit <= enough
        sure = (np.isfinite(high) & (near | beyond)).reshape(batch.count, -1).all(axis=1)
        for a in batch.arrays.values():
            sure &= np.isfinite(a).reshape(batch.count, -1).all(axis=1)
    low = np.zeros(high.shape)
    if not _agrees(subject, output, batch, np.flatnonzero(sure), high, enough * unit):
        return None
    _decided(subject, output, batch, np.flatnonzero(~sure), high, low)
    return Exact(high, low)


def referred(subject: Subject, output: str, batch: Batch) -> tuple[Array, Array] | None:
    """The stable form in float64 with the bounds of its errors, shape (n, classes) or (n, 1); None where no bound is
    known. Infinite inputs have no place in it."""
    reference = _reference(subject, output)
    if reference is None:
        return None
    shape = (batch.count, batch.classes or 1) if subject.per_class(output) else (batch.count, 1)
    values, bounds = (_shaped(v, (shape if subject.is_row else shape[:1]), subject.is_row).reshape(shape)
                      for v in reference(_given(subject, batch)))
    return values, bounds


def _agrees(subject: Subject, output: str, batch: Batch, places: Array, high: Array, allowed: Array) -> bool:
    """Whether ball arithmetic finds the same at some of the places, spread over them."""
    if not len(places):
        return True
    count = max(2, min(MOST_CHECKED, len(places) // 50))
    chosen = np.unique(places[np.linspace(0, len(places) - 1, count).astype(np.int64)])
    found = exact_of(subject.outputs[output], [batch.point(int(i)) for i in chosen], subject)
    truth = found.high if found.high.ndim == high.ndim else found.high[:, None]
    with np.errstate(all="ignore"):
        same = (np.abs(truth - high[chosen]) <= allowed[chosen]) | (truth == high[chosen])
    return bool(same.all())


def _given(subject: Subject, batch: Batch) -> dict[str, Array]:
    """The inputs as the reference takes them: beside rows, numbers with a class axis of length one."""
    columns = {n: a if a.dtype.kind == "i" else a.astype(np.float64) for n, a in batch.arrays.items()}
    if subject.is_row:
        columns = {n: a if a.ndim == 2 else a[:, None] for n, a in columns.items()}
    return columns | {n: np.array([v]) for n, v in batch.parameters.items()}


def _shaped(values: Array, shape: tuple[int, ...], is_row: bool) -> Array:
    if is_row and len(shape) == 1:
        values = np.broadcast_to(values, (shape[0], 1))[:, 0] if values.ndim == 2 else values
    return np.array(np.broadcast_to(values, shape), dtype=np.float64)


def _decided(subject: Subject, output: str, batch: Batch, places: Array, high: Array, low: Array) -> None:
    """By ball arithmetic, each distinct point once."""
    if not len(places):
        return
    columns = [batch.arrays[n][places].astype(np.float64).reshape(len(places), -1) for n in batch.arrays]
    _, first, back = _distinct(np.concatenate(columns, axis=1))
    found = exact_of(subject.outputs[output], [batch.point(int(i)) for i in places[first]], subject)
    for whole, part in ((high, found.high), (low, found.low)):
        chosen = part[back.reshape(-1)]
        whole[places] = chosen if chosen.ndim == whole.ndim else chosen[:, None]


def _distinct(table: Array) -> tuple[Array, Array, Array]:
    """Rows that differ, all NaN alike and apart from every number."""
    marked = np.concatenate([np.nan_to_num(table, nan=0.0, posinf=np.inf, neginf=-np.inf), np.isnan(table)], axis=1)
    values, first, back = np.unique(marked, axis=0, return_index=True, return_inverse=True)
    return values, first, back
