"""Row losses: every rule fires, every form is enclosed by balls, and forms hold where naive ones fail."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import sympy as sp
from lossmith.derivations import balls
from lossmith.derivations.calculus import derivative
from lossmith.derivations.declaring import (
    Sum,
    arguments_of,
    class_index,
    class_label,
    classes,
    logits,
    parameter,
    probabilities,
    targets,
)
from lossmith.derivations.derivation import StableForm, Step
from lossmith.derivations.domains import NONNEGATIVE, POSITIVE, REAL, finite, interval
from lossmith.derivations.evaluate import evaluate
from lossmith.derivations.functions import sigmoid, xlogy
from lossmith.derivations.importer import to_term
from lossmith.derivations.loss import Argument
from lossmith.derivations.parser import arguments as parser_arguments
from lossmith.derivations.parser import parse_term
from lossmith.derivations.rows import stabilize
from lossmith.derivations.rows.algebra import Algebra
from lossmith.derivations.rows.rules import RULES
from lossmith.derivations.rows.shape import separable
from lossmith.derivations.rows.signs import may_cancel, sign
from lossmith.derivations.terms import (
    COUNT,
    ONE,
    REDUCTIONS,
    ZERO,
    Term,
    add,
    div,
    label,
    make,
    mul,
    neg,
    node,
    row,
    show,
    sub,
    var,
    walk,
)
from lossmith.derivations.ulp import FORMATS, distance

F64 = FORMATS["float64"]
X, W, Y = logits("x"), logits("w"), class_label("y")
T = targets("t")
WEIGHTS = targets("u", NONNEGATIVE)
P, Q = targets("p"), probabilities("q")
LABELS = targets("l", finite(0, 1))
POSITIVES = targets("v", POSITIVE)
Z = targets("x", REAL)
SMOOTHING = parameter("s", interval(0, 1), "0.1")
GAMMA = parameter("g", POSITIVE, "2")
K, J = class_index("i"), class_index("j")


def softmax(x: Any) -> Any:
    return sp.exp(x[K]) / Sum(sp.exp(x[J]), J)


def at_label(x: Any) -> Any:
    return sp.exp(x[Y]) / Sum(sp.exp(x[J]), J)


FORMULAS = {
    "soft": lambda: -Sum(WEIGHTS[K] * sp.log(softmax(X)), K),
    "sparse": lambda: -sp.log(at_label(X)),
    "smoothed": lambda: -(1 - SMOOTHING) * sp.log(at_label(X)) - SMOOTHING / 4 * Sum(sp.log(softmax(X)), K),
    "regularised": lambda: -sp.log(at_label(X)) + 0.01 * sp.log(Sum(sp.exp(X[K]), K)) ** 2,
    "focal": lambda: -(1 - at_label(X)) ** GAMMA * sp.log(at_label(X)),
    "entropy": lambda: -Sum(softmax(X) * sp.log(softmax(X)), K),
    "plain divergence": lambda: Sum(P[K] * sp.log(P[K] / Q[K]), K),
    "divergence": lambda: Sum(xlogy(T[K], T[K] / softmax(X)), K),
    "several labels": lambda: Sum(
        LABELS[K] / Sum(LABELS[J], J) * sp.log(LABELS[K] / Sum(LABELS[J], J) / softmax(X)), K),
    "two softmaxes": lambda: Sum(softmax(X) * (sp.log(softmax(X)) - sp.log(softmax(W))), K),
    "brier": lambda: Sum((softmax(X) - T[K]) ** 2, K),
    "gini": lambda: 1 - Sum(softmax(X) ** 2, K),
    "tsallis": lambda: 1 - Sum(softmax(X) ** sp.Rational(3, 2), K),
    "mean": lambda: sp.log(Sum(sp.exp(X[K]), K) / classes),
    "variance": lambda: Sum((X[K] - Sum(X[J], J) / classes) ** 2, K) / classes,
    "weighted": lambda: sp.log(Sum(POSITIVES[K] * sp.exp(X[K]), K)),
    "masks": lambda: sp.log(1 + Sum((1 - LABELS[K]) * sp.exp(X[K]), K)),
    "affinity": lambda: -sp.log(Sum(sp.sqrt(P[K] * Q[K]), K)),
    "jensen": lambda: Sum(P[K] * sp.log(2 * P[K] / (P[K] + Q[K])) + Q[K] * sp.log(2 * Q[K] / (P[K] + Q[K])), K),
    "one more": lambda: sp.log(1 + Sum(sp.exp(X[K]), K)),
    "ranked": lambda: sp.log(1 + Sum(sp.exp(X[K]), K)) + sp.log(1 + Sum(sp.exp(-X[K]), K)),
    "penalised": lambda: -sp.log(at_label(X)) + Sum(softmax(X) * sp.log(softmax(X)), K) / 10,
    "some of all": lambda: sp.log(Sum(sp.exp(X[K]), K)) - sp.log(Sum(LABELS[K] * sp.exp(X[K]), K)),
    "spread": lambda: Sum(softmax(X) * W[K] ** 2, K) - Sum(softmax(X) * W[K], K) ** 2,
    "cosine": lambda: 1 - Sum(X[K] * W[K], K) / sp.sqrt(Sum(X[K] ** 2, K) * Sum(W[K] ** 2, K)),
    "set and all": lambda: sp.log(Sum(sp.exp(Z[K]), K)) - sp.log(Sum(LABELS[K] * sp.exp(Z[K]), K)),
    "two ways": lambda: Sum((softmax(X) - softmax(W)) * (X[K] - W[K]), K),
    "pairs": lambda: sp.log(1 + Sum(LABELS[K] * sp.exp(-Z[K]), K) * Sum((1 - LABELS[K]) * sp.exp(Z[K]), K)),
    "root of share": lambda: 1 - at_label(X) ** sp.Rational(7, 10),
    "rooted focal": lambda: -sp.sqrt(1 - at_label(X)) * sp.log(at_label(X)),
    "margin": lambda: sp.log(Sum(sp.exp(X[K] - 2 * sp.KroneckerDelta(K, Y)), K)) - X[Y],
}


def read(name: str) -> tuple[Term, tuple[Argument, ...]]:
    with sp.evaluate(False):
        formula = FORMULAS[name]()
    return to_term(formula), arguments_of(formula)


def solved(name: str, *order: str) -> tuple[tuple[Step, ...], StableForm]:
    term, arguments = read(name)
    return stabilize(derivative(term, order, arguments), arguments, order)


# Formulas as text, x and w real, v positive, and what they are differentiated by.
MEANS_AND_RATIOS: list[tuple[str, tuple[str, ...]]] = [
    ("var(softmax(x))", ()),
    ("var(softmax(x))", ("x",)),
    ("sum(softmax(x)*w**2) - sum(softmax(x)*w)**2", ("x",)),
    ("sum(v*(x - sum(v*x)/sum(v))**2)/sum(v)", ()),
    ("-log(sum(softmax(x)**2))", ()),
    ("log(sum(softmax(x)**2/softmax(w)))", ()),
    ("1 - sum(sqrt(softmax(x)*softmax(w)))", ()),
]


def written(text: str, *order: str) -> tuple[tuple[Step, ...], StableForm]:
    known = parser_arguments({"x[k]": "real", "w[k]": "real", "v[k]": "(0,inf)", "y": "index"})
    term = parse_term(text, known)
    arguments = tuple(known.values())
    return stabilize(derivative(term, order, arguments), arguments, order)


@pytest.mark.parametrize(("text", "order"), MEANS_AND_RATIOS)
def test_means_and_ratios(text: str, order: tuple[str, ...]) -> None:
    """What remains is what the formula's own condition leaves."""
    form = written(text, *order)[1]
    assert form.verdict == "stable", form.remaining


