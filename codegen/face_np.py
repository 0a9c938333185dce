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
                    if shape and first.size and first.flags.c_contiguous:
                        face, plan, no_inputs, no_output = call
                        outs = [empty(shape, dtype) for _ in range(count)]
                        if not face(plan, *[place(a) for a in given], *no_inputs, *[place(o) for o in outs],
                                    *no_output, 0, first.size, 1, 0, crew()):
                            return outs[0] if count == 1 else tuple(outs)
        return mapped_any(kernel, count, inputs, parameters, out, tier)

    def mapped_any(kernel: Any, count: int, inputs: dict[str, Any], parameters: Any, out: Any, tier: str) -> Any:
        entry = entries.get(kernel)
        if entry is not None and type(tier) is str:
            arrays = _alike(tuple(inputs.values()))
            plan = plan_of(entry, arrays[0].dtype, tier) if arrays is not None else None
            if plan is not None and arrays is not None:
                if plan.quick is not None:
                    quick[kernel][arrays[0].dtype, tier] = plan.quick
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
    # Of 16 bits, values are looked at by the module itself.
    checked = suffix in ("f32", "f64")
    made = faces.planned(function, library.parameters(entry), module._DOMAINS if checked else {}, dtype.itemsize)
    return None if made is None else _Plan(module, library.parameters(entry), dtype, tier, made, faces.caller(helpers))


class _Plan:
    """One C function with all that is known of its arguments before it is called."""

    def __init__(self, module: ModuleType, parameters: Sequence[Any], dtype: np.dtype[Any], tier: str,
                 plan: faces.Plan, face: Callable[..., int]) -> None:
        self.module, self.dtype, self.face = module, dtype, face
        self.kept, self.plan = plan, ctypes.addressof(plan)
        self.work = np.dtype(np.float64 if tier == "accurate" or dtype == np.float64 else np.float32)
        self.outputs = [("classes" in p.shape) for p in parameters if p.kind == "output"]
        self.order = [p.name.removesuffix("_") for p in parameters if p.kind in ("input", "label")]
        self.numbers = any(p.kind == "number" for p in parameters)
        self.checked = dtype.itemsize >= 4 or not module._DOMAINS
        self.no_inputs, self.no_output = (0,) * (faces.INPUTS - len(self.order)), (0,) * (2 - len(self.outputs))
        self.quick = (face, self.plan, self.no_inputs, self.no_output) if self.checked and not self.numbers else None

    def elements(self, inputs: dict[str, Any], arrays: Sequence[Array], parameters: Any, out: Any) -> Any:
        """The outputs; None where the module itself must do it, or say what is wrong."""
        shape = arrays[0].shape
        if not shape or not arrays[0].size:
            return None
        return self._computed(inputs, arrays, [shape] * len(self.outputs), parameters, out, (arrays[0].size, 1), True)

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
        shapes = [shape if whole else lead for whole in self.outputs]
        return self._computed(arrays, [arrays[name] for name in self.order], shapes, parameters, out,
                              (math.prod(lead), shape[-1]), False)

    def _computed(self, inputs: dict[str, Any], arrays: Sequence[Array], shapes: Sequence[tuple[int, ...]],
                  parameters: Any, out: Any, sizes: tuple[int, int], itself: bool) -> Any:
        if not self.checked:
            self.module._check_domains(dict(zip(inputs, arrays if itself else inputs.values())))
        numbers = self._numbers(parameters) if self.numbers else ()
        outs = [np.empty(s, self.dtype) for s in shapes] if out is None else self._given(out, shapes, arrays, itself)
        if outs is None or numbers is None:
            return None
        held = (ctypes.c_double * len(numbers))(*numbers)
        if self.face(self.plan, *[address(a) for a in arrays], *self.no_inputs, *[address(o) for o in outs],
                     *self.no_output, ctypes.addressof(held), *sizes, faces.EACH if out is None else faces.CHECKED,
                     compiled.threads()):
            return None
        return outs[0] if len(outs) == 1 else tuple(outs)

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
            if any(_overlap(a, o) and not (itself and address(a) == address(o)) for a in arrays):
                return None
        return None if len(outs) > 1 and _overlap(outs[0], outs[1]) else outs


def _overlap(a: Array, b: Array) -> bool:
    """Whether two contiguous arrays share memory."""
    return address(a) < address(b) + b.nbytes and address(b) < address(a) + a.nbytes
