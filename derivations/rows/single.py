"""Rows of one class: what is the same number for all of them is that number, and not what rounding leaves of it."""

from __future__ import annotations

from lossmith.derivations.loss import Argument
from lossmith.derivations.rows.algebra import Algebra, label_chosen
from lossmith.derivations.terms import COUNT, ONE, Term, const, is_const, node, number, rebuild, var, walk


def of_one_class(term: Term, arguments: tuple[Argument, ...]) -> Term | None:
    """The constant that a formula is for every row of one class; None where it is none, or none that is found."""
    done: dict[Term, Term] = {}
    for t in walk(term):
        args = tuple(done[a] for a in t.args if a in done)
        if t.op == "row":
            done[t] = var(str(t.value))
        elif t.op in ("sum", "at", "peak", "lse") and args and (t.op != "lse" or len(args) == 1):
            done[t] = args[0]
        elif t.op == "rest" and len(args) == 1:
            done[t] = const(0)
        elif t is COUNT or t.op == "onehot":
            done[t] = ONE
        elif t.op == "where" and label_chosen(t.args[0]) is not None:
            done[t] = args[1]
        else:
            done[t] = rebuild(t, args) if t.args and len(args) == len(t.args) else t
    try:
        found = Algebra(arguments).normal(done[term])
    except (ValueError, ZeroDivisionError):
        return None
    return const(number(found)) if is_const(found) else None


def told_apart(term: Term, value: Term) -> Term:
    """`term`, and its constant where there is one class."""
    return node("where", (node("eq", (COUNT, ONE)), value, term))
