"""A chain of equal formulas as lines to be set: what every format reads, derivation or identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lossmith.derivations.derivation import Evidence, Measurement, Order, StableForm, Step
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term


class Chain(Protocol):
    """What can be typeset. `order` and `form` are None for an identity, which has no quantity of its own."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def arguments(self) -> tuple[Argument, ...]: ...
    @property
    def definition(self) -> Term: ...
    @property
    def steps(self) -> tuple[Step, ...]: ...
    @property
    def end_to_end(self) -> tuple[Evidence, ...]: ...
    @property
    def policies(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def references(self) -> tuple[str, ...]: ...
    @property
    def order(self) -> Order | None: ...
    @property
    def form(self) -> StableForm | None: ...


@dataclass(frozen=True)
class Line:
    """One line. `quantity`: what stands to the left of the equals sign (None: nothing, the line
    above goes on). `step`: what led here (None for the first line). `number`: of that step, from 1.
    """

    term: Term
    quantity: Order | None
    reason: str
    reason_latex: str
    error: Measurement | None
    step: Step | None = None
    number: int = 0


def lines_of(chain: Chain) -> tuple[Line, ...]:
    """The lines of a chain, the definition first. A step of differentiation starts a new quantity."""
    steps, order = chain.steps, chain.order
    derived = bool(order) and bool(steps) and steps[0].rule == "differentiate"
    measured = steps[0].error_before if steps else chain.form.error if chain.form else None
    start = () if derived else order
    reason = "definition" if order is not None else getattr(chain, "opening", "")
    out = [Line(chain.definition, start, reason, "", None if derived else measured)]
    for number, step in enumerate(steps, 1):
        quantity = order if derived and number == 1 else None
        error = step.error_after
        if quantity is not None and error is None and len(steps) > 1:
            error = steps[1].error_before
        out.append(Line(step.after, quantity, step.reason, step.reason_latex, error, step, number))
    return tuple(out)


def all_terms(chain: Chain) -> list[Term]:
    """Every formula that is set as a line, in order, each once."""
    return list(dict.fromkeys(line.term for line in lines_of(chain)))
