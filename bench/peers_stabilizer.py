"""The set of bench/formulas side by side: as written in NumPy, SymPy's optims, PyTensor, and lossmith.

    pip install -e .[bench]
    python bench/peers_stabilizer.py --ours bench/records/<date>-stabilizer.json

Everybody gets the same definition (gradients and Hessians are differentiated by lossmith) and is measured
on the same points in float64, each also uphill from its own worst. The figures of lossmith are read from a
record of bench/stabilizer.py. PyTensor: its default rewrites, mode fast_run, Python linker. SymPy: `optimize`
with optims_c99 or optims_numpy, then `lambdify`. SymPy and PyTensor get trees built from our terms, not text.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import resource
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import formula_measure as fm
import formula_points as fp
import numpy as np
from formula_set import Item, items
from lossmith.derivations.terms import Term, name_of, number
from lossmith.derivations.ulp import FORMATS, Doubles

RECORDS = Path(__file__).resolve().parent / "records"
PEERS = ("written", "optims_c99", "optims_numpy", "pytensor")
LIMIT = 60  # seconds of CPU time for one peer on one item
FMT = FORMATS["float64"]


def special() -> Mapping[str, Callable[..., Any]]:
    """What NumPy lacks, from SciPy."""
    from scipy import special as s

    return {"erf": s.erf, "erfc": s.erfc, "erfcx": s.erfcx, "lgamma": s.gammaln, "digamma": s.psi, "gamma": s.gamma,
            "sigmoid": s.expit, "xlogy": s.xlogy, "softplus": lambda a: np.logaddexp(0, a)}


# --- as written, in NumPy ------------------------------------------------------------------------

NUMPY: Mapping[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "pow": np.power,
    "max": np.maximum, "min": np.minimum, "abs": np.abs, "sign": np.sign, "sqrt": np.sqrt, "exp": np.exp,
    "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "exp2": np.exp2, "log2": np.log2,
    "log10": np.log10, "logaddexp": np.logaddexp, "where": np.where, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal, "and": np.logical_and,
    "or": np.logical_or, "not": np.logical_not, "clip": lambda a, b, c: np.minimum(np.maximum(a, b), c),
}


def written(item: Item) -> fm.Function:
    """The definition in NumPy and SciPy, operation by operation."""
    table = {**NUMPY, **special()}

    def value(term: Term, columns: fp.Columns, known: dict[Term, Any]) -> Any:
        if term not in known:
            if term.op == "const":
                known[term] = np.float64(number(term))
            elif term.op in ("pi", "var"):
                known[term] = np.float64(np.pi) if term.op == "pi" else columns[name_of(term)]
            else:
                known[term] = table[term.op](*(value(a, columns, known) for a in term.args))
        return known[term]

    return lambda columns: _shaped(value(item.definition, columns, {}), columns)


def _shaped(value: Any, columns: fp.Columns) -> Doubles:
    found = np.asarray(value)
    found = np.where(np.abs(found.imag) > 0, np.nan, found.real) if np.iscomplexobj(found) else found
    return np.array(np.broadcast_to(found.astype(np.float64), next(iter(columns.values())).shape))


# --- SymPy ---------------------------------------------------------------------------------------


def to_sympy(term: Term, known: Mapping[str, Any]) -> Any:
    """The tree that a SymPy user would type, with SymPy's own evaluation on."""
    import sympy as sp

    plain: dict[str, Callable[..., Any]] = {
        "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
        "pow": lambda a, b: a**b, "neg": lambda a: -a, "max": sp.Max, "min": sp.Min, "abs": sp.Abs, "sign": sp.sign,
        "sqrt": sp.sqrt, "exp": sp.exp, "log": sp.log, "expm1": lambda a: sp.exp(a) - 1, "atan2": sp.atan2,
        "log1p": lambda a: sp.log(1 + a), "exp2": lambda a: 2**a, "log2": lambda a: sp.log(a) / sp.log(2),
        "log10": lambda a: sp.log(a) / sp.log(10), "sigmoid": lambda a: 1 / (1 + sp.exp(-a)),
        "softplus": lambda a: sp.log(1 + sp.exp(a)), "logaddexp": lambda a, b: sp.log(sp.exp(a) + sp.exp(b)),
        "xlogy": lambda a, b: a * sp.log(b), "lgamma": sp.loggamma, "erfcx": lambda a: sp.exp(a**2) * sp.erfc(a),
        "lt": sp.Lt, "le": sp.Le, "gt": sp.Gt, "ge": sp.Ge, "eq": sp.Eq, "ne": sp.Ne, "and": sp.And, "or": sp.Or,
        "not": sp.Not, "where": lambda c, a, b: sp.Piecewise((a, c), (b, True)),
        "clip": lambda a, b, c: sp.Min(sp.Max(a, b), c),
    }
    if term.op == "const":
        return sp.Rational(number(term).numerator, number(term).denominator)
    if term.op in ("pi", "var"):
        return sp.pi if term.op == "pi" else known[name_of(term)]
    args = [to_sympy(a, known) for a in term.args]
    return (plain[term.op] if term.op in plain else getattr(sp, term.op))(*args)


