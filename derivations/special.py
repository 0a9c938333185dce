"""Special functions in float64 on arrays: what neither NumPy nor torch computes well, from their definitions.

Generated modules hold the source of what they call (codegen/specials.py): the functions here use
of `np` only what torch has under the same name, and of this file only functions, tables and numbers;
`where` never takes two plain numbers, which torch would make a float32.
A pair is a number as high + low, the low part at most about an ulp of the high one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from flint import arb
from lossmith.derivations import special_tables as tables
from lossmith.derivations.approximation import Low, Parts, Table

Array = Any  # a float64 array, or tensor
Pair = tuple[Array, Array]

ERFCX = Table(tables.erfcx_scaled, -1, 1)  # in (x - 4) / (x + 4)
ERFCX_SHORT = Table(tables.erfcx_scaled, -1, 1, 27)  # for float32
ERFCX_LOW = Low(ERFCX, 1)
ERF = Table(tables.erf_ratio, 0, 1)  # in 2 x^2 - 1
ERF_LOW = Low(ERF, 1)
LOG = Table(tables.atanh_tail, 0, 0.0295)
THIRD = Parts(lambda: arb(1) / 3, 53, 53)
LN2 = Parts(lambda: arb(2).log(), 32, 53)
RECIPROCAL = Table(tables.reciprocal_gamma_slope, -0.5, 0.5)  # in 2 r
RECIPROCAL_LONG = Table(tables.reciprocal_gamma_slope, -0.5, 0.5, 112)
RECIPROCAL_LONG_LOW = Low(RECIPROCAL_LONG, 0)
LGAMMA_ONE = Table(tables.lgamma_slope(1), -0.5, 0.5, 57)  # in 2 r
LGAMMA_ONE_LOW = Low(LGAMMA_ONE, 1)
LGAMMA_TWO = Table(tables.lgamma_slope(2), -0.5, 0.5, 57)
LGAMMA_TWO_LOW = Low(LGAMMA_TWO, 1)
STIRLING = Table(tables.binet, 0, 0.4)  # in 5 / x - 1
HALF_LOG_TWO_PI = Parts(lambda: (2 * arb.pi()).log() / 2, 53, 53)
DIGAMMA_ROOT = Parts(tables.digamma_root, 53, 53)
DIGAMMA = Table(tables.digamma_ratio, 1, 3)  # in x - 2
DIGAMMA_LOW = Low(DIGAMMA, 1)
DIGAMMA_TAIL = Table(tables.digamma_tail, 0, Fraction(1, 3))  # in 6 / x - 1
ERFCX_REST = Table(tables.erfcx_rest_scaled, -1, 1)  # in (x - 4) / (x + 4)
ERFCX_REST_LOW = Low(ERFCX_REST, 1)
BINET = Table(tables.binet, 0, 2)  # in 1 / x - 1
BINET_LONG = Table(tables.binet, 0, 2, 68)  # its slope is as good at the ends
BINET_LOW = Low(BINET, 1)
BINET_SMALL = Table(tables.lgamma_beside, 0, 0.5)  # in 4 x - 1
BINET_SMALL_LOW = Low(BINET_SMALL, 1)
BINET_SLOPE = Table(tables.binet_slope_scaled, 0, 2)  # in 1 / x - 1
BINET_SLOPE_LOW = Low(BINET_SLOPE, 1)
BINET_SLOPE_SMALL = Table(tables.digamma_beside, 0, 0.5)  # in 4 x - 1
BINET_SLOPE_SMALL_LOW = Low(BINET_SLOPE_SMALL, 1)
BINET_SMALL_AT_ZERO = float(-(2 * arb.pi()).log() / 2)
ERFCX_REST_FAR = float(1 / (2 * arb.pi().sqrt()))
LOG1PMX_REACH = 9 / 49  # of s^2, a from -0.6 to 1
LOG1PMX = Table(tables.atanh_rest, 0, LOG1PMX_REACH)
EXPM1MX = Table(tables.expm1mx_ratio, -1, 2)
EXPM1MX_LOW = Low(EXPM1MX, 1)
PI = Parts(arb.pi, 53, 53)
ROOT_PI_INVERSE = float(1 / arb.pi().sqrt())
DEEP = Parts(lambda: arb(-40).exp(), 53, 53)


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


def two_sum(a: Array, b: Array) -> Pair:
    """a + b as sum and rounding error."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def two_product(a: Array, b: Array) -> Pair:
    """a b as product and rounding error, by halves of 26 bits; |a|, |b| and the product below 2^970."""
    product = a * b
    a_high, b_high = 134217729 * a, 134217729 * b
    a_high, b_high = a_high - (a_high - a), b_high - (b_high - b)
    a_low, b_low = a - a_high, b - b_high
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def pair_product(a: Array, a_low: Array, b: Array, b_low: Array) -> Pair:
    """The product of two pairs."""
    product, low = two_product(a, b)
    return two_sum(product, low + (a * b_low + a_low * b))


