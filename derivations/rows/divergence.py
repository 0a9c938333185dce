"""The divergence of one class, w log(w/q) - w + q, without a cancellation where w and q are near.

Near equality it is second order in w - q while its parts are first order: log(1 + r) - r as one
function keeps it. Far from equality the parts do not cancel, and the logarithm of q may be known
better than q itself: where a softmax underflows, its logarithm does not.
"""

from __future__ import annotations

from lossmith.derivations.terms import Term, add, const, div, make, mul, neg, node, sub

NEAR = const(4)  # within this ratio the relative difference is taken; beyond it the parts differ by a bounded factor


def written(w: Term, q: Term) -> Term:
    """w log(w/q) - w + q."""
    return add(sub(node("xlogy", (w, div(w, q))), w), q)


def stable(w: Term, q: Term, cost: Term | None) -> Term:
    """The same, accurate everywhere, never negative. cost: -log q where it is known by itself."""
    near = node("and", (node("gt", (q, div(w, NEAR))), node("lt", (q, mul(NEAR, w)))))
    close = neg(mul(w, make("log1pmx", div(sub(q, w), w))))
    logs = node("xlogy", (w, w))
    logs = sub(logs, node("xlogy", (w, q))) if cost is None else add(logs, node("absorb", (w, cost)))
    return node("where", (near, close, add(sub(logs, w), q)))


REASON = "near equality, log(1 + r) - r of the relative difference r is computed as one function"
LATEX = r"w \log\tfrac{w}{q} - w + q = -w\,(\log(1 + r) - r), \quad r = \tfrac{q - w}{w}"