def test_a_sum_less_one_of_its_terms_is_the_sum_of_the_others() -> None:
    form = written("log(sum(exp(16*x)) - exp(16*x[y])) - 16*x[y]")[1]
    env = {"x": [300.0, -2.0, 250.0], "y": 0}
    assert form.verdict == "stable"
    assert float(np.ravel(evaluate(form.term, {n: np.asarray(v) for n, v in env.items()}, F64, 3))[0]) == -800.0


def listed(env: dict[str, Any]) -> dict[str, Any]:
    return {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in env.items()}


def ulps(form: Term, definition: Term, env: dict[str, Any]) -> float:
    got = np.atleast_1d(evaluate(form, {n: np.asarray(v) for n, v in env.items()}, F64, len(env["x"])))
    truth = np.atleast_1d(balls.truth(definition, listed(env), F64))
    return float(np.max(distance(*np.broadcast_arrays(got, truth), F64)))


# ---- normal forms


def test_normal_forms() -> None:
    algebra = Algebra([])
    x, y = row("x"), label("y")
    total = node("sum", (make("exp", x),))
    cases = [
        (make("log", div(make("exp", x), total)), "x[k] - lse(x[k])"),
        (node("sum", (mul(node("onehot", (y,)), make("exp", x)),)), "exp(x[y])"),
        (node("sum", (div(make("exp", x), total),)), "1"),
        (node("sum", (mul(var("c"), x),)), "c*sum(x[k])"),
        (node("sum", (add(x, ONE),)), "C + sum(x[k])"),
        (div(ONE, mul(total, total)), "exp(-2*lse(x[k]))"),
        (make("log", add(ONE, total)), "lse(0, x[k])"),
        (mul(make("exp", x), make("exp", neg(x))), "1"),
    ]
    for term, expected in cases:
        assert show(algebra.normal(term)).replace("(-2)", "-2") == expected
        assert algebra.normal(algebra.normal(term)) is algebra.normal(term)


