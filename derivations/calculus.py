"""Derivatives of a loss: gradient, Hessian diagonal, mixed second derivative, Hessian-vector product.

An elementwise formula is differentiated as it stands. A formula over the class axis is a circuit
of reductions with elementwise parts between them: the gradient runs backwards over the
reductions, each elementwise part being differentiated by `partial`. Unless its sums are plain
sums of elementwise bodies, it is first brought to the log domain (`rows.algebra`), where a
derivative is short. What is differentiated is always the definition, never a stable form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lossmith.derivations.loss import Argument
from lossmith.derivations.partial import CalculusProblem, partial, plus, times
from lossmith.derivations.terms import (
    COUNT,
    ONE,
    REDUCTIONS,
    ZERO,
    Term,
    make,
    mul,
    neg,
    node,
    row,
    sub,
    var,
    walk,
)

__all__ = ["CalculusProblem", "derivative", "gradient", "hessian_vector"]


def derivative(term: Term, order: tuple[str, ...], arguments: Sequence[Argument]) -> Term:
    """The derivative of a loss by the named arguments.

    () is the loss itself, ("x",) its gradient: a scalar for a scalar argument, a row (the value at
    class k) for a row argument. ("x", "x") is the second derivative, of rows the diagonal
    d2 L / dx_k^2. ("x", "z") is the mixed derivative, of elementwise losses only.
    Raises CalculusProblem where a derivative is not known or has no place on the class axis.
    """
    known = {a.name: a for a in arguments}
    for name in order:
        if name not in known:
            raise CalculusProblem(f"there is no argument '{name}'; there are {', '.join(known)}")
    if not order:
        return term
    if not _over_classes(term, arguments):
        for name in order:
            term = partial(term, _leaf(known[name]))
        return term
    return _of_rows(term, tuple(known[name] for name in order), arguments)


def hessian_vector(term: Term, arguments: Sequence[Argument]) -> dict[str, Term]:
    """The Hessian of a row loss applied to tangents: one term per differentiable argument.

    The tangent of argument `a` is the row (for a scalar argument the scalar) `tangent_a`; the
    result for `a` is the derivative of dL/da along all tangents at once.
    """
    chosen = [a for a in arguments if a.differentiable]
    tangents = {_leaf(a): row(f"tangent_{a.name}") if a.axis == "class" else var(f"tangent_{a.name}") for a in chosen}
    work, finish = _prepared(term, arguments)
    return {a.name: finish(_along(finish(gradient(work, _leaf(a))), tangents)) for a in chosen}


def _over_classes(term: Term, arguments: Sequence[Argument]) -> bool:
    return any(a.axis == "class" for a in arguments) or any(t.op in REDUCTIONS for t in walk(term))


def _leaf(argument: Argument) -> Term:
    return row(argument.name) if argument.axis == "class" else var(argument.name)


def _of_rows(term: Term, order: tuple[Argument, ...], arguments: Sequence[Argument]) -> Term:
    if len(order) > 2 or len({a.name for a in order}) != 1:
        raise CalculusProblem("over the class axis there are gradients, Hessian diagonals and Hessian-vector products")
    work, finish = _prepared(term, arguments)
    leaf = _leaf(order[0])
    first = finish(gradient(work, leaf))
    if len(order) == 1:
        return first
    return finish(_diagonal(first, leaf) if leaf.op == "row" else gradient(first, leaf))


def _prepared(term: Term, arguments: Sequence[Argument]) -> tuple[Term, Callable[[Term], Term]]:
    """The form to differentiate, and what to do to each result."""
    from lossmith.derivations.rows.algebra import Algebra
    from lossmith.derivations.rows.shape import separable

    if separable(term):
        return term, lambda t: t
    normal = Algebra(arguments, products=False).normal
    return normal(term), normal


def gradient(term: Term, by: Term) -> Term:
    """d term / d by for a scalar term: a row where `by` is a row leaf, a scalar where it is a var."""
    order = [t for t in walk(term) if t.op in REDUCTIONS]
    adjoint: dict[Term, Term] = {}
    result = partial(term, by) if by.op == "var" else ZERO

    def spread(part: Term, weight: Term, gather: Term | None) -> Term:
        """The direct dependence of weight * part on `by`; the adjoints of the reductions inside."""
        for inner in _reductions_of(part):
            slope = times(weight, partial(part, inner))
            if slope is not ZERO:
                adjoint[inner] = plus(adjoint.get(inner, ZERO), _collected(slope, gather, part))
        direct = times(weight, partial(part, by))
        if direct is ZERO or by.op == "row":
            chosen = direct if gather is None else times(node("onehot", (gather,)), direct)
            return ZERO if direct is ZERO else chosen
        return _collected(direct, gather, part)

    for inner in _reductions_of(term):
        adjoint[inner] = partial(term, inner)
    for reduction in reversed(order):
        weight = adjoint.get(reduction, ZERO)
        if weight is not ZERO:
            for part, slope, gather in _parts(reduction):
                result = plus(result, spread(part, times(weight, slope), gather))
    return result


def _parts(reduction: Term) -> list[tuple[Term, Term, Term | None]]:
    """What a reduction is made of: (part, d reduction / d part, the label it is read at)."""
    if reduction.op == "sum":
        return [(reduction.args[0], ONE, None)]
    if reduction.op == "at":
        return [(reduction.args[0], ONE, reduction.args[1])]
    if reduction.op == "lse":
        return [(a, make("exp", sub(a, reduction)), None) for a in reduction.args]
    raise CalculusProblem(f"{reduction.op} belongs to stable forms; differentiate the definition")


def _collected(slope: Term, gather: Term | None, part: Term) -> Term:
    """A dependence per class, as one number per row."""
    if gather is not None:
        return node("at", (slope, gather)) if slope.sort == "row" else slope
    return total(slope) if part.sort == "row" else slope


def total(body: Term) -> Term:
    """The sum of a body over the classes; a scalar body counts C times."""
    if body is ZERO:
        return ZERO
    if body.op == "neg":
        return neg(total(body.args[0]))
    return node("sum", (body,)) if body.sort == "row" else mul(COUNT, body)


def _reductions_of(part: Term) -> list[Term]:
    """The outermost reductions in a term."""
    found: dict[Term, None] = {}

    def go(t: Term) -> None:
        if t.op in REDUCTIONS:
            found[t] = None
            return
        for a in t.args:
            go(a)

    go(part)
    return list(found)


def _diagonal(g: Term, by: Term) -> Term:
    """d g_k / d x_k: directly, and through every reduction that g reads."""
    out = partial(g, by)
    for inner in _reductions_of(g):
        slope = partial(g, inner)
        if slope is not ZERO:
            out = plus(out, times(slope, gradient(inner, by)))
    return out


def _along(term: Term, tangents: Mapping[Term, Term]) -> Term:
    """The derivative of a term along tangents."""
    done: dict[Term, Term] = {}

    def go(t: Term) -> Term:
        if t in done:
            return done[t]
        out = ZERO
        for leaf, tangent in tangents.items():
            out = plus(out, times(partial(t, leaf), tangent))
        for inner in _reductions_of(t):
            slope = partial(t, inner)
            if slope is not ZERO:
                out = plus(out, times(slope, reduce_along(inner)))
        done[t] = out
        return out

    def reduce_along(reduction: Term) -> Term:
        out = ZERO
        for part, slope, gather in _parts(reduction):
            moved = go(part)
            if moved is not ZERO:
                out = plus(out, _collected(times(slope, moved), gather, part))
        return out

    return go(term)
