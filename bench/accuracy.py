"""The accuracy table: every loss, order, target, dtype and tier against ball arithmetic; a dated record.

    python bench/accuracy.py                     every loss, the short rows, float32
    python bench/accuracy.py --full              every dtype, rows up to 32,000 classes, 16 bits exhaustively
    python bench/accuracy.py sigmoid_cross_entropy --dtype float32 --target np
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from lossmith.audit.measure import Report
from lossmith.audit.samples import ROW_CLASSES
from lossmith.audit.table import Missing, Sweep, record, sweep
from lossmith.derivations import catalogue
from lossmith.derivations.ulp import FORMATS

RECORDS = Path(__file__).resolve().parent / "records"
SHORT_ROWS = (1, 2, 3, 10, 100)


def options(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure generated kernels against exact arithmetic.")
    parser.add_argument("units", nargs="*", help="losses or units (default: the whole catalogue)")
    parser.add_argument("--full", action="store_true", help="every dtype, long rows, 16 bits exhaustively")
    parser.add_argument("--target", action="append", choices=("np", "pt", "c", "cu"), help="default: np and pt")
    parser.add_argument("--dtype", action="append", choices=tuple(FORMATS), help="default: float32")
    parser.add_argument("--tier", action="append", choices=("fast", "accurate"), help="default: both")
    parser.add_argument("--classes", action="append", type=int, metavar="C", help="lengths of rows")
    parser.add_argument("--count", type=int, default=2000, help="drawn points of an elementwise loss")
    parser.add_argument("--no-peers", action="store_true", help="leave torch's own functions out")
    parser.add_argument("--date", help="the date of the record (default: today)")
    parser.add_argument("--records", type=Path, default=RECORDS, help="where records are kept")
    parser.add_argument("--no-record", action="store_true", help="print only")
    return parser.parse_args(arguments)


def asked(given: argparse.Namespace) -> Sweep:
    """What to measure, from the command line."""
    units = catalogue.resolve(given.units) if given.units else catalogue.unit_names()
    return Sweep(
        units, tuple(given.target or ("np", "pt")), tuple(given.dtype or (FORMATS if given.full else ("float32",))),
        tuple(given.tier or ("fast", "accurate")),
        tuple(given.classes or (ROW_CLASSES if given.full else SHORT_ROWS)), given.count, given.full,
        not given.no_peers,
    )


def main(arguments: list[str]) -> int:
    """Measure, print, keep. Exit 1 where a generated kernel breaks the contract."""
    given = options(arguments)
    found: list[Report | Missing] = []
    for item in sweep(asked(given)):
        found.append(item)
        print(f"\r{len(found)} {item.unit} {item.target}".ljust(78), end="", file=sys.stderr, flush=True)
    print("\r".ljust(79), file=sys.stderr)
    made = record(found, shlex.join(["python", "bench/accuracy.py", *arguments]), given.date)
    print(made.to_text(), end="")
    if not given.no_record:
        print(f"written to {made.write(given.records)}", file=sys.stderr)
    return 0 if made.holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
