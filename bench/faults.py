"""Faults in kernels: each must be found by the audit; beside it the number that gradcheck finds.

    python bench/faults.py                       360 faults, spread over kinds and units; the record
    python bench/faults.py --sample 40 --jobs 2  fewer, in two processes
    python bench/faults.py --kept FILE           verdicts are kept, one a line: what the file holds is not judged again

A change may make no difference, or none in accuracy. That is decided here by other means than the
audit's: the kernel without the fault, in its accurate tier, on points of other draws.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import multiprocessing
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from lossmith.audit.adapters import kernel_arrays, kind_of, widened
from lossmith.audit.evidence import MANY, repeated
from lossmith.audit.run import Exam, exam
from lossmith.audit.samples import HARD, Batch
from lossmith.audit.subject import Subject, load
from lossmith.derivations import catalogue
from lossmith.derivations.loss import Argument
from lossmith.derivations.points import is_weights
from lossmith.derivations.ulp import FORMATS, Array, error

sys.path.insert(0, str(Path(__file__).resolve().parent))
from faulty_kernels import Fault, module_of, sampled, source_of

RECORDS = Path(__file__).resolve().parent / "records"
Verdict = Literal["caught", "missed", "same values", "rounding", "inputs", "raises"]
FORMATS_TRIED = ("float32", "float64")
CLASSES, POINTS = (1, 2, 3, 5, 10), 150  # in pieces: one, two and three of them
RAISED = (ValueError, TypeError, IndexError, UnboundLocalError, AttributeError)
KEPT = 32  # examples of a batch: few, for the condition of every soft one that fails is asked for
PIECE = 4  # elements at a time, so that a row of ten classes is merged from pieces
ROUNDING = 16.0  # so many ulp off, at a point where the kernel without the fault is right to 2, is a fault


EXPLAINED = """Each fault is one changed expression of a generated NumPy kernel (`bench/faulty_kernels.py`): in a loss,
a gradient, what merges pieces of a row, or a helper. The audit: float32, then float64; few points first,
then the default number; rows of 1, 2, 3, 5 and 10 classes in pieces of 4 elements. gradcheck: torch's,
default tolerances, the same kernels as forward and backward of an autograd.Function, random normal inputs
in float64; it looks at no other format and at no special input.

