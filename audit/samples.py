"""What a subject is measured on: points of an elementwise loss, rows of a row loss, by group.

A group is measured and reported by itself: `hard` labels carry the strict promise, `soft` ones may
be near a root of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lossmith.audit import specials
from lossmith.audit.subject import Subject
from lossmith.derivations.domains import Domain
from lossmith.derivations.loss import Argument
from lossmith.derivations.points import is_weights, row_samples, scalar_points
from lossmith.derivations.relations import holds
from lossmith.derivations.ulp import Array, Format, round_array

HARD, SOFT = "hard", "soft"


@dataclass(frozen=True)
class Batch:
    """Inputs measured together: arrays of shape (n,) or, for rows, (n, classes); parameters one number each.

    Arrays hold numbers of the format as float64; labels are int64.
    """

    group: str
    arrays: Mapping[str, Array]
    parameters: Mapping[str, float]
    classes: int | None = None

    @property
    def count(self) -> int:
        return len(next(iter(self.arrays.values())))

    def point(self, i: int) -> dict[str, Any]:
        """One example as `balls.truth` takes it."""
        return {name: a[i] for name, a in self.arrays.items()} | dict(self.parameters)


def is_soft(argument: Argument) -> bool:
    """A target that may lie between its extremes: an interval that ends above, a distribution or its
    logarithm, weights."""
    domain = argument.domain
    return argument.role == "target" and (math.isfinite(domain.high) or is_weights(domain)) and not domain.values


def _groups(subject: Subject, arrays: Mapping[str, Array]) -> Array:
    """Whether each point is soft: some target is strictly inside its domain."""
    count = len(next(iter(arrays.values())))
    soft = np.zeros(count, dtype=bool)
    for a in subject.given:
        if is_soft(a):
            values = arrays[a.name]
            high = 1.0 if is_weights(a.domain) else float(a.domain.high)
            inside = (values != float(a.domain.low)) & (values != high)
            soft |= inside.any(axis=-1) if values.ndim > 1 else inside
    return soft


def split(subject: Subject, arrays: Mapping[str, Array], parameters: Mapping[str, float],
          classes: int | None = None) -> list[Batch]:
    """Arrays as batches, hard labels and soft ones apart."""
    soft = _groups(subject, arrays)
    batches = []
    for name, chosen in ((HARD, ~soft), (SOFT, soft)):
        if chosen.any():
            batches.append(Batch(name, {k: v[chosen] for k, v in arrays.items()}, parameters, classes))
    return batches


def elementwise_batches(subject: Subject, fmt: Format, count: int = 2000, seed: int = 0) -> list[Batch]:
    """Every special value against every target of note, `count` points of `scalar_points`, some of those with two
    arguments at one value, some with one beside a threshold of the formula."""
    relations = subject.unit.given
    drawn = scalar_points(subject.given, count, seed, fmt, given=relations)
    fixed = specials.crossed(subject.given, fmt)
    ties = specials.tied(subject.given, drawn)
    turns = specials.turning(subject.given, drawn, spots_of(subject, fmt), fmt)
    if relations:
        fixed, ties, turns = ({name: column[kept] for name, column in some.items()}
                              for some, kept in ((some, holds(relations, some)) for some in (fixed, ties, turns)))
    arrays = {name: np.concatenate([some[name] for some in (fixed, drawn, ties, turns)]) for name in drawn}
    return split(subject, arrays, subject.parameters(fmt))


def spots_of(subject: Subject, fmt: Format) -> list[float]:
    """The thresholds of a subject's formula."""
    return specials.thresholds(subject.outputs["loss"], subject.parameters(fmt))


def exhaustive_batches(subject: Subject, fmt: Format) -> list[Batch]:
    """Every number of a 16-bit format for the first input, each with every hard value of the other arguments; in
    rows, for one class of an input, as `exhaustive_rows` says."""
    if subject.is_row:
        return exhaustive_rows(subject, fmt)
    every = _every_inside(subject.given[0], fmt)
    grids = [every, *(hard_values(a.domain, fmt) for a in subject.given[1:])]
    mesh = np.meshgrid(*grids, indexing="ij")
    arrays = {a.name: m.reshape(-1) for a, m in zip(subject.given, mesh, strict=True)}
    return split(subject, arrays, subject.parameters(fmt))


def _every_inside(argument: Argument, fmt: Format) -> Array:
    every = every_number(fmt)
    return every[specials.inside(argument.domain, every) | np.isnan(every)]


