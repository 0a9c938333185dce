"""Regimes: two or three forms, each where it is good, split where a simple number allows it.

For each quantity that may decide (inputs, their sizes, their differences) the points are sorted by
it; running maxima of each candidate's error from both ends give the best pair for every cut.
Pieces are charged for, and a piece must hold enough points to be more than luck.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from lossmith.derivations.measure import Judge
from lossmith.derivations.terms import Term, const, make, show, sub, var, walk
from lossmith.derivations.ulp import Doubles

if TYPE_CHECKING:
    from lossmith.derivations.beam import Candidate, Search

Places = npt.NDArray[Any]
LEAST = 14  # points that a piece must hold
PER_COST = 0.003  # bits that a unit of a piece's cost weighs
PER_MOVE = 8.0  # units of cost that a step of a piece's derivation weighs
ENOUGH = 2.0  # ulp below which the cheaper piece wins
PER_PIECE = 0.6  # bits that one more piece must gain
QUANTITIES = 16
BEYOND = 2.0  # in the weighing of errors, what is beyond the target starts here
INNER = frozenset({"exp", "expm1", "log1p", "softplus", "sigmoid", "log1pmx", "sinh"})
LEADERS, COVERERS = 160, 60  # candidates that take part: the best by score, and the best by what they cover
SIMPLE = tuple(Fraction(x) for x in ("0", "1", "-1", "1/2", "-1/2", "2", "-2", "1/4", "-1/4", "4", "1/10", "-1/10", "8",
                                     "10", "-10", "16", "1/100", "30", "64", "1/1000", "100"))
PLAIN = frozenset({"add", "sub", "mul", "div", "neg", "var", "const"})


@dataclass(frozen=True)
class Spot:
    """A cut: below `value` (`lt`) or up to it (`le`), and how far from simple the number is."""

    value: Fraction
    op: str
    rank: float

    def test(self, quantity: Term) -> Term:
        return make(self.op, quantity, const(self.value))


@dataclass(frozen=True)
class Piecewise:
    """Forms by the value of `quantity`: the first up to the first spot, and so on."""

    quantity: Term
    spots: tuple[Spot, ...]
    candidates: tuple[Candidate, ...]
    within: bool
    rank: float

    @property
    def simple(self) -> bool:
        """One cut, at a number that a person would choose."""
        return len(self.spots) == 1 and self.spots[0].rank < 1

    def place(self, judge: Judge) -> Places:
        """Which piece each point of a judge belongs to."""
        below = [np.broadcast_to(np.asarray(judge.evaluator(s.test(self.quantity)), dtype=bool), judge.truth.shape)
                 for s in self.spots]
        return np.asarray(np.sum(~np.array(below), axis=0))

    def join(self, pieces: Sequence[Term]) -> Term:
        """One term from a form for each piece."""
        out = pieces[-1]
        for spot, piece in reversed(list(zip(self.spots, pieces))):
            out = make("where", spot.test(self.quantity), piece, out)
        return out

    def words(self) -> str:
        return "split where " + " and where ".join(show(s.test(self.quantity)) for s in self.spots)

    def latex(self) -> str:
        return rf"\text{{one form on either side of }} {', '.join(str(s.value) for s in self.spots)}"


def quantities(judge: Judge, candidates: Sequence[Candidate]) -> dict[Term, float]:
    """What a split may look at, and how far from simple it is: inputs and their sizes first, then their
    differences and ratios, then what the formula itself forms."""
    inputs = [var(n) for n in judge.env]
    found: dict[Term, float] = dict.fromkeys(inputs, 0.0)
    found.update({make("abs", v): 0.05 for v, c in zip(inputs, judge.env.values()) if c.min() < 0 < c.max()})
    if len(inputs) == 1:
        return found
    if len(inputs) <= 3:
        for a, b in itertools.combinations(inputs, 2):
            for q in (sub(a, b), make("abs", sub(a, b))):
                found.setdefault(q, 0.1)
    parts = [t for t in walk(judge.definition) if t.op in ("div", "sub", "add", "mul") and t.size <= 7]
    for t in parts:
        if all(s.op in PLAIN for s in walk(t)):
            for q in (t, make("abs", t)):
                found.setdefault(q, 0.3)
    for c in candidates[:4]:
        for t in walk(c.term):
            if t.op in INNER and t.args[0].size <= 9 and all(s.op in PLAIN for s in walk(t.args[0])):
                u = t.args[0].args[0] if t.args[0].op == "neg" else t.args[0]
                for q in (u, make("abs", u)):
                    found.setdefault(q, 0.6)
    return dict([(q, r) for q, r in found.items() if q.op != "const"][:QUANTITIES])


def simplest(low: float, high: float) -> Spot | None:
    """The simplest number that separates low from high; None in a gap that holds no simple one."""
    for i, (value, exact) in enumerate(_SIMPLE):
        if low < value <= high:
            return Spot(exact, "lt", 0.03 * i)
        if low == value:
            return Spot(exact, "le", 0.03 * i)
    if low < 0 < high or not (math.isfinite(low) and math.isfinite(high)):
        return None
    for value, exact in _POWERS:
        if low < value <= high:
            return Spot(exact, "lt", 1.2)
    for digits in range(1, 4):
        text = f"{(low + high) / 2:.{digits}g}"
        if low < float(text) <= high and 1e-9 < abs(float(text)) < 1e9:
            return Spot(Fraction(text), "lt", 1.0 + 0.5 * digits)
    return None


# Comparing floats is exact here and many times faster than comparing a float with a Fraction.
_SIMPLE = tuple((float(v), v) for v in SIMPLE)
_POWERS = tuple((s * 2.0**e, s * Fraction(2) ** e) for e in range(-30, 31) for s in (1, -1))


def best_split(search: Search, without: str = "") -> Piecewise | None:
    """The best two or three pieces, if they beat every single form by more than they are charged.

    without: the name of a step; candidates with such a step are left out.
    """
    judge = search.judge
    pool = [c for c in _taking_part(search) if all(m.name != without for m in c.moves)]
    if not pool:
        return None
    table = np.array([_weighed(search.errors(c), search.target) for c in pool])
    costs = np.array([PER_COST * (c.cost + PER_MOVE * len(c.moves)) for c in pool])
    single = float((table.max(axis=1) + costs).min())
    best: Piecewise | None = None
    for quantity, rank in quantities(judge, pool).items():
        if search.budget.late():
            break
        value = np.broadcast_to(judge.evaluator(quantity), judge.truth.shape)
        if np.isnan(value).any():
            continue
        found = _Sorted(quantity, rank, value, table, costs, pool).best()
        if found is not None and (best is None or found.rank < best.rank):
            best = found
    return best if best is not None and best.rank < single - PER_PIECE else None


def _weighed(errors: Doubles, target: float) -> Doubles:
    """Errors as bits: little within the target, where cheapness and simplicity decide, much beyond it."""
    lost = np.log2(1 + np.maximum(errors, ENOUGH))
    allowed = math.log2(1 + target)
    return np.asarray(np.where(lost > allowed, 2.0 + lost - allowed, 0.25 * lost), dtype=np.float64)


def _taking_part(search: Search) -> list[Candidate]:
    """The best by score, then those that together hold at the most points."""
    everyone = sorted(search.pool.values(), key=lambda c: c.score)
    leaders, rest = everyone[:LEADERS], everyone[LEADERS:]
    if not rest:
        return leaders
    held = np.array([search.errors(c) <= search.target for c in rest])
    covers = np.argsort(-held.sum(axis=1), kind="stable")[:COVERERS]
    missing = ~np.any([search.errors(c) <= search.target for c in leaders], axis=0)
    new = np.argsort(-(held & missing).sum(axis=1), kind="stable")[: COVERERS // 2]
    return leaders + [rest[i] for i in dict.fromkeys([*covers.tolist(), *new.tolist()])]


class _Sorted:
    """The points in the order of one quantity, and each candidate's worst error from either end."""

    def __init__(self, quantity: Term, rank: float, value: Doubles, table: Doubles, costs: Doubles,
                 pool: list[Candidate]) -> None:
        order = np.argsort(value, kind="stable")
        self.quantity, self.rank, self.pool, self.costs = quantity, rank, pool, costs
        self.value, self.lost = value[order], table[:, order]
        cuts = np.nonzero(self.value[1:] > self.value[:-1])[0] + 1
        self.spots: dict[int, Spot] = {}
        for cut in cuts[(cuts >= LEAST) & (cuts <= len(value) - LEAST)].tolist():
            spot = simplest(float(self.value[cut - 1]), float(self.value[cut]))
            if spot is not None:
                self.spots[cut] = spot
        self.left = np.maximum.accumulate(self.lost, axis=1) + costs[:, None]
        self.right = np.maximum.accumulate(self.lost[:, ::-1], axis=1)[:, ::-1] + costs[:, None]

    def best(self) -> Piecewise | None:
        """Two pieces if they do, else the better of two and three."""
        if not self.spots:
            return None
        two = self._two()
        if two is not None and two.within:
            return two
        three = self._three()
        found = [p for p in (two, three) if p is not None]
        return min(found, key=lambda p: p.rank) if found else None

    def _joined(self, chosen: tuple[int, ...], cuts: tuple[int, ...], bits: float) -> Piecewise | None:
        if len(set(chosen)) == 1:
            return None
        ends = (0, *cuts, self.lost.shape[1])
        worst = [float(self.lost[c, a:b].max()) for c, a, b in zip(chosen, ends, ends[1:])]
        spots = tuple(self.spots[c] for c in cuts)
        spent = sum(float(self.costs[c]) for c in chosen)
        rank = max(worst) + spent + 0.3 * sum(s.rank for s in spots) + self.rank + PER_PIECE * (len(cuts) - 1)
        return Piecewise(self.quantity, spots, tuple(self.pool[c] for c in chosen), max(worst) < BEYOND, rank)

    def _two(self) -> Piecewise | None:
        best: Piecewise | None = None
        for cut in self.spots:
            chosen = int(self.left[:, cut - 1].argmin()), int(self.right[:, cut].argmin())
            bits = max(float(self.left[chosen[0], cut - 1]), float(self.right[chosen[1], cut]))
            found = self._joined(chosen, (cut,), bits)
            if found is not None and (best is None or found.rank < best.rank):
                best = found
        return best

    def _three(self) -> Piecewise | None:
        """Simple first cuts before others; the middle piece's maxima run forward from each."""
        first_cuts = sorted(self.spots, key=lambda c: (self.spots[c].rank, c))[:36]
        best_left, best_right = self.left.min(axis=0), self.right.min(axis=0)
        best: tuple[float, int, int] | None = None
        for first in first_cuts:
            middle = np.maximum.accumulate(self.lost[:, first:], axis=1) + self.costs[:, None]
            lowest = middle.min(axis=0)
            for second, spot in self.spots.items():
                if second >= first + LEAST:
                    bits = max(best_left[first - 1], lowest[second - first - 1], best_right[second])
                    rank = float(bits) + 0.3 * (self.spots[first].rank + spot.rank)
                    if best is None or rank < best[0]:
                        best = rank, first, second
        if best is None:
            return None
        _, first, second = best
        inside = self.lost[:, first:second].max(axis=1) + self.costs
        chosen = int(self.left[:, first - 1].argmin()), int(inside.argmin()), int(self.right[:, second].argmin())
        bits = max(float(best_left[first - 1]), float(inside.min()), float(best_right[second]))
        return self._joined(chosen, (first, second), bits)
