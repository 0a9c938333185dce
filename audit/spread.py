"""How errors are spread: counts in narrow bins, so that two sweeps add up and quantiles can be read off."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lossmith.derivations.ulp import Doubles

PER_OCTAVE, LOWEST = 8, -6  # bins to a factor of two; all below 2**LOWEST ulp is one bin
HIGHEST = 70  # and all from 2**HIGHEST on, with what is wrong in kind, another
LAST = (HIGHEST - LOWEST) * PER_OCTAVE + 1
MARKS = (1.0, 4.0, 16.0, 1000.0)  # errors beyond these are reported as shares


@dataclass(frozen=True)
class Spread:
    """Errors in ulp by bin, with the largest absolute and relative error.

    counts: from bin to how many; bin 0 is below 2**-6 ulp, the last one holds what is wrong in kind.
    """

    counts: Mapping[int, int] = field(default_factory=dict)
    absolute: float = 0.0
    relative: float = 0.0

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def __add__(self, other: Spread) -> Spread:
        both = {b: self.counts.get(b, 0) + other.counts.get(b, 0) for b in sorted({*self.counts, *other.counts})}
        return Spread(both, max(self.absolute, other.absolute), max(self.relative, other.relative))

    def quantile(self, share: float) -> float:
        """An error that `share` of all values do not exceed, from above to within a bin (9 percent)."""
        wanted, seen = math.ceil(share * self.total), 0
        for b in sorted(self.counts):
            seen += self.counts[b]
            if seen >= wanted:
                return upper(b)
        return 0.0

    def over(self, ulp: float) -> float:
        """The share of values whose error exceeds a power of two (or a bin's edge) in ulp."""
        first = 1 + math.ceil((math.log2(ulp) - LOWEST) * PER_OCTAVE)
        return sum(n for b, n in self.counts.items() if b >= first) / max(1, self.total)

    def to_json(self) -> dict[str, Any]:
        """Plain data: the figures that reports print, and the counts by upper edge."""
        return {
            "median": self.quantile(0.5), "p99.9": self.quantile(0.999), "max absolute": self.absolute,
            "max relative": self.relative, "over": {f"{m:g}": self.over(m) for m in MARKS},
            "histogram": [[upper(b), n] for b, n in sorted(self.counts.items())],
        }


def upper(place: int) -> float:
    """The upper edge of a bin."""
    return math.inf if place >= LAST else 2.0 ** (LOWEST + place / PER_OCTAVE)


def spread_of(ulps: Doubles, got: Doubles, truth: Doubles) -> Spread:
    """The spread of errors in ulp of values against their truth; NaN and infinite errors count as the worst."""
    with np.errstate(all="ignore"):
        places = np.ceil((np.log2(ulps) - LOWEST) * PER_OCTAVE)
        difference = np.abs(got - truth)
        relative = difference / np.abs(truth)
    places = np.where(ulps > 0, np.clip(places, 0, LAST - 1), 0)
    places = np.where(np.isfinite(ulps), places, LAST).astype(np.int64)
    found, counts = np.unique(places, return_counts=True)
    known = np.isfinite(difference)
    return Spread(dict(zip(found.tolist(), counts.tolist(), strict=True)),
                  float(np.max(difference, where=known, initial=0.0)),
                  float(np.max(relative, where=known & np.isfinite(relative), initial=0.0)))
