"""Kernels: what to compute, with no target in it. Nothing here or to the right of here knows SymPy.

Two shapes. An elementwise kernel is a list of named temporaries and outputs. A row kernel is a
monoid over the class axis (families and slots), a finish (per row) and an epilogue (per class).

Every output is named by what it differentiates: `loss`, `gradient_x`, `hessian_x` (the diagonal),
`hessian_x_z` (mixed), `hvp_x` (the Hessian applied to the tangent row `tangent_x`, ...).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from lossmith.derivations.terms import Term, walk


@dataclass(frozen=True)
class Input:
    """An input of a kernel.

    kind: `scalar` one value per example (for an elementwise kernel: per element), `row` one value
    per class, `label` an integer per row, `parameter` one value for the whole call.
    default: of a parameter, as text; "eps" is the rounding unit of the dtype.
    """

    name: str
    kind: Literal["scalar", "row", "label", "parameter"]
    role: Literal["input", "target", "label", "parameter", "tangent"]
    domain: str
    meaning: str = ""
    default: str | None = None
    differentiable: bool = True


@dataclass(frozen=True)
class Let:
    """A named temporary: `name = term`. Later terms refer to it as `var(name)`."""

    name: str
    term: Term
    comment: str = ""


@dataclass(frozen=True)
class Program:
    """Straight-line code: temporaries in order, then outputs. Terms use the machine vocabulary only."""

    lets: tuple[Let, ...]
    outputs: Mapping[str, Term]

    def restrict(self, outputs: Iterable[str]) -> Program:
        """The same program for some of the outputs, with only the temporaries that those need."""
        chosen = {name: self.outputs[name] for name in outputs if name in self.outputs}
        needed = names_used(chosen.values())
        kept: list[Let] = []
        for let in reversed(self.lets):
            if let.name in needed:
                kept.append(let)
                needed |= names_used([let.term])
        return Program(tuple(reversed(kept)), chosen)

    def names(self) -> frozenset[str]:
        """Every var, row and label that the program reads, its own temporaries left out."""
        own = {let.name for let in self.lets}
        used = names_used([*(let.term for let in self.lets), *self.outputs.values()])
        return frozenset(used - own)


def names_used(terms: Iterable[Term]) -> set[str]:
    """The names of the var, row and label leaves of some terms."""
    return {str(t.value) for t in walk(*terms) if t.op in ("var", "row", "label")}


@dataclass(frozen=True)
class Elementwise:
    """One value in, one value out, for each element; inputs broadcast against each other."""

    name: str
    inputs: tuple[Input, ...]
    program: Program


@dataclass(frozen=True)
class Family:
    """A running maximum over the class axis and what is needed below it.

    `element` is a term over one element of the row inputs (row leaves), `extras` are scalars that
    count as one more element each and are merged once, at the finish. The state is (m, s, n): the
    peak m, the sum s of exp(a - m) over elements strictly below it, the number n of elements
    equal to it. The finish and the epilogue read `<name>_peak` (m) and `<name>_rest` = s + (n - 1),
    which is NaN where the peak is -inf, or is +inf and attained more than once.
    """

    name: str
    element: Term
    extras: tuple[Term, ...] = ()


@dataclass(frozen=True)
class Power:
    """The factor gap ** p * exp(-gap) ** q, gap = m - a of family `family`."""

    family: str
    p: int
    q: int


@dataclass(frozen=True)
class Slot:
    """A sum over classes of `weight` times powers of gaps: closed under a change of the peak.

    When the peak of the family moves up by D, gap' = gap + D, so the new slot is
    exp(-q D) * sum over j <= p of binom(p, j) D ** (p - j) * slot[weight, j, q]; the lower slots it
    needs are always present in the same stage. No powers: a plain sum. The finish reads `<name>`.
    """

    name: str
    weight: Term
    powers: tuple[Power, ...] = ()


@dataclass(frozen=True)
class Capture:
    """The value of an element term at a label, read once per row: `<name>` = element[label]."""

    name: str
    element: Term
    label: str


@dataclass(frozen=True)
class Stage:
    """One pass over the row. Its elements may read the scalars of earlier stages, and their lets."""

    families: tuple[Family, ...]
    slots: tuple[Slot, ...]
    captures: tuple[Capture, ...]
    after: tuple[Let, ...] = ()  # scalars computed from this stage's results, for later stages


@dataclass(frozen=True)
class Row:
    """A reduction over the class axis: stages, then a finish per row, then an epilogue per class.

    finish.outputs are scalars per row (the loss); epilogue.outputs are rows (gradients). The
    epilogue reads elements (row leaves, `position`), labels, and any scalar computed before it:
    the stages' results, their `after`, and the finish's lets.
    """

    name: str
    inputs: tuple[Input, ...]
    stages: tuple[Stage, ...]
    finish: Program
    epilogue: Program

    def restrict(self, outputs: Iterable[str]) -> Row:
        """The same kernel for some of the outputs; stages keep only what those need."""
        wanted = list(outputs)
        epilogue = self.epilogue.restrict(wanted)
        finish = self.finish.restrict(wanted)
        needed = set(epilogue.names()) | set(finish.names())
        kept: list[Let] = []
        for let in reversed(self.finish.lets):
            if let.name in needed or any(let is f for f in finish.lets):
                kept.append(let)
                needed |= names_used([let.term])
        finish = Program(tuple(reversed(kept)), finish.outputs)
        stages: list[Stage] = []
        for stage in reversed(self.stages):
            stage = _restrict_stage(stage, needed)
            needed |= _stage_reads(stage)
            if stage.families or stage.slots or stage.captures or stage.after:
                stages.append(stage)
        return Row(self.name, self.inputs, tuple(reversed(stages)), finish, epilogue)


def _restrict_stage(stage: Stage, needed: set[str]) -> Stage:
    after: list[Let] = []
    for let in reversed(stage.after):
        if let.name in needed:
            after.append(let)
            needed |= names_used([let.term])
    wanted = [s for s in stage.slots if s.name in needed]
    keep = {s.name for s in wanted}
    for slot in wanted:  # the lower powers that merging needs
        lower = {p.family: (p.p, p.q) for p in slot.powers}
        for other in stage.slots:
            if other.weight is slot.weight and all(
                p.family in lower and p.p <= lower[p.family][0] and p.q == lower[p.family][1] for p in other.powers
            ):
                keep.add(other.name)
    slots = tuple(s for s in stage.slots if s.name in keep)
    families = tuple(
        f for f in stage.families
        if f"{f.name}_peak" in needed or f"{f.name}_rest" in needed
        or any(p.family == f.name for s in slots for p in s.powers)
    )
    captures = tuple(c for c in stage.captures if c.name in needed)
    return Stage(families, slots, captures, tuple(reversed(after)))


def _stage_reads(stage: Stage) -> set[str]:
    terms: list[Term] = []
    for family in stage.families:
        terms += [family.element, *family.extras]
    terms += [s.weight for s in stage.slots] + [c.element for c in stage.captures]
    return names_used(terms) | {c.label for c in stage.captures}


Kernel = Elementwise | Row


@dataclass(frozen=True)
class Origin:
    """What a generated file says about where it came from; text only, ready to print."""

    unit: str
    loss: str
    title: str
    source: str  # the file to edit, relative to the checkout
    command: str  # what regenerates the file
    formula: str  # the definition, as text
    steps: Mapping[str, tuple[tuple[str, str], ...]]  # per output: (expression, named rule)
    errors: Mapping[str, str]  # per output: "2.9 ulp at x = 0.71", float32, functions correctly rounded
    policies: tuple[tuple[str, str], ...]
    why: str  # why it is stable, in a sentence or two
    formula_hash: str


@dataclass(frozen=True)
class Bundle:
    """All that a target needs to write the files of one unit.

    kernel: loss, gradients by every differentiable argument, Hessian diagonals (and mixed second
    derivatives of elementwise losses). hvp: for rows, the Hessian applied to tangents, or None.
    primary: the argument that `gradient` and `hessian` mean when none is named.
    """

    origin: Origin
    kernel: Kernel
    hvp: Row | None
    primary: str
    differentiable: tuple[str, ...]
