"""For test suites: assert that a function is as accurate as it should be.

    from lossmith.testing import assert_accurate

    def test_my_loss():
        assert_accurate(my_loss, truth="sigmoid_cross_entropy", ulp=4)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossmith.audit.result import Result

__all__ = ["assert_accurate"]


def assert_accurate(function: str | Callable[..., Any], truth: str, ulp: float = 4.0, *,
                    domain: Mapping[str, str] | None = None, where: Sequence[str] = (), dtype: str = "float32",
                    outputs: Sequence[str] | None = None, **options: Any) -> Result:
    """Assert that `function` is within `ulp` of the exact values, and has no wrong NaN, infinity, sign or zero.

    function: takes and returns NumPy arrays or torch tensors, one loss per example (or module:name).
    truth: a loss of the catalogue, or a formula over `domain` (and the relations `where`).
    dtype: float32, float64, float16 or bfloat16. outputs: which to hold to it, as ("loss", "gradient_x");
    default: the loss, and for torch functions its gradients and second derivatives. Other options are
    those of lossmith.audit. Near a root of what is measured, an error that half an ulp of the inputs
    explains is no failure. Returns the result; raises AssertionError with the worst input in hex.
    """
    from lossmith.audit.result import Result
    from lossmith.audit.run import audit

    found = audit(function, truth=truth, domain=domain, where=where, dtype=dtype, **options)
    if outputs is not None:
        known = {r.output for r in found.reports} | {f.output for f in found.failures}
        for name in outputs:
            if name not in known:
                raise ValueError(f"{truth} has no output '{name}' here: it has {', '.join(sorted(known))}")
        found = Result(tuple(r for r in found.reports if r.output in outputs),
                       tuple(f for f in found.failures if f.output in outputs), found.not_run)
    __tracebackhide__ = True
    found.assert_below(ulp)
    return found
