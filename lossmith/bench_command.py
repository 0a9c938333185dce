"""`lossmith bench`: how fast the kernels are here, against what people use, and how accurate each is."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lossmith.errors import EXIT_WELL, UsageError, did_you_mean

if TYPE_CHECKING:
    from lossmith.audit.bench import Line
    from lossmith.audit.contenders import Setting

SIZES = {False: ("1e4", "1e6"), True: ("8192x10", "4096x1000")}
FULL = {False: ("1e2", "1e4", "1e6", "1.6e7"), True: ("8192x10", "4096x1000", "512x32000", "256x128256")}
_SIZE = re.compile(r"[0-9]{1,10}|[0-9](\.[0-9]+)?e[0-9]{1,2}")
MOST = 10**9  # elements


def run(options: argparse.Namespace) -> int:
    """Time, print, and write the picture where one is asked for. Raises UsageError, UnknownLoss."""
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    from lossmith.audit import bench, workloads
    from lossmith.audit.contenders import CONTENDERS, Setting

    for name in options.contender or ():
        if name not in CONTENDERS:
            raise UsageError(f"there is no contender '{name}': {did_you_mean(name, CONTENDERS)}")
    setting = Setting("loss" if options.forward else "loss_gradient", options.dtype, options.tier, options.threads)
    lines: list[Line] = []
    for name in options.losses or workloads.USUAL:
        workload = workloads.load(name)
        for shape in _shapes(workload.is_row, options):
            made = bench.lines(workload, shape, setting, options.contender or CONTENDERS, options.seconds,
                               options.clock, _said if sys.stderr.isatty() else None)
            lines += made
            if not options.json:
                _print(made, setting, options.clock)
    if options.json:
        from lossmith.commands import _print_json

        _print_json({"setting": vars(setting) | {"clock": options.clock, "cores": os.cpu_count()},
                     "lines": [_plain(line) for line in lines]})
    if options.plot:
        _write(options.plot, lines)
    return EXIT_WELL


def _shapes(is_row: bool, options: argparse.Namespace) -> list[tuple[int, ...]]:
    """The sizes of one kind of loss: those asked for that fit it, else the usual ones."""
    asked = [_shape(text) for text in options.size or ()]
    fitting = [s for s in asked if (len(s) == 2) == is_row]
    if fitting or asked:
        return fitting
    return [_shape(text) for text in (FULL if options.full else SIZES)[is_row]]


def _shape(text: str) -> tuple[int, ...]:
    parts = text.split("x")
    if len(parts) > 2 or not all(_SIZE.fullmatch(p) for p in parts):
        raise UsageError(f"'{text}' is not a size: write 1e6, or 4096x1000 for rows")
    shape = tuple(int(float(p)) for p in parts)
    if min(shape) < 1 or shape[0] * shape[-1] ** (len(shape) - 1) > MOST:
        raise UsageError(f"'{text}' is not a size between 1 and {MOST:,} elements")
    return shape


def _said(text: str) -> None:
    print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _print(made: Sequence[Line], setting: Setting, clock: str) -> None:
    from lossmith.commands import _print_table

    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    reference = next((line.reference for line in made if line.reference), "")
    print(f"{made[0].loss}, {made[0].size}, {setting.entry.replace('_', ' + ')}, {setting.dtype}, "
          f"{setting.threads} thread{'s' * (setting.threads > 1)}, {clock} time")
    rows = [("", "time", "ns/element", f"x {reference}", "loss ulp", "gradient ulp")]
    for line in sorted((m for m in made if not m.absent), key=lambda m: m.seconds):
        worst = line.accuracy or {}
        rows.append((line.contender, _time(line.seconds), f"{line.per_element * 1e9:.3g}", f"{line.ratio:.2f}",
                     str(worst.get("loss", "")), str(worst.get("gradient", ""))))
    _print_table(rows)
    for line in made:
        if line.absent:
            print(f"{line.contender}: absent, {line.absent}")
    print()


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} us" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def _plain(line: Line) -> dict[str, object]:
    """One line as data; numbers that JSON does not have as text."""

    def clean(value: object) -> object:
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items()}
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    return {k: clean(v) for k, v in dataclasses.asdict(line).items()}


def _write(path: str, lines: Sequence[Line]) -> None:
    from lossmith.audit.pareto import pictures
    from lossmith.codegen.write import write_all

    target = Path(path)
    write_all(target.parent, {target.name: pictures(lines)})
    print(path, file=sys.stderr)
