"""All numbers of float32 through a function of one variable: in parts, over cores, to be continued after an end.

A part is a run of bit patterns. Each value is held against a float64 reference whose error is bounded by `Running`,
value by value; where that bound is above `KNOWN` float32 ulp, or the computed value is within `NEAR_TIE` of the middle
between two numbers, ball arithmetic decides.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lossmith.audit.adapters import Adapter
from lossmith.audit.measure import exact_of
from lossmith.audit.running import Running
from lossmith.audit.samples import HARD, Batch, hard_values
from lossmith.audit.subject import Subject
from lossmith.derivations.derive import derive
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term, const, replace, var
from lossmith.derivations.ulp import FORMATS, Array, Doubles, round_array

F32 = FORMATS["float32"]
PARTS = 1024  # of 2^22 numbers each: a second or so, and a line in the state file
BLOCK = 2**14  # numbers that are computed at once: their arrays stay in a core's cache
MOST_APART = 2**32 // PARTS // BLOCK  # blocks of a part
KNOWN = 3e-8  # float32 ulp: where the reference is not known to be as good, balls are asked
NEAR_TIE = 2.0**-20  # ulp around the middle between two numbers within which the reference is not trusted
MOST_BALLS = 40_000  # per part: beyond it the reference is of no use, and the sweep says so
CHECKED = 3000  # points at which the reference's bound is checked before it is used


@dataclass(frozen=True)
class Tally:
    """What is known of some numbers. `inexact`: not the nearest number to the exact value; `over`: beyond 0.501 ulp;
    `balls`: values that ball arithmetic decided; `at`: the worst input's bits; `normal_ulp`: the worst error where the
    exact value is a normal number or 0, subnormal ones apart."""

    numbers: int = 0
    max_ulp: float = 0.0
    at: int = 0
    inexact: int = 0
    over: int = 0
    over_one: int = 0
    wrong_nan: int = 0
    wrong_inf: int = 0
    balls: int = 0
    bound: float = 0.0
    normal_ulp: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        worst = self if self.max_ulp >= other.max_ulp else other
        summed = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)}
        return Tally(**{**summed, "max_ulp": worst.max_ulp, "at": worst.at, "bound": max(self.bound, other.bound),
                        "normal_ulp": max(self.normal_ulp, other.normal_ulp)})

    @property
    def where(self) -> str:
        """The worst input in hex."""
        return float(np.uint32(self.at).view(np.float32)).hex()

    def holds(self, ulp: float) -> bool:
        return self.max_ulp <= ulp and not (self.wrong_nan or self.wrong_inf)


@dataclass(frozen=True)
class Sweep:
    """One output of a function of one variable, all else held: plain data that a process can be given."""

    subject: Subject
    given: Adapter
    output: str
    tier: str
    held: tuple[tuple[str, float], ...] = ()

    @property
    def moved(self) -> str:
        return next(a.name for a in self.subject.given if a.name not in dict(self.held))

    @property
    def title(self) -> str:
        beside = "".join(f", {n} = {v:g}" for n, v in self.held)
        return f"{self.subject.unit.title} {self.output} ({self.given.name}, float32, {self.tier}{beside})"

    def definition(self) -> Term:
        return self._fixed(self.subject.outputs[self.output])

    def reference(self) -> Running:
        """The stable form of the output in float64, with its errors. Raises NoBound."""
        by = self.subject.wrt(self.output)
        order = by * 2 if self.output.startswith("hessian") and len(by) == 1 else by
        return Running(self._fixed(derive(self.subject.unit, order).form.term))

    def _fixed(self, term: Term) -> Term:
        return replace(term, {var(n): const(repr(v)) for n, v in self.held})

    def batch(self, x: Array) -> Batch:
        arrays = {self.moved: x} | {n: np.full(len(x), v) for n, v in self.held}
        ordered = {a.name: arrays[a.name] for a in self.subject.given}
        return Batch(HARD, ordered, self.subject.parameters(F32))

    def exact(self, x: Array) -> tuple[Doubles, Doubles]:
        """By ball arithmetic: high and low."""
        found = exact_of(self.definition(), [{self.moved: float(v)} for v in x], self.subject)
        return found.high, found.low


def sweeps(subject: Subject, given: Adapter, tier: str, outputs: Sequence[str] = ("loss",)) -> list[Sweep]:
    """A sweep for each output and each hard value of the arguments beside the first. Raises ValueError where more
    than one argument may be any number."""
    others = subject.given[1:]
    for output in outputs:
        if output not in subject.outputs:
            raise ValueError(f"{subject.name} has no output '{output}': it has {', '.join(subject.outputs)}")
    if subject.is_row or any(not _few(a) for a in others):
        raise ValueError(f"all numbers of float32 can be tried for a function of one variable only: {subject.name} "
                         f"has {', '.join(a.name for a in subject.given)}")
    choices = [[(a.name, float(v)) for v in hard_values(a.domain, F32)] for a in others]
    return [Sweep(subject, given, o, tier, held) for o in outputs for held in itertools.product(*choices)]


def _few(a: Argument) -> bool:
    """Whether an argument has hard values: a set, or an interval that ends on both sides."""
    return bool(a.domain.values) or (math.isfinite(a.domain.low) and math.isfinite(a.domain.high))


def checked(sweep: Sweep) -> tuple[float, float]:
    """The largest bound, and the largest share of its bound that the reference's error takes, in ulp, at points spread
    over all numbers. Raises ArithmeticError where an error is larger than its bound."""
    bits = np.linspace(0, 2**32 - 1, CHECKED).astype(np.uint64).astype(np.uint32)
    moderate = np.float32(2.0) ** np.linspace(-30, 7, CHECKED // 3).astype(np.float32)
    with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN
        x = np.concatenate([bits.view(np.float32), moderate, -moderate]).astype(np.float64)
    x = x[np.isfinite(x) & _inside(sweep, x)]
    values, bounds = sweep.reference()({sweep.moved: x})
    high, low = sweep.exact(x)
    unit = _units(high)
    with np.errstate(all="ignore"):
        off, allowed = np.abs((values - high) - low) / unit, np.broadcast_to(bounds, x.shape) / unit
    known = np.isfinite(allowed) & np.isfinite(high)
    if not (off[known] <= allowed[known]).all():
        i = int(np.argmax(np.where(known, off - allowed, -1)))
        raise ArithmeticError(f"the reference of {sweep.title} is off by {off[i]:.2g} ulp at {float(x[i]).hex()}, "
                              f"more than the {allowed[i]:.2g} that was derived")
    return float(allowed[known].max()), float(off[known].max())


def _inside(sweep: Sweep, x: Array) -> Array:
    """Which numbers the domain holds; NaN is held by every domain."""
    domain = sweep.subject.unit.argument(sweep.moved).domain
    low, high = float(domain.low), float(domain.high)
    above = x >= low if domain.low_closed or math.isinf(low) else x > low
    below = x <= high if domain.high_closed or math.isinf(high) else x < high
    inside = above & below
    ends = [v for v in (math.inf, -math.inf) if not domain.holds(v)]
    return np.asarray((inside & ~np.isin(x, ends)) | np.isnan(x))


def _units(values: Doubles) -> Doubles:
    """A float32 ulp at float64 values, from their exponents' bits; at an infinity that of the largest number."""
    exponent = ((np.abs(values).view(np.int64) >> 52) - 1046).clip(-149, 104)
    return np.asarray(((exponent + 1023) << 52).view(np.float64))


