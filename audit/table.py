"""The whole table: every loss, order, target, dtype and tier, beside torch's own functions.

Written by bench/accuracy.py; `sweep` yields reports as they are made, so that a long run shows
where it is.
"""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossmith.audit import subject as subjects
from lossmith.audit.adapters import Adapter, Unavailable, adapter
from lossmith.audit.measure import Report
from lossmith.audit.peers import peer
from lossmith.audit.result import Result, table
from lossmith.audit.run import Exam, exam
from lossmith.audit.samples import ROW_CLASSES
from lossmith.derivations.ulp import FORMATS


@dataclass(frozen=True)
class Sweep:
    """What to measure. `exhaustive`: 16-bit formats on every number; `peers`: torch's functions too."""

    units: Sequence[str]
    targets: Sequence[str] = ("np", "pt")
    dtypes: Sequence[str] = tuple(FORMATS)
    tiers: Sequence[str] = ("fast", "accurate")
    classes: Sequence[int] = ROW_CLASSES
    count: int = 2000
    exhaustive: bool = False
    peers: bool = True


@dataclass(frozen=True)
class Missing:
    """A combination that could not be measured, and why in one line."""

    unit: str
    target: str
    reason: str


def sweep(what: Sweep) -> Iterator[Report | Missing]:
    """Reports one by one, in the order units, dtypes, targets, tiers; truth is computed once for a dtype."""
    for unit in what.units:
        subject = subjects.load(unit)
        for dtype in what.dtypes:
            exhaustive = what.exhaustive and FORMATS[dtype].bits == 16 and not subject.is_row
            made = exam(subject, dtype, what.count, what.classes, exhaustive)
            for given in _adapters(unit, what):
                yield from _measured(made, given, what) if not isinstance(given, Missing) else [given]


def _adapters(unit: str, what: Sweep) -> Iterator[Adapter | Missing]:
    for target in what.targets:
        try:
            yield adapter(target)
        except Unavailable as problem:
            yield Missing(unit, target, str(problem))
    found = peer(unit) if what.peers else None
    if found is not None:
        yield found


def _measured(made: Exam, given: Adapter, what: Sweep) -> Iterator[Report | Missing]:
    for tier in what.tiers:
        if tier not in given.tiers:
            continue
        for output in made.subject.outputs:
            try:
                yield from made.measure(given, tier, [output])
            except Unavailable as problem:
                yield Missing(made.subject.name, given.name, str(problem))
                return
            except Exception as problem:
                # Whatever an audited function raises must not hide the figures of the others.
                what_failed = f"{given.name} {output} {made.fmt.name} {tier}"
                yield Missing(made.subject.name, what_failed, f"{type(problem).__name__}: {problem}".splitlines()[0])


def is_ours(report: Report) -> bool:
    """Whether a report is bound by the contract: torch's functions are there for comparison."""
    return report.target in ("np", "pt", "c", "cu")


@dataclass(frozen=True)
class Record:
    """A finished sweep, ready to be printed and kept."""

    date: str
    command: str
    reports: tuple[Report, ...]
    missing: tuple[Missing, ...]

    @property
    def holds(self) -> bool:
        return not self.missing and all(r.holds for r in self.reports if is_ours(r))

    def to_text(self) -> str:
        """The table, then what could not be measured."""
        lines = [table(self.reports)]
        lines += [f"not measured: {m.unit} {m.target}: {m.reason}" for m in dict.fromkeys(self.missing)]
        return "\n".join(lines) + "\n"

    def to_markdown(self) -> str:
        """The record as a page: what ran, the verdict, the table, the worst point of each finding."""
        ours = [r for r in self.reports if is_ours(r)]
        broken = [r for r in ours if not r.holds]
        lines = [f"# Accuracy, {self.date}", "", f"`{self.command}`, {_versions()}.", ""]
        lines += ["Error is |computed - exact| / ulp(exact); truth is ball arithmetic on the definition. Wrong: values",
                  "that are wrong in kind (NaN, infinity, sign, flushed to zero). At a root: points that only their",
                  "condition explains, with the worst error in units of the condition number.", ""]
        lines += [f"{len(ours)} figures of generated kernels, {len(broken)} of them outside the contract.", ""]
        lines += ["```", self.to_text().rstrip("\n"), "```", ""]
        if broken:
            lines += ["Outside the contract, at the worst point:", "", "```"]
            lines += [f"{r.unit} {r.output} {r.target} {r.dtype} {r.tier} {r.group}: {r.where} gives {r.got}, "
                      f"right is {r.wanted}" for r in broken] + ["```", ""]
        return "\n".join(lines)

    def write(self, folder: Path, stem: str = "accuracy") -> Path:
        """Write the record as Markdown and as JSON beside it, a line for each report; returns the Markdown file."""
        folder.mkdir(parents=True, exist_ok=True)
        page = folder / f"{self.date}-{stem}.md"
        page.write_text(self.to_markdown(), encoding="utf-8")
        head = json.dumps({"date": self.date, "command": self.command, "missing": [vars(m) for m in self.missing]})
        rows = ",\n".join(map(json.dumps, map(_without_histogram, Result(self.reports).to_json())))
        page.with_suffix(".json").write_text(f'{head[:-1]}, "reports": [\n{rows}\n]}}\n', encoding="utf-8")
        return page


def _without_histogram(report: dict[str, Any]) -> dict[str, Any]:
    """A record holds thousands of reports: their quantiles are enough there."""
    return report | {"spread": {n: v for n, v in report["spread"].items() if n != "histogram"}}


def _versions() -> str:
    import numpy

    found = [f"Python {platform.python_version()}", f"NumPy {numpy.__version__}"]
    try:
        import torch

        found.append(f"torch {torch.__version__}")
    except ModuleNotFoundError:
        pass
    return ", ".join(found) + f", {platform.machine()}"


def record(items: Sequence[Report | Missing], command: str, date: str | None = None) -> Record:
    """A sweep's yield as a record; the date is today's unless given."""
    reports = tuple(i for i in items if isinstance(i, Report))
    missing = tuple(dict.fromkeys(i for i in items if isinstance(i, Missing)))
    return Record(date or datetime.date.today().isoformat(), command, reports, missing)
