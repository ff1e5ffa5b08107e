"""Charts, as SVG by hand: waken in colour, C dark, the other epoll peers grey, io_uring pale; by day and by night.

Text is large for the size of the picture, so that it can still be read on a telephone.
"""

import math
import statistics
from dataclasses import dataclass
from html import escape

from lib.contestants import ALL
from lib.tables import text

WIDTH = 540
STYLE = """
svg { --text: #57606a; --title: #1f2328; --rule: #d0d7de; --page: #fff;
  --waken: #0969da; --c: #424a53; --epoll: #a1a9b2; --uring: #d3d9df }
@media (prefers-color-scheme: dark) {
  svg { --text: #9198a1; --title: #f0f6fc; --rule: #3d444d; --page: #0d1117;
    --waken: #58a6ff; --c: #c9d1d9; --epoll: #6e7681; --uring: #3d444d }
}
text { font: 16px system-ui, -apple-system, "Segoe UI", sans-serif; fill: var(--text) }
text.title { font-weight: 600; fill: var(--title) }
text.small { font-size: 15px }
text.waken { font-weight: 600; fill: var(--waken) }
rect.waken { fill: var(--waken) } rect.C { fill: var(--c) } rect.epoll { fill: var(--epoll) } rect.io_uring { fill: var(--uring) }
polyline { fill: none; stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round }
polyline.waken { stroke: var(--waken); stroke-width: 4 } polyline.C { stroke: var(--c) } polyline.epoll { stroke: var(--epoll) }
line { stroke: var(--rule) }
.cut { fill: var(--page) }
"""

KIND = {contestant.name: contestant.kind for contestant in ALL}


@dataclass
class Panel:
    """One group of bars: a figure for each name, `None` where nothing can be concluded."""

    title: str
    bars: dict


def svg(height, title, parts):
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" role="img" '
        f'aria-label="{escape(title)}">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def write(x, y, words, style="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'


def bars(title, panels):
    """A row for each name, a column for each panel, each with a scale of its own that begins at zero. Who is far beyond the
    others is cut, visibly, so that the others can be told apart."""
    panels = [panel for panel in panels if any(panel.bars.values())]
    names = list(dict.fromkeys(name for panel in panels for name in panel.bars))
    left, row, top = 140, 27, 62 if any(panel.title for panel in panels) else 36
    column = (WIDTH - left) / max(1, len(panels))
    parts = [write(0, 18, title, "title")]
    parts += [write(left - 9, top + line * row + 15, name, KIND[name], "end") for line, name in enumerate(names)]
    for at, panel in enumerate(panels):
        x = left + at * column
        parts.append(write(x, 48, panel.title, "small"))
        values = [value for value in panel.bars.values() if value]
        most = min(max(values), 4 * statistics.median(values))
        for line, name in enumerate(names):
            parts += bar(x, top + line * row, column - 62, most, name, panel.bars.get(name, "–"))
    return svg(top + row * len(names) + 2, title, parts)


def bar(x, y, room, most, name, value):
    """One bar and its figure; or a word in its place."""
    if not isinstance(value, (int, float)):
        return [write(x, y + 15, value or "too noisy", f"small {KIND[name]}")]
    length = max(2, room * min(value / most, 1))
    parts = [f'<rect x="{x:.1f}" y="{y:.1f}" width="{length:.1f}" height="19" rx="2" class="{KIND[name]}"/>']
    if value > most:  # cut: a gap near its end
        parts.append(f'<path d="M{x + length - 12:.1f},{y + 20:.1f} l4,-21 h4 l-4,21 z" class="cut"/>')
    return [*parts, write(x + length + 5, y + 15, text(value), f"small {KIND[name]}")]


def lines(title, many, series):
    """Figures by how many there are: the many on a logarithmic scale, the figure from zero. Names stand at the lines' ends."""
    top, bottom, left, right, height = 44, 56, 50, 76, 340
    points = [(x, y) for line in series.values() for x, y in line if y is not None]
    if not points:
        return svg(40, title, [write(0, 18, title, "title")])
    first = min((x for x, _ in points if x > 0), default=1)
    zero = any(x == 0 for x, _ in points)
    low = math.log10(first) - (0.5 if zero else 0)  # none at all stands half a decade before the first
    high = max(math.log10(max(x for x, _ in points)), low + 1)
    step = nice(max(y for _, y in points) / 3)
    most = step * math.ceil(max(y for _, y in points) / step)

    def across(x):
        at = math.log10(x) if x > 0 else low
        return left + (WIDTH - left - right) * (at - low) / (high - low)

    def down(y):
        return height - bottom - (height - bottom - top) * y / most

    parts = [write(0, 18, title, "title")]
    for tick in range(round(most / step) + 1):
        y = down(tick * step)
        parts.append(f'<line x1="{left}" x2="{WIDTH - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(write(left - 8, y + 5, short(tick * step), "small", "end"))
    for x in ([0] if zero else []) + [10**power for power in range(math.ceil(math.log10(first)), math.floor(high) + 1)]:
        parts.append(write(across(x), height - 32, short(x), "small", "middle"))
    parts.append(write((left + WIDTH - right) / 2, height - 8, many, "small", "middle"))
    ends = []
    for name in sorted(series, key=lambda name: KIND[name] == "waken"):  # waken on top
        line = [(across(x), down(y)) for x, y in series[name] if y is not None]
        if line:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
            parts.append(f'<polyline points="{path}" class="{KIND[name]}"/>')
            ends.append((line[-1][1], name))
    parts += [write(WIDTH - right + 8, y + 5, name, KIND[name]) for y, name in apart(ends)]
    return svg(height, title, parts)


def apart(ends, room=19):
    """The labels at the lines' ends, moved so that none covers another."""
    ends = sorted(ends)
    places = []
    for y, name in ends:
        places.append((max(y, places[-1][0] + room) if places else y, name))
    over = places[-1][0] - max(y for y, _ in ends) if places else 0
    return [(y - over / 2, name) for y, name in places]


def nice(step):
    """The next of 1, 2, 5, 10, 20, …"""
    power = 10 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)


def short(number):
    for size, letter in ((1_000_000, "M"), (1000, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"
