"""What `stabilize` returns: a derivation that can also be computed with at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from lossmith.derivations.derivation import Derivation
from lossmith.derivations.loss import Unit
from lossmith.errors import UsageError, did_you_mean

DTYPES = ("float64", "float32", "float16", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Stabilized(Derivation):
    """The derivation of a stable form of a user's own formula."""

    unit: Unit | None = None

    def compile(self, target: str = "np", dtype: str = "float32", tier: str = "fast") -> Callable[..., Any]:
        """A function that computes the stable form: f(x=..., z=...) of arrays that broadcast.

        What is given is converted to `dtype`, which the result has too. tier: 'fast' computes in the dtype
        (16-bit ones in float32), 'accurate' in float64, rounded once. The function raises TypeError for
        arguments that the formula does not have or that are missing, and ValueError for values outside
        their domain. `f.source` is the NumPy module that it runs. Raises UsageError.
        """
        if target != "np":
            raise UsageError(f"there is no way to compile for '{target}': the target is np; `lossmith generate "
                             "FILE.toml` writes a formula for the others")
        if dtype not in DTYPES:
            raise UsageError(f"there is no dtype '{dtype}': {did_you_mean(dtype, DTYPES)}")
        if tier not in ("fast", "accurate"):
            raise UsageError(f"there is no tier '{tier}': there are fast, accurate")
        if not self.arguments:
            raise UsageError("the formula has no argument, so there is nothing to compute")
        return _function(self.source(), [a.name for a in self.arguments], dtype, tier)

    def source(self) -> str:
        """The stable form as a NumPy module that stands alone; its function `loss` computes it."""
        from lossmith.codegen import lower
        from lossmith.codegen.kernel import Bundle, Elementwise
        from lossmith.codegen.targets import np as printer

        assert self.unit is not None
        inputs = lower.inputs_of(self)
        program = lower.share({"loss": self.form.term}, [*(i.name for i in inputs), "loss"])
        bundle = Bundle(lower.origin_of(self.unit, [self]), Elementwise("formula", inputs, program), None,
                        inputs[0].name, ())
        return printer.render(bundle)[0].body


def _function(source: str, names: list[str], dtype: str, tier: str) -> Callable[..., Any]:
    """The function of a module that lossmith printed from a term: no text of the user's is in what runs."""
    import numpy as np

    module: dict[str, Any] = {"__name__": "lossmith_formula"}
    exec(compile(source, "<stable form>", "exec"), module)
    kind = _bfloat16() if dtype == "bfloat16" else np.dtype(dtype)

    def compute(**arrays: Any) -> Any:
        for name in arrays:
            if name not in names:
                raise TypeError(f"the formula has no argument '{name}': {did_you_mean(name, names)}")
        missing = [n for n in names if n not in arrays]
        if missing:
            raise TypeError(f"'{missing[0]}' is missing: the arguments are {', '.join(names)}")
        return module["loss"](*(np.asarray(arrays[n]).astype(kind) for n in names), tier=tier)

    compute.source = source  # type: ignore[attr-defined]
    return compute


def _bfloat16() -> Any:
    import ml_dtypes

    return ml_dtypes.bfloat16


def stabilized(found: Derivation, unit: Unit) -> Stabilized:
    """A derivation with what is needed to compile it."""
    given = {f.name: getattr(found, f.name) for f in dataclasses.fields(Derivation)}
    return Stabilized(**given, unit=unit)
