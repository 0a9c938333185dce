"""Programs as lines of Python over tensors: one function per loss, gradient, Hessian or curvature.

A formula is plain data for the templates. In a row formula the class axis is the last one and
every scalar keeps an axis of length one there, so rows and scalars broadcast.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from lossmith.codegen.kernel import Elementwise, Family, Let, Program, Row, Slot, Stage, names_used
from lossmith.codegen.targets.pt_printing import TorchPrinter, fold, literal
from lossmith.derivations.terms import ZERO, Term, is_const, name_of, number, row, var, walk


@dataclass(frozen=True)
class Formula:
    """One generated function: `lines` bind temporaries, `result` is the value, `meaning` what it is.
    A curvature takes one argument more, `tangent`."""

    name: str
    lines: tuple[str, ...]
    result: str
    meaning: str
    tangent: str = ""


def elementwise_formula(kernel: Elementwise, output: str) -> Formula:
    """The function that computes one output of an elementwise kernel."""
    tensors = [i.name for i in kernel.inputs if i.kind != "parameter"]
    writer = _Writer(tensors[0], set(tensors), _bound(kernel))
    program = kernel.program.restrict([output])
    writer.lets(program.lets)
    term = program.outputs[output]
    result = writer.result(term, writer.varies(term), tensors[0])
    return Formula(output, tuple(writer.lines), result, _meaning(output))


def row_formula(kernel: Row, output: str) -> Formula:
    """The function that computes one output of a row kernel: per class from the epilogue, else per row."""
    kernel = kernel.restrict([output])
    anchor = next(i.name for i in kernel.inputs if i.kind == "row")
    writer = _Writer(anchor, {i.name for i in kernel.inputs if i.kind == "row"}, _bound(kernel))
    per_class = output in kernel.epilogue.outputs
    term = (kernel.epilogue if per_class else kernel.finish).outputs[output]
    lets = kernel.finish.lets + (kernel.epilogue.lets if per_class else ())
    wanted = names_used([term, *(let.term for let in lets)])
    for stage in kernel.stages:
        wanted |= names_used([*(let.term for let in stage.after), *(f.element for f in stage.families),
                              *(e for f in stage.families for e in f.extras), *(s.weight for s in stage.slots),
                              *(c.element for c in stage.captures)])
    for stage in kernel.stages:
        _stage(writer, stage, wanted)
    writer.lets(lets)
    if per_class:
        result = writer.result(term, writer.varies(term), anchor)
    else:
        parameters = {i.name for i in kernel.inputs if i.kind == "parameter"}
        per_row = bool(names_used([writer.simple(term)]) - parameters)
        result = bracket(writer.result(term, per_row, f"{anchor}[..., :1]")) + ".squeeze(-1)"
    return Formula(output, tuple(writer.prelude() + writer.lines), result, _meaning(output))


def curvature_formula(kernel: Row, tangent: str, seen: str) -> Formula:
    """The Hessian's block that takes a tangent of one argument to another. `kernel` computes `hvp_<seen>`."""
    name = f"tangent_{tangent}"
    found = row_formula(_along(kernel, name), f"hvp_{seen}")
    meaning = f"The derivative of dL/d{seen} along a tangent of {tangent}"
    return replace(found, name=f"curvature_{tangent}_{seen}", meaning=meaning, tangent=name)


def _meaning(output: str) -> str:
    kind, _, names = output.partition("_")
    if kind == "loss":
        return "L"
    if kind == "gradient":
        return f"dL/d{names}"
    first, _, second = names.partition("_")
    return f"d2L/d{first} d{second}" if second else f"d2L/d{first}2"


def _bound(kernel: Elementwise | Row) -> set[str]:
    """Every name that the kernel gives, which no temporary of ours may take."""
    names = {i.name for i in kernel.inputs}
    if isinstance(kernel, Elementwise):
        return names | {let.name for let in kernel.program.lets}
    for stage in kernel.stages:
        names |= {part.name for part in (*stage.slots, *stage.captures, *stage.after)}
        names |= {f"{f.name}_{part}" for f in stage.families for part in ("peak", "rest")}
    return names | {let.name for let in (*kernel.finish.lets, *kernel.epilogue.lets)}


def _stage(writer: _Writer, stage: Stage, wanted: set[str]) -> None:
    elements: dict[str, str] = {}
    for family in stage.families:
        _family(writer, family, wanted, elements)
    for slot in stage.slots:
        writer.lines.append(f"{slot.name} = {_slot(writer, slot, elements)}.sum(-1, keepdim=True)")
    for capture in stage.captures:
        element = writer.text(capture.element)
        writer.lines.append(f"{capture.name} = torch.gather({element}, -1, {capture.label})")
    writer.lets(stage.after)


def _family(writer: _Writer, family: Family, wanted: set[str], elements: dict[str, str]) -> None:
    element = writer.row_text(family.element)
    if not element.isidentifier():
        name = writer.fresh(f"{family.name}_element")
        writer.lines.append(f"{name} = {element}")
        element = name
    elements[family.name] = element
    extras = "".join(f", {writer.tensor_text(extra)}" for extra in family.extras)
    writer.lines.append(f"{family.name}_peak = _peak({element}{extras})")
    if f"{family.name}_rest" in wanted:
        writer.lines.append(f"{family.name}_rest = _rest({element}, {family.name}_peak{extras})")


def _slot(writer: _Writer, slot: Slot, elements: Mapping[str, str]) -> str:
    """What a slot sums: the weight times the powers of the gaps, no axis reduced yet."""
    powers = [_power(elements[p.family], f"{p.family}_peak", p.p, p.q) for p in slot.powers if p.p or p.q]
    product = " * ".join(powers)
    weight = writer.simple(slot.weight)
    if is_const(weight, 1) and powers:
        return f"({product})" if len(powers) > 1 else product
    if not powers:
        return bracket(writer.row_text(slot.weight))
    return f"_absorb({writer.text(slot.weight)}, {product})"


