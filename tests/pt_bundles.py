"""Bundles made by hand for the PyTorch target: shapes that no loss of the catalogue has."""

from __future__ import annotations

from fractions import Fraction

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
from lossmith.derivations.terms import (
    HALF,
    MINUS_ONE,
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
    row,
    sub,
    var,
)


def _origin(unit: str) -> Origin:
    return Origin(unit, unit, unit.replace("_", " "), f"derivations/losses/{unit}.py", f"lossmith generate {unit}",
                  'a "formula" \\ with {quotes}', {}, {}, (("at_infinity", "limit"),), "", "0" * 12)


def elementwise(unit: str, inputs: tuple[Input, ...], lets: tuple[Let, ...], outputs: dict[str, Term],
                 differentiable: tuple[str, ...]) -> Bundle:
    kernel = Elementwise(unit, inputs, Program(lets, outputs))
    return Bundle(_origin(unit), kernel, None, inputs[0].name, differentiable)


def _logistic() -> Bundle:
    """z softplus(-x) + (1 - z) softplus(x): two differentiable arguments, a guarded domain."""
    x, z, decay = var("x"), var("z"), var("decay")
    positive = node("ge", (x, ZERO))
    upper = div(node("where", (positive, ONE, decay)), add(ONE, decay))
    lower = div(node("where", (positive, decay, ONE)), add(ONE, decay))
    below = node("absorb", (z, make("max", neg(x), ZERO)))
    above = node("absorb", (sub(ONE, z), make("max", x, ZERO)))
    return elementwise("logistic", (
        Input("x", "scalar", "input", "extended", "logit"), Input("z", "scalar", "target", "[0, 1]", "target"),
    ), (Let("decay", make("exp", neg(make("abs", x)))),), {
        "loss": add(add(below, above), make("log1p", decay)),
        "gradient_x": sub(mul(sub(ONE, z), upper), mul(z, lower)), "gradient_z": neg(x),
        "hessian_x": mul(upper, lower), "hessian_x_z": MINUS_ONE, "hessian_z": ZERO,
    }, ("x", "z"))


def _scaled_gap() -> Bundle:
    """k (exp(d) - 1 - d) - log1pmx(d / 4), d = x - y: a parameter, both series, no Hessian for y."""
    d = sub(var("x"), var("y"))
    k, quarter = var("k"), div(var("difference"), const(4))
    first = add(mul(k, make("expm1", var("difference"))), sub(const(Fraction(1, 4)), div(
        const(Fraction(1, 4)), add(ONE, quarter))))
    return elementwise("scaled_gap", (
        Input("x", "scalar", "input", "real"), Input("y", "scalar", "target", "real"),
        Input("k", "parameter", "parameter", "(0, inf)", "scale", "2"),
        Input("floor", "parameter", "parameter", "(0, 1]", "least loss", "eps"),
    ), (Let("difference", d), Let("half", HALF)), {
        "loss": make("max", sub(mul(k, make("expm1mx", var("difference"))), make("log1pmx", quarter)),
                     mul(var("floor"), mul(var("half"), ZERO))),
        "gradient_x": first, "gradient_y": neg(first),
        "hessian_x": add(mul(k, make("exp", var("difference"))), div(
            const(Fraction(1, 16)), mul(add(ONE, quarter), add(ONE, quarter)))),
    }, ("x", "y"))


def _row_origin(unit: str, kernel: Row, hvp: Row | None, differentiable: tuple[str, ...]) -> Bundle:
    return Bundle(_origin(unit), kernel, hvp, "x", differentiable)


X, PEAK, REST = row("x"), var("top_peak"), var("top_rest")
TOP = Family("top", X)
LOGITS = Input("x", "row", "input", "extended", "logits")
SHARE = div(node("exp_diff", (X, PEAK)), add(ONE, REST))
OTHERS = div(sub(REST, make("expm1", neg(node("gap", (PEAK, X))))), add(ONE, REST))
TANGENT = Input("tangent_x", "row", "tangent", "real")


def _soft_hvp(extra: tuple[Input, ...], family: Family) -> Row:
    """p (v - sum p v), the Hessian of a log of a sum of exponentials."""
    v = row("tangent_x")
    stage = Stage((family,), (Slot("moved", v, (Power("top", 0, 1),)),), ())
    moved = div(var("moved"), add(ONE, REST))
    return Row("hvp", (LOGITS, *extra, TANGENT), (stage,), Program((), {}),
               Program((), {"hvp_x": mul(SHARE, sub(v, moved))}))


def _labelled() -> Bundle:
    """log sum exp x - x[y]: a label, a capture, the class index."""
    y = Input("y", "label", "label", "index", "class", differentiable=False)
    own = node("eq", (POSITION, label("y")))
    kernel = Row("labelled", (LOGITS, y), (Stage((TOP,), (), (Capture("own", X, "y"),)),),
                 Program((), {"loss": add(node("gap", (PEAK, var("own"))), make("log1p", REST))}),
                 Program((), {"gradient_x": node("where", (own, neg(OTHERS), SHARE))}))
    return _row_origin("labelled", kernel, _soft_hvp((y,), TOP), ("x",))


def _with_zero() -> Bundle:
    """log(1 + sum exp x): an extra element in the family, and no label."""
    family = Family("top", X, (ZERO,))
    kernel = Row("with_zero", (LOGITS,), (Stage((family,), (), ()),),
                 Program((), {"loss": add(PEAK, make("log1p", REST))}), Program((), {"gradient_x": SHARE}))
    return _row_origin("with_zero", kernel, _soft_hvp((), family), ("x",))


def _spread() -> Bundle:
    """c + sum p gap^2 + sum (p - 1/C)^2: powers p = 2 and q = 1, a second stage, a scalar per row, C."""
    c = Input("c", "scalar", "input", "real")
    first = Stage((TOP,), (Slot("g0", ONE, (Power("top", 0, 1),)), Slot("g1", ONE, (Power("top", 1, 1),)),
                           Slot("g2", ONE, (Power("top", 2, 1),))), (), (Let("total", add(ONE, REST)),))
    distance = sub(div(node("exp_diff", (X, PEAK)), var("total")), div(ONE, node("count")))
    second = Stage((), (Slot("uneven", mul(distance, distance)),), ())
    finish = Program((), {"loss": add(add(var("c"), div(var("g2"), var("total"))), var("uneven")), "gradient_c": ONE})
    return _row_origin("spread", Row("spread", (LOGITS, c), (first, second), finish, Program((), {})), None, ("c",))


BUNDLES = (_logistic, _scaled_gap, _labelled, _with_zero, _spread)
