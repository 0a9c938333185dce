"""Derivations kept between runs: the same answer, private, and no entry believed that is not as it was written."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from lossmith.derivations import kept, plain, private
from lossmith.derivations.derivation import Derivation

from lossmith.formula import formula_unit

FORMULA = "log(1 + exp(x))"
ANSWERS: dict[object, Derivation] = {}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache that takes what is found, even while sources are being edited."""
    monkeypatch.setenv(private.VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(private.OFF, raising=False)
    monkeypatch.setattr(kept, "_STARTED", float("inf"))
    yield tmp_path / "cache" / "derivations"


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The formulas that were searched, one for each time; the search itself runs once."""
    from lossmith.derivations import derive as engine

    done: list[str] = []
    real: Callable[..., Derivation] = engine.derive

    def run(unit: object, order: tuple[str, ...] = (), dtypes: object = None) -> Derivation:
        done.append("/".join(order))
        key = unit.formula, unit.arguments, order, dtypes  # type: ignore[attr-defined]
        if key not in ANSWERS:
            ANSWERS[key] = real(unit, order, dtypes)
        return ANSWERS[key]

    monkeypatch.setattr(engine, "derive", run)
    return done


def asked(domain: str = "x=real", **given: object) -> Derivation:
    return kept.derive(formula_unit(FORMULA, domain), **given)  # type: ignore[arg-type]


def entry(folder: Path) -> Path:
    (found,) = folder.glob("*.json")
    return found


def test_a_second_question_is_answered_without_a_search(folder: Path, searches: list[str]) -> None:
    first, second = asked(), asked()
    assert searches == [""]
    assert second == first
    assert second.form.term is first.form.term
    assert second.to_markdown() == first.to_markdown()


def test_another_question_is_another_entry(folder: Path, searches: list[str]) -> None:
    asked()
    asked("x=(0,inf)")
    asked(dtypes=("float64",))
    assert searches == ["", "", ""]
    assert len(list(folder.glob("*.json"))) == 3


def test_what_was_declared_before_makes_no_other_question(folder: Path, searches: list[str]) -> None:
    unit = formula_unit(FORMULA, "x=real")
    kept.derive(unit)
    kept.derive(replace(unit, arguments=tuple(replace(a, order=a.order + 7) for a in unit.arguments)))
    assert searches == [""]


def test_other_sources_are_another_question(folder: Path, searches: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked()
    monkeypatch.setattr(kept, "_digest", lambda: "other")
    asked()
    assert searches == ["", ""]


def test_sources_edited_since_they_were_loaded_keep_nothing(folder: Path, searches: list[str],
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_STARTED", 0.0)
    asked()
    assert not folder.exists()


def test_a_search_that_the_clock_stopped_is_not_kept(folder: Path, searches: list[str],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter((0, 1))
    monkeypatch.setattr(kept, "_stopped", lambda: next(counts))
    asked()
    assert not folder.exists()


def test_switched_off_nothing_is_kept(folder: Path, searches: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(private.OFF, "1")
    asked()
    asked()
    assert searches == ["", ""]
    assert not folder.exists()


def _resealed(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    """An entry changed by someone who knows how its checksum is made."""
    body = json.loads(path.read_bytes().partition(b"\n")[2])
    change(body)
    text = json.dumps(body).encode()
    path.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _of_other_name(body: dict[str, object]) -> None:
    body["terms"] = [[op, args, "y" if value == "x" else value] for op, args, value in body["terms"]]  # type: ignore


def _of_unknown_operation(body: dict[str, object]) -> None:
    body["terms"][-1][0] = "system"  # type: ignore[index]


def _of_later_terms(body: dict[str, object]) -> None:
    body["terms"][0] = ["neg", [0], None]  # type: ignore[index]


def _with_a_name_that_is_code(body: dict[str, object]) -> None:
    body["terms"] = [[op, args, "x);import os" if value == "x" else value] for op, args, value in body["terms"]]  # type: ignore


def _of_another_type(body: dict[str, object]) -> None:
    body["values"][0][0] = ["a", "list"]  # type: ignore[index]


def _without_a_field(body: dict[str, object]) -> None:
    body["values"][0].pop()  # type: ignore[index]


CHANGES = (_of_other_name, _of_unknown_operation, _of_later_terms, _with_a_name_that_is_code, _of_another_type,
           _without_a_field, lambda body: body.update(key="0" * 64), lambda body: body.update(values=[]))


@pytest.mark.parametrize("spoil", [_cut, _flipped, lambda p: p.write_bytes(b""), lambda p: p.write_bytes(b"\x80\x04."),
                                   *((lambda p, c=c: _resealed(p, c)) for c in CHANGES[:-1])])
def test_a_spoilt_entry_is_dropped_and_derived_again(folder: Path, searches: list[str],
                                                     spoil: Callable[[Path], None]) -> None:
    first = asked()
    spoil(entry(folder))
    assert asked() == first
    assert searches == ["", ""]
    assert asked() == first  # and kept again
    assert searches == ["", ""]


def test_an_entry_of_another_question_is_not_an_answer(folder: Path, searches: list[str]) -> None:
    asked()
    first = entry(folder)
    asked("x=(0,inf)")
    (other,) = set(folder.glob("*.json")) - {first}
    first.write_bytes(other.read_bytes())
    assert asked().arguments[0].domain.low != 0
    assert len(searches) == 3


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o755])
def test_a_folder_open_to_others_is_not_used(folder: Path, searches: list[str], mode: int) -> None:
    asked()
    folder.chmod(mode)
    before = entry(folder).read_bytes()
    asked()
    asked("x=(0,inf)")
    assert searches == ["", "", ""]
    assert entry(folder).read_bytes() == before
    assert "chmod 700" in kept.FOLDER.facts().refusal


def test_a_link_in_place_of_the_folder_is_not_followed(folder: Path, searches: list[str], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.parent.mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    asked()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_or_a_writable_file_in_place_of_an_entry_is_not_read(folder: Path, searches: list[str]) -> None:
    asked()
    found = entry(folder)
    found.chmod(0o666)
    asked()
    assert searches == ["", ""]  # and written anew, closed
    assert not found.stat().st_mode & 0o077
    moved = folder.parent / "moved"
    found.rename(moved)
    found.symlink_to(moved)
    asked()
    assert searches == ["", "", ""]
    assert not found.is_symlink()


def test_a_place_that_cannot_be_written_to_is_no_trouble(searches: list[str], tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(private.VARIABLE, str(tmp_path / "file" / "below"))
    monkeypatch.delenv(private.OFF, raising=False)
    assert asked() == asked()
    assert len(searches) == 2


def test_two_processes_at_once_leave_one_whole_entry(tmp_path: Path) -> None:
    script = ("import sys; from lossmith.derivations.private import Folder\n"
              "f = Folder('derivations', 64)\n"
              "for _ in range(200):\n"
              "    f.write('one', sys.argv[1].encode() * 5000)\n"
              "    assert len(set(f.read('one'))) == 1\n")
    environment = {**os.environ, private.VARIABLE: str(tmp_path), private.OFF: ""}
    runs = [subprocess.Popen([sys.executable, "-c", script, mark], env=environment) for mark in "ab"]
    assert [r.wait(60) for r in runs] == [0, 0]
    assert [p.name for p in (tmp_path / "derivations").iterdir()] == ["one"]


def test_the_oldest_entries_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(private.VARIABLE, str(tmp_path))
    monkeypatch.delenv(private.OFF, raising=False)
    folder = private.Folder("some", 3)
    for age, name in enumerate("edcba"):
        folder.write(name, b"x")
        os.utime(tmp_path / "some" / name, (1e9 + age, 1e9 + age))
    assert sorted(p.name for p in (tmp_path / "some").iterdir()) == ["a", "b", "c"]


@pytest.mark.parametrize("value", [float("inf"), -0.0, 1e-320])
def test_numbers_survive_to_the_last_bit(value: float) -> None:
    (found,) = plain.unpacked(json.loads(json.dumps(plain.packed([value], float))), float)
    assert repr(found) == repr(value)


def test_the_command_shows_and_clears(command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    where = {private.VARIABLE: str(tmp_path / "cache"), private.OFF: ""}
    (tmp_path / "cache" / "derivations").mkdir(parents=True)
    (tmp_path / "cache" / "derivations").chmod(0o700)
    (tmp_path / "cache" / "derivations" / "one.json").write_text("x" * 1500)
    shown = json.loads(command("cache", "--json", **where).stdout)["derivations"]
    assert (shown["entries"], shown["size"], shown["refusal"]) == (1, 1500, "")
    assert "1 entries, 1.5 kB" in command("doctor", **where).stdout
    assert command("cache", "--clear", **where).stdout == "1 entries removed\n"
    assert list((tmp_path / "cache" / "derivations").iterdir()) == []
    assert "off" in command("cache", **{private.OFF: "1"}).stdout
