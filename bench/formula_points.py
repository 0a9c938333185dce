"""Points on which a finished form is measured: drawn apart from those of the search, with their own seed.

Every exponent, domain edges, landmarks with their neighbours, near-equal and mirrored pairs, pairs
that sum or multiply to one, both sides of roots, and steps uphill from the worst points found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np
from lossmith.derivations import balls
from lossmith.derivations.domains import Domain
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term, is_const, name_of, number, walk
from lossmith.derivations.ulp import Doubles, Format, round_array, round_fraction, ulp_of

Columns = dict[str, Doubles]
Generator = np.random.Generator
SPOTS = (0.0, 0.1, 0.25, 0.5, math.log(2), 1.0, math.pi / 2, 2.0, math.e, 3.0, math.pi, 5.0, 10.0, 16.6, 17.3, 36.7,
         37.4, 38.6, 87.3, 88.7, 103.9, 104.0, 708.4, 709.78, 744.4, 745.2, 1e3, 1e4, 1e8, 1e16, 1e154, 3e-8, 1e-16)


def holds(relation: Term, point: Mapping[str, float]) -> bool:
    """Whether a relation holds exactly at a point. Raises KeyError on an operation that relations have no use for."""
    op, args = relation.op, relation.args
    if op in ("and", "or", "not"):
        found = [holds(a, point) for a in args]
        return all(found) if op == "and" else any(found) if op == "or" else not found[0]
    a, b = (_exact(t, point) for t in args)
    return bool({"lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b, "eq": a == b, "ne": a != b}[op])


def _exact(term: Term, point: Mapping[str, float]) -> Fraction:
    if is_const(term):
        return number(term)
    if term.op == "var":
        return Fraction(point[name_of(term)])
    v = [_exact(a, point) for a in term.args]
    table: dict[str, Callable[[], Fraction]] = {
        "add": lambda: v[0] + v[1], "sub": lambda: v[0] - v[1], "mul": lambda: v[0] * v[1],
        "div": lambda: v[0] / v[1], "neg": lambda: -v[0], "abs": lambda: abs(v[0]),
        "pow": lambda: Fraction(v[0] ** int(v[1])),
    }
    return Fraction(table[term.op]())


def inside(columns: Columns, arguments: Sequence[Argument], relations: Sequence[Term], fmt: Format) -> Columns:
    """The points in the format whose every value is finite, in its domain, and which satisfy the relations."""
    columns = {n: round_array(c, fmt) for n, c in columns.items()}
    count = len(next(iter(columns.values())))
    keep = np.ones(count, dtype=bool)
    for a in arguments:
        keep &= np.array([math.isfinite(v) and a.domain.holds(v) for v in columns[a.name].tolist()], dtype=bool)
    for i in np.nonzero(keep)[0] if relations else ():
        point = {n: float(c[i]) for n, c in columns.items()}
        keep[i] = all(holds(r, point) for r in relations)
    return {n: c[keep] for n, c in columns.items()}


def _specials(domain: Domain, fmt: Format, constants: Sequence[float]) -> Doubles:
    """Landmarks, constants of the formula and edges of the domain, each with neighbours near and less near."""
    if domain.values:
        return np.array([round_fraction(v, fmt) for v in domain.values])
    edges = [float(b) for b in (domain.low, domain.high) if math.isfinite(b)]
    spots = [s * v for v in (*SPOTS, *constants, fmt.largest, fmt.tiny, fmt.smallest) for s in (1, -1)]
    gaps = [s * 2.0**-k for k in (2, 8, fmt.precision - 1) for s in (1, -1)]
    near = [v * (1 + gap) for v in (*SPOTS[:12], *constants) for gap in gaps]
    near += [e + s * 2.0**-k for e in edges for k in range(1, 2 * fmt.precision, 3) for s in (1, -1)]
    exact = round_array(np.array([*spots, *near, *edges]), fmt)
    with np.errstate(over="ignore"):
        around = np.concatenate([exact, exact + ulp_of(exact, fmt), exact - ulp_of(exact, fmt)])
    return np.unique(around[np.array([math.isfinite(v) and domain.holds(v) for v in around.tolist()])])


def _wide(domain: Domain, count: int, rng: Generator, fmt: Format) -> Doubles:
    """Every exponent that the domain holds, measured from zero, or from its finite edge."""
    low, high = float(domain.low), float(domain.high)
    top = math.log2(max(abs(v) for v in (low, high) if math.isfinite(v)) or 1.0) if math.isfinite(low + high) else None
    size = np.exp2(rng.uniform(fmt.quantum, fmt.emax if top is None else top, count)) * rng.uniform(1, 2, count)
    signed = size * rng.choice([-1.0, 1.0], count)
    if math.isfinite(low) and low != 0:
        signed = np.where(rng.random(count) < 0.5, signed, low + size)
    if math.isfinite(high) and high != 0:
        signed = np.where(rng.random(count) < 0.5, signed, high - size)
    return signed


def _plain(domain: Domain, count: int, rng: Generator) -> Doubles:
    """Evenly over a bounded domain, a spread of moderate sizes over another."""
    low, high = float(domain.low), float(domain.high)
    if math.isfinite(low + high):
        even = rng.uniform(low, high, count)
        if low > 0 and high / low > 100:
            return np.where(rng.random(count) < 0.5, even, np.exp(rng.uniform(math.log(low), math.log(high), count)))
        return even
    size = np.exp(rng.normal(0, 2.5, count))
    if math.isfinite(low):
        return low + size
    return high - size if math.isfinite(high) else size * rng.choice([-1.0, 1.0], count)


def _column(domain: Domain, count: int, rng: Generator, fmt: Format, specials: Doubles, calm: float) -> Doubles:
    if domain.values:
        return rng.choice(specials, count)
    kind = rng.random(count)
    out = np.where(kind < calm, _plain(domain, count, rng), _wide(domain, count, rng, fmt))
    out = np.where(kind > (1 + calm) / 2, rng.choice(specials, count), out)
    fits = np.array([math.isfinite(v) and domain.holds(v) for v in round_array(out, fmt).tolist()])
    return np.where(fits, out, _plain(domain, count, rng))


ROUNDS = 8  # how often points are drawn anew where relations leave little room


def drawn(definition: Term, arguments: Sequence[Argument], relations: Sequence[Term], count: int, seed: int,
          fmt: Format) -> Columns:
    """Some `count` distinct points of the domain, fewer where the relations leave little room."""
    rng = np.random.default_rng([seed, fmt.precision, 77])
    constants = sorted({abs(float(number(t))) for t in walk(definition) if is_const(t)} - {0.0})[:12]
    specials = {a.name: _specials(a.domain, fmt, constants) for a in arguments}
    share = count if len(arguments) == 1 else 2 * count // 3
    found: list[Columns] = []
    for _ in range(ROUNDS if relations else 1):
        made = _proposed(arguments, share, rng, fmt, specials)
        if relations:
            made += [_at_edges(m, relations, rng, fmt) for m in (_swapped(m, relations) for m in made[:2])]
            made = [_swapped(m, relations) for m in made]
        found += [inside(m, arguments, relations, fmt) for m in made]
        if sum(len(m[arguments[0].name]) for m in found) >= count:
            break
    return thinned(distinct(merged(found)), count, rng)


def _proposed(arguments: Sequence[Argument], share: int, rng: Generator, fmt: Format,
              specials: Mapping[str, Doubles]) -> list[Columns]:
    """Wild points, calm ones, the special values of each argument in turn among calm others, related pairs."""
    made = [{a.name: _column(a.domain, share, rng, fmt, specials[a.name], calm) for a in arguments}
            for calm in (0.2, 0.8)]
    for a in arguments:
        values = specials[a.name] if len(specials[a.name]) <= share else rng.choice(specials[a.name], share, False)
        made.append({b.name: values if b is a else _column(b.domain, len(values), rng, fmt, specials[b.name], 0.9)
                     for b in arguments})
    return made + (_related(arguments, made[1], share, rng, fmt) if len(arguments) > 1 else [])


ORDERS = {"lt": -1, "le": -1, "gt": 1, "ge": 1}


def _swapped(columns: Columns, relations: Sequence[Term]) -> Columns:
    """Arguments that stand the wrong way round for a relation between two of them change places."""
    out = {n: c.copy() for n, c in columns.items()}
    for relation in [*relations, *relations]:
        if relation.op in ORDERS and all(t.op == "var" for t in relation.args):
            a, b = (name_of(t) for t in relation.args)
            wrong = (out[a] < out[b]) if ORDERS[relation.op] > 0 else (out[a] > out[b])
            out[a], out[b] = np.where(wrong, out[b], out[a]), np.where(wrong, out[a], out[b])
    return out


def _at_edges(columns: Columns, relations: Sequence[Term], rng: Generator, fmt: Format) -> Columns:
    """An argument that stands alone on one side of a relation is set close to the other side."""
    out = {n: c.copy() for n, c in columns.items()}
    for relation in relations:
        if relation.op not in ORDERS:
            continue
        for (one, other), way in zip((relation.args, relation.args[::-1]), (1, -1), strict=True):
            if one.op != "var" or name_of(one) in map(name_of, (t for t in walk(other) if t.op == "var")):
                continue
            for i in np.nonzero(rng.random(len(next(iter(out.values())))) < 0.5)[0].tolist():
                point = {n: float(c[i]) for n, c in out.items() if math.isfinite(c[i])}
                try:
                    edge = float(_exact(other, point))
                except (KeyError, ZeroDivisionError, OverflowError):
                    continue
                step = way * ORDERS[relation.op] * 2.0 ** -int(rng.integers(1, fmt.precision + 1))
                out[name_of(one)][i] = edge + abs(edge) * step
            break
    return out


def _related(arguments: Sequence[Argument], base: Columns, count: int, rng: Generator, fmt: Format) -> list[Columns]:
    """Points with one argument set near another one, its mirror image, what it lacks to one, or its reciprocal."""
    base = {n: rng.choice(c, count) if len(c) != count else c.copy() for n, c in base.items()}
    free = [a for a in arguments if not a.domain.values]
    if len(free) < 2:
        return [base]
    out = {n: c.copy() for n, c in base.items()}
    steps = rng.integers(0, fmt.precision + 2, count)
    nearly = np.where(rng.random(count) < 0.15, 1.0, 1 + rng.choice([-1.0, 1.0], count) * np.exp2(-steps))
    kind = rng.choice(6, count, p=[0.45, 0.1, 0.15, 0.1, 0.1, 0.1])
    for i in range(count):
        a, b = (free[j].name for j in rng.choice(len(free), 2, replace=False))
        x = base[a][i]
        with np.errstate(all="ignore"):
            out[b][i] = [x * nearly[i], -x * nearly[i], 1 - x * nearly[i], nearly[i] / x if x else 1.0,
                         x + rng.choice([-1.0, 1.0]) * 2.0 ** -int(steps[i]), round(x)][kind[i]]
    ties = {n: (out[free[0].name] if any(n == f.name for f in free) else c)[: count // 8] for n, c in base.items()}
    return [out, ties]


def merged(parts: Sequence[Columns]) -> Columns:
    return {n: np.concatenate([p[n] for p in parts]) for n in parts[0]}


def distinct(columns: Columns) -> Columns:
    table = np.unique(np.stack(list(columns.values()), axis=1), axis=0)
    return {n: table[:, j].copy() for j, n in enumerate(columns)}


def thinned(columns: Columns, count: int, rng: Generator) -> Columns:
    length = len(next(iter(columns.values())))
    chosen = np.sort(rng.choice(length, count, replace=False)) if length > count else np.arange(length)
    return {n: c[chosen] for n, c in columns.items()}


def near_roots(definition: Term, columns: Columns, truth: Doubles, arguments: Sequence[Argument],
               relations: Sequence[Term], fmt: Format, roots: int) -> Columns:
    """Points on both sides of places where truth changes sign, found by bisecting between points drawn before."""
    out: list[dict[str, float]] = []
    found = _crossings(columns, truth, roots) or _walks(definition, columns, truth, arguments, fmt, 3 * roots)
    for name, low, high in found:
        start = truth_at(definition, low, arguments, fmt) < 0
        for _ in range(fmt.precision + 12):
            middle = float(round_array((low[name] + high[name]) / 2, fmt))
            if middle in (low[name], high[name]):
                break
            side = low if (truth_at(definition, {**low, name: middle}, arguments, fmt) < 0) == start else high
            side[name] = middle
        x = low[name]
        out += [low, high, *({**low, name: x * (1 + s * 2.0**-k)} for k in (4, 9, 15, 22) for s in (1, -1))]
    if not out:
        return {n: c[:0] for n, c in columns.items()}
    return inside({n: np.array([p[n] for p in out]) for n in columns}, arguments, relations, fmt)


def _crossings(columns: Columns, truth: Doubles, roots: int) -> list[tuple[str, dict[str, float], dict[str, float]]]:
    """For one argument: neighbouring points between which truth changes sign."""
    if len(columns) > 1:
        return []
    [(name, column)] = columns.items()
    order = np.argsort(column, kind="stable")
    line, value = column[order].tolist(), np.sign(truth[order])
    changes = [j for j in range(len(line) - 1) if value[j] * value[j + 1] < 0]
    return [(name, {name: line[j]}, {name: line[j + 1]}) for j in changes[:roots]]


def _walks(definition: Term, columns: Columns, truth: Doubles, arguments: Sequence[Argument], fmt: Format,
           roots: int) -> list[tuple[str, dict[str, float], dict[str, float]]]:
    """The same for several arguments: from a point below zero to one above, an argument at a time."""
    calm = np.all([np.abs(c) < 1e6 for c in columns.values()], axis=0)
    below, above = np.nonzero(calm & (truth < 0))[0], np.nonzero(calm & (truth > 0))[0]
    out = []
    for k in range(roots if len(below) and len(above) else 0):
        here = {n: float(c[below[k * 7 % len(below)]]) for n, c in columns.items()}
        there = {n: float(c[above[k * 11 % len(above)]]) for n, c in columns.items()}
        for name in columns:
            after = {**here, name: there[name]}
            value = truth_at(definition, after, arguments, fmt)
            if not value <= 0:
                if value > 0:
                    out.append((name, here, after))
                break
            here = after
    return out


def truth_at(definition: Term, point: Mapping[str, float], arguments: Sequence[Argument], fmt: Format) -> float:
    value = balls.truth(definition, point, fmt, arguments)
    assert isinstance(value, float)
    return value


def uphill(columns: Columns, errors: Doubles, arguments: Sequence[Argument], relations: Sequence[Term], fmt: Format,
           seed: int, best: int, tries: int) -> Columns:
    """New points around the worst ones: some places away in one argument, or in all."""
    rng = np.random.default_rng([seed, fmt.precision, 99])
    worst = np.argsort(np.where(np.isfinite(errors), errors, 1e300), kind="stable")[::-1][:best]
    length = len(worst) * tries
    out: Columns = {}
    alone = rng.choice(list(columns), length)
    for a in arguments:
        base = np.repeat(columns[a.name][worst], tries)
        if a.domain.values:
            out[a.name] = base
            continue
        reach = np.exp2(-rng.uniform(0.5, fmt.precision, length)) * rng.choice([-1.0, 1.0], length)
        with np.errstate(all="ignore"):
            moved = base * (1 + reach)
        out[a.name] = np.where((alone == a.name) | (rng.random(length) < 0.3), moved, base)
    return inside(out, arguments, relations, fmt)


LARGEST = 2**1000  # a condition beyond this is this


def condition(definition: Term, point: Mapping[str, float], arguments: Sequence[Argument], fmt: Format) -> float:
    """By how many ulp truth moves when one argument moves by half an ulp: the most, at least 1."""
    here = truth_at(definition, point, arguments, fmt)
    unit = Fraction(float(ulp_of(here, fmt)))
    most = Fraction(1)
    for a in arguments:
        if a.domain.values or not math.isfinite(here):
            continue
        half = Fraction(float(ulp_of(point[a.name], fmt))) / 2
        for way in (half, -half):
            moved = Fraction(point[a.name]) + way
            if abs(moved) > fmt.largest or not a.domain.holds(moved):  # type: ignore[arg-type]
                continue
            there = balls.truth(definition, {**point, a.name: moved}, fmt, arguments)
            if isinstance(there, float) and math.isfinite(there):
                most = max(most, min(abs(Fraction(there) - Fraction(here)) / unit, Fraction(LARGEST)))
    return float(most)
