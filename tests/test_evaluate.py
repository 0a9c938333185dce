"""A term evaluated in a format: each operation rounds once; rows reduce pairwise; guards hold at infinity."""

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.special as sp
from lossmith.derivations.evaluate import SIMPLE, Evaluator, evaluate
from lossmith.derivations.special import expm1mx, log1pmx
from lossmith.derivations.terms import COUNT, ONE, POSITION, add, const, div, label, make, mul, node, row, sub, var
from lossmith.derivations.ulp import FORMATS, distance, round_fraction

x, y, r, k = var("x"), var("y"), row("r"), label("k")
INF, NAN = math.inf, math.nan


def rational(op, a, b):
    a, b = Fraction(a), Fraction(b)
    return {"add": a + b, "sub": a - b, "mul": a * b, "div": a / b if b else None}[op]


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda f: f.name)
@pytest.mark.parametrize("op", ["add", "sub", "mul", "div"])
def test_arithmetic_is_correctly_rounded(fmt, op):
    rng = np.random.default_rng(4)
    a, b = (Evaluator({"x": rng.normal(size=400) * 2.0 ** rng.integers(-9, 9, 400)}, fmt)(x) for _ in range(2))
    got = evaluate(node(op, (x, y)), {"x": a, "y": b}, fmt)
    wanted = [round_fraction(rational(op, p, q), fmt) for p, q in zip(a, b, strict=True)]
    assert (got == wanted).all()


def test_a_float32_sum_of_products_is_numpys_float32():
    rng = np.random.default_rng(5)
    a, b = (rng.normal(size=1000).astype(np.float32) for _ in range(2))
    got = evaluate(add(mul(x, y), div(x, y)), {"x": a, "y": b}, FORMATS["float32"])
    assert (got == (a * b + a / b).astype(np.float64)).all()


def test_each_node_is_computed_once_and_shared_between_calls(monkeypatch):
    calls = []
    monkeypatch.setitem(SIMPLE, "exp", lambda a: calls.append(1) or np.exp(a))
    evaluator = Evaluator({"x": np.ones(3)})
    e = make("exp", x)
    evaluator(add(e, mul(e, e)))
    evaluator(div(e, add(ONE, e)))
    assert len(calls) == 1


def test_rows_and_scalars_meet_along_the_class_axis():
    env = {"r": [[1.0, 2.0, 4.0], [3.0, 5.0, 7.0]], "x": [10.0, 100.0], "k": [2, 0]}
    assert evaluate(add(r, x), env).tolist() == [[11, 12, 14], [103, 105, 107]]
    assert evaluate(node("at", (r, k)), env).tolist() == [4, 3]
    assert evaluate(mul(node("onehot", (k,)), r), env).tolist() == [[0, 0, 4], [3, 0, 0]]
    assert evaluate(add(mul(r, COUNT), POSITION), env).tolist() == [[3, 7, 14], [9, 16, 23]]
    assert evaluate(node("sum", (r,)), env).tolist() == [7, 15]
    choice = node("where", (node("eq", (POSITION, k)), r, node("neg", (r,))))
    assert evaluate(choice, env).tolist() == [[-1, -2, 4], [3, -5, -7]]


def test_sums_are_pairwise_in_the_format():
    env = {"r": np.full(4096, 0.1, dtype=np.float32)}
    got = evaluate(node("sum", (r,)), env, FORMATS["float32"])
    assert got == np.float32(0.1) * 4096  # halves of equal numbers add without error; a running sum would not
    assert np.cumsum(env["r"])[-1] != got