def pair_quotient(a: Array, a_low: Array, b: Array, b_low: Array) -> Pair:
    """The quotient of two pairs."""
    ratio = a / b
    product, low = two_product(ratio, b)
    return ratio, ((a - product) - low + a_low - ratio * b_low) / b


def pair_polynomial(coefficients: Iterable[float], lows: Iterable[float], a: Array) -> Pair:
    """A polynomial whose coefficients are pairs, as a pair."""
    total, low = 0 * a, 0 * a
    for coefficient, rest in zip(coefficients, lows):
        product, lost = two_product(total, a)
        lost = lost + low * a
        total, low = two_sum(coefficient, product)
        low = low + (lost + rest)
    return total, low


def ended(coefficients: Table, low: Table, a: Array) -> Pair:
    """A polynomial as a pair: its last sum is not rounded."""
    rise, lost = two_product(a, polynomial(coefficients[:-1], a))
    high, rest = two_sum(coefficients[-1], rise)
    return high, rest + lost + low[0]


def log_pair(x: Array) -> Pair:
    """log(x) as a pair, some 65 bits, for normal x > 0: x = m 2^e, log(m) = 2 atanh(s), s = (m - 1) / (m + 1)."""
    mantissa, exponent = np.frexp(x)
    small = mantissa < 0.7071067811865476
    mantissa = np.where(small, 2 * mantissa, mantissa)
    exponent = np.where(small, exponent - 1, exponent) + 0 * x
    below, below_low = two_sum(mantissa, 1.0)
    s, s_low = pair_quotient(mantissa - 1, 0 * x, below, below_low)
    square, square_low = pair_product(s, s_low, s, s_low)
    third, third_low = pair_product(square, square_low, THIRD[0], THIRD[1])
    bend, bend_low = pair_product(2 * s, 2 * s_low, third, third_low)
    bend_low = bend_low + 2 * s * (square * square * polynomial(LOG, square / 0.01475 - 1))
    high, low = two_sum(exponent * LN2[0], 2 * s)
    high, rest = two_sum(high, bend)
    return two_sum(high, rest + low + (2 * s_low + bend_low + exponent * LN2[1]))


def exp_pair(high: Array, low: Array) -> Array:
    """exp(high + low); the low part counts where the result is finite."""
    grown = np.exp(high)
    extra = grown * low
    return np.where(np.abs(extra) < np.abs(grown), grown + extra, grown)


def erfcx_pair(x: Array) -> Pair:
    """erfcx(x) for 0 <= x < 2^50: a polynomial in t = (x - 4) / (x + 4), over x + 1/2."""
    above, above_low = two_sum(x, -4.0)
    below, below_low = two_sum(x, 4.0)
    t, t_low = pair_quotient(above, above_low, below, below_low)
    high, low = ended(ERFCX, ERFCX_LOW, t)
    below, below_low = two_sum(x, 0.5)
    return pair_quotient(high, low + t_low * tangent(ERFCX, t), below, below_low)


def erfcx(a: Array) -> Array:
    """exp(a^2) erfc(a): left of 0 it is 2 exp(a^2) - erfcx(-a)."""
    size = np.abs(a)
    high, low = erfcx_pair(np.clip(size, None, 1e15))
    right = np.where(size > 1e15, ROOT_PI_INVERSE / size, high + low)
    held = np.clip(-a, 0.0, 26.64)
    return np.where(a < 0, 2 * exp_pair(*two_product(held, held)) - right, right)


