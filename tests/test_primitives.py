"""Every function in every layer: against balls, at infinity, at poles and at NaN; and formulas in twice the digits."""

import math
import types
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from lossmith.codegen import host
from lossmith.codegen.kernel import Bundle, Elementwise, Input, Origin, Program
from lossmith.codegen.targets import cu, pt
from lossmith.codegen.targets import np as np_target
from lossmith.derivations import balls
from lossmith.derivations.calculus import derivative
from lossmith.derivations.domains import parse_domain
from lossmith.derivations.evaluate import evaluate
from lossmith.derivations.loss import Argument
from lossmith.derivations.precise import OUTERMOST, doubled, spelled, template, unwrapped, wrap
from lossmith.derivations.terms import (
    FUNCTIONS,
    ONE,
    TWO,
    Term,
    add,
    const,
    div,
    make,
    mul,
    neg,
    node,
    power,
    show,
    sub,
    var,
)
from lossmith.derivations.ulp import FORMATS, error

INF, NAN = math.inf, math.nan
x, y, z = var("x"), var("y"), var("z")
BOUNDS = {"float64": 2.2, "float32": 2.5}
# At infinity, at zero, at poles: what holds whatever the argument's sign of zero.
SPECIAL = [
    ("erf", INF, 1), ("erf", -INF, -1), ("erfc", INF, 0), ("erfc", -INF, 2), ("erfc", 0.0, 1), ("erfcx", INF, 0),
    ("erfcx", -INF, INF), ("erfcx", 0.0, 1), ("gamma", 0.0, INF), ("gamma", INF, INF), ("gamma", -INF, NAN),
    ("gamma", -3.0, NAN), ("gamma", 5.0, 24), ("gamma", 11.0, 3628800), ("lgamma", 0.0, INF),
    ("lgamma", INF, INF), ("lgamma", -2.0, INF), ("lgamma", -INF, NAN), ("lgamma", 1.0, 0), ("lgamma", 2.0, 0),
    ("digamma", 0.0, -INF), ("digamma", INF, INF), ("digamma", -1.0, NAN), ("digamma", -INF, NAN), ("exp2", -INF, 0),
    ("exp2", INF, INF), ("log2", 0.0, -INF), ("log2", 8.0, 3), ("log2", -1.0, NAN), ("log10", 0.0, -INF),
    ("log1pmx", INF, -INF), ("log1pmx", -1.0, -INF), ("log1pmx", 0.0, 0), ("expm1mx", INF, INF), ("expm1mx", -INF, INF),
    ("expm1mx", 0.0, 0),
]
NAMES = sorted({op for op, _, _ in SPECIAL})
FORMULAS = {
    "gauss": make("exp", neg(div(power(div(sub(x, y), z), TWO), TWO))),
    "growth": make("exp", mul(y, make("log1p", x))),
    "density": make("exp", sub(mul(y, make("log", x)), mul(const("0.3"), x))),
    "product": make("expm1", mul(x, y)),
    "circle": make("log", add(mul(x, x), mul(y, y))),
    "area": sub(mul(x, y), mul(z, z)),
    "root": sub(make("sqrt", add(mul(x, x), ONE)), x),
}


def bundle(unit: str, loss: Term, inputs: tuple[Input, ...]) -> Bundle:
    origin = Origin(unit, unit, unit, "file.py", "command", unit, {}, {}, (), "", "0" * 12)
    return Bundle(origin, Elementwise(unit, inputs, Program((), {"loss": loss})), None, inputs[0].name, ())


def inputs(count: int) -> tuple[Input, ...]:
    return tuple(Input(n, "scalar", "input" if n == "x" else "target", "extended") for n in "xyz"[:count])


@cache
def module(target: str, term: Term) -> types.ModuleType:
    render = np_target.render if target == "np" else pt.render
    (rendered,) = render(bundle("formula", term, inputs(3)))
    made = types.ModuleType(f"formula_{target}")
    exec(compile(rendered.body, rendered.path, "exec"), made.__dict__)
    return made


