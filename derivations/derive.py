"""The chain's left half: a unit to the derivations of its loss, gradients and second derivatives."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from lossmith.derivations import balls, checkpoints, search
from lossmith.derivations import rows as row_engine
from lossmith.derivations.calculus import derivative, hessian_vector
from lossmith.derivations.depth import deep
from lossmith.derivations.derivation import Derivation, Evidence, Order, StableForm, Step
from lossmith.derivations.domains import REAL
from lossmith.derivations.expanding import NAME as SERIES
from lossmith.derivations.expanding import undone
from lossmith.derivations.guards import pass_nan, unsigned_zero
from lossmith.derivations.integrals import NAME as INTEGRAL
from lossmith.derivations.loss import Argument, Unit, orders
from lossmith.derivations.terms import Term

__all__ = ["definition_of", "derive", "derive_hessian_vector", "enclosed", "licensed_definition", "orders"]
Dtypes = tuple[str, ...] | None


@deep()
def derive(unit: Unit, order: Order = (), dtypes: Dtypes = None) -> Derivation:
    """The derivation of one quantity of a unit, from the definition.

    order: () the loss, ("x",) its gradient by x, ("x", "x") its Hessian diagonal, ("x", "z") mixed.
    Gradients and Hessians are differentiated from the definition and stabilized in their own
    right. dtypes: the formats that the form is judged in; the engine's own choice when None. Raises
    KeyError for an argument that the unit does not have.
    """
    for name in order:
        unit.argument(name)
    if not order:
        return _of_loss(unit, dtypes)
    definition, licences, licensed = licensed_definition(unit)
    start = derivative(licensed, order, unit.arguments)
    first = (*licences, *_differentiation(licensed, start, order))
    return _finish(unit, order, unit.arguments, definition, start, first, dtypes,
                   _other_starts(unit, licensed, start, order))


def _other_starts(unit: Unit, definition: Term, start: Term, order: Order) -> tuple[Term, ...]:
    """The derivative of the definition in the names of its parts, where that is another term."""
    if unit.shape == "row":
        return ()
    named = search.recognized(definition, unit.arguments, unit.given)
    found = start if named is definition else derivative(named, order, unit.arguments)
    return () if found is start else (found,)


@functools.lru_cache(maxsize=64)
def _of_loss(unit: Unit, dtypes: Dtypes) -> Derivation:
    """Kept, since every gradient of a row starts from what the loss was licensed to assume."""
    definition = definition_of(unit)
    return _finish(unit, (), unit.arguments, definition, definition, (), dtypes)


def definition_of(unit: Unit) -> Term:
    """The formula of a unit as a term; SymPy is imported only where the formula is SymPy's."""
    if isinstance(unit.formula, Term):
        return unit.formula
    from lossmith.derivations.importer import to_term

    return to_term(unit.formula)


def licensed_definition(unit: Unit) -> tuple[Term, tuple[Step, ...], Term]:
    """The definition, the steps that use a licence of the domain (unit sums), and what they make of it.

    A licence changes the function where it does not hold to the last bit, so the gradient must be
    that of the licensed definition: it is the function that the loss computes. Only sums have one.
    """
    if unit.shape == "elementwise":
        definition = definition_of(unit)
        return definition, (), definition
    loss = derive(unit)
    for n, step in enumerate(loss.steps):
        if step.after is loss.form.definition and step.before is not step.after:
            return loss.definition, loss.steps[: n + 1], loss.form.definition
    return loss.definition, (), loss.definition


def derive_hessian_vector(unit: Unit) -> dict[str, Derivation]:
    """For a row loss: the Hessian applied to the tangents, by argument; tangents are rows (or
    scalars) named `tangent_<argument>`."""
    definition, licences, licensed = licensed_definition(unit)
    tangents = tuple(
        Argument(f"tangent_{a.name}", "input", REAL, a.axis, False, f"tangent of {a.name}")
        for a in unit.arguments if a.differentiable
    )
    arguments = (*unit.arguments, *tangents)
    out = {}
    for name, start in hessian_vector(licensed, unit.arguments).items():
        order = (name, "tangent")
        first = (*licences, *_differentiation(licensed, start, order))
        out[name] = _finish(unit, order, arguments, definition, start, first)
    return out


