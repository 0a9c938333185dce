"""A curve's error as an SVG picture: for papers, and for readers without scripts. NaN and infinities are bands."""

from __future__ import annotations

import math
from collections.abc import Callable
from html import escape

import numpy as np
from lossmith.audit.curves import Curve
from lossmith.derivations.ulp import Doubles

Scale = Callable[[float], float]

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 24, 28
LOW, BAND = -2.0, 12  # bits at the lower end of the axis; height of the band above it for what is no number


def picture(curve: Curve, bound: float) -> str:
    """log2 of the error in ulp against the input, every exponent as wide as any other."""
    bits = _bits(curve)
    high = max(6.0, float(np.max(bits, where=np.isfinite(bits), initial=0.0)) + 1)

    def x(place: float) -> float:
        return LEFT + place * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (min(max(value, LOW), high) - LOW) / (high - LOW) * (HEIGHT - TOP - BOTTOM)

    parts = [_axes(curve, high, x, y), _limit(bound, y)]
    path: list[str] = []
    for place, b in zip(curve.places.tolist(), bits.tolist(), strict=True):
        if math.isnan(b):
            parts.append(f"<rect class='wrong' x='{x(place) - 1:.1f}' y='{TOP - BAND - 4}' width='2' height='{BAND}'/>")
            path.append("M")
        else:
            path.append(("L" if path and path[-1] != "M" else "M") + f"{x(place):.1f} {y(b):.1f}")
    line = " ".join(p for p in path if p != "M")
    title = escape(f"error of {curve.output} in ulp, {curve.fmt.name}" + (f", {curve.held}" if curve.held else ""))
    return (f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{title}'>"
            f"<title>{title}</title>{''.join(parts)}<path class='curve' fill='none' d='{line}'/></svg>")


def _bits(curve: Curve) -> Doubles:
    with np.errstate(divide="ignore"):
        return np.where(np.isnan(curve.ulps), np.nan, np.maximum(np.log2(np.maximum(curve.ulps, 1e-9)), LOW))


def _axes(curve: Curve, high: float, x: Scale, y: Scale) -> str:
    out = []
    step = max(2, math.ceil((high - LOW) / 8))
    for b in range(0, math.ceil(high) + 1, step):
        out.append(f"<line class='grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y(b):.1f}' y2='{y(b):.1f}'/>"
                   f"<text x='{LEFT - 6}' y='{y(b) + 4:.1f}' text-anchor='end'>{2**b if b < 10 else f'2^{b}'}</text>")
    for place, label in curve.ticks():
        out.append(f"<text x='{x(place):.1f}' y='{HEIGHT - 10}' text-anchor='middle'>{escape(label)}</text>")
    out.append(f"<text x='2' y='{TOP - 10}'>nan, inf</text>")
    return "".join(out)


def _limit(bound: float, y: Scale) -> str:
    if not math.isfinite(bound):
        return ""
    at = y(math.log2(bound))
    return f"<line class='bound' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{at:.1f}' y2='{at:.1f}'/>"
