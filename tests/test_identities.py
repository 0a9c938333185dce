"""Identities: every line proved and enclosed; a wrong line refuted with a counterexample."""

from __future__ import annotations

import dataclasses
import math

import pytest
from lossmith.derivations import identities
from lossmith.derivations.domains import PROBABILITY, REAL
from lossmith.derivations.identities.checking import Refuted, Unproved, sample
from lossmith.derivations.identities.identity import Identity
from lossmith.derivations.identities.proof import prove
from lossmith.derivations.identities.writing import exp, log, minus, negative, over_classes, plus, scalar, times, total
from lossmith.derivations.terms import ONE, Term, const, make, row, var
from lossmith.derivations.typeset.text_notation import text

x, z = var("x"), var("z")
ARGUMENTS = (scalar("x", REAL, "logit"), scalar("z", PROBABILITY, "target"))


@pytest.mark.parametrize("name", identities.names())
def test_every_line_is_proved_and_enclosed(name: str) -> None:
    checked = identities.check(identities.load(name), 24)
    assert len(checked.steps) == len(identities.load(name).lines) - 1
    for step in checked.steps:
        assert [e.kind for e in step.evidence] == ["proved", "enclosed"] and step.evidence[1].points == 24
    assert checked.end_to_end[0].points == 24


def test_the_printed_chain_is_what_the_documentation_prints() -> None:
    """Term by term in the order of the documentation, from first line to last."""
    lines = [text(term) for term, _ in identities.load("sigmoid_cross_entropy_printed").lines]
    assert lines == [
        "z * (-log s(x)) + (1-z) (-log(1 - s(x)))",
        "z * (-log(1/(1 + exp(-x)))) + (1-z) (-log(exp(-x)/(1 + exp(-x))))",
        "z log(1 + exp(-x)) + (1-z) (-log exp(-x) + log(1 + exp(-x)))",
        "z log(1 + exp(-x)) + (1-z) (x + log(1 + exp(-x)))",
        "(1-z) x + log(1 + exp(-x))",
        "x - x z + log(1 + exp(-x))",
    ]


def test_the_absolute_value_is_decided_case_by_case() -> None:
    checked = identities.check(identities.load("absolute_divergence_is_both_divergences"), 8)
    assert "case split" in checked.steps[0].evidence[0].method


def chain_of(*lines: Term) -> Identity:
    return Identity("wrong", "Wrong", tuple((line, "") for line in lines), ARGUMENTS)


@pytest.mark.parametrize("index", [1, 2, 3, 4, 5])
def test_a_wrong_line_is_refuted_with_a_counterexample(index: int) -> None:
    right = identities.load("sigmoid_cross_entropy_printed")
    term, reason = right.lines[index]
    lines = (*right.lines[:index], (plus(term, times(x, z)), reason), *right.lines[index + 1 :])
    with pytest.raises(Refuted) as found:
        identities.check(dataclasses.replace(right, lines=lines))
    assert found.value.line == index
    assert found.value.point["x"] * found.value.point["z"] != 0
    assert "x = " in str(found.value)


def test_a_wrong_sign_in_a_sum_over_classes_is_refuted() -> None:
    right = identities.load("cross_entropy_is_entropy_plus_divergence")
    p, q = row("p"), row("q")
    wrong = minus(negative(total(times(p, log(p)))), total(times(p, log(make("div", p, q)))))
    with pytest.raises(Refuted, match="line 4"):
        identities.check(dataclasses.replace(right, lines=(*right.lines[:-1], (wrong, ""))))


def test_a_small_difference_is_still_a_difference() -> None:
    with pytest.raises(Refuted):
        identities.check(chain_of(x, plus(x, times(x, const("1e-30")))))


def test_what_cannot_be_proved_is_not_called_proved() -> None:
    """Equal at every point, but beyond the prover."""
    with pytest.raises(Unproved):
        identities.check(chain_of(make("asinh", make("sinh", x)), x))


@pytest.mark.parametrize(("before", "after"), [
    (make("abs", x), x),
    (log(exp(make("abs", x))), x),
    (total(row("p")), ONE),
    (make("max", x, z), x),
])
def test_nothing_false_is_proved(before: Term, after: Term) -> None:
    assert prove(before, after, (*ARGUMENTS, over_classes("p", PROBABILITY, ""))) is None


def test_points_are_the_same_every_time_and_inside_the_domains() -> None:
    identity = identities.load("cross_entropy_is_entropy_plus_divergence")
    points = sample(identity.arguments, 12)
    assert points == sample(identity.arguments, 12)
    assert {len(env["p"]) for env in points} == {1, 2, 3, 7}
    assert all(math.isclose(sum(env["p"]), 1) and min(env["p"]) > 0 for env in points)


def test_an_unknown_identity_is_named() -> None:
    with pytest.raises(KeyError, match="there are sigmoid_cross_entropy_printed"):
        identities.load("sigmoid")
