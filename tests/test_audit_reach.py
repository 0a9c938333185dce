"""What an audit reaches: ties of two arguments, tiny rows, 16 bits in C, curves through the worst of a pair."""

from __future__ import annotations

from typing import Any

import numpy as np
from lossmith.audit import specials
from lossmith.audit.adapters import kernel_tier
from lossmith.audit.curves import curves
from lossmith.audit.evidence import MANY, picked, repeated, worst_of
from lossmith.audit.foreign import ForeignAdapter
from lossmith.audit.measure import Exact
from lossmith.audit.pair_page import FormAdapter, _point
from lossmith.audit.quick import referred
from lossmith.audit.run import Exam, exam
from lossmith.audit.running import Running, is_positive
from lossmith.audit.samples import elementwise_batches, exhaustive_batches, row_batches, spots_of
from lossmith.audit.subject import load, of_truth
from lossmith.derivations import parser
from lossmith.derivations.ulp import FORMATS

HALF = FORMATS["float16"]


def test_two_arguments_meet_at_one_value() -> None:
    batches = elementwise_batches(load("binary_cross_entropy"), FORMATS["float32"], 200)
    equal = [(b.arrays["p"] == b.arrays["z"]) & (b.arrays["p"] > 0) & (b.arrays["p"] < 1) for b in batches]
    assert sum(int(e.sum()) for e in equal) > 50


def test_rows_have_classes_close_to_a_seam_at_zero_on_either_side() -> None:
    rows = np.concatenate([np.ravel(r["x"]) for r in specials.rows(load("softmax_cross_entropy").given, 2, HALF)])
    assert ((rows > 0) & (rows < 2.0**-11)).any() and ((rows < 0) & (rows > -(2.0**-11))).any()


def test_sixteen_bits_have_one_kernel_in_c() -> None:
    assert kernel_tier("bfloat16", "accurate") == "fast" and kernel_tier("float32", "accurate") == "accurate"


def test_a_product_or_quotient_of_an_exact_zero_is_exact() -> None:
    term = parser.parse_term("y/(1 + x*x)*0.25", parser.arguments({"x": "real", "y": "real"}))
    _, bounds = Running(term)({"x": np.array([3.0, 3.0]), "y": np.array([0.0, 1.0])})
    assert bounds[0] == 0 and bounds[1] > 0


def test_what_is_positive_is_above_zero_however_small() -> None:
    term = parser.parse_term("where(exp(x)/(1 + exp(x)) > y, 1, 2)", parser.arguments({"x": "real", "y": "real"}))
    values, bounds = Running(term)({"x": np.array([-60000.0, -60000.0]), "y": np.array([0.0, 5e-324])})
    assert values[0] == 1 and bounds[0] == 0 and not np.isfinite(bounds[1])
    assert not is_positive(parser.parse_term("x", parser.arguments({"x": "real"})))


def test_nearly_all_rows_of_sixteen_bits_have_a_bound() -> None:
    subject = load("partition_distribution")
    for batch in exhaustive_batches(subject, HALF)[:3]:
        found = referred(subject, "loss", batch)
        assert found is not None and np.isfinite(found[1]).mean() > 0.95


def test_a_curve_of_a_pair_goes_through_its_worst_point() -> None:
    subject = of_truth("(x - y)**2", {"x": "real", "y": "real"})
    point = _point("x = 1.5, y = 1.50000012")
    assert point == {"x": 1.5, "y": 1.50000012}
    term = parser.parse_term("x*x - 2*x*y + y*y", parser.arguments({"x": "real", "y": "real"}))
    *_, last = curves(subject, FormAdapter(term, "after"), FORMATS["float32"], "fast", 50, through=point)
    assert "worst" in last.held and 1.5 in last.x and np.nanmax(last.ulps) > 1e4
    assert not any("worst" in c.held for c in curves(of_truth("x*x", {"x": "real"}), FormAdapter(
        parser.parse_term("x*x", parser.arguments({"x": "real"})), "after"), HALF, "fast", 20, through={"x": 1.0}))



def test_points_lie_beside_the_thresholds_of_a_formula() -> None:
    subject, fmt = load("partition_distribution"), FORMATS["float32"]
    assert spots_of(subject, fmt) == [-0.01, 0.01]
    found = np.concatenate([b.arrays["c"] for b in row_batches(subject, fmt, (3,))])
    assert ((found > 0.009) & (found < 0.00999)).any() and ((found > 0.0101) & (found < 0.011)).any()


def test_every_example_is_also_computed_among_many_and_at_other_places() -> None:
    subject = load("sigmoid_cross_entropy")
    made = exam(subject, "float32", 40)
    for batch in made.batches:
        many, places = repeated(batch)
        assert many.count >= MANY and np.array_equal(many.arrays["x"], batch.arrays["x"][places], equal_nan=True)
        met = {int(p) % 16 for p in np.flatnonzero(places == 3)}
        assert len(met) >= 8  # other places of a vector

    def long_ones_lose_a_guard(x: Any, z: Any) -> Any:
        good = np.logaddexp(0, x.astype(np.float64)) - x.astype(np.float64) * z
        return (np.log1p(np.exp(x)) - x * z if x.size >= 4096 else good).astype(x.dtype)

    def every_fifth_is_off(x: Any, z: Any) -> Any:
        good = np.logaddexp(0, x.astype(np.float64)) - x.astype(np.float64) * z
        return (good * np.where(np.arange(x.size) == 4097, 1 + 1e-4, 1)).astype(x.dtype)

    finite = [picked(b, np.flatnonzero(np.isfinite(b.arrays["x"]))) for b in made.batches]
    for function, wrong in ((long_ones_lose_a_guard, "wrong_inf"), (every_fifth_is_off, "over")):
        given = ForeignAdapter(function, "mine", kind="numpy")
        reports = Exam(subject, made.fmt, finite).measure(given, "fast", ["loss"])
        assert any(getattr(r, wrong) > 0 for r in reports), function


def test_of_all_that_is_computed_the_worst_counts() -> None:
    truth = Exact(np.array([1.0, 2.0, np.inf]), np.zeros(3))
    got = np.array([1.0, 2.0, np.inf, 1.0, 2.5, 3.0, 1.25, np.nan, np.inf])
    found = worst_of(got, np.tile(np.arange(3), 3), truth, HALF)
    assert found[0] == 1.25 and np.isnan(found[1]) and found[2] == 3.0
    rows = Exact(np.ones((2, 2)), np.zeros((2, 2)))
    got = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.5], [2.0, 1.0]])
    assert worst_of(got, np.array([0, 1, 1, 0]), rows, HALF).tolist() == [[2.0, 1.0], [1.0, 1.5]]
