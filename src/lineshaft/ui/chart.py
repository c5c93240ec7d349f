"""Small SVG charts without a library or a network: lines, and a reliability plot."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, MARGIN = 360, 220, 36
COLOURS = ("#2a6f97", "#bc4749", "#6a994e", "#9c6644", "#7b2cbf", "#495057")

Points = Sequence[tuple[float, float]]


def lines(series: Mapping[str, Points], x_label: str, y_label: str, *, legend: bool = True) -> str:
    """Draw named lines over common axes; names are escaped."""
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    low_x, high_x = _extent([x for x, _ in points])
    low_y, high_y = _extent([y for _, y in points])

    def place(x: float, y: float) -> str:
        across = MARGIN + (x - low_x) / (high_x - low_x) * (WIDTH - 2 * MARGIN)
        up = HEIGHT - MARGIN - (y - low_y) / (high_y - low_y) * (HEIGHT - 2 * MARGIN)
        return f"{across:.1f},{up:.1f}"

    drawn = []
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(place(x, y) for x, y in line)
        title = f"<title>{html.escape(name)}</title>"
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5">{title}</polyline>')
        if legend:
            drawn.append(
                f'<text x="{WIDTH - MARGIN}" y="{14 + 12 * number}" class="key" fill="{colour}">{html.escape(name)}</text>'
            )
    axes = _axes((low_x, high_x), (low_y, high_y), x_label, y_label)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{axes}{"".join(drawn)}</svg>'


def reliability(bins: Sequence[Mapping[str, float]]) -> str:
    """Draw accuracy over confidence, the diagonal beside it: calibrated answers lie on it."""
    measured = [(bin_["confidence"], bin_["accuracy"]) for bin_ in bins]
    low = min([0.5, *(min(point) for point in measured)])
    return lines({"calibrated": [(low, low), (1.0, 1.0)], "measured": measured}, "confidence", "accuracy")


def _extent(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _axes(x: tuple[float, float], y: tuple[float, float], x_label: str, y_label: str) -> str:
    bottom, right = HEIGHT - MARGIN, WIDTH - MARGIN
    return (
        f'<path d="M{MARGIN},{MARGIN} V{bottom} H{right}" fill="none" stroke="#888"/>'
        f'<text x="{MARGIN}" y="{bottom + 14}">{x[0]:g}</text><text x="{right}" y="{bottom + 14}" class="end">{x[1]:g}</text>'
        f'<text x="{MARGIN - 4}" y="{bottom}" class="end">{y[0]:.3g}</text>'
        f'<text x="{MARGIN - 4}" y="{MARGIN + 4}" class="end">{y[1]:.3g}</text>'
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" class="mid">{html.escape(x_label)}</text>'
        f'<text x="{MARGIN}" y="{MARGIN - 10}">{html.escape(y_label)}</text>'
    )
