"""A user's formula, from text to a term or to SymPy: read by a whitelist, never evaluated.

Python's own grammar splits the text; this module then walks the tree it gives and accepts only
what the tables below name. Numbers are exact: `0.1` is one tenth. Importing this module does not
import SymPy.

Rows: an argument declared as `x[k]`, or with the domain `simplex`, runs over the class axis. It is
summed with `sum(t*log(q))` or `sum(t[i]*log(q[i]), i)`, and read at a label with `x[y]`.
"""

from __future__ import annotations

import ast
import difflib
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import reduce
from typing import TYPE_CHECKING, Any

from lossmith.derivations import reserved, terms
from lossmith.derivations.domains import Domain, DomainError, parse_domain
from lossmith.derivations.terms import Term, make, node

if TYPE_CHECKING:
    from lossmith.derivations.loss import Argument

MAX_LENGTH = 2000
MAX_NODES = 600
MAX_DEPTH = 80
MAX_DIGITS = 60
MAX_EXPONENT = 64
LARGEST = 10**1200  # of a numerator or denominator that arithmetic on constants gives

CODES: Mapping[str, str] = {
    "E101": "a character that has no place in a formula; formulas are written in ASCII",
    "E102": "text that is not a formula: a bracket is open, or an operator or operand is missing",
    "E103": "something that Python knows and a formula does not: an attribute, a string, a keyword argument",
    "E104": "a function that there is not",
    "E105": "a name that was not declared with a domain",
    "E106": "a function with the wrong number of arguments",
    "E107": "a number that cannot be read exactly",
    "E108": f"a formula beyond the limits: {MAX_LENGTH} characters, {MAX_NODES} operations, {MAX_DEPTH} deep",
    "E109": f"a constant exponent beyond {MAX_EXPONENT}",
    "E110": "a name that an argument cannot have",
    "E111": "a comparison where a value is needed, or a value where a comparison is needed",
    "E112": "a row (one value per class) where a single value is needed, or the reverse",
    "E113": "a domain that cannot be read",
}


