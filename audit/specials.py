"""Special inputs: both zeros, infinities, NaN, subnormals, seams; rows all masked, tied, infinite."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from lossmith.derivations.domains import Domain
from lossmith.derivations.loss import Argument
from lossmith.derivations.points import is_weights, settle, special_values
from lossmith.derivations.terms import COMPARISONS, Term, is_const, name_of, number, walk
from lossmith.derivations.ulp import Array, Format, round_array, round_fraction

NOTED = (Fraction(0), Fraction(1), Fraction(1, 10), Fraction(1, 2), Fraction(9, 10), Fraction(19, 20),
         1 - Fraction(1, 2**24), Fraction(1, 2**24))
LONGEST = 6000
LONG = 100  # classes of a row that is long
TURNS = COMPARISONS | {"max", "min", "abs", "clip"}  # operations at which a formula changes from one piece to another
NEAR = tuple(2.0**-k for k in (1, 3, 6, 10, 14, 20))  # at which parts of a threshold's size points lie beside it
MOST_BESIDE = 48


def inside(domain: Domain, values: Array) -> Array:
    """Which values the domain holds."""
    return np.array([domain.holds(float(v)) for v in values], dtype=bool)


def values_of(argument: Argument, fmt: Format) -> Array:
    """The special values of one argument: for a target the noted ones, for an input everything."""
    domain = argument.domain
    bounded = math.isfinite(domain.low) and math.isfinite(domain.high)
    if argument.role == "target" and bounded and not domain.values:
        return np.unique([v for v in (round_fraction(n, fmt) for n in NOTED) if domain.holds(v)])
    found = np.array(special_values(domain, fmt))
    if domain.values:
        return found
    small = np.array([fmt.smallest, -fmt.smallest, 3 * fmt.smallest, fmt.tiny - fmt.smallest, -0.0])
    return np.concatenate([found, small[inside(domain, small)], [math.nan]])


def crossed(arguments: Sequence[Argument], fmt: Format) -> dict[str, Array]:
    """Each special value of each argument with each of the others; thinned evenly where there are too many."""
    mesh = np.meshgrid(*(values_of(a, fmt) for a in arguments), indexing="ij")
    flat = [m.reshape(-1) for m in mesh]
    step = max(1, math.ceil(len(flat[0]) / LONGEST))
    # A step without a factor in common with the grid's sides visits every value of every argument.
    while step > 1 and any(math.gcd(step, m) > 1 for m in mesh[0].shape):
        step += 1
    return {a.name: f[::step] for a, f in zip(arguments, flat, strict=True)}


def tied(arguments: Sequence[Argument], columns: Mapping[str, Array], count: int = 64) -> dict[str, Array]:
    """Some of the points again, with two arguments at the same value, every two whose domains have values in common:
    where a difference of theirs vanishes."""
    made: dict[str, list[Array]] = {a.name: [] for a in arguments}
    for one, other in itertools.permutations(arguments, 2):
        column = columns[one.name]
        fits = np.flatnonzero(inside(other.domain, column) & (column != 0))
        chosen = fits[np.unique(np.linspace(0, len(fits) - 1, min(count, len(fits))).astype(int))]
        for name, parts in made.items():
            parts.append(column[chosen] if name == other.name else columns[name][chosen])
    return {n: np.concatenate([columns[n][:0], *parts]) for n, parts in made.items()}


def thresholds(term: Term, parameters: Mapping[str, float]) -> list[float]:
    """The numbers, and the parameters' values, beside which a formula turns to another piece: of both signs."""
    found: set[float] = set()
    for t in walk(term):
        for a in t.args if t.op in TURNS else ():
            if is_const(a):
                found.add(abs(float(number(a))))
            elif a.op == "var" and name_of(a) in parameters:
                found.add(abs(parameters[name_of(a)]))
    return sorted({s * v for v in found if v and math.isfinite(v) for s in (1, -1)})


def beside(domain: Domain, spots: Sequence[float], fmt: Format) -> Array:
    """Each spot, and numbers on either side of it from nearby to half of its size away, as far as the domain holds
    them: where a threshold that is a little off shows."""
    every = [v * (1 + way * part) for v in spots for part in (0.0, *NEAR) for way in (1, -1)]
    values = np.unique(round_array(np.array(every, dtype=np.float64), fmt))
    held = values[inside(domain, values)]
    chosen = np.unique(np.linspace(0, len(held) - 1, min(MOST_BESIDE, len(held))).astype(int))
    return np.asarray(held[chosen])


