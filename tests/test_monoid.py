"""Row kernels, run by a small interpreter over random cuts and random merges of the row, against truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import sympy as sp
from lossmith.codegen.kernel import Family, Input, Let, Row, Slot, Stage, names_used
from lossmith.codegen.monoid import monomial, row_kernel
from lossmith.derivations import balls, points
from lossmith.derivations.calculus import derivative, hessian_vector
from lossmith.derivations.declaring import Sum, arguments_of, class_index, class_label, logits, targets
from lossmith.derivations.domains import NONNEGATIVE, REAL
from lossmith.derivations.evaluate import evaluate
from lossmith.derivations.importer import to_term
from lossmith.derivations.loss import Argument
from lossmith.derivations.rows import stabilize
from lossmith.derivations.terms import ONE, Term, add, div, make, mul, node, replace, row, show, sub, var, walk
from lossmith.derivations.ulp import FORMATS, distance

F64 = FORMATS["float64"]
X, W, T, Y = logits("x"), logits("w"), targets("t", NONNEGATIVE), class_label("y")
K, J = class_index("i"), class_index("j")


# ---- the interpreter: one element at a time, merged in any order


def at(term: Term, env: Mapping[str, Any], classes: int) -> Any:
    with np.errstate(all="ignore"):
        return np.asarray(evaluate(term, env, F64, classes), dtype=np.float64)


def lift(stage: Stage, values: dict[str, np.ndarray], k: int) -> dict[str, Any]:
    state: dict[str, Any] = {f.name: (values[f.name][k], 0.0, 1.0) for f in stage.families}
    state |= {s.name: 0.0 if any(p.p for p in s.powers) else values[s.name][k] for s in stage.slots}
    return state


def extra(stage: Stage, family: Family, value: float) -> dict[str, Any]:
    state: dict[str, Any] = {f.name: (-math.inf, 0.0, 0.0) for f in stage.families}
    state[family.name] = (value, 0.0, 1.0)
    return state | {s.name: 0.0 for s in stage.slots}


def absorb(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def decay(a: float, m: float) -> float:
    """exp(a - m), the rounding of the difference put back."""
    if a == m or a == -math.inf:
        return float(a == m)
    d = a - m
    b = d - a
    lost = (a - (d - b)) + (-m - b)
    e = math.exp(d)
    return e + e * lost


def merge(stage: Stage, a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    shift: dict[tuple[int, str], tuple[float, float]] = {}
    for f in stage.families:
        m = max(a[f.name][0], b[f.name][0])
        s = n = 0.0
        for side, state in enumerate((a, b)):
            low, own, ties = state[f.name]
            scale = decay(low, m)
            shift[side, f.name] = (0.0 if low == m else m - low, scale)
            s += own if low == m else absorb(ties + own, scale)
            n += ties if low == m else 0.0
        out[f.name] = (m, s, n)
    for slot in stage.slots:
        out[slot.name] = moved(stage, slot, a, shift, 0) + moved(stage, slot, b, shift, 1)
    return out


def moved(stage: Stage, slot: Slot, state: dict[str, Any], shift: Any, side: int) -> float:
    """The slot relative to the new peaks: binomial in the shifts."""
    table = {(s.weight, s.powers): s.name for s in stage.slots}
    parts = [((), 1.0)]
    for p in slot.powers:
        by, scale = shift[side, p.family]
        grown = []
        for kept, factor in parts:
            for j in range(p.p + 1):
                lower = (*kept, *([type(p)(p.family, j, p.q)] if j or p.q else []))
                grown.append((lower, absorb(factor * math.comb(p.p, j), absorb(by ** (p.p - j), scale**p.q))))
        parts = grown
    return sum(absorb(factor, state[table[slot.weight, powers]]) for powers, factor in parts)


def reduce_row(stage: Stage, env: dict[str, Any], classes: int, rng: np.random.Generator) -> dict[str, Any]:
    elements = {f.name: np.broadcast_to(at(f.element, env, classes), classes) for f in stage.families}
    elements |= {s.name: np.broadcast_to(at(s.weight, env, classes), classes) for s in stage.slots}
    states = [lift(stage, elements, k) for k in range(classes)]
    states += [extra(stage, f, float(at(e, env, classes))) for f in stage.families for e in f.extras]
    while len(states) > 1:  # any order, any grouping
        i, j = sorted(rng.choice(len(states), 2, replace=False))
        second = states.pop(j)
        states[i] = merge(stage, *((states[i], second) if rng.random() < 0.5 else (second, states[i])))
    return states[0]


def run(kernel: Row, inputs: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    classes = max(np.size(v) for v in inputs.values())
    env = dict(inputs)

    def let(lets: tuple[Let, ...]) -> None:
        for item in lets:
            env[item.name] = at(item.term, env, classes)

    for stage in kernel.stages:
        state = reduce_row(stage, env, classes, rng)
        for f in stage.families:
            m, s, n = state[f.name]
            env[f"{f.name}_peak"] = m
            env[f"{f.name}_rest"] = math.nan if m == -math.inf or (m == math.inf and n > 1) else s + (n - 1)
        env |= {s.name: state[s.name] for s in stage.slots}
        for c in stage.captures:
            env[c.name] = np.broadcast_to(at(c.element, env, classes), classes)[int(env[c.label])]
        let(stage.after)
    let(kernel.finish.lets)
    out = {name: at(t, env, classes) for name, t in kernel.finish.outputs.items()}
    per_class: dict[Term, Term] = {}  # a name of the epilogue is a row: put back what it stands for
    for item in kernel.epilogue.lets:
        per_class[var(item.name)] = replace(item.term, per_class)
    outputs = {name: replace(t, per_class) for name, t in kernel.epilogue.outputs.items()}
    return out | {name: np.broadcast_to(at(t, env, classes), classes) for name, t in outputs.items()}


# ---- kernels from formulas


def softmax(x: Any) -> Any:
    return sp.exp(x[K]) / Sum(sp.exp(x[J]), J)


FORMULAS = {
    "soft": lambda: -Sum(T[K] * sp.log(softmax(X)), K),
    "sparse": lambda: -sp.log(sp.exp(X[Y]) / Sum(sp.exp(X[J]), J)),
    "one more": lambda: sp.log(1 + Sum(sp.exp(X[K]), K)),
    "smoothed": lambda: -(0.75 * sp.log(sp.exp(X[Y]) / Sum(sp.exp(X[J]), J)) + Sum(sp.log(softmax(X)), K) / 4 / 8),
    "entropy": lambda: -Sum(softmax(X) * sp.log(softmax(X)), K),
    "two rows": lambda: sp.log(Sum(sp.exp(X[K]), K) + Sum(sp.exp(W[K]), K)),
    "scaled": lambda: sp.log(Sum(sp.exp(X[K] / 4), K)) - X[Y] / 4,
    "second stage": lambda: Sum((softmax(X) - T[K]) ** 2, K),
}
ORDERS = {
    "soft": ("x", "t", "xx"), "sparse": ("x", "xx"), "one more": ("x", "xx"), "two rows": ("x",), "scaled": ("x",),
}
ULP = 10.0


def inputs_of(arguments: tuple[Argument, ...]) -> tuple[Input, ...]:
    kinds = {"label": "label", "parameter": "parameter"}
    return tuple(Input(a.name, kinds.get(a.role) or ("row" if a.axis == "class" else "scalar"), "input", "real")  # type: ignore[arg-type]
                 for a in arguments)


@cache
def kernel_of(name: str) -> tuple[Row, dict[str, Term], tuple[Argument, ...]]:
    with sp.evaluate(False):
        formula = FORMULAS[name]()
    term, arguments = to_term(formula), arguments_of(formula)
    definitions = {"loss": term}
    for order in ORDERS.get(name, ()):
        key = f"gradient_{order}" if len(order) == 1 else f"hessian_{order[0]}"
        definitions[key] = derivative(term, tuple(order), arguments)
    forms = {out: stabilize(d, arguments, ())[1].term for out, d in definitions.items()}
    return row_kernel(name.replace(" ", "_"), forms, inputs_of(arguments)), definitions, arguments


def rooted(name: str, output: str) -> bool:
    """Whether a quantity has roots inside the domain, where only its conditioning bounds the error."""
    return (name, output) in {
        ("soft", "gradient_x"), ("second stage", "loss"), ("two rows", "loss"), ("one more", "loss"),
        ("scaled", "loss"), ("scaled", "gradient_x"),
    }


@pytest.mark.parametrize("name", FORMULAS)
def test_random_cuts_agree_with_truth(name: str) -> None:
    kernel, definitions, arguments = kernel_of(name)
    worst: dict[str, float] = {}
    for classes, count in ((1, 2), (2, 6), (5, 12), (33, 6)):
        for seed, env in enumerate(points.row_samples(arguments, classes, count, 4, F64, infinite=False)):
            got = run(kernel, env, seed)
            listed = {n: v.tolist() for n, v in env.items()}
            for output, definition in definitions.items():
                truth = np.atleast_1d(balls.truth(definition, listed, F64))
                known = np.isfinite(truth)
                errors = distance(np.broadcast_to(np.atleast_1d(got[output]), truth.shape)[known], truth[known], F64)
                scale = np.max(np.abs(truth[known]), initial=0.0) if rooted(name, output) else None
                if scale is not None:
                    spread = np.abs(np.broadcast_to(np.atleast_1d(got[output]), truth.shape)[known] - truth[known])
                    errors = spread / (np.spacing(max(scale, 1.0)))
                worst[output] = max(worst.get(output, 0.0), float(np.max(errors, initial=0.0)))
    assert all(error <= ULP for error in worst.values()), worst


def test_masked_and_infinite_rows() -> None:
    kernel, _, _ = kernel_of("sparse")
    masked = run(kernel, {"x": np.array([-math.inf, 1.0, -math.inf, 0.0]), "y": np.asarray(1)})
    assert masked["loss"] == pytest.approx(math.log1p(math.exp(-1)))
    assert masked["gradient_x"].tolist()[0] == 0 and not np.isnan(masked["gradient_x"]).any()
    empty = run(kernel, {"x": np.full(3, -math.inf), "y": np.asarray(1)})
    assert np.isnan(empty["loss"])


def test_confident_rows_keep_their_loss_and_gradient() -> None:
    kernel, _, _ = kernel_of("sparse")
    out = run(kernel, {"x": np.array([40.0, 0.0, 0.0]), "y": np.asarray(0)})
    exact = 2 * math.exp(-40)
    assert out["loss"] == pytest.approx(exact, rel=1e-15)
    assert out["gradient_x"][0] == pytest.approx(-exact, rel=1e-15)


def test_merge_is_bitwise_commutative() -> None:
    kernel, _, _ = kernel_of("entropy")
    (stage,) = kernel.stages
    env = {"x": np.array([1.0, 3.0, 3.0, -2.0])}
    values = {f.name: at(f.element, env, 4) for f in stage.families}
    values |= {s.name: np.broadcast_to(at(s.weight, env, 4), 4) for s in stage.slots}
    states = [lift(stage, values, k) for k in range(4)]
    pair = merge(stage, states[0], states[1]), merge(stage, states[2], states[3])
    assert merge(stage, *pair) == merge(stage, *pair[::-1])


def test_soft_kernel_has_the_expected_shape() -> None:
    kernel, _, _ = kernel_of("soft")
    (stage,) = kernel.stages
    assert [f.name for f in stage.families] == ["x"]
    assert {s.name for s in stage.slots} == {"t_sum", "t_gap_sum"}
    assert {let.name for let in kernel.epilogue.lets} == {"share", "gap", "others"}
    lone = kernel.restrict(["hessian_x"])
    assert {s.name for s in lone.stages[0].slots} == {"t_sum"} and not lone.finish.outputs


def test_extras_and_names() -> None:
    kernel, _, _ = kernel_of("one more")
    (family,) = kernel.stages[0].families
    assert [show(e) for e in family.extras] == ["0"] and family.name == "top"


def test_a_hessian_vector_product_is_centred_in_a_second_stage() -> None:
    with sp.evaluate(False):
        formula = FORMULAS["sparse"]()
    term, arguments = to_term(formula), arguments_of(formula)
    tangents = (*arguments, Argument("tangent_x", "input", REAL, "class", False))
    (definition,) = hessian_vector(term, arguments).values()
    form = stabilize(definition, tangents, ("x", "tangent"))[1].term
    kernel = row_kernel("product", {"hvp_x": form}, inputs_of(tangents))
    assert len(kernel.stages) == 2
    env = {"x": np.array([1.0, 42.0, 0.5]), "y": np.asarray(1), "tangent_x": np.array([0.25, -1.0, 2.0])}
    truth = balls.truth(definition, {n: v.tolist() for n, v in env.items()}, F64)
    assert np.allclose(run(kernel, env)["hvp_x"], truth, rtol=1e-14)


def test_monomials() -> None:
    x, t = row("x"), row("t")
    peak, rest = node("peak", (x,)), node("rest", (x,))
    gap, share = node("gap", (peak, x)), div(node("exp_diff", (x, peak)), add(ONE, rest))
    found = monomial(mul(node("absorb", (t, gap)), share))
    assert found is not None and found.weight is t and found.powers == {peak: (1, 1)}
    assert monomial(make("log", share)) is None
    assert monomial(node("gap", (peak, row("z")))) is None


def test_machine_vocabulary_only() -> None:
    with pytest.raises(ValueError, match="sigmoid"):
        row_kernel("k", {"loss": make("sigmoid", node("sum", (row("x"),)))}, ())


def test_nothing_but_machine_terms_is_left() -> None:
    for name in FORMULAS:
        kernel, _, _ = kernel_of(name)
        terms = [*kernel.finish.outputs.values(), *kernel.epilogue.outputs.values()]
        terms += [let.term for program in (kernel.finish, kernel.epilogue) for let in program.lets]
        assert not {t.op for t in walk(*terms)} & {"sum", "at", "peak", "rest", "lse", "onehot"}, name



def test_a_scalar_is_computed_before_the_first_stage_that_reads_it() -> None:
    """Asked for by a late stage first, and then by an earlier one."""
    x = row("x")
    total = node("sum", (x,))
    shared = add(ONE, total)
    second = node("sum", (make("exp", sub(x, total)),))
    late = node("sum", (make("abs", sub(div(x, shared), div(x, second))),))
    early = node("sum", (make("abs", div(x, shared)),))
    kernel = row_kernel("shared", {"loss": late, "other": early}, (Input("x", "row", "input", "any number"),))
    known = {"x"}
    for stage in kernel.stages:
        terms = [s.weight for s in stage.slots]
        assert names_used(terms) <= known
        known |= {s.name for s in stage.slots}
        for let in stage.after:
            assert names_used([let.term]) <= known
            known.add(let.name)
