"""Operations over the classes of a row in float64, with bounds of their errors: what `running` takes of its rows.

Rows have the shape (n, classes), all else (n, 1); a reduction keeps the axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from lossmith.derivations.ulp import Array

HALF = 2.0**-53
Pair = tuple[Array, Array]


def summed(a: Pair, classes: int) -> Pair:
    """The sum over the classes; of what has no class axis, that many times it."""
    values, errors = (np.broadcast_to(v, (*v.shape[:-1], classes)) for v in a)
    size = np.abs(values).sum(axis=-1, keepdims=True)
    return values.sum(axis=-1, keepdims=True), errors.sum(axis=-1, keepdims=True) + size * ((classes - 1) * HALF)


def largest(a: Pair, classes: int) -> Pair:
    return a[0].max(axis=-1, keepdims=True), a[1].max(axis=-1, keepdims=True)


def rest_of(exp: Callable[[Pair], Pair]) -> Callable[[Pair, int], Pair]:
    """What beside the largest class is under the logarithm of a log-sum-exp."""

    def rest(a: Pair, classes: int) -> Pair:
        values, errors = (np.broadcast_to(v, (*v.shape[:-1], classes)) for v in a)
        first = np.arange(classes) == np.argmax(values, axis=-1)[..., None]
        apart = values - values.max(axis=-1, keepdims=True)
        shares, bounds = exp((apart, np.abs(apart) * HALF))
        total, bound = summed((np.where(first, 0.0, shares), np.where(first, 0.0, bounds)), classes)
        return total, bound + np.where(errors.any(axis=-1, keepdims=True), np.inf, 0.0)

    return rest


def taken(row: Pair, label: Pair, classes: int) -> Pair:
    """The element at a label."""
    places = label[0].astype(np.int64)

    def one(a: Array) -> Array:
        return np.take_along_axis(np.broadcast_to(a, (len(places), classes)), places, axis=-1)

    return one(row[0]), one(row[1])


REDUCTIONS: Mapping[str, Callable[[Pair, int], Pair]] = {"sum": summed, "peak": largest}
