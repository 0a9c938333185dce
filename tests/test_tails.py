"""Exponentials in halves: a product that has digits where its exponential has none."""

import numpy as np
import pytest
from lossmith.derivations.domains import REAL
from lossmith.derivations.evaluate import Evaluator
from lossmith.derivations.loss import Argument
from lossmith.derivations.parser import parse_term
from lossmith.derivations.prove import evidence
from lossmith.derivations.tails import NAME, halved
from lossmith.derivations.ulp import FORMATS

import lossmith as lm

ARGUMENTS = (Argument("x", "input", REAL),)
PRODUCTS = ["x*exp(-abs(x))/(1 + exp(-abs(x)))", "x*exp(x) + 3*exp(x)", "x*exp(-x)**2", "-(x*exp(x))/(2 + exp(x))**2",
            "x*where(x >= 0, 1, exp(-abs(x)))/(1 + exp(-abs(x)))"]


def term(text):
    return parse_term(text, {a.name: a for a in ARGUMENTS})


@pytest.mark.parametrize("text", PRODUCTS)
def test_every_way_is_the_same_formula(text):
    ways = list(halved(term(text)))
    assert ways
    for moves in ways:
        assert all(m.name == NAME for m in moves)
        assert [e.kind for m in moves for e in evidence(m, ARGUMENTS)] == ["proved"] * len(moves)


def test_digits_are_kept_where_the_exponential_has_none():
    x = np.array([-745.0, -744.9, -740.0])
    whole = term("x*exp(x)")
    halves = next(halved(whole))[-1].after
    exact = np.array([float(np.longdouble(v) * np.exp(np.longdouble(v))) for v in x])
    assert np.all(np.abs(Evaluator({"x": x}, FORMATS["float64"])(halves) - exact) <= 2 * 2.0**-1074)
    assert np.any(np.abs(Evaluator({"x": x}, FORMATS["float64"])(whole) - exact) > 100 * 2.0**-1074)


@pytest.mark.parametrize("text", ["exp(x)", "x*log(x)", "exp(x) + x", "log1p(x*exp(x))"])
def test_nothing_is_taken_out_of_what_is_not_proportional(text):
    assert not list(halved(term(text)))


def test_a_gradient_that_grows_while_its_exponential_vanishes():
    form = lm.stabilize("x/(1 + exp(-x))", {"x": "real"}, "x").form
    assert form.verdict == "stable"
    got = Evaluator({"x": np.array([-745.1])}, FORMATS["float64"])(form.term)
    assert abs(float(got[0]) / -744.1 / float(np.exp(np.longdouble(-745.1))) - 1) < 0.01


def test_a_product_with_a_choice_is_halved_in_the_branch_that_vanishes():
    (moves, *_) = halved(term("x*where(x >= 0, 1/(1 + exp(-x)), exp(x)/(1 + exp(x)))"))
    form = moves[-1].after
    assert form.op == "where"
    got = Evaluator({"x": np.array([-745.1])}, FORMATS["float64"])(form)
    assert abs(float(got[0]) / -745.1 / float(np.exp(np.longdouble(-745.1))) - 1) < 0.01
