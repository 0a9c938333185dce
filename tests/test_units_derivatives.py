"""Every generated PyTorch unit: its derivatives against differences; seams, tails and confident rows against truth."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from generated_units import CLASSES, TIERS, UNITS, Arrays, by_numpy, by_torch, outputs, plain, tensors, torch_function
from lossmith.audit.subject import load
from lossmith.derivations import balls
from lossmith.derivations.domains import Domain
from lossmith.derivations.loss import Argument
from lossmith.derivations.ulp import FORMATS, Format, distance, round_array

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
DOUBLE = FORMATS["float64"]
INF = math.inf
ROWS = [
    [0.0] * CLASSES, [3.0, 3.0, -1.0, 3.0, 0.5], [20.0, 0.3, -1.2, 0.1, 0.7], [0.2, 40.5, -0.4, 1.0, 0.1],
    [0.3, 1.0, 90.25, 0.0, -2.0], [1e4, -1e4, 0.0, 1.0, 2.0], [0.5, -INF, 1.0, -INF, 2.0],
    [-INF, -INF, 1.0, -INF, -INF],
    [INF, 0.0, 1.0, 2.0, 3.0], [0.25, -1.5, 3.0, 0.125, 1.0],
]
DISTRIBUTIONS = [
    [1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0], [0.5, 0.25, 0.125, 0.0625, 0.0625],
    [0.0, 0.75, 0.0, 0.0, 0.25],
]
# Here the slope by p is log p - log q or one more: at p = q = 0 it depends on which of them gets there
# first, and at p = q = 1 it is a root.
OPEN = {"kl_divergence_from_log_probabilities", "kl_divergence_from_logits"}
POINTS = [0.0, 0.5, -1.375, 20.0, -20.0, 40.0, -40.0, 90.0, -90.0, 1e4, -1e4, INF, -INF]


@pytest.mark.parametrize("unit", UNITS)
def test_derivatives_are_those_of_the_loss(unit: str) -> None:
    subject, arrays = load(unit), plain(unit, 2, seed=5)
    tracked = {a.name for a in subject.given if a.differentiable}
    given = tensors(arrays)
    for name in tracked:
        given[name].requires_grad_(True)

    def loss(*values: Any) -> Any:
        return torch_function(unit)(*values, reduction="none")

    assert torch.autograd.gradcheck(loss, tuple(given.values()), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(loss, tuple(given.values()))


def choices(a: Argument) -> list[Any]:
    """What an argument may be at a seam or in a tail: numbers, or rows."""
    domain: Domain = a.domain
    if a.role == "label":
        return [0, 2]
    if a.axis != "class":
        more = (1.0, 0.375, 2.0**-30, 1 - 2.0**-30) if domain.high == 1 else ()
        return [v for v in (*POINTS, *more) if domain.holds(v)]
    if domain.values:
        return [np.array(r, dtype=np.float64) for r in ([1, 0, 0, 0, 0], [0, 0, 1, 0, 1])]
    if domain.unit_sum or domain.low == 0:
        return [np.array(r) for r in DISTRIBUTIONS]
    rows = [np.array(r) for r in ROWS]
    if domain.high == 0:  # logarithms whose exponentials are normal numbers, or zero
        shifted = [r - np.logaddexp.reduce(r) for r in rows if r.max() < INF]
        return [np.minimum(r, 0) for r in shifted if not ((r < -700) & (r > -INF)).any()]
    return rows


def seams(unit: str) -> Arrays:
    """Every choice of each argument with each of the others."""
    subject = load(unit)
    picked = list(zip(*itertools.product(*(choices(a) for a in subject.given))))
    arrays = {a.name: np.stack([np.asarray(v) for v in p]) for a, p in zip(subject.given, picked)}
    return arrays


def truth(unit: str, output: str, arrays: Arrays, fmt: Format = DOUBLE) -> Any:
    """An output from the definition, by ball arithmetic, in the shape in which the targets give it."""
    subject = load(unit)
    term = subject.outputs[output]
    columns = {**arrays, **subject.parameters(fmt)}
    count = len(next(iter(arrays.values())))
    points = [{n: v[i] if np.ndim(v) else v for n, v in columns.items()} for i in range(count)]
    found = np.array([balls.truth(term, p, fmt, subject.arguments) for p in points])
    wide = subject.is_row and subject.per_class(output)
    return np.broadcast_to(found.reshape(count, -1), (count, CLASSES)) if wide else found.reshape(count)


@pytest.mark.parametrize("unit", UNITS)
def test_seams_and_tails(unit: str) -> None:
    arrays, wrong = seams(unit), []
    for output in (o for o in outputs(unit) if not o.startswith("hvp")):
        want = truth(unit, output, arrays)
        for tier in TIERS:
            second = by_torch(unit, output, arrays, tier=tier).detach().numpy()
            for target, got in (("np", by_numpy(unit, output, arrays, tier=tier)), ("pt", second)):
                off = distance(np.broadcast_to(got, want.shape), want, DOUBLE)
                if output == "gradient_p" and unit in OPEN:
                    off = np.where((arrays["p"] == 0) | (arrays["p"] == 1), 0, off)
                if not (off <= 4).all():
                    i = np.unravel_index(np.argmax(np.nan_to_num(off, nan=INF)), off.shape)
                    point = {n: v[i[0]].tolist() for n, v in arrays.items()}
                    wrong.append(f"{target} {output} {tier}: {off[i]:.3g} ulp at {point} {i}")
    assert wrong == []


def test_the_seam_has_the_slope_of_the_definition() -> None:
    point = {"x": np.array([0.0, -0.0]), "z": np.array([0.3, 0.3])}
    for got in (by_numpy("sigmoid_cross_entropy", "gradient_x", point),
                by_torch("sigmoid_cross_entropy", "gradient_x", point).detach().numpy()):
        np.testing.assert_allclose(got, 0.2, rtol=2.0**-52)


@pytest.mark.parametrize("peak", [5.0, 20.0, 40.0, 90.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("unit", ["sparse_softmax_cross_entropy", "softmax_cross_entropy"])
def test_second_derivative_of_a_confident_class(unit: str, dtype: str, peak: float) -> None:
    """By double backward: 1 - p of the confident class must not come from 1 minus p."""
    fmt, rng = FORMATS[dtype], np.random.default_rng(3)
    x = rng.normal(size=(CLASSES, CLASSES))
    x[np.diag_indices(CLASSES)] = x.max(axis=1) + peak
    targets = np.arange(CLASSES) if unit.startswith("sparse") else np.array(DISTRIBUTIONS)[np.arange(CLASSES) % 4]
    arrays = dict(zip((a.name for a in load(unit).given), (round_array(x, fmt), targets)))
    got = by_torch(unit, "hessian_x", arrays, dtype).detach().double().numpy()
    assert distance(got, truth(unit, "hessian_x", arrays, fmt), fmt).max() <= 4
