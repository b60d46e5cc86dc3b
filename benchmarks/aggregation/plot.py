"""Lines on logarithmic axes as an SVG, by hand: no library for pictures is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]
COLOURS = (
    "#555555", "#0072b2", "#009e73", "#56b4e9", "#d55e00", "#cc79a7", "#e69f00", "#8c6d31", "#7b3294", "#a6d854",
    "#000000", "#e7298a", "#66c2a5", "#b3b3b3",
)  # fmt: skip
_PANEL, _HEIGHT = 330, 330
_LEFT, _TOP, _BOTTOM, _GAP = 64, 34, 46, 58


@dataclass(frozen=True)
class Panel:
    """One pair of axes: a title and lines by name."""

    title: str
    lines: Mapping[str, Points]


@dataclass(frozen=True)
class _Axes:
    """From numbers to places; both axes span whole decades."""

    left: float
    x: tuple[int, int]
    y: tuple[int, int]

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - self.x[0]) / (self.x[1] - self.x[0])
        up = (math.log10(y) - self.y[0]) / (self.y[1] - self.y[0])
        return self.left + across * _PANEL, _TOP + (1 - up) * _HEIGHT


def svg(panels: Sequence[Panel], across: str, up: str) -> str:
    """The panels side by side with common axes, and below them what each colour is.

    A single point is continued as a dashed line of slope 1.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    points = [point for panel in panels for line in panel.lines.values() for point in line]
    x, y = _decades([p[0] for p in points]), _decades([p[1] for p in points])
    width = _LEFT + len(panels) * (_PANEL + _GAP)
    rows = -(-len(names) // 3)
    height = _TOP + _HEIGHT + _BOTTOM + 20 * rows + 10
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"',
        f' font-size="12" fill="#222"><rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for number, panel in enumerate(panels):
        axes = _Axes(_LEFT + number * (_PANEL + _GAP), x, y)
        out += _frame(axes, panel.title, across, up if number == 0 else "")
        for name, line in panel.lines.items():
            out += _line(axes, line, COLOURS[names.index(name) % len(COLOURS)])
    for at, name in enumerate(names):
        left, top = _LEFT + (at % 3) * (width - _LEFT) / 3, _TOP + _HEIGHT + _BOTTOM + 20 * (at // 3) + 10
        colour = COLOURS[at % len(COLOURS)]
        out.append(f'<rect x="{left:.0f}" y="{top - 9:.0f}" width="18" height="9" fill="{colour}"/>')
        out.append(f'<text x="{left + 24:.0f}" y="{top:.0f}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _frame(axes: _Axes, title: str, across: str, up: str) -> list[str]:
    out = [
        f'<rect x="{axes.left}" y="{_TOP}" width="{_PANEL}" height="{_HEIGHT}" fill="none" stroke="#888"/>',
        f'<text x="{axes.left + _PANEL / 2}" y="20" text-anchor="middle" font-weight="bold">{escape(title)}</text>',
        f'<text x="{axes.left + _PANEL / 2}" y="{_TOP + _HEIGHT + 36}" text-anchor="middle">{escape(across)}</text>',
    ]
    for decade in range(axes.x[0], axes.x[1] + 1):
        place, _ = axes.place(10.0**decade, 10.0 ** axes.y[0])
        out.append(f'<path d="M{place:.1f} {_TOP}v{_HEIGHT}" stroke="#e4e4e4"/>')
        out.append(
            f'<text x="{place:.1f}" y="{_TOP + _HEIGHT + 17}" text-anchor="middle">{_power(decade)}</text>'
        )
    step = max(1, (axes.y[1] - axes.y[0]) // 8)
    for decade in range(axes.y[0], axes.y[1] + 1, step):
        _, place = axes.place(10.0 ** axes.x[0], 10.0**decade)
        out.append(f'<path d="M{axes.left} {place:.1f}h{_PANEL}" stroke="#e4e4e4"/>')
        out.append(f'<text x="{axes.left - 6}" y="{place + 4:.1f}" text-anchor="end">{_power(decade)}</text>')
    if up:
        middle = _TOP + _HEIGHT / 2
        out.append(
            f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(up)}</text>'
        )
    return out


def _line(axes: _Axes, line: Points, colour: str) -> list[str]:
    out = []
    if len(line) == 1:
        ((x, y),) = line
        # As far as both axes go.
        reach = min(10.0 ** axes.x[1] / x, 10.0 ** axes.y[1] / y)
        ends, style = [(x, y), (x * reach, y * reach)], ' stroke-dasharray="5 4"'
    else:
        ends, style = list(line), ""
    path = " L".join("{:.1f} {:.1f}".format(*axes.place(*point)) for point in ends)
    out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{style}/>')
    dots = ('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="{}"/>'.format(*axes.place(*p), colour) for p in line)
    return [*out, *dots]


def _power(decade: int) -> str:
    return f'10<tspan dy="-5" font-size="9">{decade}</tspan>'
