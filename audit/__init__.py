"""Audits: generated kernels, or anyone's, measured against ball arithmetic on the definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["AuditFailure", "Result", "audit"]

if TYPE_CHECKING:
    from lossmith.audit.result import AuditFailure, Result
    from lossmith.audit.run import audit


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "audit":
        return import_module("lossmith.audit.run").audit
    if name in __all__:
        return getattr(import_module("lossmith.audit.result"), name)
    raise AttributeError(f"lossmith.audit has no '{name}': it has {', '.join(__all__)}")
