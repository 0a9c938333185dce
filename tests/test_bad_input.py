"""Bad input, over every unit and target: one clear line that names what is wrong, and nothing half-written."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run
from lossmith.derivations import catalogue
from lossmith.derivations.loss import Argument, Unit

UNITS = {name: catalogue.load(name) for name in catalogue.unit_names()}
COUNT, CLASSES = 4, 3
Arrays = dict[str, Any]


def given(unit: Unit) -> list[Argument]:
    return [a for a in unit.arguments if a.role != "parameter"]


def good(unit: Unit) -> Arrays:
    """Arguments that every unit accepts: one half lies inside every domain but those of labels and of logarithms."""
    return {a.name: _good(a) for a in given(unit)}


def _good(a: Argument) -> Any:
    if a.role == "label":
        return np.zeros(COUNT, np.int64)
    shape = (COUNT, CLASSES) if a.axis == "class" else (COUNT,)
    if a.domain.values:
        return np.full(shape, float(a.domain.values[-1]), np.float32)
    inside = -1.0 if a.domain.high <= 0 else 1 / CLASSES
    return np.full(shape, inside, np.float32)


def by_numpy(unit: str, arrays: Arrays, **options: Any) -> Any:
    return importlib.import_module(f"lossmith.generated.np.{unit}").loss(*arrays.values(), **options)


def by_torch(unit: str, arrays: Arrays) -> Any:
    torch = pytest.importorskip("torch")
    function = getattr(importlib.import_module(f"lossmith.generated.pt.{unit}"), unit)
    return function(*(torch.from_numpy(np.array(a)) for a in arrays.values()), reduction="none")


CALL = {"np": by_numpy, "pt": by_torch}


def refused(target: str, unit: str, arrays: Arrays, kind: type[Exception], *words: str) -> None:
    """The call raises, on one line that says each of the words; a NumPy output is left as it was."""
    out = np.full(COUNT, 7.0, np.float32)
    options = {"out": out} if target == "np" else {}
    with pytest.raises(kind) as caught:
        CALL[target](unit, arrays, **options)
    said = str(caught.value)
    assert said and "\n" not in said
    for word in words:
        assert re.search(rf"\b{re.escape(word)}\b", said), f"'{word}' is not in: {said}"
    assert (out == 7.0).all()


def each(wanted: Callable[[Unit, Argument], bool]) -> list[Any]:
    """A case for every target and every argument that is wanted."""
    return [pytest.param(target, unit.name, a.name, id=f"{target}-{unit.name}-{a.name}")
            for unit in UNITS.values() for a in given(unit) if wanted(unit, a) for target in CALL]


def not_alone(unit: Unit, a: Argument) -> bool:
    """Whether there is another argument whose shape and dtype this one can contradict."""
    return a.role != "label" and len([b for b in given(unit) if b.role != "label"]) > 1


@pytest.mark.parametrize("target", CALL)
@pytest.mark.parametrize("unit", UNITS)
def test_good_input_is_accepted(target: str, unit: str) -> None:
    assert np.asarray(CALL[target](unit, good(UNITS[unit]))).shape == (COUNT,)


@pytest.mark.parametrize(("target", "unit", "name"), each(lambda unit, a: len(given(unit)) > 1))
def test_wrong_shapes(target: str, unit: str, name: str) -> None:
    arrays = good(UNITS[unit])
    arrays[name] = np.concatenate([arrays[name], arrays[name][:1]])
    refused(target, unit, arrays, ValueError, str(COUNT + 1))


@pytest.mark.parametrize(("target", "unit", "name"), each(lambda unit, a: a.role == "label"))
@pytest.mark.parametrize("label", [-1, CLASSES])
def test_labels_out_of_range(target: str, unit: str, name: str, label: int) -> None:
    arrays = good(UNITS[unit])
    arrays[name][1] = label
    refused(target, unit, arrays, ValueError, name, str(label).lstrip("-"))


@pytest.mark.parametrize(("target", "unit", "name"), each(lambda unit, a: a.role == "label"))
def test_labels_that_are_no_integers(target: str, unit: str, name: str) -> None:
    arrays = good(UNITS[unit])
    arrays[name] = arrays[name].astype(np.float32)
    refused(target, unit, arrays, TypeError, name, "float32")


@pytest.mark.parametrize(("target", "unit", "name"), each(lambda unit, a: a.role != "label"))
def test_integers_where_numbers_are_real(target: str, unit: str, name: str) -> None:
    arrays = good(UNITS[unit])
    arrays[name] = np.ones(arrays[name].shape, np.int64)
    refused(target, unit, arrays, TypeError, name, "int64")


@pytest.mark.parametrize(("target", "unit", "name"), each(not_alone))
def test_mismatched_dtypes(target: str, unit: str, name: str) -> None:
    arrays = good(UNITS[unit])
    arrays[name] = arrays[name].astype(np.float64)
    refused(target, unit, arrays, TypeError, "float64", "float32")


@pytest.mark.parametrize(("target", "unit", "name"), each(lambda unit, a: a.domain.low == 0 and a.role != "label"))
def test_negative_where_nothing_is_negative(target: str, unit: str, name: str) -> None:
    arrays = good(UNITS[unit])
    arrays[name].flat[1] = -0.25
    refused(target, unit, arrays, ValueError, name, "0.25")


@pytest.mark.parametrize(("unit", "name"), [
    pytest.param(unit.name, a.name, id=f"{unit.name}-{a.name}")
    for unit in UNITS.values() for a in given(unit) if a.domain.low == 0 and a.role != "label"])
def test_what_cannot_be_read_in_time_gives_nan(unit: str, name: str) -> None:
    """Inside vmap no value can be looked at, so nothing can be raised: the named policy is NaN, there alone."""
    torch = pytest.importorskip("torch")
    function = getattr(importlib.import_module(f"lossmith.generated.pt.{unit}"), unit)
    arrays = good(UNITS[unit])
    arrays[name].reshape(COUNT, -1)[1, 0] = -0.25
    tensors = [torch.from_numpy(a) for a in arrays.values()]
    got = torch.func.vmap(lambda *row: function(*row, reduction="none"))(*tensors)
    assert got.isnan().tolist() == [False, True, False, False]


@pytest.mark.parametrize("target", CALL)
def test_a_nan_is_no_bad_input(target: str) -> None:
    arrays = good(UNITS["sigmoid_cross_entropy"])
    arrays["z"][1] = np.nan
    assert np.isnan(np.asarray(CALL[target]("sigmoid_cross_entropy", arrays))).tolist() == [False, True, False, False]


def test_an_unknown_loss(command: Run, tmp_path: Path) -> None:
    for arguments in (["derive", "focal"], ["generate", "focal", "-o", "out"], ["audit", "focal"]):
        said = command(*arguments)
        assert said.returncode == 2 and len(said.stderr.splitlines()) == 1
        assert "there is no loss 'focal'" in said.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission(command: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    said = command("generate", "mean_squared_error", "--target", "np", "-o", "out")
    assert said.returncode == 2 and len(said.stderr.splitlines()) == 1 and "permission denied" in said.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/inside", "/dev/null/inside", "/proc/nowhere"])
def test_an_output_directory_that_cannot_be_one(command: Run, tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    said = command("generate", "mean_squared_error", "--target", "np", "-o", place)
    assert said.returncode == 2 and said.stdout == "" and len(said.stderr.splitlines()) == 1
    assert place in said.stderr and "Errno" not in said.stderr and "Traceback" not in said.stderr
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
