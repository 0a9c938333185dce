"""The rules that turn differences on the class axis into sums of terms of one sign.

Each takes an expression in normal form and gives a term in which smaller expressions stand as
holes, or None where it does not apply. They are tried in the order of `RULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from lossmith.derivations.rows import expr as x
from lossmith.derivations.rows import forms
from lossmith.derivations.rows.algebra import Algebra
from lossmith.derivations.rows.differences import angle, nested, part_and_whole, split_balance, variance
from lossmith.derivations.rows.expr import ONE, ZERO, Expr, coefficient, factors, terms_of
from lossmith.derivations.rows.means import (
    equal_shares,
    multiply_out,
    parts_of_whole,
    power_sum,
    square_from_mean,
    weighted_mean,
)
from lossmith.derivations.rows.ratios import of_ratio, power_of_ratio
from lossmith.derivations.rows.recognise import (
    is_softmax,
    labels_of,
    lse_term,
    negative,
    places,
    size,
    softmax_power,
    softmax_root,
    weight,
    weight_candidates,
    without,
)
from lossmith.derivations.rows.symmetric import symmetric
from lossmith.derivations.rows.tilting import NEARBY, tilt
from lossmith.derivations.terms import (
    COUNT,
    HALF,
    POSITION,
    Term,
    add,
    const,
    div,
    label,
    make,
    mul,
    neg,
    node,
    power,
    sub,
)
from lossmith.derivations.terms import ONE as ONE_TERM

# The root of the smallest normal number of float32: nothing divided by more than this overflows.
SMALL = const(Fraction(1, 2**63))
QUARTER = const(Fraction(1, 4))
LARGEST_ROOT = Fraction(3)  # a power this large of a rounded share loses as many roundings


class Holes(Protocol):
    """Where a rule leaves what is still to be rewritten."""

    algebra: Algebra

    def hole(self, e: Expr) -> Term: ...

    def unit(self, w: Expr) -> str | None: ...

    def divergence(self, w: Expr, k: Expr, a: Expr, lse: Expr) -> Term: ...

    def function(self, g: Term, at: Term, high: Fraction) -> Term: ...


@dataclass(frozen=True)
class RowRule:
    """A rule of rows: its name, when it holds, why, and how it rewrites."""

    name: str
    condition: str
    reason: str
    latex: str
    rewrite: Callable[[Expr, Holes], Term | None]


def common_factor(e: Expr, h: Holes) -> Term | None:
    """A c + B c -> c (A + B); a softmax counts in p and p**2 alike."""
    if e.op != "add":
        return None
    first, *others = e.args
    shared = [f for f in factors(first) if f.op not in ("num", "onehot") and all(f in factors(t) for t in others)]
    if not shared:
        shared = _shared_softmax(e, h.algebra)
    if not shared:
        return None
    common = h.algebra.mul(*shared)
    inverse = h.algebra.pow(common, x.num(-1))
    left = h.algebra.add(*(h.algebra.mul(t, inverse) for t in e.args))
    if size(left) > size(e) and not any(f.op == "exp" for f in shared):
        return None
    out = h.hole(left)
    for f in reversed(shared):
        out = mul(h.hole(f), out)
    return out


def _shared_softmax(e: Expr, algebra: Algebra) -> list[Expr]:
    for f in sorted({f for t in e.args for f in factors(t) if f.op == "exp"}, key=lambda f: f.key):
        found = is_softmax(f, algebra)
        if found and all(any((p := softmax_power(g, algebra)) and p[:2] == found for g in factors(t)) for t in e.args):
            return [f]
    return []


def onehot_split(e: Expr, h: Holes) -> Term | None:
    """An expression of onehot(y): its value at the label and its value elsewhere."""
    if e.sort != "row" or e.op in ("onehot", "leaf", "log") or x.others_of(e) is not None:
        return None
    found = _onehots(e)
    if not found:
        return None
    y = x.others_of(found[0]) or found[0].name
    one, others = x.onehot(y), x.others(y)
    there = h.algebra.at(_replaced(_replaced(e, one, ONE, h.algebra), others, ZERO, h.algebra), y)
    elsewhere = _replaced(_replaced(e, one, ZERO, h.algebra), others, ONE, h.algebra)
    return node("where", (node("eq", (POSITION, label(y))), h.hole(there), h.hole(elsewhere)))


def _onehots(e: Expr) -> list[Expr]:
    """The one-hot rows outside reductions."""
    if e.op == "onehot" or x.others_of(e) is not None:
        return [e]
    if e.op in ("sum", "lse", "at"):
        return []
    return [found for a in e.args for found in _onehots(a)]


def _replaced(e: Expr, old: Expr, new: Expr, algebra: Algebra) -> Expr:
    if e is old:
        return new
    if old not in e.within or e.op in ("sum", "lse", "at"):
        return e
    return algebra.again(e, tuple(_replaced(a, old, new, algebra) for a in e.args))


def complement(e: Expr, h: Holes) -> Term | None:
    """A exp(u) - A -> A expm1(u); for a softmax, 1 - p is the share of the others."""
    if e.op != "add":
        return None
    for t in e.args:
        for f in factors(t):
            a = without(t, f, h.algebra) if f.op == "exp" else ZERO
            if a is not ZERO and h.algebra.add(h.algebra.sub(e, t), a) is ZERO:
                return _scaled_expm1(a, f, h)
    return _exponential_difference(e, h)


def _exponential_difference(e: Expr, h: Holes) -> Term | None:
    """A exp(u) - A exp(v) -> A exp(v) (exp(u - v) - 1), where the quotient is a softmax."""
    if len(e.args) != 2:
        return None
    algebra = h.algebra
    for t, other in (e.args, e.args[::-1]):
        for f in (f for f in factors(t) if f.op == "exp"):
            for g in (g for g in factors(other) if g.op == "exp"):
                ratio = algebra.mul(f, algebra.pow(g, x.num(-1)))
                a = without(t, f, algebra)
                if is_softmax(ratio, algebra) and algebra.add(without(other, g, algebra), a) is ZERO:
                    return _scaled_expm1(algebra.mul(a, g), ratio, h)
    return None


def _scaled_expm1(a: Expr, f: Expr, h: Holes) -> Term:
    """a (f - 1) for an exponential f."""
    found = is_softmax(f, h.algebra)
    if found is None:
        return mul(h.hole(a), make("expm1", h.hole(f.args[0])))
    flipped = h.algebra.neg(a)
    share_of_others = forms.others(*found)
    if negative(a) or (a.op == "add" and all(negative(t) for t in a.args)):
        return mul(h.hole(flipped), share_of_others)
    return neg(mul(h.hole(a), share_of_others))


def partial_complement(e: Expr, h: Holes) -> Term | None:
    """p (c + r) - c -> c (p - 1) + p r: what p shares with -c goes through the complement."""
    if e.op != "add":
        return None
    algebra = h.algebra
    for f in dict.fromkeys(f for t in e.args for f in factors(t) if is_softmax(f, algebra) is not None):
        every = [t for t in e.args if f in factors(t)]
        for shared in (*([t] for t in every), every):  # one by one, then all that share the softmax
            beside = algebra.add(*(_spread(without(t, f, algebra), algebra) for t in shared))
            others = [t for t in e.args if t not in shared]
            for c in terms_of(beside):
                if any(algebra.add(o, c) is ZERO for o in others):
                    left = algebra.add(*others, c, algebra.mul(f, algebra.sub(beside, c)))
                    return add(_scaled_expm1(c, f, h), h.hole(left))
    return None


def _spread(e: Expr, algebra: Algebra) -> Expr:
    """A number times a sum as the sum of its multiples."""
    c, rest = coefficient(e)
    return algebra.add(*(algebra.mul(x.num(c), t) for t in terms_of(rest))) if rest.op == "add" else e


def half_split(e: Expr, h: Holes) -> Term | None:
    """W p - w: above one half, p is 1 - others, and W - w is exact or large."""
    if e.op != "add":
        return None
    for flipped in (False, True):
        made = _half_split(h.algebra.neg(e) if flipped else e, h)
        if made is not None:
            return neg(made) if flipped else made
    return None


def _half_split(e: Expr, h: Holes) -> Term | None:
    algebra = h.algebra
    for first in terms_of(e):
        less = algebra.neg(algebra.sub(e, first))
        for f in factors(first):
            found = is_softmax(f, algebra)
            total = without(first, f, algebra)
            if found is None or total.sort == "row" or any(n.op == "exp" for n in x.walk(less)):
                continue
            if not algebra.nonnegative(less) or not algebra.nonnegative(total):
                continue
            share, beyond = forms.share(*found), forms.others(*found)
            w, t = h.hole(total), h.hole(less)
            return node("where", (node("gt", (share, HALF)), sub(sub(w, t), mul(w, beyond)), sub(mul(w, share), t)))
    return None


def share_difference(e: Expr, h: Holes) -> Term | None:
    """W p - W q of two softmaxes: where both exceed one half, the difference of what they lack."""
    if e.op != "add" or len(e.args) != 2:
        return None
    algebra = h.algebra
    first, second = e.args if not negative(e.args[0]) else e.args[::-1]
    for f in factors(first):
        for g in factors(second):
            one, other = is_softmax(f, algebra), is_softmax(g, algebra)
            total = without(first, f, algebra)
            if one is None or other is None or algebra.add(total, without(second, g, algebra)) is not ZERO:
                continue
            p, q = forms.share(*one), forms.share(*other)
            both = node("and", (node("gt", (p, HALF)), node("gt", (q, HALF))))
            lacking = sub(forms.others(*other), forms.others(*one))
            apart = node("where", (both, lacking, sub(p, q)))
            return mul(h.hole(total), _tilted_difference(other, one, apart))
    return None


def centre(e: Expr, h: Holes) -> Term | None:
    """c a_k - c sum(p a) -> c ((a_k - m) - sum(p (a - m))), m = sum(p a) as it comes out rounded."""
    if e.op != "add":
        return None
    algebra = h.algebra
    pairs = [pair for t in e.args for pair in _means(t, e, algebra)]
    if not pairs:
        return _centre_plain(e, h)
    if sum(pair[0] == pairs[0][0] for pair in pairs) == 1:  # a number in front stays there: no element is rounded
        (lse, c, y), scale, one, mean = pairs[0]
        pairs = [((lse, algebra.mul(c, x.num(scale)), y), Fraction(1), one, mean)]
    (lse, outer, y), left, a = pairs[0][0], e, ZERO
    for key, scale, one, mean in pairs:
        if key == (lse, outer, y):  # with one softmax, one mean of the sum
            part = algebra.mul(x.num(scale), one)
            here = part if y is None else algebra.at(part, y)
            a, left = algebra.add(a, part), algebra.add(left, mean, algebra.neg(algebra.mul(outer, here)))
    share, element = forms.share(lse.args[0], lse), h.hole(a)
    mean_of = node("sum", (mul(share, element),))
    apart = node("gap", (element, mean_of))
    here_apart = apart if y is None else node("at", (apart, label(y)))  # read, as the mean rounds in rows
    return add(mul(h.hole(outer), sub(here_apart, node("sum", (mul(share, apart),)))), h.hole(left))


def centre_part(e: Expr, h: Holes) -> Term | None:
    """q + p (a_k - sum(p a) + r) -> p (a_k - sum(p a)) + (q + p r): what can be centred, apart from the rest."""
    if e.op != "add" or e.sort != "row":
        return None
    algebra = h.algebra
    for f in dict.fromkeys(f for t in e.args for f in factors(t) if is_softmax(f, algebra) is not None):
        shared = [t for t in e.args if f in factors(t)]
        if len(shared) in (1, len(e.args)):
            continue
        inner = algebra.add(*(_spread(without(t, f, algebra), algebra) for t in shared))
        inner = algebra.add(*(_distributed(t, algebra) for t in terms_of(inner)))
        pairs = [pair for t in terms_of(inner) if inner.op == "add" for pair in _means(t, inner, algebra)]
        centred = algebra.add(*(algebra.sub(algebra.mul(x.num(scale), key[1], a), mean)
                                for key, scale, a, mean in pairs if key[2] is None))
        if centred is not ZERO:
            left = algebra.add(*(t for t in e.args if t not in shared), algebra.mul(f, algebra.sub(inner, centred)))
            return add(mul(h.hole(f), h.hole(centred)), h.hole(left))
    return None


def _distributed(t: Expr, algebra: Algebra) -> Expr:
    """A product with one sum of scalars as the sum of its products."""
    for f in factors(t):
        if f.op == "add" and f.sort == "scalar":
            return algebra.add(*(algebra.mul(without(t, f, algebra), s) for s in f.args))
    return t


def unit_share(e: Expr, h: Holes) -> Term | None:
    """c - c sum(p g) -> c sum(p (1 - g)), p being a softmax: it sums to one."""
    if e.op != "add" or e.sort != "scalar":
        return None
    algebra = h.algebra
    for t in e.args:
        for f in (f for f in factors(t) if f.op == "sum"):
            c = without(t, f, algebra)
            left = algebra.add(algebra.sub(e, t), c)
            for p in factors(f.args[0]) if size(left) < size(e) - 1 else ():
                found = softmax_root(p, algebra)
                if found is None or len(found[1].args) != 1 or found[0] is not found[1].args[0]:
                    continue
                one = algebra.exp(algebra.sub(found[0], found[1]))
                g = algebra.mul(f.args[0], algebra.pow(one, x.num(-1)))
                lacking = node("sum", (mul(h.hole(one), h.hole(algebra.sub(ONE, g))),))
                return add(mul(h.hole(algebra.neg(c)), lacking), h.hole(left))
    return None


def _centre_plain(e: Expr, h: Holes) -> Term | None:
    """c a_k - c sum(a) / C: the same with equal shares."""
    algebra = h.algebra
    for t in e.args:
        for f in (f for f in factors(t) if f.op == "sum"):
            c = algebra.neg(algebra.mul(x.COUNT, without(t, f, algebra)))
            here = algebra.mul(c, f.args[0])
            if here in e.args:
                element = h.hole(f.args[0])
                apart = sub(element, div(node("sum", (element,)), COUNT))
                left = algebra.sub(algebra.sub(e, t), here)
                return add(mul(h.hole(c), sub(apart, div(node("sum", (apart,)), COUNT))), h.hole(left))
    return None


_Mean = tuple[tuple[Expr, Expr, "str | None"], Fraction, Expr, Expr]


def _means(t: Expr, e: Expr, algebra: Algebra) -> list[_Mean]:
    """((lse, c, y), scale, a, -t) where t is -scale c sum(p a), p the softmax of lse, and scale c a is a term of e,
    or scale c a[y] is; without y it is None."""
    out = []
    for f in factors(t):
        for p in factors(f.args[0]) if f.op == "sum" else ():
            found = softmax_root(p, algebra)
            if found is None or len(found[1].args) != 1 or found[0] is not found[1].args[0]:
                continue
            one = algebra.exp(algebra.sub(found[0], found[1]))
            a = algebra.mul(f.args[0], algebra.pow(one, x.num(-1)))
            scale, c = coefficient(algebra.neg(without(t, f, algebra)))
            for y in (None, *labels_of(e)) if a.sort == "row" else ():
                if algebra.mul(x.num(scale), c, a if y is None else algebra.at(a, y)) in e.args:
                    out.append(((found[1], c, y), scale, a, algebra.neg(t)))
    return out


def bregman(e: Expr, h: Holes) -> Term | None:
    """k sum(w log w - w log q), w and q both summing to one -> k sum(w log(w/q) - w + q): no term is negative."""
    if e.op != "add" or e.sort != "scalar":
        return None
    algebra = h.algebra
    for t in e.args:
        found = lse_term(t, algebra)
        if found is None or len(found[1].args) != 1 or found[1].args[0].sort != "row":
            continue
        c, lse = found
        a = lse.args[0]
        for w, k in _unit_weights(e, a, c, h):
            logs = algebra.sum(algebra.mul(w, algebra.sub(algebra.log(w), a)))
            left = algebra.sub(e, algebra.mul(k, algebra.add(logs, algebra.mul(algebra.sum(w), lse))))
            if size(left) <= size(e) - 3:
                total = node("sum", (h.divergence(w, k, a, lse),))
                one = is_softmax(w, algebra)
                if one is not None and one[0].sort == "row":
                    total = _tilted(one[0], one[1], a, total)
                return add(mul(h.hole(k), total), h.hole(left))
    return None


def _tilted(a: Expr, lse: Expr, b: Expr, apart: Term) -> Term:
    """The divergence of the softmax of b from that of a, p: of u = b - a less its mean, where that is small.

    With A = sum p (exp(u) - 1 - u) and r = sum p u the divergence is log(1 + A + r) - r: A, of second
    order, less (A + r) - log(1 + A + r), of fourth.
    """
    t = tilt(a, lse, b)
    return node("where", (t.within(NEARBY), add(t.bend, make("log1pmx", add(t.bend, t.mean))), apart))


def _tilted_difference(a: tuple[Expr, Expr], b: tuple[Expr, Expr], apart: Term) -> Term:
    """softmax(b) - softmax(a) = p expm1(u - log(1 + A + r)), where the rows are near each other."""
    if a[0].sort != "row" or b[0].sort != "row" or len(a[1].args) > 1 or len(b[1].args) > 1:
        return apart
    if any(n.op == "log" and n.sort == "row" for n in x.walk(a[0], b[0])):
        return apart  # of a weight that may be 0: such rows have no difference
    t = tilt(a[0], a[1], b[0])
    near = mul(t.p, make("expm1", sub(t.u, make("log1p", add(t.bend, t.mean)))))
    return node("where", (t.within(HALF), near, apart))


def _unit_weights(e: Expr, a: Expr, c: Expr, h: Holes) -> list[tuple[Expr, Expr]]:
    """(w, k): weights that sum to one, and what multiplies their divergence."""
    algebra = h.algebra
    out = []
    for w in weight_candidates(e, a, algebra):
        if w is ONE:
            continue
        total = algebra.sum(w)
        inverse = algebra.pow(total, x.num(-1))
        normalised = algebra.mul(w, inverse)
        if h.unit(w) is not None:
            out.append((w, algebra.mul(c, inverse)))
        if algebra.sum(normalised) is ONE:
            out.append((normalised, c))
    return out


def max_balance(e: Expr, h: Holes) -> Term | None:
    """c L - c a -> c (gap + log1p(rest)), a being an argument of L or its element at a label."""
    algebra = h.algebra
    for t in terms_of(e):
        found = lse_term(t, algebra)
        if found is None:
            continue
        c, lse = found
        base = algebra.sub(e, t)
        best: tuple[tuple[int, int], Expr, Expr] | None = None
        for a in places(lse, base, e, algebra):
            left = algebra.add(base, algebra.mul(c, a))
            if weight(left) < (weight(base) if best is None else best[0]):
                best = (weight(left), a, left)
        if best is not None:
            _, a, left = best
            return add(mul(h.hole(c), add(forms.gap(a, lse), forms.tail(lse))), h.hole(left))
    return None


def max_balance_sum(e: Expr, h: Holes) -> Term | None:
    """c L - (c/W) sum(w a) -> (c/W) (sum(w gap) + W log1p(rest)), W = sum w."""
    algebra = h.algebra
    for t in terms_of(e):
        found = lse_term(t, algebra)
        if found is None:
            continue
        c, lse = found
        base = algebra.sub(e, t)
        for a in (a for a in lse.args if a.sort == "row"):
            for w in weight_candidates(base, a, algebra):
                total = algebra.sum(w)
                k = algebra.mul(c, algebra.pow(total, x.num(-1)))
                left = algebra.add(base, algebra.mul(k, algebra.sum(algebra.mul(w, a))))
                if size(left) < size(base):
                    weighted = node("sum", (_weighted(h.hole(w), forms.gap(a, lse)),))
                    pair = add(weighted, mul(h.hole(total), forms.tail(lse)))
                    return add(mul(h.hole(k), pair), h.hole(left))
    return None


def _weighted(w: Term, gap: Term) -> Term:
    return gap if w.op == "const" else node("absorb", (w, gap))


def log_ratio(e: Expr, h: Holes) -> Term | None:
    """c log w + c (L - a) -> c log(w/p), p = exp(a - L): one logarithm of a ratio, not a difference of two."""
    if e.op != "add":
        return None
    algebra = h.algebra
    for t in e.args:
        logs = [f for f in factors(t) if f.op == "log"]
        if len(logs) != 1 or not algebra.nonnegative(logs[0].args[0]):
            continue
        c = without(t, logs[0], algebra)
        for other in e.args:
            found = lse_term(other, algebra)
            if found is None or found[0] is not c:
                continue
            lse = found[1]
            for a in places(lse, e, e, algebra):
                left = algebra.sub(e, algebra.mul(c, algebra.add(logs[0], lse, algebra.neg(a))))
                if size(left) <= size(e) - 3:
                    p, w = forms.share(a, lse), h.hole(logs[0].args[0])
                    apart = add(make("log", w), add(forms.gap(a, lse), forms.tail(lse)))
                    ratio = node("where", (node("gt", (p, SMALL)), make("log", div(w, p)), apart))
                    # Above one half p rounds away what it lacks to 1; w - p = (w - 1) + (1 - p) keeps it.
                    beyond = div(add(sub(w, const(1)), forms.others(a, lse)), p)
                    large = node("and", (node("gt", (p, HALF)), node("gt", (w, QUARTER))))
                    ratio = node("where", (large, make("log1p", beyond), ratio))
                    return add(mul(h.hole(c), ratio), h.hole(left))
    return None


def log_mean(e: Expr, h: Holes) -> Term | None:
    """c L - c log C -> c (m + log1p(-E)), E the mean of 1 - exp(-gap), where that is small."""
    if e.op != "add":
        return None
    algebra = h.algebra
    for t in e.args:
        found = lse_term(t, algebra)
        if found is None or len(found[1].args) != 1 or found[1].args[0].sort != "row":
            continue
        c, lse = found
        left = algebra.sub(e, algebra.mul(c, algebra.sub(lse, algebra.log(x.COUNT))))
        if size(left) <= size(e) - 2:
            lacking = div(node("sum", (neg(make("expm1", neg(forms.gap(lse.args[0], lse)))),)), COUNT)
            many = make("log", div(add(ONE_TERM, forms.rest(lse)), COUNT))
            tail = node("where", (node("lt", (lacking, HALF)), make("log1p", neg(lacking)), many))
            return add(mul(h.hole(c), add(forms.peak(lse), tail)), h.hole(left))
    return None


def lse_split(e: Expr, h: Holes) -> Term | None:
    """L -> peak + log1p(rest)."""
    if e.op == "lse":
        return add(forms.peak(e), forms.tail(e))
    return None


def share(e: Expr, h: Holes) -> Term | None:
    """exp(a - L) -> exp(a - peak) / (1 + rest), the rounding of the difference put back."""
    found = softmax_power(e, h.algebra)
    if found is None:
        return _share_unweighted(e, h) or _share_beside(e, h)
    a, lse, n = found
    one = forms.share(a, lse)
    out = one
    for _ in range(n - 1):
        out = mul(out, one)
    return out


def _share_unweighted(e: Expr, h: Holes) -> Term | None:
    """exp(b - L), L holding b + log(w) or b + c onehot(y): the softmax without its weight."""
    for t in terms_of(e.args[0]) if e.op == "exp" else ():
        c, lse = coefficient(t)
        b = h.algebra.sub(e.args[0], t)
        if lse.op == "lse" and c == -1 and b is not ZERO:
            for a in lse.args:
                more = h.algebra.sub(a, b)
                if a.sort == b.sort and all(n.op == "log" or any(f.op == "onehot" for f in factors(n))
                                            for n in terms_of(more)):
                    return div(node("exp_diff", (forms.element(b), forms.peak(lse))), add(ONE_TERM, forms.rest(lse)))
    return None


def _share_beside(e: Expr, h: Holes) -> Term | None:
    """exp(b + n (a - L)): the softmax leaves the exponent."""
    if e.op != "exp":
        return None
    algebra, exponent = h.algebra, e.args[0]
    for t in terms_of(exponent):
        c, lse = coefficient(t)
        if lse.op != "lse" or c >= 0:
            continue
        for a in [*lse.args, *places(lse, exponent, exponent, algebra)]:
            for n in _multiples(a, exponent, -c):
                left = algebra.sub(exponent, algebra.mul(x.num(n), algebra.sub(a, lse)))
                if size(left) < size(exponent) and _parts(left) <= _parts(exponent):
                    one = h.hole(algebra.exp(algebra.sub(a, lse))) if n.denominator == 1 else _share_root(a, lse, n)
                    for _ in range(int(n) - 1):
                        one = mul(one, h.hole(algebra.exp(algebra.sub(a, lse))))
                    return mul(one, h.hole(algebra.exp(left)))
    return None


def _parts(e: Expr) -> set[Expr]:
    return {coefficient(t)[1] for t in terms_of(e)}


def _multiples(a: Expr, exponent: Expr, most: Fraction) -> list[Fraction]:
    """How many times a is in an exponent beside most times its log-sum-exp."""
    own, one = coefficient(terms_of(a)[0]) if a is not ZERO else (Fraction(1), ZERO)
    found = [c / own for c, rest in map(coefficient, terms_of(exponent)) if rest is one]
    return [n for n in found if 0 < n <= most and n <= LARGEST_ROOT]


def _share_root(a: Expr, lse: Expr, n: Fraction) -> Term:
    """exp(n (a - L)), n no integer: the root of the exponential cannot underflow before its power does."""
    half, top = (mul(HALF, t) for t in (forms.element(a), forms.peak(lse)))
    return div(power(node("exp_diff", (half, top)), const(2 * n)), power(add(ONE_TERM, forms.rest(lse)), const(n)))


RULES: Sequence[RowRule] = (
    RowRule("of-ratio", "", "a function of the ratio of the two softmaxes alone, from which what sums to zero is taken",
            r"\textstyle\sum_k p_k g(v_k) = \sum_k p_k \left(g(v_k) - g'(0) (e^{v_k} - 1)\right), "
            r"\quad v_k = \log(q_k/p_k)",
            of_ratio),
    RowRule("power-of-ratio", "", "the sum is one and what the ratio of the two softmaxes adds to it",
            r"\log \textstyle\sum_k p_k^n q_k^{1-n} = \log(1 + \sum_k p_k (e^{(1-n) v_k} - 1)), "
            r"\quad v_k = \log(q_k/p_k)",
            power_of_ratio),
    RowRule("part-and-whole", "", "the classes in a set, and those outside it, each have one term of the two",
            r"p_k - q_k = (1 - w_k) p_k - q_k (1 - P), \quad q_k = w_k p_k / P, \; P = \textstyle\sum_j w_j p_j",
            part_and_whole),
    RowRule("onehot-split", "", "the class at the label and the other classes are told apart",
            r"\text{the class } k = y \text{ and the others, told apart}", onehot_split),
    RowRule("common-factor", "", "a factor of every term is taken out", r"\text{take out the common factor}",
            common_factor),
    RowRule("multiply-out", "", "multiplied out, terms are gone", r"s (u + v) - s v = s u", multiply_out),
    RowRule("complement", "", "1 - p is the share of the others: a sum of non-negative terms, not a difference",
            r"1 - p_k = \textstyle\sum_{j \ne k} p_j", complement),
    RowRule("partial-complement", "", "the part of p - 1 goes through the share of the others",
            r"p (c + r) - c = p\, r - c (1 - p)", partial_complement),
    RowRule("equal-shares", "", "both are means: each class is compared with the mean of all before it is divided",
            r"p_k - \tfrac1C = \frac{u_k - \bar u}{1 + r}, \quad u_k = e^{a_k - m} - 1", equal_shares),
    RowRule("parts-of-whole", "", "equal shares of the classes in a set: each class is compared with the mean of the "
            "set, and less by its part of what the others have",
            r"p_k - \tfrac1n = P\,(q_k - \tfrac1n) - \tfrac1n (1 - P), \quad q_k = w_k p_k / P, "
            r"\; P = \textstyle\sum_j w_j p_j", parts_of_whole),
    RowRule("half-split", "", "above one half the softmax is one minus the share of the others",
            r"p_k = 1 - \textstyle\sum_{j \ne k} p_j \text{ where } p_k > \tfrac12", half_split),
    RowRule("share-difference", "", "where both softmaxes exceed one half, what they lack is subtracted instead",
            r"p_k - q_k = (1 - q_k) - (1 - p_k)", share_difference),
    RowRule("square-from-mean", "", "the square is completed: what is left is the square of the mean",
            r"v_k^2 - 2 v_k \bar v = (v_k - \bar v)^2 - \bar v^2", square_from_mean),
    RowRule("weighted-mean", "", "measured from its mean, what is left has a small mean, and its rounding is nothing",
            r"a_k - \frac{\sum_j w_j a_j}{\sum_j w_j} = (a_k - m) - \frac{\sum_j w_j (a_j - m)}{\sum_j w_j}",
            weighted_mean),
    RowRule("centre", "", "measured from its mean, the mean of what is left is small: its rounding no longer matters",
            r"a_k - \textstyle\sum_j p_j a_j = (a_k - m) - \sum_j p_j (a_j - m)", centre),
    RowRule("centre-part", "", "what the softmax multiplies is measured from its mean, apart from the rest",
            r"q_k + p_k (a_k - \textstyle\sum_j p_j a_j + r) = p_k (a_k - \sum_j p_j a_j) + (q_k + p_k r)",
            centre_part),
    RowRule("unit-share", "", "the shares sum to one: what each lacks is added up, instead of taken from the whole",
            r"1 - \textstyle\sum_k p_k g_k = \sum_k p_k (1 - g_k)", unit_share),
    RowRule("nested", "", "what the one sum holds beyond the other is added up by itself",
            r"\log \textstyle\sum_j e^{b_j} - \log \sum_j w_j e^{b_j} = "
            r"\log(1 + \sum_j (1 - w_j) e^{b_j} / \sum_j w_j e^{b_j})",
            nested),
    RowRule("symmetric", "", "the two differences in a term have one sign; near equality both are those of the rows",
            r"\textstyle\sum_k (p_k - q_k)(a_k - b_k) = \sum_k p_k v_k (e^{v_k} - 1), \quad v_k = \log(q_k / p_k)",
            symmetric),
    RowRule("bregman", "both sum to one", "adding q - w, whose sum is zero, makes every term non-negative",
            r"\textstyle\sum_k (q_k - w_k) = 0 \text{ makes every term} \ge 0", bregman),
    RowRule("log-ratio", "", "two logarithms that may cancel are one logarithm of a ratio, unless the share underflows",
            r"\log w + \log \textstyle\sum_j e^{a_j} - a_k = \log(w / p_k)", log_ratio),
    RowRule("log-mean", "", "where all are near the largest, so is their mean: what they lack to it is averaged",
            r"\log \tfrac1C \textstyle\sum_j e^{a_j} = m + \log(1 - \tfrac1C \sum_j (1 - e^{a_j - m}))", log_mean),
    RowRule("power-sum", "", "the shares sum to one: what their powers lack is added up, where it is small",
            r"\log \textstyle\sum_k p_k^n = \log(1 - \sum_k p_k (1 - p_k^{n-1}))", power_sum),
    RowRule("max-balance", "", "the log-sum-exp is measured from its peak, and so is what it is compared with",
            r"\log \textstyle\sum_j e^{a_j} = m + \log(1 + r), \quad m = \max_j a_j", max_balance),
    RowRule("max-balance-sum", "", "the log-sum-exp and the weighted sum are both measured from the peak",
            r"W (m + \log(1 + r)) - \textstyle\sum_k w_k a_k = \sum_k w_k (m - a_k) + W \log(1 + r)", max_balance_sum),
    RowRule("variance", "", "squares of what differs from the mean are added up: no square is taken from another",
            r"\textstyle\sum_k p_k v_k^2 - (\sum_k p_k v_k)^2 = \sum_k p_k (v_k - \bar v)^2", variance),
    RowRule("angle", "", "two directions near each other: their difference is squared, where 1 less the cosine cancels",
            r"1 - \frac{a \cdot b}{|a| |b|} = \tfrac12 \left| \tfrac{a}{|a|} - \tfrac{b}{|b|} \right|^2", angle),
    RowRule("split-balance", "", "the log-sum-exp is shared out among what is taken from it",
            r"c L - k a = k (L - a) + (c - k) L", split_balance),
    RowRule("lse-split", "", "the largest term leaves the logarithm",
            r"\log \textstyle\sum_j e^{a_j} = m + \log(1 + r), \quad m = \max_j a_j", lse_split),
    RowRule("share", "", "the softmax relative to the peak: nothing overflows",
            r"e^{a_k} / \textstyle\sum_j e^{a_j} = e^{a_k - m} / (1 + r)", share),
)
