"""The search: forms it must find, forms it must leave alone, promises that hold for every formula."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from lossmith.derivations import balls
from lossmith.derivations.calculus import derivative
from lossmith.derivations.domains import parse_domain
from lossmith.derivations.evaluate import evaluate
from lossmith.derivations.loss import Argument
from lossmith.derivations.machine import is_machine
from lossmith.derivations.measure import apart, judge
from lossmith.derivations.polynomial import ordered
from lossmith.derivations.rules.base import pattern_term as read
from lossmith.derivations.search import stabilize
from lossmith.derivations.terms import show, walk
from lossmith.derivations.ulp import FORMATS

F32 = FORMATS["float32"]
BCE = "-z*log(sigmoid(x)) - (1 - z)*log(1 - sigmoid(x))"
LOGIT = {"x": "extended", "z": "[0,1]"}
EDGES = [0.0, 1.0, *(float(np.float32(v)) for v in (0.1, 0.5, 0.9, 0.95)), 1 - 2.0**-24, 2.0**-24]
TAILS = [0.0, 1e-30, 1e-8, 0.1, 0.7, 1.0, 3.0, 16.6, 17.4, 20.0, 40.0, 87.0, 88.5, 95.0, 103.0, 104.0, 150.0, 1e4, 1e30]


def arguments(domains):
    roles = ["input", *["target"] * len(domains)]
    return tuple(Argument(n, role, parse_domain(d)) for (n, d), role in zip(domains.items(), roles))


def solve(text, domains, order=(), **more):
    given = arguments(domains)
    term = read(text)
    if order:
        term = derivative(term, order, given)
    return stabilize(term, given, order, **more)


def worst(form, columns):
    """The worst error of a form at given float32 points, in ulp of the truth of its definition."""
    env = {n: np.asarray(c, dtype=np.float32).astype(np.float64) for n, c in columns.items()}
    truth = balls.truth_many(form.definition, env, F32, form.arguments)
    return float(np.max(apart(evaluate(form.term, env, F32), truth, F32)))


def grid(xs, zs):
    table = [(s * x, z) for x in xs for s in (-1, 1) for z in zs]
    return {"x": [t[0] for t in table], "z": [t[1] for t in table]}


def test_sigmoid_cross_entropy_becomes_a_sum_of_terms_that_are_never_negative():
    steps, form = solve(BCE, LOGIT)
    assert form.verdict == "stable" and form.error.ulp <= 3
    assert worst(form, grid(TAILS, EDGES)) <= 3
    assert all(t.op != "sub" or show(t) == "1 - z" for t in walk(form.term))
    assert sum(t.op in ("exp", "log1p") for t in walk(form.term)) == 2
    assert {"log-sigmoid", "complement", "softplus-by-sign"} <= {s.rule for s in steps}


def test_its_gradient_never_subtracts_the_target_from_a_rounded_probability():
    _, form = solve(BCE, LOGIT, ("x",))
    assert form.verdict == "stable"
    assert worst(form, grid(TAILS, [0.0, 1.0])) <= 3
    assert worst(form, grid(TAILS[8:], EDGES)) <= 4
    assert sum(t.op in ("exp", "log1p", "expm1") for t in walk(form.term)) == 1


def test_its_second_derivative():
    _, form = solve(BCE, LOGIT, ("x", "x"))
    assert form.verdict == "stable"
    assert worst(form, grid(TAILS, [0.0, 1.0, 0.5])) <= 4
    assert sum(t.op == "exp" for t in walk(form.term)) == 1


def test_infinite_logits_take_their_limits():
    _, form = solve(BCE, LOGIT)
    _, slope = solve(BCE, LOGIT, ("x",))
    env = {"x": np.array([np.inf, -np.inf, np.inf, -np.inf]), "z": np.array([1.0, 0.0, 0.0, 1.0])}
    np.testing.assert_array_equal(evaluate(form.term, env, F32), [0, 0, np.inf, np.inf])
    np.testing.assert_array_equal(evaluate(slope.term, env, F32), [0, 0, 1, -1])


def test_probabilities():
    _, form = solve("-z*log(p) - (1 - z)*log(1 - p)", {"p": "[0,1]", "z": "[0,1]"})
    assert form.verdict == "stable" and any(t.op == "log1p" for t in walk(form.term))
    env = {"p": np.array([0.0, 1.0, 0.0, 1.0]), "z": np.array([0.0, 1.0, 1.0, 0.0])}
    np.testing.assert_array_equal(evaluate(form.term, env, F32), [0, 0, np.inf, np.inf])


@pytest.mark.parametrize(("text", "domains"), [
    ("(x - y)**2", {"x": "real", "y": "real"}),
    ("-log(p)", {"p": "[0,1]"}),
    ("abs(x - y)", {"x": "real", "y": "real"}),
    ("max(0, 1 - x*y)", {"x": "real", "y": "{-1,1}"}),
    ("(x - max(0.01, c))**2", {"c": "[0,inf)", "x": "[0,inf)"}),
])
def test_what_is_good_comes_back_unchanged(text, domains):
    steps, form = solve(text, domains)
    assert steps == () and form.term is read(text)
    assert form.verdict in ("stable", "unchanged")


@pytest.mark.parametrize(("text", "domains", "limit"), [
    ("log(1 + exp(x))", {"x": "extended"}, 3),
    ("log(1/(1 + exp(-x)))", {"x": "extended"}, 3),
    ("exp(x)/(1 + exp(x))", {"x": "real"}, 3),
    ("-(1 - sigmoid(x))**2*log(sigmoid(x))", {"x": "extended"}, 4),
    ("sqrt(1 + x**2) - 1", {"x": "real"}, 4),
    pytest.param("log((exp(x) + exp(-x))/2)", {"x": "real"}, 4, marks=pytest.mark.heavy),
    ("log(cosh(x))", {"x": "real"}, 4),
    ("exp(d) - d - 1", {"d": "real"}, 4),
    ("1 - exp(-x**2/2)", {"x": "real"}, 4),
    ("log(1 + exp(-x*y))", {"x": "real", "y": "{-1,1}"}, 3),
    ("sqrt(x + 1) - sqrt(x)", {"x": "[0,inf)"}, 4),
    ("1/x - 1/(x + 1)", {"x": "(0,inf)"}, 4),
    ("x**2/(1 + x**2)", {"x": "real"}, 4),
])
def test_naive_formulas_become_stable(text, domains, limit):
    _, form = solve(text, domains)
    assert form.verdict == "stable", (show(form.term), form.remaining)
    assert form.error.ulp <= limit


@pytest.mark.parametrize("order", [("x",), ("x", "x")])
@pytest.mark.parametrize(("text", "domains"), [
    ("log(1 + exp(x))", {"x": "extended"}),
    pytest.param("-(1 - sigmoid(x))**2*log(sigmoid(x))", {"x": "real"}, marks=pytest.mark.heavy),
    ("sqrt(1 + x**2) - 1", {"x": "real"}),
    ("log(cosh(x))", {"x": "real"}),
])
def test_derivatives_become_stable(text, domains, order):
    _, form = solve(text, domains, order)
    assert form.verdict == "stable", (show(form.term), form.remaining)
    assert form.error.ulp <= (6 if len(order) == 2 else 4)


CASES = [(BCE, LOGIT),
         pytest.param("p*log(p/q) - p + q", {"p": "(0,inf)", "q": "(0,inf)"}, marks=pytest.mark.heavy),
         ("log(x + sqrt(x**2 + 1))", {"x": "real"}), ("exp(x) - y*x", {"x": "real", "y": "[0,inf)"})]


@pytest.mark.parametrize(("text", "domains"), CASES)
def test_promises(text, domains):
    """The machine's vocabulary, a chain without gaps, never worse than the definition, evidence for each step."""
    steps, form = solve(text, domains)
    assert is_machine(form.term)
    if steps:
        assert steps[0].before is form.definition and steps[-1].after is form.term
    for one, next_one in itertools.pairwise(steps):
        assert one.after is next_one.before
    assert all(s.evidence and s.rule and s.reason and s.reason_latex for s in steps)
    sight = judge(form.definition, form.arguments, F32, 300, 77)
    finite = np.isfinite(sight.truth)
    before, after = sight.ulps(form.definition)[finite], sight.ulps(form.term)[finite]
    assert np.isinf(after).sum() <= np.isinf(before).sum()