EXHAUSTED_CLASSES = 3
FIXED = (0.5, 0.375)  # what the classes hold that do not move: an ordinary probability, or logit
SHARES = (0.5, 0.375, 0.125)
FIXED_LOGARITHMS = (-0.75, -1.5)
FIXED_NUMBER = 2.0  # and an input that is no row


def exhaustive_rows(subject: Subject, fmt: Format) -> list[Batch]:
    """Rows of three classes: every number of a 16-bit format in the first class of each input in turn (or for an input
    that is one number), the other classes fixed; a distribution's others share what the first leaves. Labels: each
    class, each one-hot row; for a distribution as target the same three shares in each order."""
    batches: list[Batch] = []
    for moving in (a for a in subject.given if a.role == "input"):
        every = _every_inside(moving, fmt)
        for label in range(EXHAUSTED_CLASSES):
            arrays = {a.name: _column(a, every if a is moving else None, label, len(every), fmt) for a in subject.given}
            batches += split(subject, arrays, subject.parameters(fmt), EXHAUSTED_CLASSES)
    return batches


def _column(argument: Argument, every: Array | None, label: int, count: int, fmt: Format) -> Array:
    """One argument of `exhaustive_rows`."""
    if argument.role == "label":
        return np.full(count, label, dtype=np.int64)
    if argument.axis != "class":
        return np.full(count, FIXED_NUMBER) if every is None else every
    if argument.role == "target" and argument.domain.unit_sum:
        return np.tile(np.roll(SHARES, label), (count, 1))
    logarithms = math.isinf(argument.domain.low) and math.isfinite(argument.domain.high)
    if argument.role == "target" and not logarithms:
        return np.tile((np.arange(EXHAUSTED_CLASSES) == label).astype(np.float64), (count, 1))
    fixed = FIXED_LOGARITHMS if logarithms else FIXED
    if every is None:
        return np.tile(np.array([fixed[0], *fixed]), (count, 1))
    if argument.domain.unit_sum:
        left = 1 - np.where(np.isnan(every), 0.5, every)
        return round_array(np.stack([every, left * 0.75, left * 0.25], axis=1), fmt)
    return np.stack([every, *(np.full(count, v) for v in fixed)], axis=1)


def every_number(fmt: Format) -> Array:
    """All 65,536 numbers of a 16-bit format, as float64."""
    if fmt.bits != 16:
        raise ValueError(f"{fmt.name} has too many numbers to try them all")
    with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN
        return np.arange(65536, dtype=np.uint16).view(fmt.dtype).astype(np.float64)


def hard_values(domain: Domain, fmt: Format) -> Array:
    """The values that labels take: a set's own, a bounded domain's ends, else a few round numbers."""
    if domain.values:
        return np.array([float(v) for v in domain.values])
    if math.isfinite(domain.low) and math.isfinite(domain.high):
        ends = np.array([float(domain.low), float(domain.high)])
        return ends[specials.inside(domain, ends)]
    few = np.array([0.0, 1.0, -2.5, 0.5])
    return few[specials.inside(domain, few)]


ROW_CLASSES = (1, 2, 3, 10, 1000, 32000)
SHORT = 10  # classes up to which rows lie beside thresholds too


def rows_for(classes: int) -> int:
    """How many rows of a length are worth their time."""
    return 64 if classes <= 10 else 12 if classes <= 1000 else 3


def row_batches(subject: Subject, fmt: Format, classes: Sequence[int] = ROW_CLASSES, seed: int = 0) -> list[Batch]:
    """Rows of each length: random, tied, confident, masked, near-equal; and the special ones."""
    batches: list[Batch] = []
    for c in classes:
        # A masked row is approached from several directions to be sure of its limit: slow when long.
        samples = row_samples(subject.given, c, rows_for(c), seed, fmt, infinite=c <= 1000)
        if c <= 1000:
            samples += specials.rows(subject.given, c, fmt)
        arrays = {a.name: np.stack([np.asarray(s[a.name]) for s in samples]) for a in subject.given}
        if c <= SHORT:
            drawn = {n: column[: rows_for(c)] for n, column in arrays.items()}
            turns = specials.turning(subject.given, drawn, spots_of(subject, fmt), fmt)
            arrays = {n: np.concatenate([column, turns[n]]) for n, column in arrays.items()}
        batches += split(subject, arrays, subject.parameters(fmt), c)
    return batches
