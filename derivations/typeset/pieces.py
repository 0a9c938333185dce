"""Pieces: a typeset part of a formula, and how tightly it binds.

A piece knows three ways of being written: as it stands at the end of a formula, before a plus or
minus (`before_term`), and before another factor (`before_factor`). `\\log x` may stand last, but
before a factor it must read `\\log(x)`; a sum sign may stand before a plus, but not before a factor.
"""

from __future__ import annotations

from dataclasses import dataclass

# How tightly a piece binds, loosest first.
OR, AND, NOT, RELATION, SUM, QUOTIENT, PRODUCT, POWER, ATOM = range(9)


@dataclass(frozen=True)
class Piece:
    """`text` in some notation, its binding `level`, and its width in characters as the eye sees it.

    `tall`: higher than a line, so that brackets around it must grow. `number`: starts with a digit.
    `block`: its own shape shows where it ends, as a fraction's does.
    """

    text: str
    level: int
    width: float
    tall: bool = False
    number: bool = False
    before_term: str = ""
    before_factor: str = ""
    block: bool = False

    @property
    def as_term(self) -> str:
        """The text where a plus or a minus follows."""
        return self.before_term or self.text

    @property
    def as_factor(self) -> str:
        """The text where another factor follows."""
        return self.before_factor or self.before_term or self.text
