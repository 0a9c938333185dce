"""Choosing among candidates: one piece before two, a shorter path before a longer one, guards only where needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from lossmith.derivations.beam import PER_STEP, Candidate, Search
from lossmith.derivations.expanding import NAME as SERIES
from lossmith.derivations.guards import guard
from lossmith.derivations.machine import cost, expansion, machine
from lossmith.derivations.measure import Judge, bits
from lossmith.derivations.moves import Move, from_rewrite, replayed
from lossmith.derivations.regimes import Piecewise, Places, best_split
from lossmith.derivations.terms import Term
from lossmith.derivations.verdicts import STABLE

EXCUSED = 16.0  # how many times better than one form near a root two pieces must be
FINALISTS, WITHIN = 12, 25.0  # single forms that are finished and compared at infinity, and how much dearer they may be
LUCK, LUCK_PRICE = 1.5, 1.0  # bits near roots, and the price, by which a form that is better only there must win
RIVALS = 4  # other forms that the answer is compared with where truth would cost too much
MINOR = frozenset({"collect"})  # steps that change nothing about where a form fails


@dataclass(frozen=True)
class Answer:
    """The chosen form: moves from the definition, then into the machine's vocabulary, guards last."""

    moves: tuple[Move, ...]
    term: Term
    ulp: float
    pieces: int = 1


def choose(search: Search, fresh: Judge, edges: Judge) -> tuple[Answer, list[Term]]:
    """The best answer in the pool, and other forms to compare it with."""
    good = search.good()
    rivals = _unlike(good)
    root = next(iter(search.pool.values()))
    if good:
        if search.ulp(root) <= search.target and search.price(good[0]) > 0.9 * search.price(root):
            good = [root]
        elif (plain := _plainer(search, good, fresh) or _without_series(search, good[0])) is not None:
            return plain, rivals
        single = _single(search, good, edges)
        if search.strictly_met():
            return single, rivals
        return _without_excuse(search, single, fresh), rivals
    if (plain := _excused(search, fresh, edges)) is not None:
        return plain, rivals
    search.allowance = search.strict
    split = best_split(search)
    nearest = _nearest(search, fresh)
    if split is None:
        return nearest, rivals
    pieces = piecewise(search, split)
    # Pieces are chosen point by point, so they may be luck: a single form that does as well on fresh points wins.
    if fresh.count and float(fresh.ulps(nearest.term).max()) <= min(STABLE, float(fresh.ulps(pieces.term).max())):
        return nearest, rivals
    return pieces, [c.form for c in split.candidates]


def _unlike(good: list[Candidate]) -> list[Term]:
    """Good forms that other steps lead to than to the best, and than to each other: they fail elsewhere."""
    ways = {frozenset(m.name for m in c.moves if m.name not in MINOR): c for c in reversed(good)}
    others = sorted((c for c in ways.values() if c is not good[0]), key=lambda c: c.cost) if good else []
    return [c.form for c in others[:RIVALS]]


def _excused(search: Search, fresh: Judge, edges: Judge) -> Answer | None:
    """The best single form that is good but for what conditioning explains near roots, if there is one."""
    strict, search.allowance = search.allowance, search.lenient()
    good = search.good()
    if not good:
        search.allowance = strict
        return None
    return _without_excuse(search, _single(search, good, edges), fresh)


def _nearest(search: Search, fresh: Judge) -> Answer:
    """Of the single forms that come closest to the target, the first that is stable on fresh points too."""
    leading = sorted(search.pool.values(), key=search.shortfall)[:FINALISTS]
    holding = [c for c in leading if fresh.count and float(fresh.ulps(c.form).max()) <= STABLE]
    return finished(search, (holding or leading)[0])


def _plainer(search: Search, good: list[Candidate], fresh: Judge) -> Answer | None:
    """A cheaper form than the best that loses no more near the roots of fresh points, if there is one.

    With many candidates some are right by luck at the few roots that the search sees.
    """
    strict, search.allowance = search.allowance, search.lenient()
    root = next(iter(search.pool.values()))
    plain = [c for c in search.good()[:FINALISTS] if search.price(c) < search.price(good[0]) - (
        0 if c is root else LUCK_PRICE)]
    lucky = bits(fresh.ulps(good[0].form))
    for c in plain:
        found = bits(fresh.ulps(c.form))
        lost = np.maximum(found, lucky) > np.log2(1 + search.target)
        if not lost.any() or float((found - lucky)[lost].mean()) < LUCK:
            return finished(search, c)
    search.allowance = strict
    return None


