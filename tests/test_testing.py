"""The helper for test suites."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lossmith.testing import assert_accurate


def stable(x: Any) -> Any:
    x = x.astype(np.float64)
    return (np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))).astype(np.float32)


def test_a_good_function_passes_and_returns_what_was_found() -> None:
    assert assert_accurate(stable, "softplus", ulp=1).max_ulp <= 1


def test_a_bad_one_fails_with_the_input_in_hex() -> None:
    with pytest.raises(AssertionError, match=r"at x=-?0x1\.[0-9a-f]+p"):
        assert_accurate(lambda x: np.log(1 + np.exp(x)), "log(1 + exp(x))", domain={"x": "[-80,80]"})


def test_one_output_can_be_chosen() -> None:
    torch = pytest.importorskip("torch")
    softplus = torch.nn.functional.softplus
    assert_accurate(softplus, "softplus", outputs=["loss", "gradient_x"])
    with pytest.raises(AssertionError, match="hessian_x"):
        assert_accurate(softplus, "softplus", ulp=6)
    with pytest.raises(ValueError, match="no output 'gradient_y'"):
        assert_accurate(softplus, "softplus", outputs=["gradient_y"])


def test_a_relation_limits_the_points() -> None:
    def difference(x: Any, y: Any) -> Any:
        return x + np.log(-np.expm1(y - x))

    known = {"x": "[0,50]", "y": "[0,50]"}
    assert_accurate(difference, "log(exp(x) - exp(y))", domain=known, where=["x > y + 1"], dtype="float64", ulp=64)
