"""Row kernels as NumPy: what one chunk of the class axis gives, how chunks merge, finish and epilogue.

Values per row are float64 whatever the tier, as they cost nothing; values per class are in the
dtype that the tier computes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lossmith.codegen.kernel import Bundle, Let, Row, Stage, names_used
from lossmith.codegen.targets import np_docs
from lossmith.codegen.targets.np_epilogue import Statement, statements
from lossmith.codegen.targets.np_merge import merge_lines, moved_lines, powers_text, state_names, unit_state
from lossmith.codegen.targets.np_module import (
    Derivatives,
    Entry,
    Function,
    Module,
    derivatives,
    dictionary,
    key,
    keyword,
    safe,
)
from lossmith.codegen.targets.np_printing import Constants, Context, NumpyPrinter, helpers_of
from lossmith.derivations.terms import Term, is_const, name_of, node, replace, row, var, walk


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
    writer = Writer(constants)
    tables = [_table(writer, kernel, name, group) for name, group in groups.items() if group]
    entries = _entries(bundle, kernel, found)
    if bundle.hvp is not None:
        made = {*bundle.hvp.finish.outputs, *bundle.hvp.epilogue.outputs}
        products = _products([n for n in bundle.differentiable if f"hvp_{n}" in made])
        tables.append(_table(writer, bundle.hvp, "PRODUCT", products))
        entries.append(_product_entry(bundle, bundle.hvp, list(products)))
    return Module(writer.functions, entries, tables, helpers_of(writer.terms, writer.helpers))


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
    functions: list[Function] = field(default_factory=list)
    terms: list[Term] = field(default_factory=list)
    helpers: set[str] = field(default_factory=set)

    def function(self, stem: str, arguments: Sequence[str], lines: Sequence[str]) -> str:
        """The name of the function with these arguments and lines, added unless it is there."""
        text, body = ", ".join(arguments), tuple(lines)
        for known in self.functions:
            if (known.arguments, known.lines) == (text, body) and known.name.startswith(f"_{stem}"):
                return known.name
        taken = {f.name for f in self.functions}
        name = next(n for n in (f"_{stem}", *(f"_{stem}_{i}" for i in range(2, 1000))) if n not in taken)
        self.functions.append(Function(name, text, body))
        return name

    def write(self, term: Term, typed: str = "np.float64({0})") -> str:
        """A term as source; `typed` gives a lone constant the working dtype."""
        self.terms.append(term)
        return NumpyPrinter(self.constants).write(term, Context(_leaf, typed))

    def entry(self, kernel: Row, outputs: tuple[str, ...]) -> str:
        """The function that computes some outputs for one block of rows."""
        part = kernel.restrict(outputs)
        block = Block(self, part, outputs)
        lines = block.lines()
        arguments = [safe(n) for n in ordered_inputs(part)] + ["chunks", "work", *(f"{o}_out" for o in outputs)]
        return self.function("_".join(outputs), arguments, lines)


def ordered_inputs(kernel: Row) -> list[str]:
    """The inputs as the template's driver passes them: per class, per row, labels, parameters."""
    order = ("row", "scalar", "label", "parameter")
    return [i.name for kind in order for i in kernel.inputs if i.kind == kind]


def _leaf(term: Term) -> str:
    return safe(name_of(term)) if term.op in ("var", "row", "label") else term.op


