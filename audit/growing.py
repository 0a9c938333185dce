"""How time grows with the size as an SVG picture: time per element against their number, or the length of a row."""

from __future__ import annotations

from collections.abc import Sequence

from lossmith.audit import drawing
from lossmith.audit.bench import Line
from lossmith.audit.contenders import OURS


def pictures(lines: Sequence[Line]) -> str:
    """One picture for each loss."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        if not line.absent:
            groups.setdefault(line.loss, []).append(line)
    return drawing.sheet("Time as the size grows", [_picture(loss, group) for loss, group in groups.items()])


def _picture(loss: str, lines: Sequence[Line]) -> str:
    series: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        series.setdefault(line.contender, []).append((float(line.size.split("x")[-1]), line.per_element))
    rows = "x" in lines[0].size
    title = f"{loss}, {lines[0].dtype}" + (", rows of about as many elements together" if rows else "")
    return drawing.curves(title, series, ("classes of a row" if rows else "elements", "time per element"),
                          (drawing.plain, drawing.seconds), OURS)