def erfc(a: Array) -> Array:
    """1 - erf(a): right of 0 exp(-a^2) erfcx(a), the square a pair; towards its end a factor e^-40 comes last."""
    x = np.clip(np.abs(a), None, 28.0)
    high, low = erfcx_pair(x)
    square, rest = two_product(x, x)
    deep = x > 26.5
    decay = np.exp(np.where(deep, 40 - square, -square))
    product, lost = two_product(decay, high)
    lacking = np.where(deep, DEEP[1] / DEEP[0] - rest, -rest)
    right = product + (lost + decay * (low + high * lacking))
    right = np.where(deep, right * DEEP[0], right)
    return np.where(a < 0, 2 - right, right)


def erf(a: Array) -> Array:
    """The error function: a times a polynomial in a^2 up to 1, then 1 - erfc(a)."""
    x = np.clip(np.abs(a), None, 1.0)
    high, low = ended(ERF, ERF_LOW, 2 * x * x - 1)
    near = x * high + x * low
    near = np.where(np.abs(a) < 1, near, 1 - erfc(np.abs(a)))
    return np.where(a < 0, -near, near)


def joined(high: Array, low: Array) -> Array:
    """A pair as one number; the low part counts where it is one."""
    return np.where(np.abs(low) <= np.abs(high), high + low, high)


def falling(v: Array, count: Array) -> Pair:
    """(v - 1) (v - 2) .. (v - count + 1) as a pair, count <= 20."""
    high, low = 1 + 0 * v, 0 * v
    for k in range(1, 20):
        product, lost = two_product(high, v - k)
        low = np.where(k < count, lost + low * (v - k), low)
        high = np.where(k < count, product, high)
    return two_sum(high, low)


def reciprocal(r: Array) -> Pair:
    """1 / gamma(1 + r) for |r| <= 1/2, as a pair."""
    rise, lost = two_product(r, polynomial(RECIPROCAL, 2 * r))
    high, low = two_sum(1.0, rise)
    return high, low + lost


def reciprocal_long(r: Array) -> Pair:
    """The same to a hundred bits."""
    slope, slope_low = pair_polynomial(RECIPROCAL_LONG, RECIPROCAL_LONG_LOW, 2 * r)
    rise, rise_low = pair_product(slope, slope_low, r, 0 * r)
    high, low = two_sum(1.0, rise)
    return high, low + rise_low


def lgamma_pair(x: Array) -> Pair:
    """lgamma(x) as a pair for 2.5 <= x <= 1e17, by Stirling's formula."""
    log, log_low = log_pair(x)
    high, low = pair_product(x - 0.5, 0 * x, log, log_low)
    high, one = two_sum(high, -x)
    high, two = two_sum(high, HALF_LOG_TWO_PI[0])
    high, three = two_sum(high, polynomial(STIRLING, 5 / x - 1) / x)
    return high, one + two + three + (low + HALF_LOG_TWO_PI[1])


def reflected(v: Array) -> Pair:
    """v sin(pi v) / pi without its sign, as a pair: gamma(-v) gamma(v) is one over it."""
    r = v - np.round(v)
    one, one_low = reciprocal(r)
    other, other_low = reciprocal(-r)
    both, both_low = pair_product(one, one_low, other, other_low)
    edge, edge_low = two_product(v, np.abs(r))
    return pair_product(both, both_low, edge, edge_low)


def inverse_left(v: Array) -> Pair:
    """1 / |gamma(-v)| for 1/2 <= v <= 20, as a pair of a hundred bits."""
    whole = np.round(v)
    r = v - whole
    one, one_low = reciprocal_long(-r)
    near, near_low = pair_product(one, one_low, np.abs(r), 0 * r)
    product, product_low = falling(v, whole)
    product, product_low = pair_product(product, product_low, v, 0 * v)
    return pair_product(near, near_low, np.where(whole > 0, product, 1.0), np.where(whole > 0, product_low, 0.0))


