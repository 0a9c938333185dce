"""How people write the same losses: with torch's own functions, with NumPy's, as a loop, as an expression."""

from __future__ import annotations

import ast
import atexit
import importlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from lossmith.audit import peers
from lossmith.audit.adapters import Unavailable, torch_module
from lossmith.audit.workloads import Workload, Written
from lossmith.codegen import faces
from lossmith.derivations.loss import Unit

Function = Callable[..., Any]


@cache
def texts(target: str, unit: Unit) -> dict[str, str]:
    """What a target prints for a unit: path to text. Raises Unavailable."""
    from lossmith.codegen import lower

    try:
        printer = importlib.import_module(f"lossmith.codegen.targets.{target}")
        return {r.path: r.body for r in printer.render(lower.bundle(unit))}
    except (ModuleNotFoundError, ValueError) as problem:
        raise Unavailable(f"{target}: {problem}") from None


@cache
def module(target: str, unit: Unit) -> ModuleType:
    """The module of a unit as it is written: the generated one of the catalogue, else printed now. Raises
    Unavailable."""
    try:
        if isinstance(unit.formula, str) or unit.references:
            return faces.pure(target, unit.name)
    except ModuleNotFoundError:
        pass
    made = ModuleType(f"lossmith_bench_{target}_{unit.name}")
    (text,) = texts(target, unit).values()
    exec(compile(text, f"<{target}/{unit.name}>", "exec"), made.__dict__)
    return made


@cache
def in_catalogue(target: str, name: str) -> ModuleType | None:
    """The generated module of a loss as users import it; None where the catalogue has none."""
    try:
        return importlib.import_module(f"lossmith.generated.{target}.{name}")
    except ModuleNotFoundError:
        return None


def faced(target: str, unit: Unit, dtype: str, tier: str) -> ModuleType:
    """The generated module as users import it, whose functions compute in C; of a loss that is not in the catalogue,
    printed now and computed in the same way. Raises Unavailable."""
    from lossmith.codegen import compiled

    if faces.backend() == "pure":
        raise Unavailable("off: LOSSMITH_BACKEND=pure")
    made = in_catalogue(target, unit.name) or _printed(target, unit)
    source = Path(made.__file__ or "").parents[1] / "c" / f"{unit.name}.c"
    try:
        if not source.exists():
            raise Unavailable(f"{source.name} is not generated")
        compiled.load(source).function(unit.name, "loss_gradient", compiled.SUFFIX[dtype], tier)
    except (KeyError, compiled.CompileError) as problem:
        raise Unavailable(f"C: {problem}") from None
    if unit.name in faces.refusals:
        raise Unavailable(f"C: {faces.refusals[unit.name]}")
    return made


