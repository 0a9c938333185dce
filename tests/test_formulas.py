"""The set of formulas that the stabilizer is measured on: what it must hold, and a handful run end to end."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from lossmith.derivations.ulp import FORMATS

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))

import formula_measure as fm  # noqa: E402
import formula_points as fp  # noqa: E402
from formula_set import families, items  # noqa: E402

EVERY_FAMILY = {"logistic", "exponential", "logsumexp", "roots", "hyperbolic", "divergence", "powers", "erf", "gamma",
                "trigonometric", "distributions", "losses_tier0", "losses_tier1", "notation", "applied"}
TIER0 = """sigmoid_cross_entropy binary_cross_entropy softmax_cross_entropy sparse_softmax_cross_entropy
    categorical_cross_entropy information entropy kl_divergence abs_kl_divergence partition_distribution
    mean_squared_error two_class_identity multi_label"""
TIER1 = """weighted_sigmoid_cross_entropy sigmoid_focal_loss softmax_focal_loss hinge squared_hinge soft_margin
    mean_absolute_error huber smooth_l1 pseudo_huber log_cosh quantile poisson_nll gamma_nll tweedie gaussian_nll
    jensen_shannon total_variation distillation poly1_cross_entropy generalized_cross_entropy symmetric_cross_entropy
    asymmetric_loss multilabel_categorical dpo orpo_odds_ratio k3_kl cauchy welsch geman_mcclure student_t_nll"""
QUICK = ("softplus", "log1mexp", "sqrt_step", "log_of_cosh", "expm1", "circle_sag", "versine", "hinge",
         "already_good_log1p", "log_sigmoid.x")


def test_the_set_is_large_and_covers_every_family() -> None:
    assert set(families()) >= EVERY_FAMILY
    assert len([i for i in items() if not i.wrt]) >= 120
    assert all(len(entries) >= 12 for entries in families().values())


def test_names_are_distinct() -> None:
    labels = [i.label for i in items()]
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize("family, names", [("losses_tier0", TIER0), ("losses_tier1", TIER1)])
def test_every_loss_of_the_tiers_is_there_with_gradient_and_hessian(family: str, names: str) -> None:
    by_name = {e["name"]: e for e in families()[family]}
    missing = set(names.split()) - set(by_name)
    assert not missing
    for name in set(names.split()) - {"two_class_identity"}:
        orders = {len(w.split(",")) for w in by_name[name]["wrt"]}
        assert orders == {1, 2}, name


def test_every_formula_and_derivative_can_be_read() -> None:
    for item in items():
        assert item.definition.sort == "scalar", item.label
        assert all(r.sort == "truth" for r in item.relations), item.label


def test_points_satisfy_domains_and_relations() -> None:
    for name in ("heron", "quadratic_plus", "remaining_mass", "logsubexp", "iou_loss"):
        item = items([name])[0]
        columns = fp.drawn(item.definition, item.arguments, item.relations, 200, 1, FORMATS["float32"])
        assert len(next(iter(columns.values()))) >= 60, name
        for i in range(len(next(iter(columns.values())))):
            point = {n: float(c[i]) for n, c in columns.items()}
            assert all(fp.holds(r, point) for r in item.relations), point
            assert all(a.domain.holds(point[a.name]) for a in item.arguments), point


def test_points_are_the_same_every_time_and_differ_by_seed() -> None:
    item = items(["kl_bernoulli"])[0]
    first, again, other = (fp.drawn(item.definition, item.arguments, (), 200, seed, FORMATS["float64"])
                           for seed in (1, 1, 2))
    assert all(np.array_equal(first[n], again[n]) for n in first)
    assert not all(np.array_equal(first[n], other[n]) for n in first)


def test_errors_count_nan_infinity_and_neighbours() -> None:
    fmt = FORMATS["float64"]
    truth = np.array([1.0, 1.0, 1.0, math.inf, fmt.largest, 5e-324, 0.0])
    got = np.array([1.0, np.nextafter(1, 2), math.nan, fmt.largest, math.inf, 0.0, 0.0])
    assert fm.errors(got, truth, fmt).tolist() == [0.0, 1.0, math.inf, 1.0, 1.0, 1.0, 0.0]
    assert fm.errors(np.array([-math.inf]), np.array([math.inf]), fmt)[0] > 1e15


def test_the_condition_is_large_at_a_root_only() -> None:
    item = items(["log_difference"])[0]
    near = {"x": 1.0, "y": 1.0 + 2.0**-40}
    assert fp.condition(item.definition, near, item.arguments, FORMATS["float64"]) > 1e9
    assert fp.condition(item.definition, {"x": 8.0, "y": 1.0}, item.arguments, FORMATS["float64"]) <= 2


def test_a_naive_form_is_found_out() -> None:
    item = items(["expm1"])[0]
    exam = fm.Exam.of(item, FORMATS["float64"], fm.QUICK, 1)
    assert exam.result(fm.evaluated(item.definition, exam.fmt))["excused"] > 1e10


@pytest.mark.parametrize("label", QUICK)
def test_a_handful_end_to_end(label: str) -> None:
    item = next(i for i in items([label]) if i.label == label)
    found, head = fm.search(item, ("float64", "float32"))
    results = fm.measured(item, found, ("float64", "float32"), fm.Effort(200, 2, 1, 4, 6), 5)
    assert head["seconds"] < 60
    for name, parts in results.items():
        assert parts["after"]["excused"] <= fm.TARGET, (name, head["form"], parts["after"])


@pytest.mark.heavy
def test_the_whole_set() -> None:
    from argparse import Namespace

    import stabilizer

    given = Namespace(dtype=None, full=False, jobs=1, seed=20261122)
    records = list(stabilizer.sweep(items(), given))
    for dtype in stabilizer.DTYPES:
        assert stabilizer.share(records, dtype, "excused") >= 0.95 * len(records), stabilizer.summary(records, (dtype,))
