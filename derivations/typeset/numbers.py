"""Numbers as a person writes them: exact rationals, error figures, counts."""

from __future__ import annotations

import math
import re
from fractions import Fraction


def decimal(value: Fraction) -> str | None:
    """A short exact decimal for tenths, hundredths and so on (`0.01`); None where a fraction is plainer."""
    if value.denominator < 10:
        return None
    for digits in range(1, 10):
        scaled = value * 10**digits
        if scaled.denominator == 1:
            return f"{float(value):.{digits}f}" if abs(value) < 10**6 else None
    return None


def power_of_two(value: Fraction) -> int | None:
    """The exponent of a value that is a power of two far from 1, else None."""
    top, bottom = abs(value.numerator), value.denominator
    if bottom == 1 and top >= 2**20 and top & (top - 1) == 0:
        return top.bit_length() - 1
    if top == 1 and bottom >= 2**10 and bottom & (bottom - 1) == 0:
        return 1 - bottom.bit_length()
    return None


def long_float(value: Fraction) -> str | None:
    """The shortest digits of a double, for a value that has no short exact form; else None."""
    if len(str(value)) <= 12:
        return None
    try:
        near = float(value)
    except OverflowError:
        return None
    return repr(near) if near != 0 else None


def ulps(value: float) -> str:
    """An error in ulp: two digits where it is small, a power of two where it is beyond counting."""
    if math.isnan(value) or math.isinf(value):
        return str(value)
    if value >= 2**14:
        return f"2^{round(math.log2(value))}"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 10 else f"{value:.2g}"


def shortened(where: str, digits: int = 4) -> str:
    """A point with its long numbers rounded to so many digits, but for those that would become 0, 1 or 2."""
    pattern = r"(?<![\w.])-?\d+\.\d+(e[+-]?\d+)?|(?<![\w.])-?\d+e[+-]?\d+"
    return re.sub(pattern, lambda found: _rounded(found.group(), digits), where)


def _rounded(exact: str, digits: int) -> str:
    short = f"{float(exact):.{digits}g}".replace("e+", "e")
    whole = float(short).is_integer() and abs(float(short)) <= 2 and float(short) != float(exact)
    return exact if whole or len(short) > len(exact) else short
