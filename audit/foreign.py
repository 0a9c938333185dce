"""Other people's functions: found by name, and called so that whatever they do is said and not suffered.

A function is given the arguments of the truth in their order (or in an order that is asked for).
It may raise, hang, change its inputs or return something of another shape: each is a finding.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import re
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from lossmith.audit.adapters import (
    DIAGONAL_CLASSES,
    Unavailable,
    differentiated,
    kernel_arrays,
    kind_of,
    torch_module,
    torch_tensors,
)
from lossmith.audit.samples import Batch
from lossmith.audit.subject import Subject
from lossmith.derivations.ulp import Array

Kind = Literal["torch", "numpy"]
SECONDS = 60.0  # what one call may take before it counts as hanging
PATIENCE = 2  # so many calls that hang, and the function is not asked again
_WANTS_TENSORS = re.compile(r"must be Tensor|'(numpy\.ndarray|memoryview)' object has no attribute|expected Tensor")
_PATH = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")


class Misbehaved(RuntimeError):  # noqa: N818  (a finding about the function, not a mistake of ours)
    """A call that gave no usable answer; one line says what the function did."""


class Hung(Misbehaved):
    """A call that did not return in time."""


def resolve(path: str) -> Callable[..., Any]:
    """The function that `module:name` names. Raises ValueError with what to type, Unavailable where
    the module is not installed."""
    if not _PATH.match(path):
        raise ValueError(f"'{path}' does not name a function: write module:function, as torch.nn.functional:softplus")
    module, _, attributes = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as problem:
        lacking = problem.name or module
        top = lacking.partition(".")[0]
        raise Unavailable(f"the module {lacking} is not installed: pip install {top}, or type this in the folder where "
                          f"{top}.py is") from None
    except (Exception, SystemExit) as problem:  # what a user's module does while it is imported
        raise Unavailable(f"the module {module} cannot be imported: {_told(problem)}") from None
    for name in attributes.split("."):
        if not hasattr(found, name):
            near = difflib.get_close_matches(name, [n for n in dir(found) if not n.startswith("_")], 1)
            raise ValueError(f"{module} has no '{attributes}'" + (f": did you mean '{near[0]}'?" if near else ""))
        found = getattr(found, name)
    if not callable(found):
        raise ValueError(f"{path} is not a function")
    return found  # type: ignore[no-any-return]


def name_of(function: Callable[..., Any]) -> str:
    """What reports call it."""
    module = getattr(function, "__module__", None) or ""
    name = getattr(function, "__name__", type(function).__name__)
    return f"{module.partition('.')[0]} {name}".strip() if module != "__main__" else name


@dataclass
class ForeignAdapter:
    """A function of NumPy arrays or of torch tensors that computes an output of a subject.

    order: names of the subject's arguments in the order in which the function takes them. A loss in
    torch is differentiated by autograd, once and twice; of all else only the value is measured.
    """

    function: Callable[..., Any]
    name: str
    output: str = "loss"
    order: Sequence[str] = ()
    kind: Kind | None = None
    options: dict[str, Any] = field(default_factory=dict)
    seconds: float = SECONDS
    tiers: tuple[str, ...] = ("fast",)
    guessed: bool = False
    hung: int = 0

    def __post_init__(self) -> None:
        if self.kind is None:
            self.kind, self.guessed = guessed_kind(self.function), True
        if "reduction" in _parameters(self.function):
            self.options = {"reduction": "none", **self.options}

    def check(self, subject: Subject) -> None:
        """Rows run along the last axis, and a function that asks is told so. Raises ValueError where the order names
        what is no argument of the truth."""
        asked = [n for n in ("axis", "dim") if n in _parameters(self.function)]
        if subject.is_row and asked:
            self.options = {asked[0]: -1, **self.options}
        names = [a.name for a in subject.given]
        for name in self.order:
            if name not in names:
                raise ValueError(f"the truth has no argument '{name}': it has {', '.join(names)}")

    def offers(self, subject: Subject, output: str, batch: Batch, dtype: str = "float32", tier: str = "fast") -> bool:
        if self.kind != "torch" or self.output != "loss":
            return output == self.output
        by = subject.wrt(output)
        if kind_of(output) == "hessian" and subject.is_row:
            return len(by) == 1 and (batch.classes or 1) <= DIAGONAL_CLASSES
        return True

    def call(self, subject: Subject, output: str, batch: Batch, dtype: str, tier: str) -> Array:
        try:
            return self._called(subject, output, batch, dtype)
        except Misbehaved as problem:
            if not (self.guessed and self.kind == "numpy" and _WANTS_TENSORS.search(str(problem))):
                raise
        self.kind, self.guessed = "torch", False
        return self._called(subject, output, batch, dtype)

    def _called(self, subject: Subject, output: str, batch: Batch, dtype: str) -> Array:
        if self.hung >= PATIENCE:
            raise Misbehaved(f"it did not return within {self.seconds:g} s, {PATIENCE} times: it is not asked again")
        compute = self._torch if self.kind == "torch" else self._numpy
        try:
            values = np.asarray(answered(lambda: compute(subject, output, batch, dtype), self.seconds))
        except Hung:
            self.hung += 1
            raise
        return shaped(values, subject, output, batch)

    def _ordered(self, subject: Subject) -> list[str]:
        names = [a.name for a in subject.given]
        return list(self.order) or names

    def _numpy(self, subject: Subject, output: str, batch: Batch, dtype: str) -> Any:
        given = dict(zip([a.name for a in subject.given], kernel_arrays(subject, batch, dtype), strict=True))
        handed = {n: np.array(a) for n, a in given.items()}
        with np.errstate(all="ignore"):
            values = self.function(*(handed[n] for n in self._ordered(subject)), **self.options)
        _unchanged({n: (a, handed[n]) for n, a in given.items()})
        return as_numbers(values)

    def _torch(self, subject: Subject, output: str, batch: Batch, dtype: str) -> Any:
        torch = torch_module()
        tensors = torch_tensors(torch, subject, batch, dtype)
        kept = {n: t.clone() for n, t in tensors.items()}
        by = subject.wrt(output) if self.output == "loss" else ()
        for name in by:
            tensors[name].requires_grad_(True)
        value = self.function(*(tensors[n] for n in self._ordered(subject)), **self.options)
        if not isinstance(value, torch.Tensor):
            raise Misbehaved(f"it returns {type(value).__name__}, not a tensor")
        if value.ndim == 2 and batch.classes is not None and not subject.per_class(self.output):
            value = value.sum(-1)  # a loss per class, of which the truth is the sum
        if value.ndim == 0 and batch.count > 1:
            raise Misbehaved("it returns one number for the whole batch: give it reduction='none'")
        if by and tuple(value.shape) != (batch.count,):
            raise Misbehaved(f"it returns the shape {tuple(value.shape)} where {(batch.count,)} is right")
        values = differentiated(torch, value, by, tensors, kind_of(output) if by else "loss")
        _unchanged({n: (_bits(torch, k), _bits(torch, tensors[n].detach())) for n, k in kept.items()})
        return values


def as_numbers(values: Any) -> Array:
    """What a function of arrays returned, as float64. Raises Misbehaved where it is no array of real numbers."""
    if values is None or isinstance(values, (str, bytes, dict, set)):
        raise Misbehaved(f"it returns {type(values).__name__}, not an array")
    if isinstance(values, tuple):
        raise Misbehaved(f"it returns a tuple of {len(values)}, not an array")
    found = np.asarray(values)
    if found.dtype.kind == "c":
        raise Misbehaved("it returns complex numbers")
    return found.astype(np.float64)


def _bits(torch: Any, tensor: Any) -> Array:
    """A tensor's bytes: NumPy knows no bfloat16."""
    return np.asarray((tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy())


def guessed_kind(function: Callable[..., Any]) -> Kind:
    """Whether a function is given tensors: where its module is torch's, or has imported torch, or its
    signature speaks of tensors."""
    module = getattr(function, "__module__", None) or type(function).__module__ or ""
    top = module.partition(".")[0]
    if top in ("torch", "torchvision", "kornia", "segmentation_models_pytorch"):
        return "torch"
    if top in ("numpy", "scipy", "sklearn"):
        return "numpy"
    if any("Tensor" in str(p.annotation) for p in _parameters(function).values()):
        return "torch"
    names = getattr(sys.modules.get(module), "__dict__", {})
    used = getattr(getattr(function, "__code__", None), "co_names", ())
    found = [names.get(n, n) for n in used]
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # a name that has no value yet
            found.append(cell.cell_contents)
    reached = {_root(v) for v in found}
    return "torch" if "torch" in reached else "numpy"


def _root(value: Any) -> str:
    """The package that a global of a function belongs to; of a name without a value, the name."""
    if isinstance(value, str):
        return value
    module = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None) or ""
    return str(module).partition(".")[0]


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (ValueError, TypeError):  # a builtin, or a ufunc
        return {}


