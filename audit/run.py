"""One audit: a subject, a target, a dtype and a tier; truth computed once and shared."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from lossmith.audit import subject as subjects
from lossmith.audit.adapters import Adapter, adapter
from lossmith.audit.condition import excuse_for
from lossmith.audit.contract import bound
from lossmith.audit.evidence import Lab, Seen, picked, repeated, sizes, worst_of
from lossmith.audit.findings import Finding
from lossmith.audit.foreign import SECONDS, ForeignAdapter, Hung, Misbehaved, name_of, resolve
from lossmith.audit.measure import Exact, Report, describe, exact, located
from lossmith.audit.quick import quick_exact
from lossmith.audit.result import Failure, Origin, Result
from lossmith.audit.samples import ROW_CLASSES, Batch, elementwise_batches, exhaustive_batches, row_batches
from lossmith.audit.subject import Subject
from lossmith.derivations.ulp import FORMATS, Format

LONG = 500  # classes from which on rows in float32 take their truth from a bounded reference where that is enough
NOTHING: Mapping[str, Any] = MappingProxyType({})


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
            batch = self.batches[number]
            many = self.fmt.bits == 16 or (self.fmt.bits == 32 and (batch.classes or 1) >= LONG)
            quick = quick_exact(self.subject, output, batch, self.fmt) if many else None
            self._exact[key] = quick or exact(self.subject, output, batch)
        return self._exact[key]

    def measure(self, given: Adapter, tier: str, outputs: Iterable[str] | None = None,
                failures: list[Failure] | None = None, seen: list[Seen] | None = None) -> list[Report]:
        """Every output that the adapter offers, one report for each group of points.

        failures: where a call that gives no usable answer is noted; without it, the call raises Misbehaved.
        seen: where the values are kept, for a diagnosis.
        """
        reports: list[Report] = []
        for output in outputs or self.subject.outputs:
            merged: dict[str, Report] = {}
            for number, batch in enumerate(self.batches):
                if not given.offers(self.subject, output, batch, self.fmt.name, tier):
                    continue
                found: tuple[Report, Seen] | None
                try:
                    found = self.one(given, tier, output, batch, self.truth(output, number))
                except Misbehaved as problem:
                    if failures is None:
                        raise
                    found, said = self._rest(given, tier, output, number, str(problem), isinstance(problem, Hung))
                    failures.append(Failure(output, self.fmt.name, batch.group, said))
                    if found is None:
                        continue
                report, values = found
                if seen is not None:
                    seen.append(values)
                merged[batch.group] = merged[batch.group] + report if batch.group in merged else report
            reports += merged.values()
        return reports

    def _rest(self, given: Adapter, tier: str, output: str, number: int, said: str, hung: bool,
              ) -> tuple[tuple[Report, Seen] | None, str]:
        """After a call without an answer: the examples without NaN, then the finite ones; and what to say."""
        batch, truth = self.batches[number], self.truth(output, number)
        if hung:
            return None, said
        for what, odd in (("NaN", np.isnan), ("NaN or infinity", lambda a: ~np.isfinite(a))):
            plain = [~odd(a).reshape(batch.count, -1).any(axis=1) for a in batch.arrays.values()]
            kept = np.flatnonzero(np.logical_and.reduce(plain))
            if 0 < len(kept) < batch.count:
                part = Exact(truth.high[kept], truth.low[kept])
                with contextlib.suppress(Misbehaved):
                    return self.one(given, tier, output, picked(batch, kept), part), f"with {what} in the batch {said}"
        return None, said

    def one(self, given: Adapter, tier: str, output: str, batch: Batch, truth: Exact) -> tuple[Report, Seen]:
        """One output on one batch against its truth, the batch also repeated up to where functions take other paths: of
        what is computed for an example, the worst. Raises Misbehaved."""
        fmt = self.fmt
        limit = bound(output, given.name, fmt, tier, batch.classes)
        head = Report(self.subject.name, output, given.name, fmt.name, tier, batch.group, bound=limit)
        got = given.call(self.subject, output, batch, fmt.name, tier)
        many, places = repeated(batch)
        if many.count > batch.count and given.offers(self.subject, output, many, fmt.name, tier):
            again = given.call(self.subject, output, many, fmt.name, tier)
            got = worst_of(np.concatenate([got, again]), np.concatenate([np.arange(batch.count), places]), truth, fmt)
        report, failing = located(got, truth, fmt, limit, head, batch, excuse_for(self.subject, output, batch, fmt))
        return report, Seen(output, batch, got, truth, failing)


def exam(subject: Subject, dtype: str, count: int = 2000, classes: Sequence[int] = ROW_CLASSES,
         exhaustive: bool = False, seed: int = 0) -> Exam:
    """The batches of a subject in a dtype. `exhaustive`: every number of a 16-bit format."""
    fmt = FORMATS[dtype]
    if subject.is_row:
        every = exhaustive_batches(subject, fmt) if exhaustive else []
        return Exam(subject, fmt, [*row_batches(subject, fmt, classes, seed), *every])
    if exhaustive:
        return Exam(subject, fmt, exhaustive_batches(subject, fmt))
    return Exam(subject, fmt, elementwise_batches(subject, fmt, count, seed))


def audit(unit: str | Callable[..., Any], target: str = "np", dtype: str = "float32", tier: str = "fast", *,
          truth: str | None = None, domain: Mapping[str, str] | None = None, where: Sequence[str] = (),
          output: str = "loss", order: Sequence[str] = (), exhaustive: bool = False, count: int = 2000,
          classes: Sequence[int] = (1, 2, 3, 10, 1000), seconds: float = SECONDS, options: Mapping[str, Any] = NOTHING,
          ways: bool = True) -> Result:
    """Measure generated kernels, or any function, against ball arithmetic on the definition.

    unit: a name of the catalogue, its kernels of `target` (np, pt, c, cu on the host) being measured;
    or a function (or its name as module:function) of NumPy arrays or torch tensors that computes
    the loss (or `output`) that `truth` says: a name of the catalogue, or a formula over `domain` (and `where`). It gets
    the arguments in their order, or in `order`, and `options` as keywords; a torch function's gradients and
    second derivatives are measured too. count: drawn points of an elementwise loss; classes:
    lengths of rows; seconds: after how long a call counts as hanging; ways: whether what
    fails is sorted into the ten ways (lossmith explain). Raises UnknownLoss,
    Unavailable, FormulaError, and ValueError for what is not a target, dtype or tier.
    """
    if dtype not in FORMATS:
        raise ValueError(f"there is no dtype '{dtype}': choose one of {', '.join(FORMATS)}")
    foreign = callable(unit) or ":" in unit
    if foreign:
        if truth is None:
            raise ValueError("name what the function should compute: truth='softmax_cross_entropy', or a formula "
                             "with its domain")
        function = unit if callable(unit) else resolve(unit)
        subject = subjects.of_truth(truth, domain, where)
        made_of = ForeignAdapter(function, unit if isinstance(unit, str) else name_of(function), output, order,
                                 options=dict(options), seconds=seconds)
        made_of.check(subject)
        given: Adapter = made_of
    else:
        given, subject = adapter(target), subjects.load(str(unit))
    return audited(subject, given, dtype, tier, exhaustive=exhaustive, count=count, classes=classes, ways=ways)


def audited(subject: Subject, given: Adapter, dtype: str = "float32", tier: str = "fast", *, exhaustive: bool = False,
            count: int = 2000, classes: Sequence[int] = (1, 2, 3, 10, 1000), ways: bool = True) -> Result:
    """Measure what an adapter computes of a subject: as `audit`, once it is known what is meant."""
    if tier not in given.tiers:
        raise ValueError(f"target {given.name} has no tier '{tier}': it has {', '.join(given.tiers)}")
    made = _exam(subject, dtype, count, tuple(classes), exhaustive)
    misfit = _misfit(made)
    failures: list[Failure] = []
    seen: list[Seen] = []
    reports = made.measure(given, tier, failures=failures, seen=seen)
    if isinstance(given, ForeignAdapter) and not given.hung:
        reports = _climbed(made, given, tier, reports, seen)
    return Result(tuple(reports), _each_once(failures), (*misfit, *_left_out(given, made, tier)),
                  (Origin(subject, given, dtype, tier),), ways_of(made, given, tier, seen) if ways else ())


def _climbed(made: Exam, given: Adapter, tier: str, reports: list[Report], seen: list[Seen]) -> list[Report]:
    """The reports with what a climb from the worst points found added; `seen` grows by it."""
    from lossmith.audit.climb import climbed

    found: dict[tuple[str, str], Report] = {}

    def told(output: str, batch: Batch) -> None:
        with contextlib.suppress(Misbehaved):
            report, values = made.one(given, tier, output, batch, exact(made.subject, output, batch))
            found[output, batch.group] = report
            seen.append(values)

    climbed(Lab(made.subject, given, made.fmt, tier), tuple(seen), told)
    return [r + found[r.output, r.group] if (r.output, r.group) in found else r for r in reports]


def ways_of(made: Exam, given: Adapter, tier: str, seen: Sequence[Seen]) -> tuple[Finding, ...]:
    """In which of the ten ways the values that were seen fail, and what probes of long and masked rows find."""
    from lossmith.audit.diagnose import diagnose
    from lossmith.audit.findings import merged
    from lossmith.audit.probes import probed

    lab = Lab(made.subject, given, made.fmt, tier)
    return merged([*diagnose(lab, seen), *probed(lab)])


def _misfit(made: Exam) -> tuple[str, ...]:
    """Where a user's truth has no value on its own domain: in a line. Raises ValueError where it has none anywhere."""
    if made.subject.name != "formula":
        return ()
    lost, every, where = 0, 0, ""
    for number, batch in enumerate(made.batches):
        rows = [a.reshape(batch.count, -1) for a in batch.arrays.values()]
        plain = np.logical_and.reduce([~np.isnan(a).any(axis=1) for a in rows])
        high = made.truth("loss", number).high.reshape(batch.count, -1)
        gone = plain & np.isnan(high).any(axis=1)
        lost, every = lost + int(gone.sum()), every + int(plain.sum())
        if gone.any() and not where:
            where = describe(batch, int(np.argmin(np.where(gone, sizes(batch), np.inf))), None)
    if not lost:
        return ()
    if lost == every:
        raise ValueError(f"the truth has no value anywhere in its domain, as at {where}")
    return (f"the truth has no value at {lost} of {every} points of its domain, as at {where}: there NaN is right",)


def _each_once(failures: Sequence[Failure]) -> tuple[Failure, ...]:
    return tuple(dict.fromkeys(failures))


def _left_out(given: Adapter, made: Exam, tier: str) -> Iterator[str]:
    """Outputs that the function does not offer on any batch, or not on long rows."""
    never: list[str] = []
    for output in made.subject.outputs:
        offered = [given.offers(made.subject, output, b, made.fmt.name, tier) for b in made.batches]
        if not any(offered):
            never.append(output)
        elif not all(offered):
            lengths = sorted({b.classes for b, o in zip(made.batches, offered, strict=True) if not o and b.classes})
            yield f"{output} of rows of {', '.join(map(str, lengths))}: it would take a backward pass for every class"
    if never:
        yield f"{', '.join(never)}: not offered by {given.name}"


@functools.lru_cache(maxsize=16)
def _exam(subject: Subject, dtype: str, count: int, classes: tuple[int, ...], exhaustive: bool) -> Exam:
    return exam(subject, dtype, count, classes, exhaustive)
