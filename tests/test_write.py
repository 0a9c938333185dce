"""Atomic writing: whole or not at all, inside the directory that was named, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lossmith.codegen import write
from lossmith.codegen.write import WriteError, write_all


def everything(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_files_and_directories_are_made(tmp_path: Path) -> None:
    assert write_all(tmp_path / "out", {"np/a.py": "a\n", "b.txt": "σ\n"}) == ["np/a.py", "b.txt"]
    assert everything(tmp_path) == ["out/b.txt", "out/np/a.py"]
    assert (tmp_path / "out/b.txt").read_bytes() == "σ\n".encode()


def test_what_is_up_to_date_is_left_alone(tmp_path: Path) -> None:
    write_all(tmp_path, {"a": "1", "b": "2"})
    os.utime(tmp_path / "a", (0, 0))
    assert write_all(tmp_path, {"a": "1", "b": "3"}) == ["b"]
    assert (tmp_path / "a").stat().st_mtime == 0


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "", "a\\..\\x"])
def test_nothing_is_written_outside(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    with pytest.raises(WriteError):
        write_all(root, {"fine": "1", path: "x"})
    assert everything(tmp_path) == []


def test_a_link_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    (root / "np").symlink_to(other)
    with pytest.raises(WriteError, match="leads out"):
        write_all(root, {"np/a.py": "x"})
    (other / "mine").write_text("mine", encoding="utf-8")
    (root / "a.py").symlink_to(other / "mine")
    write_all(root, {"a.py": "new"})
    assert (other / "mine").read_text(encoding="utf-8") == "mine"
    assert (root / "a.py").read_text(encoding="utf-8") == "new" and not (root / "a.py").is_symlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for the superuser")
def test_an_unwritable_directory_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(WriteError, match="-o") as caught:
            write_all(tmp_path, {"a": "1"})
    finally:
        tmp_path.chmod(0o700)
    assert "\n" not in str(caught.value) and everything(tmp_path) == []


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "np").write_text("mine", encoding="utf-8")
    with pytest.raises(WriteError, match="not a directory"):
        write_all(tmp_path, {"np/a.py": "1"})
    (tmp_path / "d").mkdir()
    with pytest.raises(WriteError, match="is a directory"):
        write_all(tmp_path, {"d": "1"})
    assert everything(tmp_path) == ["np"]


def test_no_file_changes_unless_all_could_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(tmp_path, {"a": "old", "b": "old"})
    real = write._write

    def full(handle: int, data: bytes) -> None:
        if data == b"second":
            raise OSError(28, "No space left on device")
        real(handle, data)

    monkeypatch.setattr(write, "_write", full)
    with pytest.raises(WriteError, match="no space left"):
        write_all(tmp_path, {"a": "first", "b": "second"})
    assert everything(tmp_path) == ["a", "b"]
    assert (tmp_path / "a").read_text(encoding="utf-8") == "old"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    kept = os.umask(0o027)
    try:
        write_all(tmp_path, {"a": "1"})
    finally:
        os.umask(kept)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


HALF = """
import os, pathlib, sys, time
from lossmith.codegen import write
write._write = lambda handle, data: (os.write(handle, data[:2]), print("ready", flush=True), time.sleep(60))
write.write_all(pathlib.Path(sys.argv[1]), {"np/a.py": "new text"})
"""


def test_a_run_that_is_killed_leaves_the_old_file_and_its_orphan_is_swept(tmp_path: Path) -> None:
    write_all(tmp_path, {"np/a.py": "old"})
    with subprocess.Popen([sys.executable, "-c", HALF, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        write_all(tmp_path, {"np/b.py": "b"})  # the other run lives: its temporary is left alone
        assert len(everything(tmp_path)) == 3
        child.kill()
    assert (tmp_path / "np/a.py").read_text(encoding="utf-8") == "old"
    write_all(tmp_path, {"np/b.py": "b"})
    assert everything(tmp_path) == ["np/a.py", "np/b.py"]


def test_two_runs_at_once_both_end_well(tmp_path: Path) -> None:
    script = ("import pathlib, sys\nfrom lossmith.codegen.write import write_all\n"
              "for i in range(60):\n"
              "    write_all(pathlib.Path(sys.argv[1]), {f'f{j}': sys.argv[2]*(i+1) for j in range(3)})")
    runs = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), mark], stderr=subprocess.PIPE)
            for mark in "ab"]
    deadline = time.monotonic() + 60
    for run in runs:
        _, error = run.communicate(timeout=max(1, deadline - time.monotonic()))
        assert run.returncode == 0, error.decode()
    for name in everything(tmp_path):
        assert (tmp_path / name).read_text(encoding="utf-8") in ("a" * 60, "b" * 60)
    assert everything(tmp_path) == ["f0", "f1", "f2"]


def test_a_temporary_that_another_run_swept_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep falls between the making of a temporary and its lock, once."""
    make, calls = write.tempfile.mkstemp, []

    def swept_at_once(*arguments: object) -> tuple[int, str]:
        handle, name = make(*arguments)
        calls.append(name)
        if len(calls) == 1:
            assert write.sweep([tmp_path]) == [Path(name)]
        return handle, name

    monkeypatch.setattr(write.tempfile, "mkstemp", swept_at_once)
    assert write.write_all(tmp_path, {"f": "text"}) == ["f"]
    assert len(calls) == 2 and everything(tmp_path) == ["f"]
