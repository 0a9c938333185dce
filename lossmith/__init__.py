"""lossmith: from the formula of a loss to stable forms, their derivation, and kernels.

    import lossmith as lm
    lm.derive("sigmoid_cross_entropy", of="gradient")
    lm.stabilize("log(1 + exp(x)) - x*z", domain={"x": "real", "z": "[0,1]"})
    lm.generate(["sigmoid_cross_entropy"], targets=["np", "pt", "cu"], out="generated")
    lm.audit("sigmoid_cross_entropy", target="np", dtype="float32")

Importing this imports nothing else: each function loads what it needs when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "audit", "derive", "generate", "stabilize"]

if TYPE_CHECKING:
    from lossmith.api import audit, derive, stabilize
    from lossmith.codegen.generate import generate


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("lossmith.codegen.generate" if name == "generate" else "lossmith.api"), name)
    raise AttributeError(f"lossmith has no '{name}': it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
