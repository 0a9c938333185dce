"""Formats: rounding agrees with exact arithmetic and with the hardware; distances count numbers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lossmith.derivations import ulp
from lossmith.derivations.ulp import FORMATS

WORDS = {16: np.uint16, 32: np.uint32, 64: np.uint64}


def numbers(fmt, count=3000, seed=1):
    """Random bit patterns of the format that are finite, as (float64 values, their places)."""
    raw = np.random.default_rng(seed).integers(0, 2 ** (fmt.bits - 1), count, dtype=np.uint64)
    raw[:3] = (0, 1, 2 ** (fmt.precision - 1))
    with np.errstate(all="ignore"):
        values = raw.astype(WORDS[fmt.bits]).view(fmt.dtype).astype(np.float64)
    kept = np.isfinite(values)
    return values[kept], raw[kept].astype(np.int64)


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda f: f.name)
def test_ordinals_are_the_bit_patterns(fmt):
    values, raw = numbers(fmt)
    assert (ulp.ordinals(values, fmt) == raw).all()
    assert (ulp.ordinals(-values, fmt) == -raw).all()
    assert ulp.ordinals(math.inf, fmt) == ulp.ordinals(fmt.largest, fmt) + 1


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda f: f.name)
def test_array_rounding_is_exact_rounding(fmt):
    values, _ = numbers(fmt)
    with np.errstate(over="ignore"):
        between = np.concatenate([values * (1 + 2.0**-fmt.precision), values * 1.37, values / 3])
    between = between[np.isfinite(between)]
    exact = [ulp.round_fraction(Fraction(float(v)), fmt) for v in between]
    assert (ulp.round_array(between, fmt) == exact).all()


@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
def test_array_rounding_is_the_hardware_rounding(name):
    fmt = FORMATS[name]
    values = np.random.default_rng(2).normal(size=2000) * 10.0 ** np.random.default_rng(3).uniform(-50, 50, 2000)
    with np.errstate(over="ignore"):
        assert (ulp.round_array(values, fmt) == values.astype(name).astype(np.float64)).all()


@given(st.fractions(max_denominator=10**9), st.sampled_from(sorted(FORMATS)))
@settings(max_examples=200, deadline=None)
def test_a_fraction_goes_to_the_nearest_number(value, name):
    fmt = FORMATS[name]
    got = ulp.round_fraction(value, fmt)
    if math.isinf(got):
        assert abs(value) >= Fraction(fmt.largest)
        return
    unit = Fraction(float(ulp.ulp_of(got, fmt)))
    assert abs(Fraction(got) - value) <= unit / 2
    assert float(ulp.round_array(got, fmt)) == got


def test_ties_go_to_even_and_overflow_starts_half_an_ulp_beyond_the_largest():
    fmt = FORMATS["float16"]
    assert ulp.round_fraction(Fraction(2049), fmt) == 2048.0
    assert ulp.round_fraction(Fraction(2051), fmt) == 2052.0
    assert ulp.round_fraction(Fraction(65519), fmt) == 65504.0
    assert ulp.round_fraction(Fraction(65520), fmt) == math.inf
    assert ulp.round_fraction(Fraction(1, 2**25), fmt) == 0.0
    assert ulp.round_fraction(Fraction(1, 2**25) + Fraction(1, 2**60), fmt) == 2.0**-24
    assert ulp.round_scaled(-1, 10**40, fmt) == -math.inf
    assert ulp.round_scaled(1, -(10**40), fmt) == 0.0


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda f: f.name)
def test_distance_counts_numbers_across_zero_and_binades(fmt):
    assert ulp.distance(fmt.smallest, -fmt.smallest, fmt) == 2
    assert ulp.distance(0.0, -0.0, fmt) == 0
    assert ulp.distance(1.0, 1.0 - fmt.eps / 2, fmt) == 1
    assert ulp.distance(2.0, 2.0 - fmt.eps, fmt) == 1
    inf, nan = math.inf, math.nan
    got = ulp.distance([inf, nan, nan, inf, 1.0], [inf, nan, 1.0, -inf, inf], fmt)
    assert got.tolist() == [0, 0, math.inf, math.inf, math.inf]


def test_error_tells_halves_and_measures_subnormals_by_the_smallest():
    fmt = FORMATS["float32"]
    half = Fraction(1) + Fraction(1, 2**24)
    assert ulp.error([1.0], [half], fmt) == 0.5
    assert ulp.error([1.0], [Fraction(1) + Fraction(501, 1000) / 2**23], fmt)[0] == pytest.approx(0.501, rel=1e-12)
    assert ulp.error([fmt.smallest], [Fraction(fmt.smallest) * Fraction(3, 4)], fmt) == 0.25
    assert ulp.error([0.0], [Fraction(1, 2**200)], fmt) < 1e-10


def test_error_at_the_edge_of_overflow_is_a_matter_of_degree():
    fmt = FORMATS["float32"]
    just_over = Fraction(fmt.largest) + Fraction(float(ulp.ulp_of(fmt.largest, fmt)))
    assert ulp.error([fmt.largest], [just_over], fmt) == 1.0
    assert ulp.error([math.inf], [Fraction(fmt.largest)], fmt) == 1.0
    assert ulp.error([math.inf], [Fraction(1)], fmt) > 1e30
    assert ulp.error([math.inf, math.nan], [-math.inf, 1.0], fmt).tolist() == [math.inf, math.inf]
