"""Generation as a whole: the same bytes whatever the surroundings, and workers that end with their run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Run
from lossmith.codegen import generate as module
from lossmith.codegen.generate import GenerateError, generate


def everything(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_hash_seed_locale_and_processes_change_no_byte(command: Run, tmp_path: Path) -> None:
    names = ("mean_squared_error", "information")
    one = command("generate", *names, "-o", "one", "--jobs", "1", PYTHONHASHSEED="1", LC_ALL="C", TZ="Asia/Tokyo")
    two = command("generate", *names, "-o", "two", "--jobs", "2", PYTHONHASHSEED="4242", LC_ALL="C.UTF-8")
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    first, second = everything(tmp_path / "one"), everything(tmp_path / "two")
    assert first == second
    assert {name.split("/")[0] for name in first} >= {"np", "pt", "cu", "md", "tex"}
    for text in first.values():
        assert str(tmp_path).encode() not in text


@pytest.mark.heavy
def test_the_whole_catalogue_is_the_same_under_any_hash_seed_and_locale(command: Run, tmp_path: Path) -> None:
    one = command("generate", "-o", "one", PYTHONHASHSEED="1", LC_ALL="C", TZ="Asia/Tokyo", PYTHONUTF8="0")
    two = command("generate", "-o", "two", PYTHONHASHSEED="4242", LC_ALL="C.UTF-8", LANG="tr_TR.UTF-8")
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    first, second = everything(tmp_path / "one"), everything(tmp_path / "two")
    assert list(first) == list(second)
    assert [name for name in first if first[name] != second[name]] == []


def test_unknown_targets_are_refused_before_any_work() -> None:
    with pytest.raises(GenerateError, match="there is no target 'fortran'"):
        generate(["mean_squared_error"], targets=["fortran"])


def test_two_units_cannot_write_one_file_differently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "build", lambda task: {"np/same.py": task.unit})
    with pytest.raises(GenerateError, match="both write"):
        generate(["mean_squared_error", "information"], out=tmp_path)
    assert everything(tmp_path) == {}


def test_an_error_in_one_loss_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(task: module.Task) -> dict[str, str]:
        if task.unit == "information":
            raise ArithmeticError("two forms differ")
        return {f"np/{task.unit}.py": "x\n"}

    monkeypatch.setattr(module, "build", build)
    with pytest.raises(ArithmeticError):
        generate(["mean_squared_error", "information"], out=tmp_path)
    assert everything(tmp_path) == {}


def test_errors_cross_between_processes() -> None:
    with pytest.raises(GenerateError, match="nothing: UnknownLoss"):
        module._build_elsewhere(module.Task("nothing", ("np",)))


def test_a_file_that_no_loss_makes_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = generate(["mean_squared_error"], targets=["np"], out=tmp_path).texts
    monkeypatch.setattr(module, "build", lambda task: {})
    found = generate(None, targets=["np"], out=tmp_path, check=True).findings
    assert {s.path for s in found if s.kind == "no loss makes it"} == {
        f"{tmp_path}/{path}" for path in made if not path.endswith("__init__.py")}


def test_the_manifest_describes_the_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "build", lambda task: {})
    result = generate(None, targets=["np"], out=tmp_path)
    units = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["units"]
    assert [u["name"] for u in units] == list(result.units)


def test_the_identities_are_checked_like_any_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "build", lambda task: {})
    generate(None, targets=["np"], out=tmp_path)
    page = tmp_path / "md/identities.md"
    text = page.read_text(encoding="utf-8")
    assert "two classes" in text and (tmp_path / "tex/identities.tex").is_file()
    assert generate(None, targets=["np"], out=tmp_path, check=True).findings == ()
    page.write_text(text.replace("two classes", "three classes"), encoding="utf-8")
    (found,) = generate(None, targets=["np"], out=tmp_path, check=True).findings
    assert (found.path, found.kind) == (page.as_posix(), "edited by hand") and "lossmith generate" in found.remedy


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_workers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    run = subprocess.Popen([sys.executable, "-m", "lossmith", "generate", "--jobs", "2", "-o", "out"], cwd=tmp_path,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(workers := children(run.pid)) < 2 and time.monotonic() < deadline and run.poll() is None:
            time.sleep(0.1)
        assert len(workers) >= 2
        time.sleep(2)  # past the start of the workers
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [pid for pid in workers if alive(pid)]


def children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_file_of_another_origin_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "np").mkdir()
    mine = tmp_path / "np/mean_squared_error.py"
    mine.write_text("mine = True\n", encoding="utf-8")
    with pytest.raises(GenerateError, match="not written by lossmith: move"):
        generate(["mean_squared_error"], targets=["np"], out=tmp_path)
    assert everything(tmp_path) == {"np/mean_squared_error.py": b"mine = True\n"}


def test_nothing_is_written_with_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "build", lambda task: {f"np/{task.unit}.py": "x\n"})
    result = generate(["mean_squared_error"], targets=["np"], out=tmp_path / "out", check=True)
    assert [s.kind for s in result.findings] == ["missing"]
    assert list(tmp_path.iterdir()) == []
