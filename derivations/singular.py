"""Removable singularities: where a denominator vanishes and the quotient has a limit, that limit is its value.

The places are read off the denominator (x = 0, p = q, ..), the limit is found by differentiating
both sides of the fraction as often as it takes. What a limit is worth is measured like any other
candidate; `agreement` checks it against ball arithmetic on the quotient itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lossmith.derivations import balls
from lossmith.derivations.loss import Argument
from lossmith.derivations.match import build
from lossmith.derivations.moves import Move
from lossmith.derivations.partial import CalculusProblem, partial
from lossmith.derivations.polynomial import collect
from lossmith.derivations.terms import (
    AT_ZERO,
    COMPARISONS,
    ONE,
    ZERO,
    Term,
    is_const,
    leaves,
    name_of,
    number,
    replace,
    walk,
)

ORDERS = 4  # how often both sides are differentiated
LARGEST = 120  # nodes of a limit
NAME = "removable-singularity"
WORDS = "where the denominator vanishes the quotient has a limit, and that is its value"
LATEX = r"\text{the limit where the denominator vanishes}"
_ZERO_AT_ZERO = frozenset(op for op, value in AT_ZERO.items() if value is ZERO)
_INJECTIVE = frozenset({"exp", "expm1", "log", "log1p", "sqrt", "sinh", "tanh", "asinh", "atanh", "sigmoid",
                        "softplus", "erf", "erfc", "atan", "asin", "acos"})


@dataclass(frozen=True)
class Place:
    """A set on which a term is zero: one argument is what the others make of it."""

    variable: Term
    value: Term
    condition: Term


def places(zero: Term) -> Iterator[Place]:
    """Sets on which a term vanishes, as far as its structure tells."""
    if zero.op == "var":
        yield Place(zero, ZERO, build("eq", zero, ZERO))
    elif zero.op in ("mul", "max", "min", "absorb"):
        for a in dict.fromkeys(zero.args):
            yield from places(a)
    elif zero.op in ("div", "pow", "neg", "abs") or zero.op in _ZERO_AT_ZERO:
        yield from places(zero.args[0])
    elif zero.op == "log":
        yield from places(build("sub", zero.args[0], ONE))
    elif zero.op in ("sub", "add"):
        yield from _of_difference(zero)


def _of_difference(zero: Term) -> Iterator[Place]:
    a, b = zero.args if zero.op == "sub" else (zero.args[0], build("neg", zero.args[1]))
    if a.op == b.op and a.op in _INJECTIVE:
        yield from places(build("sub", a.args[0], b.args[0]))
        return
    for one, other in ((a, b), (b, a)):
        if is_const(other, 1) and one.op in ("exp", "cosh", "cos"):
            yield from places(one.args[0])
            return
        if is_const(other, 1) and one.op == "pow":
            yield from places(one.args[1])
            yield from places(build("sub", one.args[0], ONE))
            return
    for one, other in ((a, b), (b, a)):
        if one.op == "var" and one not in set(leaves(other)):
            yield Place(one, other, build("eq", one, other))
            return


def limit(top: Term, bottom: Term, place: Place) -> Term | None:
    """The limit of top / bottom at a place by differentiating both; None where that leads nowhere."""
    try:
        for _ in range(ORDERS):
            below, above = (substituted(t, place) for t in (bottom, top))
            # What is divided by zero may cancel, or hide behind a factor 0.
            if not (_regular(bottom, place) and _regular(top, place)):
                return None
            if below is not ZERO:
                found = collect(build("div", above, below))
                return found if found.size <= LARGEST and not _infinite(found) else None
            if above is not ZERO or any(_kinked(t, place) for t in (top, bottom)):
                return None
            top, bottom = (tidied(partial(t, place.variable)) for t in (top, bottom))
            if max(top.size, bottom.size) > 8 * LARGEST:
                return None
    except (CalculusProblem, ZeroDivisionError, ValueError, OverflowError):
        return None
    return None


def _regular(term: Term, place: Place) -> bool:
    """Whether no part of it divides by zero at a place, or takes the logarithm of zero."""
    done: dict[int, Term] = {}
    for t in walk(replace(term, {place.variable: place.value})):
        args = tuple(done[a.id] for a in t.args)
        if (t.op == "div" and args[1] is ZERO) or (t.op == "log" and args[0] is ZERO):
            return False
        if t.op == "pow" and args[0] is ZERO and is_const(args[1]) and number(args[1]) < 0:
            return False
        done[t.id] = _tidy(t.op, args) if t.args else t
    return True


def _kinked(term: Term, place: Place) -> bool:
    """Whether a part of it has no derivative at a place: its slope there says nothing of the limit."""
    for t in walk(term):
        edges = t.args[:1] if t.op in ("abs", "sign") else ()
        if t.op in COMPARISONS or t.op in ("max", "min"):
            edges = (build("sub", *t.args),)
        if any(substituted(e, place) is ZERO for e in edges):
            return True
    return False


def _infinite(found: Term) -> bool:
    """Whether a part of it was divided by zero on the way: then it is no limit."""
    return any(t.op == "div" and is_const(t.args[1], 0) for t in walk(found))


def substituted(term: Term, place: Place) -> Term:
    """The term at a place, folded and collected."""
    return tidied(replace(term, {place.variable: place.value}))


def tidied(term: Term) -> Term:
    """The term rebuilt with its constants folded, sums and products collected."""
    done: dict[int, Term] = {}
    for t in walk(term):
        done[t.id] = _tidy(t.op, [done[a.id] for a in t.args]) if t.args else t
    return done[term.id]


def _tidy(op: str, args: Sequence[Term]) -> Term:
    """A node of tidied parts, folded and collected."""
    made = build(op, *args)
    if made.op in ("add", "sub", "mul", "div"):
        made = collect(made)
    if made.op == "pow" and made.args[0] is ONE:
        return ONE
    if made.op == "pow" and is_const(made.args[0], 0) and is_const(made.args[1]) and number(made.args[1]) > 0:
        return ZERO
    return made


def patched(term: Term) -> Iterator[Move]:
    """The term with the limit put in where one of its quotients is 0 / 0, each way to do so."""
    seen: set[Term] = set()
    healed = {t.args[2] for t in walk(term) if t.op == "where" and t.args[0].op == "eq"}
    for t in walk(term):
        if t.op != "div" or is_const(t.args[0]) or t in healed:
            continue
        top, bottom = t.args
        for place in places(bottom):
            value = limit(top, bottom, place)
            if value is None:
                continue
            for condition in (place.condition, build("eq", bottom, ZERO)):
                made = build("where", condition, value, t)
                after = replace(term, {t: made})
                if made not in seen:
                    seen.add(made)
                    yield Move(NAME, WORDS, LATEX, term, after, t, made)


def agreement(move: Move, sampled: Sequence[Mapping[str, float]], arguments: tuple[Argument, ...]) -> int:
    """At how many points of the singular set the limit was found right. Raises ArithmeticError where it is not."""
    _, value, quotient = move.result.args
    held = 0
    for place in places(quotient.args[1]):
        for env in sampled:
            at = balls.truth(place.value, env)
            if not isinstance(at, float) or not math.isfinite(at) or not _holds(arguments, name_of(place.variable), at):
                continue
            here = {**env, name_of(place.variable): at}
            one, other = balls.truth(quotient, here, arguments=arguments), balls.truth(value, here, arguments=arguments)
            assert isinstance(one, float) and isinstance(other, float)
            if math.isnan(one) or math.isnan(other):
                continue
            if abs(one - other) > 1e-12 * abs(one):
                raise ArithmeticError(f"{quotient} tends to {one}, not to {other}, at {here}")
            held += 1
    return held


def _holds(arguments: tuple[Argument, ...], name: str, value: float) -> bool:
    return all(a.domain.holds(value) for a in arguments if a.name == name)
