"""Where a formula is stationary in one argument, solved for it; the integral about that place."""

import pytest
from lossmith.derivations.integrals import vanishings
from lossmith.derivations.inverses import stationary
from lossmith.derivations.parser import arguments, parse_term
from lossmith.derivations.terms import Term, show, var

DIVERGENCE = "p*(log(p) - log(sigmoid(x))) + (1 - p)*(log(1 - p) - log(sigmoid(-x)))"
KNOWN = {"p": "(0,1)", "x": "real", "y": "real", "a": "(0,inf)"}


def term(text: str) -> Term:
    return parse_term(text, arguments(KNOWN))


@pytest.mark.parametrize("text, expected", [
    (DIVERGENCE, "log(p) - log1p(-p)"),
    ("exp(x) - a*x", "log(a)"),
    ("exp(x - y) - a*x", "log(a) + y"),
])
def test_the_place_is_solved_for(text: str, expected: str) -> None:
    assert show(next(stationary(term(text), var("x"), lambda r: True))) == expected


def test_nothing_where_the_derivative_has_no_zero_to_solve_for() -> None:
    assert list(stationary(term("exp(x) + y"), var("x"), lambda r: True)) == []


def test_a_divergence_vanishes_twice_at_the_logit() -> None:
    given = tuple(arguments({"p": "(0,1)", "x": "real"}).values())
    found = vanishings(term(DIVERGENCE), given, lambda r: True)
    assert ("x", 2) in {(show(v.by), v.order) for v in found}
    assert vanishings(term(DIVERGENCE + " + 1"), given, lambda r: True) == []
