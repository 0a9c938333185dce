"""Elementwise statements as NumPy: each operation writes a buffer, which is used again once its value is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lossmith.codegen.kernel import Let, Program
from lossmith.codegen.names import Names
from lossmith.codegen.targets.np_module import safe
from lossmith.codegen.targets.np_printing import FUNCTIONS, WIDTH, Context, NumpyPrinter, is_constant
from lossmith.derivations.terms import Term, is_const, name_of

UFUNCS: Mapping[str, str] = {
    "add": "np.add", "sub": "np.subtract", "mul": "np.multiply", "div": "np.divide", "neg": "np.negative",
    "max": "np.maximum", "min": "np.minimum", "abs": "np.abs", "sign": "np.sign", "sqrt": "np.sqrt",
    **{name: f"_{name}" for name in FUNCTIONS}, "absorb": "_absorb", "xlogy": "_xlogy", "gap": "_gap",
    "where": "_select",
}
GUARDED = frozenset({"absorb", "xlogy", "gap"})  # these read their arguments once more after they have written


def _names(terms: Iterable[Term]) -> list[str]:
    return [name_of(t) for t in terms if t.op == "var"]


def is_minus_abs(term: Term) -> bool:
    """Whether a term is -|a|: one operation, on bits."""
    return term.op == "neg" and term.args[0].op == "abs"


@dataclass(frozen=True)
class Value:
    """How a value reads. buffer: where it lies, if that may be written over; made: whether reading it computes it."""

    text: str
    buffer: str | None = None
    made: bool = False


class Writer:
    """Writes the lines of one function, and hands out its buffers.

    A line holds one chain of operations. Of several chains that an operation joins, all but the last become
    lines of their own, so that what is written over is never still to be read.
    """

    def __init__(self, program: Program, printer: NumpyPrinter, context: Context, names: Names,
                 parameters: Iterable[str], narrow: frozenset[Term]) -> None:
        self.program, self.printer, self.context, self.names, self.narrow = program, printer, context, names, narrow
        self.scalars = set(parameters)
        self.waiting = {let.name: let for let in program.lets}
        self.lines: list[str] = []
        self.buffers: list[str] = []
        self.free: list[str] = []
        self.held: dict[str, str] = {}  # temporaries of the program, and where they lie
        self.counts: dict[Term, Counter[str]] = {}
        self.left: Counter[str] = Counter()
        for term in (*(let.term for let in program.lets), *program.outputs.values()):
            self.left.update(self._reads(term))

    def write(self, results: Mapping[str, str]) -> list[str]:
        """The lines; `results`: what each output is called."""
        for let in self.program.lets:
            if self._is_scalar(let.term):
                self.scalars.add(let.name)
                self._need([let.name])
        for output, term in self.program.outputs.items():
            self._output(results[output], term)
        if not self.buffers:
            return self.lines
        first = f"{', '.join(self.buffers)}{',' if len(self.buffers) == 1 else ''} = room.take({len(self.buffers)})"
        return [first, *self.lines]

    def _reads(self, term: Term) -> Counter[str]:
        """How often each name is read where a term is printed."""
        if term not in self.counts:
            found: Counter[str] = Counter([name_of(term)] if term.op == "var" else [])
            for a in term.args:
                found.update(self._reads(a))
            self.counts[term] = found
        return self.counts[term]

    def _is_scalar(self, term: Term) -> bool:
        return set(self._reads(term)) <= self.scalars

    def _need(self, names: Iterable[str]) -> None:
        """The temporaries that are read next: each is computed where it is first read, and lies about no longer."""
        for name in names:
            let = self.waiting.pop(name, None)
            if let is not None:
                self._let(let)

    def _let(self, let: Let) -> None:
        name, term = safe(let.name), let.term
        comment = [f"# {let.comment}"] if let.comment else []
        if self._is_scalar(term):
            self.lines += [*comment, *self.printer.lines(name, term, self.context, self.names)]
            return
        value = self._value(term)
        if term.op == "var" and name_of(term) in self.held:  # two names must not share what one of them gives up
            buffer = self._new()
            value = Value(f"np.positive({value.text}, out={buffer})", buffer)
            self._read(term)
        self.lines += [*comment, f"{name} = {value.text}"]
        if value.buffer is not None:
            self.held[let.name] = value.buffer

    def _output(self, name: str, term: Term) -> None:
        value = self._value(term, name)
        self.lines.append(value.text if value.buffer == name else f"{name}[...] = {value.text}")

    def _value(self, term: Term, out: str | None = None) -> Value:
        """A term as text, its parts before it as lines. out: the array to write, where there is a choice."""
        if self._is_scalar(term):
            return Value(self.printer.write(term, self.context))
        self._need(self._reads(term) if term.op not in UFUNCS else _names(self._called(term)[1]))
        if term.op == "var":
            return Value(self.context.leaf(term))
        if term.op not in UFUNCS:
            lines = self.printer.lines("value", term, self.context, self.names)
            self.lines += lines[:-1]
            self._read(term)
            return Value(lines[-1].removeprefix("value = "), made=True)
        return self._operation(term, out)

    def _read(self, term: Term) -> None:
        """What a term reads has been read: the buffers of names that nothing reads any more are free."""
        reads = self._reads(term)
        self.left.subtract(reads)
        self.free += [self.held[n] for n in reads if n in self.held and self.left[n] == 0]

    def _operation(self, term: Term, out: str | None) -> Value:
        function, terms = self._called(term)
        values = self._arguments(terms, None if term.op in GUARDED else out)
        dying = [v.buffer for v in values if v.buffer is not None]
        if term.op in GUARDED:
            usable: list[str] = []
        elif term.op == "where":
            usable = [b for b in (values[1].buffer,) if b is not None and b != values[2].buffer]
        else:
            usable = dying
        buffer = out or (usable[0] if usable else self._new())
        self.free += sorted({b for b in dying if b != buffer} - set(self.free), reverse=True)
        texts = [v.text for v in values]
        if term.op in ("max", "min"):
            texts = [f"room.level({t})" if is_constant(a) else t for a, t in zip(terms, texts)]
        more = ", room=room" if term.op == "where" else ""
        head = f"{function}("
        text = f"{head}{', '.join(texts)}, out={buffer}{more})"
        if len(text) > WIDTH - 24:
            for i, v in enumerate(values):
                if v.made and v.buffer is not None:
                    self.lines.append(v.text)
                    texts[i] = v.buffer
            text = f"{head}{', '.join(texts)}, out={buffer}{more})"
        return Value(text, buffer, made=True)

    def _called(self, term: Term) -> tuple[str, tuple[Term, ...]]:
        """The function that computes a term, and of what."""
        if term.op == "pow" and is_const(term.args[1], 2):
            return "np.square", term.args[:1]
        if is_minus_abs(term):
            return "_minus_abs", term.args[0].args
        return FUNCTIONS[term.op] if term in self.narrow else UFUNCS[term.op], term.args

    def _arguments(self, terms: tuple[Term, ...], out: str | None) -> list[Value]:
        """The arguments of an operation; of those that are computed, all but the last on lines before it.

        The first that is a number is computed in `out`, where the operation itself will be.
        """
        made = [i for i, t in enumerate(terms) if t.args and not self._is_scalar(t)]
        first = next((i for i in made if terms[i].sort != "truth"), None)
        if len(terms) == 3 and first == 2:  # a choice reads its second branch after it has written
            first = None
        values: list[Value] = []
        for i, t in enumerate(terms):
            value = self._value(t, out if i == first else None)
            if i in made[:-1]:
                value = self._apart(t, value)
            values.append(value)
        # Only now: an argument that is computed here must not write over a name that stands beside it.
        names = [name_of(t) if t.op == "var" and not self._is_scalar(t) else "" for t in terms]
        self.left.subtract(n for n in names if n)
        return [Value(v.text, self.held[n]) if n in self.held and self.left[n] == 0 else v
                for n, v in zip(names, values)]

    def _apart(self, term: Term, value: Value) -> Value:
        """A value on a line of its own."""
        if value.buffer is not None:
            self.lines.append(value.text)
            return Value(value.buffer, value.buffer)
        name = self.names.fresh(term)
        self.lines.append(f"{name} = {value.text}")
        return Value(name)

    def _new(self) -> str:
        if self.free:
            return self.free.pop()
        name = f"t{len(self.buffers) + 1}"
        while name in self.names.taken:
            name += "_"
        self.names.taken.add(name)
        self.buffers.append(name)
        return name
