"""Terms as C11, for three arithmetics: float (`_f`), double (`_d`) and pairs of double (`_p`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from fractions import Fraction

from lossmith.codegen.kernel import Let
from lossmith.codegen.printing import ATOM, Form, Printer, call, infix
from lossmith.codegen.specials import value_of
from lossmith.codegen.targets.cu_printing import PI, hexadecimal, single
from lossmith.derivations.precise import formula, place, spelled
from lossmith.derivations.terms import (
    ARITHMETIC,
    CHOICE,
    FUNCTIONS,
    GUARDED,
    LEAVES,
    MACHINE,
    Term,
    is_const,
    number,
    var,
    walk,
)
from lossmith.derivations.ulp import FORMATS, round_fraction
from lossmith.derivations.ulp import split as split_double

# Functions of our own, in every arithmetic; the others are those of <math.h>, which no loop vectorises.
OWN = ("exp", "log", "log1p", "expm1", "sinh", "cosh", "tanh")
LIBRARY = tuple(name for name in FUNCTIONS if name not in (*OWN, "atan2", "erfcx", "digamma"))  # C has neither
LIBRARY_OF_TWO = ("pow", "atan2")
C_NAMES = {"gamma": "tgamma"}
LARGEST_POWER = 16
# What a form may hold and C has no function for.
WITHOUT = frozenset({*MACHINE} - {*LEAVES, *OWN, *LIBRARY, *LIBRARY_OF_TWO, *ARITHMETIC, *GUARDED, *CHOICE,
                                  "log1pmx", "expm1mx", "xlogy"})
COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
INTEGERS = frozenset({"position", "label", "count"})


@dataclass(frozen=True)
class Arithmetic:
    """What a kernel computes with: `suffix` ends the names of its functions, `type` is the C type."""

    suffix: str
    type: str
    format: str
    lanes: int


FLOAT = Arithmetic("_f", "float", "float32", 32)
DOUBLE = Arithmetic("_d", "double", "float64", 16)
PAIR = Arithmetic("_p", "pair", "float64", 4)
ARITHMETICS = (FLOAT, DOUBLE, PAIR)


def _table(s: str) -> dict[str, Form]:
    named = {"max": "larger", "min": "smaller"}
    functions = {name: call(f"{name}{s}", spec.arity) for name, spec in FUNCTIONS.items()}
    ours = {name: call(f"{named.get(name, name)}{s}", arity) for name, arity in (
        ("max", 2), ("min", 2), ("abs", 1), ("sign", 1), ("sqrt", 1), ("pow", 2), ("absorb", 2), ("gap", 2),
        ("exp_diff", 2), ("xlogy", 2), ("log1pmx", 1), ("expm1mx", 1), ("precise", 1), ("wide", 1))}
    logic = {"and": Form("{0} & {1}", 2, (4, 4)), "or": Form("{0} | {1}", 1, (4, 4)),
             "not": Form("!{0}", ATOM, (ATOM,)), "where": call(f"select{s}", 3)}
    if s == PAIR.suffix:
        plain = {name: call(f"{name}{s}", 1 if name == "neg" else 2) for name in ("add", "sub", "mul", "div", "neg")}
        compared = {name: call(f"{name}{s}", 2) for name in COMPARISONS}
    else:
        plain = {"add": infix("+", 5), "sub": infix("-", 5), "mul": infix("*", 6), "div": infix("/", 6),
                 "neg": Form("-{0}", 7, (8,))}
        compared = {name: Form(f"{{0}} {sign} {{1}}", 3, (5, 5)) for name, sign in COMPARISONS.items()}
    known = {**functions, **ours, **logic, **plain, **compared}
    return known | {op: call(op) for op in MACHINE - set(LEAVES) - set(known)}


class CPrinter(Printer):
    """Whole powers become products, and whole numbers are compared as such."""

    def __init__(self, arithmetic: Arithmetic) -> None:
        super().__init__("c", _table(arithmetic.suffix))
        self.arithmetic = arithmetic
        self.units: frozenset[Term] = frozenset()  # what is known to lie between 0 and 1
        self.sums: frozenset[Term] = frozenset()  # names of sums of what is given

    def text(self, term: Term, leaf: Callable[[Term], str], outer: int = 0) -> str:
        if term.op in WITHOUT:
            raise ValueError(f"there is no C form of {term.op}: generate for np, pt or cu")
        if term.op == "pow" and is_const(term.args[1]) and _is_small(number(term.args[1])):
            return f"{power_name(int(number(term.args[1])))}{self.arithmetic.suffix}({self.text(term.args[0], leaf)})"
        if term.op in COMPARISONS and all(_whole(a) for a in term.args):
            text = f"{integer(term.args[0])} {COMPARISONS[term.op]} {integer(term.args[1])}"
            return f"({text})" if outer > 3 else text
        if term.op == "precise" or (term.op == "wide" and self.arithmetic is FLOAT):
            return self._wide(term, leaf)
        if term.op == "wide":
            return self.text(spelled(term), leaf, outer)
        if term.op == "exp" and (term in self.units or not_positive(term.args[0])):
            return f"exp_down{self.arithmetic.suffix}({self.text(term.args[0], leaf)})"
        if term.op == "log1p" and term.args[0] in self.units:
            return f"log1p_unit{self.arithmetic.suffix}({self.text(term.args[0], leaf)})"
        return self._shorter(term, leaf) or super().text(term, leaf, outer)

    def _shorter(self, term: Term, leaf: Callable[[Term], str]) -> str:
        """What takes fewer instructions, for the same value or one nearer to the truth; empty where there is none."""
        s, args = self.arithmetic.suffix, term.args
        if self.arithmetic is PAIR:
            return ""
        if term.op == "neg" and args[0].op == "abs":
            return f"minus_abs{s}({self.text(args[0].args[0], leaf)})"
        if term.op in ("max", "min") and is_const(args[1]):
            return f"{'at_least' if term.op == 'max' else 'at_most'}{s}({', '.join(self.text(a, leaf) for a in args)})"
        if term.op in ("add", "sub") and self.sums:
            return self._fused(term, leaf)
        return ""

    def _fused(self, term: Term, leaf: Callable[[Term], str]) -> str:
        """A product added to a sum of what is given, rounded once. Not to what holds a product itself: where two
        cancel, each must have been rounded."""
        left, right = term.args
        signs = ("", "-" if term.op == "sub" else "")
        for (sign, product), (opposite, rest) in (((signs[1], right), (signs[0], left)),
                                                  ((signs[0], left), (signs[1], right))):
            if product.op == "mul" and is_sum(rest, self.sums):
                factors = [f"{sign}{self.text(product.args[0], leaf, 8 if sign else 0)}",
                           self.text(product.args[1], leaf)]
                more = f"{opposite}{self.text(rest, leaf, 8 if opposite else 0)}"
                return f"fused{self.arithmetic.suffix}({', '.join((*factors, more))})"
        return ""

    def _wide(self, term: Term, leaf: Callable[[Term], str]) -> str:
        """A formula in twice the digits: of float in double, else in pairs."""
        args = [self.text(a, leaf) for a in term.args]
        whole = formula(term)
        if self.arithmetic is FLOAT:
            wide = _wide_leaf(DOUBLE, [f"(double){a}" for a in _atoms(args)])
            return f"(float)({PRINTERS[DOUBLE].text(whole, wide, 1)})"
        if self.arithmetic is DOUBLE:
            return f"{PRINTERS[PAIR].text(whole, _wide_leaf(PAIR, [f'pair_of({a})' for a in args]))}.hi"
        return PRINTERS[PAIR].text(whole, _wide_leaf(PAIR, args))


def is_sum(term: Term, known: Container[Term]) -> bool:
    """Whether a term is made of names that are `known` and constants by sums, differences and choices of a sign."""
    if term.op in ("add", "sub", "neg", "abs", "max", "min"):
        return all(is_sum(a, known) for a in term.args)
    return is_const(term) or term in known


def sums(names: Iterable[str], lets: Iterable[Let]) -> frozenset[Term]:
    """What is given, by name, and the temporaries that are sums of it."""
    found = set(map(var, names))
    for let in lets:
        if is_sum(let.term, found):
            found.add(var(let.name))
    return frozenset(found)


def not_positive(term: Term, not_negative: Container[Term] = ()) -> bool:
    """Whether a term cannot be above 0, by its outermost operations and what is known of names."""
    if term.op == "neg":
        return _not_negative(term.args[0]) or term.args[0] in not_negative
    return term.op == "min" and is_const(term.args[1], 0)


def _not_negative(term: Term) -> bool:
    return term.op == "abs" or (term.op == "max" and is_const(term.args[1], 0))


def units(lets: Iterable[Let], terms: Iterable[Term]) -> frozenset[Term]:
    """What lies between 0 and 1 for being an exponential of what is not positive, itself or by name."""
    lets = list(lets)
    sizes = {var(let.name) for let in lets if _not_negative(let.term)}
    every = walk(*terms, *(let.term for let in lets))
    found = {t for t in every if t.op == "exp" and not_positive(t.args[0], sizes)}
    return frozenset(found | {var(let.name) for let in lets if let.term in found})


def _atoms(args: list[str]) -> list[str]:
    return [a if re.fullmatch(r"\w+", a) else f"({a})" for a in args]


def _wide_leaf(arithmetic: Arithmetic, args: list[str]) -> Callable[[Term], str]:
    def leaf(term: Term) -> str:
        return args[place(term)] if term.op == "var" else literal(value_of(term), arithmetic)

    return leaf


PRINTERS = {a: CPrinter(a) for a in ARITHMETICS}


def power_name(n: int) -> str:
    """What a whole power is called: `power3`, `powerm2`."""
    return f"power{n}" if n >= 0 else f"powerm{-n}"


def _is_small(value: Fraction) -> bool:
    return value.denominator == 1 and abs(value) <= LARGEST_POWER


def powers_in(terms: Iterable[Term]) -> list[int]:
    """The whole powers that occur, and those that they are made of; each after what it needs."""
    wanted: set[int] = set()
    stack = [int(number(t.args[1])) for t in walk(*_opened(terms))
             if t.op == "pow" and is_const(t.args[1]) and _is_small(number(t.args[1]))]
    while stack:
        n = stack.pop()
        if n not in wanted:
            wanted.add(n)
            stack += [-n] if n < 0 else [n // 2] if n > 1 else []
    return sorted(wanted, key=lambda n: (n < 0, abs(n)))


def power_body(n: int, arithmetic: Arithmetic) -> str:
    """The body of the function of a whole power."""
    s, pair = arithmetic.suffix, arithmetic is PAIR
    one = "pair_of(1)" if pair else "1"

    def product(a: str, b: str) -> str:
        return f"mul_p({a}, {b})" if pair else f"{a} * {b}"

    if n < 0:
        return f"return div_p({one}, {power_name(-n)}{s}(a));" if pair else f"return 1 / {power_name(-n)}{s}(a);"
    if n == 0:
        return f"(void)a; return {one};"
    if n == 1:
        return "return a;"
    half = f"{power_name(n // 2)}{s}({product('a', 'a')})"
    return f"return {product('a', half) if n % 2 else half};"


def _whole(term: Term) -> bool:
    return term.op in INTEGERS or (is_const(term) and number(term).denominator == 1 and abs(number(term)) < 2**31)


def integer(term: Term) -> str:
    """A class index, a label or the number of classes, as the integer that it is."""
    if term.op == "const":
        return str(number(term))
    return {"position": "index", "count": "classes"}.get(term.op) or identifier(str(term.value))


def literal(value: Fraction, arithmetic: Arithmetic) -> str:
    """A constant in an arithmetic, nearest to the number."""
    if arithmetic is FLOAT:
        return hexadecimal(single(value), "f")
    if arithmetic is DOUBLE:
        return hexadecimal(round_fraction(value, FORMATS["float64"]))
    high, low = split_double(value)
    return f"((pair){{{hexadecimal(high)}, {hexadecimal(low)}}})"


_KEYWORDS = (
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const continue decltype "
    "default delete do double else enum explicit export extern false float for friend goto if inline int long main "
    "namespace new not not_eq nullptr operator or or_eq private protected public register restrict return short "
    "signed sizeof static struct switch template this throw true try typedef typeid typename typeof union unsigned "
    "using virtual void volatile while xor xor_eq unix linux"
)
_SCOPE = ("index place lane known sums other count rows classes threads first upto step crew block pair sound "
          "times NAN INFINITY")
# Functions of <math.h> that a local name may not hide from the helpers; helpers' own names end in _f, _d, _p.
_MATH = "signbit frexp ldexp y0 y1 yn j0 j1 jn gamma signgam settle pair_of product_error"
RESERVED = frozenset({*_KEYWORDS.split(), *_SCOPE.split(), *_MATH.split(), *FUNCTIONS, *C_NAMES.values(), "sqrt",
                      "fabs"})
_OURS = re.compile(r".*_[fdp]|.*_|(in|out|sc|lab|par|decay_of)_?\d*|LOSSMITH.*")


def identifier(name: str) -> str:
    """The name as C (and C++, for the header) may use it beside the templates' own."""
    return f"{name}_" if name in RESERVED or _OURS.fullmatch(name) else name


