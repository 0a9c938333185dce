"""Domains: what is known of an argument, which is what licenses a rewrite.

Written as a mathematician writes them: `real`, `extended` (with both infinities), `[0,1]`,
`(0,1)`, `(-inf,0)`, `[1,inf)`, `{0,1}`, `{-1,1}`, `nonzero`, `simplex` (a distribution over the
class axis), `weights` (non-negative over the class axis), `index`, or a number (fixed).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

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

    def holds(self, x: float) -> bool:
        """Whether the float x lies in the domain (NaN never does)."""
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


def _bound(b: Bound) -> str:
    return str(b)


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

_INTERVAL = re.compile(r"^([\[(])\s*([^,\s]+)\s*,\s*([^,\s]+)\s*([\])])$")


class DomainError(ValueError):
    """A domain that cannot be read, is empty, or contradicts itself."""


def interval(low: float | str | Fraction, high: float | str | Fraction, open_low: bool = False,
             open_high: bool = False) -> Domain:
    """The interval from low to high; closed at both ends unless said otherwise."""
    a, b = _number(str(low)), _number(str(high))
    if a > b or (a == b and (open_low or open_high)):
        raise DomainError(f"the interval from {low} to {high} is empty")
    return Domain(a, b, not open_low, not open_high)


def finite(*values: int | float | str | Fraction) -> Domain:
    """A finite set of values, as `{0, 1}`."""
    exact = tuple(sorted(Fraction(str(v)) for v in values))
    if not exact:
        raise DomainError("a set of values must not be empty")
    return Domain(exact[0], exact[-1], values=exact)


def _number(text: str) -> Bound:
    text = text.strip().lower()
    if text in ("inf", "+inf", "oo"):
        return INFINITY
    if text in ("-inf", "-oo"):
        return -INFINITY
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise DomainError(f"'{text}' is not a number") from None


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
    if text.startswith("{") and text.endswith("}"):
        try:
            return finite(*[v.strip() for v in text[1:-1].split(",")])
        except (ValueError, ZeroDivisionError):
            raise DomainError(f"'{text}' is not a set of numbers such as {{0, 1}}") from None
    try:
        value = _number(text)
    except DomainError:
        known = ", ".join([*NAMED_DOMAINS, *ALIASES, "[0,1]", "(0,inf)", "{0,1}", "a number"])
        raise DomainError(f"'{text}' is not a domain; write one of: {known}") from None
    if not isinstance(value, Fraction):
        raise DomainError("a fixed value must be finite")
    return Domain(value, value, values=(value,))
