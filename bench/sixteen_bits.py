"""Every number of float16 and bfloat16 through the generated kernels of every loss, target and tier.

    python bench/sixteen_bits.py [UNIT ...] [--target T] [--record]

Elementwise: every number for the first input with every hard value of the others. Rows: of three classes, every number
in the first class of each input in turn, the others fixed, each class the label once (`audit/samples.py`,
`exhaustive_rows`). Truth is the stable form in float64 where a bound of its error carried along shows it to be within
1e-6 ulp, and ball arithmetic elsewhere. Exits with 1 where the accurate tier is beyond 0.501 ulp, or wrong in kind.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lossmith.audit import subject as subjects
from lossmith.audit.adapters import Unavailable, adapter
from lossmith.audit.measure import Report
from lossmith.audit.run import Exam
from lossmith.audit.samples import exhaustive_batches
from lossmith.derivations import catalogue
from lossmith.derivations.ulp import FORMATS

RECORDS = Path(__file__).parent / "records"
TARGETS, DTYPES, TIERS = ("np", "pt", "c", "cu"), ("float16", "bfloat16"), ("fast", "accurate")


def measured(unit: str, targets: list[str], missing: list[str]) -> Iterator[Report]:
    """Reports of a unit: truth is computed once for all targets and tiers of a format."""
    subject = subjects.load(unit)
    for dtype in DTYPES:
        made = Exam(subject, FORMATS[dtype], exhaustive_batches(subject, FORMATS[dtype]))
        for target in targets:
            started = time.monotonic()
            try:
                for tier in TIERS:
                    yield from made.measure(adapter(target), tier)
            except Unavailable as problem:
                missing.append(f"{unit} {dtype} {target}: {problem}")
            print(f"{unit} {dtype} {target}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def summed(reports: list[Report]) -> tuple[str, ...]:
    """A row of the table: all outputs of a unit in one target, format and tier."""
    worst = max(reports, key=lambda r: r.max_ulp)
    return (worst.unit, worst.target, worst.dtype, worst.tier, f"{sum(r.points for r in reports):,}",
            f"{worst.max_ulp:.6g}", str(sum(r.over for r in reports)), str(sum(r.wrong for r in reports)),
            str(sum(r.conditioned for r in reports)), worst.output, f"`{worst.where}`")


def page(reports: list[Report], missing: list[str], seconds: float) -> str:
    groups: dict[tuple[str, ...], list[Report]] = {}
    for r in reports:
        groups.setdefault((r.unit, r.target, r.dtype, r.tier), []).append(r)
    head = ("loss", "target", "format", "tier", "values", "worst ulp", "> 0.501", "wrong", "at a root", "output", "at")
    lines = [head, tuple("---" for _ in head), *(summed(g) for g in groups.values())]
    said = [f"{tier}: {sum(r.over for r in reports if r.tier == tier)} of "
            f"{sum(r.points for r in reports if r.tier == tier):,} values above 0.501 ulp, "
            f"{sum(r.wrong for r in reports if r.tier == tier)} wrong in kind, "
            f"{sum(r.conditioned for r in reports if r.tier == tier)} more at a root." for tier in TIERS]
    return "\n".join([
        f"# Every number of 16 bits, {datetime.date.today().isoformat()}", "",
        f"`python {shlex.join(['bench/sixteen_bits.py', *sys.argv[1:]])}`, {seconds:.0f} s.", "",
        "Elementwise losses: every number for the first input, with every hard value of the others (ends of their",
        "domains; for what has none 0, 1, -2.5, 0.5). Rows: three classes, every number in the first class of each",
        "input in turn, the others fixed, each class the label once; distributions as targets: three shares in any",
        "order. Rows with more than one class moving, soft labels of elementwise losses and longer rows are not",
        "here. `cu` is the CUDA source built for the CPU, `pt` without Triton. `c` and `cu` have one 16-bit kernel,",
        "computed in float32 and rounded once: it stands for both tiers. At a root: what half an ulp of the inputs",
        "explains.", "",
        *said, "", *("| " + " | ".join(line) + " |" for line in lines), "",
        *(f"not measured: {line}" for line in dict.fromkeys(missing)), ""])


def main() -> int:
    asks = argparse.ArgumentParser(description="every number of 16 bits through the generated kernels")
    asks.add_argument("units", nargs="*", help="default: all of the catalogue")
    asks.add_argument("--target", action="append", choices=TARGETS, help="default: all four")
    asks.add_argument("--record", action="store_true", help="write bench/records/<date>-sixteen-bits.md")
    options = asks.parse_args()
    started = time.monotonic()
    reports: list[Report] = []
    missing: list[str] = []
    for unit in options.units or catalogue.unit_names():
        before = time.monotonic(), time.process_time()
        reports += measured(unit, options.target or list(TARGETS), missing)
        print(f"{unit}: {time.monotonic() - before[0]:.1f} s, {time.process_time() - before[1]:.1f} s of this process",
              file=sys.stderr, flush=True)
    text = page(reports, missing, time.monotonic() - started)
    print(text)
    if options.record:
        (RECORDS / f"{datetime.date.today().isoformat()}-sixteen-bits.md").write_text(text, encoding="utf-8")
    return 1 if missing or any(r.tier == "accurate" and not r.holds for r in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
