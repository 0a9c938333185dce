"""Gamma and error functions through what their leading terms leave: sums in which these cancel, term by term.

lgamma(u) is Stirling's formula and a small rest; in a sum of such functions the logarithms of one
weight become one logarithm of a quotient, and what is linear cancels against it: the sum is
then made of small parts. In the same way a erfcx(a) is 1 / sqrt(pi) less a rest that vanishes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from math import gcd, lcm

from lossmith.derivations import terms
from lossmith.derivations.match import PRODUCTS, build, factors
from lossmith.derivations.polynomial import Monomial, Poly, TooLargeError, canon, factored, plus, times, write
from lossmith.derivations.terms import HALF, ONE, PI, TWO, ZERO, Term, const, is_const, make, node, number, walk

GAMMAS = frozenset({"lgamma", "digamma"})
LOGARITHMS = frozenset({"log", "log1p"})
LINEAR = frozenset({"add", "sub", "mul", "div", "neg", "pow"})
MOST_FUNCTIONS, MOST_BASES, MOST_GROUPINGS, MOST_PARTS, MOST_PAIRS = 6, 9, 2, 12, 2
NUMBER: Monomial = ()
ROOT_PI = make("sqrt", PI)


@dataclass
class _Sum:
    """Weighted logarithms (by what they are of), what is rational, and what stays as it is."""

    logs: dict[Term, Poly] = field(default_factory=dict)
    rational: Term = ZERO
    rest: Term = ZERO
    further: tuple[Poly, ...] = ()  # weights that may stand for others, besides those of the logarithms

    def log(self, of: Term, weight: Poly) -> None:
        """Add weight * log(of), by the factors of what it is of."""
        p = canon(of)
        if len(p) == 1:
            ((m, c),) = p.items()
            for atom, e in m:
                self._base(atom, {k: v * e for k, v in weight.items()})
            self._base(const(c), weight)
            return
        below = lcm(*(c.denominator for c in p.values()))
        content = Fraction(gcd(*(int(c * below) for c in p.values())), below)
        self._base(write({m: c / content for m, c in p.items()}), weight)
        self._base(const(content), weight)

    def _base(self, of: Term, weight: Poly) -> None:
        if of is not ONE:
            self.logs[of] = plus(self.logs.get(of, {}), weight)


def stirling_forms(term: Term) -> Iterator[Term]:
    """The term with each sum of log-gamma and digamma functions through Stirling's formula, in several groupings."""
    term = _in_log_space(term)
    places = _sums(term, GAMMAS)
    if len(places) != 1:
        return
    place = places[0]
    for way in _ways(place):
        whole = _decomposed(place, way)
        for form in _groupings(whole, 1 if way.pair else MOST_GROUPINGS) if whole is not None else ():
            yield terms.replace(term, {place: form})


@dataclass(frozen=True)
class _Ways:
    """How functions are taken: gamma(u + 1) as u gamma(u); of those in `pair` only, as one difference."""

    steps: bool = False
    pair: tuple[Term, ...] = ()


def _ways(place: Term) -> Iterator[_Ways]:
    yield _Ways()
    if any(_step(a) for a in walk(place) if a.op in GAMMAS):
        yield _Ways(steps=True)
    weights: dict[Term, Poly] = {}
    for m, c in canon(place).items():
        for atom, e in m:
            if atom.op == "lgamma" and e == 1:
                rest = tuple(x for x in m if x[0] is not atom)
                weights[atom] = plus(weights.get(atom, {}), {rest: c})
    ranked = sorted(weights, key=lambda a: a.key)
    pairs = [(a, b) for a in ranked for b in ranked if a is not b and not plus(weights[a], weights[b])
             and 0 < len(_apart(a, b)) < len(canon(a.args[0]))]
    for pair in pairs[:MOST_PAIRS]:
        yield _Ways(pair=pair)


def _apart(a: Term, b: Term) -> Poly:
    """The difference of two arguments."""
    return plus(canon(a.args[0]), canon(b.args[0]), -1)