def gamma(a: Array) -> Array:
    """The gamma function: inf at 0, NaN at negative whole numbers and at -inf."""
    size = np.abs(a)
    v = np.clip(size, 1e-20, 20.0)
    whole = np.round(v)
    one, one_low = reciprocal(v - whole)
    top, top_low = falling(v, whole)
    base, base_low = pair_product(one, one_low, np.where(whole > 0, 1.0, v), 0 * v)
    right = joined(*pair_quotient(top, top_low, base, base_low))
    high, low = lgamma_pair(np.clip(size, 20.0, 200.0))
    right = np.where(size < 20, right, exp_pair(high, low))
    below, below_low = reflected(np.clip(size, 1e-20, None))
    deep = high > 690
    decay = np.exp(np.where(deep, -high / 2, -high))
    over, over_low = pair_product(below, below_low, np.where(size < 20, top, 1.0), np.where(size < 20, top_low, 0.0))
    base, base_low = np.where(size < 20, base, decay), np.where(size < 20, base_low, -decay * low)
    left = joined(*pair_quotient(base, base_low, over, over_low))
    left = np.where((size > 20) & deep, left * decay, left)
    odd = np.round(np.floor(size) / 2) * 2 != np.floor(size)
    left = np.where(size == np.floor(size), np.nan, np.where(odd, left, -left))
    return np.where(size < 1e-20, np.where(size == 0, np.inf, 1 / a), np.where(a < 0, left, right))


def lgamma_left(v: Array) -> Array:
    """log |gamma(-v)|; near a zero of it by what the pair lacks to 1."""
    below, below_low = inverse_left(np.clip(v, 0.5, 20.0))
    off, off_low = two_sum(below - 1, below_low)
    near = np.log1p(np.clip(off, -0.5, 0.5)) + off_low / below
    near = np.where(np.abs(off) < 0.5, near, np.log(below) + below_low / below)
    high, low = lgamma_pair(np.clip(v, 20.0, 1e17))
    below, below_low = reflected(np.where(v < 20, 20.5, v))
    return np.where(v < 20, -near, -(high + (np.log(below) + low)))


def lgamma(a: Array) -> Array:
    """log |gamma(a)|: inf at 0 and at negative whole numbers, NaN at -inf."""
    high, low = lgamma_pair(np.clip(a, 2.5, 1e17))
    found = np.where(a < 1e17, high + low, a * (np.log(np.abs(a)) - 1))
    r = np.clip(a - 2, -0.5, 0.5)
    high, low = ended(LGAMMA_TWO, LGAMMA_TWO_LOW, 2 * r)
    found = np.where(a < 2.5, r * high + r * low, found)
    r = np.clip(a - 1, -0.5, 0.5)
    high, low = ended(LGAMMA_ONE, LGAMMA_ONE_LOW, 2 * r)
    found = np.where(a < 1.5, r * high + r * low, found)
    r = np.clip(a, -0.5, 0.5)
    one, one_low = reciprocal(r)
    high, low = pair_product(one, one_low, np.abs(r), 0 * r)
    found = np.where(a < 0.5, -(np.log(high) + low / high), found)
    if some(a < -0.5):
        found = np.where(a < -0.5, lgamma_left(-a), found)
    found = np.where((a <= 0) & (a == np.floor(a)), np.inf, found)
    return np.where(a < -1.7976931348623157e308, np.nan, found)


def some(mask: Array) -> bool:
    """Whether any element is true."""
    return bool(np.any(mask))


def digamma_near(x: Array, offset: float) -> Pair:
    """digamma(x + offset) as a pair, 1 <= x + offset <= 3, offset 0 or 1: a polynomial times the way from its zero."""
    way, way_low = two_sum(x, offset - DIGAMMA_ROOT[0])
    high, low = ended(DIGAMMA, DIGAMMA_LOW, x + (offset - 2))
    return pair_product(high, low, way, way_low - DIGAMMA_ROOT[1])


