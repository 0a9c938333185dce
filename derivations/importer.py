"""Import: a formula written with SymPy becomes a term, in the author's order.

A formula is written with the words of `declaring.py`. Inside `Sum(..., i)` the element `x[i]` becomes
the row `x`; the class index has no name of its own any more. What does not fit (two indices that
meet, a shifted index, an unknown function) is refused in one line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import sympy as sp
from lossmith.derivations import functions
from lossmith.derivations.declaring import Symbol, classes
from lossmith.derivations.terms import (
    COUNT,
    MINUS_ONE,
    ONE,
    PI,
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
    power,
    row,
    var,
)
from sympy.codegen import cfunctions


class ImportProblem(ValueError):  # noqa: N818  (a refusal, caught by name)
    """A formula that cannot be imported, and why, in one line."""


_SAME_NAME = (
    "exp", "log", "Abs", "sign", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sin", "cos", "tan", "asin",
    "acos", "atan", "erf", "erfc", "digamma", "gamma", "atan2",
)
_FUNCTIONS: Mapping[Any, str] = {
    **{getattr(sp, name): name.lower() for name in _SAME_NAME},
    **{getattr(functions, name): name
       for name in ("sigmoid", "softplus", "logaddexp", "xlogy", "clip", "clip_through", "erfcx")},
    **{getattr(cfunctions, name): name for name in ("exp2", "log2", "log10")},
    sp.loggamma: "lgamma", cfunctions.log1p: "log1p", cfunctions.expm1: "expm1", sp.Max: "max", sp.Min: "min",
}
_RELATIONS: Mapping[Any, str] = {
    sp.StrictLessThan: "lt", sp.LessThan: "le", sp.StrictGreaterThan: "gt", sp.GreaterThan: "ge",
    sp.Eq: "eq", sp.Ne: "ne", sp.And: "and", sp.Or: "or", sp.Not: "not",
}
_FOLDED = frozenset({"max", "min", "and", "or"})  # SymPy takes any number of arguments, a term takes two


def to_term(formula: Any) -> Term:
    """The term of a SymPy formula (a term is one already). Raises ImportProblem on what a loss cannot be."""
    term = formula if isinstance(formula, Term) else _Importer(None).term(sp.sympify(formula))
    if term.sort != "scalar":
        raise ImportProblem("a loss is a number per example, not a comparison")
    return term


class _Importer:
    """Imports what stands under one sum (index: its bound index) or under none (index: None)."""

    def __init__(self, index: Any, outer: tuple[Any, ...] = ()) -> None:
        self.index = index
        self.outer = outer

    def term(self, e: Any) -> Term:
        found = self._leaf(e)
        if found is not None:
            return found
        if isinstance(e, sp.Indexed):
            return self._element(e)
        if isinstance(e, sp.Sum):
            return self._sum(e)
        if isinstance(e, sp.KroneckerDelta):
            return self._delta(*e.args)
        if isinstance(e, sp.Add):
            return reduce(add, map(self.term, e.args))
        if isinstance(e, sp.Mul):
            return self._product(e.args)
        if isinstance(e, sp.Pow):
            return self._power(e.base, e.exp)
        if isinstance(e, sp.Piecewise):
            return self._piecewise(e)
        return self._function(e)

    def _leaf(self, e: Any) -> Term | None:
        constants = ((sp.pi, PI), (sp.E, make("exp", ONE)), (classes, COUNT), (sp.true, node("ge", (ZERO, ZERO))))
        for known, term in constants:
            if e == known:
                return term
        if isinstance(e, sp.Rational):
            return const(f"{e.p}/{e.q}")
        if isinstance(e, sp.Float):
            return const(repr(float(e)) if e._prec == 53 and abs(e) < 1e300 else str(e))
        if e in (sp.oo, -sp.oo, sp.zoo, sp.nan) or getattr(e, "is_imaginary", False):
            raise ImportProblem(f"{e} is not a finite real number")
        if isinstance(e, sp.IndexedBase):
            raise ImportProblem(f"the row '{e.label}' needs an index, as in {e.label}[i]")
        if e == self.index or e in self.outer or isinstance(e, sp.Idx):
            raise ImportProblem(f"the index '{_name(e)}' stands alone; it may only choose an element: x[{_name(e)}]")
        if isinstance(e, sp.Symbol):
            return self._symbol(e)
        return None

    @staticmethod
    def _symbol(e: Any) -> Term:
        if not isinstance(e, Symbol):
            raise ImportProblem(f"'{e}' is not declared; declare it with logit, target, parameter or another word")
        if e.argument.axis == "class":
            raise ImportProblem(f"the row '{e}' needs an index, as in {e}[i]")
        if e.argument.role == "label":
            raise ImportProblem(f"the class index '{e}' may only choose an element, as in x[{e}]")
        return var(e.argument.name)

    def _element(self, e: Any) -> Term:
        base = e.base.label
        if len(e.indices) != 1:
            raise ImportProblem(f"{e} has {len(e.indices)} indices; a row has one")
        if not isinstance(base, Symbol) or base.argument.axis != "class":
            raise ImportProblem(f"'{base}' is not declared as a row; declare it with logits, probabilities or targets")
        (index,) = e.indices
        if index == self.index:
            return row(base.argument.name)
        if _is_label(index):
            return node("at", (row(base.argument.name), label(index.argument.name)))
        if index in self.outer:
            raise ImportProblem(f"{_text(e)} stands inside a sum over another index: pairs of classes do not fit")
        if isinstance(index, sp.Idx | sp.Symbol):
            raise ImportProblem(f"{_text(e)} stands outside a sum over '{_name(index)}'")
        raise ImportProblem(f"the index of {_text(e)} is neither the index of a sum nor a class label")

    def _sum(self, e: Any) -> Term:
        if len(e.limits) != 1:
            raise ImportProblem("a sum over two indices at once is not supported")
        ((index, low, high),) = e.limits
        if low.doit() != 0 or sp.expand(high.doit() - classes.doit() + 1) != 0:
            raise ImportProblem(f"a sum runs over all classes, from 0 to C - 1, not from {low} to {high}")
        if index == self.index or index in self.outer:
            raise ImportProblem(f"the index '{_name(index)}' is used by two sums, one inside the other")
        outer = self.outer if self.index is None else (*self.outer, self.index)
        body = _Importer(index, outer).term(e.function)
        return node("sum", (body,)) if body.sort == "row" else mul(COUNT, body)

    def _delta(self, a: Any, b: Any) -> Term:
        for one, other in ((a, b), (b, a)):
            if one == self.index and self.index is not None and _is_label(other):
                return node("onehot", (label(other.argument.name),))
        raise ImportProblem("KroneckerDelta compares the index of the sum around it with a class label")

    def _product(self, args: tuple[Any, ...]) -> Term:
        """Factors in order over divisors in order; `a * b**-1` is a division."""
        above: list[Term] = []
        below: list[Term] = []
        for factor in args:
            exponent = factor.exp if isinstance(factor, sp.Pow) else None
            if isinstance(exponent, sp.Rational) and exponent < 0:
                below.append(self._power(factor.base, -exponent))
            else:
                above.append(self.term(factor))
        negative = bool(above) and above[0] is MINUS_ONE and len(above) > 1
        top = reduce(mul, above[1:] if negative else above, ONE)
        whole = div(top, reduce(mul, below)) if below else top
        return neg(whole) if negative else whole

    def _power(self, base: Any, exponent: Any) -> Term:
        if base == sp.E:
            return make("exp", self.term(exponent))
        if isinstance(exponent, sp.Rational) and exponent < 0:
            return div(ONE, self._power(base, -exponent))
        if exponent == sp.S.Half:
            return make("sqrt", self.term(base))
        return power(self.term(base), self.term(exponent))

    def _piecewise(self, e: Any) -> Term:
        pairs = list(e.args)
        if pairs[-1].cond != sp.true:
            raise ImportProblem("a Piecewise needs a last case that always holds: (value, True)")
        whole = self.term(pairs[-1].expr)
        for pair in reversed(pairs[:-1]):
            whole = node("where", (self._condition(pair.cond), self.term(pair.expr), whole))
        return whole

    def _condition(self, e: Any) -> Term:
        op = _RELATIONS.get(type(e))
        if op is None:
            raise ImportProblem(f"{_text(e)} is not a comparison")
        if op in ("eq", "ne") and self.index is not None:
            sides = {self.index: POSITION}
            sides |= {s: label(s.argument.name) for s in e.args if _is_label(s)}
            if all(s in sides for s in e.args):
                return node(op, (sides[e.args[0]], sides[e.args[1]]))
        read: Callable[[Any], Term] = self._condition if op in ("and", "or", "not") else self.term
        args = [read(a) for a in e.args]
        return _fold(op, args)

    def _function(self, e: Any) -> Term:
        op = _FUNCTIONS.get(type(e))
        if op is None and isinstance(e, sp.polygamma) and e.args[0] == 0:
            return make("digamma", self.term(e.args[1]))
        if op is None:
            name = type(e).__name__
            raise ImportProblem(f"'{name}' is not a function that a formula may contain")
        args = [self.term(a) for a in e.args]
        if op == "log" and len(args) == 2:
            return div(make("log", args[0]), make("log", args[1]))
        return _fold(op, args)


def _fold(op: str, args: list[Term]) -> Term:
    if op in _FOLDED:
        return reduce(lambda a, b: make(op, a, b), args)
    return make(op, *args)


def _is_label(e: Any) -> bool:
    return isinstance(e, Symbol) and e.argument.role == "label"


def _name(e: Any) -> str:
    return str(getattr(e, "label", e))


def _text(e: Any) -> str:
    return " ".join(str(e).split())[:80]
