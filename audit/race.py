"""Timing several functions side by side: interleaved, shuffled each round, medians, and ratios within a round.

What runs beside this process slows all contenders alike: a ratio of two times of one round says more than either.
Each is called once before its clock starts, and then several times: it finds in the caches what it left there itself,
not what the contender before it left, which a buffer from the allocator would pass on to some of them only.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

SHORTEST = 2e-2  # seconds that one measurement takes at least
CLOCKS: Mapping[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Timing:
    """One contender: its median in seconds, the median of the reference's time over its own in the same round, and
    its seconds in every round."""

    seconds: float
    ratio: float
    each: tuple[float, ...]

    @property
    def rounds(self) -> int:
        return len(self.each)


def race(runners: Mapping[str, Callable[[], object]], reference: str, seconds: float = 2.0, clock: str = "wall",
         least: int = 5, rest: float = 0.0) -> dict[str, Timing]:
    """Every runner in every round, in another order each time, until `seconds` are over; at least `least` rounds.

    rest: seconds of sleep before each, in which the threads of the one before stop waiting for more work: they
    would take a core from the next.
    """
    now = CLOCKS[clock]
    repeats = {name: _repeats(run, now) for name, run in runners.items()}
    found: dict[str, list[float]] = {name: [] for name in runners}
    order, shuffle = list(runners), random.Random(0).shuffle
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found[reference]) < least:
        shuffle(order)
        for name in order:
            if rest:
                time.sleep(rest)
            found[name].append(_once(runners[name], repeats[name], now))
    base = found[reference]
    return {name: Timing(statistics.median(times), statistics.median(b / max(t, 1e-12) for t, b in zip(times, base)),
                         tuple(times)) for name, times in found.items()}


def _repeats(run: Callable[[], object], now: Callable[[], float]) -> int:
    """How often a runner is called for one measurement."""
    taken = _once(run, 1, now)
    return max(1, min(10_000, round(SHORTEST / max(taken, 1e-7))))


def _once(run: Callable[[], object], repeats: int, now: Callable[[], float]) -> float:
    run()
    started = now()
    for _ in range(repeats):
        run()
    return (now() - started) / repeats
