"""Integrals: a formula that vanishes where one argument has the value of another term, as the integral of its slope.

With f = 0 where z = a, f = t * int_0^1 f_z(a + u t) du, t = z - a; with f_z = 0 there too,
f = t**2 * int_0^1 (1 - u) f_zz(a + u t) du. The slope is stated by a search of its own, the integral by
Gauss's rule, where |t| is small beside the distance over which the slope changes. What is small stands in
front, so that nothing cancels.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from flint import arb
from lossmith.derivations import balls, points
from lossmith.derivations.derivation import Evidence
from lossmith.derivations.enclosing import working
from lossmith.derivations.gauss import NotAnalyticError, nodes, remainders
from lossmith.derivations.inverses import stationary
from lossmith.derivations.loss import Argument
from lossmith.derivations.match import Rewrite
from lossmith.derivations.measure import Judge, judges
from lossmith.derivations.moves import INTEGRAL, Move
from lossmith.derivations.partial import CalculusProblem, partial
from lossmith.derivations.terms import (
    ONE,
    Term,
    add,
    const,
    div,
    is_const,
    leaves,
    make,
    mul,
    name_of,
    nodes_count,
    number,
    power,
    replace,
    show,
    sub,
    var,
    walk,
)
from lossmith.derivations.ulp import FORMATS, round_array

if TYPE_CHECKING:
    from lossmith.derivations.beam import Candidate, Search

NAME = INTEGRAL
COUNTS = (6, 8, 10, 12, 15, 18)  # nodes
REACHES = tuple(Fraction(x) for x in ("2", "1", "1/2", "1/4"))  # how far |t| may be, in units of the scale
GOAL = 2.0**-55  # the remainder relative to the integral
SAMPLE, ZEROS, LEAST = 12, 6, 2.0**-150  # points of bounds; points at which a zero is looked for, and what a zero is
SLOPES, SLOPE_POINTS, SLOPE_WORK, LARGEST = 3, 100, 3000, 220  # slopes that are searched for, and how hard
TARGET = 6.0  # ulp of a slope
FAR_WORK = 12_000  # nodes of the search where an integral does not hold
EDGES, SIDES = 40, (1.02, 0.98, 1.2, 0.5, 1.6, 0.2, 2.5, 4.0)  # points about where an integral ends, and how far out
BESIDE = 3  # forms that are tried beside one integral
EXPONENTIAL = frozenset({"exp", "expm1", "sinh", "cosh", "tanh", "sigmoid", "softplus", "sin", "cos"})


@dataclass(frozen=True)
class Vanishing:
    """`source` vanishes to this order where `by` is `at`: slope is its derivative of that order by `by`."""

    source: Term
    by: Term
    at: Term
    gap: Term  # by - at
    order: int
    slope: Term


@dataclass(frozen=True)
class Integral:
    """`source`, equal to `term` up to the remainder wherever `condition` holds."""

    source: Term
    term: Term
    condition: Term
    vanishing: Vanishing
    count: int
    remainder: float
    slope: Term  # as it was found

    @property
    def words(self) -> str:
        v = self.vanishing
        inner = min((show(replace(s, {v.by: add(v.at, mul(var("u"), var("t")))})) for s in (self.slope, v.slope)),
                    key=len)
        weight, power = ("(1 - u)*", "t**2") if v.order == 2 else ("", "t")
        return (f"what vanishes {'twice ' if v.order == 2 else ''}where t = {show(v.gap)} is 0 is an integral of its "
                f"slope: {power} times that of {weight}{inner} over u from 0 to 1, by Gauss's rule with {self.count} "
                f"nodes: remainder below 2^{_exponent(self.remainder)} where {show(self.condition)}")

    @property
    def latex(self) -> str:
        weight, power, prime = (r"(1-u)\,", "t^2", "''") if self.vanishing.order == 2 else ("", "t", "'")
        return (rf"f = {power}\int_0^1 {weight}f{prime}(a+ut)\,du \text{{, by Gauss's rule with {self.count} nodes: "
                rf"remainder below }} 2^{{{_exponent(self.remainder)}}}")

    def beside(self, elsewhere: Term) -> Term:
        return make("where", self.condition, self.term, elsewhere)


def _exponent(bound: float) -> int:
    return math.ceil(math.log2(bound)) if bound else -1100


# --- where a formula vanishes --------------------------------------------------------------------


def vanishings(source: Term, arguments: Sequence[Argument],
               allowed: Callable[[Rewrite], bool] | None = None) -> list[Vanishing]:
    """Where a formula of several arguments vanishes, twice before once, the simplest slope first.

    At ties of two arguments; with `allowed`, which judges the conditions of rules, also where it is stationary.
    """
    used = [v for v in dict.fromkeys(leaves(source)) if v.op == "var"]
    sample = _places(source, arguments, ZEROS)
    found: list[Vanishing] = []
    if len(sample) < 2:
        return found
    for z, w in itertools.permutations(used, 2):
        one = _vanishing(source, z, w, sample)
        if one is not None:
            found.append(one)
    for z in used if not found else ():
        for at in stationary(source, z, allowed) if allowed is not None else ():
            one = _vanishing(source, z, at, sample)
            if one is not None and one.order == 2:
                found.append(one)
                break
    return sorted(found, key=lambda v: (-v.order, nodes_count(v.slope)))


def _vanishing(source: Term, z: Term, at: Term, sample: Sequence[dict[str, float]]) -> Vanishing | None:
    gap = sub(z, at)
    try:
        if not _is_zero(source, z, at, sample):
            return None
        first = partial(source, z)
        if not _is_zero(first, z, at, sample):
            return Vanishing(source, z, at, gap, 1, first)
        return Vanishing(source, z, at, gap, 2, partial(first, z))
    except CalculusProblem:
        return None


def _is_zero(term: Term, z: Term, at: Term, sample: Sequence[dict[str, float]]) -> bool:
    """Whether a term vanishes at every sampled point where z is `at`: its ball is tiny and holds 0."""
    there = replace(term, {z: at})
    values = 0
    for env in sample:
        with working(500):
            ball = balls.enclose(there, env, 400)
        assert not isinstance(ball, list)
        if not ball.is_finite():
            continue
        if not (ball.contains(0) and float(arb(abs(ball)).upper()) < LEAST):
            return False
        values += 1
    return 2 * values > len(sample)


def _places(term: Term, arguments: Sequence[Argument], count: int) -> list[dict[str, float]]:
    """Points of ordinary magnitude."""
    used = {name_of(t) for t in leaves(term)}
    chosen = [a for a in arguments if a.name in used]
    columns = points.scalar_points(chosen, 40 * count, 17, FORMATS["float32"])
    rows = [dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)]
    fine = [r for r in rows if all(2.0**-10 <= abs(v) <= 40 for v in r.values())]
    return (fine or rows)[:: max(1, len(fine or rows) // count)][:count]


# --- how far it may be integrated ----------------------------------------------------------------


def scale_of(slope: Term, v: Vanishing, arguments: Sequence[Argument], sample: Sequence[dict[str, float]]) -> Term:
    """The distance in z over which the slope changes: by its exponentials, and to the ends where it is singular."""
    lengths: list[Term] = []
    for t in walk(slope):
        if t.op in EXPONENTIAL and v.by in set(leaves(t)):
            rate = partial(_smooth(t.args[0]), v.by)
            if not is_const(rate, 0) and v.by not in set(leaves(rate)):
                lengths.append(_reciprocal(rate))
    for side in _ends(v, arguments):
        for end, away in side:
            if any(not _finite(slope, {**env, name_of(v.by): float(end)}) for env in sample):
                lengths.append(away)
                break
    lengths = list(dict.fromkeys(lengths))
    numbers = [number(x) for x in lengths if is_const(x)]
    terms = [x for x in lengths if not is_const(x)]
    out = [const(min(numbers))] if numbers else []
    out += terms
    scale = out[0] if out else ONE
    for x in out[1:]:
        scale = make("min", scale, x)
    return scale


def _smooth(term: Term) -> Term:
    """The term with every |x| replaced by x: at the same rate, up to its sign."""
    return replace(term, {t: t.args[0] for t in walk(term) if t.op == "abs"})


def _reciprocal(rate: Term) -> Term:
    """1 / |rate|."""
    if rate.op == "neg":
        return _reciprocal(rate.args[0])
    if rate.op == "div" and is_const(rate.args[0]):
        return mul(const(1 / abs(number(rate.args[0]))), make("abs", rate.args[1]))
    return const(1 / abs(number(rate))) if is_const(rate) else div(ONE, make("abs", rate))


def _ends(v: Vanishing, arguments: Sequence[Argument]) -> Iterator[list[tuple[Fraction, Term]]]:
    """Numbers below z's domain and above it, the nearest first, and how far both ends of the integral are from them."""
    domain = next(a.domain for a in arguments if a.name == name_of(v.by))
    own = [Fraction(e) for e in (domain.low, domain.high) if isinstance(e, Fraction | int)]
    usual = {Fraction(0), Fraction(1), Fraction(-1), *own}
    below, above = ([x for x in sorted(usual) if domain.low >= x][::-1], [x for x in sorted(usual) if domain.high <= x])
    yield [(x, make("min", *(sub(t, const(x)) for t in (v.by, v.at)))) for x in below]
    yield [(x, make("min", *(sub(const(x), t) for t in (v.by, v.at)))) for x in above]


