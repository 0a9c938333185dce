"""C for the CPU: polynomials and their bounds, accuracy against balls, the same bits however compiled, specials."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flint import arb, fmpq
from lossmith.codegen import compiled
from lossmith.codegen.kernel import Bundle, Capture, Elementwise, Family, Input, Let, Origin, Program, Row, Stage
from lossmith.codegen.polynomials import MISSING, SERIES, bound, missing, polynomial
from lossmith.codegen.targets import c
from lossmith.codegen.targets.c_printing import FLOAT, printed, sums
from lossmith.derivations import balls
from lossmith.derivations.approximation import working
from lossmith.derivations.terms import add, const, div, label, mul, neg, node, row, sub, var
from lossmith.derivations.ulp import FORMATS, error

NAMES = {"f32": "float32", "f64": "float64"}
TIERS = [("f32", "fast"), ("f32", "accurate"), ("f64", "fast"), ("f64", "accurate")]
needs_compiler = pytest.mark.skipif(compiled.compiler() is None, reason="there is no C compiler")


def bundle(name: str, kernel: Elementwise | Row) -> Bundle:
    origin = Origin(name, name, name, "none", "none", "", {}, {}, (), "", "")
    return Bundle(origin, kernel, None, kernel.inputs[0].name, (kernel.inputs[0].name,))


def built(made: Bundle, folder: Path, flags: tuple[str, ...] = ()) -> compiled.Compiled:
    source, header = (r.body for r in c.render(made))
    return compiled.load_text(made.origin.unit, source, header, folder, flags)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all tests of this file build: what is the same is built once."""
    made = tmp_path_factory.mktemp("built")
    made.chmod(0o700)
    return made


def one_argument(op: str) -> Bundle:
    x = Input("x", "scalar", "input", "real")
    return bundle(f"only_{op}", Elementwise(op, (x,), Program((), {"loss": node(op, (var("x"),))})))


def sigmoid() -> Bundle:
    x = Input("x", "scalar", "input", "real")
    decay = node("exp", (neg(node("abs", (var("x"),))),))
    return bundle("curve", Elementwise("curve", (x,), Program((), {
        "loss": add(node("max", (var("x"), const(0))), node("log1p", (decay,))),
        "gradient_x": div(const(1), add(const(1), node("exp", (neg(var("x")),))))})))


def softmax() -> Bundle:
    """Softmax cross entropy with a label, as its stable form is."""
    x, y = Input("x", "row", "input", "real"), Input("y", "label", "label", "index")
    peak, rest, at_y = var("x_peak"), var("x_rest"), var("x_at_y")
    stage = Stage((Family("x", row("x")),), (), (Capture("x_at_y", row("x"), "y"),))
    lets = (Let("gap_at_y", node("gap", (peak, at_y))), Let("spread", add(const(1), rest)),
            Let("others", div(sub(rest, node("expm1", (neg(var("gap_at_y")),))), var("spread"))))
    share = div(node("exp_diff", (row("x"), peak)), var("spread"))
    at_label = node("eq", (node("position", ()), label("y")))
    loss = add(var("gap_at_y"), node("log1p", (rest,)))
    gradient = node("where", (at_label, neg(var("others")), share))
    return bundle("rows", Row("rows", (x, y), (stage,), Program(lets, {"loss": loss}),
                              Program((), {"gradient_x": gradient})))


@pytest.mark.parametrize("name", [s.name for s in SERIES])
@pytest.mark.parametrize("fmt", list(MISSING))
def test_a_polynomial_stays_within_its_proven_bound(name: str, fmt: str) -> None:
    made = polynomial(name, fmt)
    first = abs(float(made.series.balls[0]))
    assert made.bound < 4 * first * 2.0 ** -missing(made.series, fmt)
    worst = 0.0
    with working(300):
        for k in range(101):
            x = made.series.low + (made.series.high - made.series.low) * Fraction(k, 100)
            value = sum(Fraction(a) * x**n for n, a in enumerate(made.coefficients))
            ball = made.series.value(arb(fmpq(x.numerator, x.denominator)))
            missed = float(abs(arb(fmpq(value.numerator, value.denominator)) - ball).upper())
            worst = max(worst, missed * float(x - made.series.low) if made.series.rising else missed)
    assert worst <= made.bound  # true of every point, and not far from it
    assert worst > made.bound / 8


def test_a_wrong_coefficient_widens_the_bound() -> None:
    made = polynomial("exp", "float32")
    spoilt = (*made.coefficients[:2], made.coefficients[2] + 1e-5, *made.coefficients[3:])
    assert bound(made.series, spoilt) > 10 * made.bound


