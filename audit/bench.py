"""A table of times, each with the accuracy beside it: every contender on the same data, and on the same hard points."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from lossmith.audit import stream
from lossmith.audit.adapters import Unavailable
from lossmith.audit.condition import excuse_for
from lossmith.audit.contenders import CONTENDERS, Setting, values
from lossmith.audit.measure import Report, exact, measure
from lossmith.audit.race import race
from lossmith.audit.samples import HARD, Batch, elementwise_batches, row_batches
from lossmith.audit.workloads import Workload, drawn
from lossmith.derivations.ulp import FORMATS, Array

POINTS, CLASSES = 300, 10  # hard points of an elementwise loss; of a row loss the length of the rows
REFERENCES = ("torch.compile", "torch", "numpy by hand", "np")  # the first that is here is what ratios are taken to
BOUND = 4.0
REST = 5e-3  # seconds between contenders that use several threads


@dataclass(frozen=True)
class Accuracy:
    """The worst error in ulp of one output on the hard points, and how many values were NaN or infinite and should
    not have been, or the reverse."""

    ulp: float
    wrong: int

    def __str__(self) -> str:
        return f"{self.ulp:.3g}" + (f" ({self.wrong} wrong)" if self.wrong else "")


@dataclass(frozen=True)
class Line:
    """One contender on one size. `seconds` per call, `ratio`: times as fast as the reference; `moved`: the bytes of
    inputs and outputs; `share`: of the speed at which memory alone moves as many, by the faster of copying and
    adding, 0 where neither was timed; `absent`: why it is not there, and nothing else is known of it."""

    loss: str
    size: str
    contender: str
    seconds: float = 0.0
    per_element: float = 0.0
    ratio: float = 0.0
    rounds: int = 0
    reference: str = ""
    dtype: str = "float32"
    moved: int = 0
    share: float = 0.0
    accuracy: Mapping[str, Accuracy] | None = None
    absent: str = ""


def lines(workload: Workload, shape: Sequence[int], setting: Setting, names: Iterable[str], seconds: float = 2.0,
          clock: str = "wall", progress: Callable[[str], None] | None = None) -> list[Line]:
    """Every contender of `names` on data of one shape. Raises KeyError for a name that is none."""
    arrays = drawn(workload, shape, setting.dtype)
    moved = stream.traffic(arrays, 0 if setting.mean else int(np.prod(shape[:-1] if workload.is_row else shape)),
                           setting.both)
    head = Line(workload.name, "x".join(map(str, shape)), "", dtype=setting.dtype, moved=moved)
    runners, found = dict[str, Callable[[], object]](), dict[str, Line]()
    for name in names:
        if progress:
            progress(f"{head.loss} {head.size}: {name}")
        found[name] = replace(head, contender=name)
        try:
            if name in stream.NAMES:
                runners[name] = stream.streaming(name, moved, setting.threads)
            else:
                found[name] = replace(found[name], accuracy=accuracy_of(workload, name, replace(setting, mean=False)))
                runners[name] = CONTENDERS[name](workload, arrays, setting)
            runners[name]()
        except Unavailable as problem:
            found[name] = replace(found[name], absent=str(problem))
            runners.pop(name, None)
    return _timed(found, runners, int(np.prod(shape)), seconds, clock, setting) if runners else list(found.values())


def _timed(found: dict[str, Line], runners: Mapping[str, Callable[[], object]], elements: int, seconds: float,
           clock: str, setting: Setting) -> list[Line]:
    reference = next((r for r in REFERENCES if r in runners), next(iter(runners)))
    times = race(runners, reference, seconds, clock, rest=REST if setting.threads > 1 else 0.0)
    memory = [min(pair) for pair in zip(*(times[n].each for n in stream.NAMES if n in times), strict=True)]
    for name, t in times.items():
        found[name] = replace(found[name], seconds=t.seconds, per_element=t.seconds / elements, ratio=t.ratio,
                              rounds=t.rounds, reference=reference, share=_share(memory, t.each))
    return list(found.values())


def _share(memory: Sequence[float], each: Sequence[float]) -> float:
    return statistics.median(m / max(t, 1e-12) for m, t in zip(memory, each, strict=True)) if memory else 0.0


@cache
def accuracy_of(workload: Workload, name: str, setting: Setting) -> Mapping[str, Accuracy]:
    """The errors of loss and gradient on points that seek trouble, targets hard. Raises Unavailable."""
    found: dict[str, Accuracy] = {}
    subject, fmt = workload.subject, FORMATS[setting.dtype]
    outputs = ["loss", f"gradient_{workload.given[0].name}"][: 1 + setting.both]
    for batch in _batches(workload, setting.dtype):
        arrays = {a.name: np.ascontiguousarray(batch.arrays[a.name].astype(
            np.int64 if a.role == "label" else fmt.dtype)) for a in workload.given}
        with np.errstate(all="ignore"):
            got = values(CONTENDERS[name](workload, arrays, setting)())
        for output, value in zip(outputs, got, strict=True):
            head = Report(workload.name, output, name, setting.dtype, setting.tier, batch.group)
            truth = _truth(workload, setting.dtype, output)[batch.group]
            report = measure(_shaped(value, truth.high), truth, fmt, BOUND, head, batch,
                             excuse_for(subject, output, batch, fmt))
            old = found.get(output.split("_")[0], Accuracy(0.0, 0))
            found[output.split("_")[0]] = Accuracy(max(old.ulp, report.max_ulp),
                                                   old.wrong + report.wrong_nan + report.wrong_inf)
    return found


def _shaped(value: Array, like: Array) -> Array:
    return np.array(np.broadcast_to(value.reshape(like.shape) if value.size == like.size else value, like.shape))


@cache
def _batches(workload: Workload, dtype: str) -> tuple[Batch, ...]:
    """Hard targets where there are any, and numbers alone: what infinities and NaN should give, peers do not say."""
    fmt, subject = FORMATS[dtype], workload.subject
    made = row_batches(subject, fmt, (CLASSES,)) if workload.is_row else elementwise_batches(subject, fmt, POINTS)
    chosen = [b for b in made if b.group == HARD] or made
    return tuple(_finite(b) for b in chosen)


def _finite(batch: Batch) -> Batch:
    keep = np.ones(batch.count, dtype=bool)
    for a in batch.arrays.values():
        keep &= np.isfinite(a).reshape(batch.count, -1).all(axis=1)
    return replace(batch, arrays={n: a[keep] for n, a in batch.arrays.items()})


@cache
def _truth(workload: Workload, dtype: str, output: str) -> dict[str, Any]:
    return {b.group: exact(workload.subject, output, b) for b in _batches(workload, dtype)}
