"""Every unit of the catalogue as it was generated: its inputs, and its outputs by NumPy and by PyTorch."""

from __future__ import annotations

import functools
import importlib
import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from lossmith.audit.subject import load
from lossmith.derivations import catalogue
from lossmith.derivations.domains import SIMPLEX, Domain
from lossmith.derivations.loss import Argument
from lossmith.derivations.points import distribution, is_weights, logits_row
from lossmith.derivations.ulp import FORMATS, Format, round_array

UNITS = catalogue.unit_names()
DTYPES = ("float64", "float32", "float16", "bfloat16")
TIERS = ("fast", "accurate")
CLASSES = 5
Arrays = dict[str, Any]


def numpy_module(unit: str) -> Any:
    return importlib.import_module(f"lossmith.generated.np.{unit}")


def torch_function(unit: str) -> Any:
    return getattr(importlib.import_module(f"lossmith.generated.pt.{unit}"), unit)


@functools.cache
def outputs(unit: str) -> tuple[str, ...]:
    """What both targets have: the loss, its derivatives, and for rows the Hessian applied to tangents."""
    subject = load(unit)
    named = [o for o in subject.outputs if not (subject.is_row and len(subject.wrt(o)) == 2)]
    if hasattr(numpy_module(unit), "hessian_vector_product"):
        named += [f"hvp_{a.name}" for a in subject.given if a.differentiable]
    return tuple(named)


def tangents(unit: str) -> tuple[str, ...]:
    """The tangents that a Hessian-vector product takes."""
    product = numpy_module(unit).hessian_vector_product
    return tuple(n.removeprefix("tangent_") for n in inspect.signature(product).parameters if n.startswith("tangent_"))


def _value_shape(a: Argument, count: int) -> tuple[int, ...]:
    return (count, CLASSES) if a.axis == "class" else (count,)


def plain(unit: str, count: int = 40, seed: int = 0) -> Arrays:
    """Inputs well inside their domains, where no result is ill-conditioned by bad luck alone."""
    subject, rng = load(unit), np.random.default_rng(seed)
    return {a.name: _plain(a, _value_shape(a, count), rng) for a in subject.given}


