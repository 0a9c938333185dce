"""A derivation as plain data (JSON) and as a page that stands alone (HTML)."""

from __future__ import annotations

import html
from typing import Any

from lossmith.derivations.derivation import Derivation, Evidence, Measurement
from lossmith.derivations.terms import show


def plain(d: Derivation) -> dict[str, Any]:
    """A derivation as JSON can hold it: formulas as text in the notation that users type."""
    return {
        "name": d.name, "title": d.title, "of": d.of, "wrt": list(d.order),
        "arguments": [{"name": a.name, "role": a.role, "axis": a.axis, "domain": str(a.domain)} for a in d.arguments],
        "definition": show(d.definition),
        "steps": [
            {
                "rule": s.rule, "before": show(s.before), "after": show(s.after), "condition": s.condition,
                "reason": s.reason, "evidence": [_evidence(e) for e in s.evidence],
                "error_before": _measurement(s.error_before), "error_after": _measurement(s.error_after),
            }
            for s in d.steps
        ],
        "form": show(d.form.term), "verdict": d.form.verdict, "remaining": d.form.remaining,
        "error": _measurement(d.form.error),
        "end_to_end": [_evidence(e) for e in d.end_to_end],
        "policies": [list(p) for p in d.policies],
        "references": list(d.references),
    }


def _evidence(e: Evidence) -> dict[str, Any]:
    return {"kind": e.kind, "method": e.method, "points": e.points}


def _measurement(m: Measurement | None) -> dict[str, Any] | None:
    if m is None:
        return None
    finite = m.ulp == m.ulp and abs(m.ulp) != float("inf")
    return {"dtype": m.dtype, "ulp": m.ulp if finite else str(m.ulp), "where": m.where, "points": m.points}


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 Georgia, serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }}
pre {{ font: 14px/1.4 ui-monospace, monospace; overflow-x: auto; }}
</style>
<h1>{title}</h1>
<pre>{body}</pre>
</html>"""


def page(d: Derivation) -> str:
    """The derivation as one HTML page, with nothing to fetch."""
    return _PAGE.format(title=html.escape(d.title), body=html.escape(d.to_text()))
