"""Each of the ten ways is found in a small function that fails in it, with an input, and not in a sound one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lossmith.audit.result import Result
from lossmith.audit.run import audit
from lossmith.audit.ways import WAYS, explain
from lossmith.derivations import catalogue
from lossmith.derivations.ulp import FORMATS

from lossmith.cli import main

torch: Any = pytest.importorskip("torch")
F = torch.nn.functional
BCE, CE, SPARSE = "sigmoid_cross_entropy", "softmax_cross_entropy", "sparse_softmax_cross_entropy"


def codes(result: Result, output: str = "loss") -> set[str]:
    return {w.code for w in result.ways if w.output == output}


def of(function: Any, truth: str, **options: Any) -> Result:
    return audit(function, truth=truth, **{"count": 300, "classes": (2, 3, 10), **options})


def the(result: Result, code: str, output: str = "loss") -> Any:
    found = next(w for w in result.ways if (w.code, w.output) == (code, output))
    assert found.points and found.witness.where and found.verdict
    assert float.fromhex(found.witness.wanted) == found.witness.exact or math.isnan(found.witness.exact)
    return found


def test_1_a_form_that_cancels() -> None:
    def cancelling(x: Any, z: Any) -> Any:
        return (1 - z) * x + (np.maximum(-x, 0) + np.log1p(np.exp(-np.abs(x))))

    found = the(of(cancelling, BCE), "L201")
    assert found.matters and "float64 gives" in found.because
    assert np.sign(found.witness.exact) == 1 and found.command == f"lossmith derive {BCE}"
    log_cosh = of(lambda x: np.log(np.cosh(x)), "log(cosh(x))", domain={"x": "[-80,80]"})
    assert codes(log_cosh) == {"L201"}
    double = of(lambda x: np.log(np.cosh(x)), "log(cosh(x))", domain={"x": "[-80,80]"}, dtype="float64")
    assert codes(double) == {"L201"}


def test_2_a_clip_that_kills_the_gradient() -> None:
    found = of(lambda x, z: F.binary_cross_entropy(torch.sigmoid(x), z, reduction="none"), BCE)
    killed = the(found, "L202", "gradient_x")
    assert abs(killed.witness.computed) < abs(killed.witness.exact) / 256 and killed.matters
    assert "L202" in codes(found)  # and beyond 100 the loss stands still

    def floored(x: Any) -> Any:
        return -np.log(np.maximum(1 / (1 + np.exp(-x)), np.finfo(x.dtype).eps))

    assert "L202" in codes(of(floored, "-log(sigmoid(x))", domain={"x": "[-80,80]"}))


def test_3_a_guard_on_the_value_only() -> None:
    def focal(x: Any) -> Any:
        return -((1 - torch.sigmoid(x)) ** 0.5) * F.logsigmoid(x)

    found = of(focal, "-(1 - sigmoid(x))**0.5*log(sigmoid(x))", domain={"x": "[-100,100]"})
    guarded = the(found, "L203", "gradient_x")
    assert math.isnan(guarded.witness.computed) and guarded.matters and "L203" not in codes(found)


def test_4_zero_times_infinity() -> None:
    found = of(lambda x, t: -(t * torch.log_softmax(x, -1)).sum(-1), CE, classes=(2,))
    masked = the(found, "L204")
    assert math.isnan(masked.witness.computed) and math.isfinite(masked.witness.exact)
    divergence = of(lambda q, p: (p * np.log(p / q)).sum(-1), "kl_divergence", classes=(2,))
    assert "L204" in codes(divergence)


def merging(x: Any, y: Any, neutral: bool) -> Any:
    """Sparse cross entropy in tiles of two classes."""
    top, total = np.full(len(x), -np.inf, x.dtype), np.zeros(len(x), x.dtype)
    for start in range(0, x.shape[1], 2):
        tile = x[:, start:start + 2]
        new = np.maximum(top, tile.max(axis=1))
        kept, shifted = np.exp(top - new), np.exp(tile - new[:, None])
        if neutral:
            kept, shifted = np.where(top == -np.inf, 0, kept), np.where(tile == -np.inf, 0, shifted)
        top, total = new, total * kept + shifted.sum(axis=1)
    return np.log(total) + (top - np.take_along_axis(x, y[:, None], 1)[:, 0])


def test_5_an_online_merge() -> None:
    found = of(lambda x, y: merging(x, y, neutral=False), SPARSE)
    merged = the(found, "L205")
    assert math.isnan(merged.witness.computed) and math.isfinite(merged.witness.exact)
    assert "L205" not in codes(of(lambda x, y: merging(x, y, neutral=True), SPARSE))


def test_6_rounding_to_the_storage_type() -> None:
    def stored(x: Any, y: Any) -> Any:
        return torch.softmax(x, -1) - F.one_hot(y, x.shape[-1])

    def inside(x: Any, y: Any) -> Any:
        x = x.double()
        rest = (x - x.max(-1, keepdim=True).values).exp()
        share = rest / rest.sum(-1, keepdim=True)
        others = (rest.sum(-1, keepdim=True) - rest) / rest.sum(-1, keepdim=True)
        return torch.where(F.one_hot(y, x.shape[-1]) == 1, -others, share).to(torch.bfloat16)

    found = of(stored, SPARSE, output="gradient_x", dtype="bfloat16")
    assert the(found, "L206", "gradient_x").witness.computed != found.max_ulp
    assert "L206" not in codes(of(inside, SPARSE, output="gradient_x", dtype="bfloat16"), "gradient_x")

    def half(x: Any) -> Any:
        return np.logaddexp(0, x).astype(np.float16).astype(np.float32)

    assert "L206" in codes(of(half, "softplus(x)", domain={"x": "[-8,8]"}))


def in_half(x: Any, y: Any, wide: type) -> Any:
    top = x.max(axis=1)
    total = np.add.accumulate(np.exp(x - top[:, None]), axis=1, dtype=wide)[:, -1]
    found = np.log(total.astype(np.float64)) + (top - np.take_along_axis(x, y[:, None], 1)[:, 0])
    return found.astype(x.dtype)


def test_7_an_accumulator_without_room() -> None:
    found = of(lambda x, y: in_half(x, y, np.float16), SPARSE, dtype="float16", classes=(2, 3))
    assert "a row of 70001" in the(found, "L207").because
    assert "L207" not in codes(of(lambda x, y: in_half(x, y, np.float64), SPARSE, dtype="float16", classes=(2, 3)))
    overflowing = of(lambda x: np.log1p(np.exp(x)), "softplus")
    assert math.isinf(the(overflowing, "L207").witness.computed)
    assert codes(of(lambda x: np.log1p(np.exp(x)), "softplus", dtype="float64")) == {"L207"}


def test_7_a_mean_over_a_batch() -> None:
    def mean(x: Any, reduction: str = "mean") -> Any:
        values = F.softplus(x)
        return values if reduction == "none" else values.sum() / len(values)

    def well(x: Any, reduction: str = "mean") -> Any:
        values = F.softplus(x)
        return values if reduction == "none" else values.float().mean().to(x.dtype)

    assert "the mean over" in the(of(mean, "softplus", dtype="float16"), "L207").because
    assert not any("the mean over" in w.because for w in of(well, "softplus", dtype="float16").ways)


def test_8_the_seam_of_max_and_abs() -> None:
    def seam(x: Any, z: Any) -> Any:
        return torch.relu(x) - x * z + torch.log1p(torch.exp(-x.abs()))

    found = the(of(seam, BCE), "L208", "gradient_x")
    assert float.fromhex(found.witness.where.split()[0][2:]) == 0 and found.matters


class ByHand(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(context: Any, x: Any, t: Any) -> Any:
        context.save_for_backward(x, t)
        return F.cross_entropy(x, t, reduction="none")

    @staticmethod
    def backward(context: Any, *up: Any) -> Any:
        x, t = context.saved_tensors
        return up[0][:, None] * (torch.softmax(x, -1) - t), None


def test_9_a_gradient_of_something_else() -> None:
    found = of(ByHand.apply, CE, classes=(2,))
    wrong = the(found, "L209", "gradient_x")
    assert wrong.matters and abs(wrong.witness.computed - wrong.witness.exact) > 1e-3
    right = of(lambda x, t: F.cross_entropy(x, t, reduction="none"), CE, classes=(2,))
    assert not codes(right, "gradient_x") & {"L209", "L202"}


def zero_twice(x: Any) -> Any:
    class Cut(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(context: Any, x: Any) -> Any:
            context.slope = torch.sigmoid(x.detach())
            return F.softplus(x)

        @staticmethod
        def backward(context: Any, *up: Any) -> Any:
            return up[0] * context.slope

    return Cut.apply(x)


def test_10_a_second_derivative_that_is_none() -> None:
    found = the(of(zero_twice, "softplus"), "L210", "hessian_x")
    assert found.witness.computed == 0 != found.witness.exact

    def differences(x: Any) -> Any:
        h = x.dtype.type(1e-3)
        return (1 / (1 + np.exp(-(x + h))) - 1 / (1 + np.exp(-x))) / h

    bounded = {"x": "[-30,30]"}
    found = the(of(differences, "softplus(x)", output="hessian_x", domain=bounded), "L210", "hessian_x")
    assert "in float64 too" in found.because

    def formula(x: Any) -> Any:
        decay = np.exp(-np.abs(x.astype(np.float64)))
        return (decay / (1 + decay) ** 2).astype(x.dtype)

    assert not of(formula, "softplus(x)", output="hessian_x", domain=bounded).ways


def test_another_function_is_none_of_the_ten() -> None:
    found = of(lambda x: np.logaddexp(0, x) + np.float32(0.001) * np.exp(-x * x), "softplus(x)", domain={"x": "[-9,9]"})
    assert codes(found) == {"L200"} and "a wider format does not help" in the(found, "L200").because


def test_no_alarm_for_sound_functions() -> None:
    assert not codes(of(F.softplus, "softplus")) and not codes(of(F.softplus, "softplus"), "gradient_x")
    log_expit = pytest.importorskip("scipy.special").log_expit
    assert not of(log_expit, "log(sigmoid(x))", domain={"x": "real"}).ways
    assert not of(log_expit, "log(sigmoid(x))", domain={"x": "real"}, dtype="float64").ways


UNITS = catalogue.unit_names()


@pytest.mark.parametrize("target", ("np", "pt"))
@pytest.mark.parametrize("unit", UNITS[::7])
def test_no_alarm_for_generated_kernels(unit: str, target: str) -> None:
    assert audit(unit, target, count=60, classes=(2,)).ways == ()


@pytest.mark.heavy
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("unit", UNITS)
def test_no_alarm_for_any_generated_kernel(unit: str, dtype: str) -> None:
    for target in ("np", "pt"):
        found = audit(unit, target, dtype, count=200, classes=(1, 2, 3, 100))
        assert found.ways == () or not found.holds  # a kernel that breaks its contract is no false alarm


def test_a_condition_makes_an_error_harmless() -> None:
    def periodic(x: Any) -> Any:
        return np.sin(x.astype(np.float64) * (1 + 2.0**-25)).astype(np.float32)

    found = of(periodic, "sin(x)", domain={"x": "[1000,1000000]"})
    assert found.ways and all(not w.matters and "half an ulp of the inputs" in w.verdict for w in found.ways)


def test_findings_are_text_and_data() -> None:
    found = of(lambda x: np.log(1 + np.exp(x)), "softplus")
    text = found.to_text()
    assert "L201" in text and "\n  why " in text and "\n  fix " in text and "\n  matters " in text
    assert 'lossmith stabilize "softplus(x)" --domain "x=extended"' in " ".join(text.split())
    data = found.ways[0].to_json()
    assert data["code"] in WAYS and data["witness"]["where"].startswith("x=") and data["fix"]


def test_the_command_explains_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "l203"]) == 0 and "guard on the value" in capsys.readouterr().out
    assert main(["explain"]) == 0
    assert {"E104", *WAYS} <= {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert main(["explain", "L299"]) == 2


def test_the_report_says_why(tmp_path: Path) -> None:
    of(lambda x: np.log(1 + np.exp(x)), "softplus", count=40).to_html(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<h3>L201 " in page and ">matters</th>" in page and "lossmith stabilize" in page


def test_every_way_is_explained() -> None:
    assert sorted(WAYS) == [f"L{n}" for n in range(200, 211)]
    for code in WAYS:
        assert all(label in explain(code) for label in ("happens", "seen by", "such as", "fix"))
