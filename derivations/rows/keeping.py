"""What a form of rows must keep before rounding loses it: masked classes, the low part of a difference."""

from __future__ import annotations

import math

from lossmith.derivations.loss import Argument
from lossmith.derivations.ranges import Range, ranges
from lossmith.derivations.terms import (
    ONE,
    REDUCTIONS,
    ZERO,
    Term,
    add,
    leaves,
    mul,
    neg,
    node,
    rebuild,
    replace,
    sub,
    walk,
)


def masked(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with a + log(w) being -inf wherever w = 0, even if a is +inf: exp of it is 0 * exp(a)."""
    known = ranges(term, arguments)
    found: dict[Term, Term] = {}
    for t in walk(term):
        for a in _exponents(t):
            logs = [n for n in _addends(a) if n.op == "log" and known[n.args[0]][0] <= 0]
            if len(logs) == 1 and logs[0] is not a:
                found[a] = node("where", (node("gt", (logs[0].args[0], ZERO)), a, logs[0]))
    return replace(term, found) if found else term


def weighed(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with softmaxes of b + log(w) computed of b and w: the rounding of that sum no longer matters.

    The peak stays that of the rounded sums, since any shift will do. Where a term also reads how far
    an element lies below the peak, the two must round alike, and it is left as it is.
    """
    found: dict[Term, Term] = {}
    for t in walk(term):
        if t.op == "gap" and t.args[0].op == "peak":
            return term
        if t.op == "rest" and (parts := _parted(t.args)) is not None:
            u, b, w = parts
            top = node("peak", t.args)
            off = sub(node("absorb", (w, node("exp_diff", (b, u)))), ONE)
            found[t] = add(t, node("sum", (mul(off, node("exp_diff", (u, top))),)))
            found[node("exp_diff", (u, top))] = node("absorb", (w, node("exp_diff", (b, top))))
    return replace(term, found) if found else term


def _parted(args: tuple[Term, ...]) -> tuple[Term, Term, Term] | None:
    """(u, b, w) where u = b + log(w) is the one row among the arguments of a peak."""
    rows = [a for a in args if a.sort == "row"]
    if len(rows) != 1:
        return None
    u = rows[0].args[1] if rows[0].op == "where" else rows[0]
    if u.op not in ("add", "sub") or any(n.op in REDUCTIONS for n in walk(u)):
        return None
    for log, b in ((u.args[0], u.args[1] if u.op == "add" else neg(u.args[1])), (u.args[1], u.args[0])):
        if log.op == "log" and log.sort == "row" and (u.op == "add" or log is u.args[0]):
            return rows[0], b, log.args[0]
    return None


def _exponents(t: Term) -> tuple[Term, ...]:
    """What is compared with a peak, or is one of its arguments."""
    if t.op in ("peak", "rest"):
        return t.args
    if t.op == "gap" and t.args[0].op == "peak":
        return t.args[1:]
    return t.args[:1] if t.op == "exp_diff" and t.args[1].op == "peak" else ()


def _addends(t: Term) -> list[Term]:
    """The terms of a sum that are added, not subtracted."""
    if t.op == "add":
        return _addends(t.args[0]) + _addends(t.args[1])
    return _addends(t.args[0]) if t.op == "sub" else [t]


def kept_differences(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with exp(a - b) of two inputs as one function, which puts the rounding of a - b back."""
    known = ranges(term, arguments)
    done: dict[Term, Term] = {}
    for t in walk(term):
        made = rebuild(t, tuple(done[a] for a in t.args)) if t.args else t
        if t.op == "exp":
            made = _kept(t.args[0], known) or made
        done[t] = made
    return done[term]


def _kept(exponent: Term, known: dict[Term, Range]) -> Term | None:
    if exponent.op == "neg":
        inside = exponent.args[0]
        if inside.op == "abs" and _exact(inside.args[0], known):
            a, b = inside.args[0].args
            return node("exp_diff", (node("min", (a, b)), node("max", (a, b))))
        return node("exp_diff", inside.args[::-1]) if _exact(inside, known) else None
    return node("exp_diff", exponent.args) if _exact(exponent, known) else None


def _exact(t: Term, known: dict[Term, Range]) -> bool:
    """Whether t is the difference of two inputs that cannot both be infinite."""
    if t.op != "sub" or not all(a.op in ("var", "row") or (a.op == "at" and a.args[0].op == "row") for a in t.args):
        return False
    (low, high), (low2, high2) = (known[a] for a in t.args)
    return not (low == low2 == -math.inf or high == high2 == math.inf) and len(set(leaves(t))) > 0
