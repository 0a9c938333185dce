"""The definition beside a chosen form: the last step, taken only where points ask for it.

A form that is right wherever the definition fails may overflow or divide 0 by 0 at points where the
definition is right. Where that was seen, the form holds the definition too, and the machine picks.
A form that is better only where the definition has no value stands in for it there alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from lossmith.derivations.answers import Answer
from lossmith.derivations.measure import Judge
from lossmith.derivations.moves import Move
from lossmith.derivations.terms import ONE, ZERO, Term, div, node


def with_fallback(answer: Answer, root: Answer, tried: Sequence[Judge], unsure: bool = False) -> Answer:
    """`answer`, or where it is not finite `root`, if at some point that was tried only that has a value.

    unsure: the answer fails at some points, so that others are likely: `root` stands by whatever was tried, but
    where it is not finite either, the answer counts.
    """
    if answer is root or not (unsure or any(len(lost(answer.term, root.term, judge)) for judge in tried)):
        return answer
    made = _either(answer.term, _either(root.term, answer.term) if unsure else root.term)
    if unsure:
        return dataclasses.replace(answer, moves=(*answer.moves, Move.otherwise(answer.term, made)), term=made)
    before, after = (sum(_without_value(term, judge) for judge in tried) for term in (answer.term, made))
    if after >= before:
        return answer
    return dataclasses.replace(answer, moves=(*answer.moves, Move.otherwise(answer.term, made)), term=made)


def standing_in(answer: Answer, root: Answer) -> Answer:
    """`root`, and where it is not finite `answer`: it takes nothing from what the definition has right."""
    made = _either(root.term, answer.term)
    return dataclasses.replace(answer, moves=(*answer.moves, Move.standing_in(answer.term, made)), term=made)


def _either(form: Term, other: Term) -> Term:
    """`form` where it is finite: 1 / inf is 0, and NaN is above nothing."""
    finite = node("gt", (div(ONE, node("abs", (form,))), ZERO))
    return node("where", (finite, form, other))


def lost(form: Term, other: Term, judge: Judge) -> npt.NDArray[np.int64]:
    """Points at which the form has no value, or an infinite one that is wrong, and the other has some value."""
    if not judge.count:
        return np.zeros(0, dtype=np.int64)
    return np.nonzero(np.isinf(judge.ulps(form)) & np.isfinite(judge.ulps(other)))[0]


def _without_value(form: Term, judge: Judge) -> int:
    return int(np.isinf(judge.ulps(form)).sum()) if judge.count else 0
