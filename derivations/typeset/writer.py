"""Writing terms: what each operation of the vocabulary says, in whatever notation a `Style` has.

The walk over the term, the naming of class indices and the places for brackets are the same in
LaTeX, in plain text and in MathML; a `Style` supplies only the marks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Protocol

from lossmith.derivations.precise import spelled
from lossmith.derivations.terms import COMPARISONS, FUNCTIONS, OPS, Term, name_of, number, walk
from lossmith.derivations.typeset.pieces import RELATION, Piece

INDICES = ("k", "j", "i", "l", "n", "r")


class Style(Protocol):
    """The marks of a notation. Arguments and results are pieces; brackets are the style's business."""

    def number(self, value: Fraction, small: bool) -> Piece: ...
    def symbol(self, name: str, index: str) -> Piece: ...
    def index(self, index: str) -> Piece: ...
    def constant(self, name: str) -> Piece: ...
    def sum(self, a: Piece, sign: str, b: Piece, exact: bool) -> Piece: ...
    def negative(self, a: Piece) -> Piece: ...
    def product(self, a: Piece, b: Piece, exact: bool) -> Piece: ...
    def quotient(self, a: Piece, b: Piece, small: bool) -> Piece: ...
    def power(self, a: Piece, b: Piece) -> Piece: ...
    def exponential(self, a: Piece, plain: Piece) -> Piece: ...
    def call(self, op: str, args: list[Piece], index: str) -> Piece: ...
    def absolute(self, a: Piece) -> Piece: ...
    def root(self, a: Piece) -> Piece: ...
    def relation(self, a: Piece, op: str, b: Piece) -> Piece: ...
    def both(self, a: Piece, op: str, b: Piece) -> Piece: ...
    def negation(self, a: Piece) -> Piece: ...
    def cases(self, rows: list[tuple[Piece, Piece]], otherwise: Piece) -> Piece: ...
    def total(self, index: str, body: Piece, without_peak: bool) -> Piece: ...
    def indicator(self, index: str, label: Piece) -> Piece: ...


@dataclass(frozen=True)
class Scope:
    """Where in a formula the writer stands: the letter of the class index, and whether in small print."""

    index: str = ""
    letters: tuple[str, ...] = INDICES
    small: bool = False

    def inside(self) -> Scope:
        """The scope of the body of a reduction: its index is the next letter."""
        return Scope(self.letters[0], self.letters[1:] or self.letters, self.small)


class Writer:
    """Writes terms in one style.

    names: subterms that have been given a name of their own, which is written in their place.
    exact: show every association, also where mathematics does not need it: `a + (b + c)`.
    """

    def __init__(self, style: Style, names: Mapping[Term, str] | None = None, exact: bool = False) -> None:
        self.style = style
        self.names = names or {}
        self.exact = exact
        self._done: dict[tuple[Term, Scope], Piece] = {}

    def whole(self, term: Term) -> Piece:
        """A formula by itself. The free class index of a row, if there is one, is `k`."""
        used = {str(t.value) for t in walk(term) if t.op in ("var", "row", "label")} | set(self.names.values())
        scope = Scope("", tuple(i for i in INDICES if i not in used))
        return self.piece(term, scope.inside() if term.sort != "scalar" else scope)

    def piece(self, term: Term, scope: Scope) -> Piece:
        """One subterm, its name if it has one."""
        name = self.names.get(term)
        if name is not None:
            return self.style.symbol(name, scope.index if term.sort == "row" else "")
        found = self._done.get((term, scope))
        if found is None:
            found = self._done[term, scope] = _TABLE[term.op](self, term, scope)
        return found

    def both(self, term: Term, scope: Scope) -> tuple[Piece, Piece]:
        return self.piece(term.args[0], scope), self.piece(term.args[1], scope)


Write = Callable[[Writer, Term, Scope], Piece]


def _const(w: Writer, t: Term, s: Scope) -> Piece:
    return w.style.number(number(t), s.small)


def _name(w: Writer, t: Term, s: Scope) -> Piece:
    return w.style.symbol(name_of(t), s.index if t.op == "row" else "")


def _constant(w: Writer, t: Term, s: Scope) -> Piece:
    if t.op == "position":
        return w.style.index(s.index)
    return w.style.constant(t.op)


def _sum(w: Writer, t: Term, s: Scope) -> Piece:
    return w.style.sum(*_around("+" if t.op == "add" else "-", w.both(t, s)), w.exact)


def _around(sign: str, pair: tuple[Piece, Piece]) -> tuple[Piece, str, Piece]:
    return pair[0], sign, pair[1]


def _gap(w: Writer, t: Term, s: Scope) -> Piece:
    """A difference that is one thing: it keeps its brackets in a longer sum."""
    return replace(_sum(w, t, s), level=RELATION)


def _product(w: Writer, t: Term, s: Scope) -> Piece:
    if t.args[0].op == "const" and number(t.args[0]) < 0:
        size = w.style.number(-number(t.args[0]), s.small)
        return w.style.negative(w.style.product(size, w.piece(t.args[1], s), w.exact))
    return w.style.product(*w.both(t, s), w.exact)


