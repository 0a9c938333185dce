"""Programs as lines of Python over tensors: one function per loss, gradient, Hessian or curvature.

A formula is plain data for the templates. In a row formula the class axis is the last one and
every scalar keeps an axis of length one there, so rows and scalars broadcast.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from lossmith.codegen.kernel import Elementwise, Family, Let, Program, Row, Slot, Stage, names_used
from lossmith.codegen.names import Names
from lossmith.codegen.targets.pt_printing import TorchPrinter, fold, literal
from lossmith.derivations.terms import ZERO, Term, const, is_const, name_of, node, number, power, row, var, walk

LONGEST = 80  # characters of an expression; what is longer is cut into temporaries


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
    program = kernel.program.restrict([output])
    term = program.outputs[output]
    writer = _Writer(tensors[0], tensors, [i.name for i in kernel.inputs], _names_given(kernel),
                     [*(let.term for let in program.lets), term])
    writer.lets(program.lets)
    result = writer.result(term, writer.varies(term), tensors[0])
    return Formula(output, tuple(writer.lines), result, _meaning(output))


def row_formula(kernel: Row, output: str) -> Formula:
    """The function that computes one output of a row kernel: per class from the epilogue, else per row."""
    kernel = kernel.restrict([output])
    rows = [i.name for i in kernel.inputs if i.kind == "row"]
    per_class = output in kernel.epilogue.outputs
    term = (kernel.epilogue if per_class else kernel.finish).outputs[output]
    lets = kernel.finish.lets + (kernel.epilogue.lets if per_class else ())
    terms = [*_stage_terms(kernel.stages), *(let.term for let in lets), term]
    writer = _Writer(rows[0], rows, [i.name for i in kernel.inputs], _names_given(kernel), terms)
    wanted = names_used(terms)
    for stage in kernel.stages:
        _stage(writer, stage, wanted)
    writer.lets(lets)
    if per_class:
        result = writer.result(term, writer.varies(term), rows[0])
    else:
        parameters = {i.name for i in kernel.inputs if i.kind == "parameter"}
        full = bool(names_used([writer.simple(term)]) - parameters)
        result = bracket(writer.result(term, full, f"{rows[0]}[..., :1]")) + ".squeeze(-1)"
    return Formula(output, tuple(writer.prelude() + writer.lines), result, _meaning(output))


def curvature_formula(kernel: Row, tangents: Iterable[str], along: str, seen: str) -> Formula:
    """The Hessian's block that takes a tangent of the argument `along` to `seen`, the other tangents
    being zero. `kernel` computes `hvp_<seen>`; `tangents` are its tangents' names."""
    name = f"tangent_{along}"
    found = row_formula(_alone(kernel, [t for t in tangents if t != name]), f"hvp_{seen}")
    meaning = f"The derivative of dL/d{seen} along a tangent of {along}"
    return replace(found, name=f"curvature_{along}_{seen}", meaning=meaning, tangent=name)


def _meaning(output: str) -> str:
    kind, _, names = output.partition("_")
    if kind == "loss":
        return "L"
    if kind == "gradient":
        return f"dL/d{names}"
    return f"Second derivative {output}"


def _names_given(kernel: Elementwise | Row) -> set[str]:
    """Every name that the kernel gives, which no temporary of ours may take."""
    names = {i.name for i in kernel.inputs}
    if isinstance(kernel, Elementwise):
        return names | {let.name for let in kernel.program.lets}
    for stage in kernel.stages:
        names |= {s.name for s in stage.slots} | {c.name for c in stage.captures} | {let.name for let in stage.after}
        names |= {f"{f.name}_{part}" for f in stage.families for part in ("peak", "rest")}
    return names | {let.name for let in (*kernel.finish.lets, *kernel.epilogue.lets)}


def _stage_terms(stages: Iterable[Stage]) -> list[Term]:
    terms: list[Term] = []
    for stage in stages:
        elements = {f.name: f.element for f in stage.families}
        for family in stage.families:
            terms += [family.element, *family.extras]
        terms += [_slot_term(slot, elements) for slot in stage.slots]
        terms += [*(c.element for c in stage.captures), *(let.term for let in stage.after)]
    return terms