def digamma(a: Array) -> Array:
    """The derivative of lgamma: -inf at 0, NaN at negative whole numbers and at -inf."""
    x = np.abs(a)
    held = np.clip(x, 3.0, None)
    high, low = two_sum(np.log(held), polynomial(DIGAMMA_TAIL, 6 / held - 1) / held)
    middle, middle_low = digamma_near(np.clip(x, 1.0, 3.0), 0.0)
    small, small_low = digamma_near(np.clip(x, 0.0, 1.0), 1.0)
    one, one_low = pair_quotient(1 + 0 * x, 0 * x, x, 0 * x)
    one_low = np.where(np.abs(one_low) < one, one_low, 0.0)
    high, low = np.where(x < 3, middle, high), np.where(x < 3, middle_low, low)
    high, low = np.where(x < 1, small, high), np.where(x < 1, small_low, low)
    right, rest = two_sum(high, -one)
    right = np.where(x < 1, right + np.where(one < 1e300, rest + low - one_low, 0.0), joined(high, low))
    r = x - np.round(x)
    slope = np.where(np.abs(r) < 0.25, 1 / np.tan(PI[0] * r), np.sign(r) * np.tan(PI[0] * (0.5 - np.abs(r))))
    left = (high + PI[0] * slope) + (low + np.where(x < 1, 0.0, one))
    left = np.where(x == np.floor(x), np.nan, left)
    return np.where(a < 0, left, np.where(a == 0, -np.inf, right))


def settled(high: Array, low: Array) -> Pair:
    """high + low as a pair; a low part that is no finite number counts for nothing."""
    total = high + low
    rest = low - (total - high)
    if some(~(np.abs(rest) < np.inf)):
        low = np.where(np.abs(low) < np.inf, low, 0.0)
        total = high + low
        rest = low - (total - high)
        rest = np.where(np.abs(rest) < np.inf, rest, 0.0)
    return total, rest


def plus(a: Pair, b: Pair) -> Pair:
    """a + b."""
    high, lost = two_sum(a[0], b[0])
    low, rest = two_sum(a[1], b[1])
    high, low = settled(high, lost + low)
    return settled(high, low + rest)


def opposite(a: Pair) -> Pair:
    """-a."""
    return -a[0], -a[1]


def minus(a: Pair, b: Pair) -> Pair:
    """a - b."""
    return plus(a, opposite(b))


def times(a: Pair, b: Pair) -> Pair:
    """a b."""
    product, lost = two_product(a[0], b[0])
    return settled(product, lost + (a[0] * b[1] + a[1] * b[0]))


def over(a: Pair, b: Pair) -> Pair:
    """a / b."""
    ratio = a[0] / b[0]
    product, lost = two_product(ratio, b[0])
    return settled(ratio, ((a[0] - product) - lost + a[1] - ratio * b[1]) / b[0])


def power(a: Pair, count: int) -> Pair:
    """a ** count, count > 0."""
    found = a
    for _ in range(count - 1):
        found = times(found, a)
    return found


def size(a: Pair) -> Pair:
    """|a|, of a zero without a sign too."""
    return np.abs(a[0]), np.where(a[0] < 0, -a[1], a[1])


def root(a: Pair) -> Pair:
    """The square root."""
    found = np.sqrt(a[0])
    product, lost = two_product(found, found)
    return settled(found, ((a[0] - product) - lost + a[1]) / (2 * found))


def log_of(a: Pair) -> Pair:
    """The logarithm; beyond 2^960 and below 2^-960 to the digits of one number."""
    usual = (a[0] > 1e-289) & (a[0] < 1e289)
    held = np.where(usual, a[0], 1.0)
    high, low = log_pair(held)
    share, rest = pair_quotient(np.where(usual, a[1], 0.0), 0 * held, held, 0 * held)
    found, lost = two_sum(high, share)
    low = low + (lost + rest - share * share / 2)
    return settled(np.where(usual, found, np.log(a[0])), np.where(usual, low, 0.0))


def log1p_of(a: Pair) -> Pair:
    """log(1 + a)."""
    return log_of(plus((1.0, 0.0), a))


def exp_value(a: Pair) -> Array:
    """exp(a), rounded."""
    return exp_pair(a[0], a[1])


def expm1_value(a: Pair) -> Array:
    """exp(a) - 1, rounded."""
    grown = np.expm1(a[0])
    return joined(grown, a[1] * (grown + 1))


