"""A parsed formula as SymPy: terms back to the surface on which losses are written.

Only for definitions. Functions that SymPy lacks and that are names for a formula (log1p, expm1,
lse, ...) are written out; that changes nothing in exact arithmetic, and a definition is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp
from lossmith.derivations import functions
from lossmith.derivations.declaring import Sum, class_index, classes
from lossmith.derivations.precise import spelled
from lossmith.derivations.terms import Term, name_of, number

INDICES = "ijlmnopqrs"
_ONE: Mapping[str, Callable[[Any], Any]] = {
    "neg": lambda a: -a,
    "abs": sp.Abs, "sign": sp.sign, "sqrt": sp.sqrt, "exp": sp.exp, "log": sp.log, "sinh": sp.sinh, "cosh": sp.cosh,
    "tanh": sp.tanh, "asinh": sp.asinh, "acosh": sp.acosh, "atanh": sp.atanh, "sin": sp.sin, "cos": sp.cos,
    "tan": sp.tan, "asin": sp.asin, "acos": sp.acos, "atan": sp.atan, "erf": sp.erf, "erfc": sp.erfc,
    "exp2": lambda a: sp.Integer(2) ** a, "log2": lambda a: sp.log(a) / sp.log(2),
    "log10": lambda a: sp.log(a) / sp.log(10), "erfcx": functions.erfcx, "gamma": sp.gamma,
    "lgamma": sp.loggamma, "digamma": sp.digamma, "sigmoid": functions.sigmoid, "softplus": functions.softplus,
    "log1p": lambda a: sp.log(1 + a),
    "expm1": lambda a: sp.exp(a) - 1,
    "log1pmx": lambda a: sp.log(1 + a) - a,
    "expm1mx": lambda a: sp.exp(a) - 1 - a,
    "not": sp.Not,
}
_MORE: Mapping[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "max": sp.Max, "min": sp.Min, "atan2": sp.atan2,
    "absorb": lambda a, b: a * b,
    "gap": lambda a, b: a - b,
    "exp_diff": lambda a, b: sp.exp(a - b),
    "logaddexp": functions.logaddexp, "xlogy": functions.xlogy,
    "clip": functions.clip, "clip_through": functions.clip_through,
    "lt": sp.Lt, "le": sp.Le, "gt": sp.Gt, "ge": sp.Ge, "eq": sp.Eq, "ne": sp.Ne, "and": sp.And, "or": sp.Or,
    "where": lambda c, a, b: sp.Piecewise((a, c), (b, True)),
}


class NoSurface(ValueError):  # noqa: N818
    """An operation that has no definition on the surface, in one line."""


def to_sympy(term: Term, known: Mapping[str, Any]) -> Any:
    """A definition as a SymPy expression, unevaluated, so that the order of terms survives.

    known: SymPy symbols by name (an IndexedBase for a row). Raises NoSurface.
    """
    with sp.evaluate(False):
        return _write(term, known, None, 0)


def _write(term: Term, known: Mapping[str, Any], index: Any, depth: int) -> Any:
    if term.op == "const":
        return sp.Rational(number(term).numerator, number(term).denominator)
    if term.op in ("pi", "count"):
        return sp.pi if term.op == "pi" else classes
    if term.op in ("var", "label"):
        return known[name_of(term)]
    if term.op == "row":
        return known[name_of(term)][index]
    if term.op == "at":
        return known[name_of(term.args[0])][known[name_of(term.args[1])]]
    if term.op in ("sum", "lse"):
        return _reduced(term, known, index, depth)
    if term.op == "precise":
        return _write(spelled(term), known, index, depth)
    args = [_write(a, known, index, depth) for a in term.args]
    if term.op in _ONE:
        return _ONE[term.op](*args)
    if term.op in _MORE:
        return _MORE[term.op](*args)
    raise NoSurface(f"'{term.op}' belongs to stable forms: a definition is written without it")


def _reduced(term: Term, known: Mapping[str, Any], index: Any, depth: int) -> Any:
    """A sum over the classes, its index named by how deep it stands."""
    over = class_index(INDICES[depth])
    if term.op == "sum":
        return Sum(_write(term.args[0], known, over, depth + 1), over)
    parts = [
        Sum(sp.exp(_write(a, known, over, depth + 1)), over) if a.sort == "row"
        else sp.exp(_write(a, known, index, depth + 1))
        for a in term.args
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return sp.log(total)
