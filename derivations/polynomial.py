"""The canonical form that comparing needs: polynomials over opaque atoms, and quotients of them.

Used to decide whether two bindings of a pattern variable are the same value, to collect what a
rewrite leaves behind, and to bring a formula over one denominator. Stable forms are never passed
through here as a whole without being measured afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import flint
from lossmith.derivations import terms
from lossmith.derivations.terms import COMMUTATIVE, ONE, ZERO, Term, const, is_const, kept_by_id, node, number

Monomial = tuple[tuple[Term, int], ...]
Poly = dict[Monomial, Fraction]
PRODUCTS = 48  # a product of more terms than this stays opaque: comparing must stay cheap
LARGE = 600  # the most terms of a quotient's numerator or denominator
COLLECTED = 150  # a larger term is not brought over one denominator to be collected
EXPONENT = 12  # the highest power that is multiplied out or divided out of an exponential


class TooLargeError(Exception):
    """An expansion that is not worth its size; the caller keeps the term as it is."""


_ordered: dict[int, Term] = kept_by_id({})


def ordered(term: Term) -> Term:
    """The term with the arguments of a + b, a * b, max(a, b).. in key order: equal for terms that round alike."""
    found = _ordered.get(term.id)
    if found is None:
        args = [ordered(a) for a in term.args]
        if term.op in COMMUTATIVE:
            args.sort(key=lambda a: a.key)
        if term.op == "abs" and args[0].op == "sub":
            args = [node("sub", tuple(sorted(args[0].args, key=lambda a: a.key)))]
        found = node(term.op, tuple(args), term.value) if args else term
        _ordered[term.id] = found
    return found


_unordered: dict[int, bytes] = kept_by_id({})


def unordered(term: Term) -> bytes:
    """A key of the term that sums and products share which differ in the order of their parts alone.

    A digest, as long for a deep term as for a leaf: written out, what is shared would be written again and again.
    """
    found = _unordered.get(term.id)
    if found is None:
        if term.op in ("add", "sub", "neg"):
            parts: tuple[object, ...] = ("sum", *_sorted_parts(_flat(term, ("add", "sub", "neg"))))
        elif term.op in ("mul", "div"):
            parts = ("product", *_sorted_parts(_flat(term, ("mul", "div"))))
        else:
            parts = (term.op, str(term.value), *(unordered(a) for a in term.args))
        found = _unordered[term.id] = hashlib.sha256(repr(parts).encode()).digest()
    return found


def _flat(term: Term, ops: tuple[str, ...], sign: int = 1) -> list[tuple[int, Term]]:
    if term.op not in ops:
        return [(sign, term)]
    last = -sign if term.op in ("sub", "div", "neg") else sign
    return [*(p for a in term.args[:-1] for p in _flat(a, ops, sign)), *_flat(term.args[-1], ops, last)]


def _sorted_parts(parts: list[tuple[int, Term]]) -> list[tuple[int, bytes]]:
    return sorted((s, unordered(a)) for s, a in parts)


def _atom(term: Term, exponent: int = 1) -> Poly:
    return {((ordered(term), exponent),): Fraction(1)}


def _plus(p: Poly, q: Poly, sign: int = 1) -> Poly:
    out = dict(p)
    for m, c in q.items():
        total = out.get(m, Fraction(0)) + sign * c
        if total:
            out[m] = total
        else:
            out.pop(m, None)
    return out


def _monomial(powers: Mapping[Term, int]) -> Monomial:
    return tuple(sorted(((a, e) for a, e in powers.items() if e), key=lambda x: x[0].key))


def _times(p: Poly, q: Poly) -> Poly:
    if len(p) * len(q) > PRODUCTS:
        raise TooLargeError
    out: Poly = {}
    for m1, c1 in p.items():
        for m2, c2 in q.items():
            _put(out, _joined(m1, m2), c1 * c2)
    return _without_roots(out)


def _put(p: Poly, m: Monomial, c: Fraction) -> None:
    """Add one monomial to a polynomial that nobody else holds."""
    total = p.get(m, 0) + c
    if total:
        p[m] = total
    else:
        del p[m]


def _joined(m1: Monomial, m2: Monomial) -> Monomial:
    if not m1 or not m2:
        return m1 or m2
    powers = dict(m1)
    for a, e in m2:
        powers[a] = powers.get(a, 0) + e
    return _monomial(powers)


def _without_roots(p: Poly) -> Poly:
    """sqrt(A) ** 2 replaced by A."""
    if all(a.op != "sqrt" or e < 2 for m in p for a, e in m):
        return p
    out: Poly = {}
    for m, c in p.items():
        root = next((a for a, e in m if a.op == "sqrt" and e >= 2), None)
        if root is None:
            _put(out, m, c)
            continue
        powers = dict(m)
        powers[root] -= 2
        for n, d in _times({_monomial(powers): c}, canon(root.args[0])).items():
            _put(out, n, d)
    return out


_canon: dict[int, Poly] = kept_by_id({})


def canon(term: Term) -> Poly:
    """`term` as a polynomial with rational coefficients over opaque atoms (never mutate the answer)."""
    found = _canon.get(term.id)
    if found is None:
        try:
            found = _expand(term)
        except TooLargeError:
            found = _atom(term)
        _canon[term.id] = found
    return found


def _expand(t: Term) -> Poly:
    if t.op == "const":
        return {(): number(t)} if number(t) else {}
    if t.op in ("add", "sub"):
        return _plus(canon(t.args[0]), canon(t.args[1]), 1 if t.op == "add" else -1)
    if t.op == "neg":
        return {m: -c for m, c in canon(t.args[0]).items()}
    if t.op == "mul":
        return _times(canon(t.args[0]), canon(t.args[1]))
    if t.op == "div":
        below = canon(t.args[1])
        if len(below) != 1:
            return _times(canon(t.args[0]), _atom(t.args[1], -1))
        ((m, c),) = below.items()
        return _times(canon(t.args[0]), {tuple((a, -e) for a, e in m): 1 / c})
    if t.op == "pow":
        return _power(t)
    if t.op == "exp":
        return _exponential(t)
    return _atom(t)


plus, times = _plus, _times  # for coefficients that are sums of constants (constants.py)


def _power(t: Term) -> Poly:
    base, exponent = t.args
    if not is_const(exponent) or number(exponent).denominator != 1 or abs(number(exponent)) > EXPONENT:
        return _atom(t)
    n = int(number(exponent))
    p = canon(base)
    if n < 0:
        if len(p) != 1:
            return _atom(base, n)
        ((m, c),) = p.items()
        return {tuple((a, e * n) for a, e in m): c**n}
    if n > 4 and len(p) > 1:
        return _atom(base, n)
    out: Poly = {(): Fraction(1)}
    for _ in range(n):
        out = _times(out, p)
    return out


def _exponential(t: Term) -> Poly:
    """exp(k u) as exp(u) ** k, u primitive with a positive leading coefficient."""
    p = canon(t.args[0])
    if not p or any(c.denominator != 1 for c in p.values()):
        return _atom(t)
    k = math.gcd(*(int(c) for c in p.values()))
    if _sorted(p)[0][1] < 0:
        k = -k
    if abs(k) > EXPONENT:
        return _atom(t)
    return {((ordered(terms.make("exp", write({m: c / k for m, c in p.items()}))), k),): Fraction(1)}


def _rank(m: Monomial) -> tuple[object, ...]:
    return (sum(abs(e) for _, e in m), tuple((a.key, e) for a, e in m))


def _sorted(p: Poly) -> list[tuple[Monomial, Fraction]]:
    return sorted(p.items(), key=lambda x: _rank(x[0]))


def same(a: Term, b: Term) -> bool:
    """Whether two terms have one canonical form (equal as polynomials over their atoms)."""
    return a is b or canon(a) == canon(b)


def _raised(atom: Term, e: int) -> Term:
    if atom.op == "exp":
        return terms.make("exp", write({m: c * e for m, c in canon(atom.args[0]).items()}))
    return terms.power(atom, const(e))


def _product(powers: Mapping[Term, int]) -> tuple[Term, Term]:
    """Numerator and denominator of a monomial; the exponentials become one."""
    top, bottom = ONE, ONE
    exponent: Poly = {}
    for atom, e in sorted(powers.items(), key=lambda x: x[0].key):
        if atom.op == "exp":
            exponent = _plus(exponent, {m: c * e for m, c in canon(atom.args[0]).items()})
        elif e > 0:
            top = terms.mul(top, _raised(atom, e))
        else:
            bottom = terms.mul(bottom, _raised(atom, -e))
    if exponent:
        top = terms.mul(top, terms.make("exp", write(exponent)))
    return top, bottom


def _shared(p: Poly) -> dict[Term, int]:
    """The powers common to every monomial; a negative power is common as soon as one has it."""
    low: dict[Term, int] = {}
    count: dict[Term, int] = {}
    for m, _ in _sorted(p):
        for a, e in m:
            low[a] = min(low.get(a, e), e)
            count[a] = count.get(a, 0) + 1
    return {a: e for a, e in low.items() if e < 0 or count[a] == len(p)}


def write(p: Poly) -> Term:
    """A polynomial as a term: common factors in front, positive terms first."""
    if not p:
        return ZERO
    shared = _shared(p)
    parts: list[tuple[Fraction, Term]] = []
    for m, c in _sorted(p):
        powers = dict(m)
        for a, e in shared.items():
            powers[a] = powers.get(a, 0) - e
        top, _ = _product({a: e for a, e in powers.items() if e})
        parts.append((c, top))
    parts.sort(key=lambda x: x[0] < 0)
    factor = Fraction(1)
    if len(parts) > 1:
        factor = _content([c for c, _ in parts])
    body = ZERO
    for c, x in parts:
        c /= factor
        body = terms.add(body, terms.mul(const(c), x)) if c > 0 else terms.sub(body, terms.mul(const(-c), x))
    top, bottom = _product(shared)
    return terms.div(terms.mul(const(factor), terms.mul(top, body)), bottom)


def _content(values: list[Fraction]) -> Fraction:
    below = math.lcm(*(v.denominator for v in values))
    return Fraction(math.gcd(*(int(v * below) for v in values)), below)


ARITHMETIC = frozenset({"add", "sub", "mul", "div", "neg", "pow"})


_collected: dict[int, Term] = kept_by_id({})


def collect(term: Term) -> Term:
    """`term` with like parts collected or over one denominator, where that is shorter."""
    if term.op not in ARITHMETIC:
        return term
    found = _collected.get(term.id)
    if found is None:
        found = _collected[term.id] = _shorter(term)
    return found


def _shorter(term: Term) -> Term:
    best = write(canon(term))
    if term.size <= COLLECTED and any(t.op == "div" for t in terms.walk(term)):
        with contextlib.suppress(TooLargeError, ZeroDivisionError):
            q = quotient(term)
            # What is multiplied out is no shorter than its monomials are many.
            if len(q.top) + len(q.bottom) <= term.size:
                best = min(best, _written(q), key=lambda t: t.size)
            best = min(best, _factored(q), key=lambda t: t.size)
    double = term.op == "add" and term.args[0] is term.args[1]
    return best if best.size < term.size + double else term


@dataclass(frozen=True)
class Quotient:
    """top / bottom, coprime polynomials over `atoms` (flint mpolys in the same order)."""

    atoms: tuple[Term, ...]
    top: Any
    bottom: Any


def _atoms(term: Term) -> list[Term]:
    found: dict[Term, None] = {}

    def visit(t: Term) -> None:
        if t.op == "const":
            return
        if t.op == "pow" and is_const(t.args[1]) and number(t.args[1]).denominator == 1:
            visit(t.args[0])
        elif t.op in ("add", "sub", "mul", "div", "neg"):
            for a in t.args:
                visit(a)
        else:
            for m in canon(t) if t.op == "exp" else _atom(t):
                for a, _ in m:
                    found[a] = None

    visit(term)
    return sorted(found, key=lambda a: a.key)


def _limit(*polys: Any) -> None:
    if any(len(p) > LARGE for p in polys):
        raise TooLargeError


def quotient(term: Term) -> Quotient:
    """`term` over one denominator, common factors cancelled. Raises TooLargeError, ZeroDivisionError."""
    atoms = _atoms(term)
    context = flint.fmpq_mpoly_ctx.get(tuple(f"a{i}" for i in range(max(1, len(atoms)))), "lex")
    symbol = dict(zip(atoms, context.gens()))
    one, zero = context.constant(1), context.constant(0)
    memo: dict[int, tuple[Any, Any]] = {}

    def reduced(top: Any, bottom: Any) -> tuple[Any, Any]:
        _limit(top, bottom)
        if bottom == zero:
            raise ZeroDivisionError
        g = top.gcd(bottom)
        return (top / g, bottom / g) if g != one and g != zero else (top, bottom)

    def go(t: Term) -> tuple[Any, Any]:
        found = memo.get(t.id)
        if found is None:
            found = memo[t.id] = reduced(*step(t))
        return found

    def step(t: Term) -> tuple[Any, Any]:
        if t.op == "const":
            return context.constant(flint.fmpq(number(t).numerator, number(t).denominator)), one
        if t.op == "neg":
            top, bottom = go(t.args[0])
            return -top, bottom
        if t.op in ("add", "sub", "mul", "div"):
            (n1, d1), (n2, d2) = go(t.args[0]), go(t.args[1])
            if t.op == "mul":
                return n1 * n2, d1 * d2
            if t.op == "div":
                return n1 * d2, d1 * n2
            return (n1 * d2 + n2 * d1 if t.op == "add" else n1 * d2 - n2 * d1), d1 * d2
        if t.op == "pow" and is_const(t.args[1]) and number(t.args[1]).denominator == 1:
            n = int(number(t.args[1]))
            if abs(n) > EXPONENT:
                raise TooLargeError
            top, bottom = go(t.args[0])
            return (top**n, bottom**n) if n >= 0 else (bottom**-n, top**-n)
        ((m, _),) = (canon(t) if t.op == "exp" else _atom(t)).items()
        top = bottom = one
        for a, e in m:
            if e > 0:
                top = top * symbol[a] ** e
            else:
                bottom = bottom * symbol[a] ** -e
        return top, bottom

    top, bottom = go(term)
    through = _through_roots(atoms, context)
    if through is not None:
        top, bottom = reduced(top.compose(*through), bottom.compose(*through))
    return Quotient(tuple(atoms), top, bottom)


def _through_roots(atoms: list[Term], context: Any) -> list[Any] | None:
    """What each atom becomes where one is the root of another: that one is its square."""
    gens = list(context.gens())
    places = {ordered(a).id: i for i, a in enumerate(atoms)}
    roots = {places[a.args[0].id]: i for i, a in enumerate(atoms) if a.op == "sqrt" and a.args[0].id in places}
    return [gens[roots[i]] ** 2 if i in roots else g for i, g in enumerate(gens)] if roots else None


def _poly(q: Quotient, p: Any) -> Poly:
    out: Poly = {}
    for powers, c in p.to_dict().items():
        m = _monomial({a: int(e) for a, e in zip(q.atoms, powers)})
        out[m] = Fraction(int(c.p), int(c.q))
    return out


def together(term: Term) -> Term:
    """`term` over one denominator, multiplied out. Raises TooLargeError, ZeroDivisionError."""
    return _written(quotient(term))


def _written(q: Quotient) -> Term:
    return terms.div(write(_without_roots(_poly(q, q.top))), write(_without_roots(_poly(q, q.bottom))))


def factored(term: Term, writer: Callable[[Poly], Term] = write) -> Term:
    """`term` over one denominator, both sides factored; `writer` writes each factor."""
    return _factored(quotient(term), writer)


def _factored(q: Quotient, writer: Callable[[Poly], Term] = write) -> Term:
    if q.top == 0:
        return ZERO
    sign, top = _factors(q, q.top, writer)
    other, bottom = _factors(q, q.bottom, writer)
    return terms.div(terms.mul(const(sign / other), top), bottom) if sign != other else terms.div(top, bottom)


def _factors(q: Quotient, p: Any, writer: Callable[[Poly], Term]) -> tuple[Fraction, Term]:
    """A rational coefficient and the product of the written factors."""
    c, found = p.factor()
    coefficient = Fraction(int(c.p), int(c.q))
    out = ONE
    rest = [(_poly(q, f), int(e)) for f, e in found]
    powers: list[tuple[Poly, int]] = []
    for f, e in sorted(rest, key=lambda x: (len(x[0]), [_rank(m) for m, _ in _sorted(x[0])])):
        content = _content(list(f.values()))
        coefficient *= content**e
        f = {m: v / content for m, v in f.items()}
        mixed = min(f.values()) < 0 < max(f.values())
        if max(f.values()) < 0 or (mixed and e % 2 and coefficient < 0):
            f = {m: -v for m, v in f.items()}
            coefficient *= (-1) ** e
        powers.append((f, e))
    for f, e in powers:
        out = terms.mul(out, terms.power(writer(f), const(e)))
    return coefficient, out


def vanishes(q: Quotient) -> bool:
    """Whether the quotient is zero, squares of roots replaced by what stands under them."""
    try:
        return not _without_roots(_poly(q, q.top))
    except TooLargeError:
        return False


def factors_of(q: Quotient, p: Any) -> tuple[Fraction, list[tuple[Any, int]]]:
    """A side of a quotient as a coefficient and its irreducible factors with their powers."""
    c, found = p.factor()
    rest = [(f, int(e)) for f, e in found]
    rest.sort(key=lambda x: (len(x[0]), [_rank(m) for m, _ in _sorted(_poly(q, x[0]))]))
    return Fraction(int(c.p), int(c.q)), rest


def monomials(p: Any) -> list[tuple[tuple[int, ...], Fraction]]:
    """A polynomial's terms: the power of each atom, and the coefficient."""
    return [(tuple(map(int, powers)), Fraction(int(c.p), int(c.q))) for powers, c in p.to_dict().items()]


def in_powers(p: Any, place: int) -> dict[int, Any]:
    """The coefficients of a polynomial by powers of its `place`-th atom."""
    out: dict[int, dict[tuple[int, ...], Any]] = {}
    for powers, c in p.to_dict().items():
        rest = tuple(0 if j == place else int(e) for j, e in enumerate(powers))
        out.setdefault(int(powers[place]), {})[rest] = c
    return {k: p.context().from_dict(d) for k, d in sorted(out.items())}


def written(q: Quotient, p: Any) -> Term:
    """One side of a quotient as a term, factored."""
    if p == 0:
        return ZERO
    coefficient, body = _factors(q, p, write)
    return terms.mul(const(coefficient), body)


def leading_sign(q: Quotient, p: Any) -> int:
    """The sign of the lowest monomial's coefficient, the constant's where there is one."""
    return 1 if _sorted(_poly(q, p))[0][1] > 0 else -1
