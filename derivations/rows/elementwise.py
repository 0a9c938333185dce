"""Elementwise parts of row formulas: the scalar search finds their stable form.

A part that holds no reduction is a formula of one class. Its rows become scalars, what it reads of
the row as a whole (a softmax, a normalised weight) becomes an argument of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace as with_fields
from functools import cache

from lossmith.derivations.derivation import Order, StableForm, Step
from lossmith.derivations.domains import Domain, interval
from lossmith.derivations.loss import Argument
from lossmith.derivations.machine import is_machine, machine
from lossmith.derivations.terms import (
    COUNT,
    Term,
    leaves,
    make,
    name_of,
    node,
    replace,
    row,
    var,
)

CLASS_COUNT = Domain(interval(1, "inf").low, interval(1, "inf").high, True, False)


@cache
def _search(part: Term, arguments: tuple[Argument, ...], order: Order) -> tuple[tuple[Step, ...], StableForm]:
    from lossmith.derivations import search

    return search.stabilize(part, arguments, order=order)


def stabilize_part(part: Term, atoms: Mapping[Term, tuple[str, Domain]], arguments: Sequence[Argument],
                   order: Order = ()) -> tuple[list[tuple[str, Step, Term, Term]], Term, StableForm]:
    """(steps, form, scalar form): each step as (rule, step, before, after) with the rows back in place."""
    known = {a.name: a for a in arguments}
    there: dict[Term, Term] = {}
    used: list[Argument] = []
    for atom, (name, domain) in atoms.items():
        free = name if name not in known else f"{name}_value"
        there[atom] = var(free)
        used.append(Argument(free, "input", domain))
    scalar = replace(part, there)
    if any(t is COUNT for t in _nodes(scalar)):
        there[COUNT] = var("classes")
        used.append(Argument("classes", "parameter", CLASS_COUNT))
        scalar = replace(scalar, {COUNT: var("classes")})
    rows = {t: var(name_of(t)) for t in leaves(scalar) if t.op == "row"}
    scalar = replace(scalar, rows)
    names = {name_of(t) for t in leaves(scalar)}
    used = [a for a in used if a.name in names] + [
        with_fields(a, axis="none", domain=_single(a.domain)) for a in arguments if a.name in names]
    steps, form = _search(scalar, tuple(used), order)
    back = {v: k for k, v in there.items()} | {v: k for k, v in rows.items()}
    moved = [(s.rule, s, replace(s.before, back), replace(s.after, back)) for s in steps]
    return moved, replace(form.term, back), form


def _single(domain: Domain) -> Domain:
    """What is known of one element of a row."""
    return with_fields(domain, unit_sum=False)


def _nodes(term: Term) -> list[Term]:
    from lossmith.derivations.terms import walk

    return walk(term)


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


_KEPT = frozenset({"sum", "at", "peak", "rest", "lse", "onehot", "gap", "exp_diff", "absorb"})
_ = row
