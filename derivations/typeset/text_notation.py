"""Plain text for a term as people read it in a terminal: `text(term)`. ASCII throughout."""

from __future__ import annotations

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

RELATIONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "=", "ne": "!="}
SHORT = {"sigmoid": "s", "softplus": "sp", "peak": "max", "digamma": "psi", "clip_through": "clip'"}


def _piece(text: str, level: int, number: bool = False, before_factor: str = "") -> Piece:
    return Piece(text, level, len(text), False, number, "", before_factor)


def _bracket(p: Piece, need: int) -> Piece:
    return p if p.level >= need else _piece(f"({p.text})", ATOM)


def _factor(p: Piece, need: int) -> Piece:
    """A factor; a short difference in brackets is set tight, as in `(1-z) x`."""
    made = _bracket(p, need)
    if made is not p and len(made.text) <= 9 and made.text.count(" ") == 2:
        return _piece(made.text.replace(" ", ""), ATOM)
    return made


class TextStyle:
    """The marks of plain text."""

    def number(self, value: Fraction, small: bool) -> Piece:
        exponent = numbers.power_of_two(value)
        if value < 0:
            return self.negative(self.number(-value, small))
        if exponent is not None:
            return _piece(f"2^{exponent}", POWER, number=True)
        text = numbers.decimal(value) or numbers.long_float(value) or str(value)
        return _piece(text, QUOTIENT if "/" in text else ATOM, number=True)

    def symbol(self, name: str, index: str) -> Piece:
        return _piece(f"{name}_{index}" if index else name, ATOM)

    def index(self, index: str) -> Piece:
        return Piece(index, ATOM, len(index))

    def constant(self, name: str) -> Piece:
        return _piece({"pi": "pi", "count": "C"}[name], ATOM)

    def sum(self, a: Piece, sign: str, b: Piece, exact: bool) -> Piece:
        left = _bracket(a, SUM)
        right = _bracket(b, SUM + 1 if sign == "-" or exact or b.text.startswith("-") else SUM)
        return _piece(f"{left.as_term} {sign} {right.text}", SUM, left.number)

    def negative(self, a: Piece) -> Piece:
        return _piece("-" + _bracket(a, SUM + 1).text, SUM)

    def product(self, a: Piece, b: Piece, exact: bool) -> Piece:
        left, right = _factor(a, PRODUCT), _factor(b, PRODUCT + 1 if exact else PRODUCT)
        mark = " * " if right.number else " "
        if left.level == ATOM and right.text.startswith("(") and left.text[-1].isalnum() and not left.number:
            mark = " * "
        made = left.as_factor + mark
        return _piece(made + right.text, PRODUCT, left.number, made + right.as_factor)

    def quotient(self, a: Piece, b: Piece, small: bool) -> Piece:
        top, bottom = _bracket(a, PRODUCT), _bracket(b, POWER)
        return _piece(f"{top.as_factor}/{bottom.text}", QUOTIENT, top.number)

    def power(self, a: Piece, b: Piece) -> Piece:
        return _piece(f"{_bracket(a, ATOM).as_factor}^{_bracket(b, ATOM).text}", POWER, a.number)

    def exponential(self, a: Piece, plain: Piece) -> Piece:
        return _piece(f"exp({plain.text})", ATOM)

    def call(self, op: str, args: list[Piece], index: str) -> Piece:
        name = SHORT.get(op, op) + (f"_{index}" if index else "")
        closed = f"{name}({', '.join(a.text for a in args)})"
        if len(args) == 1 and op in ("log", "peak", "lse") and args[0].level == ATOM:
            return _piece(f"{name} {args[0].text}", POWER, before_factor=closed)
        return _piece(closed, ATOM)

    def absolute(self, a: Piece) -> Piece:
        return _piece(f"|{a.text}|", ATOM)

    def root(self, a: Piece) -> Piece:
        return _piece(f"sqrt({a.text})", ATOM)

    def relation(self, a: Piece, op: str, b: Piece) -> Piece:
        return _piece(f"{_bracket(a, SUM).text} {RELATIONS[op]} {_bracket(b, SUM).text}", RELATION)

    def both(self, a: Piece, op: str, b: Piece) -> Piece:
        level = AND if op == "and" else OR
        return _piece(f"{_bracket(a, level).text} {op} {_bracket(b, level).text}", level)

    def negation(self, a: Piece) -> Piece:
        return _piece("not " + _bracket(a, RELATION).text, NOT)

    def cases(self, rows: list[tuple[Piece, Piece]], otherwise: Piece) -> Piece:
        text = otherwise.text
        for value, condition in reversed(rows):
            text = f"where({condition.text}, {value.text}, {text})"
        return _piece(text, ATOM)

    def total(self, index: str, body: Piece, without_peak: bool) -> Piece:
        below = f"sum_{index}" if not without_peak else f"sum_({index} != {index}*)"
        text = f"{below} {_bracket(body, PRODUCT).text}"
        return _piece(text, PRODUCT, before_factor=f"({text})")

    def indicator(self, index: str, label: Piece) -> Piece:
        return _piece(f"[{index} = {label.text}]", ATOM)


def text(term: Term, names: Mapping[Term, str] | None = None, exact: bool = False) -> str:
    """A term as plain text. names: subterms written by a name of their own. exact: every association."""
    return Writer(TextStyle(), names, exact).whole(term).text
