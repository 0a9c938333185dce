"""Building C into a private folder: what is kept, what is refused, what is said when there is no compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lossmith.codegen import compiled
from lossmith.codegen.kernel import Bundle, Elementwise, Input, Origin, Program
from lossmith.codegen.targets import c
from lossmith.derivations.terms import add, const, var

pytestmark = pytest.mark.skipif(compiled.compiler() is None, reason="there is no C compiler")
ONE = np.ones(1)


@pytest.fixture(scope="module")
def texts() -> tuple[str, str]:
    x = Input("x", "scalar", "input", "real")
    kernel = Elementwise("one", (x,), Program((), {"loss": add(var("x"), const(1))}))
    origin = Origin("one", "one", "one", "none", "none", "", {}, {}, (), "", "")
    source, header = c.render(Bundle(origin, kernel, None, "x", ("x",)))
    return source.body, header.body


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LOSSMITH_NO_CACHE", raising=False)
    monkeypatch.setenv("LOSSMITH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "c"


def run(texts: tuple[str, str]) -> float:
    library = compiled.load_text("one", *texts)
    return float(library.call("one", "loss", {"x": ONE})["loss"][0])


def test_a_build_is_kept_and_used_again(texts: tuple[str, str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(texts) == 2.0
    assert cache.stat().st_mode & 0o777 == 0o700
    assert sorted(p.suffix for p in cache.iterdir()) == [".sha256", ".so"]
    monkeypatch.setattr(compiled, "compile_into", lambda *a: pytest.fail("it was built again"))
    assert run(texts) == 2.0


def _plant(library: Path) -> None:
    library.unlink()  # a loaded library may not be changed in its place
    library.write_bytes(b"planted")


def test_a_planted_or_changed_library_is_built_anew(texts: tuple[str, str], cache: Path) -> None:
    run(texts)
    library = next(cache.glob("*.so"))
    good = library.read_bytes()
    _plant(library)
    assert run(texts) == 2.0 and next(cache.glob("*.so")).read_bytes() == good
    next(cache.glob("*.sha256")).unlink()
    _plant(library)
    assert run(texts) == 2.0 and library.read_bytes() == good


def test_a_link_or_a_file_open_to_others_is_not_loaded(texts: tuple[str, str], cache: Path) -> None:
    run(texts)
    library = next(cache.glob("*.so"))
    library.chmod(0o777)
    with pytest.raises(compiled.CompileError, match="not what was built here"):
        compiled.open_library(library)
    library.chmod(0o700)
    elsewhere = cache.parent / "elsewhere.so"
    library.rename(elsewhere)
    library.symlink_to(elsewhere)
    with pytest.raises(compiled.CompileError, match="not what was built here"):
        compiled.open_library(library)
    assert run(texts) == 2.0 and not library.is_symlink()


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o750])
def test_a_folder_open_to_others_is_left_alone(texts: tuple[str, str], cache: Path, mode: int) -> None:
    cache.mkdir(parents=True)
    cache.chmod(mode)
    assert compiled.cache_folder() != cache
    assert run(texts) == 2.0 and not list(cache.iterdir())
    with pytest.raises(compiled.CompileError, match="open to other users"):
        compiled.build(compiled.Source("one", texts[0].encode(), texts[1].encode()), folder=cache)


def test_a_folder_in_one_that_anybody_can_change_is_left_alone(texts: tuple[str, str], cache: Path) -> None:
    cache.mkdir(mode=0o700, parents=True)
    cache.parent.chmod(0o777)
    assert compiled.cache_folder() != cache
    cache.parent.chmod(0o755)
    assert compiled.cache_folder() == cache


def test_a_link_in_the_place_of_the_folder_is_left_alone(cache: Path) -> None:
    cache.parent.mkdir()
    (cache.parent / "other").mkdir(mode=0o700)
    cache.symlink_to(cache.parent / "other")
    assert compiled.cache_folder() != cache


@pytest.mark.skipif(os.getuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_cache_is_left_alone(texts: tuple[str, str], cache: Path) -> None:
    cache.mkdir(mode=0o700, parents=True)
    cache.chmod(0o500)
    assert compiled.cache_folder() != cache and run(texts) == 2.0


def test_a_cache_that_cannot_be_made_is_left_alone(texts: tuple[str, str], tmp_path: Path,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOSSMITH_CACHE", str(tmp_path / "file"))
    assert run(texts) == 2.0


def test_without_a_compiler(texts: tuple[str, str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(cache))
    with pytest.raises(compiled.CompileError, match="install gcc or clang, or name one in CC"):
        run(texts)
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(compiled.CompileError, match="CC names 'no-such-compiler', which is not here"):
        run(texts)


@pytest.mark.parametrize(("body", "says"), [
    ("echo 'x.c:1: error: no' >&2; exit 1", "failed: x.c:1: error: no"), ("exit 0", "it wrote nothing"),
    ("exit 3", "ended with 3 and said nothing")])
def test_a_compiler_that_fails(texts: tuple[str, str], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                               body: str, says: str) -> None:
    program = tmp_path / "mycc"
    program.write_text(f"#!/bin/sh\ncase \"$*\" in *--version*) echo mine; exit 0;; esac\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("CC", str(program))
    with pytest.raises(compiled.CompileError, match=says):
        run(texts)
    assert not list(cache.iterdir())


def test_cc_may_have_options(texts: tuple[str, str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = compiled.compiler()
    assert found is not None
    monkeypatch.setenv("CC", f"{found[0]} -g0")
    assert compiled.compiler() == [found[0], "-g0"] and run(texts) == 2.0


def test_the_key_is_of_all_that_matters(texts: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    source = compiled.Source("one", texts[0].encode(), texts[1].encode())
    first = compiled._key(source, ["cc"], ["-O3"])
    monkeypatch.setattr(compiled, "_version", lambda command: b"another")
    other = compiled._key(source, ["cc"], ["-O3"])
    monkeypatch.setattr(compiled, "_processor", lambda: b"another")
    keys = {first, other, compiled._key(source, ["cc"], ["-O3"]), compiled._key(source, ["cc"], ["-O2"]),
            compiled._key(compiled.Source("one", b"", source.header), ["cc"], ["-O3"])}
    assert len(keys) == 5


def test_two_processes_build_at_once(texts: tuple[str, str], cache: Path, tmp_path: Path) -> None:
    for name, text in zip(("one.c", "one.h"), texts, strict=True):
        (tmp_path / name).write_text(text)
    script = ("import sys, numpy; from lossmith.codegen import compiled; "
              "print(compiled.load(sys.argv[1]).call('one', 'loss', {'x': numpy.ones(2)})['loss'][0])")
    runs = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "one.c")], stdout=subprocess.PIPE, text=True)
            for _ in range(2)]
    assert [r.communicate(timeout=120)[0].strip() for r in runs] == ["2.0", "2.0"]
    assert sorted(p.suffix for p in cache.iterdir()) == [".sha256", ".so"]


def test_a_name_is_a_name(texts: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="does not name a unit"):
        compiled.load_text("../one", *texts)