def _gap(family: str, element: Term) -> Term:
    return node("gap", (var(f"{family}_peak"), element))


def _decay(family: str, element: Term) -> Term:
    return node("exp_diff", (element, var(f"{family}_peak")))


def _slot_term(slot: Slot, elements: Mapping[str, Term]) -> Term:
    """What a slot sums: the weight times the powers of the gaps, as far as terms can say it."""
    product: Term | None = None
    for part in slot.powers:
        for factor in _factors(part.family, elements[part.family], part.p, part.q):
            product = factor if product is None else node("mul", (product, factor))
    if product is None:
        return slot.weight
    return product if is_const(slot.weight, 1) else node("absorb", (slot.weight, product))


def _factors(family: str, element: Term, p: int, q: int) -> list[Term]:
    """gap**p exp(-gap)**q. A power of the gap is absorbed where exp(-gap) has vanished."""
    gaps, decays = power(_gap(family, element), const(p)), power(_decay(family, element), const(q))
    if p and q:
        return [node("absorb", (decays, gaps))]
    return [gaps] if p else [decays] if q else []


def _stage(writer: _Writer, stage: Stage, wanted: set[str]) -> None:
    elements = {f.name: f.element for f in stage.families}
    for family in stage.families:
        _family(writer, family, wanted)
    for slot in stage.slots:
        writer.sum(slot.name, _slot_term(slot, elements))
    for capture in stage.captures:
        element = writer.full_text(capture.element)
        writer.lines.append(f"{capture.name} = torch.gather({element}, -1, {capture.label})")
    writer.lets(stage.after)


def _family(writer: _Writer, family: Family, wanted: set[str]) -> None:
    """The peak, and where it is asked for the rest, whose gaps and powers later lines share."""
    element = writer.full_text(family.element)
    if not element.isidentifier():
        element = writer.bind(family.element, f"{family.name}_element", element)
    extras = "".join(f", {writer.tensor_text(extra)}" for extra in family.extras)
    peak = f"{family.name}_peak"
    writer.lines.append(f"{peak} = _peak({element}{extras})")
    if f"{family.name}_rest" in wanted:
        gap = writer.bind(_gap(family.name, family.element), f"{family.name}_gap")
        decay = writer.bind(_decay(family.name, family.element), f"{family.name}_decay")
        writer.lines.append(f"{family.name}_rest = _rest({peak}, {gap}, {decay}{extras})")


