"""Complements in pairs; signs and absolute values of what is known to be positive."""

import numpy as np
import pytest
from lossmith.derivations.evaluate import Evaluator
from lossmith.derivations.grouping import grouped
from lossmith.derivations.parser import arguments, parse_term
from lossmith.derivations.polynomial import canon, unordered
from lossmith.derivations.precise import SUMS, doubled, spelled
from lossmith.derivations.seeds import recognized, seeds
from lossmith.derivations.terms import Term, add, make, neg, show, sub, walk

KNOWN = arguments({"x": "real", "z": "[0,1]", "p": "(0,1)", "q": "(0,1)", "u": "(0,inf)", "v": "(0,inf)"})


def term(text: str) -> Term:
    return parse_term(text, KNOWN)


@pytest.mark.parametrize("text, expected", [
    ("x - z*x - p", "x*(1 - z) - p"),
    ("p + q - p*q", "p*(1 - q) + q"),
    ("p - p*exp(x) - exp(x - u)*q", "p*(1 - exp(x)) - exp(x - u)*q"),
    ("q*exp(x) - q*exp(u) + p", "q*exp(u)*(1 - exp(x - u)) - p"),
])
def test_a_sum_in_pairs_is_the_same_sum(text: str, expected: str) -> None:
    found = list(grouped(term(text)))
    assert found
    for made in found:
        at = Evaluator({n: np.array([0.37, 0.81]) for n in KNOWN})
        assert np.allclose(at(made), at(term(text)), rtol=1e-12)
    if "exp(x) - q" not in text:
        assert canon(sub(found[0], term(expected))) == {}
        assert any(t.op == "mul" and t.args[-1].op == "sub" for t in walk(found[0]))


def test_nothing_is_paired_where_nothing_differs_by_a_factor() -> None:
    assert list(grouped(term("x + p + q"))) == []


def test_a_weight_that_was_multiplied_out_is_found_again() -> None:
    gradient = term("(1 - z)*sigmoid(x) - z*(1 - sigmoid(x))")
    assert "(exp(x)*(1 - z) - z)/(1 + exp(x))" in {show(s.term) for s in seeds(gradient)}


def test_signs_of_what_is_positive_are_known() -> None:
    steps = recognized(term("sign(u)*abs(u)*sign(-v)"), lambda r: True)
    assert show(steps[-1].after) == "-u"


def test_what_cancels_for_either_sign_is_found() -> None:
    found = {show(s.term) for s in seeds(term("abs(u - v)/(u + v)**2 - sign(u - v)/(u + v)"))}
    assert "(-2)*(v*sign(u - v))/(u + v)**2" in found


def test_sums_in_twice_the_digits_leave_their_scale_alone() -> None:
    made = doubled(term("(1 + log(u) - log(v))/x/x"), SUMS)
    assert made.op == "div" and made.args[0].op == "div"
    assert made.args[0].args[0].op == "precise"
    assert spelled(made.args[0].args[0]) is term("1 + log(u) - log(v)")


def test_sums_that_differ_in_their_order_alone_share_a_key() -> None:
    assert unordered(term("p - (q - x)")) == unordered(term("x + (p - q)"))
    assert unordered(term("p/(q/x)")) == unordered(term("x*p/q"))
    assert unordered(term("p - (q + x)")) != unordered(term("p - (q - x)"))
    assert unordered(term("log(p + q)")) != unordered(term("log(p) + log(q)"))


def test_a_key_does_not_grow_with_what_is_shared() -> None:
    """Each level holds the one below twice: written out, sixty levels would be longer than any memory."""
    deep = other = term("p")
    for _ in range(60):
        deep = make("exp", sub(deep, make("sqrt", deep)))
        other = make("exp", add(neg(make("sqrt", other)), other))
    assert unordered(deep) == unordered(other) != unordered(make("sqrt", deep))
