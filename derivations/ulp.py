"""Floating-point formats: rounding to them, and distances in units in the last place."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Format:
    """A binary format: `precision` significant bits, the leading one counted; exponents emin..emax.

    The smallest normal number is 2**emin, the largest lies just below 2**(emax + 1). Every number
    of every format here is a float64, so values are carried as float64 and rounded to the format.
    """

    name: str
    precision: int
    emin: int
    emax: int

    @property
    def eps(self) -> float:
        """The distance from 1 to the next number: numpy's finfo(dtype).eps."""
        return math.ldexp(1.0, 1 - self.precision)

    @property
    def tiny(self) -> float:
        """The smallest normal number."""
        return math.ldexp(1.0, self.emin)

    @property
    def smallest(self) -> float:
        """The smallest positive number, a subnormal."""
        return math.ldexp(1.0, self.quantum)

    @property
    def largest(self) -> float:
        return math.ldexp(2.0 - self.eps, self.emax)

    @property
    def quantum(self) -> int:
        """The exponent of the smallest subnormal: every number is a multiple of 2**quantum."""
        return self.emin - self.precision + 1

    @property
    def bits(self) -> int:
        return 16 if self.precision <= 11 else 32 if self.precision == 24 else 64

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype. Raises ModuleNotFoundError for bfloat16 where ml_dtypes is absent."""
        if self.name != "bfloat16":
            return np.dtype(self.name)
        found: np.dtype[Any] = np.dtype(importlib.import_module("ml_dtypes").bfloat16)
        return found


FORMATS: dict[str, Format] = {
    "float16": Format("float16", 11, -14, 15),
    "bfloat16": Format("bfloat16", 8, -126, 127),
    "float32": Format("float32", 24, -126, 127),
    "float64": Format("float64", 53, -1022, 1023),
}


def round_scaled(mantissa: int, exponent: int, fmt: Format) -> float:
    """mantissa * 2**exponent rounded to the nearest number of the format, ties to even."""
    if mantissa == 0:
        return 0.0
    size = abs(mantissa)
    top = size.bit_length() - 1 + exponent
    if top > fmt.emax:
        return math.inf if mantissa > 0 else -math.inf
    unit = max(top - fmt.precision + 1, fmt.quantum)
    shift = unit - exponent
    if shift > 0:
        if shift > size.bit_length() + 1:
            return 0.0 if mantissa > 0 else -0.0
        half = 1 << (shift - 1)
        rest = size & ((half << 1) - 1)
        size >>= shift
        if rest > half or (rest == half and size & 1):
            size += 1
    else:
        size <<= -shift
    if size.bit_length() - 1 + unit > fmt.emax:
        return math.inf if mantissa > 0 else -math.inf
    return math.ldexp(size if mantissa > 0 else -size, unit)


def round_fraction(value: Fraction, fmt: Format) -> float:
    """The number of the format nearest to an exact rational, ties to even; overflow gives an infinity."""
    top, bottom = value.numerator, value.denominator
    if bottom & (bottom - 1) == 0:
        return round_scaled(top, 1 - bottom.bit_length(), fmt)
    # Enough quotient bits for a decision; a sticky bit stands for the rest.
    shift = max(0, bottom.bit_length() - abs(top).bit_length() + fmt.precision + 3)
    quotient, remainder = divmod(abs(top) << shift, bottom)
    sticky = (quotient << 1) | (remainder != 0)
    return round_scaled(sticky if top > 0 else -sticky, -shift - 1, fmt)


def round_array(values: npt.ArrayLike, fmt: Format) -> Doubles:
    """float64 values rounded once to the format, ties to even, kept as float64."""
    x = np.asarray(values, dtype=np.float64)
    if fmt.name == "float64":
        return x
    with np.errstate(all="ignore"):
        if fmt.name != "bfloat16":
            return x.astype(fmt.dtype).astype(np.float64)
        _, exponent = np.frexp(x)
        unit = np.maximum(exponent.astype(np.int64) - fmt.precision, fmt.quantum)
        rounded = np.ldexp(np.rint(np.ldexp(x, -unit)), unit)
        rounded = np.where(np.abs(rounded) > fmt.largest, np.copysign(np.inf, x), rounded)
        return np.where(np.isfinite(x), rounded, x)


def ulp_of(values: npt.ArrayLike, fmt: Format) -> Doubles:
    """The unit in the last place at each value: 2**(exponent - precision + 1), at least the smallest subnormal.

    At an infinity it is the unit of the largest number. Values are float64, of any format.
    """
    x = np.minimum(np.abs(np.asarray(values, dtype=np.float64)), fmt.largest)
    _, exponent = np.frexp(x)
    exponent = np.where(x == 0, fmt.quantum, np.maximum(exponent.astype(np.int64) - fmt.precision, fmt.quantum))
    return np.asarray(np.ldexp(1.0, exponent), dtype=np.float64)


def ordinals(values: npt.ArrayLike, fmt: Format) -> npt.NDArray[np.int64]:
    """Each number's place in the order of the format: 0 for both zeros, neighbours differ by one."""
    x = np.asarray(values, dtype=np.float64)
    size = np.abs(x)
    _, exponent = np.frexp(np.where(np.isfinite(size), size, 0.0))
    unit = np.where(size == 0, fmt.quantum, np.maximum(exponent.astype(np.int64) - fmt.precision, fmt.quantum))
    steps = np.ldexp(np.where(np.isfinite(size), size, 0.0), -unit).astype(np.int64)
    place = steps + (unit - fmt.quantum) * np.int64(1 << (fmt.precision - 1))
    over = np.int64(fmt.emax - fmt.emin + 2) << np.int64(fmt.precision - 1)
    place = np.where(np.isinf(size), over, place)
    return np.asarray(np.where(np.signbit(x), -place, place), dtype=np.int64)


