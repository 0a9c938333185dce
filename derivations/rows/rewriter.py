"""The driver: rules applied in a fixed order until nothing is left to rewrite, every step recorded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from lossmith.derivations.domains import Domain
from lossmith.derivations.rows import divergence, forms
from lossmith.derivations.rows import expr as x
from lossmith.derivations.rows.algebra import Algebra
from lossmith.derivations.rows.expr import ONE, Expr, coefficient, factors, to_term
from lossmith.derivations.rows.rules import RULES, RowRule
from lossmith.derivations.rows.signs import sign
from lossmith.derivations.terms import ONE as TERM_ONE
from lossmith.derivations.terms import (
    POSITION,
    ZERO,
    Term,
    add,
    const,
    div,
    label,
    make,
    mul,
    node,
    power,
    replace,
    row,
    sub,
    var,
    walk,
)

LIMIT = 500
RATIO = var("ratio")  # what functions of one number are written in


@dataclass(frozen=True)
class Licence:
    """A unit sum that was used: of which argument, and the source with the zero that it licenses added."""

    name: str
    term: Term


@dataclass(frozen=True)
class Rewrite:
    """One rule applied: the whole before and after, and the part that changed."""

    rule: RowRule
    before: Term
    after: Term
    source: Term
    result: Term
    licence: Licence | None = None


class Rewriter:
    """Rewrites one normal form. `unit_rows`: argument rows declared to sum to one."""

    def __init__(self, algebra: Algebra, domains: dict[str, Domain]) -> None:
        self.algebra = algebra
        self.domains = domains
        self.pending: dict[Term, Expr] = {}
        self.known: dict[Expr, Term] = {}
        self.rewrites: list[Rewrite] = []
        self.licensed: tuple[str, Expr] | None = None
        self.divergences: list[tuple[Term, Term]] = []
        self.functions: dict[Term, tuple[Term, Term, Fraction]] = {}

    # ---- what rules ask for

    def hole(self, e: Expr) -> Term:
        """A leaf that stands for an expression still to be rewritten; numbers stand for themselves."""
        if e.op == "num":
            return const(x.value(e))
        if e not in self.known:
            name = f"@{len(self.pending)}"
            made = row(name) if e.sort == "row" else var(name)
            self.known[e], self.pending[made] = made, e
        return self.known[e]

    def unit(self, w: Expr) -> str | None:
        """The argument whose domain says that the row w sums to one."""
        if w.op == "leaf" and w.term.op == "row":
            domain = self.domains.get(str(w.term.value))
            if domain is not None and domain.unit_sum:
                return str(w.term.value)
        return None

    def divergence(self, w: Expr, k: Expr, a: Expr, lse: Expr) -> Term:
        """w log(w/q) - w + q for q = exp(a - lse), which is never negative; k is what multiplies its sum."""
        licensed = self.unit(w)
        if licensed is not None:
            self.licensed = licensed, self.algebra.mul(k, self.algebra.sub(ONE, self.algebra.sum(w)))
        weight, share = Rewriter(self.algebra, self.domains).run(w), forms.share(a, lse)
        body = divergence.written(weight, share)
        self.divergences.append((body, divergence.stable(weight, share, add(forms.gap(a, lse), forms.tail(lse)))))
        return body

    def function(self, g: Term, at: Term, high: Fraction) -> Term:
        """A function of one number, named `ratio`, at one number per class, for the scalar search to make stable.

        high: it is only read where that number is at most this.
        """
        whole = replace(g, {RATIO: at})
        self.functions[whole] = g, at, high
        return whole

    # ---- the loop

    def run(self, e: Expr) -> Term:
        """The stable term of e."""
        whole = self.hole(e)
        for _ in range(LIMIT):
            pending = next((t for t in walk(whole) if t in self.pending), None)
            if pending is None:
                return whole
            whole = self._step(whole, pending)
        raise RecursionError("the rules of rows do not come to an end on this formula")

    def _step(self, whole: Term, pending: Term) -> Term:
        e = self.pending[pending]
        for rule in RULES:
            template = rule.rewrite(e, self)
            if template is not None:
                after = replace(whole, {pending: template})
                shown = self.render
                licence = self._licence(e)
                self.rewrites.append(Rewrite(rule, shown(whole), shown(after), to_term(e), shown(template), licence))
                return after
        return replace(whole, {pending: self._structure(e)})

    def _licence(self, e: Expr) -> Licence | None:
        """The unit sum that the last rule used, if it used one."""
        if self.licensed is None:
            return None
        name, zero = self.licensed
        self.licensed = None
        return Licence(name, add(to_term(e), to_term(zero)))

    def render(self, term: Term) -> Term:
        """A term with every hole filled by what it stands for."""
        return replace(term, {t: to_term(self.pending[t]) for t in walk(term) if t in self.pending})

    # ---- what no rule claims is computed as it stands

    def _structure(self, e: Expr) -> Term:
        match e.op:
            case "leaf":
                return e.term
            case "at":
                return node("at", (e.args[0].term, label(e.name)))
            case "onehot":
                return node("where", (node("eq", (POSITION, label(e.name))), TERM_ONE, ZERO))
            case "add":
                return self._sum(e)
            case "mul":
                return self._product(e)
            case "pow":
                return self._power(e.args[0], e.args[1])
            case "exp" | "log":
                return make(e.op, self.hole(e.args[0]))
            case "sum":
                return node("sum", (self.hole(e.args[0]),))
        return make(e.name, *(self.hole(a) for a in e.args))

    def _sum(self, e: Expr) -> Term:
        """Terms of one sign together: the positive ones first, the negative ones last."""
        signed = []
        for t in e.args:
            own = sign(to_term(t), self.domains)
            minus = coefficient(t)[0] < 0
            size = self.algebra.neg(t) if minus else t
            signed.append(({"+": 0, "0": 0, "?": 1, "-": 2}[own], minus, self.hole(size)))
        out = ZERO
        for _, minus, term in sorted(signed, key=lambda s: (s[0], s[1])):
            out = sub(out, term) if minus else add(out, term)
        return out

    def _product(self, e: Expr) -> Term:
        """A number, then scalars, then rows, over what divides."""
        c, rest = coefficient(e)
        above, below = const(c.numerator), const(c.denominator)
        logs = [f for f in factors(rest) if f.op == "log"]
        beside = [f for f in factors(rest) if f not in logs]
        if len(logs) == 1 and beside and self.algebra.nonnegative(self.algebra.mul(*beside)):
            whole = node("xlogy", (self.hole(self.algebra.mul(*beside)), self.hole(logs[0].args[0])))
            return div(mul(above, whole), below)
        for f in sorted(factors(rest), key=lambda f: f.sort == "row"):
            exponent = f.args[1] if f.op == "pow" else ONE
            if exponent.op == "num" and x.value(exponent) < 0:
                below = mul(below, self._power(f.args[0], x.num(-x.value(exponent))))
            else:
                above = mul(above, self.hole(f))
        return div(above, below)

    def _power(self, base: Expr, exponent: Expr) -> Term:
        if exponent.op == "num" and x.value(exponent) < 0:
            return div(TERM_ONE, self._power(base, x.num(-x.value(exponent))))
        inner = self.hole(base)
        if exponent.op == "num" and x.value(exponent) in (2, 3):
            square = mul(inner, inner)
            return square if x.value(exponent) == 2 else mul(square, inner)
        return power(inner, self.hole(exponent))


