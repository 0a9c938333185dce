"""One item of the set: stabilized, then measured on fresh points against balls, in each format."""

from __future__ import annotations

import inspect
import math
import os
import resource
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import formula_points as fp
import numpy as np
from formula_set import Item
from lossmith.codegen.targets import np as _printer
from lossmith.derivations import balls, derive
from lossmith.derivations.evaluate import Evaluator
from lossmith.derivations.terms import Term
from lossmith.derivations.ulp import FORMATS, Doubles, Format, ulp_of

import lossmith as lm

os.environ["LOSSMITH_NO_CACHE"] = "1"  # what is timed is the search
LOADED = (derive, _printer)  # once, before the workers part: an import is no part of a search
TARGET = 16.0  # ulp: what counts as solved
Function = Callable[[fp.Columns], Doubles]


@dataclass(frozen=True)
class Effort:
    """How many points are drawn, how many sign changes bisected, how the worst are climbed from."""

    points: int = 420
    roots: int = 4
    climbs: int = 2
    best: int = 6
    tries: int = 8


QUICK, FULL = Effort(), Effort(2500, 8, 4, 12, 16)


def errors(got: Doubles, truth: Doubles, fmt: Format) -> Doubles:
    """|got - truth| in ulp of the truth; infinite for a NaN. An infinity counts as the power of two beyond all else."""
    with np.errstate(all="ignore"):
        unit = ulp_of(truth, fmt)
        beyond = ulp_of(fmt.largest, fmt) / unit * 2.0**fmt.precision
        a, b = (np.where(np.isinf(v), np.copysign(beyond, v), v / unit) for v in (got, truth))
        out = np.abs(a - b)
    out = np.where(got == truth, 0.0, out)
    return np.asarray(np.where(np.isnan(got), np.inf, out), dtype=np.float64)


@dataclass
class Exam:
    """Points of one item in one format, with the truth at them."""

    item: Item
    fmt: Format
    effort: Effort
    seed: int
    columns: fp.Columns
    truth: Doubles

    @classmethod
    def of(cls, item: Item, fmt: Format, effort: Effort, seed: int) -> Exam:
        columns = fp.drawn(item.definition, item.arguments, item.relations, effort.points, seed, fmt)
        exam = cls(item, fmt, effort, seed, columns, np.zeros(0))
        exam.columns, exam.truth = exam.valued(columns)
        exam.add(fp.near_roots(item.definition, exam.columns, exam.truth, item.arguments, item.relations, fmt,
                               effort.roots))
        return exam

    def valued(self, columns: fp.Columns) -> tuple[fp.Columns, Doubles]:
        """The points at which the definition has a value, and that value."""
        truth = balls.truth_many(self.item.definition, columns, self.fmt, self.item.arguments)
        keep = ~np.isnan(truth)
        return {n: c[keep] for n, c in columns.items()}, truth[keep]

    def add(self, columns: fp.Columns) -> None:
        if not len(next(iter(columns.values()))):
            return
        columns, truth = self.valued(fp.distinct(columns))
        self.columns = fp.merged([self.columns, columns])
        self.truth = np.concatenate([self.truth, truth])

    def climb(self, function: Function) -> None:
        """More points uphill from where the function is worst."""
        for k in range(self.effort.climbs):
            found = errors(function(self.columns), self.truth, self.fmt)
            self.add(fp.uphill(self.columns, found, self.item.arguments, self.item.relations, self.fmt,
                               self.seed + k, self.effort.best, self.effort.tries))

    def point(self, i: int) -> dict[str, float]:
        return {n: float(c[i]) for n, c in self.columns.items()}

    def result(self, function: Function) -> dict[str, Any]:
        """Worst error raw and excused by the point's own condition, with where each is."""
        got = function(self.columns)
        found = errors(got, self.truth, self.fmt)
        if not len(found):
            return {"ulp": math.nan, "excused": math.nan, "points": 0}
        worst = int(np.argmax(found))
        excused, at, conditioned = self._excused(found)
        return {
            "ulp": float(found[worst]), "where": self.point(worst), "got": float(got[worst]),
            "truth": float(self.truth[worst]), "excused": excused, "excused_where": self.point(at),
            "excused_got": float(got[at]), "excused_truth": float(self.truth[at]), "conditioned": conditioned,
            "points": len(found),
        }

    def _excused(self, found: Doubles) -> tuple[float, int, int]:
        """The largest error in units of the condition of its point, where, and how many points needed the excuse."""
        best, at, count = -1.0, 0, 0
        for i in np.argsort(found, kind="stable")[::-1].tolist():
            if found[i] <= max(best, TARGET):
                return (best, at, count) if best >= found[i] else (float(found[i]), i, count)
            allowed = (fp.condition(self.item.definition, self.point(i), self.item.arguments, self.fmt)
                       if math.isfinite(found[i]) else 1.0)
            share = float(found[i]) / allowed
            count += share <= TARGET
            if share > best:
                best, at = share, i
        return best, at, count


