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
from typing import TYPE_CHECKING, Any

from lossmith.errors import EXIT_WELL, UsageError, did_you_mean

if TYPE_CHECKING:
    from lossmith.audit.bench import Line
    from lossmith.audit.contenders import Setting

SIZES = {False: ("1e4", "1e6"), True: ("8192x10", "4096x1000")}
FULL = {False: ("1e2", "1e4", "1e6", "1.6e7"), True: ("8192x10", "4096x1000", "512x32000", "256x128256")}
GROWING = {False: tuple(f"1e{k}" for k in range(2, 9)),
           True: tuple(f"{max(1, (1 << 22) // c)}x{c}" for c in (2, 8, 64, 512, 4096, 32768, 262144))}
NEEDED = 8  # times the bytes of inputs and outputs: what all contenders hold of them at once
_SIZE = re.compile(r"[0-9]{1,10}|[0-9](\.[0-9]+)?e[0-9]{1,2}")
MOST = 10**9  # elements


def run(options: argparse.Namespace) -> int:
    """Time, print, and write the picture where one is asked for. Raises UsageError, UnknownLoss."""
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    from lossmith.audit import bench, stream, workloads
    from lossmith.audit.contenders import CONTENDERS, Setting

    known = (*CONTENDERS, *stream.NAMES)
    for name in options.contender or ():
        if name not in known:
            raise UsageError(f"there is no contender '{name}': {did_you_mean(name, known)}")
    setting = Setting("loss" if options.forward else "loss_gradient", options.dtype, options.tier, options.threads,
                      options.mean)
    lines: list[Line] = []
    for name in options.losses or workloads.USUAL:
        workload = workloads.load(name)
        for shape in _shapes(workload.is_row, options):
            if not _fits(shape, options):
                continue
            made = bench.lines(workload, shape, setting, options.contender or known, options.seconds,
                               options.clock, _said if sys.stderr.isatty() else None)
            lines += made
            if not options.json:
                _print(made, setting, options.clock)
    if options.json:
        from lossmith.commands import _print_json

        _print_json({"setting": vars(setting) | {"clock": options.clock, "cores": os.cpu_count()},
                     "lines": [_plain(line) for line in lines]})
    if options.plot:
        _write(options.plot, lines, options.growth)
    return EXIT_WELL


def _fits(shape: Sequence[int], options: argparse.Namespace) -> bool:
    """Whether there is memory for a size; a line on stderr where there is none."""
    needed = NEEDED * 4 * math.prod(shape) * (8 if options.dtype == "float64" else 4)
    free = _free_memory()
    if needed > free:
        print(f"{'x'.join(map(str, shape))} is left out: it takes about {needed / 1e9:.0f} GB, of which "
              f"{free / 1e9:.0f} are free", file=sys.stderr)
    return needed <= free


def _free_memory() -> float:
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        found = None
    return int(found[1]) * 1024.0 if found else math.inf


def _shapes(is_row: bool, options: argparse.Namespace) -> list[tuple[int, ...]]:
    """The sizes of one kind of loss: those asked for that fit it, else the usual ones."""
    asked = [_shape(text) for text in options.size or ()]
    fitting = [s for s in asked if (len(s) == 2) == is_row]
    if fitting or asked:
        return fitting
    usual = GROWING if options.growth else FULL if options.full else SIZES
    return [_shape(text) for text in usual[is_row]]


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
    print(heading(made, setting, clock))
    _print_table(table(made))
    for line in made:
        if line.absent:
            print(f"{line.contender}: absent, {line.absent}")
    print()


def heading(made: Sequence[Line], setting: Setting, clock: str) -> str:
    """What one table is of, and what every contender of it writes."""
    what = "mean loss (a number) + its gradient (an array)" if setting.mean else "loss (an array) + gradient (an array)"
    what = what if setting.both else what.partition(" + ")[0]
    return (f"{made[0].loss}, {made[0].size}, {what}, {setting.dtype}, "
            f"{setting.threads} thread{'s' * (setting.threads > 1)}, {clock} time")


def table(made: Sequence[Line]) -> list[tuple[str, ...]]:
    """Its rows, the fastest first. GB/s: bytes of inputs and outputs, once each; beside it the share of what
    the faster of plain copying and adding does with as many bytes."""
    reference = next((line.reference for line in made if line.reference), "")
    rows: list[tuple[str, ...]] = [("", "time", "ns/element", f"x {reference}", "GB/s", "of memory", "loss ulp",
                                    "gradient ulp")]
    for line in sorted((m for m in made if not m.absent), key=lambda m: m.seconds):
        worst = line.accuracy or {}
        share = f"{line.share:.0%}" if line.share else ""
        rows.append((line.contender, _time(line.seconds), f"{line.per_element * 1e9:.3g}", f"{line.ratio:.2f}",
                     f"{line.moved / line.seconds / 1e9:.3g}", share, str(worst.get("loss", "")),
                     str(worst.get("gradient", ""))))
    return rows


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.3g} us" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def _plain(line: Line) -> dict[str, object]:
    """One line as data; numbers that JSON does not have as text."""

    def clean(value: object) -> object:
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items()}
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    return {k: clean(v) for k, v in dataclasses.asdict(line).items()}


def read(plain: dict[str, Any]) -> Line:
    """A line from what `--json` prints. Raises KeyError, TypeError for what is none."""
    from lossmith.audit.bench import Accuracy, Line

    found = plain["accuracy"]
    accuracy = None if found is None else {k: Accuracy(float(a["ulp"]), int(a["wrong"])) for k, a in found.items()}
    return Line(**{**plain, "accuracy": accuracy})


def _write(path: str, lines: Sequence[Line], growth: bool) -> None:
    from lossmith.audit import growing, pareto
    from lossmith.codegen.write import write_all

    target = Path(path)
    write_all(target.parent, {target.name: (growing if growth else pareto).pictures(lines)})
    print(path, file=sys.stderr)