def _differentiation(definition: Term, start: Term, order: Order) -> tuple[Step, ...]:
    if not order:
        return ()
    times = "differentiate" if len(order) == 1 else "differentiate twice"
    by = order[0] if len(set(order)) == 1 else " and ".join(order)
    if order[-1] == "tangent":
        by, times = f"{order[0]}, along the tangents", "differentiate twice"
    reason = f"{times} the definition by {by}"
    return (Step("differentiate", definition, start, definition, start, "", reason, _latex(reason),
                 (Evidence("proved", "rules of differentiation"),)),)


def _latex(words: str) -> str:
    """Words as LaTeX text; names of arguments may hold underscores, and nothing else that LaTeX reads."""
    return r"\text{" + words.replace("_", r"\_") + "}"


def _finish(unit: Unit, order: Order, arguments: tuple[Argument, ...], definition: Term, start: Term,
            first: tuple[Step, ...], dtypes: Dtypes = None, starts: tuple[Term, ...] = ()) -> Derivation:
    engine = row_engine if unit.shape == "row" else search
    options: dict[str, Any] = {k: v for k, v in {"dtypes": dtypes, "given": unit.given}.items() if v}
    found = engine.stabilize(start, arguments, order=order, **options, **({"seeds": starts} if starts else {}))
    try:
        return _joined(unit, order, arguments, definition, first, found)
    except ArithmeticError as refused:
        found = engine.as_written(start, arguments, order, why=str(refused), **options)
        return _joined(unit, order, arguments, definition, first, found)


def _joined(unit: Unit, order: Order, arguments: tuple[Argument, ...], definition: Term, first: tuple[Step, ...],
            found: tuple[tuple[Step, ...], StableForm]) -> Derivation:
    """The derivation of what was found, both ends compared. Raises ArithmeticError where they differ."""
    steps, form = [*first, *found[0]], found[1]
    if first and found[0]:  # the derivative as it was written measures what the first rule found
        steps[len(first) - 1] = dataclasses.replace(first[-1], error_after=found[0][0].error_before)
    exact = _exact(form.term, steps, arguments)
    for rule, change, reason, latex in LAST:
        made, exact = change(form.term, arguments), change(exact, arguments)
        if made is not form.term:
            proof = (Evidence("proved", "the two agree at every number"),)
            steps.append(Step(rule, form.term, made, form.term, made, "", reason, latex, proof, form.error, form.error))
            form = dataclasses.replace(form, term=made)
    return Derivation(unit.name, unit.title, order, arguments, definition, tuple(steps), form,
                      enclosed(form.definition, exact, arguments, unit.shape == "row",
                               unit.given), unit.policies, tuple(r.text for r in unit.references), given=unit.given)


def _exact(term: Term, steps: Sequence[Step], arguments: tuple[Argument, ...]) -> Term:
    """The form without its Taylor polynomials and integrals, whose remainders have bounds of their own."""
    return undone(term, [s.result for s in steps if s.rule in (SERIES, INTEGRAL)], arguments)


# What a form needs beyond being accurate: rule, change, reason in words and in LaTeX.
LAST: tuple[tuple[str, Callable[[Term, tuple[Argument, ...]], Term], str, str], ...] = (
    ("pass-nan", pass_nan, "a NaN takes the branch that reads it, so it is not lost",
     r"\text{a NaN takes the branch that reads it}"),
    ("unsigned-zero", unsigned_zero, "a zero below a fraction counts as +0, whatever its sign",
     r"a = |a| \text{ for } a \ge 0"),
)


def enclosed(before: Term, after: Term, arguments: tuple[Argument, ...], is_row: bool,
             given: tuple[Term, ...] = ()) -> tuple[Evidence, ...]:
    """Ball arithmetic on both ends of a derivation: how many points their balls overlap at.

    For scalars extremes and both sides of every seam are among them. Raises ArithmeticError with the
    point where they do not overlap: such a derivation is wrong.
    """
    table = checkpoints.ordinary(arguments, is_row, given)
    apart = checkpoints.difference(before, after, table) if is_row else next(
        (env for env in table if not balls.overlaps(before, after, env)), None)
    if not is_row:
        more = checkpoints.extreme(after, arguments, given)
        apart = apart or checkpoints.difference(before, after, more, arguments)
        table = [*table, *more]
    if apart is not None:
        raise ArithmeticError(f"{before} and {after} differ at {apart}")
    return (Evidence("enclosed", "ball arithmetic on the definition and the form", len(table)),)