def test_logarithms_split_only_where_the_factors_are_known_to_be_non_negative() -> None:
    product = make("log", mul(row("x"), row("w")))
    with_signs = Algebra([Argument(n, "input", NONNEGATIVE, "class") for n in "xw"])
    assert Algebra([]).read(product).op == "log"
    assert with_signs.read(product).op == "add"


def test_separable() -> None:
    x = row("x")
    plain = node("sum", (make("exp", x),))
    assert separable(div(plain, COUNT)) and separable(sub(plain, mul(var("c"), plain)))
    assert not separable(make("log", plain)) and not separable(mul(plain, plain))


# ---- stable forms


@pytest.mark.parametrize("name", FORMULAS)
def test_steps_join_and_forms_hold_no_definition(name: str) -> None:
    """From the definition to the form without a gap; each step moves, with evidence."""
    term, arguments = read(name)
    orders: list[tuple[str, ...]] = [(), *((a.name,) for a in arguments if a.role == "input")]
    for order in orders:
        start = derivative(term, order, arguments)
        steps, form = stabilize(start, arguments, order)
        before = start
        for step in steps:
            assert step.before is before and step.after is not before and step.evidence
            before = step.after
        assert before is form.term
        assert not {t.op for t in walk(form.term)} & {"lse", "sigmoid", "softplus"}


def test_every_rule_fires() -> None:
    fired: set[str] = set()
    for name, order in [
        ("soft", ()), ("soft", ("x",)), ("soft", ("x", "x")), ("sparse", ()), ("sparse", ("x",)),
        ("regularised", ("x",)),
        ("entropy", ("x",)), ("divergence", ()), ("divergence", ("t",)), ("one more", ()), ("two softmaxes", ("w",)),
        ("brier", ("x",)), ("gini", ()), ("mean", ()), ("penalised", ()), ("some of all", ()), ("spread", ()),
        ("cosine", ()), ("set and all", ("x",)), ("two ways", ()), ("two ways", ("x",)), ("several labels", ("x",)),
    ]:
        fired |= {s.rule for s in solved(name, *order)[0]}
    for text, order in MEANS_AND_RATIOS:
        fired |= {s.rule for s in written(text, *order)[0]}
    assert {r.name for r in RULES} <= fired


def test_a_centred_mean_keeps_what_a_plain_one_loses() -> None:
    """Brier's gradient where one class holds nearly all: p_k - sum(p p) is tiny, its parts are not."""
    form = solved("brier", "x")[1]
    env = {"x": [0.0, 30.0, -1.0], "t": [0.0, 0.25, 0.75]}
    assert ulps(form.term, form.definition, env) <= 8