A fault counts where the audit finds it, or else where a comparison with the kernel without the fault, on
points of other draws, finds a single value that is wrong in kind or more than 16 ulp off where it was right
to 2. Not counted: a change after which every value there is the same to the last bit; one that stays within
16 ulp (rounding); one whose errors are no larger than what an input moved to the next number does to the
exact value (inputs: at a root nobody can tell); and a kernel that raises, which needs no audit."""


@dataclass(frozen=True)
class Outcome:
    """What became of one fault. `ulp`: of one that the audit does not find, how far off it is, the inputs' part apart;
    `explained`: the largest error that the inputs explain."""

    unit: str
    kind: str
    function: str
    change: str
    verdict: Verdict
    gradcheck: bool = False
    ulp: float = 0.0
    explained: float = 0.0


@dataclass(frozen=True)
class Held:
    """A module as the audit calls it: a kernel with a fault, or without. block: the elements of a piece, where that is
    not what the module says itself; many of such pieces take too long."""

    module: ModuleType
    block: int | None = None
    name: str = "np"
    tiers: tuple[str, ...] = ("fast", "accurate")

    def offers(self, subject: Subject, output: str, batch: Batch, dtype: str = "float32", tier: str = "fast") -> bool:
        return kind_of(output) != "hessian" and (self.block is None or batch.count * (batch.classes or 1) < MANY)

    def call(self, subject: Subject, output: str, batch: Batch, dtype: str, tier: str) -> Array:
        options: dict[str, Any] = {"tier": tier, **batch.parameters}
        if output != "loss":
            options["wrt"] = subject.wrt(output)[0]
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = getattr(self.module, kind_of(output))(*kernel_arrays(subject, batch, dtype), **options)
        return widened(values, subject, output, batch)


@functools.cache
def exams(unit: str, dtype: str, small: bool) -> tuple[Exam, Exam]:
    """An audit, hard labels and soft ones apart: soft ones take longer to judge. `small`: with few points."""
    made = exam(load(unit), dtype, POINTS if small else 2000, CLASSES)
    batches = [_thinned(b) if small else b for b in made.batches]
    return tuple(Exam(made.subject, made.fmt, [b for b in batches if (b.group == HARD) == hard])  # type: ignore[return-value]
                 for hard in (True, False))


def _thinned(batch: Batch) -> Batch:
    most = KEPT if batch.group != HARD or batch.classes is not None else 10 * KEPT
    places = np.unique(np.linspace(0, batch.count - 1, min(batch.count, most)).astype(int))
    return replace(batch, arrays={n: a[places] for n, a in batch.arrays.items()})


def block_of(unit: str) -> int | None:
    return PIECE if load(unit).is_row else None


def judged(fault: Fault) -> Outcome:
    """Whether the audit finds a fault; of one that it does not find, whether it makes a difference at all."""
    held = Held(fault.module(block_of(fault.unit)), block_of(fault.unit))
    said = functools.partial(Outcome, fault.unit, fault.kind, fault.function, fault.change)
    try:
        for small in (True, False):  # most are found on a few points; the rest is for the audit as it is by default
            if any(found_by_audit(held, fault.unit, d, small) for d in FORMATS_TRIED):
                return said("caught")
    except RAISED:
        return said("raises")
    try:
        found = [effect(held, fault.unit, d) for d in FORMATS_TRIED]
    except RAISED:  # only on other points than the audit's
        return said("missed", ulp=math.inf)
    ulp, explained = max(e.ulp for e in found), max(e.explained for e in found)
    if ulp > ROUNDING:
        return said("missed", ulp=ulp, explained=explained)
    if explained > ROUNDING:
        return said("inputs", ulp=ulp, explained=explained)
    return said("rounding" if any(e.changed for e in found) else "same values", ulp=ulp, explained=explained)


def found_by_audit(held: Held, unit: str, dtype: str, small: bool = True) -> bool:
    """Whether an audit of the loss and the gradients has a report that does not hold.

    Where the kernel without a fault does not hold either, by a little, twice its error has to be exceeded.
    """
    for part, sound in zip(exams(unit, dtype, small), sound_outputs(unit, dtype, small), strict=True):
        for output, usual_values in sound.items():
            found = (called(held, part.subject, output, b, dtype) for b in part.batches)
            if all(np.array_equal(f, s, equal_nan=True) for f, s in zip(found, usual_values, strict=True)):
                continue  # measured, it is what the kernel without the fault is
            for r in (r for r in part.measure(held, "fast", [output]) if not r.holds):
                usual, wrong = without_a_fault(unit, dtype, small, output).get(r.group, (0.0, 0))
                if r.wrong > wrong or (r.over and r.max_ulp > 2 * usual):
                    return True
    return False


def called(held: Held, subject: Subject, output: str, batch: Batch, dtype: str) -> Array:
    """What a kernel gives on a batch as an audit calls it: as it is, and among many."""
    batches = (batch, repeated(batch)[0])
    return np.concatenate([held.call(subject, output, b, dtype, "fast") for b in batches
                           if held.offers(subject, output, b)])


@functools.cache
def sound_of(unit: str) -> Held:
    return Held(module_of(source_of(unit), unit, block_of(unit)), block_of(unit))


@functools.cache
def sound_outputs(unit: str, dtype: str, small: bool) -> list[dict[str, list[Array]]]:
    """What the kernel as it is generated gives on the batches of each part of an audit, by output."""
    return [{output: [called(sound_of(unit), part.subject, output, b, dtype) for b in part.batches]
             for output in part.subject.outputs if kind_of(output) != "hessian"}
            for part in exams(unit, dtype, small)]


@functools.cache
def without_a_fault(unit: str, dtype: str, small: bool, output: str) -> dict[str, tuple[float, int]]:
    """The reports of the kernel as it is generated that do not hold: by group, worst error and wrong values."""
    return {r.group: (r.max_ulp, r.wrong) for part in exams(unit, dtype, small)
            for r in part.measure(sound_of(unit), "fast", [output]) if not r.holds}


# Deciding by other means.

@dataclass(frozen=True)
class Effect:
    """What a fault does on other points: whether any bit changes; the largest error in ulp where the kernel without it
    is right, infinite where a value is wrong in kind; and the largest that the inputs' own last bits explain."""

    changed: bool = False
    ulp: float = 0.0
    explained: float = 0.0