def sympy_optims(item: Item, which: str) -> fm.Function:
    """SymPy's rewriting for numerical evaluation, then lambdify."""
    import sympy as sp
    from sympy.codegen import rewriting

    known = {a.name: sp.Symbol(a.name, real=True) for a in item.arguments}
    optimized = rewriting.optimize(to_sympy(item.definition, known), getattr(rewriting, which))
    names = [s for s in known if known[s] in optimized.free_symbols]
    more = {"loggamma": special()["lgamma"], "digamma": special()["digamma"], "polygamma": _polygamma}
    function = sp.lambdify([known[s] for s in names], optimized, [more, "scipy", "numpy"])
    return lambda columns: _shaped(function(*(columns[s] for s in names)), columns)


def _polygamma(order: Any, value: Any) -> Any:
    from scipy import special as s

    return s.polygamma(order, value)


# --- PyTensor ------------------------------------------------------------------------------------


def pytensor_default(item: Item, which: str) -> fm.Function:
    """PyTensor's graph of the definition after its default rewrites."""
    import pytensor
    import pytensor.tensor as pt
    from pytensor.compile.mode import Mode

    names = {"div": "true_div", "max": "maximum", "min": "minimum", "abs": "abs", "asinh": "arcsinh", "neg": "neg",
             "acosh": "arccosh", "atanh": "arctanh", "asin": "arcsin", "acos": "arccos", "atan": "arctan",
             "atan2": "arctan2", "lgamma": "gammaln", "digamma": "psi", "where": "switch", "ne": "neq", "and": "and_",
             "or": "or_", "not": "invert", "sign": "sign"}
    own: dict[str, Callable[..., Any]] = {"xlogy": lambda a, b: a * pt.log(b)}
    known = {a.name: pt.dvector(a.name) for a in item.arguments}

    def build(term: Term) -> Any:
        if term.op == "const":
            return pt.constant(float(number(term)), dtype="float64")
        if term.op in ("pi", "var"):
            return pt.constant(np.pi) if term.op == "pi" else known[name_of(term)]
        made = own.get(term.op) or getattr(pt, names.get(term.op, term.op))
        return made(*(build(a) for a in term.args))

    mode = Mode(linker="py", optimizer="fast_run")
    function = pytensor.function(list(known.values()), build(item.definition), mode=mode, on_unused_input="ignore")
    return lambda columns: _shaped(function(*(columns[n] for n in known)), columns)


MAKERS: Mapping[str, Callable[[Item], fm.Function]] = {
    "written": written,
    "optims_c99": lambda item: sympy_optims(item, "optims_c99"),
    "optims_numpy": lambda item: sympy_optims(item, "optims_numpy"),
    "pytensor": lambda item: pytensor_default(item, ""),
}


def _work(pipe: Any, item: Item, peer: str, effort: fm.Effort, seed: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + LIMIT, resource.RLIM_INFINITY))
    np.seterr(all="ignore")
    try:
        function = MAKERS[peer](item)
        exam = fm.Exam.of(item, FMT, effort, seed)
        exam.climb(function)
        pipe.send({k: v for k, v in exam.result(function).items() if k in ("ulp", "excused", "points")})
    except Exception as problem:
        pipe.send({"error": f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0][:120]}"})


