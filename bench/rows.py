"""Row formulas beyond softmax, from text to generated NumPy and CUDA C: worst ulp before and after; a dated record.

    python bench/rows.py                         every formula, rows of 1, 2, 10 and 10,000 classes
    python bench/rows.py --quick focal variance  some of them, short rows, float32 in NumPy only
    python bench/rows.py --target np --classes 1 --classes 2 --classes 10 --record short   NumPy in both formats, kept

Before: the formula and its derivatives as they are written, every operation correctly rounded in
the format. After: the generated code, held against the accuracy contract. CUDA C runs on the CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.util
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from lossmith.audit.adapters import kernel_arrays, kind_of, widened
from lossmith.audit.host import ENTRY, MOST_NUMBERS, SUFFIX
from lossmith.audit.measure import Report, measure
from lossmith.audit.run import Exam, exam
from lossmith.audit.samples import Batch
from lossmith.audit.subject import Subject
from lossmith.codegen import host, lower
from lossmith.codegen.kernel import Bundle
from lossmith.codegen.targets import cu
from lossmith.codegen.targets import np as numpy_target
from lossmith.derivations import parser
from lossmith.derivations.calculus import derivative
from lossmith.derivations.derivation import Derivation
from lossmith.derivations.derive import derive, licensed_definition
from lossmith.derivations.domains import SIMPLEX
from lossmith.derivations.evaluate import evaluate
from lossmith.derivations.loss import Unit
from lossmith.derivations.ulp import FORMATS, Array

HERE = Path(__file__).resolve().parent
FORMULAS = HERE / "formulas" / "rows.toml"
INSIDE = dataclasses.replace(SIMPLEX, low_closed=False)  # distributions that are nowhere zero
CLASSES = (1, 2, 10, 10_000)
CLOSE = 16.0  # ulp: what the tables of single formulas count as solved


@dataclass
class Made:
    """One formula taken through the chain."""

    unit: Unit
    subject: Subject
    derivations: Sequence[Derivation]
    bundle: Bundle
    seconds: float
    naive: Mapping[str, Any] = field(default_factory=dict)


def read(path: Path = FORMULAS) -> dict[str, Unit]:
    """The formulas of a file, each as a unit that holds its term."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _unit(name, entry) for name, entry in table.items()}


def _unit(name: str, entry: Mapping[str, Any]) -> Unit:
    domains = {k: INSIDE if v == "simplex, no zeros" else v for k, v in entry["domain"].items()}
    known = parser.arguments(domains, targets=entry.get("target"), parameters=entry.get("parameter"))
    term = parser.parse_term(entry["formula"], known)
    return Unit(name, name, name.replace("_", " "), term, tuple(known.values()), (), ())


def chain(unit: Unit) -> Made:
    """Loss and gradients derived, and lowered to one kernel."""
    start = time.perf_counter()
    orders = [(), *((a.name,) for a in unit.arguments if a.differentiable and a.role == "input")]
    found = [derive(unit, order) for order in orders]
    kernel = lower.kernel_of(unit.name, found)
    seconds = time.perf_counter() - start
    bundle = Bundle(lower.origin_of(unit, found), kernel, None, unit.primary.name,
                    tuple(a.name for a in unit.arguments if a.differentiable))
    definition = licensed_definition(unit)[2]
    outputs = {lower.output_name(o): derivative(definition, o, unit.arguments) for o in orders}
    naive = {lower.output_name(o): derivative(found[0].definition, o, unit.arguments) for o in orders}
    return Made(unit, Subject(unit, outputs), found, bundle, seconds, naive)


@dataclass
class NumpyModule:
    """The rendered NumPy module, imported from its text."""

    module: ModuleType
    name: str = "np"
    tiers: tuple[str, ...] = ("fast", "accurate")

    def offers(self, subject: Subject, output: str, batch: Batch, dtype: str = "float32", tier: str = "fast") -> bool:
        return True

    def call(self, subject: Subject, output: str, batch: Batch, dtype: str, tier: str) -> Array:
        options: dict[str, Any] = {"tier": tier, **batch.parameters}
        if output != "loss":
            options["wrt"] = subject.wrt(output)[0]
        with np.errstate(all="ignore"):
            values = getattr(self.module, kind_of(output))(*kernel_arrays(subject, batch, dtype), **options)
        return widened(values, subject, output, batch)


def _named(parameters: Mapping[str, float]) -> dict[str, float]:
    """Parameters as the kernels name them: what C++ uses itself has a stroke behind it."""
    return {**parameters, **{f"{name}_": value for name, value in parameters.items()}}


