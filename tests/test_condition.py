"""What the audit excuses in rows: a root that truth touches, and nothing far from one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from lossmith.audit import subject
from lossmith.audit.condition import _moved, _row_moved, row_conditions
from lossmith.derivations.ulp import FORMATS, ulp_of

P = [0.5, 0.25, 0.25]
UNIT = "kl_divergence_from_logits"


def condition(x: Any, free: tuple[str, ...] = ("x",)) -> float:
    unit = subject.load(UNIT)
    domains = {a.name: a.domain for a in unit.given if a.role == "input"}
    point = {"x": np.asarray(x, dtype=np.float32).astype(float), "p": np.array(P)}
    return float(row_conditions(unit.outputs["loss"], point, domains, FORMATS["float32"], free)[0])


@pytest.mark.parametrize("x", [[1.0, 2.0, 3.0], [40.0, 0.0, -3.0], [0.0, 0.1, 0.2]])
def test_nothing_is_excused_far_from_a_root(x: list[float]) -> None:
    assert condition(x) == 1.0


def test_a_root_that_truth_touches_is_excused_by_what_inputs_do_and_not_otherwise() -> None:
    near = np.log(P) * 1.00001 + 3.0
    assert condition(near) > 2.0**12
    assert condition(near, free=()) == 1.0


def test_a_row_is_moved_exactly_be_it_in_floats_or_fractions() -> None:
    values = np.array([1.0, -3.5, 2.0**-149, 0.0, math.inf, 3.0e38, 1e-30])
    for name in ("float32", "float64"):
        fmt = FORMATS[name]
        for power in (0, 7, 23):
            ways = np.array([1.0, -1.0, 1.0, 1.0, 1.0, 0.0, -1.0]) * 2.0**power
            moved = _row_moved(values, ways, fmt)
            units = ulp_of(values, fmt)
            for got, v, w, u in zip(moved, values.tolist(), ways.tolist(), units.tolist(), strict=True):
                assert got == _moved(v, w, u)


@pytest.mark.parametrize("fmt", ["float32", "float64"])
def test_in_a_long_row_a_root_is_looked_for_as_far_as_in_a_short_one(fmt: str) -> None:
    """A softmax beside equal shares: the first class crosses them where it is moved by an eighth of itself."""
    unit = subject.load(UNIT)
    x = np.zeros(128)
    x[0], x[1] = 0.16, 3.0
    point = {"x": x.astype(fmt).astype(float), "p": np.full(128, 2.0**-7)}
    domains = {a.name: a.domain for a in unit.given if a.role == "input"}
    found = row_conditions(unit.outputs["gradient_x"], point, domains, FORMATS[fmt], ("x",))
    assert found[0] > 10 and found[1] == 1.0


@pytest.mark.parametrize("classes", [3, 200])
def test_a_root_far_away_excuses_nothing(classes: int) -> None:
    """A share of a thousandth beside a target of 1e-20: it meets it where the logit has moved by 39, not by two."""
    unit = subject.load("softmax_cross_entropy")
    x, t = np.full(classes, 900.0), np.zeros(classes)
    x[0], x[1], t[0], t[1] = 1000.0, 1000.0 - 6.9, 1.0, 1e-20
    point = {"x": x, "t": t.astype(np.float32).astype(float)}
    domains = {a.name: a.domain for a in unit.given if a.role == "input"}
    found = row_conditions(unit.outputs["gradient_x"], point, domains, FORMATS["float32"], ("x",))
    assert found[1] == 1.0
    t[1] = 1.001e-3
    found = row_conditions(unit.outputs["gradient_x"], {"x": x, "t": t}, domains, FORMATS["float32"], ("x",))
    assert found[1] > 100