def measured(item: Item, peer: str, effort: fm.Effort, seed: int) -> dict[str, Any]:
    """One peer on one item, in a process of its own."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    worker = context.Process(target=_work, args=(there, item, peer, effort, seed))
    worker.start()
    there.close()
    try:
        found: dict[str, Any] = here.recv() if here.poll(4 * LIMIT) else {"error": "out of time"}
    except EOFError:
        found = {"error": "out of time"}
    if worker.is_alive() and "ulp" not in found:
        worker.kill()
    worker.join()
    return found


def solved(result: Mapping[str, Any] | None, key: str) -> bool:
    return bool(result) and "error" not in result and float(result[key]) <= fm.TARGET  # type: ignore[operator,index]


def ours(path: Path | None) -> dict[str, Any]:
    """The figures of lossmith in float64, by item, from a record."""
    if path is None:
        return {}
    text = path.read_text(encoding="utf-8")
    records = json.loads(text)["records"] if text.startswith("{\n") else [json.loads(x) for x in text.splitlines()]
    return {r["name"]: r.get("dtypes", {}).get("float64", {}).get("after") for r in records}


def shown(result: Mapping[str, Any] | None) -> str:
    if not result or "error" in result:
        return "fails" if result else "-"
    return f"{float(result['ulp']):.3g}"


def main(arguments: Sequence[str]) -> int:
    """Run, print a table, keep it if asked."""
    parser = argparse.ArgumentParser(description="The set of formulas through SymPy, PyTensor and lossmith.")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN")
    parser.add_argument("--family", action="append", default=[])
    parser.add_argument("--every", type=int, default=1, metavar="N")
    parser.add_argument("--peer", action="append", choices=PEERS, help="default: all")
    parser.add_argument("--full", action="store_true", help="six times as many points")
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--ours", type=Path, help="a record of bench/stabilizer.py, with the same points")
    parser.add_argument("--others", type=Path, help="take the others' figures from a record of this script")
    parser.add_argument("--record", action="store_true", help="write bench/records/<date>-stabilizer-peers.*")
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    given = parser.parse_args(arguments)
    effort, peers = fm.FULL if given.full else fm.QUICK, tuple(given.peer or PEERS)
    mine = ours(given.ours)
    before = json.loads(given.others.read_text(encoding="utf-8"))["items"] if given.others else {}
    table: dict[str, dict[str, Any]] = {}
    lines = [f"{'item':38}" + "".join(f"{p:>14}" for p in (*peers, "lossmith"))]
    print(lines[0])
    for item in items(given.only, given.family)[:: given.every]:
        kept = before.get(item.label, {})
        row = {p: kept[p] if "ulp" in kept.get(p, {}) else measured(item, p, effort, given.seed) for p in peers}
        table[item.label] = {**row, "lossmith": mine.get(item.label)}
        lines.append(f"{item.label:38}" + "".join(f"{shown(r):>14}" for r in table[item.label].values()))
        print(lines[-1], flush=True)
    for key, words in (("ulp", "within 16 ulp"), ("excused", "with the condition excused")):
        counts = {p: sum(solved(row[p], key) for row in table.values()) for p in (*peers, "lossmith")}
        lines.append(f"of {len(table)} items {words}: " + ", ".join(f"{p} {n}" for p, n in counts.items()))
        print(lines[-1])
    if given.record:
        keep(table, lines, shlex.join(["python", "bench/peers_stabilizer.py", *arguments]), given.date)
    return 0


def keep(table: Mapping[str, Any], lines: Sequence[str], command: str, date: str) -> None:
    """The table as a record."""
    import sympy

    versions = [f"NumPy {np.__version__}", f"SymPy {sympy.__version__}"]
    try:
        import pytensor

        versions.append(f"PyTensor {pytensor.__version__}")
    except ImportError:
        pass
    page = RECORDS / f"{date}-stabilizer-peers.md"
    page.write_text("\n".join([
        f"# The set of formulas through others, {date}", "", f"`{command}`, {', '.join(versions)}; float64.", "",
        "Worst error in ulp: as written in NumPy; SymPy's `optims_c99` and `optims_numpy` through lambdify; PyTensor's",
        "default rewrites; lossmith. `fails`: an exception, or out of time. `-`: not measured.", "",
        *[f"- {line}" for line in lines[-2:]], "", "```", *lines[:-2], "```", ""]), encoding="utf-8")
    text = json.dumps({"date": date, "command": command, "items": table}, indent=1, default=str)
    page.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
