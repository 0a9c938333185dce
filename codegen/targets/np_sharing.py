"""Shared parts of the terms of one pass over the classes: computed once, under a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lossmith.codegen.names import Names
from lossmith.codegen.targets.np_printing import is_constant
from lossmith.derivations.terms import Term, replace, row, var, walk


def shared(terms: Sequence[Term], names: Names) -> tuple[list[tuple[str, Term]], list[Term]]:
    """(name, term) of every part that is used more than once, in order; and the terms that read them."""
    order = walk(*terms)
    uses = Counter(a for t in order for a in t.args)
    uses.update(terms)
    known: dict[Term, Term] = {}
    lets: list[tuple[str, Term]] = []
    for t in order:
        if uses[t] > 1 and t.args and t.op != "neg" and t.sort != "truth" and not is_constant(t):
            body = replace(t, known)
            name = names.fresh(body)
            lets.append((name, body))
            known[t] = row(name) if t.sort == "row" else var(name)
    return lets, [replace(t, known) for t in terms]
