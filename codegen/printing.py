"""Printing terms as source text: a table per target, one format per operation.

A target is a table from operation to `Form`; the table must cover the machine vocabulary exactly,
which is checked when the target is imported. Leaves (inputs, temporaries, constants) are printed
by the target's own function.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lossmith.derivations.terms import LEAVES, MACHINE, Term

LONGEST = 96  # characters of a call on a line
ATOM = 9  # the binding strength of a name, a literal, a call


@dataclass(frozen=True)
class Form:
    """How one operation is written.

    text: with {0}, {1}, {2} for its arguments. level: how tightly the result binds (ATOM for a
    call). inner: the level each argument must have to stand without brackets.
    """

    text: str
    level: int = ATOM
    inner: tuple[int, ...] = (0, 0, 0)


def infix(sign: str, level: int, tight_left: bool = False) -> Form:
    """A binary operator that groups to the left: `a - (b - c)` keeps its brackets, and so does
    `a + (b + c)`, because association is part of a stable form."""
    return Form(f"{{0}} {sign} {{1}}", level, (level + tight_left, level + 1))


def on_lines(text: str) -> str:
    """A call that is too long for a line, cut at its blanks."""
    if len(text) <= LONGEST:
        return text
    return "\n".join(textwrap.wrap(text, LONGEST, subsequent_indent=" " * 8, break_long_words=False,
                                   break_on_hyphens=False))


def call(name: str, arity: int = 1) -> Form:
    """A function call."""
    return Form(f"{name}({', '.join(f'{{{i}}}' for i in range(arity))})")


class Printer:
    """Writes terms in one target's language."""

    def __init__(self, target: str, table: Mapping[str, Form]) -> None:
        wanted = MACHINE - set(LEAVES)
        missing, extra = sorted(wanted - set(table)), sorted(set(table) - wanted)
        if missing or extra:
            raise TypeError(f"the printer of target {target} lacks {missing} and has no use for {extra}")
        self.table = table

    def text(self, term: Term, leaf: Callable[[Term], str], outer: int = 0) -> str:
        """`term` as source text; `leaf` prints what has no arguments."""
        if not term.args:
            return leaf(term)
        form = self.table[term.op]
        inner = form.inner + (0,) * len(term.args)
        text = form.text.format(*(self.text(a, leaf, inner[i]) for i, a in enumerate(term.args)))
        return f"({text})" if form.level < outer else text