class Block:
    """Writes the function of one entry: its stages, its finish, its epilogue."""

    def __init__(self, writer: Writer, kernel: Row, outputs: Sequence[str]) -> None:
        self.writer, self.kernel, self.outputs = writer, kernel, outputs
        self.rows = [i.name for i in kernel.inputs if i.kind == "row"]
        self.labels = [i.name for i in kernel.inputs if i.kind == "label"]
        self.per_row = [i.name for i in kernel.inputs if i.kind in ("scalar", "parameter")]
        self.out: list[str] = []
        self.kept = self._kept()

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
            self.out.append(f"_store({name}_out, {self.writer.write(term)})")
        if self.kernel.epilogue.outputs:
            self._epilogue()
        return self.out

    def _terms(self) -> list[Term]:
        found = [let.term for p in (self.kernel.finish, self.kernel.epilogue) for let in p.lets]
        found += [*self.kernel.finish.outputs.values(), *self.kernel.epilogue.outputs.values()]
        for s in self.kernel.stages:
            found += stage_terms(s) + [let.term for let in s.after] + [e for f in s.families for e in f.extras]
        return found

    def _kept(self) -> dict[str, Term]:
        """Exponentials that the epilogue needs again: kept where one chunk holds the whole row."""
        used = walk(*(let.term for let in self.kernel.epilogue.lets), *self.kernel.epilogue.outputs.values())
        known = {
            f"{f.name}_decay": node("exp_diff", (f.element, var(f"{f.name}_peak")))
            for s in self.kernel.stages for f in s.families if not f.extras
        }
        return {name: term for name, term in known.items() if term in used}

    def _let(self, let: Let) -> None:
        if let.comment:
            self.out.append(f"# {let.comment}")
        self.out.append(f"{safe(let.name)} = {self.writer.write(let.term)}")
        self.per_row.append(let.name)

    def _stage(self, stage: Stage, index: int) -> None:
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
        for f in stage.families:
            self.writer.helpers.add("rest")
            self.out.append(f"{f.name}_rest = _rest({f.name}_peak, {f.name}_below, {f.name}_ties)")
            self.per_row += [f"{f.name}_peak", f"{f.name}_rest"]
        self.per_row += [s.name for s in stage.slots] + [c.name for c in stage.captures]
        for let in stage.after:
            self._let(let)

    def _call(self, function: Lifted) -> str:
        """A call for one chunk; values per row are narrowed once, before the loop over chunks."""
        per_row = [safe(n) for n in function.per_row]
        narrowed = []
        if per_row:
            self.writer.helpers.add("narrow")
            self.out.insert(len(self.out) - 1, f"narrow = _narrow(work, {', '.join(per_row)})")
            narrowed = ["*narrow"]
        load = f"*_load(part, work, {', '.join(map(safe, function.rows))})"
        start = ["part.start"] if function.first else []
        return f"{function.name}({', '.join([load, *map(safe, function.labels), *start, *narrowed])})"

    def _signature(self, stem: str, terms: Iterable[Term], lines: Sequence[str], more: Iterable[str] = ()) -> Lifted:
        """The function with these lines, its arguments what its terms read."""
        terms = list(terms)
        used = names_used(terms) | set(more) | ({"count"} if any(t.op == "count" for t in walk(*terms)) else set())
        rows = [n for n in self.rows if n in used] or self.rows[:1]
        labels = [n for n in self.labels if n in used]
        per_row = [n for n in dict.fromkeys(self.per_row) if n in used]
        first = bool(labels) or any(t.op == "position" for t in walk(*terms))
        if any(t.op == "position" for t in walk(*terms)) and any("position" in line for line in lines):
            lines = [f"position = _positions(first, {safe(rows[0])})", *lines]
            self.writer.helpers.add("positions")
        arguments = [*map(safe, [*rows, *labels]), *(["first"] if first else []), *map(safe, per_row)]
        kept = [n for n in more if n in self.kept]
        name = self.writer.function(stem, [*arguments, *kept], lines)
        return Lifted(name, rows, labels, per_row, first)

    def _lift(self, stage: Stage, kept: Sequence[str]) -> Lifted:
        """What one chunk gives: the state of the stage, in float64."""
        typed = f"{safe(self.rows[0])}.dtype.type({{0}})"
        lines, known = [], dict[Term, Term]()
        for f in stage.families:
            if f.element.op != "row":
                lines.append(f"{f.name}_element = {self.writer.write(f.element, typed)}")
                known[f.element] = row(f"{f.name}_element")
            element = self.writer.write(replace(f.element, known), typed)
            lines += [
                f"{f.name}_peak = np.max({element}, axis=0)",
                f"{f.name}_decay = _exp_diff({element}, {f.name}_peak)",
                f"{f.name}_below, {f.name}_ties = _below({element}, {f.name}_peak, {f.name}_decay)",
            ]
            self.writer.helpers |= {"below", "exp_diff"}
            if any(p.family == f.name and p.p for s in stage.slots for p in s.powers):
                self.writer.helpers.add("gap")
                lines.append(f"{f.name}_gap = _gap({f.name}_peak, {element})")
        for slot in stage.slots:
            weight = replace(slot.weight, known)
            lines.append(f"{safe(slot.name)} = {self._sum(weight, powers_text(slot), typed)}")
        for c in stage.captures:
            value = self.writer.write(replace(c.element, known), typed)
            lines.append(f"{safe(c.name)} = _at({value}, {safe(c.label)}, first)")
            self.writer.helpers.add("at")
        names = [safe(n) for n in state_names(stage)]
        wide = [f"{n}.astype(np.float64)" if _is_narrow(stage, n) else n for n in names]
        result = f"({', '.join(wide)}{',' if len(wide) == 1 else ''})"
        lines.append(f"return {result}, {', '.join(kept)}" if kept else f"return {result}")
        return self._signature("chunk", stage_terms(stage), lines, [c.label for c in stage.captures])

    def _sum(self, weight: Term, powers: Sequence[str], typed: str) -> str:
        """The sum over a chunk of a weight times powers of gaps."""
        self.writer.helpers.add("total")
        text = self.writer.write(weight, typed)
        factors = [*powers] if powers and is_const(weight, 1) else [text, *powers]
        text = factors[0]
        for factor in factors[1:]:
            text = f"_vanish({text}, {factor})"
        if "_vanish(" in text:
            self.writer.helpers.add("vanish")
        if powers or any(t.op in ("row", "position") for t in walk(weight)):
            return f"_total({text})"
        return f"len({safe(self.rows[0])}) * np.float64({text})"

    def _merge(self, stage: Stage) -> str:
        """The function that merges two states of a stage."""
        moved = None
        if stage.families:
            lines = moved_lines(stage)
            self.writer.helpers |= {"exp_diff"} | {h for h in ("gap", "vanish") if any(f"_{h}(" in n for n in lines)}
            moved = self.writer.function("moved", ["state", *(f"{f.name}_peak" for f in stage.families)], lines)
        return self.writer.function("merged", ["one", "other"], merge_lines(stage, moved))

    def _epilogue(self) -> None:
        """The pass over the classes that writes the outputs per class."""
        program = self.kernel.epilogue
        reuse = {term: row(name) for name, term in self.kept.items()}
        found = statements(
            [(let.name, replace(let.term, reuse), let.comment) for let in program.lets],
            {name: replace(term, reuse) for name, term in program.outputs.items()}, {*self.rows, *self.kept},
        )
        typed = f"{safe(self.rows[0])}.dtype.type({{0}})"
        lines = []
        for name, term in self.kept.items():
            lines += [f"if {name} is None:", f"    {name} = {self.writer.write(term, typed)}"]
        terms: list[Term] = list(self.kept.values())
        for s in found:
            terms += s.terms()
            lines += self._statement(s, typed)
        results = [safe(s.name) for o in program.outputs for s in found if s.output == o]
        if len(results) == 1 and lines[-1].startswith(f"{results[0]} = "):
            lines[-1] = f"return {lines[-1].removeprefix(f'{results[0]} = ')}"
        else:
            lines.append(f"return {', '.join(results)}")
        self.out += ["for part in chunks:"]
        function = self._signature("classes", terms, lines, [*self.kept, *(s.label for s in found if s.label)])
        call = self._call(function)
        if self.kept:
            call = f"{call[:-1]}, {', '.join(self.kept)})"
        outs = [f"{o}_out[part]" for o in program.outputs]
        if len(outs) == 1:
            self.out.append(f"    _store({outs[0]}, {call})")
            return
        names = [safe(f"{o}_values") for o in program.outputs]
        self.out.append(f"    {', '.join(names)} = {call}")
        self.out += [f"    _store({o}, {n})" for o, n in zip(outs, names)]

    def _statement(self, s: Statement, typed: str) -> list[str]:
        lines = [f"# {s.comment}"] if s.comment else []
        text = self.writer.write(s.term, typed)
        if s.kind == "at":
            self.writer.helpers.add("at")
            return [*lines, f"{safe(s.name)} = _at({text}, {safe(s.label)}, first)"]
        if s.kind == "put":
            self.writer.helpers.add("put")
            assert s.at_label is not None
            own = f"{text}.copy()" if not s.term.args else text
            there = self.writer.write(s.at_label, typed)
            return [*lines, f"{safe(s.name)} = _put({own}, {safe(s.label)}, first, {there})"]
        return [*lines, f"{safe(s.name)} = {text}"]


