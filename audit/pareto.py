"""Time against accuracy as an SVG picture: who is both faster and more accurate than whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from lossmith.audit.bench import Line
from lossmith.audit.contenders import OURS

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 130, 30, 40
STYLE = ("text{font:12px sans-serif;fill:currentColor}.grid{stroke:currentColor;opacity:.15}"
         ".front{fill:none;stroke:currentColor;stroke-dasharray:4 3;opacity:.6}"
         ".ours{fill:#0a7d4f}.peer{fill:#b3541e}")


def pictures(lines: Sequence[Line]) -> str:
    """One picture for each loss and size, below one another."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if not line.absent:
            groups.setdefault((line.loss, line.size), []).append(line)
    parts = [f"<g transform='translate(0 {k * HEIGHT})'>{_picture(*key, group)}</g>"
             for k, (key, group) in enumerate(groups.items())]
    height = HEIGHT * max(1, len(groups))
    return (f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' color='#222'>"
            f"<title>Time against accuracy</title><style>{STYLE}</style>"
            f"<rect width='{WIDTH}' height='{height}' fill='#fff'/>{''.join(parts)}</svg>\n")


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


def _picture(loss: str, size: str, lines: Sequence[Line]) -> str:
    times = [line.seconds for line in lines]
    bits = [error_bits(line) for line in lines]
    top = max([6.0, *(b + 1 for b in bits if math.isfinite(b))])
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)) + 1e-9)

    def x(seconds: float) -> float:
        return LEFT + (math.log10(seconds) - low) / max(1, high - low) * (WIDTH - LEFT - RIGHT)

    def y(b: float) -> float:
        return HEIGHT - BOTTOM - (min(b, top) + 1) / (top + 1) * (HEIGHT - TOP - BOTTOM)

    out = [f"<text x='{LEFT}' y='18'>{escape(loss)}, {escape(size)}: worst error in ulp against time</text>"]
    for power in range(low, high + 1):
        at, label = x(10.0**power), f"{10.0 ** (power + 6):g} us" if power < -3 else f"{10.0 ** (power + 3):g} ms"
        out.append(f"<line class='grid' x1='{at:.1f}' x2='{at:.1f}' y1='{TOP}' y2='{HEIGHT - BOTTOM}'/>"
                   f"<text x='{at:.1f}' y='{HEIGHT - BOTTOM + 16}' text-anchor='middle'>{label}</text>")
    for b in range(0, math.floor(top) + 1, max(2, math.ceil(top / 6))):
        out.append(f"<line class='grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y(b):.1f}' y2='{y(b):.1f}'/>"
                   f"<text x='{LEFT - 6}' y='{y(b) + 4:.1f}' text-anchor='end'>{2**b if b < 10 else f'2^{b}'}</text>")
    best = " ".join(f"{x(t):.1f},{y(b):.1f}" for t, b in front(list(zip(times, bits))))
    out.append(f"<polyline class='front' points='{best}'/>")
    for line, error in zip(lines, bits):
        kind = "ours" if line.contender in OURS else "peer"
        name = line.contender if math.isfinite(error) else f"{line.contender} (NaN or infinity)"
        out.append(f"<circle class='{kind}' cx='{x(line.seconds):.1f}' cy='{y(error):.1f}' r='4'/>"
                   f"<text x='{x(line.seconds) + 7:.1f}' y='{y(error) - 5:.1f}'>{escape(name)}</text>")
    return "".join(out)