def exp_of(a: Pair) -> Pair:
    """exp(a) as a pair: one step of Newton's method from the logarithm; near the ends as one number."""
    near = np.exp(a[0])
    usual = (near > 1e-280) & (near < 1e289)
    high, low = log_pair(np.where(usual, near, 1.0))
    rest = np.where(usual, (a[0] - high) - low, 0.0) + a[1]
    return settled(near, near * rest)


def expm1_of(a: Pair) -> Pair:
    """exp(a) - 1 as a pair."""
    near = np.expm1(a[0])
    close = np.abs(a[0]) < 0.5
    held = np.where(close, near, 0.0)
    rest = plus(a, opposite(log_of(plus((1.0, 0.0), (held, 0 * held)))))
    high, low = settled(near, (1 + held) * rest[0])
    far, far_low = plus(exp_of(a), (-1.0, 0.0))
    return np.where(close, high, far), np.where(close, low, far_low)


def pow_of(a: Pair, b: Pair) -> Pair:
    """a ** b as a pair; near the ends as one number."""
    near = np.float_power(a[0], b[0])
    base, found = np.abs(a[0]), np.abs(near)
    usual = (base > 1e-280) & (base < 1e289) & (found > 1e-280) & (found < 1e289)
    base, found = np.where(usual, base, 1.0), np.where(usual, found, 1.0)
    high, low = times(b, log_of((base, np.where(usual, np.sign(a[0]) * a[1], 0.0))))
    log, log_low = log_pair(found)
    return settled(near, near * np.where(usual, (high - log) + (low - log_low), 0.0))


def value(a: Pair) -> Array:
    """A pair, rounded."""
    return a[0] + a[1]


def log1pmx(a: Array) -> Array:
    """log(1 + a) - a; near 0 with s = a / (2 + a) it is s (2 s^2 (1/3 + s^2/5 + ..) - a)."""
    near = np.clip(a, -0.6, 1.0)
    s, s_low = pair_quotient(near, 0 * near, *two_sum(near, 2.0))
    square = s * s
    high, low = two_sum(2 * square * polynomial(LOG1PMX, square * (2 / LOG1PMX_REACH) - 1), -near)
    return np.where(near == a, s * high + (s * low + s_low * high), np.where(a == np.inf, -a, np.log1p(a) - a))


def expm1mx(a: Array) -> Array:
    """exp(a) - 1 - a; near 0 it is a^2 (1/2 + a/6 + ..)."""
    near = np.clip(a, -1.0, 2.0)
    high, low = ended(EXPM1MX, EXPM1MX_LOW, (near - 0.5) / 1.5)
    square, rest = two_product(near, near)
    return np.where(near == a, square * high + (square * low + rest * high),
                    np.where(a == np.inf, a, np.expm1(a) - a))


def erfcx_rest(a: Array) -> Array:
    """1 / sqrt(pi) - a erfcx(a): right of 0 a polynomial in t = (a - 4) / (a + 4), over (a + 1)^2."""
    size = np.abs(a)
    x = np.clip(size, None, 1e15)
    above, above_low = two_sum(x, -4.0)
    below, below_low = two_sum(x, 4.0)
    t, t_low = pair_quotient(above, above_low, below, below_low)
    high, low = ended(ERFCX_REST, ERFCX_REST_LOW, t)
    below, below_low = two_sum(x, 1.0)
    below, below_low = pair_product(below, below_low, below, below_low)
    high, low = pair_quotient(high, low + t_low * tangent(ERFCX_REST, t), below, below_low)
    right = np.where(size > 1e15, ERFCX_REST_FAR / size / size, high + low)
    return np.where(a < 0, ROOT_PI_INVERSE + size * erfcx(np.clip(a, None, 0.0)), right)


def binet(a: Array) -> Array:
    """What Stirling's formula leaves of lgamma(a): from 1/2 on p(1 / a) / a, below it beside -(a + 1/2) log(a)."""
    x = np.clip(a, 0.5, None)
    high, low = ended(BINET, BINET_LOW, 1 / x - 1)
    found = high / x + low / x
    if some(a < 0.5):
        x = np.clip(a, 1e-300, 0.5)
        half, half_low = two_sum(x, 0.5)
        log, log_low = log_pair(x)
        high, low = pair_product(half, half_low, log, log_low)
        beside, beside_low = ended(BINET_SMALL, BINET_SMALL_LOW, 4 * x - 1)
        high, rest = two_sum(-high, beside)
        below = high + (rest + (beside_low - low))
        below = np.where(a < 1e-300, BINET_SMALL_AT_ZERO - 0.5 * np.log(np.clip(a, 0.0, None)), below)
        found = np.where(a < 0.5, below, found)
    return np.where(a < 0, np.nan, found)


