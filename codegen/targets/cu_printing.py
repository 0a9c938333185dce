"""Terms as CUDA C++ over an arithmetic type `A`: float, double, or a pair of floats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

from lossmith.codegen.printing import ATOM, Form, Printer, call, infix
from lossmith.codegen.specials import value_of
from lossmith.derivations.precise import formula, place, spelled
from lossmith.derivations.terms import FUNCTIONS, Term, is_const, number, walk
from lossmith.derivations.ulp import FORMATS, round_fraction
from lossmith.derivations.ulp import split as split_double

# What <math.h> has for float and double alike.
STANDARD = ("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "erf", "erfc", "exp", "exp2",
            "expm1", "fabs", "log", "log10", "log1p", "log2", "pow", "sin", "sinh", "sqrt", "tan", "tanh")
# Functions that pairs compute in double, which is slow on many devices and holds all their digits.
BY_DOUBLE = ("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "exp2", "log2", "log10", "erf", "erfc", "erfcx",
             "gamma", "lgamma", "digamma", "binet", "binet_slope", "binet_gap", "lgamma1p", "erfcx_rest")
PI = Fraction("3.14159265358979323846264338327950288419716939937510582097494459")
TABLE = {
    **{name: call(name, spec.arity) for name, spec in FUNCTIONS.items()},
    "gamma": call("gamma_function"), "lgamma": call("lgamma_function"),  # in C, gamma is a logarithm too
    "precise": call("Wide<A>::rounded"), "wide": call(""),
    "add": infix("+", 5), "sub": infix("-", 5), "mul": infix("*", 6), "div": infix("/", 6),
    "neg": Form("-{0}", 7, (7,)), "pow": call("pow", 2), "max": call("larger", 2), "min": call("smaller", 2),
    "abs": call("fabs"), "sign": call("sign"), "sqrt": call("sqrt"),
    "absorb": call("absorb", 2), "gap": call("gap", 2), "exp_diff": call("exp_diff", 2),
    "xlogy": call("xlogy", 2), "log1pmx": call("log1pmx"), "expm1mx": call("expm1mx"),
    **{name: call(name) for name in ("binet", "binet_slope", "lgamma1p", "erfcx_rest")},
    "binet_gap": call("binet_gap", 2),
    "where": Form("({0} ? {1} : {2})", ATOM, (1, 1, 1)),
    "lt": Form("{0} < {1}", 3, (4, 4)), "le": Form("{0} <= {1}", 3, (4, 4)), "gt": Form("{0} > {1}", 3, (4, 4)),
    "ge": Form("{0} >= {1}", 3, (4, 4)), "eq": Form("{0} == {1}", 3, (4, 4)), "ne": Form("{0} != {1}", 3, (4, 4)),
    "and": Form("{0} && {1}", 2, (3, 3)), "or": Form("{0} || {1}", 1, (3, 3)), "not": Form("!{0}", ATOM, (ATOM,)),
}
INTEGERS = frozenset({"position", "label", "count"})
LARGEST_POWER = 16


class CudaPrinter(Printer):
    """Whole powers become products, and whole numbers are compared as such."""

    def text(self, term: Term, leaf: Callable[[Term], str], outer: int = 0) -> str:
        if term.op == "pow" and is_const(term.args[1]) and _is_small(number(term.args[1])):
            return f"power<{number(term.args[1])}>({self.text(term.args[0], leaf)})"
        if self.table.get(term.op, None) and self.table[term.op].level == 3 and all(_whole(a) for a in term.args):
            sign = self.table[term.op].text.split()[1]
            text = f"{integer(term.args[0])} {sign} {integer(term.args[1])}"
            return f"({text})" if outer > 3 else text
        if term.op == "precise":
            return f"Wide<A>::rounded({_in_pairs(formula(term), [self.text(a, leaf) for a in term.args])})"
        if term.op == "wide":  # float32 has pairs for what needs them
            return self.text(spelled(term), leaf, outer)
        return super().text(term, leaf, outer)


_PAIR_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


def _in_pairs(t: Term, args: Sequence[str]) -> str:
    """A formula over pairs of numbers, its leaves being widened."""
    if t.op == "var":
        return f"wide({args[place(t)]})"
    if not any(a.op == "var" for a in walk(t)):
        value = value_of(t)
        numbers = [hexadecimal(v) for v in split_double(value)] + [hexadecimal(v, "f") for v in split(value)]
        return f"Wide<A>::number({', '.join(numbers)})"
    inner = [_in_pairs(a, args) for a in t.args]
    if t.op in _PAIR_SIGNS:
        return f"({inner[0]} {_PAIR_SIGNS[t.op]} {inner[1]})"
    if t.op == "pow":
        return f"power<{number(t.args[1])}>({inner[0]})"
    return f"(-{inner[0]})" if t.op == "neg" else f"{'fabs' if t.op == 'abs' else t.op}({inner[0]})"


PRINTER = CudaPrinter("cu", TABLE)


def _is_small(value: Fraction) -> bool:
    return value.denominator == 1 and abs(value) <= LARGEST_POWER


def _whole(term: Term) -> bool:
    return term.op in INTEGERS or (is_const(term) and number(term).denominator == 1 and abs(number(term)) < 2**31)


def integer(term: Term) -> str:
    """A class index, a label or the number of classes, as the integer that it is."""
    if term.op == "const":
        return str(number(term))
    return {"position": "k", "count": "known.classes"}.get(term.op) or f"known.{identifier(str(term.value))}"


def hexadecimal(value: float, suffix: str = "") -> str:
    """A literal that stands for exactly this number."""
    if value in (float("inf"), float("-inf")):
        return "-INFINITY" if value < 0 else "INFINITY"
    if value == int(value) and abs(value) < 1000:
        return f"{int(value)}.0{suffix}"
    digits, exponent = value.hex().split("p")
    return f"{digits.rstrip('0').rstrip('.')}p{exponent}{suffix}"


def single(value: Fraction) -> float:
    return round_fraction(value, FORMATS["float32"])


def split(value: Fraction) -> tuple[float, float]:
    """The number as a sum of two float32: the nearest one, and the nearest to what that leaves."""
    high = single(value)
    return high, 0.0 if abs(high) == float("inf") else single(value - Fraction(high))


def literal(value: Fraction) -> str:
    """A constant in arithmetic `A`, exact where any float32 is, else nearest in each type."""
    high, low = split(value)
    if abs(high) != float("inf") and Fraction(high) == value:
        return f"A({hexadecimal(high, 'f')})"
    double = hexadecimal(round_fraction(value, FORMATS["float64"]))
    return f"literal<A>({double}, {hexadecimal(high, 'f')}, {hexadecimal(low, 'f')})"


_KEYWORDS = (
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept const consteval "
    "constexpr constinit const_cast continue co_await co_return co_yield decltype default delete do double "
    "dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable namespace "
    "new noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast requires "
    "return short signed sizeof static static_assert static_cast struct switch template this thread_local throw true "
    "try typedef typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq unix linux"
)
# What the templates name where a loss's own names are in scope.
_SCOPE = (
    "in out k known parameter row problem peaks other state A T Sum Peak Number Pair List inputs outputs parameters "
    "row_inputs scalar_inputs labels row_outputs scalar_outputs families classes sound literal power absorb gap "
    "exp_diff xlogy sign larger smaller log1pmx expm1mx digamma erfcx gamma_function lgamma_function "
    "binet binet_slope binet_gap lgamma1p erfcx_rest "
    "wide Wide accumulate settled collapsed widened factor widen whole_number scaled narrow load store "
    "width stream count rows NAN INFINITY E I"
)
RESERVED = frozenset({*_KEYWORDS.split(), *_SCOPE.split(), *STANDARD})


def identifier(name: str) -> str:
    """The name as C++ may use it beside the templates' own."""
    return f"{name}_" if name in RESERVED or name.endswith("_") else name


def leaf_printer(known: Iterable[str]) -> Callable[[Term], str]:
    """Prints leaves: names in `known` are scalars of the row, the others are local to the function."""
    names = frozenset(known)

    def leaf(term: Term) -> str:
        if term.op == "const":
            return literal(number(term))
        if term.op == "pi":
            return literal(PI)
        if term.op in INTEGERS:
            return f"Number<A>::count({integer(term)})"
        name = identifier(str(term.value))
        return f"known.{name}" if str(term.value) in names and term.op == "var" else name

    return leaf


def operations(terms: Iterable[Term]) -> frozenset[str]:
    """The operations that occur."""
    return frozenset(t.op for t in walk(*terms))
