"""Row kernels as CUDA C++: what is known of a row, the monoid of each stage, finish and epilogue, as statements."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lossmith.codegen.kernel import Family, Let, Power, Row, Slot, Stage, names_used
from lossmith.codegen.targets.cu_printing import PRINTER, identifier, leaf_printer
from lossmith.derivations.terms import Term, is_const


@dataclass(frozen=True)
class StageView:
    """The statements of one stage's monoid, each a line of the body of the function of that name."""

    struct: str
    families: int
    members: tuple[str, ...]
    none: tuple[str, ...]
    peaks: str
    look: tuple[str, ...]
    raise_: tuple[str, ...]
    include: tuple[str, ...]
    add: tuple[str, ...]
    close: tuple[str, ...]


@dataclass(frozen=True)
class RowView:
    """The statements of one entry of a row kernel."""

    fields: tuple[str, ...]
    open: tuple[str, ...]
    stages: tuple[StageView, ...]
    finish: tuple[str, ...]
    epilogue: tuple[str, ...]


def row_view(kernel: Row, class_outputs: Sequence[str], scalar_outputs: Sequence[str]) -> RowView:
    """The statements of a row kernel that is already restricted to these outputs."""
    return _Writer(kernel).view(class_outputs, scalar_outputs)


class _Writer:
    def __init__(self, kernel: Row) -> None:
        self.kernel = kernel
        self.rows = [i.name for i in kernel.inputs if i.kind == "row"]
        self.labels = [i.name for i in kernel.inputs if i.kind == "label"]
        self.scalars = [i.name for i in kernel.inputs if i.kind == "scalar"]
        self.parameters = [i.name for i in kernel.inputs if i.kind == "parameter"]
        self.known = [*self.scalars, *self.parameters]
        for stage in kernel.stages:
            self.known += [f"{f.name}_{part}" for f in stage.families for part in ("peak", "rest")]
            self.known += [s.name for s in stage.slots] + [c.name for c in stage.captures]
            self.known += [let.name for let in stage.after]
        self.known += [let.name for let in kernel.finish.lets]
        self.leaf = leaf_printer(self.known)

    def text(self, term: Term, outer: int = 0) -> str:
        return PRINTER.text(term, self.leaf, outer)

    def view(self, class_outputs: Sequence[str], scalar_outputs: Sequence[str]) -> RowView:
        finish, epilogue = self.kernel.finish, self.kernel.epilogue
        chosen = [epilogue.outputs[name] for name in class_outputs]
        terms = [*(let.term for let in epilogue.lets), *chosen]
        return RowView(
            fields=(*(f"int {identifier(y)};" for y in self.labels), *(f"A {identifier(n)};" for n in self.known)),
            open=self._open(),
            stages=tuple(self._stage(s, n) for n, s in enumerate(self.kernel.stages, 1)),
            finish=(*self._lets(finish.lets),
                    *(f"out[{n}] = {self.text(finish.outputs[name])};" for n, name in enumerate(scalar_outputs))),
            epilogue=(*self._elements(terms),
                      *(f"const A {identifier(let.name)} = {self.text(let.term)};" for let in epilogue.lets),
                      *(f"out[{n}] = {self.text(t)};" for n, t in enumerate(chosen))),
        )

    def _open(self) -> tuple[str, ...]:
        lines = []
        for n, name in enumerate(self.labels):
            y = identifier(name)
            lines += [
                f"const long long given_{y} = problem.label[{n}][row];",
                f"const bool {y}_in_range = given_{y} >= 0 && given_{y} < problem.classes;",
                f"known.{y} = {y}_in_range ? static_cast<int>(given_{y}) : 0;",
                f"known.sound = known.sound && {y}_in_range;",
            ]
        for n, name in enumerate(self.scalars):
            lines.append(f"known.{identifier(name)} = A(widen(problem.scalar_input[{n}][row]));")
        for n, name in enumerate(self.parameters):
            lines.append(f"known.{identifier(name)} = problem.parameter[{n}];")
        return tuple(lines)

    def _lets(self, lets: Iterable[Let]) -> list[str]:
        return [f"known.{identifier(let.name)} = {self.text(let.term)};" for let in lets]

    def _elements(self, terms: Iterable[Term]) -> list[str]:
        """Names for the row inputs that some terms read."""
        used = names_used(terms)
        return [f"const A {identifier(n)} = in[{i}];" for i, n in enumerate(self.rows) if n in used]

    def _stage(self, stage: Stage, n: int) -> StageView:
        families = [_peak(f.name) for f in stage.families]
        slots = [identifier(s.name) for s in stage.slots]
        elements = [f.element for f in stage.families]
        return StageView(
            struct=f"Stage{n}", families=len(families),
            members=(*(f"Peak<A> {f};" for f in families), *(f"Sum<A> {s};" for s in slots)),
            none=(*(f"state.{f} = Peak<A>::none();" for f in families), *(f"state.{s} = Sum<A>(0);" for s in slots)),
            peaks="{" + ", ".join(f"{f}.peak" for f in families) + "}",
            look=(*self._elements(elements),
                  *(f"peaks.of[{i}] = larger(peaks.of[{i}], {self.text(e)});" for i, e in enumerate(elements))),
            raise_=tuple(line for i, f in enumerate(stage.families) for line in self._raise(i, f, stage)),
            include=self._include(stage),
            add=(*(f"{f}.add(other.{f});" for f in families),
                 *(f"{s} = settled({s}) + settled(other.{s});" for s in slots)),
            close=self._close(stage),
        )

    def _raise(self, index: int, family: Family, stage: Stage) -> list[str]:
        """Move one peak up: every sum of that family moves with it, the highest powers first."""
        name = _peak(family.name)
        moved = sorted((s for s in stage.slots if _power(s, family)), key=lambda s: -_degree(s, family))
        body = []
        if any(p.q for s in moved if (p := _power(s, family))):
            body.append(f"const Sum<A> decay = factor({name}.peak, peaks.of[{index}]);")
        if any(_degree(s, family) for s in moved):
            body.append(f"const Sum<A> rise = widened<A>(peaks.of[{index}]) - widened<A>({name}.peak);")
        body += [f"{identifier(s.name)} = {_moved(s, family, stage)};" for s in moved]
        body.append(f"{name}.raise(peaks.of[{index}]);")
        return [f"if (peaks.of[{index}] != {name}.peak) {{", *(f"    {line}" for line in body), "}"]

    def _include(self, stage: Stage) -> tuple[str, ...]:
        terms = [*(f.element for f in stage.families), *(s.weight for s in stage.slots)]
        lines = self._elements(terms)
        for family in stage.families:
            name, peak = family.name, _peak(family.name)
            lines.append(f"const A element_of_{name} = {self.text(family.element)};")
            if any(p.q for s in stage.slots if (p := _power(s, family))):
                lines.append(f"const A decay_of_{name} = exp_diff(element_of_{name}, {peak}.peak);")
            if any(_degree(s, family) for s in stage.slots):
                lines.append(f"const A gap_of_{name} = gap({peak}.peak, element_of_{name});")
            lines.append(f"{peak}.include(element_of_{name});")
        lines += [f"accumulate({identifier(s.name)}, {self._term_of(s)});" for s in stage.slots]
        return tuple(lines)

    def _term_of(self, slot: Slot) -> str:
        """What one class adds to a slot: a factor that vanishes wins over one that is infinite."""
        factor, fading = "", False
        for power in slot.powers:
            pieces = [_raised(f"decay_of_{power.family}", power.q)] * (power.q > 0)
            pieces += [_raised(f"gap_of_{power.family}", power.p)] * (power.p > 0)
            for piece in pieces:
                factor = f"absorb({factor}, {piece})" if factor else piece
            fading = fading or power.q > 0
        if not factor:
            return f"A({self.text(slot.weight)})"
        if is_const(slot.weight, 1):
            return factor
        weight = self.text(slot.weight)
        return f"absorb({factor}, A({weight}))" if fading else f"absorb(A({weight}), {factor})"

    def _close(self, stage: Stage) -> tuple[str, ...]:
        lines = self._extras(stage)
        for family in stage.families:
            name, peak = family.name, _peak(family.name)
            lines += [f"known.{name}_peak = {peak}.peak;", f"known.{name}_rest = {peak}.rest();"]
        lines += [f"known.{identifier(s.name)} = collapsed<A>({identifier(s.name)});" for s in stage.slots]
        for capture in stage.captures:
            used = names_used([capture.element])
            reads = [f"const A {identifier(n)} = A(widen(row[{i}][k]));" for i, n in enumerate(self.rows) if n in used]
            lines += ["{", f"    const int k = known.{identifier(capture.label)};", *(f"    {r}" for r in reads),
                      f"    known.{identifier(capture.name)} = {self.text(capture.element)};", "}"]
        return (*lines, *self._lets(stage.after))

    def _extras(self, stage: Stage) -> list[str]:
        """Scalars that count as one more element each: raise the peak to them, then include them."""
        extras = [(i, f, e) for i, f in enumerate(stage.families) for e in f.extras]
        if not extras:
            return []
        lines = ["Peaks highest = peaks();"]
        lines += [f"highest.of[{i}] = larger(highest.of[{i}], A({self.text(e)}));" for i, _, e in extras]
        lines.append("raise(highest);")
        for _, family, extra in extras:
            name, text = _peak(family.name), self.text(extra)
            lines.append(f"{name}.include(A({text}));")
        return lines


