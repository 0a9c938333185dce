"""Expansions: a formula near a removable singularity or a root as a polynomial with a proven remainder.

A formula of one quantity u (an argument less a point; a difference or a ratio of arguments) is
expanded about u = 0 with exact coefficients. The polynomial is cut where the rest, bounded all
over |u| <= r, is below a quarter of an ulp of the value. The leading power of u stands in front,
so that the relative accuracy holds down to u = 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from flint import arb, fmpq
from lossmith.derivations.balls import enclose
from lossmith.derivations.constants import BITS, Constants, NotKnownError, Sum, fraction, is_writable, rational, term_of
from lossmith.derivations.enclosing import working
from lossmith.derivations.loss import Argument
from lossmith.derivations.power_series import BallExpander, Expander, NoSeriesError, Series, balls_of, core
from lossmith.derivations.remainder import NotAnalyticError, Tail, tail_on
from lossmith.derivations.separation import NotSeparableError, quantities, separated
from lossmith.derivations.terms import (
    ONE,
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
    number,
    replace,
    show,
    sub,
    var,
    walk,
)
from lossmith.derivations.ulp import FORMATS, Format

EXACT, SYMBOLIC, TERMS = 48, 14, 84  # coefficients: rational, with atoms, in balls for the remainder
LONGEST, MOST = 46, 27  # the highest power of u, counted from the leading one; terms of a polynomial
DISCS = tuple(Fraction(x) for x in ("8", "6", "4", "3", "2", "3/2", "1", "3/4", "1/2", "3/8", "1/4", "1/8", "1/16",
                                    "1/64"))  # on which tails are bounded
RADII = tuple(Fraction(x) for x in ("4", "3", "2", "3/2", "1", "3/4", "1/2", "3/8", "1/4", "1/8", "1/16", "1/32",
                                    "1/64", "1/128", "1/256", "1/1024", "1/4096"))  # that a polynomial may hold on
FRACTIONS = tuple(s * Fraction(x) for x in ("1/2", "1/3", "2/3", "1/4", "3/4", "3/2") for s in (1, -1))
PIECES = 4  # polynomials that are offered for one format
U = var("u'")  # the quantity, a name that no argument can have
SOURCES, QUANTITIES, FEW = 8, 12, 4  # parts of a formula that are tried, quantities for each, arguments of a part
DIGITS = 25  # of a coefficient that is not rational


@dataclass(frozen=True)
class Expansion:
    """`source`, equal to `term` up to the remainder wherever `condition` holds.

    quantity: u in terms of the arguments; |u| <= radius is the condition. order: the leading power
    of u. remainder: at most |source - term| / |source| there, in exact arithmetic.
    """

    source: Term
    term: Term
    condition: Term
    quantity: Term
    radius: Fraction
    order: int
    length: int
    remainder: float

    @property
    def words(self) -> str:
        return (f"Taylor series, {self.length} terms: remainder below 2^{exponent(self.remainder)} "
                f"for {show(self.condition)}")

    @property
    def latex(self) -> str:
        return (rf"\text{{Taylor series, relative remainder below }} 2^{{{exponent(self.remainder)}}} "
                rf"\text{{ for }} |u| \le {self.radius}")


def exponent(bound: float) -> int:
    """The least k with bound <= 2**k."""
    k = -1100
    while 2.0 ** max(k, -1074) < bound:
        k += 1
    return k


@dataclass(frozen=True)
class Prepared:
    """A formula of u alone, expanded: exact coefficients as far as they go, balls further, tails by disc."""

    term: Term
    exact: Series
    balls: Series
    expander: BallExpander
    apart: tuple[Term, ...]

    @functools.cached_property
    def tail(self) -> Tail | None:
        """On the largest disc for which there is a bound."""
        for radius in DISCS:
            try:
                found = tail_on(self.expander, self.term, rational(radius), list(self.apart))
            except (NotAnalyticError, NoSeriesError, ZeroDivisionError):
                continue
            if found.relative(len(found.c), rational(RADII[-3]), ()) < 2.0**-56:
                return found
        return None

    def coefficient(self, k: int) -> Fraction:
        """The k-th, exactly where it is a rational of moderate length, else rounded to many digits."""
        if k < len(self.exact.c) and not isinstance(self.exact.c[k], Sum):
            return Fraction(fraction(self.exact.c[k]))
        return self.rounded(k)

    def rounded(self, k: int) -> Fraction:
        """The k-th to many digits."""
        ball = arb(self.balls.c[k])
        return Fraction(0) if ball.contains(0) else decimal(ball)

    @property
    def longest(self) -> int:
        """How many coefficients are known well enough to be printed."""
        # Few exact ones are known where atoms, as a log 2, cancel on the way.
        rational_only = len(self.exact.c) > SYMBOLIC and not any(isinstance(c, Sum) for c in self.exact.c)
        return min(LONGEST, len(self.exact.c) if rational_only else len(self.balls.c))


def decimal(x: Any) -> Fraction:
    """A ball's middle to DIGITS significant decimals."""
    with working(BITS):
        return Fraction(str(arb(x).mid().str(DIGITS, radius=False)))


