"""What relations between arguments say of a term's range: facts, as polynomials that are not negative.

`x > y` says that x - y > 0, and with that the range of every node that is a multiple of x - y plus
something whose range is known: 2*y - 2*x, x - y + 1, and 1 - x where x + y <= 1 and y >= 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from lossmith.derivations.polynomial import Monomial, Poly, canon
from lossmith.derivations.terms import Term, sub

Range = tuple[float, float]
MOST = 24  # facts that are kept, those that follow from two others counted in
SHORT = 4  # monomials beyond the fact's own, in what is compared with it
_READ = frozenset({"sub", "add", "gap", "neg", "mul", "div", "var"})


@dataclass(frozen=True)
class Fact:
    """A polynomial that is >= 0, or > 0 where `strict`."""

    items: tuple[tuple[Monomial, Fraction], ...]
    strict: bool

    @property
    def poly(self) -> Poly:
        return dict(self.items)


@lru_cache(maxsize=64)
def facts(given: tuple[Term, ...]) -> tuple[Fact, ...]:
    """The facts that relations state, and those that two of them give together (x > y > z: x > z)."""
    found: list[Fact] = []
    for relation in _conjuncts(given):
        if relation.op in ("gt", "ge", "lt", "le"):
            a, b = relation.args if relation.op in ("gt", "ge") else relation.args[::-1]
            found.append(Fact(tuple(canon(sub(a, b)).items()), relation.op in ("gt", "lt")))
    stated = len(found)
    for i in range(stated):
        for j in range(i + 1, stated):
            both = _combined(found[i].poly, found[j].poly, Fraction(1))
            shorter = len(both) < len(found[i].items) + len(found[j].items)
            if shorter and any(both) and len(found) < MOST:
                found.append(Fact(tuple(both.items()), found[i].strict or found[j].strict))
    return tuple(f for f in found if any(f.poly))


def _conjuncts(given: Sequence[Term]) -> list[Term]:
    out: list[Term] = []
    for relation in given:
        out += _conjuncts(relation.args) if relation.op == "and" else [relation]
    return out


def _combined(p: Poly, q: Poly, factor: Fraction) -> Poly:
    """p + factor * q."""
    out = dict(p)
    for m, c in q.items():
        total = out.get(m, Fraction(0)) + factor * c
        if total:
            out[m] = total
        else:
            out.pop(m, None)
    return out


def narrowed(t: Term, known: Range, stated: Sequence[Fact], range_of: Callable[[Term], Range | None]) -> Range:
    """The range of a node, cut to what the facts say. `range_of`: the range of an atom, where it is known."""
    if t.op not in _READ or t.sort != "scalar":
        return known
    low, high = known
    if t.op == "div":
        below = range_of(t.args[1])
        if below is None or below[0] <= 0:
            return known
        over = _bounds(canon(sub(t.args[0], t.args[1])), stated, range_of)
        return (max(low, 1.0) if over[0] >= 0 else low), (min(high, 1.0) if over[1] <= 0 else high)
    found = _bounds(canon(t), stated, range_of)
    return max(low, found[0]), min(high, found[1])


def _bounds(p: Poly, stated: Sequence[Fact], range_of: Callable[[Term], Range | None]) -> Range:
    low, high = -math.inf, math.inf
    for fact in stated:
        q = fact.poly
        shared = next((m for m in q if m and m in p), None)
        if shared is None or len(p) > len(q) + SHORT:
            continue
        factor = p[shared] / q[shared]
        rest = _range_of_linear(_combined(p, q, -factor), range_of)
        if rest is None:
            continue
        # An open end at zero is the nearest number inside, as in `ranges`.
        edge = math.ulp(0.0) if fact.strict else 0.0
        if factor > 0:
            low = max(low, rest[0] or edge)
        else:
            high = min(high, rest[1] or -edge)
    return low, high


def _range_of_linear(rest: Mapping[Monomial, Fraction], range_of: Callable[[Term], Range | None]) -> Range | None:
    """The range of a sum of multiples of single atoms; None where it is not that, or reaches both infinities."""
    low = high = 0.0
    for monomial, factor in rest.items():
        if not monomial:
            parts = [float(factor)] * 2
        elif len(monomial) == 1 and monomial[0][1] == 1:
            atom = range_of(monomial[0][0])
            if atom is None:
                return None
            parts = sorted(float(factor) * end for end in atom)
        else:
            return None
        low, high = low + parts[0], high + parts[1]
    if math.isnan(low) or math.isnan(high):
        return None
    exact = all(not m for m in rest) and all(Fraction(float(c)) == c for c in rest.values())
    return (low, high) if exact or (low, high) == (0.0, 0.0) else (_outward(low, -1), _outward(high, 1))


def _outward(end: float, sign: int) -> float:
    return end if end == 0 or math.isinf(end) else math.nextafter(end, sign * math.inf)
