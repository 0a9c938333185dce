"""The bench: ratios survive a slow machine, errors stand beside times, absent peers are said to be absent."""

from __future__ import annotations

import json
import math
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lossmith.audit import bench, contenders, pareto, race, workloads
from lossmith.audit.adapters import Unavailable
from lossmith.audit.bench import Accuracy, Line
from lossmith.audit.contenders import Setting
from lossmith.audit.contenders_by_hand import loop, numexpr_texts

from lossmith import bench_command

SIGMOID = workloads.load("sigmoid")
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_ratio_is_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that becomes ten times slower half-way changes the median time, but no ratio."""
    clock, slow = [0.0], [1.0]

    def working(seconds: float) -> Callable[[], None]:
        def run() -> None:
            clock[0] += seconds * slow[0]
            slow[0] = 1.0 if clock[0] < 1 else 10.0

        return run

    monkeypatch.setitem(race.CLOCKS, "made", lambda: clock[0])  # type: ignore[arg-type]
    found = race.race({"one": working(0.1), "two": working(0.2)}, "one", 0.0, "made", least=9)
    assert found["one"].ratio == 1.0
    assert found["two"].ratio == pytest.approx(0.5, rel=0.01)
    assert found["two"].rounds == 9


def test_ours_is_accurate_where_the_hand_written_is_not() -> None:
    ours = bench.accuracy_of(SIGMOID, "np", Setting())
    hand = bench.accuracy_of(SIGMOID, "numpy by hand", Setting())
    assert max(a.ulp for a in ours.values()) <= 4
    assert ours["loss"].wrong == ours["gradient"].wrong == 0
    assert hand["gradient"].ulp > 1e6


@pytest.mark.parametrize("name", workloads.USUAL)
def test_contenders_compute_the_same(name: str) -> None:
    """What is timed side by side is one function: on ordinary data all agree with truth to a few digits."""
    workload = workloads.load(name)
    shape = (6, 5) if workload.is_row else (40,)
    arrays = workloads.drawn(workload, shape, "float64")
    batch = bench.Batch("hard", arrays, {}, 5 if workload.is_row else None)
    outputs = ("loss", f"gradient_{workload.given[0].name}")
    truth = [bench.exact(workload.subject, o, batch).high for o in outputs]
    for peer in ("torch", "numpy by hand", "scipy"):
        try:
            found = contenders.values(contenders.CONTENDERS[peer](workload, arrays, Setting(dtype="float64"))())
        except Unavailable:
            continue
        for got, wanted in zip(found, truth, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-9, err_msg=f"{name} {peer}")


def test_a_contender_that_is_not_installed_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> contenders.Call:
        raise Unavailable("jax is not installed")

    monkeypatch.setitem(contenders.CONTENDERS, "jax", missing)  # type: ignore[arg-type]
    made = bench.lines(SIGMOID, (64,), Setting(), ["jax", "numpy by hand"], 0.0)
    assert [bool(line.absent) for line in made] == [True, False]
    assert made[0].absent == "jax is not installed"
    assert made[1].reference == "numpy by hand" and made[1].ratio == 1.0


def test_the_loop_for_numba_computes_the_loss() -> None:
    class Plain:
        prange = range

        @staticmethod
        def njit(run: Callable[..., object], **_: object) -> Callable[..., object]:
            return run

    for name in ("sigmoid", "focal", "huber", "log_cosh", "poisson"):
        workload = workloads.load(name)
        arrays = list(workloads.drawn(workload, (20,), "float64").values())
        hand = contenders.by_hand.hand(workload, True)(*arrays)
        np.testing.assert_allclose(loop(workload, True, Plain)(*arrays), hand, rtol=1e-12)


def test_expressions_for_numexpr_use_its_words() -> None:
    for name in ("sigmoid", "focal", "huber"):
        for text in numexpr_texts(workloads.load(name)):
            assert "maximum" not in text and "if" not in text
    assert numexpr_texts(SIGMOID)[0].startswith("where(x > 0, x, 0)")
    assert "r" not in numexpr_texts(workloads.load("huber"))[0].replace("where", "")


def test_the_front_holds_what_no_other_beats() -> None:
    points = [(1.0, 24.0), (2.0, 1.0), (3.0, 2.0), (4.0, 0.5), (5.0, 0.5)]
    assert pareto.front(points) == [(1.0, 24.0), (2.0, 1.0), (4.0, 0.5)]


def test_a_picture_is_whole_and_says_who_is_wrong() -> None:
    good, bad = Accuracy(1.0, 0), Accuracy(2.0, 3)
    made = [Line("a<b", "9", "np", 1e-3, accuracy={"loss": good}),
            Line("a<b", "9", "torch", 1e-2, accuracy={"loss": bad}),
            Line("a<b", "9", "jax", absent="not installed")]
    text = pareto.pictures(made)
    ElementTree.fromstring(text)
    assert "torch (NaN or infinity)" in text and "jax" not in text
    assert math.isinf(pareto.error_bits(made[1]))


@pytest.mark.parametrize("text, shape", [("1e6", (10**6,)), ("1.6e7", (16_000_000,)), ("4096x1000", (4096, 1000))])
def test_sizes_are_read(text: str, shape: tuple[int, ...]) -> None:
    assert bench_command._shape(text) == shape


@pytest.mark.parametrize("text", ["", "0", "-1", "1e99", "4x", "2x3x4", "1e6x1e6", "many", "inf"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        bench_command._shape(text)


def test_the_command_prints_data_and_draws(command: Command, tmp_path: Path) -> None:
    done = command("bench", "sigmoid", "--size", "100", "--seconds", "0", "--contender", "np", "--contender",
                   "numpy by hand", "--json", "--plot", "p.svg")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["lines"]
    assert [line["contender"] for line in found] == ["np", "numpy by hand"]
    assert found[0]["seconds"] > 0 and found[0]["accuracy"]["loss"]["ulp"] <= 4
    ElementTree.parse(tmp_path / "p.svg")


@pytest.mark.parametrize("arguments, said", [
    (["sigmoidd"], "did you mean 'sigmoid'"), (["--contender", "jaxx"], "did you mean 'jax'"),
    (["--size", "big"], "is not a size"),
])
def test_a_wrong_request_is_one_line(command: Command, arguments: list[str], said: str) -> None:
    done = command("bench", *arguments)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