def evaluated(term: Term, fmt: Format) -> Function:
    """A term with every operation correctly rounded."""

    def run(columns: fp.Columns) -> Doubles:
        found = np.asarray(Evaluator(columns, fmt)(term), dtype=np.float64)
        return np.array(np.broadcast_to(found, next(iter(columns.values())).shape))

    return run


def compiled(found: Any, fmt: Format, names: Sequence[str]) -> Function:
    """The NumPy function that a user gets."""
    function = found.compile("np", fmt.name)

    def run(columns: fp.Columns) -> Doubles:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = function(**{n: columns[n].astype(fmt.dtype) for n in names})
        return np.array(np.broadcast_to(np.asarray(got, dtype=np.float64), next(iter(columns.values())).shape))

    return run


def stabilized(item: Item, dtypes: Sequence[str]) -> Any:
    """What lossmith finds for an item. Raises NotImplementedError where the API lacks what the item needs."""
    given: dict[str, Any] = {}
    known = inspect.signature(lm.stabilize).parameters
    if len(item.wrt) > 1 and "where" not in known:
        raise NotImplementedError("second derivatives")
    if item.where:
        if "where" not in known:
            raise NotImplementedError("relations between arguments")
        given["where"] = list(item.where)
    if len(dtypes) == 1 and "dtype" in known:
        given["dtype"] = dtypes[0]
    return lm.stabilize(item.formula, item.domain, ",".join(item.wrt) or None, **given)


def evidence_of(found: Any) -> list[str]:
    """The kinds of evidence that the steps and the whole carry."""
    every = [e for s in found.steps for e in s.evidence]
    return sorted({e.kind for e in every}) + [f"end to end {e.kind} at {e.points}" for e in found.end_to_end]


def search(item: Item, dtypes: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """The derivation of an item and what is to be said of it before it is measured."""
    start, wall = time.process_time(), time.monotonic()
    found = stabilized(item, dtypes)
    seconds = time.process_time() - start
    return found, {
        "seconds": round(seconds, 3), "wall": round(time.monotonic() - wall, 3),
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "verdict": found.form.verdict, "steps": len(found.steps), "rules": [s.rule for s in found.steps],
        "evidence": evidence_of(found), "form": str(found.form.term), "remaining": found.form.remaining,
    }


def measured(item: Item, found: Any, dtypes: Sequence[str], effort: Effort, seed: int) -> dict[str, Any]:
    """Per format: the definition before, the form after as NumPy, and the form with correctly rounded operations."""
    out: dict[str, Any] = {}
    for name in dtypes:
        fmt = FORMATS[name]
        exam = Exam.of(item, fmt, effort, seed)
        before = evaluated(item.definition, fmt)
        if found is None:
            out[name] = {"before": exam.result(before), "after": None, "evaluated": None}
            continue
        names = [a.name for a in item.arguments if any(a.name == b.name for b in found.arguments)]
        after = compiled(found, fmt, names) if names else evaluated(found.form.term, fmt)
        exam.climb(after)
        out[name] = {"before": exam.result(before), "after": exam.result(after),
                     "evaluated": exam.result(evaluated(found.form.term, fmt))}
    return out


def failing(result: Mapping[str, Any], excused: bool = True) -> bool:
    """Whether the worst error of a form is beyond the target."""
    value = result["excused" if excused else "ulp"]
    return not value <= TARGET


def why(record: Mapping[str, Any], dtype: str) -> str:
    """A rough class of what went wrong, to sort the work by. Empty where nothing did."""
    if record["status"] != "ok":
        return str(record["status"]).split(":")[0]
    parts = record["dtypes"][dtype]
    after, plain = parts["after"], parts["evaluated"]
    if not failing(after, excused=False):
        return ""
    if not failing(after):
        return "conditioning"
    if not failing(plain):
        return "primitive accuracy"
    fmt, truth, got = FORMATS[dtype], after["excused_truth"], after["excused_got"]
    if not math.isfinite(got) or not math.isfinite(truth):
        return "overflow or nan"
    if abs(truth) < fmt.tiny * 2.0**fmt.precision or got == 0:
        return "tail or underflow"
    small = max((abs(v) for v in after["excused_where"].values()), default=1.0)
    if small < 0.1 or abs(truth) < fmt.eps**0.25:
        return "removable singularity or root"
    return "missing rule or regime"