@dataclass
class HostModule:
    """The rendered CUDA C, built for the CPU: the loss and the gradient by the first input."""

    library: host.HostLibrary
    name: str = "cu"
    tiers: tuple[str, ...] = ("fast", "accurate")

    def offers(self, subject: Subject, output: str, batch: Batch, dtype: str = "float32", tier: str = "fast") -> bool:
        primary = all(name == subject.unit.primary.name for name in subject.wrt(output))
        return primary and batch.count * (batch.classes or 1) <= MOST_NUMBERS

    def call(self, subject: Subject, output: str, batch: Batch, dtype: str, tier: str) -> Array:
        arrays: dict[str, Any] = dict(zip((a.name for a in subject.given), kernel_arrays(subject, batch, dtype)))
        arrays |= _named(batch.parameters)
        found = self.library.call(subject.name, ENTRY[kind_of(output)], arrays, SUFFIX[dtype], tier)
        with np.errstate(all="ignore"):
            return widened(found[kind_of(output)], subject, output, batch)


@dataclass
class Written:
    """The definition and its derivatives as they are written, in the arithmetic of the format."""

    terms: Mapping[str, Any]
    name: str = "written"
    tiers: tuple[str, ...] = ("fast",)

    def offers(self, subject: Subject, output: str, batch: Batch, dtype: str = "float32", tier: str = "fast") -> bool:
        return True

    def call(self, subject: Subject, output: str, batch: Batch, dtype: str, tier: str) -> Array:
        with np.errstate(all="ignore"):
            rows = [evaluate(self.terms[output], batch.point(i), FORMATS[dtype], batch.classes)
                    for i in range(batch.count)]
        return widened(np.stack([np.asarray(r) for r in rows]), subject, output, batch)


def module_of(made: Made) -> ModuleType:
    """The rendered NumPy module. Raises what the printer raises."""
    text = numpy_target.render(made.bundle)[0].body
    spec = importlib.util.spec_from_loader(f"rows_{made.unit.name}", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    exec(compile(text, f"<{made.unit.name}>", "exec"), module.__dict__)
    return module


def library_of(made: Made, folder: Path) -> host.HostLibrary:
    """The rendered CUDA C, built for this machine's CPU."""
    for rendered in cu.render(made.bundle):
        path = folder / rendered.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rendered.body, encoding="utf-8")
    return host.load(folder / "cu" / f"{made.unit.name}.cu")


@dataclass(frozen=True)
class Line:
    """One output of one formula on one target and format."""

    formula: str
    output: str
    target: str
    dtype: str
    before: float
    after: Report
    seconds: float
    verdict: str
    remaining: str

    @property
    def text(self) -> str:
        r = self.after
        wrong = f" nan {r.wrong_nan} inf {r.wrong_inf} sign {r.wrong_sign} flushed {r.flushed}" if r.wrong else ""
        near = f" near a root {r.conditioned} (x{r.conditioned_ratio:.2g})" if r.conditioned else ""
        return (f"{self.formula:26s} {self.output:12s} {self.target} {self.dtype:8s} {self.before:9.3g} -> "
                f"{r.max_ulp:9.3g}  {'holds' if r.holds else 'FAILS'}{wrong}{near}")


def measured(made: Made, dtypes: Sequence[str], targets: Sequence[str], classes: Sequence[int], folder: Path,
             ) -> Iterator[Line]:
    """Every output in every format on every target."""
    adapters: list[Any] = [NumpyModule(module_of(made))] if "np" in targets else []
    if "cu" in targets:
        adapters.append(HostModule(library_of(made, folder)))
    by_output = {lower.output_name(d.order): d for d in made.derivations}
    for dtype in dtypes:
        sight = exam(made.subject, dtype, classes=classes)
        before = {r: _worst(sight, made, r) for r in made.subject.outputs}
        for adapter in adapters:
            for output in made.subject.outputs:
                # Nothing is wider than float64: the tier that promises its contract is the accurate one.
                tier = "accurate" if dtype == "float64" and adapter.name == "np" else "fast"
                for report in _merged(sight.measure(adapter, tier, [output])):
                    form = by_output[output].form
                    yield Line(made.unit.name, output, adapter.name, dtype, before[output], report, made.seconds,
                               form.verdict, form.remaining)


def _merged(reports: Sequence[Report]) -> list[Report]:
    """Hard and soft targets together."""
    return [sum(reports[1:], reports[0])] if reports else []


def _worst(sight: Exam, made: Made, output: str) -> float:
    """The worst error of the formula as it is written; infinite where it is wrong in kind."""
    worst = 0.0
    for number, batch in enumerate(sight.batches):
        truth = sight.truth(output, number)
        got = Written(made.naive).call(made.subject, output, batch, sight.fmt.name, "fast")
        head = Report(made.unit.name, output, "written", sight.fmt.name, "fast", batch.group)
        report = measure(got, truth, sight.fmt, float("inf"), head, batch)
        worst = max(worst, float("inf") if report.wrong_nan or report.wrong_inf else report.max_ulp)
    return worst


