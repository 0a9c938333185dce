"""Checking an identity: every line proved equal to the one above, and enclosed by balls at many points."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from lossmith.derivations import balls
from lossmith.derivations.derivation import Evidence, Step
from lossmith.derivations.domains import Domain
from lossmith.derivations.identities.identity import CheckedIdentity, Identity
from lossmith.derivations.identities.proof import prove
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term

POINTS = 64
CLASSES = (1, 2, 3, 7)
SPREAD = 6.0  # logits are drawn from e**-SPREAD to e**2 in size, both signs


class Refuted(ArithmeticError):  # noqa: N818  (it is what happened to the identity)
    """A line that is not equal to the one above. `line` counts from 1; `point` shows the difference."""

    def __init__(self, name: str, line: int, point: Mapping[str, Any], before: str, after: str) -> None:
        self.line, self.point = line, dict(point)
        said = ", ".join(f"{k} = {v}" for k, v in point.items())
        super().__init__(f"{name}, line {line + 1}: at {said} the line above is {before}, this one is {after}")


class Unproved(ArithmeticError):  # noqa: N818
    """A line that holds at every point tried, but for which no proof was found."""


def check(identity: Identity, points: int = POINTS) -> CheckedIdentity:
    """The identity with its evidence: each line proved, and enclosed at `points` points.

    Raises Refuted, with a counterexample, for a line that is wrong, and Unproved for one that
    holds wherever it was tried without a proof being found.
    """
    envs = sample(identity.arguments, points)
    steps = []
    for number, ((before, _), (after, reason)) in enumerate(zip(identity.lines, identity.lines[1:]), 1):
        steps.append(_checked(identity, number, before, after, reason, envs))
    first, last = identity.lines[0][0], identity.lines[-1][0]
    ends = (_enclosed(identity, len(steps), first, last, envs),)
    return CheckedIdentity(identity.name, identity.title, identity.arguments, first, tuple(steps), ends,
                           identity.references, opening=identity.lines[0][1])


def _checked(identity: Identity, number: int, before: Term, after: Term, reason: str,
             envs: Sequence[Mapping[str, Any]]) -> Step:
    enclosed = _enclosed(identity, number, before, after, envs)
    proved = prove(before, after, identity.arguments)
    if proved is None:
        raise Unproved(f"{identity.name}, line {number + 1}: holds at {len(envs)} points, but no proof was found")
    return Step(f"line {number + 1}", before, after, before, after, "", reason, "", (proved, enclosed))


def _enclosed(identity: Identity, number: int, before: Term, after: Term,
              envs: Sequence[Mapping[str, Any]]) -> Evidence:
    for env in envs:
        if not balls.overlaps(before, after, env, arguments=identity.arguments):
            raise Refuted(identity.name, number, env, _value(before, env), _value(after, env))
    return Evidence("enclosed", "ball arithmetic on both lines", len(envs))


def _value(term: Term, env: Mapping[str, Any]) -> str:
    found = balls.enclose(term, env)
    return ", ".join(f"{float(b.mid()):.6g}" for b in (found if isinstance(found, list) else [found]))


def sample(arguments: Sequence[Argument], points: int) -> list[dict[str, Any]]:
    """Points inside the domains, the same in every run; rows of one to seven classes."""
    rng = random.Random(1)
    return [{a.name: _drawn(a, CLASSES[n % len(CLASSES)], rng) for a in arguments} for n in range(points)]


def _drawn(a: Argument, classes: int, rng: random.Random) -> Any:
    if a.domain.index:
        return rng.randrange(classes)
    if a.axis != "class":
        return _number(a.domain, rng)
    values = [_number(a.domain, rng) for _ in range(classes)]
    return [v / math.fsum(values) for v in values] if a.domain.unit_sum else values


def _number(domain: Domain, rng: random.Random) -> float:
    """A number strictly inside the domain, or one of its finite set."""
    if domain.values:
        return float(rng.choice(domain.values))
    low, high = float(domain.low), float(domain.high)
    if math.isfinite(low) and math.isfinite(high):
        return low + (high - low) * rng.uniform(0.001, 0.999)
    size = math.exp(rng.uniform(-SPREAD, 2.0))
    return low + size if math.isfinite(low) else rng.choice((-size, size))
