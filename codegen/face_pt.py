"""The PyTorch face: the loss and its first gradient of plain tensors on a CPU computed in C, in one pass; all else
(higher derivatives, transforms, compilation, other devices, strides and shapes) by the generated module itself."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from lossmith.codegen import compiled, faces
from lossmith.codegen.faces import Library

# What torch is asked before tensors are taken for memory: each is true, or above its number, where they are more.
_AMBIENT = ("_are_functorch_transforms_active", "_len_torch_dispatch_stack", "_is_torch_function_mode_enabled",
            "_get_tracing_state")
# Elements of a block, for one thread and for each of several, which wait for each other at the end of each block:
# their losses are summed while a cache holds them.
BLOCK, SHARE = 1 << 16, 1 << 18
_OPTIONS = ("reduction", "tier", "dim")
Tensor = Any


class _Outside(Exception):  # noqa: N818
    """A value lies outside its domain: the module says which."""


def attach(module: ModuleType, library: Library) -> None:
    """Put a function that uses C where it can in the place of the module's function."""
    torch: Any = getattr(module, "torch")  # noqa: B009
    ambient = [getattr(torch._C, name, None) for name in _AMBIENT]
    if all(ambient) and hasattr(module.forward_ad, "_current_level"):
        pure = getattr(module, library.unit)
        setattr(module, library.unit, _face(module, library, pure, ambient))


def _face(module: ModuleType, library: Library, pure: Callable[..., Tensor],
          ambient: Sequence[Any]) -> Callable[..., Tensor]:
    torch: Any = getattr(module, "torch")  # noqa: B009
    state = _State(module, library, pure, ambient)
    compiling, plain = torch.compiler.is_compiling, (torch.Tensor, torch.nn.Parameter)

    @functools.wraps(pure)
    def face(*tensors: Tensor, **options: Any) -> Tensor:
        if not compiling():
            for tensor in tensors:
                if type(tensor) not in plain:
                    break
            else:
                found = state.compute(tensors, options)
                if found is not None:
                    return found
        return pure(*tensors, **options)

    return face


