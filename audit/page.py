"""The report of an audit: one HTML file, no network, that says what was measured and shows it."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from lossmith.audit import plot
from lossmith.audit.contract import bound
from lossmith.audit.curves import Curve
from lossmith.audit.findings import Finding
from lossmith.audit.measure import Report
from lossmith.audit.result import Result
from lossmith.audit.spread import LAST, MARKS, upper
from lossmith.audit.subject import Subject
from lossmith.audit.ways import WAYS
from lossmith.derivations.terms import show
from markupsafe import Markup

PACKAGES = ("lossmith", "numpy", "sympy", "python-flint", "torch", "scipy")
SOURCE_ROOM = 400_000  # characters of code that a report may hold
CURVE_ROOM = 330_000  # characters of curves
OFF = 16.0  # ulp from which a value at a seam is marked


@dataclass(frozen=True)
class Cell:
    text: str
    bad: bool = False


@dataclass
class Page:
    """What a report is made of. `seams`: rows of cells, the output, the input, the exact value, and one for
    each of `peers`. `sources`: code by target. `derivations`: markup that is already safe."""

    subject: Subject
    name: str
    result: Result
    curves: Sequence[Curve]
    command: str
    seed: int = 0
    peers: Sequence[str] = ()
    seams: Sequence[Sequence[Cell]] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    derivations: str = ""


def html(page: Page) -> str:
    """The page as text. The same page gives the same bytes."""
    return rendered("audit.html.j2", _context(page))


def rendered(template: str, context: Mapping[str, Any]) -> str:
    """A template of reports, filled in."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(str(files("lossmith.templates") / "report")),
                                     undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True)
    return environment.get_template(template).render(page=context)


def _context(page: Page) -> dict[str, Any]:
    subject, result = page.subject, page.result
    chosen = list(fitting(page.curves))
    return {
        "title": f"{page.name} against {subject.name}" if page.name not in ("np", "pt", "c", "cu") else
                 f"{subject.name}, target {page.name}",
        "holds": result.holds,
        "verdict": _verdict(result),
        "formula": show(subject.outputs["loss"]),
        "domain": "; ".join([*(f"{a.name}: {a.domain}" for a in subject.arguments), *map(show, subject.unit.given)]),
        "marks": [f"{m:g}" for m in MARKS],
        "rows": [_row(r) for r in result.reports],
        "failures": [f"{f.output} ({f.dtype}, {f.group}): {f.reason}" for f in result.failures],
        "ways": [_way(w) for w in result.ways],
        "worst": [_worst(r) for r in sorted(result.reports, key=lambda r: -r.max_ulp)[:12] if r.where],
        "panels": list(panels(chosen, _bound)),
        "histograms": [_histogram(r) for r in result.reports if r.spread.over(0.5)][:24],
        "peers": list(page.peers),
        "seams": [list(row) for row in page.seams],
        "seams_off": [list(row) for row in page.seams if any(cell.bad for cell in row)],
        "seam_limit": f"{OFF:g}",
        "derivations": Markup(page.derivations),
        "sources": [{"name": n, "text": t} for n, t in _within(page.sources, SOURCE_ROOM)],
        "command": page.command,
        "circumstances": [*_circumstances(page), *versions()],
        "not_run": [*result.not_run, *_untold(page, chosen)],
        "curves_json": in_script([c.to_json() | {"bound": _bound(c)} for c in chosen]),
        "reports_json": json.dumps(finite(result.to_json()), indent=1),
    }


def _verdict(result: Result) -> str:
    if result.failures and not result.reports:
        return "no usable answer: " + result.failures[0].reason
    said = f"worst error {_ulps(result.max_ulp)} ulp, {result.wrong} values wrong in kind"
    return ("holds: " if result.holds else "FAILS: ") + said


def _ulps(value: float) -> str:
    return f"{value:.4g}"


def _row(r: Report) -> dict[str, Any]:
    spread = r.spread
    shares = [_share(spread.over(m)) for m in MARKS]
    cells = [r.output, r.dtype, r.tier, r.group, _ulps(r.max_ulp), _ulps(r.normal_ulp), _number(r.bound),
             _quantile(r, 0.5), _quantile(r, 0.999), *shares, _number(spread.absolute), _number(spread.relative),
             *(str(n or "") for n in (r.wrong_nan, r.wrong_inf, r.wrong_sign, r.flushed, r.conditioned)), str(r.points)]
    return {"cells": cells, "holds": r.holds}


def _quantile(r: Report, share: float) -> str:
    """An upper bound of that share of errors; no finer than the lowest bin."""
    found = r.spread.quantile(share)
    return f"< {found:.2g}" if found <= upper(0) else _ulps(found)


def _share(share: float) -> str:
    return f"{share:.2%}" if share >= 0.0001 else "< 0.01%" if share else ""


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else ""


def _way(w: Finding) -> dict[str, str]:
    """What the page says of a finding."""
    at = w.witness
    return {
        "head": f"{w.output} ({w.dtype}): {w.title}", "code": w.code, "matters": "matters" if w.matters else "harmless",
        "at": f"{at.where}: {at.computed:.9g} ({at.got}) where {at.exact:.9g} ({at.wanted}) is right",
        "why": f"{w.because}; {w.points} of {w.examined} failing inputs looked at", "fix": w.fix, "command": w.command,
        "verdict": w.verdict, "happens": WAYS[w.code].happens,
    }


