"""C kernels against torch and hand-written NumPy: loss and gradient in one call, time beside accuracy.

    python bench/c_kernels.py [--threads 1 2] [--seconds 1] [--compile] [--only 1e4 4096x10] [--json FILE]

All contenders of a table run in one process, in an order shuffled each round; the figures are medians, in
one thread of CPU time, which others' work disturbs least, with more threads of the clock. Ratios are what to
keep: a machine differs from run to run. Errors are the worst of a sample, in ulp, against float64 arithmetic
that is right to 1e-15.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lossmith.codegen import compiled

Array = Any
Contender = Callable[[], tuple[Array, Array]]
SIZES = ("1e2", "1e4", "1e6", "4096x10", "4096x1000")
GENERATED = Path(__file__).resolve().parents[1] / "generated" / "c"
SAMPLE = 3e-3  # seconds that a sample lasts at least


def ulps(got: Array, exact: Array) -> float:
    """The worst error in ulp of float32."""
    spacing = np.spacing(np.maximum(np.abs(exact).astype(np.float32), np.float32(1.2e-38))).astype(np.float64)
    return float(np.max(np.abs(np.asarray(got, np.float64) - exact) / spacing))


def sigmoid_by_hand(x: Array, z: Array) -> tuple[Array, Array]:
    """What one writes in NumPy."""
    t = np.exp(-np.abs(x))
    return np.maximum(x, 0) - x * z + np.log1p(t), np.where(x >= 0, 1, t) / (1 + t) - z


def softmax_by_hand(x: Array, y: Array) -> tuple[Array, Array]:
    """What one writes in NumPy."""
    shifted = x - x.max(axis=1, keepdims=True)
    grown = np.exp(shifted)
    total = grown.sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    gradient = grown / total
    gradient[rows, y] -= 1
    return np.log(total)[:, 0] - shifted[rows, y], gradient


def sigmoid_exact(x: Array, z: Array) -> tuple[Array, Array]:
    """In float64, each sum of one sign; labels 0 and 1."""
    x, z = x.astype(np.float64), z.astype(np.float64)
    t = np.exp(-np.abs(x))
    towards = np.where(x >= 0, t, 1) / (1 + t)
    away = np.where(x >= 0, 1, t) / (1 + t)
    return np.where(x > 0, (1 - z) * x, -z * x) + np.log1p(t), np.where(z > 0, -towards, away)


def softmax_exact(x: Array, y: Array) -> tuple[Array, Array]:
    """In float64, without the largest among the others."""
    x = x.astype(np.float64)
    rows, top = np.arange(len(x)), x.argmax(axis=1)
    grown = np.exp(x - x[rows, top][:, None])
    others = grown.copy()
    others[rows, top] = 0
    rest = others.sum(axis=1)
    gradient = grown / (1 + rest)[:, None]
    gradient[rows, y] = -(rest - np.expm1(x[rows, y] - x[rows, top])) / (1 + rest)
    return x[rows, top] - x[rows, y] + np.log1p(rest), gradient


def contenders(size: str, threads: int, with_compile: bool) -> tuple[dict[str, Contender], tuple[Array, Array]]:
    """What is timed at a size, and the right answer."""
    rng = np.random.default_rng(1)
    if "x" in size:
        count, classes = map(int, size.split("x"))
        x = (4 * rng.normal(size=(count, classes))).astype(np.float32)
        y = rng.integers(0, classes, count)
        unit, hand, exact, names = "sparse_softmax_cross_entropy", softmax_by_hand, softmax_exact, ("x", "y")
    else:
        x = (6 * rng.normal(size=int(float(size)))).astype(np.float32)
        y = rng.integers(0, 2, x.size).astype(np.float32)
        unit, hand, exact, names = "sigmoid_cross_entropy", sigmoid_by_hand, sigmoid_exact, ("x", "z")
    library = compiled.load(GENERATED / f"{unit}.c")
    made: dict[str, Contender] = {"NumPy by hand": lambda: hand(x, y)}
    for tier in ("fast", "accurate"):
        made[f"C {tier}"] = _compiled(library, unit, dict(zip(names, (x, y))), tier, threads)
    made |= _torch(x, y, threads, with_compile)
    return made, exact(x, y)


def _compiled(library: compiled.Compiled, unit: str, given: dict[str, Array], tier: str, threads: int) -> Contender:
    out = library.call(unit, "loss_gradient", given, "f32", tier)

    def run() -> tuple[Array, Array]:
        found = library.call(unit, "loss_gradient", given, "f32", tier, out=out, threads=threads)
        return found["loss"], found["gradient"]

    return run


def _torch(x: Array, y: Array, threads: int, with_compile: bool) -> dict[str, Contender]:
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(threads)
    logits, target = torch.tensor(x, requires_grad=True), torch.tensor(y)
    named = torch.nn.functional.cross_entropy if x.ndim == 2 else torch.nn.functional.binary_cross_entropy_with_logits

    def loss(a: Any, b: Any) -> Any:
        return named(a, b, reduction="none")

    one = torch.ones(len(x))

    def both(function: Callable[..., Any]) -> Contender:
        def run() -> tuple[Array, Array]:
            value = function(logits, target)
            return value.detach().numpy(), torch.autograd.grad(value, logits, one)[0].numpy()

        return run

    made = {"torch eager": both(loss)}
    if with_compile:
        faster = both(torch.compile(loss, dynamic=False))
        try:
            faster()
            made["torch.compile"] = faster
        except Exception as problem:  # whatever torch.compile lacks here: the table goes on without it
            print(f"torch.compile does not work here: {' '.join(str(problem).split())[:100]}")
    return made


def measured(made: dict[str, Contender], threads: int, seconds: float) -> dict[str, float]:
    """Seconds a call takes: the median over shuffled rounds."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in made}
    repeats = {}
    for name, run in made.items():
        run()
        start = time.perf_counter()
        run()
        repeats[name] = max(1, int(SAMPLE / max(time.perf_counter() - start, 1e-7)))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[next(iter(made))]) < 5:
        order = list(made)
        random.shuffle(order)
        for name in order:
            start = clock()
            for _ in range(repeats[name]):
                made[name]()
            times[name].append((clock() - start) / repeats[name])
    return {name: statistics.median(t) for name, t in times.items()}


