"""Tails: an exponential that a whole product shares, halved, so that it does not vanish before it is multiplied.

Where e^u is subnormal it has few digits left, or none, though b e^u may have them all. Here e^u is
taken out of everything that is proportional to it, and its two halves stand at either end.
"""

from __future__ import annotations

from collections.abc import Iterator

from lossmith.derivations.moves import Move, outside
from lossmith.derivations.terms import (
    ONE,
    TWO,
    ZERO,
    Term,
    div,
    is_const,
    make,
    mul,
    number,
    power,
    rebuild,
    replace,
    sub,
    walk,
)

NAME = "halved-tail"
WORDS = "the exponential may vanish, or lose its digits, before it is multiplied: half of it first, and half last"
LATEX = r"b\,e^{u} = (b\,e^{u/2})\,e^{u/2}"
PROPORTIONAL = frozenset({"mul", "div", "neg", "add", "sub", "where", "absorb", "pow"})
PER_TERM = 4  # exponentials of one part that are tried


def halved(term: Term) -> Iterator[tuple[Move, ...]]:
    """Ways to halve the exponentials of a term: the moves of each."""
    for once in (True, False):
        moves: tuple[Move, ...] = ()
        after = term
        for source in _parts(term):
            result = _in_halves(source, once)
            made = outside(after, source, result) if result is not None else after
            if made is not after and result is not None:
                moves = (*moves, Move(NAME, WORDS, LATEX, after, made, source, result))
                after = made
        if moves:
            yield moves


def _parts(term: Term) -> Iterator[Term]:
    """The largest parts that an exponential can be taken out of."""
    if _in_halves(term, True) is not None:
        yield term
    elif term.op in PROPORTIONAL:
        for a in term.args[term.op == "where":]:
            yield from _parts(a)


def _in_halves(term: Term, once: bool) -> Term | None:
    """b e^u as (b h) h with h = e^(u/2), for each e^u that it is proportional to.

    Once: every other e^u is h h too, so that h is all that is computed.
    """
    if _half(term) is not None:
        return None
    inner, outer = term, ONE
    for tail, half in [(t, half) for t in walk(term) if (half := _half(t)) is not None][:PER_TERM]:
        first = _first_half(inner, tail, half)
        if first is not None:
            inner, outer = outside(first, tail, mul(half, half)) if once else first, mul(outer, half)
    return mul(inner, outer) if outer is not ONE else _by_branch(term, once)


def _by_branch(term: Term, once: bool) -> Term | None:
    """A product with a choice that is proportional to an exponential in one branch alone: multiplied in each."""
    for k in (0, 1) if term.op == "mul" else ():
        choice, other = term.args[k], term.args[1 - k]
        if choice.op == "where":
            products = [mul(other, a) for a in choice.args[1:]]
            halves = [_in_halves(a, once) for a in products]
            if any(halves):
                return make("where", choice.args[0], *(h or a for h, a in zip(halves, products, strict=True)))
    return None


def _half(t: Term) -> Term | None:
    """The root of an exponential, also of one that is 1 where it does not vanish; None for anything else."""
    if t.op in ("exp", "exp_diff"):
        return make(t.op, *(div(a, TWO) for a in t.args))
    if t.op == "where" and ONE in t.args[1:]:
        halves = [a if a is ONE else _half(a) for a in t.args[1:]]
        return None if None in halves else make("where", t.args[0], *(h for h in halves if h is not None))
    return None


def _first_half(term: Term, tail: Term, half: Term) -> Term | None:
    """A term that is proportional to the tail, with half of that in its place; None where it is not."""
    if term is tail or is_const(term, 0):
        return half if term is tail else ZERO
    if term.op not in PROPORTIONAL:
        return None
    if term.op == "pow":
        n = term.args[1]
        whole = term.args[0] is tail and is_const(n) and number(n) > 1
        return mul(half, power(tail, sub(n, ONE))) if whole else None
    places = {"neg": (0,), "div": (0,), "add": (0, 1), "sub": (0, 1), "where": (1, 2)}.get(term.op)
    if places is not None:
        made = {k: _first_half(term.args[k], tail, half) for k in places}
        return None if None in made.values() else rebuild(
            term, tuple(made.get(k) or a for k, a in enumerate(term.args)))
    for k in (0, 1):
        made_here = _first_half(term.args[k], tail, half)
        if made_here is not None:
            return rebuild(term, (made_here, term.args[1]) if k == 0 else (term.args[0], made_here))
    return None


def squared(source: Term, result: Term) -> Term:
    """`source` with each exponential as the square of its half, which `result` holds: the two compare by algebra."""
    inside = set(walk(result))
    mapping = {}
    for t in walk(source):
        if t.op in ("exp", "exp_diff") and (half := _half(t)) in inside and half is not None:
            mapping[t] = mul(half, half)
    return replace(source, mapping)
