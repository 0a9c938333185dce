"""Points and rows that seek trouble: every exponent, domain edges, landmarks, ties, confident rows.

Deterministic: the same arguments, count and seed give the same points on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
from lossmith.derivations import relations
from lossmith.derivations.domains import Domain, inside
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term, show
from lossmith.derivations.ulp import Array, Doubles, Format, numbers, ordinals, round_array, round_fraction

Generator = np.random.Generator
ATTEMPTS = 6  # how often points are drawn until enough of them satisfy the relations
MIRRORED = 5  # one related point in so many is mirrored


def neighbours(values: Iterable[float], fmt: Format) -> list[float]:
    """Each value rounded to the format, with the numbers just below and above it."""
    middle = np.asarray(round_array(np.array(list(values), dtype=np.float64), fmt))
    places = ordinals(middle, fmt)
    return [float(x) for x in np.stack([numbers(places - 1, fmt), middle, numbers(places + 1, fmt)], axis=1).flat]


def step(x: float, count: int, fmt: Format) -> float:
    """The number `count` places above x in the order of the format."""
    return from_ordinal(int(ordinals(x, fmt)) + count, fmt)


def from_ordinal(place: int, fmt: Format) -> float:
    """The inverse of `ulp.ordinals`; infinite beyond the largest number."""
    size, per = abs(place), 1 << (fmt.precision - 1)
    if size < 2 * per:
        value = math.ldexp(size, fmt.quantum)
    else:
        block, offset = divmod(size, per)
        exponent = fmt.quantum + block - 1
        value = math.inf if block > fmt.emax - fmt.emin + 1 else math.ldexp(per + offset, exponent)
    return value if place >= 0 else -value


def landmarks(fmt: Format) -> list[float]:
    """Where exp, log and their relatives change character in this format, both signs."""
    p, ln2 = fmt.precision, math.log(2)
    over, under = (fmt.emax + 1) * ln2, -fmt.quantum * ln2
    spots = [
        ln2, 0.5, 1.0, 2.0, math.e, p * ln2, (p + 1) * ln2, p * ln2 / 2, over, over / 2, under, under / 2,
        under + 0.6, under - 1.3,  # where e^-u is rounded to few digits, and is no power of two
        -fmt.emin * ln2, math.sqrt(fmt.eps), fmt.eps, fmt.eps / 2, math.sqrt(fmt.tiny), fmt.tiny, fmt.smallest,
        math.sqrt(fmt.largest), fmt.largest / 2, fmt.largest, 0.1, 0.3, 0.9, 3.0, 8.0, 20.0, 40.0, 90.0, 300.0,
    ]
    spots = [float(s) for s in round_array(np.array(spots), fmt)]
    return sorted({s for s in spots if math.isfinite(s)} | {-s for s in spots if math.isfinite(s)})


TARGETS = (Fraction(1, 10), Fraction(1, 2), Fraction(9, 10), Fraction(19, 20), 1 - Fraction(1, 2**24),
           Fraction(1, 2**24))


def special_values(domain: Domain, fmt: Format, extra: Sequence[float] = ()) -> list[float]:
    """Landmarks, domain edges and hard targets, each with its neighbours, as far as the domain holds them."""
    if domain.values:
        return [round_fraction(v, fmt) for v in domain.values]
    edges = [float(b) for b in (domain.low, domain.high) if math.isfinite(b)]
    spots = [0.0, *edges, *landmarks(fmt), *extra]
    if edges:
        spots += [float(t) for t in TARGETS]
        spots += [edge + sign * math.ldexp(1.0, -k) for edge in edges for k in range(1, fmt.precision + 2)
                  for sign in (-1, 1)]
    near = np.array(neighbours(spots, fmt))
    found = {float(x) for x in near[inside(domain, near)]}
    if domain.holds(math.inf):
        found.add(math.inf)
    if domain.holds(-math.inf):
        found.add(-math.inf)
    return sorted(found)


def _into(domain: Domain, values: Doubles, rng: Generator, fmt: Format) -> Doubles:
    """Values outside the domain replaced by ones inside: mirrored where the sign is known, else drawn anew."""
    values = round_array(values, fmt)
    if domain.sign is not None:
        values = np.abs(values) * domain.sign
    held = inside(domain, values)
    if not held.all():
        values = np.where(held, values, uniform(domain, len(values), rng, fmt))
    return values


def uniform(domain: Domain, count: int, rng: Generator, fmt: Format) -> Doubles:
    """Evenly spread over a bounded domain; over the moderate part (up to 8 beyond the edge) of another."""
    if domain.values:
        return rng.choice(np.array([round_fraction(v, fmt) for v in domain.values]), count)
    low = float(domain.low) if math.isfinite(domain.low) else min(-8.0, float(domain.high) - 8.0)
    high = float(domain.high) if math.isfinite(domain.high) else max(8.0, low + 8.0)
    values = round_array(rng.uniform(low, high, count), fmt)
    middle = float(round_array(low + 0.25 * (high - low), fmt))
    return np.where(inside(domain, values), values, middle)


def every_exponent(domain: Domain, count: int, rng: Generator, fmt: Format) -> Doubles:
    """Numbers drawn evenly from the order of the format, so that every exponent and both signs are met."""
    top = int(ordinals(fmt.largest, fmt))
    places = rng.integers(-top, top, count, endpoint=True)
    return _into(domain, numbers(places, fmt), rng, fmt)


def moderate(domain: Domain, count: int, rng: Generator, fmt: Format) -> Doubles:
    """Magnitudes a person would meet, from 2^-30 to 2^8, both signs."""
    values = np.ldexp(rng.uniform(1, 2, count), rng.integers(-30, 8, count)) * rng.choice([-1.0, 1.0], count)
    return _into(domain, values, rng, fmt)


def _draw(domain: Domain, count: int, rng: Generator, fmt: Format, special: Doubles) -> Doubles:
    """A column of `count` values: special ones, every exponent, moderate and even ones, shuffled.

    A bounded domain (a target) leans on its special values: hard labels are where losses live.
    """
    if domain.values:
        return uniform(domain, count, rng, fmt)
    kinds = rng.choice(4, count, p=[0.3, 0.25, 0.3, 0.15])
    out = uniform(domain, count, rng, fmt)
    out = np.where(kinds == 0, rng.choice(special, count), out)
    out = np.where(kinds == 1, every_exponent(domain, count, rng, fmt), out)
    out = np.where(kinds == 2, moderate(domain, count, rng, fmt), out)
    if math.isfinite(domain.low) and math.isfinite(domain.high):
        ends = [float(domain.low), float(domain.high), *(float(t) for t in TARGETS)]
        rounded = (round_fraction(Fraction(e), fmt) for e in ends)
        heavy = np.array([e for e in rounded if domain.holds(e)])
        if len(heavy):
            weights = np.array([3.0 if h in (ends[0], ends[1]) else 1.0 for h in heavy])
            out = np.where(rng.random(count) < 0.5, rng.choice(heavy, count, p=weights / weights.sum()), out)
    return np.asarray(out, dtype=np.float64)


def scalar_points(arguments: Sequence[Argument], count: int, seed: int, fmt: Format,
                  extra_landmarks: Sequence[float] = (), infinite: bool = False,
                  given: Sequence[Term] = ()) -> dict[str, Doubles]:
    """`count` points for elementwise arguments: a float64 column per argument, of numbers of the format.

    Every value lies in its argument's domain and is finite, unless `infinite` is set: then
    infinities occur where the domain holds them. The first points are the special values of each
    argument in turn; then mixtures; the last fifth are near-equal pairs, ties and small grids.

    given: relations that every point satisfies; two fifths of the points then lie at their edges.
    Raises relations.ContradictionError where no point is found.
    """
    if given:
        return _satisfying(arguments, count, seed, fmt, extra_landmarks, infinite, tuple(given))
    rng = np.random.default_rng([seed, fmt.precision, count, 1])
    columns: dict[str, Doubles] = {}
    specials: dict[str, Doubles] = {}
    for a in arguments:
        values = np.array(special_values(a.domain, fmt, extra_landmarks))
        specials[a.name] = values if infinite else values[np.isfinite(values)]
        columns[a.name] = _draw(a.domain, count, rng, fmt, specials[a.name])
    _spread_specials(columns, specials, count, rng)
    if len(arguments) > 1:
        _relate(arguments, columns, count - count // 5, rng, fmt)
    return columns


def _satisfying(arguments: Sequence[Argument], count: int, seed: int, fmt: Format, extra_landmarks: Sequence[float],
                infinite: bool, given: tuple[Term, ...]) -> dict[str, Doubles]:
    """Drawn points as far as they satisfy the relations, and points at the edges of these."""
    names = [a.name for a in arguments]
    rng = np.random.default_rng([seed, fmt.precision, count, 2])
    plain: dict[str, Doubles] = {n: np.zeros(0) for n in names}
    edges = plain
    for attempt in range(ATTEMPTS):
        drawn = scalar_points(arguments, max(2 * count, 64), seed + 7919 * attempt, fmt, extra_landmarks, infinite)
        plain = _joined(plain, _kept(given, {**drawn}))
        starts = _joined(_sampled(drawn, count, rng), _sampled(plain, count, rng))
        edges = _joined(edges, _kept(given, relations.near_edges(given, arguments, starts, rng, fmt)))
        # What is near one edge may be moved to a second one: a corner.
        corners = relations.near_edges(given, arguments, _sampled(edges, count // 4, rng), rng, fmt)
        edges = _joined(edges, _kept(given, corners))
        if _length(plain) >= count and _length(edges) >= count // 2:
            break
    if not _length(plain) + _length(edges):
        raise relations.ContradictionError(f"no {fmt.name} numbers of the domains satisfy "
                                           + " and ".join(map(show, given)))
    share = min(_length(edges), max(2 * count // 5, count - _length(plain)))
    chosen = _joined(_sampled(plain, count - share, rng), _sampled(edges, share, rng))
    # Too few different ones are repeated: a caller that wants them distinct can tell.
    return {n: np.resize(c, count) for n, c in chosen.items()}


def _length(columns: dict[str, Doubles]) -> int:
    return len(next(iter(columns.values()))) if columns else 0


def _kept(given: tuple[Term, ...], columns: dict[str, Doubles]) -> dict[str, Doubles]:
    held = relations.holds(given, columns)
    return {n: c[held] for n, c in columns.items()}


def _joined(one: dict[str, Doubles], other: dict[str, Doubles]) -> dict[str, Doubles]:
    return {n: np.concatenate([c, other[n]]) for n, c in one.items()}


def _sampled(columns: dict[str, Doubles], count: int, rng: Generator) -> dict[str, Doubles]:
    """At most `count` of the points, in their order."""
    length = _length(columns)
    if length <= count:
        return columns
    places = np.sort(rng.choice(length, count, replace=False))
    return {n: c[places] for n, c in columns.items()}


def _spread_specials(columns: dict[str, Doubles], specials: dict[str, Doubles], count: int, rng: Generator) -> None:
    """The first three fifths: each argument's special values in turn, so that none is left to chance."""
    share = (3 * count // 5) // max(1, len(columns))
    start = 0
    for name in columns:
        values = specials[name]
        chosen = values if len(values) <= share else rng.choice(values, share, replace=False)
        columns[name][start:start + len(chosen)] = chosen
        start += len(chosen)


def _relate(arguments: Sequence[Argument], columns: dict[str, Doubles], start: int, rng: Generator,
            fmt: Format) -> None:
    """From `start` on: the second and later arguments near the first, equal to it, or on a small grid; some of
    them mirrored at 0, or at 1/2 where they are shares."""
    count = len(next(iter(columns.values())))
    if count <= start:
        return
    first = columns[arguments[0].name][start:]
    kind = rng.choice(3, count - start)
    for a in arguments[1:]:
        if a.domain.values or a.role == "parameter":
            continue
        shifted = numbers(ordinals(first, fmt) + rng.choice([-9, -2, -1, 1, 2, 17], count - start), fmt)
        near = np.where(np.isfinite(first), shifted, first)
        with np.errstate(over="ignore"):
            further = first * (1 + rng.choice([1e-3, -1e-2, 0.1], len(first)))
        near = np.where(rng.random(count - start) < 0.5, near, further)
        grid = rng.integers(-3, 4, count - start).astype(np.float64) / 2
        wanted = np.choose(kind, [near, first, grid])
        mirrored = 1 - wanted if a.domain.low >= 0 and a.domain.high == 1 else -wanted
        wanted = round_array(np.where(np.arange(len(wanted)) % MIRRORED, wanted, mirrored), fmt)
        old = columns[a.name][start:]
        columns[a.name][start:] = np.where(inside(a.domain, wanted), wanted, old)


def row_samples(arguments: Sequence[Argument], classes: int, count: int, seed: int, fmt: Format,
                infinite: bool = True) -> list[dict[str, Array]]:
    """`count` examples of a row loss: per class-axis argument a float64 row, labels int, other scalars float.

    Kinds in turn: random, tied, confident (one logit 20, 40, 90 above the rest), masked with -inf
    where the domain holds it (and `infinite`), near-equal and of wide spread. Distributions are
    random, one-hot, uniform, peaked, with zeros, near another's; non-negative weights are a
    distribution four times in five. Labels at the largest logit and away from it.
    """
    rng = np.random.default_rng([seed, fmt.precision, count, classes])
    samples: list[dict[str, Array]] = []
    for k in range(count):
        sample: dict[str, Array] = {}
        rows: list[Doubles] = []
        for a in arguments:
            if a.role == "label":
                sample[a.name] = np.asarray(_label(rows[0] if rows else None, classes, k, rng))
            elif a.axis == "class":
                sample[a.name] = _row(a.domain, classes, k, rng, fmt, rows, infinite)
                rows.append(sample[a.name])
            else:
                special = np.array([v for v in special_values(a.domain, fmt) if math.isfinite(v)])
                sample[a.name] = _draw(a.domain, 1, rng, fmt, special)[0]
        samples.append(sample)
    return samples


def _label(row: Doubles | None, classes: int, k: int, rng: Generator) -> np.int64:
    if row is None or k % 3 == 2:
        return np.int64(rng.integers(classes))
    return np.int64(np.argmax(row) if k % 3 == 0 else np.argmin(row))


def _row(domain: Domain, classes: int, k: int, rng: Generator, fmt: Format, earlier: list[Doubles],
         infinite: bool) -> Doubles:
    if domain.unit_sum or (is_weights(domain) and k % 5 != 4):
        return distribution(classes, k, rng, fmt, domain, earlier)
    if is_weights(domain):
        kept = rng.random(classes) < (0.8 if domain.low_closed else 1.0)
        return round_array(rng.uniform(2.0**-10, 2, classes) * kept, fmt)
    if domain.values or math.isfinite(domain.low):
        special = np.array([v for v in special_values(domain, fmt) if math.isfinite(v)])
        row = _draw(domain, classes, rng, fmt, special)
        if domain.values and not row.any():
            row[rng.integers(classes)] = round_fraction(max(domain.values, key=abs), fmt)  # no label at all is no row
        return row
    row = logits_row(classes, k, rng, fmt, earlier, infinite and domain.holds(-math.inf))
    if math.isfinite(domain.high):
        # Logarithms of probabilities: a log-softmax, held below the end of the domain.
        row = round_array(row - np.logaddexp.reduce(row) + float(domain.high), fmt)
        edge = float(domain.high) if domain.high_closed else step(float(domain.high), -1, fmt)
        row = np.minimum(np.where(np.isnan(row), edge, row), edge)
    return row


def is_weights(domain: Domain) -> bool:
    """Non-negative numbers without an upper end: over classes, weights, most often a distribution."""
    return domain.low == 0 and math.isinf(domain.high) and not domain.index


CONFIDENT = (20.0, 40.0, 90.0)


def logits_row(classes: int, k: int, rng: Generator, fmt: Format, earlier: Sequence[Doubles] = (),
               masked: bool = True) -> Doubles:
    """A row of logits of the k-th kind: see row_samples."""
    kind = k % 8
    row = rng.normal(0.0, (1.0, 3.0, 10.0)[k % 3], classes)
    if kind == 1:
        row = np.full(classes, rng.normal(0, 3))
        row[rng.random(classes) < 0.3] -= 1.0
    elif kind in (2, 3):
        row[rng.integers(classes)] = np.max(row) + CONFIDENT[(k // 8) % 3]
    elif kind == 4 and masked and classes > 1:
        row[rng.permutation(classes)[: max(1, classes // 2)]] = -np.inf
    elif kind == 5:
        row = np.round(row)
    elif kind == 6:
        row = 5.0 + row * 10.0 ** rng.uniform(-8, 0)
    elif kind == 7:
        row = row * 10.0 ** rng.uniform(0, min(3.0, math.log10(fmt.largest) - 2))
    if earlier and len(earlier[0]) == classes and k % 4 == 3:
        nearby = earlier[0] + 10.0 ** rng.uniform(-7, -1) * rng.normal(size=classes)
        row = np.where(np.isfinite(earlier[0]), nearby, row)
    return round_array(row, fmt)


def distribution(classes: int, k: int, rng: Generator, fmt: Format, domain: Domain,
                 earlier: Sequence[Doubles] = ()) -> Doubles:
    """Non-negative numbers of the format whose exact sum is one.

    Zeros occur only where the domain is closed at zero.
    """
    zeros = domain.low_closed and domain.low == 0
    kind = k % 7
    raw = rng.dirichlet(np.full(classes, 1.0)) if classes > 1 else np.ones(1)
    if kind in (0, 5) and zeros:
        raw = np.zeros(classes)
        raw[rng.integers(classes)] = 1.0
        return raw
    if kind == 1:
        raw = np.full(classes, 1.0)
    elif kind == 2:
        raw = np.exp2(-rng.uniform(0, 30, classes))
    elif kind == 3 and zeros and classes > 1:
        raw[rng.permutation(classes)[: classes // 2]] = 0.0
    elif kind in (4, 6) and earlier and (earlier[0] >= 0).all():
        raw = earlier[0] * (1 + 10.0 ** rng.uniform(-7, -1) * rng.normal(size=classes).clip(-3, 3))
        if not zeros:
            raw = np.maximum(raw, fmt.eps / classes)
    return settle(raw, fmt, zeros)


def settle(raw: Doubles, fmt: Format, zeros: bool = True) -> Doubles:
    """Weights scaled and rounded to numbers of the format whose exact sum is one.

    All become multiples of the largest one's last place, so that their sum is exact and the
    largest can take up what is missing. Only so is a loss that relies on a unit sum measurable: at
    inputs that miss it by a rounding it has more than one value. What is below that place
    becomes zero; where zeros are not wanted, one unit of it.
    """
    total = float(raw.sum())
    if not total > 0:
        raw, total = np.full(len(raw), 1.0), float(len(raw))
    shares = np.maximum(raw, 0.0) / total
    largest = int(np.argmax(shares))
    _, exponent = np.frexp(shares[largest])
    unit = 2.0 ** max(int(exponent) - fmt.precision, fmt.quantum)
    counts = np.rint(shares / unit).astype(np.int64)
    if not zeros:
        counts = np.maximum(counts, 1)
    # A last place of 2**-k divides one; the largest gives or takes what is missing, in exact integers.
    spare = round(1 / unit) - int(counts.sum())
    while spare:
        target = int(np.argmax(counts))
        room = spare if spare > 0 else max(spare, 1 - int(counts[target]))
        limit = (1 << fmt.precision) - int(counts[target])
        given = min(room, limit) if spare > 0 else room
        if given == 0:
            return settle(np.where(np.arange(len(raw)) == largest, 4 * shares.max(), shares), fmt, zeros)
        counts[target] += given
        spare -= given
    return counts.astype(np.float64) * unit
