"""Special functions in float64 on arrays: what neither NumPy nor torch computes well, from their definitions.

Generated modules hold the source of what they call (codegen/specials.py): the functions here use
of `np` only what torch has under the same name, and of this file only functions and tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from flint import arb
from lossmith.derivations.anchored import Ball, erfcx_ball
from lossmith.derivations.approximation import Low, Table

Array = npt.NDArray[Any]


def _erfcx_scaled(t: Ball) -> Ball:
    """(x + 1/2) erfcx(x), x = 4 (1 + t) / (1 - t)."""
    x = 4 * (1 + t) / (1 - t)
    return (x + arb(0.5)) * erfcx_ball(x.mid())


def _stirling(t: Ball) -> Ball:
    """gamma(x) e^x x^(1/2 - x), x = 1/t."""
    x = 1 / t.mid()
    return (x.lgamma() + x - (x - arb(0.5)) * x.log()).exp()


ERFCX = Table(_erfcx_scaled, -1, 1)
ERFCX_SHORT = Table(_erfcx_scaled, -1, 1, 27)  # for float32
ERFCX_LOW = Low(ERFCX, 1)
ROOT_PI_INVERSE = float(1 / arb.pi().sqrt())
STIRLING = Table(_stirling, 0.0, 0.1)


def polynomial(coefficients: Iterable[float], a: Array) -> Array:
    """The polynomial with these coefficients, highest first."""
    total = 0 * a
    for coefficient in coefficients:
        total = total * a + coefficient
    return total


def tangent(coefficients: Iterable[float], a: Array) -> Array:
    """The derivative of that polynomial."""
    value, slope = 0 * a, 0 * a
    for coefficient in coefficients:
        slope = slope * a + value
        value = value * a + coefficient
    return slope


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """a b as product and rounding error, by halves of 26 bits; the error is 0 or NaN beyond 2^970."""
    product = a * b
    a_high, b_high = 134217729 * a, 134217729 * b
    a_high, b_high = a_high - (a_high - a), b_high - (b_high - b)
    a_low, b_low = a - a_high, b - b_high
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b as sum and rounding error."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def erfcx_pair(x: Array) -> tuple[Array, Array]:
    """erfcx(x) for 0 <= x < 2^50 as high + low: a polynomial in t = (x - 4) / (x + 4), over x + 1/2."""
    above, above_low = two_sum(x, -4.0)
    below, below_low = two_sum(x, 4.0)
    t = above / below
    product, product_low = two_product(t, below)
    t_low = ((above - product) - product_low + above_low - t * below_low) / below
    slope, steep = polynomial(ERFCX[:-1], t), tangent(ERFCX, t)
    rise, rise_low = two_product(t, slope)
    high, low = two_sum(ERFCX[-1], rise)
    low = low + (rise_low + t_low * steep + ERFCX_LOW[0])
    below, below_low = two_sum(x, 0.5)
    whole = high / below
    product, product_low = two_product(whole, below)
    return whole, ((high - product) - product_low + low - whole * below_low) / below


def erfcx(a: Array) -> Array:
    """exp(a^2) erfc(a): left of 0 it is 2 exp(a^2) - erfcx(-a)."""
    size = np.abs(a)
    high, low = erfcx_pair(np.clip(size, None, 1e15))
    right = np.where(size < 1e15, high + low, ROOT_PI_INVERSE / size)
    square, rest = two_product(np.clip(-a, 0.0, 26.64), np.clip(-a, 0.0, 26.64))
    grown = np.exp(square)
    return np.where(a < 0, (grown + grown * rest) * 2 - right, right)


def gamma(a: Array) -> Array:
    """The gamma function: NaN at negative whole numbers, infinite at 0."""
    x = np.where(a < 0.5, 1 - a, a)
    shift = 1 + 0 * x
    for _ in range(10):
        shift = np.where(x < 10, shift * x, shift)
        x = np.where(x < 10, x + 1, x)
    root = np.exp((x - 0.5) * np.log(x) / 2 - x / 2)
    right = (root * polynomial(STIRLING, 20 / x - 1)) * root / shift
    return np.where(a < 0.5, math.pi / (np.sin(math.pi * a) * right), right)


FUNCTIONS = ("erfcx", "gamma")
