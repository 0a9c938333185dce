"""The wheel holds everything, and works from outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

FOLDERS = {"lossmith": "", "derivations": "derivations", "codegen": "codegen", "audit": "audit",
           "templates": "templates", "generated": "generated"}
DATA = {".py", ".j2", ".cu", ".h", ".cuh", ".md", ".tex", ".json", ".typed"}


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


def test_nothing_generic_leaks_into_site_packages(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"lossmith"}


def test_every_subpackage_is_listed() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"])
    there = {("lossmith." + p.parent.relative_to(ROOT).as_posix().replace("/", ".")).removesuffix(".lossmith")
             for folder in FOLDERS for p in (ROOT / folder).rglob("__init__.py")}
    assert there - listed == set()


def test_the_wheel_works_from_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.meta_path[:] = [f for f in sys.meta_path "
        "if 'editable' not in repr(f).lower()]\n"
        "import lossmith; assert lossmith.__file__.startswith(sys.argv[1]), lossmith.__file__\n"
        "from lossmith.cli import main; sys.exit(main(sys.argv[2:]))"
    )
    for arguments in (["list"], ["derive", "mean_squared_error"],
                      ["generate", "mean_squared_error", "--target", "np", "--target", "cu", "-o", "out"]):
        said = subprocess.run([sys.executable, "-c", script, str(tmp_path / "site"), *arguments], cwd=tmp_path,
                              capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""}, check=False)
        assert said.returncode == 0, said.stderr
    assert (tmp_path / "out/np/mean_squared_error.py").is_file()


def test_the_version_is_one() -> None:
    import lossmith

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == lossmith.__version__
    assert f"## {lossmith.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_torch_is_pinned_where_tests_need_it() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert "torch==2.13.0" in extras["test"]
