"""Guards: products whose limit is 0 where one factor is 0 and the other infinite.

`0 * inf` is NaN in floating-point arithmetic; where the definition has a limit there (0 log 0 = 0,
a target of 0 against an infinite loss), the product must absorb the infinity.
"""

from __future__ import annotations

import math

from lossmith.derivations.loss import Argument
from lossmith.derivations.ranges import Range, ranges
from lossmith.derivations.terms import ONE, Term, div, is_const, leaves, node, rebuild, walk


def guard(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with `absorb` for every product that can be zero times infinity by the domains.

    A quotient 0 / 0 of parts that share no input is such a product too. Where both factors can be
    zero and infinite nothing says which of the two wins, and the product is left alone.
    """
    known = ranges(term, arguments)
    done: dict[Term, Term] = {}
    for t in walk(term):
        made = rebuild(t, tuple(done[a] for a in t.args)) if t.args else t
        if t.op == made.op and t.op in ("mul", "div"):
            made = _guarded(made, known[t.args[0]], known[t.args[1]])
        done[t] = made
    return done[term]


def _guarded(t: Term, first: Range, second: Range) -> Term:
    if t.op == "div":
        # Where numerator and denominator share no input, 0 / b is 0 for every b on the way to 0.
        independent = not set(leaves(t.args[0])) & set(leaves(t.args[1]))
        if _zero(first) and _zero(second) and independent and not is_const(t.args[0]):
            return node("absorb", (t.args[0], div(ONE, t.args[1])))
    elif _zero(first) and _infinite(second) and not _infinite(first):
        return node("absorb", t.args)
    elif _zero(second) and _infinite(first) and not _infinite(second):
        return node("absorb", (t.args[1], t.args[0]))
    return t


def _zero(r: Range) -> bool:
    return r[0] <= 0 <= r[1]


def _infinite(r: Range) -> bool:
    return math.isinf(r[0]) or math.isinf(r[1])
