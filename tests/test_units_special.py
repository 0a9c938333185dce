"""Every generated unit: a NaN reaches every output that reads it, and a zero has no sign."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from generated_units import (
    CLASSES,
    TIERS,
    UNITS,
    Arrays,
    by_numpy,
    by_torch,
    directions,
    outputs,
    plain,
    troublesome,
)
from lossmith.audit.subject import load

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
TARGETS = ("np", "pt")


def value(target: str, unit: str, output: str, arrays: Arrays, tier: str = "fast", dtype: str = "float64") -> Any:
    along = directions(unit, arrays) if output.startswith("hvp") else None
    if target == "np":
        return np.asarray(by_numpy(unit, output, arrays, dtype, tier, along), np.float64)
    return by_torch(unit, output, arrays, dtype, tier, along).detach().double().numpy()


def with_each(unit: str, special: float) -> Iterator[tuple[str, Arrays]]:
    """Inputs in which one argument holds a special value: in every example, at a class of its own."""
    for base in (plain(unit, 10), troublesome(unit, "float64", 40)):
        for a in load(unit).given:
            if a.role == "label":
                continue
            arrays = {n: v.copy() for n, v in base.items()}
            if a.axis == "class":
                rows = np.arange(len(arrays[a.name]))
                arrays[a.name][rows, rows % CLASSES] = special
            else:
                arrays[a.name][:] = special
            yield a.name, arrays


def two_values(unit: str, name: str) -> tuple[float, float]:
    """Two values of an argument, to see where it matters."""
    domain = load(unit).unit.argument(name).domain
    if domain.values:
        return float(domain.values[0]), float(domain.values[1])
    if domain.high == 0:
        return -1.5, -0.5
    return (0.25, 0.75) if domain.low == 0 else (-1.5, 2.5)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("unit", UNITS)
def test_a_nan_is_never_lost(unit: str, target: str) -> None:
    """Where another value of an argument would change an output, a NaN there makes it NaN."""
    lost = []
    for name, arrays in with_each(unit, np.nan):
        places = np.isnan(arrays[name])
        for output in outputs(unit):
            if output.startswith("hvp"):
                continue  # a product with a tangent, whose own value decides what matters
            one, other = (value(target, unit, output, arrays | {name: np.where(places, v, arrays[name])})
                          for v in two_values(unit, name))
            found = value(target, unit, output, arrays)
            missing = (one != other) & ~np.isnan(found)
            if missing.any():
                lost.append(f"{output} by {name}: {np.count_nonzero(missing)} of {missing.size}")
    assert lost == []


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("unit", UNITS)
def test_a_zero_has_no_sign(unit: str, target: str) -> None:
    wrong = []
    for (name, zeros), (_, minus) in zip(with_each(unit, 0.0), with_each(unit, -0.0)):
        for output in outputs(unit):
            for tier in TIERS:
                first, second = (value(target, unit, output, arrays, tier) for arrays in (zeros, minus))
                if not np.array_equal(first, second, equal_nan=True):
                    wrong.append(f"{output} at {name} = -0, {tier}")
    assert wrong == []
