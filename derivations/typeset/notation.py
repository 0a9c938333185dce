"""LaTeX for a term: `latex(term)`. Needs amsmath and nothing else; MathJax and KaTeX set it too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from lossmith.derivations.terms import Term
from lossmith.derivations.typeset import numbers
from lossmith.derivations.typeset.pieces import (
    AND,
    ATOM,
    NOT,
    OR,
    POWER,
    PRODUCT,
    QUOTIENT,
    RELATION,
    SUM,
    Piece,
)
from lossmith.derivations.typeset.writer import Writer

GREEK = frozenset([
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Sigma",
    "Phi", "Psi", "Omega",
])
SHORT = {"eps": r"\varepsilon", "epsilon": r"\varepsilon", "phi": r"\varphi"}
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "∞": r"$\infty$", "·": r"$\cdot$", "≥": r"$\ge$", "≤": r"$\le$", "≠": r"$\ne$", "∈": r"$\in$",
    "‖": r"$\Vert$", "Σ": r"$\Sigma$", "→": r"$\to$", "−": "-", "×": r"$\times$", "–": "--", "’": "'",
}
RELATIONS = {"lt": "<", "le": r"\le", "gt": ">", "ge": r"\ge", "eq": "=", "ne": r"\ne"}
FUNCTION_NAMES = {
    "max": r"\max", "min": r"\min", "sign": r"\operatorname{sgn}", "log": r"\log", "expm1": r"\operatorname{expm1}",
    "log1p": r"\operatorname{log1p}", "sinh": r"\sinh", "cosh": r"\cosh", "tanh": r"\tanh",
    "asinh": r"\operatorname{arsinh}", "acosh": r"\operatorname{arcosh}", "atanh": r"\operatorname{artanh}",
    "sin": r"\sin", "cos": r"\cos", "tan": r"\tan", "asin": r"\arcsin", "acos": r"\arccos", "atan": r"\arctan",
    "erf": r"\operatorname{erf}", "erfc": r"\operatorname{erfc}", "lgamma": r"\operatorname{lgamma}",
    "log2": r"\log_{2}", "log10": r"\log_{10}", "exp2": r"\operatorname{exp2}", "atan2": r"\operatorname{atan2}",
    "erfcx": r"\operatorname{erfcx}", "gamma": r"\Gamma", "digamma": r"\psi",
    "sigmoid": r"\sigma", "softplus": r"\operatorname{sp}",
    "logaddexp": r"\operatorname{logaddexp}", "log1pmx": r"\operatorname{log1pmx}",
    "expm1mx": r"\operatorname{expm1mx}", "clip": r"\operatorname{clip}", "clip_through": r"\operatorname{clip}'",
    "binet": r"\mu", "binet_slope": r"\mu'",
    "binet_gap": r"\Delta\mu", "lgamma1p": r"\operatorname{lgamma1p}", "erfcx_rest": r"\operatorname{erfcx}^{*}",
    "lse": r"\operatorname{lse}", "peak": r"\max", "rest": r"\operatorname{rest}",
}

NARROW = {"gamma": "G", "sigmoid": "s", "softplus": "sp", "peak": "max", "digamma": "p"}  # as wide as what is written


def escape(text: str) -> str:
    """Plain text as LaTeX text; nothing in it can be read as a command. ASCII, else a question mark."""
    made = "".join(SPECIAL.get(c, c) for c in text)
    return "".join(c if " " <= c < "\x7f" else "?" if c not in "\t\n" else " " for c in made)


def identifier(name: str) -> str:
    """A name as LaTeX mathematics: `x`, `x_{0}`, `\\gamma`, `\\mathrm{pos\\_weight}`."""
    head, tail = split_name(name)
    if head in SHORT:
        stem = SHORT[head]
    elif head in GREEK:
        stem = "\\" + head
    else:
        stem = head if len(head) == 1 else rf"\mathrm{{{escape(head)}}}"
    return f"{stem}_{{{tail}}}" if tail else stem


def split_name(name: str) -> tuple[str, str]:
    """A name and its subscript: `x0`, `x_0` and `x_a` have one, others none."""
    found = re.fullmatch(r"([A-Za-z]+)_?(\d+)", name) or re.fullmatch(r"([A-Za-z])_([A-Za-z])", name)
    return (found.group(1), found.group(2)) if found else (name, "")


def _bracket(p: Piece, need: int) -> Piece:
    if p.level >= need:
        return p
    text = rf"\left({p.text}\right)" if p.tall else f"({p.text})"
    return Piece(text, ATOM, p.width + 2, p.tall)


def _display(p: Piece) -> str:
    """A piece in a row of cases, at full height."""
    return rf"\displaystyle {p.text}" if p.tall else p.text


class LatexStyle:
    """The marks of LaTeX. `symbols` gives the LaTeX of a name where the default would not do."""

    def __init__(self, symbols: Mapping[str, str] | None = None) -> None:
        self.symbols = symbols or {}

    def number(self, value: Fraction, small: bool) -> Piece:
        sign, size = ("-", -value) if value < 0 else ("", value)
        exponent = numbers.power_of_two(size)
        text = numbers.decimal(size) or numbers.long_float(size)
        if exponent is not None:
            piece = Piece(f"2^{{{exponent}}}", POWER, 3, number=True)
        elif text is not None:
            mantissa, _, ten = text.partition("e")
            text = rf"{mantissa} \cdot 10^{{{int(ten)}}}" if ten else text
            piece = Piece(text, PRODUCT if ten else ATOM, len(text), number=True)
        elif size.denominator == 1:
            piece = Piece(str(size), ATOM, len(str(size)), number=True)
        elif small:
            piece = Piece(str(size), QUOTIENT, len(str(size)), number=True)
        else:
            piece = Piece(rf"\tfrac{{{size.numerator}}}{{{size.denominator}}}", PRODUCT, 1, number=True)
        return self.negative(piece) if sign else piece

    def symbol(self, name: str, index: str) -> Piece:
        own = self.symbols.get(name)
        head, tail = split_name(name)
        below = ",".join(part for part in ("" if own else tail, index) if part)
        stem = own or identifier(head)
        if own and index and "_" in own:
            stem = f"{{{own}}}"
        width = len(head) if own is None else 2
        text = f"{stem}_{{{below}}}" if len(below) > 1 else f"{stem}_{below}" if below else stem
        return Piece(text, ATOM, width + 0.6 * len(below))

    def index(self, index: str) -> Piece:
        return Piece(index, ATOM, len(index))

    def constant(self, name: str) -> Piece:
        return Piece({"pi": r"\pi", "count": "C"}[name], ATOM, 1)

    def sum(self, a: Piece, sign: str, b: Piece, exact: bool) -> Piece:
        left = _bracket(a, SUM)
        right = _bracket(b, SUM + 1 if sign == "-" or exact or b.text.startswith("-") else SUM)
        return Piece(f"{left.as_term} {sign} {right.text}", SUM, left.width + right.width + 3, left.tall or right.tall,
                     left.number, f"{left.as_term} {sign} {right.as_term}")

    def negative(self, a: Piece) -> Piece:
        inner = _bracket(a, SUM + 1)
        return Piece("-" + inner.text, SUM, inner.width + 1, inner.tall, False, "-" + inner.as_term)

    def product(self, a: Piece, b: Piece, exact: bool) -> Piece:
        left, right = _bracket(a, PRODUCT), _bracket(b, PRODUCT + 1 if exact else PRODUCT)
        if right.number:
            mark = r" \cdot "
        elif left.number and left.level >= PRODUCT and not right.text.startswith((r"\frac", "(", r"\left")):
            mark = r"\," if not left.text.isdigit() else " " if right.text.startswith("\\") else ""
        else:
            mark = " " if right.text.startswith(("\\log", "\\op", "\\max", "\\min", "\\sum")) else r"\,"
        mark = mark + " " if mark == r"\," else mark
        made = left.as_factor + mark
        return Piece(made + right.text, PRODUCT, left.width + right.width + 1, left.tall or right.tall, left.number,
                     made + right.as_term, made + right.as_factor)

    def quotient(self, a: Piece, b: Piece, small: bool) -> Piece:
        if small:
            top, bottom = _bracket(a, PRODUCT), _bracket(b, POWER)
            return Piece(f"{top.as_factor}/{bottom.text}", QUOTIENT, top.width + bottom.width + 1, False, top.number)
        return Piece(rf"\frac{{{a.text}}}{{{b.text}}}", PRODUCT, max(a.width, b.width) + 0.5, True, block=True)

    def power(self, a: Piece, b: Piece) -> Piece:
        base = _bracket(a, ATOM)
        return Piece(f"{base.as_factor}^{{{b.text}}}", POWER, base.width + 0.7 * b.width, base.tall, base.number)

    def exponential(self, a: Piece, plain: Piece) -> Piece:
        if a.tall or a.width > 30:
            text = rf"\exp\left({plain.text}\right)"
            return Piece(text, POWER, plain.width + 5, plain.tall)
        return Piece(f"e^{{{a.text}}}", POWER, 1 + 0.7 * a.width)

    def call(self, op: str, args: list[Piece], index: str) -> Piece:
        name = FUNCTION_NAMES[op] + (f"_{{{index}}}" if index else "")
        tall = any(a.tall for a in args)
        inside = ", ".join(a.text for a in args)
        closed = rf"{name}\left({inside}\right)" if tall else f"{name}({inside})"
        width = sum(a.width + 2 for a in args) + len(NARROW.get(op, op))
        if len(args) == 1 and op in ("log", "peak", "lse") and (args[0].level == ATOM or args[0].block):
            gap = "" if inside.startswith("\\") else " "
            return Piece(name + gap + inside, POWER, width - 1, tall, before_factor=closed)
        if op == "clip_through":
            return Piece(closed, POWER, width, tall)
        return Piece(closed, ATOM, width, tall)

    def absolute(self, a: Piece) -> Piece:
        text = rf"\left|{a.text}\right|" if a.tall else f"|{a.text}|"
        return Piece(text, ATOM, a.width + 2, a.tall)

    def root(self, a: Piece) -> Piece:
        return Piece(rf"\sqrt{{{a.text}}}", ATOM, a.width + 1, a.tall)

    def relation(self, a: Piece, op: str, b: Piece) -> Piece:
        left, right = _bracket(a, SUM), _bracket(b, SUM)
        return Piece(f"{left.as_term} {RELATIONS[op]} {right.text}", RELATION, left.width + right.width + 3,
                     left.tall or right.tall)

    def both(self, a: Piece, op: str, b: Piece) -> Piece:
        level, word = (AND, r"\text{ and }") if op == "and" else (OR, r"\text{ or }")
        left, right = _bracket(a, level), _bracket(b, level)
        return Piece(left.as_term + word + right.text, level, left.width + right.width + 5, left.tall or right.tall)

    def negation(self, a: Piece) -> Piece:
        inner = _bracket(a, RELATION)
        return Piece(r"\text{not } " + inner.text, NOT, inner.width + 4, inner.tall)

    def cases(self, rows: list[tuple[Piece, Piece]], otherwise: Piece) -> Piece:
        lines = [(value, rf"\text{{if }} {condition.text}") for value, condition in rows]
        lines.append((otherwise, r"\text{otherwise}"))
        end = r" \\[1ex] " if any(value.tall for value, _ in lines) else r" \\ "
        body = end.join(f"{_display(value)}, & {condition}" for value, condition in lines)
        width = max(v.width for v in (*(r[0] for r in rows), otherwise)) + max(c.width for _, c in rows) + 8
        closed = rf"\left\lbrace\begin{{array}}{{ll}} {body} \end{{array}}\right\rbrace"
        return Piece(rf"\begin{{cases}} {body} \end{{cases}}", PRODUCT, width, True, before_term=closed)

    def total(self, index: str, body: Piece, without_peak: bool) -> Piece:
        inner = _bracket(body, PRODUCT)
        below = rf"{index} \ne {index}^*" if without_peak else index
        text = rf"\sum_{{{below}}} {inner.text}"
        return Piece(text, PRODUCT, inner.width + (5 if without_peak else 2), True,
                     before_term=rf"\sum_{{{below}}} {inner.as_term}", before_factor=rf"\left({text}\right)")

    def indicator(self, index: str, label: Piece) -> Piece:
        return Piece(f"[{index} = {label.text}]", ATOM, label.width + 5)


def latex(term: Term, names: Mapping[Term, str] | None = None, symbols: Mapping[str, str] | None = None,
          exact: bool = False) -> str:
    """A term as LaTeX mathematics, without dollar signs.

    names: subterms written by a name of their own. symbols: LaTeX for names of inputs. exact: show
    every association, also where mathematics does not need it.
    """
    return Writer(LatexStyle(symbols), names, exact).whole(term).text
