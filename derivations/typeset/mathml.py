"""MathML for a term: what browsers set by themselves, with nothing to download."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from html import escape

from lossmith.derivations.terms import Term
from lossmith.derivations.typeset import numbers
from lossmith.derivations.typeset.notation import GREEK, NARROW, split_name
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

RELATIONS = {"lt": "<", "le": "≤", "gt": ">", "ge": "≥", "eq": "=", "ne": "≠"}
LETTER = {
    name: chr(code) for code, name in enumerate(
        ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
         "xi", "omicron", "pi", "rho", "", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"], 0x3B1)
    if name in GREEK
} | {"eps": "ε", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Xi": "Ξ", "Sigma": "Σ", "Phi": "Φ",
     "Psi": "Ψ", "Omega": "Ω"}
SHOWN = {**NARROW, "sigmoid": "σ", "digamma": "ψ", "sign": "sgn", "clip_through": "clip′"}


def _mo(sign: str) -> str:
    return f"<mo>{escape(sign)}</mo>"


def _mi(name: str) -> str:
    return f"<mi>{escape(name)}</mi>"


def _index(index: str) -> str:
    """A class index: a letter, or a label that is already marked up."""
    return index if index.startswith("<") else _mi(index)


def _row(text: str) -> str:
    return f"<mrow>{text}</mrow>"


def _bracket(p: Piece, need: int) -> Piece:
    return p if p.level >= need else Piece(_row(_mo("(") + p.text + _mo(")")), ATOM, p.width + 2)


def _infix(a: Piece, sign: str, b: Piece, level: int) -> Piece:
    return Piece(_row(a.as_term + _mo(sign) + b.text), level, a.width + b.width + 3,
                 before_factor=_row(a.as_term + _mo(sign) + b.as_factor))


class MathmlStyle:
    """The marks of MathML Core."""

    def number(self, value: Fraction, small: bool) -> Piece:
        if value < 0:
            return self.negative(self.number(-value, small))
        exponent = numbers.power_of_two(value)
        if exponent is not None:
            return Piece(f"<msup><mn>2</mn><mn>{exponent}</mn></msup>", POWER, 3, number=True)
        text = numbers.decimal(value) or numbers.long_float(value)
        if text is None and value.denominator > 1:
            above, below = f"<mn>{value.numerator}</mn>", f"<mn>{value.denominator}</mn>"
            return Piece(f"<mfrac>{above}{below}</mfrac>", PRODUCT, 2, number=True)
        text = text or str(value)
        return Piece(f"<mn>{text}</mn>", ATOM, len(text), number=True)

    def symbol(self, name: str, index: str) -> Piece:
        head, tail = split_name(name)
        below = "".join(f"<mn>{p}</mn>" if p.isdigit() else _index(p) for p in (tail, index) if p)
        stem = _mi(LETTER.get(head, head))
        return Piece(f"<msub>{stem}{_row(below)}</msub>" if below else stem, ATOM, len(name) + len(index))

    def index(self, index: str) -> Piece:
        return Piece(_index(index), ATOM, 1)

    def constant(self, name: str) -> Piece:
        return Piece(_mi({"pi": "π", "count": "C"}[name]), ATOM, 1)

    def sum(self, a: Piece, sign: str, b: Piece, exact: bool) -> Piece:
        tight = sign == "-" or exact or b.text.startswith("<mrow><mo>−")
        return _infix(_bracket(a, SUM), "−" if sign == "-" else sign, _bracket(b, SUM + 1 if tight else SUM), SUM)

    def negative(self, a: Piece) -> Piece:
        return Piece(_row(_mo("−") + _bracket(a, SUM + 1).text), SUM, a.width + 1)

    def product(self, a: Piece, b: Piece, exact: bool) -> Piece:
        left, right = _bracket(a, PRODUCT), _bracket(b, PRODUCT + 1 if exact else PRODUCT)
        mark = _mo("·") if right.number else "<mspace width='0.17em'/>"
        return Piece(_row(left.as_factor + mark + right.text), PRODUCT, left.width + right.width + 1,
                     number=left.number, before_factor=_row(left.as_factor + mark + right.as_factor))

    def quotient(self, a: Piece, b: Piece, small: bool) -> Piece:
        if small:
            return _infix(_bracket(a, PRODUCT), "/", _bracket(b, POWER), QUOTIENT)
        return Piece(f"<mfrac>{_row(a.text)}{_row(b.text)}</mfrac>", PRODUCT, max(a.width, b.width), block=True)

    def power(self, a: Piece, b: Piece) -> Piece:
        return Piece(f"<msup>{_row(_bracket(a, ATOM).as_factor)}{_row(b.text)}</msup>", POWER, a.width + b.width)

    def exponential(self, a: Piece, plain: Piece) -> Piece:
        return Piece(f"<msup>{_mi('e')}{_row(a.text)}</msup>", POWER, 1 + a.width)

    def call(self, op: str, args: list[Piece], index: str) -> Piece:
        name = _mi(SHOWN.get(op, op))
        name = f"<msub>{name}{_mi(index)}</msub>" if index else name
        inside = _mo(",").join(a.text for a in args)
        closed = _row(name + _mo("(") + inside + _mo(")"))
        width = sum(a.width + 2 for a in args) + len(op)
        if len(args) == 1 and op in ("log", "peak", "lse") and (args[0].level == ATOM or args[0].block):
            return Piece(_row(name + "<mspace width='0.17em'/>" + inside), POWER, width, before_factor=closed)
        return Piece(closed, ATOM, width)

    def absolute(self, a: Piece) -> Piece:
        return Piece(_row(_mo("|") + a.text + _mo("|")), ATOM, a.width + 2)

    def root(self, a: Piece) -> Piece:
        return Piece(f"<msqrt>{a.text}</msqrt>", ATOM, a.width + 1)

    def relation(self, a: Piece, op: str, b: Piece) -> Piece:
        return _infix(_bracket(a, SUM), RELATIONS[op], _bracket(b, SUM), RELATION)

    def both(self, a: Piece, op: str, b: Piece) -> Piece:
        level = AND if op == "and" else OR
        text = _row(f"{_bracket(a, level).as_term}<mtext>&nbsp;{op}&nbsp;</mtext>{_bracket(b, level).text}")
        return Piece(text, level, a.width + b.width + 5)

    def negation(self, a: Piece) -> Piece:
        return Piece(_row("<mtext>not&nbsp;</mtext>" + _bracket(a, RELATION).text), NOT, a.width + 4)

    def cases(self, rows: list[tuple[Piece, Piece]], otherwise: Piece) -> Piece:
        cells = [(value.text, f"<mtext>if&nbsp;</mtext>{condition.text}") for value, condition in rows]
        cells.append((otherwise.text, "<mtext>otherwise</mtext>"))
        body = "".join(f"<mtr><mtd>{v}</mtd><mtd>{c}</mtd></mtr>" for v, c in cells)
        table = f"<mtable class='cases'>{body}</mtable>"
        return Piece(_row(_mo("{") + table), PRODUCT, 20, before_term=_row(_mo("{") + table + _mo("}")))

    def total(self, index: str, body: Piece, without_peak: bool) -> Piece:
        below = f"{_mi(index)}{_mo('≠')}<msup>{_mi(index)}{_mo('*')}</msup>" if without_peak else _mi(index)
        text = _row(f"<munder>{_mo('∑')}{_row(below)}</munder>{_bracket(body, PRODUCT).text}")
        return Piece(text, PRODUCT, body.width + 2, before_factor=_row(_mo("(") + text + _mo(")")))

    def indicator(self, index: str, label: Piece) -> Piece:
        return Piece(_row(_mo("[") + _index(index) + _mo("=") + label.text + _mo("]")), ATOM, 5)


def mathml(term: Term, names: Mapping[Term, str] | None = None, exact: bool = False) -> str:
    """A term as the contents of a `<math>` element."""
    return Writer(MathmlStyle(), names, exact).whole(term).text
