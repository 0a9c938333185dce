"""The bench: ratios survive a slow machine, errors stand beside times, absent peers are said to be absent."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lossmith.audit import bench, contenders, drawing, growing, pareto, race, stream, workloads
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

    for name in workloads.USUAL:
        workload = workloads.load(name)
        arrays = list(workloads.drawn(workload, (4, 5) if workload.is_row else (20,), "float64").values())
        hand = contenders.by_hand.hand(workload, True)(*arrays)
        for got, wanted in zip(loop(workload, True, Plain)(*arrays), hand, strict=True):  # type: ignore[call-overload]
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-15)


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
    assert "NaN, \u221e" in text and "jax" not in text and "prefers-color-scheme:dark" in text
    assert math.isinf(pareto.error_bits(made[1]))


def _boxes(picture: str) -> list[drawing.Box]:
    """The labels of contenders in a picture, as boxes of about their size."""
    found = re.findall(r"<text class='(?:ours|peer)' x='([-0-9.]+)' y='([-0-9.]+)'>([^<]+)<", picture)
    return [(float(x), float(y) - 10, float(x) + 6.5 * len(text), float(y) + 2) for x, y, text in found]


def test_no_label_covers_another_or_leaves_the_picture() -> None:
    """Contenders of one speed and one error, as peers often are, and one far from all."""
    names = ("np", "pt", "c", "torch", "torch.compile", "numpy by hand", "numba", "numexpr", "scipy", "sklearn")
    made = [Line("loss", "9", n, 1e-3 * (1 + 0.03 * k), accuracy={"loss": Accuracy(1.6e7, 0)})
            for k, n in enumerate(names)] + [Line("loss", "9", "jax", 1.0, accuracy={"loss": Accuracy(1.0, 2)})]
    boxes = _boxes(pareto.pictures(made))
    assert len(boxes) == len(made)
    for i, box in enumerate(boxes):
        assert box[0] > 0 and box[2] < drawing.WIDTH and box[1] > 0 and box[3] < drawing.HEIGHT
        assert all(drawing._overlap(box, other) == 0 for other in boxes[:i])


def test_lines_that_end_together_are_named_apart() -> None:
    heights = drawing.spread([50.0, 50.0, 51.0, 300.0, 400.0], 14.0, 44.0, 330.0)
    ordered = sorted(heights)
    assert all(b - a >= 13.9 for a, b in itertools.pairwise(ordered)) and ordered[0] >= 44 and ordered[-1] <= 330


@pytest.mark.parametrize("value, text", [(1e-9, "1 ns"), (2e-5, "20 \u00b5s"), (0.5, "500 ms"), (1.0, "1 s")])
def test_times_have_their_unit(value: float, text: str) -> None:
    assert drawing.seconds(value) == text


def test_growth_is_drawn_by_contender() -> None:
    made = [Line("loss", f"{4096 // c}x{c}", n, 1e-3, 1e-9 * c) for c in (2, 64, 4096) for n in ("c", "torch")]
    text = growing.pictures([*made, Line("loss", "9x2", "jax", absent="not installed")])
    ElementTree.fromstring(text)
    assert "classes of a row" in text and ">torch<" in text and "jax" not in text


def test_memory_alone_is_beside_the_kernels() -> None:
    """Share is of the faster of the two in each round, and bytes are counted once."""
    made = {m.contender: m for m in bench.lines(SIGMOID, (5000,), Setting(), ["np", *stream.NAMES], 0.0)}
    assert made["np"].moved == 5000 * 4 * 4
    assert max(made[n].share for n in stream.NAMES) == pytest.approx(1.0) and 0 < made["np"].share < 1
    assert bench._share([1.0, 2.0, 9.0], [2.0, 4.0, 9.0]) == 0.5 and bench._share([], [1.0]) == 0
    assert made["stream copy"].accuracy is None


def test_lines_are_read_back() -> None:
    line = Line("loss", "9", "np", 1e-3, accuracy={"loss": Accuracy(math.inf, 1)})
    assert bench_command.read(json.loads(json.dumps(bench_command._plain(line)))) == line


def test_a_size_that_memory_does_not_hold_is_left_out(monkeypatch: pytest.MonkeyPatch,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench_command, "_free_memory", lambda: 1e9)
    options = argparse.Namespace(dtype="float32")
    assert bench_command._fits((10**6,), options) and not bench_command._fits((10**8,), options)
    assert "100000000 is left out" in capsys.readouterr().err


def test_data_beyond_what_is_drawn_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "DRAWN", 40)
    found = workloads.drawn(workloads.load("softmax"), (10, 8), "float32")
    x, y = found.values()
    assert x.shape == (10, 8) and y.shape == (10,)
    assert np.array_equal(x[5:], x[:5]) and np.array_equal(y[5:], y[:5])


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


@pytest.mark.parametrize("name", ("sigmoid", "softmax", "poisson"))
def test_a_mean_is_one_number_and_its_gradient(name: str) -> None:
    """Every contender does the work that the table's head names, whatever computes it."""
    workload = workloads.load(name)
    arrays = workloads.drawn(workload, (12, 5) if workload.is_row else (60,), "float64")
    by_hand = contenders.CONTENDERS["numpy by hand"](workload, arrays, Setting(dtype="float64"))
    loss, gradient = contenders.values(by_hand())
    for peer in ("np", "pt", "c", "np in C", "pt in C", "torch", "numpy by hand", "numba", "scipy", "numexpr", "jax"):
        try:
            call = contenders.CONTENDERS[peer](workload, arrays, Setting(dtype="float64", mean=True))
        except Unavailable:
            continue
        found = contenders.values(call())
        assert found[0].size == 1, peer
        np.testing.assert_allclose(found[0].item(), loss.mean(), rtol=1e-9, err_msg=peer)
        np.testing.assert_allclose(found[1], gradient / len(loss), rtol=1e-6, atol=1e-12, err_msg=peer)
