"""Audits: generated kernels, or anyone's, measured against ball arithmetic on the definition."""

from __future__ import annotations

import sys
from types import ModuleType
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


class _Callable(ModuleType):
    """`lossmith.audit` is this package and the public function in one: importing the package would
    otherwise hide the function of the same name."""

    def __call__(self, *arguments: Any, **options: Any) -> Result:
        from lossmith.audit.run import audit

        return audit(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
