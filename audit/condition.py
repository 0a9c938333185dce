"""The condition of a point: how far truth moves when inputs move by half an ulp, near a root of it.

Away from a root no error is excused, however steep the function: a form that carries the low part
of a difference gets e^-90 right. At a root, a form in the storage format cannot know on which side
of it the exact inputs lie, and only there the condition number is the measure.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from lossmith.audit.measure import Excuse
from lossmith.audit.quick import referred
from lossmith.audit.samples import SOFT, Batch
from lossmith.audit.subject import Subject
from lossmith.derivations import balls
from lossmith.derivations.domains import Domain
from lossmith.derivations.enclosing import inputs_of
from lossmith.derivations.terms import Term
from lossmith.derivations.ulp import Array, Doubles, Format, split, ulp_of

LARGEST = Fraction(sys.float_info.max)
ROUGH = 2.0**-38  # how near `balls.rough` is
LONG = 100  # rows longer than this are moved in fewer ways: each costs an evaluation of the row
Moves = dict[str, Any]  # per input: a sign, or one per class


def _patterns(point: dict[str, Any], names: list[str], k: int | None) -> Iterator[Moves]:
    """Which way each input moves: one input (or class k of it) alone, the other classes together, all."""
    still: Moves = {n: 0 if np.ndim(point[n]) == 0 else np.zeros(len(point[n]), dtype=int) for n in names}
    for n in names:
        for way in (1, -1):
            if np.ndim(point[n]) == 0:
                yield still | {n: way}
                continue
            alone = np.zeros(len(point[n]), dtype=int)
            alone[int(np.argmax(point[n])) if k is None else k] = way
            yield still | {n: alone}
            yield still | {n: np.where(alone == 0, way, 0)}


def _moved(value: float, way: float, unit: float) -> Fraction | float:
    if way == 0 or not math.isfinite(value) or not math.isfinite(way):
        return value
    return Fraction(value) + Fraction(unit) * Fraction(way) / 2


def _row_moved(values: Doubles, ways: Doubles, fmt: Format) -> Doubles | list[Fraction | float]:
    """A row moved; where the sum is a float64 it stays one, which is much quicker than a fraction, and an array where
    all are."""
    units = ulp_of(values, fmt)
    with np.errstate(all="ignore"):
        by = units * ways / 2
        sums = values + by
        plain = (sums - values == by) & (sums - by == values) & (sums != 0) & np.isfinite(sums) & (np.abs(by) > 1e-290)
    plain |= (ways == 0) | ~np.isfinite(values)
    sums = np.where(ways == 0, values, np.where(np.isfinite(values), sums, values))
    if plain.all():
        return np.asarray(sums)
    return [s if p else _moved(v, w, u) for s, p, v, w, u in
            zip(sums.tolist(), plain.tolist(), values.tolist(), ways.tolist(), units.tolist(), strict=True)]


def _shifted(point: dict[str, Any], moves: Moves, factor: float, fmt: Format) -> dict[str, Any]:
    out = dict(point)
    for name, ways in moves.items():
        if np.ndim(point[name]) == 0:
            out[name] = _moved(float(point[name]), ways * factor, float(ulp_of(point[name], fmt)))
        else:
            out[name] = _row_moved(np.asarray(point[name], dtype=np.float64), ways * factor, fmt)
    return out


def _inside(point: dict[str, Any], domains: dict[str, Domain]) -> bool:
    """Whether no input has left its domain, or the numbers that there are: a root beyond is no excuse."""
    return all(_fits(domain, v) for name, domain in domains.items()
               for v in ([point[name]] if np.ndim(point[name]) == 0 else point[name]))


def _fits(domain: Domain, v: Fraction | float) -> bool:
    return domain.holds(v) and (not isinstance(v, Fraction) or abs(v) <= LARGEST)


def _value(term: Term, point: dict[str, Any], k: int | None) -> Fraction | None:
    found = balls.pair(term, point)
    one = found[k or 0] if isinstance(found, list) else found
    return one if isinstance(one, Fraction) else None


def near_root(term: Term, point: dict[str, Any], domains: dict[str, Domain], k: int | None, fmt: Format) -> float:
    """The condition in ulps per half ulp of the inputs where truth changes sign nearby, else 1.

    Nearby: within twice the distance at which a straight line through the point meets zero, and
    within the domains of the inputs.
    """
    here = _value(term, point, k)
    if here is None:
        return 1.0
    unit = Fraction(float(ulp_of(split(here)[0], fmt)))
    condition = 1.0
    for moves in _patterns(point, list(domains), k):
        there = _value(term, _shifted(point, moves, 1.0, fmt), k)
        if there is None or there == here:
            continue
        if here == 0:  # on the root itself
            condition = max(condition, split(abs(there) / unit)[0])
            continue
        reach = split(2 * abs(here / (there - here)))[0]
        for way in (reach, -reach):
            beyond = _shifted(point, moves, way, fmt)
            value = _value(term, beyond, k) if _inside(beyond, domains) else None
            if value is not None and value * here <= 0:
                condition = max(condition, split(abs(there - here) / unit)[0])
    return condition


def condition_of(subject: Subject, output: str, batch: Batch, i: int, k: int | None, fmt: Format) -> float:
    """How many ulp the truth moves when some inputs move by half an ulp, at any example: at least 1.

    Hard targets do not move.
    """
    domains = {a.name: a.domain for a in subject.given if a.role in _moving(batch)}
    term, point = subject.outputs[output], batch.point(i)
    here = _value(term, point, k)
    if here is None:
        return 1.0
    unit = Fraction(float(ulp_of(split(here)[0], fmt)))
    moved = (_value(term, _held(point, _shifted(point, moves, 1.0, fmt), domains), k)
             for moves in _patterns(point, list(domains), k))
    return max([1.0, *(split(abs(there - here) / unit)[0] for there in moved if there is not None)])


def _double_root(fmt: Format) -> float:
    """So many ulps for half an ulp of the inputs happen at a root only, be it one that truth touches and does not
    cross: a divergence near equality."""
    return float(2.0 ** (fmt.precision / 2))


def _patterns_of_rows(point: dict[str, Any], names: list[str]) -> list[Moves]:
    """How rows move: neighbours against each other, one class alone, pairs against pairs, a mixture. If long, the first
    three: the class alone is the largest then, whose softmax all others feel.

    All classes alike is one way among others: a loss of differences does not feel it.
    """
    rng = np.random.default_rng(0)
    width = max(np.size(point[n]) for n in names)
    classes = np.arange(width)
    first = 0 if width <= LONG else int(np.argmax(point[next(n for n in names if np.ndim(point[n]))]))
    alone, alike = (classes == first).astype(int), np.ones(width, dtype=int)  # in equal numbers the other ways cancel
    ways = [1 - 2 * (classes % 2), alone, alike, 1 - 2 * (classes // 2 % 2), rng.choice([-1, 1], width)]
    out: list[Moves] = []
    for way in ways if width <= LONG else ways[:3]:  # a mean feels what all do alike
        out.append({n: way * (-1) ** m if np.ndim(point[n]) else int(way[0]) for m, n in enumerate(names)})
    return out


def _held(point: dict[str, Any], moved: dict[str, Any], domains: dict[str, Domain]) -> dict[str, Any]:
    """The moved inputs, those that left their domain put back."""
    out = dict(moved)
    for name, domain in domains.items():
        if np.ndim(point[name]) == 0:
            out[name] = moved[name] if _fits(domain, moved[name]) else point[name]
        elif isinstance(moved[name], np.ndarray):
            out[name] = np.where(_all_fit(domain, moved[name]), moved[name], point[name])
        else:
            out[name] = [m if _fits(domain, m) else v for m, v in zip(moved[name], point[name], strict=True)]
    return out


def _all_fit(domain: Domain, values: Doubles) -> Array:
    """Which of a row's numbers are in the domain, infinities too."""
    if domain.values:
        return np.isin(values, [float(v) for v in domain.values])
    low, high = float(domain.low), float(domain.high)
    above = values >= low if domain.low_closed else values > low
    below = values <= high if domain.high_closed else values < high
    return np.asarray(above & below & ((values != 0) | (not domain.nonzero)))


