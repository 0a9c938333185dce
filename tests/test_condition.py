"""What the audit excuses in rows: a root that truth touches, and nothing far from one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lossmith.audit import subject
from lossmith.audit.condition import row_conditions
from lossmith.derivations.ulp import FORMATS

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