def numbers(places: npt.ArrayLike, fmt: Format) -> Doubles:
    """The inverse of `ordinals`; infinite beyond the largest number."""
    place = np.asarray(places, dtype=np.int64)
    size, per = np.abs(place), np.int64(1 << (fmt.precision - 1))
    block = np.maximum(size // per - 1, 0)
    with np.errstate(over="ignore"):
        value = np.ldexp((size - block * per).astype(np.float64), block + fmt.quantum)
    value = np.where(block > fmt.emax - fmt.emin, np.inf, value)
    return np.asarray(np.where(place < 0, -value, value), dtype=np.float64)


def distance(got: npt.ArrayLike, truth: npt.ArrayLike, fmt: Format) -> Doubles:
    """How many numbers of the format lie between `got` and `truth`, as float64; both already of the format.

    0 for equal numbers (both zeros are equal), equal infinities, and NaN against NaN; infinite
    where just one of them is NaN or infinite, or the infinities differ in sign.
    """
    a, b = np.broadcast_arrays(np.asarray(got, dtype=np.float64), np.asarray(truth, dtype=np.float64))
    one, other = ordinals(a, fmt), ordinals(b, fmt)
    alike = np.signbit(a) == np.signbit(b)
    with np.errstate(all="ignore"):
        apart = np.where(
            alike, np.abs(one - other).astype(np.float64),
            np.abs(one).astype(np.float64) + np.abs(other).astype(np.float64),
        )
    plain = np.isfinite(a) & np.isfinite(b)
    same = (np.isnan(a) & np.isnan(b)) | (a == b)
    return np.asarray(np.where(same, 0.0, np.where(plain, apart, np.inf)), dtype=np.float64)


def split(value: Fraction) -> tuple[float, float]:
    """An exact rational as an unevaluated sum of two float64, high and low."""
    double = FORMATS["float64"]
    high = round_fraction(value, double)
    return (high, 0.0) if math.isinf(high) else (high, round_fraction(value - Fraction(high), double))


def error(got: npt.ArrayLike, truth: Sequence[Fraction | float] | tuple[Array, Array], fmt: Format) -> Doubles:
    """|got - truth| / ulp(truth), a real number, so that 0.501 ulp can be told from 0.5.

    `truth`: a pair (high, low) of float64 arrays whose sum is the exact value to some 100 bits,
    or a flat sequence of Fractions (floats for NaN and infinities). Rules for NaN and infinities
    are those of `distance`, but for an infinity where truth is finite: it counts as the power of
    two beyond the largest number, so that it is one ulp from that, and right where truth rounds to it.
    """
    if isinstance(truth, tuple) and len(truth) == 2 and isinstance(truth[0], np.ndarray):
        high, low = (np.asarray(part, dtype=np.float64) for part in truth)
    else:
        pairs = [split(t) if isinstance(t, Fraction) else (float(t), 0.0) for t in truth]
        high = np.array([p[0] for p in pairs], dtype=np.float64)
        low = np.array([p[1] for p in pairs], dtype=np.float64)
    a, high, low = np.broadcast_arrays(np.asarray(got, dtype=np.float64), high, low)
    unit = ulp_of(high, fmt)
    with np.errstate(all="ignore"):
        # Scaled before subtracting, so that neither underflow nor overflow can spoil the difference.
        beyond = np.copysign(ulp_of(fmt.largest, fmt) / unit * 2.0**fmt.precision, a)  # where an infinity begins
        scaled = np.where(np.isinf(a), beyond, a / unit)
        apart = np.abs((scaled - high / unit) - low / unit)
    nearest = round_array(high, fmt)
    same = (np.isnan(a) & np.isnan(high)) | (np.isinf(a) & (a == nearest))
    plain = ~np.isnan(a) & np.isfinite(high)
    return np.asarray(np.where(same, 0.0, np.where(plain, apart, np.inf)), dtype=np.float64)
