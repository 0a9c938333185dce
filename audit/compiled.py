"""C on this machine: the generated .c built by its compiler and called like any other target."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from lossmith.audit.adapters import Unavailable, kernel_arrays, kernel_tier, kind_of, widened
from lossmith.audit.evidence import MANY
from lossmith.audit.host import ENTRY, SUFFIX
from lossmith.audit.samples import Batch
from lossmith.audit.subject import Subject
from lossmith.codegen import compiled
from lossmith.derivations.ulp import Array


@cache
def library(unit: str) -> compiled.Compiled:
    """The functions of a unit. Raises Unavailable where there is no file, or no compiler."""
    folders = importlib.import_module("lossmith.generated").__path__
    source = next((p for f in folders if (p := Path(f) / "c" / f"{unit}.c").exists()), None)
    if source is None:
        raise Unavailable(f"generated/c/{unit}.c is not there: lossmith generate {unit} --target c")
    if compiled.compiler() is None:
        raise Unavailable("no C compiler is at hand: install gcc or clang, or name one in CC")
    try:
        return compiled.load(source)
    except (OSError, ValueError) as problem:
        raise Unavailable(f"{source.name} cannot be used: {problem}") from None


@dataclass
class CompiledAdapter:
    """The functions of `generated/c/<unit>.c`: loss, gradient and Hessian by the primary input."""

    name: str = "c"
    tiers: tuple[str, ...] = ("fast", "accurate")

    def offers(self, subject: Subject, output: str, batch: Batch, dtype: str = "float32", tier: str = "fast") -> bool:
        if any(name != subject.unit.primary.name for name in subject.wrt(output)):
            return False
        entry = (subject.name, ENTRY[kind_of(output)], SUFFIX[dtype], kernel_tier(dtype, tier))
        return entry in library(subject.name).prototypes

    def call(self, subject: Subject, output: str, batch: Batch, dtype: str, tier: str) -> Array:
        arrays: dict[str, Any] = dict(zip((a.name for a in subject.given), kernel_arrays(subject, batch, dtype)))
        threads = 2 if batch.count * (batch.classes or 1) >= MANY else 1
        try:
            found = library(subject.name).call(subject.name, ENTRY[kind_of(output)], arrays | dict(batch.parameters),
                                               SUFFIX[dtype], kernel_tier(dtype, tier), threads=threads)
        except compiled.CompileError as problem:
            raise Unavailable(str(problem)) from None
        with np.errstate(all="ignore"):
            return widened(found[kind_of(output)], subject, output, batch)
