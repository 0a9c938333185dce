"""Faults put into the generated NumPy kernels, one at a time and mechanically: a sign, a threshold, a dropped guard.

A fault is one changed node of the syntax tree of a module: in the loss, in a gradient, in what
merges pieces of a row, or in a helper that they call. Nothing here knows which loss it changes.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ("_loss", "_gradient_")  # functions whose faults reach a loss or a gradient
TOGETHER = ("_loss_gradient_", "_hessian")  # several outputs at once, and second derivatives: not what is audited here
HELPERS = ("_absorb", "_vanish", "_gap", "_exp_diff", "_decay", "_below", "_rest", "_total", "_select", "_at", "_put",
           "_spot", "_xlogy", "_log1pmx", "_narrow")
GUARDED = {"_absorb": "({0}) * ({1})", "_vanish": "({0}) * ({1})", "_gap": "({0}) - ({1})",
           "_exp_diff": "np.exp(({0}) - ({1}))", "_decay": "np.exp(({0}) - ({1}))", "_xlogy": "({0}) * np.log({1})",
           "_log1pmx": "np.log1p({0}) - ({0})"}
BUFFERED = {"_absorb": "np.multiply", "_gap": "np.subtract"}
LOSING = {"log1p": "np.log(1 + ({0}))", "expm1": "(np.exp({0}) - 1)"}
BESIDE = {ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.LtE: ast.Lt}
TURNED = {ast.Gt: ast.Lt, ast.GtE: ast.LtE, ast.Lt: ast.Gt, ast.LtE: ast.GtE}


@dataclass(frozen=True)
class Fault:
    """A changed module. `kind` groups faults; `change` is what was written for what; `function`: in which."""

    unit: str
    kind: str
    function: str
    change: str
    source: str

    def module(self, block: int | None = None) -> ModuleType:
        """The module with the fault. block: elements that it takes at a time, so that short rows are merged too."""
        return module_of(self.source, f"{self.unit} with {self.change}", block)


def source_of(unit: str) -> str:
    return (ROOT / "generated" / "np" / f"{unit}.py").read_text(encoding="utf-8")


def module_of(source: str, name: str, block: int | None = None) -> ModuleType:
    """A module from its text."""
    made = ModuleType(name)
    exec(compile(source, f"<{name}>", "exec"), made.__dict__)
    if block is not None:
        made.__dict__["_BLOCK"] = block
    return made


def faults_of(unit: str) -> Iterator[Fault]:
    """Every fault of a unit, in the order of its text."""
    text = source_of(unit)
    lines = text.splitlines(keepends=True)
    for function in ast.parse(text).body:
        if not isinstance(function, ast.FunctionDef) or not _concerned(function.name):
            continue
        for parent, field, place, node in _places(function):
            for kind, other in _changes(node):
                original = ast.unparse(node)
                written = other if isinstance(other, str) else ast.unparse(other)
                if written == original:
                    continue
                _put(parent, field, place, ast.parse(written, mode="eval").body)
                made = [*lines[:function.lineno - 1], ast.unparse(function), "\n", *lines[function.end_lineno:]]
                yield Fault(unit, kind, function.name, f"{written} for {original}", "".join(made))
                _put(parent, field, place, node)


def _concerned(name: str) -> bool:
    if name.startswith(TOGETHER) or "_hessian" in name:
        return False
    return name.startswith(KERNELS) or name in HELPERS


def _places(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, str, int | None, ast.expr]]:
    """Every expression in the body of a function, and where it stands."""
    for parent in itertools.chain.from_iterable(ast.walk(s) for s in function.body):
        for field, value in ast.iter_fields(parent):
            if isinstance(value, ast.expr):
                yield parent, field, None, value
            elif isinstance(value, list):
                for n, item in enumerate(value):
                    if isinstance(item, ast.expr):
                        yield parent, field, n, item


def _put(parent: ast.AST, field: str, place: int | None, node: ast.expr) -> None:
    if place is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[place] = node


def _changes(node: ast.expr) -> Iterator[tuple[str, ast.expr | str]]:
    if isinstance(node, ast.BinOp):
        yield from _arithmetic(node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "a flipped sign", node.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield from _thresholds(node)
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.Attribute) and ast.unparse(node) == "np.float64":
        yield "a narrow accumulator", "np.float32"
        yield "a narrow accumulator", "np.float16"


def _arithmetic(node: ast.BinOp) -> Iterator[tuple[str, ast.expr | str]]:
    left, right = ast.unparse(node.left), ast.unparse(node.right)
    if isinstance(node.op, ast.Add):
        yield "a flipped sign", f"({left}) - ({right})"
        yield "an eps put in", f"({left}) + ({right}) + 1e-06"
    elif isinstance(node.op, ast.Sub):
        yield "a flipped sign", f"({left}) + ({right})"
        if not isinstance(node.left, ast.Constant):
            yield "a flipped sign", f"({right}) - ({left})"
    elif isinstance(node.op, ast.Mult):
        yield "a missing factor", node.left
        yield "a missing factor", node.right
    elif isinstance(node.op, ast.Div):
        yield "a missing factor", node.left
        yield "an eps put in", f"({left}) / (({right}) + 1e-06)"


def _written_out(node: ast.Call) -> Iterator[tuple[str, ast.expr | str]]:
    """Faults of an operation that writes a buffer: `np.add(a, b, out=t)`. They write it too."""
    name, args = ast.unparse(node.func), [ast.unparse(a) for a in node.args]
    into = ", ".join(f"{k.arg}={ast.unparse(k.value)}" for k in node.keywords)
    if name == "np.add":
        yield "a flipped sign", f"np.subtract({args[0]}, {args[1]}, {into})"
        yield "an eps put in", f"np.add(np.add({args[0]}, {args[1]}, {into}), 1e-06, {into})"
    elif name == "np.subtract":
        yield "a flipped sign", f"np.add({args[0]}, {args[1]}, {into})"
        if not isinstance(node.args[0], ast.Constant):
            yield "a flipped sign", f"np.subtract({args[1]}, {args[0]}, {into})"
    elif name in ("np.multiply", "np.divide"):
        yield "a missing factor", f"np.positive({args[0]}, {into})"
        if name == "np.multiply":
            yield "a missing factor", f"np.positive({args[1]}, {into})"
    elif name in ("np.negative", "np.abs", "np.maximum", "np.minimum"):
        yield "a flipped sign" if name == "np.negative" else "a dropped clip", f"np.positive({args[0]}, {into})"
    elif name == "_minus_abs":
        yield "a flipped sign", f"np.abs({args[0]}, {into})"
        yield "a dropped clip", f"np.negative({args[0]}, {into})"
    elif name in BUFFERED:
        yield "a dropped guard", f"{BUFFERED[name]}({args[0]}, {args[1]}, {into})"
    elif name in ("_log1p", "np.log1p"):
        yield "log1p or expm1 written out", f"np.log(1 + {args[0]}, {into})"
    elif name in ("_expm1", "np.expm1"):
        yield "log1p or expm1 written out", f"np.subtract(np.exp({args[0]}), 1, {into})"
    elif name in ("_log", "np.log"):
        yield "an eps put in", f"{name}({args[0]} + 1e-07, {into})"
    elif name == "_select":
        yield "a swapped branch", f"{name}({args[0]}, {args[2]}, {args[1]}, {into})"
        yield "a dropped guard", f"{name}({args[0]}, {args[2]}, {args[2]}, {into})"


def _thresholds(node: ast.Compare) -> Iterator[tuple[str, ast.expr | str]]:
    left, right, op = ast.unparse(node.left), node.comparators[0], type(node.ops[0])
    if op not in BESIDE:
        return
    signs = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<="}
    bound = ast.unparse(right)
    yield "a threshold off by one", f"({left}) {signs[BESIDE[op]]} ({bound})"
    yield "a threshold off by one", f"({left}) {signs[op]} ({bound}) + 1"
    yield "a threshold off by one", f"({left}) {signs[op]} ({bound}) - 1"
    yield "a threshold off by an eps", f"({left}) {signs[op]} ({bound}) + 0.001"
    yield "a swapped branch", f"({left}) {signs[TURNED[op]]} ({bound})"


def _calls(node: ast.Call) -> Iterator[tuple[str, ast.expr | str]]:
    if any(k.arg == "out" for k in node.keywords):
        yield from _written_out(node)
        return
    name, args = ast.unparse(node.func), [ast.unparse(a) for a in node.args]
    short = name.removeprefix("np.").removeprefix("_")
    if name in GUARDED and not node.keywords:
        yield "a dropped guard", GUARDED[name].format(*args)
    if short in LOSING and len(args) == 1:
        yield "log1p or expm1 written out", LOSING[short].format(*args)
    if name in ("np.maximum", "np.minimum"):
        yield "a dropped clip", args[0]
    if name == "np.abs":
        yield "a dropped clip", args[0]
    if name == "np.max":
        yield "the maximum dropped", f"0 * ({ast.unparse(node)})"
    if name in ("_select", "np.where") and len(args) == 3:
        yield "a swapped branch", f"{name}({args[0]}, {args[2]}, {args[1]})"
        yield "a dropped guard", f"{name}({args[0]}, {args[2]}, {args[2]})"
    if name == "_spot":
        yield "a wrong label", f"_spot({args[0]} - 1, {', '.join(args[1:])})"
        yield "a wrong label", f"_spot({args[0]} + 1, {', '.join(args[1:])})"
    if short == "log" and len(args) == 1:
        yield "an eps put in", f"{name}(({args[0]}) + 1e-07)"


def sampled(units: Sequence[str], count: int) -> list[Fault]:
    """About `count` faults, as many of each kind as can be, and of each kind spread over the units."""
    by_kind: dict[str, list[Fault]] = {}
    for unit in units:
        for fault in faults_of(unit):
            by_kind.setdefault(fault.kind, []).append(fault)
    chosen: list[Fault] = []
    for left, kind in zip(range(len(by_kind), 0, -1), sorted(by_kind, key=lambda k: (len(by_kind[k]), k))):
        share = (count - len(chosen)) // left
        every = by_kind[kind]
        chosen += [every[i * len(every) // share] for i in range(share)] if len(every) > share else every
    return chosen


