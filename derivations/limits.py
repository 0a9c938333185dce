"""Limits: the value of a term at a point where it has none of its own, by approaching that point.

An infinite input is replaced by a magnitude M that dwarfs every finite input, an input at the edge
of its domain is moved inwards by 1/M; three magnitudes and several relative speeds are tried. What
grows is infinite, what shrinks is zero, what stays is the value; directions that disagree: NaN.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import arb
from lossmith.derivations.anchored import Anchored, inexact
from lossmith.derivations.enclosing import Env, as_list, decide_anchored, inputs_of, run, working
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term
from lossmith.derivations.ulp import Format

Speeds = tuple[int, ...]
LONG = 32  # classes of a row from which on plain balls are tried before anchored numbers


FEW = 3  # places that move at different orders too


@dataclass(frozen=True)
class Place:
    """One number among the inputs: which, its value, and the way into its domain where it is at an edge."""

    name: str
    index: int | None
    value: float
    inward: int  # 1 or -1 at an edge, 0 inside
    target: bool

    @property
    def infinite(self) -> bool:
        return math.isinf(self.value)


def _inward(value: float, argument: Argument | None) -> int:
    """At which edge a value lies. Where the domain is not known, zero is taken for a lower edge."""
    if argument is None:
        return 1 if value == 0 else 0
    domain = argument.domain
    if domain.nonzero and value == 0:
        return 0
    return 1 if value == domain.low else -1 if value == domain.high else 0


def places_of(term: Term, env: Env, arguments: Sequence[Argument]) -> list[Place]:
    """Every number that the term reads, in the order of first appearance.

    Left out: labels and parameters, which are given exactly. A target from a finite set moves, as any
    other that is 0: 0 log 0 is what it is for.
    """
    known = {a.name: a for a in arguments}
    out: list[Place] = []
    for name, op in inputs_of(term):
        if op == "label" or (name in known and known[name].role == "parameter"):
            continue
        values = list(env[name]) if op == "row" else [env[name]]
        argument = known.get(name)
        target = argument is not None and argument.role != "input"
        for k, v in enumerate(values):
            x = float(v)
            out.append(Place(name, k if op == "row" else None, x, 0 if math.isinf(x) else _inward(x, argument), target))
    return out


def moved_sets(places: Sequence[Place]) -> Iterator[list[Place]]:
    """Which numbers to move, in order: the infinite ones alone; with inputs at an edge; all edges; everything.

    Inputs move before targets: a target of exactly 0 or 1 is data, and stays.
    """
    infinite = [p for p in places if p.infinite]
    edges = [p for p in places if p.inward]
    seen: set[tuple[Place, ...]] = set()
    for more in (
        [], [p for p in edges if not p.target], edges,
        [p for p in places if not p.infinite and not p.target], [p for p in places if not p.infinite],
    ):
        chosen = infinite + more
        if chosen and tuple(chosen) not in seen:
            seen.add(tuple(chosen))
            yield chosen


def speeds(count: int) -> list[Speeds]:
    """Relative speeds of approach: rising, falling, together; the first two say enough of many numbers."""
    if count == 1:
        return [(1,)]
    rising = tuple(1 + k % 3 for k in range(count))
    found = [rising, tuple(4 - s for s in rising)]
    return found if count > 8 else [*found, (1,) * count]


def orders(places: Sequence[Place]) -> list[Speeds]:
    """By which power of the scale each place moves: alike; where a few finite ones move, each sooner."""
    count = len(places)
    if not 2 <= count <= FEW or any(p.infinite or p.target for p in places):
        return [(1,) * count]
    return [(1,) * count, *(tuple(1 + 2 * (k == fast) for k in range(count)) for fast in range(count))]


def _approach(env: Env, places: Sequence[Place], speed: Speeds, scale: int, flip: int,
              order: Speeds) -> dict[str, Any]:
    """The inputs with each place moved: infinities to +-speed * 2**scale, others by speed * 2**(-order * scale).

    Targets move by much less: what is 0 in the data stays 0 beside whatever the inputs do.
    """
    out: dict[str, Any] = {}
    for place, s, power in zip(places, speed, order, strict=True):
        if place.infinite:
            value = Fraction(s << scale) * (1 if place.value > 0 else -1)
        else:
            way = place.inward or flip
            original = env[place.name] if place.index is None else env[place.name][place.index]
            value = _exact(original) + Fraction(way * s, 1 << (3 * scale if place.target else power * scale))
        if place.index is None:
            out[place.name] = value
        else:
            if place.name not in out:
                out[place.name] = list(env[place.name])
            out[place.name][place.index] = value
    return {**env, **out}


def _exact(value: Any) -> Fraction:
    return value if isinstance(value, Fraction) else Fraction(float(value))


def _base_scale(places: Sequence[Place]) -> int:
    """A power of two that dwarfs products of three finite inputs."""
    sizes = [abs(math.frexp(p.value)[1]) for p in places if not p.infinite and p.value != 0]
    return 3 * max(sizes, default=0) + 200


def _settle(values: Sequence[Anchored], fmt: Format, base: int) -> float | None:
    """The limit of values at two or three growing magnitudes; None where they do not tell it."""
    if any(v.kind is None for v in values):
        return None
    rounded = [decide_anchored(v, fmt) for v in values]
    alike = rounded[0] is not None and all(r == rounded[0] for r in rounded)
    if len(values) > 2 and alike and (beyond := _on_the_way(values, base)) is not None:
        return beyond
    drifting = _drifts(values, base)
    if alike and not drifting:
        return rounded[0]
    if len(values) < 3:
        return None
    if drifting and alike:
        return math.inf if values[2].ball > values[1].ball else -math.inf
    if any(v.kind != 0 for v in values):
        return rounded[2] if rounded[1] == rounded[2] else None
    sizes = [abs(v.ball) for v in values]
    if sizes[1] > sizes[0] and sizes[2] - sizes[1] > (sizes[1] - sizes[0]) * 0.9:
        return math.inf if values[2].ball > 0 else -math.inf
    if sizes[1] < sizes[0] * 0.8 and sizes[2] < sizes[1] * 0.8:
        return 0.0
    return rounded[2] if rounded[1] is not None and rounded[1] == rounded[2] and not drifting else None


def _on_the_way(values: Sequence[Anchored], base: int) -> float | None:
    """The limit of values beyond the format that fall towards 0, or below it that grow, with a power of the scale."""
    sizes = [abs(v.ball) for v in values]
    if any(v.kind != 0 for v in values) or any(not s > 0 for s in sizes):
        return None
    steep = arb(2) ** (base // 8)
    if all(a > b * steep for a, b in itertools.pairwise(sizes)):
        return 0.0
    if all(b > a * steep for a, b in itertools.pairwise(sizes)):
        return math.copysign(math.inf, values[-1].sign or 1)
    return None


def _drifts(values: Sequence[Anchored], base: int) -> bool:
    """Whether values that round alike still move by as much each time, as a logarithm does beside a large number."""
    if len(values) < 2 or any(v.kind != 0 for v in values):
        return False
    moves = [abs(b.ball - a.ball) for a, b in itertools.pairwise(values)]
    far = bool(moves[0] > abs(values[0].ball) * arb(2) ** -(base // 2))
    return far and (len(moves) < 2 or bool(moves[1] > moves[0] * 0.9))


def _along(term: Term, env: Env, places: Sequence[Place], speed: Speeds, flip: int, fmt: Format,
           base: int, order: Speeds) -> list[float | None]:
    """The limit from one direction, one per class for a row."""
    scales = (base, base * 3 // 2, base * 9 // 4)
    moved = [_approach(env, places, speed, scale, flip, order) for scale in scales]
    # exp of a magnitude needs half its bits; a removable singularity of second order over twice as many,
    # and a difference that vanishes must be known to vanish in the format.
    few = [s // 2 + 250 for s in scales]
    many = [max(5 * s // 2 + 300, 100 - fmt.quantum) for s in scales]
    plans = [(few, False), (many, False)]
    if max((len(env[p.name]) for p in places if p.index is not None), default=0) >= LONG:
        plans = [([s + 250 for s in scales], True), *plans]  # plain balls are many times as quick, and mostly enough
    found: list[float | None] = []
    for precisions, plain in plans:
        columns: list[list[Anchored]] = []
        for near, precision in zip(moved, precisions, strict=True):
            with working(precision):
                reached = as_list(run(term, near, plain))
                columns.append([inexact(b) for b in reached] if plain else reached)
                if plain and any(v.kind is None for v in columns[-1]):
                    break
                if len(columns) > 1:
                    found = [_settle(values, fmt, base) for values in zip(*columns, strict=True)]
            if len(columns) > 1 and None not in found:
                return found
        if not plain and all(v.kind is None for v in columns[0]):
            break
    return found


def limit(term: Term, env: Mapping[str, Any], fmt: Format, arguments: Sequence[Argument]) -> list[float | None]:
    """The limit of a term at a point, one per class for a row; NaN where directions disagree, None where unknown."""
    places = places_of(term, env, arguments)
    base = _base_scale(places)
    settled: list[float | None] = []
    for chosen in moved_sets(places):
        merged = _from_all_sides(term, env, chosen, fmt, base)
        settled = [m if s is None else s for s, m in zip(settled, merged, strict=True)] if settled else merged
        if None not in settled:
            break
    return settled


def _from_all_sides(term: Term, env: Env, chosen: Sequence[Place], fmt: Format, base: int) -> list[float | None]:
    """The limits on which all directions agree. Where both sides are tried, one may lie outside the domain."""
    flips = (1, -1) if any(not p.infinite and not p.inward for p in chosen) else (1,)
    found: list[list[float | None]] = []
    ways = [(speed, order) for order in orders(chosen) for speed in speeds(len(chosen))]
    for speed, order in ways:
        found += [_along(term, env, chosen, speed, flip, fmt, base, order) for flip in flips]
        if all(v is None for column in found for v in column):
            break
    return [_agreed(column) for column in zip(*found, strict=True)]


def _agreed(values: Sequence[float | None]) -> float | None:
    """What all directions that have a limit say; NaN where they differ."""
    known = [v for v in values if v is not None]
    if not known:
        return None
    return known[0] if all(v == known[0] for v in known) else math.nan
