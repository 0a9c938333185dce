"""Records of `lossmith bench`: tables of times for one thread and two, and how time grows with the size.

    python bench/speed.py                 tables at the usual sizes, and their picture: time against accuracy
    python bench/speed.py --growth        n from 1e2 to 1e8, rows of 2 to 262144 classes, and their picture
    python bench/speed.py --losses sigmoid --threads 1 --seconds 0.3 --no-record      a look

Every loss and number of threads is timed in a process of its own (what peers take their threads from is read when
they start); all contenders of a table share that process, in an order shuffled every round. A record is a page of
tables with the command that made it, the same as data, and an SVG picture, in bench/records.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossmith.audit import growing, pareto, workloads
from lossmith.audit.bench import Line
from lossmith.audit.contenders import Setting
from lossmith.codegen import compiled
from lossmith.codegen.write import write_all

from lossmith.bench_command import heading, read, table

RECORDS = Path(__file__).resolve().parent / "records"
SIZES = ("1e2", "1e4", "1e6", "1.6e7", "8192x10", "4096x1000", "512x32000", "256x128256")
GROWN = ("sigmoid", "softmax")
GROWERS = ("c", "np in C", "pt in C", "np", "torch", "torch.compile", "jax", "numpy by hand", "stream copy",
           "stream add")
PEERS = ("numpy", "torch", "jax", "numba", "numexpr", "scipy", "scikit-learn")
NOTES = """Every table: one process, all contenders in an order shuffled each round, medians; a ratio is the median
of the ratios within a round. Errors are the worst on points that seek trouble, targets hard, where the condition of
the point does not excuse them; (wrong) counts values that are NaN or infinite and should not be, or the reverse.
Every contender of a table does the same work, which its head names: a loss and a gradient of every example, both
written; or their mean as one number and the gradient of that, where who computes every loss first pays for it.
GB/s counts the bytes of inputs and outputs once each; `of memory` is the share of what the faster of plain C that
copies and plain C that adds does with as many bytes, in the same rounds. `c` and those two write to arrays that are
there; all others allocate their results, as their users do, which beyond some 32 MB costs a page fault for every 4 KiB.
"""


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--growth", action="store_true", help="how time grows with the size")
    parser.add_argument("--losses", nargs="+", metavar="LOSS", help="default: the usual; with --growth two of them")
    parser.add_argument("--size", nargs="+", metavar="SIZE", help="instead of the usual ones")
    parser.add_argument("--threads", nargs="+", type=int, default=None, help="default: 1 2; with --growth 1")
    parser.add_argument("--contender", nargs="+", metavar="NAME", help="default: all; with --growth the main ones")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each table (default: 2)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall",
                        help="of tables of one thread; more threads always take the wall's")
    parser.add_argument("--forward", action="store_true", help="the loss alone")
    parser.add_argument("--mean", action="store_true", help="the mean loss and its gradient, as in training")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--tier", choices=("fast", "accurate"), default="fast")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds for each loss and number of threads")
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="of the record")
    parser.add_argument("--name", help="of the record (default: speed, or growth)")
    parser.add_argument("--no-record", action="store_true", help="print only")
    return parser.parse_args(arguments)


def measured(loss: str, threads: int, given: argparse.Namespace) -> dict[str, Any]:
    """What `lossmith bench --json` says of one loss. Raises SystemExit where it fails."""
    clock = given.clock if threads == 1 else "wall"
    arguments = [loss, "--json", "--threads", str(threads), "--seconds", str(given.seconds), "--clock", clock,
                 "--dtype", given.dtype, "--tier", given.tier]
    arguments += ["--mean"] * given.mean
    arguments += ["--forward"] * given.forward + ["--growth"] * (given.growth and not given.size)
    for size in given.size or (() if given.growth else SIZES):
        arguments += ["--size", size]
    for name in given.contender or (GROWERS if given.growth else ()):
        arguments += ["--contender", name]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-P", "-m", "lossmith", "bench", *arguments], capture_output=True, text=True,
                          env=environment, timeout=given.limit, check=False)
    sys.stderr.write("".join(line + "\n" for line in done.stderr.splitlines() if "left out" in line))
    if done.returncode:
        raise SystemExit(f"lossmith bench {' '.join(arguments)}: {done.stderr[-400:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def section(found: dict[str, Any]) -> str:
    """The tables of one loss and number of threads as text."""
    setting = Setting(**{k: found["setting"][k] for k in ("entry", "dtype", "tier", "threads", "mean")})
    lines = [read(line) for line in found["lines"]]
    parts = []
    for size in dict.fromkeys(line.size for line in lines):
        made = [line for line in lines if line.size == size]
        parts.append(heading(made, setting, found["setting"]["clock"]) + "\n" + aligned(table(made)))
    absent = {f"{line.contender}: absent, {line.absent}" for line in lines if line.absent}
    return "\n\n".join(parts) + "".join(f"\n{line}" for line in sorted(absent))


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def machine() -> str:
    """What it ran on, and with what."""
    name = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
                platform.processor() or platform.machine())
    cache = "".join(_lines("/sys/devices/system/cpu/cpu0/cache/index3/size")).strip() or "unknown"
    command = compiled.compiler() or ["no C compiler"]
    said = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=False).stdout if \
        compiled.compiler() else command[0]
    return (f"{os.cpu_count()} cores of {name}, L3 {cache}; {(said.splitlines() or [''])[0]}; "
            f"Python {platform.python_version()}; " + ", ".join(_versions()))


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _versions() -> list[str]:
    found = []
    for name in PEERS:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{name} not installed")
    return found


def page(given: argparse.Namespace, found: Sequence[dict[str, Any]], name: str, took: float) -> str:
    """The record as text."""
    title = "How time grows with the size" if given.growth else "Times beside accuracy"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    command = "python " + shlex.join(["bench/speed.py", *sys.argv[1:]])
    parts = [f"# {title}", f"{given.date}, `{command}`, {took / 60:.0f} minutes, load {load:.1f} at the end. "
             f"{machine()}.", NOTES.strip()]
    parts += [f"![the picture]({given.date}-{name}-{k}.svg)" for k in sorted({f["setting"]["threads"] for f in found})]
    parts += [f"```\n{section(f)}\n```" for f in found]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    given = options(sys.argv[1:])
    started, found = time.perf_counter(), list[dict[str, Any]]()
    for threads in given.threads or ((1,) if given.growth else (1, 2)):
        for loss in given.losses or (GROWN if given.growth else workloads.USUAL):
            found.append(measured(loss, threads, given))
            print(section(found[-1]) + "\n", flush=True)
    if given.no_record:
        return
    name = given.name or ("growth" if given.growth else "speed")
    texts = {f"{given.date}-{name}.md": page(given, found, name, time.perf_counter() - started),
             f"{given.date}-{name}.json": json.dumps(found, indent=1, ensure_ascii=False) + "\n"}
    by_threads: dict[int, list[Line]] = {}
    for f in found:
        by_threads.setdefault(f["setting"]["threads"], []).extend(read(line) for line in f["lines"])
    for threads, lines in by_threads.items():
        texts[f"{given.date}-{name}-{threads}.svg"] = (growing if given.growth else pareto).pictures(lines)
    write_all(RECORDS, texts)


if __name__ == "__main__":
    main()