@pytest.mark.parametrize(
    ("name", "order", "env"),
    [
        ("set and all", ("x",), {"x": [30.0, 1.0, -2.0, 0.5], "l": [1.0, 0.0, 0.0, 1.0]}),
        ("set and all", ("x",), {"x": [-3.0, 1.0, 2.0], "l": [1.0, 1.0, 1.0]}),
        ("several labels", ("x",), {"x": [2.0**-12, 2.0**-13, 2.0**-14], "l": [1.0, 1.0, 1.0]}),
        ("several labels", ("x",), {"x": [-3.0, -3.0 + 2.0**-20, -3.0 + 2.0**-30, 70.0], "l": [1.0, 1.0, 1.0, 0.0]}),
        ("several labels", ("x",), {"x": [3.0, 2.0**-30, -50.0, -(2.0**-30)], "l": [0.0, 1.0, 0.0, 1.0]}),
        ("several labels", ("x",), {"x": [30.0, 30.0, -50.0, -90.0], "l": [1.0, 1.0, 0.0, 1.0]}),
        ("several labels", ("x",), {"x": [30.0, -50.0, -60.0], "l": [1.0, 0.0, 0.0]}),
        ("two ways", (), {"x": [0.5, -1.0, 2.0], "w": [0.5 + 2.0**-40, -1.0, 2.0]}),
        ("two ways", (), {"x": [40.0, -1.0, 2.0], "w": [-30.0, 5.0, 2.0]}),
        ("two ways", ("x",), {"x": [0.5, -1.0, 2.0], "w": [0.5 + 2.0**-40, -1.0, 2.0]}),
        ("pairs", (), {"x": [400.0, -500.0, 2.0], "l": [1.0, 0.0, 0.0]}),
        ("pairs", (), {"x": [-800.0, -1.0, 800.0], "l": [1.0, 0.0, 0.0]}),
        ("pairs", ("x",), {"x": [-800.0, -1.0, 800.0], "l": [1.0, 0.0, 0.0]}),
        ("pairs", ("x",), {"x": [1.0, 2.0], "l": [1.0, 1.0]}),
        ("root of share", ("x",), {"x": [0.0, -199.0, 1.0], "y": 1}),
        ("rooted focal", ("x",), {"x": [900.0, 0.0, 1.0], "y": 0}),
    ],
)
def test_products_parts_and_roots(name: str, order: tuple[str, ...], env: dict[str, Any]) -> None:
    form = solved(name, *order)[1]
    assert ulps(form.term, form.definition, env) <= 8


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("soft", ()), ("soft", ("u",)), ("soft", ("x", "x")),
        ("sparse", ()), ("sparse", ("x",)), ("sparse", ("x", "x")), ("smoothed", ()), ("regularised", ()),
        ("regularised", ("x",)), ("one more", ()), ("one more", ("x",)),
        ("ranked", ()), ("several labels", ()),
    ],
)
def test_holds_on_rows_that_seek_trouble(name: str, order: tuple[str, ...]) -> None:
    form = solved(name, *order)[1]
    assert form.verdict == "stable" and form.error is not None and form.error.ulp <= 6, form.remaining
    assert form.error.points > 20


@pytest.mark.parametrize(
    ("name", "order"),
    [("gini", ()), ("tsallis", ()), ("mean", ("x",)), ("variance", ()), ("weighted", ("x",)), ("masks", ("x",)),
     ("entropy", ("x",)), ("affinity", ()), ("jensen", ())],
)
def test_formulas_beyond_cross_entropy(name: str, order: tuple[str, ...]) -> None:
    form = solved(name, *order)[1]
    assert form.verdict == "stable", form.remaining


@pytest.mark.parametrize("distance_apart", [1e-1, 1e-4, 1e-8])
def test_softmaxes_near_each_other(distance_apart: float) -> None:
    """The divergence of two softmaxes is of second order in their distance; no common offset matters."""
    form = solved("two softmaxes")[1]
    rng = np.random.default_rng(4)
    x = 5 + rng.standard_normal(7)
    env = {"x": x, "w": x + 3 + distance_apart * rng.standard_normal(7)}
    assert ulps(form.term, form.definition, env) <= 16


def test_a_sum_of_shares_less_one_is_a_sum_of_what_they_lack() -> None:
    for name, env in (("gini", {"x": [50.0, 0.0, -3.0]}), ("tsallis", {"x": [0.0, 40.0, 1.0]})):
        form = solved(name)[1]
        assert ulps(form.term, form.definition, env) <= 6, name


def test_constants_go_into_sums_of_distributions() -> None:
    form = solved("affinity")[1]
    p = np.array([0.25, 0.5, 0.25])
    q = p * np.array([1 + 2.0**-20, 1 - 2.0**-20, 1 + 2.0**-20])
    assert "sum(p) = sum(q) = 1" in form.remaining
    assert ulps(form.term, form.definition, {"x": p, "p": p, "q": q}) <= 8


def test_a_constant_beside_a_parameter_stays_where_it_is() -> None:
    from lossmith.derivations.domains import SIMPLEX
    from lossmith.derivations.rows.licence import unit_constant

    known = parser_arguments({"q": SIMPLEX, "p": SIMPLEX, "a": "(0,1)"})
    assert unit_constant(parse_term("sum(p**a*q**(1 - a)) - 1", known), tuple(known.values())) is None


