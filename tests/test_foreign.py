"""Other people's functions: found by name, measured, and whatever they do said in one line."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from lossmith.audit import climb
from lossmith.audit.adapters import Unavailable
from lossmith.audit.foreign import guessed_kind, resolve
from lossmith.audit.result import Result
from lossmith.audit.run import audit

torch = pytest.importorskip("torch")
SOFTPLUS = {"truth": "softplus", "count": 400}


def softplus(x: Any) -> Any:
    """log(1 + exp(x)) for arrays."""
    return np.logaddexp(0, x)


def report(result: Result, output: str) -> Any:
    return next(r for r in result.reports if r.output == output)


def test_names_are_resolved() -> None:
    assert resolve("numpy:exp") is np.exp


def test_a_wrong_name_is_told_with_what_to_type() -> None:
    with pytest.raises(ValueError, match="did you mean 'expm1'"):
        resolve("numpy:expml")
    with pytest.raises(Unavailable, match="pip install nosuchmodule, or type this in the folder"):
        resolve("nosuchmodule:f")
    assert resolve("torch.nn.functional:softplus") is torch.nn.functional.softplus
    with pytest.raises(ValueError, match="write module:function"):
        resolve("numpy.exp")
    with pytest.raises(ValueError, match="has no 'nothing'"):
        resolve("numpy:nothing")
    with pytest.raises(Unavailable, match="not installed"):
        resolve("no_such_module_here:f")
    with pytest.raises(ValueError, match="is not a function"):
        resolve("math:pi")


def test_what_takes_tensors_is_known() -> None:
    assert guessed_kind(torch.nn.functional.softplus) == "torch"
    assert guessed_kind(lambda x: torch.log1p(x)) == "torch"
    assert guessed_kind(np.exp) == guessed_kind(softplus) == "numpy"


def test_a_torch_function_is_measured_with_its_derivatives() -> None:
    found = audit("torch.nn.functional:binary_cross_entropy_with_logits", truth="sigmoid_cross_entropy", count=400)
    assert report(found, "loss").wrong and report(found, "gradient_x").wrong and not found.holds
    assert report(found, "gradient_z").holds


def test_truth_may_be_a_formula_over_its_domain() -> None:
    found = audit(torch.nn.functional.soft_margin_loss, truth="log(1 + exp(-y*x))",
                  domain={"x": "extended", "y": "{-1,1}"}, count=400)
    assert {r.output for r in found.reports} == {"loss", "gradient_x", "hessian_x"}
    assert report(found, "loss").wrong_inf and report(found, "gradient_x").wrong_nan


def test_a_good_function_of_arrays_holds_and_says_what_was_not_run() -> None:
    found = audit(softplus, dtype="float64", **SOFTPLUS)
    assert found.holds and found.max_ulp <= 2
    assert any(said.startswith("gradient_x, hessian_x: not offered") for said in found.not_run)


def test_arguments_go_in_the_order_that_is_asked_for() -> None:
    def swapped(z: Any, x: Any) -> Any:
        return np.where(x > 0, (1 - z) * x, -z * x) + np.log1p(np.exp(-np.abs(x)))

    right = audit(swapped, truth="sigmoid_cross_entropy", order=("z", "x"), count=200)
    assert right.max_ulp <= 4 and audit(swapped, truth="sigmoid_cross_entropy", count=200).max_ulp > 1e3
    with pytest.raises(ValueError, match="has no argument 'w'"):
        audit(swapped, truth="sigmoid_cross_entropy", order=("w", "x"), count=200)


def misbehaving() -> dict[str, Any]:
    def mutates(x: Any) -> Any:
        x += 1
        return x

    return {
        "it raises ZeroDivisionError: division by zero": lambda x: 1 / 0,
        "it changes its input 'x' in place": mutates,
        "it returns the shape (3,) where": lambda x: x[:3],
        "it did not return within 0.2 s": lambda x: time.sleep(2),
        "it raises ValueError": lambda x: np.asarray("words").astype(float),
    }


@pytest.mark.parametrize("said", misbehaving())
def test_whatever_a_function_does_is_a_finding(said: str) -> None:
    found = audit(misbehaving()[said], seconds=0.2, **SOFTPLUS)
    assert not found.holds and said in found.failures[0].reason
    with pytest.raises(AssertionError, match="loss"):
        found.assert_below(1e9)


def test_one_number_for_a_batch_is_told_apart() -> None:
    found = audit(lambda x: torch.nn.functional.softplus(x).mean(), **SOFTPLUS)
    assert "reduction='none'" in found.failures[0].reason


def test_a_failing_case_does_not_stop_the_others() -> None:
    class Half(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Any) -> Any:
            return torch.nn.functional.softplus(x)

        @staticmethod
        def backward(context: Any, *up: Any) -> Any:
            raise RuntimeError("no GPU is here")

    found = audit(lambda x: Half.apply(x) if torch else None, **SOFTPLUS)
    assert report(found, "loss").points and "no GPU is here" in found.failures[0].reason


def test_a_climb_finds_what_the_draw_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    def hump(x: Any) -> Any:
        wide = x.astype(np.float64)
        return (np.logaddexp(0, wide) * (1 + 1e-4 / (1 + 4 * (wide - 29.123) ** 2))).astype(x.dtype)

    climbed = report(audit(hump, truth="softplus", count=60, ways=False), "loss")
    monkeypatch.setattr(climb, "ROUNDS", 0)
    drawn = report(audit(hump, truth="softplus", count=60, ways=False), "loss")
    top = 1e-4 * 29.123 / 2.0**-19
    assert drawn.max_ulp < 0.9 * top and climbed.max_ulp > 0.99 * top
    assert abs(float.fromhex(climbed.where.partition("x=")[2]) - 29.123) < 0.1


def test_a_climb_finds_worse_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def hump(x: Any) -> Any:
        wide = x.astype(np.float64)
        top = wide.max(axis=1)
        exact = top + np.log(np.exp(wide - top[:, None]).sum(axis=1))
        return (exact * (1 + 1e-4 / (1 + 4 * (top - 29.123) ** 2))).astype(x.dtype)

    known: dict[str, Any] = {"truth": "logsumexp(x)", "domain": {"x[k]": "real"}, "classes": (2, 3), "ways": False}
    climbed = report(audit(hump, **known), "loss")
    monkeypatch.setattr(climb, "ROUNDS", 0)
    drawn = report(audit(hump, **known), "loss")
    assert climbed.max_ulp > drawn.max_ulp and climbed.max_ulp > 500


def test_a_value_per_class_is_measured_along_the_last_axis() -> None:
    """SciPy's softmax takes the sum over everything unless it is told which axis runs over the classes."""
    pytest.importorskip("scipy")
    found = audit("scipy.special:softmax", truth="exp(x[k])/sum(exp(x))", domain={"x[k]": "real"}, classes=(1, 2, 3),
                  ways=False)
    values = report(found, "loss")
    assert not values.wrong and 4 < values.max_ulp < 1000 and not found.failures
