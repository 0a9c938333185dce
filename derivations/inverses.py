"""Where a formula is stationary: the value of one argument at which its derivative is 0, solved for.

A divergence between a probability and a logistic function vanishes where the logit is that of the
probability: the derivative by the logit is sigmoid(x) - p, so x = log(p) - log1p(-p) there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from lossmith.derivations import terms
from lossmith.derivations.match import Rewrite, summands
from lossmith.derivations.partial import CalculusProblem, partial
from lossmith.derivations.polynomial import canon, collect
from lossmith.derivations.seeds import recognized, seeds
from lossmith.derivations.terms import ONE, ZERO, Term, leaves, make, nodes_count

LARGEST = 120  # nodes of a derivative that is looked at
FACTORS = 12  # of its factors


def stationary(source: Term, z: Term, allowed: Callable[[Rewrite], bool]) -> Iterator[Term]:
    """Values of z, as terms of the other arguments, at which the derivative of `source` by z may be 0."""
    try:
        slope = partial(_named(source, allowed), z)
    except CalculusProblem:
        return
    if nodes_count(slope) > LARGEST:
        return
    seen: set[int] = set()
    for form in chain([slope], (s.term for s in seeds(slope))):
        for factor in _factors(_named(form, allowed)):
            found = _solved(factor, z)
            if found is not None and found.id not in seen and found.op != "var":
                seen.add(found.id)
                yield found


def _named(term: Term, allowed: Callable[[Rewrite], bool]) -> Term:
    steps = recognized(term, allowed)
    return steps[-1].after if steps else term


def _factors(term: Term) -> Iterator[Term]:
    """The sums that a product is made of, those below a fraction line left out."""
    waiting = [term]
    for _ in range(FACTORS):
        if not waiting:
            return
        t = waiting.pop()
        if t.op in ("add", "sub"):
            yield t
        elif t.op == "mul":
            waiting += t.args
        elif t.op in ("div", "neg"):
            waiting.append(t.args[0])


def _solved(total: Term, z: Term) -> Term | None:
    """z where a sum is 0, if only one of its summands holds z."""
    parts = summands(total)
    holding = [(s, u) for s, u in parts if z in set(leaves(u))]
    if len(holding) != 1:
        return None
    sign, u = holding[0]
    rest: Term = ZERO
    for s, v in parts:
        if v is not u:
            rest = terms.add(rest, v) if s * sign < 0 else terms.sub(rest, v)
    return _inverse(u, rest, z)


def _inverse(u: Term, w: Term, z: Term) -> Term | None:
    """z where u is w."""
    if u is z:
        return w
    if u.op == "neg":
        return _inverse(u.args[0], terms.neg(w), z)
    if u.op == "sigmoid":
        return _inverse(u.args[0], terms.sub(_log(w), _log(collect(terms.sub(ONE, w)))), z)
    if u.op == "exp":
        return _inverse(u.args[0], _log(w), z)
    if u.op == "log":
        return _inverse(u.args[0], make("exp", w), z)
    if u.op in ("add", "sub") and sum(z in set(leaves(a)) for a in u.args) == 1:
        a, b = u.args
        if z in set(leaves(a)):
            return _inverse(a, terms.sub(w, b) if u.op == "add" else terms.add(w, b), z)
        return _inverse(b, terms.sub(w, a) if u.op == "add" else terms.sub(a, w), z)
    return None


def _log(w: Term) -> Term:
    """log(w), by log1p where w is 1 and something."""
    if canon(w).get(()) == 1 and len(canon(w)) > 1:
        return make("log1p", collect(terms.sub(w, ONE)))
    return make("log", w)
