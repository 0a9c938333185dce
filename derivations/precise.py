"""Formulas computed in twice the digits: the operation `precise`, whose arguments are the formula's leaves.

An exponential multiplies the rounding of its argument by the argument; a logarithm near 1 and a
difference of near-equal products lose what was rounded before. `precise` names such a formula as a
whole: its arithmetic is done in pairs of numbers and rounded once. The formula itself is the node's
value, as text over the places of its arguments, so that what walks or shares terms sees only these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

from lossmith.derivations.terms import (
    PI,
    Term,
    const,
    is_const,
    make,
    name_of,
    node,
    number,
    rebuild,
    replace,
    var,
    walk,
)

# What is done in pairs, and what may take a pair as its argument and give a number.
ARITHMETIC = frozenset({"add", "sub", "mul", "div", "neg", "abs", "sqrt", "log", "log1p", "pow"})
OUTERMOST = frozenset({"exp", "expm1", "log", "log1p"})
LOGARITHMS = frozenset({"log", "log1p"})
SUMS = frozenset({"add", "sub"})
EXACT = frozenset({"neg", "abs"})
LARGEST_POWER, MOST_NODES, MOST_LEAVES = 8, 30, 6


def wrap(term: Term) -> Term:
    """The formula as one `precise` node; the formula itself where twice the digits would change nothing.

    That is where fewer than two operations would round, or where it has too many leaves.
    """
    found = unwrapped(term)
    leaves: list[Term] = []
    inside = _inside(found, leaves, True)
    rounding = sum(t.op not in EXACT for t in inside)
    if rounding < 2 or len(inside) > MOST_NODES or not 0 < len(leaves) <= MOST_LEAVES:
        return term
    text = _written(found, {t.id: k for k, t in enumerate(leaves)})
    return node("precise", tuple(leaves), text)


def _inside(term: Term, leaves: list[Term], outermost: bool) -> list[Term]:
    """The nodes that are done in pairs; `leaves` collects what they start from, numbers apart."""
    inside: dict[int, Term] = {}

    def visit(t: Term, first: bool) -> None:
        if t.id in inside or t in leaves or t.op in ("const", "pi"):
            return
        if _in_pairs(t) or (first and t.op in OUTERMOST):
            inside[t.id] = t
            for a in t.args[:1] if t.op == "pow" else t.args:
                visit(a, False)
        else:
            leaves.append(t)

    visit(term, outermost)
    return list(inside.values())


def _in_pairs(t: Term) -> bool:
    if t.op != "pow":
        return t.op in ARITHMETIC
    return is_const(t.args[1]) and number(t.args[1]).denominator == 1 and 2 <= number(t.args[1]) <= LARGEST_POWER


def _written(t: Term, places: Mapping[int, int]) -> str:
    if t.id in places:
        return f"${places[t.id]}"
    if t.op in ("const", "pi"):
        return str(number(t)) if t.op == "const" else "pi"
    return f"({' '.join([t.op, *(_written(a, places) for a in t.args)])})"


@cache
def template(text: str) -> Term:
    """The formula of a node's value, over the variables `$0`, `$1`, ..."""
    tokens = re.findall(r"[()]|[^\s()]+", text)[::-1]

    def read() -> Term:
        token = tokens.pop()
        if token != "(":
            return PI if token == "pi" else var(token) if token.startswith("$") else const(Fraction(token))
        op, args = tokens.pop(), list[Term]()
        while tokens[-1] != ")":
            args.append(read())
        tokens.pop()
        return node(op, tuple(args))

    return read()


def place(leaf: Term) -> int:
    """Which argument a variable of a template stands for."""
    return int(name_of(leaf)[1:])


def formula(term: Term) -> Term:
    """The template of a `precise` node. Raises ValueError where it has none yet, as in the text of a rule."""
    if not isinstance(term.value, str):
        raise ValueError("this node has no formula")
    return template(term.value)


def spelled(term: Term) -> Term:
    """The formula that a `precise` node stands for."""
    if term.value is None:
        return term.args[0]
    return replace(formula(term), {var(f"${k}"): a for k, a in enumerate(term.args)})


def unwrapped(term: Term) -> Term:
    """The term with every `precise` node spelled out: the same value in exact arithmetic."""
    done: dict[int, Term] = {}
    for t in walk(term):
        args = tuple(done[a.id] for a in t.args)
        same = all(a is b for a, b in zip(args, t.args, strict=True))
        made = t if same else node(t.op, args, t.value) if t.value is not None else make(t.op, *args)
        done[t.id] = spelled(made) if t.op == "precise" else made
    return done[term.id]


def compute(term: Term, args: Sequence[Any], operations: Mapping[str, Callable[..., Any]],
            exact: Callable[[Fraction], Any], pi: Callable[[], Any]) -> Any:
    """The formula of a node on given arguments, by any arithmetic."""
    if term.value is None:
        return args[0]
    done: dict[int, Any] = {}
    for t in walk(formula(term)):
        if t.op == "var":
            done[t.id] = args[place(t)]
        elif t.op in ("const", "pi"):
            done[t.id] = exact(number(t)) if t.op == "const" else pi()
        else:
            done[t.id] = operations[t.op](*(done[a.id] for a in t.args))
    return done[formula(term).id]


# Which operations may begin a part in twice the digits: expm1 apart, since what it is divided by near 0 is one number.
WAYS = (OUTERMOST, OUTERMOST - {"expm1"}, LOGARITHMS, SUMS, OUTERMOST | ARITHMETIC)


def doubled(term: Term, begin: frozenset[str], kept: Callable[[Term], bool] = lambda t: False) -> Term:
    """The term in twice the digits from those of its operations that may `begin` such a part.

    Exponentials and logarithms of arithmetic are what gains; logarithms alone leave their value as one
    number, which other parts of the term may share; sums alone leave the scale that stands before them
    as it is, which in pairs could overflow. kept: choices whose first form stays as it is.
    """
    done: dict[int, Term] = {}

    def go(t: Term) -> Term:
        found = done.get(t.id)
        if found is None and kept(t):
            found = done[t.id] = rebuild(t, (*t.args[:2], go(t.args[2])))
        if found is None:
            made = wrap(t) if t.op in begin else t
            args = tuple(go(a) for a in made.args)
            found = done[t.id] = node("precise", args, made.value) if made.op == "precise" else rebuild(made, args)
        return found

    return go(term)
