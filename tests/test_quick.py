"""Truth for many points at once agrees with ball arithmetic, and is given only where a bound is known."""

from __future__ import annotations

import numpy as np
import pytest
from lossmith.audit import quick
from lossmith.audit.evidence import picked
from lossmith.audit.measure import exact
from lossmith.audit.samples import elementwise_batches, every_number, exhaustive_batches
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
            known = np.isfinite(truth.high) & (np.abs(truth.high) <= fmt.largest)
            assert np.array_equal(found.nearest(fmt)[~known], truth.nearest(fmt)[~known], equal_nan=True), output
            assert np.all(np.abs(found.high - truth.high)[known] <= 1e-6 * ulp_of(truth.high[known], fmt)), output


@pytest.mark.parametrize("unit", ["softmax_cross_entropy", "kl_divergence", "sparse_softmax_cross_entropy",
                                  "partition_distribution", "entropy"])
def test_it_is_the_truth_of_rows(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick, "FEWEST", 1)
    subject, fmt = load(unit), FORMATS["float16"]
    for whole in exhaustive_batches(subject, fmt)[:2]:
        batch = picked(whole, np.arange(7, whole.count, whole.count // 40))
        for output in subject.outputs:
            found, truth = quick.quick_exact(subject, output, batch, fmt), exact(subject, output, batch)
            assert found is not None and found.high.shape == truth.high.shape, output
            known = np.isfinite(truth.high) & (np.abs(truth.high) <= fmt.largest)
            assert np.array_equal(found.nearest(fmt)[~known], truth.nearest(fmt)[~known], equal_nan=True), output
            assert np.all(np.abs(found.high - truth.high)[known] <= 1e-6 * ulp_of(truth.high[known], fmt)), output


def test_every_number_goes_through_rows_in_the_domain() -> None:
    subject, fmt = load("softmax_cross_entropy"), FORMATS["bfloat16"]
    batches = exhaustive_batches(subject, fmt)
    assert [b.count for b in batches] == [65536] * 3 and len({b.arrays["t"][0].argmax() for b in batches}) == 3
    assert np.array_equal(batches[0].arrays["x"][:, 0], every_number(fmt), equal_nan=True)
    shares = exhaustive_batches(load("kl_divergence"), fmt)[0].arrays["q"]
    known = ~np.isnan(shares[:, 0])
    assert np.all(np.abs(shares[known].sum(axis=1) - 1) <= 2.0**-8)


def test_few_points_are_left_to_balls() -> None:
    subject, fmt = load("sigmoid_cross_entropy"), FORMATS["bfloat16"]
    assert quick.quick_exact(subject, "loss", elementwise_batches(subject, fmt, 20)[0], fmt) is None
