"""Gauss's quadrature: nodes and weights as exact decimals, and a bound of what it leaves out.

The bound needs the integrand in the complex plane: analytic within an ellipse around the interval
of integration, it is integrated by n nodes up to 32/15 of its largest size there, times
rho**(-2n) / (1 - rho**-2), rho the sum of the ellipse's half axes over half the interval.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from flint import acb, arb
from lossmith.derivations.enclosing import working
from lossmith.derivations.precise import unwrapped
from lossmith.derivations.terms import Term, name_of, number, walk

DIGITS, BITS = 25, 120  # of nodes and weights; of the balls that they and the bounds are computed in
ELLIPSES = (3.5, 5.2, 7.0, 9.5, 13.0, 20.0)  # rho
ALONG, ACROSS = 20, 4  # boxes that cover the upper half of an ellipse


class NotAnalyticError(Exception):
    """An operation with no complex meaning here, or something singular within the ellipse."""


@functools.cache
def nodes(count: int) -> tuple[tuple[Fraction, Fraction], ...]:
    """(u, w) for the integral from 0 to 1 with `count` nodes, from 0 upwards, to DIGITS decimals."""
    with working(BITS):
        pairs = [arb.legendre_p_root(count, k, True) for k in range(count)][::-1]
        return tuple((_decimal((1 + x) / 2), _decimal(w / 2)) for x, w in pairs)


def _decimal(x: arb) -> Fraction:
    return Fraction(str(x.mid().str(DIGITS, radius=False)))


def remainders(term: Term, by: Term, env: Mapping[str, float], low: float, high: float, order: int,
               counts: tuple[int, ...], enough: float = 0.0) -> dict[int, float]:
    """For each count of nodes at most |remainder / integral| of (1-u)**(order-1) * term, `by` from low to high.

    env: the other arguments. enough: where the first count is this good, no wider ellipse is tried.
    Infinite where no ellipse can be used. Raises NotAnalyticError for a term with no complex meaning.
    """
    with working(BITS):
        found = dict.fromkeys(counts, math.inf)
        middle, half = (arb(low) + arb(high)) / 2, abs(arb(high) - arb(low)) / 2
        least = _integral(term, by, env, low, high, order)
        for rho in ELLIPSES:
            most = _largest(term, by, env, middle, half, rho)
            if most is None:
                break
            if order == 2:
                most *= 0.5 + (rho + 1 / rho) / 4  # |1 - u|
            for n in counts:
                left = 32 / 15 * most * rho ** (-2 * n) / (1 - rho**-2) / least
                found[n] = min(found[n], left)
            if found[counts[0]] < enough:
                break
        return found


def _integral(term: Term, by: Term, env: Mapping[str, float], low: float, high: float, order: int) -> float:
    """Nearly |the integral|, by many nodes: what remainders are compared with."""
    total = 0.0
    for u, w in nodes(24):
        at = acb(arb(low) + (arb(high) - arb(low)) * arb(float(u)))
        value = _run(term, by, at, env)
        total += float(w) * float(1 - u) ** (order - 1) * float(value.real.mid())
    if not total:
        raise NotAnalyticError("the integral vanishes")
    return abs(total)


def _largest(term: Term, by: Term, env: Mapping[str, float], middle: arb, half: arb, rho: float) -> float | None:
    """At most |term| within an ellipse; None where it may be singular there."""
    a, b = (rho + 1 / rho) / 2, (rho - 1 / rho) / 2
    most = 0.0
    for i in range(ALONG):
        left, right = (-1 + 2 * k / ALONG for k in (i, i + 1))
        nearest = 0.0 if left * right <= 0 else min(abs(left), abs(right))
        height = b * math.sqrt(1 - nearest**2)
        for j in range(ACROSS):
            x = middle + half * arb(a * (left + right) / 2, 1.001 * a / ALONG)
            y = half * arb(height * (j + 0.5) / ACROSS, 0.501 * height / ACROSS)
            value = _run(term, by, acb(x, y), env)
            if not value.is_finite():
                return None
            most = max(most, float(value.abs_upper()))
    return most if math.isfinite(most) else None


def _run(term: Term, by: Term, at: acb, env: Mapping[str, float]) -> acb:
    done: dict[int, acb] = {}
    for t in walk(unwrapped(term)):
        if t is by:
            done[t.id] = at
        elif t.op == "var":
            done[t.id] = acb(env[name_of(t)])
        elif t.op == "const":
            x = number(t)
            done[t.id] = acb(arb(x.numerator) / x.denominator)
        elif t.op == "pi":
            done[t.id] = acb(arb.pi())
        elif t.op in _COMPLEX:
            done[t.id] = _COMPLEX[t.op](*(done[a.id] for a in t.args))
        else:
            raise NotAnalyticError(f"{t.op} has no complex meaning here")
    return done[unwrapped(term).id]


def _power(a: acb, b: acb) -> acb:
    """a**b; a whole power of any a."""
    whole = b.is_exact() and b.imag == 0 and b.real.is_integer() and abs(b.real) < 64
    return a ** round(float(b.real)) if whole else (b * a.log()).exp()


_COMPLEX: Mapping[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "absorb": lambda a, b: a * b, "gap": lambda a, b: a - b, "neg": lambda a: -a, "pow": _power,
    "exp_diff": lambda a, b: (a - b).exp(), "sigmoid": lambda a: 1 / (1 + (-a).exp()),
    "softplus": lambda a: (1 + a.exp()).log(), "logaddexp": lambda a, b: a + (1 + (b - a).exp()).log(),
    "log1pmx": lambda a: a.log1p() - a, "expm1mx": lambda a: a.expm1() - a, "xlogy": lambda a, b: a * b.log(),
    **{name: (lambda a, name=name: getattr(a, name)())
       for name in ("exp", "expm1", "log", "log1p", "sqrt", "sinh", "cosh", "tanh", "sin", "cos", "tan", "asin", "acos",
                    "atan", "asinh", "acosh", "atanh", "erf", "erfc", "lgamma", "digamma", "gamma")},
}
