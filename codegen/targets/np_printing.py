"""How NumPy writes terms: the table of operations, literals, and the helpers that each operation needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from lossmith.codegen.names import Names
from lossmith.codegen.printing import ATOM, Form, Printer, call, infix, on_lines
from lossmith.codegen.specials import in_pairs, pair_functions, value_of
from lossmith.derivations import special
from lossmith.derivations.precise import formula, place
from lossmith.derivations.terms import COMPARISONS, OPS, Term, is_const, node, number, show, var, walk

LETTERS = "abcdef"  # what the arguments of a formula in pairs are called
WIDTH = 108  # of a line within a function
# Python's binding strengths: comparisons, |, &, sums, products, signs.
_COMPARE, _OR, _AND, _SUM, _PRODUCT, _SIGN = 1, 2, 3, 4, 5, 6


def _compare(sign: str) -> Form:
    return Form(f"{{0}} {sign} {{1}}", _COMPARE, (_OR, _OR))


# Functions whose float32 loops in NumPy are up to 3 ulp off, or differ between machines.
FUNCTIONS: Mapping[str, str] = {
    "exp": "np.exp", "expm1": "np.expm1", "log": "np.log", "log1p": "np.log1p",
    "sinh": "np.sinh", "cosh": "np.cosh", "tanh": "np.tanh",
    "asinh": "np.arcsinh", "acosh": "np.arccosh", "atanh": "np.arctanh",
    "sin": "np.sin", "cos": "np.cos", "tan": "np.tan",
    "asin": "np.arcsin", "acos": "np.arccos", "atan": "np.arctan",
    "exp2": "np.exp2", "log2": "np.log2", "log10": "np.log10", "pow": "np.power", "atan2": "np.arctan2",
}
TABLE: Mapping[str, Form] = {
    "add": infix("+", _SUM), "sub": infix("-", _SUM), "mul": infix("*", _PRODUCT), "div": infix("/", _PRODUCT),
    "neg": Form("-{0}", _SIGN, (_SIGN,)),
    "max": call("np.maximum", 2), "min": call("np.minimum", 2), "abs": call("np.abs"), "sign": call("np.sign"),
    "sqrt": call("np.sqrt"),
    **{name: call(f"_{name}", OPS[name].arity) for name in (*FUNCTIONS, *special.FUNCTIONS)},
    **{name: call(f"_{name}", 2) for name in ("xlogy", "absorb", "gap", "exp_diff")},
    "where": call("_select", 3),
    "precise": call("_precise"), "wide": call("_wide"),
    "lt": _compare("<"), "le": _compare("<="), "gt": _compare(">"), "ge": _compare(">="),
    "eq": _compare("=="), "ne": _compare("!="),
    "and": infix("&", _AND), "or": infix("|", _OR), "not": Form("~{0}", _SIGN, (_SIGN,)),
}
# What each helper of the template calls in its turn.
CALLS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(FUNCTIONS, ("in_double",)),
    **dict.fromkeys(special.FUNCTIONS, ()),
    "xlogy": ("log", "absorb"), "where": ("select",), "exp_diff": ("decay",), "decay": ("some_nan",),
    "absorb": ("some_nan",), "gap": ("some_nan",), "vanish": ("some_nan",), "some_nan": (), "select": (), "precise": (),
    "wide": (),
    "minus_abs": (), "in_double": (), "total": (), "below": ("total",),
    "rest": (), "at": (), "put": (), "positions": (), "narrow": (),
}


def helpers_of(terms: Iterable[Term], more: Iterable[str] = ()) -> frozenset[str]:
    """The helpers that printed terms call, and those that these call."""
    every = walk(*terms)
    every += walk(*(formula(t) for t in every if t.op == "wide"))
    todo = [*(t.op for t in every), *more]
    found = {f"special.{name}" for t in every if t.op == "precise" for name in pair_functions(t)}
    while todo:
        name = todo.pop()
        if name in CALLS and name not in found:
            found.add(name)
            todo += CALLS[name]
    return frozenset(found)


def literal(value: Fraction) -> str:
    """A rational as Python source: exact where a float can be, else the quotient of two integers."""
    if value.denominator == 1 and abs(value) < 2**53:
        return str(value.numerator)
    try:
        near = float(value)
    except OverflowError:
        return "np.inf" if value > 0 else "-np.inf"
    if Fraction(near) == value or Fraction(repr(near)) == value:
        return repr(near)
    return f"{value.numerator} / {value.denominator}"


def literal_level(text: str) -> int:
    """How tightly a literal binds."""
    return _PRODUCT if " / " in text else _SIGN if text.startswith("-") else ATOM


@dataclass(frozen=True)
class Context:
    """What surrounds a printed term: how leaves read, and how a constant gets the working type."""

    leaf: Callable[[Term], str]
    typed: str  # "{0}" stands for the constant


@dataclass
class Constants:
    """Constants that are no rationals, named and computed once, at the top of the module."""

    values: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> (literal, meaning)

    def name(self, term: Term) -> str:
        """The name of a constant subterm's value, entered on first use."""
        meaning = show(term)
        word = re.sub(r"[^A-Z0-9]+", "_", meaning.upper()).strip("_")
        name = f"_{word}"
        while self.values.get(name, ("", meaning))[1] != meaning:
            name += "_"
        self.values[name] = (repr(float(value_of(term))), meaning)
        return name


