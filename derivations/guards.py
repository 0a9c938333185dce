"""Guards: products whose limit is 0 where one factor is 0 and the other infinite.

`0 * inf` is NaN in floating-point arithmetic; where the definition has a limit there (0 log 0 = 0,
a target of 0 against an infinite loss), the product must absorb the infinity.
"""

from __future__ import annotations

import math

from lossmith.derivations.loss import Argument
from lossmith.derivations.ranges import Range, ranges
from lossmith.derivations.terms import Term, node, rebuild, walk


def guard(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with `absorb` for every product that can be zero times infinity by the domains.

    A product of two factors that can each be both zero and infinite is left alone: nothing says
    which of the two wins.
    """
    known = ranges(term, arguments)
    done: dict[Term, Term] = {}
    for t in walk(term):
        made = rebuild(t, tuple(done[a] for a in t.args)) if t.args else t
        if t.op == "mul" and made.op == "mul":
            first, second = (known[a] for a in t.args)
            if _zero(first) and _infinite(second) and not _infinite(first):
                made = node("absorb", made.args)
            elif _zero(second) and _infinite(first) and not _infinite(second):
                made = node("absorb", (made.args[1], made.args[0]))
        done[t] = made
    return done[term]


def _zero(r: Range) -> bool:
    return r[0] <= 0 <= r[1]


def _infinite(r: Range) -> bool:
    return math.isinf(r[0]) or math.isinf(r[1])