def effect(held: Held, unit: str, dtype: str) -> Effect:
    """How far a fault is off. An error that the inputs explain, moved by one number, is none: at a root nobody can
    tell."""
    subject, fmt = load(unit), FORMATS[dtype]
    changed, ulp, explained = False, 0.0, 0.0
    for batch, output, exact, plain, moved in sound_values(unit, dtype):
        found = held.call(subject, output, batch, dtype, "fast")
        other = ~((found == plain) | (np.isnan(found) & np.isnan(plain)))
        changed |= bool(other.any())
        known = other & np.isfinite(exact) & np.isfinite(plain)
        with np.errstate(all="ignore"):
            usual, off = (error(v, (exact, np.zeros(exact.shape)), fmt) for v in (plain, found))
            off = np.where(np.isfinite(found), np.where(known & (usual <= 2), off, 0.0), np.where(known, np.inf, 0.0))
            off = np.where(np.isnan(found) & np.isinf(exact), np.inf, off)
            alike = np.isfinite(found) & (np.abs(found - exact) <= moved)
        ulp = max(ulp, float(np.max(np.where(alike, 0.0, off), initial=0.0)))
        explained = max(explained, float(np.max(np.where(alike, off, 0.0), initial=0.0)))
    return Effect(changed, ulp, explained)


@functools.cache
def sound_values(unit: str, dtype: str) -> list[tuple[Batch, str, Array, Array, Array]]:
    """Points of other draws, and on them each output of the kernel without a fault: accurate tier, fast tier, and
    by how much it moves when the inputs do by one number."""
    subject = load(unit)
    sound = sound_of(unit)
    found = []
    for batch in other_draws(subject, dtype):
        for output in (o for o in subject.outputs if kind_of(o) != "hessian"):
            exact, plain = (sound.call(subject, output, batch, dtype, t) for t in ("accurate", "fast"))
            moved = np.zeros(exact.shape)
            for near in beside(subject, batch, dtype):
                with np.errstate(all="ignore"):
                    off = np.abs(sound.call(subject, output, near, dtype, "accurate") - exact)
                moved = np.fmax(moved, off)
            found.append((batch, output, exact, plain, moved))
    return found


def beside(subject: Subject, batch: Batch, dtype: str) -> Iterator[Batch]:
    """The same points with the inputs at the next number of the format, up and down, one input at a time."""
    kind = FORMATS[dtype].dtype.type
    for a in subject.given:
        if a.role != "input":
            continue
        for end in (a.domain.low, a.domain.high):
            values = np.nextafter(batch.arrays[a.name].astype(kind), kind(float(end))).astype(np.float64)
            yield replace(batch, arrays={**batch.arrays, a.name: values})


def other_draws(subject: Subject, dtype: str) -> list[Batch]:
    """Points of a generator of their own: sizes from 1e-30 to 1e30 and plain ones; rows with ties and masks."""
    rng = np.random.default_rng(20)
    lengths: Sequence[int | None] = (1, 2, 5, 17) if subject.is_row else (None,)
    made = []
    for classes in lengths:
        count = 20_000 if classes is None else 100
        shape = {a.name: (count, classes) if a.axis == "class" else (count,) for a in subject.given}
        arrays = {a.name: _drawn(a, shape[a.name], classes, rng) for a in subject.given}
        kind = FORMATS[dtype].dtype
        arrays = {n: a if a.dtype.kind == "i" else a.astype(kind).astype(np.float64) for n, a in arrays.items()}
        made.append(Batch(HARD, arrays, subject.parameters(FORMATS[dtype]), classes))
    return made


def _drawn(a: Argument, shape: tuple[int, ...], classes: int | None, rng: np.random.Generator) -> Array:
    if a.role == "label":
        return rng.integers(0, classes or 1, shape)
    domain = a.domain
    if domain.values:
        return rng.choice([float(v) for v in domain.values], shape)
    if domain.unit_sum or is_weights(domain):
        one_hot = np.eye(shape[1])[rng.integers(0, shape[1], shape[0])]
        soft = rng.dirichlet(np.full(shape[1], 0.3), shape[0]) + 1e-12
        return np.where((rng.random(shape[0]) < 0.5)[:, None] & domain.low_closed, one_hot, soft)
    if domain.high == 0 and math.isinf(domain.low):
        return np.minimum(np.log(rng.dirichlet(np.full(shape[-1], 0.3), shape[0]) + 1e-12), 0.0)
    if math.isfinite(domain.low) and math.isfinite(domain.high):
        values = rng.choice([0.0, 1.0, 0.5, 0.3, 1e-9], shape)
        values = np.where(rng.random(shape) < 0.5, values, rng.random(shape))
        return np.where((values == 0) & (not domain.low_closed), 1e-3, values)
    wild = rng.normal(size=shape) * 10.0 ** rng.uniform(-30, 30 if classes is None else 3, shape)
    values = np.where(rng.random(shape) < 0.3, wild, np.round(rng.normal(0, 6, shape), 1))
    if math.isinf(domain.low) and domain.low_closed and len(shape) == 2 and shape[1] > 1:
        values = np.where(rng.random(shape) < 0.05, -np.inf, values)
        values[:, -1] = np.where(np.isneginf(values).all(axis=1), 0.0, values[:, -1])
    return np.abs(values) if domain.low == 0 else values


