"""A user's formula, from text to a term or to SymPy: read by a whitelist, never evaluated.

Python's own grammar splits the text; this module then walks the tree it gives and accepts only
what `vocabulary.py` names. Numbers are exact: `0.1` is one tenth. Importing this module does not
import SymPy.

Rows: an argument declared as `x[k]`, or with the domain `simplex`, runs over the class axis. It is
summed with `sum(t*log(q))` or `sum(t[i]*log(q[i]), i)`, and read at a label with `x[y]`.
`parse_formula` finds the rows by itself, by the rule of `axes.py`.
"""

from __future__ import annotations

import ast
import difflib
import re
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import reduce
from itertools import accumulate
from typing import Any

from lossmith.derivations import axes, terms, vocabulary
from lossmith.derivations.declarations import (
    are_rows_written,
    arguments,
    symbols,
    symbols_of,
    why_not_a_name,
    with_axes,
)
from lossmith.derivations.domains import Domain
from lossmith.derivations.loss import Argument
from lossmith.derivations.refusals import (
    CHARACTERS,
    CODES,
    LARGEST,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_EXPONENT,
    MAX_LENGTH,
    MAX_NODES,
    MAX_SIZE,
    MAX_STACK,
    FormulaError,
)
from lossmith.derivations.terms import Term, make, node
from lossmith.derivations.vocabulary import ANY, FUNCTIONS

__all__ = ["CODES", "FUNCTIONS", "FormulaError", "arguments", "explain", "parse", "parse_condition", "parse_formula",
           "parse_relations", "parse_term", "symbols", "symbols_of", "why_not_a_name"]

BINARY: Mapping[type[ast.AST], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow",
}
COMPARE: Mapping[type[ast.AST], str] = {
    ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne",
}
LOGICAL: Mapping[type[ast.AST], str] = {ast.And: "and", ast.Or: "or", ast.BitAnd: "and", ast.BitOr: "or"}
LOGICAL_CALLS: Mapping[str, str] = {"logical_and": "and", "logical_or": "or"}
NOT_OURS: Mapping[type[ast.AST], tuple[str, str]] = {
    ast.Attribute: ("an attribute", "write a function of its arguments: sum(x), not x.sum()"),
    ast.IfExp: ("'if'", "write where(condition, a, b)"),
    ast.FloorDiv: ("'//'", "write / for a quotient"),
    ast.BitXor: ("'^'", "write ** for a power"),
    ast.Tuple: ("a comma", "a formula is one expression"),
    ast.List: ("a list", "a formula is one expression"),
    ast.Starred: ("'*' before a name", "write the arguments one by one"),
    ast.keyword: ("a keyword argument", "write the arguments in order, without names"),
}
_ALLOWED = re.compile(r"[A-Za-z0-9_ .,+\-*/()\[\]<>=!&|~]")
_NUMBER = re.compile(r"^(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,9})?$")
TOO_LONG = f"a number has {MAX_DIGITS} digits at most"
EQUAL = "what is equal has one name: write the same argument twice"
_AXIS = frozenset({"axis", "dim"})
_KEEP = frozenset({"keepdims", "keepdim"})
_GIVEN = frozenset({"var", "row", "label", "position", "count"})


def parse(text: str, known: Mapping[str, Any]) -> Any:
    """The formula as a SymPy expression over `known` (see `symbols`), in the author's order of terms.

    Raises FormulaError.
    """
    from lossmith.derivations.surface import to_sympy

    declared = {name: (s.base.label if hasattr(s, "base") else s.label if hasattr(s, "label") else s).argument
                for name, s in known.items()}
    return to_sympy(parse_term(text, declared), known)


def parse_term(text: str, known: Mapping[str, Argument], rows: bool = False) -> Term:
    """The formula as a term: one value per example, or with `rows` also one per class. Raises FormulaError."""
    reader, tree = _read(text, known)
    term = reader.whole(tree)
    if term.sort == "row" and not rows:
        raise reader.error("E112", "the formula has a value per class, and a loss has one per example", tree,
                           "sum it over the classes: sum(...)")
    return term


