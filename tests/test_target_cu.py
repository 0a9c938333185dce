"""The CUDA target: what it renders, run on the CPU and compared with truth by balls; compiled by nvcc where it is."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lossmith.codegen import host, nvcc
from lossmith.codegen.kernel import (
    Bundle,
    Capture,
    Elementwise,
    Family,
    Input,
    Let,
    Origin,
    Power,
    Program,
    Row,
    Slot,
    Stage,
)
from lossmith.codegen.targets.cu import render
from lossmith.codegen.targets.cu_printing import hexadecimal, identifier, literal
from lossmith.derivations import balls
from lossmith.derivations.terms import (
    COUNT,
    HALF,
    ONE,
    POSITION,
    ZERO,
    Term,
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
from lossmith.derivations.ulp import FORMATS, error

needs_compiler = pytest.mark.skipif(host.compiler() is None, reason="no C++ compiler")
INF, NAN = np.inf, np.nan
X, Y, T, V = row("x"), label("y"), row("t"), var("x")
LOGITS = Input("x", "row", "input", "extended", "logits")
TARGETS = Input("t", "row", "target", "simplex", "targets")
LABEL = Input("y", "label", "label", "index", "class index", differentiable=False)
FORMAT = {"f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16"}


def bundle(unit: str, kernel: Any, primary: str = "x") -> Bundle:
    origin = Origin(unit, unit, unit, "file.py", "command", "f(x)", {}, {}, (), "", "0" * 12)
    return Bundle(origin, kernel, None, primary, (primary,))


def sigmoid() -> Bundle:
    """Sigmoid cross entropy with its gradient and Hessian."""
    z, decay = var("z"), var("decay")
    side = node("ge", (V, ZERO))
    upper, lower = (div(node("where", (side, *two)), add(ONE, decay)) for two in ((ONE, decay), (decay, ONE)))
    below, above = (node("absorb", (w, make("max", a, ZERO))) for w, a in ((z, neg(V)), (sub(ONE, z), V)))
    value = add(add(below, above), make("log1p", decay))
    program = Program((Let("decay", make("exp", neg(make("abs", V)))), Let("upper", upper), Let("lower", lower)), {
        "loss": value, "gradient_x": sub(mul(sub(ONE, z), var("upper")), mul(z, var("lower"))),
        "hessian_x": mul(var("upper"), var("lower"))})
    inputs = (Input("x", "scalar", "input", "extended"), Input("z", "scalar", "target", "[0, 1]"))
    return bundle("sigmoid", Elementwise("sigmoid", inputs, program))


PEAK, REST = var("x_peak"), var("x_rest")
SHARE = div(node("exp_diff", (X, PEAK)), add(ONE, REST))
OTHERS = div(sub(REST, make("expm1", neg(node("gap", (PEAK, X))))), add(ONE, REST))
LSE = node("lse", (X,))
SOFTMAX = make("exp", sub(X, LSE))


def sparse() -> Bundle:
    """Cross entropy of a label: one family, a capture."""
    stage = Stage((Family("x", X),), (), (Capture("x_at_y", X, "y"),))
    finish = Program((), {"loss": add(node("gap", (PEAK, var("x_at_y"))), make("log1p", REST))})
    mine = node("eq", (POSITION, Y))
    epilogue = Program((Let("others", OTHERS), Let("share", SHARE)), {
        "gradient_x": node("where", (mine, neg(var("others")), var("share"))),
        "hessian_x": mul(var("share"), var("others"))})
    return bundle("sparse", Row("sparse", (LOGITS, LABEL), (stage,), finish, epilogue))


SPARSE = {"loss": sub(LSE, node("at", (X, Y))), "gradient": sub(SOFTMAX, node("onehot", (Y,))),
          "hessian": mul(SOFTMAX, sub(ONE, SOFTMAX))}


def soft() -> Bundle:
    """Cross entropy of a distribution: a slot with a power."""
    slots = (Slot("mass", T), Slot("gap_sum", T, (Power("x", 1, 0),)))
    finish = Program((), {"loss": add(var("gap_sum"), mul(var("mass"), make("log1p", REST)))})
    share, mass = var("share"), var("mass")
    near_one = sub(sub(mass, T), mul(mass, var("others")))
    gradient = node("where", (node("gt", (share, HALF)), near_one, sub(mul(mass, share), T)))
    epilogue = Program((Let("share", SHARE), Let("others", OTHERS)), {"gradient_x": gradient})
    return bundle("soft", Row("soft", (LOGITS, TARGETS), (Stage((Family("x", X),), slots, ()),), finish, epilogue))


def entropy() -> Bundle:
    """Entropy of a softmax: both kinds of power; a family named unlike its input."""
    slots = (Slot("whole", ONE, (Power("top", 0, 1),)), Slot("tilt", ONE, (Power("top", 1, 1),)),
             Slot("bend", ONE, (Power("top", 2, 1),)))
    rest = var("top_rest")
    loss = add(div(var("tilt"), add(ONE, rest)), make("log1p", rest))
    second = div(var("bend"), var("whole"))
    stage = Stage((Family("top", X),), slots, (), (Let("second", second),))
    return bundle("entropy", Row("entropy", (LOGITS,), (stage,), Program((), {"loss": loss}),
                                 Program((), {"gradient_x": mul(ONE, add(var("second"), mul(ZERO, X)))})))


def both_sides() -> Bundle:
    """log(1 + sum e^x) + log(1 + w sum e^-x): two families, an extra each, a scalar per row, a parameter."""
    up, down = Family("up", X, (ZERO,)), Family("down", neg(X), (var("w"),))
    parts = [add(var(f"{f.name}_peak"), make("log1p", var(f"{f.name}_rest"))) for f in (up, down)]
    finish = Program((Let("total", add(*parts)),), {"loss": mul(var("scale"), var("total"))})
    epilogue = Program((), {"gradient_x": mul(var("scale"), node("exp_diff", (X, var("total"))))})
    scale = Input("scale", "parameter", "parameter", "real", default="2")
    inputs = (LOGITS, Input("w", "scalar", "input", "real"), scale)
    return bundle("both_sides", Row("both_sides", inputs, (Stage((up, down), (), ()),), finish, epilogue))


def brier() -> Bundle:
    """sum (p - t)^2 / C: a second stage that reads what the first has found."""
    first = Stage((Family("x", X),), (), (), (Let("spread", add(ONE, REST)),))
    off = sub(div(node("exp_diff", (X, PEAK)), var("spread")), T)
    second = Stage((), (Slot("total", mul(off, off)),), ())
    finish = Program((), {"loss": div(var("total"), COUNT)})
    return bundle("brier", Row("brier", (LOGITS, TARGETS), (first, second), finish, Program((), {})))


FUNCTIONS: Mapping[str, tuple[float, float]] = {  # from where to where each is tried, besides every exponent
    "exp": (-104, 89), "expm1": (-3, 3), "log": (0.4, 2.5), "log1p": (-0.99, 2), "sqrt": (0, 9), "sinh": (-4, 4),
    "cosh": (-4, 4), "tanh": (-4, 4), "asinh": (-4, 4), "acosh": (1, 4), "atanh": (-1, 1), "log1pmx": (-0.99, 2),
    "expm1mx": (-2, 2),
}


def functions() -> Bundle:
    """One elementwise loss that is each function in turn, by a parameter."""
    which, value = var("which"), make("pow", V, const(Fraction(7, 3)))
    for n, name in enumerate(FUNCTIONS):
        value = node("where", (node("eq", (which, const(n))), node(name, (V,)), value))
    inputs = (Input("x", "scalar", "input", "real"), Input("which", "parameter", "parameter", "real", default="0"))
    return bundle("functions", Elementwise("functions", inputs, Program((), {"loss": value})))


BUNDLES: Mapping[str, Callable[[], Bundle]] = {
    f.__name__: f for f in (sigmoid, sparse, soft, entropy, both_sides, brier, functions)
}


@cache
def library(name: str, folder: Path) -> host.HostLibrary:
    folder.chmod(0o700)
    for rendered in render(BUNDLES[name]()):
        (folder / Path(rendered.path).name).write_text(rendered.body)
    return host.load(folder / f"{name}.cu", folder)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], host.HostLibrary]:
    folder = tmp_path_factory.mktemp("cu")
    return lambda name: library(name, folder)


def ulps(got: np.ndarray, term: Term, env: Mapping[str, Any], dtype: str = "f32") -> float:
    """The worst error of some values of a term at one point, or over one row."""
    true = balls.pair(term, dict(env))
    return float(np.max(error(np.ravel(got).astype(np.float64), true if isinstance(true, list) else [true],
                              FORMATS[FORMAT[dtype]])))


def rows_for(classes: int, seed: int) -> list[np.ndarray]:
    """A normal row, a confident one, ties, a slope (the peak moves at every step), half of it -inf."""
    rng = np.random.default_rng(seed)
    normal = (rng.normal(size=classes) * 3).astype(np.float32)
    confident, masked = normal.copy(), normal.copy()
    confident[classes // 2] += 40
    masked[classes // 2 + 1:] = -INF
    ties = np.full(classes, 1.7, np.float32)
    return [normal, confident, ties, np.linspace(0, 5, classes, dtype=np.float32), masked]


def rounded(x: np.ndarray, dtype: str) -> np.ndarray:
    return x.astype(host.storage(dtype)).astype(np.float64)


CASES = [("f32", "fast", 4.0), ("f32", "accurate", 1.0), ("f64", "fast", 2.5), ("f16", "fast", 0.501),
         ("bf16", "fast", 0.501)]


@needs_compiler
@pytest.mark.parametrize("classes", [1, 2, 31, 32, 33, 1000, 4097])
@pytest.mark.parametrize("dtype, tier, bound", CASES)
def test_labels(built: Any, classes: int, dtype: str, tier: str, bound: float) -> None:
    x = np.stack([rounded(r, dtype) for r in rows_for(classes, 1)])
    y = np.array([0, classes // 2, classes - 1, classes - 1, classes // 3])
    for entry in ("loss_gradient", "gradient_hessian"):
        got = built("sparse").call("sparse", entry, {"x": x, "y": y}, dtype, tier)
        for name, values in got.items():
            slack = 2 if name == "hessian" and tier == "fast" and dtype in ("f32", "f64") else 0
            for n in range(len(x)):
                env = {"x": x[n], "y": y[n]}
                assert ulps(values[n], SPARSE[name], env, dtype) <= bound + slack, (name, n)


@needs_compiler
@pytest.mark.parametrize("classes", [2, 33, 1000])
@pytest.mark.parametrize("tier, bound", [("fast", 6.0), ("accurate", 1.0)])
def test_slots_families_and_stages(built: Any, classes: int, tier: str, bound: float) -> None:
    rng = np.random.default_rng(5)
    x = np.stack(rows_for(classes, 2)[:4])
    t = rng.random((4, classes)).astype(np.float32)
    soft_loss = node("sum", (mul(T, sub(LSE, X)),))
    entropy_loss = node("sum", (mul(SOFTMAX, sub(LSE, X)),))
    up, down = node("lse", (X, ZERO)), node("lse", (neg(X), var("w")))
    off = sub(SOFTMAX, T)
    brier_loss = div(node("sum", (mul(off, off),)), COUNT)
    w = np.array([0.5, -3, 20, 1], np.float32)
    tried = [("soft", {"x": x, "t": t}, soft_loss), ("entropy", {"x": x}, entropy_loss),
             ("brier", {"x": x, "t": t}, brier_loss),
             ("both_sides", {"x": x, "w": w, "scale": 3.0}, mul(const(3), add(up, down)))]
    for unit, arrays, term in tried:
        got = built(unit).call(unit, "loss", arrays, "f32", tier)["loss"]
        for n in range(4):
            env = {k: v if isinstance(v, float) else v[n] for k, v in arrays.items() if k != "scale"}
            assert ulps(got[n], term, env) <= bound, (unit, n)


@needs_compiler
def test_every_power_moves_with_the_peak(built: Any) -> None:
    x = rows_for(600, 3)[3]
    got = built("entropy").call("entropy", "gradient", {"x": x[None]}, "f32", "accurate")["gradient"][0, 0]
    spread = x.max().astype(np.float64) - x
    assert got == pytest.approx(np.sum(spread**2 * np.exp(-spread)) / np.sum(np.exp(-spread)), rel=1e-6)


@needs_compiler
@pytest.mark.parametrize("tier", ["fast", "accurate"])
def test_rows_at_the_edges(built: Any, tier: str) -> None:
    x = np.zeros((8, 40), np.float32)
    x[0, 3] = NAN
    x[1] = -INF
    x[2, :] = -INF
    x[2, 7] = 1
    x[3, 5] = INF
    x[4, [5, 6]] = INF
    y = np.array([0, 0, 7, 5, 5, -1, 40, 39])
    got = built("sparse").call("sparse", "loss_gradient", {"x": x, "y": y}, "f32", tier)
    assert np.isnan(got["loss"][[0, 1, 4, 5, 6]]).all() and np.isnan(got["gradient"][[0, 1, 4, 5, 6]]).all()
    assert got["loss"][[2, 3]].tolist() == [0, 0] and not got["gradient"][[2, 3]].any()
    assert np.isfinite(got["gradient"][7]).all()


@needs_compiler
@pytest.mark.parametrize("order", host.ORDERS)
def test_threads_in_any_order_give_the_same_bits(built: Any, order: str) -> None:
    lib = built("soft")
    rng = np.random.default_rng(6)
    x, t = rng.normal(size=(3, 9001)).astype(np.float32), rng.random((3, 9001)).astype(np.float32)
    plain = lib.call("soft", "loss_gradient", {"x": x, "t": t})
    with host.each_order(lib, order):
        again = lib.call("soft", "loss_gradient", {"x": x, "t": t})
    assert all(np.array_equal(plain[k], again[k]) for k in plain)


@needs_compiler
def test_one_row_in_many_gives_the_bits_that_it_gives_alone(built: Any) -> None:
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(300, 5)).astype(np.float32), rng.integers(0, 5, 300)
    many = built("sparse").call("sparse", "loss_gradient", {"x": x, "y": y})
    for n in (0, 1, 255, 256, 299):
        alone = built("sparse").call("sparse", "loss_gradient", {"x": x[n:n + 1], "y": y[n:n + 1]})
        assert alone["loss"][0] == many["loss"][n] and np.array_equal(alone["gradient"][0], many["gradient"][n])


def shifted(size: int, by: int, dtype: np.dtype[Any], fill: float = 0) -> np.ndarray:
    """An array that starts `by` items after a multiple of 16 bytes."""
    raw = np.full(size + 64, fill, dtype)
    start = -(raw.ctypes.data // dtype.itemsize) % (16 // dtype.itemsize) + by
    return raw[start:start + size]


def pointer(a: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(a.ctypes.data)


@needs_compiler
@pytest.mark.parametrize("dtype", ["f32", "f16", "f64"])
@pytest.mark.parametrize("offsets", [(0, 0, 0), (1, 1, 1), (1, 0, 0), (0, 0, 1)])
def test_arrays_that_are_not_aligned(built: Any, dtype: str, offsets: tuple[int, int, int]) -> None:
    kind, count = host.storage(dtype), 1021
    rng = np.random.default_rng(8)
    values = rng.normal(size=(2, count)) * 4
    x, z, out = (shifted(count + 4, by, kind, 7) for by in offsets)
    x[:count], z[:count] = values[0], np.abs(values[1]) / 20
    lib = built("sigmoid")
    lib.launch(f"lossmith_sigmoid_gradient_{dtype}", [*map(pointer, (x, z, out)), ctypes.c_longlong(count)])
    plain = lib.call("sigmoid", "gradient", {"x": x[:count], "z": z[:count]}, dtype)["gradient"]
    assert np.array_equal(out[:count], plain)
    assert (out[count:] == 7).all()


@needs_compiler
@pytest.mark.parametrize("classes", [3, 64, 1027])
@pytest.mark.parametrize("offsets", [(0, 0), (3, 3), (1, 0)])
def test_rows_that_are_not_aligned(built: Any, classes: int, offsets: tuple[int, int]) -> None:
    kind, rows = np.dtype(np.float32), 5
    size = rows * classes
    x, out = (shifted(size + 4, by, kind, 7) for by in offsets)
    x[:size] = np.random.default_rng(9).normal(size=size)
    y = np.arange(rows, dtype=np.int64) % classes
    numbers = [ctypes.c_longlong(rows), ctypes.c_longlong(classes)]
    lib = built("sparse")
    lib.launch("lossmith_sparse_gradient_f32", [*map(pointer, (x, y, out)), *numbers])
    table = x[:size].reshape(rows, classes)
    got = out[:size].reshape(rows, classes)
    for n in range(rows):
        assert ulps(got[n], SPARSE["gradient"], {"x": table[n], "y": y[n]}) <= 4
    assert (out[size:] == 7).all()


def spread_of_floats(count: int, seed: int) -> np.ndarray:
    """Float32 of every exponent and both signs, and the specials."""
    bits = np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint32)
    special = [0, -0.0, 1, -1, 2.0**-149, -(2.0**-149), 2.0**-126, 3.4028235e38, INF, -INF, NAN, 88.7, -103.9]
    return np.concatenate([np.float32(special), bits.view(np.float32)])


def check_pairs(got: np.ndarray, term: Term, x: np.ndarray) -> None:
    """Half an ulp and little more; up to one where low parts underflow, near the subnormal numbers."""
    true: Any = [balls.pair(term, {"x": v}) for v in x]
    apart = error(got.astype(np.float64), true, FORMATS["float32"])
    assert np.max(apart) <= 1
    assert np.max(apart, where=~(np.abs(got) < 2.0**-115), initial=0) <= 0.51


@needs_compiler
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_pairs(built: Any, name: str) -> None:
    low, high = FUNCTIONS[name]
    near = np.random.default_rng(10).uniform(low, high, 400).astype(np.float32)
    x = np.concatenate([spread_of_floats(200, 11), near])
    x = x[np.isfinite(x)]
    which = float(list(FUNCTIONS).index(name))
    got = built("functions").call("functions", "loss", {"x": x, "which": which}, "f32", "accurate")["loss"]
    check_pairs(got, node(name, (V,)), x)


@needs_compiler
def test_power_of_pairs(built: Any) -> None:
    x = np.abs(spread_of_floats(300, 12))
    x = x[np.isfinite(x)]
    got = built("functions").call("functions", "loss", {"x": x, "which": -1.0}, "f32", "accurate")["loss"]
    check_pairs(got, power(V, const(Fraction(7, 3))), x)


def sigmoid_truth(z: Fraction) -> dict[str, Term]:
    s, target = node("sigmoid", (V,)), const(z)
    return {"loss": sub(node("softplus", (V,)), mul(target, V)), "gradient": sub(s, target),
            "hessian": mul(s, node("sigmoid", (neg(V),)))}


@needs_compiler
@pytest.mark.parametrize("tier, bound", [("fast", 4.0), ("accurate", 1.0)])
def test_elementwise_over_every_exponent(built: Any, tier: str, bound: float) -> None:
    tails = np.random.default_rng(13).uniform(-104, 104, 300).astype(np.float32)
    x = np.concatenate([spread_of_floats(300, 14), tails])
    x = x[np.isfinite(x)]
    for z in (0, 1):
        truth = sigmoid_truth(Fraction(z))
        for entry in ("loss_gradient", "gradient_hessian"):
            for name, got in built("sigmoid").call("sigmoid", entry, {"x": x, "z": float(z)}, "f32", tier).items():
                true = [balls.pair(truth[name], {"x": v}) for v in x]
                worst = np.max(error(got.astype(np.float64), true, FORMATS["float32"]))  # type: ignore[arg-type]
                assert worst <= bound, (name, z)


@needs_compiler
def test_elementwise_specials(built: Any) -> None:
    x = np.float32([INF, -INF, NAN, 0, -0.0])
    for tier in ("fast", "accurate"):
        got = built("sigmoid").call("sigmoid", "loss_gradient", {"x": x, "z": np.float32(1)}, "f32", tier)
        assert got["loss"][:2].tolist() == [0, INF] and np.isnan(got["loss"][2])
        assert got["gradient"][:2].tolist() == [0, -1] and np.isnan(got["gradient"][2])
        assert got["gradient"][3:].tolist() == [-0.5, -0.5]


@needs_compiler
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_every_input_of_sixteen_bits(built: Any, dtype: str) -> None:
    x = np.arange(2**16, dtype=np.uint16).view(host.storage(dtype))
    wide = x.astype(np.float64)
    fmt = FORMATS[FORMAT[dtype]]
    with np.errstate(all="ignore"):
        decay = np.exp(-np.abs(wide))
        loss = np.maximum(wide, 0) + np.log1p(decay)
        gradient = np.where(wide >= 0, 1, decay) / (1 + decay)
    got = built("sigmoid").call("sigmoid", "loss_gradient", {"x": x, "z": np.zeros((), x.dtype)}, dtype)
    for values, true in ((got["loss"], loss), (got["gradient"], gradient)):
        assert np.max(error(values.astype(np.float64), (true, np.zeros_like(true)), fmt)) <= 0.501


@needs_compiler
def test_sizes_that_are_empty_or_wrong(built: Any) -> None:
    lib = built("sparse")
    none = ctypes.c_void_p(None)

    def launch(rows: int, classes: int) -> None:
        lib.launch("lossmith_sparse_loss_f32", [none, none, none, ctypes.c_longlong(rows), ctypes.c_longlong(classes)])

    launch(0, 10)
    for rows, classes in ((-1, 10), (4, 0), (1, 2**30 + 1)):
        with pytest.raises(host.HostError, match="invalid"):
            launch(rows, classes)
    built("sigmoid").launch("lossmith_sigmoid_loss_f32", [none, none, none, ctypes.c_longlong(0)])


def body_of(name: str) -> str:
    return next(r.body for r in render(BUNDLES[name]()) if r.path.endswith(".cu"))


def test_only_ieee_operations_promise_the_same_bits_everywhere() -> None:
    inputs = (Input("x", "scalar", "input", "real"),)
    for function, promised in (("exp", True), ("erf", False)):
        made = render(bundle("odd", Elementwise("odd", inputs, Program((), {"loss": make(function, V)}))))
        assert all("_f32_accurate" in r.body for r in made)
        assert any("the same bits" in r.body for r in made) == promised


def test_a_slot_that_is_not_closed_is_refused() -> None:
    stage = Stage((Family("x", X),), (Slot("tilt", T, (Power("x", 1, 0),)),), ())
    kernel = Row("open", (LOGITS, TARGETS), (stage,), Program((), {"loss": var("tilt")}), Program((), {}))
    with pytest.raises(ValueError, match="power 0"):
        render(bundle("open", kernel))


def test_constants_are_exact_in_every_type() -> None:
    assert literal(Fraction(1, 2)) == "A(0x1p-1f)" and literal(Fraction(3)) == "A(3.0f)"
    whole, high, low = literal(Fraction(1, 10))[len("literal<A>("):-1].split(", ")
    assert float.fromhex(whole) == 0.1 and np.float32(0.1) == float.fromhex(high[:-1])
    halves = Fraction(float.fromhex(high[:-1])) + Fraction(float.fromhex(low[:-1]))
    assert abs(halves - Fraction(1, 10)) < Fraction(1, 2**50)
    assert all(float.fromhex(hexadecimal(v)) == v for v in (1e300, 5e-324, -0.1, 2.0**70, 7.0))


def test_names_stand_apart_from_the_language_and_the_templates() -> None:
    assert identifier("decay") == "decay"
    assert all(identifier(n) != n for n in ("in", "k", "exp", "union", "known"))
    assert identifier("in") != identifier("in_")


def test_what_is_rendered_is_plain_and_steady() -> None:
    for name in BUNDLES:
        body = body_of(name)
        assert body == body_of(name) and body.isascii() and "\t" not in body and "fast_math" not in body


NVCC = pytest.mark.skipif(nvcc.compiler() is None, reason="no nvcc")


@NVCC
@pytest.mark.parametrize("name", ["sigmoid", pytest.param("soft", marks=pytest.mark.heavy)])
def test_nvcc_compiles_without_warnings_or_spills(tmp_path: Path, name: str) -> None:
    for rendered in render(BUNDLES[name]()):
        (tmp_path / Path(rendered.path).name).write_text(rendered.body)
    made = nvcc.compile_file(tmp_path / f"{name}.cu", tmp_path / "made.o", "sm_90")
    assert len(made) == 5 * (4 if name == "sigmoid" else 3)
    assert {r.kernel.split()[0] for r in made} == {name}
    assert max(r.registers for r in made) <= 128 and not any(r.spill_bytes for r in made)


@pytest.mark.heavy
@NVCC
@pytest.mark.parametrize("architecture", nvcc.ARCHITECTURES)
@pytest.mark.parametrize("name", BUNDLES)
def test_nvcc_for_every_architecture(tmp_path: Path, name: str, architecture: str) -> None:
    for rendered in render(BUNDLES[name]()):
        (tmp_path / Path(rendered.path).name).write_text(rendered.body)
    assert nvcc.compile_file(tmp_path / f"{name}.cu", tmp_path / "made.o", architecture)


LOG = """ptxas info    : Compiling entry function '_ZN13lossmith_unit11elementwiseINS_4LossE4PairIfEfEEv' for 'sm_90'
ptxas info    : Function properties for x
    0 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 31 registers, used 0 barriers, 64 bytes smem"""


def test_what_ptxas_says_is_read() -> None:
    (found,) = nvcc.resources(LOG)
    assert (found.registers, found.spill_bytes, found.shared_bytes) == (31, 12, 64)
    assert found.kernel == "unit loss accurate"


