"""A term in float64 on arrays with a bound of its error beside every value, carried from operation to operation.

Every basic operation of NumPy rounds once: half an ulp. Its exp, log, log1p and expm1 are taken to be within
`WITHIN` ulp; the largest error that its authors tell of is below that, and whoever uses a bound checks it on
points against ball arithmetic. Products of two error terms are kept below by SLACK.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
from lossmith.audit import running_rows
from lossmith.derivations.precise import compute
from lossmith.derivations.terms import Term, name_of, number, walk
from lossmith.derivations.ulp import Array, Doubles

HALF = 2.0**-53  # the error of one rounding beside the value
WITHIN = 2.0  # ulp of a function of NumPy's in float64
NEAR_ZERO = 2.0**-6  # where log(1 + a) - a is taken from its series
LEAST = 2.0**-1074  # and near zero, where a unit is no share of the value
SLACK = 1.0 + 2.0**-20  # for terms of second order
Pair = tuple[Array, Array]  # values, and bounds of their absolute errors


class NoBound(ValueError):  # noqa: N818  (what is known of a term, not a mistake)
    """An operation of whose error nothing is known here."""


class Running:
    """Evaluates one term on blocks of numbers."""

    def __init__(self, term: Term) -> None:
        """Raises NoBound where an operation of the term has no bound."""
        self.term = term
        self.order = walk(term)
        for t in self.order:
            if not any(t.op in known for known in (RULES, COMPARISONS, REDUCTIONS, LEAVES, ("where", "at", "precise"))):
                raise NoBound(f"no bound is known for the error of {t.op} in float64")

    def __call__(self, env: Mapping[str, Array]) -> tuple[Doubles, Doubles]:
        """The values and the bounds of their errors; NaN or infinite bounds where nothing is known.

        Beside rows, of shape (n, classes), all else has the shape (n, 1).
        """
        done: dict[int, Pair] = {}
        classes = max((a.shape[-1] for a in env.values() if a.ndim == 2), default=1)
        with np.errstate(all="ignore"):
            for t in self.order:
                args = [done[a.id] for a in t.args]
                done[t.id] = _leaf(t, env, classes) if t.op in LEAVES else _done(t, args, classes)
                if t.op in COMPARISONS:
                    done[t.id] = _beside_zero(t, args, done[t.id])
        values, errors = done[self.term.id]
        return values, errors * SLACK


def _leaf(t: Term, env: Mapping[str, Array], classes: int) -> Pair:
    if t.op == "const":
        return _constant(number(t))
    if t.op in ("count", "position"):
        return np.array([float(classes)]) if t.op == "count" else np.arange(float(classes)), np.zeros(1)
    return env[name_of(t)], np.zeros(1)


def _constant(exact: Fraction) -> Pair:
    return np.array([float(exact)]), np.array([float(abs(exact - Fraction(float(exact)))) * SLACK])


def _done(t: Term, args: list[Pair], classes: int) -> Pair:
    if t.op in COMPARISONS:
        return _compared(COMPARISONS[t.op], *args)
    if t.op == "where":
        return _chosen(*args)
    if t.op in REDUCTIONS:
        return REDUCTIONS[t.op](args[0], classes)
    if t.op == "at":
        return running_rows.taken(args[0], args[1], classes)
    if t.op == "precise":  # its digits are more than are needed here: the bound says where they are not
        return compute(t, args, RULES, _constant, lambda: (np.array([np.pi]), np.array([2 * HALF])))  # type: ignore[no-any-return]
    return RULES[t.op](*args)


def _rounded(value: Array, carried: Array) -> Pair:
    return value, carried + np.abs(value) * HALF


def _computed(value: Array, carried: Array) -> Pair:
    return value, carried + (np.abs(value) * (2 * WITHIN * HALF) + LEAST)


def _is_known(a: Pair, size: float) -> bool:
    """Whether an operand is a constant of that size, and exactly so."""
    return bool(a[0].size == 1 and a[1].size == 1 and abs(a[0].item()) == size and a[1].item() == 0)


def _add(a: Pair, b: Pair) -> Pair:
    for one, other in ((a, b), (b, a)):
        if _is_known(one, 0.0):
            return a[0] + b[0], other[1]
    return _rounded(a[0] + b[0], a[1] + b[1])


def _sub(a: Pair, b: Pair) -> Pair:
    if _is_known(b, 0.0):
        return a[0] - b[0], a[1]
    return _rounded(a[0] - b[0], a[1] + b[1])


def _mul(a: Pair, b: Pair) -> Pair:
    value = a[0] * b[0]
    for one, other in ((a, b), (b, a)):
        if _is_known(one, 1.0):  # nothing is rounded
            return value, other[1]
    return _rounded(value, np.abs(a[0]) * b[1] + np.abs(b[0]) * a[1] + a[1] * b[1] + np.minimum(_least(a), _least(b)))


def _div(a: Pair, b: Pair) -> Pair:
    value = a[0] / b[0]
    room = np.abs(b[0]) - b[1]
    return _rounded(value, np.where(room > 0, (a[1] + np.abs(value) * b[1]) / room, np.inf) + _least(a))


def _least(a: Pair) -> Array:
    """What may be lost below the smallest numbers: nothing of what is exactly 0."""
    return np.where((a[0] == 0) & (a[1] == 0), 0.0, LEAST)


def _exp(a: Pair) -> Pair:
    value = np.exp(a[0])
    if not a[1].any():
        return _computed(value, a[1])
    return _computed(value, np.where(a[1] < 1, value * np.expm1(a[1]), 2 * np.exp(a[0] + a[1])))


def _expm1(a: Pair) -> Pair:
    value = np.expm1(a[0])
    if not a[1].any():
        return _computed(value, a[1])
    return _computed(value, np.where(a[1] < 1, (value + 1) * np.expm1(a[1]), 2 * np.exp(a[0] + a[1])))


def _log(a: Pair) -> Pair:
    return _computed(np.log(a[0]), _slope(a[1], a[0]))


def _log1p(a: Pair) -> Pair:
    return _computed(np.log1p(a[0]), _slope(a[1], 1 + a[0]))


def _sqrt(a: Pair) -> Pair:
    value = np.sqrt(a[0])
    return _rounded(value, np.where(a[1] > 0, a[1] / value, 0.0))


def _pow(a: Pair, b: Pair) -> Pair:
    """Whole powers, as products; of others nothing is known."""
    count = b[0].item() if b[0].size == 1 else 0.5
    if not count.is_integer() or not 1 <= abs(count) <= 8:
        return a[0] ** b[0], np.full(1, np.inf)
    found = a
    for _ in range(int(abs(count)) - 1):
        found = _mul(found, a)
    return found if count > 0 else _div((np.ones(1), np.zeros(1)), found)


def _sign(a: Pair) -> Pair:
    return np.sign(a[0]), np.where((a[1] > 0) & (np.abs(a[0]) <= a[1]), np.inf, 0.0)


def _log1pmx(a: Pair) -> Pair:
    """log(1 + a) - a: near 0 by its series, of which the terms left out are below the rounding."""
    x = np.where(np.abs(a[0]) <= NEAR_ZERO, a[0], 0.0)
    near = np.zeros_like(x)
    for n in range(14, 1, -1):
        near = x * near + (-1.0) ** (n + 1) / n
    near = near * x * x
    far, bound = _sub(_log1p((a[0], np.zeros(1))), (a[0], np.zeros(1)))
    room = 1 + a[0] - a[1]
    carried = np.where(a[1] > 0, np.where(room > 0, a[1] * (np.abs(a[0]) + a[1]) / room, np.inf), 0.0)
    small = np.abs(a[0]) <= NEAR_ZERO
    return np.where(small, near, far), carried + np.where(small, np.abs(near) * (16 * HALF) + LEAST, bound)


def _slope(carried: Array, at: Array) -> Array:
    """The error of a logarithm whose argument, at a place, has an error."""
    room = at - carried
    return np.where(room > 0, carried / room, np.where(carried > 0, np.inf, 0.0)) if carried.any() else carried


def _absorb(a: Pair, b: Pair) -> Pair:
    """0 where the factor that is exactly 0 says so."""
    value, bound = _mul(a, b)
    nothing = (a[0] == 0) & (a[1] == 0) & ~np.isnan(b[0])
    return np.where(nothing, 0.0, value), np.where(nothing, 0.0, bound)


def _chosen(condition: Pair, a: Pair, b: Pair) -> Pair:
    """A choice between two; one that the errors of what is compared leave open has no bound."""
    value, bound = (np.where(condition[0], one, other) for one, other in zip(a, b, strict=True))
    return value, bound + condition[1] if condition[1].any() else bound


def _beside_zero(t: Term, args: list[Pair], found: Pair) -> Pair:
    """A comparison with an exact 0 of what is positive by its structure is decided, however small that is."""
    for positive, other, sign in ((0, 1, 1.0), (1, 0, -1.0)):
        if found[1].any() and is_positive(t.args[positive]):
            apart = (args[other][0] == 0) & (args[other][1] == 0) & np.isfinite(args[positive][0])
            known = COMPARISONS[t.op](np.array(sign), np.array(0.0))
            found = np.where(apart, known, found[0]), np.where(apart, 0.0, found[1])
    return found


def is_positive(t: Term, strictly: bool = True) -> bool:
    """Whether a term is above 0 (or, not strictly, at least 0) wherever its inputs are finite, as seen by its shape."""
    if t.op == "const":
        return number(t) > 0 or (not strictly and number(t) == 0)
    if t.op in ("exp", "exp_diff", "count"):
        return True
    if t.op in ("mul", "div"):
        return all(is_positive(a, strictly or (t.op == "div" and a is t.args[1])) for a in t.args)
    if t.op == "add":
        return all(is_positive(a, False) for a in t.args) and (not strictly or any(is_positive(a) for a in t.args))
    if t.op in ("sum", "peak"):
        return all(is_positive(a, strictly) for a in t.args)
    return not strictly and t.op in ("rest", "abs", "sqrt")


def _compared(ask: Callable[[Array, Array], Array], a: Pair, b: Pair) -> Pair:
    doubt = a[1] + b[1]
    open_ = np.where((doubt > 0) & (np.abs(a[0] - b[0]) <= doubt), np.inf, 0.0) if doubt.any() else np.zeros(1)
    return ask(a[0], b[0]), open_


RULES: Mapping[str, Callable[..., Pair]] = {
    "add": _add, "sub": _sub, "mul": _mul, "div": _div, "exp": _exp, "expm1": _expm1, "log": _log, "log1p": _log1p,
    "absorb": _absorb,
    "and": lambda a, b: (np.logical_and(a[0], b[0]), a[1] + b[1]),
    "or": lambda a, b: (np.logical_or(a[0], b[0]), a[1] + b[1]),
    "neg": lambda a: (-a[0], a[1]), "abs": lambda a: (np.abs(a[0]), a[1]),
    "sqrt": _sqrt, "pow": _pow, "sign": _sign, "log1pmx": _log1pmx, "gap": _sub,
    "exp_diff": lambda a, b: _exp(_sub(a, b)), "xlogy": lambda a, b: _absorb(a, _log(b)),
    "max": lambda a, b: (np.maximum(a[0], b[0]), np.maximum(a[1], b[1])),
    "min": lambda a, b: (np.minimum(a[0], b[0]), np.maximum(a[1], b[1])),
}
LEAVES = ("var", "row", "label", "const", "count", "position")
REDUCTIONS = {**running_rows.REDUCTIONS, "rest": running_rows.rest_of(_exp)}
COMPARISONS: Mapping[str, Callable[[Array, Array], Array]] = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}
