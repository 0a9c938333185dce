"""The audit passes what is right and catches what is wrong: each kind of failure has a function that shows it."""

import dataclasses
import math

import numpy as np
import pytest
from lossmith.audit import AuditFailure, audit
from lossmith.audit.adapters import NumpyAdapter, TorchAdapter, Unavailable, adapter
from lossmith.audit.contract import bound
from lossmith.audit.measure import Exact, Report, measure
from lossmith.audit.peers import peer
from lossmith.audit.run import exam
from lossmith.audit.samples import Batch, every_number, exhaustive_batches
from lossmith.audit.spread import spread_of
from lossmith.audit.subject import load, wrt_of
from lossmith.derivations.ulp import FORMATS

F32 = FORMATS["float32"]
BCE = "sigmoid_cross_entropy"
CE = "softmax_cross_entropy"


def stable(x, z):
    tail = np.log1p(np.exp(-np.abs(x)))
    return np.where(z == 0, 0, z * np.maximum(-x, 0)) + np.where(z == 1, 0, (1 - z) * np.maximum(x, 0)) + tail


def slope(x, z):
    decay = np.exp(-np.abs(x))
    upper, lower = np.where(x >= 0, 1, decay) / (1 + decay), np.where(x >= 0, decay, 1) / (1 + decay)
    return (1 - z) * upper - z * lower


def overflowing(x, z):
    return np.log1p(np.exp(x)) - x * z


def published(x, z):
    return np.maximum(x, 0) - x * z + np.log1p(np.exp(-np.abs(x)))


def losing(x, z):
    tail = np.log(1 + np.exp(-np.abs(x)))
    return np.where(z == 0, 0, z * np.maximum(-x, 0)) + np.where(z == 1, 0, (1 - z) * np.maximum(x, 0)) + tail


def clipped(x, z):
    return slope(np.clip(x, -15, 15), z)


def seam(x, z):
    return np.where(x == 0, np.float32(0.7), slope(x, z))


def backwards(x, z):
    return -slope(x, z)


def coarse(x, z):
    return slope(x, z.astype(np.float16).astype(np.float32))


def of(function, output="loss", unit=BCE, **more):
    return audit(function, truth=unit, output=output, **more)


def by_group(result):
    return {r.group: r for r in result.reports}


def test_the_stable_form_holds_everywhere():
    result = of(stable)
    assert result.holds and result.wrong == 0 and 0.5 < result.max_ulp < 4
    result.assert_below(ulp=4)
    assert all(r.points > 500 for r in result.reports)


def test_a_root_of_the_gradient_is_excused_and_nothing_else():
    result = of(slope, "gradient_x")
    soft = by_group(result)["soft"]
    assert result.holds and soft.conditioned > 0 and soft.conditioned_ulp > 4 and soft.conditioned_ratio <= 4
    assert by_group(result)["hard"].conditioned == 0
    assert not of(coarse, "gradient_x").holds


def test_overflow_is_caught_as_wrong_infinities_and_nan():
    reports = of(overflowing).reports
    assert sum(r.wrong_nan + r.wrong_inf for r in reports) > 100 and not any(r.holds for r in reports)


def test_a_cancellation_is_caught_and_no_root_beyond_the_domain_excuses_it():
    soft = by_group(of(published))["soft"]
    assert soft.max_ulp > 1e6 and soft.conditioned == 0 and not soft.holds


def test_a_flush_is_caught():
    hard = by_group(of(losing))["hard"]
    assert hard.flushed > 20 and hard.wrong_nan == 0 and hard.wrong_sign == 0 and not hard.holds


def test_a_clip_that_kills_the_gradient_is_caught():
    assert by_group(of(clipped, "gradient_x"))["hard"].max_ulp > 1e6


def test_a_wrong_value_at_the_seam_alone_is_caught():
    assert of(seam, "gradient_x").max_ulp > 1e5


def test_a_wrong_sign_is_caught():
    assert by_group(of(backwards, "gradient_x"))["hard"].wrong_sign > 500


def test_assert_below_says_which_where_and_by_how_much():
    with pytest.raises(AuditFailure, match=r"sigmoid_cross_entropy loss .*float32.*as at x=.*z=.* is right"):
        of(published).assert_below(ulp=4)
    with pytest.raises(AuditFailure, match=r"more than 0\.25"):
        of(stable).assert_below(ulp=0.25)


