"""Domains: what is known of an argument, which is what licenses a rewrite.

Written as a mathematician writes them: `real`, `extended` (with both infinities), `[0,1]`,
`(0,1)`, `(-inf,0)`, `[1,inf)`, `{0,1}`, `{-1,1}`, `nonzero`, `simplex` (a distribution over the
class axis), `weights` (non-negative over the class axis), `index`, or a number (fixed).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Doubles = npt.NDArray[np.float64]
    Truths = npt.NDArray[np.bool_]

INFINITY = float("inf")
Bound = Fraction | float


@dataclass(frozen=True)
class Domain:
    """A set of numbers: an interval (open or closed at each end) or a finite set of values.

    `unit_sum`: the values of one row sum to one. `nonzero`: zero is left out.
    """

    low: Bound
    high: Bound
    low_closed: bool = True
    high_closed: bool = True
    values: tuple[Fraction, ...] = ()
    unit_sum: bool = False
    nonzero: bool = False
    index: bool = False

    def holds(self, x: float | Fraction) -> bool:
        """Whether x lies in the domain (NaN never does)."""
        if self.values:
            return any(x == v for v in self.values)
        if self.nonzero and x == 0:
            return False
        above = self.low <= x if self.low_closed else self.low < x
        below = x <= self.high if self.high_closed else x < self.high
        return above and below

    @property
    def sign(self) -> int | None:
        """1 if every value is >= 0, -1 if every value is <= 0, None if neither is known."""
        if self.low >= 0:
            return 1
        return -1 if self.high <= 0 else None

    def __str__(self) -> str:
        for name, domain in NAMED_DOMAINS.items():
            if domain == self:
                return name
        if self.values:
            return "{" + ", ".join(str(v) for v in self.values) + "}"
        return (
            ("[" if self.low_closed else "(") + f"{_bound(self.low)}, {_bound(self.high)}"
            + ("]" if self.high_closed else ")")
        )


def inside(domain: Domain, values: Doubles) -> Truths:
    """Which of the numbers are finite and in the domain: a mask of the array's shape."""
    import numpy  # where domains are only read, NumPy is not loaded

    if domain.values:
        exact = [float(v) for v in domain.values if Fraction(float(v)) == v]
        return numpy.asarray(numpy.isin(values, exact), dtype=bool)
    low, high = _ends(domain)
    held = numpy.isfinite(values) & (values >= low) & (values <= high)
    return numpy.asarray(held & (values != 0) if domain.nonzero else held, dtype=bool)


@cache
def _ends(domain: Domain) -> tuple[float, float]:
    """The least and the largest float64 in an interval, which may have none of its ends."""
    low, high = float(domain.low), float(domain.high)
    if math.isfinite(low) and (Fraction(low) < domain.low or (low == domain.low and not domain.low_closed)):
        low = math.nextafter(low, math.inf)
    if math.isfinite(high) and (Fraction(high) > domain.high or (high == domain.high and not domain.high_closed)):
        high = math.nextafter(high, -math.inf)
    return low, high


def _bound(b: Bound) -> str:
    return scientific(b) or str(b)


def scientific(value: Bound) -> str:
    """A number of many digits as a person writes it, exactly: 1e300, 2.5e-79; empty for short ones, and no decimals."""
    if not isinstance(value, Fraction) or len(str(value)) <= 20:
        return ""
    whole, places = value.numerator, 0
    if value.denominator > 1:
        places = next((k for k in range(1, 1200) if 10**k % value.denominator == 0), 0)
        if not places:
            return ""
        whole *= 10**places // value.denominator
    digits = str(abs(whole)).rstrip("0")
    if len(digits) > 20:
        return ""
    point = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{'-' if whole < 0 else ''}{digits[0]}{point}e{len(str(abs(whole))) - 1 - places}"


REAL = Domain(-INFINITY, INFINITY, False, False)
EXTENDED = Domain(-INFINITY, INFINITY, True, True)
NONZERO = Domain(-INFINITY, INFINITY, False, False, nonzero=True)
POSITIVE = Domain(Fraction(0), INFINITY, False, False)
NONNEGATIVE = Domain(Fraction(0), INFINITY, True, False)
PROBABILITY = Domain(Fraction(0), Fraction(1))
SIMPLEX = Domain(Fraction(0), Fraction(1), unit_sum=True)
INDEX = Domain(Fraction(0), INFINITY, True, False, index=True)
NAMED_DOMAINS = {
    "real": REAL, "extended": EXTENDED, "nonzero": NONZERO, "simplex": SIMPLEX, "index": INDEX,
}
ALIASES = {"positive": POSITIVE, "nonnegative": NONNEGATIVE, "weights": NONNEGATIVE, "probability": PROBABILITY}