def _quotient(w: Writer, t: Term, s: Scope) -> Piece:
    return w.style.quotient(*w.both(t, s), s.small)


def _power(w: Writer, t: Term, s: Scope) -> Piece:
    return w.style.power(w.piece(t.args[0], s), w.piece(t.args[1], replace(s, small=True)))


def _exp(w: Writer, t: Term, s: Scope) -> Piece:
    a = t.args[0]
    return w.style.exponential(w.piece(a, replace(s, small=True)), w.piece(a, s))


def _exp_diff(w: Writer, t: Term, s: Scope) -> Piece:
    small = w.style.sum(*_around("-", w.both(t, replace(s, small=True))), w.exact)
    return w.style.exponential(small, w.style.sum(*_around("-", w.both(t, s)), w.exact))


def _call(w: Writer, t: Term, s: Scope) -> Piece:
    return w.style.call(t.op, [w.piece(a, s) for a in t.args], "")


def _xlogy(w: Writer, t: Term, s: Scope) -> Piece:
    a, b = w.both(t, s)
    return w.style.product(a, w.style.call("log", [b], ""), w.exact)


def _where(w: Writer, t: Term, s: Scope) -> Piece:
    rows = []
    while t.op == "where" and t not in w.names:
        rows.append((w.piece(t.args[1], s), w.piece(t.args[0], s)))
        t = t.args[2]
    return w.style.cases(rows, w.piece(t, s))


def _total(w: Writer, t: Term, s: Scope) -> Piece:
    inner = s.inside()
    return w.style.total(inner.index, w.piece(t.args[0], inner), False)


def _at(w: Writer, t: Term, s: Scope) -> Piece:
    index = w.piece(t.args[1], s).text
    return w.piece(t.args[0], replace(s, index=index))


def _reduce(w: Writer, t: Term, s: Scope) -> Piece:
    """lse and peak: over the classes of row arguments, and over scalar ones."""
    inner = s.inside()
    index = inner.index if any(a.sort == "row" for a in t.args) else ""
    return w.style.call(t.op, [w.piece(a, inner if a.sort == "row" else s) for a in t.args], index)


def _rest(w: Writer, t: Term, s: Scope) -> Piece:
    """The sum of exp(a - peak) without one that attains the peak; in full for one row argument only."""
    peak = next((p for p in w.names if p.op == "peak" and p.args == t.args), None)
    if peak is None or len(t.args) != 1 or t.args[0].sort != "row":
        return _reduce(w, t, s)
    inner = s.inside()
    small = replace(inner, small=True)
    bodies = [w.style.sum(w.piece(t.args[0], at), "-", w.piece(peak, at), False) for at in (small, inner)]
    return w.style.total(inner.index, w.style.exponential(*bodies), True)


def _relation(w: Writer, t: Term, s: Scope) -> Piece:
    a, b = w.both(t, s)
    return w.style.relation(a, t.op, b)


def _both(w: Writer, t: Term, s: Scope) -> Piece:
    a, b = w.both(t, s)
    return w.style.both(a, t.op, b)


CALLS = {
    "max", "min", "sign", "sigmoid", "softplus", "logaddexp", "log1pmx", "expm1mx", "binet", "binet_slope",
    "binet_gap", "lgamma1p", "erfcx_rest", "clip", "clip_through",
    *(set(FUNCTIONS) - {"exp"}),
}
_TABLE: Mapping[str, Write] = {
    "const": _const, "var": _name, "row": _name, "label": _name,
    "pi": _constant, "position": _constant, "count": _constant,
    "add": _sum, "sub": _sum, "gap": _gap, "mul": _product, "absorb": _product, "div": _quotient, "pow": _power,
    "neg": lambda w, t, s: w.style.negative(w.piece(t.args[0], s)),
    "abs": lambda w, t, s: w.style.absolute(w.piece(t.args[0], s)),
    "sqrt": lambda w, t, s: w.style.root(w.piece(t.args[0], s)),
    "exp": _exp, "exp_diff": _exp_diff, **dict.fromkeys(("precise", "wide"), lambda w, t, s: w.piece(spelled(t), s)),
    "xlogy": _xlogy, "where": _where,
    **dict.fromkeys(sorted(CALLS), _call), **dict.fromkeys(sorted(COMPARISONS), _relation), "and": _both, "or": _both,
    "not": lambda w, t, s: w.style.negation(w.piece(t.args[0], s)),
    "sum": _total, "at": _at, "lse": _reduce, "peak": _reduce, "rest": _rest,
    "onehot": lambda w, t, s: w.style.indicator(s.index, w.piece(t.args[0], s)),
}
if set(_TABLE) != set(OPS):
    raise TypeError(f"no notation for {sorted(set(OPS) - set(_TABLE))}; no operation {sorted(set(_TABLE) - set(OPS))}")