def _finite(term: Term, env: dict[str, float]) -> bool:
    ball = balls.enclose(term, env, 100)
    assert not isinstance(ball, list)
    return bool(ball.is_finite())


def _reached(v: Vanishing, condition: Term, scale: Term, reach: Fraction, arguments: Sequence[Argument],
             sample: Sequence[dict[str, float]]) -> Iterator[tuple[dict[str, float], float, float]]:
    """Points about where the formula vanishes, and z at both ends, as far apart as the condition allows."""
    domain = next(a.domain for a in arguments if a.name == name_of(v.by))
    name = name_of(v.by)
    for env in sample:
        base = _value(v.at, env)
        for sign in (1, -1):
            z = base + sign * float(reach) * _value(scale, {**env, name: base})
            for _ in range(60):  # the scale depends on z, too
                if domain.holds(z) and _value(condition.args[0], {**env, name: z}) <= _value(
                        condition.args[1], {**env, name: z}):
                    break
                z = base + 0.9 * (z - base)
            else:
                continue
            yield env, base, z


def _value(term: Term, env: dict[str, float]) -> float:
    ball = balls.enclose(term, env, 100)
    assert not isinstance(ball, list)
    return float(ball.mid()) if ball.is_finite() else math.nan


# --- the integral --------------------------------------------------------------------------------


