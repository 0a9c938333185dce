"""Every generated unit, every entry, dtype and tier: NumPy and PyTorch run without a warning, and agree."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from generated_units import (
    DTYPES,
    TIERS,
    UNITS,
    by_numpy,
    by_torch,
    directions,
    numpy_module,
    outputs,
    plain,
    troublesome,
)
from lossmith.audit.subject import load
from lossmith.derivations.ulp import FORMATS

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def both(unit: str, output: str, arrays: dict[str, Any], dtype: str, tier: str) -> tuple[Any, Any]:
    """An output by NumPy and by PyTorch, as float64, where they have the dtype that they were given."""
    along = directions(unit, arrays) if output.startswith("hvp") else None
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        first = by_numpy(unit, output, arrays, dtype, tier, along)
        second = by_torch(unit, output, arrays, dtype, tier, along)
    assert first.dtype.name == dtype and second.dtype is getattr(torch, dtype)
    return np.asarray(first, np.float64), second.detach().double().numpy()


@pytest.mark.parametrize("unit", UNITS)
def test_targets_agree(unit: str) -> None:
    for arrays in (plain(unit), troublesome(unit, "float64")):
        for output in outputs(unit):
            for tier in TIERS:
                first, second = both(unit, output, arrays, "float64", tier)
                # Only NumPy's accurate tier takes short rows in pairs: at a root of parts of size 1 it is right
                # where PyTorch is off by their rounding.
                near = 2.0**-53 if tier == "accurate" and load(unit).is_row else 1e-300
                np.testing.assert_allclose(second, first, rtol=1e-12, atol=near, err_msg=f"{unit} {output} {tier}")


@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("unit", UNITS)
def test_narrow_types(unit: str, dtype: str) -> None:
    """The accurate tier computes in float64 and rounds once: there the targets differ by one number at most.
    Second derivatives in PyTorch are left out of that: autograd adds their parts in the narrow type."""
    fmt, arrays = FORMATS[dtype], troublesome(unit, dtype)
    for output in outputs(unit):
        both(unit, output, arrays, dtype, "fast")
        first, second = both(unit, output, arrays, dtype, "accurate")
        if not output.startswith(("hessian", "hvp")):
            np.testing.assert_allclose(second, first, rtol=fmt.eps, atol=fmt.smallest, err_msg=f"{unit} {output}")


@pytest.mark.parametrize("unit", UNITS)
def test_pairs_are_their_parts(unit: str) -> None:
    module, arrays = numpy_module(unit), plain(unit)
    for pair, parts in (("loss_gradient", ("loss", "gradient")), ("gradient_hessian", ("gradient", "hessian"))):
        if hasattr(module, pair):
            found = getattr(module, pair)(*arrays.values())
            for part, got in zip(parts, found):
                alone = getattr(module, part)(*arrays.values())
                np.testing.assert_allclose(got, alone, rtol=1e-15, err_msg=f"{unit} {part}")
