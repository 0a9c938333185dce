"""What an identity is: a chain of equal formulas, each line with the reason why it equals the one above."""

from __future__ import annotations

from dataclasses import dataclass, field

from lossmith.derivations.derivation import Evidence, Order, StableForm, Step
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term


@dataclass(frozen=True)
class Identity:
    """A statement: every line is equal to the one above, wherever the arguments lie in their domains.

    lines: (formula, reason); the reason of the first line says what it is. Nothing here is taken
    on trust: `check` proves each line and encloses it, or refuses it with a counterexample.
    """

    name: str
    title: str
    lines: tuple[tuple[Term, str], ...]
    arguments: tuple[Argument, ...]
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckedIdentity:
    """An identity with its evidence; typeset by the same code as a derivation."""

    name: str
    title: str
    arguments: tuple[Argument, ...]
    definition: Term
    steps: tuple[Step, ...]
    end_to_end: tuple[Evidence, ...]
    references: tuple[str, ...] = ()
    policies: tuple[tuple[str, str], ...] = field(default=())
    opening: str = ""
    order: Order | None = None
    form: StableForm | None = None

    def to_text(self) -> str:
        from lossmith.derivations.typeset.text import derivation_text

        return derivation_text(self)

    def to_latex(self) -> str:
        from lossmith.derivations.typeset.latex import derivation_latex

        return derivation_latex(self)

    def to_markdown(self) -> str:
        from lossmith.derivations.typeset.markdown import derivation_markdown

        return derivation_markdown(self)

    def _repr_latex_(self) -> str:
        from lossmith.derivations.typeset.latex import notebook_latex

        return notebook_latex(self)