def _sums(term: Term, functions: frozenset[str]) -> list[Term]:
    """The outermost nodes of arithmetic, and within functions further ones, that are linear in such functions."""
    found: dict[Term, None] = {}

    def visit(t: Term, outermost: bool) -> None:
        arithmetic = t.op in LINEAR or t.op in functions
        if arithmetic and outermost and any(a.op in functions for m in canon(t) for a, _ in m):
            found[t] = None
        for a in t.args:
            visit(a, not arithmetic or t.op in functions)

    visit(term, True)
    return list(found)


def _in_log_space(term: Term) -> Term:
    """Products of several gamma functions as one exponential."""
    done: dict[Term, Term] = {}
    for t in walk(term):
        made = terms.rebuild(t, tuple(done[a] for a in t.args)) if t.args else t
        parts = factors(made) if made.op in PRODUCTS else []
        gammas = [(sign, a.args[0]) for sign, a in parts if a.op == "gamma"]
        if len(gammas) > 1:
            exponent = reduce(lambda s, x: build("add" if x[0] > 0 else "sub", s, make("lgamma", x[1])), gammas, ZERO)
            made = make("exp", exponent)
            for sign, a in parts:
                if a.op != "gamma":
                    made = build("mul" if sign > 0 else "div", made, a)
        done[t] = made
    return done[term]


def _step(function: Term) -> bool:
    """Whether the argument is something plus one."""
    p = canon(function.args[0])
    return len(p) > 1 and p.get(NUMBER) == 1


def _less_one(of: Term) -> Poly:
    return plus(canon(of), {NUMBER: Fraction(-1)})


def _decomposed(place: Term, way: _Ways) -> _Sum | None:
    """A sum by its logarithms; None where it is no weighted sum of them."""
    found, functions = _Sum(), 0
    by_atom: dict[Term, Poly] = {}
    for m, c in canon(place).items():
        of = [(a, e) for a, e in m if a.op in GAMMAS | LOGARITHMS]
        if not of:
            found.rational = build("add", found.rational, write({m: c}))
        elif len(of) > 1 or of[0][1] != 1:
            return None
        else:
            rest = tuple(x for x in m if x[0] is not of[0][0])
            by_atom[of[0][0]] = plus(by_atom.get(of[0][0], {}), {rest: c})
    for atom in sorted(by_atom, key=lambda a: a.key):
        functions += atom.op in GAMMAS
        _put(found, atom, by_atom[atom], way)
    found.logs = {b: w for b, w in found.logs.items() if w}
    return found if 0 < functions <= MOST_FUNCTIONS and len(found.logs) <= MOST_BASES else None


def _put(found: _Sum, atom: Term, weight: Poly, way: _Ways) -> None:
    of = atom.args[0]
    if atom.op in LOGARITHMS and way.pair:  # the difference of the pair is a small thing of its own
        found.rest = build("add", found.rest, build("mul", write(weight), atom))
        return
    if atom.op in LOGARITHMS:
        found.log(build("add", ONE, of) if atom.op == "log1p" else of, weight)
        return
    factor = write(weight)
    if way.pair and atom not in way.pair:
        kept = make("lgamma1p", write(plus(canon(of), {NUMBER: Fraction(-1)}))) if _step(atom) else atom
        found.rest = build("add", found.rest, build("mul", factor, kept))
        return
    if way.steps and _step(atom):
        of = write(_less_one(of))
        if atom.op == "lgamma":
            found.log(of, weight)
        else:
            found.rational = build("add", found.rational, build("div", factor, of))
    if atom.op == "digamma":
        found.log(of, weight)
        found.rational = build("sub", found.rational, build("div", factor, build("mul", TWO, of)))
        found.rest = build("sub", found.rest, build("mul", factor, make("binet_slope", of)))
        return
    found.log(of, times(weight, plus(canon(of), {NUMBER: Fraction(-1, 2)})))
    found.log(build("mul", TWO, PI), {m: c / 2 for m, c in weight.items()})
    found.rational = build("sub", found.rational, build("mul", factor, of))
    if not way.pair:
        found.rest = build("add", found.rest, build("mul", factor, make("binet", of)))
    elif atom is way.pair[0]:
        lower = way.pair[1].args[0]
        apart = _apart(*way.pair)
        found.further = ({m: c for m, c in apart.items() if m != NUMBER},)
        gap = node("binet_gap", (lower, write(apart)))
        found.rest = build("add", found.rest, build("mul", factor, gap))


