"""The parts of a generated NumPy module, as the templates take them."""

from __future__ import annotations

import keyword as keyword_list
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from lossmith.codegen.kernel import Bundle, Input
from lossmith.codegen.targets.np_printing import literal


@dataclass(frozen=True)
class Function:
    """A private function: its name, its arguments, and its lines."""

    name: str
    arguments: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A public function: name, arguments, docstring, and the arguments of the call it makes."""

    name: str
    arguments: str
    doc: str
    call: str


@dataclass(frozen=True)
class Module:
    """Everything that differs from module to module. `values`: what one shape's template needs besides."""

    kernels: Sequence[Function]
    entries: Sequence[Entry]
    tables: Sequence[str]
    helpers: frozenset[str]
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Derivatives:
    """The outputs that a bundle has, by what they differentiate: names of arguments to output names."""

    gradient: Mapping[tuple[str, ...], str]
    hessian: Mapping[tuple[str, ...], str]

    def both(self) -> Mapping[tuple[str, ...], tuple[str, str]]:
        """The arguments that have a gradient and a second derivative by themselves."""
        return {k: (g, self.hessian[k]) for k, g in self.gradient.items() if k in self.hessian}


def derivatives(bundle: Bundle, outputs: Sequence[str]) -> Derivatives:
    """Which derivatives there are, the primary argument first."""
    names = sorted(bundle.differentiable, key=lambda n: n != bundle.primary)
    gradient: dict[tuple[str, ...], str] = {(n,): f"gradient_{n}" for n in names if f"gradient_{n}" in outputs}
    hessian: dict[tuple[str, ...], str] = {(n,): f"hessian_{n}" for n in names if f"hessian_{n}" in outputs}
    for a in names:
        for b in names:
            if a != b and f"hessian_{a}_{b}" in outputs:
                hessian |= {(a, b): f"hessian_{a}_{b}", (b, a): f"hessian_{a}_{b}"}
    return Derivatives(gradient, hessian)


def keyword(given: Input) -> str:
    """A parameter in a signature, with its default."""
    if given.default is None:
        return safe(given.name)
    text = "None" if given.default == "eps" else literal(Fraction(given.default))
    return f"{safe(given.name)}={text}"


def dictionary(names: Sequence[str]) -> str:
    """The arguments of a function as a dictionary, as source."""
    return "{" + ", ".join(f'"{n}": {safe(n)}' for n in names) + "}"


def key(names: tuple[str, ...]) -> str:
    """A tuple of names, as source."""
    return "(" + ", ".join(f'"{n}"' for n in names) + ("," if len(names) == 1 else "") + ")"


def folded(line: str) -> list[str]:
    """A line that is too long and ends with a call, as the call's head, its arguments, and its end."""
    indent = line[: len(line) - len(line.lstrip())]
    if len(line) <= WIDTH or not line.endswith(")"):
        return [line]
    depth, start = 0, len(line)
    for start in range(len(line) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(line[start], 0)
        if depth == 0:
            break
    inner = [f"{indent}    {text}" for text in _filled(line[start + 1 : -1], WIDTH - len(indent) - 4)]
    return [line[: start + 1], *inner, f"{indent})"]


def _filled(arguments: str, width: int) -> list[str]:
    """Arguments in lines of some width, broken only between arguments."""
    lines, depth, begin, comma = [], 0, 0, 0
    for i, letter in enumerate(arguments):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(letter, 0)
        if i - begin >= width and comma > begin:
            lines.append(arguments[begin:comma])
            begin = comma + 1
        if letter == "," and depth == 0:
            comma = i + 1
    return [*lines, arguments[begin:]]


WIDTH = 112
RESERVED = frozenset({
    *keyword_list.kwlist, "np", "math", "state", "part", "chunks", "work", "narrow", "first", "count", "position",
    "out", "tier", "wrt", "axis", "room",
})


def returned(lines: Sequence[str], names: Sequence[str]) -> list[str]:
    """The lines, and after them a return of the names; a last line that sets the only name returns its value."""
    start = f"{names[0]} = "
    if len(names) == 1 and lines and lines[-1].startswith(start):
        return [*lines[:-1], f"return {lines[-1].removeprefix(start)}"]
    return [*lines, f"return {', '.join(names)}"]


def safe(name: str) -> str:
    """A name that hides nothing of the module's own."""
    return f"{name}_" if name in RESERVED else name
