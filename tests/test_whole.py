"""All numbers of float32: what is counted, what balls decide, the reference's bound, and going on after an end."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lossmith.audit import whole
from lossmith.audit.adapters import NumpyAdapter
from lossmith.audit.foreign import ForeignAdapter
from lossmith.audit.measure import exact_of
from lossmith.audit.running import NoBound, Running
from lossmith.audit.subject import load, of_truth
from lossmith.audit.whole import Sweep, Tally, part, run, sweeps
from lossmith.derivations import parser

from lossmith.own import CompiledAdapter
from lossmith.sweep_command import kept_in

SIZE = 2**16
ONE = int(np.float32(1).view(np.uint32)) // SIZE  # the part in which 1 lies
MINUS_TWENTY = int(np.float32(-20).view(np.uint32)) // SIZE


def of(function: Any, truth: str = "softplus") -> Sweep:
    return sweeps(of_truth(truth), ForeignAdapter(function, "mine", kind="numpy"), "fast")[0]


def good(x: Any) -> Any:
    wide = x.astype(np.float64)
    return (np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide)))).astype(np.float32)


def tally(sweep: Sweep, number: int) -> Tally:
    return part(sweep, sweep.reference(), number, SIZE)


def test_a_function_rounded_once_holds() -> None:
    for number in (0, ONE, MINUS_TWENTY, 0x7F7F, 0x7F80, 0xFF80, 0xFFFF):
        found = tally(of(good), number)
        assert found.numbers == SIZE and found.holds(0.501) and found.over == 0, found
        assert found.bound <= whole.KNOWN


def test_faults_are_counted_where_they_are() -> None:
    def slip(x: Any) -> Any:
        found = good(x)
        return np.where(x == np.float32(1.0), np.nextafter(found, np.float32(9)), found)

    found = tally(of(slip), ONE)
    assert found.inexact == 1 and found.over == 1 and found.where == (1.0).hex() and 0.5 < found.max_ulp < 1.5
    flushed = tally(of(lambda x: np.log(1 + np.exp(x))), MINUS_TWENTY)
    assert flushed.over == SIZE and flushed.max_ulp > 1e6
    lost = tally(of(lambda x: np.log(1 + np.exp(x))), 0x7F7F)
    assert lost.wrong_inf == SIZE and not lost.holds(1e30)
    assert tally(of(lambda x: np.nan_to_num(good(x))), 0x7FC0).wrong_nan == SIZE


def test_near_ties_are_decided_by_balls() -> None:
    """A value half a unit and a billionth off is wrong, and one a billionth less is right."""
    sweep = of(lambda x: x, "softplus")
    x = np.float32(2.0) ** np.arange(-3, 3, dtype=np.float32)
    high, low = sweep.exact(x.astype(np.float64))
    assert np.all(np.abs(low) <= np.spacing(high))
    found = tally(of(good), 0x3F1F)
    some = [tally(of(good), n).balls for n in range(0x3F00, 0x3F40)]
    assert found.balls < 20 and sum(some) > 0


@pytest.mark.parametrize(("formula", "domain"), [
    ("log1p(exp(-abs(x)))", "real"), ("exp(x)/(1 + exp(x))", "[-80,80]"), ("expm1(x)*x - log(x)", "(0,10]"),
    ("where(x < 1/3, 0.1*x, (x - 1)/(x + 3))", "[-2,2]"), ("max(x, 0.1) - min(x, -0.7)*x", "[-3,3]")])
def test_the_running_bound_holds(formula: str, domain: str) -> None:
    subject = of_truth(formula, {"x": domain})
    given = subject.unit.argument("x").domain
    x = np.concatenate([np.linspace(-90, 90, 1500), np.geomspace(1e-30, 1, 300), -np.geomspace(1e-30, 1, 300)])
    x = x[[given.holds(float(v)) for v in x]]
    values, bounds = Running(subject.outputs["loss"])({"x": x})
    truth = exact_of(subject.outputs["loss"], [{"x": float(v)} for v in x], subject)
    off = np.abs((values - truth.high) - truth.low)
    bounds = np.broadcast_to(bounds, x.shape)
    assert np.all((off <= bounds) | ~np.isfinite(bounds)) and np.isfinite(bounds).mean() > 0.9
    assert np.all(off[off > 0] >= 1e-6 * bounds[off > 0]) or np.median(bounds / np.spacing(np.abs(values))) < 200


def test_no_bound_is_made_up() -> None:
    known = parser.arguments({"x": "real"})
    with pytest.raises(NoBound, match="gamma"):
        Running(parser.parse_term("lgamma(x)", known))


def test_a_reference_that_is_worse_than_it_says_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    derived, met = whole.checked(of(good))
    assert 0 < met < derived < whole.KNOWN
    real = Running.__call__
    monkeypatch.setattr(Running, "__call__", lambda self, env: (real(self, env)[0] * (1 + 1e-12), real(self, env)[1]))
    with pytest.raises(ArithmeticError, match="more than the"):
        whole.checked(of(good))


def test_it_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "PARTS", 8)
    monkeypatch.setattr(whole.part, "__defaults__", (2**16, 1))
    state, calls = tmp_path / "state.jsonl", []
    sweep = of(good)
    first = run(sweep, state, 1, 2, lambda done, of_all, so_far: calls.append((done, of_all)))
    assert calls == [(n, 8) for n in range(1, 9)] and first.numbers == 8 * 2**15
    lines = state.read_text().splitlines()
    assert len(lines) == 9
    state.write_text("\n".join(lines[:4]) + "\n" + lines[5][:20])  # as if it had been cut off while writing
    calls.clear()
    again = run(sweep, state, 1, 2, lambda done, of_all, so_far: calls.append((done, of_all)))
    assert again == first and calls[0] == (4, 8) and len(calls) == 5
    with pytest.raises(ValueError, match="another sweep, or of another version"):
        run(of(lambda x: good(x) * 2), state, 1, 2)


def test_each_of_several_sweeps_is_kept_in_a_file_of_its_own(tmp_path: Path) -> None:
    cross = sweeps(load("sigmoid_cross_entropy"), NumpyAdapter(), "accurate", ["loss", "gradient_x"])
    for asked in (str(tmp_path / "state.jsonl"), None):
        kept = {kept_in(asked, s, True) for s in cross}
        assert len(kept) == len(cross) and all(k.suffix == ".jsonl" for k in kept)
    assert {k.parent for k in (kept_in(str(tmp_path / "s"), s, True) for s in cross)} == {tmp_path}
    assert kept_in("state.jsonl", cross[0], False) == Path("state.jsonl")


def test_which_functions_can_be_swept() -> None:
    cross = sweeps(load("sigmoid_cross_entropy"), NumpyAdapter(), "accurate", ["loss", "gradient_x"])
    assert [(s.output, dict(s.held)) for s in cross] == [
        ("loss", {"z": 0.0}), ("loss", {"z": 1.0}), ("gradient_x", {"z": 0.0}), ("gradient_x", {"z": 1.0})]
    with pytest.raises(ValueError, match="one variable only"):
        sweeps(load("mean_squared_error"), NumpyAdapter(), "fast")
    with pytest.raises(ValueError, match="no output 'slope'"):
        sweeps(of_truth("softplus"), CompiledAdapter(), "fast", ["slope"])


@pytest.mark.parametrize("name", ["softplus", "sigmoid"])
def test_our_own_forms_hold_where_it_is_narrow(name: str) -> None:
    for sweep in sweeps(of_truth(name), CompiledAdapter(), "accurate", ["loss", "gradient_x"]):
        for number in (ONE, MINUS_TWENTY, 0x3300, 0xC2B0):
            assert tally(sweep, number).holds(0.501), sweep.title


def test_tallies_add_up() -> None:
    both = Tally(10, 0.4, 7, balls=1, bound=1e-9) + Tally(5, 0.7, 9, inexact=2, over=1, bound=2e-9)
    assert both == Tally(15, 0.7, 9, 2, 1, balls=1, bound=2e-9)
    assert json.loads(json.dumps(dataclasses.asdict(both)))["at"] == 9


def test_blocks_so_far_apart_that_exponents_are_missed_are_refused() -> None:
    with pytest.raises(ValueError, match="whole exponents"):
        run(of(good), None, 1, every=whole.MOST_APART + 1)