class _Writer:
    """Collects the lines of one function: temporaries as the kernel names them, and more where a part
    is used twice or a line would be long.

    `varying` names what runs over elements or classes; `uses` counts where each part stands in
    `terms`, all that the function computes; `known` holds what is already bound, or constant.
    """

    def __init__(self, anchor: str, varying: Iterable[str], inputs: Iterable[str], given: Iterable[str],
                 terms: Iterable[Term]) -> None:
        self.anchor, self.varying, self.inputs = anchor, set(varying), set(inputs)
        self.names = Names([*given, "torch", "math", "position", "classes"])
        self.printer = TorchPrinter(anchor)
        self.lines: list[str] = []
        self.known: dict[Term, Term] = {}
        self.leaves: dict[str, str] = {}
        roots = list(terms)
        self.uses = Counter([*roots, *(a for t in walk(*roots) for a in t.args)])

    def simple(self, term: Term) -> Term:
        return fold(term, self.known)

    def text(self, term: Term) -> str:
        """`term` as source text; binds the parts that are used again, and parts of what is long."""
        self.share(term)
        found = self.simple(term)
        text = self.printer.text(found, self.leaf)
        while len(text) > LONGEST:
            part = max((a for a in _inner(found) if _bindable(a)), key=lambda a: (a.size, a.key), default=None)
            if part is None:
                break
            self.bind(part)
            found = fold(found, self.known)
            text = self.printer.text(found, self.leaf)
        return text

    def share(self, term: Term) -> None:
        """Binds each part of `term` that stands in more than one place."""
        if term in self.known:
            return
        for a in term.args:
            self.share(a)
        for a in term.args:
            if self.uses[a] > 1 and a not in self.known and _bindable(self.simple(a)):
                self.bind(a)

    def bind(self, term: Term, name: str = "", text: str = "") -> str:
        """Gives the value of `term` a name, of ours where none is given; returns the name."""
        name = self.fresh(name) if name else self.names.fresh(term)
        if self.varies(term):
            self.varying.add(name)
        self.lines.append(f"{name} = {text or self.text(term)}")
        self.known[term] = var(name)
        return name

    def fresh(self, name: str) -> str:
        while name.lower() in self.names.taken:
            name += "_"
        self.names.taken.add(name.lower())
        return name

    def tensor_text(self, term: Term) -> str:
        """As `text`, a constant being written as a tensor."""
        text = self.text(term)
        return self.printer.tensor(text) if is_const(self.simple(term)) else text

    def full_text(self, term: Term) -> str:
        """As `text`, with the class axis at full length."""
        return self.text(term) if self.varies(term) else f"{bracket(self.tensor_text(term))}.expand_as({self.anchor})"

    def leaf(self, term: Term) -> str:
        if term.op == "const":
            return literal(number(term))
        if term.op in ("position", "count"):
            return self.leaves.setdefault(term.op, {"position": "position", "count": "classes"}[term.op])
        return name_of(term)

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

    def sum(self, name: str, term: Term) -> None:
        """A sum over the classes, which keeps an axis of length one."""
        self.lines.append(f"{name} = {bracket(self.full_text(term))}.sum(-1, keepdim=True)")

    def lets(self, lets: Iterable[Let]) -> None:
        """The temporaries; one that is a constant, or bound already, is written where it is used."""
        for let in lets:
            term = self.simple(let.term)
            if term.op == "const" or (term.op == "var" and term is not var(let.name)):
                self.known[var(let.name)] = term
                continue
            if self.varies(let.term):
                self.varying.add(let.name)
            comment = "  # " + " ".join(let.comment.split()) if let.comment else ""
            self.lines.append(f"{let.name} = {self.text(let.term)}{comment}")
            self.known.setdefault(let.term, var(let.name))

    def result(self, term: Term, full: bool, shape: str) -> str:
        """The value that a function returns: never an argument itself; expanded where it is not full."""
        text = self.text(term)
        if is_const(self.simple(term)):
            return f"torch.full_like({shape}, {text})"
        if not full:
            return f"{bracket(text)}.expand_as({shape}).clone()"
        return f"{text}.clone()" if text in self.inputs else text


def _bindable(term: Term) -> bool:
    """Whether a part is worth a name: more than a leaf or a sign, and a number."""
    return bool(term.args) and term.op != "neg" and term.sort != "truth"


def _inner(term: Term) -> list[Term]:
    """The parts of a term at which a long line may be cut: its arguments, through signs and truths."""
    found: list[Term] = []
    for a in term.args:
        found += _inner(a) if a.op == "neg" or a.sort == "truth" else [a]
    return found


def bracket(text: str) -> str:
    """`text` so that a method call may follow."""
    plain = text.isidentifier() or (text.endswith(")") and _one_call(text))
    return text if plain else f"({text})"


def _one_call(text: str) -> bool:
    """Whether the text is a call, or a chain of calls: nothing stands beside them."""
    head, opened, _ = text.partition("(")
    if not opened or not all(part.isidentifier() for part in head.removeprefix(".").split(".")):
        return False
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if c == ")" and depth == 0:
            return i == len(text) - 1 or (text[i + 1] == "." and _one_call(text[i + 1:]))
    return False


def _alone(kernel: Row, zero: Iterable[str]) -> Row:
    """A Hessian-vector kernel with some tangents zero: what they alone fed is gone."""
    names = set(zero)
    gone: dict[Term, Term] = {}
    for i in kernel.inputs:
        if i.name in names:
            gone[row(i.name) if i.kind == "row" else var(i.name)] = ZERO
    stages = tuple(_without(stage, gone) for stage in kernel.stages)
    finish, epilogue = _thinned(kernel.finish, gone), _thinned(kernel.epilogue, gone)
    return Row(kernel.name, tuple(i for i in kernel.inputs if i.name not in names), stages, finish, epilogue)


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
