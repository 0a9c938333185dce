"""The NumPy face: generated functions on plain, contiguous arrays computed in C; all else by the module itself."""

from __future__ import annotations

import ctypes
import inspect
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from lossmith.codegen import compiled, faces
from lossmith.codegen.faces import Library

Array = np.ndarray[Any, Any]
EVENED = 4096  # elements from which on inputs of several shapes are worth being copied to one
_TABLES = {"gradient": "_GRADIENT", "loss_gradient": "_LOSS_GRADIENT", "gradient_hessian": "_GRADIENT_HESSIAN"}
_HEADER = object.__basicsize__  # the address of the elements is the first field of an array


def _read(array: Array) -> int:
    found: int = _field(id(array) + _HEADER).value
    return found


_field: Any = ctypes.c_void_p.from_address
_samples = [np.empty(n + 1, kind)[1:] for n in (1, 7) for kind in ("f4", "f8")]
# Six times as fast as asking; only where it is known to be right.
address: Callable[[Array], int] = _read
if any(_read(sample) != sample.ctypes.data for sample in _samples):
    address = lambda array: array.ctypes.data  # noqa: E731


def attach(module: ModuleType, library: Library) -> None:
    """Put the face in the place of the function that every public function of the module calls."""
    name = "_map" if hasattr(module, "_map") else "_reduce"
    pure = getattr(module, name)

    def first(*arguments: Any) -> Any:
        made = _face(module, library, pure, name == "_reduce")
        setattr(module, name, made)
        return made(*arguments)

    setattr(module, name, first)


def _entries(module: ModuleType, library: Library, rows: bool) -> dict[Any, str]:
    """The kernels of a module that C has too: those by the argument that is taken unless another is asked for."""
    found = {}
    by = (inspect.signature(module.gradient).parameters["wrt"].default,) if hasattr(module, "gradient") else ()
    for entry, table in _TABLES.items():
        found[entry] = getattr(module, table, {}).get(by)
    found["loss"] = getattr(module, "_LOSS" if rows else "_loss", None)
    return {kernel: entry for entry, kernel in found.items() if kernel is not None and library.has(entry)}


def _face(module: ModuleType, library: Library, pure: Callable[..., Any], rows: bool) -> Callable[..., Any]:
    entries = _entries(module, library, rows)
    plans: dict[Any, _Plan | None] = {}

    def plan_of(entry: str, dtype: np.dtype[Any], tier: str) -> _Plan | None:
        key = (entry, dtype, tier)
        if key not in plans:
            plans[key] = _plan(module, library, entry, dtype, tier)
        return plans[key]

    quick: dict[Any, dict[Any, Any]] = {kernel: {} for kernel in entries}
    plain, empty, crew, place = np.ndarray, np.empty, compiled.threads, address

    def mapped(kernel: Any, count: int, inputs: dict[str, Any], parameters: Any, out: Any, tier: str) -> Any:
        if out is None and kernel in quick:
            first, *others = given = [*inputs.values()]
            if type(first) is plain and (call := quick[kernel].get((first.dtype, tier))) is not None:
                dtype, shape = first.dtype, first.shape
                for a in others:
                    if type(a) is not plain or a.dtype is not dtype or a.shape != shape or not a.flags.c_contiguous:
                        break
                else:
                    size = first.size
                    if shape and size and first.flags.c_contiguous:
                        threads = crew()
                        places = [place(a) for a in given]
                        for index, check, low, high in call[1]:
                            if check(places[index], low, high, size, threads):
                                break
                        else:
                            outs = [empty(shape, dtype) for _ in range(count)]
                            if not call[0](*places, *[place(o) for o in outs], size, threads):
                                return outs[0] if count == 1 else tuple(outs)
        return mapped_any(kernel, count, inputs, parameters, out, tier)

    def mapped_any(kernel: Any, count: int, inputs: dict[str, Any], parameters: Any, out: Any, tier: str) -> Any:
        entry = entries.get(kernel)
        if entry is not None and type(tier) is str:
            arrays = _alike(tuple(inputs.values()))
            plan = plan_of(entry, arrays[0].dtype, tier) if arrays is not None else None
            if plan is not None and arrays is not None:
                if plan.checks is not None and not plan.numbers:
                    names = list(inputs)
                    checks = [(names.index(name), *rest) for name, *rest in plan.checks]
                    quick[kernel][arrays[0].dtype, tier] = (plan.function, checks)
                found = plan.elements(inputs, arrays, parameters, out)
                if found is not None:
                    return found
        return pure(kernel, count, inputs, parameters, out, tier)

    def reduced(kernel: Any, classes: dict[str, Any], scalars: dict[str, Any], labels: dict[str, Any],
                parameters: Any, axis: Any, out: Any, tier: str) -> Any:
        entry = entries.get(kernel)
        if entry is not None and type(tier) is str:
            given = tuple(classes.values())
            plan = plan_of(entry, given[0].dtype, tier) if type(given[0]) is np.ndarray else None
            if plan is not None:
                found = plan.rows(classes, scalars, labels, parameters, axis, out)
                if found is not None:
                    return found
        return pure(kernel, classes, scalars, labels, parameters, axis, out, tier)

    return reduced if rows else mapped