def parse_formula(text: str, domain: Mapping[str, str | Domain], targets: Sequence[str] | None = None,
                  parameters: Mapping[str, str] | None = None, rows: bool = False) -> tuple[Term, dict[str, Argument]]:
    """The formula, and its arguments with what it shows of them: which are rows, which undeclared names are labels.

    domain, targets, parameters: as for `arguments`. rows: whether a value per class is allowed.
    Raises FormulaError.
    """
    declared = arguments(domain, targets, parameters)
    _, tree = _read(text, declared)
    known = with_axes(declared, *axes.rows_and_labels(tree, declared, are_rows_written(domain)))
    return parse_term(text, known, rows), known


def parse_condition(text: str, known: Mapping[str, Argument]) -> Term:
    """A relation between arguments, such as `x > y`, as a term of sort truth. Raises FormulaError."""
    reader, tree = _read(text, known)
    return reader.truth(tree, None, 0)


def parse_relations(texts: str | Iterable[str], known: Mapping[str, Argument]) -> tuple[Term, ...]:
    """Relations between single numbers: `x > y`, `0 < x < y`, several with commas. Raises FormulaError."""
    from lossmith.derivations.declarations import split

    found = []
    for text in [part for whole in ([texts] if isinstance(texts, str) else texts) for part in split(str(whole))]:
        reader, tree = _read(text, known, "the relation")
        if not isinstance(tree, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.BinOp):
            raise reader.error("E114", "this is no relation", tree, "write a comparison, such as x > y")
        relation = reader.truth(tree, None, 0)
        for t in terms.walk(relation):
            if t.op == "eq":
                raise reader.error("E114", "a relation is one of <, <=, >, >= and !=", tree, EQUAL)
            if t.op in ("row", "label", "position", "count"):
                raise reader.error("E114", "a relation is between single numbers, and this has a value per class",
                                   tree, "say it with a domain: x=(0,inf)")
        if not any(True for _ in terms.leaves(relation)):
            raise reader.error("E114", "this relation names no argument", tree)
        found.append(relation)
    return tuple(found)


def _read(text: str, known: Mapping[str, Argument], what: str = "the formula") -> tuple[_Reader, ast.expr]:
    if len(text) > MAX_LENGTH:
        raise FormulaError("E108", f"{what} has {len(text)} characters, and {MAX_LENGTH} are the limit")
    text = re.sub(r"[\t\r\n]", " ", text).strip()
    if not text:
        raise FormulaError("E102", f"{what} is empty", hint="write one, such as log(1 + exp(x)) - x*z")
    for at, c in enumerate(text):
        if not _ALLOWED.match(c):
            shown = c if c.isprintable() else f"\\u{{{ord(c):x}}}"
            hint = CHARACTERS.get(c, "`lossmith explain E101` lists what a formula may contain")
            raise FormulaError("E101", f"'{shown}' has no place in a formula", text, at, at + 1, hint)
    reader = _Reader(text, known)
    return reader, _grammar(text, what)


def _grammar(text: str, what: str) -> ast.expr:
    """Python's own reading of the text."""
    for digits in re.finditer(rf"\d{{{8 * MAX_DIGITS},}}", text):  # Python itself refuses some thousands
        raise FormulaError("E107", TOO_LONG, text, digits.start(), digits.end())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise _syntax(text, error, what) from None
    except (ValueError, RecursionError, MemoryError):
        raise (_too_deep() if _brackets(text) > MAX_DEPTH else _too_many()) from None
    _measure(tree)
    return tree


def _brackets(text: str) -> int:
    """How deep brackets stand in one another."""
    depths = accumulate((c in "([") - (c in ")]") for c in text)
    return max(depths, default=0)


def _too_deep() -> FormulaError:
    return FormulaError("E108", f"the formula is nested more than {MAX_DEPTH} deep")


def _too_many() -> FormulaError:
    return FormulaError("E108", f"the formula has more than {MAX_NODES} operations",
                        hint="give a part of it a name of its own, and a domain")


def _measure(tree: ast.expr) -> None:
    """Refuse what is too large before anything walks it by recursion."""
    count, levels = 0, 0
    level: list[ast.AST] = [tree]
    while level and count <= MAX_NODES:
        count += sum(isinstance(t, ast.expr) for t in level)
        levels += 1
        level = [part for t in level for part in ast.iter_child_nodes(t) if isinstance(part, ast.expr | ast.keyword)]
    if count > MAX_NODES:
        raise _too_many()
    if levels > 2 * MAX_STACK:
        raise _too_deep()


