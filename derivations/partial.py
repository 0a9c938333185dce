"""Partial derivatives of elementwise terms, written as a person would: one rule per operation.

At a kink the derivative is that of the side that does not depend on the variable: max(x, 0) has
slope 0 at x = 0, |x| has slope 0 at 0, and clip has slope 1 at both of its ends. Where both sides
depend on the variable, max and min take the first argument at a tie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction

from lossmith.derivations.precise import formula
from lossmith.derivations.terms import (
    COMPARISONS,
    HALF,
    MINUS_ONE,
    ONE,
    PI,
    REDUCTIONS,
    TWO,
    ZERO,
    Term,
    add,
    const,
    div,
    is_const,
    make,
    mul,
    neg,
    node,
    number,
    power,
    replace,
    sub,
    var,
)


class CalculusProblem(ValueError):  # noqa: N818  (a refusal, caught by name)
    """A derivative that is not known, in one line."""


def partial(term: Term, by: Term) -> Term:
    """d term / d by, `by` being a leaf or a reduction; every other leaf and reduction is a constant."""
    done: dict[int, Term] = {}

    def go(t: Term) -> Term:
        if t is by:
            return ONE
        if not t.args or t.op in REDUCTIONS or t.op == "onehot" or t.op in COMPARISONS:
            return ZERO
        found = done.get(t.id)
        if found is None:
            found = done[t.id] = _chain(t, tuple(go(a) for a in t.args))
        return found

    return go(term)


def _chain(t: Term, inner: tuple[Term, ...]) -> Term:
    """The derivative of one node from those of its arguments."""
    if all(d is ZERO for d in inner):
        return ZERO
    special = _SPECIAL.get(t.op)
    if special is not None:
        return special(t, inner)
    slopes = _SLOPES.get(t.op)
    if slopes is None:
        raise CalculusProblem(f"the derivative of {t.op} is not known here")
    total = ZERO
    for slope, d in zip(slopes, inner, strict=True):
        if d is not ZERO:
            total = plus(total, times(slope(t, t.args), d))
    return total


def plus(a: Term, b: Term) -> Term:
    """a + b; equal terms are collected, opposite ones cancel."""
    if a is b:
        return times(TWO, a)
    if neg(a) is b or neg(b) is a:
        return ZERO
    if is_const(b) and a.op in ("add", "sub") and is_const(a.args[1]):
        last = number(a.args[1]) if a.op == "add" else -number(a.args[1])
        return add(a.args[0], const(last + number(b)))
    if _guarded(a) and _guarded(b) and a.args[0] is b.args[0]:
        return _when(a.args[0], plus(a.args[1], b.args[1]))
    return add(a, b)


def _when(condition: Term, value: Term) -> Term:
    """value where the condition holds, else 0."""
    if value is ZERO:
        return ZERO
    if _guarded(value) and value.args[0] is condition:
        return value
    return node("where", (condition, value, ZERO))


def _guarded(t: Term) -> bool:
    return t.op == "where" and t.args[2] is ZERO


def _minus(t: Term) -> Term:
    return _when(t.args[0], neg(t.args[1])) if _guarded(t) else neg(t)


def times(*factors: Term) -> Term:
    """The product of some factors; what stands above and below is cancelled, constants are collected.

    A factor that is 0 on one side of a condition takes the whole product under that condition, so
    that nothing infinite is multiplied by its 0.
    """
    for i, f in enumerate(factors):
        if _guarded(f):
            return _when(f.args[0], times(*factors[:i], f.args[1], *factors[i + 1:]))
    parts = _Factors()
    for f in factors:
        parts.take(f, Fraction(1))
    return parts.product()


class _Factors:
    """A product taken apart: an exact coefficient, and bases with exponents in order of appearance."""

    def __init__(self) -> None:
        self.coefficient = Fraction(1)
        self.constants = 0
        self.exponents: dict[Term, Fraction] = {}

    def take(self, f: Term, e: Fraction) -> None:
        if is_const(f) and e.denominator == 1 and (e > 0 or number(f) != 0):
            self.coefficient *= number(f) ** int(e)
            self.constants += abs(number(f)) != 1
        elif f.op == "neg" and e.denominator == 1:
            self.coefficient *= -1 if e % 2 else 1
            self.take(f.args[0], e)
        elif f.op == "mul" and e.denominator == 1:
            self.take(f.args[0], e)
            self.take(f.args[1], e)
        elif f.op == "div" and e.denominator == 1:
            self.take(f.args[0], e)
            self.take(f.args[1], -e)
        elif f.op == "pow" and is_const(f.args[1]) and (e == 1 or number(f.args[1]).denominator == 1):
            self.take(f.args[0], e * number(f.args[1]))
        elif f.op == "sqrt" and e == 1:
            self.take(f.args[0], e / 2)
        else:
            base = _same_as(f)
            self.exponents[base] = self.exponents.get(base, Fraction(0)) + e

    def product(self) -> Term:
        if self.coefficient == 0:
            return ZERO
        split = self.constants > 1 and self.coefficient.denominator > 1
        above = const(self.coefficient.numerator if split else self.coefficient)
        below: Term = const(self.coefficient.denominator) if split else ONE
        sign, above = (MINUS_ONE, neg(above)) if number(above) < 0 else (ONE, above)
        for base, e in self.exponents.items():
            if e > 0:
                above = mul(above, power(base, const(e)))
            elif e < 0:
                below = mul(below, power(base, const(-e)))
        return mul(sign, div(above, below))


def _same_as(f: Term) -> Term:
    """1 - sigmoid(a) is sigmoid(-a): needed to cancel what a derivative puts above and below."""
    if f.op == "sub" and f.args[0] is ONE and f.args[1].op == "sigmoid":
        return make("sigmoid", neg(f.args[1].args[0]))
    return f


Slope = Callable[[Term, tuple[Term, ...]], Term]


def _square(a: Term) -> Term:
    return power(a, TWO)


def _norm(a: tuple[Term, ...]) -> Term:
    return add(_square(a[0]), _square(a[1]))


_TWO_OVER_ROOT_PI = div(TWO, make("sqrt", PI))
_LOG_2, _LOG_10 = make("log", TWO), make("log", const(10))
# The slope by each argument: (the node, its arguments) -> term.
_SLOPES: Mapping[str, tuple[Slope, ...]] = {
    "neg": (lambda t, a: MINUS_ONE,),
    "add": (lambda t, a: ONE, lambda t, a: ONE),
    "sub": (lambda t, a: ONE, lambda t, a: MINUS_ONE),
    "mul": (lambda t, a: a[1], lambda t, a: a[0]),
    "div": (lambda t, a: div(ONE, a[1]), lambda t, a: neg(div(a[0], _square(a[1])))),
    "abs": (lambda t, a: make("sign", a[0]),),
    "sign": (lambda t, a: ZERO,),
    "sqrt": (lambda t, a: div(HALF, t),),
    "exp": (lambda t, a: t,),
    "expm1": (lambda t, a: make("exp", a[0]),),
    "log": (lambda t, a: div(ONE, a[0]),),
    "log1p": (lambda t, a: div(ONE, add(ONE, a[0])),),
    "exp2": (lambda t, a: mul(t, _LOG_2),),
    "log2": (lambda t, a: div(ONE, mul(a[0], _LOG_2)),),
    "log10": (lambda t, a: div(ONE, mul(a[0], _LOG_10)),),
    "sinh": (lambda t, a: make("cosh", a[0]),),
    "cosh": (lambda t, a: make("sinh", a[0]),),
    "tanh": (lambda t, a: div(ONE, _square(make("cosh", a[0]))),),
    "asinh": (lambda t, a: div(ONE, make("sqrt", add(_square(a[0]), ONE))),),
    "acosh": (lambda t, a: div(ONE, make("sqrt", sub(_square(a[0]), ONE))),),
    "atanh": (lambda t, a: div(ONE, sub(ONE, _square(a[0]))),),
    "sin": (lambda t, a: make("cos", a[0]),),
    "cos": (lambda t, a: neg(make("sin", a[0])),),
    "tan": (lambda t, a: div(ONE, _square(make("cos", a[0]))),),
    "asin": (lambda t, a: div(ONE, make("sqrt", sub(ONE, _square(a[0])))),),
    "acos": (lambda t, a: neg(div(ONE, make("sqrt", sub(ONE, _square(a[0]))))),),
    "atan": (lambda t, a: div(ONE, add(_square(a[0]), ONE)),),
    "atan2": (lambda t, a: div(a[1], _norm(a)), lambda t, a: neg(div(a[0], _norm(a)))),
    "erf": (lambda t, a: mul(_TWO_OVER_ROOT_PI, make("exp", neg(_square(a[0])))),),
    "erfc": (lambda t, a: neg(mul(_TWO_OVER_ROOT_PI, make("exp", neg(_square(a[0]))))),),
    "erfcx": (lambda t, a: sub(mul(mul(TWO, a[0]), t), _TWO_OVER_ROOT_PI),),
    "gamma": (lambda t, a: mul(t, make("digamma", a[0])),),
    "lgamma": (lambda t, a: make("digamma", a[0]),),
    "sigmoid": (lambda t, a: mul(t, make("sigmoid", neg(a[0]))),),
    "softplus": (lambda t, a: make("sigmoid", a[0]),),
    "logaddexp": (lambda t, a: make("sigmoid", sub(a[0], a[1])), lambda t, a: make("sigmoid", sub(a[1], a[0]))),
    "xlogy": (lambda t, a: make("log", a[1]), lambda t, a: times(a[0], div(ONE, a[1]))),
    "log1pmx": (lambda t, a: neg(div(a[0], add(ONE, a[0]))),),
    "binet": (lambda t, a: neg(make("binet_slope", a[0])),),
    "binet_gap": (lambda t, a: sub(make("binet_slope", a[0]), make("binet_slope", add(a[0], a[1]))),
                  lambda t, a: neg(make("binet_slope", add(a[0], a[1])))),
    "lgamma1p": (lambda t, a: make("digamma", add(ONE, a[0])),),
    "erfcx_rest": (lambda t, a: sub(mul(mul(TWO, a[0]), t), make("erfcx", a[0])),),
    "expm1mx": (lambda t, a: make("expm1", a[0]),),
    "absorb": (lambda t, a: a[1], lambda t, a: a[0]),
    "gap": (lambda t, a: ONE, lambda t, a: MINUS_ONE),
    "exp_diff": (lambda t, a: t, lambda t, a: neg(t)),
}


def _difference(t: Term, inner: tuple[Term, ...]) -> Term:
    return plus(inner[0], _minus(inner[1]))


def _quotient(t: Term, inner: tuple[Term, ...]) -> Term:
    (a, b), (da, db) = t.args, inner
    if db is ZERO:
        return times(da, div(ONE, b))
    second = times(a, db, div(ONE, _square(b)))
    return _minus(second) if da is ZERO else plus(times(da, div(ONE, b)), _minus(second))


def _power(t: Term, inner: tuple[Term, ...]) -> Term:
    (a, b), (da, db) = t.args, inner
    by_base = ZERO if da is ZERO else times(b, power(a, sub(b, ONE)), da)
    return by_base if db is ZERO else plus(by_base, times(t, make("log", a), db))


def _larger(t: Term, inner: tuple[Term, ...]) -> Term:
    above, at_least, below = ("gt", "ge", "lt") if t.op == "max" else ("lt", "le", "gt")
    (a, b), (da, db) = t.args, inner
    if db is ZERO:
        return _when(node(above, (a, b)), da)
    if da is ZERO:
        return _when(node(below, (a, b)), db)
    return node("where", (node(at_least, (a, b)), da, db))


def _choice(t: Term, inner: tuple[Term, ...]) -> Term:
    _, da, db = inner
    if da is db:
        return da
    if da is ZERO:
        return _when(node("not", (t.args[0],)), db)
    if db is ZERO:
        return _when(t.args[0], da)
    return node("where", (t.args[0], da, db))


def _clip(t: Term, inner: tuple[Term, ...]) -> Term:
    (a, low, high), (da, dlow, dhigh) = t.args, inner
    inside = node("and", (node("le", (low, a)), node("le", (a, high))))
    cases = ((inside, da), (node("lt", (a, low)), dlow), (node("gt", (a, high)), dhigh))
    total = ZERO
    for condition, d in cases:
        total = plus(total, _when(condition, d))
    return total


def _clip_through(t: Term, inner: tuple[Term, ...]) -> Term:
    return inner[0]


def _precise(t: Term, inner: tuple[Term, ...]) -> Term:
    total, whole = ZERO, formula(t)
    given = {var(f"${k}"): a for k, a in enumerate(t.args)}
    for k, d in enumerate(inner):
        total = plus(total, times(replace(partial(whole, var(f"${k}")), given), d)) if d is not ZERO else total
    return total


_SPECIAL: Mapping[str, Callable[[Term, tuple[Term, ...]], Term]] = {
    "sub": _difference, "div": _quotient, "pow": _power, "max": _larger, "min": _larger, "where": _choice,
    "clip": _clip, "clip_through": _clip_through, "precise": _precise,
    "wide": _precise,
}
