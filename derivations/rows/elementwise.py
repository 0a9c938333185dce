"""Elementwise parts of row formulas: the scalar search finds their stable form.

A part that holds no reduction is a formula of one class: its rows become scalars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as with_fields
from fractions import Fraction
from functools import cache, reduce

from lossmith.derivations.derivation import Evidence, Order, StableForm, Step
from lossmith.derivations.domains import NONNEGATIVE, REAL, Domain, interval
from lossmith.derivations.expanding import NAME as SERIES
from lossmith.derivations.loss import Argument
from lossmith.derivations.machine import is_machine, machine
from lossmith.derivations.rows.signs import sign
from lossmith.derivations.terms import (
    COUNT,
    MACHINE,
    REDUCTIONS,
    Term,
    add,
    leaves,
    make,
    name_of,
    node,
    rebuild,
    replace,
    show,
    var,
    walk,
)

WORK = 6_000  # nodes of measured forms: a part is small, and a formula may have several
Found = tuple[list[tuple[str, Step, Term, Term]], Term, StableForm]  # steps, form, the form of the scalar search
MOST = 3  # sums that a formula around them may have
CLASS_COUNT = Domain(interval(1, "inf").low, interval(1, "inf").high, True, False)


@cache
def _search(part: Term, arguments: tuple[Argument, ...], order: Order) -> tuple[tuple[Step, ...], StableForm]:
    from lossmith.derivations import search

    return search.stabilize(part, arguments, order=order, work=WORK)


def stabilize_part(part: Term, arguments: Sequence[Argument],
                   order: Order = ()) -> Found:
    """(steps, form, scalar form): each step as (rule, step, before, after) with the rows back in place.

    A mean is a sum's form divided by the number of classes, which says nothing of where it is hard.
    """
    if part.op == "div" and part.args[1] is COUNT and COUNT not in walk(part.args[0]):
        inner, total, known = stabilize_part(part.args[0], arguments, order)
        over = [(rule, s, make("div", a, COUNT), make("div", b, COUNT)) for rule, s, a, b in inner]
        return over, make("div", total, COUNT), known
    there = {t: var(name_of(t)) for t in leaves(part) if t.op == "row"}
    used = [with_fields(a, axis="none", domain=_single(a.domain)) for a in arguments]
    if COUNT in walk(part):
        there[COUNT] = var("classes")
        used.append(Argument("classes", "parameter", CLASS_COUNT))
    scalar = replace(part, there)
    names = {name_of(t) for t in leaves(scalar)}
    steps, form = _search(scalar, tuple(a for a in used if a.name in names), order)
    back = {v: k for k, v in there.items()}
    moved = [(s.rule, s, replace(s.before, back), replace(s.after, back)) for s in steps]
    return moved, replace(form.term, back), form


def stabilize_function(g: Term, high: Fraction) -> tuple[Term, list[Term], Evidence]:
    """A stable form of a function of one number, named `ratio`, where that is at most `high`; the choices in it that
    hold Taylor polynomials; why it is true."""
    domain = Domain(REAL.low, high, REAL.low_closed, True)
    steps, form = _search(g, (Argument("ratio", "input", domain),), ())
    told = dict.fromkeys(f"{e.kind}: {e.method}" for s in steps for e in s.evidence)
    choices = [s.result for s in steps if s.rule == SERIES]
    return form.term, choices, Evidence("enclosed", "the search's own, step by step: " + "; ".join(told))


def stabilize_around(whole: Term, arguments: Sequence[Argument], order: Order = (),
                     ) -> Found | None:
    """The same for what stands around the plain sums of a scalar formula, each sum being a number of its own.

    None where there is no such sum, or more than the search can tell apart, or another reduction.
    """
    sums = [t for t in walk(whole) if t.op == "sum" and not any(n.op in REDUCTIONS for n in walk(t.args[0]))]
    names = {t: var(f"total{n}") for n, t in enumerate(sums)}
    outer = replace(whole, names)
    if not 0 < len(sums) <= MOST or whole.sort != "scalar":
        return None
    if any(n.op in REDUCTIONS or n is COUNT for n in walk(outer)):
        return None
    domains = {a.name: a.domain for a in arguments}
    signs = {"+": NONNEGATIVE, "0": NONNEGATIVE}
    known = [Argument(name_of(v), "input", signs.get(sign(t, domains), REAL)) for t, v in names.items()]
    used = {name_of(t) for t in leaves(outer)}
    steps, form = _search(outer, (*(a for a in arguments if a.name in used), *known), order)
    back = {v: k for k, v in names.items()}
    moved = [(s.rule, s, replace(s.before, back), replace(s.after, back)) for s in steps]
    return moved, replace(form.term, back), form


def _single(domain: Domain) -> Domain:
    """What is known of one element of a row."""
    return with_fields(domain, unit_sum=False)


def machine_row(term: Term) -> Term:
    """A row formula with every named function expanded; reductions stay, their bodies are expanded."""
    if is_machine(term):
        return term
    inner: dict[Term, Term] = {}

    def go(t: Term) -> Term:
        if t not in inner:
            args = tuple(go(a) for a in t.args)
            made = node(t.op, args, t.value) if t.value is not None or t.op in _KEPT else make(t.op, *args)
            inner[t] = made if t.op in _KEPT or is_machine(made) else machine(made)
        return inner[t]

    return go(term)


def spelled_out(term: Term) -> Term:
    """A term with every log-sum-exp as the logarithm of a sum of exponentials."""
    done: dict[Term, Term] = {}
    for t in walk(term):
        args = tuple(done[a] for a in t.args)
        if t.op == "lse":
            parts = [make("exp", a) if a.sort != "row" else node("sum", (make("exp", a),)) for a in args]
            done[t] = make("log", reduce(add, parts))
        else:
            done[t] = rebuild(t, args) if t.args else t
    return done[term]


def check_computable(term: Term) -> None:
    """Raises ValueError for a node that no printer can write, and no reduction is."""
    for t in walk(term):
        if t.op not in MACHINE and t.op not in _COMPUTED:
            raise ValueError(f"'{t.op}' is not part of a stable form: {show(t)}")


_COMPUTED = frozenset({"sum", "at", "peak", "rest", "onehot"})
_KEPT = frozenset({"sum", "at", "peak", "rest", "lse", "onehot", "gap", "exp_diff", "absorb"})
