"""Exponentials over the largest of them, and the chains of rules that a search starts from."""

from __future__ import annotations

import numpy as np
import pytest
from lossmith.derivations import balls, evaluate, parser, seeds
from lossmith.derivations.machine import machine
from lossmith.derivations.terms import walk
from lossmith.derivations.ulp import FORMATS

NAMES = ("x", "y", "z")


def term(text):
    return parser.parse_term(text, parser.arguments(dict.fromkeys(NAMES, "real")))


def shifted(text):
    return next(seeds.shifted_form(term(text))).term


RATIONAL = [
    "exp(x)/(exp(x) + exp(y) + exp(z))",
    "exp(x)*exp(y)/(exp(x) + exp(y) + exp(z))**2",
    "(exp(x) - exp(y))/(exp(x) + exp(y))",
    "exp(x + y)/(exp(x) + exp(y))**2",
    "exp(x)/(1 + exp(x) + exp(y))",
    "(exp(2*x) + exp(y))/(exp(x) + 3)",
]


@pytest.mark.parametrize("text", RATIONAL)
def test_a_shift_is_the_same_function(text):
    for point in ((0.5, -1.25, 2.0), (3.0, 3.0, 3.0), (-20.0, 1.0, 0.0)):
        env = dict(zip(NAMES, point, strict=True))
        assert balls.overlaps(term(text), shifted(text), env)


@pytest.mark.parametrize("text", RATIONAL[:5])
def test_a_shift_does_not_overflow(text):
    env = {"x": np.array([800.0, -800.0, 700.0]), "y": np.array([799.0, -801.0, 800.0]),
           "z": np.array([0.0, -800.5, 1.0])}
    found = evaluate.Evaluator(env, FORMATS["float64"])(machine(shifted(text)))
    assert np.all(np.isfinite(found))


def test_nothing_is_shifted_without_a_second_term():
    assert not list(seeds.shifted_form(term("exp(x)*y")))


def chain(text, steps):
    return [r.rule.name for r in steps(term(text), lambda r: True)]


def test_log_sum_exp_of_three_less_one_of_them_is_recognized():
    found = chain("log(exp(x) + exp(y) + exp(z)) - x", seeds.recognized)
    assert found[-1] == "logaddexp-of-three-less"


@pytest.mark.parametrize(("text", "name"), [
    ("x*log(x/y) - x + y", "divergence-by-nearness"),
    ("x*log(x/y) + (1 - x)*log((1 - x)/(1 - y))", "two-divergences"),
    ("x*log(2*x/(x + y))/2 + y*log(2*y/(x + y))/2", "two-divergences"),
    ("log(exp(x)*z + exp(y)*(1 - z))", "log-mixture-by-weight"),
    ("sqrt(x**2 + y**2)", "hypotenuse"),
    ("softplus(x) - softplus(y)", "softplus-difference-by-nearness"),
])
def test_a_steady_rule_takes_the_whole_pattern_first(text, name):
    assert name in chain(text, seeds.steadied)


def test_a_steady_rule_does_not_work_on_what_it_made():
    steps = seeds.steadied(term("log(x/y)"), lambda r: True)
    assert [r.rule.name for r in steps] == ["log-ratio-anywhere"]
    assert sum(t.op == "where" for t in walk(steps[-1].after)) == 1


def test_a_reciprocal_binds_its_numerator():
    assert chain("1/(1 + exp(-x))", seeds.recognized) == ["logistic"]
