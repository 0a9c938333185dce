"""The words a loss is written with: arguments as SymPy symbols, sums over the classes.

A symbol knows the argument that it stands for, so that a formula alone tells all of its arguments.
"""

from __future__ import annotations

import itertools
from typing import Any

import sympy as sp
from lossmith.derivations import domains
from lossmith.derivations.domains import Domain
from lossmith.derivations.loss import Argument, Loss, Role, Unit, first_unit

_order = itertools.count()


class Symbol(sp.Symbol):
    """A SymPy symbol that knows the argument it stands for."""

    argument: Argument

    def __new__(cls, argument: Argument) -> Symbol:
        made: Symbol = sp.Symbol.__xnew__(cls, argument.name, real=True)
        made.argument = argument
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[Argument], dict[str, Any]]:
        return (self.argument,), {}

    def _hashable_content(self) -> tuple[Any, ...]:
        return (*super()._hashable_content(), repr(self.argument))


def _scalar(name: str, role: Role, domain: Domain, **more: Any) -> Symbol:
    return Symbol(Argument(name, role, domain, order=next(_order), **more))


def _row(name: str, role: Role, domain: Domain, **more: Any) -> Any:
    return sp.IndexedBase(Symbol(Argument(name, role, domain, axis="class", order=next(_order), **more)))


def logit(name: str, domain: Domain = domains.EXTENDED, meaning: str = "logit") -> Symbol:
    """A real number per example, infinities allowed."""
    return _scalar(name, "input", domain, meaning=meaning)


def probability(name: str, domain: Domain = domains.PROBABILITY, meaning: str = "probability") -> Symbol:
    """A probability per example."""
    return _scalar(name, "input", domain, meaning=meaning)


def target(name: str, domain: Domain, meaning: str = "target") -> Symbol:
    """What the input is compared with, per example. Differentiable unless its domain is a set of values."""
    return _scalar(name, "target", domain, differentiable=not domain.values, meaning=meaning)


def parameter(name: str, domain: Domain, default: str, meaning: str = "parameter") -> Symbol:
    """A number that is the same for all examples, given by keyword."""
    return _scalar(name, "parameter", domain, differentiable=False, default=default, meaning=meaning)


def logits(name: str, domain: Domain = domains.EXTENDED, meaning: str = "logits") -> Any:
    """A real number per class: a row. Index it: `x[i]`."""
    return _row(name, "input", domain, meaning=meaning)


def probabilities(name: str, domain: Domain = domains.SIMPLEX, meaning: str = "probabilities") -> Any:
    """A probability per class: a row that sums to one."""
    return _row(name, "input", domain, meaning=meaning)


def targets(name: str, domain: Domain = domains.SIMPLEX, meaning: str = "targets") -> Any:
    """A target per class: a row; a distribution unless another domain is named."""
    return _row(name, "target", domain, differentiable=not domain.values, meaning=meaning)


def class_label(name: str, meaning: str = "class index") -> Symbol:
    """An integer per example, from 0 to C - 1. Use it as an index: `x[y]`."""
    return _scalar(name, "label", domains.INDEX, differentiable=False, meaning=meaning)


classes = sp.Symbol("C", integer=True, positive=True)


def class_index(name: str) -> Any:
    """A bound index over the class axis, for `Sum`."""
    return sp.Idx(name, (0, classes - 1))


def Sum(body: Any, index: Any) -> Any:  # noqa: N802  (the field's name)
    """The sum of body over the class axis.

    SymPy's own constructor re-orders the factors of the body; this one leaves them as written.
    """
    made = sp.Expr.__new__(sp.Sum, sp.sympify(body), sp.Tuple(index, 0, classes - 1))
    made.is_commutative = True
    return made


def arguments_of(formula: Any) -> tuple[Argument, ...]:
    """The arguments that occur in a formula, in the order in which they were declared."""
    found = {s.argument for s in formula.atoms(Symbol)}
    return tuple(sorted(found, key=lambda a: a.order))


def units_of(loss: Loss) -> tuple[Unit, ...]:
    """The loss itself and its variants, as units."""
    first = first_unit(loss, arguments_of(loss.formula))
    rest = tuple(
        Unit(f"{loss.name}_{v.suffix}", loss.name, v.title, v.formula, arguments_of(v.formula),
             loss.references, v.policies or loss.policies, loss.summary)
        for v in loss.variants
    )
    return first, *rest
