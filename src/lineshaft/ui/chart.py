"""Small SVG charts without a library or a network: lines, and a reliability plot. All text in them is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Collection, Mapping, Sequence

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 240, 44, 12, 24, 34
COLOURS = ("#2a6f97", "#bc4749", "#6a994e", "#9c6644", "#7b2cbf", "#495057")
PALE = "#c9c9c4"
KEY = 68  # letters of a name that the drawing is wide enough for

Points = Sequence[tuple[float, float]]
Range = tuple[float, float]
Place = Callable[[float, float], tuple[float, float]]


def lines(series: Mapping[str, Points], x_label: str, y_label: str, bold: Collection[str] = ()) -> str:
    """Draw named lines over common axes.

    Parameters
    ----------
    series
        Name to points; those that are not finite are left out.
    x_label, y_label
        What the axes show.
    bold
        The names to draw in colour with a key; the others are pale. None given: all are in colour.

    """
    shown = {name: [p for p in line if all(map(math.isfinite, p))] for name, line in series.items()}
    points = [point for line in shown.values() for point in line]
    if not points:
        return ""
    x, y = _extent([x for x, _ in points]), _extent([y for _, y in points])
    place = _placer(x, y)
    coloured = [name for name in shown if not bold or name in bold]
    parts = [_axes(x, y, x_label, y_label, place)]
    parts += [_line(shown[name], name, PALE, place) for name in shown if name not in coloured]
    for number, name in enumerate(coloured):
        colour = COLOURS[number % len(COLOURS)]
        parts += [_line(shown[name], name, colour, place), _key(number, name, colour)]
    return _svg(parts, HEIGHT + 14 * len(coloured))


def reliability(bins: Sequence[Mapping[str, float]]) -> str:
    """Draw accuracy over confidence, a disc per bin by its share of rows; calibrated answers lie on the dashes."""
    points = [(bin_["confidence"], bin_["accuracy"]) for bin_ in bins]
    if not points:
        return ""
    x = (min([0.5, *(x for x, _ in points)]), 1.0)
    y = (min([x[0], *(y for _, y in points)]), 1.0)
    place = _placer(x, y)
    (left, low), (right, high) = place(x[0], x[0]), place(1.0, 1.0)
    dashes = f'<path d="M{left},{low} L{right},{high}" stroke="#888" stroke-dasharray="4 3"/>'
    total = sum(bin_["rows"] for bin_ in bins)
    discs = [
        _disc(place(*p), 3 + 9 * math.sqrt(b["rows"] / total), f"{b['rows']} rows")
        for p, b in zip(points, bins, strict=True)
    ]
    return _svg(
        [_axes(x, y, "confidence", "accuracy", place), dashes, _line(points, "", COLOURS[0], place), *discs], HEIGHT
    )


def _placer(x: Range, y: Range) -> Place:
    """Return what turns values into places on the drawing."""

    def place(across: float, up: float) -> tuple[float, float]:
        right = LEFT + (across - x[0]) / (x[1] - x[0]) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - (up - y[0]) / (y[1] - y[0]) * (HEIGHT - TOP - BOTTOM)
        return round(right, 1), round(down, 1)

    return place


def _extent(values: Sequence[float]) -> Range:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _line(points: Points, name: str, colour: str, place: Place) -> str:
    if len(points) == 1:
        return _disc(place(*points[0]), 3, name, colour)
    path = " ".join(f"{right},{down}" for right, down in (place(*point) for point in points))
    title = f"<title>{html.escape(name)}</title>"
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6">{title}</polyline>'


def _disc(centre: tuple[float, float], radius: float, name: str, colour: str = COLOURS[0]) -> str:
    title = f"<title>{html.escape(name)}</title>"
    return (
        f'<circle cx="{centre[0]}" cy="{centre[1]}" r="{radius:.1f}" fill="{colour}" fill-opacity=".7">{title}</circle>'
    )


def _key(number: int, name: str, colour: str) -> str:
    down = HEIGHT + 14 * number + 6
    short = name if len(name) <= KEY else f"{name[: KEY - 1]}…"
    text = f'<text x="{LEFT + 18}" y="{down + 4}">{html.escape(short)}</text>'
    return f'<path d="M{LEFT},{down} h12" stroke="{colour}" stroke-width="3"/>{text}'


def _axes(x: Range, y: Range, x_label: str, y_label: str, place: Place) -> str:
    parts = [f'<path d="M{LEFT},{TOP} V{HEIGHT - BOTTOM} H{WIDTH - RIGHT}" fill="none" stroke="#888"/>']
    for share in (0.0, 0.5, 1.0):
        across, up = x[0] + share * (x[1] - x[0]), y[0] + share * (y[1] - y[0])
        right, down = place(across, up)
        parts.append(f'<text x="{right}" y="{HEIGHT - BOTTOM + 13}" class="mid">{across:.3g}</text>')
        parts.append(f'<text x="{LEFT - 5}" y="{down + 3}" class="end">{up:.3g}</text>')
        parts.append(f'<path d="M{LEFT},{down} H{WIDTH - RIGHT}" stroke="#eee"/>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" class="mid">{html.escape(x_label)}</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 10}">{html.escape(y_label)}</text>')
    return "".join(parts)


def _svg(parts: Sequence[str], height: int) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>'