class _State:
    """One loss: what it takes, and its C functions by the type that is computed in."""

    def __init__(self, module: ModuleType, library: Library, pure: Callable[..., Tensor],
                 ambient: Sequence[Any]) -> None:
        torch: Any = getattr(module, "torch")  # noqa: B009
        self.module, self.library, self.pure, self.ambient, self.torch = module, library, pure, ambient, torch
        signature = inspect.signature(pure).parameters
        self.names = [n for n, p in signature.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.parameters = {n: p.default for n, p in signature.items()
                           if p.kind is p.KEYWORD_ONLY and n not in _OPTIONS}
        self.known = {n for n, p in signature.items() if p.kind is p.KEYWORD_ONLY}
        self.rows = "dim" in self.known
        self.per_class = getattr(module, "_PER_CLASS", (False,) * len(self.names))
        self.floats = {torch.float32: ("f32", 4), torch.float64: ("f64", 8), torch.float16: ("f32", 0),
                       torch.bfloat16: ("f32", 0)}
        self.plans: dict[str, _Plan | None] = {}
        # What torch.autograd.Function.apply does besides is for transforms, which do not come here.
        above: Any = super(torch.autograd.Function, _differentiable(torch, self))
        self.apply = above.apply

    def plan(self, suffix: str) -> _Plan | None:
        if suffix not in self.plans:
            self.plans[suffix] = _planned(self, suffix)
        return self.plans[suffix]

    def beyond(self) -> bool:
        """Whether torch does more with tensors now than compute: transforms, tracing, forward mode, modes."""
        if self.module.forward_ad._current_level >= 0:
            return True
        for asked in self.ambient:  # noqa: SIM110  (a generator takes three times as long)
            if asked():
                return True
        return False

    def compute(self, tensors: Sequence[Tensor], options: dict[str, Any]) -> Tensor | None:
        """The loss; None where the module itself must compute it, or say what is wrong."""
        torch = self.torch
        if len(tensors) != len(self.names) or (options and not options.keys() <= self.known) or self.beyond():
            return None
        reduction, tier = options.get("reduction", "mean"), options.get("tier", "fast")
        first = tensors[0]
        kind = self.floats.get(first.dtype)
        if kind is None or reduction not in ("none", "mean", "sum") or tier not in ("fast", "accurate"):
            return None
        plan = self.plan("f64" if tier == "accurate" else kind[0])
        if plan is None or not plan.fits(tensors, options.get("dim", -1)):
            return None
        wanted = first.requires_grad
        for tensor in tensors[1:]:
            if tensor.requires_grad:
                return None  # C has the gradient by the first alone
        numbers = plan.numbers(first.dtype, options) if plan.twin is not None else ()
        if numbers is None:
            return None
        call = _Call(plan, tensors, reduction, options, numbers)
        try:
            return self.apply(*tensors, call) if wanted and torch.is_grad_enabled() else call.values(False)
        except _Outside:
            return None


def _planned(state: _State, suffix: str) -> _Plan | None:
    library = state.library
    entries = [library.has(entry) for entry in ("loss", "gradient", "loss_gradient")]
    if not all(entries):
        return None
    takes = [p.name.removesuffix("_") for p in library.parameters("loss") if p.kind in ("input", "label")]
    functions = [library.function(entry, suffix, "fast") for entry in ("loss", "gradient", "loss_gradient")]
    helpers = faces.helpers() if all(functions) else None
    if takes != state.names or helpers is None:
        return None
    twin = faces.pure("np", library.unit) if state.parameters else None
    domains = _domains(state, library)
    checks = faces.checks(helpers, domains, suffix) if domains is not None else None
    return None if checks is None else _Plan(state, suffix, functions, helpers, checks, twin)


def _domains(state: _State, library: Library) -> dict[str, Any] | None:
    """What values the arguments may have, as the NumPy module says it."""
    try:
        found: dict[str, Any] = faces.pure("np", library.unit)._DOMAINS
    except ModuleNotFoundError:
        return None
    return found


class _Plan:
    """The C functions of a loss for one type, with what is asked of tensors before they are called."""

    def __init__(self, state: _State, suffix: str, functions: Sequence[Any], helpers: Any,
                 checks: list[tuple[str, Any, float, float]], twin: ModuleType | None) -> None:
        self.state, self.torch, self.twin = state, state.torch, twin
        self.inner = state.torch.float32 if suffix == "f32" else state.torch.float64
        self.loss, self.gradient, self.loss_gradient = functions
        self.outside = faces.helper(helpers, "outside_i64")
        self.scale, self.flow = faces.helper(helpers, f"scale_{suffix}"), faces.helper(helpers, f"flow_{suffix}")
        self.total, self.size = faces.helper(helpers, f"sum_{suffix}"), 4 if suffix == "f32" else 8
        self.checks = [(state.names.index(name), *rest) for name, *rest in checks]
        kinds = {p.name.removesuffix("_"): p.kind for p in state.library.parameters("loss")}
        self.is_label = [kinds[name] == "label" for name in state.names]
        self.labels = [n for n, label in enumerate(self.is_label) if label]
        self.wide = state.per_class
        self.threads = state.torch.get_num_threads
        # In C the class outputs of a row kernel may come before or after the others.
        found = [p.name for p in state.library.parameters("loss_gradient") if p.kind == "output"]
        self.loss_first = found.index("loss") == 0

    def outputs(self, values: Sequence[int], gradient: Sequence[int]) -> Sequence[int]:
        """The places of the outputs in the order of C."""
        return (*values, *gradient) if self.loss_first else (*gradient, *values)

    def strides(self, width: int) -> list[int]:
        """How many bytes a row of each tensor takes."""
        return [8 if label else self.size * (width if whole else 1) for whole, label in zip(self.wide, self.is_label)]

    def fits(self, tensors: Sequence[Tensor], dim: Any) -> bool:
        """Whether these are contiguous tensors of one type, on the CPU, of shapes that go as they are."""
        first, state, strided = tensors[0], self.state, self.torch.strided
        shape = first.shape
        lead = shape
        if state.rows:
            if not shape or type(dim) is not int or dim not in (-1, len(shape) - 1):
                return False
            lead = shape[:-1]
        for tensor, whole, label in zip(tensors, state.per_class, self.is_label):
            if not tensor.is_cpu or tensor.layout is not strided or not tensor.is_contiguous() or tensor.is_neg():
                return False
            if tensor.shape != (shape if whole else lead):
                return False
            if tensor.dtype is not (self.torch.int64 if label else first.dtype):
                return False
        return bool(first.numel())

    def numbers(self, dtype: Any, options: dict[str, Any]) -> tuple[float, ...] | None:
        if self.twin is None:
            return ()
        given = {name: options.get(name, default) for name, default in self.state.parameters.items()}
        if any(v is not None and type(v) not in (int, float) for v in given.values()):
            return None
        try:
            held, work = np.dtype(str(dtype).removeprefix("torch.")), np.dtype(str(self.inner).removeprefix("torch."))
            return tuple(float(v) for v in self.twin._parameters(held, work, *given.values()))
        except (TypeError, ValueError):  # no bfloat16 in NumPy; or the module says what is wrong
            return None


class _Call:
    """One call: its tensors in the type that is computed in, and what is to be done with the values."""

    def __init__(self, plan: _Plan, tensors: Sequence[Tensor], reduction: str, options: dict[str, Any],
                 numbers: tuple[float, ...]) -> None:
        self.plan, self.reduction, self.options, self.numbers = plan, reduction, options, numbers
        self.dtype = tensors[0].dtype
        same = self.dtype is plan.inner
        self.tensors = tensors if same else [t if label else t.detach().to(plan.inner)
                                             for t, label in zip(tensors, plan.is_label)]
        shape = tensors[0].shape
        rows = plan.state.rows
        self.shape, self.lead, self.width = shape, shape[:-1] if rows else shape, int(shape[-1]) if rows else 1
        self.count = tensors[0].numel() // self.width
        self.threads = 1 if compiled.forked() else plan.threads()
        self.places = [t.data_ptr() for t in self.tensors]

    def _check(self, places: Sequence[int], count: int) -> None:
        """Raises _Outside where a value of some rows lies outside its domain."""
        plan = self.plan
        for n in plan.labels:
            if plan.outside(places[n], 0.0, self.width - 1.0, count, self.threads):
                raise _Outside
        for n, check, low, high in plan.checks:
            if check(places[n], low, high, count * self.width if plan.wide[n] else count, self.threads):
                raise _Outside

    def _run(self, function: Any, places: Sequence[int], count: int, *outputs: int) -> None:
        sizes = (count, self.width) if self.plan.state.rows else (count,)
        if function(*places, *self.numbers, *outputs, *sizes, self.threads):
            raise ValueError(f"rows of {self.width} classes are too long")

    def values(self, both: bool) -> Any:
        """The loss, reduced; with `both` also its gradient by the first tensor, which is not. Raises _Outside."""
        plan, places, count = self.plan, self.places, self.count
        gradient = plan.torch.empty(self.shape, dtype=plan.inner) if both else None
        function = plan.loss_gradient if both else plan.loss
        start = () if gradient is None else (gradient.data_ptr(),)
        if self.reduction == "none":
            values = plan.torch.empty(self.lead, dtype=plan.inner)
            self._check(places, count)
            self._run(function, places, count, *plan.outputs((values.data_ptr(),), start))
        else:
            total = self._total(function, start)
            values = plan.torch.scalar_tensor(total / count if self.reduction == "mean" else total, dtype=plan.inner)
        values = values if self.dtype is plan.inner else values.to(self.dtype)
        return (values, gradient) if both else values

    def _total(self, function: Any, gradient: Sequence[int]) -> float:
        """The sum of the losses, block by block; where the gradient is wanted, it is written from its place on."""
        plan, total = self.plan, 0.0
        block = BLOCK if self.threads == 1 else SHARE * self.threads
        step = min(self.count, max(1, block // self.width))
        kept = plan.torch.empty(step, dtype=plan.inner)
        held = kept.data_ptr()
        for first in range(0, self.count, step):
            count = min(step, self.count - first)
            places = [p + first * bytes_ for p, bytes_ in zip(self.places, plan.strides(self.width))] if first \
                else self.places
            to = [g + first * self.width * plan.size for g in gradient]
            self._check(places, count)
            self._run(function, places, count, *plan.outputs((held,), to))
            total += plan.total(held, count)
        return total

    def slope(self) -> Tensor:
        """The gradient anew, for a second backward pass."""
        gradient = self.plan.torch.empty(self.shape, dtype=self.plan.inner)
        self._run(self.plan.gradient, self.places, self.count, gradient.data_ptr())
        return gradient

    def onward(self, gradient: Tensor, upstream: Tensor) -> Tensor:
        """The gradient times what comes from above, in its place."""
        plan = self.plan
        above = upstream if upstream.dtype is plan.inner else upstream.to(plan.inner)
        if self.reduction != "none" or not any(above.stride()):  # one number, as after .sum()
            number = above.reshape(-1)[0].item() if self.lead and self.reduction == "none" else above.item()
            number = number / self.count if self.reduction == "mean" else number
            if number != 1.0:
                plan.scale(gradient.data_ptr(), number, gradient.numel(), self.threads)
        else:
            above = above.contiguous()
            plan.flow(gradient.data_ptr(), above.data_ptr(), self.count, self.width, self.threads)
        return gradient if self.dtype is plan.inner else gradient.to(self.dtype)

    def unfused(self, upstream: Tensor) -> Tensor:
        """The same by torch's own operations, where what comes from above is more than numbers."""
        above = upstream.to(self.plan.inner)
        above = above / self.count if self.reduction == "mean" else above
        if self.reduction != "none":
            above = above.expand(self.lead)
        above = above.unsqueeze(-1) if self.plan.state.rows else above
        absorbed: Tensor = self.plan.state.module._absorb(above, self.slope())
        return absorbed.to(self.dtype)


def _differentiable(torch: Any, state: _State) -> Any:
    nothing = (None,) * len(state.names)

    def forward(ctx: Any, *arguments: Any) -> Tensor:
        *tensors, call = arguments
        values, ctx.slope = call.values(True)
        ctx.call = call
        ctx.save_for_backward(*tensors)
        return values

    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        call = ctx.call
        if torch.is_grad_enabled():  # a second derivative may be asked for: by the module itself
            tensors = ctx.saved_tensors
            values = state.pure(*tensors, **call.options)
            return (torch.autograd.grad(values, tensors[0], upstream, create_graph=True)[0], *nothing)
        try:
            upstream.data_ptr()
        except RuntimeError:  # many at once, in a transform
            return (call.unfused(upstream), *nothing)
        slope, ctx.slope = ctx.slope, None
        return (call.onward(call.slope() if slope is None else slope, upstream), *nothing)

    return type("CompiledLoss", (torch.autograd.Function,),
                {"forward": staticmethod(forward), "backward": staticmethod(backward)})
