"""A derivation: ordered steps from a definition to a stable form. It is the computation itself.

Text, LaTeX, Markdown, HTML and the audit all read this one object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term

Order = tuple[str, ...]  # () the loss, ("x",) its gradient by x, ("x", "x") the Hessian diagonal, ("x", "z") mixed


@dataclass(frozen=True)
class Evidence:
    """Why a step is true. `proved`: symbolically, `method` names the case split or the algebra.
    `enclosed`: balls of both sides overlap at `points` points."""

    kind: Literal["proved", "enclosed"]
    method: str
    points: int = 0


@dataclass(frozen=True)
class Measurement:
    """The worst error of a form on the points that were tried, and where it was found."""

    dtype: str
    ulp: float
    where: str
    points: int


@dataclass(frozen=True)
class Step:
    """One rewrite of the whole expression. `source` and `result` are the part that changed."""

    rule: str
    before: Term
    after: Term
    source: Term
    result: Term
    condition: str
    reason: str
    reason_latex: str
    evidence: tuple[Evidence, ...]
    error_before: Measurement | None = None
    error_after: Measurement | None = None


@dataclass(frozen=True)
class StableForm:
    """The term that a kernel computes, what it was derived from, and how accurate it measured.

    `verdict`: 'stable', 'improved' or 'unchanged'; `remaining` says in words what is left and why.
    `error` is the worst over all formats, `errors` has one for each; `before` is the definition's own
    worst error. `condition`: how many ulp the truth itself moves, at the form's worst point, when an
    input moves by half an ulp; None where nothing asked for it.
    """

    term: Term
    definition: Term
    arguments: tuple[Argument, ...]
    order: Order
    error: Measurement | None
    verdict: Literal["stable", "improved", "unchanged"]
    remaining: str = ""
    errors: tuple[Measurement, ...] = ()
    before: Measurement | None = None
    condition: float | None = None


@dataclass(frozen=True)
class Derivation:
    """How the stable form of one quantity (a loss, a gradient, a Hessian) follows from the definition."""

    name: str
    title: str
    order: Order
    arguments: tuple[Argument, ...]
    definition: Term
    steps: tuple[Step, ...]
    form: StableForm
    end_to_end: tuple[Evidence, ...]
    policies: tuple[tuple[str, str], ...] = ()
    references: tuple[str, ...] = ()
    symbols: Mapping[str, str] | None = None
    given: tuple[Term, ...] = ()  # relations between the arguments, which the form relies on

    @property
    def of(self) -> str:
        return ("loss", "gradient", "hessian")[len(self.order)]

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
