"""`lossmith build`: what is built ahead is found, and carried by wheels; what was not built so is not loaded."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, Run
from lossmith.codegen import ahead, compiled
from test_compiled import texts  # noqa: F401  (a fixture)

pytestmark = pytest.mark.skipif(compiled.compiler() is None, reason="there is no C compiler")
UNIT = "sigmoid_cross_entropy"


@pytest.fixture
def source(texts: tuple[str, str]) -> compiled.Source:  # noqa: F811
    return compiled.Source("one", texts[0].encode(), texts[1].encode())


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ahead, "FOLDER", tmp_path / "built")
    return tmp_path / "built"


def test_what_is_built_ahead_needs_no_compiler(source: compiled.Source, built: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    library = ahead.build(source, "f32", "fast")
    assert library.parent == built and library.stat().st_mode & 0o022 == 0
    monkeypatch.setattr(compiled, "compile_into", lambda *a: pytest.fail("it was built again"))
    assert ahead.build(source, "f32", "fast") == library
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert compiled.obtain(source, "f32", "fast").lossmith_one_loss_f32
    with pytest.raises(compiled.CompileError, match="no C compiler"):
        compiled.obtain(source, "f64", "fast")


def test_what_was_not_built_so_is_not_loaded(source: compiled.Source, built: Path) -> None:
    library = ahead.build(source, "f32", "fast")
    assert ahead.opened(compiled.Source("one", source.source + b"\n", source.header), "f32", "fast") is None
    good = library.read_bytes()
    library.unlink()
    library.write_bytes(good + b"more")
    assert ahead.opened(source, "f32", "fast") is None
    library.unlink()
    library.write_bytes(good)
    library.chmod(0o777)
    assert ahead.opened(source, "f32", "fast") is None
    library.chmod(0o755)
    assert ahead.opened(source, "f32", "fast") is not None
    compiled.record_of(library).unlink()
    assert ahead.opened(source, "f32", "fast") is None


def test_the_command_line(command: Run, tmp_path: Path) -> None:
    unknown = command("build", "nonesuch")
    assert unknown.returncode == 2 and "generated C" in unknown.stderr and unknown.stderr.count("\n") == 1
    if not (ROOT / f"generated/c/{UNIT}.c").exists():
        pytest.skip("the C of the catalogue is not generated")
    off = command("build", UNIT, LOSSMITH_NO_CACHE="1")
    assert off.returncode == 2 and "nothing can be kept" in off.stderr
    done = command("build", UNIT, "--dtype", "float32", "--json", LOSSMITH_CACHE=str(tmp_path / "cache"),
                   LOSSMITH_NO_CACHE="")
    paths = [Path(p) for p in json.loads(done.stdout)["built"]]
    assert done.returncode == 0 and [p.name.rsplit("-", 1)[0] for p in paths] == ["face", UNIT]
    assert all(p.parent == tmp_path / "cache/c" and p.exists() for p in paths)


@pytest.mark.skipif(not (ROOT / f"generated/c/{UNIT}.c").exists(), reason="the C of the catalogue is not generated")
def test_a_wheel_carries_what_was_built(tmp_path: Path) -> None:
    tree, skip = tmp_path / "source", shutil.ignore_patterns("__pycache__", "*.egg-info", ".*", "build", "built")
    for name in ("lossmith", "derivations", "codegen", "audit", "templates", "generated"):
        shutil.copytree(ROOT / name, tree / name, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    for name, path in ((UNIT, tree / f"generated/c/{UNIT}.c"), ("face", tree / "templates/face/face.j2")):
        source = compiled.Source.of(path) if name == UNIT else compiled.Source("face", path.read_bytes(), b"")
        ahead.build(source, "f32", "fast", tree / "generated/c/built")
    script = ("import sys; from setuptools import build_meta as b; "
              "b.build_wheel(sys.argv[1], {'--build-option': ['--plat-name=linux_x86_64']})")
    made = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=tree, capture_output=True, text=True,
                          check=False)
    assert made.returncode == 0, made.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-linux_x86_64.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    script = (f"import lossmith.generated.np.{UNIT} as m, numpy as np; from lossmith.codegen import faces; "
              "print(m.__file__, m.loss(np.zeros(2, 'f4'), np.ones(2, 'f4'))[0], faces.refusals)")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PATH": str(tmp_path), "LOSSMITH_BACKEND": "c"}
    environment.pop("CC", None)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "site") in done.stdout and "0.6931472 {}" in done.stdout
