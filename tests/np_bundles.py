"""Bundles made by hand for the NumPy target: shapes that no loss of the catalogue has."""

from __future__ import annotations

from typing import Any

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
    COUNT,
    HALF,
    ONE,
    POSITION,
    TWO,
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


def bundle(unit: str, kernel: Any, primary: str, by: tuple[str, ...], hvp: Row | None = None, **said: str) -> Bundle:
    origin = Origin(unit, unit, unit, "file.py", "command", said.get("formula", "f(x)"), {}, {}, (), "", "0" * 12)
    return Bundle(origin, kernel, hvp, primary, by)


def op(name: str, *args: Term) -> Term:
    return node(name, args)


def sigmoid_bundle(names: tuple[str, str] = ("x", "z"), formula: str = "f(x)") -> Bundle:
    x, z, decay = var(names[0]), var(names[1]), var("decay")
    upper = div(op("where", op("ge", x, ZERO), ONE, decay), add(ONE, decay))
    lower = div(op("where", op("ge", x, ZERO), decay, ONE), add(ONE, decay))
    loss = add(add(op("absorb", z, make("max", neg(x), ZERO)), op("absorb", sub(ONE, z), make("max", x, ZERO))),
               make("log1p", decay))
    outputs = {"loss": loss, f"gradient_{names[0]}": sub(mul(sub(ONE, z), upper), mul(z, lower)),
               f"gradient_{names[1]}": neg(x), f"hessian_{names[0]}": mul(upper, lower),
               f"hessian_{names[0]}_{names[1]}": const(-1)}
    inputs = (Input(names[0], "scalar", "input", "extended"), Input(names[1], "scalar", "target", "[0, 1]"))
    kernel = Elementwise("sigmoid", inputs, Program((Let("decay", make("exp", neg(make("abs", x)))),), outputs))
    return bundle("sigmoid", kernel, names[0], names, formula=formula)


def shares(x: Term) -> tuple[Term, Term]:
    rest, peak = var("top_rest"), var("top_peak")
    others = div(sub(rest, make("expm1", neg(op("gap", peak, x)))), add(ONE, rest))
    return div(op("exp_diff", x, peak), add(ONE, rest)), others


def label_bundle() -> Bundle:
    x, y = row("x"), label("y")
    share, others = shares(x)
    epilogue = Program((Let("share", share), Let("others", others)), {
        "gradient_x": op("where", op("eq", POSITION, y), neg(var("others")), var("share")),
        "hessian_x": mul(var("share"), var("others")),
    })
    finish = Program((), {"loss": add(op("gap", var("top_peak"), var("x_at_y")), make("log1p", var("top_rest")))})
    inputs = (Input("x", "row", "input", "extended"), Input("y", "label", "label", "index", differentiable=False))
    kernel = Row("by_label", inputs, (Stage((Family("top", x),), (), (Capture("x_at_y", x, "y"),)),), finish, epilogue)
    v = row("tangent_x")
    mean = div(var("tangent_sum"), add(ONE, var("top_rest")))
    hvp = Row("hvp", (*inputs, Input("tangent_x", "row", "tangent", "real")),
              (Stage((Family("top", x),), (Slot("tangent_sum", v, (Power("top", 0, 1),)),), ()),),
              Program((), {}), Program((), {"hvp_x": mul(share, sub(v, mean))}))
    return bundle("by_label", kernel, "x", ("x",), hvp)


def target_bundle() -> Bundle:
    x, t, mass = row("x"), row("t"), var("mass")
    share, others = shares(x)
    stage = Stage((Family("top", x),), (Slot("mass", t), Slot("gaps", t, (Power("top", 1, 0),))), ())
    half = op("gt", var("share"), HALF)
    gradient = op("where", half, sub(sub(mass, t), mul(mass, var("others"))), sub(mul(mass, var("share")), t))
    inputs = (Input("x", "row", "input", "extended"), Input("t", "row", "target", "simplex"))
    kernel = Row("by_target", inputs, (stage,),
                 Program((), {"loss": add(var("gaps"), mul(mass, make("log1p", var("top_rest"))))}),
                 Program((Let("share", share), Let("others", others)), {"gradient_x": gradient}))
    return bundle("by_target", kernel, "x", ("x",))


