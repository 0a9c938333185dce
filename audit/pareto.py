"""Time against accuracy as an SVG picture: who is both faster and more accurate than whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from lossmith.audit import drawing
from lossmith.audit.bench import BOUND, Line
from lossmith.audit.contenders import OURS
from lossmith.audit.drawing import BOTTOM, HEIGHT, LEFT, TOP, WIDTH, Axis
from lossmith.audit.stream import NAMES
from lossmith.derivations.ulp import FORMATS

RIGHT = 100  # pixels beside the axes, for what the lines across say
BAND = 34  # pixels above the axis for what is no number


def pictures(lines: Sequence[Line]) -> str:
    """One picture for each loss and size."""
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        if not line.absent:
            groups.setdefault((line.loss, line.size, line.dtype), []).append(line)
    return drawing.sheet("Time against accuracy", [_picture(*key, group) for key, group in groups.items()])


def error_bits(line: Line) -> float:
    """log2 of the worst error in ulp, at least one half; a wrong NaN or infinity is beyond every error."""
    found = list((line.accuracy or {}).values())
    if any(a.wrong for a in found):
        return math.inf
    return math.log2(max([0.5, *(a.ulp for a in found)]))


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other is at least as fast and at least as accurate as, by time."""
    kept: list[tuple[float, float]] = []
    for time, error in sorted(points):
        if not kept or error < kept[-1][1]:
            kept.append((time, error))
    return kept


def _picture(loss: str, size: str, dtype: str, lines: Sequence[Line]) -> str:
    memory = min((line.seconds for line in lines if line.contender in NAMES), default=0.0)
    lines = [line for line in lines if line.contender not in NAMES]
    ulps = [2.0**error_bits(line) for line in lines]
    lost = 2.0 ** FORMATS[dtype].precision  # ulp at which no digit is left
    times = [line.seconds for line in lines] + [memory] * (memory > 0)
    x = Axis(*drawing.around(times), LEFT, WIDTH - RIGHT)
    y = Axis(0.3, 3 * max([16.0, lost, *(u for u in ulps if math.isfinite(u))]), HEIGHT - BOTTOM, TOP + BAND)
    out = drawing.frame(f"{loss}, {size}, {dtype}", x, y, ("time of a call", "worst error, ulp"),
                        (drawing.seconds, drawing.plain))
    at = TOP + BAND / 2
    points = [(x(line.seconds), y(u) if math.isfinite(u) else at) for line, u in zip(lines, ulps, strict=True)]
    out += [f"<text x='{LEFT - 6}' y='{at + 4:.1f}' text-anchor='end'>NaN, \u221e</text>",
            f"<line class='grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{TOP + BAND}' y2='{TOP + BAND}'/>",
            _across(y(BOUND), f"{BOUND:g} ulp promised"), _across(y(lost), "no digit right")]
    taken = [(LEFT + 0.0, y(v) - 1, WIDTH - RIGHT + 0.0, y(v) + 1) for v in (BOUND, lost)]
    if memory:
        out.append(f"<line class='mark' x1='{x(memory):.1f}' x2='{x(memory):.1f}' y1='{TOP}' y2='{HEIGHT - BOTTOM}'/>"
                   f"<text class='faint' x='{x(memory) + 4:.1f}' y='{TOP - 4}'>memory alone</text>")
        taken.append((x(memory) - 1, TOP, x(memory) + 1, HEIGHT - BOTTOM))
    out.append(f"<path class='front' d='{_steps(front(points_of(points)))}'/>")
    kinds = ["ours" if line.contender in OURS else "peer" for line in lines]
    out += [f"<circle class='{kind}' cx='{px:.1f}' cy='{py:.1f}' r='4.5'><title>{escape(_said(line))}</title></circle>"
            for line, kind, (px, py) in zip(lines, kinds, points, strict=True)]
    box = (LEFT + 2.0, TOP + 0.0, WIDTH - RIGHT + 0.0, HEIGHT - BOTTOM - 2.0)
    return "".join(out + drawing.labels(points, [line.contender for line in lines], kinds, box, taken))


def points_of(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Pixels as (time, error), both better when less: a picture's height grows downwards."""
    return [(px, -py) for px, py in places]


def _steps(best: Sequence[tuple[float, float]]) -> str:
    path, last = "", 0.0
    for k, (px, error) in enumerate(best):
        path += f"M{px:.1f} {-error:.1f}" if k == 0 else f"L{px:.1f} {last:.1f}L{px:.1f} {-error:.1f}"
        last = -error
    return path


def _across(height: float, text: str) -> str:
    return (f"<line class='mark' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{height:.1f}' y2='{height:.1f}'/>"
            f"<text class='faint' x='{WIDTH - RIGHT + 5}' y='{height + 4:.1f}'>{text}</text>")


def _said(line: Line) -> str:
    errors = ", ".join(f"{name} {a} ulp" for name, a in (line.accuracy or {}).items())
    return f"{line.contender}: {drawing.seconds(line.seconds)}; {errors}"