def _power(element: str, peak: str, p: int, q: int) -> str:
    if (p, q) == (0, 1):
        return f"_exp_diff({element}, {peak})"
    if (p, q) == (1, 0):
        return f"_gap({peak}, {element})"
    return f"_gap_power({element}, {peak}, {p}, {q})"


class _Writer:
    """Collects the lines of one function. `varying` names what runs over elements or classes."""

    def __init__(self, anchor: str, varying: set[str], taken: set[str]) -> None:
        self.anchor, self.varying, self.taken = anchor, varying, taken
        self.printer = TorchPrinter(anchor)
        self.lines: list[str] = []
        self.constants: dict[Term, Term] = {}
        self.leaves: dict[str, str] = {}

    def simple(self, term: Term) -> Term:
        return fold(term, self.constants)

    def text(self, term: Term) -> str:
        return self.printer.text(self.simple(term), self.leaf)

    def tensor_text(self, term: Term) -> str:
        """As `text`, a constant being written as a tensor."""
        found = self.simple(term)
        return self.printer.tensor(self.leaf(found)) if found.op == "const" else self.text(term)

    def row_text(self, term: Term) -> str:
        """As `text`, with the class axis at full length."""
        return self.text(term) if self.varies(term) else f"{bracket(self.tensor_text(term))}.expand_as({self.anchor})"

    def leaf(self, term: Term) -> str:
        if term.op == "const":
            return literal(number(term))
        if term.op in ("position", "count"):
            name = {"position": "position", "count": "classes"}[term.op]
            return self.leaves.setdefault(term.op, self.fresh(name))
        return name_of(term)

    def fresh(self, name: str) -> str:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def prelude(self) -> list[str]:
        """The class index and the number of classes, where the lines use them."""
        write = {
            "position": f"torch.arange({self.anchor}.shape[-1], device={self.anchor}.device)",
            "count": self.printer.tensor(f"{self.anchor}.shape[-1]"),
        }
        return [f"{name} = {write[op]}" for op, name in sorted(self.leaves.items())]

    def varies(self, term: Term) -> bool:
        used = walk(self.simple(term))
        return any(t.op == "position" or (t.op in ("var", "row") and name_of(t) in self.varying) for t in used)

    def lets(self, lets: Iterable[Let]) -> None:
        """The temporaries; one that is a constant is written where it is used."""
        for let in lets:
            term = self.simple(let.term)
            if term.op == "const":
                self.constants[var(let.name)] = term
                continue
            if self.varies(let.term):
                self.varying.add(let.name)
            comment = "  # " + " ".join(let.comment.split()) if let.comment else ""
            self.lines.append(f"{let.name} = {self.text(let.term)}{comment}")

    def result(self, term: Term, full: bool, shape: str) -> str:
        """The value that a function returns: never an argument itself; expanded where it is not full."""
        text = self.tensor_text(term)
        if not full:
            return f"{bracket(text)}.expand_as({shape})"
        return f"{text}.clone()" if text.isidentifier() else text


def bracket(text: str) -> str:
    """`text` so that a method call may follow."""
    plain = text.isidentifier() or (text.endswith(")") and _one_call(text))
    return text if plain else f"({text})"


def _one_call(text: str) -> bool:
    """Whether the text is a single call: its last bracket closes the first one that was opened."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if c == ")" and depth == 0 and i < len(text) - 1:
            return text[i + 1] == "." and _one_call(text[i + 2:])
    head = text.partition("(")[0]
    return all(part.isidentifier() for part in head.split(".") if part)


def _along(kernel: Row, tangent: str) -> Row:
    """A Hessian-vector kernel for one tangent alone, the others being zero: what they fed is gone."""
    gone: dict[Term, Term] = {}
    for i in kernel.inputs:
        if i.role == "tangent" and i.name != tangent:
            gone[row(i.name) if i.kind == "row" else var(i.name)] = ZERO
    stages = tuple(_without(stage, gone) for stage in kernel.stages)
    finish, epilogue = _thinned(kernel.finish, gone), _thinned(kernel.epilogue, gone)
    inputs = tuple(i for i in kernel.inputs if i.role != "tangent" or i.name == tangent)
    return Row(kernel.name, inputs, stages, finish, epilogue)


def _without(stage: Stage, gone: dict[Term, Term]) -> Stage:
    slots = []
    for slot in stage.slots:
        weight = fold(slot.weight, gone)
        if is_const(weight, 0):
            gone[var(slot.name)] = ZERO
        else:
            slots.append(replace(slot, weight=weight))
    captures = []
    for capture in stage.captures:
        element = fold(capture.element, gone)
        if is_const(element):
            gone[var(capture.name)] = element
        else:
            captures.append(replace(capture, element=element))
    families = tuple(
        replace(f, element=fold(f.element, gone), extras=tuple(fold(e, gone) for e in f.extras)) for f in stage.families
    )
    return Stage(families, tuple(slots), tuple(captures), _thin(stage.after, gone))


def _thin(lets: Iterable[Let], gone: dict[Term, Term]) -> tuple[Let, ...]:
    kept = []
    for let in lets:
        term = fold(let.term, gone)
        if is_const(term):
            gone[var(let.name)] = term
        else:
            kept.append(Let(let.name, term, let.comment))
    return tuple(kept)


def _thinned(program: Program, gone: dict[Term, Term]) -> Program:
    lets = _thin(program.lets, gone)
    return Program(lets, {name: fold(term, gone) for name, term in program.outputs.items()})

