"""Row kernels as NumPy: what one chunk of the class axis gives, how chunks merge, finish and epilogue.

Values per row are float64 whatever the tier, as they cost nothing; values per class are in the
dtype that the tier computes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lossmith.codegen.kernel import Bundle, Let, Row, Slot, Stage, names_used
from lossmith.codegen.names import Names
from lossmith.codegen.targets import np_docs
from lossmith.codegen.targets.np_epilogue import Statement, statements
from lossmith.codegen.targets.np_merge import merge_lines, moved_lines, powers_text, state_names, unit_state
from lossmith.codegen.targets.np_module import (
    RESERVED,
    Derivatives,
    Entry,
    Function,
    Module,
    derivatives,
    dictionary,
    key,
    keyword,
    returned,
    safe,
)
from lossmith.codegen.targets.np_printing import Constants, Context, NumpyPrinter, helpers_of
from lossmith.codegen.targets.np_sharing import shared
from lossmith.derivations.terms import Term, is_const, name_of, node, replace, row, var, walk

# What short rows of float64 are computed with.
PAIRS = frozenset(f"special.{name}" for name in (
    "plus", "minus", "times", "over", "opposite", "size", "root", "log_of", "log1p_of", "exp_of", "expm1_of", "pow_of"))


def module(bundle: Bundle, constants: Constants) -> Module:
    """The functions and tables of a row unit."""
    kernel = bundle.kernel
    assert isinstance(kernel, Row)
    found = derivatives(bundle, [*kernel.finish.outputs, *kernel.epilogue.outputs])
    groups: dict[str, Mapping[tuple[str, ...], tuple[str, ...]]] = {
        "LOSS": {(): ("loss",)},
        "GRADIENT": {k: (g,) for k, g in found.gradient.items()},
        "LOSS_GRADIENT": {k: ("loss", g) for k, g in found.gradient.items()},
        "HESSIAN": {k: (h,) for k, h in found.hessian.items()},
        "GRADIENT_HESSIAN": found.both(),
    }
    writer = Writer(constants, [i.name for i in kernel.inputs if i.kind == "parameter"])
    tables = [_table(writer, kernel, name, group) for name, group in groups.items() if group]
    entries = _entries(bundle, kernel, found)
    if bundle.hvp is not None:
        made = {*bundle.hvp.finish.outputs, *bundle.hvp.epilogue.outputs}
        products = _products([n for n in bundle.differentiable if f"hvp_{n}" in made])
        tables.append(_table(writer, bundle.hvp, "PRODUCT", products))
        entries.append(_product_entry(bundle, bundle.hvp, list(products)))
    return Module(writer.functions, entries, tables, helpers_of(writer.terms, writer.helpers) | PAIRS)


def _table(writer: Writer, kernel: Row, name: str, group: Mapping[tuple[str, ...], tuple[str, ...]]) -> str:
    """Which function differentiates by what, and whether its outputs are per row or per class."""
    items = {k: f"({writer.entry(kernel, o)}, {_kinds(kernel, o)})" for k, o in group.items()}
    if name == "LOSS":
        return f"_LOSS = {items[()]}"
    return f"_{name} = {{" + ", ".join(f"{key(k)}: {text}" for k, text in items.items()) + "}"


def _products(names: Sequence[str]) -> dict[tuple[str, ...], tuple[str, ...]]:
    return {(n,): (f"hvp_{n}",) for n in names}


def _kinds(kernel: Row, outputs: Sequence[str]) -> str:
    return key(tuple("row" if o in kernel.finish.outputs else "class" for o in outputs))


@dataclass
class Writer:
    """Collects the functions of a module; equal bodies are written once."""

    constants: Constants
    parameters: Sequence[str]  # every function takes all of them
    functions: list[Function] = field(default_factory=list)
    terms: list[Term] = field(default_factory=list)
    helpers: set[str] = field(default_factory=set)

    def function(self, name: str, arguments: Sequence[str], lines: Sequence[str]) -> str:
        """The name of the function with these arguments and lines, added unless it is there."""
        text, body = ", ".join(arguments), tuple(lines)
        for known in self.functions:
            if (known.arguments, known.lines) == (text, body):
                return known.name
        self.functions.append(Function(f"_{name}", text, body))
        return f"_{name}"

    def write(self, term: Term, typed: str = "np.float64({0})") -> str:
        """A term as source; `typed` gives a lone constant the working dtype."""
        self.terms.append(term)
        return NumpyPrinter(self.constants).write(term, Context(_leaf, typed))

    def lines(self, name: str, term: Term, names: Names, typed: str = "np.float64({0})") -> list[str]:
        """`name = term` as lines; long parts become temporaries, named by `names`."""
        self.terms.append(term)
        return NumpyPrinter(self.constants).lines(name, term, Context(_leaf, typed), names)

    def entry(self, kernel: Row, outputs: tuple[str, ...]) -> str:
        """The function that computes some outputs for one block of rows."""
        part = kernel.restrict(outputs)
        block = Block(self, part, outputs)
        lines = block.lines()
        arguments = [safe(n) for n in (*ordered_inputs(part), *self.parameters)]
        outs = [f"{o}_out" for o in outputs]
        return self.function("_".join(outputs), [*arguments, "chunks", "work", *outs], lines)


def ordered_inputs(kernel: Row) -> list[str]:
    """The inputs as the template's driver passes them: per class, per row, labels."""
    return [i.name for kind in ("row", "scalar", "label") for i in kernel.inputs if i.kind == kind]