def binet_gap(a: Array, b: Array) -> Array:
    """binet(a + b) - binet(a): from 1/2 on the divided difference of its polynomial, below it one step further up."""
    small = np.minimum(a, a + b) < 0.5
    x = np.where(small, 1 + a, a)
    t, z = 1 / (x + b) - 1, 1 / x - 1
    high, slope = 0 * t, 0 * t
    for coefficient in BINET_LONG:
        slope = slope * t + high
        high = high * z + coefficient
    value = high + (1 + t) * slope
    found = -(b / x) * (value / (x + b))
    y = np.where(small, a + b, 1.0)
    near = np.log1p(np.where(small & (np.abs(b) < a / 2), -b / y / (1 + a), 0.0))
    far = (np.log(np.where(small, a, 1.0)) - np.log(y)) + np.log1p(np.where(small, b / (1 + a), 0.0))
    step = b * np.log1p(1 / y) + (a + 0.5) * np.where(np.abs(b) < a / 2, near, far)
    found = np.where(small, found + step, found)
    apart = b > 8 + 8 * a
    return np.where(apart, binet(np.where(apart, a + b, 1.0)) - binet(a), found) if some(apart) else found


def lgamma1p(a: Array) -> Array:
    """log |gamma(1 + a)|."""
    s, low = two_sum(a, 1.0)
    found = lgamma(s) + np.where((a > 1) & (a < 1e15), low * np.log(np.clip(s, 1.0, None)), 0.0)
    r = np.clip(a - 1, -0.5, 0.5)
    high, low = ended(LGAMMA_TWO, LGAMMA_TWO_LOW, 2 * r)
    found = np.where((a > 0.5) & (a < 1.5), r * high + r * low, found)
    r = np.clip(a, -0.5, 0.5)
    high, low = ended(LGAMMA_ONE, LGAMMA_ONE_LOW, 2 * r)
    return np.where((a >= -0.5) & (a <= 0.5), r * high + r * low, found)


def binet_slope(a: Array) -> Array:
    """log(a) - digamma(a) - 1 / (2 a): from 1/2 on p(1 / a) / a^2, below it 1 / (2 a) + log(a) - digamma(1 + a)."""
    x = np.clip(a, 0.5, None)
    high, low = ended(BINET_SLOPE, BINET_SLOPE_LOW, 1 / x - 1)
    found = (high / x + low / x) / x
    if some(a < 0.5):
        x = np.clip(a, 1e-300, 0.5)
        high, low = pair_quotient(0.5 + 0 * x, 0 * x, x, 0 * x)
        beside, beside_low = ended(BINET_SLOPE_SMALL, BINET_SLOPE_SMALL_LOW, 4 * x - 1)
        high, one = two_sum(high, np.log(x))
        high, two = two_sum(high, beside)
        below = np.where(a < 1e-300, 0.5 / np.clip(a, 0.0, None), high + (one + two + (low + beside_low)))
        found = np.where(a < 0.5, below, found)
    return np.where(a < 0, np.nan, found)


FUNCTIONS = ("erf", "erfc", "erfcx", "gamma", "lgamma", "digamma", "log1pmx", "expm1mx", "binet", "binet_slope",
             "binet_gap", "lgamma1p", "erfcx_rest")
# What the operation `precise` is made of: operations on pairs, and those that end in a number.
PAIRED: dict[str, Callable[..., Pair]] = {
    "add": plus, "sub": minus, "mul": times, "div": over, "neg": opposite, "abs": size, "sqrt": root, "log": log_of,
    "log1p": log1p_of, "pow": power,
}
ENDED: dict[str, Callable[[Pair], Array]] = {"exp": exp_value, "expm1": expm1_value}