# --- logarithms by their weights -------------------------------------------------------------------

Powers = dict[Term, Fraction]


def _groupings(whole: _Sum, bases: int) -> list[Term]:
    """The sum with its logarithms grouped by a basis of their weights: those with the most quotients first."""
    parts = {b: {m: c for m, c in w.items() if m != NUMBER} for b, w in whole.logs.items()}
    directions: list[Poly] = []
    for p in (*parts.values(), *whole.further):
        if p and all(_multiple(p, d) is None for d in directions):
            directions.append(p)
    numbers = {b: w[NUMBER] for b, w in whole.logs.items() if NUMBER in w}
    found: list[tuple[int, bool, int, list[Term]]] = []
    for basis in _bases(directions):
        groups: list[tuple[Poly, Powers]] = [(b, {}) for b in basis]
        for base, p in parts.items():
            for (_, powers), c in zip(groups, _coordinates(p, basis) or (), strict=True):
                if c:
                    powers[base] = c
        single = sum(min(powers.values(), default=Fraction(1)) > 0 or max(powers.values()) < 0 for _, powers in groups)
        (bent, left), (straight, linear) = (_joined(whole, groups, numbers, near) for near in (True, False))
        forms = [bent, straight] if left is ZERO else [straight] if is_const(linear) else [straight, bent]
        found.append((single, left is not ZERO, bent.size, forms))
    ranked = sorted(found, key=lambda x: x[:3])[:bases]
    return list(dict.fromkeys(form for *_, forms in ranked for form in forms))


def _multiple(p: Poly, d: Poly) -> Fraction | None:
    """c where p = c d."""
    if p.keys() != d.keys():
        return None
    ratios = {c / d[m] for m, c in p.items()}
    return ratios.pop() if len(ratios) == 1 else None


def _bases(directions: Sequence[Poly]) -> Iterator[Sequence[Poly]]:
    """The choices of directions that span all; simpler ones first."""
    ranked = sorted(directions, key=lambda d: (len(d), write(d).key))
    for count in range(len(ranked) + 1):
        found = [b for b in itertools.combinations(ranked, count)
                 if _independent(b) and all(_coordinates(d, b) is not None for d in ranked)]
        if found:
            yield from (tuple(_positive(d) for d in b) for b in found[:6])
            return


def _positive(d: Poly) -> Poly:
    """A direction over its first coefficient."""
    first = max(d.items(), key=lambda x: x[1])[1]
    lead = first if first > 0 else -abs(first)
    return {m: c / lead for m, c in d.items()}


def _independent(basis: Sequence[Poly]) -> bool:
    return all(_coordinates(b, basis[:k]) is None for k, b in enumerate(basis))


def _coordinates(p: Poly, basis: Sequence[Poly]) -> list[Fraction] | None:
    """p as a combination of the basis (Gauss, exactly); None where it is none."""
    keys = list(dict.fromkeys(m for q in (*basis, p) for m in q))
    rows = [[*(b.get(m, Fraction(0)) for b in basis), p.get(m, Fraction(0))] for m in keys]
    done = 0
    for column in range(len(basis)):
        pivot = next((r for r in range(done, len(rows)) if rows[r][column]), None)
        if pivot is None:
            return None
        rows[done], rows[pivot] = rows[pivot], rows[done]
        rows[done] = [x / rows[done][column] for x in rows[done]]
        for r in range(len(rows)):
            if r != done and rows[r][column]:
                rows[r] = [x - rows[r][column] * y for x, y in zip(rows[r], rows[done], strict=True)]
        done += 1
    return None if any(r[-1] for r in rows[done:]) else [r[-1] for r in rows[:done]]