def integrals(v: Vanishing, slope: Term, scale: Term, scaled: Term | None, arguments: Sequence[Argument],
              ) -> Iterator[Integral]:
    """The integral by as few nodes as its remainder allows, for each reach.

    scaled: the slope times z**order, for where that is infinite near 0.
    """
    sample = _places(v.source, arguments, SAMPLE)
    for reach in REACHES if scaled is not None else REACHES[1:]:
        condition = make("le", make("abs", v.gap), mul(const(reach), scale))
        worst = dict.fromkeys(COUNTS, 0.0)
        try:
            for env, low, high in _reached(v, condition, scale, reach, arguments, sample):
                for n, left in _bounded(v, slope, env, low, high).items():
                    worst[n] = max(worst[n], left)
        except NotAnalyticError:
            continue
        for n, left in worst.items():
            if 0 < left <= GOAL:
                yield Integral(v.source, _summed(v, slope, scaled, n), condition, v, n, left, slope)
                break


def _bounded(v: Vanishing, slope: Term, env: dict[str, float], low: float, high: float) -> dict[int, float]:
    """The remainders, from the slope as it was found or as it was first written."""
    problem: NotAnalyticError | None = None
    for form in (slope, v.slope):
        try:
            return remainders(form, v.by, env, low, high, v.order, COUNTS, GOAL)
        except NotAnalyticError as error:
            problem = error
    assert problem is not None
    raise problem


