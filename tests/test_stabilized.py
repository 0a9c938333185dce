"""A formula of the user's own, stabilized and computed with at once."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from lossmith.derivations.derivation import Derivation

import lossmith as lm
from lossmith.errors import UsageError

BCE = ("log(1 + exp(x)) - x*z", {"x": "real", "z": "[0,1]"})


def test_what_is_found_can_be_computed() -> None:
    found = lm.stabilize(*BCE)
    assert isinstance(found, Derivation) and found.steps and found.to_latex()
    f = found.compile("np", dtype="float32")
    got = f(x=[-20.0, 40.0, 1e4], z=[0.0, 1.0, 1.0])
    assert got.dtype == np.float32
    assert got == pytest.approx([2.0611537e-09, 4.2483543e-18, 0.0], rel=3e-7)


@pytest.mark.parametrize(("dtype", "tier"), [
    ("float64", "fast"), ("float16", "fast"), ("float16", "accurate"), ("bfloat16", "fast")])
def test_every_dtype_and_tier(dtype: str, tier: str) -> None:
    f = lm.stabilize(*BCE).compile(dtype=dtype, tier=tier)
    got = f(x=np.linspace(-4, 4, 9), z=0.25)
    assert got.dtype.name == dtype and got.shape == (9,)
    wanted = np.logaddexp(0, np.linspace(-4, 4, 9)) - 0.25 * np.linspace(-4, 4, 9)
    assert got.astype(np.float64) == pytest.approx(wanted, rel={"bfloat16": 4e-3, "float16": 5e-4}.get(dtype, 1e-15))


def test_a_derivative_is_computed_in_its_own_right() -> None:
    gradient = lm.stabilize(*BCE, wrt="x").compile("np", "float32")
    assert float(gradient(x=20.0, z=1.0)) == pytest.approx(-2.0611537e-09, rel=3e-7)


def test_what_cannot_be_compiled_is_one_line() -> None:
    found = lm.stabilize("log(1 + exp(x))", {"x": "real"})
    for options, said in (({"target": "rust"}, "no way to compile for 'rust'"), ({"dtype": "float23"}, "'float32'"),
                          ({"tier": "slow"}, "fast, accurate")):
        with pytest.raises(ValueError, match=said):
            found.compile(**options)
    f = found.compile()
    with pytest.raises(TypeError, match="no argument 'y'"):
        f(y=1.0)
    with pytest.raises(TypeError, match="'x' is missing"):
        f()


def test_domains_hold_for_what_is_computed() -> None:
    f = lm.stabilize("-log(p)", {"p": "[0,1]"}).compile()
    with pytest.raises(ValueError, match=r"p must lie in \[0, 1\], but it holds 1.5"):
        f(p=[0.5, 1.5])


def test_names_that_numpy_code_uses_are_safe() -> None:
    f = lm.stabilize("exp(state) + work", {"state": "real", "work": "real"}).compile("np", "float64")
    assert float(f(state=0.0, work=1.0)) == 2.0


X = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 50.0]])
SOFTMAX = np.exp(X - X.max(-1, keepdims=True)) / np.exp(X - X.max(-1, keepdims=True)).sum(-1, keepdims=True)


@pytest.mark.parametrize("target", ["np", "pt"])
def test_a_row_is_an_array_with_the_class_axis_last(target: str) -> None:
    pytest.importorskip("torch")
    given = {"x": X, "y": np.array([0, 2])}
    loss = lm.stabilize("logsumexp(x) - x[y]", "x=real")
    assert np.asarray(loss.compile(target, "float64")(**given)) == pytest.approx([2.4076059644443806, 3.8574996959e-22])
    gradient = lm.stabilize("logsumexp(x) - x[y]", "x=real", wrt="x")
    got = np.asarray(gradient.compile(target, "float64")(**given))
    assert got.shape == X.shape
    assert got[0] == pytest.approx(SOFTMAX[0] - [1, 0, 0]) and got[1, 2] == pytest.approx(-3.8574996959e-22)


def test_a_value_per_class_and_a_derivative_that_is_the_same_for_each() -> None:
    assert lm.stabilize("softmax(x)", "x=real").compile("np", "float64")(x=X) == pytest.approx(SOFTMAX)
    assert lm.stabilize("sum(x)", "x=real", wrt="x").compile("np", "float64")(x=X) == pytest.approx(np.ones((2, 3)))


def test_scalars_beside_rows() -> None:
    found = lm.stabilize("log(mean(exp(x/T)))*T", "x=real, T=positive").compile("np", "float64")
    wanted = [np.log(np.mean(np.exp(X[0] / 1.0))), 2 * np.log(np.mean(np.exp(X[1] / 2.0)))]
    assert found(x=X, T=[1.0, 2.0]) == pytest.approx(wanted)


def test_second_derivatives_and_text_for_cuda() -> None:
    mixed = lm.stabilize("exp(x)*y", "x=real, y=real", wrt="x,y")
    assert mixed.order == ("x", "y") and float(mixed.compile(dtype="float64")(x=1.0, y=3.0)) == pytest.approx(np.e)
    assert "__global__" in mixed.source("cu")


def test_arguments_that_the_formula_does_not_name_are_left_out() -> None:
    found = lm.stabilize("log(1 + x)", "x=positive, unused=real")
    assert [a.name for a in found.arguments] == ["x"]


@pytest.mark.parametrize("work", [
    "from lossmith.formula import formula_unit; formula_unit('log(exp(x) - exp(y))', 'x=real, y=real', 'x > y')",
    "import lossmith as lm; assert lm.stabilize('sqrt(x + 1) - 1', 'x=positive', dtype='float64').steps",
])
def test_a_scalar_formula_needs_no_sympy(work: str) -> None:
    script = f"import sys, lossmith.derivations.derive; {work}; sys.exit('sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("target", ["np", "pt"])
def test_what_is_no_number_is_refused_by_name(target: str) -> None:
    if target == "pt":
        pytest.importorskip("torch")
    f = lm.stabilize("exp(x) + y", {"x": "real", "y": "real"}).compile(target)
    for wrong in (None, "1", 1j, [None, 1.0]):
        with pytest.raises(TypeError, match="y must hold real numbers"):
            f(x=1.0, y=wrong)
    with pytest.raises(TypeError, match=r"f\(x=..., y=...\)"):
        f(1.0, 2.0)


def test_dtypes_of_numpy_are_known() -> None:
    found = lm.stabilize("exp(x)", {"x": "real"}, dtype=np.float32)
    assert [m.dtype for m in found.form.errors] == ["float32"]
    assert found.compile("np", np.dtype("float64"))(x=1).dtype == np.float64


@pytest.mark.parametrize("options", [{"domain": 5}, {"domain": None}, {"domain": [5]}, {"wrt": 1}, {"wrt": [1]},
                                     {"where": 3}, {"where": [3]}, {"dtype": 5}])
def test_what_is_no_text_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        lm.stabilize("exp(x)", **{"domain": {"x": "real"}, **options})  # type: ignore[arg-type]
