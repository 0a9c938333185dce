"""The NumPy target: what it renders, run and compared with truth from mpmath at high precision."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from lossmith.codegen.kernel import Bundle
from lossmith.codegen.targets.np import render
from np_bundles import (
    families_bundle,
    functions_bundle,
    label_bundle,
    mean_bundle,
    moments_bundle,
    sigmoid_bundle,
    spread_bundle,
    target_bundle,
)

ml_dtypes = pytest.importorskip("ml_dtypes")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
INF, NAN = np.inf, np.nan


@cache
def module(make_bundle: Callable[[], Bundle]) -> Any:
    rendered = render(make_bundle())[0]
    made = types.ModuleType("generated")
    exec(compile(rendered.body, rendered.path, "exec"), made.__dict__)
    return made


def ulps(got: Any, want: list[Any]) -> float:
    """The largest error in units of the last place of the nearest value; mismatched specials count as infinite."""
    worst = 0.0
    for g, w in zip(np.ravel(got), want):
        info = ml_dtypes.finfo(g.dtype)
        if mp.isnan(w) or mp.isinf(w) or np.isnan(g):
            worst = max(worst, 0.0 if (mp.isnan(w) and np.isnan(g)) or float(g) == w else INF)
            continue
        exponent = max(int(mp.floor(mp.log(abs(w), 2))) if w else -10**6, int(info.minexp))
        if abs(w) >= mp.mpf(2) ** (int(info.maxexp)):
            worst = max(worst, 0.0 if np.isinf(g) else INF)
            continue
        worst = max(worst, float(abs(mp.mpf(float(g)) - w) / mp.mpf(2) ** (exponent - int(info.nmant))))
    return worst


LOGITS = [0.0, -0.0, 1e-45, -1e-30, 1e-8, 0.3, -0.34392866, 0.7, -1.0, 5.0, 15.6, -16.635532, 17.3, 20.0, -20.0, 40.0,
          -50.945347, 87.4, -87.67, 90.0, -95.0, 103.2, -103.9, 104.5, 1e30, -1e30]
BOUNDS = {("float32", "fast"): (4, 4, 6), ("float32", "accurate"): (0.501,) * 3, ("float64", "fast"): (2, 2, 4),
          ("float16", "fast"): (0.501,) * 3, ("bfloat16", "fast"): (0.501,) * 3, ("bfloat16", "accurate"): (0.501,) * 3}


@pytest.mark.parametrize(("dtype", "tier"), BOUNDS)
@pytest.mark.parametrize("z", [0.0, 1.0])
def test_elementwise_against_truth(dtype: str, tier: str, z: float) -> None:
    m = module(sigmoid_bundle)
    largest = float(ml_dtypes.finfo(dtype).max)
    x = np.clip(np.array(LOGITS), -largest, largest).astype(dtype)
    with mp.workprec(400):
        exact = [mp.mpf(float(v)) for v in x]
        s = [1 / (1 + mp.exp(-v)) for v in exact]
        wrong = [mp.exp(-v) / (1 + mp.exp(-v)) if z else 1 / (1 + mp.exp(-v)) for v in exact]
        loss = [mp.log1p(mp.exp(-v if z else v)) for v in exact]
        gradient = [-w if z else w for w in wrong]
        hessian = [a / (1 + mp.exp(v)) for a, v in zip(s, exact)]
        target = np.asarray(z, dtype=x.dtype)
        got = (m.loss(x, target, tier=tier), m.gradient(x, target, tier=tier), m.hessian(x, target, tier=tier))
        for g, want, bound in zip(got, (loss, gradient, hessian), BOUNDS[dtype, tier]):
            assert g.dtype == x.dtype
            assert ulps(g, want) <= bound


@pytest.mark.filterwarnings("error")
def test_elementwise_specials_and_shapes_of_results() -> None:
    m = module(sigmoid_bundle)
    assert m.loss(INF, 1.0) == 0 and m.loss(-INF, 0.0) == 0 and m.loss(INF, 0.5) == INF and np.isnan(m.loss(NAN, 0.5))
    assert m.gradient(-INF, 1.0) == -1 and m.gradient(INF, 0.0) == 1
    assert type(m.loss(0.5, 1)) is np.float64 and type(m.loss(np.float32(0.5), 1)) is np.float32
    pair = m.loss_gradient(np.zeros((2, 1), np.float32), np.ones(3, np.float32))
    assert [p.shape for p in pair] == [(2, 3), (2, 3)]
    assert np.all(m.hessian(np.zeros(3), np.ones(3), wrt=("z", "x")) == -1)
    expected = [[0.474077, 0.403186, 0.554355], [0.371101, 0.598139, 0.341154]]
    assert np.allclose(m.loss([[0.5, 0.7, 0.3], [0.8, 0.2, 0.9]], 1), expected, atol=5e-7)


@pytest.mark.parametrize(("entry", "bound"), [("loss", 4), ("gradient", 4), ("hessian", 6)])
def test_float32_loops_keep_the_promise_of_the_fast_tier(entry: str, bound: float) -> None:
    function = getattr(module(sigmoid_bundle), entry)
    x = np.concatenate([np.linspace(-104, -0.01, 60000), -np.geomspace(1e-8, 1, 20000)]).astype(np.float32)
    want = function(x.astype(np.float64), 0.0)
    got = function(x, 0.0)
    assert (np.abs(got - want) / np.spacing(np.abs(want).astype(np.float32))).max() < bound
    assert np.all((got != 0) == (want.astype(np.float32) != 0))


@pytest.mark.parametrize("axis", [0, 1])
def test_sums_over_many_classes_lose_nothing(axis: int) -> None:
    t = np.random.default_rng(0).random((30000, 3) if axis == 0 else (3, 30000)).astype(np.float32)
    want = t.astype(np.float64).sum(axis) * np.log(30000)
    got = module(target_bundle).loss(np.zeros_like(t), t, axis=axis)
    assert np.array_equal(got, want.astype(np.float32))


def rows_of_trouble(classes: int, dtype: str) -> np.ndarray:
    made = np.random.default_rng(classes).normal(size=(12, classes)) * 3
    for i, lead in enumerate((20, 40, 90)):
        made[i, 0] = made[i].max() + lead
        made[i + 3, -1] = made[i + 3].max() + lead
    made[6] = 1.5  # ties
    made[7, ::2] = -INF
    made[7, 0] = 0.25
    made[8] = -INF
    made[9, classes // 2] = INF
    made[10, -1] = NAN
    return made.astype(dtype)


def softmax_truth(values: np.ndarray, at: int) -> tuple[Any, list[Any], list[Any]]:
    """The loss at a label, its gradient and its Hessian diagonal, for one row of finite or -inf values."""
    exact = [mp.mpf(float(v)) for v in values]
    top = max(exact)
    powers = [mp.exp(v - top) for v in exact]
    total = mp.fsum(powers)
    p = [w / total for w in powers]
    q = [mp.fsum(powers[:k] + powers[k + 1:]) / total for k in range(len(p))] if len(p) < 100 else [1 - v for v in p]
    loss = mp.log(total) + top - exact[at]
    return loss, [-q[k] if k == at else p[k] for k in range(len(p))], [a * b for a, b in zip(p, q)]


@pytest.mark.parametrize(("dtype", "tier"), [
    ("float32", "fast"), ("float32", "accurate"), ("float64", "fast"), ("float16", "fast"), ("bfloat16", "fast"),
    ("bfloat16", "accurate"),
])
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 65, 1000])
def test_rows_against_truth(classes: int, dtype: str, tier: str) -> None:
    m, x = module(label_bundle), rows_of_trouble(classes, dtype)
    labels = np.zeros(12, np.int64)
    loss, gradient = m.loss_gradient(x, labels, tier=tier)
    hessian = m.hessian(x, labels, tier=tier)
    bounds = {("float32", "fast"): (4, 4, 6), ("float64", "fast"): (2, 2, 4)}.get((dtype, tier), (0.501,) * 3)
    with mp.workprec(400):
        for i in (0, 1, 2, 3, 4, 5, 6, 7, 11):
            want = softmax_truth(x[i], 0)
            for got, truth, bound in zip((loss[i], gradient[i], hessian[i]), want, bounds):
                assert ulps(got, truth if isinstance(truth, list) else [truth]) <= bound, (i, bound)
    assert np.isnan(loss[8]) and np.all(np.isnan(gradient[8]))
    assert np.isnan(loss[10]) and np.all(np.isnan(gradient[10]))
    middle = classes // 2
    assert loss[9] == (0 if middle == 0 else INF)
    assert np.array_equal(gradient[9], (np.arange(classes) == middle) - 1.0 * (np.arange(classes) == 0))


@pytest.mark.parametrize("make_bundle", [label_bundle, target_bundle, moments_bundle, families_bundle])
@pytest.mark.parametrize("block", [5, 64, 128, 4096])
def test_chunks_of_the_class_axis_merge_to_the_whole(make_bundle: Any, block: int, monkeypatch: Any) -> None:
    m, rng = module(make_bundle), np.random.default_rng(3)
    x = rows_of_trouble(200, "float64")
    x[11, :130] = -INF  # leading chunks that are all -inf
    other = rng.random((12, 200)) if make_bundle is not label_bundle else np.arange(12) * 17
    if make_bundle is families_bundle:
        x[[7, 8, 11]] = other[[7, 8, 11]]
    monkeypatch.setattr(m, "_BLOCK", 1 << 20)
    entries = [m.loss] + ([m.gradient] if hasattr(m, "gradient") else [])
    whole = [f(x, other) for f in entries]
    monkeypatch.setattr(m, "_BLOCK", block)
    for f, want, atol in zip(entries, whole, (1e-300, 1e-15)):
        np.testing.assert_allclose(f(x, other), want, rtol=2e-14, atol=atol)


def test_slots_of_higher_powers_extras_and_mixed_families() -> None:
    x, t = np.array([[1.0, 2.5, -INF, -3.0], [-4.0, -1.0, -2.0, -INF]]), np.array([[0.1, 0.2, 0.3, 0.4]] * 2)
    peak = np.maximum(x.max(1, keepdims=True), 0)  # the extra element is 0
    gap = np.where(np.isinf(x), 0, peak - x)
    want = (t * gap**2 * np.where(np.isinf(x), 0, np.exp(-gap))).sum(1)
    np.testing.assert_allclose(module(moments_bundle).loss(x, t), want, rtol=1e-15)
    x, z = np.array([[1.0, 2.0, 4.0]]), np.array([[0.5, -1.0, 0.25]])
    a, b = 4 - x, 1 - 2 * z
    want = (a * b * np.exp(-b)).sum(1) + np.log(np.exp(-b).sum(1))
    np.testing.assert_allclose(module(families_bundle).loss(x, z), want, rtol=1e-15)
    assert not hasattr(module(moments_bundle), "gradient") and not hasattr(module(moments_bundle), "hessian")


def test_stages_parameters_and_values_per_row() -> None:
    m, rng = module(spread_bundle), np.random.default_rng(0)
    x, c = rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 3))
    squares = ((x - x.mean(1, keepdims=True)) ** 2).sum(1)
    np.testing.assert_allclose(m.loss(x, c, axis=1), 0.5 * squares + 2**-52 + c * c, rtol=1e-14)
    np.testing.assert_allclose(m.loss(x, 0, axis=1, alpha=3, eps=0.25), 3 * squares + 0.25, rtol=1e-14)
    assert m.gradient(x, c, axis=1, wrt="c").shape == (4, 3) and m.gradient(x, c, axis=1).shape == x.shape
    zeros = np.zeros((1, 2), np.float16)
    assert m.loss(zeros, np.float16(0))[0] == 2.0**-10 and m.loss(zeros.astype(BFLOAT16), 0)[0] == 2.0**-7
    for wrong in ({"alpha": 0}, {"alpha": -1.0}, {"eps": 1}, {"alpha": NAN}):
        with pytest.raises(ValueError, match="must lie in"):
            m.loss(x, c, axis=1, **wrong)
    with pytest.raises(TypeError, match="alpha must be one number"):
        m.loss(x, c, axis=1, alpha=[1.0, 2.0])


@pytest.mark.parametrize("name", ["x", "count"])
def test_the_number_of_classes_wherever_it_is_read(name: str) -> None:
    made = module(partial(mean_bundle, name))
    x, s = np.array([[1.0, 2.0, 6.0, 7.0], [0.5, 0.5, 0.5, 4.5]]), np.array([2.0, 0.5])
    loss, gradient = made.loss_gradient(x, s)
    np.testing.assert_allclose(loss, s * x.var(axis=-1), rtol=1e-14)
    np.testing.assert_allclose(gradient, 2 * s[:, None] * (x - x.mean(axis=-1, keepdims=True)) / 4, rtol=1e-14)
    assert (made.hessian(x, s) == 0.25).all()
    assert (made.gradient_hessian(x, s)[0] == gradient).all()


def test_hessian_vector_product() -> None:
    m, rng = module(label_bundle), np.random.default_rng(0)
    x, v, labels = rng.normal(size=(3, 6)), rng.normal(size=(3, 6)), np.array([0, 5, 2])
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    want = p * (v - (p * v).sum(1, keepdims=True))
    np.testing.assert_allclose(m.hessian_vector_product(x, labels, tangent_x=v), want, rtol=1e-13, atol=1e-16)
    assert np.all(m.hessian_vector_product(x, labels) == 0)


def test_bytes_in_the_other_order() -> None:
    x = np.linspace(-2, 2, 5)
    swapped = x.astype(x.dtype.newbyteorder())
    loss = module(sigmoid_bundle).loss(swapped, 0.5)
    assert loss.dtype.isnative and np.array_equal(loss, module(sigmoid_bundle).loss(x, 0.5))


def test_any_axis_layout_and_block(monkeypatch: Any) -> None:
    m, rng = module(label_bundle), np.random.default_rng(5)
    x, labels = rng.normal(size=(4, 7, 5)).astype(np.float32), rng.integers(0, 7, (4, 5))
    want = m.loss_gradient(np.moveaxis(x, 1, -1).copy(), labels)
    for block in (3, 10, 50, 1 << 16):
        monkeypatch.setattr(m, "_BLOCK", block)
        for given in (x, np.asfortranarray(x), x[::-1, :, ::-1][::-1, :, ::-1], np.repeat(x, 2, axis=2)[:, :, ::2]):
            loss, gradient = m.loss_gradient(given, labels, axis=-2)
            np.testing.assert_allclose(loss, want[0], rtol=3e-7)
            np.testing.assert_allclose(np.moveaxis(gradient, 1, -1), want[1], rtol=6e-7)
    wide = rng.normal(size=(100, 3000))
    by_columns = m.loss(wide, np.arange(3000) % 100, axis=0)  # neighbours in memory are of different rows
    np.testing.assert_allclose(by_columns, m.loss(wide.T.copy(), np.arange(3000) % 100), rtol=1e-14)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 65535, 65536, 65537, 200001])
def test_sizes_around_the_block(size: int) -> None:
    m = module(sigmoid_bundle)
    x = np.linspace(-30, 30, size).astype(np.float32)[::-1]
    z = np.linspace(0, 1, size, dtype=np.float32)
    loss, gradient = m.loss_gradient(x, z)
    x64, z64 = x.astype(np.float64), z.astype(np.float64)
    np.testing.assert_allclose(loss, np.logaddexp(0, x64) - z64 * x64, rtol=5e-7, atol=1e-30)
    np.testing.assert_allclose(gradient, 1 / (1 + np.exp(-x64)) - z64, rtol=2e-6, atol=6e-8)


def test_out_is_written_and_returned() -> None:
    m, x, z = module(sigmoid_bundle), np.linspace(-3, 3, 70000).reshape(7, -1), np.linspace(0, 1, 10000)
    want = m.loss_gradient(x, z)
    outs = np.empty((7, 20000))[:, ::2], np.empty((10000, 7)).T
    got = m.loss_gradient(x, z, out=outs)
    assert got[0] is outs[0] and got[1] is outs[1]
    assert all(np.array_equal(a, b) for a, b in zip(want, outs))
    place = x.copy()
    assert m.gradient(place, z, out=place) is place and np.array_equal(place, want[1])
    shifted = np.concatenate([x.ravel(), [0.0]])
    m.gradient(shifted[:-1], 0.5, out=shifted[1:])  # overlaps what is still to be read
    assert np.array_equal(shifted[1:], m.gradient(x.ravel(), 0.5))
    rows, labels = np.random.default_rng(0).normal(size=(50, 100)), np.arange(50)
    want_rows, m = module(label_bundle).gradient(rows, labels), module(label_bundle)
    assert np.array_equal(m.gradient(rows, labels, out=rows), want_rows)
    scalar = np.empty(())
    assert m.loss(rows[0], 3, out=scalar) is scalar


X, Y = np.zeros((2, 3), np.float32), np.array([0, 1])
WRONG: list[tuple[Any, tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    (sigmoid_bundle, (np.array([1, 2]), 0.5), {}, TypeError, "x is int64.*astype"),
    (sigmoid_bundle, (X, np.zeros(3)), {}, TypeError, "z is float64 but x is float32"),
    (sigmoid_bundle, (X, np.zeros((2, 4), np.float32)), {}, ValueError, "do not broadcast"),
    (sigmoid_bundle, (X, np.float32(1.5)), {}, ValueError, r"z must lie in \[0, 1\].*1.5"),
    (sigmoid_bundle, (X, np.array([NAN, -0.25, 1], np.float32)), {}, ValueError, "z must lie in .*-0.25"),
    (sigmoid_bundle, (X, 0.5), {"tier": "exact"}, ValueError, "tier must be"),
    (sigmoid_bundle, (X, 0.5), {"out": np.zeros((3, 2), np.float32)}, ValueError, "out has shape"),
    (sigmoid_bundle, (X, 0.5), {"out": np.zeros((2, 3))}, TypeError, "out is float64"),
    (sigmoid_bundle, (X, 0.5), {"out": [0.0]}, TypeError, "out must be a NumPy array"),
    (sigmoid_bundle, ("text", 0.5), {}, TypeError, "x must hold numbers"),
    (label_bundle, (X, np.array([0, 3])), {}, ValueError, r"y must lie in 0 .. 2, but it holds 3"),
    (label_bundle, (X, np.array([-1, 0])), {}, ValueError, r"y must lie in 0 .. 2, but it holds -1"),
    (label_bundle, (X, np.array([0.0, 1.0])), {}, TypeError, "y holds class indices"),
    (label_bundle, (X, np.array([True, False])), {}, TypeError, "y holds class indices"),
    (label_bundle, (X, np.array([0, 1, 2])), {}, ValueError, "one label per row"),
    (label_bundle, (X, Y), {"axis": 2}, ValueError, "axis 2 is out of range"),
    (label_bundle, (X, Y), {"axis": None}, TypeError, "axis must be an integer"),
    (label_bundle, (np.zeros((2, 0), np.float32), Y), {}, ValueError, "no classes along axis"),
    (label_bundle, (np.zeros((2, 3), int), Y), {}, TypeError, "x is int64"),
    (label_bundle, (np.float32(1), 0), {}, ValueError, "out of range"),
    (target_bundle, (X, np.zeros((2, 4), np.float32)), {}, ValueError, "t has shape .* but x has shape"),
    (target_bundle, (X, X - 1), {}, ValueError, r"t must lie in \[0, inf\)"),
    (functions_bundle, (X, np.float32(0.5)), {}, ValueError, r"z must lie in \{-1, 1\}"),
]


@pytest.mark.parametrize("case", WRONG, ids=[f"{w[0].__name__}-{w[4][:18]}" for w in WRONG])
def test_wrong_input_is_one_clear_line_and_nothing_is_written(case: Any) -> None:
    make_bundle, given, options, error, text = case
    out = np.full(np.shape(given[0]) if make_bundle in (sigmoid_bundle, functions_bundle) else (2,), 7, np.float32)
    with pytest.raises(error, match=text) as caught:
        module(make_bundle).loss(*given, **{"out": out, **options})
    assert "\n" not in str(caught.value) and np.all(out == 7)


def test_wrong_wrt_and_outs() -> None:
    m, x = module(sigmoid_bundle), np.zeros(4)
    with pytest.raises(ValueError, match="wrt must be one of 'x', 'z'"):
        m.gradient(x, x, wrt="y")
    with pytest.raises(TypeError, match="tuple of 2 arrays"):
        m.loss_gradient(x, x, out=x)
    with pytest.raises(ValueError, match="share memory"):
        m.loss_gradient(x, x, out=(x, x))
    fixed = np.zeros(4)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        m.loss(x, x, out=fixed)


def test_empty_and_zero_rows() -> None:
    m = module(label_bundle)
    loss, gradient = m.loss_gradient(np.zeros((0, 3), np.float32), np.zeros(0, int))
    assert loss.shape == (0,) and gradient.shape == (0, 3) and gradient.dtype == np.float32
    assert module(sigmoid_bundle).loss(np.zeros((0, 3)), np.zeros((1, 3))).shape == (0, 3)


def test_16_bit_results_are_rounded_once() -> None:
    m = module(sigmoid_bundle)
    value = np.array([1 + 2**-8 + 2**-40, 1 + 2**-8 - 2**-40, -(1 + 3 * 2**-8) - 2**-40, 2.0**-133 * (0.5 + 2**-30),
                      NAN, INF, 3.4028e38, 1e300])
    out = np.empty(8, BFLOAT16)
    with np.errstate(over="ignore"):
        m._store(out, value)
    want = np.array([1 + 2**-7, 1.0, -(1 + 2**-6), 2.0**-133, NAN, INF, INF, INF])
    assert np.array_equal(out.astype(np.float64), want, equal_nan=True)
    half = np.empty(2, np.float16)
    m._store(half, np.array([1 + 2**-11 + 2**-40, 1 + 2**-11]))
    assert half[0] == 1 + 2**-10 and half[1] == 1


def test_series_and_functions() -> None:
    m = module(functions_bundle)
    points = [-0.9999, -0.61, -0.6, -0.59, -0.3, -1e-3, -1e-12, -1e-150, 1e-160, 3e-9, 1e-4, 0.01, 0.3, 0.9, 0.999,
              1.0, 1.001, 2.5, 30.0]
    for dtype, bound in (("float32", 1.0), ("float64", 2.7)):
        x = np.array(points).astype(dtype)
        with mp.workprec(1500):
            exact = [mp.mpf(float(v)) for v in x]
            assert ulps(m.loss(x, 1), [mp.log1p(v) - v for v in exact]) <= bound
            assert ulps(m.gradient(x, 1), [mp.expm1(v) - v for v in exact]) <= bound
    assert m.loss(-1.0, 1) == -INF and m.loss(INF, 1) == -INF
    assert m.gradient(INF, 1) == INF and m.gradient(-INF, 1) == INF
    x = np.array([0.25, 3.5, -0.5, 25.0])
    with mp.workprec(200):
        want = [mp.log(abs(mp.gamma(v))) + mp.digamma(v) for v in x]
        assert ulps(m.gradient(x, 1, wrt="z"), want) <= 8
        assert ulps(m.hessian(x, 1), [mp.erf(v) for v in x]) <= 1.5
    mixed = m.hessian(np.float32([0.5, 2]), np.float32(1), wrt=("x", "z"), power=3)
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(mixed, [(np.log(2) + 0.1) / 8, (np.log(2) + 1 / 3) * 8], rtol=3e-7)


def test_what_differs_at_the_label_is_computed_there_alone() -> None:
    body = render(label_bundle())[0].body
    epilogue = body.split("def _gradient_x_classes")[1].split("\n\n\n")[0]
    assert "_put(" in epilogue and "_expm1(-_gap(top_peak, x))" not in epilogue


def test_names_and_texts_that_could_hide_or_end_something() -> None:
    made = render(sigmoid_bundle(("lambda", "out"), formula='"""\\ {{ 1 }} {% x %}'))[0].body
    m = types.ModuleType("generated")
    exec(compile(made, "generated", "exec"), m.__dict__)
    assert m.loss(0.0, 0.5) == pytest.approx(np.log(2)) and '"""\\ {{ 1 }} {% x %}' in m.loss.__doc__
    with pytest.raises(ValueError, match="out must lie in"):
        m.loss(0.0, 2.0)


