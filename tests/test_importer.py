"""Import of formulas: the author's order survives, and what does not fit is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest
import sympy as sp
from lossmith.derivations.declaring import (
    Sum,
    class_index,
    class_label,
    classes,
    logit,
    logits,
    parameter,
    target,
    targets,
)
from lossmith.derivations.domains import NONNEGATIVE, interval
from lossmith.derivations.functions import clip, sigmoid, xlogy
from lossmith.derivations.importer import ImportProblem, to_term
from lossmith.derivations.terms import const, show

K, J = class_index("i"), class_index("j")
X, T, Y = logits("x"), targets("t"), class_label("y")
A, Z = logit("a"), target("z", interval(0, 1))
EPS = parameter("eps", NONNEGATIVE, "0")


def build(make: Any) -> Any:
    with sp.evaluate(False):
        return make()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: -Sum(T[K] * sp.log(sp.exp(X[K]) / Sum(sp.exp(X[J]), J)), K),
         "-sum(t[k]*log(exp(x[k])/sum(exp(x[k]))))"),
        (lambda: -sp.log(sp.exp(X[Y]) / Sum(sp.exp(X[J]), J)), "-log(exp(x[y])/sum(exp(x[k])))"),
        (lambda: -Z * sp.log(sigmoid(A)) - (1 - Z) * sp.log(1 - sigmoid(A)),
         "-z*log(sigmoid(a)) - (1 - z)*log(1 - sigmoid(a))"),
        (lambda: (A - Z) ** 2 / 2, "(a - z)**2/2"),
        (lambda: sp.sqrt(A) / sp.sqrt(Z), "sqrt(a)/sqrt(z)"),
        (lambda: Sum(X[K] * sp.KroneckerDelta(K, Y), K) / classes, "sum(x[k]*onehot(y))/C"),
        (lambda: -Sum(xlogy(T[K], clip(X[K], EPS, 1)), K), "-sum(xlogy(t[k], clip(x[k], eps, 1)))"),
        (lambda: Sum(1, K) + sp.Max(A, 0) + sp.Abs(A), "C + max(0, a) + abs(a)"),
        (lambda: sp.Piecewise((A, A > 0), (-A, True)), "where(a > 0, a, -a)"),
        (lambda: Sum(sp.Piecewise((X[K], sp.Eq(K, Y)), (0, True)), K), "sum(where(k == y, x[k], 0))"),
        (lambda: Sum(X[K] * Sum(T[J], J), K), "sum(x[k]*sum(t[k]))"),
    ],
)
def test_author_order(make: Any, text: str) -> None:
    assert show(to_term(build(make))) == text


def test_decimals_are_exact() -> None:
    assert to_term(build(lambda: A * 0.01)).args[1] is const("0.01")
    assert to_term(build(lambda: A * sp.Rational(1, 3))).args[1] is const("1/3")


def test_evaluated_formula_imports_too() -> None:
    assert show(to_term(-Sum(T[K] * sp.log(T[K]), K))) == "-sum(t[k]*log(t[k]))"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Sum(Sum(sp.exp(X[K] - X[J]), J), K), "pairs of classes"),
        (lambda: sp.Sum(X[K], (K, 0, classes - 1), (J, 0, classes - 1)), "two indices"),
        (lambda: Sum(X[K] * K, K), "stands alone"),
        (lambda: sp.Sum(X[K], (K, 1, classes - 1)), "from 0 to C - 1"),
        (lambda: Sum(X[K + 1], K), "neither the index"),
        (lambda: X[K], "outside a sum"),
        (lambda: Sum(sp.airyai(X[K]), K), "'airyai'"),
        (lambda: sp.Function("mystery")(A), "'mystery'"),
        (lambda: A * sp.Symbol("w"), "not declared"),
        (lambda: A * Y, "may only choose"),
        (lambda: Sum(Sum(X[K], K), K), "used by two sums"),
        (lambda: A + sp.oo, "finite"),
        (lambda: sp.IndexedBase("w")[Y] + A, "not declared"),
        (lambda: sp.KroneckerDelta(1, Y) * A, "KroneckerDelta"),
    ],
)
def test_refused_in_one_line(make: Any, why: str) -> None:
    with pytest.raises(ImportProblem, match=why) as caught:
        to_term(build(make))
    assert "\n" not in str(caught.value)
