"""Faults put into the generated kernels: the audit finds every one that makes a difference."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from lossmith.derivations import catalogue

BENCH = Path(__file__).resolve().parent.parent / "bench"


def bench(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kernels = bench("faulty_kernels")
faults = bench("faults")
QUICK = ("sigmoid_cross_entropy", "sparse_softmax_cross_entropy")


def test_there_are_faults_of_every_kind_in_every_unit() -> None:
    found = {unit: {f.kind for f in kernels.faults_of(unit)} for unit in catalogue.unit_names()}
    assert all(len(kinds) >= 2 for kinds in found.values())
    assert len(set().union(*found.values())) == 12
    assert sum(len(list(kernels.faults_of(u))) for u in QUICK) > 100


def test_one_expression_is_changed_and_the_text_is_put_back() -> None:
    unit = QUICK[0]
    first, *others = kernels.faults_of(unit)
    assert first.source not in {f.source for f in others}
    assert [f.source for f in kernels.faults_of(unit)] == [first.source, *(f.source for f in others)]


@pytest.mark.parametrize("unit", QUICK)
def test_a_kernel_without_a_fault_is_found_sound(unit: str) -> None:
    held = faults.sound_of(unit)
    for dtype in faults.FORMATS_TRIED:
        assert not faults.found_by_audit(held, unit, dtype)
    assert faults.effect(held, unit, "float64") == faults.Effect()


def test_a_sample_of_forty_is_found() -> None:
    chosen = [*kernels.sampled(QUICK[:1], 26), *kernels.sampled(QUICK[1:], 14)]
    found = faults.run(chosen, gradcheck=False)
    assert not [o for o in found if o.verdict == "missed"]
    assert sum(o.verdict == "caught" for o in found) >= 25


def test_verdicts_are_kept_and_read_again(tmp_path: Path) -> None:
    chosen, kept = kernels.sampled(QUICK[:1], 12), tmp_path / "verdicts"
    first = faults.run(chosen[:6], kept=kept)
    assert len(kept.read_text().splitlines()) == 6
    every = faults.run(chosen, gradcheck=False, kept=kept)
    assert len(every) == 12 and [o for o in every if o in first] == first  # gradcheck's verdict too is the kept one
    assert faults.as_text(every).splitlines()[-1].startswith("| all | ")


def test_what_the_audit_does_not_see_is_told_apart_by_other_means() -> None:
    """The comparison with the sound kernel sees a fault by itself, and not a change that changes nothing."""
    unit = QUICK[0]
    every = {(f.function, f.change): f for f in kernels.faults_of(unit)}
    flipped = next(f for (where, what), f in every.items() if where == "_gradient_x" and f.kind == "a flipped sign")
    edge = next(f for f in every.values() if "x > 0 for x >= 0" in f.change.replace("(", "").replace(")", ""))
    assert faults.effect(faults.Held(flipped.module()), unit, "float32").ulp > 1e6
    assert faults.effect(faults.Held(edge.module()), unit, "float32").ulp <= faults.ROUNDING


def test_gradcheck_sees_a_sign_and_no_cancellation() -> None:
    pytest.importorskip("torch")
    unit = QUICK[0]
    names = faults.checked_arguments(unit)
    by_kind = {f.kind: f for f in kernels.faults_of(unit) if f.function in ("_gradient_x", "_loss")}
    assert names == ("x", "z") and faults.found_by_gradcheck(by_kind["a flipped sign"], names)
    assert not faults.found_by_gradcheck(by_kind["log1p or expm1 written out"], names)


@pytest.mark.heavy
@pytest.mark.timeout(7200)
def test_two_hundred_faults_are_found() -> None:
    found = faults.run(kernels.sampled(catalogue.unit_names(), 360), gradcheck=False)
    assert not [o for o in found if o.verdict == "missed"]
    assert sum(o.verdict == "caught" for o in found) >= 200
