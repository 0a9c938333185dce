"""What the SVG pictures of times share: logarithmic axes with units, labels that overlap nothing, light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 620, 380  # of one picture
LEFT, RIGHT, TOP, BOTTOM = 66, 16, 44, 50
LETTER, LINE = 7.0, 14.0  # about the width and the height that a letter takes
STYLE = (
    "svg{--ink:#222;--paper:#fff;--ours:#0a7d4f;--peer:#b3541e;background:var(--paper);color:var(--ink)}"
    "@media(prefers-color-scheme:dark){svg{--ink:#ddd;--paper:#16181c;--ours:#4cc38a;--peer:#f0915a}}"
    ".paper{fill:var(--paper)}text{font:12px system-ui,sans-serif;fill:currentColor;paint-order:stroke;"
    "stroke:var(--paper);stroke-width:3px}.title{font-weight:600;"
    "font-size:13px}.faint{opacity:.65}.grid{stroke:currentColor;opacity:.14}.mark{stroke:currentColor;opacity:.5;"
    "stroke-dasharray:2 3}.front{fill:none;stroke:currentColor;stroke-dasharray:5 3;opacity:.6}"
    ".lead{stroke:currentColor;opacity:.35}circle.ours{fill:var(--ours)}circle.peer{fill:var(--peer)}"
    "text.ours{fill:var(--ours)}text.peer{fill:var(--peer)}"
    "path{fill:none;stroke-width:1.4}path.ours{stroke-width:2.6}"
)
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis: values from `low` to `high` on pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        part = (math.log10(value) - math.log10(self.low)) / math.log10(self.high / self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self, most: int = 8) -> list[float]:
        """The powers of ten on the axis, every other or third where they are many; between them where they are few."""
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        if last - first < 2:  # few powers of ten: twice and five times as well
            return [m * 10.0**k for k in range(first - 1, last + 1) for m in (1, 2, 5)
                    if self.low <= m * 10.0**k <= self.high]
        step = max(1, math.ceil((last - first + 1) / most))
        return [10.0**k for k in range(first, last + 1, step)]


def around(values: Sequence[float], least: float = 1.0) -> tuple[float, float]:
    """Bounds of an axis a little beyond values; at least so many powers of ten."""
    low, high = math.log10(min(values)) - 0.12, math.log10(max(values)) + 0.12
    more = max(0.0, least - (high - low)) / 2
    return 10 ** (low - more), 10 ** (high + more)


def seconds(value: float) -> str:
    """A time with its unit: 10 us, 1 ms, 2 s."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("\u00b5s", 1e-6)):
        if value >= size * 0.999:
            return f"{value / size:.4g} {unit}"
    return f"{value / 1e-9:.4g} ns"


def plain(value: float) -> str:
    """A number: as it is while it is short, else as a power of ten."""
    if 1e-2 <= value < 1e3:
        return f"{value:.4g}"
    power = round(math.log10(value))
    raised = str(power).translate(str.maketrans("0123456789-", "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077"
                                                "\u2078\u2079\u207b"))
    return f"10{raised}" if math.isclose(value, 10.0**power) else f"{value:.3g}"


def frame(title: str, x: Axis, y: Axis, names: tuple[str, str], units: tuple[Callable[[float], str], ...]) -> list[str]:
    """Title, grid, ticks and the names of both axes."""
    out = [f"<text class='title' x='{LEFT}' y='20'>{escape(title)}</text>"]
    for value in x.ticks():
        out.append(f"<line class='grid' x1='{x(value):.1f}' x2='{x(value):.1f}' y1='{y.end:.1f}' y2='{y.start:.1f}'/>"
                   f"<text x='{x(value):.1f}' y='{y.start + 16:.1f}' text-anchor='middle'>{units[0](value)}</text>")
    for value in y.ticks():
        out.append(f"<line class='grid' x1='{x.start}' x2='{x.end}' y1='{y(value):.1f}' y2='{y(value):.1f}'/>"
                   f"<text x='{x.start - 6}' y='{y(value) + 4:.1f}' text-anchor='end'>{units[1](value)}</text>")
    middle = (y.start + y.end) / 2
    out.append(f"<text class='faint' x='{(x.start + x.end) / 2:.1f}' y='{y.start + 36:.1f}' text-anchor='middle'>"
               f"{escape(names[0])}</text><text class='faint' text-anchor='middle' "
               f"transform='translate(14 {middle:.1f}) rotate(-90)'>{escape(names[1])}</text>")
    return out


