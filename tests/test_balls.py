"""Truth: agrees with mpmath and closed forms, takes limits, knows what is undefined, covers every operation."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from flint import arb
from lossmith.derivations import anchored, enclosing
from lossmith.derivations.balls import enclose, overlaps, pair, truth, truth_many
from lossmith.derivations.domains import parse_domain
from lossmith.derivations.evaluate import evaluate
from lossmith.derivations.loss import Argument
from lossmith.derivations.rules.base import pattern_term
from lossmith.derivations.terms import (
    COUNT,
    HALF,
    ONE,
    OPS,
    PI,
    POSITION,
    TWO,
    ZERO,
    add,
    const,
    div,
    label,
    make,
    mul,
    neg,
    node,
    power,
    row,
    sub,
    var,
)
from lossmith.derivations.ulp import FORMATS, distance

INF, NAN = math.inf, math.nan
F32, F64 = FORMATS["float32"], FORMATS["float64"]
x, y, z, p = (var(n) for n in "xyzp")
r, t, q = (row(n) for n in "rtq")
k = label("k")


def argument(name, domain, role="input", axis="none"):
    return Argument(name, role, parse_domain(domain), axis)


SIGMOID = make("sigmoid", x)
BCE = sub(neg(mul(z, make("log", SIGMOID))), mul(sub(ONE, z), make("log", sub(ONE, SIGMOID))))
OF_P = sub(neg(mul(z, make("log", p))), mul(sub(ONE, z), make("log", sub(ONE, p))))
SOFTMAX = div(make("exp", r), node("sum", (make("exp", r),)))
CE = neg(node("sum", (mul(t, make("log", SOFTMAX)),)))
KL = node("sum", (mul(t, make("log", div(t, q))),))
GIVEN = [argument("x", "extended"), argument("z", "[0,1]", "target"), argument("p", "[0,1]"),
         argument("r", "extended", axis="class"), argument("t", "simplex", "target", "class"),
         argument("q", "simplex", axis="class")]


def same(got, wanted):
    got, wanted = np.atleast_1d(got).astype(float), np.atleast_1d(wanted).astype(float)
    return bool(((got == wanted) | (np.isnan(got) & np.isnan(wanted))).all())


def test_every_operation_has_a_meaning_in_both_arithmetics():
    structural = enclosing.LEAF | enclosing.STRUCTURAL
    for kind in (enclosing.BALLS, enclosing.ANCHORED):
        assert set(OPS) == set(kind.operations) | structural


UNARY = {
    "exp": mpmath.exp, "expm1": lambda a: mpmath.exp(a) - 1, "log": mpmath.log, "log1p": lambda a: mpmath.log(1 + a),
    "sinh": mpmath.sinh, "cosh": mpmath.cosh, "tanh": mpmath.tanh, "asinh": mpmath.asinh, "acosh": mpmath.acosh,
    "atanh": mpmath.atanh, "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "asin": mpmath.asin,
    "acos": mpmath.acos, "atan": mpmath.atan, "erf": mpmath.erf, "erfc": mpmath.erfc,
    "erfcx": lambda a: mpmath.exp(a * a) * mpmath.erfc(a), "gamma": mpmath.gamma, "exp2": lambda a: mpmath.mpf(2)**a,
    "log2": lambda a: mpmath.log(a, 2), "log10": mpmath.log10,
    "lgamma": lambda a: mpmath.log(abs(mpmath.gamma(a))), "digamma": mpmath.digamma, "sqrt": mpmath.sqrt, "abs": abs,
    "sign": mpmath.sign, "neg": lambda a: -a, "sigmoid": lambda a: 1 / (1 + mpmath.exp(-a)),
    "softplus": lambda a: mpmath.log(1 + mpmath.exp(a)), "log1pmx": lambda a: mpmath.log(1 + a) - a,
    "expm1mx": lambda a: mpmath.exp(a) - 1 - a,
}
BINARY = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "pow": mpmath.power, "max": max, "min": min, "logaddexp": lambda a, b: mpmath.log(mpmath.exp(a) + mpmath.exp(b)),
    "xlogy": lambda a, b: a * mpmath.log(b), "absorb": lambda a, b: a * b, "gap": lambda a, b: a - b,
    "exp_diff": lambda a, b: mpmath.exp(a - b), "atan2": mpmath.atan2,
}
SPOTS = (0.0009765625, 0.3, 0.75, 1.0, 1.5, 2.0, 20.5, -0.0001, -0.4, -3.25, -30.0)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("op", [*UNARY, *BINARY])
def test_each_operation_encloses_what_mpmath_says(op, plain):
    mpmath.mp.prec = 300
    term = node(op, (x,) if op in UNARY else (x, y))
    tried = 0
    for a in SPOTS:
        try:
            wanted = UNARY[op](mpmath.mpf(a)) if op in UNARY else BINARY[op](mpmath.mpf(a), mpmath.mpf(0.7))
        except (ValueError, ZeroDivisionError):
            continue
        if isinstance(wanted, mpmath.mpc) or not mpmath.isfinite(wanted):
            continue
        with enclosing.working(200):
            got = enclosing.run(term, {"x": a, "y": 0.7}, plain)
            ball = got if plain else got.ball
            mantissa, exponent = mpmath.frexp(wanted)
            there = arb(int(mpmath.nint(mantissa * 2**260))) * arb(2) ** (int(exponent) - 260)
            assert (ball.overlaps(there) and ball.rel_accuracy_bits() > 100) or (ball.is_zero() and wanted == 0)
        tried += 1
    assert tried >= 3


@pytest.mark.parametrize("at", [-1e300, -1e38, -3000.0, -800.0, -20.0, -1e-300, 0.0, 1e-300, 1.0, 20.0, 800.0, 3000.0,
                                1e38, 1e300])
@pytest.mark.parametrize("target", [0.0, 1.0, 0.5, 1 - 2.0**-24])
def test_sigmoid_cross_entropy_at_every_scale(at, target):
    mpmath.mp.prec = 400
    small = mpmath.log1p(mpmath.exp(-abs(mpmath.mpf(at)))) if abs(at) < 5000 else mpmath.mpf(0)
    wanted = mpmath.mpf(target) * max(-at, 0) + (1 - mpmath.mpf(target)) * max(at, 0) + small
    if at > 700 and target == 1:
        wanted = mpmath.exp(-at) if at < 5000 else 0
    assert distance(truth(BCE, {"x": at, "z": target}), float(wanted), F64) <= 1


def test_rounding_is_to_the_format_and_flushes_nothing():
    tail = make("exp", x)
    assert truth(tail, {"x": -100.0}, F32) == 27 * F32.smallest  # e^-100 is 26.5 of the smallest subnormal
    assert truth(tail, {"x": -104.0}, F32) == 0 and truth(tail, {"x": 89.0}, F32) == INF
    assert truth(div(ONE, const(3)), {}, F32) == float(np.float32(1 / 3))
    assert truth(sub(make("exp", x), sub(ONE, neg(x))), {"x": 2.0**-600}) == 0.0
    tiny = div(sub(sub(make("exp", x), ONE), x), mul(x, x))
    assert truth(tiny, {"x": 2.0**-600}) == 0.5


LIMITS = [
    (BCE, {"x": INF, "z": 0.0}, INF), (BCE, {"x": INF, "z": 1.0}, 0.0), (BCE, {"x": -INF, "z": 0.0}, 0.0),
    (BCE, {"x": -INF, "z": 0.25}, INF), (BCE, {"x": NAN, "z": 0.0}, NAN),
    (OF_P, {"p": 0.0, "z": 0.0}, 0.0), (OF_P, {"p": 0.0, "z": 1.0}, INF), (OF_P, {"p": 1.0, "z": 1.0}, 0.0),
    (div(x, make("expm1", x)), {"x": 0.0}, 1.0), (div(sub(make("exp", x), ONE), x), {"x": 0.0}, 1.0),
    (div(sub(sub(make("exp", x), ONE), x), mul(x, x)), {"x": 0.0}, 0.5),
    (div(ONE, x), {"x": 0.0}, NAN), (div(ONE, p), {"p": 0.0}, INF), (div(ONE, sub(p, ONE)), {"p": 1.0}, -INF),
    (mul(p, make("log", p)), {"p": 0.0}, 0.0), (make("log", x), {"x": INF}, INF),
    (mul(x, make("exp", neg(x))), {"x": INF}, 0.0), (sub(make("softplus", x), x), {"x": INF}, 0.0),
    (div(make("log", x), x), {"x": INF}, 0.0), (make("sin", x), {"x": INF}, NAN), (make("log", x), {"x": -1.0}, NAN),
    (sub(make("sqrt", add(mul(x, x), ONE)), x), {"x": INF}, 0.0), (sub(x, y), {"x": INF, "y": 1e300}, INF),
    (sub(x, y), {"x": INF, "y": INF}, NAN), (node("max", (x, y)), {"x": INF, "y": -INF}, INF),
    (make("tanh", x), {"x": -INF}, -1.0), (power(p, HALF), {"p": 0.0}, 0.0),
    (node("pow", (p, z)), {"p": 0.0, "z": 0.0}, 1.0),
]


@pytest.mark.parametrize(("term", "env", "wanted"), LIMITS, ids=lambda v: repr(v)[:40])
def test_limits(term, env, wanted):
    assert same(truth(term, env, F64, GIVEN), wanted)


ROWS = [
    (CE, [-INF, 0.0, 0.0], [0.0, 1.0, 0.0], math.log(2)), (CE, [-INF, 0.0, 0.0], [1.0, 0.0, 0.0], INF),
    (CE, [INF, 0.0, 0.0], [1.0, 0.0, 0.0], 0.0), (CE, [INF, 0.0, 0.0], [0.0, 1.0, 0.0], INF),
    (CE, [-INF] * 3, [1.0, 0.0, 0.0], NAN), (CE, [INF, INF, 0.0], [1.0, 0.0, 0.0], NAN),
    (CE, [NAN, 0.0, 0.0], [0.0, 1.0, 0.0], NAN), (CE, [1e38, 0.0, -1e38], [0.0, 0.0, 1.0], 2e38),
    (SOFTMAX, [INF, 0.0, 0.0], [0.0, 0.0, 0.0], [1, 0, 0]), (SOFTMAX, [INF, INF, 0.0], [0.0] * 3, [NAN, NAN, 0]),
    (SOFTMAX, [-INF, -INF, 0.0], [0.0] * 3, [0, 0, 1]),
]


@pytest.mark.parametrize(("term", "logits", "targets", "wanted"), ROWS, ids=lambda v: repr(v)[:30])
def test_limits_of_rows(term, logits, targets, wanted):
    got = truth(term, {"r": logits, "t": targets}, F64, GIVEN)
    assert np.allclose(got, wanted, rtol=1e-15, equal_nan=True)


def test_inputs_move_before_targets_in_a_divergence():
    def at(term, targets, given):
        return truth(term, {"t": targets, "q": given}, F64, GIVEN)

    assert at(KL, [0.0, 1.0], [0.0, 1.0]) == 0 and at(KL, [0.0, 1.0], [0.5, 0.5]) == pytest.approx(math.log(2))
    assert at(KL, [0.5, 0.5], [0.0, 1.0]) == INF
    assert at(neg(div(t, q)), [0.0, 1.0], [0.0, 1.0]) == [0.0, -1.0]


def test_a_long_confident_row_keeps_what_is_lost_beside_one():
    logits = [90.0] + [0.0] * 999
    got = truth(CE, {"r": logits, "t": [1.0] + [0.0] * 999}, F32, GIVEN)
    assert got == pytest.approx(999 * math.exp(-90), rel=1e-6)
    share = truth(sub(SOFTMAX, t), {"r": logits, "t": [1.0] + [0.0] * 999}, F32, GIVEN)
    assert share[0] == pytest.approx(-999 * math.exp(-90), rel=1e-6)


def test_comparisons_of_equal_inputs_are_decided_and_overlapping_balls_are_not_guessed():
    kink = node("where", (node("lt", (x, y)), neg(ONE), node("where", (node("eq", (x, y)), ZERO, ONE))))
    assert [truth(kink, {"x": a, "y": 1.0}) for a in (0.5, 1.0, 2.0)] == [-1, 0, 1]
    # e^log(3) = 3 can never be decided; both branches agree, so the value is known all the same.
    three = make("exp", make("log", const(3)))
    assert truth(node("where", (node("lt", (three, const(3))), TWO, TWO)), {}) == 2
    assert math.isnan(truth(node("where", (node("lt", (three, const(3))), ONE, TWO)), {}))
    assert truth(make("sign", sub(x, y)), {"x": 0.1, "y": 0.1}) == 0


def test_row_vocabulary():
    env = {"r": [3.0, 1.0, 2.0], "k": 0}
    assert truth(node("at", (r, k)), env) == 3 and truth(node("sum", (mul(r, POSITION),)), env) == 5
    assert truth(mul(node("onehot", (k,)), add(r, COUNT)), env) == [6, 0, 0]
    assert truth(node("peak", (r, const(7))), env) == 7
    assert truth(node("rest", (r,)), {"r": [1.0, 1.0, 1.0]}) == 2
    assert truth(node("sum", (x,)), {"x": 2.0, "r": [0.0] * 3, "": 3}) == 6
    assert math.isnan(truth(node("at", (r, k)), {"r": [1.0, 2.0], "k": 5}))
    assert truth(node("lse", (r, x)), {"r": [-INF, 0.0], "x": 0.0}) == pytest.approx(math.log(2))
    assert truth(mul(PI, TWO), {}) == 2 * math.pi


def test_rest_and_lse_do_not_depend_on_how_near_the_peak_a_tie_is():
    # Two elements that are equal in truth but not exactly: the balls cannot tell which is the peak.
    three = make("exp", make("log", const(3)))
    for op, wanted in (("rest", 1.0), ("lse", 3 + math.log(2))):
        assert truth(node(op, (three, const(3))), {}) == wanted


def test_fractions_are_exact_inputs():
    third = truth(sub(mul(x, const(3)), ONE), {"x": Fraction(1, 3)})
    assert third == 0.0 or abs(third) < 1e-300
    assert pair(x, {"x": 0.1}) == Fraction(0.1)


def test_pairs_know_more_than_a_double():
    got = pair(make("exp", x), {"x": 1.0})
    mpmath.mp.prec = 200
    assert abs(mpmath.mpf(got.numerator) / got.denominator - mpmath.e) < mpmath.mpf(2) ** -85
    assert pair(make("exp", x), {"x": -1e6}) == 0 and pair(make("exp", x), {"x": 1e6}) == INF


def test_overlap_refutes_and_confirms():
    same_thing = node("where", (node("gt", (x, ZERO)), mul(sub(ONE, z), x), neg(mul(z, x))))
    stable = add(same_thing, make("log1p", make("exp", neg(make("abs", x)))))
    published = add(sub(make("max", x, ZERO), mul(x, z)), make("log", make("exp", neg(make("abs", x)))))
    for at in (-1e5, -30.0, 0.0, 0.7, 50.0, 1e5):
        assert overlaps(BCE, stable, {"x": at, "z": 0.3})
    assert not overlaps(BCE, published, {"x": 0.7, "z": 0.3})
    assert overlaps(SOFTMAX, make("exp", sub(r, node("lse", (r,)))), {"r": [1.0, 200.0, -5000.0]})
    assert not overlaps(SOFTMAX, make("exp", sub(r, node("peak", (r,)))), {"r": [1.0, 2.0]})
    assert overlaps(OF_P, mul(OF_P, ONE), {"p": 0.0, "z": 0.0}, arguments=GIVEN)


def test_a_ball_that_knows_nothing_is_not_an_agreement():
    lost = add(make("exp", x), sub(make("exp", y), make("exp", y)))  # at 64 bits the small exp is gone beside the large
    assert not overlaps(lost, mul(TWO, make("exp", x)), {"x": -100.0, "y": 100.0}, precision=64)


def test_many_points_broadcast():
    got = truth_many(BCE, {"x": np.array([[-1.0], [2.0]]), "z": np.array([0.0, 1.0, 0.5])})
    assert got.shape == (2, 3) and got[1, 1] == pytest.approx(math.log1p(math.exp(-2)))
    assert truth_many(ONE, {"x": np.zeros(4)}).tolist() == [1.0] * 4


def test_enclosures_hold_the_value_and_are_not_finite_where_there_is_none():
    ball = enclose(make("log", x), {"x": 2.0}, 100)
    assert ball.overlaps(arb(2).log()) and ball.rel_accuracy_bits() > 90
    assert not enclose(div(ONE, x), {"x": 0.0}).is_finite()
    assert len(enclose(SOFTMAX, {"r": [0.0, 1.0]})) == 2


def test_truth_agrees_with_plain_evaluation_where_that_is_accurate():
    rng = np.random.default_rng(0)
    xs, zs = rng.normal(0, 2, 300), rng.uniform(0.2, 0.8, 300)
    assert distance(truth_many(BCE, {"x": xs, "z": zs}), evaluate(BCE, {"x": xs, "z": zs}), F64).max() < 200


def test_an_anchor_keeps_what_a_ball_loses_and_melts_when_outweighed():
    with enclosing.working(100):
        almost = anchored.sub(anchored.ONE, anchored.exp(anchored.exactly(-(10**6))))
        lack = anchored.sub(anchored.ONE, almost)
        assert lack.ball.rel_accuracy_bits() > 80 and lack.ball > 0
        root = anchored.sub(anchored.ONE, anchored.sqrt(almost))
        assert (root.ball * 2 / lack.ball - 1).abs_upper() < arb(2) ** -60
        heavy = anchored.add(anchored.ONE, anchored.exp(anchored.exactly(10**6)))
        assert heavy.anchor == 0


def test_parameters_are_given_exactly_and_do_not_move():
    assert truth(div(p, p), {"p": 0.0}, F64, [argument("p", "[0,1]")]) == 1
    assert math.isnan(truth(div(p, p), {"p": 0.0}, F64, [argument("p", "[0,1]", "parameter")]))


def test_labels_from_a_finite_set_that_are_0_keep_0_log_0():
    share = div(t, node("sum", (t,)))
    loss = node("sum", (mul(share, make("log", share)),))
    assert truth(loss, {"t": [0.0, 1.0, 1.0]}, F64, [argument("t", "{0,1}", "target", "class")]) == -math.log(2)
    assert math.isnan(truth(loss, {"t": [0.0, 0.0]}, F64, [argument("t", "{0,1}", "target", "class")]))


@pytest.mark.parametrize("x", [3.0, -1e5, 1e10, -2.9397799158153216e16])
def test_a_logarithm_that_goes_to_infinity_beside_a_large_number_is_infinite(x):
    assert truth(pattern_term("log(exp(x) - exp(y))"), {"x": x, "y": x}, FORMATS["float32"]) == -math.inf


def test_what_is_no_number_is_none_to_the_power_0() -> None:
    """A singular part below an exponent that vanishes: its limit counts."""
    term = pattern_term("exp(-(x**(x/y)/(x/y) - y))**(x/y)")
    arguments = (Argument("x", "input", parse_domain("[-1,1]")), Argument("y", "input", parse_domain("(0,inf)")))
    assert truth(term, {"x": 0.0, "y": 0.68}, arguments=arguments) == pytest.approx(math.exp(-1))


def test_a_limit_depends_on_the_order_in_which_arguments_vanish() -> None:
    arguments = tuple(Argument(n, "input", parse_domain("[-1,1]")) for n in "xz")
    assert math.isnan(truth(pattern_term("-x/z/(x*z/expm1(x))"), {"x": 0.0, "z": 0.0}, arguments=arguments))


def test_a_limit_beyond_the_format_on_its_way_is_the_limit() -> None:
    arguments = tuple(Argument(n, "input", parse_domain("[0,inf)")) for n in "xy")
    term = pattern_term("exp(x)/(x/y - 1)")
    assert truth(term, {"x": 1e258, "y": 0.0}, arguments=arguments) == 0.0
