"""One audit: a subject, a target, a dtype and a tier; truth computed once and shared."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lossmith.audit import subject as subjects
from lossmith.audit.adapters import Adapter, FunctionAdapter, adapter
from lossmith.audit.condition import excuse_for
from lossmith.audit.contract import bound
from lossmith.audit.measure import Exact, Report, exact, measure
from lossmith.audit.result import Result
from lossmith.audit.samples import ROW_CLASSES, Batch, elementwise_batches, exhaustive_batches, row_batches
from lossmith.audit.subject import Subject
from lossmith.derivations.ulp import FORMATS, Format


class Exam:
    """A subject with its batches in one dtype; truth is computed when first asked for and kept."""

    def __init__(self, subject: Subject, fmt: Format, batches: Sequence[Batch]) -> None:
        self.subject = subject
        self.fmt = fmt
        self.batches = tuple(batches)
        self._exact: dict[tuple[str, int], Exact] = {}

    def truth(self, output: str, number: int) -> Exact:
        key = (output, number)
        if key not in self._exact:
            self._exact[key] = exact(self.subject, output, self.batches[number])
        return self._exact[key]

    def measure(self, given: Adapter, tier: str, outputs: Iterable[str] | None = None) -> list[Report]:
        """Every output that the adapter offers, one report for each group of points."""
        reports: list[Report] = []
        for output in outputs or self.subject.outputs:
            merged: dict[str, Report] = {}
            for number, batch in enumerate(self.batches):
                if given.offers(self.subject, output, batch, self.fmt.name, tier):
                    report = self._one(given, tier, output, number)
                    merged[batch.group] = merged[batch.group] + report if batch.group in merged else report
            reports += merged.values()
        return reports

    def _one(self, given: Adapter, tier: str, output: str, number: int) -> Report:
        batch, fmt = self.batches[number], self.fmt
        limit = bound(output, given.name, fmt, tier, batch.classes)
        head = Report(self.subject.name, output, given.name, fmt.name, tier, batch.group, bound=limit)
        got = given.call(self.subject, output, batch, fmt.name, tier)
        return measure(got, self.truth(output, number), fmt, limit, head, batch,
                       excuse_for(self.subject, output, batch, fmt))


def exam(subject: Subject, dtype: str, count: int = 2000, classes: Sequence[int] = ROW_CLASSES,
         exhaustive: bool = False, seed: int = 0) -> Exam:
    """The batches of a subject in a dtype. `exhaustive`: every number of a 16-bit format."""
    fmt = FORMATS[dtype]
    if subject.is_row:
        return Exam(subject, fmt, row_batches(subject, fmt, classes, seed))
    if exhaustive:
        return Exam(subject, fmt, exhaustive_batches(subject, fmt))
    return Exam(subject, fmt, elementwise_batches(subject, fmt, count, seed))


def audit(unit: str | Callable[..., Any], target: str = "np", dtype: str = "float32", tier: str = "fast", *,
          truth: str | None = None, exhaustive: bool = False, count: int = 2000,
          classes: Sequence[int] = (1, 2, 3, 10, 1000), output: str = "loss") -> Result:
    """Measure generated kernels, or any function, against ball arithmetic on the definition.

    unit: a name of the catalogue, its kernels of `target` (np, pt, cu on the host) being measured;
    or a function of NumPy arrays that computes `output` of the unit named by `truth`. count: drawn
    points of an elementwise loss; classes: lengths of rows. Raises UnknownLoss, Unavailable, and
    ValueError for what is not a target, dtype or tier.
    """
    given: Adapter
    if callable(unit):
        if truth is None:
            raise ValueError("name the unit that the function should compute: truth='softmax_cross_entropy'")
        given, name = FunctionAdapter(unit, output, getattr(unit, "__name__", "function")), truth
    else:
        given, name = adapter(target), unit
    if dtype not in FORMATS:
        raise ValueError(f"there is no dtype '{dtype}': choose one of {', '.join(FORMATS)}")
    if tier not in given.tiers:
        raise ValueError(f"target {given.name} has no tier '{tier}': it has {', '.join(given.tiers)}")
    made = _exam(name, dtype, count, tuple(classes), exhaustive)
    return Result(tuple(made.measure(given, tier)))


@functools.lru_cache(maxsize=16)
def _exam(name: str, dtype: str, count: int, classes: tuple[int, ...], exhaustive: bool) -> Exam:
    return exam(subjects.load(name), dtype, count, classes, exhaustive)
