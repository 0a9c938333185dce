"""What a form of rows must keep before rounding loses it: masked classes, the low part of a difference."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from lossmith.derivations.evaluate import evaluate
from lossmith.derivations.loss import Argument
from lossmith.derivations.ranges import Range, ranges
from lossmith.derivations.rows.algebra import Algebra
from lossmith.derivations.rows.evidence import FEW, tiny_shares
from lossmith.derivations.rows.rules import SMALL
from lossmith.derivations.terms import (
    HALF,
    ONE,
    REDUCTIONS,
    ZERO,
    Term,
    add,
    const,
    div,
    is_const,
    leaves,
    make,
    mul,
    name_of,
    neg,
    node,
    number,
    power,
    rebuild,
    replace,
    sub,
    walk,
)
from lossmith.derivations.ulp import FORMATS

SHORT = 1024  # parts of one that a short exponent counts


def masked(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with a + log(w) being -inf wherever w = 0, even if a is +inf: exp of it is 0 * exp(a)."""
    known = ranges(term, arguments)
    found: dict[Term, Term] = {}
    for t in walk(term):
        for a in _exponents(t):
            logs = [n for n in _addends(a) if n.op == "log" and known[n.args[0]][0] <= 0]
            if len(logs) == 1 and logs[0] is not a:
                found[a] = _hidden(a, logs[0])
    return replace(term, found) if found else term


def _hidden(a: Term, log: Term) -> Term:
    """A sum with log(w) in it, -inf where w = 0; where w is 1 or 0 for a class, log(w) is not computed."""
    w = log.args[0]
    if w.op == "where" and is_const(w.args[1], 0) and is_const(w.args[2], 1):
        return node("where", (w.args[0], log, _summed(a, log)))
    return node("where", (node("gt", (w, ZERO)), a, log))


def _summed(t: Term, without: Term) -> Term:
    """A sum less one of its terms."""
    if t is without:
        return ZERO
    if t.op == "add":
        return add(_summed(t.args[0], without), _summed(t.args[1], without))
    return sub(_summed(t.args[0], without), t.args[1]) if t.op == "sub" else t