@pytest.fixture(scope="session")
def cuda(tmp_path_factory):
    """Every function and formula in one file, chosen by a number."""
    folder = tmp_path_factory.mktemp("cu")
    folder.chmod(0o700)
    every = [*(node(op, (x,)) for op in NAMES), *map(wrap, FORMULAS.values())]
    value, which = const(0), var("which")
    for k, term in enumerate(every):
        value = node("where", (node("eq", (which, const(k))), term, value))
    parameter = Input("which", "parameter", "parameter", "real", default="0")
    for rendered in cu.render(bundle("primitives", value, (*inputs(3), parameter))):
        (folder / Path(rendered.path).name).write_text(rendered.body, encoding="utf-8")
    library = host.load(folder / "primitives.cu", folder)

    def call(term, env, dtype, tier="fast"):
        given = {n: env.get(n, env["x"]) for n in "xyz"} | {"which": every.index(term)}
        return library.call("primitives", "loss", given, {"float64": "f64", "float32": "f32"}[dtype], tier)["loss"]

    return call


def in_target(target, term, env, dtype, cuda):
    """A term on arrays of a format, by the evaluator or by a generated module."""
    env = {n: np.asarray(v, dtype) for n, v in env.items()}
    if target == "evaluate":
        return evaluate(term, env, FORMATS[dtype])
    columns = [env.get(n, env["x"]) for n in "xyz"]
    if target == "np":
        return module("np", term).loss(*columns).astype(np.float64)
    if target == "pt":
        return module("pt", term).formula(*map(torch.from_numpy, columns), reduction="none").numpy().astype(np.float64)
    return np.asarray(cuda(term, env, dtype, "accurate" if target == "cu accurate" else "fast"), np.float64)


TARGETS = ("evaluate", "np", "pt", "cu")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", BOUNDS)
def test_values_at_infinity_at_poles_and_at_nan(target, dtype, cuda):
    with np.errstate(all="ignore"):
        for op, at, wanted in SPECIAL:
            got = in_target(target, node(op, (x,)), {"x": [at, NAN]}, dtype, cuda)
            assert got[0] == wanted or (wanted != wanted and np.isnan(got[0])), (op, at, got[0])
            assert np.isnan(got[1]), op


@pytest.mark.parametrize("op", NAMES)
def test_functions_against_balls(op, cuda):
    rng = np.random.default_rng(3)
    spread = np.concatenate([rng.uniform(-6, 6, 40), rng.uniform(0, 3, 40), 2.0 ** rng.uniform(-60, 4, 30),
                             [1 + 2.0**-30, 2 - 2.0**-30, 1.461632144968, 26.6, 27.1, 40.0]])
    for dtype, bound in BOUNDS.items():
        at = spread.astype(dtype).astype(np.float64)
        true = [balls.pair(node(op, (x,)), {"x": float(v)}) for v in at]
        keep = [not isinstance(t, float) and (op != "digamma" or v > 0) for t, v in zip(true, at, strict=True)]
        at, true = at[keep], [t for t, k in zip(true, keep, strict=True) if k]
        for target in TARGETS:
            with np.errstate(all="ignore"):
                got = in_target(target, node(op, (x,)), {"x": at}, dtype, cuda)
            limit = 5.0 if target == "cu" and op in ("gamma", "lgamma") else bound
            assert error(got, true, FORMATS[dtype]).max() <= limit, (target, dtype)


def test_lgamma_keeps_its_digits_beside_its_zeros():
    at = np.array([1 + 2.0**-52, 2 - 2.0**-52, -2.4570247382208006, -2.7476826467274127, -3.9552942848585980])
    true = [balls.pair(node("lgamma", (x,)), {"x": float(v)}) for v in at]
    assert error(evaluate(make("lgamma", x), {"x": at}), true, FORMATS["float64"]).max() < 2


def test_every_function_of_the_vocabulary_is_somewhere_measured():
    from test_balls import BINARY, UNARY

    assert set(FUNCTIONS) <= {*UNARY, *BINARY}


def test_atan2_in_every_quadrant(cuda):
    rng = np.random.default_rng(4)
    env = {"x": rng.normal(size=60) * 2.0 ** rng.integers(-30, 30, 60), "y": rng.normal(size=60)}
    term = node("atan2", (x, y))
    for dtype in BOUNDS:
        given = {n: v.astype(dtype).astype(np.float64) for n, v in env.items()}
        true = [balls.pair(term, {n: float(v[i]) for n, v in given.items()}) for i in range(60)]
        for target in ("evaluate", "np", "pt"):
            assert error(in_target(target, term, given, dtype, cuda), true, FORMATS[dtype]).max() < 1.5
    assert balls.truth(term, {"x": 0.0, "y": 0.0}) == 0 and balls.truth(term, {"x": 1.0, "y": -INF}) == math.pi