def _alike(arrays: Sequence[Any]) -> Sequence[Array] | None:
    """Arrays of one dtype and shape, contiguous; None where they are not, and are not worth being made so."""
    first = arrays[0]
    if type(first) is not np.ndarray:
        return None
    for a in arrays:
        if type(a) is not np.ndarray or a.dtype != first.dtype:
            return None
        if a.shape != first.shape or not a.flags.c_contiguous:
            return _evened(arrays)
    return arrays


def _evened(arrays: Sequence[Any]) -> Sequence[Array] | None:
    if any(type(a) is not np.ndarray or a.dtype != arrays[0].dtype or not a.flags.c_contiguous for a in arrays):
        return None
    try:
        shape = np.broadcast_shapes(*(a.shape for a in arrays))
    except ValueError:
        return None
    if math.prod(shape) < EVENED:
        return None
    return [a if a.shape == shape else np.ascontiguousarray(np.broadcast_to(a, shape)) for a in arrays]


def _plan(module: ModuleType, library: Library, entry: str, dtype: np.dtype[Any], tier: str) -> _Plan | None:
    suffix = compiled.SUFFIX.get(dtype.name) if dtype.isnative else None
    if suffix is None or tier not in ("fast", "accurate"):
        return None
    takes = [p.name.removesuffix("_") for p in library.parameters(entry) if p.kind in ("input", "label")]
    if list(inspect.signature(module.loss).parameters)[:len(takes)] != takes:
        return None
    function = library.function(entry, suffix, tier)
    helpers = faces.helpers() if function is not None else None
    if function is None or helpers is None:
        return None
    return _Plan(module, library, entry, dtype, tier, function, helpers)


