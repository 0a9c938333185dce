"""Complements: the monomials of a sum in pairs M - M*a, each written M*(1 - a).

Multiplying out a weight's complement spreads it over two monomials, which cancel where the weight
is near one. There may be several ways to pair what a sum holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from lossmith.derivations import terms
from lossmith.derivations.polynomial import Monomial, Poly, TooLargeError, canon, collect, write
from lossmith.derivations.terms import ONE, ZERO, Term, const, make, walk

LEAST, MOST = 3, 10  # monomials of a sum that is grouped
SUMS, WAYS = 3, 4  # sums of a term that are looked at, and ways of pairing that are written
Pair = tuple[Monomial, Monomial, Term]  # m, m*a and a


def grouped(term: Term) -> Iterator[Term]:
    """The term with one of its sums in pairs, for each of the ways that pair the most of it; then with all of them."""
    tried, first = 0, dict[Term, Term]()
    below = {a for t in walk(term) if t.op in ("add", "sub") for a in t.args if a.op in ("add", "sub")}
    for t in walk(term):
        if t.op not in ("add", "sub") or t in below:
            continue
        try:
            p = canon(t)
        except TooLargeError:
            continue
        if not LEAST <= len(p) <= MOST:
            continue
        tried += 1
        if tried > SUMS:
            break
        for pairs in _pairings(p, set(walk(t))):
            made = _written(p, pairs)
            if made is not t:
                first.setdefault(t, made)
                yield terms.replace(term, {t: made})
    if len(first) > 1:
        yield terms.replace(term, first)


def _pairings(p: Poly, seen: set[Term]) -> list[list[Pair]]:
    """The largest sets of pairs that share no monomial, in a fixed order. seen: exponentials as they were written."""
    edges = [(m, n, a) for m in p for n in p if p[m] == -p[n] and (a := _quotient(n, m)) is not None
             and (a.op != "exp" or a in seen or _opposite(a) not in seen)]
    best: list[list[Pair]] = []

    def extend(chosen: list[Pair], taken: frozenset[Monomial], start: int) -> None:
        if chosen and (not best or len(chosen) > len(best[0])):
            best[:] = [list(chosen)]
        elif chosen and len(chosen) == len(best[0]) and len(best) < WAYS:
            best.append(list(chosen))
        for i in range(start, len(edges)):
            m, n, _ = edges[i]
            if m not in taken and n not in taken:
                extend([*chosen, edges[i]], taken | {m, n}, i + 1)

    extend([], frozenset(), 0)
    return best


def _quotient(n: Monomial, m: Monomial) -> Term | None:
    """n / m where that is one atom, or one exponential over another."""
    powers = dict(n)
    for a, e in m:
        powers[a] = powers.get(a, 0) - e
    left = [(a, e) for a, e in powers.items() if e]
    if len(left) == 1 and left[0][1] == 1:
        return left[0][0]
    if len(left) == 1 and left[0][1] == -1 and left[0][0].op == "exp":
        return _opposite(left[0][0])
    if len(left) == 2 and all(a.op == "exp" for a, _ in left) and sorted(e for _, e in left) == [-1, 1]:
        above, below = sorted(left, key=lambda x: -x[1])
        return make("exp", collect(terms.sub(above[0].args[0], below[0].args[0])))
    return None


def _opposite(a: Term) -> Term:
    """exp(-u) of exp(u)."""
    return make("exp", terms.neg(a.args[0]))


def _written(p: Poly, pairs: list[Pair]) -> Term:
    """The pairs first, each under its sign, then what is left."""
    rest = dict(p)
    total: Term = ZERO
    for m, n, a in pairs:
        c = rest.pop(m)
        del rest[n]
        total = _plus(total, c, terms.mul(write({m: Fraction(1)}), terms.sub(ONE, a)))
    for m, c in rest.items():
        total = _plus(total, c, write({m: Fraction(1)}))
    return total


def _plus(total: Term, c: Fraction, part: Term) -> Term:
    part = terms.mul(const(abs(c)), part)
    return terms.add(total, part) if c > 0 else terms.sub(total, part)
