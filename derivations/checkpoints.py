"""Where both ends of a derivation are compared: ordinary points, extremes, and both sides of every seam."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from lossmith.derivations import balls, points, relations
from lossmith.derivations.domains import Domain
from lossmith.derivations.evaluate import Evaluator
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term, is_const, number, walk
from lossmith.derivations.ulp import FORMATS, ordinals

POINTS = 48  # ordinary points
CLASSES = (1, 2, 3, 7)
EXTREMES = 24  # points of any magnitude, edges among them
SEAMS = 8  # conditions of the form whose two sides are looked for
HALVINGS = 70
Point = dict[str, Any]
F64 = FORMATS["float64"]


def ordinary(arguments: Sequence[Argument], is_row: bool, given: Sequence[Term] = ()) -> list[Point]:
    """Moderate points, all finite and inside the domains and the relations `given`."""
    rng = random.Random(1)
    if given and not is_row:
        return _satisfying(arguments, given)
    sizes = [CLASSES[n % len(CLASSES)] if is_row else 0 for n in range(POINTS)]
    return [{a.name: _drawn(a, classes, rng) for a in arguments} for classes in sizes]


def _satisfying(arguments: Sequence[Argument], given: Sequence[Term]) -> list[Point]:
    """The same under relations: of the points that seek trouble those of moderate size first."""
    table = _table(points.scalar_points(arguments, 8 * POINTS, 1, F64, given=given))
    moderate = [p for p in table if all(2.0**-5 < abs(v) < 32.0 for v in p.values())]
    return (moderate or table)[:POINTS]


def _table(columns: Mapping[str, Any]) -> list[Point]:
    return [dict(zip(columns, map(float, point), strict=True)) for point in zip(*columns.values(), strict=True)]


def _drawn(a: Argument, classes: int, rng: random.Random) -> float | int | list[float]:
    if a.role == "label":
        return rng.randrange(classes)
    if a.axis == "class":
        values = [_value(a.domain, rng) for _ in range(classes)]
        if a.domain.values and not any(values):  # a row of zeros has no distribution, and what is over its sum no value
            values[rng.randrange(classes)] = float(a.domain.values[-1])
        return values
    return _value(a.domain, rng)


def _value(domain: Domain, rng: random.Random) -> float:
    """A float strictly inside an interval, or one of a set of values."""
    if domain.values:
        return float(rng.choice(domain.values))
    low, high = float(domain.low), float(domain.high)
    if math.isfinite(low) and math.isfinite(high):
        return low + (high - low) * rng.uniform(0.01, 0.99)
    size = math.exp(rng.uniform(-4.0, 3.0))
    if math.isfinite(low):
        return low + size
    return high - size if math.isfinite(high) else rng.choice((-size, size))


def extreme(form: Term, arguments: Sequence[Argument], given: Sequence[Term] = ()) -> list[Point]:
    """Points of every magnitude and at the edges of the domains, then both sides of every seam of the form."""
    if not arguments:
        return []
    spots = [float(number(t)) for c in walk(form) if c.sort == "truth" for t in c.args if is_const(t)]
    drawn = _table(points.scalar_points(arguments, 8 * EXTREMES, 3, F64, spots, given=given))
    return [*drawn[:: max(1, len(drawn) // EXTREMES)], *seams(form, arguments, given)]


def seams(form: Term, arguments: Sequence[Argument], given: Sequence[Term] = ()) -> list[Point]:
    """Neighbouring points at which a condition within the form holds and does not, as far as they are found.

    The way from a point where it holds to one where it does not is halved until both are one
    float apart in every argument.
    """
    conditions = [t for t in walk(form) if t.sort == "truth" and t.op not in ("and", "or", "not")][:SEAMS]
    if not conditions or not arguments:
        return []
    columns = points.scalar_points(arguments, 4 * POINTS, 5, F64, given=given)
    table = _table(columns)
    found: list[Point] = []
    for condition in conditions:
        holds = _truths(condition, columns)
        pairs = [(i, j) for i, j in zip(np.nonzero(holds)[0].tolist(), np.nonzero(~holds)[0].tolist())][:2]
        for i, j in pairs:
            found += _halved(condition, table[i], table[j])
    return [p for p in found if _inside(p, arguments, given)]


def _truths(condition: Term, columns: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    count = len(next(iter(columns.values())))
    with np.errstate(all="ignore"):
        return np.broadcast_to(np.asarray(Evaluator(dict(columns), F64)(condition), dtype=bool), (count,))


def _halved(condition: Term, yes: Point, no: Point) -> list[Point]:
    """The last point at which the condition holds and the first at which it does not, on a way between two."""
    for _ in range(HALVINGS):
        middle = {n: _between(yes[n], no[n]) for n in yes}
        if middle in (yes, no):
            break
        if _truths(condition, {n: np.array([v]) for n, v in middle.items()})[0]:
            yes = middle
        else:
            no = middle
    return [yes, no]


def _between(a: float, b: float) -> float:
    """The float in the middle of all the floats between two."""
    low, high = (int(ordinals(v, F64)) for v in (a, b))
    return points.from_ordinal((low + high) // 2, F64)


def _inside(point: Point, arguments: Sequence[Argument], given: Sequence[Term]) -> bool:
    if not all(a.domain.holds(point[a.name]) for a in arguments):
        return False
    return not given or bool(relations.holds(given, {n: np.array([v]) for n, v in point.items()})[0])


def difference(before: Term, after: Term, table: Sequence[Point], arguments: Sequence[Argument] = ()) -> Point | None:
    """The first point at which two terms differ by ball arithmetic; None where they agree at all.

    Points at which `before` has no value are passed over.
    """
    for env in table:
        if balls.overlaps(before, after, env, arguments=arguments):
            continue
        value = balls.truth(before, env, F64, arguments)
        if any(map(math.isnan, value if isinstance(value, list) else [value])):
            continue
        return env
    return None
