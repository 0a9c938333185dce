"""A loss: a name, its arguments with their domains, and its definition as one SymPy expression.

The definition is the naive formula of the textbook. Truth is always computed from it.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import sympy as sp
from lossmith.derivations import domains
from lossmith.derivations.domains import Domain
from lossmith.derivations.terms import Term

Role = Literal["input", "target", "label", "parameter"]
Axis = Literal["none", "class"]
_order = itertools.count()
NAME = re.compile(r"^[a-z][a-z0-9_]{0,63}$")
IDENTIFIER = re.compile(r"^[A-Za-z][A-Za-z0-9_]{0,31}$")


@dataclass(frozen=True)
class Argument:
    """One input: what it is called, the part it plays, where it lives, and along which axis.

    `differentiable`: whether gradients by it are derived. `default`: for a parameter, its value
    ("eps" stands for the rounding unit of the dtype, numpy's finfo(dtype).eps).
    """

    name: str
    role: Role
    domain: Domain
    axis: Axis = "none"
    differentiable: bool = True
    meaning: str = ""
    default: str | None = None
    order: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if not IDENTIFIER.match(self.name):
            raise ValueError(f"'{self.name}' is not a name that an argument can have")


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


@dataclass(frozen=True)
class Reference:
    """Where the formula comes from."""

    text: str


@dataclass(frozen=True)
class Variant:
    """Another formula of the same loss: other inputs, or another named policy.

    Its unit is named `<loss>_<suffix>`; the loss's own formula has no suffix.
    """

    suffix: str
    formula: Any
    title: str
    policies: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Loss:
    """A loss of the catalogue.

    `policies` names what libraries disagree about, and what holds here: ("clip", "none"), ...
    """

    name: str
    title: str
    formula: Any
    references: tuple[Reference, ...] = ()
    variants: tuple[Variant, ...] = ()
    policies: tuple[tuple[str, str], ...] = ()
    summary: str = ""

    def __post_init__(self) -> None:
        if not NAME.match(self.name):
            raise ValueError(f"a loss is named in lower case, digits and underscores: not '{self.name}'")


@dataclass(frozen=True)
class Unit:
    """One formula with one name: a loss or one of its variants. Everything downstream sees units.

    formula: a SymPy expression, or a term. given: relations between the arguments, terms of sort truth.
    """

    name: str
    loss: str
    title: str
    formula: Any
    arguments: tuple[Argument, ...]
    references: tuple[Reference, ...]
    policies: tuple[tuple[str, str], ...]
    summary: str = ""
    given: tuple[Term, ...] = ()

    @property
    def shape(self) -> Literal["elementwise", "row"]:
        return "row" if any(a.axis == "class" for a in self.arguments) else "elementwise"

    @property
    def primary(self) -> Argument:
        """The argument that `gradient` means when no other is named: the first input."""
        return next(a for a in self.arguments if a.role == "input")

    def argument(self, name: str) -> Argument:
        for a in self.arguments:
            if a.name == name:
                return a
        raise KeyError(f"{self.name} has no argument '{name}'; it has {', '.join(a.name for a in self.arguments)}")


def arguments_of(formula: Any) -> tuple[Argument, ...]:
    """The arguments that occur in a formula, in the order in which they were declared."""
    found = {s.argument for s in formula.atoms(Symbol)}
    return tuple(sorted(found, key=lambda a: a.order))


def units_of(loss: Loss) -> tuple[Unit, ...]:
    """The loss itself and its variants, as units."""
    first = Unit(loss.name, loss.name, loss.title, loss.formula, arguments_of(loss.formula),
                 loss.references, loss.policies, loss.summary)
    rest = tuple(
        Unit(f"{loss.name}_{v.suffix}", loss.name, v.title, v.formula, arguments_of(v.formula),
             loss.references, v.policies or loss.policies, loss.summary)
        for v in loss.variants
    )
    return first, *rest