@pytest.mark.parametrize(("values", "peak", "rest", "lse"), [
    ([1.0, 2.0, 3.0], 3, math.exp(-1) + math.exp(-2), 3.4076059644443806),
    ([5.0, 5.0, 5.0], 5, 2, 5 + math.log(3)),
    ([-INF, 0.0, -INF], 0, 0, 0),
    ([-INF, -INF], -INF, NAN, -INF),
    ([INF, 0.0], INF, 0, INF),
    ([INF, INF], INF, NAN, INF),
    ([NAN, 0.0], NAN, NAN, NAN),
])
def test_peak_rest_and_lse(values, peak, rest, lse):
    got = [evaluate(node(op, (r,)), {"r": values}) for op in ("peak", "rest", "lse")]
    assert np.allclose(got, [peak, rest, lse], rtol=1e-15, equal_nan=True)


def test_a_scalar_counts_as_one_more_element():
    assert evaluate(node("rest", (r, const(9))), {"r": [9.0, 8.0]}) == pytest.approx(1 + math.exp(-1))


def test_guards_hold_at_infinity():
    def at(op, a, b):
        return float(evaluate(node(op, (x, y)), {"x": a, "y": b}))

    assert at("absorb", 0, INF) == 0 and at("absorb", 2, 3) == 6 and math.isnan(at("absorb", 0, NAN))
    assert at("gap", INF, INF) == 0 and at("gap", -INF, -INF) == 0 and at("gap", INF, 1) == INF
    assert at("exp_diff", INF, INF) == 1 and at("exp_diff", -INF, 3) == 0 and at("exp_diff", -INF, -INF) == 1
    assert at("xlogy", 0, 0) == 0 and math.isnan(at("xlogy", 0, NAN))


def test_exp_diff_puts_the_rounding_of_the_difference_back():
    fmt = FORMATS["float32"]
    rng = np.random.default_rng(6)
    a, b = (rng.normal(size=2000).astype(np.float32) * s for s in (np.float32(1), np.float32(20)))
    exact = np.array([round_fraction(Fraction(math.exp(float(p) - float(q))), fmt) for p, q in zip(a, b, strict=True)])
    env = {"x": a, "y": b}
    assert distance(evaluate(node("exp_diff", (x, y)), env, fmt), exact, fmt).max() <= 2
    assert distance(evaluate(make("exp", sub(x, y)), env, fmt), exact, fmt).max() > 8


@pytest.mark.parametrize(("ours", "theirs"), [
    (lambda a: evaluate(make("digamma", x), {"x": a}), sp.digamma),
    (lambda a: evaluate(make("lgamma", x), {"x": a}), sp.gammaln),
    (lambda a: evaluate(make("erfc", x), {"x": a}), sp.erfc),
])
def test_special_functions_agree_with_scipy(ours, theirs):
    a = np.concatenate([np.linspace(0.01, 20, 101), [-0.5, -3.7, 100.0]])
    assert np.allclose(ours(a), theirs(a), rtol=2e-13, atol=1e-15)


def test_log1pmx_and_expm1mx_are_accurate_near_zero():
    a = np.concatenate([10.0 ** np.arange(-150, 0, 7.0), [0.3, 0.39, 0.41, 0.49, 0.51, 3.0]])
    for sign in (1, -1):
        t = sign * a[a < 0.9]
        few = t * t * (-1 / 2 + t / 3 - t * t / 4)
        small = np.abs(t) < 1e-5
        assert np.allclose(log1pmx(t)[small], few[small], rtol=1e-14, atol=0)
        assert np.allclose(log1pmx(t)[~small], (np.log1p(t) - t)[~small], rtol=1e-9)
        assert np.allclose(expm1mx(t)[~small], (np.expm1(t) - t)[~small], rtol=1e-9)
        assert np.allclose(expm1mx(t)[small], (t * t * (1 / 2 + t / 6))[small], rtol=1e-10, atol=0)


def test_nan_passes_max_and_min():
    assert np.isnan(evaluate(node("max", (x, y)), {"x": [NAN, 1.0], "y": [1.0, NAN]})).all()


def test_the_number_of_classes_must_be_known():
    with pytest.raises(ValueError, match="classes"):
        evaluate(POSITION, {})
    assert evaluate(POSITION, {}, classes=3).tolist() == [0, 1, 2]