def part(sweep: Sweep, reference: Running, number: int, size: int = 2**32 // PARTS, every: int = 1) -> Tally:
    """The numbers number * size and on, by their bits, or every so many-th block of them. Raises ArithmeticError where
    the reference is of no use."""
    found = Tally()
    for first in range(number * size + number * 97 % every * BLOCK, (number + 1) * size, BLOCK * every):
        found += _block(sweep, reference, np.arange(first, first + min(BLOCK, size), dtype=np.uint32))
        if found.balls > MOST_BALLS:
            raise ArithmeticError(f"{sweep.title}: the reference does not hold near {found.where}")
    return found


def _block(sweep: Sweep, reference: Running, bits: Array) -> Tally:
    with np.errstate(all="ignore"):
        x = bits.view(np.float32).astype(np.float64)
        inside = _inside(sweep, x)
        if not inside.all():
            x, bits = x[inside], bits[inside]
            if not len(x):
                return Tally()
        got = sweep.given.call(sweep.subject, sweep.output, sweep.batch(x), "float32", sweep.tier)
        values, bounds = reference({sweep.moved: x})
        unit = _units(values)
        errors = np.abs(got - values) / unit
        doubt = bounds / unit
        nan = np.isnan(x)
        sure = ~nan & (doubt <= KNOWN) & (np.abs(errors - 0.5) > NEAR_TIE) & (np.abs(values) < F32.largest)
        lost = sure & ~np.isfinite(got)
        tally = _counted(np.where(sure & ~lost, errors, 0.0), values, bits, 0.5)
        reached = np.where(sure, doubt, 0.0).max(initial=0.0)
        no_number = int(np.isnan(got[lost]).sum()) if lost.any() else 0
    tally = dataclasses.replace(
        tally, numbers=len(x), bound=float(reached), wrong_inf=int(lost.sum()) - no_number,
        wrong_nan=no_number + (int((~np.isnan(got[nan])).sum()) if nan.any() else 0))
    places = np.flatnonzero(~sure & ~nan)
    return tally + _by_balls(sweep, x[places], got[places], bits[places]) if len(places) else tally


def _counted(errors: Doubles, values: Doubles, bits: Array, half: float) -> Tally:
    i = int(np.argmax(errors))
    worst = float(errors[i])
    if worst <= half:
        return Tally(0, worst, int(bits[i]), normal_ulp=worst)
    faint = (np.abs(values) < F32.tiny) & (values != 0)
    normal = float(np.where(faint, 0.0, errors).max()) if faint[i] else worst
    return Tally(0, worst, int(bits[i]), int((errors > half).sum()), int((errors > 0.501 - KNOWN).sum()),
                 int((errors > 1).sum()), normal_ulp=normal)


def _by_balls(sweep: Sweep, x: Array, got: Array, bits: Array) -> Tally:
    """What ball arithmetic says of some numbers."""
    if len(x) > MOST_BALLS:
        return Tally(balls=len(x), at=int(bits[0]))
    high, low = sweep.exact(x)
    nearest = round_array(high, F32)
    with np.errstate(all="ignore"):
        errors = np.abs((got - high) - low) / _units(high)
    nan, inf = np.isnan(got) != np.isnan(nearest), np.isinf(got) != np.isinf(nearest)
    kind = nan | inf
    errors = np.where(kind | (got == nearest) & np.isinf(got) | np.isnan(got), 0.0, errors)
    found = _counted(errors, nearest, bits, 0.5)
    return dataclasses.replace(found, wrong_nan=int(nan.sum()), wrong_inf=int((inf & ~nan).sum()), balls=len(x))


Done = Mapping[int, Tally]


def run(sweep: Sweep, state: Path | None, jobs: int = -1, every: int = 1,
        told: Callable[[int, int, Tally], None] = lambda done, of, so_far: None) -> Tally:
    """All parts that the state file does not hold yet, over some processes; the tally of all of them.

    state: a file that is continued, a line for each part; None for none. every: only each so many-th block, for a
    first look: at most MOST_APART, so that every part, and with it every exponent, has blocks of its own. told:
    called after each part. Raises ValueError for the state of another sweep and for blocks further apart,
    ModuleNotFoundError without joblib.
    """
    if not 1 <= every <= MOST_APART:
        raise ValueError(f"every {every}th block would leave out whole exponents: at most every {MOST_APART}th")
    from joblib import Parallel, delayed

    done = dict(read(state, sweep, every)) if state is not None else {}
    left = [n for n in range(PARTS) if n not in done]
    total = sum(done.values(), Tally())
    if state is not None and not done:
        state.write_text(json.dumps(_head(sweep, every)) + "\n", encoding="utf-8")
    key = json.dumps(_head(sweep, every))
    finished: Iterable[tuple[int, Tally]] = Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(_numbered)(sweep, key, n, every) for n in left)
    for count, (number, found) in enumerate(finished, PARTS - len(left) + 1):
        total += found
        if state is not None:
            with state.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"part": number, **dataclasses.asdict(found)}) + "\n")
        told(count, PARTS, total)
    return total