def _leaf(term: Term) -> str:
    return safe(name_of(term)) if term.op in ("var", "row", "label") else term.op


class Block:
    """Writes the function of one entry: its stages, its finish, its epilogue."""

    def __init__(self, writer: Writer, kernel: Row, outputs: Sequence[str]) -> None:
        self.writer, self.kernel, self.outputs = writer, kernel, outputs
        self.rows = [i.name for i in kernel.inputs if i.kind == "row"]
        self.labels = [i.name for i in kernel.inputs if i.kind == "label"]
        # Names as the source has them: `count` is the module's own, an input of that name is `count_`.
        self.per_row = [safe(i.name) for i in kernel.inputs if i.kind in ("scalar", "parameter")]
        self.out: list[str] = []
        self.narrowed: tuple[str, ...] = ()
        self.kept = self._kept()
        self.known: list[str] = []  # the names of those that earlier stages have kept
        self.typed = f"{safe(self.rows[0])}.dtype.type({{0}})"
        self.names = self._names(self._terms())
        self.stem = "_".join(outputs)

    def lines(self) -> list[str]:
        """The body of the function."""
        if any(t.op == "count" for t in walk(*self._terms())):
            self.out.append(f"count = np.float64(len({safe(self.rows[0])}))")
            self.per_row.append("count")
        for index, stage in enumerate(self.kernel.stages, 1):
            self._stage(stage, index)
        for let in self.kernel.finish.lets:
            self._let(let)
        for name, term in self.kernel.finish.outputs.items():
            lines = self.writer.lines(f"{name}_value", term, self.names)
            self.out += [*lines[:-1], f"_store({name}_out, {lines[-1].removeprefix(f'{name}_value = ')})"]
        if self.kernel.epilogue.outputs:
            self._epilogue()
        return self.out

    def _terms(self) -> list[Term]:
        found = [let.term for p in (self.kernel.finish, self.kernel.epilogue) for let in p.lets]
        found += [*self.kernel.finish.outputs.values(), *self.kernel.epilogue.outputs.values()]
        for s in self.kernel.stages:
            found += stage_terms(s) + [let.term for let in s.after] + [e for f in s.families for e in f.extras]
        return found

    def _names(self, terms: Sequence[Term], own: Iterable[str] = ()) -> Names:
        """Names that are still free in a function that reads some terms and sets some names."""
        lets = [let.name for s in self.kernel.stages for let in s.after] + [x.name for x in self.kernel.finish.lets]
        parts = [n for s in self.kernel.stages for n in state_names(s)]
        spots = [f"{n}_spot" for n in self.labels]
        return Names([*names_used(terms), *RESERVED, *lets, *spots, *parts, *own, *(i.name for i in self.kernel.inputs),
                      *(f"{f.name}_{part}" for s in self.kernel.stages for f in s.families
                        for part in ("element", "decay", "gap", "rest"))])

    def _kept(self) -> dict[str, Term]:
        """Exponentials that a later pass needs again: kept where one chunk holds the whole row."""
        found: dict[str, Term] = {}
        later = [*(let.term for let in self.kernel.epilogue.lets), *self.kernel.epilogue.outputs.values()]
        for stage in reversed(self.kernel.stages):
            used = set(walk(*later))
            for f in stage.families:
                decay = node("exp_diff", (f.element, var(f"{f.name}_peak")))
                if decay in used and not f.extras:
                    found[f"{f.name}_decay"] = decay
            later += stage_terms(stage)
        return found

    def _reused(self, terms: Sequence[Term]) -> tuple[list[str], list[Term], list[str]]:
        """What a pass reads of the exponentials kept: lines that make up for a lost one, the terms, the names."""
        used = walk(*terms)
        names = [n for n in self.known if self.kept[n] in used]
        lines = [line for n in names for line in (
            f"if {n} is None:", f"    {n} = {self.writer.write(self.kept[n], self.typed)}")]
        reuse = {self.kept[n]: row(n) for n in names}
        return lines, [replace(t, reuse) for t in terms], names

    def _let(self, let: Let) -> None:
        if let.comment:
            self.out.append(f"# {let.comment}")
        self.out += self.writer.lines(safe(let.name), let.term, self.names)
        self.per_row.append(safe(let.name))

    def _stage(self, stage: Stage, index: int) -> None:
        self.suffix = "" if len(self.kernel.stages) == 1 else f"_{index}"
        names = state_names(stage)
        if names:
            kept = [n for f in stage.families if (n := f"{f.name}_decay") in self.kept]
            lift = self._lift(stage, kept)
            merge = self._merge(stage)
            self.out += ["state = None", "for part in chunks:"]
            call = self._call(lift)
            if kept:
                self.out += [f"    found, {', '.join(kept)} = {call}", f"    state = {merge}(state, found)"]
                self.out += ["if len(chunks) > 1:", f"    {' = '.join(kept)} = None  # of the last chunk alone"]
            else:
                self.out.append(f"    state = {merge}(state, {call})")
            for family in stage.families:
                for extra in family.extras:
                    lifted = unit_state(stage, family.name, self.writer.write(extra))
                    self.out.append(f"state = {merge}(state, {lifted})")
            self.out.append(f"{', '.join(map(safe, names))}{',' if len(names) == 1 else ''} = state")
            self.known += kept
        for f in stage.families:
            self.writer.helpers.add("rest")
            self.out.append(f"{f.name}_rest = _rest({f.name}_peak, {f.name}_below, {f.name}_ties)")
            self.per_row += [f"{f.name}_peak", f"{f.name}_rest"]
        self.per_row += [safe(slot.name) for slot in stage.slots] + [safe(capture.name) for capture in stage.captures]
        for let in stage.after:
            self._let(let)

    def _call(self, function: Lifted) -> str:
        """A call for one chunk; values per row are narrowed once, before the loop over chunks."""
        narrowed = []
        if function.per_row:
            self.writer.helpers.add("narrow")
            if self.narrowed != tuple(function.per_row):
                self.out.insert(len(self.out) - 1, f"narrow = _narrow(work, {', '.join(function.per_row)})")
                self.narrowed = tuple(function.per_row)
            narrowed = ["*narrow"]
        load = f"*_load(part, work, {', '.join(map(safe, function.rows))})"
        start = ["part.start"] if function.first else []
        return f"{function.name}({', '.join([load, *map(safe, function.labels), *start, *narrowed, *function.reused])})"

    def _signature(self, stem: str, terms: Sequence[Term], lines: Sequence[str], reused: Sequence[str],
                   more: Sequence[str] = ()) -> Lifted:
        """The function with these lines, its arguments what its terms read."""
        used = names_used(terms) | set(more)
        rows = [n for n in self.rows if n in used] or self.rows[:1]
        labels = [n for n in self.labels if n in used]
        read = {safe(n) for n in used} | {"count" for t in walk(*terms) if t.op == "count"}
        per_row = [n for n in dict.fromkeys(self.per_row) if n in read]
        first = bool(labels) or any(t.op == "position" for t in walk(*terms))
        if any(t.op == "position" for t in walk(*terms)) and any("position" in line for line in lines):
            lines = [f"position = _positions(first, {safe(rows[0])})", *lines]
            self.writer.helpers.add("positions")
        spots = [n for n in labels if any(f"{n}_spot" in line for line in lines)]
        lines = [*(f"{n}_spot = _spot({safe(n)}, first, {safe(rows[0])})" for n in spots), *lines]
        arguments = [*map(safe, [*rows, *labels]), *(["first"] if first else []), *per_row]
        name = self.writer.function(f"{self.stem}_{stem}", [*arguments, *reused], lines)
        return Lifted(name, rows, labels, per_row, first, reused)

    def _lift(self, stage: Stage, kept: Sequence[str]) -> Lifted:
        """What one chunk gives: the state of the stage, in float64."""
        lines, terms, reused = self._reused(stage_terms(stage))
        self.names = self._names(terms)
        lets, terms = shared(terms, self.names)
        for name, term in lets:
            lines += self.writer.lines(name, term, self.names, self.typed)
        parts = iter(terms)
        for f in stage.families:
            lines += self._family(stage, f.name, next(parts))
        for slot in stage.slots:
            lines += self._slot(slot, next(parts))
        for c in stage.captures:
            value = self.writer.write(next(parts), self.typed)
            lines.append(f"{safe(c.name)} = _at({value}, {c.label}_spot)")
            self.writer.helpers.add("at")
        names = [safe(n) for n in state_names(stage)]
        wide = [f"{n}.astype(np.float64)" if _is_narrow(stage, n) else n for n in names]
        result = f"({', '.join(wide)}{',' if len(wide) == 1 else ''})"
        lines += [f"{n} = {n}.astype({safe(self.rows[0])}.dtype)" for n in kept]
        lines.append(", ".join([f"return {result}", *kept]))
        return self._signature(f"chunk{self.suffix}", stage_terms(stage), lines, reused,
                               [c.label for c in stage.captures])

    def _family(self, stage: Stage, name: str, element: Term) -> list[str]:
        lines = []
        text = self.writer.write(element, self.typed)
        if element.args:
            lines = [f"{name}_element = {text}"]
            text = f"{name}_element"
        self.writer.helpers |= {"below", "decay"}
        lines += [
            f"{name}_peak = np.max({text}, axis=0)",
            f"{name}_decay = _decay({text}, {name}_peak)",
            f"{name}_below, {name}_ties = _below({text}, {name}_peak, {name}_decay)",
        ]
        if any(p.family == name and p.p for s in stage.slots for p in s.powers):
            self.writer.helpers.add("gap")
            lines.append(f"{name}_gap = _gap({name}_peak, {text})")
        return lines

    def _slot(self, slot: Slot, weight: Term) -> list[str]:
        """The sum over a chunk of a weight times powers of gaps."""
        self.writer.helpers.add("total")
        powers = powers_text(slot)
        lines = self.writer.lines("weight", weight, self.names, self.typed)
        text = lines.pop().removeprefix("weight = ")
        factors = powers if powers and is_const(weight, 1) else [text, *powers]
        text = factors[0]
        for factor in factors[1:]:
            text = f"_vanish({text}, {factor})"
        if "_vanish(" in text:
            self.writer.helpers.add("vanish")
        varies = powers or weight.sort == "row"
        whole = f"_total({text})" if varies else f"len({safe(self.rows[0])}) * np.float64({text})"
        return [*lines, f"{safe(slot.name)} = {whole}"]

    def _merge(self, stage: Stage) -> str:
        """The function that merges two states of a stage."""
        moved = None
        if stage.families:
            lines = moved_lines(stage)
            self.writer.helpers |= {"decay"} | {h for h in ("gap", "vanish") if any(f"_{h}(" in n for n in lines)}
            arguments = ["state", *(f"{f.name}_peak" for f in stage.families)]
            moved = self.writer.function(f"{self.stem}_moved{self.suffix}", arguments, lines)
        return self.writer.function(f"{self.stem}_merged{self.suffix}", ["one", "other"], merge_lines(stage, moved))

    def _epilogue(self) -> None:
        """The pass over the classes that writes the outputs per class."""
        program = self.kernel.epilogue
        lines, parts, reused = self._reused([*(let.term for let in program.lets), *program.outputs.values()])
        lets = [(let.name, parts.pop(0), let.comment) for let in program.lets]
        self.names = self._names(parts, [*(let.name for let in program.lets), *program.outputs])
        found = statements(lets, dict(zip(program.outputs, parts)), {*self.rows, *reused})
        terms = [self.kept[n] for n in reused]
        for s in found:
            terms += s.terms()
            lines += self._statement(s, self.typed)
        lines = returned(lines, [safe(s.name) for o in program.outputs for s in found if s.output == o])
        self.out += ["for part in chunks:"]
        call = self._call(self._signature("classes", terms, lines, reused, [s.label for s in found if s.label]))
        outs = [f"{o}_out[part]" for o in program.outputs]
        if len(outs) == 1:
            self.out.append(f"    _store({outs[0]}, {call})")
            return
        names = [safe(f"{o}_values") for o in program.outputs]
        self.out.append(f"    {', '.join(names)} = {call}")
        self.out += [f"    _store({o}, {n})" for o, n in zip(outs, names)]

    def _statement(self, s: Statement, typed: str) -> list[str]:
        lines = [f"# {s.comment}"] if s.comment else []
        if s.kind == "let":
            return [*lines, *self.writer.lines(safe(s.name), s.term, self.names, typed)]
        text = self.writer.write(s.term, typed)
        if s.kind == "at":
            self.writer.helpers.add("at")
            return [*lines, f"{safe(s.name)} = _at({text}, {s.label}_spot)"]
        if s.kind == "put":
            self.writer.helpers.add("put")
            assert s.at_label is not None
            own = f"{text}.copy()" if not s.term.args else text
            there = self.writer.write(s.at_label, typed)
            return [*lines, f"{safe(s.name)} = _put({own}, {s.label}_spot, {there})"]
        raise AssertionError(s.kind)


