"""Judging forms: several formats at once, points near roots, limits at singularities, trouble around an answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lossmith.derivations import terms
from lossmith.derivations.answers import Answer
from lossmith.derivations.climb import climbed
from lossmith.derivations.domains import parse_domain
from lossmith.derivations.evaluate import evaluate
from lossmith.derivations.loss import Argument
from lossmith.derivations.measure import judge, judges
from lossmith.derivations.precise import wrap
from lossmith.derivations.regimes import quantities
from lossmith.derivations.rules.base import pattern_term as read
from lossmith.derivations.search import stabilize
from lossmith.derivations.singular import agreement, patched, places
from lossmith.derivations.terms import show, walk
from lossmith.derivations.ulp import FORMATS
from lossmith.derivations.verdicts import sentence

F32, F64 = FORMATS["float32"], FORMATS["float64"]


def arguments(**domains):
    return tuple(Argument(n, "input", parse_domain(d)) for n, d in domains.items())


def test_each_format_is_rounded_to_where_formats_are_measured_together():
    definition = read("log(1 + exp(x)) - x/10")
    given = arguments(x="real")
    both = judges(definition, given, {F64: 120, F32: 120}, 4)
    assert {f.name for f, _ in both.stretches} == {"float32", "float64"}
    for fmt, place in both.stretches:
        alone = evaluate(definition, {"x": both.env["x"][place]}, fmt)
        np.testing.assert_array_equal(both.value(definition)[place], alone)


def test_measurements_are_told_by_format():
    definition = read("exp(x) - 1")
    both = judges(definition, arguments(x="real"), {F32: 100, F64: 100}, 4)
    found = {m.dtype: m for m in both.measurements(definition)}
    assert set(found) == {"float32", "float64"}
    worst = both.measurement(definition)
    assert worst.ulp == max(m.ulp for m in found.values())


def test_points_of_a_judge_are_joined_once():
    definition = read("x*y")
    one = judges(definition, arguments(x="real", y="real"), {F32: 60}, 1)
    assert one.joined(one).count == one.count
    assert one.without(one).count == 0
    some = one.select([0, 3])
    assert one.joined(some).count == one.count and some.joined(one).count == one.count


def test_points_lie_near_roots_of_several_arguments():
    found = judge(read("exp(x) - y"), arguments(x="[-3,3]", y="[0.1,10]"), F64, 60, 1)
    near = np.abs(np.exp(found.env["x"]) - found.env["y"]) < 1e-6 * found.env["y"]
    assert near.sum() >= 8


def test_given_relations_hold_at_every_point():
    given = (read("x > y"),)
    found = judge(read("log(x - y)"), arguments(x="real", y="real"), F32, 100, 1, given=given)
    assert found.count > 40 and (found.env["x"] > found.env["y"]).all()


@pytest.mark.parametrize(("zero", "name", "value"), [
    ("x", "x", "0"), ("log(p) - log(q)", "p", "q"), ("x**2", "x", "0"), ("expm1(x - y)", "x", "y"), ("p - q", "p", "q"),
    ("exp(x) - 1", "x", "0"), ("x - 2", "x", "2"),
])
def test_places_at_which_a_denominator_vanishes(zero, name, value):
    place = next(places(read(zero)))
    assert place.variable is terms.var(name) and place.value is read(value)


@pytest.mark.parametrize(("text", "limit"), [
    ("expm1(x)/x", "1"), ("sin(x)/x", "1"), ("(1 - cos(x))/x**2", "1/2"), ("x/tanh(x)", "1"), ("log1p(x)/x", "1"),
    ("expm1(a*log(x))/a", "log(x)"), ("(p - q)/(log(p) - log(q))", "q"),
])
def test_limits_at_removable_singularities(text, limit):
    found = {m.result.args[1] for m in patched(read(text))}
    assert read(limit) in found, found


def test_a_limit_is_checked_against_balls():
    move = next(iter(patched(read("expm1(x)/x"))))
    given = arguments(x="real")
    assert agreement(move, [{"x": 1.0}], given) == 1
    wrong = move.inside(move.before, move.after)
    object.__setattr__(wrong, "result", terms.make("where", move.result.args[0], terms.TWO, move.result.args[2]))
    with pytest.raises(ArithmeticError):
        agreement(wrong, [{"x": 1.0}], given)


@pytest.mark.parametrize(("text", "domains"), [
    ("(exp(x) - 1)/x", {"x": "[-50,50]"}), ("sin(x)/x", {"x": "[-30,30]"}), ("x/(exp(x) - 1)", {"x": "[-50,50]"}),
    ("(p - q)/(log(p) - log(q))", {"p": "(0,inf)", "q": "(0,inf)"}),
])
def test_the_limit_is_the_value_where_the_formula_has_none(text, domains):
    steps, form = stabilize(read(text), arguments(**domains))
    assert form.verdict == "stable", (show(form.term), form.remaining)
    at = {n: np.array([0.0 if text.count("x") else 3.0]) for n in domains}
    assert np.isfinite(evaluate(form.term, at, F64)).all()
    assert steps


def test_trouble_is_found_that_no_drawn_point_shows():
    """A wrong branch within a narrow interval of one argument."""
    definition, given = read("log(1 + x**2)"), arguments(x="[0,100]")
    wrong = read("where(x < 17.5, log1p(x**2), where(x < 17.5001, 0, log1p(x**2)))")
    known = judges(definition, given, {F32: 60, F64: 60}, 1)
    found = climbed(Answer((), wrong, 1.0), (read("log1p(x**2)"),), known, ())
    inside = (found.env["x"] >= 17.5) & (found.env["x"] < 17.5001)
    assert inside.sum() >= 2


def test_a_form_is_good_in_both_formats_or_says_where_not():
    _, form = stabilize(read("log(1 + exp(x))"), arguments(x="real"))
    assert {m.dtype for m in form.errors} == {"float32", "float64"} and max(m.ulp for m in form.errors) <= 4
    assert form.before is not None and math.isinf(form.before.ulp)
    assert sentence(form).startswith("stable within")
    _, one = stabilize(read("log(1 + exp(x))"), arguments(x="real"), dtypes=("float64",))
    assert [m.dtype for m in one.errors] == ["float64"]


def test_what_is_good_is_called_so():
    _, form = stabilize(read("abs(x - y)"), arguments(x="real", y="real"))
    assert sentence(form).startswith("already stable within 0 ulp")


def test_what_cannot_be_improved_is_called_so():
    _, form = stabilize(read("sin(x)*1e3 - cos(x*y)"), arguments(x="real", y="real"), work=400)
    assert form.verdict in ("unchanged", "stable") or "improved from" in sentence(form)


def test_a_relation_decides_what_may_be_used():
    given = (read("x > y"),)
    steps, form = stabilize(read("log(exp(x) - exp(y))"), arguments(x="real", y="real"), given=given)
    assert form.verdict == "stable", form.remaining
    assert len(steps) <= 5 and not any(t.op == "lgamma" for t in walk(form.term))


def test_pieces_of_one_argument_are_split_by_it_or_by_its_size():
    found = quantities(judge(read("log(cosh(x) + exp(x - 1))"), arguments(x="real"), F32, 60, 1), ())
    assert [show(q) for q in found] == ["x", "abs(x)"]
    two = quantities(judge(read("log(x/y)"), arguments(x="(0,inf)", y="(0,inf)"), F32, 60, 1), ())
    ranks = list(two.values())
    assert [show(q) for q in two][:2] == ["x", "y"] and ranks == sorted(ranks)


def test_terms_that_nobody_holds_are_dropped(monkeypatch):
    kept = read("exp(x*12345) + 1")
    for k in range(500):
        read(f"exp(x*{k + 1000003})")
    before = len(terms._table)
    monkeypatch.setattr(terms, "CROWDED", 1)
    terms.make_room()
    assert len(terms._table) < before - 400
    assert read("exp(x*12345) + 1") is kept


def test_what_has_no_value_is_given_none():
    _, form = stabilize(read("x/y"), arguments(x="[0,1]", y="[0,1]"))
    assert np.isnan(evaluate(form.term, {"x": np.array([0.0]), "y": np.array([0.0])}, F64)).all()
    _, kept = stabilize(read("p*log(p/q)"), arguments(p="[0,1]", q="[0,1]"))
    assert evaluate(kept.term, {"p": np.array([0.0]), "q": np.array([0.0])}, F64) == 0


def test_a_large_scale_beside_a_root_does_not_hide_it():
    known = tuple(Argument(n, "input", parse_domain("(0,inf)")) for n in ("x", "s"))
    fmt = FORMATS["float64"]
    whole = judge(read("s*log(x)"), known, fmt, 20, 1)
    there = whole.at({"x": np.array([1.03125, 1.5]), "s": np.array([1e6, 1e6])}, fmt)
    assert [there.near_root(i) for i in range(2)] == [True, False]


def test_twice_the_digits_of_a_narrow_format_are_float64_also_beside_float64():
    definition = read("y*(x + 1) - x - x")
    given = arguments(x="(-inf,0)", y="(0,inf)")
    in_pairs = wrap(read("2 - (x + 1)*(2 - y)"))
    assert in_pairs.op == "precise"
    both = judges(definition, given, {F64: 60, F32: 60}, 4)
    columns = {"x": np.array([-1e-30, -0.5]), "y": np.array([1e-30, 0.25])}
    both = both.at(columns, F64).joined(both.at({n: np.float32(c).astype(float) for n, c in columns.items()}, F32))
    for fmt, place in both.stretches:
        alone = evaluate(in_pairs, {n: c[place] for n, c in both.env.items()}, fmt)
        np.testing.assert_array_equal(both.value(in_pairs)[place], alone)
