"""The chain's left half: a unit to the derivations of its loss, gradients and second derivatives."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

from lossmith.derivations import balls, search
from lossmith.derivations import rows as row_engine
from lossmith.derivations.calculus import derivative, hessian_vector
from lossmith.derivations.derivation import Derivation, Evidence, Order, StableForm, Step
from lossmith.derivations.domains import REAL, Domain
from lossmith.derivations.guards import guard
from lossmith.derivations.importer import to_term
from lossmith.derivations.loss import Argument, Unit
from lossmith.derivations.terms import Term

CHECKED_POINTS = 48
CHECKED_CLASSES = (1, 2, 3, 7)


def orders(unit: Unit) -> tuple[Order, ...]:
    """All that is derived of a unit: the loss, a gradient by each differentiable argument, and
    second derivatives (for rows the diagonals of the inputs, for elementwise losses all pairs)."""
    names = [a.name for a in unit.arguments if a.differentiable]
    if unit.shape == "row":
        second = [(a.name, a.name) for a in unit.arguments if a.differentiable and a.role == "input"]
    else:
        second = [(a, b) for i, a in enumerate(names) for b in names[i:]]
    return ((), *((n,) for n in names), *second)


def derive(unit: Unit, order: Order = ()) -> Derivation:
    """The derivation of one quantity of a unit, from the definition.

    order: () the loss, ("x",) its gradient by x, ("x", "x") its Hessian diagonal, ("x", "z") mixed.
    Gradients and Hessians are differentiated from the definition and stabilized in their own
    right. Raises KeyError for an argument that the unit does not have.
    """
    for name in order:
        unit.argument(name)
    definition = to_term(unit.formula)
    start = derivative(definition, order, unit.arguments)
    first = _differentiation(definition, start, order)
    return _finish(unit.name, unit, order, unit.arguments, definition, start, first)


def derive_hessian_vector(unit: Unit) -> dict[str, Derivation]:
    """For a row loss: the Hessian applied to the tangents, by argument; tangents are rows (or
    scalars) named `tangent_<argument>`."""
    definition = to_term(unit.formula)
    tangents = tuple(
        Argument(f"tangent_{a.name}", "input", REAL, a.axis, False, f"tangent of {a.name}")
        for a in unit.arguments if a.differentiable
    )
    arguments = (*unit.arguments, *tangents)
    out = {}
    for name, start in hessian_vector(definition, unit.arguments).items():
        order = (name, "tangent")
        first = _differentiation(definition, start, order)
        out[name] = _finish(unit.name, unit, order, arguments, definition, start, first)
    return out


def _differentiation(definition: Term, start: Term, order: Order) -> tuple[Step, ...]:
    if not order:
        return ()
    times = "differentiate" if len(order) == 1 else "differentiate twice"
    by = order[0] if len(set(order)) == 1 else " and ".join(order)
    if order[-1] == "tangent":
        by, times = f"{order[0]}, along the tangents", "differentiate twice"
    reason = f"{times} the definition by {by}"
    return (Step("differentiate", definition, start, definition, start, "", reason, rf"\text{{{reason}}}",
                 (Evidence("proved", "rules of differentiation"),)),)


def _finish(name: str, unit: Unit, order: Order, arguments: tuple[Argument, ...], definition: Term, start: Term,
            first: tuple[Step, ...]) -> Derivation:
    engine = row_engine if unit.shape == "row" else search
    found, form = engine.stabilize(start, arguments, order=order)
    steps = [*first, *found]
    guarded = guard(form.term, arguments)
    if guarded is not form.term:
        steps.append(_guard_step(form, guarded))
        form = dataclasses.replace(form, term=guarded)
    return Derivation(unit.name, unit.title, order, arguments, definition, tuple(steps), form,
                      enclosed(form.definition, form.term, arguments, unit.shape == "row"), unit.policies,
                      tuple(r.text for r in unit.references))


def _guard_step(form: StableForm, guarded: Term) -> Step:
    return Step(
        "absorb-infinity", form.term, guarded, form.term, guarded, "one factor can be 0 where the other is infinite",
        "a product with a factor 0 is 0, the limit of the definition, where the other factor is infinite",
        r"0 \cdot \infty = 0 \text{, the limit of the definition}",
        (Evidence("proved", "the factors agree wherever both are finite"),), form.error, form.error,
    )


def enclosed(before: Term, after: Term, arguments: tuple[Argument, ...], is_row: bool) -> tuple[Evidence, ...]:
    """Ball arithmetic on both ends of a derivation: how many points their balls overlap at.

    Raises ArithmeticError with the point where they do not: such a derivation is wrong.
    """
    tried = 0
    for env in check_points(arguments, is_row):
        if not balls.overlaps(before, after, env):
            raise ArithmeticError(f"{before} and {after} differ at {env}")
        tried += 1
    return (Evidence("enclosed", "ball arithmetic on the definition and the form", tried),)


def check_points(arguments: tuple[Argument, ...], is_row: bool) -> list[dict[str, Any]]:
    """Moderate points, all finite and inside the domains, at which two forms of one quantity must agree."""
    rng = random.Random(1)
    sizes = [CHECKED_CLASSES[n % len(CHECKED_CLASSES)] if is_row else 0 for n in range(CHECKED_POINTS)]
    return [{a.name: _drawn(a, classes, rng) for a in arguments} for classes in sizes]


def _drawn(a: Argument, classes: int, rng: random.Random) -> float | int | list[float]:
    if a.role == "label":
        return rng.randrange(classes)
    if a.axis == "class":
        return [_value(a.domain, rng) for _ in range(classes)]
    return _value(a.domain, rng)


def _value(domain: Domain, rng: random.Random) -> float:
    """A float strictly inside an interval, or one of a set of values."""
    if domain.values:
        return float(rng.choice(domain.values))
    low, high = float(domain.low), float(domain.high)
    if math.isfinite(low) and math.isfinite(high):
        return low + (high - low) * rng.uniform(0.01, 0.99)
    size = math.exp(rng.uniform(-4.0, 3.0))
    if math.isfinite(low):
        return low + size
    return high - size if math.isfinite(high) else rng.choice((-size, size))
