"""Both ends of a derivation are compared where forms go wrong: beyond a seam, at it, at extremes, under relations."""

from __future__ import annotations

import math

import pytest
from lossmith.derivations import checkpoints, derive, prove, search
from lossmith.derivations.derive import enclosed
from lossmith.derivations.domains import POSITIVE, REAL
from lossmith.derivations.loss import Argument, Unit
from lossmith.derivations.rules.base import pattern_term as read

X, Y = Argument("x", "input", REAL), Argument("y", "input", REAL)
WRONG = (
    ("abs(x)", "where(x > 1000000, 2*x, abs(x))"),  # beyond a far seam
    ("x**2", "where(x == 3, 8, x**2)"),  # at one number that the form itself names
    ("softplus(x)", "where(x > 35, x, softplus(x))"),  # nearly equal is not equal
    ("exp(-x)", "where(abs(x) < 1/1000000, 1, exp(-x))"),  # inside a small interval
    ("sign(x)", "where(x >= 0, 1, -1)"),  # at zero alone
    ("x*y", "where(x - y > 100, 0, x*y)"),
)


@pytest.mark.parametrize(("before", "after"), WRONG, ids=[w[1] for w in WRONG])
def test_a_form_that_is_wrong_off_the_ordinary_points_is_refused(before, after):
    arguments = (X, Y) if "y" in before else (X,)
    with pytest.raises(ArithmeticError, match="differ"):
        enclosed(read(before), read(after), arguments, False)


def test_both_sides_of_a_seam_are_one_float_apart():
    found = checkpoints.seams(read("where(x*x > 2, 1, 0)"), (Argument("x", "input", POSITIVE),))
    root = math.sqrt(2)
    assert {abs(p["x"] - root) <= 2 * math.ulp(root) for p in found} == {True}
    sides = [p["x"] * p["x"] > 2 for p in found]
    assert any(sides) and not all(sides)


def test_points_keep_to_domains_and_relations():
    given = (read("x > y"),)
    positive = (Argument("x", "input", POSITIVE), Argument("y", "input", POSITIVE))
    table = [*checkpoints.ordinary(positive, False, given),
             *checkpoints.extreme(read("where(x > 2*y, 1, 0)"), positive, given)]
    assert len(table) > checkpoints.POINTS and all(p["x"] > p["y"] > 0 for p in table)


def test_where_the_definition_has_no_value_nothing_is_compared():
    assert checkpoints.difference(read("log(x)"), read("log(abs(x))"), [{"x": -1.0}]) is None
    assert checkpoints.difference(read("log(abs(x))"), read("log(x)"), [{"x": -1.0}]) == {"x": -1.0}


def test_a_refused_form_leaves_the_definition(monkeypatch):
    """A step, or both ends, that a check refutes: what comes back is what was given, and it says so."""
    definition = read("log(1 + exp(x))")
    prove_step, found = prove.evidence, search.stabilize(definition, (X,))[1]
    assert found.term is not definition and search.REFUSED not in found.remaining

    def refuses(move, *rest):
        if move.source is definition:
            raise ArithmeticError("they differ")
        return prove_step(move, *rest)

    monkeypatch.setattr(prove, "evidence", refuses)
    steps, form = search.stabilize(definition, (X,))
    assert form.verdict == "unchanged" and form.error.ulp == form.before.ulp > 16
    assert f"{search.REFUSED}: they differ" in form.remaining
    assert all(s.source is not definition for s in steps)


def test_ends_that_differ_leave_the_definition(monkeypatch):
    compare, seen = derive.enclosed, []

    def refuses(before, after, *rest):
        seen.append(after)
        if len(seen) == 1:
            raise ArithmeticError("both ends differ")
        return compare(before, after, *rest)

    monkeypatch.setattr(derive, "enclosed", refuses)
    unit = Unit("f", "f", "f", read("log(1 + exp(x))"), (X,), (), ())
    form = derive.derive(unit).form
    assert len(seen) == 2 and form.verdict == "unchanged" and "both ends differ" in form.remaining
