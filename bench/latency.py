"""How long the tool itself takes: starting, deriving, stabilizing, building, generating; and how that grows.

    python bench/latency.py              a table of commands, cold (nothing kept) and warm
    python bench/latency.py --check      `generate --check` of everything as well: two minutes where nothing is kept
    python bench/latency.py --growth     stabilizing drawn formulas of 2 to 500 nodes, generating 1 to 8 losses
    ... --record                         also as a dated page and picture in bench/records

Each measurement is a process of its own; its seconds are processor time, and of warm commands the clock's as well.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lossmith.audit import drawing
from lossmith.codegen.write import write_all

sys.path.insert(0, str(Path(__file__).resolve().parent))
from formula_growth import DOMAIN, KINDS

RECORDS = Path(__file__).resolve().parent / "records"
ROOT = RECORDS.parents[1]
FORMULA = "log(1 + exp(x)) - x*z"
LOSSMITH = ["-P", "-m", "lossmith"]
# From a formula that has been derived before to C that has been called once: what is timed is printed by itself.
LOAD = """
import os, time, numpy as np, lossmith as lm
derived = lm.stabilize({formula!r}, dict(x="real", z="[0,1]"))
started = time.perf_counter(), sum(os.times()[:4])
derived.compile("c")(x=np.zeros(3, "f4"), z=np.zeros(3, "f4"))
print(time.perf_counter() - started[0], sum(os.times()[:4]) - started[1])
"""
COMMANDS: tuple[tuple[str, list[str]], ...] = (
    ("--help", [*LOSSMITH, "--help"]),
    ("list", [*LOSSMITH, "list"]),
    ("derive", [*LOSSMITH, "derive", "sigmoid_cross_entropy", "--of", "gradient"]),
    ("derive a row", [*LOSSMITH, "derive", "softmax_cross_entropy", "--of", "gradient"]),
    ("stabilize", [*LOSSMITH, "stabilize", FORMULA, "--domain", "x=real", "--domain", "z=[0,1]"]),
    ("stabilize, C called", ["-P", "-c", LOAD.format(formula=FORMULA)]),
    ("generate one loss", [*LOSSMITH, "generate", "mean_squared_error", "-o", "{out}", "--jobs", "1"]),
)
CHECK = ("generate --check", [*LOSSMITH, "generate", "--check", "-o", str(ROOT / "generated"), "--jobs", "1"])
LOSSES = ("mean_squared_error", "entropy", "sigmoid_cross_entropy", "information", "kl_divergence",
          "sparse_softmax_cross_entropy", "softmax_cross_entropy", "partition_distribution")
NODES = (2, 5, 10, 20, 50, 100, 200, 500)
Row = tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """Processor seconds and seconds of one process; `failed`: its last words where it did not end well."""

    cpu: float
    wall: float
    failed: str = ""
    said: str = ""


def cost(arguments: Sequence[str], cache: str, limit: float = 600.0) -> Cost:
    """Run Python in a process of its own, for at most so many seconds of processor time."""
    environment = {**os.environ, "LOSSMITH_CACHE": cache, "LOSSMITH_NO_CACHE": ""}
    started = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(["sh", "-c", 'ulimit -t "$0"; exec "$@"', str(round(limit)), sys.executable,
                                  *arguments], env=environment, stdout=out, stderr=err)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - started
        out.seek(0)
        err.seek(0)
        said, complained = (f.read().decode(errors="replace").strip() for f in (out, err))
    failed = ""
    if child.returncode:
        stopped = child.returncode < 0 and used.ru_utime + used.ru_stime > limit - 1
        failed = f"stopped after {limit:.0f} s" if stopped else (complained.splitlines() or ["no word"])[0]
    return Cost(used.ru_utime + used.ru_stime, wall, failed, said)


def commands(runs: int, check: bool) -> Iterator[Row]:
    """The table of commands."""
    yield "command", "cold cpu s", "warm cpu s", "warm s"
    for name, arguments in [*COMMANDS, *([CHECK] if check else [])]:
        with tempfile.TemporaryDirectory() as place:
            given = [a.format(out=place + "/out") if a == "{out}" else a for a in arguments]
            cold, *warm = (cost(given, place + "/cache") for _ in range(runs + 1))
            yield _row(name, cold, warm)
            if name.endswith("called"):
                yield from _parts(given, runs)


def _row(name: str, cold: Cost, warm: Sequence[Cost]) -> Row:
    if any(c.failed for c in (cold, *warm)):
        return name, next(c.failed for c in (cold, *warm) if c.failed), "", ""
    return (name, f"{cold.cpu:.2f}", f"{statistics.median(c.cpu for c in warm):.2f}",
            f"{statistics.median(c.wall for c in warm):.2f}")


def _parts(arguments: Sequence[str], runs: int) -> Iterator[Row]:
    """From a form to its C, printed, built, loaded and called, each time with nothing kept; the compiler counts too."""
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as place:
            made = cost(arguments, place + "/cache")
            if not made.failed:
                found.append([float(v) for v in made.said.split()])
    if found:
        yield ("  of it: form to called C", f"{statistics.median(f[1] for f in found):.2f}", "",
               f"{statistics.median(f[0] for f in found):.2f}")


def formulas(most: int, seeds: int, limit: float) -> Iterator[Row]:
    """Stabilizing as a formula grows: for each kind, medians over some formulas of that many nodes."""
    yield "kind", "nodes", "cold cpu s", "largest", "warm cpu s", "failed"
    domain = [text for name, values in DOMAIN.items() for text in ("--domain", f"{name}={values}")]
    for kind, make in KINDS.items():
        for nodes in (n for n in NODES if n <= most):
            cold, warm, failed = [], [], list[str]()
            for seed in range(seeds):
                with tempfile.TemporaryDirectory() as place:
                    arguments = [*LOSSMITH, "stabilize", "--json", *domain, "--", make(nodes, seed)]
                    first = cost(arguments, place, limit)
                    if first.failed:
                        failed.append(f"{seed}: {first.failed[:70]}")
                    else:
                        cold.append(first.cpu)
                        warm.append(cost(arguments, place, limit).cpu)
            yield (kind, str(nodes), *([_median(cold), f"{max(cold):.2f}", _median(warm)] if cold else ["", "", ""]),
                   "; ".join(failed))


def catalogue(limit: float) -> Iterator[Row]:
    """Generating as the catalogue grows."""
    yield "kind", "losses", "cold cpu s", "largest", "warm cpu s", "failed"
    for count in (1, 2, 4, 8):
        with tempfile.TemporaryDirectory() as place:
            arguments = [*LOSSMITH, "generate", *LOSSES[:count], "-o", f"{place}/out", "--jobs", "1"]
            cold, warm = (cost(arguments, f"{place}/cache", limit) for _ in range(2))
            yield ("generate", str(count), f"{cold.cpu:.2f}", f"{cold.cpu:.2f}", f"{warm.cpu:.2f}",
                   cold.failed or warm.failed)


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f}"


def picture(rows: Sequence[Row]) -> str:
    """Seconds against nodes and against losses, cold and warm."""
    nodes, losses = dict[str, list[tuple[float, float]]](), dict[str, list[tuple[float, float]]]()
    for kind, size, cold, _, warm, _ in (r for r in rows if r[0] != "kind" and r[2]):
        where = losses if kind == "generate" else nodes
        where.setdefault(kind, []).append((float(size), float(cold)))
        where.setdefault(f"{kind}, kept", []).append((float(size), float(warm)))
    made = [drawing.curves(title, series, (name, "processor time"), (drawing.plain, drawing.seconds))
            for title, series, name in (("Stabilizing a drawn formula", nodes, "nodes of the formula"),
                                        ("Generating, one process", losses, "losses")) if series]
    return drawing.sheet("Time as formulas and the catalogue grow", made)


def shown(rows: Iterator[Row]) -> list[Row]:
    """The rows, each printed as it comes."""
    found = []
    for row in rows:
        print("  ".join(c.ljust(26 if k == 0 else 11) for k, c in enumerate(row)).rstrip(), flush=True)
        found.append(row)
    return found


def record(options: argparse.Namespace, rows: Sequence[Row]) -> None:
    """The page, and with --growth the picture."""
    name = "latency-growth" if options.growth else "latency"
    head = (f"# How long the tool itself takes{' as work grows' if options.growth else ''}\n\n{options.date}, "
            f"`python {shlex.join(['bench/latency.py', *sys.argv[1:]])}`, {os.cpu_count()} cores, load "
            f"{os.getloadavg()[0]:.1f} at the end. Seconds of a process of its own each; cold: nothing kept, warm: the "
            "derivation is.\n")
    if options.growth:
        head += (f"\nFormulas are drawn (`bench/formula_growth.py`), {options.seeds} of each kind and size; a process "
                 f"that takes {options.limit:.0f} s of processor time is stopped.\n\n"
                 f"![growth]({options.date}-{name}.svg)\n")
    tables, body = "", ""
    for row in rows:
        if row[0] in ("kind", "command"):
            tables, body = tables + body, f"\n| {' | '.join(row)} |\n|{'---|' * len(row)}\n"
        else:
            body += f"| {' | '.join(row)} |\n"
    texts = {f"{options.date}-{name}.md": head + tables + body}
    if options.growth:
        texts[f"{options.date}-{name}.svg"] = picture(rows)
    write_all(RECORDS, texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--growth", action="store_true", help="how cost grows with the formula and the catalogue")
    parser.add_argument("--most", type=int, default=500, help="with --growth: the largest formula, in nodes")
    parser.add_argument("--seeds", type=int, default=3, help="with --growth: formulas of each kind and size")
    parser.add_argument("--limit", type=float, default=120.0, help="with --growth: processor seconds of one process")
    parser.add_argument("--runs", type=int, default=3, help="of each warm command")
    parser.add_argument("--check", action="store_true", help="generate --check of everything too")
    parser.add_argument("--record", action="store_true", help="write what was found to bench/records")
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="of the record")
    options = parser.parse_args()
    if options.growth:
        rows = shown(formulas(options.most, options.seeds, options.limit)) + shown(catalogue(options.limit))
    else:
        rows = shown(commands(options.runs, options.check))
    if options.record:
        record(options, rows)


if __name__ == "__main__":
    main()