def labels(points: Sequence[tuple[float, float]], texts: Sequence[str], kinds: Sequence[str],
           within: Box, taken: Sequence[Box] = ()) -> list[str]:
    """A text beside each point, so that it covers no other text and no point; a line to it where it is not near."""
    used = [*taken, *((px - 5, py - 5, px + 5, py + 5) for px, py in points)]
    out = []
    for k in sorted(range(len(points)), key=lambda k: points[k]):
        (px, py), width = points[k], LETTER * len(texts[k])
        box = min(_places(px, py, width), key=lambda b: _cost(b, px, py, within, used))
        used.append(box)
        left, top, right, bottom = box
        nx, ny = min(max(px, left), right), min(max(py, top), bottom)
        if math.hypot(nx - px, ny - py) > 10:
            out.append(f"<line class='lead' x1='{px:.1f}' y1='{py:.1f}' x2='{nx:.1f}' y2='{ny:.1f}'/>")
        out.append(f"<text class='{kinds[k]}' x='{left:.1f}' y='{bottom - 4:.1f}'>{escape(texts[k])}</text>")
    return out


def _places(px: float, py: float, width: float) -> list[Box]:
    """Boxes for a text around a point, the nearest first."""
    found = []
    for away in (8, 20, 34, 50, 68, 88, 110):
        for turn in (0, 180, 90, 270, 30, 330, 150, 210, 60, 300, 120, 240):
            cx, cy = math.cos(math.radians(turn)), -math.sin(math.radians(turn))
            left = px + away * cx - (0 if cx > 0.2 else width if cx < -0.2 else width / 2)
            top = py + away * cy - (LINE if cy < -0.2 else 0 if cy > 0.2 else LINE / 2)
            found.append((left, top, left + width, top + LINE))
    return found


def _cost(box: Box, px: float, py: float, within: Box, used: Sequence[Box]) -> float:
    """How bad a place is: what it covers, most of all; then what sticks out; then how far it is."""
    covered = sum(_overlap(box, other) for other in used)
    out = (box[2] - box[0]) * LINE - _overlap(box, within)
    away = math.hypot((box[0] + box[2]) / 2 - px, (box[1] + box[3]) / 2 - py)
    return 1e4 * covered + 1e4 * out + away


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights near the wanted ones, in their order, at least `gap` apart where there is room, from low to high."""
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    found = list(wanted)
    last = low - gap
    for k in order:
        found[k] = last = max(found[k], last + gap)
    last = high + gap
    for k in reversed(order):
        found[k] = last = min(found[k], last - gap)
    return found


def curves(title: str, series: Mapping[str, Sequence[tuple[float, float]]], names: tuple[str, str],
           units: tuple[Callable[[float], str], ...] = (plain, plain), ours: frozenset[str] = frozenset()) -> str:
    """One line for each series, named at its right end; both axes logarithmic."""
    series = {n: p for n, p in series.items() if p}
    room = max(len(n) for n in series) * LETTER + 22
    x = Axis(*around([a for p in series.values() for a, _ in p]), LEFT, WIDTH - RIGHT - room)
    y = Axis(*around([b for p in series.values() for _, b in p]), HEIGHT - BOTTOM, TOP)
    out = frame(title, x, y, names, units)
    ends = {n: (x(p[-1][0]), y(p[-1][1])) for n, p in series.items()}
    heights = spread([ends[n][1] for n in series], LINE, TOP, HEIGHT - BOTTOM)
    for (name, points), height, color in zip(series.items(), heights, _colors(series, ours), strict=True):
        line = "M" + "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in points)
        ex, ey = ends[name]
        kind = " class='ours'" if name in ours else ""
        out.append(f"<path{kind} d='{line}' stroke='{color}'/>"
                   f"<circle cx='{ex:.1f}' cy='{ey:.1f}' r='3' fill='{color}'/>"
                   f"<line class='lead' x1='{ex + 3:.1f}' y1='{ey:.1f}' x2='{x.end + 14:.1f}' y2='{height:.1f}'/>"
                   f"<text x='{x.end + 17:.1f}' y='{height + 4:.1f}' style='fill:{color}'>{escape(name)}</text>")
    return "".join(out)


def _colors(names: Iterable[str], ours: frozenset[str]) -> list[str]:
    """A hue for each name, to be read on light and on dark: ours from green to blue, all others elsewhere."""
    names = list(names)
    mine = [n for n in names if n in ours]
    peers = [n for n in names if n not in ours]
    hues = {n: 130 + 90 * k / max(1, len(mine) - 1) for k, n in enumerate(mine)}
    hues |= {n: (250 + 180 * k / max(1, len(peers) - 1)) % 360 for k, n in enumerate(peers)}
    return [f"hsl({hues[n]:.0f} 62% 45%)" for n in names]


def sheet(title: str, pictures: Sequence[str], columns: int = 2) -> str:
    """Pictures in rows as one SVG document, for light and dark."""
    across = max(1, min(columns, len(pictures)))
    down = max(1, math.ceil(len(pictures) / across))
    placed = "".join(f"<g transform='translate({k % across * WIDTH} {k // across * HEIGHT})'>{p}</g>"
                     for k, p in enumerate(pictures))
    size = f"width='{across * WIDTH}' height='{down * HEIGHT}'"
    return (f"<svg xmlns='http://www.w3.org/2000/svg' {size} viewBox='0 0 {across * WIDTH} {down * HEIGHT}' role='img'>"
            f"<title>{escape(title)}</title><style>{STYLE}</style><rect class='paper' {size}/>{placed}</svg>\n")
