"""Short rows of float64 in pairs (NumPy: in the accurate tier): the pairs themselves; a loss rounded once."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from flint import arb, ctx
from lossmith.codegen import host, lower
from lossmith.codegen.kernel import Bundle
from lossmith.codegen.targets import cu
from lossmith.codegen.targets import np as numpy_target
from lossmith.derivations import balls, special
from lossmith.derivations.calculus import derivative
from lossmith.derivations.derive import derive
from lossmith.derivations.loss import Unit
from lossmith.derivations.parser import arguments, parse_term
from lossmith.derivations.ulp import FORMATS, Array, error, split

F64 = FORMATS["float64"]
CLASSES = 10


@pytest.mark.parametrize("name", ["exp", "expm1", "log1p", "pow"])
def test_functions_of_pairs(name: str) -> None:
    rng = np.random.default_rng(1)
    high = np.concatenate([rng.normal(size=40), rng.uniform(-40, 40, 20), 1e-9 * rng.normal(size=10)])
    high = np.abs(high) if name in ("log1p", "pow") else high
    low = high * rng.uniform(-1, 1, high.size) * 2.0**-54
    pair = (high, low)
    made = {"exp": special.exp_of, "expm1": special.expm1_of, "log1p": special.log1p_of,
            "pow": lambda a: special.pow_of(a, (0 * high + 0.7, 0 * high))}[name](pair)
    ctx.prec = 300
    for h, r, found, rest in zip(high, low, *made, strict=True):
        a = arb(float(h)) + arb(float(r))
        truth = {"exp": a.exp, "expm1": a.expm1, "log1p": a.log1p, "pow": lambda a=a: a ** arb(0.7)}[name]()
        assert abs((arb(float(found)) + arb(float(rest)) - truth) / truth) < 2.0**-60, (name, h)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_pairs_at_the_ends() -> None:
    ends = (np.array([np.inf, -np.inf, 0.0, np.nan]), np.zeros(4))
    assert np.array_equal(special.exp_of(ends)[0], [np.inf, 0.0, 1.0, np.nan], equal_nan=True)
    assert np.array_equal(special.expm1_of(ends)[0], [np.inf, -1.0, 0.0, np.nan], equal_nan=True)
    assert np.array_equal(special.plus(ends, (1.0, 0.0))[0], [np.inf, -np.inf, 1.0, np.nan], equal_nan=True)


def made() -> Bundle:
    known = arguments({"x[k]": "extended", "y": "index"})
    unit = Unit("short", "short", "short", parse_term("log(sum(exp(x))) - x[y]", known), tuple(known.values()), (), ())
    found = [derive(unit, order) for order in ((), ("x",))]
    return Bundle(lower.origin_of(unit, found), lower.kernel_of(unit.name, found), None, "x", ("x",))


def numbers(bundle: Bundle) -> ModuleType:
    module = ModuleType("short")
    exec(numpy_target.render(bundle)[0].body, module.__dict__)
    return module


def rows() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, CLASSES)) * np.repeat([1.0, 10.0, 60.0], 20)[:, None]
    return x, rng.integers(0, CLASSES, 60)


def truths(output: str) -> tuple[Array, Array]:
    x, y = rows()
    known = arguments({"x[k]": "extended", "y": "index"})
    term = parse_term("log(sum(exp(x))) - x[y]", known)
    if output == "gradient":
        term = derivative(term, ("x",), tuple(known.values()))
    high, low = [], []
    for row, label in zip(x, y, strict=True):
        value = balls.pair(term, {"x": row, "y": label})
        pairs = [split(v) if isinstance(v, Fraction) else (v, 0.0) for v in np.atleast_1d(np.array(value, object))]
        high.append([p[0] for p in pairs])
        low.append([p[1] for p in pairs])
    shape = (60,) if output == "loss" else (60, CLASSES)
    return np.array(high, float).reshape(shape), np.array(low, float).reshape(shape)


@pytest.mark.parametrize("output", ["loss", "gradient"])
def test_short_rows_in_numpy(output: str) -> None:
    bundle = made()
    got = getattr(numbers(bundle), output)(*rows(), tier="accurate")
    assert error(got, truths(output), F64).max() < 0.51


@pytest.mark.skipif(host.compiler() is None, reason="no C++ compiler")
def test_short_rows_in_cuda(tmp_path: Path) -> None:
    bundle = made()
    for rendered in cu.render(bundle):
        path = tmp_path / rendered.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rendered.body)
    library = host.load(tmp_path / "cu" / "short.cu")
    x, y = rows()
    found = library.call("short", "loss_gradient", {"x": x, "y": y}, "f64", "fast")
    for output in ("loss", "gradient"):
        assert error(found[output], truths(output), F64).max() < 0.51
