"""What is audited: a unit, and each of its outputs as a term of the definition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from lossmith.codegen.lower import output_name
from lossmith.derivations import catalogue, parser
from lossmith.derivations.calculus import derivative
from lossmith.derivations.derive import licensed_definition, orders
from lossmith.derivations.loss import Argument, Unit
from lossmith.derivations.terms import Term, varies
from lossmith.derivations.ulp import Format, round_fraction


def wrt_of(output: str, names: Sequence[str]) -> tuple[str, ...]:
    """The arguments that an output differentiates by: `hessian_x_z` -> ("x", "z"). The loss: none."""
    _, _, rest = output.partition("_")
    if not rest:
        return ()
    if rest in names:
        return (rest,)
    for name in names:
        if rest.startswith(name + "_") and rest[len(name) + 1:] in names:
            return name, rest[len(name) + 1:]
    raise KeyError(f"{output} names no argument among {', '.join(names)}")


@dataclass(frozen=True, eq=False)
class Subject:
    """A unit and the terms that its outputs are measured against, in the order of derivation."""

    unit: Unit
    outputs: Mapping[str, Term]

    @property
    def name(self) -> str:
        return self.unit.name

    @property
    def is_row(self) -> bool:
        return self.unit.shape == "row"

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return self.unit.arguments

    @property
    def given(self) -> tuple[Argument, ...]:
        """The arguments that vary from point to point: parameters are left out."""
        return tuple(a for a in self.unit.arguments if a.role != "parameter")

    def wrt(self, output: str) -> tuple[str, ...]:
        """The arguments that an output differentiates by; the loss: none."""
        return wrt_of(output, [a.name for a in self.given])

    def parameters(self, fmt: Format) -> dict[str, float]:
        """The parameters at their defaults, as numbers of the format."""
        return {
            a.name: fmt.eps if a.default == "eps" else round_fraction(Fraction(a.default or "1"), fmt)
            for a in self.unit.arguments if a.role == "parameter"
        }

    def per_class(self, output: str) -> bool:
        """Whether an output has one value per class: the loss has none, a derivative if its argument has."""
        if output == "loss":
            return varies(self.outputs[output])
        return self.unit.argument(self.wrt(output)[0]).axis == "class"


def subject_of(unit: Unit) -> Subject:
    """A unit with the loss, its gradients and its second derivatives, differentiated from the definition.

    Where the domain licenses unit sums, from the definition with those sums put in: the same
    function on every distribution, and the one whose gradient is promised.
    """
    definition = licensed_definition(unit)[2]
    return Subject(unit, {output_name(o): derivative(definition, o, unit.arguments) for o in orders(unit)})


@cache
def load(name: str) -> Subject:
    """A unit of the catalogue, ready to be audited. Raises UnknownLoss."""
    return subject_of(catalogue.load(name))


def of_truth(truth: str, domain: Mapping[str, str] | None = None, where: Sequence[str] = ()) -> Subject:
    """What a function is measured against: a unit of the catalogue by name; else a formula over
    `domain` and `where`, or the name of a function of the vocabulary, as `softplus`, on all numbers.
    Of a formula with a value per class, as a softmax, the value alone is measured.

    Raises UnknownLoss, FormulaError.
    """
    if domain is None and truth in catalogue.unit_names():
        return load(truth)
    if domain is None and truth in parser.FUNCTIONS and parser.FUNCTIONS[truth][1] == 1:
        truth, domain = f"{truth}(x)", {"x": "extended"}
    if domain is None and not truth.replace("_", "").isalnum():
        raise ValueError(f"the truth '{truth}' is a formula, and its arguments have no domain: say "
                         "--domain \"x=real\", or domain={'x': 'real'}")
    if domain is None:
        return load(truth)  # says which names there are
    declared = parser.arguments(domain)
    term = parser.parse_term(truth, declared, rows=True)
    given = tuple(parser.parse_condition(w, declared) for w in where)
    unit = Unit("formula", "formula", truth, term, tuple(declared.values()), (), (), given=given)
    if varies(term):
        return Subject(unit, {"loss": term})
    discrete = {a.name for a in unit.arguments if a.domain.values}
    chosen = [o for o in orders(unit) if not discrete & set(o)]
    return Subject(unit, {output_name(o): derivative(term, o, unit.arguments) for o in chosen})
