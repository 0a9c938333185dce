"""Relations between arguments: at which points they hold, and points on both sides of their edges.

A relation is a term of sort truth over `var`s, such as `x > y`. Whether it holds is decided exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from lossmith.derivations import enclosing, evaluate
from lossmith.derivations.domains import inside
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import COMPARISONS, Term, leaves, name_of, walk
from lossmith.derivations.ulp import FORMATS, Array, Doubles, Format, numbers, ordinals

Columns = dict[str, Doubles]
PRECISION = 300  # bits at which two sides are told apart; what is closer counts as not holding
SHIFTS = (0, 0, -1, 1, -1, 1, -2, 2, 3, -9, 17)  # places away from an edge
HALVINGS = 70
SLACK = 1e-12  # a difference of more than this part of the sides' size is no rounding error
_PLAIN = frozenset({"add", "sub", "mul", "neg", "abs", "max", "min", "const", "var"})
_COMPARE = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "ne": np.not_equal,
            "eq": np.equal}


class ContradictionError(ValueError):
    """Relations that no numbers of the domains satisfy, in one line."""


def names_in(given: Sequence[Term]) -> tuple[str, ...]:
    """The arguments that the relations are about, in order of first appearance."""
    return tuple(dict.fromkeys(name_of(t) for relation in given for t in leaves(relation)))


def comparisons(given: Sequence[Term]) -> list[Term]:
    """The single comparisons of which relations are made."""
    return [t for t in walk(*given) if t.op in COMPARISONS]


def holds(given: Sequence[Term], columns: Mapping[str, Doubles]) -> Array:
    """At which points every relation holds: a bool per point. Exact up to PRECISION bits."""
    count = len(next(iter(columns.values()))) if columns else 0
    kept = np.ones(count, dtype=bool)
    for relation in given:
        kept[kept] = _holds(relation, {n: c[kept] for n, c in columns.items()})
    return kept


def _holds(relation: Term, columns: Mapping[str, Doubles]) -> Array:
    """One relation: by comparing floats where that is certain, else in ball arithmetic."""
    count = len(next(iter(columns.values())))
    found, sure = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    if relation.op in _COMPARE:
        a, b, sure = _sides(relation, columns)
        with np.errstate(invalid="ignore"):
            found = np.asarray(_COMPARE[relation.op](a, b), dtype=bool)
    with enclosing.working(PRECISION):
        for i in np.nonzero(~sure)[0]:
            point = {n: float(columns[n][i]) for n in names_in([relation])}
            found[i] = enclosing.run(relation, point, False) is True
    return found


def _sides(relation: Term, columns: Mapping[str, Doubles]) -> tuple[Doubles, Doubles, Array]:
    """Both sides in float64, and where rounding cannot have decided how they compare."""
    a, b = (_value(side, columns) for side in relation.args)
    if all(not side.args for side in relation.args):
        exact = all(t.op == "var" or Fraction(float(t.value)) == t.value for t in relation.args  # type: ignore[arg-type]
                    if t.op in ("var", "const"))
        return a, b, np.full(a.shape, exact and all(t.op in ("var", "const") for t in relation.args))
    if any(t.op not in _PLAIN for t in walk(*relation.args)):
        return a, b, np.zeros(a.shape, dtype=bool)
    with np.errstate(all="ignore"):
        size = sum(_size(side, columns) for side in relation.args)
        sure = (np.abs(a - b) > SLACK * size) & np.isfinite(size)
    return a, b, np.asarray(sure, dtype=bool)


def _value(term: Term, columns: Mapping[str, Doubles]) -> Doubles:
    count = len(next(iter(columns.values())))
    with np.errstate(all="ignore"):
        value = evaluate.evaluate(term, columns, FORMATS["float64"])
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (count,))


def _size(term: Term, columns: Mapping[str, Doubles]) -> Doubles:
    """An upper bound of all that was rounded on the way to a value."""
    if not term.args:
        return np.abs(_value(term, columns)) + FORMATS["float64"].tiny
    sizes = [_size(a, columns) for a in term.args]
    with np.errstate(all="ignore"):
        return sizes[0] * sizes[1] if term.op == "mul" else np.asarray(sum(sizes), dtype=np.float64)


# --- points near an edge -------------------------------------------------------------------------


def near_edges(given: Sequence[Term], arguments: Sequence[Argument], columns: Columns, rng: np.random.Generator,
               fmt: Format) -> Columns:
    """Points moved along one argument to where a comparison changes, and a few places off it.

    columns: points to start from. Of every comparison and every argument in it each start gives at
    most one point, which need not satisfy anything: the caller picks those that hold.
    """
    known = {a.name: a for a in arguments}
    found: list[Columns] = []
    for comparison in comparisons(given):
        for name in names_in([comparison]):
            if name in known and not known[name].domain.values:
                moved = _edge(comparison, known[name], columns, rng, fmt)
                found.append({n: moved.get(n, c[: len(moved[name])]) for n, c in columns.items()})
    return {n: np.concatenate([f[n] for f in found]) if found else columns[n][:0] for n in columns}


def _edge(comparison: Term, argument: Argument, columns: Columns, rng: np.random.Generator, fmt: Format) -> Columns:
    """Each start with one argument moved near the place where left < right changes, where it does."""
    domain, count = argument.domain, len(columns[argument.name])
    low = max(float(domain.low), -fmt.largest)
    high = min(float(domain.high), fmt.largest)
    first, last = (np.full(count, place) for place in ordinals(np.array([low, high]), fmt))
    # Half of the starts look below zero, or above it: a comparison may change more than once.
    zero = np.clip(0, first, last)
    half = rng.choice(3, count)
    first, last = np.where(half == 1, zero, first), np.where(half == 2, zero, last)

    def left_is_less(places: npt.NDArray[np.int64]) -> Array:
        moved = {**columns, argument.name: numbers(places, fmt)}
        with np.errstate(invalid="ignore"):
            return np.asarray(np.less(*(_value(side, moved) for side in comparison.args)), dtype=bool)

    at_first = left_is_less(first)
    changes = left_is_less(last) != at_first
    for _ in range(HALVINGS):
        middle = (first >> 1) + (last >> 1) + (first & last & 1)  # the sum would overflow
        alike = left_is_less(middle) == at_first
        first, last = np.where(alike, middle, first), np.where(alike, last, middle)
        if (last <= first + 1).all():
            break
    moved = numbers(first + rng.choice(SHIFTS, count), fmt)
    with np.errstate(over="ignore"):
        near = moved * (1 + rng.choice([-1.0, 1.0], count) * 2.0 ** -rng.integers(1, fmt.precision, count))
    wide = numbers(ordinals(near, fmt), fmt)
    moved = np.where(rng.random(count) < 0.35, wide, moved)
    held = changes & inside(domain, moved)
    for i in np.nonzero(changes & np.isinf(moved))[0].tolist():
        held[i] = domain.holds(float(moved[i]))
    return {n: (moved if n == argument.name else c)[held] for n, c in columns.items()}
