"""Calling what is audited in one way, whatever it is: a generated module of any target, or any function."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from lossmith.audit.samples import Batch
from lossmith.audit.subject import Subject
from lossmith.codegen import faces
from lossmith.derivations.ulp import FORMATS, Array

DIAGONAL_CLASSES = 16  # longer rows' second derivatives take one backward pass per class: not by autograd


class Unavailable(RuntimeError):  # noqa: N818  (it is a state, not a mistake)
    """The target cannot be measured here: not generated, or something it needs is not installed."""


class Adapter(Protocol):
    """`name`: the target as reports call it. `tiers`: those it has."""

    name: str
    tiers: tuple[str, ...]

    def offers(self, subject: Subject, output: str, batch: Batch, dtype: str = "float32", tier: str = "fast") -> bool:
        """Whether the target computes this output on such a batch, in this dtype and tier."""
        ...

    def call(self, subject: Subject, output: str, batch: Batch, dtype: str, tier: str) -> Array:
        """The output as float64, one value per example, or (n, classes). Raises Unavailable."""
        ...


def kind_of(output: str) -> str:
    """`loss`, `gradient` or `hessian`."""
    return output.split("_", 1)[0]


@cache
def _module(target: str, unit: str) -> ModuleType:
    try:
        return faces.pure(target, unit)  # as it is written: what it computes in C is a target of its own
    except ModuleNotFoundError as problem:
        raise Unavailable(f"generated/{target}/{unit} cannot be imported: {problem}") from None


def kernel_arrays(subject: Subject, batch: Batch, dtype: str) -> list[Array]:
    """A batch in the dtype, in the order of the arguments; labels as they are."""
    kind = FORMATS[dtype].dtype
    with np.errstate(all="ignore"):
        return [batch.arrays[a.name] if a.role == "label" else batch.arrays[a.name].astype(kind) for a in subject.given]


def kernel_tier(dtype: str, tier: str) -> str:
    """Which kernel of C or CUDA a tier is: in 16 bits there is one, computed in float32 and rounded once, within the
    0.501 ulp that the accurate tier promises."""
    return "fast" if FORMATS[dtype].bits == 16 else tier


def widened(values: Any, subject: Subject, output: str, batch: Batch) -> Array:
    """A result as float64 in the shape of the truth: an output that reads nothing may come as one value."""
    got = np.asarray(values).astype(np.float64)
    shape = (batch.count, batch.classes or 1) if subject.per_class(output) else (batch.count,)
    return np.array(np.broadcast_to(got, shape))


@dataclass
class NumpyAdapter:
    """The functions of `lossmith.generated.np.<unit>`."""

    name: str = "np"
    tiers: tuple[str, ...] = ("fast", "accurate")

    def offers(self, subject: Subject, output: str, batch: Batch, dtype: str = "float32", tier: str = "fast") -> bool:
        return hasattr(_module("np", subject.name), kind_of(output))

    def call(self, subject: Subject, output: str, batch: Batch, dtype: str, tier: str) -> Array:
        module = _module("np", subject.name)
        options: dict[str, Any] = {"tier": tier, **batch.parameters}
        if output != "loss":
            by = subject.wrt(output)
            options["wrt"] = by[0] if len(by) == 1 else by
        with np.errstate(all="ignore"):
            values = getattr(module, kind_of(output))(*kernel_arrays(subject, batch, dtype), **options)
        return widened(values, subject, output, batch)


@dataclass
class TorchAdapter:
    """A function of torch tensors, its derivatives by autograd. By default the generated module's own.

    `function(subject)` gives what to call with the tensors in the order of the arguments, and
    keywords for tier and parameters; it returns one loss per example.
    """

    name: str = "pt"
    tiers: tuple[str, ...] = ("fast", "accurate")
    function: Callable[[Subject], Callable[..., Any]] | None = None

    def offers(self, subject: Subject, output: str, batch: Batch, dtype: str = "float32", tier: str = "fast") -> bool:
        by = subject.wrt(output)
        if kind_of(output) == "hessian" and subject.is_row:
            return len(by) == 1 and (batch.classes or 1) <= DIAGONAL_CLASSES
        return True

    def call(self, subject: Subject, output: str, batch: Batch, dtype: str, tier: str) -> Array:
        torch = torch_module()
        tensors = torch_tensors(torch, subject, batch, dtype)
        options: dict[str, Any] = dict(batch.parameters)
        if self.function is None:
            options |= {"tier": tier, "reduction": "none"}
            function = getattr(_module("pt", subject.name), subject.name)
        else:
            function = self.function(subject)
        by = subject.wrt(output)
        for name in by:
            tensors[name].requires_grad_(True)
        value = function(*tensors.values(), **options)
        return widened(differentiated(torch, value, by, tensors, kind_of(output)), subject, output, batch)


def torch_tensors(torch: Any, subject: Subject, batch: Batch, dtype: str) -> dict[str, Any]:
    """A batch as tensors of the dtype, by argument; labels as they are."""
    labels = {a.name for a in subject.given if a.role == "label"}
    return {
        a.name: torch.from_numpy(np.array(batch.arrays[a.name])) if a.name in labels
        else torch.from_numpy(np.array(batch.arrays[a.name])).to(getattr(torch, dtype))
        for a in subject.given
    }


def torch_module() -> Any:
    try:
        return importlib.import_module("torch")
    except ModuleNotFoundError:
        raise Unavailable("torch is not installed: pip install torch") from None


def differentiated(torch: Any, value: Any, by: tuple[str, ...], tensors: Mapping[str, Any], kind: str) -> Array:
    """A loss per example, or its derivative by autograd, as a NumPy array."""
    if kind == "loss":
        return _plain(torch, value)
    first = _gradient(torch, value.sum(), tensors[by[0]], create_graph=kind == "hessian")
    if kind == "gradient":
        return _plain(torch, first)
    second = tensors[by[-1]]
    if first.ndim == 2:
        columns = [_gradient(torch, first[:, k].sum(), second, retain_graph=True)[:, k] for k in range(first.shape[1])]
        return _plain(torch, torch.stack(columns, dim=1))
    return _plain(torch, _gradient(torch, first.sum(), second))


def _gradient(torch: Any, value: Any, by: Any, **options: Any) -> Any:
    if not value.requires_grad:
        return torch.zeros_like(by)
    found = torch.autograd.grad(value, by, allow_unused=True, **options)[0]
    return torch.zeros_like(by) if found is None else found


def _plain(torch: Any, tensor: Any) -> Array:
    return np.asarray(tensor.detach().to(torch.float64).numpy())


def torch_function(function: Callable[..., Any], name: str = "torch") -> TorchAdapter:
    """An adapter for a function of tensors that returns one loss per example."""
    return TorchAdapter(name, ("fast",), lambda subject: function)


# Targets whose adapters need more than NumPy: where they are.
_ELSEWHERE = {"c": ("lossmith.audit.compiled", "CompiledAdapter"), "cu": ("lossmith.audit.host", "HostAdapter")}


def adapter(target: str) -> Adapter:
    """The adapter of a target: np, pt, c, or cu on the host harness. Raises Unavailable."""
    if target == "np":
        return NumpyAdapter()
    if target == "pt":
        return TorchAdapter()
    if target not in _ELSEWHERE:
        raise ValueError(f"there is no target '{target}': the targets are np, pt, c, cu")
    module, name = _ELSEWHERE[target]
    try:
        made: Adapter = getattr(importlib.import_module(module), name)()
    except ModuleNotFoundError as problem:
        raise Unavailable(f"what target {target} is called with is not here: {problem}") from None
    return made
