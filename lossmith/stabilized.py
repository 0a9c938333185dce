"""What `stabilize` returns: a derivation that can also be computed with at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lossmith.derivations.derivation import Derivation
from lossmith.derivations.loss import Argument, Unit
from lossmith.errors import UsageError, did_you_mean

COMPILED = ("np", "pt")
DTYPES = ("float64", "float32", "float16", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Stabilized(Derivation):
    """The derivation of a stable form of a user's own formula."""

    unit: Unit | None = None

    def compile(self, target: str = "np", dtype: str = "float32", tier: str = "fast") -> Callable[..., Any]:
        """A function that computes the stable form: f(x=..., z=...) of arrays that broadcast.

        target: 'np' takes and returns NumPy arrays, 'pt' PyTorch tensors (no gradient flows through:
        `wrt=` gives the derivative its own form). What is given is converted to `dtype`, which the
        result has too. A row has its classes on the last axis, a label is an integer per row; the
        derivative by a row has a value per class. tier: 'fast' computes in the dtype (16-bit ones in
        float32), 'accurate' in float64, rounded once. The function raises TypeError for arguments that
        the formula does not have or that are missing, and ValueError for values outside their domain.
        `f.source` is the module that it runs. Raises UsageError.
        """
        if target not in COMPILED:
            raise UsageError(f"there is no way to compile for '{target}': there are {', '.join(COMPILED)}; "
                             "source('cu') is the text for CUDA C")
        if dtype not in DTYPES:
            raise UsageError(f"there is no dtype '{dtype}': {did_you_mean(dtype, DTYPES)}")
        if tier not in ("fast", "accurate"):
            raise UsageError(f"there is no tier '{tier}': there are fast, accurate")
        if not self.arguments:
            raise UsageError("the formula has no argument, so there is nothing to compute")
        compute = (_numpy if target == "np" else _torch)(self.source(target), self.arguments, dtype, tier)
        compute.source = self.source(target)  # type: ignore[attr-defined]
        return compute

    def source(self, target: str = "np") -> str:
        """The stable form as a module that stands alone: for NumPy (its function is `loss`), PyTorch
        (`formula`), or CUDA C (kernels and launchers). Raises UsageError."""
        from importlib import import_module

        from lossmith.codegen import lower
        from lossmith.codegen.kernel import Bundle

        if target not in (*COMPILED, "cu"):
            raise UsageError(f"there is no target '{target}': there are np, pt, cu")
        assert self.unit is not None
        kernel = lower.kernel_of("formula", [dataclasses.replace(self, order=())])
        bundle = Bundle(lower.origin_of(self.unit, [dataclasses.replace(self, order=())]), kernel, None,
                        kernel.inputs[0].name, ())
        rendered = import_module(f"lossmith.codegen.targets.{target}").render(bundle)
        body: str = next(r.body for r in rendered if not r.path.endswith(".h"))
        return body


Compute = Callable[..., Any]


def _executed(source: str) -> dict[str, Any]:
    """A module that lossmith printed from a term: no text of the user's is in what runs."""
    module: dict[str, Any] = {"__name__": "lossmith_formula"}
    exec(compile(source, "<stable form>", "exec"), module)
    return module


def _checked(names: Sequence[str], given: Mapping[str, Any]) -> None:
    """Raises TypeError for an argument too many or too few."""
    for name in given:
        if name not in names:
            raise TypeError(f"the formula has no argument '{name}': {did_you_mean(name, names)}")
    missing = [n for n in names if n not in given]
    if missing:
        raise TypeError(f"'{missing[0]}' is missing: the arguments are {', '.join(names)}")


def _numpy(source: str, arguments: Sequence[Argument], dtype: str, tier: str) -> Compute:
    """The function of a NumPy module, on arrays of one dtype."""
    import numpy as np

    function = _executed(source)["loss"]
    kind = _bfloat16() if dtype == "bfloat16" else np.dtype(dtype)
    labels = {a.name for a in arguments if a.role == "label"}
    names = [a.name for a in arguments]

    def compute(**arrays: Any) -> Any:
        _checked(names, arrays)
        return function(*(np.asarray(arrays[n]) if n in labels else np.asarray(arrays[n]).astype(kind) for n in names),
                        tier=tier)

    return compute


def _torch(source: str, arguments: Sequence[Argument], dtype: str, tier: str) -> Compute:
    """The same for PyTorch."""
    import torch

    function = _executed(source)["formula"]
    labels = {a.name for a in arguments if a.role == "label"}
    names = [a.name for a in arguments]

    def compute(**tensors: Any) -> Any:
        _checked(names, tensors)
        given = [torch.as_tensor(tensors[n]) if n in labels else torch.as_tensor(tensors[n]).to(getattr(torch, dtype))
                 for n in names]
        return function(*given, reduction="none", tier=tier)

    return compute


def _bfloat16() -> Any:
    import ml_dtypes

    return ml_dtypes.bfloat16


def stabilized(found: Derivation, unit: Unit) -> Stabilized:
    """A derivation with what is needed to compile it."""
    given = {f.name: getattr(found, f.name) for f in dataclasses.fields(Derivation)}
    return Stabilized(**given, unit=unit)