POINTS = {
    "exp": [*np.linspace(-760, 720, 41), *np.linspace(-104, 89, 41), 1e-8, -1e-8],
    "log": [*np.geomspace(1e-320, 1e308, 60), 0.7071, 0.7072, 1.0000001, 0.9999999, 1.4142],
    "log1p": [*np.geomspace(1e-300, 1e308, 40), *np.linspace(-0.999999, 1.5, 40), 2.0**126, 2.0**127, 3e38],
    "expm1": [*np.linspace(-60, 720, 40), *np.linspace(-2, 2, 40), 1e-30, -1e-30, 60.0, 45.0],
    "tanh": [*np.linspace(-20, 20, 41), *np.linspace(-0.6, 0.6, 30), 1e-30],
    "sinh": [*np.linspace(-720, 720, 41), *np.linspace(-89.5, 89.5, 41), *np.linspace(-1, 1, 40), 1e-30, 710.4, 89.41],
    "cosh": [*np.linspace(-720, 720, 41), *np.linspace(-89.5, 89.5, 41), *np.linspace(-1, 1, 40), 1e-30, 710.4, 89.41],
    "log1pmx": [*np.linspace(-0.9, 3, 60), 1e-5, -1e-5, 1e10],
    "expm1mx": [*np.linspace(-3, 3, 60), 1e-5, -1e-5, 80.0],
}
MOST = {"fast": 2.5, "accurate": 0.501}


@needs_compiler
@pytest.mark.parametrize("op", list(POINTS))
def test_functions_against_balls(op: str, folder: Path) -> None:
    library = built(one_argument(op), folder)
    for dtype, tier in TIERS:
        fmt = FORMATS[NAMES[dtype]]
        with np.errstate(over="ignore"):
            x = np.array(POINTS[op]).astype(fmt.dtype)
        x = x[np.isfinite(x) & ((x > 0) | (op != "log"))]
        got = library.call(f"only_{op}", "loss", {"x": x}, dtype, tier)["loss"]
        term = node(op, (var("x"),))
        for a, b in zip(x, got, strict=True):
            truth = balls.truth(term, {"x": float(a)}, fmt)
            limit = MOST[tier] + (2.0 if op.endswith("mx") and tier == "fast" else 0.0)
            assert error(np.array([b]), [truth], fmt)[0] <= limit, (op, dtype, tier, float(a), float(b))


INFINITE, NAN = np.inf, np.nan
LIMITS = {
    "exp": [(INFINITE, INFINITE), (-INFINITE, 0.0), (-0.0, 1.0), (1e5, INFINITE), (-1e5, 0.0)],
    "log": [(INFINITE, INFINITE), (-INFINITE, NAN), (0.0, -INFINITE), (-0.0, -INFINITE), (-1.0, NAN)],
    "log1p": [(INFINITE, INFINITE), (-INFINITE, NAN), (0.0, 0.0), (-0.0, -0.0), (-1.0, -INFINITE), (-2.0, NAN)],
    "expm1": [(INFINITE, INFINITE), (-INFINITE, -1.0), (0.0, 0.0), (-0.0, -0.0), (1e5, INFINITE), (-1e5, -1.0)],
    "sinh": [(INFINITE, INFINITE), (-INFINITE, -INFINITE), (0.0, 0.0), (-0.0, -0.0), (1e5, INFINITE)],
    "cosh": [(INFINITE, INFINITE), (-INFINITE, INFINITE), (0.0, 1.0), (-1e5, INFINITE)],
    "tanh": [(INFINITE, 1.0), (-INFINITE, -1.0), (0.0, 0.0), (-0.0, -0.0), (1e5, 1.0), (-1e5, -1.0)],
}


@needs_compiler
@pytest.mark.parametrize("op", list(LIMITS))
def test_what_functions_are_at_special_values(op: str, folder: Path) -> None:
    library = built(one_argument(op), folder)
    for dtype, tier in TIERS:
        x, wanted = np.array([*LIMITS[op], (NAN, NAN)]).T
        got = library.call(f"only_{op}", "loss", {"x": x}, dtype, tier)["loss"].astype(float)
        np.testing.assert_array_equal(got, wanted, f"{op} {dtype} {tier}")
        signed = ~np.isnan(wanted)
        assert (np.signbit(got) == np.signbit(wanted))[signed].all(), (op, dtype, tier)


@needs_compiler
def test_every_float16_is_stored_and_read_as_it_is(folder: Path) -> None:
    x = Input("x", "scalar", "input", "real")
    program = Program((), {"loss": mul(var("x"), const(Fraction(3, 4)))})
    library = built(bundle("same", Elementwise("same", (x,), program)), folder)
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    got = library.call("same", "loss", {"x": every}, "f16")["loss"]
    with np.errstate(all="ignore"):
        wanted = (every.astype(np.float32) * np.float32(0.75)).astype(np.float16)
    np.testing.assert_array_equal(got, wanted)
    wide = (np.arange(2**16, dtype=np.uint32) << 16).view(np.float32)
    ml_dtypes = pytest.importorskip("ml_dtypes")
    got = library.call("same", "loss", {"x": wide}, "bf16")["loss"].astype(np.float32)
    with np.errstate(all="ignore"):
        wanted = (wide * np.float32(0.75)).astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(got, wanted)


