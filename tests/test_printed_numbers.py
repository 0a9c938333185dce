"""The numbers that books and documentation print for these losses, reproduced by every target."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lossmith.codegen import host

GENERATED = Path(__file__).resolve().parent.parent / "generated"
LOGITS = [[0.5, 0.7, 0.3], [0.8, 0.2, 0.9]]
ONES = [[0.474077, 0.403186, 0.554355], [0.371101, 0.598139, 0.341154]]
ZEROS = [[0.974077, 1.103186, 0.854355], [1.171101, 0.798139, 1.241154]]


def _np(unit: str, entry: str, **arrays: Any) -> np.ndarray:
    module = importlib.import_module(f"lossmith.generated.np.{unit}")
    return np.asarray(getattr(module, entry)(**arrays))


def _pt(unit: str, entry: str, **arrays: Any) -> np.ndarray:
    torch = pytest.importorskip("torch")
    module = importlib.import_module(f"lossmith.generated.pt.{unit}")
    tensors = {name: torch.from_numpy(a) for name, a in arrays.items()}
    first = next(iter(tensors))
    tensors[first].requires_grad_(True)
    value = getattr(module, unit)(**tensors, reduction="none")
    if entry == "loss":
        return value.detach().numpy()
    return torch.autograd.grad(value.sum(), tensors[first])[0].numpy()


def _cu(unit: str, entry: str, **arrays: Any) -> np.ndarray:
    if host.compiler() is None:
        pytest.skip("no C++ compiler")
    library = host.load(GENERATED / "cu" / f"{unit}.cu")
    return np.asarray(library.call(unit, entry, arrays, "f64")[entry])


TARGETS = {"np": _np, "pt": _pt, "cu": _cu}
pytestmark = pytest.mark.parametrize("target", list(TARGETS))


def call(target: str, unit: str, entry: str = "loss", **arrays: Any) -> np.ndarray:
    as_arrays = {n: np.array(a) if n == "y" and unit.startswith("sparse") else np.array(a, dtype=float)
                 for n, a in arrays.items()}
    return TARGETS[target](unit, entry, **as_arrays)


@pytest.mark.parametrize(("label", "printed"), [(1.0, ONES), (0.0, ZEROS)])
def test_sigmoid_cross_entropy(target: str, label: float, printed: list[list[float]]) -> None:
    got = call(target, "sigmoid_cross_entropy", x=LOGITS, z=np.full((2, 3), label))
    np.testing.assert_allclose(got, printed, atol=5e-7)


def test_binary_cross_entropy_of_two_examples(target: str) -> None:
    got = call(target, "binary_cross_entropy", p=[0.8, 0.4], z=[1.0, 0.0])
    assert got.mean() == pytest.approx((-math.log(0.8) - math.log(0.6)) / 2, rel=1e-14)


def test_softmax_of_one_two_three(target: str) -> None:
    """The gradient at a target of zero mass but one class is the softmax, less that target."""
    t = [0.0, 0.0, 1.0]
    got = call(target, "softmax_cross_entropy", "gradient", x=[[1.0, 2.0, 3.0]], t=[t])
    np.testing.assert_allclose(got[0] + t, [0.09, 0.24, 0.67], atol=5e-3)


def test_cross_entropy_of_a_probability_of_six_tenths(target: str) -> None:
    logits = np.log([0.1, 0.6, 0.3])
    expected = pytest.approx(-math.log(0.6), rel=1e-14)
    assert call(target, "softmax_cross_entropy", x=[logits], t=[[0.0, 1.0, 0.0]])[0] == expected
    assert call(target, "sparse_softmax_cross_entropy", x=[logits], y=[1])[0] == expected
    assert call(target, "categorical_cross_entropy", q=[[0.1, 0.6, 0.3]], t=[[0.0, 1.0, 0.0]])[0] == expected
    assert call(target, "information", p=[0.6])[0] == expected
