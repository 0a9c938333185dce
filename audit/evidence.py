"""What a diagnosis has to go on: the values that an audit measured, and a function that can be asked again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from lossmith.audit.adapters import Adapter, Unavailable
from lossmith.audit.foreign import Misbehaved
from lossmith.audit.measure import Exact, exact, may_be_nan
from lossmith.audit.samples import Batch
from lossmith.audit.subject import Subject
from lossmith.derivations.ulp import FORMATS, Array, Doubles, Format, error, round_array

MANY = 1 << 16  # numbers at once: by then functions have split their work, or gone another way about it
FAILS = (Misbehaved, Unavailable, RuntimeError, ValueError, TypeError)


@dataclass(frozen=True)
class Seen:
    """One output on one batch: computed, exact, and which values fail; shape (n,) or (n, classes)."""

    output: str
    batch: Batch
    got: Array
    truth: Exact
    failing: Array


@dataclass(frozen=True)
class Lab:
    """A subject and the function that should compute it, to be asked at any input and in any format."""

    subject: Subject
    given: Adapter
    fmt: Format
    tier: str

    @property
    def wider(self) -> Format | None:
        """A format with more precision than the one that is audited, if there is one."""
        return FORMATS["float32" if self.fmt.bits == 16 else "float64"] if self.fmt.bits < 64 else None

    def call(self, output: str, batch: Batch, fmt: Format | None = None) -> Array | None:
        """The computed values in a format; None where the function does not give them."""
        name = (fmt or self.fmt).name
        try:
            if not self.given.offers(self.subject, output, batch, name, self.tier):
                return None
            with np.errstate(all="ignore"):
                return self.given.call(self.subject, output, batch, name, self.tier)
        except FAILS:
            return None

    def exact(self, output: str, batch: Batch) -> Exact:
        return exact(self.subject, output, batch)

    def right(self, output: str, batch: Batch, ulp: float, fmt: Format | None = None) -> Array | None:
        """Whether the function, asked in `fmt`, is right to some ulp of the audited format; None for no answer."""
        got = self.call(output, batch, fmt)
        return None if got is None else agree(got, self.exact(output, batch), self.fmt, ulp, output, batch)


def agree(got: Array, truth: Exact, fmt: Format, ulp: float, output: str, batch: Batch) -> Array:
    """Whether values, rounded to a format, are of the kind of the truth and within some ulp of it."""
    rounded, nearest = round_array(got, fmt), truth.nearest(fmt)
    with np.errstate(all="ignore"):
        errors = np.nan_to_num(error(rounded, (truth.high, truth.low), fmt), nan=math.inf)
    alike = (np.isnan(rounded) == np.isnan(nearest)) & (np.isinf(rounded) == np.isinf(nearest))
    close = (errors <= ulp) | (rounded == nearest) | (np.isnan(rounded) & np.isnan(nearest))
    return np.asarray((alike & close) | (np.isnan(got) & may_be_nan(output, batch, got.ndim)))


def picked(batch: Batch, places: Sequence[int] | Array) -> Batch:
    """Some examples of a batch."""
    chosen = np.asarray(places, dtype=np.int64)
    return Batch(batch.group, {n: a[chosen] for n, a in batch.arrays.items()}, batch.parameters, batch.classes)


def repeated(batch: Batch) -> tuple[Batch, Array]:
    """A batch so often that it holds MANY numbers, and which example is where: each time turned by one, so that every
    example is met at other places of a vector. Once, where it is as long by itself."""
    width = batch.classes or 1
    times = max(1, -(-MANY // (batch.count * width))) if batch.count else 1
    places = np.concatenate([np.roll(np.arange(batch.count), -turn) for turn in range(times)])
    return picked(batch, places), places


def worst_of(got: Array, places: Array, truth: Exact, fmt: Format) -> Array:
    """Of all values that were computed for each example, the worst; `places`: whose each is. A value that is NaN or
    infinite and should not be, or the reverse, is worse than any error."""
    high, nearest = truth.high[places], truth.nearest(fmt)[places]
    with np.errstate(all="ignore"):
        off = error(got, (high, truth.low[places]), fmt)
        other = (np.isnan(got) != np.isnan(nearest)) | (np.isinf(got) != np.isinf(nearest))
    off = np.where(other, np.inf, np.nan_to_num(off, nan=0.0)).reshape(-1)
    cells = np.arange(truth.high.size).reshape(truth.high.shape)[places].reshape(-1)
    order = np.lexsort((off, cells))
    last = np.flatnonzero(np.diff(cells[order], append=-1))
    return np.asarray(got.reshape(-1)[order[last]].reshape(truth.high.shape))


def changed(batch: Batch, **arrays: Array) -> Batch:
    """A batch with some of its arrays replaced."""
    return Batch(batch.group, {**batch.arrays, **arrays}, batch.parameters, batch.classes)


def sizes(batch: Batch) -> Doubles:
    """How far each example is from ordinary numbers: a person should see the plainest input that fails."""
    total = np.zeros(batch.count)
    for a in batch.arrays.values():
        if a.dtype.kind == "i":
            continue
        with np.errstate(all="ignore"):
            far = np.abs(np.log2(np.abs(a)))
        far = np.where(a == 0, 0.5, np.where(np.isfinite(far), far, 300.0))
        total += far.max(axis=1) if far.ndim == 2 else far
    return total


def largest(batch: Batch) -> Doubles:
    """The largest finite input of each example, at least 1: the numbers that are rounded on the way."""
    top = np.ones(batch.count)
    for a in batch.arrays.values():
        known = np.where(np.isfinite(a), np.abs(a), 0.0).reshape(batch.count, -1)
        top = np.maximum(top, known.max(axis=1, initial=0.0))
    return top
