"""Imports point one way, SymPy stays left of lowering, and importing a face loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("derivations", "codegen", "audit", "lossmith")  # each may import from those before it
# Right of lowering there are no formulas of SymPy's any more, only terms.
KNOWS_SYMPY = {"derivations"}
HEAVY = ("sympy", "numpy", "torch", "flint", "jinja2", "rich", "scipy")


def sources(layer: str) -> list[Path]:
    return sorted(p for p in (ROOT / layer).rglob("*.py") if "__pycache__" not in p.parts)


def imports(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Every module that a file names in an import: line, name, whether at the top level of the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(n) for n in tree.body}
    for n in ast.walk(tree):
        if isinstance(n, ast.Import):
            yield from ((n.lineno, a.name, id(n) in top) for a in n.names)
        elif isinstance(n, ast.ImportFrom):
            assert n.level == 0, f"{path}:{n.lineno}: imports are absolute"
            for a in n.names:
                yield n.lineno, f"{n.module}.{a.name}", id(n) in top


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_one_way(layer: str) -> None:
    later = LAYERS[LAYERS.index(layer) + 1:]
    wrong = []
    for path in sources(layer):
        for line, name, _ in imports(path):
            parts = name.split(".")
            if parts[0] in LAYERS[:-1]:
                wrong.append(f"{path}:{line}: {name} without lossmith. in front makes a second copy of every class")
            elif name.startswith("lossmith.") and name != "lossmith.__version__":
                owner = parts[1] if parts[1] in LAYERS[:-1] else "lossmith"
                if owner in later:
                    wrong.append(f"{path}:{line}: {layer} must not import {name}")
    assert wrong == []


def test_nothing_right_of_lowering_knows_sympy() -> None:
    wrong = [f"{path}:{line}" for layer in LAYERS if layer not in KNOWS_SYMPY for path in sources(layer)
             for line, name, _ in imports(path) if name.split(".")[0] == "sympy"]
    assert wrong == []


def test_only_the_search_for_truth_knows_torch() -> None:
    wrong = [f"{path}:{line}" for layer in ("derivations", "codegen", "lossmith") for path in sources(layer)
             for line, name, _ in imports(path) if name.split(".")[0] == "torch"]
    assert wrong == []


@pytest.mark.parametrize("module", ["lossmith", "lossmith.cli", "lossmith.commands", "lossmith.derivations",
                                    "lossmith.codegen", "lossmith.codegen.provenance", "lossmith.derivations.catalogue",
                                    "lossmith.derivations.terms", "lossmith.codegen.kernel", "lossmith.audit"])
def test_importing_loads_nothing_heavy(module: str, tmp_path: Path) -> None:
    script = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert found.stdout.strip() == "[]"


def test_every_package_of_the_layout_says_what_it_is_for() -> None:
    for layer in (*LAYERS, "tests"):
        for path in sources(layer):
            doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            assert doc, f"{path} does not say in its first line what it is for"