@dataclass(frozen=True)
class Lifted:
    """A function on one chunk, and what it takes."""

    name: str
    rows: Sequence[str]
    labels: Sequence[str]
    per_row: Sequence[str]
    first: bool
    reused: Sequence[str]


def stage_terms(stage: Stage) -> list[Term]:
    """The terms that a stage reads per class."""
    return [f.element for f in stage.families] + [s.weight for s in stage.slots] + [c.element for c in stage.captures]


def _is_narrow(stage: Stage, name: str) -> bool:
    """Whether a chunk gives this part of the state in the working dtype."""
    return name in {f"{f.name}_peak" for f in stage.families} | {safe(c.name) for c in stage.captures}


def _entries(bundle: Bundle, kernel: Row, found: Derivatives) -> list[Entry]:
    made = []
    for name, group in (
        ("loss", {(): ""}), ("gradient", found.gradient), ("loss_gradient", found.gradient),
        ("hessian", found.hessian), ("gradient_hessian", found.both()),
    ):
        if group:
            by = "" if name == "loss" else f'wrt="{next(iter(group))[0]}", '
            picked = "_LOSS" if name == "loss" else f"_chosen(_{name.upper()}, wrt)"
            doc = np_docs.entry(bundle, name, list(group))
            made.append(Entry(name, _arguments(bundle, by, []), doc, _call(bundle, kernel, picked)))
    return made


