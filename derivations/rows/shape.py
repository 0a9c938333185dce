"""What a row formula looks like from afar: which parts are plain sums of elementwise bodies."""

from __future__ import annotations

from lossmith.derivations.terms import REDUCTIONS, Term, walk


def reduces(term: Term) -> bool:
    """Whether a term holds a reduction over the class axis."""
    return any(t.op in REDUCTIONS for t in walk(term))


def separable(term: Term) -> bool:
    """Whether a term is a sum of plain sums of elementwise bodies, each times what holds no reduction.

    Then each class stands alone: a derivative by x_k is that of the body, and a stable form of the
    body is one of the sum.
    """
    if term.op in ("add", "sub"):
        return all(separable(a) for a in term.args)
    if term.op == "neg":
        return separable(term.args[0])
    if term.op == "mul":
        return (separable(term.args[0]) and not reduces(term.args[1])) or (
            separable(term.args[1]) and not reduces(term.args[0])
        )
    if term.op == "div":
        return separable(term.args[0]) and not reduces(term.args[1])
    if term.op == "sum":
        return not reduces(term.args[0])
    return not reduces(term)
