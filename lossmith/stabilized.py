"""What `stabilize` returns: a derivation that can also be computed with at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lossmith.derivations.depth import deep
from lossmith.derivations.derivation import Derivation
from lossmith.derivations.loss import Unit
from lossmith.errors import UsageError, did_you_mean
from lossmith.formula import dtype_name

COMPILED = ("np", "pt", "c")
DTYPES = ("float64", "float32", "float16", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Stabilized(Derivation):
    """The derivation of a stable form of a user's own formula."""

    unit: Unit | None = None

    def compile(self, target: str = "np", dtype: Any = "float32", tier: str = "fast") -> Callable[..., Any]:
        """A function that computes the stable form: f(x=..., z=...) of arrays that broadcast.

        target: 'np' takes and returns NumPy arrays, 'pt' PyTorch tensors (no gradient flows through:
        `wrt=` gives the derivative its own form). What is given is converted to `dtype` (a name, or
        NumPy's or torch's own), which the result has too. A row has its classes on the last axis, a
        label is an integer per row; the derivative by a row has a value per class. tier: 'fast'
        computes in the dtype (16-bit ones in float32), 'accurate' in float64, rounded once. The
        function raises TypeError for arguments that the formula does not have, that are missing,
        unnamed, or no real numbers, and ValueError for values outside their domain.
        `f.source` is the text that it runs. 'c' is C built by this machine's compiler: NumPy arrays in
        and out, float64 in pairs in its accurate tier, 16-bit dtypes in float32 in both; domains are not
        checked. Raises UsageError, CompileError.
        """
        if target not in COMPILED:
            raise UsageError(f"there is no way to compile for '{target}': there are {', '.join(COMPILED)}; "
                             "source('cu') is the text for CUDA C")
        dtype = dtype_name(dtype)
        if dtype not in DTYPES:
            raise UsageError(f"there is no dtype '{dtype}': {did_you_mean(dtype, DTYPES)}")
        if tier not in ("fast", "accurate"):
            raise UsageError(f"there is no tier '{tier}': there are fast, accurate")
        if not self.arguments:
            raise UsageError("the formula has no argument, so there is nothing to compute")
        if target == "c":
            import numpy as library

            source, header = self._texts("c")
            call = _built(source, header, [a.name for a in self.arguments], dtype, tier)
        else:
            source = self.source(target)
            module = _executed(source)
            library = module["np" if target == "np" else "torch"]
            call = _numpy(module, dtype, tier) if target == "np" else _torch(module, dtype, tier)
        names, labels = [a.name for a in self.arguments], {a.name for a in self.arguments if a.role == "label"}
        like = self._row_that_it_belongs_to()

        def compute(*unnamed: Any, **given: Any) -> Any:
            if unnamed:
                raise TypeError(f"name the arguments: f({', '.join(f'{n}=...' for n in names)})")
            _checked(names, given)
            value = call([(given[n], n in labels) for n in names])
            if like is not None:  # the same for every class, and there is one per class
                return library.broadcast_to(value[..., None], library.asarray(given[like]).shape)
            return value

        compute.source = source  # type: ignore[attr-defined]
        return compute

    def _row_that_it_belongs_to(self) -> str | None:
        """The row argument of a derivative whose form does not vary from class to class."""
        rows = {a.name for a in self.arguments if a.axis == "class"}
        return next((n for n in self.order if n in rows), None) if self.form.term.sort == "scalar" else None

    def source(self, target: str = "np") -> str:
        """The stable form as a module that stands alone: for NumPy (its function is `loss`), PyTorch
        (`formula`), C (its header is another text), or CUDA C (kernels and launchers). Raises UsageError."""
        return self._texts(target)[0]

    @deep()
    def _texts(self, target: str) -> tuple[str, str]:
        """The source, and the header where there is one."""
        from importlib import import_module

        from lossmith.codegen import lower
        from lossmith.codegen.kernel import Bundle

        if target not in (*COMPILED, "cu"):
            raise UsageError(f"there is no target '{target}': there are np, pt, c, cu")
        assert self.unit is not None
        kernel = lower.kernel_of("formula", [dataclasses.replace(self, order=())])
        bundle = Bundle(lower.origin_of(self.unit, [dataclasses.replace(self, order=())]), kernel, None,
                        kernel.inputs[0].name, ())
        try:
            rendered = import_module(f"lossmith.codegen.targets.{target}").render(bundle)
        except ValueError as problem:
            raise UsageError(str(problem)) from None
        header = next((r.body for r in rendered if r.path.endswith(".h")), "")
        return next(r.body for r in rendered if not r.path.endswith(".h")), header


Given = Sequence[tuple[Any, bool]]  # arrays, and whether each is a label


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
    for name, value in given.items():
        if not _real(value):
            raise TypeError(f"{name} must hold real numbers")


def _real(value: Any) -> bool:
    """Whether an array, a tensor or a sequence is of numbers: not of text, complex ones, or objects."""
    if hasattr(value, "is_complex"):  # a tensor, on whatever device
        return not value.is_complex()
    import numpy as np

    return np.asarray(value).dtype.kind not in "cOSUmM"


def _numpy(module: Mapping[str, Any], dtype: str, tier: str) -> Callable[[Given], Any]:
    """The function of a NumPy module, on arrays of one dtype; labels stay integers."""
    np = module["np"]
    kind = _bfloat16() if dtype == "bfloat16" else np.dtype(dtype)
    return lambda given: module["loss"](
        *(np.asarray(a) if is_label else np.asarray(a).astype(kind) for a, is_label in given), tier=tier)


def _torch(module: Mapping[str, Any], dtype: str, tier: str) -> Callable[[Given], Any]:
    """The same for PyTorch, as the printed module imported it."""
    torch = module["torch"]
    kind = getattr(torch, dtype)
    return lambda given: module["formula"](
        *(torch.as_tensor(a) if is_label else torch.as_tensor(a).to(kind) for a, is_label in given),
        reduction="none", tier=tier)


def _built(source: str, header: str, names: Sequence[str], dtype: str, tier: str) -> Callable[[Given], Any]:
    """The function of a C file, built when it is first called."""
    from lossmith.codegen import compiled

    made = compiled.load_text("formula", source, header)
    short = compiled.SUFFIX[dtype]
    unit, entry = next((key[0], key[1]) for key in made.prototypes)
    chosen = tier if (unit, entry, short, tier) in made.prototypes else "fast"
    made.function(unit, entry, short, chosen)  # a compiler that fails is heard of now
    return lambda given: made.call(unit, entry, dict(zip(names, (a for a, _ in given), strict=True)), short,
                                   chosen)[entry]


def _bfloat16() -> Any:
    import ml_dtypes

    return ml_dtypes.bfloat16


def stabilized(found: Derivation, unit: Unit) -> Stabilized:
    """A derivation with what is needed to compile it."""
    given = {f.name: getattr(found, f.name) for f in dataclasses.fields(Derivation)}
    return Stabilized(**given, unit=unit)
