"""Five changes as pull requests bring them, told apart: two sound, one unsound, one of no use, one wrong at a seam.

    python examples/five_pull_requests.py
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from lossmith.audit.equivalence import Comparison, compare

from lossmith.formula import formula_unit


class Change(NamedTuple):
    """What a pull request says, both forms, their domain, and what the audit should say."""

    title: str
    before: str
    after: str
    domain: tuple[str, ...]
    verdict: str


CHANGES = (
    Change("weights of one sign", "max(x, 0) - x*z + log1p(exp(-abs(x)))",
           "(1 - z)*max(x, 0) + z*max(-x, 0) + log1p(exp(-abs(x)))", ("x=real", "z=[0,1]"), "better"),
    Change("an entropy that keeps small shares", "-p*log(p) - (1 - p)*log(1 - p)",
           "-p*log(p) - (1 - p)*log1p(-p)", ("p=(0,1)",), "better"),
    Change("a sign is lost", "max(x, 0) - x*z + log1p(exp(-abs(x)))",
           "max(x, 0) - x*z + log1p(exp(abs(x)))", ("x=real", "z=[0,1]"), "wrong"),
    Change("tidier, says its author", "max(x, 0) - x*z + log1p(exp(-abs(x)))",
           "max(x, 0) - z*x + log1p(exp(-max(x, -x)))", ("x=real", "z=[0,1]"), "no better"),
    Change("expm1, and the guard is gone", "where(x == 0, 1, (exp(x) - 1)/x)", "expm1(x)/x", ("x=real",),
           "wrong at a seam"),
)


def compared(change: Change) -> Comparison:
    """Both forms, exactly as they are written."""
    before, after = (formula_unit(text, change.domain) for text in (change.before, change.after))
    return compare(before.formula, after.formula, before.arguments, before.given)


def main() -> int:
    for change in CHANGES:
        found = compared(change)
        print(f"{change.title}\n{'-' * len(change.title)}\n{found.to_text()}\n")
        if found.verdict != change.verdict:
            print(f"expected: {change.verdict}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
