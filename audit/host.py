"""CUDA C on the host: the generated .cu built for this machine's CPU and called like any other target."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from lossmith.audit.adapters import Unavailable, kernel_arrays, kernel_tier, kind_of, widened
from lossmith.audit.samples import Batch
from lossmith.audit.subject import Subject
from lossmith.codegen import host
from lossmith.derivations.ulp import Array

# Fibers for threads are slow: what a long row costs on the host says nothing of a GPU.
MOST_NUMBERS = 1_000_000
SUFFIX = {"float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64"}
ENTRY = {"loss": "loss", "gradient": "gradient", "hessian": "gradient_hessian"}


@cache
def library(unit: str) -> host.HostLibrary:
    """The launchers of a unit. Raises Unavailable where there is no file, no compiler, or it does not build."""
    folders = importlib.import_module("lossmith.generated.cu").__path__
    source = next((p for f in folders if (p := Path(f) / f"{unit}.cu").exists()), None)
    if source is None:
        raise Unavailable(f"generated/cu/{unit}.cu is not there: lossmith generate {unit} --target cu")
    try:
        return host.load(source)
    except (host.HostError, OSError, ValueError) as problem:
        raise Unavailable(f"{source.name} does not run on the host: {problem}") from None


@dataclass
class HostAdapter:
    """The launchers of `generated/cu/<unit>.cu`, on the CPU: loss, gradient and Hessian by the primary input."""

    name: str = "cu"
    tiers: tuple[str, ...] = ("fast", "accurate")

    def offers(self, subject: Subject, output: str, batch: Batch, dtype: str = "float32", tier: str = "fast") -> bool:
        by = subject.wrt(output)
        if any(name != subject.unit.primary.name for name in by) or batch.count * (batch.classes or 1) > MOST_NUMBERS:
            return False
        entry = (subject.name, ENTRY[kind_of(output)], SUFFIX[dtype], kernel_tier(dtype, tier))
        return entry in library(subject.name).prototypes

    def call(self, subject: Subject, output: str, batch: Batch, dtype: str, tier: str) -> Array:
        arrays: dict[str, Any] = dict(zip((a.name for a in subject.given), kernel_arrays(subject, batch, dtype)))
        found = library(subject.name).call(subject.name, ENTRY[kind_of(output)], arrays | dict(batch.parameters),
                                           SUFFIX[dtype], kernel_tier(dtype, tier))
        with np.errstate(all="ignore"):
            return widened(found[kind_of(output)], subject, output, batch)
