"""Guards: what a form needs at 0, at infinity and at NaN: products whose limit is 0, branches, signs of zero.

`0 * inf` is NaN in floating-point arithmetic; where the definition has a limit there (0 log 0 = 0,
a target of 0 against an infinite loss), the product must absorb the infinity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from lossmith.derivations.loss import Argument
from lossmith.derivations.ranges import Range, ranges
from lossmith.derivations.terms import ZERO, Term, div, is_const, leaves, name_of, node, rebuild, walk


def guard(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with `absorb` for every product that can be zero times infinity by the domains.

    A quotient 0 / 0 of parts that share no input is such a product too. Where both factors can be
    zero and infinite nothing says which of the two wins, and the product is left alone.
    """
    known = ranges(term, arguments)
    done: dict[Term, Term] = {}
    small = bounded(term)
    for t in walk(term):
        made = rebuild(t, tuple(done[a] for a in t.args)) if t.args else t
        if t in small:
            done[t] = made
            continue
        if made.op == "div" and _is_guard(made.args[0]):
            condition, zero, top = made.args[0].args  # 0 / 0 again, one division further down
            made = node("where", (condition, zero, div(top, made.args[1])))
        elif t.op == made.op and t.op in ("mul", "div"):
            made = _guarded(made, known[t.args[0]], known[t.args[1]], known)
        elif _is_guard(made) and _is_guard(made.args[2]) and made.args[0] is made.args[2].args[0]:
            made = made.args[2]
        done[t] = made
    return done[term]


def bounded(term: Term) -> set[Term]:
    """Polynomials of u that are read only where |u| is at most some number: nothing in them is infinite."""
    found: set[Term] = set()
    for t in walk(term):
        if t.op == "where" and t.args[0].op == "le" and t.args[0].args[0].op == "abs" and is_const(t.args[0].args[1]):
            u = t.args[0].args[0].args[0]
            inside: set[Term] = set()
            for s in walk(t.args[1]):
                if s is not u and s.op in ("add", "sub", "mul", "neg") and all(
                        a is u or is_const(a) or a in inside for a in s.args):
                    inside.add(s)
            found |= inside - set(walk(t.args[2]))
    return found


def _is_guard(t: Term) -> bool:
    return t.op == "where" and t.args[1] is ZERO and t.args[0].op == "and" and all(
        c.op == "eq" and c.args[1] is ZERO for c in t.args[0].args)


def _guarded(t: Term, first: Range, second: Range, known: Mapping[Term, Range]) -> Term:
    if t.op == "div":
        return _guarded_quotient(t) if _zero(first) and _zero(second) else t
    if _zero(first) and _infinite(second) and not _infinite(first):
        return node("absorb", (t.args[0], _without_nan(t.args[1], known)))
    if _zero(second) and _infinite(first) and not _infinite(second):
        return node("absorb", (t.args[1], _without_nan(t.args[0], known)))
    return t


def _without_nan(factor: Term, known: Mapping[Term, Range]) -> Term:
    """The infinite factor of a product with 0, its inf - inf replaced by a gap: 0 times it is 0 still."""
    if factor.op not in ("add", "sub"):
        return factor
    a, b = (_without_nan(x, known) for x in factor.args)
    if factor.op == "sub" and set(factor.args) <= set(known):
        one, other = (known[x] for x in factor.args)
        if (one[0] == other[0] == -math.inf) or (one[1] == other[1] == math.inf):
            return node("gap", (a, b))
    return node(factor.op, (a, b))


def _guarded_quotient(t: Term) -> Term:
    """A numerator that shares no input with the denominator: 0 / b is 0 for every b on the way to 0.

    A choice, not a product with 1 / b: that would round twice, and overflow where b is subnormal.
    """
    top, bottom = t.args
    if is_const(top) or set(leaves(top)) & set(leaves(bottom)):
        return t
    both = node("and", (node("eq", (top, ZERO)), node("eq", (bottom, ZERO))))
    return node("where", (both, ZERO, t))


NEGATED = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}


def pass_nan(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with the branches of `where` ordered so that a NaN in a condition reaches the result.

    A comparison with NaN does not hold, so the last branch is taken: it must be the one that reads
    what the condition reads. Where neither does, a third branch is that NaN itself.
    """
    done: dict[Term, Term] = {}
    for t in walk(term):
        made = rebuild(t, tuple(done[a] for a in t.args)) if t.args else t
        if made.op == "where":
            condition, a, b = made.args
            read = set(leaves(condition))
            turned = _negation(condition)
            if turned is not None and len(read & set(leaves(a))) > len(read & set(leaves(b))):
                made = node("where", (turned, b, a))
            elif turned is not None and len(lost := _inputs(condition, arguments)) == 1 and not (
                    lost & (set(leaves(a)) | set(leaves(b)))):
                made = node("where", (condition, a, node("where", (turned, b, *lost))))
        done[t] = made
    return done[term]


def _inputs(term: Term, arguments: tuple[Argument, ...]) -> set[Term]:
    """The leaves that can be NaN: a parameter is a number."""
    given = {a.name for a in arguments if a.role != "parameter"}
    return {t for t in leaves(term) if t.op in ("var", "row") and name_of(t) in given}


def _negation(condition: Term) -> Term | None:
    """The opposite comparison, which a NaN fails too; None where there is none."""
    if condition.op in NEGATED:
        return node(NEGATED[condition.op], condition.args)
    if condition.op in ("and", "or"):
        parts = [_negation(a) for a in condition.args]
        if parts[0] is not None and parts[1] is not None:
            return node("or" if condition.op == "and" else "and", (parts[0], parts[1]))
    return None


# What -0 passes through with its sign.
KEEP_SIGN = frozenset({"sqrt", "expm1", "log1p", "sinh", "tanh", "asinh", "atanh", "sin", "tan", "asin", "atan"})


def unsigned_zero(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with |p| for each input p >= 0 that can be a zero below a fraction: 1 / -0 is -inf."""
    closed = {a.name for a in arguments if a.domain.low == 0 and a.domain.low_closed and not a.domain.index}
    done: dict[Term, Term] = {}
    for t in walk(term):
        made = rebuild(t, tuple(done[a] for a in t.args)) if t.args else t
        if t.op == "div":
            made = div(made.args[0], _unsigned(made.args[1], closed)) if made.op == "div" else made
        done[t] = made
    return done[term]


def _unsigned(factor: Term, closed: set[str]) -> Term:
    if factor.op in ("var", "row") and name_of(factor) in closed:
        return node("abs", (factor,))
    if factor.op in KEEP_SIGN:
        return node(factor.op, (_unsigned(factor.args[0], closed),))
    if factor.op == "mul" and factor.args[0] is not factor.args[1]:
        return node("mul", (_unsigned(factor.args[0], closed), _unsigned(factor.args[1], closed)))
    return factor


def _zero(r: Range) -> bool:
    return r[0] <= 0 <= r[1]


def _infinite(r: Range) -> bool:
    return math.isinf(r[0]) or math.isinf(r[1])