def test_norms_of_tiny_and_huge_rows() -> None:
    known = parser_arguments({"x[k]": "real"})
    for text in ("sqrt(sum(x**2))", "sum(abs(x)**4)**0.25"):
        term = parse_term(text, known)
        for order in ((), ("x",)):
            form = stabilize(derivative(term, order, tuple(known.values())), tuple(known.values()), order)[1]
            for size in (1e-200, 1.0, 1e200):
                assert ulps(form.term, form.definition, {"x": size * np.array([3.0, -4.0, 0.5])}) <= 4


def test_classes_beside_the_label() -> None:
    known = parser_arguments({"x[k]": "real", "y": "index"})
    arguments = tuple(known.values())
    for text in ("x[y] - log(sum(where(k == y, 0, exp(x))))", "log(softmax(x)[y]/(1 - softmax(x)[y]))"):
        form = stabilize(parse_term(text, known), arguments)[1]
        assert ulps(form.term, form.definition, {"x": np.array([1000.0, -1000.0, 5.0]), "y": 1}) <= 4


def test_one_class_has_one_value() -> None:
    known = parser_arguments({"x[k]": "real", "y": "index"})
    arguments = tuple(known.values())
    term = parse_term("logsumexp(x) - x[y] + 0.1*sum(softmax(x)*log(softmax(x)))", known)
    form = stabilize(derivative(term, ("x",), arguments), arguments, ("x",))[1]
    assert evaluate(form.term, {"x": np.array([39.7]), "y": np.asarray(0)}, F64, 1).tolist() == [0.0]


def test_a_step_that_is_refuted_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    from lossmith.derivations.rows import engine

    def refute(*_: object) -> None:
        raise ArithmeticError("a step changed the value")

    monkeypatch.setattr(engine, "_algebraic", refute)
    monkeypatch.setattr(engine, "_as_written", refute)
    _, form = stabilize(*read("sparse"))
    assert form.verdict == "unchanged" and "did not hold" in form.remaining


def test_weights_multiply_and_masks_hide() -> None:
    form = solved("weighted", "x")[1]
    env = {"x": [300.0, 299.5, 280.0], "v": [0.3, 0.7, 1e-3]}
    assert ulps(form.term, form.definition, env) <= 4
    hidden = solved("masks")[1]
    value = evaluate(hidden.term, {"x": np.array([np.inf, 0.0]), "l": np.array([1.0, 0.0])}, F64)
    assert float(value) == pytest.approx(np.log(2), rel=1e-15)


def test_near_equality_needs_linear_parts_that_cancel() -> None:
    from lossmith.derivations.rows.nearness import near_equality

    p, q = row("p"), row("q")
    cross = mul(p, make("log", div(p, q)))
    assert near_equality(cross) is None
    assert near_equality(add(sub(cross, p), q)) is not None
    squared = mul(make("log", div(p, q)), make("log", div(p, q)))
    assert near_equality(squared) is None


@pytest.mark.parametrize("top", [20.0, 40.0, 90.0])
def test_confident_rows(top: float) -> None:
    """One logit far above the rest: the naive loss and gradient are 0 there."""
    env = {"x": [0.5, top, 0.25, -3.0], "y": 1, "u": [0.0, 1.0, 0.0, 0.0]}
    for name, order in (("sparse", ()), ("sparse", ("x",)), ("soft", ()), ("soft", ("x",)), ("sparse", ("x", "x"))):
        form = solved(name, *order)[1]
        assert ulps(form.term, form.definition, env) <= 4, (name, order)


def test_masked_classes_and_ties() -> None:
    masked = {"x": [-np.inf, 2.0, 2.0, -np.inf], "y": 2, "u": [0.0, 0.5, 0.5, 0.0]}
    for name in ("sparse", "soft"):
        form = solved(name)[1]
        value = evaluate(form.term, {n: np.asarray(v) for n, v in masked.items()}, F64)
        assert float(value) == pytest.approx(np.log(2), rel=1e-15)