@cache
def _printed(target: str, unit: Unit) -> ModuleType:
    """A unit's module, its C and its NumPy, written to a folder of this process, the module's functions attached to
    the C."""
    place = Path(tempfile.mkdtemp(prefix="lossmith-bench-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    for path, body in {**texts("np", unit), **texts(target, unit), **texts("c", unit)}.items():
        (place / path).parent.mkdir(exist_ok=True)
        (place / path).write_text(body, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(f"lossmith_faced_{target}_{unit.name}",
                                                  place / target / f"{unit.name}.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    library = faces.Library(place / "c" / f"{unit.name}.c")
    importlib.import_module(f"lossmith.codegen.face_{target}").attach(made, library)
    return made


def _written(workload: Workload) -> Written:
    if workload.written is None:
        raise Unavailable("nobody has written it")
    return workload.written


def _evaluated(workload: Workload, functions: dict[str, Any], *texts_of: str) -> Function:
    """A function of the arguments that evaluates the parts, then the texts, over a library's functions."""
    written, names = _written(workload), [a.name for a in workload.given]
    body = "".join(f"    {name} = {text}\n" for name, text in written.parts)
    space = dict(functions)
    exec(f"def run({', '.join(names)}):\n{body}    return {', '.join(texts_of)}\n", space)
    return space["run"]  # type: ignore[no-any-return]


NAMES = ("exp", "log", "log1p", "tanh", "maximum", "where", "abs")


def _functions(library: Any) -> dict[str, Any]:
    return {name: getattr(library, name) for name in NAMES}


def hand(workload: Workload, both: bool) -> Function:
    """Loss, or loss and gradient, in NumPy with a temporary for every operation. Raises Unavailable."""
    if workload.is_row:
        found = ROWS.get(workload.unit.name)
        if found is None:
            raise Unavailable("nobody has written it")
        return lambda *a: found(np, both, *a)
    written = _written(workload)
    return _evaluated(workload, _functions(np), written.loss, *([written.gradient] if both else []))


def array_function(workload: Workload, library: Any) -> Function:
    """The loss alone over any library of arrays: what is then differentiated by it."""
    if workload.is_row:
        if workload.unit.name not in ROWS:
            raise Unavailable("nobody has written it")
        return lambda *a: ROWS[workload.unit.name](library, False, *a)
    return _evaluated(workload, _functions(library), _written(workload).loss)


def torch_function(workload: Workload) -> Function:
    """torch's own function, or what one writes where it has none. Raises Unavailable."""
    torch, name = torch_module(), workload.unit.name
    functional = torch.nn.functional
    own: dict[str, Function] = {
        "huber": lambda x, y: functional.huber_loss(x, y, reduction="none"),
        "poisson": lambda x, z: functional.poisson_nll_loss(x, z, log_input=True, full=False, reduction="none"),
        "kl_divergence_from_logits":
            lambda x, p: functional.kl_div(functional.log_softmax(x, -1), p, reduction="none").sum(-1),
    }
    if name in own:
        return own[name]
    if name in peers.PEERS:
        return peers.PEERS[name][1]
    functions = _functions(SimpleNamespace(**{n: getattr(torch, n, None) for n in NAMES}))
    return _evaluated(workload, functions | {"maximum": torch.clamp_min}, _written(workload).loss)


def _sparse(xp: Any, both: bool, x: Any, y: Any) -> Any:
    rows = xp.arange(x.shape[0])
    shifted = x - x.max(-1, keepdims=True)
    powers = xp.exp(shifted)
    total = powers.sum(-1, keepdims=True)
    loss = xp.log(total)[:, 0] - shifted[rows, y]
    if not both:
        return loss
    gradient = powers / total
    gradient[rows, y] -= 1
    return loss, gradient


def _soft(xp: Any, both: bool, x: Any, t: Any) -> Any:
    shifted = x - x.max(-1, keepdims=True)
    powers = xp.exp(shifted)
    total = powers.sum(-1, keepdims=True)
    loss = (t * (xp.log(total) - shifted)).sum(-1)
    return (loss, powers / total - t) if both else loss


def _kl(xp: Any, both: bool, x: Any, p: Any) -> Any:
    shifted = x - x.max(-1, keepdims=True)
    powers = xp.exp(shifted)
    total = powers.sum(-1, keepdims=True)
    entropy = p * xp.where(p > 0, xp.log(xp.where(p > 0, p, 1)), 0)
    loss = (entropy - p * (shifted - xp.log(total))).sum(-1)
    return (loss, powers / total - p) if both else loss


ROWS: dict[str, Function] = {
    "sparse_softmax_cross_entropy": _sparse, "softmax_cross_entropy": _soft, "kl_divergence_from_logits": _kl,
}


ROW_LOOP = """
def run(x, given):
    rows, classes = x.shape
    loss, gradient = zeros(rows, x.dtype), empty({shape}, x.dtype)
    whole = 0.0
    for i in prange(rows):
        most = x[i, 0]
        for c in range(1, classes):
            most = max(most, x[i, c])
        total = exp(x[i, 0] - most)
        for c in range(1, classes):
            total += exp(x[i, c] - most)
        size = log(total)
        {loss}
        whole += loss[i]
        {gradient}
    return {outputs}
"""
ROW_PARTS = {  # of a row: its loss, and its gradient
    "sparse_softmax_cross_entropy": ("""
        loss[i] = size + most - x[i, given[i]]
""", """
        for c in range(classes):
            gradient[i, c] = exp(x[i, c] - most) / total
        gradient[i, given[i]] -= 1
"""),
    "kl_divergence_from_logits": ("""
        for c in range(classes):
            if given[i, c] > 0:
                loss[i] += given[i, c] * (log(given[i, c]) - (x[i, c] - most - size))
""", """
        for c in range(classes):
            gradient[i, c] = exp(x[i, c] - most) / total - given[i, c]
"""),
}


def _row_loop(workload: Workload, both: bool, mean: bool, space: dict[str, Any]) -> Function:
    if workload.unit.name not in ROW_PARTS:
        raise Unavailable("nobody has written it")
    loss, gradient = ROW_PARTS[workload.unit.name]
    outputs = ("whole / rows" if mean else "loss") + (", gradient" if both else "")
    gradient += "        gradient[i] /= x.dtype.type(rows)\n" * (both and mean)
    text = ROW_LOOP.format(shape="(rows, classes)" if both else "(1, 1)", loss=loss.strip(),
                           gradient=gradient.strip() if both else "", outputs=outputs)
    exec(text, space)
    return space["run"]  # type: ignore[no-any-return]


def loop(workload: Workload, both: bool, numba: Any, mean: bool = False) -> Function:
    """One loop over the elements, or rows, compiled by numba, in parallel where there are threads; mean: of the losses,
    with its gradient. Raises Unavailable."""
    space: dict[str, Any] = {n: getattr(np, n) for n in NAMES}
    space |= {"empty": np.empty, "zeros": np.zeros, "prange": numba.prange}
    if workload.is_row:
        run = _row_loop(workload, both, mean, space)
        return numba.njit(run, parallel=True, error_model="numpy")  # type: ignore[no-any-return]
    written, names = _written(workload), [a.name for a in workload.given]
    outputs = ["loss", "gradient"] if both else ["loss"]
    lines = [f"def run({', '.join(f'{n}_in' for n in names)}):",
             *(f"    {o}_out = empty({names[0]}_in.size, {names[0]}_in.dtype)" for o in outputs[mean:]),
             f"    whole, share = 0.0, {names[0]}_in.dtype.type(1 / {names[0]}_in.size)",
             f"    for i in prange({names[0]}_in.size):", *(f"        {n} = {n}_in[i]" for n in names),
             *(f"        {name} = {_scalar(text)}" for name, text in written.parts),
             *(f"        {o}_out[i] = {_scalar(getattr(written, o))}" for o in outputs if not mean),
             *([f"        whole += {_scalar(written.loss)}"] if mean else []),
             *([f"        gradient_out[i] = ({_scalar(written.gradient)}) * share"] if mean and both else []),
             f"    return {', '.join([*(['whole * share'] if mean else []), *(f'{o}_out' for o in outputs[mean:])])}"]
    exec("\n".join(lines), space)
    return numba.njit(space["run"], parallel=True, error_model="numpy")  # type: ignore[no-any-return]


class _Choices(ast.NodeTransformer):
    """`where` and `maximum` in the words of a language."""

    def __init__(self, scalar: bool) -> None:
        self.scalar = scalar

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        assert isinstance(node.func, ast.Name)
        if node.func.id == "maximum" and not self.scalar:
            test = ast.Compare(node.args[0], [ast.Gt()], [node.args[1]])
            return ast.Call(ast.Name("where", ast.Load()), [test, *node.args], [])
        if node.func.id == "where" and self.scalar:
            return ast.IfExp(*node.args)
        return node


def _scalar(text: str) -> str:
    return ast.unparse(_Choices(True).visit(ast.parse(text, mode="eval")))


def numexpr_texts(workload: Workload) -> tuple[str, str]:
    """Loss and gradient as one expression each, its parts put in. Raises Unavailable."""
    written = _written(workload)

    def spelled(text: str) -> str:
        tree = ast.parse(text, mode="eval")
        for name, part in reversed(written.parts):
            tree = _Put(name, ast.parse(part, mode="eval").body).visit(tree)
        return ast.unparse(ast.fix_missing_locations(_Choices(False).visit(tree)))

    return spelled(written.loss), spelled(written.gradient)


class _Put(ast.NodeTransformer):
    def __init__(self, name: str, part: ast.expr) -> None:
        self.name, self.part = name, part

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self.part if node.id == self.name else node


def scipy_function(workload: Workload, special: Any, both: bool) -> Function:
    """With scipy.special, where it has the function. Raises Unavailable."""
    functions: dict[str, tuple[Function, Function]] = {
        "sigmoid_cross_entropy": (lambda x, z: -z * special.log_expit(x) - (1 - z) * special.log_expit(-x),
                                  lambda x, z: special.expit(x) - z),
        "huber": (lambda x, y: special.huber(1.0, x - y), lambda x, y: np.clip(x - y, -1, 1)),
        "sparse_softmax_cross_entropy": (lambda x, y: -special.log_softmax(x, axis=-1)[np.arange(len(x)), y],
                                         lambda x, y: _less_one(special.softmax(x, axis=-1), y)),
        "kl_divergence_from_logits": (lambda x, p: special.rel_entr(p, special.softmax(x, axis=-1)).sum(-1),
                                      lambda x, p: special.softmax(x, axis=-1) - p),
    }
    if workload.unit.name not in functions:
        raise Unavailable("scipy.special has no function for it")
    loss, gradient = functions[workload.unit.name]
    return (lambda *a: (loss(*a), gradient(*a))) if both else loss


def _less_one(gradient: Any, y: Any) -> Any:
    gradient[np.arange(len(y)), y] -= 1
    return gradient


def sklearn_function(workload: Workload, losses: Any, classes: int) -> Any:
    """scikit-learn's compiled losses, of booster and linear models. Raises Unavailable."""
    names = {"sigmoid_cross_entropy": "HalfBinomialLoss", "poisson": "HalfPoissonLoss", "huber": "HuberLoss",
             "sparse_softmax_cross_entropy": "HalfMultinomialLoss"}
    name = names.get(workload.unit.name)
    if name is None:
        raise Unavailable("sklearn._loss has no such loss")
    loss = importlib.import_module("sklearn._loss.loss")
    given: dict[str, dict[str, Any]] = {"HuberLoss": {"delta": 1.0}, "HalfMultinomialLoss": {"n_classes": classes}}
    return getattr(loss, name)(**given.get(name, {}))