def _joined(whole: _Sum, groups: Sequence[tuple[Poly, Powers]], numbers: Powers,
            near: bool) -> tuple[Term, Term]:
    """The sum again, and what is rational in it.

    near: each logarithm of a quotient near 1 without its linear part, which joins the rational.
    """
    total, rational = ZERO, whole.rational
    for weight, powers in groups:
        scale, top, bottom = _quotient(powers)
        way = _way(top, bottom)
        factor = build("mul", const(scale * way.sign), write(weight))
        if way.gap is None or is_const(bottom) or not near:
            total = build("add", total, build("mul", factor, way.log()))
        else:
            total = build("add", total, build("mul", factor, way.bend()))
            rational = build("add", rational, build("mul", factor, way.gap))
    if numbers:
        scale, top, bottom = _quotient(numbers)
        way = _way(top, bottom)
        total = build("add", total, build("mul", const(scale * way.sign), way.log()))
    rational = _simple(rational)
    return build("add", build("add", rational, total), whole.rest), rational


@dataclass(frozen=True)
class _Way:
    """sign * log(top / bottom); gap: top / bottom - 1, where that is simpler; plain: the gap has one sign, plus."""

    sign: int
    top: Term
    bottom: Term
    gap: Term | None
    plain: bool

    def log(self) -> Term:
        if self.plain and self.gap is not None:
            return make("log1p", self.gap)
        return make("log", build("div", self.top, self.bottom))

    def bend(self) -> Term:
        """The logarithm less the gap: near 1 as such, elsewhere as a difference."""
        assert self.gap is not None
        if self.plain:
            return make("log1pmx", self.gap)
        apart = make("precise", write(plus(canon(self.top), canon(self.bottom), -1)))
        near = make("log1pmx", build("div", apart, self.bottom))
        return make("where", node("lt", (make("abs", self.gap), HALF)), near, build("sub", self.far(), self.gap))

    def far(self) -> Term:
        """The logarithm where it is not near 0: of products by roots, which neither overflow nor vanish."""
        parts = factors(build("div", self.top, self.bottom))
        if len(parts) < 3:
            return self.log()
        roots = ((sign, make("sqrt", a)) for sign, a in parts)
        inside = reduce(lambda t, x: build("mul" if x[0] > 0 else "div", t, x[1]), roots, ONE)
        return build("mul", TWO, make("log", inside))


def _quotient(powers: Powers) -> tuple[Fraction, Term, Term]:
    """A weighted sum of logarithms as one number times that of a quotient."""
    below = lcm(*(c.denominator for c in powers.values()))
    scale = Fraction(gcd(*(int(c * below) for c in powers.values())), below)
    sides = []
    for sign in (1, -1):
        chosen = [(b, int(sign * c / scale)) for b, c in powers.items() if sign * c > 0]
        sides.append(reduce(lambda t, x: build("mul", t, terms.power(x[0], const(x[1]))), chosen, ONE))
    return scale, sides[0], sides[1]


def _way(top: Term, bottom: Term) -> _Way:
    """How a logarithm of a quotient is written."""
    p, q = canon(top), canon(bottom)
    apart = plus(p, q, -1)
    if not apart or len(apart) > len(p) + len(q) or max(len(p), len(q)) > MOST_PARTS or (
            is_const(bottom) and NUMBER not in p):
        return _Way(1, top, bottom, None, False)
    if max(apart.values()) < 0 and not is_const(bottom):
        return _Way(-1, bottom, top, _simple(build("div", write(plus(q, p, -1)), top)), True)
    one_sign = min(apart.values()) > 0 or is_const(bottom)
    return _Way(1, top, bottom, _simple(build("div", write(apart), bottom)), one_sign)


def _simple(t: Term) -> Term:
    try:
        made = factored(t)
    except (TooLargeError, ZeroDivisionError, ValueError):
        return t
    return made if made.size <= t.size else t


# --- the tail of erfcx ------------------------------------------------------------------------------

