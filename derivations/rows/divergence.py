"""The divergence of one class, w log(w/q) - w + q, without a cancellation where w and q are near.

Far from equality the parts do not cancel, and the logarithm of q may be known better than q
itself: where a softmax underflows, its logarithm does not.
"""

from __future__ import annotations

from lossmith.derivations.rows.nearness import near_equality
from lossmith.derivations.terms import Term, add, div, node, sub


def written(w: Term, q: Term) -> Term:
    """w log(w/q) - w + q."""
    return add(sub(node("xlogy", (w, div(w, q))), w), q)


def stable(w: Term, q: Term, cost: Term) -> Term:
    """The same, accurate everywhere, never negative. cost: -log q, known by itself."""
    logs = add(node("xlogy", (w, w)), node("absorb", (w, cost)))
    body = written(w, q)
    return near_equality(body, add(sub(logs, w), q)) or body
