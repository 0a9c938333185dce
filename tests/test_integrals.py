"""Formulas that vanish where two arguments are equal, as integrals of their slope; Gauss's rule and its bound."""

from __future__ import annotations

from fractions import Fraction

import pytest
from lossmith.derivations import gauss, integrals, parser
from lossmith.derivations.derivation import Evidence
from lossmith.derivations.moves import is_choice
from lossmith.derivations.terms import Term, const, make, mul, replace, var

import lossmith as lm

KL = "sigmoid(a)*(log(sigmoid(a)) - log(sigmoid(b))) + (1 - sigmoid(a))*(log(1 - sigmoid(a)) - log(1 - sigmoid(b)))"
REALS = parser.arguments({"a": "real", "b": "real"})
SIGMOID_SLOPE = parser.parse_term("exp(b)/(1 + exp(b))**2", REALS)


def kl() -> tuple[Term, integrals.Vanishing]:
    term = parser.parse_term(KL, REALS)
    return term, integrals.vanishings(term, list(REALS.values()))[0]


def integral() -> integrals.Integral:
    _, v = kl()
    return next(integrals.integrals(v, SIGMOID_SLOPE, const(1), None, list(REALS.values())))


@pytest.mark.parametrize("count", [6, 12, 18])
def test_nodes_integrate_powers(count: int) -> None:
    for k in (0, 1, 2 * count - 1):
        found = sum((w * u**k for u, w in gauss.nodes(count)), Fraction(0))
        assert abs(found - Fraction(1, k + 1)) < Fraction(1, 10**22)


def test_the_bound_is_above_what_the_rule_leaves_out() -> None:
    """The integral of 1/x from 1 to 3 is log 3."""
    x = var("x")
    bound = gauss.remainders(make("div", const(1), x), x, {}, 1.0, 3.0, 1, (6,))[6]
    ruled = sum(float(w) / (1 + 2 * float(u)) for u, w in gauss.nodes(6)) * 2
    assert 0 < abs(ruled / 1.0986122886681098 - 1) < bound < 1e-4


def test_no_bound_across_a_singularity() -> None:
    x = var("x")
    assert gauss.remainders(make("div", const(1), mul(x, x)), x, {}, 0.001, 3.0, 1, (12,))[12] > 0.1


def test_a_divergence_vanishes_twice() -> None:
    _, v = kl()
    assert (v.order, v.by, v.at) == (2, var("b"), var("a"))


def test_a_sum_vanishes_nowhere() -> None:
    assert integrals.vanishings(parser.parse_term("exp(a) + exp(b)", REALS), list(REALS.values())) == []


def test_an_integral_is_left_alone_by_rules() -> None:
    found = integral()
    assert is_choice(found.beside(found.source))
    assert not is_choice(found.beside(found.source).args[2])


def test_an_integral_agrees_with_its_formula() -> None:
    found = integral()
    evidence = integrals.evidence(found.source, found.beside(found.source), list(REALS.values()))
    assert isinstance(evidence, Evidence) and evidence.points >= 8 and 0 < found.remainder <= 2.0**-55


def test_a_wrong_integral_is_refused() -> None:
    found = integral()
    wrong = replace(found.beside(found.source), {found.term: mul(const(Fraction(10**12 + 1, 10**12)), found.term)})
    with pytest.raises(ArithmeticError):
        integrals.evidence(found.source, wrong, list(REALS.values()))


def test_an_argument_that_stands_in_a_relation_only_is_no_obstacle():
    found = lm.stabilize("(1 - (tanh(x) - z)**2)**2", {"x": "[-1,1]", "y": "[0,1]", "z": "[0,inf)"}, where=["y >= x"])
    assert found.form.verdict == "stable", found.form.remaining