# gradcheck, with its default tolerances, on the same kernels as a pair of forward and backward.

def found_by_gradcheck(fault: Fault, names: Sequence[str]) -> bool:
    """Whether torch.autograd.gradcheck at random normal inputs refuses the loss and the gradients by `names`."""
    return not _passes(fault.module(), fault.unit, names)


@functools.cache
def checked_arguments(unit: str) -> tuple[str, ...]:
    """The arguments by which the kernel without a fault passes gradcheck."""
    sound = module_of(source_of(unit), unit)
    given = [a for a in load(unit).given if a.differentiable and a.role != "label" and not a.domain.values]
    return tuple(a.name for a in given if _passes(sound, unit, [a.name]))


def _passes(module: ModuleType, unit: str, names: Sequence[str]) -> bool:
    import torch

    subject = load(unit)
    arrays = {a.name: torch.from_numpy(_normal(a, subject.is_row)) for a in subject.given}
    parameters = subject.parameters(FORMATS["float64"])

    class Pair(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(context: Any, *chosen: Any) -> Any:
            context.save_for_backward(*chosen)
            return torch.as_tensor(np.asarray(module.loss(*_values(arrays, names, chosen), **parameters)))

        @staticmethod
        def backward(context: Any, *up: Any) -> Any:
            values = _values(arrays, names, context.saved_tensors)
            found = []
            for n in names:
                slope = torch.as_tensor(np.array(np.broadcast_to(module.gradient(*values, wrt=n, **parameters),
                                                                 arrays[n].shape)))
                found.append(slope * (up[0][..., None] if slope.ndim > up[0].ndim else up[0]))
            return tuple(found)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return bool(torch.autograd.gradcheck(Pair.apply, tuple(arrays[n].clone().requires_grad_() for n in names)))
        except (RuntimeError, ValueError, TypeError, IndexError):  # gradcheck's own refusal is a RuntimeError
            return False


def _values(arrays: Mapping[str, Any], names: Sequence[str], chosen: Sequence[Any]) -> list[Array]:
    """All arguments as arrays, those by which the loss is differentiated as they are now."""
    now = {**arrays, **dict(zip(names, chosen, strict=True))}
    return [t.detach().numpy() for t in now.values()]


def _normal(a: Argument, rows: bool) -> Array:
    """Random normal inputs, brought into the domain: 24 of them, or six rows of five classes."""
    rng = np.random.default_rng(sum(map(ord, a.name)))
    shape = (6, 5) if a.axis == "class" else (6,) if rows else (24,)
    values = rng.normal(size=shape)
    if a.role == "label":
        return rng.integers(0, 5, shape)
    if a.domain.values:
        return rng.choice([float(v) for v in a.domain.values], shape)
    if a.domain.unit_sum or is_weights(a.domain):
        return np.asarray(np.exp(values) / np.exp(values).sum(axis=-1, keepdims=True))
    if a.domain.high == 0:
        return np.asarray(values - np.log(np.exp(values).sum(axis=-1, keepdims=True)))
    if math.isfinite(a.domain.low) and math.isfinite(a.domain.high):
        return np.asarray(1 / (1 + np.exp(-values)))
    return np.abs(values) if a.domain.low == 0 else values


def outcome(fault: Fault, gradcheck: bool = True) -> Outcome:
    """What the audit makes of a fault, and where it counts what gradcheck does."""
    found = judged(fault)
    if not gradcheck or not counts(found):
        return found
    names = checked_arguments(fault.unit)
    return replace(found, gradcheck=bool(names) and found_by_gradcheck(fault, names))


def counts(found: Outcome) -> bool:
    return found.verdict in ("caught", "missed")


def run(faults: Sequence[Fault], gradcheck: bool = True, kept: Path | None = None, jobs: int = 1) -> list[Outcome]:
    """What became of every fault, ordered by unit. `kept`: a file of verdicts, read and written as they are made."""
    known = {(o.unit, o.kind, o.function, o.change): o for o in _read(kept)}
    ordered = sorted(faults, key=lambda f: f.unit)
    left = [f for f in ordered if (f.unit, f.kind, f.function, f.change) not in known]
    by_unit = [[f for f in left if f.unit == u] for u in dict.fromkeys(f.unit for f in left)]
    part = functools.partial(_part, gradcheck=gradcheck, kept=kept)
    made: Iterable[list[Outcome]]
    if jobs == 1:
        made = map(part, by_unit)
    else:  # what is known of a unit is kept in one process
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            made = list(pool.imap_unordered(part, by_unit))
    known |= {(o.unit, o.kind, o.function, o.change): o for some in made for o in some}
    return [known[f.unit, f.kind, f.function, f.change] for f in ordered]


def _part(faults: Sequence[Fault], gradcheck: bool, kept: Path | None) -> list[Outcome]:
    """The faults of one unit, each kept as soon as it is judged."""
    made = []
    for n, fault in enumerate(faults):
        if sys.stderr.isatty():
            print(f"\r{n}/{len(faults)} {fault.unit}".ljust(70), end="", file=sys.stderr)
        made.append(outcome(fault, gradcheck))
        if kept is not None:
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(made[-1])) + "\n")
    return made