def rows_naive(x, t):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return -(t * np.log(e / e.sum(axis=-1, keepdims=True))).sum(axis=-1)


def rows_stable(x, t):
    top = x.max(axis=-1, keepdims=True)
    x64, t64 = x.astype(np.float64), t.astype(np.float64)
    gap = np.where(x == top, 0, top - x64)
    first = np.argmax(x, axis=-1)[:, None] == np.arange(x.shape[-1])
    rest = np.where(first, 0, np.exp(-gap)).sum(axis=-1)
    lost = np.isnan(x).any(axis=-1) | np.isneginf(top[:, 0]) | (np.isposinf(x).sum(axis=-1) > 1)
    loss = np.where(t == 0, 0, t64 * gap).sum(axis=-1) + t64.sum(axis=-1) * np.log1p(rest)
    return np.where(lost, np.nan, loss).astype(np.float32)


def test_rows_confident_masked_and_infinite():
    short = {"classes": (1, 2, 3, 10)}
    naive, good = of(rows_naive, unit=CE, **short), of(rows_stable, unit=CE, **short)
    assert naive.max_ulp > 1e5 and sum(r.wrong_nan for r in naive.reports) > 10
    assert good.holds, good.to_text()


def test_torchs_own_functions_are_measured_by_autograd():
    made = exam(load(BCE), "float32", count=300)
    reports = {(r.output, r.group): r for r in made.measure(peer(BCE), "fast", ["loss", "gradient_x"])}
    assert reports["loss", "hard"].flushed > 5 and reports["gradient_x", "hard"].flushed > 5
    assert reports["gradient_x", "soft"].wrong_nan == 0


def test_second_derivatives_by_autograd_rows_and_elements():
    made = exam(load(CE), "float64", classes=(3,))
    reports = made.measure(peer(CE), "fast", ["hessian_x"])
    assert sum(r.points for r in reports) > 100 and min(r.max_ulp for r in reports) < 1e16
    squared = exam(load("mean_squared_error"), "float32", count=200)
    (report,) = squared.measure(peer("mean_squared_error"), "fast", ["hessian_x"])
    assert report.max_ulp == 0 and report.wrong == 0


def test_bfloat16_and_float16_are_exhaustive():
    for name in ("float16", "bfloat16"):
        fmt = FORMATS[name]
        (hard,) = exhaustive_batches(load(BCE), fmt)
        every = every_number(fmt)
        nan = 2 * (2 ** (fmt.precision - 1) - 1)
        assert hard.count == 2 * 65536 and np.isnan(every).sum() == nan
        assert len(np.unique(every)) == 65536 - nan  # both zeros are one, and so is every NaN
    with pytest.raises(ValueError, match="too many"):
        every_number(F32)


def batch(n):
    return Batch("hard", {"x": np.arange(float(n))}, {})


HEAD = Report("u", "loss", "t", "float32", "fast", "hard")


def test_every_kind_of_wrong_value_is_counted_once():
    high = np.array([1.0, math.nan, math.inf, 1.0, 1.0, -1e-40, 1.0])
    got = np.array([math.nan, 1.0, 1.0, math.inf, -1.0, 0.0, 1.0])
    report = measure(got, Exact(high, np.zeros(7)), F32, 4.0, HEAD, batch(7))
    assert (report.wrong_nan, report.wrong_inf, report.wrong_sign, report.flushed) == (2, 2, 1, 1)
    assert not report.holds and report.where == "x=0x0.0p+0"
    assert report.max_ulp == 2.0**24  # a wrong sign is also an error in ulp


def test_a_spread_adds_up_and_tells_quantiles():
    one = spread_of(np.array([0.0, 0.5, 3.0, 100.0]), np.array([1.0, 1, 1, 1]), np.array([1.0, 1, 1, 2]))
    both = one + spread_of(np.array([np.inf, 2.0**40]), np.array([np.nan, 1]), np.array([1.0, 1]))
    assert one.total == 4 and one.over(4) == 0.25 and one.over(1) == 0.5 and (one.absolute, one.relative) == (1, 0.5)
    assert both.total == 6 and both.quantile(1) == math.inf and 3 <= both.quantile(0.5) <= 3.3
    assert both.over(1000) == 2 / 6 and spread_of(np.array([4.0]), np.ones(1), np.ones(1)).over(4) == 0
    assert math.isinf(both.to_json()["histogram"][-1][0])


