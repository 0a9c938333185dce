"""A term in float64 on arrays with a bound of its error beside every value, carried from operation to operation.

Every basic operation of NumPy rounds once: half an ulp. Its exp, log, log1p and expm1 are taken to be within
`WITHIN` ulp; the largest error that its authors tell of is below that, and whoever uses a bound checks it on
points against ball arithmetic. Products of two error terms are kept below by SLACK.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

import numpy as np
from lossmith.derivations.terms import Term, name_of, number, walk
from lossmith.derivations.ulp import Array, Doubles

HALF = 2.0**-53  # the error of one rounding beside the value
WITHIN = 2.0  # ulp of a function of NumPy's in float64
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
            if t.op not in RULES and t.op not in COMPARISONS and t.op not in ("var", "const", "where"):
                raise NoBound(f"no bound is known for the error of {t.op} in float64")

    def __call__(self, env: Mapping[str, Doubles]) -> tuple[Doubles, Doubles]:
        """The values and the bounds of their errors; NaN or infinite bounds where nothing is known."""
        done: dict[int, Pair] = {}
        zero = np.zeros(1)
        with np.errstate(all="ignore"):
            for t in self.order:
                if t.op == "var":
                    done[t.id] = env[name_of(t)], zero
                elif t.op == "const":
                    exact = number(t)
                    value = float(exact)
                    done[t.id] = np.array([value]), np.array([float(abs(exact - Fraction(value))) * SLACK])
                elif t.op in COMPARISONS:
                    done[t.id] = _compared(COMPARISONS[t.op], *(done[a.id] for a in t.args))
                elif t.op == "where":
                    done[t.id] = _chosen(*(done[a.id] for a in t.args))
                else:
                    done[t.id] = RULES[t.op](*(done[a.id] for a in t.args))
        values, errors = done[self.term.id]
        return values, errors * SLACK


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
    return _rounded(value, np.abs(a[0]) * b[1] + np.abs(b[0]) * a[1] + a[1] * b[1] + LEAST)


def _div(a: Pair, b: Pair) -> Pair:
    value = a[0] / b[0]
    room = np.abs(b[0]) - b[1]
    return _rounded(value, np.where(room > 0, (a[1] + np.abs(value) * b[1]) / room, np.inf) + LEAST)


def _exp(a: Pair) -> Pair:
    value = np.exp(a[0])
    return _computed(value, value * np.expm1(a[1]) if a[1].any() else a[1])


def _expm1(a: Pair) -> Pair:
    value = np.expm1(a[0])
    return _computed(value, (value + 1) * np.expm1(a[1]) if a[1].any() else a[1])


def _log(a: Pair) -> Pair:
    return _computed(np.log(a[0]), _slope(a[1], a[0]))


def _log1p(a: Pair) -> Pair:
    return _computed(np.log1p(a[0]), _slope(a[1], 1 + a[0]))


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
    "max": lambda a, b: (np.maximum(a[0], b[0]), np.maximum(a[1], b[1])),
    "min": lambda a, b: (np.minimum(a[0], b[0]), np.maximum(a[1], b[1])),
}
COMPARISONS: Mapping[str, Callable[[Array, Array], Array]] = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}
