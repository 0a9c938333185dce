"""Roots of formulas of one argument: found, expanded about, and the last digits beside them kept."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from flint import arb
from lossmith.derivations import balls, evaluate, expanding, roots, search
from lossmith.derivations.constants import rational
from lossmith.derivations.enclosing import working
from lossmith.derivations.measure import apart
from lossmith.derivations.parser import arguments, parse_term
from lossmith.derivations.ulp import FORMATS


def read(text: str, domain: str):
    known = arguments({"x": domain})
    return parse_term(text, known), tuple(known.values())


@pytest.mark.parametrize(("text", "domain", "expected"), [
    ("-x - log(1 - exp(-x))", "(0,inf)", lambda: arb(2).log()),
    ("log(1 + exp(x)) - 1", "real", lambda: (arb(1).exp() - 1).log()),
    ("x**2 - 3", "(0,inf)", lambda: arb(3).sqrt()),
    ("x*log(x) + x/2", "(0,inf)", lambda: (-arb(1) / 2).exp()),
])
def test_a_root_is_found_to_more_digits_than_any_float_has(text, domain, expected):
    term, known = read(text, domain)
    (root,) = roots.roots_of(term, known[0])
    with working(400):
        assert abs(root.ball - expected()) < arb(2) ** -340
        assert abs(sum(rational(p) for p in root.parts) - expected()) < arb(2) ** -115
    assert all(Fraction(float(np.float32(float(p)))) == p for p in root.parts[:3])


def test_a_pole_and_a_rational_root_of_no_irrational_kind():
    term, known = read("1/(exp(x) - 2)", "real")
    assert list(roots.root_expansions(term, known)) == []
    term, known = read("(x - 3)*exp(x)", "real")
    (root,) = roots.roots_of(term, known[0])
    assert root.low == root.high == 3 and root.parts == (3,)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("text", "domain"), [
    ("-x - log(1 - exp(-x))", "(0,inf)"), ("log(1 + exp(x)) - 1", "real"), ("exp(x) - 3*x**2 - 1/7", "[-2,2]")])
def test_the_neighbours_of_a_root_are_right(text, domain, dtype):
    term, known = read(text, domain)
    fmt = FORMATS[dtype]
    _, form = search.stabilize(term, known, dtypes=(dtype,))
    tried = 0
    for root in roots.roots_of(term, known[0]):
        kind = np.float32 if dtype == "float32" else np.float64
        x = kind(float(root.low))
        near = [x, np.nextafter(x, kind(9)), np.nextafter(x, kind(-9)), *(x * kind(1 + 2.0**-k) for k in (3, 9, 20))]
        column = np.array([float(v) for v in near])
        truth = balls.truth_many(term, {"x": column}, fmt)
        got = evaluate.Evaluator({"x": column}, fmt)(form.term)
        assert float(apart(got, truth, fmt).max()) <= 8
        tried += len(near)
    assert tried


def test_a_step_is_proved_and_a_changed_one_refused():
    term, known = read("-x - log(1 - exp(-x))", "(0,inf)")
    _, expansion = next(roots.root_expansions(term, known, ("float64",)))
    made = expanding.choice(expansion, term)
    assert expanding.evidence(term, made, known).kind == "proved"
    wrong = dataclasses.replace(expansion, radius=expansion.radius / 3)
    other = expanding.choice(dataclasses.replace(wrong, term=wrong.quantity), term)
    with pytest.raises(ArithmeticError):
        expanding.evidence(term, other, known)


def test_the_remainder_holds_beside_the_root():
    term, known = read("log(1 + exp(x)) - 1", "real")
    found = list(roots.root_expansions(term, known))
    assert len(found) >= 4
    for _, e in found:
        for x in (0.5413248546129181, 0.5413248546129182, 0.5413248546, 0.55, 0.5413 + float(e.radius) * 0.99):
            exact = balls.enclose(term, {"x": Fraction(x)}, 400)
            made = balls.enclose(e.term, {"x": Fraction(x)}, 400)
            assert abs((exact - made) / exact) < 1.01 * e.remainder
