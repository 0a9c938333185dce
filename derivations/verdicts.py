"""The verdict on a form: how good it measured, where it is worst, what remains and why."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lossmith.derivations.derivation import Measurement, Order, StableForm
from lossmith.derivations.loss import Argument
from lossmith.derivations.terms import Term

if TYPE_CHECKING:
    from lossmith.derivations.answers import Answer
    from lossmith.derivations.measure import Judge
    from lossmith.derivations.ulp import Doubles

STABLE = 16.0  # ulp: what counts as stable; the search aims lower


def judged(definition: Term, term: Term, root: Answer, arguments: tuple[Argument, ...], order: Order, fresh: Judge,
           target: float, allowance: Doubles) -> StableForm:
    """The form with its errors, the definition's, and what remains."""
    raw, errors = fresh.measurement(term), fresh.measurements(term, allowance)
    error = max(errors, key=lambda m: m.ulp)
    before = fresh.measurement(root.term)
    worst = int(fresh.ulps(term).argmax())
    left = ""
    if error.ulp > target:
        left = f"{error.ulp:.3g} ulp at {error.where}"
    elif raw.ulp > target:
        left = f"the formula itself is ill-conditioned at {raw.where} and nearby: {raw.ulp:.3g} ulp there"
    return StableForm(term, definition, arguments, order, error,
                      "stable" if error.ulp <= STABLE else "unchanged" if term is root.term else "improved",
                      left, errors, before, fresh.condition(worst))


def sentence(form: StableForm) -> str:
    """The verdict in one sentence, as a person would say it."""
    if form.error is None:
        return ""
    found = _errors(form.errors or (form.error,))
    if form.verdict == "stable":
        same = form.before is not None and form.before.ulp <= STABLE and form.term is form.definition
        return f"{'already stable' if same else 'stable'} within {found}"
    if form.verdict == "unchanged" or form.before is None:
        return f"no better form found: off by {found}"
    return f"improved from {_size(form.before.ulp)} to {_size(form.error.ulp)} ulp: off by {found}{_why(form)}"


def _why(form: StableForm) -> str:
    if form.condition is None or form.condition < 2:
        return ""
    return f"; there the value itself moves by {_size(form.condition)} ulp when an input moves by half an ulp"


def _errors(errors: Sequence[Measurement]) -> str:
    return ", ".join(f"{_size(m.ulp)} ulp in {m.dtype} (worst found{_at(m)}, on {m.points} points)" for m in errors)


def _at(m: Measurement) -> str:
    return f" at {m.where}" if m.where else ""


def _size(ulp: float) -> str:
    return "inf" if math.isinf(ulp) else f"{ulp:.3g}"