def moments_bundle() -> Bundle:
    """Slots of powers 0, 1, 2 of the gap beside its exponential; an extra element; no derivatives."""
    t = row("t")
    slots = tuple(Slot(f"s{p}", t, (Power("top", p, 1),)) for p in range(3))
    stage = Stage((Family("top", row("x"), (ZERO,)),), slots, ())
    inputs = (Input("x", "row", "input", "extended"), Input("t", "row", "target", "simplex"))
    kernel = Row("moments", inputs, (stage,), Program((), {"loss": var("s2")}), Program((), {}))
    return bundle("moments", kernel, "x", ())


def families_bundle() -> Bundle:
    """Two families and a slot that mixes them; a family of a computed element."""
    a, b = Family("a", row("x")), Family("b", mul(TWO, row("z")))
    powers = ((), (Power("a", 1, 0),), (Power("b", 1, 1),), (Power("a", 1, 0), Power("b", 1, 1)),
              (Power("b", 0, 1),), (Power("a", 1, 0), Power("b", 0, 1)))
    slots = tuple(Slot(f"s{i}", ONE, p) for i, p in enumerate(powers))
    inputs = (Input("x", "row", "input", "extended"), Input("z", "row", "input", "extended"))
    loss = add(var("s3"), make("log1p", var("b_rest")))
    return bundle("families", Row("families", inputs, (Stage((a, b), slots, ()),), Program((), {"loss": loss}),
                                  Program((), {})), "x", ())


def spread_bundle() -> Bundle:
    """Two stages, the second with the mean from the first; parameters; a value per row."""
    x, c = row("x"), var("c")
    off = sub(x, var("mean"))
    first = Stage((), (Slot("total", x),), (), (Let("mean", div(var("total"), COUNT), "of the row"),))
    loss = add(add(mul(var("alpha"), var("spread")), var("eps")), mul(c, c))
    inputs = (Input("x", "row", "input", "real"), Input("c", "scalar", "input", "real"),
              Input("alpha", "parameter", "parameter", "(0, inf)", default="0.5"),
              Input("eps", "parameter", "parameter", "[0, 1)", default="eps"))
    kernel = Row("spread", inputs, (first, Stage((), (Slot("spread", mul(off, off)),), ())),
                 Program((), {"loss": loss, "gradient_c": mul(TWO, c)}),
                 Program((), {"gradient_x": mul(mul(TWO, var("alpha")), off)}))
    return bundle("spread", kernel, "x", ("x", "c"))


def mean_bundle(name: str = "x") -> Bundle:
    """The number of classes in a stage, in what follows it, in the finish and in the epilogue."""
    x, mean = row(name), var("mean")
    kernel = Row("mean", (Input(name, "row", "input", "extended"), Input("s", "scalar", "input", "real")), (
        Stage((), (Slot("total", x),), (), (Let("mean", div(var("total"), COUNT)),)),
        Stage((), (Slot("spread", div(mul(sub(x, mean), sub(x, mean)), COUNT)),), ()),
    ), Program((), {"loss": mul(var("s"), var("spread"))}), Program((), {
        f"gradient_{name}": div(mul(mul(TWO, var("s")), sub(x, mean)), COUNT), f"hessian_{name}": div(ONE, COUNT),
    }))
    return bundle("mean", kernel, name, (name,))


def functions_bundle() -> Bundle:
    """Every kind of function and constant, elementwise."""
    x = var("x")
    outputs = {"loss": op("log1pmx", x), "gradient_x": op("expm1mx", x), "hessian_x": make("erf", x),
               "gradient_z": add(make("lgamma", x), make("digamma", x)),
               "hessian_x_z": mul(add(make("log", TWO), op("where", op("lt", x, var("z")), const("0.1"), const("1/3"))),
                                  op("pow", x, var("power")))}
    inputs = (Input("x", "scalar", "input", "real"), Input("z", "scalar", "target", "{-1, 1}"),
              Input("power", "parameter", "parameter", "[0, inf)", default="2"))
    return bundle("functions", Elementwise("functions", inputs, Program((), outputs)), "x", ("x", "z"))
