"""The special functions of derivations/special.py as source for generated modules."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction

from lossmith.derivations import enclosing, special
from lossmith.derivations.approximation import Table, working
from lossmith.derivations.precise import formula, place
from lossmith.derivations.terms import Term, number, walk
from lossmith.derivations.ulp import split

_HINT = re.compile(r": (?:Array|Pair|Table|int|float|Iterable\[float\])(?=[,)])|\s->.*(?=:\n)")


def _own() -> dict[str, object]:
    """The functions and tables of the file, by name."""
    return {name: value for name, value in vars(special).items() if isinstance(value, (Table, float))
            or (inspect.isfunction(value) and value.__module__ == special.__name__)}


def source(functions: Iterable[str], library: str, width: int = 108) -> str:
    """What some functions need, as source, tables first: `_erfcx_of(a)` for `erfcx`. library: `np` or `torch`."""
    own = _own()
    wanted: list[str] = []

    def visit(name: str) -> None:
        if name not in wanted:
            value = own[name]
            for word in value.__code__.co_names if inspect.isfunction(value) else ():
                if word in own:
                    visit(word)
            wanted.append(name)

    for name in functions:
        visit(name)
    parts = ["\n".join(_table(name, value, width) for name in wanted if isinstance(value := own[name], (Table, float)))]
    parts += [_BY_LIBRARY.get((name, library)) or _function(value, wanted, library) for name in wanted
              if inspect.isfunction(value := own[name])]
    return "\n\n\n".join(parts)


def _table(name: str, table: Table | float, width: int) -> str:
    if isinstance(table, float):
        return f"_{name} = {table!r}"
    lines, line = [f"_{name} = ("], "   "
    for value in table.doubles:
        word = f" {value!r},"
        if len(line + word) > width:
            lines.append(line)
            line = "   "
        line += word
    return "\n".join([*lines, line, ")"])


def in_pairs(term: Term, names: Sequence[str]) -> str:
    """The formula of a `precise` node as Python over pairs, its arguments being called by names."""

    def text(t: Term) -> str:
        if t.op == "var":
            return names[place(t)]
        if not any(a.op == "var" for a in walk(t)):
            high, low = split(value_of(t))
            return f"({high!r}, {low!r})"
        if t.op == "pow":
            return f"_power({text(t.args[0])}, {number(t.args[1])})"
        function = special.ENDED.get(t.op) or special.PAIRED[t.op]
        return f"_{function.__name__}({', '.join(map(text, t.args))})"

    whole = formula(term)
    return text(whole) if whole.op in special.ENDED else f"_value({text(whole)})"


def pair_functions(term: Term) -> list[str]:
    """The functions of special.py that such a text calls."""
    found = {**special.PAIRED, **special.ENDED}
    return ["value", *dict.fromkeys(found[t.op].__name__ for t in walk(formula(term)) if t.op in found)]


def value_of(term: Term) -> Fraction:
    """A term without inputs, to a hundred digits."""
    with working(400):
        mantissa, exponent = enclosing.run(term, {}, True).mid().man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _printed(name: str) -> str:
    """The name in a module, where `_erfcx` takes any type and `_erfcx_of` float64."""
    return f"_{name}_of" if name in special.FUNCTIONS else f"_{name}"


# Asking the elements costs a device a wait, and stops a compiler and vmap: they take both ways instead.
_BY_LIBRARY = {("some", "torch"): """def _some(mask):
    if torch.compiler.is_compiling():
        return True
    try:
        return bool(torch.any(mask))
    except RuntimeError:  # under vmap the elements have no one answer
        return True"""}


def _function(function: object, names: Iterable[str], library: str) -> str:
    text = inspect.getsource(function).rstrip()  # type: ignore[arg-type]
    head, _, body = text.partition("\n")
    text = _HINT.sub("", head + "\n") + body
    doc = text.rindex('"""') + 3
    before, after = text[:doc], text[doc:]
    for name in names:
        before = re.sub(rf"^def {name}\(", f"def {_printed(name)}(", before)
        after = re.sub(rf"\b{name}\b", _printed(name), after)
    text = before + after
    return text if library == "np" else re.sub(r"\bnp\.", f"{library}.", text)