def options(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    made = argparse.ArgumentParser(description="Row formulas beyond softmax, before and after.")
    made.add_argument("names", nargs="*", help="formulas (default: all)")
    made.add_argument("--quick", action="store_true", help="short rows, float32, NumPy only")
    made.add_argument("--dtype", action="append", choices=("float32", "float64"))
    made.add_argument("--target", action="append", choices=("np", "cu"))
    made.add_argument("--classes", action="append", type=int)
    made.add_argument("--form", action="store_true", help="print the steps and the forms too")
    made.add_argument("--record", nargs="?", const="", metavar="WORD", help="write a dated record, WORD in its name")
    return made.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Measure, print, keep. Exit 1 where the contract is broken."""
    given = options(arguments)
    units = read()
    dtypes = given.dtype or (["float32"] if given.quick else ["float32", "float64"])
    targets = given.target or (["np"] if given.quick else ["np", "cu"])
    classes = given.classes or ((1, 2, 10) if given.quick else CLASSES)
    lines: list[Line] = []
    refused: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.names or units:
            try:
                made = chain(units[name])
                if given.form:
                    _show(made)
                found = list(measured(made, dtypes, targets, classes, Path(folder)))
            except Exception as problem:  # a table with a gap says more than none
                refused[name] = f"{type(problem).__name__}: {str(problem)[:300]}"
                print(f"{name:26s} {refused[name]}", flush=True)
                if given.form:
                    raise
                continue
            lines += found
            print(f"{name:26s} {made.seconds:.1f} s, " + "; ".join(
                f"{lower.output_name(d.order)} {d.form.verdict}{': ' + d.form.remaining if d.form.remaining else ''}"
                for d in made.derivations))
            for line in found:
                print("   ", line.text, flush=True)
            if given.record is not None:
                _record(lines, refused, classes, [*dtypes, *filter(None, [given.record])], arguments)
    whole = {line.formula for line in lines}
    broken = {line.formula for line in lines if not line.after.holds}
    print(f"{len(whole - broken)} of {len(given.names or units)} formulas hold in every output, format and target")
    return 1 if broken else 0


def _show(made: Made) -> None:
    for d in made.derivations:
        print(f"--- {lower.output_name(d.order)}: {d.definition}")
        for s in d.steps:
            print(f"  {s.rule}: {s.after}")


def _record(lines: Sequence[Line], refused: Mapping[str, str], classes: Sequence[int], words: Sequence[str],
            command: Sequence[str]) -> None:
    """The table so far: worst ulp of the formula as written, and of what was generated from it."""
    date = datetime.date.today().isoformat()
    path = HERE / "records" / f"{date}-rows-{'-'.join(words)}.md"
    names = list(dict.fromkeys(x.formula for x in lines))
    good = [n for n in names if all(x.after.holds for x in lines if x.formula == n)]
    outputs = list(dict.fromkeys((x.formula, x.output) for x in lines))
    close = [o for o in outputs if all(x.after.max_ulp <= CLOSE and not x.after.wrong for x in lines
                                       if (x.formula, x.output) == o)]
    head = "| formula | output | target | dtype | before | after | wrong in kind | near a root | bound | contract | s |"
    table = [head, "|---" * 11 + "|"]
    for x in lines:
        table.append(f"| {x.formula} | {x.output} | {x.target} | {x.dtype} | {x.before:.3g} | {x.after.max_ulp:.3g} | "
                     f"{x.after.wrong} | {x.after.conditioned} | {x.after.bound:g} | "
                     f"{'holds' if x.after.holds else 'fails'} | {x.seconds:.1f} |")
    text = (f"{len(good)} of {len(names) + len(refused)} formulas hold the contract in every output, rows of "
            f"{', '.join(f'{c:,}' for c in classes)} classes; {len(close)} of {len(outputs)} outputs stay within "
            f"{CLOSE:g} ulp away from roots in every format and target, with no value wrong in kind. NumPy runs in its "
            "fast tier in float32 and in its accurate tier in float64; CUDA C, if it is among the targets, on the CPU. "
            "The bound is that of the longest rows; s is the time of the derivations of the whole formula.")
    formulas = [f"- `{n}`: `{tomllib.loads(FORMULAS.read_text())[n]['formula']}`" for n in names]
    formulas += [f"- `{n}` was refused: {why}" for n, why in refused.items()]
    made = f"`python bench/rows.py {' '.join(command)}`"
    path.write_text("\n".join([f"# Row formulas, {date}", "", made, "", text, "", *formulas, "", *table, ""]),
                    encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
