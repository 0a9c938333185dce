"""Two forms of one formula, as from a pull request: are they equal, where not, and which is more accurate.

Both are taken exactly as they are written: `a + b - c` is not `a - c + b`. What is exact is the
first form in ball arithmetic; errors are those of a machine that rounds every operation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from lossmith.derivations import balls, evaluate, points, prove
from lossmith.derivations.derivation import Measurement
from lossmith.derivations.loss import Argument
from lossmith.derivations.measure import Judge, constants, judge
from lossmith.derivations.rules import Rule
from lossmith.derivations.terms import Term, const, leaves, make, name_of, replace, show, var, walk
from lossmith.derivations.ulp import FORMATS, Array, Doubles, Format

Relation = Literal["proved", "enclosed", "refuted"]
Verdict = Literal["better", "better in part", "no better", "worse", "wrong", "wrong at a seam"]
COMPARED, MEASURED = 400, 1500  # points at which the forms are compared exactly, and measured
BETTER = 4.0  # how many times smaller an error must be to count
FAR_MORE = 20  # a form that is worse at so many times more points than it is better at, is worse
ENOUGH = 4.0  # ulp within which no form is called worse than another
PLAIN = ("a", "b", "c", "d", "e", "f", "g", "h")  # names of rules' variables that stand for any number


@dataclass(frozen=True)
class Counterexample:
    """A point at which the forms have different values. `alone`: they agree at every neighbouring float."""

    point: dict[str, float]
    before: float
    after: float
    alone: bool

    @property
    def where(self) -> str:
        return ", ".join(f"{n} = {v:.9g}" for n, v in self.point.items())


@dataclass(frozen=True)
class Accuracy:
    """Both forms in one format: the worst error of each, at how many points each has no number
    where the exact value is one, and at how many each is clearly the more accurate. `seam`: a point
    at which only the second form has no number, although it has one on either side."""

    dtype: str
    before: Measurement
    after: Measurement
    lost_before: int
    lost_after: int
    gains: int
    losses: int
    loss_at: str = ""
    lost_at: str = ""
    seam: str = ""


@dataclass(frozen=True)
class Comparison:
    """What is known of two forms. `region`: on which part of the domain they differ, in words."""

    before: Term
    after: Term
    arguments: tuple[Argument, ...]
    relation: Relation
    method: str
    compared: int
    counterexamples: tuple[Counterexample, ...]
    region: str
    accuracy: tuple[Accuracy, ...]

    @property
    def verdict(self) -> Verdict:
        """Whether the second form is right, and whether it is more accurate than the first."""
        seam = all(c.alone for c in self.counterexamples)
        if self.counterexamples and not seam:
            return "wrong"
        if self.counterexamples or any(a.seam for a in self.accuracy):
            return "wrong at a seam"
        gains, losses = (sum(getattr(a, n) for a in self.accuracy) for n in ("gains", "losses"))
        if gains and losses and max(gains, losses) <= FAR_MORE * min(gains, losses):
            return "better in part"
        return "worse" if losses > gains else "better in part" if losses else "better" if gains else "no better"

    @property
    def sound(self) -> bool:
        """Whether the second form is the same formula and has a number wherever the first has one."""
        return not self.verdict.startswith("wrong")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "before": show(self.before), "after": show(self.after), "verdict": self.verdict, "sound": self.sound,
            "relation": self.relation, "method": self.method, "compared": self.compared, "region": self.region,
            "counterexamples": [dataclasses.asdict(c) for c in self.counterexamples],
            "accuracy": [dataclasses.asdict(a) for a in self.accuracy],
        }

    def to_text(self) -> str:
        """A few lines for the terminal."""
        return "\n".join(_lines(self))


def compare(before: Term, after: Term, arguments: tuple[Argument, ...], given: tuple[Term, ...] = (),
            dtypes: Sequence[str] = ("float32", "float64"), count: int = MEASURED) -> Comparison:
    """Compare two elementwise forms over the domains of their arguments.

    Values are compared at points that seek trouble: edges, ties, the places where either form
    chooses. Where no difference is found a proof is tried. Raises ValueError for rows.
    """
    if before.sort != "scalar" or after.sort != "scalar":
        raise ValueError("two forms of a single value are compared, not of rows")
    found, tried = _differences(before, after, arguments, given)
    relation: Relation = "refuted"
    method = "a point at which they differ"
    if not found:
        relation, method = _proof(before, after, arguments, given)
    region = _region(before, after, arguments, given, found) if found else ""
    measured = tuple(_accuracy(before, after, arguments, given, FORMATS[d], count) for d in dtypes)
    return Comparison(before, after, arguments, relation, method, tried, tuple(found[:8]), region, measured)


def seams(*terms: Term) -> list[float]:
    """Numbers at which a form may change: its constants, and zero."""
    return sorted({0.0, *(c for t in terms for c in constants(t))})


def _columns(before: Term, after: Term, arguments: Sequence[Argument], given: tuple[Term, ...], count: int, seed: int,
             fmt: Format) -> dict[str, Doubles]:
    used = {name_of(t) for t in leaves(make("add", before, after))}
    chosen = [a for a in arguments if a.name in used] or list(arguments)
    return points.scalar_points(chosen, count, seed, fmt, seams(before, after), given=given)


def _differences(before: Term, after: Term, arguments: tuple[Argument, ...], given: tuple[Term, ...],
                 ) -> tuple[list[Counterexample], int]:
    """Points at which the exact values of the two forms differ, moderate ones first."""
    columns = _columns(before, after, arguments, given, COMPARED, 5, FORMATS["float64"])
    found: list[Counterexample] = []
    tried = 0
    for point in sorted(_each(columns), key=_size):
        tried += 1
        if not _agree(before, after, point, arguments):
            right, got = (_value(t, point, arguments) for t in (before, after))
            if math.isnan(right):
                continue  # where the first form has no value, the second may have any
            if any(c.point == point for c in found):
                continue
            found.append(Counterexample(point, right, got, _alone(before, after, point, arguments)))
            if len(found) >= 24:
                break
    return sorted(found, key=lambda c: c.alone), tried


def _each(columns: dict[str, Doubles]) -> Iterator[dict[str, float]]:
    for i in range(len(next(iter(columns.values()), []))):
        yield {n: float(c[i]) for n, c in columns.items()}


def _size(point: dict[str, float]) -> float:
    """How far a point is from ordinary numbers: a person should see the plainest counterexample."""
    return sum(abs(math.log2(abs(v))) if v and math.isfinite(v) else 0.5 for v in point.values())


def _agree(before: Term, after: Term, point: dict[str, float], arguments: tuple[Argument, ...]) -> bool:
    return balls.overlaps(before, after, point, arguments=arguments)


def _value(term: Term, point: dict[str, float], arguments: tuple[Argument, ...]) -> float:
    value = balls.truth(term, point, arguments=arguments)
    assert isinstance(value, float)
    return value


def _alone(before: Term, after: Term, point: dict[str, float], arguments: tuple[Argument, ...]) -> bool:
    """Whether the forms agree on either side of the point: they differ at a seam only."""
    domains = {a.name: a.domain for a in arguments}
    for name, value in point.items():
        sides = [points.step(value, s, FORMATS["float64"]) for s in (-1, 1)]
        sides = [v for v in sides if domains[name].holds(v) and math.isfinite(v)]
        if sides and all(_agree(before, after, {**point, name: v}, arguments) for v in sides):
            return True
    return False


def _region(before: Term, after: Term, arguments: tuple[Argument, ...], given: tuple[Term, ...],
            found: Sequence[Counterexample]) -> str:
    """On which part of the domain the forms differ: the first comparison that tells the points apart."""
    if all(c.alone for c in found):
        return "at isolated points only, such as " + found[0].where
    columns = _columns(before, after, arguments, given, COMPARED, 6, FORMATS["float64"])
    sample = list(_each(columns))
    wrong = [not _agree(before, after, p, arguments) for p in sample]
    share = sum(wrong) / max(1, len(sample))
    if share > 0.9:
        return "everywhere"
    best, most = "", 0.5
    for condition in _splits(before, after, arguments):
        holds = [_value(make("where", condition, const(1), const(0)), p, arguments) == 1 for p in sample]
        if all(holds):
            continue  # it parts nothing from nothing
        inside = [w for h, w in zip(holds, wrong, strict=True) if h]
        if sum(inside) == sum(wrong) and sum(inside) > most * len(inside):
            best, most = f"where {show(condition)}", sum(inside) / len(inside)
    return best or f"at {share:.0%} of the points tried"


OPS = ("lt", "gt", "le", "ge")


def _splits(before: Term, after: Term, arguments: tuple[Argument, ...]) -> Iterator[Term]:
    chosen = [t for t in walk(before, after) if t.op in ("lt", "le", "gt", "ge")]
    for a in arguments:
        chosen += [make(op, var(a.name), const(repr(c))) for c in seams(before, after) for op in OPS]
    for i, a in enumerate(arguments):
        chosen += [make(op, var(a.name), var(b.name)) for b in arguments[i + 1:] for op in OPS]
    return iter(dict.fromkeys(chosen))


def _proof(before: Term, after: Term, arguments: tuple[Argument, ...], given: tuple[Term, ...],
           ) -> tuple[Relation, str]:
    """The two as a rule over the domains of their arguments, proved as rules are."""
    names = {a.name: plain for a, plain in zip(arguments, PLAIN)}
    if len(names) < len(arguments):
        return "enclosed", "ball arithmetic"
    renamed = {var(n): var(plain) for n, plain in names.items()}
    conditions = [replace(c, renamed) for c in (*_bounds(arguments), *given)]
    sides = replace(before, renamed), replace(after, renamed)
    if sides[0] is sides[1]:
        return "proved", "they are the same form"
    rule = Rule("before-after", "", *sides, frozenset(), tuple(conditions), "", "")
    try:
        known = prove.prove_rule(rule)
    except ArithmeticError:
        return "enclosed", "ball arithmetic"
    return known.kind, known.method


def _bounds(arguments: Sequence[Argument]) -> Iterator[Term]:
    for a in arguments:
        for bound, closed, ops in ((a.domain.low, a.domain.low_closed, ("gt", "ge")),
                                   (a.domain.high, a.domain.high_closed, ("lt", "le"))):
            if math.isfinite(bound):
                yield make(ops[closed], var(a.name), const(str(bound)))


def _accuracy(before: Term, after: Term, arguments: tuple[Argument, ...], given: tuple[Term, ...], fmt: Format,
              count: int) -> Accuracy:
    """Errors of both forms against the exact value of the first, where that is finite."""
    sight = judge(before, arguments, fmt, count, 7, given=given)
    finite = np.isfinite(sight.truth)
    lost = [finite & ~np.isfinite(sight.value(t)) for t in (before, after)]
    errors = [np.where(finite, sight.ulps(t), 0.0) for t in (before, after)]
    better, worse = (np.maximum(a, ENOUGH) > BETTER * np.maximum(b, ENOUGH) for a, b in (errors, errors[::-1]))
    lost_at, loss_at = (_first(sight, places) for places in (lost[1] & ~lost[0], worse))
    worst = [_worst(sight, e, finite & ~gone) for e, gone in zip(errors, lost, strict=True)]
    return Accuracy(fmt.name, worst[0], worst[1], int(lost[0].sum()), int(lost[1].sum()), int(better.sum()),
                    int(worse.sum()), loss_at, lost_at, _seam(sight, after, lost[1] & ~lost[0]))


def _seam(sight: Judge, after: Term, places: Array) -> str:
    """The first of some points at whose neighbours the form has a number."""
    fmt = sight.fmts[0]
    for i in np.flatnonzero(places):
        point = sight.point(int(i))
        for name, value in point.items():
            sides = [points.step(value, s, fmt) for s in (-1, 1)]
            env = {n: np.array(sides if n == name else [v, v]) for n, v in point.items()}
            if np.isfinite(evaluate.Evaluator(env, fmt)(after)).all():
                return sight.where(int(i))
    return ""


def _first(sight: Judge, places: Array) -> str:
    """The plainest of some points, in words."""
    found = np.flatnonzero(places)
    return sight.where(int(min(found, key=lambda i: _size(sight.point(int(i)))))) if len(found) else ""


def _worst(sight: Judge, errors: Doubles, places: Array) -> Measurement:
    """The worst error at some places: values that are no numbers are counted apart."""
    errors = np.where(places, errors, 0.0)
    worst = int(np.argmax(errors)) if len(errors) else 0
    at = sight.where(worst) if len(errors) else ""
    return Measurement(sight.fmts[0].name, float(errors[worst]) if len(errors) else 0.0, at, int(places.sum()))


SAID: dict[Verdict, str] = {
    "better": "sound, and more accurate",
    "better in part": "sound, and more accurate in one place and less in another",
    "no better": "sound, but no more accurate",
    "worse": "sound, but less accurate",
    "wrong": "NOT the same formula",
    "wrong at a seam": "right but for a seam, where it is WRONG",
}


def _lines(c: Comparison) -> Iterator[str]:
    yield f"before  {show(c.before)}"
    yield f"after   {show(c.after)}"
    yield ""
    yield f"verdict  the second form is {SAID[c.verdict]}"
    if c.relation == "refuted":
        yield f"refuted  they differ {c.region}"
        for one in c.counterexamples[:3]:
            yield f"         at {one.where}: {_two(one)}"
    else:
        proved = c.relation == "proved"
        yield "equal    " + (f"proved ({c.method})" if proved else f"in ball arithmetic, at {c.compared} points")
    for seam in dict.fromkeys(a.seam for a in c.accuracy if a.seam):
        yield f"seam     at {seam} the second form has no number, though it has on either side"
    for a in c.accuracy:
        yield f"{a.dtype:8} before: worst {_ulp(a.before)}{_lost(a.lost_before)}"
        yield f"         after:  worst {_ulp(a.after)}{_lost(a.lost_after, a.lost_at)}"
        yield f"         better at {a.gains} of {a.after.points + a.lost_after} points, worse at {a.losses}" + (
            f" such as {a.loss_at}" if a.losses else "")


def _two(one: Counterexample) -> str:
    """Both values, with as many digits as tell them apart."""
    digits = 9 if f"{one.before:.9g}" != f"{one.after:.9g}" else 17
    return f"{one.before:.{digits}g} before, {one.after:.{digits}g} after"


def _ulp(m: Measurement) -> str:
    return f"{m.ulp:.4g} ulp at {m.where}" if m.ulp else "0 ulp"


def _lost(count: int, at: str = "") -> str:
    return f", not a number at {count} points" + (f" such as {at}" if at else "") if count else ""
