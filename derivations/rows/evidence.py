"""Evidence and measurement for row formulas: balls at small rows, errors in ulp on rows that seek trouble."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from lossmith.derivations import balls, points, ulp
from lossmith.derivations.derivation import Evidence, Measurement
from lossmith.derivations.domains import Domain
from lossmith.derivations.evaluate import evaluate
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import FUNCTIONS, Term, leaves, name_of, walk
from lossmith.derivations.ulp import FORMATS

CLASSES = (1, 2, 3, 7)  # small rows: every rule's structure shows with three classes
ROWS = 8  # of each size, for evidence
MEASURED = ((1, 24), (2, 18), (5, 18), (40, 6))  # (classes, rows) for measuring
ORDINARY = (1, 8)  # the kinds of sample whose distributions are uniform: what a tiny share is put into
FEW = 3  # classes of such a row
CONDITIONED = 6  # values beyond the target whose conditioning is looked at
Drawn = tuple[dict[str, Any], list[float], int]  # a row, the truth there, the number of classes


def enclosed(before: Term, after: Term, arguments: Sequence[Argument]) -> Evidence:
    """Ball arithmetic on both sides at small random rows. Raises ArithmeticError where they differ."""
    count = 0
    for env in sample_rows(tuple(arguments)):
        if not (_known(before, env) and _known(after, env)):
            continue  # a removable singularity: balls say nothing there
        if not balls.overlaps(before, after, env):
            raise ArithmeticError(f"a step changed the value: {before} and {after} at {env}")
        count += 1
    return Evidence("enclosed", f"balls overlap at rows of {', '.join(map(str, CLASSES))} classes", count)


def _moved(values: list[float], place: int) -> list[int]:
    """Which elements of a row to move: the one at the class, the largest and the smallest."""
    return sorted({min(place, len(values) - 1), int(np.argmax(values)), int(np.argmin(values))})


def _known(term: Term, env: dict[str, Any]) -> bool:
    value = balls.enclose(term, env)
    return all(v.is_finite() for v in (value if isinstance(value, list) else [value]))


@cache
def sample_rows(arguments: tuple[Argument, ...]) -> tuple[dict[str, Any], ...]:
    """Finite rows inside the domains; nothing is assumed of their sums."""
    rng = random.Random(7)
    return tuple({a.name: _drawn(a, classes, rng) for a in arguments} for classes in CLASSES for _ in range(ROWS))


def _drawn(a: Argument, classes: int, rng: random.Random) -> Any:
    if a.role == "label":
        return rng.randrange(classes)
    if a.axis == "class":
        values = [_value(a.domain, rng) for _ in range(classes)]
        if a.domain.values and not any(values):  # a row of zeros has no distribution
            values[rng.randrange(classes)] = float(a.domain.values[-1])
        return values
    return _value(a.domain, rng)


def _value(domain: Domain, rng: random.Random) -> float:
    if domain.values:
        return float(rng.choice(domain.values))
    low, high = max(float(domain.low), -9.0), min(float(domain.high), 9.0)
    return rng.uniform(low + (high - low) / 64, high - (high - low) / 64)


def measure(form: Term, definition: Term, arguments: Sequence[Argument], dtype: str = "float32",
            target: float = 4.0) -> tuple[Measurement, Measurement]:
    """The worst error of a form against the truth of the definition, on rows that seek trouble: as it
    is, and divided by what the conditioning of the definition makes unavoidable."""
    fmt = FORMATS[dtype]
    worst: list[tuple[float, str]] = [(0.0, "")]
    lost: list[tuple[float, int, dict[str, Any], list[float]]] = []
    count = 0
    for env, expected, classes in _truths(definition, tuple(arguments), dtype):
        with np.errstate(all="ignore"):
            got = np.atleast_1d(np.asarray(evaluate(form, env, fmt, classes), dtype=np.float64))
        got, truth = np.broadcast_arrays(got, np.asarray(expected))
        errors = np.where(np.isnan(truth), 0.0, ulp.distance(got, truth, fmt))
        count += int((~np.isnan(truth)).sum())
        k = int(np.argmax(errors))
        worst.append((float(errors[k]), _words(env)))
        lost += [(float(errors[i]), int(i), env, expected) for i in np.nonzero(errors > target)[0]]
    lost.sort(key=lambda found: -found[0])
    left = (min(target, max(worst)[0]), "")
    fixed = frozenset(a.name for a in arguments if a.domain.values)  # no number lies beside these
    for error, place, env, expected in lost[:CONDITIONED]:
        left = max(left, (error / _condition(definition, env, expected, place, fmt, fixed), _words(env)))
        if left[0] > target:  # one value without an excuse is enough
            break
    return Measurement(dtype, *max(worst), count), Measurement(dtype, *left, count)


def _condition(definition: Term, env: dict[str, Any], expected: list[float], place: int, fmt: ulp.Format,
               fixed: frozenset[str]) -> float:
    """How many ulp one value moves, at most, when the numbers it reads move by half an ulp each."""
    total = 1.0
    if not np.isfinite(expected[place]):
        return total
    listed = {n: v.tolist() for n, v in env.items()}
    for name, values in listed.items():
        if isinstance(values, int) or name in fixed:
            continue
        for k in _moved(values, place) if isinstance(values, list) else [0]:
            worst = 0.0
            for sign in (-1, 1):
                moved = dict(listed)
                old = values[k] if isinstance(values, list) else values
                new = points.step(old, sign, fmt)
                moved[name] = [*values[:k], new, *values[k + 1:]] if isinstance(values, list) else new
                there = balls.truth(definition, moved, fmt)
                value = there[place] if isinstance(there, list) else there
                if np.isfinite(value):
                    worst = max(worst, float(ulp.distance(value, expected[place], fmt)) / 2)
            total += worst
    return total


@cache
def _truths(definition: Term, arguments: tuple[Argument, ...], dtype: str) -> tuple[Drawn, ...]:
    return tuple(_draw_truths(definition, arguments, dtype))


def _draw_truths(definition: Term, arguments: tuple[Argument, ...], dtype: str) -> Iterator[Drawn]:
    used = {name_of(t) for t in leaves(definition)}
    if not any(a.axis == "class" and a.name in used for a in arguments):
        return
    fmt = FORMATS[dtype]
    divisors = [t.args[1] for t in walk(definition)
                if t.op == "div" and t.args[1].sort == "scalar" and _is_algebraic(t.args[1])]
    for classes, sample in _samples(arguments, dtype):
        env = {name: value for name, value in sample.items() if name in used}
        if any((np.asarray(evaluate(d, env, fmt, classes)) == 0).any() for d in divisors):
            continue  # the definition has no value of its own there
        listed = {n: v.tolist() for n, v in env.items()}
        expected = balls.truth(definition, listed, fmt, arguments)
        yield env, (expected if isinstance(expected, list) else [expected]), classes


def _is_algebraic(t: Term) -> bool:
    """Whether a divisor reads a sum over the classes that rounds to zero only where it is zero."""
    nodes = walk(t)
    return any(n.op == "sum" for n in nodes) and not any(n.op in FUNCTIONS for n in nodes)


@cache
def _samples(arguments: tuple[Argument, ...], dtype: str) -> tuple[tuple[int, dict[str, Any]], ...]:
    """Rows that seek trouble, with their numbers of classes."""
    drawn = tuple(
        (classes, {a.name: _inside(a, env[a.name]) for a in arguments})
        for classes, count in MEASURED
        for env in points.row_samples(arguments, classes, count, 1, FORMATS[dtype], infinite=False)
    )
    return drawn + tuple((FEW, env) for env in tiny_shares(arguments, dtype))


@cache
def tiny_shares(arguments: tuple[Argument, ...], dtype: str) -> tuple[dict[str, Any], ...]:
    """Rows of three classes where one share of one argument is subnormal or nearly so, beside ordinary ones.

    Their sums miss one by less than any rounding. Empty where no argument holds such shares.
    """
    fmt = FORMATS[dtype]
    may = [a for a in arguments if a.axis == "class" and a.domain.low == 0 and not a.domain.values]
    samples = points.row_samples(arguments, FEW, max(ORDINARY) + 1, 2, fmt, infinite=False) if may else []
    return tuple(
        {**samples[k], a.name: np.array([*samples[k][a.name][:-1], 2.0**exponent])}
        for k in ORDINARY[:len(samples)]
        for a in may
        for exponent in (fmt.quantum, fmt.emin - fmt.precision // 2, fmt.emin + fmt.precision)
    )


def _inside(a: Argument, values: Any) -> Any:
    """Values mirrored into a domain that holds no positive number."""
    return -np.abs(values) if a.domain.high <= 0 else values


def _words(env: dict[str, Any]) -> str:
    parts = []
    for name, value in env.items():
        shown = np.atleast_1d(value)
        text = ", ".join(f"{v:.6g}" for v in shown[:4]) + (", .." if len(shown) > 4 else "")
        parts.append(f"{name} = {text}" if np.ndim(value) == 0 else f"{name} = [{text}]")
    return "; ".join(parts)