def _syntax(text: str, error: SyntaxError, what: str) -> FormulaError:
    """A syntax error in words that a mathematician would use."""
    if "too many nested" in (error.msg or ""):
        return _too_deep()
    start, hint = _slip(text, what) or (max(0, (error.offset or 1) - 1), "check brackets and operators")
    said = "this is not a formula" if what == "the formula" else "this is no relation"
    return FormulaError("E102" if what == "the formula" else "E114", said, text, min(start, len(text)), 0, hint)


def _slip(text: str, what: str) -> tuple[int, str] | None:
    """Where a text departs from a formula, and what to type; None where nothing is known better than by Python."""
    product = re.search(r"(?<![\w.])(\d+\.?\d*)([A-Za-z_]\w*)|\)\s*(?=[\w(])|(?<=\w)\s+(?=[\w(])", text)
    called = re.search(r"([A-Za-z_]\w*)\s+([A-Za-z_]\w*|[\d.]+)", text)
    dangling = re.search(r"[-+*/<>]\s*$", text)
    single = re.search(r"(?<![<>!=])=(?!=)", text)
    opened, closed = text.count("("), text.count(")")
    if single:
        return single.start(), EQUAL if what == "the relation" else "a formula is one side only; write == to compare"
    if "|" in text:
        return text.index("|"), "write abs(x) for |x|"
    if "!" in text.replace("!=", ""):
        return text.index("!"), CHARACTERS["!"] + ", gamma(n + 1) for n!"
    if called and called[1] in FUNCTIONS:
        return called.start(), f"write {called[1]}({called[2][:30]})"
    if product and text[product.start():product.end()].strip() not in ("", ")"):
        return product.start(), f"write a product with *: {product[1]}*{product[2]}"
    if product:
        return product.end() - 1, "write a product with *"
    if opened != closed:
        return _bracket(text), (f"{opened} bracket{'s are' if opened != 1 else ' is'} opened and {closed} closed")
    return (dangling.start(), "a number or a name is missing after it") if dangling else None


def _bracket(text: str) -> int:
    """Where the first bracket stands that closes none, or else the last one that is not closed."""
    open_ = []
    for at, c in enumerate(text):
        if c == "(":
            open_.append(at)
        elif c == ")" and not open_:
            return at
        elif c == ")":
            open_.pop()
    return open_[-1] if open_ else len(text) - 1