class FormulaError(ValueError):
    """What is wrong with a formula, where, and what to type instead.

    `start` and `stop` mark the place in `text`; `hint` is one line or empty. As text it is the
    message, the formula, a caret line and the hint, each on a line of its own.
    """

    def __init__(self, code: str, message: str, text: str = "", start: int = 0, stop: int = 0, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.text = code, message, text
        self.start, self.stop, self.hint = start, max(stop, start + 1), hint

    def __str__(self) -> str:
        lines = [f"{self.message} ({self.code})"]
        if self.text:
            shown, start, stop = _window(self.text, self.start, self.stop)
            shown = "".join(c if c.isprintable() else "?" for c in shown)
            lines += [f"    {shown}", f"    {' ' * start}{'^' * (stop - start)}"]
        if self.hint:
            lines.append(f"    {self.hint}")
        return "\n".join(lines)

    @property
    def line(self) -> str:
        """The same on one line, without the caret."""
        return f"{self.message} ({self.code})" + (f": {self.hint}" if self.hint else "")


def _window(text: str, start: int, stop: int, width: int = 100) -> tuple[str, int, int]:
    """The part of a long formula around the marked place, and where the mark falls in it."""
    if len(text) <= width:
        return text, start, min(stop, max(len(text), start + 1))
    left = max(0, min(start - width // 3, len(text) - width))
    shown = text[left:left + width]
    lead, tail = "..." if left else "", "..." if left + width < len(text) else ""
    return lead + shown + tail, start - left + len(lead), min(stop - left, width) + len(lead)


# --- what a formula may contain ---------------------------------------------------------------

Maker = Callable[..., Term]


def _plain(op: str) -> Maker:
    return lambda *args: make(op, *args)


def _fold(op: str) -> Maker:
    return lambda *args: reduce(lambda a, b: make(op, a, b), args)


def _softmax(a: Term) -> Term:
    return make("div", make("exp", a), node("sum", (make("exp", a),)))


def _entry(make_: Maker, low: int, high: int) -> tuple[Maker, int, int]:
    return make_, low, high


ANY = 99
FUNCTIONS: Mapping[str, tuple[Maker, int, int]] = {
    **{op: _entry(_plain(op), spec.arity, spec.arity)
       for table in (terms.FUNCTIONS, terms.NAMED, terms.GUARDED) for op, spec in table.items()},
    **{op: _entry(_plain(op), 1, 1) for op in ("abs", "sign", "sqrt")},
    **{op: _entry(_fold(op), 2, ANY) for op in ("max", "min")},
    "where": _entry(_plain("where"), 3, 3),
    "sum": _entry(_plain("sum"), 1, 2),
    "mean": _entry(lambda a: make("div", node("sum", (a,)), terms.COUNT), 1, 1),
    "onehot": _entry(_plain("onehot"), 1, 1),
    "logsumexp": _entry(_plain("lse"), 1, ANY),
    **{op: _entry(_plain(op), 1, ANY) for op in ("lse", "peak", "rest")},
    "softmax": _entry(_softmax, 1, 1),
    "log_softmax": _entry(lambda a: make("log", _softmax(a)), 1, 1),
}
REDUCING = frozenset({"sum", "mean", "logsumexp", "lse", "peak", "rest", "softmax", "log_softmax"})
NEEDS_ROW = frozenset({"sum", "mean", "softmax", "log_softmax"})
SYNONYMS: Mapping[str, str] = {
    "ln": "log", "sig": "sigmoid", "logistic": "sigmoid", "expit": "sigmoid", "log_sigmoid": "log(sigmoid(...))",
    "logsigmoid": "log(sigmoid(...))", "relu": "max(..., 0)", "pow": "a**b", "power": "a**b", "square": "a**2",
    "fabs": "abs", "maximum": "max", "minimum": "min", "Max": "max", "Min": "min", "Abs": "abs", "clamp": "clip",
    "sgn": "sign", "gammaln": "lgamma", "loggamma": "lgamma", "psi": "digamma", "arctan": "atan", "arcsin": "asin",
    "arccos": "acos", "arctanh": "atanh", "arcsinh": "asinh", "arccosh": "acosh", "Sum": "sum",
    "cbrt": "a**(1/3)", "logit": "log(p/(1-p))",
}
BINARY: Mapping[type[ast.AST], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow",
}
COMPARE: Mapping[type[ast.AST], str] = {
    ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne",
}
NOT_OURS: Mapping[type[ast.AST], tuple[str, str]] = {
    ast.Attribute: ("an attribute", "write the function alone: log(x), not math.log(x)"),
    ast.IfExp: ("'if'", "write where(condition, a, b)"),
    ast.FloorDiv: ("'//'", "write / for a quotient"),
    ast.BitXor: ("'^'", "write ** for a power"),
    ast.Tuple: ("a comma", "a formula is one expression"),
    ast.List: ("a list", "a formula is one expression"),
    ast.Starred: ("'*' before a name", "write the arguments one by one"),
    ast.keyword: ("a keyword argument", "write the arguments in order, without names"),
}
CHARACTERS: Mapping[str, str] = {
    "^": "write ** for a power", "|": "write abs(x) for |x|", "×": "write *", "·": "write *", "÷": "write /",
    "−": "write - (this is another dash)", "–": "write - (this is another dash)", "²": "write **2",
    "³": "write **3", "σ": "write sigmoid(x)", "√": "write sqrt(x)", "∑": "write sum(...)", "Σ": "write sum(...)",
    "≤": "write <=", "≥": "write >=", "≠": "write !=", "π": "write pi", "∞": "infinity is not a number here",
    "{": "write ( and )", "}": "write ( and )", "\\": "write the formula as in Python, not in LaTeX",
    "%": "there is no remainder in a formula", ";": "a formula is one expression", "!": "write != for 'not equal'",
}
_ALLOWED = re.compile(r"[A-Za-z0-9_ .,+\-*/()\[\]<>=!]")
_NUMBER = re.compile(r"^(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?$")

# Functions whose name is also a letter: where it is declared and not called, it is the argument.
LETTERS = frozenset({"gamma"})


def why_not_a_name(name: str) -> str | None:
    """Why an argument cannot be called `name`, in words; None where it can."""
    if (name in FUNCTIONS or name in terms.OPS) and name not in LETTERS:
        return "it is the name of a function"
    return reserved.why_reserved(name)


# --- arguments ---------------------------------------------------------------------------------


def arguments(domain: Mapping[str, str | Domain], targets: Sequence[str] | None = None,
              parameters: Mapping[str, str] | None = None) -> dict[str, Argument]:
    """The arguments that a table of domains declares, in its order.

    domain: from name (`x`, or `x[k]` for a row) to a domain, as text. targets: names of those that
    the others are compared with; all but the first when None. parameters: values by name; a
    parameter is not differentiated. Raises FormulaError (E110, E113).
    """
    from lossmith.derivations.loss import Argument

    fixed = dict(parameters or {})
    made: dict[str, Argument] = {}
    for key, written in domain.items():
        name, is_row = (key[:-3].strip(), True) if key.replace(" ", "").endswith("[k]") else (key.strip(), False)
        _check_name(name)
        try:
            known = written if isinstance(written, Domain) else parse_domain(written)
        except DomainError as error:
            raise FormulaError("E113", f"the domain of '{name}': {error}") from None
        kind = "label" if known.index else "parameter" if name in fixed else "target"
        if kind == "target" and (name not in targets if targets is not None else not made):
            kind = "input"
        axis = "class" if is_row or known.unit_sum else "none"
        made[name] = Argument(name, kind, known, axis, kind in ("input", "target"),  # type: ignore[arg-type]
                              default=fixed.get(name), order=len(made))
    for name in [*(targets or ()), *fixed]:
        if name not in made:
            raise FormulaError("E105", f"'{name}' has no domain", hint=f"declare it: {name} = \"real\"")
    return made


def symbols(domain: Mapping[str, str | Domain], targets: Sequence[str] | None = None,
            parameters: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The same as SymPy symbols (a row is an IndexedBase), for `parse`."""
    import sympy
    from lossmith.derivations.declaring import Symbol

    made = {name: Symbol(a) for name, a in arguments(domain, targets, parameters).items()}
    return {n: sympy.IndexedBase(s) if s.argument.axis == "class" else s for n, s in made.items()}


def _check_name(name: str) -> None:
    why = why_not_a_name(name)
    if why:
        raise FormulaError("E110", f"an argument cannot be called '{name[:40]}': {why}", hint="choose another name")


# --- reading -----------------------------------------------------------------------------------


def parse(text: str, known: Mapping[str, Any]) -> Any:
    """The formula as a SymPy expression over `known` (see `symbols`), in the author's order of terms.

    Raises FormulaError.
    """
    from lossmith.derivations.surface import to_sympy

    declared = {name: (s.base.label if hasattr(s, "base") else s.label if hasattr(s, "label") else s).argument
                for name, s in known.items()}
    return to_sympy(parse_term(text, declared), known)


def parse_term(text: str, known: Mapping[str, Argument]) -> Term:
    """The formula as a term: one value per example. Raises FormulaError."""
    reader, tree = _read(text, known)
    term = reader.value(tree, None, 0)
    if term.sort == "row":
        raise reader.error("E112", "the formula has a value per class, and a loss has one per example", tree,
                           "sum it over the classes: sum(...)")
    return term


def parse_condition(text: str, known: Mapping[str, Argument]) -> Term:
    """A relation between arguments, such as `x > y`, as a term of sort truth. Raises FormulaError."""
    reader, tree = _read(text, known)
    return reader.truth(tree, None, 0)


def _read(text: str, known: Mapping[str, Argument]) -> tuple[_Reader, ast.expr]:
    text = re.sub(r"[\t\r\n]", " ", text).strip()
    if not text:
        raise FormulaError("E102", "the formula is empty", hint="write one, such as log(1 + exp(x)) - x*z")
    if len(text) > MAX_LENGTH:
        raise FormulaError("E108", f"the formula has {len(text)} characters, and {MAX_LENGTH} are the limit")
    for at, c in enumerate(text):
        if not _ALLOWED.match(c):
            shown = c if c.isprintable() else f"\\u{{{ord(c):x}}}"
            hint = CHARACTERS.get(c, "`lossmith explain E101` lists what a formula may contain")
            raise FormulaError("E101", f"'{shown}' has no place in a formula", text, at, at + 1, hint)
    reader = _Reader(text, known)
    return reader, _grammar(text)


def _grammar(text: str) -> ast.expr:
    """Python's own reading of the text."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise _syntax(text, error) from None
    except (ValueError, RecursionError, MemoryError):
        raise FormulaError("E108", f"the formula is nested more than {MAX_DEPTH} deep") from None


def _syntax(text: str, error: SyntaxError) -> FormulaError:
    """A syntax error in words that a mathematician would use."""
    if "too many nested" in (error.msg or ""):
        return FormulaError("E108", f"the formula is nested more than {MAX_DEPTH} deep")
    product = re.search(r"(?<![\w.])(\d+\.?\d*)([A-Za-z_]\w*)|\)\s*(?=[\w(])|(?<=\w)\s+(?=[\w(])", text)
    single = re.search(r"(?<![<>=!])=(?!=)", text)
    start = max(0, (error.offset or 1) - 1)
    hint = "check brackets and operators"
    if single:
        start, hint = single.start(), "a formula is one side only; write == to compare"
    elif product and text[product.start():product.end()].strip() not in ("", ")"):
        start, hint = product.start(), f"write a product with *: {product[1]}*{product[2]}"
    elif product:
        start, hint = product.end() - 1, "write a product with *"
    elif text.count("(") != text.count(")"):
        hint = f"{text.count('(')} brackets are opened and {text.count(')')} closed"
    return FormulaError("E102", "this is not a formula", text, min(start, len(text)), 0, hint)


class _Reader:
    """Walks Python's tree and builds the term. `bound`: the name of the class index inside a sum."""

    def __init__(self, text: str, known: Mapping[str, Argument]) -> None:
        self.text, self.known = text, known
        self.count = 0
        self.has_rows = any(a.axis == "class" for a in known.values())

    def error(self, code: str, message: str, tree: ast.AST, hint: str = "") -> FormulaError:
        start, stop = getattr(tree, "col_offset", 0), getattr(tree, "end_col_offset", None) or 0
        return FormulaError(code, message, self.text, start, stop, hint)

    def value(self, tree: ast.expr, bound: str | None, depth: int) -> Term:
        """A number per example or per class."""
        self._limits(tree, depth)
        term = self._value(tree, bound, depth + 1)
        if term.sort == "truth":
            raise self.error("E111", "a comparison is not a value", tree, "write where(condition, a, b)")
        return term

    def _value(self, tree: ast.expr, bound: str | None, depth: int) -> Term:
        match tree:
            case ast.Constant():
                return self._number(tree)
            case ast.Name():
                return self._name(tree)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                inside = self.value(tree.operand, bound, depth)
                return make("neg", inside) if isinstance(tree.op, ast.USub) else inside
            case ast.BinOp() if type(tree.op) in BINARY:
                return self._binary(tree, bound, depth)
            case ast.Call():
                return self._call(tree, bound, depth)
            case ast.Subscript():
                return self._subscript(tree, bound)
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp():
                raise self.error("E111", "a comparison is not a value", tree, "write where(condition, a, b)")
        raise self._foreign(tree)

    def truth(self, tree: ast.expr, bound: str | None, depth: int) -> Term:
        """A condition: comparisons joined by and, or, not."""
        self._limits(tree, depth)
        match tree:
            case ast.Compare():
                return self._comparison(tree, bound, depth + 1)
            case ast.BoolOp():
                op = "and" if isinstance(tree.op, ast.And) else "or"
                return reduce(lambda a, b: node(op, (a, b)), [self.truth(v, bound, depth + 1) for v in tree.values])
            case ast.UnaryOp(op=ast.Not()):
                return node("not", (self.truth(tree.operand, bound, depth + 1),))
        raise self.error("E111", "a condition is needed here", tree, "write a comparison, such as x > 0")

    def _limits(self, tree: ast.AST, depth: int) -> None:
        self.count += 1
        if self.count > MAX_NODES:
            raise FormulaError("E108", f"the formula has more than {MAX_NODES} operations")
        if depth > MAX_DEPTH:
            raise self.error("E108", f"the formula is nested more than {MAX_DEPTH} deep", tree)

    def _foreign(self, tree: ast.AST) -> FormulaError:
        kind = type(tree.op) if isinstance(tree, ast.BinOp) else type(tree)
        what, hint = NOT_OURS.get(kind, ("this", "`lossmith explain E103` lists what a formula may contain"))
        return self.error("E103", f"{what} has no place in a formula", tree, hint)

    def _number(self, tree: ast.Constant) -> Term:
        written = self.text[tree.col_offset:tree.end_col_offset]
        digits = sum(c.isdigit() for c in written)
        if not _NUMBER.match(written):
            raise self.error("E107", f"'{written[:40]}' is not a decimal number", tree, "such as 0.25 or 1e-7")
        if digits > MAX_DIGITS:
            raise self.error("E107", f"a number has {MAX_DIGITS} digits at most", tree)
        return terms.const(Fraction(written))

    def _name(self, tree: ast.Name) -> Term:
        found = self.known.get(tree.id)
        if found is not None:
            if found.role == "label":
                return terms.label(found.name)
            return terms.row(found.name) if found.axis == "class" else terms.var(found.name)
        if tree.id == "pi":
            return terms.PI
        if self.has_rows and tree.id in ("C", "k"):
            return terms.COUNT if tree.id == "C" else terms.POSITION
        if tree.id in FUNCTIONS:
            raise self.error("E102", f"'{tree.id}' needs its arguments", tree, f"write {tree.id}(...)")
        if tree.id == "e":
            raise self.error("E105", "'e' has no domain", tree, "write exp(x) for e**x")
        near = _near(tree.id, self.known)
        hint = f"did you mean '{near}'?" if near else f"declare it: --domain \"{tree.id}=real\""
        raise self.error("E105", f"unknown name '{tree.id[:40]}'", tree, hint)

    def _binary(self, tree: ast.BinOp, bound: str | None, depth: int) -> Term:
        left, right = self.value(tree.left, bound, depth), self.value(tree.right, bound, depth)
        op = BINARY[type(tree.op)]
        if op == "pow" and terms.is_const(right) and abs(terms.number(right)) > MAX_EXPONENT:
            raise self.error("E109", f"a constant exponent is {MAX_EXPONENT} at most", tree.right)
        if op == "pow" and terms.is_const(left, 0) and terms.is_const(right) and terms.number(right) <= 0:
            raise self.error("E102", "zero has no power of this kind", tree)
        if op == "div" and terms.is_const(right, 0):
            raise self.error("E102", "this divides by zero", tree)
        made = make(op, left, right)
        if terms.is_const(made) and max(abs(terms.number(made).numerator), terms.number(made).denominator) > LARGEST:
            raise self.error("E107", "this number has too many digits", tree)
        return made

    def _call(self, tree: ast.Call, bound: str | None, depth: int) -> Term:
        if not isinstance(tree.func, ast.Name):
            if isinstance(tree.func, ast.Attribute):
                raise self._foreign(tree.func)
            raise self.error("E102", "this is not a function", tree.func, "write a product with *")
        name = tree.func.id
        if name not in FUNCTIONS:
            raise self._no_function(tree.func)
        if tree.keywords:
            raise self._foreign(tree.keywords[0])
        build, low, high = FUNCTIONS[name]
        if not low <= len(tree.args) <= high:
            takes = f"{low}" if low == high else f"{low} or more" if high == ANY else f"{low} or {high}"
            raise self.error("E106", f"'{name}' takes {takes} arguments, not {len(tree.args)}", tree)
        if name == "where":
            return build(self.truth(tree.args[0], bound, depth), *(self.value(a, bound, depth) for a in tree.args[1:]))
        return self._apply(tree, name, build, bound, depth)

    def _apply(self, tree: ast.Call, name: str, build: Maker, bound: str | None, depth: int) -> Term:
        given = list(tree.args)
        inner = "k" if name in REDUCING else bound
        if name == "sum" and len(given) == 2:
            index = given.pop()
            if not isinstance(index, ast.Name) or index.id in self.known:
                raise self.error("E112", "the second argument of sum is the name of its index", index, "sum(x[i], i)")
            inner = index.id
        args = [self.value(a, inner, depth) for a in given]
        if name in NEEDS_ROW and args[0].sort != "row":
            raise self.error("E112", f"'{name}' runs over the classes, and this has no class axis", given[0],
                             "declare a row: --domain \"x[k]=real\"")
        if name == "onehot" and args[0].op != "label":
            raise self.error("E112", "'onehot' takes a label", given[0], "declare one: --domain \"y=index\"")
        return build(*args)

    def _no_function(self, tree: ast.Name) -> FormulaError:
        if tree.id in self.known:
            return self.error("E104", f"'{tree.id}' is an argument, not a function", tree, f"write {tree.id}*(...)")
        near = SYNONYMS.get(tree.id) or _near(tree.id, FUNCTIONS)
        more = "`lossmith explain E104` lists what a formula may contain"
        return self.error("E104", f"unknown function '{tree.id[:40]}'", tree,
                          f"did you mean '{near}'?  {more}" if near else more)

    def _subscript(self, tree: ast.Subscript, bound: str | None) -> Term:
        base = tree.value
        found = self.known.get(base.id) if isinstance(base, ast.Name) else None
        if found is None or found.axis != "class":
            raise self.error("E112", "only a row has an index", base, "declare a row: --domain \"x[k]=real\"")
        if not isinstance(tree.slice, ast.Name):
            raise self.error("E112", "an index is a label, or the index of a sum", tree.slice)
        index = tree.slice.id
        label = self.known.get(index)
        if label is not None and label.role == "label":
            return node("at", (terms.row(found.name), terms.label(index)))
        if index == bound or (index == "k" and bound is None):
            return terms.row(found.name)
        hint = f"inside this sum the index is '{bound}'" if bound else f"write sum({found.name}[{index}], {index})"
        raise self.error("E112", f"'{index}' is neither a label nor the index of a sum around it", tree.slice, hint)

    def _comparison(self, tree: ast.Compare, bound: str | None, depth: int) -> Term:
        for op in tree.ops:
            if type(op) not in COMPARE:
                raise self.error("E103", "only <, <=, >, >=, == and != compare", tree)
        sides = [self.value(t, bound, depth) for t in (tree.left, *tree.comparators)]
        parts = [node(COMPARE[type(op)], (a, b)) for op, a, b in zip(tree.ops, sides, sides[1:])]
        return reduce(lambda a, b: node("and", (a, b)), parts)


def _near(name: str, known: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return found[0] if found else None


def explain(code: str) -> str:
    """What an error code means, and what a formula may contain. Raises KeyError on an unknown code."""
    names = textwrap.wrap(", ".join(sorted(FUNCTIONS)), 90)
    return "\n".join([
        f"{code}: {CODES[code]}",
        "",
        "A formula may contain",
        "  numbers      1, 0.1, 1e-7 (exact); pi",
        "  arguments    each declared with a domain: x=real, z=[0,1], y=index (a label), x[k]=real (a row)",
        "  arithmetic   a + b, a - b, a*b, a/b, a**b, -a, brackets",
        "  choice       where(x > 0, a, b), with <, <=, >, >=, ==, != and and, or, not",
        "  rows         sum(t*log(q)) or sum(t[i]*log(q[i]), i), x[y] at a label; C is the number of classes",
        "  functions    " + "\n               ".join(names),
    ])
