"""The wheel holds everything, and works from outside the checkout."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT
from lossmith.codegen.generate import generate

FOLDERS = {"lossmith": "", "derivations": "derivations", "codegen": "codegen", "audit": "audit",
           "templates": "templates", "generated": "generated"}
DATA = {".py", ".j2", ".c", ".cu", ".h", ".cuh", ".md", ".tex", ".json", ".typed"}


def committed_layout() -> set[str]:
    """The files that an installed lossmith must have, by their place in it."""
    wanted = set()
    for folder, inside in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and (path.suffix in DATA or path.name == "py.typed"):
                wanted.add((Path("lossmith") / inside / path.relative_to(ROOT / folder)).as_posix())
    return wanted


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the working tree, built apart from it, without a network."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "build")
    source.mkdir()
    for name in (*FOLDERS, "pyproject.toml", "README.md", "LICENSE"):
        here = ROOT / name
        shutil.copytree(here, source / name, ignore=skip) if here.is_dir() else shutil.copy(here, source / name)
    build = subprocess.run([sys.executable, "-c", "import sys; from setuptools import build_meta as b; "
                            "b.build_wheel(sys.argv[1])", str(place)],
                           cwd=source, capture_output=True, text=True, check=False)
    assert build.returncode == 0, build.stderr
    return next(place.glob("*.whl"))


def test_the_wheel_holds_every_module_and_template(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    assert committed_layout() - held == set()


def test_templates_are_held_at_every_depth(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {"lossmith/templates/np/row.py.j2", "lossmith/templates/cu/device/rows.j2",
            "lossmith/templates/cu/host/cuda_on_host.h"} <= held


def test_nothing_generic_leaks_into_site_packages(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"lossmith"}


def test_every_subpackage_is_listed() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"])
    there = {("lossmith." + p.parent.relative_to(ROOT).as_posix().replace("/", ".")).removesuffix(".lossmith")
             for folder in FOLDERS for p in (ROOT / folder).rglob("__init__.py")}
    assert there - listed == set()


def environment(wheel: Path, place: Path) -> tuple[Path, Path]:
    """A virtual environment that has the wheel, and what lossmith needs from here: its Python, and where it lies."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    python = place / "bin/python"
    site = Path(subprocess.run([str(python), "-c", "import site; print(site.getsitepackages()[0])"],
                               capture_output=True, text=True, check=True).stdout.strip())
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # The packages are lent, without the .pth files among which lossmith itself may be an editable one.
    (site / "lent.pth").write_text("\n".join(site_of(name) for name in ("numpy", "sympy")) + "\n", encoding="utf-8")
    return python, site / "lossmith"


def site_of(package: str) -> str:
    found = importlib.util.find_spec(package)
    assert found is not None and found.origin is not None
    return str(Path(found.origin).parent.parent)


def lossmith(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(python), "-m", "lossmith", *arguments], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": ""}, timeout=300, check=False)


def test_the_wheel_works_from_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    python, _ = environment(wheel, tmp_path / "venv")
    for arguments in (["list"], ["derive", "mean_squared_error"], ["generate", "mean_squared_error", "-o", "out"]):
        said = lossmith(python, tmp_path, *arguments)
        assert said.returncode == 0, said.stderr
        assert str(ROOT) not in said.stdout
    here = generate(["mean_squared_error"], out=tmp_path / "out", check=True)
    assert [p.split("/")[0] for p in here.texts] == ["np", "pt", "c", "c", "cu", "cu", "md", "tex"]
    assert here.findings == (), "the installed lossmith writes other bytes than the checkout"


def test_check_tells_a_formula_from_a_template_from_an_edit(wheel: Path, tmp_path: Path) -> None:
    python, site = environment(wheel, tmp_path / "venv")
    names = ("mean_squared_error", "information")
    assert lossmith(python, tmp_path, "generate", *names, "-o", "out").returncode == 0
    loss = site / "derivations/losses/mean_squared_error.py"
    loss.write_text(loss.read_text(encoding="utf-8").replace("** 2", "** 4"), encoding="utf-8")
    template = site / "templates/np/checks.py.j2"
    template.write_text(template.read_text(encoding="utf-8") + "{# more #}", encoding="utf-8")
    edited = tmp_path / "out/cu/information.cu"
    edited.write_text(edited.read_text(encoding="utf-8") + "// faster\n", encoding="utf-8")
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*.*")}
    said = lossmith(python, tmp_path, "generate", *names, "-o", "out", "--check", "--json")
    assert said.returncode == 1, said.stderr
    found = {s["path"].removeprefix("out/"): (s["why"], s["type"]) for s in json.loads(said.stdout)["stale"]}
    one, two = (f"lossmith generate {name} -o out" for name in names)
    assert found == {
        "np/mean_squared_error.py": ("formula changed, template changed", one),
        **dict.fromkeys(("pt/mean_squared_error.py", "c/mean_squared_error.c",
                         "c/mean_squared_error.h", "cu/mean_squared_error.cu", "cu/mean_squared_error.h",
                         "md/mean_squared_error.md", "tex/mean_squared_error.tex"), ("formula changed", one)),
        "np/information.py": ("template changed", two),
        "cu/information.cu": (
            "edited by hand", f"move the edit to derivations/losses/information.py or to the template, then {two}"),
    }
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*.*")} == before


def test_the_version_is_one() -> None:
    import lossmith

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == lossmith.__version__
    assert f"## {lossmith.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_torch_is_pinned_where_tests_need_it() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert "torch==2.13.0" in extras["test"]
