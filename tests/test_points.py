"""Points and rows lie in their domains, hold what seeks trouble, and never change from run to run."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
from lossmith.derivations.domains import parse_domain
from lossmith.derivations.loss import Argument
from lossmith.derivations.points import (
    distribution,
    from_ordinal,
    landmarks,
    row_samples,
    scalar_points,
    special_values,
    step,
)
from lossmith.derivations.ulp import FORMATS, ordinals, round_array

F32 = FORMATS["float32"]


def argument(name, domain, role="input", axis="none"):
    return Argument(name, role, parse_domain(domain), axis)


BCE = [argument("x", "extended"), argument("z", "[0,1]", "target")]
SOFT = [argument("x", "extended", axis="class"), argument("t", "simplex", "target", "class")]
SPARSE = [argument("x", "extended", axis="class"), argument("y", "index", "label")]


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda f: f.name)
@pytest.mark.parametrize("domain", ["extended", "real", "[0,1]", "(0,1)", "(-inf,0)", "[1,inf)", "{-1,1}", "nonzero",
                                    "3"])
def test_every_point_lies_in_its_domain_and_format(fmt, domain):
    points = scalar_points([argument("x", domain), argument("w", domain)], 300, 7, fmt)
    for column in points.values():
        assert len(column) == 300 and np.isfinite(column).all()
        assert all(parse_domain(domain).holds(v) for v in column)
        assert (round_array(column, fmt) == column).all()


def test_points_are_the_same_every_time_and_differ_with_the_seed():
    one, again, other = (scalar_points(BCE, 200, seed, F32) for seed in (1, 1, 2))
    assert all((one[n] == again[n]).all() for n in one)
    assert any((one[n] != other[n]).any() for n in one)


def test_all_exponents_both_signs_hard_targets_and_infinities():
    points = scalar_points(BCE, 3000, 0, F32, infinite=True)
    x, z = points["x"], points["z"]
    exponents = {int(e) for e in np.frexp(x[np.isfinite(x) & (x != 0)])[1]}
    assert len(exponents) > 200 and {math.inf, -math.inf} <= set(x.tolist())
    assert ((z == 0) | (z == 1)).mean() > 0.2
    for noted in (0.1, 0.5, 0.9, 0.95, 1 - 2**-24, 2**-24):
        assert float(np.float32(noted)) in z


def test_landmarks_come_with_both_neighbours_and_follow_the_format():
    values = special_values(parse_domain("extended"), F32)
    ln2 = float(np.float32(math.log(2)))
    assert {ln2, step(ln2, 1, F32), step(ln2, -1, F32)} <= set(values)
    assert any(abs(v - 88.7228) < 1e-3 for v in landmarks(F32))
    assert not any(abs(v - 88.7228) < 1e-3 for v in landmarks(FORMATS["float64"]))
    assert any(abs(v - 709.78) < 1e-2 for v in landmarks(FORMATS["float64"]))


def test_ties_and_near_equal_pairs_of_two_inputs():
    points = scalar_points([argument("x", "real"), argument("w", "real")], 1000, 0, F32)
    apart = np.abs(ordinals(points["x"], F32) - ordinals(points["w"], F32))
    assert (apart == 0).sum() >= 1 and ((apart > 0) & (apart < 20)).sum() > 20


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda f: f.name)
def test_ordinals_and_back(fmt):
    for place in (0, 1, 2 ** (fmt.precision - 1), 2**fmt.precision + 3, int(ordinals(fmt.largest, fmt))):
        assert int(ordinals(from_ordinal(place, fmt), fmt)) == place
        assert from_ordinal(-place, fmt) == -from_ordinal(place, fmt)
    assert step(fmt.largest, 1, fmt) == math.inf


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda f: f.name)
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 1000])
def test_distributions_sum_to_one_exactly(fmt, classes):
    rng = np.random.default_rng(0)
    for k in range(14):
        t = distribution(classes, k, rng, fmt, parse_domain("simplex"), [np.full(classes, 1 / classes)])
        assert (t >= 0).all() and (round_array(t, fmt) == t).all()
        assert sum(map(Fraction, t.tolist())) == 1


def test_distributions_without_zeros_where_the_domain_has_none():
    inner = dataclasses.replace(parse_domain("simplex"), low_closed=False)
    for k in range(14):
        t = distribution(5, k, np.random.default_rng(k), F32, inner)
        assert (t > 0).all() and sum(map(Fraction, t.tolist())) == 1


def test_logarithms_of_probabilities_stay_below_zero():
    for s in row_samples([argument("log_q", "[-inf,0]", axis="class")], 4, 40, 0, F32):
        assert (s["log_q"] <= 0).all() and not np.isnan(s["log_q"]).any()


def test_rows_are_tied_confident_masked_and_labels_at_and_away_from_the_peak():
    samples = row_samples(SPARSE, 10, 48, 3, F32)
    rows = [s["x"] for s in samples]
    tops = [np.sort(r)[-2:] for r in rows]
    assert any(b - a > 15 for a, b in tops) and any(b - a > 85 for a, b in tops)
    assert any(a == b for a, b in tops) and any(np.isneginf(r).any() for r in rows)
    at_peak = [s["x"][int(s["y"])] == s["x"].max() for s in samples]
    assert any(at_peak) and not all(at_peak)
    assert all(np.isfinite(s["x"]).all() for s in row_samples(SPARSE, 10, 48, 3, F32, infinite=False))


def test_targets_are_one_hot_soft_and_zero_somewhere():
    targets = [s["t"] for s in row_samples(SOFT, 5, 30, 1, F32)]
    assert any((t == 1).any() for t in targets) and any(((t > 0) & (t < 1)).all() for t in targets)
    assert any((t == 0).any() and (t < 1).all() for t in targets)


def test_one_class_is_a_row_too():
    for s in row_samples(SOFT, 1, 16, 0, F32):
        assert s["x"].shape == (1,) and s["t"].tolist() == [1.0]