def test_the_smallest_subnormal_may_round_either_way_and_overflow_is_a_degree():
    high = np.array([0.6 * F32.smallest, F32.largest])
    report = measure(np.array([0.0, math.inf]), Exact(high, np.zeros(2)), F32, 4.0, HEAD, batch(2))
    assert report.wrong == 0 and report.max_ulp == 1.0


def test_results_in_the_subnormal_range_are_told_apart():
    high = np.array([64 * F32.smallest, 1.0, 0.0])
    got = np.array([32 * F32.smallest, 1.0 + 3 * F32.eps, 0.0])
    report = measure(got, Exact(high, np.zeros(3)), F32, 4.0, HEAD, batch(3))
    assert (report.max_ulp, report.normal_ulp, report.subnormals, report.over) == (32, 3, 1, 1)
    both = report + measure(np.array([1.0 + 5 * F32.eps]), Exact(np.ones(1), np.zeros(1)), F32, 4.0, HEAD, batch(1))
    assert (both.max_ulp, both.normal_ulp, both.subnormals) == (32, 5, 1)


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="shape"):
        measure(np.zeros(3), Exact(np.zeros(4), np.zeros(4)), F32, 4.0, HEAD, batch(4))


def test_an_excuse_needs_the_condition_to_explain_the_whole_error():
    exact = Exact(np.array([1.0, 1.0]), np.zeros(2))
    got = 1.0 + np.array([40, 400]) * F32.eps
    report = measure(got, exact, F32, 4.0, HEAD, batch(2), lambda i, k: 20.0)
    assert report.conditioned == 1 and report.max_ulp == 400 and report.conditioned_ratio == 2.0


def test_reports_of_two_batches_add_up():
    one = Report("u", "loss", "t", "float32", "fast", "hard", 10, 1.5, "here", bound=4, flushed=1)
    two = Report("u", "loss", "t", "float32", "fast", "hard", 5, 2.5, "there", bound=7, wrong_nan=2)
    both = one + two
    assert (both.points, both.max_ulp, both.where, both.wrong, both.bound) == (15, 2.5, "there", 3, 7)


def test_the_contract():
    f64 = FORMATS["float64"]
    assert bound("loss", "np", F32, "fast") == 4 and bound("hessian_x", "np", F32, "fast") == 6
    assert bound("gradient_x", "pt", F32, "accurate") == 0.501 and bound("loss", "cu", F32, "accurate") == 1.0
    assert bound("loss", "np", FORMATS["bfloat16"], "fast") == 0.501
    assert bound("loss", "np", f64, "fast") == 2 and bound("hessian_x", "np", f64, "accurate") == 4
    assert bound("loss", "np", F32, "fast", 1000) == 9


def test_outputs_name_their_arguments():
    names = ["x", "log_q", "log_p"]
    assert wrt_of("loss", names) == () and wrt_of("gradient_log_q", names) == ("log_q",)
    assert wrt_of("hessian_log_q_x", names) == ("log_q", "x")
    with pytest.raises(KeyError):
        wrt_of("gradient_w", names)


def test_what_is_not_there_is_said_in_one_line():
    with pytest.raises(ValueError, match="targets are np, pt, c, cu"):
        adapter("rust")
    with pytest.raises(ValueError, match="truth="):
        audit(stable)
    with pytest.raises(ValueError, match="dtype"):
        of(stable, dtype="float8")
    with pytest.raises(ValueError, match="tier"):
        of(stable, tier="best")
    assert isinstance(adapter("np"), NumpyAdapter) and isinstance(adapter("pt"), TorchAdapter)
    made = exam(load(BCE), "float32", count=20)
    nameless = dataclasses.replace(made.subject, unit=dataclasses.replace(made.subject.unit, name="no_such_unit"))
    with pytest.raises(Unavailable, match="cannot be imported"):
        NumpyAdapter().offers(nameless, "loss", made.batches[0])


def test_results_print_as_a_table_and_as_data():
    result = of(stable)
    lines = result.to_text().splitlines()
    assert lines[0].split()[:3] == ["unit", "output", "target"] and len(lines) == 2 + len(result.reports)
    assert result.to_json()[0]["holds"] is True and "FAILS" in of(published).to_text()


def test_beyond_the_largest_double_nothing_overflows():
    result = audit(lambda x, y: (x - y) ** 2, truth="mean_squared_error", dtype="float64")
    assert result.holds and result.max_ulp < 2
