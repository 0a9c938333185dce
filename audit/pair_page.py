"""The report of two forms of one formula: the verdict, where they differ, the error of both along the input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from lossmith.audit.curves import Curve, curves
from lossmith.audit.equivalence import SAID, Accuracy, Comparison
from lossmith.audit.page import finite, fitting, in_script, panels, rendered, versions, written
from lossmith.audit.samples import Batch
from lossmith.audit.subject import Subject
from lossmith.derivations.derivation import Measurement
from lossmith.derivations.evaluate import Evaluator
from lossmith.derivations.loss import Unit
from lossmith.derivations.terms import Term, show
from lossmith.derivations.ulp import FORMATS, Array
from markupsafe import Markup


@dataclass
class FormAdapter:
    """A form as a machine computes it that rounds every operation once."""

    term: Term
    name: str
    tiers: tuple[str, ...] = ("fast",)

    def offers(self, subject: Subject, output: str, batch: Batch, dtype: str = "float32", tier: str = "fast") -> bool:
        return output == "loss"

    def call(self, subject: Subject, output: str, batch: Batch, dtype: str, tier: str) -> Array:
        with np.errstate(all="ignore"):
            found = Evaluator(dict(batch.arrays), FORMATS[dtype])(self.term)
        return np.array(np.broadcast_to(found, (batch.count,)))


def write_pair(found: Comparison, unit: Unit, path: str | Path, command: str) -> None:
    """The report of a comparison, as one file. unit: the first form, with its domain. Raises WriteError."""
    written(rendered("pair.html.j2", _context(found, unit, command)), path)


def _context(found: Comparison, unit: Unit, command: str) -> dict[str, Any]:
    chosen = list(fitting(list(_curves(found, unit))))
    derivation, missing = _derivation(unit)
    return {
        "title": "Two forms of one formula",
        "holds": found.sound and found.verdict != "worse",
        "verdict": f"The second form is {SAID[found.verdict]}.",
        "forms": [("before", show(found.before)), ("after", show(found.after))],
        "domain": "; ".join([*(f"{a.name}: {a.domain}" for a in found.arguments), *map(show, unit.given)]),
        "relation": _relation(found),
        "examples": [(c.where, ", ".join(f"{n}={v.hex()}" for n, v in c.point.items()), f"{c.before:.9g}",
                      f"{c.after:.9g}") for c in found.counterexamples],
        "seams": list(dict.fromkeys(a.seam for a in found.accuracy if a.seam)),
        "rows": [row for a in found.accuracy for row in _rows(a)],
        "panels": list(panels(chosen, lambda curve: None)),
        "derivations": Markup(derivation),
        "sources": [],
        "command": command,
        "circumstances": list(versions()),
        "not_run": [*missing, *_beside(found)],
        "curves_json": in_script([c.to_json() | {"bound": None} for c in chosen]),
        "reports_json": json.dumps(finite(found.to_json()), indent=1),
    }


def _beside(found: Comparison) -> list[str]:
    """What the curves of more than one argument leave out, and where the worst of it stands."""
    if len(found.arguments) < 2:
        return []
    worst = [f"{a.dtype} {name} {m.ulp:.4g} ulp at {m.where}" for a in found.accuracy
             for name, m in (("before", a.before), ("after", a.after)) if m.ulp]
    return ["curves for other values of the second argument than those in their titles; the worst points: "
            f"{'; '.join(worst)}"]


def _relation(found: Comparison) -> str:
    if found.relation == "refuted":
        return f"They differ {found.region}."
    if found.relation == "proved":
        return f"They are equal: proved ({found.method})."
    return f"They are equal in ball arithmetic at {found.compared} points; there is no proof."


def _rows(a: Accuracy) -> Iterator[tuple[str, ...]]:
    """Both forms in one format."""
    yield a.dtype, "before", *_worst(a.before), str(a.lost_before or ""), str(a.losses or "")
    yield a.dtype, "after", *_worst(a.after), str(a.lost_after or ""), str(a.gains or "")


def _worst(m: Measurement) -> tuple[str, str]:
    return f"{m.ulp:.4g}", m.where if m.ulp else ""


def _curves(found: Comparison, unit: Unit) -> Iterator[Curve]:
    """The error of each form along the first argument, against the exact value of the first form."""
    subject = Subject(unit, {"loss": found.before})
    for a in found.accuracy:
        worst = max((a.before, a.after), key=lambda m: m.ulp)
        for name, term in (("before", found.before), ("after", found.after)):
            form = FormAdapter(term, name)
            for curve in curves(subject, form, FORMATS[a.dtype], "fast", through=_point(worst.where)):
                yield replace(curve, output=name)


def _point(where: str) -> dict[str, float]:
    """The numbers of a point that is told as `x = 1, y = 2`."""
    return {n: float(v) for n, _, v in (part.partition(" = ") for part in where.split(", ")) if v}


def _derivation(unit: Unit) -> tuple[str, list[str]]:
    """A stable form of the first form, derived and typeset; else why there is none."""
    from lossmith.derivations.derive import derive
    from lossmith.derivations.typeset.html import section

    try:
        return section(derive(unit, ())), []
    except (ValueError, ArithmeticError) as problem:
        return "", [f"no stable form was found: {problem}"]
