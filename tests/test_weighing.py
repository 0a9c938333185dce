"""Weighing an answer against the definition: harm, gain, luck, and what is given back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lossmith.derivations import fallback, weighing
from lossmith.derivations.answers import Answer
from lossmith.derivations.climb import disputed
from lossmith.derivations.domains import parse_domain
from lossmith.derivations.evaluate import Evaluator
from lossmith.derivations.loss import Argument
from lossmith.derivations.measure import Judge, judges
from lossmith.derivations.rules.base import pattern_term as read
from lossmith.derivations.search import stabilize
from lossmith.derivations.singular import limit, places
from lossmith.derivations.ulp import FORMATS

F32, F64 = FORMATS["float32"], FORMATS["float64"]


def arguments(**domains: str) -> tuple[Argument, ...]:
    return tuple(Argument(n, "input", parse_domain(d)) for n, d in domains.items())


def on(definition: str, **domains: str) -> tuple[Answer, Judge, Judge]:
    """The definition as an answer, points, and points at infinity."""
    given = arguments(**domains)
    drawn, edges = (judges(read(definition), given, {F64: 200}, seed, infinite) for seed, infinite in ((1, 0), (3, 1)))
    return Answer((), read(definition), 1.0), drawn, edges


def form(text: str) -> Answer:
    return Answer((), read(text), 1.0)


def test_a_form_that_overflows_where_the_definition_is_right_is_worse() -> None:
    root, drawn, _ = on("x/(1 + x)", x="[0,inf)")
    assert weighing.worse(form("x**2/(x + x**2)"), root, drawn, 4.0)
    assert not weighing.worse(form("1/(1 + 1/x)"), root, drawn.select(drawn.env["x"] > 1), 4.0)


def test_what_is_right_by_luck_beside_a_ruin_may_be_lost() -> None:
    root, drawn, _ = on("(x + 1) - x", x="[0,inf)")
    at = drawn.at({"x": np.array([1.0, 2.0**53 - 1])}, F64)
    assert at.ulps(root.term).tolist() == [0.0, 0.0]
    assert [weighing.by_luck(root, at, i) for i in range(2)] == [False, True]  # from 2**53 on nothing is left


def test_many_larger_errors_are_not_made_up_for_by_a_few_that_are_saved() -> None:
    root, drawn, _ = on("1 + x", x="real")
    rows = np.arange(drawn.count)
    errors = 100.0 * (1.0 + rows / rows.size)

    class Measured(Judge):
        def ulps(self, term: object) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
            return np.where(rows < 3, math.inf, errors) if term is root.term else np.where(rows < 3, 0.0, 2.0 * errors)

    judge = Measured(drawn.definition, drawn.env, drawn.truth, drawn.fmts, drawn.kind, drawn.arguments)
    assert weighing.dearer(form("x + 1 + 0*x"), root, judge)
    assert not weighing.dearer(root, root, judge)


def test_a_definition_that_is_good_already_is_left_only_for_one_far_better() -> None:
    root, drawn, edges = on("(x + 1)**2 - x", x="[1,8]")
    assert float(drawn.ulps(root.term).max()) <= 16
    dear = form("((x + 1)*(x + 1) - x) + 0*exp(x)")
    assert 0.5 * float(drawn.ulps(root.term).max()) < float(drawn.ulps(dear.term).max())
    assert not weighing.gained(dear, root, drawn, edges, 4.0)
    assert weighing.gained(form("x"), root, drawn, edges, 4.0)  # far cheaper


def test_the_form_stands_in_only_where_the_definition_has_no_value() -> None:
    root, answer = form("exp(x)/(1 + exp(x))"), form("1/(1 + exp(-x))")
    made = fallback.standing_in(answer, root)
    at = Evaluator({"x": np.array([-2.5, 1.25, 1000.0])})
    given, stands, both = (np.asarray(at(t)) for t in (root.term, answer.term, made.term))
    assert np.isnan(given[2]) and both[2] == stands[2] == 1.0
    assert both[:2].tolist() == given[:2].tolist()


def test_an_unsure_form_has_the_definition_beside_it_whatever_was_tried() -> None:
    root, answer = form("log(x)/(x - 1)"), form("log1p(x - 1)/(x - 1)")
    _, drawn, _ = on("log(x)/(x - 1)", x="[2,8]")
    assert fallback.with_fallback(answer, root, [drawn]) is answer
    made = fallback.with_fallback(answer, root, [drawn], unsure=True)
    assert made.term is not answer.term
    at = Evaluator({"x": np.array([0.0, 1.0, 4.0])})
    given, stands, both = (np.asarray(at(t)) for t in (root.term, answer.term, made.term))
    assert np.isnan(stands[1]) and np.isnan(given[1]) and np.isnan(both[1])
    assert both[[0, 2]].tolist() == stands[[0, 2]].tolist()


def test_forms_are_disputed_where_a_part_of_one_overflows() -> None:
    _, drawn, _ = on("log(x/10*y)", x="(0,inf)", y="(0,inf)")
    found = disputed(read("log(x*y/10)"), read("log(x/10*y)"), drawn, ())
    overflown = np.isinf(found.value(read("log(x*y/10)"))) & np.isfinite(found.truth)
    assert overflown.any()
    near = np.abs(found.env["x"] * (found.env["y"] / 10))[overflown]
    assert (near < F64.largest).all()


def test_forms_are_disputed_where_all_arguments_are_alike() -> None:
    _, drawn, _ = on("sqrt(z) - (y - x)", x="(0,inf)", y="(0,inf)", z="(0,inf)")
    found = disputed(read("(sqrt(z) + x) - y"), read("sqrt(z) - (y - x)"), drawn, ())
    alike = (found.env["x"] == found.env["y"]) & (found.env["y"] == found.env["z"])
    assert alike.sum() >= 2


def test_forms_are_disputed_where_the_one_or_the_other_has_no_value() -> None:
    root, drawn, _ = on("x/(1 + x)", x="[0,inf)")
    found = disputed(read("x**2/(x + x**2)"), root.term, drawn, ())
    assert np.isnan(found.value(read("x**2/(x + x**2)"))).any()
    assert found.truth[np.isnan(found.value(read("x**2/(x + x**2)")))].max() == 1.0


@pytest.mark.parametrize("quotient, value", [
    ("abs(exp(y) - 1)/y", None), ("sqrt(x*y + x*y)/sqrt(-expm1(-x)*exp(3))", None), ("max(y, y**2)/y", None),
    ("(x - sqrt(x**2 - x))**2/x", None), ("(exp(x) - 1 - x)/x**2", 0.5),
    ("sin(y)/y", 1.0), ("abs(cos(y))*sin(y)/y", 1.0)])
def test_a_slope_that_does_not_exist_says_nothing_of_a_limit(quotient: str, value: float | None) -> None:
    top, bottom = read(quotient).args
    found = [limit(top, bottom, place) for place in places(bottom)]
    assert [f if f is None else float(Evaluator({})(f)) for f in found] == [value]


def test_what_is_stable_is_given_back() -> None:
    definition = read("(exp(log(expm1(1/2))) - erf(log(x)/x))**2")
    steps, found = stabilize(definition, arguments(x="real"))
    assert not steps and found.term is definition