Reference = Callable[[list[dict[str, Any]]], "tuple[Doubles, Doubles] | None"]  # values and bounds, a line for a point


def row_conditions(term: Term, point: dict[str, Any], domains: dict[str, Domain], fmt: Format,
                   free: Sequence[str] = (), reference: Reference | None = None) -> Doubles:
    """For every class at once: the condition where truth changes sign or touches zero nearby, else 1.

    Nearby: within twice the distance at which a straight line through the point meets zero, or up to the next that is
    tried. The inputs move by half an ulp times powers of two, up to as much as they are themselves. The inputs in
    `free` also move alone: where half an ulp of them changes truth beyond `_double_root`.
    `reference`: what stands for truth where its bound suffices.
    """
    here = _floats(balls.truth(term, point))
    unit = ulp_of(np.where(np.isfinite(here), here, 1.0), fmt)
    far, apart = fmt.precision // 2 * 2, 2 if len(here) <= LONG else 4  # as far in long rows, in longer steps
    powers = [0, *reversed(range(far, 0, -apart))]
    steps = [(moves, way, power) for moves in _patterns_of_rows(point, list(domains)) for way in (1.0, -1.0)
             for power in powers]
    near = [_held(point, _shifted(point, moves, way * 2.0**power, fmt), domains) for moves, way, power in steps]
    alone = [_held(point, _shifted(point, moves, 1.0, fmt), domains)
             for moves in (_patterns_of_rows(point, list(free)) if free else [])]
    first = np.array([power == 0 for _, _, power in steps] + [True] * len(alone))
    with np.errstate(all="ignore"):
        there = _truths(term, [*near, *alone], here, np.where(first[:, None], unit / 1024, np.inf), reference)
        off = np.abs(there - here) / unit
        lines = there[:len(near)].reshape(-1, len(powers), len(here))  # each way that the inputs move, step by step
        slopes = np.abs(lines[:, :1] - here)
        reach = np.where(slopes > unit / 256, 2 * np.abs(here) / slopes, 0.0) * 2.0**apart
        beside = (2.0 ** np.array(powers)[:, None] <= reach) | (here == 0)
        crossed = ((lines * np.sign(here) <= 0) & beside).any(axis=(0, 1))
        condition = np.fmax(1.0, np.fmax.reduce(off[:len(near)][first[:len(near)]], axis=0))
        touched = np.fmax.reduce(np.concatenate([np.ones((1, *here.shape)), off[len(near):]]), axis=0)
    condition = np.fmax(condition, touched)
    return np.where(crossed | (touched > _double_root(fmt)), condition, 1.0)


