"""Expansions: exact coefficients, remainders that hold, singularities that are refused, steps that are proved."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from flint import arb, fmpq
from lossmith.derivations import balls, evaluate, expanding, measure, prove, search, series
from lossmith.derivations.constants import Sum, fraction
from lossmith.derivations.parser import arguments, parse_term
from lossmith.derivations.remainder import NotAnalyticError, Tail, tail_on
from lossmith.derivations.series import U, expansions, limit_at, prepared, shifted
from lossmith.derivations.terms import Term, const, make, mul, replace, show, var
from lossmith.derivations.ulp import FORMATS

F64 = FORMATS["float64"]
POSITIVE = "(0,inf)"


def read(text: str, **domains: str):
    known = arguments(domains)
    return parse_term(text, known), tuple(known.values())


def local(text: str, point: int = 0) -> Term:
    term, _ = read(text, x="real")
    return shifted(term, var("x"), Fraction(point))


def coefficients(text: str, count: int, point: int = 0) -> tuple[int, list[Fraction]]:
    found = prepared(local(text, point))
    assert found is not None, text
    return found.exact.order, [fraction(c) for c in found.exact.c[:count]]


def test_coefficients_are_the_known_ones():
    bernoulli = [Fraction(b) for b in ("1", "-1/2", "1/12", "0", "-1/720", "0", "1/30240")]
    assert coefficients("x/(exp(x) - 1)", 7) == (0, bernoulli)
    assert coefficients("x - sin(x)", 3) == (3, [Fraction(1, 6), 0, Fraction(-1, 120)])
    assert coefficients("tan(x) - sin(x)", 3) == (3, [Fraction(1, 2), 0, Fraction(1, 8)])
    assert coefficients("1/x - 1/sin(x)", 3) == (1, [Fraction(-1, 6), 0, Fraction(-7, 360)])
    assert coefficients("log(cosh(x))", 3) == (2, [Fraction(1, 2), 0, Fraction(-1, 12)])
    assert coefficients("x*cosh(x)/sinh(x) - 1", 3) == (2, [Fraction(1, 3), 0, Fraction(-1, 45)])
    assert coefficients("(1 - cos(x))/x**2", 3) == (0, [Fraction(1, 2), 0, Fraction(-1, 24)])
    assert coefficients("1/sin(x)**2", 3) == (-2, [Fraction(1), 0, Fraction(1, 3)])
    assert coefficients("x*log(x) - x + 1", 3, 1) == (2, [Fraction(1, 2), Fraction(-1, 6), Fraction(1, 12)])
    assert coefficients("atanh(x) - asin(x)", 3) == (3, [Fraction(1, 6), 0, Fraction(1, 8)])
    assert coefficients("asinh(x) + atan(x) - 2*x", 1) == (3, [Fraction(-1, 2)])
    assert coefficients("(1 + x)**(1/3) - 1", 2) == (1, [Fraction(1, 3), Fraction(-1, 9)])
    assert coefficients("abs(x - 2) - 2", 1) == (1, [Fraction(-1)])


def test_constants_cancel_exactly_and_the_rest_is_enclosed():
    assert prepared(local("log(1 + exp(x)) - log(2) - x/2")).exact.order == 2
    assert prepared(local("acos(x) - pi/2 + x")).exact.order == 3
    assert prepared(local("log(erfc(x)) + 2*x/sqrt(pi)")).exact.order == 2
    gamma = prepared(local("lgamma(1 + x)"))
    assert gamma.exact.order == 1 and isinstance(gamma.exact.c[0], Sum)
    assert abs(float(gamma.coefficient(0)) + 0.5772156649015329) < 1e-16
    assert abs(float(gamma.coefficient(1)) - np.pi**2 / 12) < 1e-15


CASES = [
    ("x - sin(x)", "real"), ("tan(x) - sin(x)", "real"), ("1/x - 1/sin(x)", "real"), ("x/(exp(x) - 1)", "real"),
    ("log(cosh(x))", "real"), ("log(1 + x) - x + x**2/2", "(-1,inf)"), ("lgamma(1 + x)", "(-1,inf)"),
    ("1/log(1 + x) - 1/x", "(-1,inf)"), ("x*log(x) - x + 1", POSITIVE), ("log(x)/(x - 1)", POSITIVE),
    ("log(erfc(x))", "real"), ("1 - x*(1 - tanh(x)**2)/tanh(x)", "real"), ("sqrt(1 + x) - 1 - x/2", "(-1,inf)"),
]


@pytest.mark.parametrize(("text", "domain"), CASES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_remainder_holds_and_the_polynomial_is_accurate(text, domain, dtype):
    definition, given = read(text, x=domain)
    found = list(expansions(definition, given, (dtype,)))
    assert found
    fmt = FORMATS[dtype]
    for e in found[:3]:
        assert e.remainder < 2.0 ** -(fmt.precision + 2)
        columns = {"x": _points(e, given[0].domain, fmt)}
        truth = balls.truth_many(definition, columns, fmt, given)
        error = measure.apart(evaluate.evaluate(e.term, columns, fmt), truth, fmt)
        assert float(np.max(error)) <= 4, (e.words, float(columns["x"][int(np.argmax(error))]))
        assert worst_ratio(e, columns) <= 1.0000001, e.words


def _points(e, domain, fmt):
    """Both ends of the interval and down to its middle, numbers of the format."""
    shift = evaluate.evaluate(replace(e.quantity, {var("x"): const(0)}), {}, F64)
    r = float(e.radius)
    sizes = np.concatenate([r * np.linspace(0.02, 1, 23), r * 2.0 ** -np.arange(1.0, 30.0, 4)])
    spots = np.concatenate([sizes, -sizes]) - float(shift)
    spots = evaluate.evaluate(var("x"), {"x": spots}, fmt)
    held = evaluate.evaluate(e.condition, {"x": spots}, F64)
    return np.array([x for x, h in zip(spots, held) if h and domain.holds(float(x)) and x != -float(shift)])


def worst_ratio(e, columns) -> float:
    """The largest |source - term| / |source| in exact arithmetic, as a part of the bound."""
    worst = 0.0
    for i in range(0, len(next(iter(columns.values()))), 4):
        env = {n: float(c[i]) for n, c in columns.items()}
        a, b = balls.enclose(e.source, env, 1000), balls.enclose(e.term, env, 1000)
        if a.is_finite() and not a.contains(0):
            worst = max(worst, float((abs(a - b) / abs(a)).lower()) / e.remainder)
    return worst


def test_the_bound_is_not_much_larger_than_the_error():
    definition, given = read("(1 - cos(x))/x**2", x="real")
    e = next(iter(expansions(definition, given, ("float64",))))
    assert 0.3 < worst_ratio(e, {"x": np.array([float(e.radius)])}) <= 1


@pytest.mark.parametrize(("text", "within"), [
    ("log(1 + 4*x) - 4*x", Fraction(1, 4)), ("x/(exp(8*x) - 1)", Fraction(4, 5)), ("tan(3*x) - 3*x", Fraction(21, 40)),
    ("sqrt(1 + 8*x) - 1 - 4*x", Fraction(1, 8)), ("atan(5*x) - 5*x", Fraction(1, 5)),
    ("1/(1 - 3*x) - 1 - 3*x", Fraction(1, 3)),
    ("lgamma(1/4 + x) - lgamma(1/4)", Fraction(1, 4)), ("atanh(2*x) - 2*x", Fraction(1, 2)),
])
def test_a_disc_that_holds_a_singularity_is_refused(text, within):
    found = prepared(local(text))
    for radius in (within, within * 11 / 10, within * 2):
        with pytest.raises(NotAnalyticError):
            tail_on(found.expander, found.term, fmpq(radius.numerator, radius.denominator), [])
    definition, given = read(text, x="real")
    assert all(e.radius < within for e in expansions(definition, given))


@pytest.mark.parametrize(("text", "within"), [
    ("1/tanh(x) - 1/x", Fraction(3)), ("1/x**2 - 1/sinh(x)**2", Fraction(2)), ("x/tan(x) - 1", Fraction(3)),
])
def test_a_denominator_is_kept_from_zero_along_the_circle(text, within):
    found = prepared(local(text))
    assert tail_on(found.expander, found.term, fmpq(within.numerator, within.denominator), []).rest.is_finite()
    for radius in (Fraction(22, 7), Fraction(4)):  # the nearest pole is at pi, or i pi
        with pytest.raises(NotAnalyticError):
            tail_on(found.expander, found.term, fmpq(radius.numerator, radius.denominator), [])


def test_a_difference_of_logarithms_that_are_infinite_at_the_point():
    definition, given = read("log(x) - log(exp(x) - 1)", x="(0,inf)")
    e = next(e for e in expansions(definition, given) if e.quantity is var("x"))
    assert e.order == 1
    assert worst_ratio(e, {"x": np.array([1e-300, 1e-9, 0.01, float(e.radius)])}) <= 1


def test_what_has_no_laurent_series_has_no_expansion():
    for text in ("sqrt(cosh(x) - 1)", "abs(x) - sin(x)", "x*log(abs(x)) - x", "exp(1/x) - 1", "sqrt(x + x**2)"):
        definition, given = read(text, x="real")
        assert [e for e in expansions(definition, given) if e.quantity is var("x")] == [], text


def test_a_wrong_bound_would_be_seen():
    """The tail of a longer polynomial does not cover a shorter one, and a changed coefficient counts."""
    found = prepared(local("exp(x) - 1 - x"))
    c = tuple(fmpq(1, int(np.prod(range(1, k + 3)))) for k in range(20))
    tail = found.tail
    good = tail.relative(16, fmpq(1, 4), c[:16])
    assert good < 2.0**-55 < tail.relative(8, fmpq(1, 4), c[:8])
    changed = (*c[:3], c[3] * fmpq(1001, 1000), *c[4:16])
    assert tail.relative(16, fmpq(1, 4), changed) > 2.0**-22
    assert Tail((arb(1), arb(2)), fmpq(1), arb(0)).relative(1, fmpq(3, 4), (fmpq(1),)) == float("inf")


def test_a_step_is_proved_and_a_wrong_one_refused():
    definition, given = read("x - sin(x)", x="real")
    e = next(iter(expansions(definition, given, ("float64",))))
    move = expanding.move_of(e, definition)
    (evidence,) = prove.evidence(move, given)
    assert evidence.kind == "proved" and "remainder" in evidence.method
    wider = replace(move.result, {e.condition: make("le", make("abs", var("x")), const(2 * e.radius))})
    other = replace(move.result, {const(Fraction(1, 6)): const(Fraction(1, 7))})
    assert other is not move.result
    for wrong in (wider, other):
        with pytest.raises(ArithmeticError):
            expanding.evidence(definition, wrong, given)
    assert expanding.undone(move.result, [move.result], given) is definition


SEVERAL = [
    ("0.5*p*log(2*p/(p + q)) + 0.5*q*log(2*q/(p + q))", {"p": POSITIVE, "q": POSITIVE}),
    ("(p - q)/(log(p) - log(q))", {"p": POSITIVE, "q": POSITIVE}),
    ("p*log(p/q) - p + q", {"p": POSITIVE, "q": POSITIVE}),
    ("p*log(p) - q*log(q) - (log(q) + 1)*(p - q)", {"p": POSITIVE, "q": POSITIVE}),
    ("exp(x) - exp(y) - exp(y)*(x - y)", {"x": "real", "y": "real"}),
    ("sqrt(x**2 + d**2) - d", {"x": "real", "d": POSITIVE}),
    ("d**2*(sqrt(1 + (r/d)**2) - 1)", {"r": "real", "d": POSITIVE}),
    ("(p**a - 1)/a", {"p": POSITIVE, "a": "real"}),
]


@pytest.mark.parametrize(("text", "domains"), SEVERAL)
def test_formulas_of_several_arguments_that_depend_on_one_quantity(text, domains):
    definition, given = read(text, **domains)
    found = list(expansions(definition, given, ("float64",)))
    assert found
    e = found[0]
    rng = np.random.default_rng(3)
    columns = {n: np.exp(rng.normal(size=3000)) * (1 if d == POSITIVE else rng.choice([-1, 1], 3000))
               for n, d in domains.items()}
    first, second = list(columns)[:2]
    near = columns[second] * (1 + rng.normal(size=3000) * 2.0 ** -rng.integers(1, 30, 3000))
    columns[first][:1500] = near[:1500]
    columns[first][1500:2200] *= 2.0**-6
    columns[second][2200:] *= 2.0**-6
    held = evaluate.evaluate(e.condition, columns, F64)
    columns = {n: c[held][:400] for n, c in columns.items()}
    assert len(columns[first]) > 50
    truth = balls.truth_many(e.source, columns, F64, given)
    errors = measure.apart(evaluate.evaluate(e.term, columns, F64), truth, F64)
    assert float(np.median(errors)) <= 2
    assert worst_ratio(e, columns) <= 1.0000001


def test_limits_are_exact():
    def limit(text: str, name: str, value: int, **domains: str) -> str:
        definition, given = read(text, **domains)
        found = limit_at(definition, name, value, given)
        return "none" if found is None else show(found)

    assert limit("(exp(x) - 1)/x", "x", 0, x="real") == "1"
    assert limit("(x - sin(x))/x**3", "x", 0, x="real") == "1/6"
    assert limit("(x**a - 1)/a", "a", 0, x=POSITIVE, a="real") == "log(x)"
    assert limit("log(x)/(x - 1)", "x", 1, x=POSITIVE) == "1"
    assert limit("x - sin(x)", "x", 0, x="real") == "0"
    assert limit("1/x", "x", 0, x="real") == "none"
    assert limit("log(x)", "x", 0, x=POSITIVE) == "none"
    assert limit("lgamma(1 + x)/x", "x", 0, x="(-1,1)") == "digamma(1)"


def test_expansions_are_the_same_again():
    definition, given = read("p*log(p/q) - p + q", p=POSITIVE, q=POSITIVE)
    one, two = (list(expansions(definition, given)) for _ in range(2))
    prepared.cache_clear()
    assert one == two == list(expansions(definition, given))
    assert [e.words for e in one] and all(e.length >= 2 and series.exponent(e.remainder) <= -26 for e in one)


def test_a_polynomial_of_an_even_function_is_one_in_the_square():
    definition, given = read("(1 - cos(x))/x**2", x="real")
    e = next(iter(expansions(definition, given, ("float64",))))
    square = mul(var("x"), var("x"))
    assert square in e.term.args[1].args and U not in (e.term, e.quantity)


def test_decimals_are_shown_as_decimals_and_read_back():
    definition, given = read("lgamma(1 + x)", x="(-1,inf)")
    e = next(iter(expansions(definition, given, ("float64",))))
    text = show(e.term)
    assert "-0.57721566490153286060651" in text
    assert parse_term(text, arguments({"x": "real"})) is e.term


def test_the_search_uses_a_proved_polynomial_where_nothing_else_helps():
    definition, given = read("x - sin(x)", x="real")
    steps, form = search.stabilize(definition, given)
    assert form.verdict == "stable"
    (step,) = [s for s in steps if s.rule == expanding.NAME]
    assert [e.kind for e in step.evidence] == ["proved"]
    assert expanding.undone(form.term, [step.result], given) is definition