def leaf_printer(arithmetic: Arithmetic) -> Callable[[Term], str]:
    """Prints leaves; every name is local to the function."""

    def leaf(term: Term) -> str:
        if term.op == "const":
            return literal(number(term), arithmetic)
        if term.op == "pi":
            return literal(PI, arithmetic)
        if term.op in INTEGERS:
            return f"pair_of({integer(term)})" if arithmetic is PAIR else f"({arithmetic.type}){integer(term)}"
        return identifier(str(term.value))

    return leaf


def printed(term: Term, arithmetic: Arithmetic, known: frozenset[Term] = frozenset(),
            given: frozenset[Term] = frozenset()) -> str:
    """A term as text; `known`: terms between 0 and 1; `given`: names of sums, to which products may be fused."""
    printer = PRINTERS[arithmetic] if not known and not given else CPrinter(arithmetic)
    printer.units, printer.sums = known or printer.units, given or printer.sums
    return printer.text(term, leaf_printer(arithmetic))


def operations(terms: Iterable[Term]) -> frozenset[str]:
    """The operations that occur, those within `precise` included."""
    return frozenset(t.op for t in walk(*_opened(terms)))


def _opened(terms: Iterable[Term]) -> list[Term]:
    roots = list(terms)
    return [*roots, *(formula(t) for t in walk(*roots) if t.op in ("precise", "wide"))]