def test_lines_fit_and_every_entry_has_a_docstring() -> None:
    for make_bundle in (sigmoid_bundle, label_bundle, target_bundle, moments_bundle, families_bundle, spread_bundle):
        rendered = render(make_bundle())[0]
        assert rendered.path == f"np/{make_bundle().origin.unit}.py" and rendered.body.endswith("\n")
        assert max(map(len, rendered.body.splitlines())) <= 120
        for name in module(make_bundle).__all__:
            assert all(word in getattr(module(make_bundle), name).__doc__ for word in ("dtypes:", "ValueError:", "inf"))


def test_stands_alone(tmp_path: Any) -> None:
    (tmp_path / "alone.py").write_text(render(label_bundle())[0].body)
    code = ("import sys; sys.path.insert(0, '.'); import alone, numpy; "
            "print(alone.loss(numpy.zeros((1, 2)), numpy.array([1]))[0]); "
            "assert not {'lossmith', 'sympy', 'torch', 'ml_dtypes', 'flint'} & set(sys.modules)")
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("0.693147") and not done.stderr


def test_two_processes_render_the_same() -> None:
    code = ("import sys; sys.path.insert(0, 'tests'); import test_target_np as t, hashlib; "
            "print(hashlib.sha256(''.join(t.render(b())[0].body for b in "
            "(t.sigmoid_bundle, t.label_bundle, t.families_bundle, t.functions_bundle)).encode()).hexdigest())")
    seen = {
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, text=True,
                       capture_output=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1
