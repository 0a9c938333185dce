"""What is computed finer where a form alone would break the promise of the fast tier."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from lossmith.codegen.careful import carefully
from lossmith.codegen.kernel import Bundle, Elementwise, Input
from lossmith.codegen.lower import share
from lossmith.codegen.targets import c, cu
from lossmith.codegen.targets import np as np_target
from lossmith.codegen.targets import pt as pt_target
from lossmith.derivations.evaluate import evaluate
from lossmith.derivations.parser import parse_formula
from lossmith.derivations.terms import Term, walk
from np_bundles import bundle

X, Y = Input("x", "scalar", "input", "[-40, 40]"), Input("y", "scalar", "input", "[-40, 40]")
BRANCHES = ("where(abs(x - y) < 1/2, log1p(2*sinh((x - y)/2)*sinh((x - y)/2)),"
            " max(x - y, y - x) + log1p(expm1(-2*abs(x - y))/2))")


def kernel(text: str) -> Elementwise:
    term = parse_formula(text, {"x": "[-40, 40]", "y": "[-40, 40]"})[0]
    inputs = tuple(i for i in (X, Y) if i.name in text)
    return Elementwise("made", inputs, share({"loss": term}, [*(i.name for i in inputs), "loss"]))


def operations(found: object) -> set[str]:
    assert isinstance(found, Elementwise)
    return {t.op for t in walk(*(let.term for let in found.program.lets), *found.program.outputs.values())}


def whole(found: object) -> Term:
    from lossmith.codegen.careful import _whole

    assert isinstance(found, Elementwise)
    return _whole(found.program)["loss"]


@pytest.mark.parametrize("fmt", ["float32", "float64"])
def test_what_holds_stays_as_it_is(fmt: str) -> None:
    given = kernel("log1p(exp(-abs(x))) + max(x, 0)")
    assert carefully(given, fmt) is given


@pytest.mark.parametrize("fmt", ["float32", "float64"])
def test_the_exponential_of_a_sum_keeps_what_rounding_it_takes(fmt: str) -> None:
    given = kernel("exp(-2*(max(x, 0) + log1p(exp(-abs(x)))))")
    found = carefully(given, fmt)
    assert "exp_diff" in operations(found) and "wide" not in operations(found)
    x = np.linspace(0.1, 40, 4001).astype(np.float32).astype(np.float64)
    exact = np.exp(-2 * (x + np.log1p(np.exp(-x))))

    def lost(term: Term) -> float:
        from lossmith.derivations.ulp import FORMATS

        got = evaluate(term, {"x": x}, FORMATS["float32"])
        return float(np.max(np.abs(got - exact) / np.spacing(exact.astype(np.float32)).astype(np.float64)))

    assert lost(whole(given)) > 8 and lost(whole(found)) < 3


def test_what_cancels_beside_a_threshold_is_computed_in_float64_for_float32_alone() -> None:
    given = kernel(BRANCHES)
    assert "wide" in operations(carefully(given, "float32"))
    assert "wide" not in operations(carefully(given, "float64"))


def test_the_same_is_chosen_every_time() -> None:
    first, second = (carefully(kernel(BRANCHES), "float32") for _ in range(2))
    assert first == second


def test_c_computes_the_fast_tier_so_and_the_accurate_one_as_it_is() -> None:
    made: Bundle = bundle("made", kernel(BRANCHES), "x", ())
    text = next(r.body for r in c.render(made) if r.path.endswith(".c"))
    in_float = text[text.index("element_loss_f("):text.index("element_loss_d(")]
    in_double = text[text.index("element_loss_d("):text.index("element_loss_p(")]
    assert "(float)(" in in_float and "(double)" in in_float and "_p(" not in in_double


@pytest.mark.parametrize("target", [np_target, pt_target, cu])
def test_other_targets_compute_it_too(target: Any) -> None:
    """NumPy and PyTorch in float64 where the tensors are float32; CUDA C has pairs where it needs them."""
    made: Bundle = bundle("made", kernel(BRANCHES), "x", ())
    text = "".join(r.body for r in target.render(made))
    assert ("_wide(lambda" in text) == (target is not cu)
    if target is np_target:
        space: dict[str, Any] = {}
        exec(compile(text, "made", "exec"), space)
        x = np.linspace(-40, 40, 20001).astype(np.float32)
        y = np.zeros_like(x)
        wide, got = space["loss"](x.astype(np.float64), y.astype(np.float64)), space["loss"](x, y)
        known = np.abs(wide) > 0
        assert got.dtype == np.float32
        assert (np.abs(got - wide) / np.spacing(np.abs(wide).astype(np.float32)))[known].max() < 4


def test_a_scale_that_is_no_power_of_two_is_left_alone() -> None:
    from lossmith.codegen.careful import _kept_apart, _power_of_two
    from lossmith.derivations.terms import add, const, make, mul, var

    total = add(var("x"), var("y"))
    assert _kept_apart(make("exp", mul(const(3), total))) is None
    assert _kept_apart(make("exp", mul(const(Fraction(1, 4)), total))) is not None
    assert _power_of_two(const(Fraction(-1, 8))) and not _power_of_two(const(0))