def drawn(count: int, classes: int) -> dict[str, Any]:
    rng = np.random.default_rng(classes)
    x = rng.normal(size=(count, classes)) * rng.choice([1e-3, 1.0, 30.0], size=(count, 1))
    return {"x": x, "y": rng.integers(0, classes, count)}


@needs_compiler
@pytest.mark.parametrize("flags", [("-O1",), pytest.param(("-O3", "-mno-avx512f"), marks=pytest.mark.heavy)])
def test_the_bits_do_not_depend_on_the_compiler(flags: tuple[str, ...], folder: Path) -> None:
    compilers = [name for name in ("gcc", "clang") if shutil.which(name)]
    results = []
    for name in compilers:
        for extra in ((), flags):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("CC", name)
                library = built(softmax(), folder, extra)
                results.append([library.call("rows", "loss_gradient", drawn(7, n), dtype)
                                for dtype in ("f32", "f64") for n in (1, 10, 65, 200)])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            for key in a:
                np.testing.assert_array_equal(a[key].view(np.uint8), b[key].view(np.uint8))


@needs_compiler
@pytest.mark.parametrize("classes", [1, 2, 63, 64, 65, 300])
def test_rows_of_every_length_against_float64(classes: int, folder: Path) -> None:
    library = built(softmax(), folder)
    given = drawn(37, classes)
    x = given["x"].astype(np.float32).astype(np.longdouble)
    m = x.max(axis=1, keepdims=True)
    others = np.exp(x - m)
    total = others.sum(axis=1, keepdims=True)
    p = others / total
    loss = np.log(total)[:, 0] + m[:, 0] - x[np.arange(37), given["y"]]
    gradient = p.copy()
    gradient[np.arange(37), given["y"]] -= 1
    for dtype, tier in TIERS[:3]:
        found = library.call("rows", "loss_gradient", {"x": x.astype(np.float32), "y": given["y"]}, dtype, tier)
        scale = 1e-6 if dtype == "f32" else 1e-14
        np.testing.assert_allclose(found["loss"], loss.astype(float), rtol=scale, atol=1e-17)
        np.testing.assert_allclose(found["gradient"], gradient.astype(float), rtol=scale, atol=1e-17)


@needs_compiler
@pytest.mark.parametrize("classes", [3, 100])
def test_labels_out_of_range_and_nan_make_a_row_nan(classes: int, folder: Path) -> None:
    library = built(softmax(), folder)
    x = np.zeros((4, classes), np.float32)
    x[3, 1] = np.nan
    found = library.call("rows", "loss_gradient", {"x": x, "y": [0, -1, classes, 2]})
    assert np.isnan(found["loss"]).tolist() == [False, True, True, True]
    assert np.isnan(found["gradient"]).all(axis=1).tolist() == [False, True, True, True]


@needs_compiler
@pytest.mark.parametrize("classes", [10, 100])
def test_exponentials_beside_a_peak_of_any_size(classes: int, folder: Path) -> None:
    """Where its parts change, and where it is so large that few of its digits are left below the point."""
    peaks = np.array([0.0, 1e-20, 0.3, -77.7, 200.123, 255.99, -256.0, 256.01, -300.5, 1e4, -1e5], np.float32)
    x = (peaks[:, None] - np.random.default_rng(1).uniform(0, 80, (len(peaks), classes))).astype(np.float32)
    x[:, -1] = peaks
    wide = x.astype(np.longdouble)
    decay = np.exp(wide - wide.max(axis=1, keepdims=True))
    gradient = decay / decay.sum(axis=1, keepdims=True)
    found = built(softmax(), folder).call("rows", "loss_gradient", {"x": x, "y": np.full(len(peaks), classes - 1)})
    np.testing.assert_allclose(found["gradient"][:, :-1], gradient[:, :-1].astype(float), rtol=3e-7)


@needs_compiler
@pytest.mark.parametrize("classes", [10, 100])
def test_infinite_peaks(classes: int, folder: Path) -> None:
    """One of them takes all; two, or nothing but minus infinity, say nothing."""
    x = np.zeros((4, classes), np.float32)
    x[0, 3], x[1, 3:5], x[2] = np.inf, np.inf, -np.inf
    found = built(softmax(), folder).call("rows", "loss_gradient", {"x": x, "y": np.full(4, 3)})
    assert found["loss"][0] == 0 and not found["gradient"][0].any()
    assert np.isnan(found["gradient"]).all(axis=1).tolist() == [False, True, True, False]


