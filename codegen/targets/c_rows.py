"""Row kernels as C11: what is known of a row, what a stage sums, finish and epilogue, as functions of one lane.

The same functions serve short rows, where a lane is a row, and long ones, where a lane is every
so many classes of one row. A stage first finds its peaks, then sums: no sum moves with its peak.
Exponentials in float are summed a few at a time in float, and these sums in double.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from lossmith.codegen.kernel import Family, Let, Row, Slot, Stage, names_used
from lossmith.codegen.targets.c_printing import (
    DOUBLE,
    FLOAT,
    PAIR,
    PRINTERS,
    Arithmetic,
    identifier,
    leaf_printer,
    printed,
)
from lossmith.derivations.terms import Term, add, const, is_const, node, rebuild, replace, var, walk

LOWERED = {FLOAT: " * 0x1p-64f", DOUBLE: " * 0x1p-64", PAIR: ""}  # exponentials are summed 2^64 times as large
PARTS = ("far", "near", "fine")  # of a peak, beside the peak itself as `top`
WIDER = {FLOAT: DOUBLE, DOUBLE: DOUBLE, PAIR: PAIR}  # what is known of a row is computed in
SHORT = 64  # classes of the rows that are computed side by side

Formulas = tuple[list[tuple[str, Term]], list[Term]]


class RowWriter:
    """Writes one entry of a row kernel, which is already restricted to the entry's outputs."""

    def __init__(self, entry: str, kernel: Row, outputs: Sequence[tuple[str, str]]) -> None:
        self.entry, self.outputs = entry, outputs
        self.kernel = kernel
        self.inputs = {kind: [i.name for i in kernel.inputs if i.kind == kind]
                       for kind in ("row", "scalar", "label", "parameter")}
        self.class_outputs = [key for key, _ in outputs if key in kernel.epilogue.outputs]
        self.row_outputs = [key for key, _ in outputs if key in kernel.finish.outputs]
        self.known = [*self.inputs["scalar"], *self.inputs["parameter"]]
        for stage in kernel.stages:
            self.known += [f"{f.name}_{part}" for f in stage.families for part in ("peak", "rest")]
            self.known += [s.name for s in stage.slots] + [c.name for c in stage.captures]
            self.known += [let.name for let in stage.after]
        self.known += [let.name for let in kernel.finish.lets]
        self.inverses = self._inverses()
        self.known += self.inverses.values()
        self.kept = self._kept()
        self.elsewhere = self._elsewhere()

    def _kept(self) -> dict[Term, str]:
        """The exponentials below a peak that the epilogue reads again: they are computed once."""
        reads = walk(*(let.term for let in self.kernel.epilogue.lets),
                     *(self.kernel.epilogue.outputs[name] for name in self.class_outputs))
        found: dict[Term, str] = {}
        for stage in self.kernel.stages:
            for family in stage.families:
                decay = node("exp_diff", (family.element, var(f"{family.name}_peak")))
                if decay in reads and len(found) < len(self.class_outputs):
                    found[decay] = f"decay_of_{family.name}"
        return found

    def _inverses(self) -> dict[str, str]:
        """What of a row each class divides by, where it is one plus a sum of exponentials: its inverse, which
        neither overflows nor vanishes, is computed once for the row, and rounded as it would be itself."""
        rests = {f"{f.name}_rest" for stage in self.kernel.stages for f in stage.families}
        lets = [*(let for stage in self.kernel.stages for let in stage.after), *self.kernel.finish.lets]
        safe = [let.name for let in lets if let.term in {add(const(1), var(r)) for r in rests}]
        read = walk(*(let.term for let in self.kernel.epilogue.lets),
                    *(self.kernel.epilogue.outputs[name] for name in self.class_outputs))
        divisors = {t.args[1] for t in read if t.op == "div"}
        return {name: f"{name}_inverse" for name in safe if var(name) in divisors}

    def _multiplied(self, term: Term) -> Term:
        """Division by what has an inverse as a product: a division takes as long as an exponential."""
        args = tuple(map(self._multiplied, term.args))
        if term.op == "div" and args[1].op == "var" and args[1].value in self.inverses:
            return node("mul", (args[0], var(self.inverses[str(args[1].value)])))
        return rebuild(term, args)

    # ---- terms

    def terms(self) -> list[Term]:
        """What is printed beyond the kernel's own terms: what is added to each slot."""
        return [self._term_of(slot) for stage in self.kernel.stages for slot in stage.slots]

    def _read(self, term: Term) -> Term:
        return replace(term, {t: var(name) for t, name in self.kept.items()})

    def _text(self, term: Term, a: Arithmetic) -> str:
        return printed(self._read(term), a)

    def _term_of(self, slot: Slot) -> Term:
        """What one class adds to a slot: a factor that vanishes wins over one that is infinite."""
        factor: Term | None = None
        for power in slot.powers:
            for word, exponent in (("decay", power.q), ("gap", power.p)):
                if exponent:
                    base = var(f"{word}_of_{power.family}")
                    piece = base if exponent == 1 else node("pow", (base, const(exponent)))
                    factor = piece if factor is None else node("absorb", (factor, piece))
        if factor is None:
            return slot.weight
        if is_const(slot.weight, 1):
            return factor
        fading = any(p.q for p in slot.powers)
        return node("absorb", (factor, slot.weight) if fading else (slot.weight, factor))

    def element_text(self, element: Term, rows: str, a: Arithmetic, at: str) -> str:
        """A family's element in a driver's words: `rows` says how the n-th row input is read."""
        names = self.inputs["row"]

        def leaf(term: Term) -> str:
            if term.op == "row":
                return rows.format(names.index(str(term.value)))
            if term.op == "var":
                return f"s.{identifier(str(term.value))}[{at}]"
            return leaf_printer(a)(term)

        return PRINTERS[a].text(element, leaf)

    # ---- functions

    def body(self, a: Arithmetic) -> dict[str, Any]:
        """The structs and functions of one arithmetic: texts for the template."""
        stages = [self._stage(stage, n, a) for n, stage in enumerate(self.kernel.stages, 1)]
        functions = [f for stage in stages for f in stage]
        functions.append(self._finish(a))
        if self.class_outputs:
            functions += [self._epilogue("epilogue", a, self._given()), self._ready(a)]
            functions += [self._epilogue("elsewhere", a, self.elsewhere)] if self.elsewhere else []
        kind, lanes = WIDER[a].type, f"[{a.lanes}]"
        members = [f"int32_t {identifier(y)}{lanes};" for y in self.inputs["label"]]
        unused = () if a is FLOAT else tuple(self.inverses.values())
        members += [f"{kind} {identifier(name)}{lanes};" for name in self.known if name not in unused]
        sums = [m for stage in self.kernel.stages for m in self._members(stage, a)]
        sound = "double" if a is PAIR else a.type  # 1, or NaN where a label is out of range
        members += [f"float {part}_of_{f.name}{lanes};" for stage in self.kernel.stages for f in stage.families
                    if a is FLOAT for part in ("top", *PARTS)]
        return {"known": f"struct known_{self.entry}{a.suffix}", "sums": f"struct sums_{self.entry}{a.suffix}",
                "members": [*members, f"{sound} sound{lanes};"], "sum_members": sums or ["int nothing;"],
                "functions": functions}

    def _members(self, stage: Stage, a: Arithmetic) -> list[str]:
        lanes = f"[{a.lanes}]"
        count = "float" if a is FLOAT else "double"
        made = [f"{a.type} peak_of_{f.name}{lanes};" for f in stage.families]
        made += [f"{count} ties_of_{f.name}{lanes};" for f in stage.families]
        made += [f"float part_of_{f.name}{lanes};" for f in stage.families if a is FLOAT]
        for name in self._sums(stage):
            made.append(f"{'pair' if a is PAIR else 'double'} {name}{lanes};")
            made += [f"double {name}_lost{lanes};"] if a is DOUBLE else []
        return made

    @staticmethod
    def _sums(stage: Stage) -> list[str]:
        return [*(f"below_{f.name}" for f in stage.families), *(f"sum_{s.name}" for s in stage.slots)]

    def _function(self, name: str, a: Arithmetic, takes: Sequence[str], statements: Iterable[str],
                  terms: Iterable[Term] = (), kind: str = "") -> dict[str, Any]:
        """A function of one lane; the scalars that its terms read are named first, as `kind`."""
        used = names_used(map(self._read, terms))
        kind, read = kind or a.type, [identifier(n) for n in self.known if n in used]
        cast = "(float)" if kind == "float" else ""
        lines = [f"const {kind} {n} = {cast}known->{n}[place];" for n in read]
        labels = [identifier(y) for y in self.inputs["label"] if y in used]
        lines += [f"const int32_t {y} = known->{y}[place];" for y in labels]
        lines += statements
        whole = " ".join(lines)
        names = [re.split(r"[ *]+", t)[-1] for t in takes]
        unused = [f"(void){n};" for n in names if not re.search(rf"\b{n}\b", whole)]
        return {"name": f"{name}_{self.entry}{a.suffix}", "takes": ", ".join(takes), "statements": [*unused, *lines]}

    def _takes(self, a: Arithmetic, *parts: str) -> list[str]:
        known, sums = f"struct known_{self.entry}{a.suffix}* known", f"struct sums_{self.entry}{a.suffix}* sums"
        rows = [f"const {a.type} {identifier(n)}" for n in self.inputs["row"]]
        kept = [f"const {a.type} {identifier(name)}" for name in self.kept.values()]
        every = {"rows": [*rows, "const int32_t index"], "kept": kept,
                 "known": [known, "const int place", "const int32_t classes"], "sums": [sums, "const int lane"]}
        return [text for part in parts for text in every[part]]

    def _stage(self, stage: Stage, n: int, a: Arithmetic) -> list[dict[str, Any]]:
        families = stage.families
        elements = [f.element for f in families]
        higher = {f: self._higher(f, stage, a) for f in families}
        look = [f"sums->peak_of_{f.name}[lane] = {higher[f]}(sums->peak_of_{f.name}[lane], "
                f"{self._text(f.element, a)});" for f in families]
        extras = [(f, e) for f in families for e in f.extras]
        lift = [f"{a.type} peak_of_{f.name} = sums->peak_of_{f.name}[lane];" for f in families]
        lift += [f"peak_of_{f.name} = larger{a.suffix}(peak_of_{f.name}, {self._text(e, a)});" for f, e in extras]
        lift += [f"known->{identifier(f.name + '_peak')}[place] = peak_of_{f.name};" for f in families]
        for f in families if a is FLOAT else ():
            lift.append(f"known->top_of_{f.name}[place] = peak_of_{f.name};")
            lift += [f"known->{part}_of_{f.name}[place] = {part}_of_f(peak_of_{f.name});" for part in PARTS]
        none = "pair_of(-INFINITY)" if a is PAIR else "-INFINITY"
        clear = [f"sums->peak_of_{f.name}[lane] = {none};" for f in families]
        clear += [f"sums->ties_of_{f.name}[lane] = 0;" for f in families]
        clear += [f"sums->part_of_{f.name}[lane] = 0;" for f in families if a is FLOAT]
        for name in self._sums(stage):
            clear.append(f"sums->{name}[lane] = {'pair_of(0)' if a is PAIR else '0'};")
            clear += [f"sums->{name}_lost[lane] = 0;"] if a is DOUBLE else []
        return [
            self._function(f"clear{n}", a, self._takes(a, "sums"), clear),
            self._function(f"look{n}", a, self._takes(a, "rows", "kept", "known", "sums"), look, elements),
            self._function(f"join_peaks{n}", a, [*self._takes(a, "sums"), "const int other"],
                           [f"sums->peak_of_{f.name}[lane] = {higher[f]}(sums->peak_of_{f.name}[lane], "
                            f"sums->peak_of_{f.name}[other]);" for f in families]),
            self._function(f"raise{n}", a, self._takes(a, "known", "sums"), lift, [e for _, e in extras]),
            self._include(stage, n, a),
            *([self._function(f"gather{n}", a, self._takes(a, "sums"), [
                line for f in families for line in (*self._add(f"below_{f.name}", f"sums->part_of_{f.name}[lane]", a),
                                                    f"sums->part_of_{f.name}[lane] = 0;")])]
              if a is FLOAT and families else []),
            self._function(f"join{n}", a, [*self._takes(a, "sums"), "const int other"], self._join(stage, a)),
            self._close(stage, n, a),
            *([self._capture(stage, n, a)] if stage.captures else []),
        ]

    def _higher(self, family: Family, stage: Stage, a: Arithmetic) -> str:
        """The function that finds a peak. One comparison will do where a NaN comes to light in the sum of the
        exponentials, and reaches from there whatever is computed of them or of the peak."""
        peak = f"{family.name}_peak"
        own = {*self.inputs["scalar"], *self.inputs["parameter"]}
        outputs = [names_used([self.kernel.epilogue.outputs[key], *(let.term for let in self.kernel.epilogue.lets)])
                   for key in self.class_outputs]
        seen = all(used & (set(self.known) - own) for used in outputs)
        careful = a is PAIR or not seen or peak in names_used([slot.weight for slot in stage.slots])
        return f"{'larger' if careful else 'highest'}{a.suffix}"

    def _include(self, stage: Stage, n: int, a: Arithmetic) -> dict[str, Any]:
        s, lines = a.suffix, []
        own = {self.kept[d] for d in self.kept}
        keep = [f"decay_of_{f.name}" for f in stage.families if f"decay_of_{f.name}" in own]
        for f in stage.families:
            element, name = f"element_of_{f.name}", f.name
            peak = f"known->top_of_{name}[place]" if a is FLOAT else identifier(f"{name}_peak")
            lines.append(f"const {a.type} {element} = {self._text(f.element, a)};")
            parts = ", ".join(f"known->{part}_of_{name}[place]" for part in PARTS)
            call = f"parts_f({element}, {parts})" if a is FLOAT else f"lifted{s}({element}, {peak})"
            lines.append(f"const {a.type} lifted_{name} = exp_below_{call};")
            same = f"eq_p({element}, {peak})" if a is PAIR else f"{element} == {peak}"
            lines.append(f"const _Bool tie_{name} = {same};")
            if f"decay_of_{name}" in own or any(p.q for slot in stage.slots for p in slot.powers if p.family == name):
                one = "pair_of(1)" if a is PAIR else "1"
                lines.append(f"const {a.type} {identifier('decay_of_' + name)} = "
                             f"select{s}(tie_{name}, {one}, lifted_{name}{LOWERED[a]});")
            if any(p.p for slot in stage.slots for p in slot.powers if p.family == name):
                lines.append(f"const {a.type} {identifier('gap_of_' + name)} = gap{s}({peak}, {element});")
            lines += self._tie(name, a)
        own_names = {f"decay_of_{f.name}" for f in stage.families}
        for slot in stage.slots:
            lines += self._add(f"sum_{slot.name}", self._text(self._term_of(slot), a), a)
        lines += [f"*kept_{word} = {identifier(word)};" for word in keep]
        takes = [t for t in self._takes(a, "rows", "kept", "known", "sums")
                 if not any(t.endswith(f" {identifier(w)}") for w in own_names)]
        takes += [f"{a.type}* kept_{word}" for word in keep]
        terms = [*(f.element for f in stage.families), *(slot.weight for slot in stage.slots)]
        terms += [var(f"{f.name}_peak") for f in stage.families if a is not FLOAT]
        made = self._function(f"include{n}", a, takes, lines, terms)
        return {**made, "keeps": keep}

    @staticmethod
    def _tie(name: str, a: Arithmetic) -> list[str]:
        if a is PAIR:
            lines = [f"sums->ties_of_{name}[lane] += tie_{name} ? 1 : 0;"]
            return lines + RowWriter._add(f"below_{name}", f"select_p(tie_{name}, pair_of(0), lifted_{name})", a)
        s, ties, part = a.suffix, f"sums->ties_of_{name}[lane]", f"sums->part_of_{name}[lane]"
        lines = [f"{ties} = select{s}(tie_{name}, {ties} + 1, {ties});"]
        if a is FLOAT:
            return [*lines, f"{part} = select{s}(tie_{name}, {part}, {part} + lifted_{name});"]
        below = f"select{s}(tie_{name}, 0, lifted_{name})"
        return lines + RowWriter._add(f"below_{name}", below, a)

    @staticmethod
    def _add(name: str, text: str, a: Arithmetic) -> list[str]:
        """Add to a sum: in double for float, with what is lost for double."""
        place = f"sums->{name}[lane]"
        if a is FLOAT:
            return [f"{place} += (double)({text});"]
        if a is PAIR:
            return [f"{place} = add_p({place}, {text});"]
        return [f"const double term_{name} = {text}, total_{name} = {place} + term_{name};",
                f"sums->{name}_lost[lane] += sum_error_d({place}, term_{name}, total_{name});",
                f"{place} = total_{name};"]

    def _join(self, stage: Stage, a: Arithmetic) -> list[str]:
        lines = [f"sums->ties_of_{f.name}[lane] += sums->ties_of_{f.name}[other];" for f in stage.families]
        for name in self._sums(stage):
            lines += self._add(name, f"sums->{name}[other]", a)
            lines += [f"sums->{name}_lost[lane] += sums->{name}_lost[other];"] if a is DOUBLE else []
        return lines

    def _close(self, stage: Stage, n: int, a: Arithmetic) -> dict[str, Any]:
        lines: list[str] = []
        for f in stage.families:
            lines += self._rest(f, a)
        for slot in stage.slots:
            lines.append(f"known->{identifier(slot.name)}[place] = {self._total(f'sum_{slot.name}', a)};")
        lines += self._named_here(stage, a)
        terms = [*(e for f in stage.families for e in f.extras), *(let.term for let in stage.after)]
        fresh = {let.name for let in stage.after} | {slot.name for slot in stage.slots}
        fresh |= {f"{f.name}_{part}" for f in stage.families for part in ("peak", "rest")}
        fresh |= {c.name for c in stage.captures}
        return self._late(f"close{n}", a, self._takes(a, "known", "sums"), lines, terms, fresh)

    def _named_here(self, stage: Stage, a: Arithmetic) -> list[str]:
        """The lets after a stage, each reading what the stage has just found."""
        if not stage.after or stage.captures:
            return []
        return self._after(stage, a)

    def _after(self, stage: Stage, a: Arithmetic) -> list[str]:
        parts = ("rest",) if stage.captures else ("peak", "rest")
        own = [*(slot.name for slot in stage.slots), *(c.name for c in stage.captures),
               *(f"{f.name}_{part}" for f in stage.families for part in parts)]
        used = names_used([let.term for let in stage.after])
        wanted = [identifier(name) for name in own if name in used]
        wide = WIDER[a]
        lines = [f"const {wide.type} {name} = known->{name}[place];" for name in wanted]
        for let in stage.after:
            lines.append(f"const {wide.type} {identifier(let.name)} = {self._text(let.term, wide)};")
            lines.append(f"known->{identifier(let.name)}[place] = {identifier(let.name)};")
        return lines

    def _late(self, name: str, a: Arithmetic, takes: Sequence[str], lines: Sequence[str], terms: Sequence[Term],
              fresh: set[str]) -> dict[str, Any]:
        """A function that writes some scalars itself: those are not read at its start."""
        held = self.known
        self.known = [k for k in held if k not in fresh]
        try:
            return self._function(name, a, takes, lines, terms, WIDER[a].type)
        finally:
            self.known = held

    def _total(self, name: str, a: Arithmetic) -> str:
        place = f"sums->{name}[lane]"
        return {FLOAT: place, DOUBLE: f"collapsed({place}, sums->{name}_lost[lane])", PAIR: place}[a]

    def _rest(self, f: Family, a: Arithmetic) -> list[str]:
        """The sum of exp(a - peak) over all elements but one that attains the peak; extras are elements too."""
        s, peak, name = a.suffix, f"known->{identifier(f.name + '_peak')}[place]", f.name
        lines = []
        for n, extra in enumerate(f.extras):
            word = f"extra{n}_{name}"
            tie = f"eq_p({word}, {peak})" if a is PAIR else f"{word} == {peak}"
            lines.append(f"const {a.type} {word} = {self._text(extra, a)};")
            lines.append(f"sums->ties_of_{name}[lane] += {tie} ? 1 : 0;")
            zero = "pair_of(0)" if a is PAIR else "0"
            more = f"select{s}({tie}, {zero}, exp_below_lifted{s}({word}, {peak}))"
            added = self._add(f"below_{name}", more, a)
            lines += ["{", *(f"    {line}" for line in added), "}"]
        others, place = f"sums->ties_of_{name}[lane] - 1", f"sums->below_{name}[lane]"
        value = {
            FLOAT: f"{place} * 0x1p-64 + (double)({others})",
            DOUBLE: f"rest_of({place}, sums->below_{name}_lost[lane], {others})",
            PAIR: f"add_p({place}, pair_of({others}))",
        }[a]
        number = f"{peak}.hi" if a is PAIR else peak
        nan = "pair_of(NAN)" if a is PAIR else "NAN"
        lines.append(f"known->{identifier(name + '_rest')}[place] = select{WIDER[a].suffix}(({number} == -INFINITY) | "
                     f"(({number} == INFINITY) & (sums->ties_of_{name}[lane] > 1)), {nan}, {value});")
        if a is not PAIR:
            lines.append(f"{peak} = select_d({place} == {place}, {peak}, NAN);")
        return lines

    def _capture(self, stage: Stage, n: int, a: Arithmetic) -> dict[str, Any]:
        """What is read at a label; k is that label. Lets after the stage follow, which may read it."""
        lines = [f"known->{identifier(c.name)}[place] = {self._text(c.element, a)};" for c in stage.captures]
        if stage.after:
            lines += ["{", *(f"    {line}" for line in self._after(stage, a)), "}"]
        fresh = {let.name for let in stage.after} | {c.name for c in stage.captures}
        fresh |= {slot.name for slot in stage.slots} | {f"{f.name}_rest" for f in stage.families}
        terms = [*(c.element for c in stage.captures), *(let.term for let in stage.after)]
        made = self._late(f"capture{n}", a, self._takes(a, "rows", "kept", "known"), lines, terms, fresh)
        return {**made, "label": identifier(stage.captures[0].label)}

    def _finish(self, a: Arithmetic) -> dict[str, Any]:
        finish, wide = self.kernel.finish, WIDER[a]
        lines = self._named(finish.lets, a)
        lines += [f"*end{n} = {self._text(finish.outputs[key], wide)};" for n, key in enumerate(self.row_outputs)]
        terms = [*(let.term for let in finish.lets), *finish.outputs.values()]
        takes = [*self._takes(a, "known"), *(f"{wide.type}* end{n}" for n in range(len(self.row_outputs)))]
        return self._late("finish", a, takes, lines, terms, {let.name for let in finish.lets})

    def _named(self, lets: Iterable[Let], a: Arithmetic) -> list[str]:
        """What is known of a row at its end, and the inverses of that."""
        lines, wide = [], WIDER[a]
        for let in lets:
            lines.append(f"const {wide.type} {identifier(let.name)} = {self._text(let.term, wide)};")
            lines.append(f"known->{identifier(let.name)}[place] = {identifier(let.name)};")
        return lines + [f"known->{identifier(inverse)}[place] = 1.0 / known->{identifier(name)}[place];"
                        for name, inverse in self.inverses.items() if a is FLOAT]

    def _ready(self, a: Arithmetic) -> dict[str, Any]:
        """What a long row's classes need to be known of it; the rest of `finish` waits until several rows are there."""
        lets, results = self.elsewhere or self._given()
        needed, chosen = names_used([*(term for _, term in lets), *results]) | set(self.inverses), list[Let]()
        for let in reversed(self.kernel.finish.lets):
            if let.name in needed:
                needed |= names_used([let.term])
                chosen.insert(0, let)
        terms, names = [let.term for let in chosen], {let.name for let in chosen}
        return self._late("ready", a, self._takes(a, "known"), self._named(chosen, a), terms, names)

    def _given(self) -> Formulas:
        """The formulas of a class: temporaries by name, and outputs."""
        return ([(let.name, let.term) for let in self.kernel.epilogue.lets],
                [self.kernel.epilogue.outputs[key] for key in self.class_outputs])

    def _elsewhere(self) -> Formulas | None:
        """The formulas of every class but the label's, where the label matters only by whether a class is it."""
        lets, results = self._given()
        made = [(name, _apart(term)) for name, term in lets], [_apart(term) for term in results]
        before, after = (walk(*(t for _, t in some), *others) for some, others in ((lets, results), made))
        return made if any(t.op == "label" for t in before) and not any(t.op == "label" for t in after) else None

    def _epilogue(self, word: str, a: Arithmetic, formulas: Formulas) -> dict[str, Any]:
        lets, results = formulas
        if a is FLOAT:  # in float64 a product would be off by more than the division
            lets, results = [(n, self._multiplied(t)) for n, t in lets], [self._multiplied(t) for t in results]
        lines = [f"const {a.type} {identifier(name)} = {self._text(term, a)};" for name, term in lets]
        lines += [f"*out{n} = {self._text(term, a)};" for n, term in enumerate(results)]
        terms = [*(term for _, term in lets), *results]
        outs = [f"{a.type}* out{n}" for n in range(len(self.class_outputs))]
        takes = [*self._takes(a, "rows", "kept", "known"), *outs]
        return self._function(word, a, takes, lines, terms)


def _apart(term: Term) -> Term:
    """A term where the class is not the label's."""
    if term.op == "where" and term.args[0].op in ("eq", "ne") \
            and {a.op for a in term.args[0].args} == {"position", "label"}:
        return _apart(term.args[2 if term.args[0].op == "eq" else 1])
    return rebuild(term, tuple(map(_apart, term.args)))