def emptied(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with a log-sum-exp over no class at all being -inf: where weights may hide every class of finite rows."""
    finite = not any(a.axis == "class" and a.domain.low_closed and math.isinf(a.domain.low) for a in arguments)
    found: dict[Term, Term] = {}
    for t in walk(term) if finite else ():
        if t.op == "rest" and len(t.args) == 1 and t.args[0].op == "where" and any(
                n.op == "log" for n in t.args[0].args[1:]):
            top = node("peak", t.args)  # only zero and the infinities are their own halves
            empty = node("and", (node("lt", (top, ZERO)), node("eq", (top, mul(HALF, top)))))
            found[t] = node("where", (empty, ZERO, t))
    return replace(term, found) if found else term


def weighed(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with softmaxes of b + log(w) computed of b and w: the rounding of that sum no longer matters.

    The peak stays that of the rounded sums, since any shift will do. Where a term also reads how far
    an element lies below the peak, the two must round alike, and it is left as it is.
    """
    found: dict[Term, Term] = {}
    exact = {a.name for a in arguments if a.domain.values}  # log 0 and log 1 are exact
    for t in walk(term):
        if t.op == "gap" and t.args[0].op == "peak":
            return term
        if t.op == "rest" and (parts := _parted(t.args)) is not None:
            u, b, w = parts
            if w.op in ("row", "sub") and all(n.op == "const" or name_of(n) in exact for n in leaves(w)):
                continue
            top = node("peak", t.args)
            off = sub(_weighted(w, b, u), ONE)
            found[t] = add(t, node("sum", (mul(off, node("exp_diff", (u, top))),)))
            found[node("exp_diff", (u, top))] = _weighted(w, b, top)
    return replace(term, found) if found else term


def _weighted(w: Term, b: Term, top: Term) -> Term:
    """w exp(b - top), in two halves where w is so small that the exponential may overflow."""
    root = node("exp_diff", (mul(HALF, b), mul(HALF, top)))
    whole, halves = node("absorb", (w, node("exp_diff", (b, top)))), node("absorb", (node("absorb", (w, root)), root))
    return node("where", (node("gt", (w, SMALL)), whole, halves))


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


def gathered(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with the element of a peak's computed row read out of that row, and not computed again.

    Rows and scalars may be computed in different formats: an element that attains the peak must have
    its bits.
    """
    found: dict[Term, Term] = {}
    algebra = Algebra(arguments)
    for t in walk(term):
        a = t.args[1] if t.op == "gap" and t.args[0].op == "peak" else t.args[0] if t.op == "exp_diff" else None
        top = t.args[0] if t.op == "gap" else t.args[1] if t.op == "exp_diff" else None
        if a is None or top is None or top.op != "peak" or a.sort != "scalar" or a.op == "at":
            continue
        labels = dict.fromkeys(n.args[1] for n in walk(a) if n.op == "at")
        for b in (b for b in top.args if b.sort == "row"):
            for y in labels:
                same = replace(b, {n: node("at", (n, y)) for n in leaves(b) if n.op == "row"}) is a
                if same or (_chooses(b) and algebra.read(node("at", (b, y))) is algebra.read(a)):
                    found[a] = node("at", (b, y))
    return replace(term, found) if found else term


def _chooses(row: Term) -> bool:
    """Whether a row is another formula at one class."""
    return any(n.op in ("onehot", "position") for n in walk(row))


def unflushed(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with p g for a softmax p that may be subnormal and a g per class that may be large, as two halves.

    exp(d) g = exp(d/2) (exp(d/2) g): where exp(d) has few bits left, its root has all of them. In sums
    too, where they wait for another sum anyway.
    """
    known = ranges(term, arguments)
    late = [t.args[0] for t in walk(term) if t.op == "sum" and any(n.op == "sum" for n in walk(t.args[0]))]
    chosen = {t for part in (term, *late) for t in _outside(part) if t.op in ("mul", "absorb")}
    done: dict[Term, Term] = {}
    for t in walk(term):
        made = rebuild(t, tuple(done[a] for a in t.args)) if t.args else t
        for n, m in ((0, 1), (1, 0)) if t in chosen and made.op == t.op else ():
            p, g = t.args[n], t.args[m]
            if g.sort == "row" and _underflows(p) and max(map(abs, known[g])) > 1 and not _is_part(g, p):
                made = _halved(made, made.args[n], made.args[m])
                break
        done[t] = made
    return done[term]


def _halved(whole: Term, share: Term, g: Term) -> Term:
    if share.op == "exp":
        half = make("exp", mul(HALF, share.args[0]))
        return node("where", (node("gt", (share, SMALL)), whole, node("absorb", (half, node("absorb", (half, g))))))
    e, total = share.args
    root = node("exp_diff", tuple(mul(HALF, a) for a in e.args))
    halves = node("absorb", (root, div(node("absorb", (root, g)), total)))
    return node("where", (node("gt", (e, SMALL)), whole, halves))


def _underflows(t: Term) -> bool:
    """A softmax, or an exponential of what is measured from a mean."""
    if t.op == "exp":
        return t.sort == "row" and any(n.op == "gap" for n in walk(t.args[0]))
    return t.op == "div" and t.args[0].op == "exp_diff"


def _is_part(t: Term, share: Term) -> bool:
    """Whether t is what other classes have of the total of a share: at most one."""
    return t.op == "div" and share.op == "div" and t.args[1] is share.args[1]


def _outside(term: Term) -> list[Term]:
    """The nodes of a row outside its reductions."""
    if term.op in REDUCTIONS or term.sort != "row":
        return []
    return [t for a in term.args for t in _outside(a)] + [term]


def unrooted(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with sqrt(a) - sqrt(b) of two rows as (a - b) / (sqrt(a) + sqrt(b)): near each other, a - b is exact."""
    bounded = {a.name for a in arguments if math.isfinite(a.domain.high) or not a.domain.high_closed}
    found: dict[Term, Term] = {}
    for t in walk(term):  # sqrt(a) c - sqrt(b) c is one difference times c
        if t.op == "sub" and all(a.op in ("mul", "absorb") and any(n.op == "sqrt" for n in a.args) for a in t.args):
            (a, c), (b, d) = (sorted(m.args, key=lambda n: n.op != "sqrt") for m in t.args)
            if c is d and c.op != "sqrt":
                found[t] = mul(sub(a, b), c)
    term, found = replace(term, found), {}
    for t in walk(term):
        if t.op == "sub" and all(a.op == "sqrt" and a.args[0].op == "row" for a in t.args):
            a, b = (r.args[0] for r in t.args)
            if {name_of(a), name_of(b)} <= bounded:
                found[t] = node("where", (node("eq", (a, b)), ZERO, div(sub(a, b), add(*t.args))))
    return replace(term, found) if found else term


def split_exponents(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with b**e of one b per row as b**h b**(e - h), where h is short and e has no exact value in a format.

    The rounding of e counts log b times; that of e - h, a thousandth of it, no longer matters.
    """
    done: dict[Term, Term] = {}
    for t in walk(term):
        made = rebuild(t, tuple(done[a] for a in t.args)) if t.args else t
        if t.op == "pow" and is_const(t.args[1]) and (t.sort == "scalar" or t.args[0].op == "exp_diff"):
            e = number(t.args[1])
            high = Fraction(int(e * SHORT), SHORT)  # towards 0: neither part is infinite where the other is 0
            if high not in (0, e):
                made = mul(power(made.args[0], const(high)), power(made.args[0], const(e - high)))
        done[t] = made
    return done[term]


def vanishing(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with l / (1 - p)**e being 0 where l = -log p and 1 - p are both 0, e below one: l vanishes like 1 - p."""
    found: dict[Term, Term] = {}
    for t in walk(term):
        parts = _complement_root(t.args[1]) if t.op == "div" else None
        if parts is not None and any(_minus_log(f, *parts) for f in _factors(t.args[0])):
            both = node("and", tuple(node("eq", (a, ZERO)) for a in t.args))
            found[t] = node("where", (both, ZERO, t))
    return replace(term, found) if found else term


def _complement_root(t: Term) -> tuple[Term, Term] | None:
    """(gap, rest) where t is a root, or a power below one, of the share of the other classes."""
    rooted = t.op == "sqrt" or (t.op == "pow" and is_const(t.args[1]) and 0 < number(t.args[1]) < 1)
    top = t.args[0].args[0] if rooted and t.args[0].op == "div" else t
    if top.op != "sub" or top.args[0].op != "rest" or top.args[1].op != "expm1" or top.args[1].args[0].op != "neg":
        return None
    return top.args[1].args[0].args[0], top.args[0]


def _minus_log(t: Term, gap: Term, rest: Term) -> bool:
    return t.op == "add" and t.args[0] is gap and t.args[1].op == "log1p" and t.args[1].args[0] is rest


def _factors(t: Term) -> list[Term]:
    return [f for a in t.args for f in _factors(a)] if t.op in ("mul", "absorb", "neg") else [t]


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


def unquotiented(term: Term, arguments: tuple[Argument, ...]) -> Term:
    """`term` with log(a/b) as 2 log(sqrt(a)/sqrt(b)) where a/b leaves the range of a format at a tiny share, while
    the two logarithms are finite."""
    logs = [t for t in walk(term) if t.op == "log" and t.args[0].op == "div" and _leaves_range(t.args[0], arguments)]
    return replace(term, {t: mul(const(2), make("log", div(*(make("sqrt", a) for a in t.args[0].args))))
                          for t in logs})


def _leaves_range(quotient: Term, arguments: tuple[Argument, ...]) -> bool:
    fmt = FORMATS["float32"]
    for env in tiny_shares(arguments, fmt.name):
        with np.errstate(all="ignore"):
            whole, a, b = (evaluate(t, env, fmt, FEW) for t in (quotient, *quotient.args))
        if (((whole == 0) | np.isinf(whole)) & (a > 0) & (b > 0) & np.isfinite(a) & np.isfinite(b)).any():
            return True
    return False
