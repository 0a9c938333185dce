"""Terms: the one tree that carries a formula from its definition to the printed kernel.

A term is immutable and hash-consed (equal terms are the same object), its association is
explicit, and nothing simplifies it behind the author's back. The constructors below fold only
what can never change a rounding: exact constants, `x + 0`, `x * 1`, double negation.

A term has a sort. Sort `scalar`: one value per example. Sort `row`: one value per class, the
index along the class axis being implicit. Sort `truth`: a comparison. Every function works on
scalars and rows alike (scalars broadcast); reductions take a row to a scalar.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeVar

Sort = Literal["scalar", "row", "truth"]
Value = Fraction | str | None
_Kept = TypeVar("_Kept")


@dataclass(frozen=True)
class Op:
    """What an operation is: how many arguments (-1: any number), and what it means in words."""

    name: str
    arity: int
    meaning: str


def _ops(*rows: tuple[str, int, str]) -> dict[str, Op]:
    return {name: Op(name, arity, meaning) for name, arity, meaning in rows}


LEAVES = _ops(
    ("const", 0, "an exact rational number"),
    ("pi", 0, "the circle's constant"),
    ("var", 0, "a scalar input or a named temporary"),
    ("row", 0, "an input that runs over the class axis: one value per class"),
    ("label", 0, "a class index per example, an integer scalar"),
    ("position", 0, "the class index itself, a row: 0, 1, .. C-1"),
    ("count", 0, "C, the number of classes, a scalar"),
)
ARITHMETIC = _ops(
    ("add", 2, "a + b"),
    ("sub", 2, "a - b"),
    ("mul", 2, "a * b"),
    ("div", 2, "a / b"),
    ("neg", 1, "-a"),
    ("pow", 2, "a ** b"),
    ("max", 2, "the larger, NaN if either is NaN"),
    ("min", 2, "the smaller, NaN if either is NaN"),
    ("abs", 1, "|a|"),
    ("sign", 1, "-1, 0 or 1"),
    ("sqrt", 1, "square root"),
)
FUNCTIONS = _ops(
    ("exp", 1, "e ** a"),
    ("expm1", 1, "e ** a - 1"),
    ("log", 1, "natural logarithm"),
    ("log1p", 1, "log(1 + a)"),
    ("exp2", 1, "2 ** a"),
    ("log2", 1, "logarithm to base 2"),
    ("log10", 1, "logarithm to base 10"),
    ("sinh", 1, "hyperbolic sine"),
    ("cosh", 1, "hyperbolic cosine"),
    ("tanh", 1, "hyperbolic tangent"),
    ("asinh", 1, "inverse hyperbolic sine"),
    ("acosh", 1, "inverse hyperbolic cosine"),
    ("atanh", 1, "inverse hyperbolic tangent"),
    ("sin", 1, "sine"),
    ("cos", 1, "cosine"),
    ("tan", 1, "tangent"),
    ("asin", 1, "inverse sine"),
    ("acos", 1, "inverse cosine"),
    ("atan", 1, "inverse tangent"),
    ("atan2", 2, "the angle of the point (b, a), between -pi and pi"),
    ("erf", 1, "error function"),
    ("erfc", 1, "1 - erf(a)"),
    ("erfcx", 1, "exp(a ** 2) * erfc(a)"),
    ("gamma", 1, "gamma function"),
    ("lgamma", 1, "log |gamma(a)|"),
    ("digamma", 1, "derivative of lgamma"),
)
# Names that mathematics has for a whole formula. A stable form may hold them only where a rule
# gives their expansion: `sigmoid` and `softplus` never reach a kernel, `log1pmx` does.
NAMED = _ops(
    ("sigmoid", 1, "1 / (1 + exp(-a))"),
    ("softplus", 1, "log(1 + exp(a))"),
    ("logaddexp", 2, "log(exp(a) + exp(b))"),
    ("xlogy", 2, "a * log(b), and 0 where a = 0"),
    ("log1pmx", 1, "log(1 + a) - a, accurate near 0"),
    ("expm1mx", 1, "exp(a) - 1 - a, accurate near 0"),
    ("binet", 1, "what Stirling's formula leaves of lgamma(a), a > 0"),
    ("binet_slope", 1, "log(a) - digamma(a) - 1 / (2 a), a > 0"),
    ("binet_gap", 2, "binet(a + b) - binet(a), accurate where b is small"),
    ("lgamma1p", 1, "lgamma(1 + a), accurate near 0"),
    ("erfcx_rest", 1, "1 / sqrt(pi) - a * erfcx(a)"),
    ("clip", 3, "a held between b and c; its derivative is 0 outside"),
    ("clip_through", 3, "a held between b and c; its derivative is 1 everywhere"),
)
# What a value needs at infinity, at a tie, or beyond the precision of a difference.
GUARDED = _ops(
    ("absorb", 2, "a * b, and 0 where a = 0 even if b is infinite (NaN still passes)"),
    ("gap", 2, "a - b, and 0 where a = b even if both are infinite"),
    ("exp_diff", 2, "exp(a - b), 1 where a = b, with the rounding error of a - b put back"),
    ("precise", -1, "a formula of its arguments, computed in twice the digits and rounded once"),
    ("wide", -1, "a formula of its arguments, computed in float64 where a kernel computes in less, and rounded once"),
)
CHOICE = _ops(
    ("where", 3, "b where a holds, else c"),
    ("lt", 2, "a < b"),
    ("le", 2, "a <= b"),
    ("gt", 2, "a > b"),
    ("ge", 2, "a >= b"),
    ("eq", 2, "a = b"),
    ("ne", 2, "a != b"),
    ("and", 2, "both hold"),
    ("or", 2, "either holds"),
    ("not", 1, "does not hold"),
)
ROWS = _ops(
    ("sum", 1, "sum over the class axis"),
    ("at", 2, "the element of row a at label b"),
    ("onehot", 1, "the row that is 1 at label a and 0 elsewhere"),
    ("lse", -1, "log of the sum of exp over every class of each row argument, and of exp of each scalar one"),
    ("peak", -1, "the largest of the same arguments as lse"),
    ("rest", -1, "the sum of exp(a - peak) over the same arguments, without one that attains the peak"),
)
OPS: Mapping[str, Op] = {**LEAVES, **ARITHMETIC, **FUNCTIONS, **NAMED, **GUARDED, **CHOICE, **ROWS}
REDUCTIONS = frozenset({"sum", "at", "lse", "peak", "rest"})
COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
COMMUTATIVE = frozenset({"add", "mul", "max", "min", "logaddexp", "eq", "ne", "and", "or"})
# What a printer must be able to write for one element; rows are turned into stages before.
MACHINE = frozenset(
    {*ARITHMETIC, *FUNCTIONS, *GUARDED, *CHOICE, "const", "pi", "var", "row", "label", "position", "count",
     "log1pmx", "expm1mx", "xlogy", "binet", "binet_slope", "binet_gap", "lgamma1p",
     "erfcx_rest"}
)


class Term:
    """One node. Compare with `is`; make with the constructors of this module, never directly."""

    __slots__ = ("_key", "args", "id", "op", "size", "sort", "value")

    op: str
    args: tuple[Term, ...]
    value: Value
    sort: Sort
    id: int
    size: int
    _key: tuple[object, ...] | None

    def __repr__(self) -> str:
        return show(self)

    def __hash__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def key(self) -> tuple[object, ...]:
        """A total order that depends on structure alone: the same in every process."""
        if self._key is None:
            value = "" if self.value is None else str(self.value)
            self._key = (self.size, self.op, value, tuple(a.key for a in self.args))
        return self._key

    def __reduce__(self) -> tuple[Callable[..., Term], tuple[object, ...]]:
        return node, (self.op, self.args, self.value)


_table: dict[tuple[str, tuple[int, ...], Value], Term] = {}
_numbers = itertools.count()  # ids are never used twice, so what is kept by id can be dropped at any time
_kept: list[dict[int, Any]] = []
CROWDED = 250_000  # terms above which those that nobody holds are dropped


def _sort(op: str, args: tuple[Term, ...]) -> Sort:
    if op in REDUCTIONS:
        return "scalar"
    if op in ("row", "position", "onehot"):
        return "row"
    # A comparison of rows is a truth per class; what it chooses is a row by its other arguments.
    if op in COMPARISONS or op in ("and", "or", "not"):
        return "truth"
    if op == "where":
        return "row" if varies(args[0]) or any(a.sort == "row" for a in args[1:]) else "scalar"
    return "row" if any(a.sort == "row" for a in args) else "scalar"


def varies(term: Term) -> bool:
    """Whether a truth value differs from class to class."""
    if term.sort != "truth":
        return term.sort == "row"
    return any(varies(a) for a in term.args)


def node(op: str, args: tuple[Term, ...] = (), value: Value = None) -> Term:
    """The term with exactly this structure, no folding at all. Raises KeyError on an unknown op."""
    key = (op, tuple(a.id for a in args), value)
    found = _table.get(key)
    if found is not None:
        return found
    arity = OPS[op].arity
    if arity >= 0 and arity != len(args):
        raise ValueError(f"{op} takes {arity} arguments, not {len(args)}")
    made = Term()
    made.op, made.args, made.value = op, args, value
    made.sort = _sort(op, args)
    made.size = 1 + sum(a.size for a in args)
    made.id = next(_numbers)
    made._key = None
    _table[key] = made
    return made


def kept_by_id(kept: dict[int, _Kept]) -> dict[int, _Kept]:
    """A dictionary of results by the id of a term, to be emptied where memory is made free."""
    _kept.append(kept)
    return kept


def make_room() -> None:
    """Where there are very many terms: drop the kept results, and every term that nobody else holds."""
    if len(_table) < CROWDED:
        return
    for kept in _kept:
        kept.clear()
    keys = list(_table)
    while keys:  # users before what they use
        key = keys.pop()
        term = _table[key]
        if sys.getrefcount(term) == 3:  # the table, this name, and the call
            del _table[key]


def const(value: Fraction | int | str) -> Term:
    """An exact rational: `const(1)`, `const("0.1")` (one tenth exactly), `const(Fraction(1, 3))`."""
    return node("const", (), Fraction(value))


def var(name: str) -> Term:
    return node("var", (), name)


def row(name: str) -> Term:
    return node("row", (), name)


def label(name: str) -> Term:
    return node("label", (), name)


PI = node("pi")
POSITION = node("position")
COUNT = node("count")
ZERO, ONE, TWO, HALF, MINUS_ONE = const(0), const(1), const(2), const(Fraction(1, 2)), const(-1)


def is_const(term: Term, value: int | Fraction | None = None) -> bool:
    return term.op == "const" and (value is None or term.value == value)


def number(term: Term) -> Fraction:
    """The value of a `const` term."""
    assert isinstance(term.value, Fraction)
    return term.value


def name_of(term: Term) -> str:
    """The name of a `var`, `row` or `label` term."""
    assert isinstance(term.value, str)
    return term.value


def neg(a: Term) -> Term:
    if is_const(a):
        return const(-number(a))
    return a.args[0] if a.op == "neg" else node("neg", (a,))


def add(a: Term, b: Term) -> Term:
    if is_const(a) and is_const(b):
        return const(number(a) + number(b))
    if is_const(a, 0):
        return b
    if is_const(b, 0):
        return a
    if b.op == "neg":
        return sub(a, b.args[0])
    if is_const(b) and number(b) < 0:
        return sub(a, const(-number(b)))
    return node("add", (a, b))


def sub(a: Term, b: Term) -> Term:
    if is_const(a) and is_const(b):
        return const(number(a) - number(b))
    if is_const(b, 0):
        return a
    if is_const(a, 0):
        return neg(b)
    if b.op == "neg":
        return add(a, b.args[0])
    if is_const(b) and number(b) < 0:
        return add(a, const(-number(b)))
    return node("sub", (a, b))


def mul(a: Term, b: Term) -> Term:
    if is_const(a) and is_const(b):
        return const(number(a) * number(b))
    for one, other in ((a, b), (b, a)):
        if is_const(one, 1):
            return other
        if is_const(one, -1):
            return neg(other)
        if is_const(one, 0):
            return ZERO
    if a.op == "neg":
        return neg(mul(a.args[0], b))
    if b.op == "neg":
        return neg(mul(a, b.args[0]))
    return node("mul", (a, b))


def div(a: Term, b: Term) -> Term:
    if is_const(a) and is_const(b) and number(b) != 0:
        return const(number(a) / number(b))
    if is_const(b, 1):
        return a
    if is_const(b, -1):
        return neg(a)
    if is_const(a, 0):
        return ZERO
    if a.op == "neg":
        return neg(div(a.args[0], b))
    if b.op == "neg":
        return neg(div(a, b.args[0]))
    return node("div", (a, b))


def power(a: Term, b: Term) -> Term:
    if is_const(b, 0):
        return ONE
    if is_const(b, 1):
        return a
    if is_const(a) and is_const(b) and number(b).denominator == 1 and abs(number(b)) < 64 and number(a) != 0:
        return const(number(a) ** int(number(b)))
    if is_const(b, Fraction(1, 2)):
        return make("sqrt", a)
    return node("pow", (a, b))


ODD = frozenset({"sinh", "tanh", "asinh", "atanh", "erf", "sin", "tan", "asin", "atan", "sign"})
EVEN = frozenset({"cosh", "cos", "abs"})
AT_ZERO: Mapping[str, Term] = {
    **dict.fromkeys(("expm1", "log1p", "sqrt", "sinh", "tanh", "asinh", "atanh", "sin", "tan", "asin", "atan", "erf",
                     "abs", "sign", "log1pmx", "expm1mx", "lgamma1p"), ZERO),
    **dict.fromkeys(("exp", "exp2", "cosh", "cos", "erfc", "erfcx"), ONE),
    "sigmoid": HALF,
}
# Where a function of one exact argument is exact: (function, argument) -> value.
AT_ONE: Mapping[str, Term] = {
    **dict.fromkeys(("log", "log2", "log10", "acos", "acosh", "lgamma"), ZERO), "gamma": ONE,
}


def _whole_power_of_two(a: Fraction) -> Fraction | None:
    return Fraction(2) ** int(a) if a.denominator == 1 and abs(a) < 64 else None


def _exponent(a: Fraction, base: int) -> Fraction | None:
    """n where a = base**n, |n| < 64; None elsewhere."""
    if a <= 0 or (a.numerator != 1 and a.denominator != 1):
        return None
    large, n = (a.numerator, 0) if a.denominator == 1 else (a.denominator, 0)
    while large % base == 0 and n < 64:
        large, n = large // base, n + 1
    return Fraction(n if a.denominator == 1 else -n) if large == 1 and n < 64 else None


_EXACTLY: Mapping[str, Callable[[Fraction], Fraction | None]] = {
    "exp2": _whole_power_of_two,
    "log2": lambda a: _exponent(a, 2),
    "log10": lambda a: _exponent(a, 10),
    "gamma": lambda a: Fraction(math.factorial(int(a) - 1)) if a.denominator == 1 and 0 < a < 20 else None,
    "lgamma": lambda a: Fraction(0) if a == 2 else None,
}


def _unary(op: str, a: Term) -> Term:
    if is_const(a, 0) and op in AT_ZERO:
        return AT_ZERO[op]
    if is_const(a, 1) and op in AT_ONE:
        return AT_ONE[op]
    if op in _EXACTLY and is_const(a):
        exact = _EXACTLY[op](number(a))
        if exact is not None:
            return const(exact)
    if op == "abs" and is_const(a):
        return const(abs(number(a)))
    if op == "sqrt" and is_const(a) and number(a) >= 0:
        top, bottom = math.isqrt(number(a).numerator), math.isqrt(number(a).denominator)
        if Fraction(top, bottom) ** 2 == number(a):
            return const(Fraction(top, bottom))
    if a.op == "neg" and op in ODD:
        return neg(_unary(op, a.args[0]))
    if a.op == "neg" and op in EVEN:
        return _unary(op, a.args[0])
    if op == "abs" and a.op == "mul" and "const" in (a.args[0].op, a.args[1].op):
        return mul(_unary(op, a.args[0]), _unary(op, a.args[1]))
    return node(op, (a,))


def _of_two(op: str, a: Term, b: Term) -> Term:
    """The larger, the smaller, or the gap of two: equals, and a number and its negative, are simpler."""
    opposite = b is neg(a) and not is_const(a)
    if op == "gap":
        return mul(TWO, a) if opposite else node(op, (a, b))
    if a is b:
        return a
    if not opposite:
        return node(op, (a, b))
    size = make("abs", a)
    return size if op == "max" else neg(size)


_FOLDING: Mapping[str, Callable[[Term, Term], Term]] = {
    "add": add, "sub": sub, "mul": mul, "div": div, "pow": power,
}


def make(op: str, *args: Term) -> Term:
    """The term `op(args)`, through the folding constructor of that operation."""
    if op == "neg":
        return neg(args[0])
    folding = _FOLDING.get(op)
    if folding is not None:
        return folding(args[0], args[1])
    if op == "precise":
        from lossmith.derivations.precise import wrap  # which makes terms

        return wrap(args[0])
    if op in ("max", "min", "gap"):
        return _of_two(op, *args)
    if OPS[op].arity == 1 and op not in ROWS and op != "not":
        return _unary(op, args[0])
    return node(op, args)


def walk(*terms: Term) -> list[Term]:
    """Every distinct node, arguments before what uses them, in an order fixed by structure."""
    seen: set[int] = set()
    out: list[Term] = []

    def visit(t: Term) -> None:
        if t.id in seen:
            return
        seen.add(t.id)
        for a in t.args:
            visit(a)
        out.append(t)

    for t in terms:
        visit(t)
    return out


def nodes_count(term: Term) -> int:
    """The number of distinct nodes: what a kernel pays when shared parts are computed once."""
    return len(walk(term))


def rebuild(term: Term, args: tuple[Term, ...]) -> Term:
    """The same operation on other arguments; the same object where the arguments are the same."""
    if all(a is b for a, b in zip(args, term.args, strict=True)):
        return term
    return node(term.op, args, term.value) if term.value is not None else make(term.op, *args)


def replace(term: Term, mapping: Mapping[Term, Term]) -> Term:
    """`term` with every occurrence of each key replaced by its value (by identity, not by name)."""
    done: dict[int, Term] = {old.id: new for old, new in mapping.items()}

    def go(t: Term) -> Term:
        found = done.get(t.id)
        if found is None:
            found = rebuild(t, tuple(go(a) for a in t.args)) if t.args else t
            done[t.id] = found
        return found

    return go(term)


def leaves(term: Term) -> Iterator[Term]:
    """The inputs that occur: `var`, `row` and `label` terms, in order of first appearance."""
    return (t for t in walk(term) if t.op in ("var", "row", "label"))


def commuted(term: Term) -> tuple[object, ...]:
    """A key that is equal for terms that differ only by the order of a + b, a * b, max(a, b)...

    Such terms round alike, so a search keeps one of them.
    """
    parts = [commuted(a) for a in term.args]
    if term.op in COMMUTATIVE:
        parts.sort(key=repr)
    return (term.op, "" if term.value is None else str(term.value), *parts)


_INFIX: Mapping[str, tuple[str, int]] = {
    "add": (" + ", 1), "sub": (" - ", 1), "mul": ("*", 2), "div": ("/", 2), "pow": ("**", 4),
    "lt": (" < ", 0), "le": (" <= ", 0), "gt": (" > ", 0), "ge": (" >= ", 0), "eq": (" == ", 0), "ne": (" != ", 0),
}


def _digits(value: Fraction) -> str:
    """A fraction where it is short, else the shortest decimals of the float it is."""
    text = str(value)
    if len(text) <= 12:
        return text
    if Fraction(float(value)) == value:
        return repr(float(value))
    below = value.denominator  # a number given as decimals is shown as decimals
    for digits in range(19, 60) if below % 10 == 0 else ():
        if 10**digits % below == 0:
            sign = "-" if value < 0 else ""
            whole = str(abs(value.numerator) * (10**digits // below)).rjust(digits + 1, "0")
            return f"{sign}{whole[:-digits]}.{whole[-digits:]}"
    return text


def show(term: Term) -> str:
    """The term in the notation that users type; brackets show every association that matters."""

    def go(t: Term, outer: int) -> str:
        if t.op == "const":
            text = _digits(number(t))
            return f"({text})" if outer > 0 and (number(t) < 0 or "/" in text) else text
        if t.op in ("var", "label"):
            return name_of(t)
        if t.op == "row":
            return f"{name_of(t)}[k]"
        if t.op in ("position", "count", "pi"):
            return {"position": "k", "count": "C", "pi": "pi"}[t.op]
        if t.op == "at":
            return f"{go(t.args[0], 9).replace('[k]', '')}[{go(t.args[1], 0)}]"
        if t.op == "neg":
            text = "-" + go(t.args[0], 2)
            return f"({text})" if outer > 1 else text
        if t.op in _INFIX:
            sign, level = _INFIX[t.op]
            left = go(t.args[0], level + (t.op == "pow"))
            right = go(t.args[1], level + (t.op not in ("add", "mul", "pow") or t.args[1].op in ("sub", "div")
                                           or t.args[1].op == t.op))
            text = left + sign + right
            return f"({text})" if level < outer else text
        if t.op in ("precise", "wide"):
            from lossmith.derivations.precise import spelled

            return f"{t.op}({go(spelled(t), 0)})"
        return f"{t.op}({', '.join(go(a, 0) for a in t.args)})"

    return go(term, 0)