def _peak(family: str) -> str:
    """The state of a family: a name apart from the input that may have given the family its own."""
    return f"peak_of_{family}"


def _power(slot: Slot, family: Family) -> Power | None:
    return next((p for p in slot.powers if p.family == family.name), None)


def _degree(slot: Slot, family: Family) -> int:
    power = _power(slot, family)
    return power.p if power else 0


def _moved(slot: Slot, family: Family, stage: Stage) -> str:
    """The slot after its peak has moved up by `rise`, from the lower powers of the same weight."""
    power = _power(slot, family)
    assert power is not None
    parts = [f"settled({identifier(slot.name)})"]
    for j in range(power.p - 1, -1, -1):
        lower = identifier(_lower(slot, power, j, stage).name)
        term = f"absorb(settled({lower}), {_raised('rise', power.p - j)})"
        ways = math.comb(power.p, j)
        parts.append(term if ways == 1 else f"Sum<A>({ways}) * {term}")
    total = " + ".join(parts)
    return f"absorb({_raised('decay', power.q)}, {total})" if power.q else total


def _raised(name: str, exponent: int) -> str:
    return name if exponent == 1 else f"power<{exponent}>({name})"


def _lower(slot: Slot, power: Power, j: int, stage: Stage) -> Slot:
    wanted = {p for p in slot.powers if p is not power}
    if (j, power.q) != (0, 0):
        wanted.add(Power(power.family, j, power.q))
    for other in stage.slots:
        if other.weight is slot.weight and {p for p in other.powers if (p.p, p.q) != (0, 0)} == wanted:
            return other
    raise ValueError(f"slot {slot.name} needs the slot of the same weight with power {j} of {power.family}")