def test_divergence_near_equality_is_accurate_and_never_negative() -> None:
    steps, form = solved("plain divergence")
    assert [s.rule for s in steps][:2] == ["unit-sums", "near-equality"]
    assert "sum(p) = sum(q) = 1" in form.remaining and form.definition is not steps[0].before
    rng = np.random.default_rng(1)
    for scale in (1e-1, 1e-4, 1e-8, 1e-12):
        p = rng.dirichlet(np.ones(6))
        q = p * (1 + scale * rng.standard_normal(6))
        env = {"p": p, "q": q / q.sum(), "x": p}
        assert float(evaluate(form.term, {n: v for n, v in env.items() if n != "x"}, F64)) >= 0
        assert ulps(form.term, form.definition, env) <= 8


def test_divergence_with_zeros_and_underflow() -> None:
    term, _ = solved("divergence")[1].term, None
    x = np.array([0.0, 800.0, -np.inf])
    assert float(evaluate(term, {"x": x, "t": np.array([0.0, 1.0, 0.0])}, F64)) == 0
    assert float(evaluate(term, {"x": x, "t": np.array([1.0, 0.0, 0.0])}, F64)) == pytest.approx(800, rel=1e-15)
    assert float(evaluate(term, {"x": x, "t": np.array([0.5, 0.0, 0.5])}, F64)) == np.inf


def test_a_unit_sum_is_used_only_where_it_is_declared() -> None:
    with sp.evaluate(False):
        formula = Sum(WEIGHTS[K] * sp.log(WEIGHTS[K] / softmax(X)), K)
    steps, form = stabilize(to_term(formula), arguments_of(formula))
    assert not {"unit-sum", "unit-sums", "bregman"} & {s.rule for s in steps}
    assert form.definition is to_term(formula)


def test_a_sum_is_as_good_as_its_body() -> None:
    with sp.evaluate(False):
        formula = Sum(-LABELS[K] * sp.log(sigmoid(X[K])) - (1 - LABELS[K]) * sp.log(1 - sigmoid(X[K])), K)
    form = stabilize(to_term(formula), arguments_of(formula))[1]
    assert ulps(form.term, form.definition, {"x": [40.0, -40.0, 0.5], "l": [1.0, 0.0, 1.0]}) <= 4
    assert not any(t.op in REDUCTIONS for t in walk(form.term.args[0]))


def test_a_wrong_step_is_found_out() -> None:
    from lossmith.derivations.rows.evidence import enclosed

    with pytest.raises(ArithmeticError, match="changed the value"):
        enclosed(row("x"), mul(row("x"), row("x")), [Argument("x", "input", interval(2, 3), "class")])


# ---- certificate of signs


def test_signs() -> None:
    domains = {"t": NONNEGATIVE, "z": interval(0, 1)}
    x, t = row("x"), row("t")
    peak, rest = node("peak", (x,)), node("rest", (x,))
    gap = node("gap", (peak, x))
    assert sign(add(mul(t, gap), make("log1p", rest)), domains) == "+"
    assert sign(sub(rest, make("expm1", neg(gap))), domains) == "+"
    assert sign(sub(ONE, var("z")), domains) == "+"
    assert sign(node("gap", (peak, node("at", (x, label("y"))))), domains) == "+"
    assert sign(sub(rest, t), domains) == "?" and sign(ZERO, domains) == "0"
    assert may_cancel(add(sub(rest, gap), ONE), domains) == [sub(rest, gap), add(sub(rest, gap), ONE)]
    assert may_cancel(solved("soft")[1].term, {"u": NONNEGATIVE}) == []


def test_what_may_cancel_is_named() -> None:
    form = solved("tsallis", "x", "x")[1]
    assert form.verdict != "stable" and "may cancel" in form.remaining


def test_same_bytes_under_any_hash_seed() -> None:
    program = (
        "import sys; sys.path.insert(0, 'tests'); from test_rows import solved, show\n"
        "for n, o in (('brier', ('x',)), ('several labels', ())):\n"
        "    steps, form = solved(n, *o); print(show(form.term), [s.rule for s in steps], form.remaining)\n"
    )
    outputs = [
        subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
                       capture_output=True, text=True).stdout
        for seed in ("0", "17")
    ]
    assert outputs[0] == outputs[1] and outputs[0]


def test_exact_points_of_evidence_are_fractions_of_the_domain() -> None:
    from lossmith.derivations.rows.evidence import sample_rows

    domain = interval(Fraction(1, 4), Fraction(1, 2))
    rows = sample_rows((Argument("x", "input", domain, "class"),))
    assert all(domain.holds(v) for env in rows for v in env["x"])