_KEPT: dict[str, tuple[Sweep, Running]] = {}  # in each process: what took long to derive and to compile


def _numbered(sweep: Sweep, key: str, number: int, every: int) -> tuple[int, Tally]:
    if key not in _KEPT:
        _KEPT[key] = sweep, sweep.reference()
    return number, part(*_KEPT[key], number, every=every)


def _head(sweep: Sweep, every: int) -> dict[str, Any]:
    """What a state file must agree with: the sweep, the definition, and what the function gives at some points."""
    x = np.float32(2.0) ** np.linspace(-40, 40, 4001).astype(np.float32)
    x = np.concatenate([-x, x]).astype(np.float64)
    x = x[_inside(sweep, x)]
    got = sweep.given.call(sweep.subject, sweep.output, sweep.batch(x), "float32", sweep.tier)
    values = hashlib.sha256(got.tobytes()).hexdigest()[:16]
    return {"sweep": sweep.title, "parts": PARTS, "every": every, "values": values}


def read(state: Path, sweep: Sweep, every: int = 1) -> Iterator[tuple[int, Tally]]:
    """The parts that a state file holds; a line that was cut off is left out. Raises ValueError."""
    if not state.exists():
        return
    first, *lines = state.read_text(encoding="utf-8").splitlines() or [""]
    if not first or json.loads(first) != _head(sweep, every):
        raise ValueError(f"{state} is the state of another sweep, or of another version of the function: remove it, "
                         "or name another file")
    for line in lines:
        try:
            found = json.loads(line)
        except json.JSONDecodeError:
            continue
        yield found.pop("part"), Tally(**found)
