"""C: functions that both sides of a choice call are called once; loops over choices are vectorised."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import numpy as np
import pytest
from lossmith.codegen import compiled
from lossmith.codegen.kernel import Bundle, Elementwise, Input, Let, Origin, Program
from lossmith.codegen.targets import c
from lossmith.codegen.targets.c_choices import called_once
from lossmith.derivations.evaluate import evaluate
from lossmith.derivations.terms import Term, add, const, div, mul, neg, node, sub, var, walk
from lossmith.derivations.ulp import FORMATS

X, Z = var("x"), var("z")
POSITIVE = node("ge", (X, const(0)))


def where(condition: Term, left: Term, right: Term) -> Term:
    return node("where", (condition, left, right))


def calls(program: Program, op: str) -> int:
    roots = [*(let.term for let in program.lets), *program.outputs.values()]
    return sum(t.op == op for t in walk(*roots))


def opened(program: Program, name: str) -> Term:
    """An output with its temporaries put back."""
    known: dict[Term, Term] = {}

    def back(term: Term) -> Term:
        return known.get(term) or node(term.op, tuple(map(back, term.args)), term.value)

    for let in program.lets:
        known[var(let.name)] = back(let.term)
    return back(program.outputs[name])


def test_both_sides_share_a_function_and_keep_their_bits() -> None:
    inner = where(node("lt", (X, const(-2))), mul(const(3), node("tanh", (X,))), node("tanh", (mul(X, X),)))
    term = where(POSITIVE, add(const(1), node("log1p", (node("expm1", (X,)),))), node("log1p", (mul(X, inner),)))
    before = Program((), {"loss": term})
    after = called_once(before)
    assert (calls(before, "log1p"), calls(after, "log1p")) == (2, 1)
    assert (calls(before, "tanh"), calls(after, "tanh")) == (2, 1)
    x = np.array([-30.0, -3.0, -1.0, -1e-9, -0.0, 0.0, 0.5, 4.0, np.inf, np.nan], np.float32)
    with np.errstate(all="ignore"):
        found = [evaluate(t, {"x": x}, FORMATS["float32"]) for t in (term, opened(after, "loss"))]
    np.testing.assert_array_equal(found[0].view(np.uint32), found[1].view(np.uint32))


def test_what_is_computed_anyway_is_left_alone() -> None:
    grown = node("exp", (X,))
    term = where(POSITIVE, node("exp", (neg(X),)), add(grown, const(1)))
    program = Program((Let("grown", grown),), {"loss": term, "more": grown})
    assert called_once(program).outputs == program.outputs


def test_a_shorter_function_is_not_given_up() -> None:
    falling = node("exp", (neg(node("abs", (X,))),))
    program = Program((), {"loss": where(POSITIVE, falling, node("exp", (Z,)))})
    assert called_once(program).outputs == program.outputs


def guarded() -> Program:
    """Choices within guarded products: what a compiler would gladly make branches of."""
    decay = node("exp", (neg(node("abs", (X,))),))
    soft = add(node("max", (X, const(0))), node("log1p", (decay,)))
    share = div(where(POSITIVE, const(1), decay), add(const(1), decay))
    absorbed = node("absorb", (mul(share, share), add(share, mul(const(2), mul(soft, share)))))
    towards = node("absorb", (sub(const(1), Z), absorbed))
    return Program((), {"loss": sub(towards, node("absorb", (Z, node("absorb", (node("exp", (neg(soft),)), soft)))))})


def hyperbolic() -> Program:
    near = node("log1p", (mul(const(2), node("pow", (node("sinh", (X,)), const(2)))),))
    far = add(node("abs", (X,)), node("log1p", (node("expm1", (neg(node("abs", (X,))),)),)))
    return Program((), {"loss": where(POSITIVE, near, mul(far, node("cosh", (Z,))))})


@pytest.mark.parametrize("program", [guarded(), hyperbolic()], ids=["guarded", "hyperbolic"])
def test_gcc_vectorises(program: Program, tmp_path: Path) -> None:
    command = compiled.compiler()
    gcc = command and subprocess.run([*command, "-v"], capture_output=True, text=True, check=False).stderr
    if not command or "gcc version" not in (gcc or "") or platform.machine() != "x86_64":
        pytest.skip("gcc on x86-64 says what it vectorised")
    inputs = (Input("x", "scalar", "input", "real"), Input("z", "scalar", "target", "real"))
    origin = Origin("choices", "choices", "choices", "none", "none", "", {}, {}, (), "", "")
    for made in c.render(Bundle(origin, Elementwise("choices", inputs, program), None, "x", ("x",))):
        (tmp_path / Path(made.path).name).write_text(made.body, encoding="utf-8")
    flags = [*compiled.FLAGS, "-march=x86-64-v3", "-fopenmp-simd", "-fopt-info-vec-optimized", "-DLOSSMITH_PARTS=1"]
    said = subprocess.run([*command, *flags, "choices.c", "-o", "choices.so", "-lm"], cwd=tmp_path, capture_output=True,
                          text=True, check=True).stderr
    assert "loop vectorized using 32 byte vectors" in said