@functools.lru_cache(maxsize=512)
def prepared(term: Term, one_sided: bool = False) -> Prepared | None:
    """The formula `term` of U about U = 0; None where it has no Laurent series there."""
    try:
        reduced = core(term)
        exact, found = _exactly(reduced, U, Constants(), one_sided)
        with working(BITS):
            expander, balls = balls_of(exact, reduced, TERMS)
            for t in exact.apart:
                expander(t)
    except (NoSeriesError, NotKnownError, ZeroDivisionError):
        return None
    return None if found.zero else Prepared(reduced, found, balls, expander, tuple(exact.apart))


def _exactly(reduced: Term, by: Term, constants: Constants, one_sided: bool) -> tuple[Expander, Series]:
    """Few coefficients first: they tell whether the coefficients are rational, and then more are cheap."""
    short = Expander(by, SYMBOLIC, constants, one_sided)
    found = short(reduced)
    if any(isinstance(x, Sum) for s in short.done.values() for x in s.c):
        return short, found
    full = Expander(by, EXACT, constants, one_sided)
    return full, full(reduced)


def polynomial(order: int, coefficients: Sequence[Fraction], u: Term) -> Term:
    """u**order (c0 + c1 u + ..), by Horner's rule, in u**2 where every second coefficient vanishes."""
    step = 2 if all(c == 0 for c in coefficients[1::2]) else 1
    c = [const(x) for x in coefficients[::step]]
    w = mul(u, u) if step == 2 else u
    inner = c[-1]
    for x in reversed(c[1:-1]):
        inner = add(x, mul(w, inner))
    lead = number(c[0])
    if order == 1 and abs(lead) == 1 and len(c) > 1:
        # u + u w (..): the leading part is exact.
        rest = mul(mul(u, w), inner)
        return add(u if lead > 0 else neg(u), rest)
    whole = add(c[0], mul(w, inner)) if len(c) > 1 else c[0]
    return scaled(whole, u, order)


def scaled(whole: Term, u: Term, order: int) -> Term:
    """u**order * whole, its factors multiplied from the left; a negative power divides step by step."""
    if order > 0:
        power = u
        for _ in range(order - 1):
            power = mul(power, u)
        return mul(power, whole)
    for _ in range(-order):
        whole = div(whole, u)
    return whole


@dataclass(frozen=True)
class Piece:
    """A polynomial of U, and the disc and the precision that it is good for."""

    term: Term
    radius: Fraction
    order: int
    length: int
    remainder: float


def pieces(term: Term, fmt: Format, one_sided: bool = False) -> list[Piece]:
    """Polynomials for a formula of U alone, from the widest interval to the shortest polynomial."""
    found = prepared(term, one_sided)
    return fitting(found, fmt) if found is not None and found.tail is not None else []


def fitting(found: Prepared, fmt: Format) -> list[Piece]:
    """The polynomials that an expansion gives for a format, from the widest interval to the shortest."""
    tail = found.tail
    assert tail is not None
    goal = 2.0 ** -(fmt.precision + 2)
    longest = found.longest
    coefficients = tuple(rational(found.coefficient(k)) for k in range(longest))
    step = 2 if all(c == 0 for c in coefficients[1::2]) else 1
    longest = min(longest, step * MOST)
    out: list[Piece] = []
    last = longest + 1
    for radius in RADII:
        if radius >= fraction(tail.radius) or len(out) == PIECES:
            continue
        count = _least(tail, radius, coefficients[:longest], goal)
        if count is not None and count <= last - step:
            kept = [fraction(c) for c in coefficients[:count]]
            while len(kept) > 1 and kept[-1] == 0:
                kept.pop()
            bound = tail.relative(count, rational(radius), coefficients[:count])
            length = sum(c != 0 for c in kept)
            out.append(Piece(polynomial(found.exact.order, kept, U), radius, found.exact.order, length, bound))
            last = count
    return out


