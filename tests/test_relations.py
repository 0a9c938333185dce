"""Relations between arguments: points satisfy them and lie at their edges, ranges know them, contradictions show."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from conftest import Run
from lossmith.derivations import checkpoints, parser, points, relations
from lossmith.derivations.declarations import tightened
from lossmith.derivations.loss import Argument
from lossmith.derivations.ranges import ranges
from lossmith.derivations.terms import Term, show
from lossmith.derivations.ulp import FORMATS, numbers, ordinals

import lossmith as lm

F32, F64 = FORMATS["float32"], FORMATS["float64"]


def given(domain: dict[str, str], *texts: str) -> tuple[list[Argument], tuple[Term, ...]]:
    known = parser.arguments(domain)
    return list(known.values()), parser.parse_relations(texts, known)


REAL = {"x": "real", "y": "real", "z": "real"}
SATISFIABLE = [
    (REAL, ["x > y"]), (REAL, ["x >= y"]), (REAL, ["x != y"]), (REAL, ["x > 2*y"]), (REAL, ["x > y > z"]),
    (REAL, ["abs(x) > abs(y)"]), (REAL, ["x >= y", "y >= x"]), (REAL, ["x < exp(y)"]), (REAL, ["x > y or x < z"]),
    ({"x": "[0,1]", "y": "[0,1]"}, ["x + y <= 1"]), ({"x": "positive", "y": "positive"}, ["x**2 + y**2 < 1"]),
    ({"x": "{0,1}", "y": "[0,1]"}, ["x >= y"]),
]


@pytest.mark.parametrize("fmt", [F32, F64], ids=lambda f: f.name)
@pytest.mark.parametrize(("domain", "texts"), SATISFIABLE, ids=[" ".join(s[1]) for s in SATISFIABLE])
def test_every_point_satisfies_and_none_is_missing(domain, texts, fmt):
    arguments, wanted = given(domain, *texts)
    columns = points.scalar_points(arguments, 200, 3, fmt, given=wanted)
    assert {len(c) for c in columns.values()} == {200}
    assert relations.holds(wanted, columns).all()
    for a in arguments:
        assert all(a.domain.holds(float(v)) for v in columns[a.name])
        assert (numbers(ordinals(columns[a.name], fmt), fmt) == columns[a.name]).all()
    again = points.scalar_points(arguments, 200, 3, fmt, given=wanted)
    assert all((columns[n] == again[n]).all() for n in columns)


def test_many_points_lie_near_the_edge():
    arguments, wanted = given({"x": "real", "y": "real"}, "x >= y")
    columns = points.scalar_points(arguments, 360, 1, F64, given=wanted)
    apart = ordinals(columns["x"], F64) - ordinals(columns["y"], F64)
    assert (apart == 0).sum() > 20 and (apart == 1).sum() > 10 and ((apart > 1) & (apart < 20)).sum() > 10
    size = np.abs(columns["x"][(apart > 0) & (apart < 20)])
    assert (size > 1e10).any() and (size < 1e-10).any() and ((size > 0.01) & (size < 100)).any()
    strict = points.scalar_points(*given({"x": "real", "y": "real"}, "x > y")[:1], 360, 1, F64,
                                  given=given({"x": "real", "y": "real"}, "x > y")[1])
    assert (strict["x"] > strict["y"]).all()


def test_a_sum_at_its_edge_is_exact():
    arguments, wanted = given({"x": "[0,1]", "y": "[0,1]"}, "x + y <= 1")
    columns = points.scalar_points(arguments, 360, 1, F32, given=wanted)
    total = columns["x"] + columns["y"]  # exact: float32 numbers in float64, but for tiny ones
    assert (total == 1).sum() > 10 and (total <= 1).all()


@pytest.mark.parametrize("texts", [["x > y", "y > x"], ["x > y", "y >= x"], ["x*x < -1"], ["x < y < z < x"]])
def test_contradictions_are_told_soon(texts):
    started = time.process_time()
    with pytest.raises(relations.ContradictionError, match="no float64 numbers"):
        arguments, wanted = given(REAL, *texts)
        points.scalar_points(arguments, 48, 0, F64, given=wanted)
    assert time.process_time() - started < 3


@pytest.mark.parametrize(("term", "texts", "low", "high"), [
    ("x - y", ["x > y"], 5e-324, np.inf), ("y - x", ["x > y"], -np.inf, -5e-324), ("x - y", ["x >= y"], 0, np.inf),
    ("3*x - 3*y + 2", ["x >= y"], 2, np.inf), ("1 - p", ["p + q <= 1"], 0, 1), ("x - z", ["x > y > z"], 5e-324, np.inf),
    ("r/s", ["r < s"], 0, 1), ("exp(y - x)", ["x > y"], 0, 1), ("x", ["x > s"], 5e-324, np.inf),
    ("x - y", ["x != y"], -np.inf, np.inf), ("x + y", ["x > y"], -np.inf, np.inf), ("p + q", ["p + q <= 1"], 0, 1),
])
def test_ranges_know_what_is_given(term, texts, low, high):
    domain = {**REAL, "p": "[0,1]", "q": "[0,1]", "r": "positive", "s": "positive"}
    known = parser.arguments(domain)
    read = parser.parse_term(term, known)
    found = ranges(read, tuple(known.values()), parser.parse_relations(texts, known))[read]
    assert found[0] == low or (low == -np.inf and found[0] < -1e300)
    assert found[1] == high or (high == np.inf and found[1] > 1e300)


@pytest.mark.parametrize(("domain", "text", "left"), [
    ("real", "x > 0", "(0, inf)"), ("real", "x >= 0 and x < 2", "[0, 2)"), ("[0,1]", "0 < x", "(0, 1]"),
    ("{0,1,2}", "x != 1", "{0, 2}"), ("real", "x != 0", "nonzero"), ("[0,1]", "x <= 3", "[0, 1]"),
])
def test_a_relation_to_a_number_is_a_domain(domain, text, left):
    known = parser.arguments({"x": domain})
    made, rest = tightened(known, parser.parse_relations(text, known))
    assert str(made["x"].domain) == left and rest == ()


def test_other_relations_stay():
    known = parser.arguments({"x": "real", "y": "real"})
    made, rest = tightened(known, parser.parse_relations(["x > y, x != 1", "y > 0"], known))
    assert [show(r) for r in rest] == ["x > y", "x != 1"] and str(made["y"].domain) == "(0, inf)"
    with pytest.raises(parser.FormulaError, match="no number of x"):
        tightened(known, parser.parse_relations("x > 1, x < 0", known))


@pytest.mark.parametrize("text", ["x", "x == y", "3 > 2", "x > w", "x >", "x[k] > y", "sum(x) > 1"])
def test_what_is_no_relation_is_refused(text):
    with pytest.raises(parser.FormulaError):
        parser.parse_relations(text, parser.arguments({"x": "real", "y": "real"}))


def test_ends_are_checked_where_the_relations_hold():
    arguments, wanted = given({"x": "real", "y": "real"}, "x > y")
    checked = checkpoints.ordinary(tuple(arguments), False, wanted)
    assert len(checked) >= 20 and all(p["x"] > p["y"] for p in checked)


def test_a_formula_that_needs_its_relation():
    found = lm.stabilize("log(x - y)", "x=real, y=real", where="x > y")
    assert [show(r) for r in found.given] == ["x > y"] and "x > y" in found.to_text()
    assert found.form.error is not None and found.form.error.points > 200


def test_the_command_says_all_of_it_as_data(command: Run) -> None:
    said = command("stabilize", "log(x) - log(y)", "--domain", "x=positive", "--domain", "y=positive",
                   "--where", "x > y", "--dtype", "float32", "--json")
    assert said.returncode == 0, said.stderr
    data = json.loads(said.stdout)
    form = data["form"]
    assert data["where"] == ["x > y"] and form["verdict"] == "stable"
    assert [e["dtype"] for e in form["errors"]] == ["float32"] and form["before"]["ulp"] > 1e6
    assert form["condition"] >= 1 and all(s["error_after"]["ulp"] is not None for s in data["steps"])