def test_each_step_keeps_the_value():
    steps, _ = solve(BCE, LOGIT)
    for step in steps:
        for point in ({"x": 0.3, "z": 0.25}, {"x": -4.5, "z": 0.75}, {"x": 9.0, "z": 1.0}):
            assert balls.overlaps(step.before, step.after, point), step.rule


def test_the_answer_does_not_depend_on_what_was_searched_before():
    first = solve(BCE, LOGIT, ("x",))
    solve("log(1 + exp(x)) - y*x", {"x": "real", "y": "[0,1]"})
    again = solve(BCE, LOGIT, ("x",))
    assert again[1].term is first[1].term
    assert [s.rule for s in again[0]] == [s.rule for s in first[0]]


def test_seeds_are_used_and_named():
    good = read("max(x, 0) + log1p(exp(-abs(x)))")
    steps, form = stabilize(read("log(1 + exp(x))"), arguments({"x": "real"}), seeds=(good,))
    assert form.verdict == "stable" and ordered(form.term) is ordered(good)
    assert steps


def test_a_constant_needs_no_search():
    steps, form = stabilize(read("2"), arguments({"x": "real"}), ("x", "x"))
    assert steps == () and form.term is read("2") and form.error.ulp == 0


def test_a_row_is_refused():
    from lossmith.derivations.terms import make, row

    with pytest.raises(ValueError, match="scalar"):
        stabilize(make("exp", row("x")), ())


def test_a_form_without_excuse_is_taken_where_there_is_one():
    """An exponential of a product multiplies its rounding by the product, which conditioning would excuse."""
    _, form = solve("log(1 - exp(-r*x))", {"x": "(0,inf)", "r": "[1e-3,1e3]"})
    sight = judge(form.definition, form.arguments, F32, 500, 78)
    finite = np.isfinite(sight.truth)
    assert sight.ulps(form.term)[finite].max() <= 16, show(form.term)


@pytest.mark.heavy
def test_the_steps_of_a_piece_are_kept_where_only_that_piece_needs_them():
    """Outside its piece a form may be off by anything, which says nothing of the steps that lead to it."""
    counts = {"k": "[0,10000]", "r": "[1/10,10000]", "p": "(0,1)"}
    _, form = solve("lgamma(k + r) - lgamma(k + 1) - lgamma(r) + r*log(1 - p) + k*log(p)", counts, dtypes=("float64",))
    near = {"k": [9424.737636949056], "r": [7592.488997804257], "p": [0.552489888235187]}
    env = {n: np.asarray(c) for n, c in near.items()}
    truth = balls.truth_many(form.definition, env, arguments=form.arguments)
    assert float(np.max(apart(evaluate(form.term, env), truth, FORMATS["float64"]))) < 64