def answered(call: Callable[[], Any], seconds: float) -> Any:
    """What a call returns. Raises Misbehaved where it raises or does not return in time.

    A call that hangs is left behind in a thread that does not keep the process alive.
    """
    found: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what it prints is no part of our answer
                found.append(call())
        except BaseException as problem:  # whatever it is, it is the function's
            failed.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise Hung(f"it did not return within {seconds:g} s")
    if failed:
        raise _as_finding(failed[0]) from None
    return found[0]


def _as_finding(problem: BaseException) -> BaseException:
    if isinstance(problem, (Misbehaved, Unavailable)):
        return problem
    return Misbehaved(f"it raises {_told(problem)}")


def _told(problem: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(problem).split())[:160]
    return type(problem).__name__ + (f": {text}" if text else "")


def _unchanged(pairs: dict[str, tuple[Array, Array]]) -> None:
    for name, (before, after) in pairs.items():
        if before.tobytes() != after.tobytes():
            raise Misbehaved(f"it changes its input '{name}' in place")


def shaped(values: Array, subject: Subject, output: str, batch: Batch) -> Array:
    """Values in the shape of the truth. Raises Misbehaved where they are not of it."""
    wanted = (batch.count, batch.classes or 1) if subject.per_class(output) else (batch.count,)
    if values.ndim == len(wanted) + 1 and len(wanted) == 1 and batch.classes is not None:
        values = values.sum(axis=-1)  # a loss per class, of which the truth is the sum
    if values.ndim == 0 and output != "loss":
        values = np.broadcast_to(values, wanted)
    if values.shape != wanted:
        raise Misbehaved(f"it returns the shape {values.shape} where {wanted} is right")
    return np.array(values, dtype=np.float64)
