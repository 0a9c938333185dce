"""Formulas of a given number of nodes, drawn rather than typed: what the cost of a formula's length is measured on.

A node is an operation, an argument or a number, counted as it is written. Every formula is defined for all real x
and y and differentiable nearly everywhere, so that any of them could be the body of a loss.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

DOMAIN: Mapping[str, str] = {"x": "real", "y": "real"}
# Text around one part, and the nodes that it adds.
AROUND: tuple[tuple[str, int], ...] = (
    ("log(1 + exp({}))", 4), ("log(1 + ({})**2)", 5), ("sqrt(1 + ({})**2)", 5), ("exp(-({})**2)", 4), ("tanh({})", 1),
    ("1/(1 + exp(-({})))", 6), ("abs({})", 1), ("({})**2", 2), ("-({})", 1), ("sin({})", 1), ("atan({})", 1),
)
BETWEEN = ("({}) + ({})", "({}) - ({})", "({})*({})")
LEAVES = ("x", "y", "x", "y", "2", "3", "1/2")
SMALL = 6  # nodes from which on a formula is never a leaf alone


def tree(nodes: int, seed: int) -> str:
    """A random tree: sums, differences and products of what the functions of losses make of smaller trees."""
    return _tree(nodes, random.Random(f"tree {nodes} {seed}"))


def _tree(nodes: int, draw: random.Random) -> str:
    if nodes < 2:
        return draw.choice(LEAVES[:4])
    fitting = [(text, added) for text, added in AROUND if added < nodes]
    if nodes < 3 or (fitting and draw.random() < 0.45):
        text, added = draw.choice(fitting)
        return text.format(_tree(nodes - added, draw))
    left = draw.randint(1, nodes - 2)
    return draw.choice(BETWEEN).format(_tree(left, draw), _tree(nodes - 1 - left, draw))


def total(nodes: int, seed: int) -> str:
    """A sum of small trees: a loss of many terms, none of them deep."""
    draw, parts, left = random.Random(f"sum {nodes} {seed}"), [], nodes
    while left > 0:
        size = min(left, draw.randint(5, 12))
        parts.append(f"({_tree(size, draw)})")
        left -= size + 1
    return " + ".join(parts)


def nest(nodes: int, seed: int) -> str:
    """One function around another: as deep as a formula of so many nodes can be, and no more than smooth."""
    draw, text, left = random.Random(f"nest {nodes} {seed}"), "x", nodes - 1
    gentle = [("log(1 + exp({}))", 4), ("sqrt(1 + ({})**2)", 5), ("tanh({})", 1), ("y - ({})", 2), ("atan({})", 1)]
    while left > 0:
        around, added = draw.choice([g for g in gentle if g[1] <= left])
        text, left = around.format(text), left - added
    return text


KINDS: Mapping[str, Callable[[int, int], str]] = {"sum": total, "tree": tree, "nest": nest}