_VARYING = frozenset({"var", "row", "label", "position", "count", "where", *COMPARISONS})


def is_constant(term: Term) -> bool:
    """Whether a term is the same number for every input."""
    return not any(t.op in _VARYING for t in walk(term))


class NumpyPrinter(Printer):
    """Prints terms as NumPy. Constants fold; class indices compare as integers, count as floats."""

    def __init__(self, constants: Constants) -> None:
        super().__init__("np", TABLE)
        self.constants = constants

    def write(self, term: Term, context: Context) -> str:
        """A term as an expression that needs no brackets around it."""
        return self._text(term, context, 0)

    def lines(self, name: str, term: Term, context: Context, names: Names) -> list[str]:
        """`name = term`, in as many statements as it takes to keep each to a line.

        Long parts become temporaries of their own; `names` names them.
        """
        before: list[str] = []
        while len(text := f"{name} = {self.write(term, context)}") > WIDTH:
            parts = [a for a in term.args if a.args and not is_constant(a)]
            if not parts:
                break
            part = max(parts, key=lambda a: len(self.write(a, context)))
            short = names.fresh(part)
            before += self.lines(short, part, context, names)
            term = node(term.op, tuple(var(short) if a is part else a for a in term.args), term.value)
        return [*before, text]

    def _text(self, term: Term, context: Context, outer: int) -> str:
        if is_constant(term):
            text = literal(number(term)) if term.op == "const" else self.constants.name(term)
            return f"({text})" if literal_level(text) < outer else text
        if not term.args:
            text = context.leaf(term)
            return f"{text}.astype(np.float64)" if term.op in ("label", "position") else text
        if term.op == "precise":
            names = LETTERS[:len(term.args)]
            args = [self._text(a, context, 0) for a in term.args]
            return f"_precise(lambda {', '.join(names)}: {in_pairs(term, names)}, {', '.join(args)})"
        if term.op == "wide":
            names = LETTERS[:len(term.args)]
            args = [self._text(a, context, 0) for a in term.args]
            inside = self._text(formula(term), Context(lambda t: names[place(t)], context.typed), 0)
            return on_lines(f"_wide(lambda {', '.join(names)}: {inside}, {', '.join(args)})")
        form = self.table[term.op]
        if term.op == "pow" and is_const(term.args[1], 2):
            form = call("np.square")
        inner = form.inner + (0,) * len(term.args)
        args = [self._text(a, context, inner[i]) for i, a in enumerate(term.args)]
        if term.op in COMPARISONS and all(a.op in ("label", "position") for a in term.args):
            args = [context.leaf(a) for a in term.args]
        if term.op == "where" and all(is_constant(a) for a in term.args[1:]):
            args[1] = context.typed.format(args[1])
        text = form.text.format(*args)
        return f"({text})" if form.level < outer else text