@needs_compiler
def test_threads_give_the_same_bits(folder: Path) -> None:
    library = built(softmax(), folder)
    for classes in (10, 1000):
        given = drawn(200_000 // classes, classes)
        one, two = (library.call("rows", "loss_gradient", given, threads=n) for n in (1, 2))
        assert all((one[k].view(np.uint8) == two[k].view(np.uint8)).all() for k in one)


@needs_compiler
@pytest.mark.parametrize("classes", [None, 1, 10, 64, 65, 300])
def test_a_factor_of_the_gradient_is_multiplied_where_it_is_written(classes: int | None, folder: Path) -> None:
    library = built(softmax() if classes else sigmoid(), folder)
    unit = library.source.name
    given = drawn(37, classes) if classes else {"x": np.linspace(-90, 90, 1001)}
    if classes:
        given["y"][5] = classes
    else:
        given["x"][5] = np.nan
    for dtype, tier in (("f32", "fast"), ("f64", "fast"), ("f16", "fast"), ("f32", "accurate")):
        plain = library.call(unit, "loss_gradient", given, dtype, tier)
        found = library.call(unit, "loss_gradient_times", {**given, "times": 0.3}, dtype, tier)
        np.testing.assert_array_equal(found["loss"], plain["loss"])
        once = dtype == "f16" or tier == "accurate"  # multiplied in more digits than are stored
        wanted = plain["gradient"] * plain["gradient"].dtype.type(0.3)
        np.testing.assert_allclose(found["gradient"], wanted, rtol=once * 2e-3 if dtype == "f16" else once * 2e-7,
                                   atol=once * 6e-8)
        assert np.isnan(found["gradient"][5]).all() and np.isfinite(found["gradient"][6]).all()
    assert (unit, "loss_gradient_times", "f64", "accurate") not in library.prototypes


@needs_compiler
def test_shapes_strides_and_out(folder: Path) -> None:
    library = built(one_argument("exp"), folder)
    x = np.arange(12.0).reshape(3, 4)
    strided = library.call("only_exp", "loss", {"x": x[::2, ::-1]}, "f64")["loss"]
    np.testing.assert_array_equal(strided, library.call("only_exp", "loss", {"x": x}, "f64")["loss"][::2, ::-1])
    out = np.empty((3, 4))
    assert library.call("only_exp", "loss", {"x": x}, "f64", out={"loss": out})["loss"] is out
    with pytest.raises(ValueError, match="out for loss must be"):
        library.call("only_exp", "loss", {"x": x}, "f64", out={"loss": out[:2]})
    assert library.call("only_exp", "loss", {"x": np.empty(0)}, "f64")["loss"].size == 0
    rows = built(softmax(), folder)
    with pytest.raises(ValueError, match="labels, which are integers"):
        rows.call("rows", "loss", {"x": x, "y": [0.5, 1, 1]})
    with pytest.raises(ValueError, match="no classes"):
        rows.call("rows", "loss", {"x": np.empty((2, 0)), "y": [0, 0]})


@needs_compiler
def test_a_build_leaves_subnormal_numbers_alone(folder: Path) -> None:
    library = built(one_argument("exp"), folder)
    library.call("only_exp", "loss", {"x": np.zeros(3)})
    tiny = np.array([1e-310, 5e-324]) * np.array([0.5, 1.0])
    assert (tiny > 0).all()
    assert float(library.call("only_exp", "loss", {"x": [-100.0]})["loss"][0]) > 0.0


def test_products_are_fused_with_what_holds_none() -> None:
    """Where two products cancel, each has been rounded."""
    x, z = var("x"), var("z")
    given = sums(["x", "z"], (Let("rest", sub(const(1), z)), Let("product", mul(x, z))))
    assert printed(sub(var("rest"), mul(z, x)), FLOAT, given=given) == "fused_f(-z, x, rest)"
    assert printed(sub(mul(z, x), z), FLOAT, given=given) == "fused_f(z, x, -z)"
    assert printed(sub(var("product"), mul(x, z)), FLOAT, given=given) == "product - x * z"
    assert printed(sub(mul(x, z), mul(z, x)), FLOAT, given=given) == "x * z - z * x"


def test_what_c_has_no_function_for_is_refused() -> None:
    with pytest.raises(ValueError, match="no C form of digamma"):
        c.render(one_argument("digamma"))


def test_names_that_c_takes_are_changed() -> None:
    x, other = Input("x", "scalar", "input", "real"), Input("double", "scalar", "input", "real")
    made = bundle("sum", Elementwise("sum", (x, other), Program((), {"loss": add(var("x"), var("double"))})))
    assert "double_" in c.render(made)[1].body