@dataclass(frozen=True)
class Lifted:
    """A function on one chunk, and what it takes."""

    name: str
    rows: Sequence[str]
    labels: Sequence[str]
    per_row: Sequence[str]
    first: bool


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
            made.append(Entry(name, _arguments(kernel, by), doc, _call(kernel, picked)))
    return made


def _product_entry(bundle: Bundle, kernel: Row, wrt: list[tuple[str, ...]]) -> Entry:
    doc = np_docs.entry(bundle, "hessian_vector_product", wrt)
    by = f'wrt="{wrt[0][0]}", '
    return Entry("hessian_vector_product", _arguments(kernel, by), doc, _call(kernel, "_chosen(_PRODUCT, wrt)"))


def _arguments(kernel: Row, by: str) -> str:
    data = [safe(i.name) for i in kernel.inputs if i.kind != "parameter" and i.role != "tangent"]
    more = [f"{safe(i.name)}=None" for i in kernel.inputs if i.role == "tangent"]
    more += [keyword(i) for i in kernel.inputs if i.kind == "parameter"]
    extra = "".join(f"{m}, " for m in more)
    return f'{", ".join(data)}, *, {extra}{by}axis=-1, out=None, tier="fast"'


def _call(kernel: Row, picked: str) -> str:
    kinds = {k: [i.name for i in kernel.inputs if i.kind == k] for k in ("row", "scalar", "label", "parameter")}
    parts = [dictionary(kinds[k]) for k in ("row", "scalar", "label")]
    parts.append(dictionary(kinds["parameter"]) if kinds["parameter"] else "()")
    return ", ".join([picked, *parts, "axis, out, tier"])
