"""A term run at one point in ball arithmetic, plain or anchored, at the working precision.

A term becomes straight-line code, one step per distinct node; a row is a list, one number per class.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from flint import arb, ctx, fmpq
from lossmith.derivations import anchored
from lossmith.derivations.anchored import Anchored, Ball, Truth
from lossmith.derivations.precise import compute
from lossmith.derivations.terms import OPS, Term, leaves, name_of, number, varies, walk
from lossmith.derivations.ulp import Doubles, Format, round_scaled

Env = Mapping[str, Any]
Value = Any  # a ball, an anchored number, a truth, or a list of those: one per class


@contextmanager
def working(precision: int) -> Iterator[None]:
    """Ball arithmetic at this many bits."""
    before = ctx.prec
    ctx.prec = precision
    try:
        yield
    finally:
        ctx.prec = before


# --- plain balls ---------------------------------------------------------------------------------


def _power(a: arb, b: arb) -> arb:
    """a ** b; no number where a is none: arb takes anything to the power 0 for 1."""
    return a**b if a.is_finite() else arb.nan()


def _less(a: Ball, b: Ball) -> Truth:
    return True if a < b else False if a >= b else None


def _equal(a: Ball, b: Ball) -> Truth:
    if a.is_exact() and b.is_exact():
        return bool(a == b)
    return None if a.overlaps(b) or not (a.is_finite() and b.is_finite()) else False


def _lse(row: Sequence[Ball]) -> Ball:
    best, _ = _pivot(row)
    return row[best] + _others(row, best).log1p()


def _pivot(row: Sequence[Ball]) -> tuple[int, Ball]:
    best, slack = 0, arb(0)
    top = row[0]
    for k in range(1, len(row)):
        if row[k] > top:
            best, top = k, row[k]
        elif not row[k] <= top:
            slack = (slack + abs(row[k] - top)).upper()
    return best, slack


def _others(row: Sequence[Ball], best: int) -> Ball:
    top = row[best]
    return sum([(a - top).exp() for k, a in enumerate(row) if k != best], arb(0))


def _rest(row: Sequence[Ball]) -> Ball:
    best, slack = _pivot(row)
    others = _others(row, best)
    if slack.is_zero():
        return others
    below = -arb(0).union(slack)
    return others * below.exp() + below.expm1()


def _peak(row: Sequence[Ball]) -> Ball:
    out = row[0]
    for a in row[1:]:
        out = out.max(a)
    return out


def _clip(a: Ball, low: Ball, high: Ball) -> Ball:
    return a.max(low).min(high)


PLAIN: Mapping[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "neg": operator.neg,
    "pow": _power, "max": arb.max, "min": arb.min, "abs": abs, "sign": arb.sgn, "sqrt": arb.sqrt,
    **{name: getattr(arb, name) for name in (
        "exp", "expm1", "log", "log1p", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sin", "cos", "tan",
        "asin", "acos", "atan", "erf", "erfc", "digamma", "gamma", "atan2")},
    "exp2": lambda a: 2**a, "log2": lambda a: a.log() / arb(2).log(), "log10": lambda a: a.log() / arb(10).log(),
    "erfcx": anchored.erfcx_ball, "lgamma": anchored.lgamma_ball,
    "sigmoid": lambda a: 1 / (1 + (-a).exp()),
    "softplus": lambda a: a.exp().log1p() if a < 0 else a + (-a).exp().log1p(),
    "logaddexp": lambda a, b: _lse([a, b]), "xlogy": lambda a, b: a * b.log(),
    "log1pmx": anchored.log1pmx_ball, "expm1mx": anchored.expm1mx_ball,
    "binet": anchored.binet_ball, "binet_slope": anchored.binet_slope_ball,
    "binet_gap": lambda a, b: anchored.binet_ball(a + b) - anchored.binet_ball(a),
    "lgamma1p": lambda a: anchored.lgamma_ball(1 + a), "erfcx_rest": anchored.erfcx_rest_ball,
    "clip": _clip, "clip_through": _clip,
    "absorb": operator.mul, "gap": operator.sub, "exp_diff": lambda a, b: (a - b).exp(),
    "lt": _less, "gt": lambda a, b: _less(b, a), "le": lambda a, b: anchored.negation(_less(b, a)),
    "ge": lambda a, b: anchored.negation(_less(a, b)), "eq": _equal,
    "ne": lambda a, b: anchored.negation(_equal(a, b)), "and": anchored.both,
    "or": lambda a, b: anchored.negation(anchored.both(anchored.negation(a), anchored.negation(b))),
    "not": anchored.negation,
    "sum": lambda row: sum(row, arb(0)), "peak": _peak, "rest": _rest, "lse": _lse,
}


def _exact_ball(value: Fraction) -> Ball:
    return arb(fmpq(value.numerator, value.denominator))


def _input_ball(value: Any) -> Ball:
    return _exact_ball(value) if isinstance(value, Fraction) else arb(float(value))


def _input_anchored(value: Any) -> Anchored:
    if isinstance(value, Fraction):
        return anchored.exactly(value)
    x = float(value)
    if math.isfinite(x):
        return Anchored(fmpq(*x.as_integer_ratio()), arb(0))
    return anchored.NAN if math.isnan(x) else anchored.INF if x > 0 else anchored.NEG_INF


@dataclass(frozen=True)
class Arithmetic:
    """A kind of number: how it is made from an exact one, from an input, what it does."""

    operations: Mapping[str, Callable[..., Any]]
    exact: Callable[[Fraction], Any]
    lift: Callable[[Any], Any]
    pi: Callable[[], Any]
    union: Callable[[Any, Any], Any]
    nan: Any


BALLS = Arithmetic(PLAIN, _exact_ball, _input_ball, arb.pi, lambda a, b: a.union(b), arb.nan())
ANCHORED = Arithmetic(anchored.OPERATIONS, anchored.exactly, _input_anchored, lambda: anchored.inexact(arb.pi()),
                      anchored.union, anchored.NAN)

LEAF = frozenset({"const", "pi", "var", "row", "label", "position", "count"})
STRUCTURAL = frozenset({"where", "at", "onehot", "precise", "wide"})
for _kind in (BALLS, ANCHORED):
    _lacking = sorted(set(OPS) - set(_kind.operations) - LEAF - STRUCTURAL)
    if _lacking:
        raise TypeError(f"ball arithmetic has no meaning for {_lacking}")


# --- terms as straight-line code -----------------------------------------------------------------

Step = Callable[[list[Any]], Any]  # reads earlier values by place; place 0 is the point
_REDUCERS = frozenset({"sum", "peak", "rest", "lse"})


@dataclass
class Point:
    """The inputs at which a term is evaluated, as numbers of one arithmetic."""

    inputs: dict[str, Any]
    classes: int


def _lifted(function: Callable[..., Any], places: Sequence[int], rows: Sequence[bool]) -> Step:
    """A function of scalars, applied class by class where an argument is a row."""
    if len(places) == 1:
        i = places[0]
        return (lambda v: [function(a) for a in v[i]]) if rows[0] else (lambda v: function(v[i]))
    if len(places) == 2:
        i, j = places
        if rows[0] and rows[1]:
            return lambda v: list(map(function, v[i], v[j]))
        if rows[0]:
            return lambda v: _left(function, v[i], v[j])
        if rows[1]:
            return lambda v: _right(function, v[i], v[j])
        return lambda v: function(v[i], v[j])
    if not any(rows):
        return lambda v: function(*(v[i] for i in places))
    return lambda v: [function(*row) for row in zip(*_columns(v, places, rows), strict=True)]


def _left(function: Callable[..., Any], row: list[Any], b: Any) -> list[Any]:
    return [function(a, b) for a in row]


def _right(function: Callable[..., Any], a: Any, row: list[Any]) -> list[Any]:
    return [function(a, b) for b in row]


def _columns(v: list[Any], places: Sequence[int], rows: Sequence[bool]) -> list[list[Any]]:
    classes = v[0].classes
    return [v[i] if r else [v[i]] * classes for i, r in zip(places, rows, strict=True)]


def _chooser(kind: Arithmetic) -> Callable[[Truth, Any, Any], Any]:
    union, logical = kind.union, (bool, type(None))

    def choose(condition: Truth, a: Any, b: Any) -> Any:
        if condition is None:
            return (a if a == b else None) if isinstance(a, logical) else union(a, b)
        return a if condition else b

    return choose


def _leaf(t: Term, kind: Arithmetic) -> Step:
    if t.op == "const":
        value = number(t)
        return lambda v: kind.exact(value)
    if t.op == "pi":
        return lambda v: kind.pi()
    if t.op == "count":
        return lambda v: kind.exact(Fraction(v[0].classes))
    if t.op == "position":
        return lambda v: [kind.exact(Fraction(k)) for k in range(v[0].classes)]
    name = name_of(t)
    if t.op == "label":
        return lambda v: kind.exact(Fraction(v[0].inputs[name]))
    return lambda v: v[0].inputs[name]


def _reducer(op: str, places: Sequence[int], rows: Sequence[bool], kind: Arithmetic) -> Step:
    function = kind.operations[op]
    if op == "sum" and not rows[0]:
        mul = kind.operations["mul"]
        return lambda v: mul(v[places[0]], kind.exact(Fraction(v[0].classes)))

    def reduce(v: list[Any]) -> Any:
        elements: list[Any] = []
        for i, r in zip(places, rows, strict=True):
            elements += v[i] if r else [v[i]]
        return function(elements)

    return reduce


def _step(t: Term, place: Mapping[int, int], kind: Arithmetic) -> Step:
    places, rows = [place[a.id] for a in t.args], [varies(a) for a in t.args]
    if t.op in LEAF:
        return _leaf(t, kind)
    if t.op in _REDUCERS:
        return _reducer(t.op, places, rows, kind)
    if t.op in ("precise", "wide"):
        return _lifted(lambda *args: compute(t, args, kind.operations, kind.exact, kind.pi), places, rows)
    if t.op == "where":
        return _lifted(_chooser(kind), places, rows)
    if t.op == "at":
        name, i = name_of(t.args[1]), places[0]
        return (lambda v: _element(v[i], v[0].inputs[name], kind)) if rows[0] else (lambda v: v[i])
    if t.op == "onehot":
        name, one, zero = name_of(t.args[0]), Fraction(1), Fraction(0)
        return lambda v: [kind.exact(one if k == v[0].inputs[name] else zero) for k in range(v[0].classes)]
    return _lifted(kind.operations[t.op], places, rows)


def _element(row: list[Any], k: int, kind: Arithmetic) -> Any:
    return row[k] if 0 <= k < len(row) else kind.nan


@lru_cache(maxsize=8192)
def _code(term: Term, plain: bool) -> tuple[Step, ...]:
    kind = BALLS if plain else ANCHORED
    place: dict[int, int] = {}
    code: list[Step] = []
    for t in walk(term):
        place[t.id] = len(code) + 1
        code.append(_step(t, place, kind))
    return tuple(code)


def run(term: Term, env: Env, plain: bool) -> Value:
    """The term at a point, at the working precision: a number, or a list of them for a row."""
    values: list[Any] = [_point(term, env, BALLS if plain else ANCHORED)]
    for step in _code(term, plain):
        values.append(step(values))
    return values[-1]


@lru_cache(maxsize=8192)
def inputs_of(term: Term) -> tuple[tuple[str, str], ...]:
    """(name, kind) of every input that the term reads."""
    return tuple((name_of(t), t.op) for t in leaves(term))


def _point(term: Term, env: Env, kind: Arithmetic) -> Point:
    lifted: dict[str, Any] = {}
    classes = 0
    for name, op in inputs_of(term):
        value = env[name]
        if op == "row":
            lifted[name] = [kind.lift(x) for x in _listed(value)]
            classes = len(lifted[name])
        else:
            lifted[name] = int(value) if op == "label" else kind.lift(value)
    return Point(lifted, classes or int(env.get("", 0)))


def _listed(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


# --- decisions -----------------------------------------------------------------------------------


def decide(ball: Ball, fmt: Format) -> float | None:
    """The number of the format to which the whole ball rounds; None where it does not all round to one."""
    if not ball.is_finite():
        return None
    mantissa, exponent = ball.lower().man_exp()
    low = round_scaled(int(mantissa), int(exponent), fmt)
    if ball.is_exact():
        return low + 0.0
    mantissa, exponent = ball.upper().man_exp()
    return low + 0.0 if low == round_scaled(int(mantissa), int(exponent), fmt) else None


def decide_anchored(value: Anchored, fmt: Format) -> float | None:
    """The same for an anchored number; infinities are decided."""
    if value.kind != 0:
        return None if value.kind is None else value.kind * float("inf")
    return decide(value.ball, fmt)


def floats(value: Any) -> Doubles:
    """An input as float64: a row, or one number."""
    return np.asarray(value, dtype=np.float64)


def has_nan(term: Term, env: Env) -> bool:
    """Whether an input that the term reads is NaN (or holds one)."""
    return any(bool(np.isnan(floats(env[name])).any()) if op == "row" else math.isnan(env[name])
               for name, op in inputs_of(term))


def is_finite(term: Term, env: Env) -> bool:
    """Whether every input that the term reads is finite."""
    return all(bool(np.isfinite(floats(env[name])).all()) if op == "row" else math.isfinite(env[name])
               for name, op in inputs_of(term))


def as_list(value: Value) -> list[Any]:
    """The classes of a row, or the one value of a scalar."""
    return value if isinstance(value, list) else [value]


def width_of(term: Term, env: Env) -> int:
    """How many values the term has at a point: one, or one per class."""
    if not (term.sort == "row" or varies(term)):
        return 1
    return next((len(env[name]) for name, op in inputs_of(term) if op == "row"), int(env.get("", 0)))