def _plain(a: Argument, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    domain: Domain = a.domain
    if a.role == "label":
        return rng.integers(0, CLASSES, shape)
    if domain.values:
        values = rng.choice([float(v) for v in domain.values], shape)
        values[..., 0] = 1.0
        return values
    if domain.unit_sum or is_weights(domain):
        return rng.dirichlet(np.full(shape[-1], 2.0), shape[:-1])
    if math.isinf(domain.low) and domain.high == 0:
        return np.log(rng.dirichlet(np.full(shape[-1], 2.0), shape[:-1]))
    if math.isfinite(domain.low) and math.isfinite(domain.high):
        return rng.uniform(0.05, 0.95, shape)
    return rng.normal(0, 3, shape)


def troublesome(unit: str, dtype: str, count: int = 56, seed: int = 0) -> Arrays:
    """Inputs at the edges of their domains, infinities among them; numbers of the dtype, as float64."""
    subject, rng, fmt = load(unit), np.random.default_rng(seed), FORMATS[dtype]
    made: Arrays = {}
    for a in subject.given:
        earlier = [v for v in made.values() if v.ndim == 2 and v.dtype.kind == "f"]
        if a.axis == "class" and not a.domain.values and not (a.domain.low == 0 and a.domain.high == 1):
            rows = [_edge_row(a.domain, k, rng, fmt, [e[k] for e in earlier]) for k in range(count)]
            made[a.name] = np.stack(rows)
        elif a.role == "label" or a.domain.values:
            made[a.name] = _plain(a, _value_shape(a, count), rng)
        else:
            spots = [v for v in EDGES if a.domain.holds(v)] + [*rng.uniform(0, 1, 8)]
            made[a.name] = round_array(rng.choice(spots, _value_shape(a, count)), fmt)
    return made


EDGES = (0.0, 2.0**-149, 2.0**-126, 1e-5, 0.1, 0.3, 0.5, 0.9, 1 - 2.0**-7, 1 - 2.0**-24, 1.0, -1.0, 5.0, -5.0, 40.0,
         -40.0, 90.0, -90.0, 1e4, -1e4, math.inf, -math.inf)


def _edge_row(domain: Domain, k: int, rng: np.random.Generator, fmt: Format, earlier: list[Any]) -> Any:
    if domain.unit_sum or is_weights(domain):
        return distribution(CLASSES, k, rng, fmt, domain, earlier)
    if domain.high == 0:
        with np.errstate(divide="ignore"):
            return round_array(np.log(distribution(CLASSES, k, rng, fmt, SIMPLEX)), fmt)
    return logits_row(CLASSES, k, rng, fmt, earlier)


def directions(unit: str, arrays: Mapping[str, Any], seed: int = 1) -> Arrays:
    """A tangent for each argument that has one."""
    rng = np.random.default_rng(seed)
    return {n: rng.normal(size=np.shape(arrays[n])) for n in tangents(unit)}


def by_numpy(unit: str, output: str, arrays: Mapping[str, Any], dtype: str = "float64", tier: str = "fast",
             along: Mapping[str, Any] | None = None) -> Any:
    """One output of the NumPy module, of the dtype."""
    module, subject, kind = numpy_module(unit), load(unit), FORMATS[dtype].dtype
    given = [v if v.dtype.kind == "i" else v.astype(kind) for v in arrays.values()]
    name, _, by = output.partition("_")
    if name == "loss":
        return module.loss(*given, tier=tier)
    if name == "hvp":
        moved = {f"tangent_{n}": v.astype(kind) for n, v in (along or {}).items()}
        return module.hessian_vector_product(*given, **moved, wrt=by, tier=tier)
    wrt = subject.wrt(output)
    return getattr(module, name)(*given, wrt=wrt[0] if len(wrt) == 1 else wrt, tier=tier)


def tensors(arrays: Mapping[str, Any], dtype: str = "float64", track: bool = False) -> dict[str, Any]:
    """The arrays as tensors; `track`: those that are no labels require gradients."""
    import torch

    made = {}
    for name, value in arrays.items():
        tensor = torch.from_numpy(np.array(value))
        made[name] = tensor if value.dtype.kind == "i" else tensor.to(getattr(torch, dtype)).requires_grad_(track)
    return made


def by_torch(unit: str, output: str, arrays: Mapping[str, Any], dtype: str = "float64", tier: str = "fast",
             along: Mapping[str, Any] | None = None) -> Any:
    """One output of the PyTorch module, by autograd, as a tensor of the dtype."""
    import torch

    subject, given = load(unit), tensors(arrays, dtype)
    name, _, by = output.partition("_")
    wrt = (by,) if name == "hvp" else subject.wrt(output)
    for n in {*wrt, *(along or {})}:
        given[n].requires_grad_(True)
    value = torch_function(unit)(*given.values(), reduction="none", tier=tier)
    if name == "loss":
        return value
    if name == "hvp":
        moved = {n: torch.from_numpy(v).to(value.dtype) for n, v in (along or {}).items()}
        return _second(sum(_pulled(value, given[n], v) for n, v in moved.items()), given[by])
    first = _first(value, given[wrt[0]], name == "hessian")
    if name == "gradient":
        return first
    if first.ndim == 2:
        return torch.stack([_second(first[:, k].sum(), given[wrt[0]])[:, k] for k in range(first.shape[1])], dim=1)
    return _second(first.sum(), given[wrt[-1]])


def _pulled(value: Any, by: Any, along: Any) -> Any:
    return (_first(value, by, True) * along).sum()


def _first(value: Any, by: Any, again: bool) -> Any:
    import torch

    return torch.autograd.grad(value.sum(), by, create_graph=again)[0]


def _second(value: Any, by: Any) -> Any:
    import torch

    if not value.requires_grad:
        return torch.zeros_like(by)
    found = torch.autograd.grad(value, by, retain_graph=True, allow_unused=True)[0]
    return torch.zeros_like(by) if found is None else found