def _worst(r: Report) -> tuple[str, ...]:
    return r.output, r.dtype, _ulps(r.max_ulp) + " ulp", r.where, r.got, r.wanted


def panels(curves: Sequence[Curve], limit: Callable[[Curve], float | None]) -> Iterator[dict[str, Any]]:
    """A tab for each format and output, with its figures; `limit`: the bound that is drawn, if there is one."""
    tabs: dict[str, list[dict[str, Any]]] = {}
    for number, curve in enumerate(curves):
        caption = f"{curve.output}, {curve.fmt.name}" + (f", {curve.held}" if curve.held else "")
        drawn = Markup(plot.picture(curve, limit(curve) or math.inf))
        name = f"{curve.output} {curve.fmt.name}"
        tabs.setdefault(name, []).append({"number": number, "svg": drawn, "caption": caption})
    for name, figures in tabs.items():
        yield {"name": name, "figures": figures}


def _bound(curve: Curve) -> float:
    return bound(curve.output, "np", curve.fmt, "fast")


def fitting(curves: Sequence[Curve], room: int = CURVE_ROOM) -> Iterator[Curve]:
    """The first curves whose data fit in a page."""
    for curve in curves:
        room -= len(json.dumps(curve.to_json()))
        if room < 0:
            return
        yield curve


def _within(sources: Mapping[str, str], room: int) -> Iterator[tuple[str, str]]:
    for name, text in sources.items():
        room -= len(text)
        if room >= 0:
            yield name, text


def _untold(page: Page, chosen: Sequence[Curve]) -> Iterator[str]:
    """What the page has no room for."""
    if len(chosen) < len(page.curves):
        left = [f"{c.output} {c.fmt.name}" for c in page.curves[len(chosen):]]
        yield "curves without room on this page: " + ", ".join(dict.fromkeys(left))
    for name in page.sources:
        if name not in dict(_within(page.sources, SOURCE_ROOM)):
            yield f"code of {name}: no room on this page"


def _circumstances(page: Page) -> Iterator[tuple[str, str]]:
    yield "seed", str(page.seed)
    yield "formats", ", ".join(dict.fromkeys(r.dtype for r in page.result.reports))
    yield "points", f"{sum(r.points for r in page.result.reports):,} values in {len(page.result.reports)} groups"


def versions() -> Iterator[tuple[str, str]]:
    """What the figures were computed with."""
    yield "Python", platform.python_version()
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            yield name, "not installed"


EDGES = (0.5, 1.0, 2.0, 4.0, 16.0, 64.0, 2.0**10, 2.0**16, 2.0**24, 2.0**40, math.inf)  # ulp


BARS = 560  # width of a histogram: two stand side by side on a desk, and one is legible on a phone


def _histogram(r: Report) -> dict[str, Any]:
    """How many errors are up to each edge, as a picture; what is wrong in kind by itself."""
    counts = [0] * (len(EDGES) + 1)
    for place, number in r.spread.counts.items():
        counts[-1 if place >= LAST else next(n for n, e in enumerate(EDGES) if upper(place) <= e)] += number
    caption = f"{r.output}, {r.dtype}, {r.tier}, {r.group} labels: {r.spread.total:,} values by error in ulp"
    return {"svg": Markup(_bars(counts, caption)), "caption": caption}


def _bars(counts: Sequence[int], caption: str) -> str:
    width, high = BARS / len(counts), math.log10(max(counts) + 1)
    labels = [*(f"≤ {e:g}" if e < 100 else "more" if math.isinf(e) else f"2^{math.log2(e):.0f}" for e in EDGES),
              "nan, inf"]
    title = escape(caption)
    out = [f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {BARS} 90' role='img' aria-label='{title}'>"]
    for n, (count, label) in enumerate(zip(counts, labels, strict=True)):
        size, middle = 52 * math.log10(count + 1) / high, (n + 0.5) * width
        mark = "wrong" if n == len(EDGES) else "bar"
        out.append(f"<rect class='{mark}' x='{n * width + 3:.1f}' y='{70 - size:.1f}' width='{width - 6:.1f}' "
                   f"height='{size:.1f}'/><text x='{middle:.1f}' y='85' text-anchor='middle'>{label}</text>")
        if count:
            out.append(f"<text x='{middle:.1f}' y='{66 - size:.1f}' text-anchor='middle'>{count:,}</text>")
    return "".join(out) + "</svg>"


def finite(value: Any) -> Any:
    """The same data with infinities and NaN as text: JSON has no number for them."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    if isinstance(value, np.floating):
        value = float(value)
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def in_script(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(finite(value), separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def write(page: Page, path: str | Path) -> None:
    """The page as a file, whole or not at all."""
    written(html(page), path)


def written(text: str, path: str | Path) -> None:
    """A page's text as a file. Raises WriteError."""
    from lossmith.codegen.write import write_all

    target = Path(path)
    write_all(target.parent, {target.name: text})
