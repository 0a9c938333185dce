"""The accuracy of every primitive operation: the evaluator and the generated modules against ball arithmetic.

    python bench/primitives.py                     every operation, a dated record
    python bench/primitives.py lgamma erfc --no-record
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
import tempfile
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np
from lossmith.codegen import host
from lossmith.codegen.kernel import Bundle, Elementwise, Input, Origin, Program
from lossmith.codegen.targets import cu, pt
from lossmith.codegen.targets import np as np_target
from lossmith.derivations import balls
from lossmith.derivations.evaluate import evaluate
from lossmith.derivations.terms import Term, const, node, var
from lossmith.derivations.ulp import FORMATS, Doubles, Format, error
from primitive_points import DOMAINS, points

RECORDS = Path(__file__).resolve().parent / "records"
DTYPES = {"float64": "f64", "float32": "f32"}
NAMES = ("a", "b")
Measured = tuple[float, str]  # the worst error in ulp, and where
Runner = Callable[[str, Sequence[Doubles], Format], Doubles]


def term_of(op: str) -> Term:
    """The operation on its arguments."""
    return node(op, tuple(var(n) for n in NAMES[:len(DOMAINS[op])]))


def bundle(unit: str, loss: Term, inputs: tuple[Input, ...]) -> Bundle:
    """An elementwise unit with this loss and nothing else."""
    origin = Origin(unit, unit, unit, "primitives.py", "bench/primitives.py", unit, {}, {}, (), "", "0" * 12)
    return Bundle(origin, Elementwise(unit, inputs, Program((), {"loss": loss})), None, inputs[0].name, ())


def arrays(count: int) -> tuple[Input, ...]:
    return tuple(Input(n, "scalar", "input" if n == "a" else "target", "extended") for n in NAMES[:count])


def by_evaluator(op: str, given: Sequence[Doubles], fmt: Format) -> Doubles:
    """The reference evaluator."""
    return evaluate(term_of(op), dict(zip(NAMES, given)), fmt)


class NumpyModules:
    """Generated NumPy modules, one per operation."""

    def __init__(self, tier: str) -> None:
        self.tier = tier

    def __call__(self, op: str, given: Sequence[Doubles], fmt: Format) -> Doubles:
        made = types.ModuleType(op)
        (rendered,) = np_target.render(bundle(op, term_of(op), arrays(len(given))))
        exec(compile(rendered.body, rendered.path, "exec"), made.__dict__)
        return np.asarray(made.loss(*(g.astype(fmt.dtype) for g in given), tier=self.tier), dtype=np.float64)


def by_torch(op: str, given: Sequence[Doubles], fmt: Format) -> Doubles:
    """A generated PyTorch module on the CPU, tier 'fast'."""
    import torch

    (rendered,) = pt.render(bundle(f"of_{op}", term_of(op), arrays(len(given))))
    made = types.ModuleType(f"of_{op}")
    exec(compile(rendered.body, rendered.path, "exec"), made.__dict__)
    tensors = [torch.from_numpy(g.astype(fmt.dtype)) for g in given]
    return np.asarray(getattr(made, f"of_{op}")(*tensors, reduction="none").numpy(), dtype=np.float64)


class CudaOnHost:
    """One .cu file with every operation, chosen by a parameter, built for the CPU."""

    def __init__(self, operations: Sequence[str], folder: Path, tier: str) -> None:
        which, value, self.operations, self.tier = var("which"), const(0), list(operations), tier
        for n, op in enumerate(operations):
            value = node("where", (node("eq", (which, const(n))), term_of(op), value))
        inputs = (*arrays(2), Input("which", "parameter", "parameter", "real", default="0"))
        for rendered in cu.render(bundle("primitives", value, inputs)):
            (folder / Path(rendered.path).name).write_text(rendered.body, encoding="utf-8")
        self.library = host.load(folder / "primitives.cu", folder)

    def __call__(self, op: str, given: Sequence[Doubles], fmt: Format) -> Doubles:
        env = {**dict(zip(NAMES, (*given, given[0]))), "which": self.operations.index(op)}
        return self.library.call("primitives", "loss", env, DTYPES[fmt.name], self.tier)["loss"].astype(np.float64)


def truths(op: str, given: Sequence[Doubles]) -> list[Fraction | float]:
    """The exact values, NaN where the operation has none."""
    found = [balls.pair(term_of(op), dict(zip(NAMES, map(float, point)))) for point in zip(*given, strict=True)]
    return [v for v in found if not isinstance(v, list)]


def worst(got: Doubles, true: Sequence[Fraction | float], given: Sequence[Doubles], fmt: Format) -> Measured:
    """The largest error where truth is a number, and the point of it."""
    errors = np.where([isinstance(t, float) and math.isnan(t) for t in true], 0.0, error(got, true, fmt))
    at = int(np.argmax(errors))
    return float(errors[at]), ", ".join(f"{float(g[at])!r}" for g in given)


def measured(op: str, count: int, runners: Mapping[str, Runner]) -> dict[str, dict[str, Measured]]:
    """By format and runner: the worst error of one operation."""
    out: dict[str, dict[str, Measured]] = {}
    for name in DTYPES:
        fmt = FORMATS[name]
        given = points(op, fmt, count)
        true = truths(op, given)
        out[name] = {}
        for label, run in runners.items():
            if name == "float64" and label == "cu accurate":
                continue
            with np.errstate(all="ignore"):
                out[name][label] = worst(run(op, given, fmt), true, given, fmt)
    return out


def lines(found: Mapping[str, Mapping[str, Mapping[str, Measured]]], labels: Sequence[str]) -> list[str]:
    """Markdown tables, one per format."""
    out: list[str] = []
    for name in DTYPES:
        shown = [label for label in labels if any(label in found[op][name] for op in found)]
        out += ["", f"## {name}", "", f"| operation | {' | '.join(shown)} | worst point |",
                f"|---|{'--:|' * len(shown)}---|"]
        for op, tables in found.items():
            row = tables[name]
            last = max(row.values(), key=lambda m: m[0])
            out.append(f"| {op} | {' | '.join(_figure(row[label][0]) for label in shown)} | {last[1]} |")
    return out


def _figure(ulp: float) -> str:
    return f"{ulp:.2f}" if ulp < 1000 else "inf" if math.isinf(ulp) else f"{ulp:.1e}"


def main(arguments: list[str]) -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Measure every primitive operation against exact arithmetic.")
    parser.add_argument("operations", nargs="*", help="default: all")
    parser.add_argument("--count", type=int, default=3000, help="points of an argument")
    parser.add_argument("--only", action="append", help="what is measured: evaluate, np fast, pt fast, cu fast, ..")
    parser.add_argument("--date", default=date.today().isoformat(), help="the date of the record")
    parser.add_argument("--no-record", action="store_true", help="print only")
    given = parser.parse_args(arguments)
    operations = given.operations or list(DOMAINS)
    with tempfile.TemporaryDirectory() as name:
        runners: dict[str, Runner] = {
            "evaluate": by_evaluator, "np fast": NumpyModules("fast"), "np accurate": NumpyModules("accurate"),
            "pt fast": by_torch,
        }
        if host.compiler() is not None and (given.only is None or any(label.startswith("cu") for label in given.only)):
            for tier in ("fast", "accurate"):
                runners[f"cu {tier}"] = CudaOnHost(operations, Path(name), tier)
        runners = {label: run for label, run in runners.items() if given.only is None or label in given.only}
        found = {}
        for op in operations:
            print(f"\r{op}".ljust(40), end="", file=sys.stderr, flush=True)
            found[op] = measured(op, given.count, runners)
    text = "\n".join([
        "# Primitive operations", "",
        f"`{shlex.join(['python', 'bench/primitives.py', *arguments])}`, NumPy {np.__version__}.", "",
        "Worst error in ulp against ball arithmetic, over the whole domain: every exponent, the subnormal numbers,",
        "tails, zeros and poles approached to their float neighbours. `cu` is the CUDA source on a CPU with its C",
        "library's functions; its tier 'accurate' are pairs of float32. Beside a zero of digamma left of 0 the last",
        "bit of the argument is worth more than the value; an error there is far below that.",
        *lines(found, list(runners)), "",
    ])
    print(text)
    if not given.no_record:
        path = RECORDS / f"{given.date}-primitives.md"
        path.write_text(text, encoding="utf-8")
        print(f"written to {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
