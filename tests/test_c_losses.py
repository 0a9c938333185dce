"""The generated C of the catalogue's losses against ball arithmetic on their definitions."""

from __future__ import annotations

import pytest
from lossmith.audit.adapters import Unavailable
from lossmith.audit.run import audit
from lossmith.derivations import catalogue

LIGHT = ("sigmoid_cross_entropy", "information")


@pytest.mark.parametrize("unit", [u if u in LIGHT else pytest.param(u, marks=pytest.mark.heavy)
                                  for u in catalogue.unit_names()])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_the_accurate_tier_is_rounded_once(unit: str, dtype: str) -> None:
    try:
        tier = "accurate" if dtype.startswith("float") and dtype != "float16" else "fast"
        found = audit(unit, target="c", dtype=dtype, tier=tier, count=100, classes=(1, 3, 10), ways=False)
    except Unavailable as problem:
        pytest.skip(str(problem))
    for report in found.reports:
        assert not (report.wrong_nan or report.wrong_inf or report.wrong_sign or report.over), report
        if dtype == "float32":
            assert report.max_ulp <= 0.501, report