def _summed(v: Vanishing, slope: Term, scaled: Term | None, count: int) -> Term:
    """t**order times the sum of weights times slopes; with t over z where the slopes are scaled."""
    parts: list[Term] = []
    for u, w in nodes(count):
        weight, z = const(_short(w * (1 - u) ** (v.order - 1))), add(v.at, mul(const(u), v.gap))
        if scaled is None:
            parts.append(mul(weight, replace(slope, {v.by: z})))
        else:
            ratio, value = div(v.gap, z), replace(scaled, {v.by: z})
            parts.append(mul(weight, mul(ratio, mul(ratio, value) if v.order == 2 else value)))
    total = functools.reduce(add, parts)
    for _ in range(v.order if scaled is None else 0):
        total = mul(v.gap, total)
    return total


def _short(x: Fraction) -> Fraction:
    """A number to 25 significant decimals."""
    exponent = math.floor(math.log10(float(abs(x))))
    return Fraction(f"{round(x * Fraction(10) ** (25 - exponent))}e{exponent - 25}")


# --- beside the forms of a search ----------------------------------------------------------------


def integrated(search: Search) -> Iterator[tuple[Term, tuple[Move, ...]]]:
    """For each integral that is accurate where it holds: the leading forms of a search with it beside them."""
    tried = 0
    for v in vanishings(search.definition, search.arguments, lambda r: search.holds(r.conditions)):
        if tried == SLOPES or search.budget.late():
            return
        if nodes_count(v.slope) > LARGEST:
            continue
        tried += 1
        slope = _settled(search, v.slope)
        if slope is None:
            continue
        scale = scale_of(slope, v, search.arguments, _places(v.source, search.arguments, SAMPLE))
        scaled = None
        if make("min", v.by, v.at) in walk(scale):
            scaled = _settled(search, mul(v.slope, power(v.by, const(v.order))))
        for integral in integrals(v, slope, scale, scaled, search.arguments):
            search.extend(_about(search, integral))
            inside = np.broadcast_to(search.judge.evaluator(integral.condition), search.judge.truth.shape)
            if not inside.any():
                continue
            first = move_of(integral)
            for c in _elsewhere(search, ~inside):
                yield integral.beside(c.term), _path(first, integral, c.moves)
            return


def _about(search: Search, integral: Integral) -> Judge:
    """Points on both sides of where the integral ends."""
    v, scale = integral.vanishing, integral.condition.args[1]
    name = name_of(v.by)
    domain = next(a.domain for a in search.arguments if a.name == name)
    out = search.judge.select(np.zeros(search.judge.count, dtype=bool))
    for fmt in search.judge.fmts:
        rows: list[dict[str, float]] = []
        for i, env in enumerate(_places(v.source, search.arguments, EDGES)):
            base = _value(v.at, env)
            far = SIDES[i % len(SIDES)] * _value(scale, {**env, name: base})
            others = search.judge.point(i % search.judge.count)  # of arguments that the source does not have
            rows += [{**others, **env, name: z} for z in (base + far, base - far) if math.isfinite(z)]
        columns = {n: round_array(np.array([r[n] for r in rows]), fmt) for n in search.judge.env}
        keep = np.array([domain.holds(z) for z in columns[name].tolist()], dtype=bool)
        out = out.joined(search.judge.at({n: c[keep] for n, c in columns.items()}, fmt))
    return out


