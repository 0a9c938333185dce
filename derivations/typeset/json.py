"""A derivation as plain data: what `--json` prints. Keys are stable; formulas are given three ways."""

from __future__ import annotations

import math
from typing import Any

from lossmith.derivations.derivation import Evidence, Measurement, Step
from lossmith.derivations.terms import Term, show
from lossmith.derivations.typeset import words
from lossmith.derivations.typeset.chain import Chain
from lossmith.derivations.typeset.notation import latex
from lossmith.derivations.typeset.setter import symbols_of
from lossmith.derivations.typeset.text_notation import text


def derivation_json(chain: Chain) -> dict[str, Any]:
    """A derivation or identity as dicts, lists, strings, numbers and None; `json.dumps` takes it.

    An infinite error is the string "inf", as JSON has no number for it.
    """
    return {
        "name": chain.name,
        "title": chain.title,
        "quantity": None if chain.order is None else words.quantity_words(chain.order),
        "order": None if chain.order is None else list(chain.order),
        "arguments": [
            {"name": a.name, "role": a.role, "axis": a.axis, "domain": str(a.domain), "meaning": a.meaning,
             "default": a.default}
            for a in chain.arguments
        ],
        "where": [show(r) for r in words.relations(chain)],
        "policies": dict(chain.policies),
        "definition": _term(chain.definition, chain),
        "steps": [_step(step, chain) for step in chain.steps],
        "form": _form(chain),
        "evidence": [_evidence(e) for e in chain.end_to_end],
        "references": list(chain.references),
    }


def _term(term: Term, chain: Chain) -> dict[str, str]:
    return {"expression": show(term), "text": text(term), "latex": latex(term, symbols=symbols_of(chain))}


def _step(step: Step, chain: Chain) -> dict[str, Any]:
    return {
        "rule": step.rule,
        "before": _term(step.before, chain),
        "after": _term(step.after, chain),
        "source": _term(step.source, chain),
        "result": _term(step.result, chain),
        "condition": step.condition,
        "reason": step.reason,
        "evidence": [_evidence(e) for e in step.evidence],
        "error_before": _error(step.error_before),
        "error_after": _error(step.error_after),
    }


def _form(chain: Chain) -> dict[str, Any] | None:
    form = chain.form
    if form is None:
        return None
    judged = {
        "verdict": form.verdict,
        "remaining": form.remaining,
        "error": _error(form.error),
        "errors": [_error(e) for e in form.errors],
        "before": _error(form.before),
        "condition": _number(form.condition),
    }
    return {**_term(form.term, chain), **judged}


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return {"kind": evidence.kind, "method": evidence.method, "points": evidence.points}


def _error(error: Measurement | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {"dtype": error.dtype, "ulp": _number(error.ulp), "where": error.where, "points": error.points}


def _number(value: float | None) -> float | str | None:
    """A number as JSON has it; an infinite one as text."""
    return value if value is None or math.isfinite(value) else str(value)