def _truths(term: Term, points: list[dict[str, Any]], here: Doubles, enough: Doubles,
            reference: Reference | None) -> Doubles:
    """Truth at points, a line for each: by the reference where it is known to within `enough` and on which side of
    zero it lies, and by balls elsewhere. The reference is checked against balls at the first point. Classes where
    truth is not finite `here` need nothing."""
    quick = reference(points) if reference is not None else None
    if quick is None:
        return np.stack([_floats(balls.rough(term, p)) for p in points])
    values, bounds = quick
    idle = ~np.isfinite(here)
    sure = (((bounds <= enough) & ((np.abs(values) > bounds) | (bounds == 0))) | idle).all(axis=1)
    checked = np.flatnonzero(sure)[:1]
    for i in (*np.flatnonzero(~sure), *checked):
        found = _floats(balls.rough(term, points[i]))
        if sure[i] and not ((np.abs(found - values[i]) <= bounds[i] + np.abs(found) * ROUGH) | idle).all():
            return _truths(term, points, here, enough, None)
        values[i] = found
    return values


def _floats(value: Any) -> Doubles:
    return np.array([float(v) for v in (value if isinstance(value, list) else [value])], dtype=np.float64)


def _moving(batch: Batch) -> tuple[str, ...]:
    return ("input", "target") if batch.group == SOFT else ("input",)


def _referred(subject: Subject, output: str, batch: Batch, points: list[dict[str, Any]],
              ) -> tuple[Doubles, Doubles] | None:
    """The stable form in float64 at points of float64 numbers, with bounds; None where there are others."""
    read = {name for name, _ in inputs_of(subject.outputs[output])}
    columns = {}
    for name in batch.arrays:
        listed = [points[0][name]] * len(points) if name not in read else [p[name] for p in points]
        columns[name] = np.array(listed, dtype=batch.arrays[name].dtype)
        if np.isnan(columns[name]).any() or any(_is_lost(p, c) for p, c in zip(listed, columns[name], strict=True)):
            return None
    return referred(subject, output, replace(batch, arrays=columns))


def _is_lost(given: Any, column: Any) -> bool:
    """Whether a number moved by a fraction is none of float64."""
    if isinstance(given, Fraction):
        return given != float(column)
    return isinstance(given, list) and any(isinstance(v, Fraction) and v != float(c)
                                           for v, c in zip(given, column, strict=True))


def excuse_for(subject: Subject, output: str, batch: Batch, fmt: Format) -> Excuse:
    """What `measure` asks: the condition of example i, class k. Rows are answered for all classes at once.

    Hard targets are exact and do not move: a root beside one is no excuse.
    """
    domains = {a.name: a.domain for a in subject.given if a.role in _moving(batch)}
    term = subject.outputs[output]
    if batch.classes is None:
        return lambda i, k: near_root(term, batch.point(i), domains, k, fmt)
    free = [a.name for a in subject.given if a.role == "input"]
    known: dict[int, Doubles] = {}
    quick = functools.partial(_referred, subject, output, batch) if batch.classes > LONG else None

    def answer(i: int, k: int | None) -> float:
        if i not in known:
            known[i] = row_conditions(term, batch.point(i), domains, fmt, free, quick)
        return float(known[i][k or 0])

    return answer
