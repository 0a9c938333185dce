"""Who computes a loss and its gradient here: lossmith's targets, and what people use today, where it is installed.

A contender is prepared once for some data, and gives what is then called: it returns the loss per example
(per row) and the gradient by the first input, or the loss alone; or, as training asks, the mean of the losses as
one number and the gradient of that.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from lossmith.audit import contenders_by_hand as by_hand
from lossmith.audit.adapters import Unavailable, torch_module
from lossmith.audit.workloads import Workload
from lossmith.derivations.ulp import Array

Entry = Literal["loss", "loss_gradient"]
Call = Callable[[], Any]


@dataclass(frozen=True)
class Setting:
    """What is asked of a contender besides the loss. mean: one number and its gradient, instead of a loss and a
    gradient for each example."""

    entry: Entry = "loss_gradient"
    dtype: str = "float32"
    tier: str = "fast"
    threads: int = 1
    mean: bool = False

    @property
    def both(self) -> bool:
        return self.entry == "loss_gradient"


Prepare = Callable[[Workload, Mapping[str, Array], Setting], Call]


def values(found: Any) -> tuple[Array, ...]:
    """What a call returned as arrays of float64: (loss,) or (loss, gradient)."""
    parts = found if isinstance(found, (tuple, list)) else (found,)
    return tuple(np.asarray(p.detach().numpy() if hasattr(p, "detach") else p).astype(np.float64) for p in parts)


def _np(workload: Workload, arrays: Mapping[str, Array], setting: Setting) -> Call:
    function, data = getattr(by_hand.module("np", workload.unit), setting.entry), list(arrays.values())
    return _averaged(lambda: function(*data, tier=setting.tier), setting)


def _averaged(call: Call, setting: Setting) -> Call:
    """Where a mean is asked for, of those who compute every loss: its mean, and the gradient divided in its place."""
    if not setting.mean:
        return call
    if not setting.both:
        return lambda: call().mean()

    def averaged() -> Any:
        loss, gradient = call()
        gradient /= loss.size
        return loss.mean(), gradient

    return averaged


def _pt(workload: Workload, arrays: Mapping[str, Array], setting: Setting) -> Call:
    function = getattr(by_hand.module("pt", workload.unit), workload.unit.name)
    return _differentiated(_reduced(function, setting), workload, arrays, setting)


def _reduced(function: Callable[..., Any], setting: Setting) -> Callable[..., Any]:
    reduction = "mean" if setting.mean else "none"
    return lambda *t: function(*t, reduction=reduction, tier=setting.tier)


def _np_in_c(workload: Workload, arrays: Mapping[str, Array], setting: Setting) -> Call:
    compiled = importlib.import_module("lossmith.codegen.compiled")
    made = by_hand.faced("np", workload.unit, setting.dtype, setting.tier)
    function, data = getattr(made, setting.entry), list(arrays.values())

    def call() -> Any:
        compiled.limit_threads(setting.threads)
        return function(*data, tier=setting.tier)

    return _averaged(call, setting)


def _pt_in_c(workload: Workload, arrays: Mapping[str, Array], setting: Setting) -> Call:
    function = getattr(by_hand.faced("pt", workload.unit, setting.dtype, "fast"), workload.unit.name)
    return _differentiated(_reduced(function, setting), workload, arrays, setting)


def _c(workload: Workload, arrays: Mapping[str, Array], setting: Setting) -> Call:
    from lossmith.audit.host import SUFFIX

    compiled = importlib.import_module("lossmith.codegen.compiled")
    texts = by_hand.texts("c", workload.unit)
    name = workload.unit.name
    try:
        library = compiled.load_text(name, texts[f"c/{name}.c"], texts[f"c/{name}.h"])
        options = {"dtype": SUFFIX[setting.dtype], "tier": setting.tier, "threads": setting.threads}
        function = library.function(name, setting.entry, options["dtype"], setting.tier)
        times = library.function(name, f"{setting.entry}_times", options["dtype"], setting.tier) \
            if setting.both and setting.mean else None
    except (compiled.CompileError, KeyError) as problem:
        raise Unavailable(f"C: {problem}") from None
    if setting.mean:
        return _mean_in_c(function, library.prototypes[name, setting.entry, options["dtype"], setting.tier].parameters,
                          list(arrays.values()), setting, times)
    data, out = dict(arrays), library.call(name, setting.entry, dict(arrays), **options)

    def call() -> Any:
        found = library.call(name, setting.entry, data, out=out, **options)  # who calls C brings what is written to
        return (found["loss"], found["gradient"]) if setting.both else found["loss"]

    return call


def _mean_in_c(function: Any, parameters: Any, given: list[Array], setting: Setting, times: Any) -> Call:
    """The kernel as the faces' C calls it, which sums the losses of a block while the cache holds them. times: the
    kernel that takes the gradient's factor."""
    from lossmith.codegen import faces

    helpers, first = faces.helpers(), given[0]
    outputs = [p.name for p in parameters if p.kind == "output"]
    plan = faces.planned(function, parameters, {}, first.itemsize, times)
    if helpers is None or plan is None or any(p.kind == "number" for p in parameters):
        raise Unavailable("C: the faces do not call it")
    made = {"loss": np.empty(1, first.dtype), "gradient": np.empty_like(first)}
    rows = first.size // first.shape[-1] if plan.rows else first.size
    places = [a.ctypes.data for a in (*given, *(made[o] for o in outputs))]
    places[len(given):len(given)] = [0] * (faces.INPUTS - len(given))
    places += [0] * (faces.INPUTS + 2 - len(places))
    face, where = faces.caller(helpers), ctypes.addressof(plan)

    def call(kept: object = (plan, given)) -> Any:
        if face(where, *places, 0, rows, first.size // rows, faces.MEAN, setting.threads) > faces.SMALL:
            raise Unavailable("C: refused")
        return (made["loss"][0], made["gradient"]) if setting.both else made["loss"][0]

    return call


def _differentiated(function: Callable[..., Any], workload: Workload, arrays: Mapping[str, Array],
                    setting: Setting) -> Call:
    """Forward, and backward with ones, as torch does it."""
    torch = torch_module()
    torch.set_num_threads(setting.threads)
    tensors = [torch.from_numpy(a) for a in arrays.values()]
    if not setting.both:
        return lambda: function(*tensors)
    tensors[0].requires_grad_(True)
    ones = torch.ones_like(function(*tensors).detach())

    def call() -> Any:
        loss = function(*tensors)
        return loss, torch.autograd.grad(loss, tensors[0], ones)[0]

    return call


def _torch(workload: Workload, arrays: Mapping[str, Array], setting: Setting) -> Call:
    return _differentiated(_torch_function(workload, setting), workload, arrays, setting)


def _torch_function(workload: Workload, setting: Setting) -> Callable[..., Any]:
    function = by_hand.torch_function(workload)
    return (lambda *t: function(*t).mean()) if setting.mean else function


def _torch_compile(workload: Workload, arrays: Mapping[str, Array], setting: Setting) -> Call:
    torch = torch_module()
    torch._dynamo.reset()
    torch.set_num_threads(setting.threads)
    call = _differentiated(torch.compile(_torch_function(workload, setting), dynamic=False), workload, arrays,
                           setting)
    try:
        call()
    except Exception as problem:
        raise Unavailable(f"torch.compile: {' '.join(str(problem).split())[:80]}") from None
    return call


def _needs(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError:
        raise Unavailable(f"{package} is not installed") from None


@cache
def _jax_on(threads: int) -> Any:
    """jax, whose pool has as many threads as this process has cores at its first call: fewer for a moment."""
    jax = _needs("jax")
    if not hasattr(os, "sched_setaffinity"):
        return jax
    whole = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(whole)[:threads])
    try:
        jax.devices()
    finally:
        os.sched_setaffinity(0, whole)
    return jax


def _jax(workload: Workload, arrays: Mapping[str, Array], setting: Setting) -> Call:
    jax = _jax_on(setting.threads)
    if setting.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    each = by_hand.array_function(workload, jax.numpy)
    function: Callable[..., Any] = (lambda *data: each(*data).mean()) if setting.mean else each

    def both(*data: Any) -> Any:
        loss, back = jax.vjp(lambda first: function(first, *data[1:]), data[0])
        return loss, back(jax.numpy.ones_like(loss))[0]

    run = jax.jit(both if setting.both else function)
    data = [jax.numpy.asarray(a) for a in arrays.values()]
    return lambda: jax.block_until_ready(run(*data))


def _hand(workload: Workload, arrays: Mapping[str, Array], setting: Setting) -> Call:
    run, data = by_hand.hand(workload, setting.both), list(arrays.values())

    def call() -> Any:
        with np.errstate(all="ignore"):
            return run(*data)

    return _averaged(call, setting)


def _numba(workload: Workload, arrays: Mapping[str, Array], setting: Setting) -> Call:
    numba = _needs("numba")
    numba.set_num_threads(min(setting.threads, numba.config.NUMBA_NUM_THREADS))
    run, data = by_hand.loop(workload, setting.both, numba, setting.mean), list(arrays.values())
    return lambda: run(*data)


def _numexpr(workload: Workload, arrays: Mapping[str, Array], setting: Setting) -> Call:
    numexpr = _needs("numexpr")
    numexpr.set_num_threads(setting.threads)
    loss, gradient = by_hand.numexpr_texts(workload)
    if setting.mean:
        count = next(iter(arrays.values())).size
        loss, gradient = f"sum({loss})", f"({gradient})/{count}"
        return lambda: (numexpr.evaluate(loss, arrays) / count, numexpr.evaluate(gradient, arrays))[:1 + setting.both]
    if setting.both:
        return lambda: (numexpr.evaluate(loss, arrays), numexpr.evaluate(gradient, arrays))
    return lambda: numexpr.evaluate(loss, arrays)


def _scipy(workload: Workload, arrays: Mapping[str, Array], setting: Setting) -> Call:
    special = _needs("scipy.special")
    run, data = by_hand.scipy_function(workload, special, setting.both), list(arrays.values())

    def call() -> Any:
        with np.errstate(all="ignore"):
            return run(*data)

    return _averaged(call, setting)


def _sklearn(workload: Workload, arrays: Mapping[str, Array], setting: Setting) -> Call:
    first, second = arrays.values()
    run = by_hand.sklearn_function(workload, _needs("sklearn._loss"), first.shape[-1])
    raw, true = np.ascontiguousarray(first), np.ascontiguousarray(second.astype(first.dtype))
    if setting.both:
        return _averaged(lambda: run.loss_gradient(true, raw, n_threads=setting.threads), setting)
    return _averaged(lambda: run.loss(true, raw, n_threads=setting.threads), setting)


# Ours first; then the peers, from the most used.
CONTENDERS: Mapping[str, Prepare] = {
    "np": _np, "pt": _pt, "c": _c, "np in C": _np_in_c, "pt in C": _pt_in_c,
    "torch": _torch, "torch.compile": _torch_compile, "jax": _jax, "numpy by hand": _hand, "numba": _numba,
    "numexpr": _numexpr, "scipy": _scipy, "sklearn": _sklearn,
}
OURS = frozenset({"np", "pt", "c", "np in C", "pt in C"})