def turning(arguments: Sequence[Argument], columns: Mapping[str, Array], spots: Sequence[float],
            fmt: Format) -> dict[str, Array]:
    """Some of the points again, with one argument beside a threshold of the formula; of a row, one class of it, where
    the others need not make up for it."""
    made: dict[str, list[Array]] = {a.name: [columns[a.name][:0]] for a in arguments}
    count = len(columns[arguments[0].name])
    for a in arguments if spots and count else ():
        if a.role == "label" or a.domain.values or a.domain.unit_sum:
            continue
        values = beside(a.domain, spots, fmt)
        for name, parts in made.items():
            parts.append(columns[name][np.arange(len(values)) * 7 % count].copy())
        column = made[a.name][-1]
        if column.ndim == 1:
            column[:] = values
        else:
            column[np.arange(len(values)), np.arange(len(values)) % column.shape[1]] = values
    return {n: np.concatenate(parts) for n, parts in made.items()}


def _logit_rows(classes: int) -> list[Array]:
    """Rows of one value, all masked, small values of every size, tiny ones, one and two infinities, NaN, one class
    masked, extreme finite values."""
    zero = np.zeros(classes)
    small = np.where(np.arange(classes) == 0, 3.0, 2.0 ** -(1.0 + np.arange(classes) % 24))  # far from even shares
    out = [zero, zero + 1e4, np.full(classes, -math.inf), small, np.where(small == 3, 3, -small)]
    tiny = 2.0 ** -(12.0 + np.arange(classes) % 12)  # on either side of a seam at 0, close to it in short rows too
    out += [tiny, -tiny]
    for places, value in (((0,), math.inf), ((0, 1), math.inf), ((0,), math.nan), ((0,), -math.inf), ((-1,), -math.inf),
                          ((0,), 3e4), ((-1,), -3e4)):
        row = zero.copy()
        for p in places:
            row[p if p < classes else 0] = value
        out.append(row)
    return out


def _distributions(classes: int, fmt: Format) -> list[Array]:
    first, last = np.zeros(classes), np.zeros(classes)
    first[0] = 1.0
    last[-1] = 1.0
    return [first, last, settle(np.ones(classes), fmt)]


def rows(arguments: Sequence[Argument], classes: int, fmt: Format) -> list[dict[str, Any]]:
    """Special logits against special targets; each row argument's own specials where it has other domains. In long
    rows each special once or twice: what they do beside each other is the same in short ones."""
    choices: list[list[Any]] = [_choices(a, classes, fmt) for a in arguments]
    longest = max((len(c) for c in choices), default=0)
    samples = []
    rounds = min((len(c) for c in choices), default=1)
    for k in range(longest * (rounds if classes < LONG else 1)):
        # The first argument steps fastest; the others follow once it has gone round.
        sample: dict[str, Any] = {}
        stride = 1
        for a, choice in zip(arguments, choices, strict=True):
            sample[a.name] = choice[(k // stride) % len(choice)]
            stride *= len(choice)
        samples.append(sample)
    return samples


def _choices(a: Argument, classes: int, fmt: Format) -> list[Any]:
    """What one argument can be, every number one of the format: the target must see what truth sees."""
    if a.role == "label":
        return sorted({0, classes - 1})
    return [round_array(c, fmt) if isinstance(c, np.ndarray) else c for c in _unrounded(a, classes, fmt)]


def _unrounded(a: Argument, classes: int, fmt: Format) -> list[Any]:
    if a.axis != "class":
        return [float(v) for v in values_of(a, fmt) if not math.isnan(v)][::23] or [1.0]
    if a.domain.unit_sum or is_weights(a.domain):
        zeros = a.domain.low_closed
        return _distributions(classes, fmt) if zeros else [settle(np.ones(classes), fmt, zeros=False)]
    if math.isinf(a.domain.low) and math.isfinite(a.domain.high):  # logarithms of probabilities
        with np.errstate(divide="ignore"):
            return [*(np.log(d) for d in _distributions(classes, fmt)[:2]),
                    np.full(classes, round_fraction(Fraction(-math.log(classes)), fmt)), np.full(classes, math.nan)]
    held = [r for r in _logit_rows(classes) if all(a.domain.holds(float(v)) or math.isnan(v) for v in r)]
    if a.domain.values:
        return [np.full(classes, float(a.domain.values[-1])), *_distributions(classes, fmt)[:2]]
    return held or [np.full(classes, v) for v in special_values(a.domain, fmt)[::37]]
