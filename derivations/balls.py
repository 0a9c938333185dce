"""Truth: a term enclosed by ball arithmetic, the precision raised until its rounding is decided.

Plain balls first (fast), then anchored numbers (anchored.py), then limits (limits.py) for what
has no value of its own at the point: infinite inputs, removable singularities, domain edges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from flint import arb
from lossmith.derivations.anchored import Anchored, Ball
from lossmith.derivations.enclosing import (
    Env,
    as_list,
    decide,
    decide_anchored,
    floats,
    has_nan,
    inputs_of,
    is_finite,
    run,
    width_of,
    working,
)
from lossmith.derivations.limits import limit
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term, varies
from lossmith.derivations.ulp import FORMATS, Doubles, Format

PLAIN_LEVELS = (120, 400)
ANCHORED_LEVELS = (560, 1400, 2800)


def truth(term: Term, env: Env, fmt: Format = FORMATS["float64"],
          arguments: Sequence[Argument] = ()) -> float | list[float]:
    """The correctly rounded value of a term at a point; a list, one per class, for a row.

    `env`: name -> float or Fraction (a sequence of them for a row, an int for a label). At
    infinite inputs, removable singularities and domain edges the value is the limit of the term;
    NaN where that depends on the direction, where the term is undefined, or where an input is
    NaN. `arguments` tell the domains, and so from which side an edge is approached.
    """
    out = _decided(term, env, fmt, arguments)
    return out if term.sort == "row" or varies(term) else out[0]


def rough(term: Term, env: Env, arguments: Sequence[Argument] = ()) -> float | list[float]:
    """The value of a term at a point to within 2**-39 of itself, where that is quicker than `truth`."""
    if is_finite(term, env) and not has_nan(term, env):
        with working(PLAIN_LEVELS[0]):
            balls = as_list(run(term, env, True))
            if all(b.is_finite() and b.rel_accuracy_bits() > 40 and not abs(b) < arb(2) ** -1000 for b in balls):
                found = [float(b) for b in balls]
                return found if term.sort == "row" or varies(term) else found[0]
    return truth(term, env, arguments=arguments)


def scalar_truth(term: Term, env: Env, arguments: Sequence[Argument] = ()) -> float:
    """`truth` of a scalar term, rounded to float64."""
    return _decided(term, env, FORMATS["float64"], arguments)[0]


def _decided(term: Term, env: Env, fmt: Format, arguments: Sequence[Argument]) -> list[float]:
    if has_nan(term, env):
        return [float("nan") if f is None else f for f in _untouched(term, env, fmt)]
    found: list[float | None] = [None] * width_of(term, env)
    if is_finite(term, env):
        for precision in PLAIN_LEVELS:
            with working(precision):
                balls = as_list(run(term, env, True))
                found = [decide(b, fmt) for b in balls]
            if None not in found:
                return found  # type: ignore[return-value]
    return _slowly(term, env, fmt, arguments)


def _untouched(term: Term, env: Env, fmt: Format) -> list[float | None]:
    """With a NaN among the inputs: the classes that do not read it keep their values."""
    with working(ANCHORED_LEVELS[0]):
        return [decide_anchored(a, fmt) for a in as_list(run(term, env, False))]


def _slowly(term: Term, env: Env, fmt: Format, arguments: Sequence[Argument],
            first: list[Anchored] | None = None) -> list[float]:
    """Anchored numbers at rising precision, and limits where they say NaN. `first`: the values at the first level,
    where they are known."""
    found: list[float | None] = []
    limits: list[float | None] = []
    for level, precision in enumerate(ANCHORED_LEVELS):
        with working(precision):
            values = first if first is not None and level == 0 else as_list(run(term, env, False))
            found = [decide_anchored(a, fmt) for a in values]
        if None not in found:
            return found  # type: ignore[return-value]
        if not limits and any(a.kind is None for a in values) and (level or _special(term, env, arguments)):
            limits = limit(term, env, fmt, arguments)
        if limits:
            found = [lim if f is None else f for f, lim in zip(found, limits, strict=True)]
            if None not in found:
                return found  # type: ignore[return-value]
    return [float("nan") if f is None else f for f in found]


def _special(term: Term, env: Env, arguments: Sequence[Argument]) -> bool:
    """Whether some input is infinite, zero, or at an edge of its domain: a place for a singularity."""
    edges = {a.name: (a.domain.low, a.domain.high) for a in arguments}
    for name, op in inputs_of(term):
        if op == "label":
            continue
        values = floats(env[name])
        spots = (0.0, float("inf"), -float("inf"), *map(float, edges.get(name, ())))
        if np.isin(values, spots).any():
            return True
    return False


def truth_many(term: Term, columns: Mapping[str, npt.ArrayLike], fmt: Format = FORMATS["float64"],
               arguments: Sequence[Argument] = ()) -> Doubles:
    """`truth` of a scalar term at many points: arrays that broadcast, their common shape returned, float64."""
    names = [name for name, _ in inputs_of(term)]
    arrays = np.broadcast_arrays(*(np.asarray(c) for c in columns.values()))
    shape = arrays[0].shape if arrays else ()
    flat = {name: a.reshape(-1).tolist() for name, a in zip(columns, arrays, strict=True) if name in names}
    count = int(np.prod(shape))
    if not flat:
        return np.full(shape, truth(term, {}, fmt))
    out = [_decided(term, dict(zip(flat, point, strict=True)), fmt, arguments)[0]
           for point in zip(*flat.values(), strict=True)]
    return np.array(out, dtype=np.float64).reshape(shape) if count else np.zeros(shape)


def enclose(term: Term, env: Env, precision: int = 200) -> Ball | list[Ball]:
    """A ball (a list of balls, one per class, for a row) that holds the value of the term at the point.

    No limits are taken: where the term has no value the ball is not finite.
    """
    with working(precision):
        balls = as_list(run(term, env, True)) if is_finite(term, env) else [arb.nan()]
        if not all(b.is_finite() for b in balls):
            balls = [a.ball for a in as_list(run(term, env, False))]
    return balls if term.sort == "row" or varies(term) else balls[0]


def _accurate(ball: Ball) -> bool:
    """Known to 40 bits, or known to be beyond the reach of any format."""
    return bool(ball.rel_accuracy_bits() > 40 or abs(ball) < arb(2) ** -1200)


def overlaps(a: Term, b: Term, env: Env, precision: int = 200, arguments: Sequence[Argument] = ()) -> bool:
    """Whether two terms may be equal at a point: their balls overlap, at a precision where that means something.

    The precision is raised until both are known to 40 bits (or four times in all). Where a term
    has no value of its own, the limits of both, rounded to float64, must agree.
    """
    for level in (precision, 4 * precision, 16 * precision):
        one, other = as_list(enclose(a, env, level)), as_list(enclose(b, env, level))
        width = max(len(one), len(other))
        one, other = one * (width // len(one)), other * (width // len(other))
        pairs = list(zip(one, other, strict=True))
        finite = [p for p in pairs if p[0].is_finite() and p[1].is_finite()]
        if not all(p.overlaps(q) for p, q in finite):
            return False
        if len(finite) == len(pairs) and all(_accurate(p) and _accurate(q) for p, q in pairs):
            return True
    if len(finite) == len(pairs):
        return True
    lefts, rights = (_decided(t, env, FORMATS["float64"], arguments) for t in (a, b))
    return all(close(p, q) or (p != p and q != q)
               for p, q in zip(lefts * (width // len(lefts)), rights * (width // len(rights)), strict=True))


def close(a: float, b: float) -> bool:
    """Whether two rounded values may be roundings of one number; an infinity is close to itself alone."""
    return a == b or abs(a - b) <= 1e-15 * min(abs(a), abs(b))


def pair(term: Term, env: Env, arguments: Sequence[Argument] = ()) -> Fraction | float | list[Fraction | float]:
    """The value to 90 bits and more as an exact rational, for errors in fractions of an ulp.

    A float where it is infinite, NaN or only known as a limit. For a row: a list.
    """
    out = _measured(term, env, arguments)
    return out if term.sort == "row" or varies(term) else out[0]


def _measured(term: Term, env: Env, arguments: Sequence[Argument]) -> list[Fraction | float]:
    if has_nan(term, env):
        return list(_decided(term, env, FORMATS["float64"], arguments))
    plan = [(p, True) for p in PLAIN_LEVELS if is_finite(term, env)] + [(p, False) for p in ANCHORED_LEVELS]
    for precision, plain in plan:
        with working(precision):
            values = as_list(run(term, env, plain))
            found = [_fraction(v if plain else v.ball) for v in values]
        if None not in found:
            return found  # type: ignore[return-value]
        if precision == ANCHORED_LEVELS[0] and _special(term, env, arguments):
            return _completed(found, _slowly(term, env, FORMATS["float64"], arguments, values))
    return _completed(found, _decided(term, env, FORMATS["float64"], arguments))


def _completed(found: Sequence[Fraction | float | None], rounded: Sequence[float]) -> list[Fraction | float]:
    return [r if f is None else f for f, r in zip(found, rounded, strict=True)]


def _fraction(ball: Ball) -> Fraction | float | None:
    """The middle of an accurate ball; 0 for what lies below every format, infinity for what lies above."""
    if not ball.is_finite():
        return None
    if abs(ball) < arb(2) ** -1300:
        return Fraction(0)
    if ball.rel_accuracy_bits() < 90:
        return None
    if abs(ball) > arb(2) ** 1100:
        return float("inf") if ball > 0 else -float("inf")
    mantissa, exponent = ball.mid().man_exp()
    m, e = int(mantissa), int(exponent)
    return Fraction(m << e) if e >= 0 else Fraction(m, 1 << -e)
