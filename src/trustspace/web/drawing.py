"""A report's figures as vector graphics, each with its numbers in words for whoever does not see it.

Only attributes and classes, no style in the drawing itself (the content policy forbids it). Series differ by hue and by
dashes as well as by name; the first two hues are Okabe and Ito's blue and vermilion ("Color Universal Design", 2008),
which people with any form of colour blindness tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from trustspace.evidence.figures import Curve, Exposure, Figure, Histogram, Table
from trustspace.evidence.words import Language
from trustspace.web.page import shown
from trustspace.web.words import words

WIDTH, HEIGHT = 300, 184
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 12, 36
MOST_BARS = 8


@dataclass(frozen=True)
class Drawing:
    """A figure as a page shows it: what to draw ("" for a table), what it says, and its numbers as a table."""

    title: str
    svg: Markup
    says: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: frozenset[tuple[int, int]] = frozenset()
    legend: tuple[str, ...] = ()


def draw(figure: Figure, language: Language) -> Drawing:
    """A figure, drawn."""
    if isinstance(figure, Histogram):
        return _histogram(figure, language)
    if isinstance(figure, Curve):
        return _curve(figure, language)
    if isinstance(figure, Exposure):
        return _exposure(figure, language)
    return _table(figure, language)


def _histogram(figure: Histogram, language: Language) -> Drawing:
    edges = [float(edge) for edge in figure.edges]
    bins = len(edges) - 1
    low, high = edges[0], edges[-1]
    series = [(one.name.in_language(language), one.counts[:bins]) for one in figure.series]
    # Groups of unlike size are compared by their shares.
    shares = [[count / max(1, sum(counts)) for count in counts] for _, counts in series]
    top = max((max(values, default=0.0) for values in shares), default=0.0) or 1.0
    across, down = _scale(low, high, LEFT, WIDTH - RIGHT), _scale(0.0, top, HEIGHT - BOTTOM, TOP)
    parts = [*_grid(down, [(top / 2, _percent(top / 2)), (top, _percent(top))])]
    for place, values in enumerate(shares):
        steps = [f"M{across(low):.1f} {down(0):.1f}"]
        for number, value in enumerate(values):
            steps.append(f"L{across(edges[number]):.1f} {down(value):.1f}")
            steps.append(f"L{across(edges[number + 1]):.1f} {down(value):.1f}")
        steps.append(f"L{across(edges[len(values)]):.1f} {down(0):.1f}")
        parts.append(Markup('<path class="area s{}" d="{}"/>').format(place, " ".join(steps)))
    parts += _axis(across, low, high, figure.x.in_language(language))
    told = [
        words("figure_series", language, name=name, count=sum(counts),
              peak=_number((edges[peak] + edges[peak + 1]) / 2) if counts else "-")
        for name, counts in series
        for peak in [max(range(len(counts)), key=counts.__getitem__) if counts else 0]
    ]  # fmt: skip
    says = words(
        "figure_histogram", language, bins=bins, low=_number(low), high=_number(high), series="; ".join(told)
    )
    return Drawing(
        figure.title.in_language(language), _svg(parts, says), says,
        (figure.x.in_language(language), *(name for name, _ in series)),
        tuple(
            (f"{_number(edges[n])} – {_number(edges[n + 1])}",
             *(str(counts[n]) if n < len(counts) else "" for _, counts in series))
            for n in range(bins)
        ),
        legend=tuple(name for name, _ in series),
    )  # fmt: skip


def _curve(figure: Curve, language: Language) -> Drawing:
    points = [(float(x), float(y)) for x, y in figure.points] or [(0.0, 0.0)]
    right = max(x for x, _ in points) or 1.0
    left, top = min(0.0, *(x for x, _ in points)), max(*(y for _, y in points), 0.0) or 1.0
    bottom = min(0.0, *(y for _, y in points))
    if figure.chance:
        top = max(top, right)
    across, down = _scale(left, right, LEFT, WIDTH - RIGHT), _scale(bottom, top, HEIGHT - BOTTOM, TOP)
    parts = [*_grid(down, [((bottom + top) / 2, _tick((bottom + top) / 2)), (top, _tick(top))])]
    legend: tuple[str, ...] = (figure.y.in_language(language),)
    if figure.chance:
        ends = (across(left), down(left), across(right), down(right))
        parts.append(
            Markup('<line class="chance" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(*ends)
        )
        legend = (*legend, words("figure_chance", language))
    path = " ".join(f"{'L' if n else 'M'}{across(x):.1f} {down(y):.1f}" for n, (x, y) in enumerate(points))
    parts.append(Markup('<path class="curve" d="{}"/>').format(path))
    parts += _axis(across, left, right, figure.x.in_language(language))
    says = words(
        "figure_curve", language, count=len(points), x0=_number(points[0][0]), y0=_number(points[0][1]),
        x1=_number(points[-1][0]), y1=_number(points[-1][1]),
    )  # fmt: skip
    return Drawing(
        figure.title.in_language(language), _svg(parts, says), says,
        (figure.x.in_language(language), figure.y.in_language(language)),
        tuple((_number(x), _number(y)) for x, y in points), legend=legend,
    )  # fmt: skip


def _exposure(figure: Exposure, language: Language) -> Drawing:
    rows = [(row.key, float(row.value)) for row in figure.rows]
    top = max((abs(value) for _, value in rows), default=0.0) or 1.0
    height, start = 20, 110
    parts = []
    for place, (key, value) in enumerate(rows[:MOST_BARS]):
        y = 4 + place * height
        name = key if len(key) <= 16 else key[:15] + "…"
        wide = abs(value) / top * (WIDTH - start - 48)
        parts.append(
            Markup('<text class="label" x="{}" y="{}">{}</text>').format(start - 8, y + 13, shown(name))
        )
        parts.append(
            Markup('<rect class="bar" x="{}" y="{}" width="{:.1f}" height="14"/>').format(start, y + 2, wide)
        )
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{}">{}</text>').format(
                start + wide + 6, y + 13, _number(value)
            )
        )
    says = words(
        "figure_exposure", language, count=len(rows), value=_number(rows[0][1]) if rows else "-"
    )  # fmt: skip
    return Drawing(
        figure.title.in_language(language), _svg(parts, says, height=8 + height * min(MOST_BARS, len(rows))), says,
        (words("figure_key", language), words("figure_value", language)),
        tuple((key, _number(value)) for key, value in rows),
    )  # fmt: skip


def _table(figure: Table, language: Language) -> Drawing:
    return Drawing(
        figure.title.in_language(language), Markup(), "", figure.columns, figure.rows,
        frozenset((row, column) for row, column in figure.marked),
    )  # fmt: skip


class _scale:  # noqa: N801 - reads as the function that it is
    """A linear map from values to pixels."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._per = low, (end - start) / ((high - low) or 1.0)
        self._start = start

    def __call__(self, value: float) -> float:
        return self._start + (value - self._low) * self._per


