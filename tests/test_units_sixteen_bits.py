"""Sigmoid cross entropy at every number of the 16-bit formats: rounded once, special values right."""

from __future__ import annotations

import numpy as np
import pytest
from generated_units import TIERS, Arrays, by_numpy, by_torch
from lossmith.audit.samples import every_number
from lossmith.derivations.ulp import FORMATS, error

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
UNIT = "sigmoid_cross_entropy"


def reference(x: np.ndarray, z: float) -> Arrays:
    """In float64, by forms without cancellation: right to some 1e-15, a millionth of a 16-bit number's last place."""
    with np.errstate(all="ignore"):
        toward = x if z == 0 else -x  # the loss is softplus(toward)
        decay = np.exp(-np.abs(x))
        share = np.where(toward >= 0, 1, decay) / (1 + decay)
        loss = np.maximum(toward, 0) + np.log1p(decay)
        return {
            "loss": loss, "gradient_x": share if z == 0 else -share, "hessian_x": decay / (1 + decay) ** 2,
            "gradient_z": -x,
        }


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("target", ["np", "pt"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_number(dtype: str, target: str, tier: str) -> None:
    fmt = FORMATS[dtype]
    x = every_number(fmt)
    for z in (0.0, 1.0):
        arrays = {"x": x, "z": np.full(len(x), z)}
        for output, want in reference(x, z).items():
            if target == "np":
                got = np.asarray(by_numpy(UNIT, output, arrays, dtype, tier), np.float64)
            else:
                got = by_torch(UNIT, output, arrays, dtype, tier).detach().double().numpy()
            off = error(got, (want, np.zeros_like(want)), fmt)
            worst = int(np.argmax(off))
            assert off[worst] <= 0.501, f"{output} at x = {x[worst]!r}, z = {z}: {got[worst]!r} is {off[worst]} ulp off"
