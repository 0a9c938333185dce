"""Derivatives against differences of the definition, both in ball arithmetic: the error is that of the difference."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest
import sympy as sp
from lossmith.derivations.balls import enclose
from lossmith.derivations.calculus import CalculusProblem, derivative, hessian_vector
from lossmith.derivations.declaring import (
    Sum,
    arguments_of,
    class_index,
    class_label,
    classes,
    logit,
    logits,
    parameter,
    target,
    targets,
)
from lossmith.derivations.domains import NONNEGATIVE, POSITIVE, interval
from lossmith.derivations.functions import clip, clip_through, logaddexp, sigmoid, softplus, xlogy
from lossmith.derivations.importer import to_term
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term, row, show, var

A, B = logit("a"), logit("b")
Z = target("z", interval(0, 1))
G = parameter("g", NONNEGATIVE, "2")
X, W = logits("x"), logits("w")
T, P = targets("t"), targets("p", NONNEGATIVE)
Y = class_label("y")
K, J = class_index("i"), class_index("j")
C = logit("c", POSITIVE)
PRECISION = 500
STEP = Fraction(1, 2**120)


def build(make: Any) -> tuple[Term, tuple[Argument, ...]]:
    with sp.evaluate(False):
        formula = make()
    return to_term(formula), arguments_of(formula)


def softmax(x: Any) -> Any:
    return sp.exp(x[K]) / Sum(sp.exp(x[J]), J)


ELEMENTWISE = {
    "bce": lambda: -Z * sp.log(sigmoid(A)) - (1 - Z) * sp.log(1 - sigmoid(A)),
    "focal": lambda: -(1 - sigmoid(A)) ** G * sp.log(sigmoid(A)),
    "functions": lambda: softplus(A * B) + logaddexp(A, 2 * B) + sp.tanh(A) * sp.atan(B) + sp.erf(A - B)
    + sp.sqrt(1 + A**2),
    "choices": lambda: sp.Max(A, B) * sp.Min(A, Z) + sp.Abs(A - Z) + sp.Piecewise((A**2, A > B), (A**3, True)),
    "clips": lambda: clip(A, -1, B) * xlogy(Z, C) + clip_through(B, -9, 9) ** 2,
    "more": lambda: sp.loggamma(C) + sp.asinh(A) * sp.cosh(B / 3) - sp.sinh(A / 2) / C + sp.log(C) ** 2 + C**A,
}
ROWS = {
    "soft": lambda: -Sum(T[K] * sp.log(softmax(X)), K),
    "sparse": lambda: -sp.log(sp.exp(X[Y]) / Sum(sp.exp(X[J]), J)),
    "entropy": lambda: -Sum(softmax(X) * sp.log(softmax(X)), K),
    "two softmaxes": lambda: Sum(softmax(X) * (sp.log(softmax(X)) - sp.log(softmax(W))), K),
    "brier": lambda: Sum((softmax(X) - T[K]) ** 2, K),
    "focal": lambda: -(1 - sp.exp(X[Y]) / Sum(sp.exp(X[J]), J)) ** 3 * sp.log(sp.exp(X[Y]) / Sum(sp.exp(X[J]), J)),
    "plain": lambda: Sum(xlogy(P[K], P[K] / T[K]) + softplus(X[K] * C), K) / classes,
    "partition": lambda: Sum(P[K] / Sum(P[J], J) * sp.log(P[K] / Sum(P[J], J) / softmax(X)), K)
    + (Sum(P[J], J) - sp.Max(0.01, C)) ** 2,
    "one more": lambda: sp.log(1 + Sum(sp.exp(C * X[K]), K)) * X[Y],
    "margin": lambda: sp.log(Sum(sp.exp(X[K] - C * sp.KroneckerDelta(K, Y)), K)) - X[Y],
}


def point(arguments: tuple[Argument, ...], seed: int, count: int = 3) -> dict[str, Any]:
    rng = random.Random(seed)

    def draw(a: Argument) -> Fraction:
        low = Fraction(1, 8) if a.domain.low >= 0 else Fraction(-2)
        return low + Fraction(rng.randrange(1, 2**20), 2**20) * (Fraction(7, 8) if low > 0 else 4)

    out: dict[str, Any] = {}
    for a in arguments:
        out[a.name] = rng.randrange(count) if a.role == "label" else (
            [draw(a) for _ in range(count)] if a.axis == "class" else draw(a))
    return out


def moved(env: dict[str, Any], name: str, by: Fraction, k: int | None) -> dict[str, Any]:
    value = env[name]
    return {**env, name: value + by if k is None else [v + by * (i == k) for i, v in enumerate(value)]}


def slope(term: Term, env: dict[str, Any], name: str, k: int | None, place: int | None = None) -> Any:
    ends = [enclose(term, moved(env, name, s * STEP, k), PRECISION) for s in (1, -1)]
    high, low = (e[place] if isinstance(e, list) else e for e in ends)
    return (high - low) * (Fraction(1) / (2 * STEP)).numerator


def close(a: Any, b: Any) -> bool:
    return abs(float(a) - float(b)) <= 1e-14 * (abs(float(b)) + 1e-3)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name: str) -> None:
    term, arguments = build(ELEMENTWISE[name])
    for seed in range(3):
        env = point(arguments, seed)
        for a in arguments:
            first = derivative(term, (a.name,), arguments)
            assert close(enclose(first, env, PRECISION), slope(term, env, a.name, None)), (a.name, show(first))
            if name == "more" and a.name == "c":
                continue  # the second derivative of lgamma is not in the vocabulary
            for b in arguments:
                second = derivative(term, (a.name, b.name), arguments)
                assert close(enclose(second, env, PRECISION), slope(first, env, b.name, None)), (a.name, b.name)


@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str) -> None:
    term, arguments = build(ROWS[name])
    env = point(arguments, 5)
    for a in (a for a in arguments if a.role != "label"):
        first = derivative(term, (a.name,), arguments)
        second = derivative(term, (a.name, a.name), arguments)
        for k in range(3) if a.axis == "class" else [None]:
            for got, source in ((first, term), (second, first)):
                value = enclose(got, env, PRECISION)
                value = value[k or 0] if isinstance(value, list) else value
                assert close(value, slope(source, env, a.name, k, k)), (a.name, k, show(got))


@pytest.mark.parametrize("name", ROWS)
def test_hessian_vector(name: str) -> None:
    term, arguments = build(ROWS[name])
    chosen = [a for a in arguments if a.differentiable]
    tangents = tuple(Argument(f"tangent_{a.name}", "input", a.domain, a.axis) for a in chosen)
    env = point((*arguments, *tangents), 9)
    for got_name, got in hessian_vector(term, arguments).items():
        first = derivative(term, (got_name,), arguments)
        expected = [0.0] * 3
        for place in range(3):
            for a in chosen:
                tangent = env[f"tangent_{a.name}"]
                for k in range(3) if a.axis == "class" else [None]:
                    by = slope(first, env, a.name, k, place)
                    expected[place] += float(by) * float(tangent if k is None else tangent[k])
        values = enclose(got, env, PRECISION)
        values = values if isinstance(values, list) else [values]
        for place, value in enumerate(values):
            assert close(value, expected[place]), (got_name, place)


def test_written_as_a_person_would() -> None:
    term, arguments = build(ELEMENTWISE["bce"])
    assert show(derivative(term, ("a",), arguments)) == "-z*sigmoid(-a) + (1 - z)*sigmoid(a)"
    term, arguments = build(ROWS["soft"])
    assert show(derivative(term, ("x",), arguments)) == "sum(t[k])*exp(x[k] - lse(x[k])) - t[k]"
    term, arguments = build(ROWS["sparse"])
    assert show(derivative(term, ("x",), arguments)) == "exp(x[k] - lse(x[k])) - onehot(y)"


def test_kinks_take_the_flat_side() -> None:
    term, arguments = build(lambda: sp.Max(A, 0) + sp.Abs(B) + clip(Z, 0, 1))
    env = {"a": 0.0, "b": 0.0, "z": 1.0}
    assert [float(enclose(derivative(term, (n,), arguments), env)) for n in ("a", "b", "z")] == [0, 0, 1]


def test_order_zero_is_the_term_itself() -> None:
    term, arguments = build(ROWS["soft"])
    assert derivative(term, (), arguments) is term


def test_refusals() -> None:
    term, arguments = build(ROWS["soft"])
    with pytest.raises(CalculusProblem, match="no argument 'q'"):
        derivative(term, ("q",), arguments)
    with pytest.raises(CalculusProblem, match="Hessian diagonals"):
        derivative(term, ("x", "t"), arguments)
    loose, known = build(lambda: sp.digamma(C))
    with pytest.raises(CalculusProblem, match="digamma"):
        derivative(loose, ("c",), known)


def test_sorts() -> None:
    term, arguments = build(ROWS["partition"])
    assert derivative(term, ("x",), arguments).sort == "row"
    assert derivative(term, ("c",), arguments).sort == "scalar"
    assert row("x") is not var("x")
