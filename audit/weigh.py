"""Whether an error matters, and on what that is decided: the condition of the point, the scale of what is computed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from lossmith.audit.case import Case
from lossmith.audit.condition import condition_of
from lossmith.audit.evidence import Lab, Seen

FEW = 16.0  # ulp that nobody notices
LOST = 0.5  # a relative error from which a value is lost


def weighed(lab: Lab, case: Case, i: int) -> tuple[bool, str]:
    """Whether the error at a failing value can be told in use, and why."""
    got, exact = float(case.got[i]), float(case.truth.high[i])
    if not math.isfinite(got) and not (math.isinf(exact) and math.isinf(got)):
        return True, f"one {got:g} makes the sum, the mean and every weight after one step {_spoilt(got)}"
    if not math.isfinite(exact):
        return False, "the exact value is not finite there, and a finite one in its place spoils no mean"
    ulps = float(case.ulps[i])
    if ulps <= FEW:
        return False, f"{ulps:.3g} ulp are within what {FEW:g} roundings do"
    k = None if case.classes is None else int(case.classes[i])
    condition = condition_of(lab.subject, case.output, case.batch, i, k, lab.fmt)
    if ulps <= 4 * condition:
        return False, (f"half an ulp of the inputs moves the exact value by {condition:.3g} ulp there, as much as the "
                       f"{ulps:.3g} ulp of the error: who rounds the inputs cannot tell")
    return _by_scale(case.seen, case, got, exact)


def _spoilt(got: float) -> str:
    return "NaN" if math.isnan(got) else "infinite or NaN"


def _by_scale(seen: Seen, case: Case, got: float, exact: float) -> tuple[bool, str]:
    """An error beside what the same output is at ordinary inputs: below its rounding, a sum hides it."""
    off = abs(got - exact)
    relative = off / abs(exact) if exact else math.inf
    usual = usual_size(seen)
    hidden = usual is not None and off <= FEW * case.lab.fmt.eps * usual
    size = f"{usual:.2g}" if usual is not None else "?"
    if hidden and relative < LOST:
        return False, (f"the error of {off:.2g} is below a few roundings of a value of ordinary size ({size}), so that "
                       f"a sum or a mean over a batch hides it; the value alone has a relative error of {relative:.2g}")
    if hidden:
        what = "losses are compared or summed for confident examples" if case.kind == "loss" else (
            "confident examples should still be learnt from, or a step is scaled by its own size")
        return True, (f"where {what}: the value is lost altogether (relative error {relative:.2g}); a sum over a batch "
                      f"with ordinary examples ({size}) hides it")
    beside = f" beside values of ordinary size ({size})" if usual is not None else ""
    return True, f"an error of {off:.2g}{beside}, relative {relative:.2g}: a mean shows it"


def usual_size(seen: Seen) -> float | None:
    """The median of the exact values at inputs of ordinary size, 2^-3 to 2^3, or 0; None where there are none."""
    ordinary = np.ones(seen.batch.count, dtype=bool)
    for a in seen.batch.arrays.values():
        size = np.abs(a.astype(np.float64))
        fits = (size == 0) | ((size >= 2.0**-3) & (size <= 8.0)) | (a.dtype.kind == "i")
        ordinary &= fits.reshape(seen.batch.count, -1).all(axis=1)
    values: Any = np.abs(seen.truth.high[ordinary])
    values = values[np.isfinite(values) & (values > 0)]
    return float(np.median(values)) if values.size else None