_NUMBER = re.compile(r"^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?$|^[+-]?\d+/\d+$")
_INTERVAL = re.compile(r"^([\[(])\s*([^,\s]+)\s*,\s*([^,\s]+)\s*([\])])$")


class DomainError(ValueError):
    """A domain that cannot be read, is empty, or contradicts itself."""


def interval(low: float | str | Fraction, high: float | str | Fraction, open_low: bool = False,
             open_high: bool = False) -> Domain:
    """The interval from low to high; closed at both ends unless said otherwise."""
    a, b = _number(str(low)), _number(str(high))
    if a > b or (a == b and (open_low or open_high)):
        raise DomainError(f"the interval from {low} to {high} is empty")
    if isinstance(a, Fraction) and isinstance(b, Fraction) and not _holds_a_float(a, b, open_low, open_high):
        raise DomainError(f"no floating-point number lies between {low} and {high}")
    return Domain(a, b, not open_low, not open_high)


def _holds_a_float(low: Fraction, high: Fraction, open_low: bool, open_high: bool) -> bool:
    first, last = float(low), float(high)
    if first < low or (open_low and first == low):
        first = math.nextafter(first, INFINITY)
    return first < high or (first == high and not open_high and last == high)


def finite(*values: int | float | str | Fraction) -> Domain:
    """A finite set of values, as `{0, 1}`."""
    read = {_number(str(v)) for v in values}
    exact = tuple(sorted(v for v in read if isinstance(v, Fraction)))
    if not exact or len(exact) < len(read):
        raise DomainError("a set of values must not be empty, and its values are finite")
    return Domain(exact[0], exact[-1], values=exact)


def _number(text: str) -> Bound:
    text = text.strip().lower().replace("np.inf", "inf").replace("math.inf", "inf")
    if text in ("inf", "+inf", "oo", "infinity"):
        return INFINITY
    if text in ("-inf", "-oo", "-infinity"):
        return -INFINITY
    shown = _shown(text)
    # Told apart by their look: a huge exponent would take for ever to read.
    if len(text) > 80 or not _NUMBER.match(text):
        raise DomainError(f"'{shown}' is not a number")
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise DomainError(f"'{shown}' is not a number") from None
    if abs(value) >= 2**1024:
        raise DomainError(f"'{shown}' is beyond every format: write inf")
    return value


def parse_domain(text: str) -> Domain:
    """Read a domain from text. Raises DomainError, one line, on anything else."""
    text = text.strip()
    if len(text) > 200:
        raise DomainError("a domain is at most 200 characters")
    for names in (NAMED_DOMAINS, ALIASES):
        if text in names:
            return names[text]
    found = _INTERVAL.match(text)
    if found:
        left, low, high, right = found.groups()
        domain = interval(low, high, left == "(", right == ")")
        return domain
    beside = re.match(r"^(<=|>=|!=|<|>)\s*(\S+)$", text)
    if beside:
        return _beside(beside[1], beside[2])
    if text.startswith("{") and text.endswith("}"):
        if not text[1:-1].strip():
            raise DomainError("a set of values must not be empty")
        try:
            return finite(*[v.strip() for v in text[1:-1].split(",")])
        except DomainError:
            raise DomainError(f"'{_shown(text)}' is not a set of numbers such as {{0, 1}}") from None
    try:
        value = _number(text)
    except DomainError:
        known = ", ".join([*NAMED_DOMAINS, *ALIASES, "[0,1]", "(0,inf)", "{0,1}", "a number"])
        raise DomainError(f"'{_shown(text)}' is not a domain; write one of: {known}") from None
    if not isinstance(value, Fraction):
        raise DomainError("a fixed value must be finite")
    return Domain(value, value, values=(value,))


def _beside(comparison: str, text: str) -> Domain:
    """`> 0`, `<= 1`, `!= 0`: the numbers on one side of a number."""
    if comparison == "!=":
        if _number(text) != 0:
            raise DomainError("only 0 can be left out: write != 0, or a relation")
        return NONZERO
    if comparison in ("<", "<="):
        return interval("-inf", text, open_low=True, open_high=comparison == "<")
    return interval(text, "inf", open_low=comparison == ">", open_high=True)


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:60])
