"""Charts, as SVG by hand: waken in colour, C dark, the other epoll peers grey, io_uring pale. Light and dark by the reader's choice.

Text is large for the size of the picture, so that it can still be read on a telephone.
"""

import math
from dataclasses import dataclass
from html import escape

from lib.contestants import ALL
from lib.tables import text

WIDTH = 600
STYLE = """
text { font: 16px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #57606a }
.title { font-weight: 600; fill: #1f2328 }
.small { font-size: 14px }
.waken { fill: #0969da } .waken.line { stroke: #0969da; stroke-width: 3.5 } text.waken { font-weight: 600 }
.C { fill: #424a53 } .C.line { stroke: #424a53 }
.epoll { fill: #a1a9b2 } .epoll.line { stroke: #a1a9b2 } text.epoll, text.C, text.io_uring { fill: #57606a }
.io_uring { fill: #d3d9df }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round }
.rule { stroke: #d0d7de; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
text { fill: #9198a1 } .title { fill: #f0f6fc }
.waken { fill: #58a6ff } .waken.line { stroke: #58a6ff }
.C { fill: #c9d1d9 } .C.line { stroke: #c9d1d9 }
.epoll { fill: #6e7681 } .epoll.line { stroke: #6e7681 } text.epoll, text.C, text.io_uring { fill: #9198a1 }
.io_uring { fill: #3d444d }
.rule { stroke: #3d444d }
}
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
    """A row for each name, a column for each panel, each with a scale of its own that begins at zero."""
    panels = [panel for panel in panels if any(panel.bars.values())]
    names = list(dict.fromkeys(name for panel in panels for name in panel.bars))
    left, row, top = 122, 27, 66 if any(panel.title for panel in panels) else 44
    column = (WIDTH - left) / max(1, len(panels))
    parts = [write(0, 18, title, "title")]
    for at, panel in enumerate(panels):
        x = left + at * column
        room = column - 62  # for the figure behind the bar
        most = max(value for value in panel.bars.values() if value)
        parts.append(write(x, 48, panel.title, "small"))
        for line, name in enumerate(names):
            y = top + line * row
            value = panel.bars.get(name)
            length = max(2, room * (value or 0) / most)
            if value is not None:
                parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{length:.1f}" height="{row - 8}" rx="2" class="{KIND[name]}"/>')
            shown = text(value) if value is not None else "too noisy" if name in panel.bars else "–"
            parts.append(write(x + (length + 5 if value is not None else 0), y + 15, shown, f"small {KIND[name]}"))
    for line, name in enumerate(names):
        parts.append(write(left - 9, top + line * row + 15, name, KIND[name], "end"))
    return svg(top + row * len(names) + 4, title, parts)


def lines(title, series):
    """Figures by how many there are: the many on a logarithmic scale, the figure from zero. Names stand at the lines' ends."""
    top, bottom, left, right, height = 50, 36, 62, 92, 340
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
        parts.append(f'<line x1="{left}" x2="{WIDTH - right}" y1="{y:.1f}" y2="{y:.1f}" class="rule"/>')
        parts.append(write(left - 8, y + 5, short(tick * step), "small", "end"))
    for x in ([0] if zero else []) + [10**power for power in range(math.ceil(math.log10(first)), math.floor(high) + 1)]:
        parts.append(write(across(x), height - 10, short(x), "small", "middle"))
    ends = []
    for name in sorted(series, key=lambda name: KIND[name] == "waken"):  # waken on top
        line = [(across(x), down(y)) for x, y in series[name] if y is not None]
        if line:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
            parts.append(f'<polyline points="{path}" class="line {KIND[name]}"/>')
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