def _without_series(search: Search, best: Candidate) -> Answer | None:
    """Where the best form holds a polynomial of many terms: two pieces without one that cost no more."""
    if all(m.name != SERIES for m in best.moves):
        return None
    split = best_split(search, SERIES)
    if split is None or not split.within or not split.simple:
        return None
    pieces = piecewise(search, split)
    return pieces if cost(pieces.term) + PER_STEP * len(pieces.moves) <= search.price(best) else None


def _single(search: Search, good: list[Candidate], edges: Judge) -> Answer:
    """Of the cheapest single forms the one that is right at most points at infinity."""
    finalists = [finished(search, c) for c in good[:FINALISTS] if search.price(c) <= search.price(good[0]) + WITHIN]
    wrong = [int((edges.ulps(a.term) > 64 * search.target).sum()) if edges.count else 0 for a in finalists]
    return finalists[int(np.argmin(wrong))]


def _without_excuse(search: Search, single: Answer, fresh: Judge) -> Answer:
    """A form that is good but for what conditioning excuses, unless two simple pieces do without the excuse."""
    search.allowance = search.strict
    split = best_split(search)
    if split is None or not split.simple or not split.within:
        return single
    pieces = piecewise(search, split)
    gained = fresh.measurement(pieces.term).ulp * EXCUSED <= fresh.measurement(single.term).ulp
    return pieces if gained else single


def finished(search: Search, c: Candidate) -> Answer:
    """A candidate as an answer: its path pruned, then expanded and guarded."""
    return _complete(search, list(_pruned(search, c)), c.term, search.ulp(c), 1)


def _complete(search: Search, moves: list[Move], term: Term, ulp: float, pieces: int) -> Answer:
    term = moves[-1].after if moves else term
    moves += [from_rewrite(step) for step in expansion(term)]
    term = moves[-1].after if moves else term
    guarded = guard(term, search.arguments)
    if guarded is not term:
        moves.append(Move.guard(term, guarded))
    return Answer(tuple(moves), guarded, ulp, pieces)


def _pruned(search: Search, c: Candidate, rows: Places | None = None) -> tuple[Move, ...]:
    """The path without the steps that it does not need. rows: the points that count, for a piece those in it."""
    at = np.ones(search.judge.count, dtype=bool) if rows is None else rows
    limit = float(search.errors(c)[at].max(initial=0.0)) + 1e-9
    moves = list(c.moves)
    i = 0
    while i < len(moves) and len(moves) > 1:
        shorter = moves[:i] + moves[i + 1:]
        again = replayed(moves[0].before, shorter)
        if again is not None:
            form = guard(machine(again), search.arguments)
            errors = search.judge.ulps(form) / search.allowance
            if cost(form) <= c.cost and float(errors[at].max(initial=0.0)) <= limit:
                moves = list(_rewired(moves[0].before, shorter))
                continue
        i += 1
    return tuple(moves)


def _rewired(start: Term, moves: Iterable[Move]) -> Iterator[Move]:
    term = start
    for move in moves:
        made = move.on(term)
        assert made is not None
        yield made
        term = made.after


def piecewise(search: Search, split: Piecewise) -> Answer:
    """Split first, then rewrite each piece along its own path."""
    before = search.definition
    pieces: list[Term] = [before] * len(split.candidates)
    after = split.join(pieces)
    moves = [Move.split(before, after, split.words(), split.latex())]
    place = split.place(search.judge)
    for i, c in enumerate(split.candidates):
        for move in _pruned(search, c, place == i):
            pieces[i] = move.after
            before, after = after, split.join(pieces)
            moves.append(move.inside(before, after))
    errors = np.choose(place, [search.errors(c) for c in split.candidates])
    return _complete(search, moves, after, float(errors.max()), len(pieces))