def _grid(down: _scale, at: list[tuple[float, str]]) -> Iterator[Markup]:
    for value, name in at:
        y = down(value)
        yield Markup('<line class="grid" x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}"/>').format(
            LEFT, y, WIDTH - RIGHT, y
        )
        yield Markup('<text class="label" x="{}" y="{:.1f}">{}</text>').format(LEFT - 6, y + 4, name)


def _axis(across: _scale, low: float, high: float, name: str) -> list[Markup]:
    base = HEIGHT - BOTTOM
    return [
        Markup('<line class="axis" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(LEFT, base, WIDTH - RIGHT, base),
        Markup('<text class="tick" x="{:.1f}" y="{}">{}</text>').format(across(low), base + 15, _tick(low)),
        Markup('<text class="label" x="{:.1f}" y="{}">{}</text>').format(across(high), base + 15, _tick(high)),
        Markup('<text class="axis-name" x="{}" y="{}">{}</text>').format((LEFT + WIDTH - RIGHT) / 2, base + 31,
                                                                        shown(name)),
    ]  # fmt: skip


def _svg(parts: list[Markup], says: str, height: int = HEIGHT) -> Markup:
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}" focusable="false">{}</svg>'
    ).format(WIDTH, height, shown(says), Markup().join(parts))


def _number(value: float) -> str:
    text = f"{value:.4g}"
    return text if "e" not in text else f"{value:.6f}".rstrip("0").rstrip(".")


def _tick(value: float) -> str:
    text = f"{value:.3g}"
    return text if "e" not in text else _number(value)


def _percent(share: float) -> str:
    return f"{share * 100:.3g}%"
