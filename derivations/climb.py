"""Looking for trouble: points at which a chosen form may fail, found without truth where that is cheap.

Many points are drawn; the form is run in its format and compared with itself in float64, or with
other forms of the same formula. Where they part, and where the form changes branches, and around
the worst points known, truth is asked. Bounded by counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from lossmith.derivations import points
from lossmith.derivations.answers import Answer
from lossmith.derivations.domains import inside
from lossmith.derivations.evaluate import Evaluator
from lossmith.derivations.loss import Argument
from lossmith.derivations.measure import Columns, Judge, apart, constants, satisfying
from lossmith.derivations.precise import unwrapped
from lossmith.derivations.terms import COMPARISONS, Term, const, leaves, make, mul, name_of, walk
from lossmith.derivations.ulp import FORMATS, Array, Doubles, Format, numbers, ordinals, round_array

DRAWN = 1500  # points at which forms are compared with each other
ASKED = 36  # points of a format at which truth is asked, the most suspicious first
AT_SEAMS = 24  # of them at seams
WORST, STEPS = 6, (1, -1, 2, -3, 1 << 8, -(1 << 8), 1 << 16, -(1 << 16))  # places around each of the worst points
HALVINGS = 64
CORNERED = 3  # at most so many arguments have corners
BALANCES, RATIOS = 4, (1, Fraction(1, 2**12), 2**12)  # sums whose parts are balanced, and at which ratios
AT_BALANCES = 48  # points there at which truth is asked
EXTREME = frozenset({"mul", "div", "pow", "exp", "exp_diff", "expm1", "sinh", "cosh"})  # what overflows or vanishes
LIMITS, FEW_BEYOND = 12, 4  # of such parts; drawn points on either side
DISPUTED, AT_ODDS = 6000, 16.0  # points at which an answer is compared with the definition; ulp that matter there
SIZES = 100  # at which all arguments are the same
MOVED = 30  # drawn points of which one argument is moved to its extremes
DOUBT = 2.0  # ulp by which forms must part for truth to be asked


def climbed(answer: Answer, rivals: Sequence[Term], known: Judge, given: Sequence[Term], attempt: int = 0) -> Judge:
    """Points of every format at which `answer` is most likely to be wrong, with their truth; others each attempt."""
    found: Judge | None = None
    for fmt in known.fmts:
        arguments = [a for a in known.arguments if a.name in known.env]
        columns = _suspects(answer.term, rivals, known, arguments, fmt, given, attempt)
        part = known.at(columns, fmt) if columns else None
        if part is not None and part.count:
            found = part if found is None else found.joined(part)
    return found if found is not None else known.select(np.zeros(known.count, dtype=bool))


def disputed(term: Term, other: Term, known: Judge, given: Sequence[Term]) -> Judge:
    """Points of every format at which two forms part the most, of many that are drawn, with their truth."""
    found = known.select(np.zeros(known.count, dtype=bool))
    for fmt in known.fmts:
        arguments = [a for a in known.arguments if a.name in known.env]
        drawn = points.scalar_points(arguments, DISPUTED, 97, fmt, constants(known.definition), given=given)
        corners = satisfying(_inside(_corners(arguments, fmt), arguments), given)
        extremes = satisfying(_inside(_extremes(drawn, other, arguments, fmt), arguments), given)
        limits = satisfying(_inside(_at_seams(_limits(term, drawn, fmt), drawn, fmt), arguments), given)
        alike = satisfying(_inside(_alike(arguments, fmt), arguments), given)
        for columns in (drawn, corners, extremes, limits, alike):
            if _length(columns):
                one, two = (np.broadcast_to(Evaluator(columns, fmt)(t), (_length(columns),)) for t in (term, other))
                doubt = np.where(np.isnan(one) != np.isnan(two), np.inf, np.nan_to_num(apart(one, two, fmt)))
                # Near roots many part by much: what has no value at all is asked for by itself, on either side.
                lost = np.nonzero(~np.isfinite(one) & np.isfinite(two))[0]
                rows = np.nonzero(doubt > AT_ODDS)[0]
                rows = rows[np.argsort(-doubt[rows], kind="stable")]
                far = np.isinf(doubt[rows])
                asked = [_spread(some, ASKED) for some in (rows[far], rows[~far], lost)]
                rows = np.unique(np.concatenate(asked))
                part = known.at({n: c[rows] for n, c in columns.items()}, fmt) if len(rows) else None
                found = found.joined(part) if part is not None and part.count else found
    return found


def _suspects(term: Term, rivals: Sequence[Term], known: Judge, arguments: Sequence[Argument], fmt: Format,
              given: Sequence[Term], attempt: int) -> Columns:
    landmarks = [*constants(term), *_faint_powers(fmt)]
    drawn = points.scalar_points(arguments, DRAWN, 7 + attempt, fmt, landmarks, given=given)
    seams = satisfying(_inside(_at_seams(_comparisons(term), drawn, fmt), arguments), given)
    balances = satisfying(_inside(_at_seams(_balances(known.definition), drawn, fmt), arguments), given)
    corners = satisfying(_corners(arguments, fmt), given)
    around = satisfying(_inside(_around_worst(term, known, fmt), arguments), given)
    table = [_chosen(term, rivals, columns, fmt, count) for columns, count in (
        (drawn, ASKED), (seams, AT_SEAMS), (balances, AT_BALANCES), (corners, ASKED),
        (around, ASKED)) if _length(columns)]
    return {n: np.concatenate([c[n] for c in table]) for n in drawn} if table else {}


def _length(columns: Columns) -> int:
    return len(next(iter(columns.values()))) if columns else 0


def _faint_powers(fmt: Format) -> list[float]:
    """Numbers whose square or cube is subnormal, with some of its digits left."""
    return [sign * 1.37 * (fmt.smallest * 2.0**digits) ** (1 / n) for n in (2, 3) for digits in (4, 14)
            for sign in (1, -1)]


def _corners(arguments: Sequence[Argument], fmt: Format) -> Columns:
    """Every choice of the ends of the domains and of the numbers next to them and to 0, where that is not too many."""
    if not 1 < len(arguments) <= CORNERED:
        return {}
    found = []
    for a in arguments:
        ends = [v for v in (float(a.domain.low), float(a.domain.high), 0.0) if math.isfinite(v)]
        ends = [*points.neighbours(ends, fmt), *(() if len(ends) > 2 else (-fmt.largest, fmt.largest))]
        found.append(np.array(sorted({v for v in ends if math.isfinite(v) and a.domain.holds(v)})))
    grids = np.meshgrid(*found, indexing="ij")
    return {a.name: np.asarray(g, dtype=np.float64).reshape(-1) for a, g in zip(arguments, grids, strict=True)}


def _extremes(drawn: Columns, other: Term, arguments: Sequence[Argument], fmt: Format) -> Columns:
    """Drawn points at which the other form has a value, with one argument moved to where its domain or format ends."""
    finite = np.nonzero(np.isfinite(np.broadcast_to(Evaluator(drawn, fmt)(other), (_length(drawn),))))[0]
    rows = finite[:: max(1, len(finite) // MOVED)][:MOVED]
    table: list[Columns] = []
    for a in arguments if len(arguments) > 1 else ():
        ends = points.neighbours([v for v in (float(a.domain.low), float(a.domain.high), 0.0) if math.isfinite(v)], fmt)
        sizes = (fmt.smallest, 16 * fmt.smallest, fmt.tiny, fmt.largest / 4, fmt.largest)
        values = sorted({v for v in (*ends, *sizes, *(-s for s in sizes)) if math.isfinite(v) and a.domain.holds(v)})
        table += [{n: np.full(len(rows), v) if n == a.name else c[rows] for n, c in drawn.items()} for v in values]
    return {n: np.concatenate([c[n] for c in table]) for n in drawn} if table and len(rows) else {}


def _alike(arguments: Sequence[Argument], fmt: Format) -> Columns:
    """The same number for every argument, of every size."""
    if len(arguments) < 2:
        return {}
    low, high = math.frexp(fmt.smallest)[1], math.frexp(fmt.largest)[1]
    sizes = np.array([math.ldexp(m, e) for e in range(low, high, max(1, (high - low) // SIZES)) for m in (0.5, 0.7)])
    values = round_array(np.concatenate([sizes, -sizes]), fmt)
    return {a.name: values.copy() for a in arguments}


def _inside(columns: Columns, arguments: Sequence[Argument]) -> Columns:
    keep = np.ones(_length(columns), dtype=bool)
    for a in arguments:
        keep &= inside(a.domain, columns.get(a.name, np.zeros(0)))
    return {n: c[keep] for n, c in columns.items()}


def _chosen(term: Term, rivals: Sequence[Term], columns: Columns, fmt: Format, count: int) -> Columns:
    """The points at which the form parts most from all that it is compared with, NaN first; and from one of them."""
    found: set[int] = set()
    for doubt in _doubts(term, rivals, columns, fmt):
        rows = np.nonzero(doubt > DOUBT)[0]
        rows = rows[np.argsort(-doubt[rows], kind="stable")]
        found.update(_spread(rows, count).tolist())
    return {n: c[sorted(found)] for n, c in columns.items()}


def _spread(rows: Array, count: int) -> Array:
    """The first of many, and an even choice of the rest."""
    if len(rows) <= count:
        return rows
    half = count // 2
    rest = rows[half:]
    return np.concatenate([rows[:half], rest[:: max(1, len(rest) // half)][:half]])


def _doubts(term: Term, rivals: Sequence[Term], columns: Columns, fmt: Format) -> list[Doubles]:
    """By how much the form parts from every other, and from some other where there are several."""
    own = Evaluator(columns, fmt)
    shape = (_length(columns),)
    got = np.broadcast_to(own(term), shape)
    if fmt.precision < FORMATS["float64"].precision:
        others = [np.broadcast_to(Evaluator(columns)(term), shape)]
    else:
        others = [np.broadcast_to(own(r), shape) for r in rivals if r is not term]
    doubts = [_parted(got, o, fmt) for o in others]
    found = [np.min(doubts, axis=0)] if doubts else [np.zeros(shape)]
    if len(doubts) > 1:
        found.append(np.max(doubts, axis=0))
    return [np.where(np.isnan(got), np.inf, d) for d in found]


def _parted(got: Doubles, other: Doubles, fmt: Format) -> Doubles:
    if fmt.precision < FORMATS["float64"].precision:
        with np.errstate(over="ignore"):
            other = np.where(np.abs(other) > fmt.largest, np.copysign(np.inf, other), other)
    return np.where(np.isnan(other), 0.0, apart(got, other, fmt))


def _around_worst(term: Term, known: Judge, fmt: Format) -> Columns:
    """The neighbours, near and far, of the points at which the form is known to be worst."""
    errors = np.where([known.fmt(i) is fmt for i in range(known.count)], known.ulps(term), -1.0)
    out: list[dict[str, float]] = []
    for i in np.argsort(-errors, kind="stable")[:WORST].tolist():
        here = known.point(i)
        for name, value in here.items():
            out += [{**here, name: points.step(value, s, fmt)} for s in STEPS if errors[i] >= 0]
    return {n: np.array([p[n] for p in out]) for n in known.env}


def _comparisons(term: Term) -> list[Term]:
    return [t for t in walk(term) if t.op in COMPARISONS]


def _limits(term: Term, drawn: Columns, fmt: Format) -> list[Term]:
    """Where a part of a form overflows, or is about to vanish, which another part may hide."""
    large, small = (const(Fraction(v)) for v in (fmt.largest, fmt.tiny))
    parts = [t for t in walk(unwrapped(term)) if t.sort == "scalar" and t.op in EXTREME and any(leaves(t))]
    at = Evaluator(drawn, fmt)
    found = []
    for t in parts:
        size = np.abs(np.broadcast_to(np.asarray(at(t), dtype=np.float64), (_length(drawn),)))
        for limit, beyond in ((large, ~(size < fmt.largest)), (small, size < fmt.tiny)):
            if FEW_BEYOND < int(beyond.sum()) < len(beyond) - FEW_BEYOND:
                found.append(make("lt", make("abs", t), limit))
    return found[:: max(1, len(found) // LIMITS)][:LIMITS]


def _balances(definition: Term) -> list[Term]:
    """Where the parts of a sum are as large as each other: with several arguments that may be far from landmarks."""
    if len({*leaves(definition)}) < 2:
        return []
    sums = [t for t in walk(definition) if t.op in ("add", "sub") and t.sort == "scalar"]
    return [make("lt", make("abs", t.args[0]), mul(const(ratio), make("abs", t.args[1])))
            for t in sums[-BALANCES:] for ratio in RATIOS]


def _at_seams(conditions: Sequence[Term], drawn: Columns, fmt: Format) -> Columns:
    """Points on both sides of where each condition changes: bisected between drawn points.

    All seams are bisected side by side: what their conditions share is computed once.
    """
    seams = _changing(conditions, drawn, fmt)
    if not seams:
        return {}
    here = {n: np.concatenate([s.here[n] for s in seams]) for n in drawn}
    low, high = (np.concatenate(ends) for ends in zip(*((s.low, s.high) for s in seams), strict=True))
    places = list(_places(seams))
    for _ in range(HALVINGS):
        middle = _between(low, high, fmt)
        if np.all((middle == low) | (middle == high)):
            break
        held = _held(seams, _moved(here, seams, places, middle), places, fmt)
        low, high = np.where(held, middle, low), np.where(held, high, middle)
    lows, highs = _moved(here, seams, places, low), _moved(here, seams, places, high)
    return {n: np.concatenate([c[place] for place in places for c in (lows[n], highs[n])]) for n in drawn}


class _Seam(NamedTuple):
    """Where one argument alone changes a condition: the other arguments, where it holds, where it does not."""

    condition: Term
    name: str
    here: Columns
    low: Doubles
    high: Doubles


def _places(seams: Sequence[_Seam]) -> Iterator[slice]:
    """Where the points of each seam are when those of all follow each other."""
    start = 0
    for s in seams:
        yield slice(start, start + len(s.low))
        start += len(s.low)


def _moved(here: Columns, seams: Sequence[_Seam], places: Sequence[slice], values: Doubles) -> Columns:
    """The points with each seam's own argument put to these values."""
    out = {n: c.copy() for n, c in here.items()}
    for seam, place in zip(seams, places, strict=True):
        out[seam.name][place] = values[place]
    return out


