"""Rests of Stirling's formula and of erfcx: the functions against balls, and the forms that are made of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lossmith.derivations import balls, parser
from lossmith.derivations.asymptotic import stirling_forms, tail_forms
from lossmith.derivations.evaluate import evaluate
from lossmith.derivations.search import stabilize
from lossmith.derivations.terms import make, node, var, walk
from lossmith.derivations.ulp import FORMATS, error

INF, NAN = math.inf, math.nan
x, y = var("x"), var("y")
EXPONENTS = np.ldexp(1.0, np.arange(-60, 61, 3)) * 1.37
WORST = {"binet": 2.0, "binet_slope": 2.2, "erfcx_rest": 2.8, "lgamma1p": 2.5}


@pytest.mark.parametrize("op", sorted(WORST))
def test_rests_against_balls(op):
    at = np.concatenate([EXPONENTS, np.linspace(0.02, 4, 60), [0.5, np.nextafter(0.5, 0)], [1e15, 1e200]])
    if op in ("erfcx_rest", "lgamma1p"):
        at = np.concatenate([at, -at[at < (20 if op == "erfcx_rest" else 0.99)]])
    term = make(op, x)
    for fmt, bound in (("float64", WORST[op]), ("float32", 0.51)):
        given = at.astype(FORMATS[fmt].dtype).astype(np.float64)
        given = given[np.isfinite(given) & (given != 0)]
        found = evaluate(term, {"x": given}, FORMATS[fmt])
        true = balls.truth_many(term, {"x": given}, FORMATS[fmt])
        finite = np.isfinite(true)
        assert error(found[finite], true[finite], FORMATS[fmt]).max() <= bound, (op, fmt)


def test_differences_of_the_rest_are_good_where_the_second_argument_is_small():
    at = np.repeat([0.01, 0.3, 0.7, 2.0, 30.0, 1e6], 30)
    by = np.tile(np.ldexp(1.3, np.arange(-100, 20, 4)), 6)
    term = node("binet_gap", (x, y))
    found = evaluate(term, {"x": at, "y": by}, FORMATS["float64"])
    true = balls.truth_many(term, {"x": at, "y": by}, FORMATS["float64"])
    assert error(found, true, FORMATS["float64"]).max() <= 40
    plain = evaluate(make("sub", make("binet", make("add", x, y)), make("binet", x)), {"x": at, "y": by},
                     FORMATS["float64"])
    assert error(plain, true, FORMATS["float64"]).max() > 1e12


@pytest.mark.parametrize(("op", "at", "value"), [
    ("binet", 0.0, INF), ("binet", INF, 0), ("binet", -1.0, NAN), ("binet_slope", 0.0, INF), ("binet_slope", INF, 0),
    ("erfcx_rest", INF, 0), ("erfcx_rest", -INF, INF), ("lgamma1p", 0.0, 0), ("lgamma1p", 1.0, 0),
    ("lgamma1p", -1.0, INF), ("lgamma1p", INF, INF),
])
def test_at_the_ends(op, at, value):
    found = evaluate(make(op, x), {"x": np.array([at])}, FORMATS["float64"])[0]
    assert found == value or (math.isnan(value) and math.isnan(found))


SUMS = {
    "lgamma(a) + lgamma(b) - lgamma(a + b)": "binet",
    "lgamma(a + b + 1) - lgamma(a + 1) - lgamma(b + 1)": "lgamma1p",
    "a*log(b) - b - lgamma(a + 1)": "log1pmx",
    "(a - 1)*log(b) - b - lgamma(a)": "log1pmx",
    "lgamma((a + 1)/2) - lgamma(a/2) - log(a*pi)/2": "binet",
    "digamma(a + b) - digamma(a)": "binet_slope",
    "exp(-a)*gamma(b + 1/2)/gamma(b)": "exp",
    "lgamma(a + b) - lgamma(a) - lgamma(b + 1) + a*log(1 - a/9) + b*log(a/9)": "binet_gap",
}
TAILS = {
    "1/(a*sqrt(pi)) - erfcx(a)": "erfcx_rest",
    "a*(1 + erf(-a/sqrt(2)))/2 - exp(-a**2/2)/sqrt(2*pi)": "erfcx_rest",
    "log(exp(-a**2)/sqrt(pi) - a*erfc(a))": "erfcx_rest",
    "(exp(-a**2)/(1 - erf(a)))*(exp(-a**2)/(1 - erf(a)) - a*sqrt(pi))": "erfcx_rest",
}


@pytest.mark.parametrize(("text", "holds"), [*SUMS.items(), *TAILS.items()])
def test_forms_equal_their_definitions(text, holds):
    known = parser.arguments({"a": "[0.1,8]", "b": "[0.1,8]"})
    definition = parser.parse_term(text, known)
    at = {"a": np.array([0.1, 0.7, 2.5, 7.5]), "b": np.array([3.0, 0.6, 0.2, 7.0])}
    true = balls.truth_many(definition, at, FORMATS["float64"])
    forms = [*stirling_forms(definition), *tail_forms(definition)]
    assert any(t.op == holds for form in forms for t in walk(form))
    for form in forms:
        assert np.array_equal(balls.truth_many(form, at, FORMATS["float64"]), true), form


@pytest.mark.parametrize(("text", "domain", "bound"), [
    pytest.param("lgamma(x) - (x - 1/2)*log(x) + x - log(2*pi)/2", "[0.5,inf)", 4, marks=pytest.mark.heavy),
    ("log(x) - digamma(x)", "(0,inf)", 4),
    ("1/(x*sqrt(pi)) - erfcx(x)", "(0,inf)", 6),
    pytest.param("gamma(x + 1/2)/gamma(x)", "[0.1,1e9]", 16, marks=pytest.mark.heavy),
])
def test_what_cancels_is_made_of_rests(text, domain, bound):
    known = parser.arguments({"x": domain})
    _, form = stabilize(parser.parse_term(text, known), tuple(known.values()))
    assert form.verdict == "stable"
    at = {"x": np.array([0.5, 0.9, 3.0, 77.0, 1e4, 1e8])}
    true = balls.truth_many(parser.parse_term(text, known), at, FORMATS["float64"])
    assert error(evaluate(form.term, at, FORMATS["float64"]), true, FORMATS["float64"]).max() <= bound