def _least(tail: Tail, radius: Fraction, coefficients: tuple[fmpq, ...], goal: float) -> int | None:
    """The fewest coefficients that reach the goal on |u| <= radius."""
    r = rational(radius)
    if tail.relative(len(coefficients), r, coefficients) >= goal:
        return None
    low, high = 1, len(coefficients)
    while low < high:
        middle = (low + high) // 2
        if tail.relative(middle, r, coefficients[:middle]) < goal:
            high = middle
        else:
            low = middle + 1
    return low


# --- formulas of arguments -----------------------------------------------------------------------


def points_of(definition: Term, argument: Argument) -> list[Fraction]:
    """Where a formula of one argument may have a singularity or a root: 0, +-1, its own constants, and simple
    fractions at which it is found to vanish."""
    own = [number(t) for t in walk(definition) if is_const(t) and abs(number(t)) <= 64]
    found = dict.fromkeys([Fraction(0), Fraction(1), Fraction(-1), *own, *(-x for x in own)])
    low, high = argument.domain.low, argument.domain.high
    roots = [x for x in FRACTIONS if low <= x <= high and x not in found and _vanishes(definition, argument.name, x)]
    return [*roots, *(x for x in found if low <= x <= high)][:8]


def _vanishes(definition: Term, name: str, at: Fraction) -> bool:
    """Whether a formula of one argument is 0 at a number, as far as many digits tell."""
    ball = enclose(definition, {name: at}, 3 * BITS)
    return not isinstance(ball, list) and ball.is_finite() and bool(abs(ball) < 2.0**-BITS)


def shifted(definition: Term, argument: Term, point: Fraction) -> Term:
    """The formula with an argument replaced by point + U."""
    return replace(definition, {argument: add(const(point), U)})


def expansions(definition: Term, arguments: Sequence[Argument], formats: Sequence[str] = ("float64", "float32"),
               ) -> Iterator[Expansion]:
    """Expansions of an elementwise formula that are worth a branch, of the whole before its parts.

    About places at which the formula itself cancels or has no value. The term holds on the
    condition with the remainder that is stated; what lies outside the domain does not matter.
    """
    if definition.sort != "scalar":
        return
    covered: set[Term] = set()
    for source in sources(definition):
        if source in covered:
            continue
        found = False
        for local in locals_of(source, arguments):
            for expansion in stated(source, local, formats):
                found = True
                yield expansion
        if found:
            covered |= set(walk(source))


def sources(definition: Term) -> list[Term]:
    """The whole and, of a formula of several arguments, the parts that may cancel, the largest first."""
    if len({*leaves(definition)}) < 2:
        return [definition]
    parts = [t for t in walk(definition) if t.op in ("add", "sub", "div", "log", "lgamma") and t.sort == "scalar"
             and 0 < len({*leaves(t)}) <= FEW and t.size > 3]
    parts.sort(key=lambda t: -t.size)
    return list(dict.fromkeys([definition, *parts]))[:SOURCES]


@dataclass(frozen=True)
class Local:
    """scale * formula, a formula of U, is the source wherever U is `quantity`."""

    formula: Term
    quantity: Term
    scale: Term


def locals_of(source: Term, arguments: Sequence[Argument]) -> list[Local]:
    """The places about which a source may be expanded, those at which it cancels."""
    used = list(dict.fromkeys(leaves(source)))
    if len(used) == 1:
        argument = next((a for a in arguments if a.name == name_of(used[0])), None)
        places = points_of(source, argument) if argument is not None else []
        found = (Local(shifted(source, used[0], x), sub(used[0], const(x)), ONE) for x in places)
        return [local for local in found if cancels(local.formula)]
    positive = frozenset(a.name for a in arguments if a.domain.low >= 0)
    out: list[Local] = []
    for quantity in list(quantities(source, arguments))[:QUANTITIES]:
        try:
            scale, formula = separated(source, quantity, U, positive)
        except NotSeparableError:
            continue
        if formula.size > 1 and cancels(formula):
            out.append(Local(formula, quantity.u, scale))
            if len(out) == 2:
                break
    return out


