"""What compilers make of generated C: the same bits, nothing that changes how the process rounds, and code that any
processor of a kind runs."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from lossmith.codegen import ahead, compiled, faces
from lossmith.codegen.generate import generate

pytestmark = pytest.mark.skipif(compiled.compiler() is None, reason="there is no C compiler")
UNIT = "sigmoid_cross_entropy"
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
X86 = platform.machine() in ("x86_64", "AMD64")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = ROOT / "generated" / "c" / f"{UNIT}.c"
    if kept.exists():
        return kept
    folder = tmp_path_factory.mktemp("compilers")
    generate((UNIT,), ("c",), folder, False, 1)
    return folder / "c" / f"{UNIT}.c"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("built")


def _values(source: Path, folder: Path, dtype: str, flags: tuple[str, ...]) -> bytes:
    ends = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 3e38]
    x = np.concatenate([np.linspace(-110, 110, 20001), ends])
    z = np.concatenate([np.linspace(0, 1, 20001), np.full(len(ends), 0.25)])
    with np.errstate(all="ignore"):
        found = compiled.load(source, folder, flags).call(UNIT, "loss_gradient", {"x": x, "z": z}, dtype, threads=1)
    return b"".join(np.where(np.isnan(a), a.dtype.type(1234.5), a).tobytes() for a in found.values())


@pytest.mark.parametrize("name", COMPILERS)
@pytest.mark.parametrize("dtype", ["f32", pytest.param("f64", marks=pytest.mark.heavy)])
def test_the_bits_are_the_same_at_every_level(name: str, dtype: str, source: Path, folder: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the first compiler at -O3."""
    monkeypatch.setenv("CC", COMPILERS[0])
    wanted = _values(source, folder, dtype, ())
    monkeypatch.setenv("CC", name)
    for flags in (("-O1",), ("-O2",), ("-O3",)):
        assert _values(source, folder, dtype, flags) == wanted, flags


@pytest.mark.skipif(not X86, reason="of generations of x86")
@pytest.mark.parametrize("name", COMPILERS)
def test_the_bits_are_the_same_without_avx(name: str, source: Path, folder: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """Where products are not fused with sums: a processor that cannot, or LOSSMITH_NOT_FUSED."""
    monkeypatch.setenv("CC", name)
    assert _values(source, folder, "f32", ("-march=x86-64",)) == _values(source, folder, "f32",
                                                                        ("-DLOSSMITH_NOT_FUSED",))


CONTROL = "unsigned control(void) { return __builtin_ia32_stmxcsr() & ~0x3fu; }"  # without the flags that were raised
LOADED = """
import ctypes, sys, numpy as np
control = ctypes.CDLL(sys.argv[1]).control
before = control()
from lossmith.codegen import compiled, faces
faces.helpers()
compiled.load(sys.argv[2]).call(sys.argv[3], "loss_gradient", {"x": np.ones(9), "z": np.ones(9)}, threads=1)
print(control() == before, np.float32(1e-39) * np.float32(0.5) != 0, faces.refusals)
"""


@pytest.mark.skipif(not X86, reason="the register is one of x86")
@pytest.mark.parametrize("words", ["", "-ffast-math", pytest.param("-Ofast", marks=pytest.mark.heavy),
                                   pytest.param("-funsafe-math-optimizations", marks=pytest.mark.heavy)])
@pytest.mark.parametrize("name", COMPILERS)
def test_the_process_rounds_as_before(name: str, words: str, source: Path, tmp_path: Path) -> None:
    """Even where $CC asks for what is linked with a start that flushes small numbers to zero."""
    (tmp_path / "control.c").write_text(CONTROL)
    subprocess.run([name, "-shared", "-fPIC", "control.c", "-o", "control.so"], cwd=tmp_path, check=True)
    done = subprocess.run([sys.executable, "-c", LOADED, str(tmp_path / "control.so"), str(source), UNIT],
                          capture_output=True, text=True, timeout=120, check=False,
                          env={**os.environ, "CC": f"{name} {words}", "LOSSMITH_CACHE": str(tmp_path)})
    assert done.stdout == "True True {}\n", done.stderr


@pytest.mark.skipif(not X86 or shutil.which("objdump") is None, reason="needs x86 and objdump")
def test_a_processor_without_avx_runs_what_was_built_ahead(source: Path, tmp_path: Path) -> None:
    """Beside the versions for newer processors there is one that holds no instruction of theirs."""
    for made in (compiled.Source.of(source), faces.helper_source()):
        library = ahead.build(made, "f32", "fast", tmp_path)
        said = subprocess.run(["objdump", "-d", "--no-show-raw-insn", str(library)], capture_output=True, text=True,
                              check=True).stdout
        functions = re.findall(r"^[0-9a-f]+ <([^>]+)>:\n((?:.+\n)*)", said, re.MULTILINE)
        plain = [(name, body) for name, body in functions if "arch_x86_64_v" not in name]
        newer = [name for name, body in plain if re.search(r"\t(v[a-z0-9]+ .*%[xyz]mm|k[a-z]+[bwdq] )", body)]
        assert functions and plain and not newer
        assert any("mulps" in body for _, body in plain)  # it is there, and computes several numbers at a time


def test_a_library_of_another_processor_is_not_used(source: Path, folder: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    first = compiled.build(compiled.Source.of(source), [("f32", "fast")], folder)
    monkeypatch.setattr(compiled, "_processor", lambda: b"one without AVX")
    assert compiled.build(compiled.Source.of(source), [("f32", "fast")], folder) != first


def test_without_python_h_the_faces_call_through_ctypes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not there, and where it is there but cannot be compiled."""
    made = faces.helper_source()
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "Python.h").write_text("#error of another world\n")
    private = tmp_path / "private"
    for flags in ((), ("-DLOSSMITH_PYTHON", f"-I{tmp_path / 'include'}")):
        plain = compiled.Source(made.name, made.source, made.header, flags)
        library = compiled.obtain(plain, "f32", "fast", private)
        call = faces.caller(library)
        assert isinstance(call, ctypes._CFuncPtr)
    if made.flags:
        call = faces.caller(compiled.obtain(made, "f32", "fast", private))
        assert type(call).__name__ == "builtin_function_or_method"
