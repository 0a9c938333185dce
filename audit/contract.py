"""The accuracy contract: the most ulps that an output may be off, by dtype, tier and target."""

from __future__ import annotations

import math

from lossmith.derivations.ulp import Format


def bound(output: str, target: str, fmt: Format, tier: str, classes: int | None = None) -> float:
    """The promise for one output. Sums over classes may add what pairwise summation adds, half an
    ulp per halving, where they are done in the storage format."""
    second = output.startswith(("hessian", "hvp"))
    if fmt.bits == 16:
        return 0.501
    if fmt.name == "float64":
        return (4.0 if second else 2.0) + _summing(classes)
    if tier == "accurate":
        return 1.0 if target == "cu" else 0.501
    return (6.0 if second else 4.0) + _summing(classes)


def _summing(classes: int | None) -> float:
    return 0.0 if classes is None or classes <= 10 else 0.5 * math.ceil(math.log2(classes))