class _Plan:
    """One C function with all that is known of its arguments before it is called."""

    def __init__(self, module: ModuleType, library: Library, entry: str, dtype: np.dtype[Any], tier: str,
                 function: Callable[..., int], helpers: Any) -> None:
        self.module, self.dtype, self.function = module, dtype, function
        self.work = np.dtype(np.float64 if tier == "accurate" or dtype == np.float64 else np.float32)
        parameters = library.parameters(entry)
        self.outputs = [("classes" in p.shape) for p in parameters if p.kind == "output"]
        self.order = [p.name.removesuffix("_") for p in parameters if p.kind in ("input", "label")]
        self.labels = [p.name.removesuffix("_") for p in parameters if p.kind == "label"]
        self.numbers = any(p.kind == "number" for p in parameters)
        self.outside = faces.helper(helpers, "outside_i64")
        self.checks = faces.checks(helpers, module._DOMAINS, compiled.SUFFIX[dtype.name])

    def elements(self, inputs: dict[str, Any], arrays: Sequence[Array], parameters: Any, out: Any) -> Any:
        """The outputs; None where the module itself must do it, or say what is wrong."""
        shape = arrays[0].shape
        count = arrays[0].size
        if not shape or not count:
            return None
        places = [address(a) for a in arrays]
        threads = compiled.threads()
        if not self._sound(inputs, dict(zip(inputs, places)) if self.checks else {}, arrays, threads):
            return None
        numbers = self._numbers(parameters) if self.numbers else ()
        outs = [np.empty(shape, self.dtype) for _ in self.outputs] if out is None else \
            self._given(out, [shape] * len(self.outputs), arrays, True)
        if outs is None or numbers is None:
            return None
        if self.function(*places, *numbers, *[address(o) for o in outs], count, threads):
            return None
        return outs[0] if len(outs) == 1 else tuple(outs)

    def rows(self, classes: dict[str, Any], scalars: dict[str, Any], labels: dict[str, Any], parameters: Any,
             axis: Any, out: Any) -> Any:
        """The same over rows whose classes lie side by side."""
        shape = next(iter(classes.values())).shape
        rank = len(shape)
        if rank < 2 or type(axis) is not int or axis not in (-1, rank - 1) or not math.prod(shape):
            return None
        lead, arrays = shape[:-1], {**classes, **scalars, **labels}
        for name, a in arrays.items():
            wanted = shape if name in classes else lead
            if type(a) is not np.ndarray or a.shape != wanted:
                return None
            if name in labels and a.dtype.kind in "iu":
                arrays[name] = np.ascontiguousarray(a, np.int64)
            elif a.dtype != self.dtype or not a.flags.c_contiguous:
                return None
        places = {name: address(a) for name, a in arrays.items()}
        threads, count = compiled.threads(), math.prod(lead)
        if any(self.outside(places[name], 0.0, shape[-1] - 1.0, count, threads) for name in labels) \
                or not self._sound(arrays, places, tuple(arrays.values()), threads):
            return None
        numbers = self._numbers(parameters) if self.numbers else ()
        shapes = [shape if whole else lead for whole in self.outputs]
        outs = [np.empty(s, self.dtype) for s in shapes] if out is None else \
            self._given(out, shapes, tuple(arrays.values()), False)
        if outs is None or numbers is None:
            return None
        if self.function(*[places[n] for n in self.order], *numbers, *[address(o) for o in outs], count, shape[-1],
                         threads):
            return None
        return outs[0] if len(outs) == 1 else tuple(outs)

    def _sound(self, inputs: dict[str, Any], places: dict[str, int], arrays: Sequence[Array], threads: int) -> bool:
        """Whether every value lies in its domain; where one does not, the module says which."""
        if self.checks is None:  # no C for 16 bits
            self.module._check_domains(dict(zip(inputs, arrays)))
            return True
        sizes = {name: a.size for name, a in zip(inputs, arrays)}
        return not any(check(places[name], low, high, sizes[name], threads)
                       for name, check, low, high in self.checks if name in places)

    def _numbers(self, parameters: dict[str, Any]) -> tuple[float, ...] | None:
        try:
            return tuple(float(v) for v in self.module._parameters(self.dtype, self.work, *parameters.values()))
        except (TypeError, ValueError):
            return None

    def _given(self, out: Any, shapes: Sequence[tuple[int, ...]], arrays: Sequence[Array],
               itself: bool) -> list[Array] | None:
        """The arrays of `out` where C may write them: each fits, is apart from the inputs or (elementwise) is one."""
        outs = [out] if len(shapes) == 1 else list(out) if isinstance(out, (tuple, list)) else []
        if len(outs) != len(shapes):
            return None
        for o, shape in zip(outs, shapes):
            if type(o) is not np.ndarray or o.dtype != self.dtype or o.shape != shape or not o.flags.c_contiguous \
                    or not o.flags.writeable:
                return None
            for a in arrays:
                if np.may_share_memory(a, o) and not (itself and address(a) == address(o) and a.size == o.size):
                    return None
        return None if len(outs) > 1 and np.may_share_memory(outs[0], outs[1]) else outs
