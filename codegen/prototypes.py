"""What a generated .h says of its launchers: read back, so that Python can call them. Standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ARRAY = re.compile(r"^//   (\w+) +(\([a-z, ]+\)|number)")
_LAUNCHER = re.compile(r"^(?:cudaError_t|int) lossmith_(\w+)\((.*?)(?:, cudaStream_t stream)?\);$")
_ENDINGS = (("_f32_accurate", "f32", "accurate"), ("_f64_accurate", "f64", "accurate"), ("_f32", "f32", "fast"),
            ("_f64", "f64", "fast"), ("_bf16", "bf16", "fast"), ("_f16", "f16", "fast"))
ENTRIES = ("loss_gradient_times", "loss_gradient", "gradient_hessian", "gradient", "loss")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a launcher. kind: `input` and `output` are arrays of the storage type,
    `label` an array of int64, `number` a double, `size` a 64-bit integer, `threads` an int.
    shape: the names of an array's axes, as ("rows", "classes")."""

    name: str
    kind: str
    shape: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prototype:
    """One launcher: `symbol(parameters..., stream)` in CUDA C, `symbol(parameters...)` in C, for an entry, a
    storage type and a tier."""

    symbol: str
    unit: str
    entry: str
    dtype: str
    tier: str
    parameters: tuple[Parameter, ...]


def read(header: str) -> tuple[Prototype, ...]:
    """The launchers that a generated header declares. Raises ValueError where it declares none."""
    shapes: dict[str, tuple[str, ...]] = {}
    found: list[Prototype] = []
    for line in header.splitlines():
        array, launcher = _ARRAY.match(line), _LAUNCHER.match(line)
        if array:
            text = array[2].strip("()")
            shapes[array[1]] = () if text == "number" else tuple(axis.strip() for axis in text.split(","))
        if launcher:
            found.append(_prototype(launcher[1], launcher[2], shapes))
    if not found:
        raise ValueError("this is not a header that lossmith generated: it declares no launcher")
    return tuple(found)


def _prototype(name: str, parameters: str, shapes: dict[str, tuple[str, ...]]) -> Prototype:
    ending, dtype, tier = next(e for e in _ENDINGS if name.endswith(e[0]))
    rest = name.removesuffix(ending)
    entry = next(e for e in ENTRIES if rest.endswith(f"_{e}"))
    parts = tuple(_parameter(text.strip(), shapes) for text in parameters.split(","))
    return Prototype(f"lossmith_{name}", rest.removesuffix(f"_{entry}"), entry, dtype, tier, parts)


def _parameter(text: str, shapes: dict[str, tuple[str, ...]]) -> Parameter:
    kind, name = text.rsplit(" ", 1)
    if kind == "double":
        return Parameter(name, "number")
    if kind == "int":
        return Parameter(name, "threads")
    if kind in ("long long", "int64_t"):
        return Parameter(name, "size")
    if kind in ("const long long*", "const int64_t*"):
        return Parameter(name, "label", shapes[name])
    return Parameter(name, "input" if kind.startswith("const ") else "output", shapes[name])
