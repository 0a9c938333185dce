"""Near-equal rows: logarithms of ratios near one, their linear parts cancelling each other exactly.

A divergence is second order where its rows are equal, while its logarithms are first order. With
log(u/v) = (log(1 + r) - r) + r, r = (u - v)/v, the linear parts are a rational function of the rows,
and where that is zero, what is left has no cancellation.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from functools import reduce

from lossmith.derivations import polynomial
from lossmith.derivations.partial import partial
from lossmith.derivations.terms import (
    ZERO,
    Term,
    add,
    const,
    div,
    leaves,
    make,
    mul,
    neg,
    node,
    replace,
    sub,
    var,
    walk,
)

NEAR = const(4)  # within this ratio the relative difference is taken; beyond it the parts differ by a bounded factor
MOST = 3  # logarithms in one body: each is tried both ways up
REASON = "near equality, log(1 + r) - r of the relative difference r is computed as one function"
LATEX = r"\log\tfrac{u}{v} = (\log(1 + r) - r) + r, \quad r = \tfrac{u - v}{v}"


def near_equality(body: Term, far: Term | None = None) -> Term | None:
    """A body with its logarithms of ratios expanded where the ratios are near one; elsewhere `far`, or the body.

    None where the body is no linear combination of such logarithms, or where their linear parts do
    not cancel.
    """
    plain = _plain(body)
    ratios = {t: t.args[0].args for t in walk(plain) if t.op == "log" and t.args[0].op == "div"}
    if not 0 < len(ratios) <= MOST:
        return None
    names = {t: var(f"@log{n}") for n, t in enumerate(ratios)}
    linear = replace(plain, names)
    weights = {t: partial(linear, name) for t, name in names.items()}
    if any(set(leaves(w)) & set(names.values()) for w in weights.values()):
        return None
    for flips in itertools.product((True, False), repeat=len(ratios)):
        sides = {t: (uv[::-1] if flip else uv) for (t, uv), flip in zip(ratios.items(), flips)}
        signs = dict(zip(ratios, flips))
        slopes = {names[t]: _signed(signs[t], div(sub(u, v), v)) for t, (u, v) in sides.items()}
        if _is_zero(replace(linear, slopes)):
            parts = [_signed(signs[t], mul(weights[t], make("log1pmx", _relative(u, v))))
                     for t, (u, v) in sides.items()]
            near = reduce(lambda a, b: node("and", (a, b)), (_near(u, v) for u, v in ratios.values()))
            apart = _apart(linear, names, weights) if far is None else far
            return node("where", (near, reduce(add, parts), apart))
    return None


def _apart(linear: Term, names: Mapping[Term, Term], weights: Mapping[Term, Term]) -> Term:
    """The body far from equality: a logarithm whose weight is 0 is not there, be it that of 0 / 0."""
    total = replace(linear, dict.fromkeys(names.values(), ZERO))
    for t, w in weights.items():
        total = add(node("where", (node("eq", (w, ZERO)), ZERO, mul(w, t))), total)
    return total


def _plain(body: Term) -> Term:
    """xlogy(w, u/v) as the product that it is."""
    return replace(body, {t: mul(t.args[0], make("log", t.args[1])) for t in walk(body) if t.op == "xlogy"})


def _signed(minus: bool, t: Term) -> Term:
    return neg(t) if minus else t


def _relative(u: Term, v: Term) -> Term:
    """(u - v) / v, like terms collected: the difference of inputs is then exact where they are near."""
    return div(polynomial.collect(sub(u, v)), v)


def _near(u: Term, v: Term) -> Term:
    return node("and", (node("gt", (v, div(u, NEAR))), node("lt", (v, mul(NEAR, u)))))


def _is_zero(t: Term) -> bool:
    try:
        return polynomial.vanishes(polynomial.quotient(t))
    except (polynomial.TooLargeError, ZeroDivisionError):
        return False
