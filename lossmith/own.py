"""Functions of the vocabulary that no loss is named after, as kernels of our own: derived, compiled, and called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lossmith.audit.adapters import kernel_arrays, widened
from lossmith.audit.samples import Batch
from lossmith.audit.subject import Subject
from lossmith.derivations import catalogue, parser
from lossmith.derivations.ulp import Array


def is_vocabulary(name: str) -> bool:
    """Whether a function of one argument, such as softplus, is meant, and not a loss."""
    known = parser.FUNCTIONS.get(name)
    return known is not None and known[1] == 1 and name not in catalogue.unit_names()


@dataclass
class CompiledAdapter:
    """Stable forms of a formula's outputs, compiled for NumPy when first asked for."""

    name: str = "np"
    tiers: tuple[str, ...] = ("fast", "accurate")
    kept: dict[tuple[str, str, str], Callable[..., Any]] = field(default_factory=dict, repr=False)

    def offers(self, subject: Subject, output: str, batch: Batch, dtype: str = "float32", tier: str = "fast") -> bool:
        return not subject.is_row

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"kept": {}}  # each process compiles its own

    def call(self, subject: Subject, output: str, batch: Batch, dtype: str, tier: str) -> Array:
        key = output, dtype, tier
        if key not in self.kept:
            self.kept[key] = _compiled(subject, output, dtype, tier)
        arrays = kernel_arrays(subject, batch, dtype)
        with np.errstate(all="ignore"):
            values = self.kept[key](**dict(zip([a.name for a in subject.given], arrays, strict=True)))
        return widened(values, subject, output, batch)


def _compiled(subject: Subject, output: str, dtype: str, tier: str) -> Callable[..., Any]:
    from lossmith.audit.findings import order_of
    from lossmith.derivations.derive import derive
    from lossmith.stabilized import stabilized

    return stabilized(derive(subject.unit, order_of(subject, output)), subject.unit).compile("np", dtype, tier)
