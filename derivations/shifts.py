"""The shift by the largest exponent: a formula rational in several exponentials, each over the largest of them.

e^u / (e^u + e^v + ..) overflows as it stands. With M the largest exponent, every e^u is e^M e^(u - M),
and e^M cancels or comes out in front: no exponential that is left exceeds 1. A number beside the
exponentials counts as e^0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce

from lossmith.derivations import terms
from lossmith.derivations.match import build
from lossmith.derivations.polynomial import Poly, Quotient, factors_of, monomials, write
from lossmith.derivations.terms import ONE, ZERO, Term, const, make, node

MOST = 5  # exponents that may take part
TERMS = 24  # terms of a factor that is written out


@dataclass(frozen=True)
class Shift:
    """The exponents u, their largest M, and e^(u - M) for each; `one` is e^-M where a number takes part."""

    exponents: tuple[Term, ...]
    largest: Term
    powers: Mapping[Term, Term]
    one: Term

    @staticmethod
    def of(exponents: tuple[Term, ...], with_number: bool) -> Shift:
        ends = (*exponents, ZERO) if with_number else exponents
        largest = reduce(lambda a, b: make("max", a, b), ends)
        powers = {u: node("exp_diff", (u, largest)) for u in exponents}
        return Shift(exponents, largest, powers, make("exp", terms.neg(largest)))


def shifted(q: Quotient) -> Iterator[Term]:
    """The quotient shifted by its largest exponent; nothing where too few or too many exponents take part."""
    places = [i for i, a in enumerate(q.atoms) if a.op == "exp"]
    if not places or q.top == 0:
        return
    exponents = tuple(q.atoms[i].args[0] for i in places)
    sides = [factors_of(q, p) for p in (q.top, q.bottom)]
    split = [[(_by_exponents(q, f, places), e) for f, e in found] for _, found in sides]
    everything = [f for side in split for f, _ in side]
    mixed = any(len({sum(k) for k in f}) > 1 for f in everything)
    if len(exponents) + mixed not in range(2, MOST + 1) or any(len(f) > TERMS for f in everything):
        return
    shift = Shift.of(exponents, mixed)
    degree = sum(e * max(map(sum, f)) * sign for side, sign in zip(split, (1, -1)) for f, e in side)
    top, bottom = (reduce(lambda a, b: build("mul", a, b), (_power(_factor(f, shift), e) for f, e in side), ONE)
                   for side in split)
    if degree:
        grown = make("exp", build("mul", const(abs(degree)), shift.largest))
        top, bottom = (build("mul", top, grown), bottom) if degree > 0 else (top, build("mul", bottom, grown))
    coefficient = sides[0][0] / sides[1][0]
    yield build("mul", const(coefficient), build("div", top, bottom))


def _by_exponents(q: Quotient, f: object, places: list[int]) -> dict[tuple[int, ...], Poly]:
    """A factor by the powers of its exponentials: what multiplies each."""
    out: dict[tuple[int, ...], Poly] = {}
    for powers, coefficient in monomials(f):
        key = tuple(powers[i] for i in places)
        rest = tuple((a, e) for i, (a, e) in enumerate(zip(q.atoms, powers)) if e and i not in places)
        out.setdefault(key, {})[rest] = coefficient
    return out


def _factor(f: Mapping[tuple[int, ...], Poly], shift: Shift) -> Term:
    """A factor with e^M taken out as often as its degree: terms of one sign first."""
    difference = _difference(f, shift)
    if difference is not None:
        return difference
    degree = max(map(sum, f))
    total: Term = ZERO
    parts = sorted(f.items(), key=lambda x: (_negative(x[1]), [-k for k in x[0]]))
    for powers, weight in parts:
        part = reduce(lambda a, b: build("mul", a, b),
                      (_power(shift.powers[u], k) for u, k in zip(shift.exponents, powers) if k), ONE)
        part = build("mul", part, _power(shift.one, degree - sum(powers)))
        turned = _negative(weight)
        written = write({m: -c for m, c in weight.items()} if turned else weight)
        total = build("sub" if turned else "add", total, build("mul", written, part))
    return total


def _difference(f: Mapping[tuple[int, ...], Poly], shift: Shift) -> Term | None:
    """e^u - e^v through expm1: near u = v the two cancel."""
    if len(f) != 2:
        return None
    (k1, w1), (k2, w2) = sorted(f.items(), key=lambda x: [-k for k in x[0]])
    numbers = list(w1), list(w2)
    if numbers != ([()], [()]) or w1[()] != -w2[()] or sum(k1) != 1 or sum(k2) > 1:
        return None
    u, v = (next((u for u, k in zip(shift.exponents, ks) if k), ZERO) for ks in (k1, k2))
    gap = build("sub", u, v)
    larger = make("max", u, v)
    front = ONE if larger is shift.largest else node("exp_diff", (larger, shift.largest))
    size = terms.neg(make("expm1", terms.neg(make("abs", gap))))
    return build("mul", const(w1[()]), build("mul", front, build("mul", make("sign", gap), size)))


def _negative(p: Poly) -> bool:
    return all(c < 0 for c in p.values())


def _power(base: Term, k: int) -> Term:
    return build("mul", base, base) if k == 2 else terms.power(base, const(Fraction(k)))