def stated(source: Term, local: Local, formats: Sequence[str]) -> Iterator[Expansion]:
    """The polynomials of a local formula as expansions of its source."""
    return stating(source, local, [piece for name in formats for piece in pieces(local.formula, FORMATS[name])])


def stating(source: Term, local: Local, found: Sequence[Piece]) -> Iterator[Expansion]:
    """Polynomials of U as expansions of a source, each once."""
    quantity = local.quantity
    for piece in _once(found):
        term = product(local.scale, replace(piece.term, {U: quantity}))
        condition = make("le", make("abs", quantity), const(piece.radius))
        yield Expansion(source, term, condition, quantity, piece.radius, piece.order, piece.length, piece.remainder)


def _once(found: Sequence[Piece]) -> list[Piece]:
    out: dict[Term, Piece] = {}
    for piece in found:
        out.setdefault(piece.term, piece)
    return list(out.values())


def product(scale: Term, piece: Term) -> Term:
    """scale * piece, the power of u in front last: y (u (u P)) neither overflows nor vanishes early."""
    return mul(scale, piece) if scale.op != "div" or scale.args[0] is not ONE else div(piece, scale.args[1])


def cancels(local: Term) -> bool:
    """Whether evaluating near U = 0 loses digits: a sum that vanishes, a quotient of what vanishes, a root.

    Asked of the formula as it stands: log1p and expm1 are accurate, log(1 + u) is not.
    """
    found = prepared(local)
    if found is None:
        return False

    def order(t: Term) -> int:
        series = found.expander.exact(core(t)) if found.expander.exact is not None else found.exact
        return 99 if series.zero else series.order

    for t in walk(local):
        try:
            if _loses(t, order):
                return True
        except NoSeriesError:
            continue
    return False


def _loses(t: Term, order: Callable[[Term], int]) -> bool:
    if t.op in ("add", "sub"):
        # point + U itself is exact near the point.
        plain = all(a is U or is_const(a) for a in t.args)
        return not plain and (own := order(t)) > _least_order(t.args, own, order)
    if t.op == "div":
        return min(order(a) for a in t.args) > 0
    if t.op in ("log", "lgamma", "digamma", "log2", "log10"):
        return t.args[0].op != "var" and order(t) > 0
    return False


def _least_order(parts: Sequence[Term], own: int, order: Callable[[Term], int]) -> int:
    """The least order of the parts; less than that of their sum where a part has no series and the sum has."""
    try:
        return min(order(a) for a in parts)
    except NoSeriesError:
        return own - 1


def limit_at(definition: Term, argument: str, value: Fraction | int, arguments: Sequence[Argument] = ()) -> Term | None:
    """The limit of a formula as one argument tends to a value, as an exact term in the others; None where unknown.

    Two-sided, of finite limits only. What the coefficients need of other arguments (that they are
    positive) is read off their domains.
    """
    local = shifted(definition, var(argument), Fraction(value))
    positive = frozenset(a.name for a in arguments if a.domain.low >= 0)
    others = [name_of(t) for t in leaves(local) if t is not U]
    sample = {n: _inside(next((a for a in arguments if a.name == n), None), i) for i, n in enumerate(others)}
    try:
        with working(BITS):
            found = Expander(U, SYMBOLIC, Constants(sample, positive))(core(local))
    except (NoSeriesError, NotKnownError, ZeroDivisionError):
        return None
    if found.zero or found.order > 0:
        return ZERO
    term = term_of(found.c[0])
    return term if found.order == 0 and is_writable(term) else None


def _inside(argument: Argument | None, i: int) -> Fraction:
    """A value of no particular kind within a domain."""
    odd = Fraction(1237 + 211 * i, 1009)
    if argument is None:
        return odd
    low, high = argument.domain.low, argument.domain.high
    if low <= odd <= high:
        return odd
    if isinstance(low, Fraction) and isinstance(high, Fraction):
        return low + (high - low) * odd / 4
    return low + odd if isinstance(low, Fraction) else Fraction(high) - odd