def _read(kept: Path | None) -> list[Outcome]:
    if kept is None or not kept.exists():
        return []
    return [Outcome(**json.loads(line)) for line in kept.read_text(encoding="utf-8").splitlines()]


def as_text(found: Sequence[Outcome]) -> str:
    """The table as Markdown."""
    lines = ["| fault | counted | found by the audit | found by gradcheck | not counted: same values | rounding | "
             "inputs | raises |", "|---|---|---|---|---|---|---|---|"]
    for name in (*sorted({o.kind for o in found}), "all"):
        some = [o for o in found if name in (o.kind, "all")]
        n = Counter(o.verdict for o in some)
        told = (n["caught"] + n["missed"], n["caught"], sum(o.gradcheck for o in some), n["same values"], n["rounding"],
                n["inputs"], n["raises"])
        lines.append(" | ".join(["| " + name, *map(str, told)]) + " |")
    return "\n".join(lines)


def notes(found: Sequence[Outcome]) -> Iterator[str]:
    """A line for each fault that the audit misses, and for each whose errors the inputs explain."""
    for o in found:
        place = f"{o.unit} {o.function}: `{o.change}`"
        if o.verdict == "missed":
            yield f"- missed: {place}, {o.ulp:.3g} ulp"
        if o.verdict == "inputs":
            yield f"- explained by the inputs: {place}, {o.explained:.3g} ulp, at other points {o.ulp:.3g}"


def main(arguments: list[str]) -> int:
    """Run, print, keep. Exit 1 where the audit misses a fault."""
    parser = argparse.ArgumentParser(description="Faults in kernels, and whether the audit and gradcheck find them.")
    parser.add_argument("units", nargs="*", help="default: the whole catalogue")
    parser.add_argument("--sample", type=int, default=360, help="how many faults")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--kept", type=Path, help="a file of verdicts, one a line: what is in it is not judged again")
    parser.add_argument("--date", help="write the record of this date")
    chosen = parser.parse_args(arguments)
    units = catalogue.resolve(chosen.units) if chosen.units else catalogue.unit_names()
    started = time.monotonic()
    found = run(sampled(units, chosen.sample), kept=chosen.kept, jobs=chosen.jobs)
    took = f"{time.monotonic() - started:.0f} s"
    said = [f"# Faults in kernels, {chosen.date or 'not kept'}", "",
            f"`python bench/faults.py --sample {chosen.sample} --jobs {chosen.jobs}`, {took}.", "", EXPLAINED, "",
            as_text(found), "", *notes(found)]
    print("\n".join(said[6:]))
    if chosen.date:
        (RECORDS / f"{chosen.date}-faults.md").write_text("\n".join(said).rstrip() + "\n", encoding="utf-8")
    return 1 if any(o.verdict == "missed" for o in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