def move_of(integral: Integral) -> Move:
    """The step that puts the integral beside the formula that it stands for."""
    made = integral.beside(integral.source)
    return Move(NAME, integral.words, integral.latex, integral.source, made, integral.source, made)


def _settled(search: Search, slope: Term) -> Term | None:
    """A stable form of a slope, by a search of its own; None where there is none."""
    if is_const(slope):
        return slope
    share = dict.fromkeys(search.judge.fmts, SLOPE_POINTS)
    judge = judges(slope, search.arguments, share, 6)
    judge = judge.select(np.isfinite(judge.truth))
    if judge.count < SLOPE_POINTS // 4:
        return None
    inner = search.within(slope, judge, SLOPE_WORK, TARGET)
    good = inner.good()
    if good:
        return good[0].term
    inner.allowance = inner.lenient()
    good = inner.good()
    return good[0].term if good else min(inner.pool.values(), key=inner.shortfall).term


def _elsewhere(search: Search, outside: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[Candidate]:
    """The forms that lose least where the integral does not hold, by a search there if there is none that is good."""
    pool = _ranked(list(search.pool.values()), outside, search)
    if not outside.any() or float(search.errors(pool[0])[outside].max()) <= search.target:
        return pool[:1]
    inner = search.within(search.definition, search.judge.select(outside), FAR_WORK, search.target)
    found = sorted(inner.pool.values(), key=inner.shortfall)
    return [*(inner.good() or found)[:BESIDE], *pool[:1]]


def _ranked(pool: list[Candidate], outside: np.ndarray[tuple[int], np.dtype[np.bool_]], search: Search,
            ) -> list[Candidate]:
    if not outside.any():
        return pool
    lost = [float(np.maximum(search.errors(c)[outside], search.target).max()) for c in pool]
    return [pool[i] for i in sorted(range(len(pool)), key=lambda i: (lost[i], pool[i].cost, i))]


def _path(first: Move, integral: Integral, moves: Sequence[Move]) -> tuple[Move, ...]:
    out = [first]
    for move in moves:
        out.append(move.inside(out[-1].after, integral.beside(move.after)))
    return tuple(out)


def evidence(source: Term, result: Term, arguments: Sequence[Argument]) -> Evidence:
    """What is known of an integral: that it agrees with the formula. Raises ArithmeticError where it does not."""
    condition, term = result.args[0], result.args[1]
    held = 0
    gap = condition.args[0].args[0]
    for env in _near(gap, source, arguments):
        if not _holds(condition, env):
            continue
        with working(600):
            one, other = balls.enclose(source, env, 500), balls.enclose(term, env, 500)
        assert not isinstance(one, list) and not isinstance(other, list)
        if not (one.is_finite() and other.is_finite()) or one.contains(0):
            continue
        held += 1
        if not abs(one - other) < abs(one) * 2.0**-52:
            raise ArithmeticError(f"{show(result)} is no integral of {show(source)}")
    if not held:
        raise ArithmeticError("no point is known at which the integral could be compared")
    return Evidence("enclosed", "formula and quadrature agree to 2^-52 in ball arithmetic; the remainder is bounded on "
                                "ellipses in the complex plane", held)


def _holds(condition: Term, env: dict[str, float]) -> bool:
    return _value(condition.args[0], env) <= _value(condition.args[1], env)


def _near(gap: Term, source: Term, arguments: Sequence[Argument]) -> Iterator[dict[str, float]]:
    """Points at which a difference is small: one of its arguments moved by parts of it."""
    z = next(leaves(gap))
    domain = next(a.domain for a in arguments if a.name == name_of(z))
    for env in _places(source, arguments, SAMPLE):
        for part in (1, 0.99, 0.9, 0.5, 1.01, 1.5):
            moved = env[name_of(z)] - part * _value(gap, env)
            if domain.holds(moved):
                yield {**env, name_of(z): moved}


__all__ = ["NAME", "Integral", "Vanishing", "evidence", "integrals", "integrated", "vanishings"]