class _Reader:
    """Walks Python's tree and builds the term. `bound`: the name of the class index inside a sum."""

    def __init__(self, text: str, known: Mapping[str, Argument]) -> None:
        self.text, self.known = text, known
        self.labels = frozenset(n for n, a in known.items() if a.role == "label")
        self.has_rows = any(a.axis == "class" for a in known.values())
        self.constants: list[tuple[ast.expr, Term]] = []
        self._constant: dict[int, bool] = {}

    def error(self, code: str, message: str, tree: ast.AST, hint: str = "") -> FormulaError:
        start, stop = getattr(tree, "col_offset", 0), getattr(tree, "end_col_offset", None) or 0
        return FormulaError(code, message, self.text, start, stop, hint)

    def whole(self, tree: ast.expr) -> Term:
        """The whole formula, its constants looked at."""
        term = self.value(tree, None, 0)
        deepest: dict[int, int] = {}
        for t in terms.walk(term):
            deepest[t.id] = 1 + max((deepest[a.id] for a in t.args), default=0)
        if deepest[term.id] > MAX_STACK:
            raise self.error("E108", f"written out, the formula is nested more than {MAX_STACK} deep", tree)
        below = {t.args[1] for t in terms.walk(term) if t.op == "div" and self._is_constant(t.args[1])}
        for place, constant in _outermost(self.constants):
            value = _value_of(constant)
            if value is None:
                raise self.error("E115", "this constant is infinite in every format, or has no value", place,
                                 "a formula holds finite numbers: the limits at infinity are found without it")
            if constant in below and 0 in value:
                raise self.error("E115", "this divides by zero", place, "the constant below the fraction is 0")
        return term

    def value(self, tree: ast.expr, bound: str | None, depth: int) -> Term:
        """A number per example or per class."""
        self._limits(tree, depth)
        term = self._value(tree, bound, depth + 1)
        if term.sort == "truth":
            raise self.error("E111", "a comparison is not a value", tree, "write where(condition, a, b)")
        self._seen(tree, term)
        return term

    def _seen(self, tree: ast.expr, term: Term) -> None:
        """What is looked at in every part: its size, and whether it is a constant."""
        if term.size > MAX_SIZE:
            raise self.error("E108", f"written out, this has more than {MAX_SIZE} operations", tree,
                             "give a part of it a name of its own, and a domain")
        if term.args and self._is_constant(term):
            self.constants.append((tree, term))

    def _is_constant(self, term: Term) -> bool:
        """Whether nothing in a term is given from outside."""
        found = self._constant.get(term.id)
        if found is None:
            found = term.op not in _GIVEN and all(self._is_constant(a) for a in term.args)
            self._constant[term.id] = found
        return found

    def _value(self, tree: ast.expr, bound: str | None, depth: int) -> Term:
        match tree:
            case ast.Constant():
                return self._number(tree)
            case ast.Name():
                return self._name(tree)
            case ast.Attribute():
                return self._attribute(tree)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                inside = self.value(tree.operand, bound, depth)
                return make("neg", inside) if isinstance(tree.op, ast.USub) else inside
            case ast.BinOp() if type(tree.op) in BINARY:
                return self._binary(tree, bound, depth)
            case ast.Call():
                return self._call(tree, bound, depth)
            case ast.Subscript():
                return self._subscript(tree, bound, depth)
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp() | ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
                raise self.error("E111", "a comparison is not a value", tree, "write where(condition, a, b)")
        raise self._foreign(tree)

    def truth(self, tree: ast.expr, bound: str | None, depth: int) -> Term:
        """A condition: comparisons joined by and, or, not, or by &, |, ~."""
        self._limits(tree, depth)
        match tree:
            case ast.Compare():
                return self._comparison(tree, bound, depth + 1)
            case ast.BoolOp():
                return self._joined(LOGICAL[type(tree.op)], tree.values, bound, depth)
            case ast.BinOp(op=ast.BitAnd() | ast.BitOr()):
                return self._joined(LOGICAL[type(tree.op)], [tree.left, tree.right], bound, depth)
            case ast.UnaryOp(op=ast.Not() | ast.Invert()):
                return node("not", (self.truth(tree.operand, bound, depth + 1),))
            case ast.Call() if axes.function_name(tree.func) in LOGICAL_CALLS and len(tree.args) == 2:
                return self._joined(LOGICAL_CALLS[str(axes.function_name(tree.func))], tree.args, bound, depth)
            case ast.Call() if axes.function_name(tree.func) == "logical_not" and len(tree.args) == 1:
                return node("not", (self.truth(tree.args[0], bound, depth + 1),))
        joined = re.search(r"[&|]", self.text) is not None and isinstance(tree, ast.Constant | ast.Name)
        hint = "put brackets around each: (x > 0) & (y > 0)" if joined else "write a comparison, such as x > 0"
        raise self.error("E111", "a condition is needed here", tree, hint)

    def _joined(self, op: str, parts: Sequence[ast.expr], bound: str | None, depth: int) -> Term:
        return reduce(lambda a, b: node(op, (a, b)), [self.truth(p, bound, depth + 1) for p in parts])

    def _limits(self, tree: ast.AST, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self.error("E108", f"the formula is nested more than {MAX_DEPTH} deep", tree,
                             "put brackets around parts of a long sum")

    def _foreign(self, tree: ast.AST) -> FormulaError:
        kind = type(tree.op) if isinstance(tree, ast.BinOp) else type(tree)
        what, hint = NOT_OURS.get(kind, ("this", "`lossmith explain E103` lists what a formula may contain"))
        return self.error("E103", f"{what} has no place in a formula", tree, hint)

    # --- leaves ---

    def _number(self, tree: ast.Constant) -> Term:
        written = self.text[tree.col_offset:tree.end_col_offset]
        if not _NUMBER.match(written):
            raise self.error("E107", f"'{written[:40]}' is not a decimal number", tree, "such as 0.25 or 1e-7")
        if sum(c.isdigit() for c in written) > MAX_DIGITS:
            raise self.error("E107", TOO_LONG, tree)
        exponent = int(re.sub(r"^[^eE]*[eE]?", "", written) or 0)
        if abs(exponent) > 999:  # never written out
            large = exponent > 0
            raise self.error("E115", f"this number is {'infinite' if large else 'zero'} in every format", tree,
                             "1e308 is the largest" if large else "5e-324 is the smallest")
        return self._finite(terms.const(Fraction(written)), tree)

    def _finite(self, term: Term, tree: ast.AST) -> Term:
        """A constant that a format can hold."""
        if terms.is_const(term) and abs(terms.number(term)) >= LARGEST:
            raise self.error("E115", "this number is infinite in every format", tree, "1e308 is the largest")
        if terms.is_const(term) and terms.number(term).denominator > LARGEST**4:
            raise self.error("E107", "this number has too many digits", tree)
        return term

    def _name(self, tree: ast.Name) -> Term:
        found = self.known.get(tree.id)
        if found is not None:
            if found.role == "label":
                return terms.label(found.name)
            return terms.row(found.name) if found.axis == "class" else terms.var(found.name)
        if tree.id in vocabulary.CONSTANTS:
            return vocabulary.CONSTANTS[tree.id]
        if self.has_rows and tree.id in ("C", "k"):
            return terms.COUNT if tree.id == "C" else terms.POSITION
        if tree.id in vocabulary.INFINITE:
            raise self._infinite(tree)
        if tree.id in FUNCTIONS:
            raise self.error("E102", f"'{tree.id}' needs its arguments", tree, f"write {tree.id}(...)")
        if tree.id == "e":
            raise self.error("E105", "'e' has no domain", tree, "write exp(x) for e**x, E for the number")
        near = _near(tree.id, self.known)
        hint = f"did you mean '{near}'?" if near else f"declare it: --domain \"{tree.id[:40]}=real\""
        raise self.error("E105", f"unknown name '{tree.id[:40]}'", tree, hint)

    def _attribute(self, tree: ast.Attribute) -> Term:
        """A constant of a module: np.pi, math.e."""
        parts = axes.dotted(tree)
        if parts is None or parts[0] in self.known or not all(p in vocabulary.MODULES for p in parts[:-1]):
            raise self._foreign(tree)
        if parts[-1] in vocabulary.INFINITE:
            raise self._infinite(tree)
        if parts[-1] not in vocabulary.PREFIXED_CONSTANTS:
            raise self.error("E104", f"unknown constant '{parts[-1][:40]}'", tree, "there are pi and e")
        return vocabulary.PREFIXED_CONSTANTS[parts[-1]]

    def _infinite(self, tree: ast.AST) -> FormulaError:
        return self.error("E115", "infinity is not a number here", tree,
                          "its limits are found without it: give an argument the domain extended, or [0,inf]")

    # --- operations ---

    def _operand(self, tree: ast.expr, bound: str | None, depth: int) -> Term:
        """One side of an operation; a comparison there counts as 1 or 0, as in NumPy."""
        if isinstance(tree, ast.Compare) or (isinstance(tree, ast.BinOp) and type(tree.op) in LOGICAL):
            return vocabulary.indicator(self.truth(tree, bound, depth))
        return self.value(tree, bound, depth)

    def _binary(self, tree: ast.BinOp, bound: str | None, depth: int) -> Term:
        # A long sum leans to the left: it is walked in a loop, so that its length is no depth.
        spine = [tree]
        while isinstance(spine[-1].left, ast.BinOp) and type(spine[-1].left.op) in BINARY:
            spine.append(spine[-1].left)
        left = self._operand(spine[-1].left, bound, depth)
        for part in reversed(spine):
            right = self._operand(part.right, bound, depth)
            op = BINARY[type(part.op)]
            left = self._power(part, left, right) if op == "pow" else self._made(part, op, left, right)
            if part is not tree:
                self._seen(part, left)
        return left

    def _made(self, tree: ast.AST, op: str, left: Term, right: Term) -> Term:
        if op == "div" and terms.is_const(right, 0):
            raise self.error("E115", "this divides by zero", tree, "the constant below the fraction is 0")
        return self._finite(make(op, left, right), tree)

    def _power(self, tree: ast.AST, base: Term, exponent: Term) -> Term:
        if not terms.is_const(exponent):
            return make("pow", base, exponent)
        n = terms.number(exponent)
        if abs(n) > MAX_EXPONENT:
            raise self.error("E109", f"a constant exponent is {MAX_EXPONENT} at most", tree,
                             "write exp(n*log(x)) for a larger one")
        if terms.is_const(base, 0) and n <= 0:
            raise self.error("E115", "zero has no power of this kind", tree,
                             "write 1 for 0**0" if n == 0 else "this divides by zero")
        foldable = terms.is_const(base) and n.denominator == 1
        if foldable and _bits(terms.number(base)) * abs(n) < 4 * LARGEST.bit_length():
            return self._finite(terms.const(terms.number(base) ** int(n)), tree)
        return self._finite(make("pow", base, exponent), tree)

    # --- functions ---

    def _call(self, tree: ast.Call, bound: str | None, depth: int) -> Term:
        name = self._called(tree.func)
        if name == "len" and len(tree.args) == 1 and self.has_rows:
            return terms.COUNT
        if name not in FUNCTIONS:
            raise self._no_function(tree.func, name)
        given = self._given(tree, name)
        build, low, high = FUNCTIONS[name]
        if not low <= len(given) <= high:
            takes = f"{low}" if low == high else f"{low} or more" if high == ANY else f"{low} or {high}"
            shape = "condition, a, b" if name == "where" else ", ".join("abcdefgh"[:max(low, 1)])
            raise self.error("E106", f"'{name}' takes {takes} argument{'s' * (takes != '1')}, not {len(given)}", tree,
                             f"write {name}({shape})")
        if name == "where":
            return build(self.truth(given[0], bound, depth), *(self.value(a, bound, depth) for a in given[1:]))
        return self._apply(tree, name, given, bound, depth)

    def _called(self, tree: ast.expr) -> str:
        """The name of the function that is called; a module's name before it is left out."""
        if not isinstance(tree, ast.Name | ast.Attribute):
            raise self.error("E102", "this is not a function", tree, "write a product with *")
        name = axes.function_name(tree)
        if name is None or (isinstance(tree, ast.Attribute) and (axes.dotted(tree) or [""])[0] in self.known):
            raise self._foreign(tree)
        return name

    def _given(self, tree: ast.Call, name: str) -> list[ast.expr]:
        """The arguments of a call; what says which axis is the class axis is left out: it is the last one."""
        over_classes = name in vocabulary.REDUCING or name in vocabulary.EITHER
        for keyword in tree.keywords:
            last = ast.unparse(keyword.value) in ("-1", "None") if keyword.arg in _AXIS else keyword.arg in _KEEP
            if keyword.arg in _AXIS and over_classes and not last:
                raise self.error("E112", "the class axis is the last one", keyword, "write axis=-1, or nothing")
            if not (over_classes and last):
                raise self._foreign(keyword)
        given = list(tree.args)
        if len(given) == 2 and name in (vocabulary.REDUCING | {"logsumexp"}) and ast.unparse(given[1]) == "-1":
            return given[:1]
        if name == "logsumexp" and len(given) > 1 and any(isinstance(a, ast.Constant) for a in given[1:]):
            raise self.error("E112", "this may be an axis, or one more term", given[1],
                             "write axis=-1 for the axis; lse(x, 0) for one more term")
        return given

    def _apply(self, tree: ast.Call, name: str, given: list[ast.expr], bound: str | None, depth: int) -> Term:
        runs = name in vocabulary.REDUCING or (name in vocabulary.EITHER and len(given) == 1)
        multiple = name in ("lse", "logsumexp", "peak", "rest")
        inner = axes.own_index(tree, self.labels) if runs or multiple else bound
        if name == "sum" and len(given) == 2:
            index = given.pop()
            if not isinstance(index, ast.Name) or index.id in self.known:
                raise self.error("E112", "the second argument of sum is the name of its index", index, "sum(x[i], i)")
        args = [self.value(a, inner, depth) for a in given]
        if runs and not any(a.sort == "row" for a in args):
            raise self.error("E112", f"'{name}' runs over the classes, and this has no class axis", given[0],
                             "declare a row: --domain \"x[k]=real\"")
        if name in ("onehot", "one_hot") and args[0].op != "label":
            raise self.error("E112", "'onehot' takes a label", given[0], "declare one: --domain \"y=index\"")
        if name in ("pow", "power", "float_power", "divide", "true_divide"):
            return self._power(tree, *args) if "pow" in name else self._made(tree, "div", *args)
        return self._finite(FUNCTIONS[name][0](*args), tree)

    def _no_function(self, tree: ast.expr, name: str) -> FormulaError:
        if name in self.known:
            return self.error("E104", f"'{name}' is an argument, not a function", tree, f"write {name}*(...)")
        if name in vocabulary.CONSTANTS:
            return self.error("E104", f"'{name}' is a constant, not a function", tree, f"write {name}*(...)")
        near = vocabulary.HINTS.get(name) or _near(name, FUNCTIONS)
        more = "`lossmith explain E104` lists what a formula may contain"
        return self.error("E104", f"unknown function '{name[:40]}'", tree,
                          f"did you mean '{near}'?  {more}" if near else more)

    # --- rows ---

    def _subscript(self, tree: ast.Subscript, bound: str | None, depth: int) -> Term:
        base = self.value(tree.value, bound, depth)
        if base.sort != "row":
            raise self.error("E112", "only a row has an index", tree.value, "declare a row: --domain \"x[k]=real\"")
        if not isinstance(tree.slice, ast.Name):
            raise self.error("E112", "an index is a label, or the index of a sum", tree.slice,
                             "write x[y], and give the label y for each example; or sum(x[i], i)")
        index = tree.slice.id
        if index in self.labels:
            return _at(base, terms.label(index))
        if index == bound or (index == "k" and bound is None):
            return base
        index = index[:30]
        hint = f"inside this sum the index is '{bound}'"
        if not bound:
            hint = f"write sum({ast.unparse(tree.value)[:30]}[{index}], {index})"
        elif index in axes.INDEX_LETTERS:
            hint = "pairs of classes do not fit: each sum has one index"
        raise self.error("E112", f"'{index}' is neither a label nor the index of a sum around it", tree.slice, hint)

    def _comparison(self, tree: ast.Compare, bound: str | None, depth: int) -> Term:
        for op in tree.ops:
            if type(op) not in COMPARE:
                raise self.error("E103", "only <, <=, >, >=, == and != compare", tree)
        sides = [self.value(t, bound, depth) for t in (tree.left, *tree.comparators)]
        parts = [node(COMPARE[type(op)], (a, b)) for op, a, b in zip(tree.ops, sides, sides[1:])]
        return reduce(lambda a, b: node("and", (a, b)), parts)


def _at(term: Term, label: Term) -> Term:
    """A row read at a label: what runs over the classes inside it keeps its sums."""
    if not terms.varies(term):
        return term
    if term.op == "row":
        return node("at", (term, label))
    if term.op == "position":
        return label
    if term.op == "onehot":
        return vocabulary.indicator(node("eq", (term.args[0], label)))
    return terms.rebuild(term, tuple(_at(a, label) for a in term.args))


def _bits(value: Fraction) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _outermost(found: Sequence[tuple[ast.expr, Term]]) -> list[tuple[ast.expr, Term]]:
    """The constants that are part of no larger one."""
    inside = {id(t) for tree, _ in found for t in ast.walk(tree) if t is not tree}
    return [(tree, term) for tree, term in found if id(tree) not in inside]


def _value_of(constant: Term) -> Any:
    """A ball that holds the value of a constant; None where it has none that a format can hold."""
    from lossmith.derivations import enclosing

    ball: Any = None
    for precision in (100, 400, 1600):
        with enclosing.working(precision):
            ball = enclosing.run(constant, {}, True)
            if ball.is_finite() and 0 not in ball:
                break
    return ball if ball.is_finite() and abs(ball) < LARGEST else None


def _near(name: str, known: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.65)
    return found[0] if found else None


def explain(code: str) -> str:
    """What an error code means, and what a formula may contain. Raises KeyError on an unknown code."""
    names = textwrap.wrap(", ".join(sorted(FUNCTIONS)), 90)
    return "\n".join([
        f"{code}: {CODES[code]}",
        "",
        "A formula may contain",
        "  numbers      1, 0.1, 1e-7 (exact); pi, E",
        "  arguments    each declared with a domain: x=real, z=[0,1], y=index (a label), x[k]=real (a row)",
        "  arithmetic   a + b, a - b, a*b, a/b, a**b, -a, brackets",
        "  choice       where(x > 0, a, b), with <, <=, >, >=, ==, != and and, or, not (or &, |, ~)",
        "  relations    where=[\"x > y\"], --where \"x > y\": <, <=, >, >=, !=, chained, sides may be expressions",
        "  rows         sum(t*log(q)) or sum(t[i]*log(q[i]), i), x[y] at a label; C is the number of classes",
        "  modules      np.log(x), math.pi, scipy.special.erfc(x): the name before the dot is left out",
        "  functions    " + "\n               ".join(names),
    ])
