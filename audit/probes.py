"""Probes beyond the points of an audit: rows whose first classes are masked, very long rows, means over a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from lossmith.audit.adapters import torch_module, torch_tensors
from lossmith.audit.evidence import FAILS, Lab, agree, picked
from lossmith.audit.findings import Finding, Witness, command_for
from lossmith.audit.foreign import ForeignAdapter, answered
from lossmith.audit.measure import describe
from lossmith.audit.samples import HARD, Batch, hard_values
from lossmith.derivations.loss import Argument
from lossmith.derivations.points import is_weights
from lossmith.derivations.ulp import FORMATS, Array, round_array

MASKED = (8, 300, 2100)  # lengths of rows whose first half is masked: longer than the tiles of common kernels
LONG_16, LONG = 70_001, 20_000  # classes: more than float16 can count to; what a float32 sum feels
ROWS = 100_000  # of a batch whose mean is taken
NEAR = 64.0
_F64 = FORMATS["float64"]


def probed(lab: Lab) -> Iterator[Finding]:
    """What the probes find."""
    if lab.subject.is_row and _is_logits(lab.subject.given[0]):
        yield from _masked_first(lab)
        yield from _long(lab)
    if isinstance(lab.given, ForeignAdapter) and lab.given.kind == "torch":
        yield from _means(lab, lab.given)


def _is_logits(a: Argument) -> bool:
    return a.axis == "class" and math.isinf(a.domain.low) and math.isinf(a.domain.high)


def _row(a: Argument, classes: int) -> Array:
    """A plain row that has its mass, if it is a distribution, at the last class."""
    if a.domain.unit_sum or is_weights(a.domain):
        out = np.zeros(classes) if a.domain.low_closed else np.full(classes, 1 / classes)
        out[-1] = 1.0 if a.domain.low_closed else out[-1]
        return out
    if a.domain.high == 0:
        return np.full(classes, -math.log(classes))
    values = hard_values(a.domain, _F64)
    return np.full(classes, values[-1] if a.domain.values else 0.5 if a.domain.holds(0.5) else values[0])


def _batch(lab: Lab, logits: Array, label: int = -1) -> Batch:
    """One row of logits, the other inputs plain."""
    classes = len(logits)
    arrays: dict[str, Array] = {}
    for n, a in enumerate(lab.subject.given):
        if n == 0:
            arrays[a.name] = round_array(logits, lab.fmt)[None]
        elif a.role == "label":
            arrays[a.name] = np.array([label % classes])
        elif a.axis == "class":
            arrays[a.name] = round_array(_row(a, classes), lab.fmt)[None]
        else:
            arrays[a.name] = np.array([hard_values(a.domain, lab.fmt)[0]])
    return Batch(HARD, arrays, lab.subject.parameters(lab.fmt), classes)


def _masked_first(lab: Lab) -> Iterator[Finding]:
    """Rows whose first half is -inf, and the same with the second half masked but for the last class."""
    for output in ("loss", "gradient_" + lab.subject.given[0].name):
        for classes in MASKED if output in lab.subject.outputs else ():
            row = 0.25 * (np.arange(classes) % 5)
            half = classes // 2
            first = _batch(lab, np.where(np.arange(classes) < half, -np.inf, row))
            behind = (np.arange(classes) >= half) & (np.arange(classes) < classes - 1)
            later = _batch(lab, np.where(behind, -np.inf, row))
            found = lab.call(output, first)
            if found is None:
                break
            wrong = np.isnan(found)
            wrong = wrong & ~np.isnan(lab.exact(output, first).high) if wrong.any() else wrong
            well = lab.right(output, later, NEAR) if wrong.any() else None
            if well is not None and well.all():
                yield _told(lab, "L205", output, first, wrong, f"{classes} classes of which the first {half} are -inf: "
                            "NaN; with the masked classes behind an ordinary one it is right")
                break


def _long(lab: Lab) -> Iterator[Finding]:
    """A row of equal logits, so long that a sum in the format cannot hold it."""
    if lab.fmt.bits == 64:
        return
    classes = LONG_16 if lab.fmt.bits == 16 else LONG
    short, long = (_batch(lab, np.zeros(c), 0) for c in (8, classes))
    found, well = lab.call("loss", long), lab.right("loss", short, NEAR)
    if found is None or well is None or not well.all():
        return
    truth = lab.exact("loss", long)
    if truth.nearest(lab.fmt)[0] == 0 or np.isinf(truth.nearest(lab.fmt)[0]):
        return
    wrong = ~agree(found, truth, lab.fmt, NEAR, "loss", long)
    if wrong.any():
        yield _told(lab, "L207", "loss", long, wrong, f"a row of {classes} equal logits: {found[0]:g} for "
                    f"{truth.high[0]:.6g}; a row of 8 is right")


def _means(lab: Lab, given: ForeignAdapter) -> Iterator[Finding]:
    """The mean over a long batch of a function that takes reduction: that of a few examples, many times over."""
    if given.options.get("reduction") != "none" or given.output != "loss" or lab.fmt.bits == 64:
        return
    few = _few(lab)
    values = lab.call("loss", few)
    truth = lab.exact("loss", few)
    if values is None or not agree(values, truth, lab.fmt, NEAR, "loss", few).all():
        return
    many = picked(few, np.resize(np.arange(few.count), ROWS if few.classes is None else ROWS // 10))
    exact = float(truth.high.mean())
    try:
        got = float(answered(lambda: _reduced(lab, given, many), given.seconds))
    except (*FAILS, OverflowError):
        return
    if exact == 0 or abs(got - exact) <= NEAR * lab.fmt.eps * abs(exact):
        return
    yield Finding("L207", "loss", lab.fmt.name, Witness(f"the mean over {many.count} examples", got.hex(), exact.hex(),
                                                        got, exact),
                  f"the mean over {many.count} examples is {got:g}; each of them is right", 1, 1, True,
                  "the mean is what is trained on", command_for(lab.subject, "loss"))


def _few(lab: Lab) -> Batch:
    if lab.subject.is_row:
        return _batch(lab, np.array([0.5, 1.0, -0.25, 0.0]))
    arrays = {}
    for a in lab.subject.given:
        places = [v for v in (0.5, 0.25, -1.0, 2.0) if a.domain.holds(v)] or [float(hard_values(a.domain, lab.fmt)[0])]
        arrays[a.name] = np.resize(np.array(places), 4)
    return Batch(HARD, arrays, lab.subject.parameters(lab.fmt))


def _reduced(lab: Lab, given: ForeignAdapter, batch: Batch) -> Any:
    tensors = torch_tensors(torch_module(), lab.subject, batch, lab.fmt.name)
    order = list(given.order) or [a.name for a in lab.subject.given]
    return given.function(*(tensors[n] for n in order), **{**given.options, "reduction": "mean"}).double().item()


def _told(lab: Lab, code: str, output: str, batch: Batch, wrong: Array, because: str) -> Finding:
    found, truth = lab.call(output, batch), lab.exact(output, batch)
    assert found is not None
    place = tuple(int(p) for p in np.argwhere(wrong)[0])
    got, wanted = float(found[place]), float(truth.high[place])
    k = place[1] if len(place) == 2 else None
    witness = Witness(describe(batch, place[0], k), got.hex(), wanted.hex(), got, wanted)
    return Finding(code, output, lab.fmt.name, witness, because, 1, 1, True,
                   "masked and long rows are ordinary inputs, and one such row spoils the mean", command_for(
                       lab.subject, output))
