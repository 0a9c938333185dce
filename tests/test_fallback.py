"""Where a chosen form has no value and the definition has one, the form holds the definition too."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lossmith.derivations.answers import Answer
from lossmith.derivations.domains import parse_domain
from lossmith.derivations.evaluate import Evaluator
from lossmith.derivations.fallback import with_fallback
from lossmith.derivations.loss import Argument
from lossmith.derivations.measure import Judge, judges
from lossmith.derivations.moves import OTHERWISE
from lossmith.derivations.prove import evidence
from lossmith.derivations.rules.base import pattern_term
from lossmith.derivations.ulp import FORMATS

X = (Argument("x", "input", parse_domain("[0,inf)")),)
GIVEN, OVERFLOWS = pattern_term("x/(1 + x)"), pattern_term("x*x/(x + x*x)")


def drawn() -> Judge:
    return judges(GIVEN, X, {FORMATS["float64"]: 100}, 1)


def test_the_definition_stands_by_where_a_form_has_no_value() -> None:
    root, answer = Answer((), GIVEN, 1.0), Answer((), OVERFLOWS, 1.0)
    made = with_fallback(answer, root, [drawn()])
    assert made.moves[-1].name == OTHERWISE
    assert evidence(made.moves[-1], X)[0].kind == "proved"
    at = {"x": np.array([0.0, 1.0, 1e200])}
    assert not np.isfinite(Evaluator(at)(OVERFLOWS)[[0, 2]]).any()
    assert Evaluator(at)(made.term).tolist() == Evaluator(at)(GIVEN).tolist()


def test_a_form_with_values_everywhere_is_left_alone() -> None:
    root, answer = Answer((), GIVEN, 1.0), Answer((), pattern_term("1 - 1/(1 + x)"), 1.0)
    assert with_fallback(answer, root, [drawn()]) is answer


@pytest.mark.parametrize("wrong", ["log(x)/log(x)*x", "x*x/(x + x*x)"])
def test_nothing_is_gained_where_the_definition_has_no_value_either(wrong: str) -> None:
    root = Answer((), pattern_term(wrong), 1.0)
    answer = Answer((), pattern_term(f"({wrong})*1/2*2"), 1.0)
    assert with_fallback(answer, root, [drawn()]) is answer
    assert math.isnan(float(Evaluator({"x": np.array([0.0])})(root.term)[0]))
