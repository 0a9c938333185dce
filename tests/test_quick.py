"""Truth for many points at once agrees with ball arithmetic, and is given only where a bound is known."""

from __future__ import annotations

import numpy as np
import pytest
from lossmith.audit import quick
from lossmith.audit.evidence import picked
from lossmith.audit.measure import exact
from lossmith.audit.samples import elementwise_batches
from lossmith.audit.subject import load
from lossmith.derivations.ulp import FORMATS, ulp_of


@pytest.mark.parametrize("unit", ["sigmoid_cross_entropy", "binary_cross_entropy"])
def test_it_is_the_truth(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, fmt = load(unit), FORMATS["bfloat16"]
    for whole in elementwise_batches(subject, fmt, 60):
        batch = picked(whole, np.arange(0, whole.count, max(1, whole.count // 60)))
        for output in subject.outputs:
            monkeypatch.setattr(quick, "FEWEST", 1)
            found, truth = quick.quick_exact(subject, output, batch, fmt), exact(subject, output, batch)
            if found is None:
                continue
            assert np.array_equal(np.isnan(found.high), np.isnan(truth.high)), output
            assert np.array_equal(found.nearest(fmt), truth.nearest(fmt), equal_nan=True), output
            known = np.isfinite(truth.high)
            assert np.all(np.abs(found.high - truth.high)[known] <= 1e-6 * ulp_of(truth.high[known], fmt)), output


def test_few_points_are_left_to_balls() -> None:
    subject, fmt = load("sigmoid_cross_entropy"), FORMATS["bfloat16"]
    assert quick.quick_exact(subject, "loss", elementwise_batches(subject, fmt, 20)[0], fmt) is None
