"""Expansions as steps of a derivation: near the point the polynomial, elsewhere the formula, which rules go on with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from lossmith.derivations.derivation import Evidence
from lossmith.derivations.guards import guard
from lossmith.derivations.loss import Argument
from lossmith.derivations.machine import machine
from lossmith.derivations.moves import Move
from lossmith.derivations.series import Expansion, expansions, exponent
from lossmith.derivations.terms import Term, make, rebuild, replace, show, walk

if TYPE_CHECKING:
    from lossmith.derivations.beam import Candidate, Search

NAME = "taylor-series"
BESIDE = 3  # forms that are tried beside one polynomial
FORMS = 12  # polynomials that are tried


def choice(expansion: Expansion, elsewhere: Term) -> Term:
    return make("where", expansion.condition, expansion.term, elsewhere)


def move_of(expansion: Expansion, before: Term) -> Move:
    """The step that puts the polynomial beside the formula that it stands for."""
    made = choice(expansion, expansion.source)
    return Move(NAME, expansion.words, expansion.latex, before, replace(before, {expansion.source: made}),
                expansion.source, made)


def expanded(search: Search) -> Iterator[tuple[Term, tuple[Move, ...]]]:
    """For each polynomial that is accurate where it holds: forms with it, and the leading forms elsewhere."""
    widest = max(search.judge.fmts, key=lambda f: f.precision)
    definition, used = search.definition, 0
    for expansion in expansions(definition, search.arguments, (widest.name,)):
        inside = np.broadcast_to(search.judge.evaluator(expansion.condition), search.judge.truth.shape)
        errors = search.judge.ulps(expansion.term)
        if not inside.any() or float(errors[inside].max()) > search.target:
            continue
        first = move_of(expansion, definition)
        if expansion.source is not definition:
            yield first.after, (first,)
        else:
            for c in _elsewhere(search, ~inside):
                yield choice(expansion, c.term), _path(first, expansion, c.moves)
        used += 1
        if used == FORMS:
            return


def _elsewhere(search: Search, outside: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[Candidate]:
    """The forms that lose least where the polynomial does not hold."""
    pool = list(search.pool.values())
    if not outside.any():
        return pool[:1]
    lost = np.array([np.maximum(search.errors(c)[outside], search.target).max() for c in pool])
    return [pool[i] for i in sorted(range(len(pool)), key=lambda i: (lost[i], pool[i].cost, i))[:BESIDE]]


def _path(first: Move, expansion: Expansion, moves: Sequence[Move]) -> tuple[Move, ...]:
    out = [first]
    for move in moves:
        out.append(move.inside(out[-1].after, choice(expansion, move.after)))
    return tuple(out)


def certified(source: Term, result: Term, arguments: Sequence[Argument]) -> Expansion | None:
    """The expansion that a step used, found again from its source alone; None where there is none such."""
    if result.op != "where" or result.args[2] is not source:
        return None
    for name in ("float64", "float32", "float16", "bfloat16"):
        for expansion in expansions(source, arguments, (name,)):
            if choice(expansion, source) is result:
                return expansion
    return None


def evidence(source: Term, result: Term, arguments: Sequence[Argument]) -> Evidence:
    """The proof of an expansion. Raises ArithmeticError for a polynomial that is not one of the source's."""
    found = certified(source, result, arguments)
    if found is None:
        raise ArithmeticError(f"{result} is no expansion of {source}")
    bound = exponent(found.remainder)
    return Evidence("proved", f"the remainder is below 2^{bound} of the value for {show(found.condition)}, "
                              "bounded by Taylor models on a disc")


def undone(term: Term, choices: Sequence[Term], arguments: tuple[Argument, ...]) -> Term:
    """`term` without the polynomials of these choices, as they were made or guarded: what it is but for remainders."""
    made = [*choices, *(guard(machine(c), arguments) for c in choices)]
    polynomials = {(c.args[0], c.args[1]) for c in made if c.op == "where"}
    done: dict[Term, Term] = {}
    for t in walk(term):
        rebuilt = rebuild(t, tuple(done[a] for a in t.args)) if t.args else t
        done[t] = done[t.args[2]] if t.op == "where" and (t.args[0], t.args[1]) in polynomials else rebuilt
    return done[term]
