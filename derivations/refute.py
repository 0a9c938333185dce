"""Counterexamples of rules: both sides in ball arithmetic at points that cover the whole side condition.

Points of several kinds take part: combinations of a few small numbers, a grid of these with the
rule's own constants and their nearest neighbours (edges, zeros, ties), ordinary numbers of either
sign, tiny and huge ones, pairs that are nearly equal, and infinities. A rule must hold wherever
its left side has a value.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction

from lossmith.derivations import balls
from lossmith.derivations.match import CONSTANTS, build, names
from lossmith.derivations.rules import Rule
from lossmith.derivations.terms import ONE, ZERO, Term, is_const, name_of, number, walk
from lossmith.derivations.ulp import FORMATS

Point = dict[str, float]
SMALL = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, 0.25)
RATIONALS = (1.0, 2.0, 3.0, 0.5, -1.0, -2.0, 1.5, -0.5)  # what the letters n, m and k may stand for
BESIDE = 2.0**-30  # a constant is tried together with this much less and more
GRID, DRAWS = 600, 60  # the most points of the grid that are looked at; draws a wanted point
WANTED: Mapping[str, int] = {"small": 150, "grid": 90, "ordinary": 60, "wide": 30, "near": 24, "infinite": 6}


def counterexample(rule: Rule) -> tuple[Point | None, int]:
    """A point where the condition holds and the two sides differ, or None; and how many points were compared."""
    pattern, replacement = numeric(rule.pattern), numeric(rule.replacement)
    used = 0
    for kind, wanted in WANTED.items():
        compared = 0
        for env in _KINDS[kind](rule):
            if not all(holds(c, env) for c in rule.conditions):
                continue
            verdict = _agree(pattern, replacement, env)
            if verdict is False:
                return env, used + compared + 1
            compared += verdict is not None
            if compared >= wanted:
                break
        used += compared
    return None, used


def _agree(pattern: Term, replacement: Term, env: Point) -> bool | None:
    """Whether both sides are equal at a point; None where the left side has no value there."""
    left = value(pattern, env)
    if math.isnan(left):
        return None
    if not all(math.isfinite(v) for v in env.values()):
        return balls.close(left, value(replacement, env))
    return not math.isnan(value(replacement, env)) and balls.overlaps(pattern, replacement, env)


def numeric(term: Term) -> Term:
    """A truth value as 1 or 0, so that balls can compare it."""
    return build("where", term, ONE, ZERO) if term.sort == "truth" else term


def value(term: Term, env: Mapping[str, float]) -> float:
    """The correctly rounded value of a scalar term at a point."""
    found = balls.truth(term, env, FORMATS["float64"])
    assert isinstance(found, float)
    return found


def orders(op: str, a: float | Fraction, b: float | Fraction) -> bool:
    """Whether `a op b` holds."""
    return bool({"gt": a > b, "ge": a >= b, "lt": a < b, "le": a <= b, "eq": a == b, "ne": a != b}[op])


def holds(condition: Term, env: Mapping[str, float]) -> bool:
    """Whether a comparison holds at a point; False where a side has no value. Exact for leaves."""
    sides = []
    for t in condition.args:
        side = number(t) if is_const(t) else env[name_of(t)] if t.op == "var" else value(t, env)
        if isinstance(side, float):
            if math.isnan(side):
                return False
            side = Fraction(side) if math.isfinite(side) else side
        sides.append(side)
    return orders(condition.op, *sides)


def _free(rule: Rule) -> list[str]:
    return sorted(names(rule.pattern))


def _spots(rule: Rule) -> list[float]:
    """Small numbers, and the numbers that the rule itself names, each with its neighbours."""
    named = {float(number(t)) for t in walk(rule.pattern, rule.replacement, *rule.conditions) if is_const(t)}
    beside = {c + d for c in named | {0.0} for d in (-BESIDE, BESIDE)}
    return [*SMALL, *sorted((named | {-c for c in named} | beside) - set(SMALL))]


def _grid(rule: Rule) -> Iterator[Point]:
    """Every combination of spots where they are few; else drawn ones, the small numbers first."""
    free, spots = _free(rule), _spots(rule)
    choices = [RATIONALS if name in CONSTANTS else spots for name in free]
    if math.prod(len(c) for c in choices) <= GRID:
        for picked in itertools.product(*choices):
            yield dict(zip(free, picked, strict=True))
        return
    rng = random.Random(3)
    for i in range(GRID):
        few = [c if i % 2 or name in CONSTANTS else SMALL[:7] for name, c in zip(free, choices, strict=True)]
        yield {name: rng.choice(c) for name, c in zip(free, few, strict=True)}


def _small(rule: Rule) -> Iterator[Point]:
    """Every combination of a few small numbers, where they are few: what is wrong at one of them only shows."""
    choices = [RATIONALS if name in CONSTANTS else SMALL[:5] for name in _free(rule)]
    if math.prod(len(c) for c in choices) <= GRID:
        for picked in itertools.product(*choices):
            yield dict(zip(_free(rule), picked, strict=True))


def _drawn(size: Callable[[random.Random], float], seed: int, count: int) -> Callable[[Rule], Iterator[Point]]:
    def draw(rule: Rule) -> Iterator[Point]:
        rng = random.Random(seed)
        for _ in range(count * DRAWS):
            yield _inside(rule, {
                name: rng.choice(RATIONALS) if name in CONSTANTS else rng.choice((-1, 1)) * size(rng)
                for name in _free(rule)
            }, rng)

    return draw


def _inside(rule: Rule, env: Point, rng: random.Random) -> Point:
    """The point moved to where the condition holds, as far as it compares variables with numbers and each other."""
    for name in env:
        low, high = bounds(rule, name)
        if low is not None and high is not None:
            if not low <= env[name] <= high:
                env[name] = float(low) + float(high - low) * rng.random()
        elif low is not None and env[name] < low:
            env[name] = float(low) + abs(env[name] - float(low))
        elif high is not None and env[name] > high:
            env[name] = float(high) - abs(env[name] - float(high))
    for c in rule.conditions:
        if all(t.op == "var" for t in c.args) and not holds(c, env):
            a, b = (name_of(t) for t in c.args)
            env[a], env[b] = (env[b], env[a]) if c.op != "eq" else (env[b], env[b])
    return env


def bounds(rule: Rule, name: str) -> tuple[Fraction | None, Fraction | None]:
    """The numbers between which the condition holds a variable; None for an open side."""
    low: Fraction | None = None
    high: Fraction | None = None
    for c in rule.conditions:
        a, b = c.args
        if a.op == "var" and name_of(a) == name and is_const(b):
            if c.op in ("gt", "ge"):
                low = number(b) if low is None else max(low, number(b))
            elif c.op in ("lt", "le"):
                high = number(b) if high is None else min(high, number(b))
    return low, high


def _ordinary(rng: random.Random) -> float:
    return rng.random() * 2.0 ** rng.randint(-6, 4) if rng.random() < 0.7 else rng.random()


def _wide(rng: random.Random) -> float:
    return (1 + rng.random()) * 2.0 ** rng.randint(-40, 9)


def _near_pairs(rule: Rule) -> Iterator[Point]:
    """Points at which two variables are equal, opposite, or nearly so."""
    rng = random.Random(11)
    free = [name for name in _free(rule) if name not in CONSTANTS]
    if len(free) < 2:
        return
    for env in _drawn(_ordinary, 13, WANTED["near"])(rule):
        a, b = rng.sample(free, 2)
        env[b] = env[a] * rng.choice((1.0, 1.0, -1.0, 1 + 2.0**-20, 1 - 2.0**-20, 1 + 2.0**-40))
        yield env


def _infinite(rule: Rule) -> Iterator[Point]:
    """Points at which one variable is infinite."""
    free = [name for name in _free(rule) if name not in CONSTANTS]
    ordinary = _drawn(_ordinary, 17, WANTED["infinite"])(rule)
    for i, env in zip(range(4 * len(free)), ordinary, strict=False):
        env[free[i % len(free)]] = math.inf if i // len(free) % 2 == 0 else -math.inf
        yield env


_KINDS: Mapping[str, Callable[[Rule], Iterator[Point]]] = {
    "small": _small,
    "grid": _grid,
    "ordinary": _drawn(_ordinary, 5, WANTED["ordinary"]),
    "wide": _drawn(_wide, 7, WANTED["wide"]),
    "near": _near_pairs,
    "infinite": _infinite,
}

__all__ = ["bounds", "counterexample", "holds", "numeric", "orders", "value"]