TAILS = frozenset({"erfc", "erf", "erfcx"})


def tail_forms(term: Term) -> Iterator[Term]:
    """The term with each sum through erfcx, its powers above the lowest through what a erfcx(a) lacks."""
    complement = _through_erfcx(term)
    places = _sums(complement, frozenset({"erfcx"}))
    mapping = {}
    for place in places:
        p = canon(place)
        made = _through_rest(p)
        if made is not None:
            mapping[place] = made
    if mapping:
        yield terms.replace(complement, mapping)


def _through_erfcx(term: Term) -> Term:
    """Complements of the error function as a Gaussian times erfcx; roots below a line above it."""
    done: dict[Term, Term] = {}
    for t in walk(term):
        made = terms.rebuild(t, tuple(done[a] for a in t.args)) if t.args else t
        parts = canon(made) if made.op in ("add", "sub") else {}
        if made.op == "erfc":
            made = _gaussian(made.args[0])
        elif len(parts) == 2 and NUMBER in parts:
            (m, c), = ((m, c) for m, c in parts.items() if m != NUMBER)
            if len(m) == 1 and m[0][0].op == "erf" and m[0][1] == 1 and abs(c) == abs(parts[NUMBER]):
                a = m[0][0].args[0]
                tail = _gaussian(a if c * parts[NUMBER] < 0 else terms.neg(a))
                made = build("mul", const(parts[NUMBER]), tail)
        elif made.op == "sqrt":
            made = _parted(made.args[0])
        elif made.op == "exp":
            made = make("exp", write(_rational_roots(canon(made.args[0]))))
        done[t] = made
    return done[term]


def _gaussian(a: Term) -> Term:
    return build("mul", make("exp", write(_rational_roots(canon(build("neg", build("mul", a, a)))))), make("erfcx", a))


def _parted(of: Term) -> Term:
    """The root of a number times pi as a product of roots."""
    p = canon(of)
    if len(p) == 1:
        ((m, c),) = p.items()
        if m == ((PI, 1),) and c > 0 and c != 1:
            return build("mul", make("sqrt", const(c)), make("sqrt", PI))
    return make("sqrt", of)


def _rational_roots(p: Poly) -> Poly:
    """1 / sqrt(c) as sqrt(c) / c, and whole powers of pi as such."""
    out: Poly = {}
    for m, c in p.items():
        powers = dict(m)
        for a, e in m:
            if a.op == "sqrt" and is_const(a.args[0]) and e < 0:
                half = (1 - e) // 2
                powers[a] = e + 2 * half
                c /= number(a.args[0]) ** half
        halves = 2 * powers.get(PI, 0) + powers.get(ROOT_PI, 0)
        powers[PI], powers[ROOT_PI] = halves // 2, halves % 2
        key = tuple(sorted(((a, e) for a, e in powers.items() if e), key=lambda x: x[0].key))
        out = plus(out, {key: c})
    return out


def _through_rest(p: Poly) -> Term | None:
    """A polynomial in erfcx(a) and its inverse: above the lowest power a erfcx(a) is 1 / sqrt(pi) less its rest."""
    p = _rational_roots(p)
    tails = {a for m in p for a, _ in m if a.op == "erfcx"}
    if len(tails) != 1:
        return None
    (tail,) = tails
    inner = tail.args[0]
    rest = plus(canon(build("div", ONE, make("sqrt", PI))), canon(make("erfcx_rest", inner)), -1)
    once = _rational_roots(times(rest, canon(build("div", ONE, inner))))
    lowest = min(0, *(dict(m).get(tail, 0) for m in p))
    total: Poly = {}
    for m, c in p.items():
        powers = dict(m)
        power = powers.pop(tail, 0) - lowest
        key = tuple(sorted(powers.items(), key=lambda x: x[0].key))
        part: Poly = {key: c}
        for _ in range(power):
            part = times(part, once)
        total = plus(total, _rational_roots(part))
    made = write(_rational_roots(total))
    return build("div", made, terms.power(tail, const(-lowest))) if lowest else made
