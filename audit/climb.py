"""From the worst points and rows that a draw has found to worse ones nearby: a search along each input, bounded by
counts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from lossmith.audit import specials
from lossmith.audit.evidence import Lab, Seen, picked
from lossmith.audit.measure import may_be_nan
from lossmith.audit.samples import Batch
from lossmith.derivations.relations import holds
from lossmith.derivations.ulp import Array, Doubles, error, numbers, ordinals

STARTS, ROUNDS = 4, 6  # points that are climbed from, in how many steps
LONGEST = 10  # classes of a row that is climbed from: truth of many longer ones takes too long
ROW_STARTS, MOVING, STRIDE = 2, 3, 3  # rows that are climbed from; how many classes move; every so many powers of two
Group = tuple[str, str]  # an output, and a group of points


def climbed(lab: Lab, seen: Sequence[Seen], told: Callable[[str, Batch], None]) -> None:
    """Tells of a batch around the worst points of every output and group, where it has none that is wrong in kind
    already and worse ones are found."""
    groups: dict[Group, list[Seen]] = {}
    for s in seen:
        if (s.batch.classes or 1) <= LONGEST:
            groups.setdefault((s.output, s.batch.group), []).append(s)
    for (output, _), parts in groups.items():
        starts, worst = _starts(parts, lab)
        if starts is None:
            continue
        found, reached = _climb(lab, output, starts)
        if reached > worst:
            told(output, found)


def _errors(lab: Lab, output: str, batch: Batch, got: Array, high: Doubles, low: Doubles) -> Doubles:
    """In ulp, of an example the worst class; 0 where NaN is as good; infinite where a value is wrong in kind."""
    found = np.nan_to_num(error(got, (high, low), lab.fmt), nan=math.inf)
    found = np.where(np.isnan(got) & may_be_nan(output, batch, got.ndim), 0.0, found)
    return np.asarray(found.reshape(batch.count, -1).max(axis=1))


def _starts(parts: Sequence[Seen], lab: Lab) -> tuple[Batch | None, float]:
    """The worst finite points, no two of one size and sign of the first input (rows: of one length), and the worst
    error."""
    table: list[tuple[float, int, int]] = []
    for number, s in enumerate(parts):
        errors = _errors(lab, s.output, s.batch, s.got, s.truth.high, s.truth.low)
        plain = np.logical_and.reduce([np.isfinite(a).reshape(s.batch.count, -1).all(axis=1)
                                       for a in s.batch.arrays.values()])
        errors = np.where(plain & np.isfinite(errors), errors, 0.0)
        table += [(-float(errors[i]), number, int(i)) for i in np.argsort(-errors, kind="stable")[:64]]
    if not table or min(table)[0] == 0:
        return None, 0.0
    length = parts[min(table)[1]].batch.classes
    taken: dict[tuple[int, bool], Batch] = {}
    for _, number, i in sorted(t for t in table if parts[t[1]].batch.classes == length):
        one = picked(parts[number].batch, [i])
        first = float(next(iter(one.arrays.values())).reshape(-1)[0])
        taken.setdefault((math.frexp(first)[1], first < 0), one)
        if len(taken) == (STARTS if length is None else ROW_STARTS):
            break
    return _joined(list(taken.values())), -min(table)[0]


def _joined(batches: Sequence[Batch]) -> Batch:
    first = batches[0]
    arrays = {n: np.concatenate([b.arrays[n] for b in batches]) for n in first.arrays}
    return Batch(first.group, arrays, first.parameters, first.classes)


def _climb(lab: Lab, output: str, starts: Batch) -> tuple[Batch, float]:
    """The best points reached, and the worst error there."""
    here, reached = starts, 0.0
    for _ in range(ROUNDS):
        around = _around(lab, here)
        got = lab.call(output, around)
        if got is None:
            break
        truth = lab.exact(output, around)
        if got.shape != truth.high.shape:
            break
        errors = _errors(lab, output, around, got, truth.high, truth.low)
        errors = np.where(np.isfinite(errors), errors, -1.0)
        order = np.argsort(-errors, kind="stable")[:starts.count]
        if float(errors[order[0]]) <= reached:
            break
        here, reached = picked(around, order), float(errors[order[0]])
    return here, reached


def _around(lab: Lab, here: Batch) -> Batch:
    """The points themselves, and each with one input (of a row: one class of it) moved by a power of two of its units,
    within the domain. A distribution stays as it is: what one class gains others would lose."""
    stride = 1 if here.classes is None else STRIDE
    steps = [way << k for k in range(0, lab.fmt.precision, stride) for way in (1, -1)]
    batches = [here]
    for a in lab.subject.given:
        if a.role != "input" or a.domain.values or a.domain.unit_sum:
            continue
        column = here.arrays[a.name]
        places = ordinals(column, lab.fmt)
        top = int(ordinals(np.array([lab.fmt.largest]), lab.fmt)[0])
        for moving in _moving(column):
            for step in steps:
                moved = np.where(moving, numbers(np.clip(places + step, -top, top), lab.fmt), column)
                batch = Batch(here.group, {**here.arrays, a.name: moved}, here.parameters, here.classes)
                held = specials.inside(a.domain, moved.reshape(-1)).reshape(here.count, -1).all(axis=1)
                batches.append(picked(batch, np.flatnonzero(held)))
    found = _joined(batches)
    relations = lab.subject.unit.given
    return picked(found, np.flatnonzero(holds(relations, dict(found.arrays)))) if relations else found


def _moving(column: Array) -> list[Array]:
    """Which numbers move together: all of a column; of rows the largest class, the next ones, and the last in turn."""
    if column.ndim == 1:
        return [np.ones(column.shape, dtype=bool)]
    ranks = np.argsort(np.argsort(-column, axis=1, kind="stable"), axis=1, kind="stable")
    chosen = sorted({*range(min(MOVING - 1, column.shape[1])), column.shape[1] - 1})
    return [ranks == r for r in chosen]
