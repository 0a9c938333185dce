"""Proof of one line of an identity: by normal forms, sum by sum, or by SymPy with a case split.

Three ways are tried in turn. The algebra of rows brings both sides to one normal form. Two sums
over the classes are equal where their bodies are. What is left is put to SymPy: logarithms are
split over positive factors and the difference is multiplied out; an absolute value is decided
case by case, on which of two arguments is the larger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import sympy as sp
from lossmith.derivations.derivation import Evidence
from lossmith.derivations.loss import Argument
from lossmith.derivations.rows.algebra import Algebra
from lossmith.derivations.terms import REDUCTIONS, Term, number, walk

Case = tuple[str, Mapping[Any, Any]]
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "neg": lambda a: -a, "pow": lambda a, b: a**b, "exp": lambda a: sp.exp(sp.expand(a)),
    "abs": sp.Abs, "sqrt": sp.sqrt, "max": sp.Max, "min": sp.Min,
    "log": lambda a: logarithm(a), "xlogy": lambda a, b: a * logarithm(b), "log1p": lambda a: logarithm(1 + a),
    "expm1": lambda a: sp.exp(sp.expand(a)) - 1, "sigmoid": lambda a: 1 / (1 + sp.exp(sp.expand(-a))),
    "softplus": lambda a: logarithm(1 + sp.exp(sp.expand(a))),
    "logaddexp": lambda a, b: logarithm(sp.exp(sp.expand(a)) + sp.exp(sp.expand(b))),
}


def prove(before: Term, after: Term, arguments: Sequence[Argument]) -> Evidence | None:
    """Evidence that two terms are equal wherever the arguments lie inside their domains; None if
    none was found, which does not mean that they differ."""
    algebra = Algebra(arguments)
    if algebra.read(before) is algebra.read(after):
        rows = any(t.sort == "row" for t in walk(before, after))
        return Evidence("proved", "algebra of rows" if rows else "algebra of exponentials and logarithms")
    if before.op == after.op and before.op in ("sum", "neg"):
        return prove(before.args[0], after.args[0], arguments)
    for one, other in ((before, after), (algebra.normal(before), algebra.normal(after))):
        for case_set in _case_sets(one, other, arguments):
            if all(_vanishes(one, other, arguments, values) for _, values in case_set):
                names = ", ".join(name for name, _ in case_set if name)
                return Evidence("proved", f"case split {names}" if names else "logarithms of factors, multiplied out")
    return None


def logarithm(u: Any) -> Any:
    """log u, split over those factors of u that are positive; of a factor less than 1, minus that of its inverse."""
    made: Any = sp.S.Zero
    left: Any = sp.S.One
    for factor in sp.Mul.make_args(sp.factor(sp.together(sp.expand(u)))):
        base, exponent = factor.as_base_exp()
        if factor.is_positive and isinstance(factor, sp.exp):
            made += factor.exp
        elif base.is_positive and exponent.is_real:
            made += exponent * sp.log(base)
        else:
            left *= factor
    return made if left == 1 else made + sp.log(left)


def _symbol(t: Term, domains: Mapping[str, Argument]) -> Any:
    """An input, or a reduction that SymPy need not look into, as a symbol with what is known of its sign."""
    if t.op in REDUCTIONS:
        positive = t.op == "sum" and _positive(t.args[0], domains)
        return sp.Symbol(f"reduction_{t.id}", positive=positive or None, real=True)
    argument = domains.get(str(t.value))
    positive = argument is not None and argument.domain.low >= 0 and not argument.domain.low_closed
    return sp.Symbol(f"{t.op}_{t.value}", positive=positive or None, real=True)


def _positive(t: Term, domains: Mapping[str, Argument]) -> bool:
    if t.op == "exp":
        return True
    argument = domains.get(str(t.value)) if t.op in ("row", "var") else None
    return argument is not None and argument.domain.low >= 0 and not argument.domain.low_closed


def _to_sympy(term: Term, arguments: Sequence[Argument], values: Mapping[Any, Any]) -> Any:
    domains = {a.name: a for a in arguments}
    done: dict[Term, Any] = {}

    def go(t: Term) -> Any:
        if t not in done:
            if t.op == "const":
                done[t] = sp.Rational(number(t).numerator, number(t).denominator)
            elif not t.args or t.op in REDUCTIONS:
                found = _symbol(t, domains)
                done[t] = values.get(found, found)
            else:
                done[t] = _FUNCTIONS[t.op](*(go(a) for a in t.args))
        return done[t]

    return go(term)


def _vanishes(before: Term, after: Term, arguments: Sequence[Argument], values: Mapping[Any, Any]) -> bool:
    """Whether SymPy finds the difference to be zero."""
    try:
        difference = sp.expand(_to_sympy(before, arguments, values) - _to_sympy(after, arguments, values))
    except KeyError:  # an operation that has no place in a proof
        return False
    decided = difference.replace(sp.Abs, _absolute)
    return bool(decided == 0 or sp.expand(decided) == 0)


def _absolute(u: Any) -> Any:
    """|u| where each factor of u has a sign that can be seen; unchanged where not."""
    made: Any = sp.S.One
    for factor in sp.Mul.make_args(sp.factor(u)):
        sign = _sign(factor)
        if sign is None:
            return sp.Abs(u, evaluate=False)
        made *= sign * factor
    return made


def _sign(u: Any) -> int | None:
    if u.is_nonnegative:
        return 1
    if u.is_nonpositive:
        return -1
    difference = sp.logcombine(u, force=True)
    if isinstance(difference, sp.log):
        ratio = difference.args[0]
        if sp.expand(ratio - 1).is_positive:
            return 1
        if sp.expand(1 / ratio - 1).is_positive:
            return -1
    return None


def _case_sets(before: Term, after: Term, arguments: Sequence[Argument]) -> Iterator[tuple[Case, ...]]:
    """No split, then splits by which of two arguments is the larger, then by the sign of one."""
    yield (("", {}),)
    kinks = [t for t in walk(before, after) if t.op in ("abs", "max", "min")]
    inputs = list(dict.fromkeys(t for k in kinks for t in walk(k) if t.op in ("var", "row")))
    domains = {a.name: a for a in arguments}
    gap = sp.Symbol("gap", positive=True)
    for i, one in enumerate(inputs):
        a = _symbol(one, domains)
        for other in inputs[i + 1 :]:
            b = _symbol(other, domains)
            p, q = one.value, other.value
            yield ((f"{p} > {q}", {a: b + gap}), (f"{p} = {q}", {a: b}), (f"{p} < {q}", {b: a + gap}))
        if not a.is_positive:
            p = one.value
            yield ((f"{p} > 0", {a: gap}), (f"{p} = 0", {a: sp.S.Zero}), (f"{p} < 0", {a: -gap}))
