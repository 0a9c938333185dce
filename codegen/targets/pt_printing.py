"""How PyTorch writes terms: the table of operations, and what a literal needs to stand among tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

from lossmith.codegen.printing import ATOM, Form, Printer, call, infix, on_lines
from lossmith.codegen.specials import in_pairs
from lossmith.derivations import special
from lossmith.derivations.precise import formula, place
from lossmith.derivations.terms import OPS, Term, const, is_const, make, node, number, rebuild, walk

LETTERS = "abcdef"  # what the arguments of a formula in pairs are called
_COMPARED = 0  # comparisons and what joins them stand alone or in brackets
_NEGATED = 3

# What torch lacks, or computes less well: printed by their source.
IN_PAIRS = ("value", *(f.__name__ for f in (*special.PAIRED.values(), *special.ENDED.values())))
SPECIAL = tuple(name for name in special.FUNCTIONS if name not in ("erf", "erfc", "log1pmx", "expm1mx"))


def _compare(sign: str) -> Form:
    return Form(f"{{0}} {sign} {{1}}", _COMPARED, (1, 1))


TABLE: Mapping[str, Form] = {
    "add": infix("+", 1),
    "sub": infix("-", 1),
    "mul": infix("*", 2),
    "div": infix("/", 2),
    "neg": Form("-{0}", _NEGATED, (_NEGATED,)),
    "pow": call("torch.pow", 2),
    "max": call("torch.maximum", 2),
    "min": call("torch.minimum", 2),
    "abs": call("torch.abs"),
    "sign": call("_sign"),
    **{name: call(f"_{name}") for name in ("log1p", "sinh", "cosh")},
    **{
        name: call(f"torch.{name}")
        for name in ("sqrt", "exp", "expm1", "log", "tanh", "asinh", "acosh", "atanh", "sin", "cos",
                     "tan", "asin", "acos", "atan", "erf", "erfc", "exp2", "log2", "log10")
    },
    "atan2": call("torch.atan2", 2),
    **{name: call(f"_{name}", OPS[name].arity) for name in SPECIAL},
    "log1pmx": call("_log1pmx"),
    "expm1mx": call("_expm1mx"),
    "xlogy": call("torch.xlogy", 2),
    "absorb": call("_absorb", 2),
    "gap": call("_gap", 2),
    "exp_diff": call("_exp_diff", 2),
    "where": call("torch.where", 3),
    "precise": call("_precise"), "wide": call("_wide"),
    "lt": _compare("<"),
    "le": _compare("<="),
    "gt": _compare(">"),
    "ge": _compare(">="),
    "eq": _compare("=="),
    "ne": _compare("!="),
    "and": Form("{0} & {1}", _COMPARED, (ATOM, ATOM)),
    "or": Form("{0} | {1}", _COMPARED, (ATOM, ATOM)),
    "not": Form("~{0}", _NEGATED, (ATOM,)),
}
# Functions of two arguments that take no plain numbers.
_OF_TENSORS = frozenset({"exp_diff", "atan2"})
# What each helper of the templates is for is said there; here, which of them need which others.
HELPERS = ("absorb", "gap", "exp_diff", "log1p", "sinh", "cosh", "sign", "log1pmx", "expm1mx", "precise", "wide",
           *SPECIAL, *IN_PAIRS)


class TorchPrinter(Printer):
    """Prints terms over tensors. `anchor` names a tensor whose type and device a constant takes
    where torch asks for a tensor; next to a tensor a plain literal serves."""

    def __init__(self, anchor: str) -> None:
        super().__init__("pt", TABLE)
        self.anchor = anchor

    def text(self, term: Term, leaf: Callable[[Term], str], outer: int = 0) -> str:
        if term.op in ("max", "min") and any(is_const(a) for a in term.args):
            limit, other = sorted(term.args, key=lambda a: not is_const(a))
            side = "min" if term.op == "max" else "max"
            return f"torch.clamp({self.text(other, leaf)}, {side}={leaf(limit)})"
        if term.op == "where" and all(is_const(a) for a in term.args[1:]):
            condition, first, second = term.args
            return f"torch.where({self.text(condition, leaf)}, {self.tensor(leaf(first))}, {leaf(second)})"
        if term.op == "precise":
            names, args = LETTERS[:len(term.args)], [self.text(a, leaf) for a in term.args]
            return f"_precise(lambda {', '.join(names)}: {in_pairs(term, names)}, {', '.join(args)})"
        if term.op == "wide":
            names, args = LETTERS[:len(term.args)], [self.text(a, leaf) for a in term.args]
            inside = self.text(formula(term), lambda t: names[place(t)] if t.op == "var" else leaf(t))
            return on_lines(f"_wide(lambda {', '.join(names)}: {inside}, {', '.join(args)})")
        if term.op in _OF_TENSORS and any(is_const(a) for a in term.args):
            written = (self.tensor(leaf(a)) if is_const(a) else self.text(a, leaf) for a in term.args)
            return self.table[term.op].text.format(*written)
        if len(term.args) == 1 and is_const(term.args[0]):
            return self.table[term.op].text.format(self.tensor(leaf(term.args[0])))
        return super().text(term, leaf, outer)

    def tensor(self, literal: str) -> str:
        """A constant as a tensor without axes."""
        return f"{self.anchor}.new_full((), {literal})"


_CONSTANT: Mapping[str, Callable[..., float]] = {
    "exp": math.exp, "expm1": math.expm1, "log": math.log, "log1p": math.log1p, "sqrt": math.sqrt, "pow": math.pow,
    "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh, "asinh": math.asinh, "acosh": math.acosh,
    "atanh": math.atanh, "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin, "acos": math.acos,
    "atan": math.atan, "erf": math.erf, "erfc": math.erfc, "lgamma": math.lgamma,
    "exp2": lambda a: 2.0**a, "log2": math.log2, "log10": math.log10, "atan2": math.atan2,
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "absorb": lambda a, b: a * b, "max": max, "min": min, "abs": abs, "neg": lambda a: -a,
}


def fold(term: Term, known: Mapping[Term, Term] | None = None) -> Term:
    """`term` with `known` leaves replaced and every part that holds constants alone made one constant.

    Zero times anything is zero here: a factor that is zero by construction (a tangent that is not
    there, a constant temporary) takes its product with it, infinite or not.
    """
    done: dict[int, Term] = {t.id: value for t, value in (known or {}).items()}
    for t in walk(term):
        if t.id not in done:
            done[t.id] = _folded(rebuild(t, tuple(done[a.id] for a in t.args))) if t.args else _folded(t)
    return done[term.id]


def _folded(t: Term) -> Term:
    if t.op == "pi":
        return const(Fraction(math.pi))
    if t.op == "absorb" and any(is_const(a, 0) for a in t.args):
        return const(0)
    if t.op == "absorb" and any(is_const(a) for a in t.args):
        return make("mul", *t.args)
    if t.op == "gap" and any(is_const(a) for a in t.args):
        return make("sub", *t.args)
    if t.op == "where" and t.args[1] is t.args[2]:
        return t.args[1]
    if t.args and all(is_const(a) for a in t.args) and t.op in _CONSTANT:
        try:
            return const(Fraction(_CONSTANT[t.op](*(float(number(a)) for a in t.args))))
        except (ValueError, OverflowError, ZeroDivisionError):
            return t
    return node(t.op, t.args, t.value)


def literal(value: Fraction) -> str:
    """A constant as Python writes the double nearest to it."""
    return repr(float(value))


def log1pmx_terms(bits: int, reach: Fraction) -> tuple[Fraction, ...]:
    """Coefficients c of log(1 + a) - a = r (2 r^2 sum of c_k r^(2k) - a), r = a / (2 + a), |r| <= reach.

    log(1 + a) = 2 atanh(r) and a = 2r / (1 - r), so 2r - a = -a r; what is left of 2 atanh(r) is
    2 sum of r^(2k+3) / (2k+3). As many terms as `bits` of precision need.
    """
    return _until_small(lambda k: Fraction(1, 2 * k + 3), reach * reach, bits)


def expm1mx_terms(bits: int, reach: Fraction) -> tuple[Fraction, ...]:
    """Coefficients c of exp(a) - 1 - a = a^2 sum of c_k a^k, |a| <= reach: c_k = 1 / (k + 2)!."""
    return _until_small(lambda k: Fraction(1, math.factorial(k + 2)), reach, bits)


def _until_small(coefficient: Callable[[int], Fraction], step: Fraction, bits: int) -> tuple[Fraction, ...]:
    found = [coefficient(0)]
    while coefficient(len(found)) * step ** len(found) > found[0] / 2 ** (bits + 2):
        found.append(coefficient(len(found)))
    return tuple(found)
