"""Regimes: two or three forms, each where it is good, split where a simple number allows it.

For each quantity that may decide (inputs, their sizes, their differences) the points are sorted by
it; running maxima of each candidate's error from both ends give the best pair for every cut.
Pieces are charged for, and a piece must hold enough points to be more than luck.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from lossmith.derivations.measure import Judge
from lossmith.derivations.terms import Term, const, make, show, sub, var, walk
from lossmith.derivations.ulp import Doubles

if TYPE_CHECKING:
    from lossmith.derivations.search import Candidate, Search

LEAST = 12  # points that a piece must hold
PER_COST = 0.003  # bits that a unit of a piece's cost weighs
PER_PIECE = 0.3  # bits that one more piece must gain
POOL = 240  # candidates that take part
SIMPLE = tuple(Fraction(x) for x in ("0", "1", "-1", "1/2", "-1/2", "2", "-2", "1/4", "-1/4", "4", "1/10", "-1/10", "8",
                                     "10", "-10", "16", "1/100", "30", "64", "1/1000", "100"))


@dataclass(frozen=True)
class Piecewise:
    """Forms by the value of `quantity`: the first where it is below the first threshold, and so on."""

    quantity: Term
    thresholds: tuple[Fraction, ...]
    candidates: tuple[Candidate, ...]
    ulp: float
    rank: float

    def join(self, pieces: Sequence[Term]) -> Term:
        """One term from a form for each piece."""
        out = pieces[-1]
        for threshold, piece in reversed(list(zip(self.thresholds, pieces))):
            out = make("where", make("lt", self.quantity, const(threshold)), piece, out)
        return out

    def words(self) -> str:
        return f"split where {show(self.quantity)} is {' and '.join(str(t) for t in self.thresholds)}"

    def latex(self) -> str:
        return rf"\text{{{self.words()}}}"


def quantities(judge: Judge, candidates: Sequence[Candidate]) -> list[Term]:
    """What a split may look at."""
    names = list(judge.env)
    found = [var(n) for n in names]
    found += [make("abs", var(n)) for n in names if judge.env[n].min() < 0 < judge.env[n].max()]
    if len(names) <= 3:
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1:]]
        for a, b in pairs:
            found += [sub(var(a), var(b)), make("abs", sub(var(a), var(b)))]
    inner = [t for t in walk(judge.definition) if t.op in ("div", "sub", "add", "mul") and t.size <= 7]
    found += [q for t in inner if _plain(t) for q in (t, make("abs", t))]
    for c in candidates[:4]:
        for t in walk(c.term):
            if t.op in ("exp", "expm1", "log1p", "softplus", "sigmoid", "log1pmx", "sinh") and t.args[0].size <= 9:
                u = t.args[0].args[0] if t.args[0].op == "neg" else t.args[0]
                found += [u, make("abs", u)]
    return [q for q in dict.fromkeys(found) if q.op != "const"][:16]


def _plain(term: Term) -> bool:
    return all(t.op in ("add", "sub", "mul", "div", "neg", "var", "const") for t in walk(term))


def simplest(low: float, high: float) -> tuple[Fraction, float] | None:
    """The simplest number in (low, high], and how far from simple it is; None in a narrow gap."""
    for i, value in enumerate(SIMPLE):
        if low < float(value) <= high:
            return value, 0.05 * i
    if low < 0 < high or not (math.isfinite(low) and math.isfinite(high)):
        return None
    for exponent in range(-30, 31):
        for sign in (1, -1):
            value = sign * Fraction(2) ** exponent
            if low < float(value) <= high:
                return value, 1.2
    middle = (low + high) / 2
    for digits in range(1, 5):
        value = Fraction(f"{middle:.{digits}g}")
        if low < float(value) <= high:
            return value, 1.0 + 0.5 * digits
    return None


def best_split(search: Search) -> Piecewise | None:
    """The best two or three pieces, if they beat every single form by more than they are charged."""
    judge = search.judge
    pool = sorted(search.pool.values(), key=lambda c: c.score)[:POOL]
    table = np.array([np.log2(1 + (2.0**c.bits - 1) / search.allowance) for c in pool])
    costs = np.array([PER_COST * c.cost for c in pool])
    single = float((table.max(axis=1) + costs).min())
    best: Piecewise | None = None
    for quantity in quantities(judge, pool):
        value = np.broadcast_to(judge.evaluator(quantity), judge.truth.shape)
        if np.isnan(value).any():
            continue
        for found in _pieces(quantity, value, table, costs, pool):
            if best is None or found.rank < best.rank:
                best = found
    return best if best is not None and best.rank < single - PER_PIECE else None


def _pieces(quantity: Term, value: Doubles, table: Doubles, costs: Doubles, pool: list[Candidate]) -> list[Piecewise]:
    order = np.argsort(value, kind="stable")
    v, e = value[order], table[:, order]
    cuts = np.nonzero(v[1:] > v[:-1])[0] + 1
    cuts = cuts[(cuts >= LEAST) & (cuts <= len(v) - LEAST)]
    if not len(cuts):
        return []
    left = np.maximum.accumulate(e, axis=1) + costs[:, None]
    right = np.maximum.accumulate(e[:, ::-1], axis=1)[:, ::-1] + costs[:, None]
    best_left, best_right = left.min(axis=0), right.min(axis=0)
    out: list[Piecewise] = []
    totals = np.maximum(best_left[cuts - 1], best_right[cuts])
    for j in np.argsort(totals, kind="stable")[:40]:
        cut = int(cuts[j])
        spot = simplest(float(v[cut - 1]), float(v[cut]))
        if spot is not None:
            chosen = (pool[int(left[:, cut - 1].argmin())], pool[int(right[:, cut].argmin())])
            if chosen[0] is not chosen[1]:
                ulp = 2.0 ** float(max(e[pool.index(chosen[0]), :cut].max(), e[pool.index(chosen[1]), cut:].max())) - 1
                out.append(Piecewise(quantity, (spot[0],), chosen, ulp, float(totals[j]) + spot[1] * 0.3))
    if out and min(p.rank for p in out) < 2.4:
        return out
    return out + _three(quantity, v, e, costs, cuts, left, right, pool)


def _three(quantity: Term, v: Doubles, e: Doubles, costs: Doubles, cuts: Doubles, left: Doubles, right: Doubles,
           pool: list[Candidate]) -> list[Piecewise]:
    best_left, best_right = left.min(axis=0), right.min(axis=0)
    spots = {int(c): simplest(float(v[c - 1]), float(v[c])) for c in cuts}
    usable = [c for c, spot in spots.items() if spot is not None]
    out: list[Piecewise] = []
    for first in usable[:: max(1, len(usable) // 40)]:
        middle = np.maximum.accumulate(e[:, first:], axis=1) + costs[:, None]
        lowest = middle.min(axis=0)
        for second in usable:
            if second < first + LEAST:
                continue
            total = max(best_left[first - 1], lowest[second - first - 1], best_right[second])
            one, two = spots[first], spots[second]
            assert one is not None and two is not None
            rank = float(total) + 0.3 * (one[1] + two[1]) + PER_PIECE
            if not out or rank < out[-1].rank:
                chosen = (int(left[:, first - 1].argmin()), int(middle[:, second - first - 1].argmin()),
                          int(right[:, second].argmin()))
                worst = max(e[chosen[0], :first].max(), e[chosen[1], first:second].max(), e[chosen[2], second:].max())
                out.append(Piecewise(quantity, (one[0], two[0]), tuple(pool[c] for c in chosen), 2.0 ** float(worst) - 1,
                                     rank))
    return out[-1:]



