"""What an audit found: reports, the worst of them, and what to do with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossmith.audit.measure import Report

if TYPE_CHECKING:
    from lossmith.audit.adapters import Adapter
    from lossmith.audit.findings import Finding
    from lossmith.audit.subject import Subject


class AuditFailure(AssertionError):  # noqa: N818  (an assertion of the user's that does not hold)
    """An output is worse than was asserted; one line says which, where, and by how much."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """What could not be measured: which output on which points, and in one line what the function did."""

    output: str
    dtype: str
    group: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Origin:
    """What was audited: against which subject, through which adapter, in which format and tier."""

    subject: Subject
    given: Adapter
    dtype: str
    tier: str


@dataclasses.dataclass(frozen=True)
class Result:
    """The reports of one audit. `failures`: calls without a usable answer. `not_run`: what was left
    out, and why. `origins`: what was audited, for the report. `ways`: which of the ten ways explain what
    fails, each with an input that shows it."""

    reports: tuple[Report, ...]
    failures: tuple[Failure, ...] = ()
    not_run: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = ()
    ways: tuple[Finding, ...] = ()

    def __add__(self, other: Result) -> Result:
        """Two audits as one result."""
        return Result(*(getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)))

    @property
    def max_ulp(self) -> float:
        """The worst error of any output, points that only their own condition can explain left out."""
        return max((r.max_ulp for r in self.reports), default=0.0)

    @property
    def wrong(self) -> int:
        """How many values are wrong in kind: NaN, infinity, sign, flushed to zero."""
        return sum(r.wrong for r in self.reports)

    @property
    def holds(self) -> bool:
        """Whether every report keeps the accuracy contract, and every call gave an answer."""
        return all(r.holds for r in self.reports) and not self.failures

    @property
    def findings(self) -> tuple[Report, ...]:
        """The reports that break the contract."""
        return tuple(r for r in self.reports if not r.holds)

    def assert_below(self, ulp: float) -> None:
        """Raises AuditFailure where an error exceeds `ulp`, a value is wrong in kind or a call failed."""
        for f in self.failures:
            raise AuditFailure(f"{f.output} ({f.dtype}): {f.reason}")
        for r in sorted(self.reports, key=lambda r: (-r.wrong, -r.max_ulp)):
            if r.wrong or r.max_ulp > ulp:
                what = f"{r.wrong} wrong values" if r.wrong else f"{r.max_ulp:.4g} ulp, more than {ulp:g}"
                raise AuditFailure(f"{r.unit} {r.output} ({r.target}, {r.dtype}, {r.tier}): {what}, as at {r.where}: "
                                   f"{r.got} where {r.wanted} is right")

    def to_json(self) -> list[dict[str, Any]]:
        """Plain data, one dictionary per report."""
        return [dataclasses.asdict(r) | {"holds": r.holds, "spread": r.spread.to_json()} for r in self.reports]

    def to_html(self, path: str | Path, command: str = "") -> None:
        """Write the report: one page that stands alone. command: what reproduces it. Raises ValueError,
        WriteError."""
        from lossmith.audit.report import to_html

        to_html(self, path, command)

    def to_text(self) -> str:
        """A table for the terminal, and below it why, what to do, and whether it matters."""
        said = [f"{f.output} ({f.dtype}, {f.group} labels): {f.reason}" for f in self.failures]
        said += [f"not run: {n}" for n in self.not_run]
        return "\n".join([table(self.reports), *said, *(f"\n{w.to_text()}" for w in self.ways)])


HEADINGS = ("unit", "output", "target", "dtype", "tier", "labels", "max ulp", "bound", "of normal", "p99.9", "> 4 ulp",
            "wrong", "at a root", "points", "")


def _cells(r: Report) -> tuple[str, ...]:
    root = f"{r.conditioned} ({r.conditioned_ratio:.2g} x cond)" if r.conditioned else ""
    wrong = " ".join(f"{n} {what}" for n, what in (
        (r.wrong_nan, "nan"), (r.wrong_inf, "inf"), (r.wrong_sign, "sign"), (r.flushed, "zero")) if n)
    limit = f"{r.bound:g}" if r.bound != float("inf") else ""
    normal = f"{r.normal_ulp:.4g}" if r.normal_ulp < r.max_ulp else ""
    return (r.unit, r.output, r.target, r.dtype, r.tier, r.group, f"{r.max_ulp:.4g}", limit,
            normal, f"{r.spread.quantile(0.999):.2g}", _share(r.spread.over(4)), wrong, root, str(r.points),
            "" if r.holds else "FAILS")


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "< 0.1%" if share else ""


def table(reports: Iterable[Report]) -> str:
    """Reports as aligned columns, one line each."""
    rows = [HEADINGS, *(_cells(r) for r in reports)]
    widths = [max(len(row[c]) for row in rows) for c in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