def _product_entry(bundle: Bundle, kernel: Row, wrt: list[tuple[str, ...]]) -> Entry:
    doc = np_docs.entry(bundle, "hessian_vector_product", wrt)
    given = {i.name for i in bundle.kernel.inputs}
    arguments = _arguments(bundle, f'wrt="{wrt[0][0]}", ', [i.name for i in kernel.inputs if i.name not in given])
    return Entry("hessian_vector_product", arguments, doc, _call(bundle, kernel, "_chosen(_PRODUCT, wrt)"))


def _arguments(bundle: Bundle, by: str, tangents: Sequence[str]) -> str:
    data = [safe(i.name) for i in bundle.kernel.inputs if i.kind != "parameter"]
    more = [f"{safe(n)}=None" for n in tangents]
    more += [keyword(i) for i in bundle.kernel.inputs if i.kind == "parameter"]
    extra = "".join(f"{m}, " for m in more)
    return f'{", ".join(data)}, *, {extra}{by}axis=-1, out=None, tier="fast"'


def _call(bundle: Bundle, kernel: Row, picked: str) -> str:
    parts = [dictionary([i.name for i in kernel.inputs if i.kind == k]) for k in ("row", "scalar", "label")]
    parameters = [i.name for i in bundle.kernel.inputs if i.kind == "parameter"]
    parts.append(dictionary(parameters) if parameters else "()")
    return ", ".join([picked, *parts, "axis, out, tier"])
