"""Which of the ten ways explains each failing value: rules in order, each with the evidence that it asks for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from lossmith.audit.case import NEAR, Case, case_of
from lossmith.audit.evidence import Lab, Seen, picked, sizes
from lossmith.audit.findings import MILD, Finding, Witness, command_for, merged
from lossmith.audit.measure import describe
from lossmith.audit.samples import Batch
from lossmith.audit.weigh import weighed
from lossmith.derivations.ulp import FORMATS, Array, Format, error, round_array

LONG, SHORT = 64, 10  # classes: rows from this length on are long, up to this short
OFF = 1000.0  # ulp, in float64, beyond which a second derivative is no formula's
COLLAPSED = 2.0**-8  # a gradient so many times smaller than the exact one has been killed
MODERATE = 24  # values of a second derivative that are looked at for differences


@dataclass(frozen=True)
class Scene:
    """Everything that was measured in one audit, and the function to be asked again."""

    lab: Lab
    seen: Sequence[Seen]

    @functools.cached_property
    def stuck(self) -> dict[int, Array]:
        """By number of the batch: where the loss stands still although the exact one does not."""
        return {id(s.batch): _plateau(s) for s in self.seen if s.output == "loss"}


Rule = tuple[str, Callable[[Case, Scene], Array], Callable[[Case, Scene, int], str]]


def diagnose(lab: Lab, seen: Sequence[Seen]) -> tuple[Finding, ...]:
    """The ways in which a function fails. Every finding carries an input, the computed and the exact value."""
    scene = Scene(lab, seen)
    return merged(f for s in seen if s.failing.any() for f in _of(case_of(lab, s), scene))


def _of(case: Case, scene: Scene) -> Iterator[Finding]:
    left = np.ones(case.count, dtype=bool)
    for code, holds, said in RULES:
        if not left.any():
            return
        mask = holds(case, scene) & left
        left &= ~mask
        if mask.any():
            yield _finding(case, scene, code, np.flatnonzero(mask), said)


def _finding(case: Case, scene: Scene, code: str, places: Array, said: Callable[[Case, Scene, int], str]) -> Finding:
    """The witness is the plainest of those failing values whose error is about as large as the worst."""
    ulps = np.where(case.ordinary[places], case.ulps[places], np.inf)
    milder = ulps < ulps.max() / 4
    i = int(places[np.lexsort((sizes(case.batch)[places], milder))[0]])
    k = None if case.classes is None else int(case.classes[i])
    matters, verdict = weighed(scene.lab, case, i)
    got, wanted = float(case.got[i]), float(case.truth.high[i])
    witness = Witness(describe(case.batch, i, k), got.hex(), wanted.hex(), got, wanted)
    return Finding(code, case.output, scene.lab.fmt.name, witness, said(case, scene, i), len(places), case.count,
                   matters, verdict, command_for(scene.lab.subject, case.output))


def _plateau(seen: Seen) -> Array:
    """Where the loss has one value, neither 0 nor the right one, over a range in which the exact one doubles."""
    got, high = seen.got, seen.truth.high
    found = np.zeros(got.shape, dtype=bool)
    values, place, counts = np.unique(got, return_inverse=True, return_counts=True)
    for n in np.flatnonzero((counts >= 3) & np.isfinite(values) & (values != 0)):
        same = (place == n) & ~np.isnan(high)
        sizes_of = np.unique(np.abs(high[same & seen.failing]))
        if len(sizes_of) >= 3 and sizes_of[-1] >= 2 * sizes_of[0]:
            found |= same
    return found


# What each rule asks for, in the order in which they are tried.

def _unguarded(case: Case, scene: Scene) -> Array:
    return case.bad & case.value_right if case.bad.any() else case.bad


def _merged_badly(case: Case, scene: Scene) -> Array:
    return case.bad & case.endless & case.reordered if (case.bad & case.endless).any() else case.bad & False


def _masked(case: Case, scene: Scene) -> Array:
    if not case.bad.any():
        return case.bad
    return case.bad & (case.endless | case.empty)


def _bad_alone(case: Case, scene: Scene) -> Array:
    return case.bad & case.isolated if case.bad.any() else case.bad


def _out_of_range(case: Case, scene: Scene) -> Array:
    if not case.bad.any():
        return case.bad
    wide = case.wide_right if case.wide is not None else case.bad & False
    return case.bad & (wide | case.tame)


def _floored(case: Case, scene: Scene) -> Array:
    """A finite value where the exact one is infinite, the same in a wider format; or a loss that stands still."""
    finite = np.isfinite(case.got) & np.isinf(case.truth.high) & (case.got != 0)
    if case.wide is not None:
        finite &= np.isfinite(case.wide)
    return np.asarray((finite | _stands_still(case, scene)) & (case.ulps > NEAR))


def _stands_still(case: Case, scene: Scene) -> Array:
    stuck = scene.stuck.get(id(case.seen.batch))
    if stuck is None:
        return case.bad & False
    still = case.ordinary & stuck[case.rows]
    return still if case.kind == "loss" else still & (np.abs(case.got) <= COLLAPSED * np.abs(case.nearest))


def _in_16_bits(case: Case, scene: Scene) -> Array:
    """A 16-bit format, and float32 is right."""
    return case.ordinary & case.wide_right if scene.lab.fmt.bits == 16 else case.bad & False


def _differences(case: Case, scene: Scene) -> Array:
    return case.ordinary & _by_differences(case, scene) if case.kind == "hessian" else case.bad & False


def _by_differences(case: Case, scene: Scene) -> bool:
    """Whether most of the moderate values are off by far in float64, though the gradients there are not."""
    wide, lab = FORMATS["float64"], scene.lab
    batch = case.seen.batch
    plain = np.argsort(sizes(batch), kind="stable")
    moderate = picked(batch, [int(i) for i in plain if _ordinary_inputs(batch, int(i))][:MODERATE])
    if moderate.count < 6:
        return False
    shares = []
    for output in (case.output, "gradient_" + lab.subject.wrt(case.output)[0]):
        found = lab.call(output, moderate, wide) if output in lab.subject.outputs else None
        truth = lab.exact(output, moderate)
        if found is None:
            shares.append(0.0)
            continue
        with np.errstate(all="ignore"):
            off = np.nan_to_num(error(found, (truth.high, truth.low), wide), nan=np.inf) > OFF
            known = np.isfinite(truth.high) & (truth.high != 0)
            if output == case.output and not np.any(found[known]):
                return False  # zero throughout is another fault
        shares.append(float(off[known].mean()) if known.any() else 0.0)
    return shares[0] > 0.5 and shares[1] < 0.25


def _ordinary_inputs(batch: Batch, i: int) -> bool:
    values = np.concatenate([np.ravel(a[i]) for a in batch.arrays.values() if a.dtype.kind == "f"])
    with np.errstate(all="ignore"):
        size = np.abs(values)
    return bool(np.all((size == 0) | ((size >= 2.0**-4) & (size <= 2.0**4))))


def _slight(case: Case, scene: Scene) -> Array:
    return case.rounding & (case.ulps <= NEAR)


def _long_rows(case: Case, scene: Scene) -> Array:
    """Rounding in long rows, where short rows of the same audit are right."""
    length = case.batch.classes or 0
    short = [s for s in scene.seen if s.output == case.output and (s.batch.classes or 0) <= SHORT]
    if length < LONG or not short or any(s.failing.any() for s in short):
        return case.bad & False
    return case.rounding


def _cancels(case: Case, scene: Scene) -> Array:
    return case.rounding


def _narrowed(case: Case, scene: Scene) -> Array:
    """All computed values are numbers of a narrower format, and the exact ones are not."""
    if _narrower(case) is None:
        return case.bad & False
    return np.asarray(case.ordinary & (case.got != 0))


def _narrower(case: Case) -> Format | None:
    seen = case.seen
    used = np.isfinite(seen.got) & (seen.got != 0) & np.isfinite(seen.truth.high)
    exact = round_array(seen.truth.high, case.lab.fmt)
    for name in ("bfloat16", "float16", "float32"):
        fmt = FORMATS[name]
        if fmt.precision >= case.lab.fmt.precision or case.lab.fmt.bits == 16:
            continue
        fits, right = round_array(seen.got, fmt) == seen.got, round_array(exact, fmt) == exact
        if int((used & ~right).sum()) >= 8 and fits[used].mean() > 0.98:
            return fmt
    return None


def _at_a_seam(case: Case, scene: Scene) -> Array:
    off = case.ordinary & ~case.rounding & (case.ulps > NEAR)
    return off & case.isolated if off.any() else off


def _second_is_zero(case: Case, scene: Scene) -> Array:
    if case.kind != "hessian" or np.any(np.nan_to_num(case.seen.got)):
        return case.bad & False
    return np.asarray(case.ordinary & (case.nearest != 0) & case.gradient_right & ~case.rounding)


def _second_is_not(case: Case, scene: Scene) -> Array:
    if case.kind != "hessian":
        return case.bad & False
    return case.ordinary & ~case.rounding & case.gradient_right


def _killed(case: Case, scene: Scene) -> Array:
    if case.kind == "loss":
        return case.bad & False
    small = np.abs(case.got) <= COLLAPSED * np.abs(case.nearest)
    return np.asarray(case.ordinary & small & ~case.rounding & (np.abs(case.nearest) > COLLAPSED * _scale(case)))


def _scale(case: Case) -> float:
    known = np.abs(case.seen.truth.high[np.isfinite(case.seen.truth.high)])
    return float(min(np.median(known[known > 0]), 1.0)) if (known > 0).any() else 0.0


def _not_its_gradient(case: Case, scene: Scene) -> Array:
    off = case.ordinary & ~case.rounding
    if case.kind != "gradient" or not off.any():
        return case.bad & False
    return off & (case.value_right | case.alone | case.slope[1])


def _other(case: Case, scene: Scene) -> Array:
    return np.ones(case.count, dtype=bool)


# What is said of the witness.

def _wide_says(case: Case, i: int) -> str:
    fmt = case.lab.wider
    if case.wide is None or fmt is None:
        return "the error is of the size of the unit of rounding, and grows as that does in float32"
    return f"{fmt.name} gives {case.wide[i]:.6g} at the same input"


def _said_slight(case: Case, scene: Scene, i: int) -> str:
    return f"{MILD} to {case.ulps[i]:.3g} ulp; {_wide_says(case, i)}"


def _said_cancels(case: Case, scene: Scene, i: int) -> str:
    lost = "all digits are" if case.got[i] == 0 or case.ulps[i] > 2.0**case.lab.fmt.precision / 4 else (
        f"{np.log2(max(case.ulps[i], 1)):.0f} of {case.lab.fmt.precision} bits are")
    return f"{lost} lost by rounding: {_wide_says(case, i)}"


def _said_range(case: Case, scene: Scene, i: int) -> str:
    if case.wide is not None and case.wide_right[i]:
        return f"an intermediate result leaves the range of {case.lab.fmt.name}: {_wide_says(case, i)}"
    return "an intermediate result leaves the range: with inputs of ordinary size the function is right"


def _said_other(case: Case, scene: Scene, i: int) -> str:
    if not case.ordinary[i]:
        return "a special value is wrong, and no mask, merge, seam or range explains it"
    same = case.kind == "gradient" and bool(case.slope[0][i])
    return "not rounding: a wider format does not help" + (
        "; it is the gradient of the function's own loss, which is another" if same else "")


def _said_masked(case: Case, scene: Scene, i: int) -> str:
    if case.endless[i]:
        order = ", in whatever order the classes stand" if case.lab.subject.is_row else ""
        return f"{case.got[i]:g} at an infinite input, where there is a value{order}"
    return f"{case.got[i]:g} where an input is at the end of its domain; just inside it there is a number"


def _said(text: str) -> Callable[[Case, Scene, int], str]:
    return lambda case, scene, i: text.format(value=f"{case.got[i]:g}", kind=case.kind,
                                              narrow=getattr(_narrower(case), "name", ""))


RULES: tuple[Rule, ...] = (
    ("L203", _unguarded, _said("the loss is right at this input and its {kind} is {value}")),
    ("L205", _merged_badly, _said("{value} in this order of the classes, and right when the masked ones stand last")),
    ("L204", _masked, _said_masked),
    ("L208", _bad_alone, _said("{value} here, and right at the next number on either side")),
    ("L207", _out_of_range, _said_range),
    ("L202", _floored, _said("the loss stands still beyond a bound: {value} over a range in which the exact one "
                             "doubles, or is infinite")),
    ("L206", _in_16_bits, _said("float32 inside, rounded once, is right for the same numbers")),
    ("L210", _differences, _said("in float64 too most second derivatives are off by more than 1000 ulp, and the "
                                 "gradients are not")),
    ("L200", _slight, _said_slight),
    ("L207", _long_rows, _said("short rows are right, and long ones are not")),
    ("L201", _cancels, _said_cancels),
    ("L206", _narrowed, _said("all values computed are numbers of {narrow}")),
    ("L208", _at_a_seam, _said("{value} here, and right at the next number on either side; a wider format does "
                               "not help")),
    ("L210", _second_is_zero, _said("0 at every input, in a wider format too, though the gradient is right")),
    ("L210", _second_is_not, _said("{value}, and a wider format does not help, though the gradient is right")),
    ("L202", _killed, _said("the gradient is {value}, in a wider format no better")),
    ("L209", _not_its_gradient, _said("a wider format does not help: the loss is right here, or its differences "
                                      "give another gradient")),
    ("L200", _other, _said_other),
)
