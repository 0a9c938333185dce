"""Expansions as steps of a derivation: near the point the polynomial, elsewhere the formula, which rules go on with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace as changed
from typing import TYPE_CHECKING

import numpy as np
from lossmith.derivations.derivation import Evidence
from lossmith.derivations.guards import guard
from lossmith.derivations.loss import Argument
from lossmith.derivations.machine import machine
from lossmith.derivations.moves import Move, is_choice
from lossmith.derivations.roots import Root, root_expansions
from lossmith.derivations.series import Expansion, expansions, exponent
from lossmith.derivations.terms import Term, make, rebuild, replace, show, var, walk
from lossmith.derivations.verdicts import STABLE

if TYPE_CHECKING:
    from lossmith.derivations.answers import Answer
    from lossmith.derivations.beam import Candidate, Search
    from lossmith.derivations.measure import Judge

NAME = "taylor-series"
BESIDE = 3  # forms that are tried beside one polynomial
FORMS = 12  # polynomials that are tried
ENOUGH, HOPELESS = 6.0, 2.0**70  # ulp: what a polynomial near a root must meet; where all errors count the same


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


def beside_roots(answer: Answer, known: Judge) -> Answer:
    """The answer with polynomials near the roots of a formula of one argument, where it loses digits there."""
    widest = max(known.fmts, key=lambda f: f.precision)  # one polynomial for all formats
    found: dict[Root, list[Expansion]] = {}
    for root, expansion in root_expansions(known.definition, known.arguments, (widest.name,)):
        found.setdefault(root, []).append(expansion)
    for several in found.values():
        answer = min((_beside(answer, known, e) for e in several), key=lambda a: _lost(a, known), default=answer)
    return answer


def _lost(answer: Answer, known: Judge) -> tuple[float, float, int]:
    errors = np.minimum(known.ulps(answer.term), HOPELESS)
    lost = np.maximum(errors, ENOUGH)
    return round(float(np.log2(1 + lost).mean()), 2), round(float(lost.max())), answer.term.size


def _beside(answer: Answer, known: Judge, expansion: Expansion) -> Answer:
    """The answer with one polynomial, if that is good where the answer is not."""
    inside = np.broadcast_to(known.evaluator(expansion.condition), known.truth.shape)
    if not inside.any() or float(known.ulps(answer.term)[inside].max()) <= STABLE:
        return answer
    if float(known.ulps(expansion.term)[inside].max()) > ENOUGH:
        return answer
    first = move_of(expansion, known.definition)
    return changed(answer, moves=_path(first, expansion, answer.moves), term=choice(expansion, answer.term))


def series_of(moves: Sequence[Move]) -> frozenset[tuple[Term, Term]]:
    """The conditions and polynomials of the expansions among some moves, as made or in the machine's words."""
    made = [m.result for m in moves if m.name == NAME and m.result.op == "where"]
    return frozenset((c.args[0], c.args[1]) for r in made for c in (r, machine(r)) if c.op == "where")


def is_series(term: Term, known: frozenset[tuple[Term, Term]]) -> bool:
    """Whether a term is a polynomial beside what it stands for, of those that are known or by its shape."""
    return term.op == "where" and ((term.args[0], term.args[1]) in known or is_choice(term))


def certified(source: Term, result: Term, arguments: Sequence[Argument]) -> Expansion | None:
    """The expansion that a step used, found again from its source alone; None where there is none such."""
    if result.op != "where" or result.args[2] is not source:
        return None
    for name in ("float64", "float32", "float16", "bfloat16"):
        about_roots = (e for _, e in root_expansions(source, arguments, (name,)))
        for expansion in itertools.chain(expansions(source, arguments, (name,)), about_roots):
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
    alike = {_alike(c) for c in made if c.op == "where"} - {None}
    done: dict[Term, Term] = {}
    for t in walk(term):
        rebuilt = rebuild(t, tuple(done[a] for a in t.args)) if t.args else t
        undo = t.op == "where" and ((t.args[0], t.args[1]) in polynomials or _alike(t) in alike)
        done[t] = done[t.args[2]] if undo else rebuilt
    return done[term]


def _alike(choice: Term) -> tuple[Term, Term] | None:
    """The bound and the polynomial of a choice by |u|, whatever u has become since."""
    near = choice.args[0]
    if near.op != "le" or near.args[0].op != "abs":
        return None
    return near.args[1], replace(choice.args[1], {near.args[0].args[0]: var("@u")})
