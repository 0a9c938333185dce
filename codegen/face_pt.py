"""The PyTorch face: the loss and its first gradient of plain tensors on a CPU computed in C, in one pass; all else
(higher derivatives, transforms, compilation, other devices, strides and shapes) by the generated module itself."""

from __future__ import annotations

import ctypes
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
_REDUCTIONS = {"none": faces.EACH, "mean": faces.MEAN, "sum": faces.SUM}
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
    compute, compiling = _State(module, library, pure, ambient).compute, torch.compiler.is_compiling

    @functools.wraps(pure)
    def face(*tensors: Tensor, **options: Any) -> Tensor:
        if not compiling():
            found = compute(tensors, options)
            if found is not None:
                return found
        return pure(*tensors, **options)

    return face


class _State:
    """One loss: what it takes, and its C functions by the type of its tensors and the tier."""

    def __init__(self, module: ModuleType, library: Library, pure: Callable[..., Tensor],
                 ambient: Sequence[Any]) -> None:
        torch: Any = getattr(module, "torch")  # noqa: B009
        self.module, self.library, self.pure, self.ambient, self.torch = module, library, pure, ambient, torch
        signature = inspect.signature(pure).parameters
        self.names = [n for n, p in signature.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
        self.arity = len(self.names)
        self.parameters = {n: p.default for n, p in signature.items()
                           if p.kind is p.KEYWORD_ONLY and n not in _OPTIONS}
        self.known = {n for n, p in signature.items() if p.kind is p.KEYWORD_ONLY}
        self.rows = "dim" in self.known
        self.per_class = getattr(module, "_PER_CLASS", (False,) * len(self.names))
        self.plain, self.strided, self.grad = (torch.Tensor, torch.nn.Parameter), torch.strided, torch.is_grad_enabled
        self.plans: dict[Any, _Plan | None] = {}
        # What torch.autograd.Function.apply does besides is for transforms, which do not come here.
        above: Any = super(torch.autograd.Function, _differentiable(torch, self))
        self.apply = above.apply

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
        reduction, tier, dim = faces.MEAN, "fast", -1
        if options:
            asked, tier, dim = options.get("reduction", "mean"), options.get("tier", "fast"), options.get("dim", -1)
            if not options.keys() <= self.known or type(asked) is not str or type(tier) is not str:
                return None
            reduction = _REDUCTIONS.get(asked, -1)
        if len(tensors) != self.arity or reduction < 0 or self.beyond():
            return None
        first = tensors[0]
        if type(first) not in self.plain:
            return None
        key = (first.dtype, tier)
        plan = self.plans.get(key) or self._planned(*key)
        if plan is None or not self._fit(tensors, plan.wanted, dim):
            return None
        numbers = plan.numbers(options) if plan.twin is not None else 0
        if numbers is None:
            return None
        call = _Call(plan, reduction, options, numbers, tensors)
        try:
            return self.apply(first, call) if first.requires_grad and self.grad() else call.values(tensors)
        except _Outside:
            return None

    def _fit(self, tensors: Sequence[Tensor], wanted: Sequence[tuple[bool, Any]], dim: Any) -> bool:
        """Whether these are contiguous tensors on the CPU, of types and shapes that go as they are, of which C has
        the gradients that are asked for: by the first alone."""
        shape = lead = tensors[0].shape
        if self.rows:
            if not shape or type(dim) is not int or dim not in (-1, len(shape) - 1):
                return False
            lead = shape[:-1]
        strided = self.strided
        for number, tensor in enumerate(tensors):
            whole, dtype = wanted[number]
            if tensor.dtype is not dtype or type(tensor) not in self.plain or not tensor.is_cpu \
                    or tensor.layout is not strided or not tensor.is_contiguous() or tensor.is_neg():
                return False
            if number and (tensor.requires_grad or tensor.shape != (shape if whole else lead)):
                return False
        return bool(tensors[0].numel())

    def _planned(self, dtype: Any, tier: str) -> _Plan | None:
        if (dtype, tier) not in self.plans:
            self.plans[dtype, tier] = _planned(self, dtype, tier)
        return self.plans[dtype, tier]


def _planned(state: _State, dtype: Any, tier: str) -> _Plan | None:
    torch, library, entries = state.torch, state.library, ("loss", "gradient", "loss_gradient")
    floats = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
    if dtype not in floats or tier not in ("fast", "accurate") or not all(library.has(entry) for entry in entries):
        return None
    suffix, inner = ("f64", torch.float64) if tier == "accurate" or dtype is torch.float64 else ("f32", torch.float32)
    parameters = [library.parameters(entry) for entry in entries]
    takes = [p.name.removesuffix("_") for p in parameters[0] if p.kind in ("input", "label")]
    functions = [library.function(entry, suffix, "fast") for entry in entries]
    helpers = faces.helpers() if all(functions) else None
    try:
        twin = library.numpy_module()
        domains = twin._DOMAINS  # as the NumPy module says it
    except ModuleNotFoundError:
        return None
    if takes != state.names or helpers is None or (state.rows and not state.per_class[0]):
        return None
    times = [None, None, library.function("loss_gradient_times", suffix, "fast")]
    plans = [faces.planned(f, p, domains, inner.itemsize, t) for f, p, t in zip(functions, parameters, times)
             if f is not None]
    if any(plan is None for plan in plans):
        return None
    labels = [p.kind == "label" for p in parameters[0] if p.kind in ("input", "label")]
    return _Plan(state, dtype, inner, plans, helpers, labels, twin if state.parameters else None)


class _Plan:
    """The C functions of a loss for one type and tier, and what they are called with."""

    def __init__(self, state: _State, dtype: Any, inner: Any, plans: Sequence[Any], helpers: Any,
                 labels: Sequence[bool], twin: ModuleType | None) -> None:
        torch, suffix = state.torch, {4: "f32", 8: "f64"}[inner.itemsize]
        self.state, self.torch, self.twin, self.dtype, self.inner = state, torch, twin, dtype, inner
        self.kept, (self.loss, self.gradient, self.both) = plans, [ctypes.addressof(plan) for plan in plans]
        self.loss_first = plans[2].summed == 0
        self.face = faces.caller(helpers)
        self.scale, self.flow = faces.helper(helpers, f"scale_{suffix}"), faces.helper(helpers, f"flow_{suffix}")
        self.same, self.labels = dtype is inner, labels
        self.wanted = [(whole, torch.int64 if label else dtype) for whole, label in zip(state.per_class, labels)]
        self.no_inputs = (0,) * (faces.INPUTS - len(labels))
        self.one, self.empty_like = torch.empty((), dtype=inner), torch.empty_like
        self.crew = torch.get_num_threads
        self.last: tuple[str, Any] = ("", None)

    def numbers(self, options: dict[str, Any]) -> Any:
        """The parameters as C takes them; None where the module must say what is wrong with them."""
        given = {name: options.get(name, default) for name, default in self.state.parameters.items()}
        asked = repr(given)
        if any(v is not None and type(v) not in (int, float) for v in given.values()) or self.twin is None:
            return None
        if asked != self.last[0]:
            try:
                held, work = (np.dtype(str(kind).removeprefix("torch.")) for kind in (self.dtype, self.inner))
                values = [float(v) for v in self.twin._parameters(held, work, *given.values())]
            except (TypeError, ValueError):  # no bfloat16 in NumPy; or the module says what is wrong
                return None
            self.last = (asked, (ctypes.c_double * len(values))(*values))
        return self.last[1]


class _Call:
    """One call, without its tensors, which autograd keeps as long as it must."""

    __slots__ = ("count", "held", "numbers", "options", "others", "plan", "reduction", "small", "threads", "width")

    def __init__(self, plan: _Plan, reduction: int, options: dict[str, Any], numbers: Any,
                 tensors: Sequence[Tensor]) -> None:
        self.plan, self.reduction, self.options, self.held = plan, reduction, options, numbers
        self.numbers = ctypes.addressof(numbers) if numbers else 0
        first = tensors[0]
        self.others: Sequence[Tensor] = tensors[1:]
        self.width = first.shape[-1] if plan.state.rows else 1
        self.count = first.numel() // self.width
        self.threads = 1 if compiled.forked() else plan.crew()
        self.small = False

    def _inner(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        plan = self.plan
        return tensors if plan.same else [t if label else t.detach().to(plan.inner)
                                          for t, label in zip(tensors, plan.labels)]

    def _run(self, entry: int, tensors: Sequence[Tensor], first: int, second: int, reduction: int) -> None:
        plan = self.plan
        said = plan.face(entry, *[t.data_ptr() for t in tensors], *plan.no_inputs, first, second, self.numbers,
                         self.count, self.width, reduction, self.threads)
        if said == faces.OUTSIDE:
            raise _Outside
        if said == faces.TOO_LONG:
            raise ValueError(f"rows of {self.width} classes are too long")
        self.small = said == faces.SMALL

    def _place(self, first: Tensor) -> Tensor:
        shape = first.shape[:-1] if self.plan.state.rows else first.shape
        return self.plan.torch.empty(shape, dtype=self.plan.inner)

    def values(self, tensors: Sequence[Tensor]) -> Tensor:
        """The loss, reduced. Raises _Outside where a value lies outside its domain."""
        plan, tensors = self.plan, self._inner(tensors)
        values = plan.empty_like(plan.one) if self.reduction else self._place(tensors[0])
        self._run(plan.loss, tensors, values.data_ptr(), 0, self.reduction)
        return values if plan.same else values.to(plan.dtype)

    def with_slope(self, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The loss, and the gradient of the mean or sum, or that of each loss, by the first tensor. Raises _Outside."""
        plan = self.plan
        tensors = tensors if plan.same else self._inner(tensors)
        slope = plan.empty_like(tensors[0])
        values = plan.empty_like(plan.one) if self.reduction else self._place(tensors[0])
        to = (values.data_ptr(), slope.data_ptr())
        self._run(plan.both, tensors, *(to if plan.loss_first else to[::-1]), self.reduction)
        return values if plan.same else values.to(plan.dtype), slope

    def slope(self, tensors: Sequence[Tensor]) -> Tensor:
        """The gradient of each loss anew."""
        tensors = self._inner(tensors)
        slope: Tensor = self.plan.empty_like(tensors[0])
        self._run(self.plan.gradient, tensors, slope.data_ptr(), 0, faces.EACH)
        return slope

    def scaled(self, slope: Tensor | None, by: float, saved: Callable[[], Sequence[Tensor]]) -> Tensor:
        """The gradient of the mean or sum times a number, in its place; anew where it was used or has lost digits."""
        plan = self.plan
        if slope is None or self.small:
            slope = self.slope(saved())
            by = by / self.count if self.reduction == faces.MEAN else by
        if by != 1.0:
            plan.scale(slope.data_ptr(), by, slope.numel(), self.threads)
        return slope if plan.same else slope.to(plan.dtype)

    def flowed(self, slope: Tensor | None, upstream: Tensor, saved: Callable[[], Sequence[Tensor]]) -> Tensor:
        """The gradient of each loss times what comes from above, in its place."""
        plan = self.plan
        slope = self.slope(saved()) if slope is None else slope
        if not any(upstream.stride()):  # one number, as after .sum()
            by = upstream.reshape(-1)[0].item()
            if by != 1.0:
                plan.scale(slope.data_ptr(), by, slope.numel(), self.threads)
        else:
            above = upstream.to(plan.inner).contiguous()
            plan.flow(slope.data_ptr(), above.data_ptr(), self.count, self.width, self.threads)
        return slope if plan.same else slope.to(plan.dtype)

    def unfused(self, upstream: Tensor, tensors: Sequence[Tensor]) -> Tensor:
        """The same by torch's own operations, where what comes from above is more than numbers."""
        state = self.plan.state
        above = upstream.to(self.plan.inner)
        above = above / self.count if self.reduction == faces.MEAN else above
        if self.reduction:
            above = above.expand(tensors[0].shape[:-1] if state.rows else tensors[0].shape)
        above = above.unsqueeze(-1) if state.rows else above
        absorbed: Tensor = state.module._absorb(above, self.slope(tensors))
        return absorbed.to(self.plan.dtype)


def _differentiable(torch: Any, state: _State) -> Any:
    enabled = torch.is_grad_enabled

    def forward(ctx: Any, first: Tensor, call: _Call) -> Tensor:
        tensors, call.others = (first, *call.others), ()
        values, ctx.slope = call.with_slope(tensors)
        ctx.call = call
        ctx.save_for_backward(*tensors)
        return values

    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, None]:
        call = ctx.call
        if enabled():  # a second derivative may be asked for: by the module itself
            tensors = ctx.saved_tensors
            values = state.pure(*tensors, **call.options)
            return torch.autograd.grad(values, tensors[0], upstream, create_graph=True)[0], None
        slope, ctx.slope = ctx.slope, None
        try:
            number = upstream.item() if call.reduction else upstream.data_ptr()
        except RuntimeError:  # many at once, in a transform
            return call.unfused(upstream, ctx.saved_tensors), None
        if number == 1.0 and slope is not None and call.reduction and call.plan.same:  # as after .backward()
            return slope, None
        saved = lambda: ctx.saved_tensors  # noqa: E731
        if call.reduction:
            return call.scaled(slope, number, saved), None
        return call.flowed(slope, upstream, saved), None

    return type("CompiledLoss", (torch.autograd.Function,),
                {"forward": staticmethod(forward), "backward": staticmethod(backward)})
