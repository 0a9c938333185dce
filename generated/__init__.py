"""What lossmith wrote. Each module of `np` and `pt` stands alone, wherever it is copied to; imported from here, it
computes with the C of `c` where that can be built, or was built ahead, and is the same in all else."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any


class _Loader(SourceFileLoader):
    """Loads a module as it is written, then lets its functions use compiled C."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        from lossmith.codegen import faces

        faces.attach(module)


class _Finder(MetaPathFinder):
    """Finds the modules of `np` and `pt`, and nothing else."""

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname.rpartition(".")[0] not in (f"{__name__}.np", f"{__name__}.pt"):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


sys.meta_path.insert(0, _Finder())
