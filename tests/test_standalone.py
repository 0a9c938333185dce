"""Generated modules, copied alone into an empty directory, need NumPy or torch and nothing else."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

GENERATED = ROOT / "generated"
# torch itself imports SymPy and Jinja; its modules must not do so beside it, which their imports tell.
UNWANTED = {"np": ("lossmith", "sympy", "mpmath", "flint", "jinja2", "rich"), "pt": ("lossmith", "flint", "rich")}
NEEDED = {"np": {"numpy"}, "pt": {"torch"}}
# Isolated (-I) Python sees neither its directory nor PYTHONPATH; what must not be needed cannot be found at all.
PRELUDE = """
import importlib, json, pathlib, sys
place, unwanted, given = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in unwanted:
            raise ModuleNotFoundError(name + " is not for generated modules", name=name)
sys.meta_path.insert(0, Nowhere())
sys.path.insert(0, str(place))
modules = {path.stem: importlib.import_module(path.stem) for path in sorted(place.glob("*.py"))}
found = {}
"""
BODY = {"np": """
import numpy as np
for name, module in modules.items():
    loss, gradient = module.loss_gradient(*(np.array(v) for v in given[name]))
    found[name] = [np.ravel(loss).tolist(), np.ravel(gradient).tolist()]
print(json.dumps(found))
""", "pt": """
import torch
torch.set_default_dtype(torch.float64)
for name, module in modules.items():
    tensors = [torch.tensor(v) for v in given[name]]
    loss = getattr(module, name)(tensors[0].requires_grad_(), *tensors[1:], reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), tensors[0])
    found[name] = [loss.ravel().tolist(), gradient.ravel().tolist()]
print(json.dumps(found))
"""}


@pytest.mark.parametrize("target", NEEDED)
def test_generated_modules_import_what_they_need_and_nothing_else(target: str) -> None:
    for path in sorted((GENERATED / target).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
            assert {n.split(".")[0] for n in names} <= NEEDED[target] | sys.stdlib_module_names, path


def arguments(unit: dict[str, Any]) -> list[Any]:
    """Values inside every domain of a unit, as the manifest describes it."""
    return [_values(a) for a in unit["arguments"] if a["role"] != "parameter"]


def _values(argument: dict[str, Any]) -> Any:
    if argument["role"] == "label":
        return [1, 0]
    value = {"(-inf, 0]": -1.0, "[-inf, 0]": -1.0, "{0, 1}": 1.0}.get(argument["domain"], 0.5)
    return [[value, value], [value, value]] if argument["axis"] == "class" else [value, value]


def alone(target: str, place: Path) -> dict[str, list[list[float]]]:
    """The loss and the gradient of every module of a target, each on its own."""
    place.mkdir()
    for path in sorted((GENERATED / target).glob("*.py")):
        if path.name != "__init__.py":
            shutil.copy(path, place / path.name)
    units = json.loads((GENERATED / "manifest.json").read_text(encoding="utf-8"))["units"]
    given = {u["name"]: arguments(u) for u in units}
    said = subprocess.run([sys.executable, "-I", "-c", PRELUDE + BODY[target], str(place),
                           json.dumps(UNWANTED[target]), json.dumps(given)],
                          cwd=place, capture_output=True, text=True, timeout=200, check=False)
    assert said.returncode == 0, said.stderr
    found: dict[str, list[list[float]]] = json.loads(said.stdout)
    assert list(found) == sorted(u["name"] for u in units)
    return found


def test_copied_alone_they_run_and_agree(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    by_numpy, by_torch = alone("np", tmp_path / "np"), alone("pt", tmp_path / "pt")
    for unit, values in by_numpy.items():
        for ours, theirs in zip(values, by_torch[unit], strict=True):
            assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-300), unit