def _held(seams: Sequence[_Seam], columns: Columns, places: Sequence[slice], fmt: Format) -> Array:
    """Whether each seam's condition holds at its points."""
    at, shape = Evaluator(columns, fmt), (_length(columns),)
    return np.concatenate([np.broadcast_to(np.asarray(at(s.condition), dtype=bool), shape)[place]
                           for s, place in zip(seams, places, strict=True)])


def _changing(conditions: Sequence[Term], drawn: Columns, fmt: Format) -> list[_Seam]:
    """The seams with points, from drawn points at which conditions hold and others at which they do not."""
    at, seams = Evaluator(drawn, fmt), list[_Seam]()
    for condition in conditions:
        truth = np.broadcast_to(np.asarray(at(condition), dtype=bool), (_length(drawn),))
        yes, no = np.nonzero(truth)[0], np.nonzero(~truth)[0]
        count = min(AT_SEAMS, len(yes), len(no))
        if count:
            a, b = yes[:: max(1, len(yes) // count)][:count], no[:: max(1, len(no) // count)][:count]
            here = {n: c[a] for n, c in drawn.items()}
            names = dict.fromkeys(name_of(t) for t in leaves(condition))
            seams += [_Seam(condition, n, here, drawn[n][a], drawn[n][b]) for n in names]
    if not seams:
        return []
    places = list(_places(seams))
    here = {n: np.concatenate([s.here[n] for s in seams]) for n in drawn}
    held = _held(seams, _moved(here, seams, places, np.concatenate([s.high for s in seams])), places, fmt)
    kept = [_Seam(s.condition, s.name, {n: c[~held[p]] for n, c in s.here.items()}, s.low[~held[p]], s.high[~held[p]])
            for s, p in zip(seams, places, strict=True)]
    return [s for s in kept if len(s.low)]


def _between(low: Doubles, high: Doubles, fmt: Format) -> Doubles:
    """The number half way in the order of the format."""
    a, b = ordinals(low, fmt), ordinals(high, fmt)
    return numbers(a // 2 + b // 2 + (a % 2 + b % 2) // 2, fmt)
