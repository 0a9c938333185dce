"""A loss: a name, its arguments with their domains, and its definition as one expression.

The definition is the naive formula of the textbook. Truth is always computed from it. Importing this
module does not import SymPy; the words that make an expression are in `declaring.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from lossmith.derivations.domains import Domain
from lossmith.derivations.terms import Term

Role = Literal["input", "target", "label", "parameter"]
Axis = Literal["none", "class"]
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
    `arguments`: of a formula that is a term; SymPy's symbols know their own. `given`: relations
    between the arguments.
    """

    name: str
    title: str
    formula: Any
    references: tuple[Reference, ...] = ()
    variants: tuple[Variant, ...] = ()
    policies: tuple[tuple[str, str], ...] = ()
    summary: str = ""
    arguments: tuple[Argument, ...] = ()
    given: tuple[Term, ...] = ()

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


def first_unit(loss: Loss, arguments: tuple[Argument, ...] | None = None) -> Unit:
    """The loss itself as a unit, without its variants."""
    return Unit(loss.name, loss.name, loss.title, loss.formula, loss.arguments if arguments is None else arguments,
                loss.references, loss.policies, loss.summary, loss.given)


def orders(unit: Unit) -> tuple[tuple[str, ...], ...]:
    """All that is derived of a unit: the loss, a gradient by each differentiable argument, and
    second derivatives (for rows the diagonals of the inputs, for elementwise losses all pairs)."""
    names = [a.name for a in unit.arguments if a.differentiable]
    if unit.shape == "row":
        second = [(a.name, a.name) for a in unit.arguments if a.differentiable and a.role == "input"]
    else:
        second = [(a, b) for i, a in enumerate(names) for b in names[i:]]
    return ((), *((n,) for n in names), *second)