def table(size: str, threads: int, seconds: float, with_compile: bool) -> list[dict[str, Any]]:
    """One table: a row for each contender, the fastest first."""
    made, exact = contenders(size, threads, with_compile)
    errors = {name: tuple(ulps(a, b) for a, b in zip(run(), exact, strict=True)) for name, run in made.items()}
    times = measured(made, threads, seconds)
    reference = {name: times.get(name) for name in ("torch eager", "torch.compile", "NumPy by hand")}
    rows = []
    for name in sorted(times, key=times.__getitem__):
        ratios = {of: round(t / times[name], 2) for of, t in reference.items() if t}
        rows.append({"size": size, "threads": threads, "name": name, "us": round(times[name] * 1e6, 2),
                     "faster": ratios,
                     "loss_ulp": float(f"{errors[name][0]:.3g}"),
                     "gradient_ulp": float(f"{errors[name][1]:.3g}")})
    return rows


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print one table."""
    print(f"\n{rows[0]['size']}, {rows[0]['threads']} thread(s): times as fast as the last columns' names")
    names = list(rows[0]["faster"])
    print(f"  {'':16}{'us':>11}{'loss ulp':>11}{'grad ulp':>11}" + "".join(f"{n:>15}" for n in names))
    for row in rows:
        ratios = "".join(f"{row['faster'][n]:>15}" for n in names)
        print(f"  {row['name']:16}{row['us']:>11}{row['loss_ulp']:>11}{row['gradient_ulp']:>11}{ratios}", flush=True)


def main() -> None:
    """Parse, measure, print."""
    global GENERATED
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which takes a minute to start")
    parser.add_argument("--only", nargs="+", default=SIZES)
    parser.add_argument("--generated", type=Path, default=GENERATED, help="where the .c files are")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    GENERATED = options.generated
    found = []
    for threads in options.threads:
        for size in options.only:
            rows = table(size, threads, options.seconds, options.compile)
            show(rows)
            found += rows
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
