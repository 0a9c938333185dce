"""Ranges: the interval in which a term's value lies, from the domains of its arguments.

The ends are floats and may be infinite: an infinite end says that the value can be infinite in
floating-point arithmetic, be it by an infinite input or by overflow. Dependence between parts is
not tracked, so a range may be too wide, never too narrow.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping

from lossmith.derivations.domains import Domain
from lossmith.derivations.facts import facts, narrowed
from lossmith.derivations.loss import Argument
from lossmith.derivations.precise import formula, place
from lossmith.derivations.terms import Term, name_of, number, walk

Range = tuple[float, float]
INF = math.inf
BIGGEST, TINIEST = sys.float_info.max, math.ulp(0.0)
EVERYTHING: Range = (-INF, INF)


def domain_range(domain: Domain) -> Range:
    """An open end at zero or at infinity is the nearest float inside."""
    low, high = float(domain.low), float(domain.high)
    if not domain.low_closed:
        low = -BIGGEST if low == -INF else math.nextafter(low, INF)
    if not domain.high_closed:
        high = BIGGEST if high == INF else math.nextafter(high, -INF)
    return low, high


def ranges(term: Term, arguments: tuple[Argument, ...], given: tuple[Term, ...] = ()) -> dict[Term, Range]:
    """The range of every node of `term`, where the relations `given` hold."""
    inputs = {a.name: domain_range(a.domain) for a in arguments}
    stated = facts(given) if given else ()
    out: dict[Term, Range] = {}

    def known(t: Term) -> Range | None:
        return out.get(t) or (inputs.get(name_of(t)) if t.op == "var" else None)

    for t in walk(term):
        found = _leaf(t, inputs) if not t.args else _node(t, [out[a] for a in t.args])
        out[t] = narrowed(t, found, stated, known) if stated else found
    return out


def _leaf(t: Term, inputs: Mapping[str, Range]) -> Range:
    if t.op == "const":
        return float(number(t)), float(number(t))
    if t.op == "pi":
        return math.pi, math.pi
    if t.op == "count":
        return 1.0, BIGGEST
    if t.op in ("position", "label"):
        return 0.0, BIGGEST
    return inputs.get(name_of(t), EVERYTHING)


def _total(f: Callable[[float], float], at_overflow: float) -> Callable[[float], float]:
    """f on the extended line, with a value where it overflows or is not defined."""

    def g(x: float) -> float:
        try:
            return f(x)
        except (OverflowError, ValueError):
            return at_overflow

    return g


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -INF


RISING: Mapping[str, Callable[[float], float]] = {
    "exp": _total(math.exp, INF),
    "expm1": _total(math.expm1, INF),
    "log": _log,
    "log1p": lambda x: math.log1p(x) if x > -1 else -INF,
    "exp2": _total(lambda x: 2.0**x, INF),
    "log2": lambda x: math.log2(x) if x > 0 else -INF,
    "log10": lambda x: math.log10(x) if x > 0 else -INF,
    "sqrt": lambda x: math.sqrt(max(x, 0.0)),
    "tanh": math.tanh,
    "erf": math.erf,
    "atan": math.atan,
    "asinh": math.asinh,
    "sinh": lambda x: math.copysign(INF, x) if abs(x) > 700 else math.sinh(x),
    "sigmoid": lambda x: 1 / (1 + RISING["exp"](-x)),
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    "sign": lambda x: float((x > 0) - (x < 0)),
}
FIXED: Mapping[str, Range] = {
    "sin": (-1.0, 1.0), "cos": (-1.0, 1.0), "onehot": (0.0, 1.0), "exp_diff": (0.0, INF), "rest": (0.0, BIGGEST),
    "erfc": (0.0, 2.0), "erfcx": (0.0, INF), "atan2": (-math.pi, math.pi), "acos": (0.0, math.pi),
    "log1pmx": (-INF, 0.0), "expm1mx": (0.0, INF), "binet": (0.0, INF), "binet_slope": (0.0, INF),
    "erfcx_rest": (0.0, INF), "cosh": (1.0, INF),
}


def _products(a: Range, b: Range) -> list[float]:
    # 0 times infinity is not a number; its limit can be anything between 0 and infinity.
    return [0.0 if 0 in (x, y) else x * y for x in a for y in b]


def _node(t: Term, args: list[Range]) -> Range:
    if t.sort == "truth":
        return 0.0, 1.0
    if t.op == "precise":
        return _precise(t, args)
    if t.op == "exp_diff" and (t.args[1].op == "peak" or (t.args[1].op == "max" and t.args[0] in t.args[1].args)):
        return 0.0, 1.0
    if t.op == "gap" and t.args[0].op == "peak":
        return 0.0, INF
    if t.op in FIXED:
        return FIXED[t.op]
    if t.op in RISING:
        return RISING[t.op](args[0][0]), RISING[t.op](args[0][1])
    arithmetic = _ARITHMETIC.get(t.op)
    return EVERYTHING if arithmetic is None else arithmetic(args, t)


def _precise(t: Term, args: list[Range]) -> Range:
    if t.value is None:
        return args[0]
    found: dict[Term, Range] = {}
    for part in walk(formula(t)):
        known = args[place(part)] if part.op == "var" else _leaf(part, {}) if not part.args else None
        found[part] = _node(part, [found[a] for a in part.args]) if known is None else known
    return found[formula(t)]


def _sum_range(low: float, high: float) -> Range:
    return (-INF if math.isnan(low) else low), (INF if math.isnan(high) else high)


def _span(values: list[float]) -> Range:
    return min(values), max(values)


def _divide(args: list[Range], t: Term) -> Range:
    a, b = args
    if b[0] <= 0 <= b[1]:
        if b[0] == 0 and a[0] >= 0:
            return (a[0] / b[1] if b[1] > 0 and a[0] < INF else 0.0), INF
        return EVERYTHING
    return _span([0.0 if math.isinf(y) else x / y for x in a for y in b])


def _power(args: list[Range], t: Term) -> Range:
    a, n = args
    if n[0] == n[1] and n[0] % 2 == 0 and n[0] > 0:
        big = max(abs(a[0]), abs(a[1]))
        return 0.0, _total(lambda x: x ** n[0], INF)(big)
    return (0.0, INF) if a[0] >= 0 else EVERYTHING


def _absolute(args: list[Range], t: Term) -> Range:
    low, high = args[0]
    big = max(abs(low), abs(high))
    return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), big


def _total_of(args: list[Range], t: Term) -> Range:
    low, high = args[0]
    return (low if low >= 0 else -INF), (high if high <= 0 else INF)


_ARITHMETIC: Mapping[str, Callable[[list[Range], Term], Range]] = {
    "add": lambda r, t: _sum_range(r[0][0] + r[1][0], r[0][1] + r[1][1]),
    "sub": lambda r, t: _sum_range(r[0][0] - r[1][1], r[0][1] - r[1][0]),
    "gap": lambda r, t: _sum_range(r[0][0] - r[1][1], r[0][1] - r[1][0]),
    "neg": lambda r, t: (-r[0][1], -r[0][0]),
    "mul": lambda r, t: (0.0, max(_products(r[0], r[0]))) if t.args[0] is t.args[1] else _span(_products(*r)),
    "absorb": lambda r, t: _span(_products(*r)),
    "xlogy": lambda r, t: _span(_products(r[0], (_log(r[1][0]), _log(r[1][1])))),
    "div": _divide,
    "pow": _power,
    "abs": _absolute,
    "max": lambda r, t: (max(r[0][0], r[1][0]), max(r[0][1], r[1][1])),
    "min": lambda r, t: (min(r[0][0], r[1][0]), min(r[0][1], r[1][1])),
    "where": lambda r, t: _span([*r[1], *r[2]]),
    "clip": lambda r, t: (r[1][0], r[2][1]),
    "clip_through": lambda r, t: (r[1][0], r[2][1]),
    "logaddexp": lambda r, t: (max(r[0][0], r[1][0]), INF),
    "at": lambda r, t: r[0],
    "sum": _total_of,
    "peak": lambda r, t: (max(x[0] for x in r), max(x[1] for x in r)),
    "lse": lambda r, t: (max(x[0] for x in r), INF if max(x[1] for x in r) == INF else BIGGEST),
}