def test_constants_fold_where_they_are_exact():
    assert make("exp2", const(-3)) is const("1/8") and make("log2", const(8)) is const(3)
    assert make("log10", const(1000)) is const(3) and make("log10", const(20)).op == "log10"
    assert make("gamma", const(5)) is const(24) and make("lgamma", const(2)) is const(0)
    assert make("erfcx", const(0)) is const(1) and make("acos", const(1)) is const(0)


# --- twice the digits ----------------------------------------------------------------------------


def points(name, dtype, count=60):
    rng = np.random.default_rng(5)
    env = {n: (0.1 + rng.random(count)) * s for n, s in (("x", 5.0), ("y", 20.0), ("z", 3.0))}
    if name == "circle":
        env["x"], env["y"] = np.cos(env["y"]), np.sin(env["y"])
    if name == "area":
        env["y"] = env["z"] ** 2 / env["x"]
    return {n: v.astype(dtype).astype(np.float64) for n, v in env.items()}


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_in_twice_the_digits(name, dtype, cuda):
    plain, precise, env = FORMULAS[name], wrap(FORMULAS[name]), points(name, dtype)
    assert precise.op == "precise" and spelled(precise) is plain and unwrapped(add(ONE, precise)) is add(ONE, plain)
    true = [balls.pair(plain, {n: float(v[i]) for n, v in env.items()}) for i in range(60)]
    same = balls.pair(precise, {n: float(v[0]) for n, v in env.items()})
    assert abs(same - true[0]) <= abs(true[0]) / 2**80
    for target in (*TARGETS, *(["cu accurate"] if dtype == "float32" else [])):
        assert error(in_target(target, precise, env, dtype, cuda), true, FORMATS[dtype]).max() < 1.3, target
    assert error(evaluate(plain, env, FORMATS[dtype]), true, FORMATS[dtype]).max() > 5


def test_infinities_and_nan_in_twice_the_digits_are_those_of_one_time(cuda):
    env = {"x": [INF, -INF, NAN, 1e30, 0.0, 1e-30], "y": [2.0] * 6, "z": [1.0] * 6}
    for name in ("gauss", "product", "circle", "area"):
        with np.errstate(all="ignore"):
            plain = evaluate(FORMULAS[name], {n: np.array(v) for n, v in env.items()})
            for target in TARGETS:
                got = in_target(target, wrap(FORMULAS[name]), env, "float64", cuda)
                assert np.allclose(got, plain, rtol=1e-9, equal_nan=True), (name, target)


def test_what_twice_the_digits_would_not_change_stays():
    for t in (x, make("exp", x), make("exp", neg(x)), add(x, y), make("log", make("abs", x)), make("sin", mul(x, y))):
        assert wrap(t) is t
    assert wrap(wrap(FORMULAS["gauss"])) is wrap(FORMULAS["gauss"])
    assert make("precise", FORMULAS["area"]) is wrap(FORMULAS["area"])
    assert show(wrap(FORMULAS["area"])) == "precise(x*y - z*z)"


def test_functions_within_are_leaves_and_numbers_are_not():
    made = wrap(add(mul(make("sin", x), y), const("0.1")))
    assert made.args == (make("sin", x), y) and template(made.value).op == "add"
    both = doubled(add(make("exp", mul(x, y)), make("sin", make("log", mul(x, y)))), OUTERMOST)
    assert [a.op for a in both.args] == ["precise", "sin"] and both.args[1].args[0].op == "precise"


def test_the_derivative_of_a_formula_in_twice_the_digits():
    arguments = (Argument("x", "input", parse_domain("real")), Argument("y", "input", parse_domain("real")))
    slope = derivative(wrap(make("exp", mul(x, power(y, TWO)))), ("x",), arguments)
    env = {"x": 0.3, "y": 1.7}
    assert abs(float(balls.truth(slope, env)) - 1.7**2 * math.exp(0.3 * 1.7**2)) < 1e-14
