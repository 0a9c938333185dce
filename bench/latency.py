"""How long the tool itself takes: starting, deriving, stabilizing, generating; and how that grows.

    python3 bench/latency.py             a table of commands, cold (nothing kept) and warm
    python3 bench/latency.py --growth    stabilizing formulas of 2 to 500 nodes, generating 1 to 8 losses

Each measurement is a process of its own; the seconds are its processor time, medians of a few runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BCE = ["stabilize", "log(1 + exp(x)) - x*z", "--domain", "x=real", "--domain", "z=[0,1]"]
COMMANDS: tuple[tuple[str, list[str]], ...] = (
    ("--help", ["--help"]),
    ("list", ["list"]),
    ("derive", ["derive", "sigmoid_cross_entropy", "--of", "gradient"]),
    ("derive a row", ["derive", "softmax_cross_entropy", "--of", "gradient"]),
    ("stabilize", BCE),
    ("generate one loss", ["generate", "mean_squared_error", "-o", "{out}", "--jobs", "1"]),
)
LOSSES = ("mean_squared_error", "entropy", "sigmoid_cross_entropy", "information", "kl_divergence",
          "sparse_softmax_cross_entropy", "softmax_cross_entropy", "partition_distribution")
NODES = (2, 5, 10, 20, 50, 100, 200, 500)
LIMIT = 300.0


@dataclass(frozen=True)
class Cost:
    """Processor seconds and seconds of one process."""

    cpu: float
    wall: float


def cost(arguments: Sequence[str], cache: str) -> Cost:
    """Run a command in a process of its own. Raises SystemExit where it fails."""
    environment = {**os.environ, "LOSSMITH_CACHE": cache, "LOSSMITH_NO_CACHE": ""}
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "lossmith", *arguments], env=environment,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"lossmith {' '.join(arguments)}: {said.decode()[-300:]}")
    return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - started)


def commands(runs: int) -> None:
    """The table of commands."""
    print(f"{'command':20} {'cold cpu s':>11} {'warm cpu s':>11} {'warm wall s':>12}")
    for name, arguments in COMMANDS:
        with tempfile.TemporaryDirectory() as place:
            given = [a.format(out=place + "/out") for a in arguments]
            cold = cost(given, place + "/cache")
            warm = [cost(given, place + "/cache") for _ in range(runs)]
        print(f"{name:20} {cold.cpu:11.2f} {statistics.median(c.cpu for c in warm):11.2f} "
              f"{statistics.median(c.wall for c in warm):12.2f}", flush=True)


def formula(nodes: int) -> str:
    """A formula of about so many nodes, all of whose parts need care."""
    if nodes < 5:
        return "exp(x)"
    return " + ".join(f"log(1 + exp(x - {k}))" for k in range(max(1, round(nodes / 8))))


def growth(most: int) -> None:
    """Stabilizing as a formula grows, generating as the catalogue does."""
    print(f"{'nodes':>8} {'cold cpu s':>11} {'warm cpu s':>11}")
    for nodes in (n for n in NODES if n <= most):
        with tempfile.TemporaryDirectory() as place:
            arguments = ["stabilize", formula(nodes), "--domain", "x=real", "--json"]
            print(f"{nodes:8} {cost(arguments, place).cpu:11.2f} {cost(arguments, place).cpu:11.2f}", flush=True)
    print(f"{'losses':>8} {'cold cpu s':>11} {'warm cpu s':>11}")
    with tempfile.TemporaryDirectory() as place:
        for count in (1, 2, 4, 8):
            with tempfile.TemporaryDirectory() as cache:
                arguments = ["generate", *LOSSES[:count], "-o", str(Path(place) / str(count)), "--jobs", "1"]
                print(f"{count:8} {cost(arguments, cache).cpu:11.2f} {cost(arguments, cache).cpu:11.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--growth", action="store_true", help="how cost grows with the formula and the catalogue")
    parser.add_argument("--most", type=int, default=500, help="with --growth: the largest formula, in nodes")
    parser.add_argument("--runs", type=int, default=3, help="of each warm command")
    options = parser.parse_args()
    if options.growth:
        growth(options.most)
    else:
        commands(options.runs)


if __name__ == "__main__":
    main()
