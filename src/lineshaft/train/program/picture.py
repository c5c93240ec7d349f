"""Time diagrams of a step: lines of text for the terminal, and a drawing in SVG that needs nothing else.

::

    s        0         5         10        15
    in       |L1p|     |L2p(0p)-----|
    compute  |F0.0|F0.1|         |F1.0|            a gap in compute is a stall
    out                |W0s|

Both take what was measured and what was predicted alike: spans, on any clock; the picture begins with the first.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence

from lineshaft.core.memory import show_size
from lineshaft.errors import UsageError
from lineshaft.train.program.actions import LANES, Span

MARGIN = 9  # letters before the diagram
WIDTH, LEFT, ROW, BAR = 960, 70, 26, 20  # of the drawing, in pixels
LETTER = 6.2  # pixels
COLOURS = {
    "F": ("#2a6f97", "forward"),
    "R": ("#89c2d9", "forward again"),
    "B": ("#6a994e", "backward"),
    "N": ("#7b2cbf", "norm"),
    "S": ("#bc4749", "step"),
    "L": ("#e09f3e", "load"),
    "W": ("#9c6644", "write"),
    "C": ("#495057", "commit"),
}
STALL = "#d00000"
PALE = frozenset("RL")  # kinds whose label is dark
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


def diagram(spans: Sequence[Span], width: int = 100) -> str:
    """Return a diagram of lines of text, each at most `width` letters wide.

    Raises
    ------
    UsageError
        There is no room for a diagram in this width.

    """
    columns = width - MARGIN
    if columns < 1:
        raise UsageError(f"a diagram needs more than {MARGIN} letters for the names of its lanes, not width={width}")
    begin, long = _extent(spans)
    scale = (columns - 1) / long
    lines = [_ruler(long, scale, columns)]
    for lane in LANES:
        cells = [" "] * columns
        for span in sorted((one for one in spans if one.action.lane == lane), key=lambda one: (one.start, one.end)):
            start, end = (round((time - begin) * scale) for time in (span.start, span.end))
            _paint(cells, start, end, span)
        lines.append(f"{lane:{MARGIN}}{''.join(cells)}".rstrip())
    return "\n".join(lines)


def _paint(cells: list[str], start: int, end: int, span: Span) -> None:
    """Write a span over the cells from its start to its end, which is where the next one may begin."""
    label = next((text for text in _labels(span) if len(text) < end - start), "")
    cells[start : end + 1] = [*f"|{label}".ljust(end - start, "-")[: end - start], "|"]


def _labels(span: Span) -> Iterator[str]:
    """Return what an action may be called, the longest first."""
    action = span.action
    whole = str(action).partition("(")[0]
    yield from (str(action), whole, whole.rstrip("+"))
    if max(action.shard, action.micro) < 10:  # two digits can be told apart without a point
        yield whole.rstrip("+").replace(".", "")
    yield action.kind


def _ruler(long: float, scale: float, columns: int) -> str:
    unit, name = _unit(long)
    cells = [" "] * columns
    for tick in _ticks(long / unit, max(columns // 10, 1)):
        text, at = f"{tick:g}", round(tick * unit * scale)
        if at + len(text) <= columns:
            cells[at : at + len(text)] = text
    return f"{name:{MARGIN}}{''.join(cells)}".rstrip()


def gantt(spans: Sequence[Span] | Mapping[str, Sequence[Span]], title: str = "") -> str:
    """Return a drawing in SVG: a row per lane, a bar per action, stalls of the computation dashed.

    Parameters
    ----------
    spans
        Those of a step; or several steps by name, ``{"predicted": ..., "measured": ...}``, one above the other on the
        same scale.
    title
        What is written above it.

    """
    groups = dict(spans) if isinstance(spans, Mapping) else {"": spans}
    long = max((_extent(group)[1] for group in groups.values()), default=1.0)
    scale = (WIDTH - LEFT - 10) / long
    parts, top = [_text(LEFT, 16, title, weight="bold")], 28
    for name, group in groups.items():
        if name:
            _, own = _extent(group)
            parts.append(_text(LEFT, top + 12, f"{name}: {_time(own if group else 0.0)}"))
            top += 18
        parts += _rows(group, top, scale)
        top += ROW * len(LANES) + 6
    parts += _axis(long, scale, top)
    parts += _legend({span.action.kind for group in groups.values() for span in group}, top + 34)
    height = top + 46
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" font-family="sans-serif" font-size="11"><rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
        f"{''.join(parts)}</svg>"
    )


def _rows(spans: Sequence[Span], top: int, scale: float) -> Iterator[str]:
    begin, _ = _extent(spans)
    for row, lane in enumerate(LANES):
        down = top + row * ROW
        yield _text(LEFT - 8, down + 14, lane, anchor="end")
        yield f'<path d="M{LEFT},{down + BAR + 2.5} H{WIDTH - 10}" stroke="#e5e5e5"/>'
        own = [span for span in spans if span.action.lane == lane]
        if lane == "compute":
            yield from (_stall(start - begin, end - begin, down, scale) for start, end in _gaps(own, begin))
        yield from (_bar(span, span.start - begin, down, scale) for span in own)


def _gaps(spans: Sequence[Span], begin: float) -> Iterator[tuple[float, float]]:
    """Return when nothing was computed, before the last of what was."""
    over = begin
    for span in sorted(spans, key=lambda one: one.start):
        if span.start > over:
            yield over, span.start
        over = max(over, span.end)


def _bar(span: Span, start: float, down: int, scale: float) -> str:
    wide = (span.end - span.start) * scale
    colour = COLOURS[span.action.kind][0]
    says = f"{span.action}: {_time(span.end - span.start)}, from {_time(start)}"
    says += f", {show_size(span.size)}" if span.size else ""
    label = next((text for text in _labels(span) if len(text) * LETTER < wide - 2), "")
    bar = (
        f'<rect x="{LEFT + start * scale:.2f}" y="{down}" width="{max(wide, 0.5):.2f}" height="{BAR}" fill="{colour}" '
        f'stroke="#ffffff" stroke-width="{0.6 if wide > 2 else 0}"/>'
    )
    ink = "#1b1b1b" if span.action.kind in PALE else "#ffffff"
    text = _text(LEFT + (start * scale) + wide / 2, down + 14, label, anchor="middle", ink=ink) if label else ""
    return f"<g>{bar}{text}<title>{html.escape(says)}</title></g>"


def _stall(start: float, end: float, down: int, scale: float) -> str:
    return (
        f'<rect x="{LEFT + start * scale:.2f}" y="{down + 1}" width="{(end - start) * scale:.2f}" height="{BAR - 2}" '
        f'fill="{STALL}" fill-opacity="0.12" stroke="{STALL}" stroke-width="0.6" stroke-dasharray="3 2">'
        f"<title>stall: {_time(end - start)}, from {_time(start)}</title></rect>"
    )


def _axis(long: float, scale: float, top: int) -> Iterator[str]:
    unit, name = _unit(long)
    yield f'<path d="M{LEFT},{top} H{WIDTH - 10}" stroke="#888888"/>'
    for tick in _ticks(long / unit, 10):
        right = LEFT + tick * unit * scale
        yield f'<path d="M{right:.2f},{top} v4" stroke="#888888"/>'
        yield _text(right, top + 15, f"{tick:g}", anchor="middle")
    yield _text(LEFT - 8, top + 15, name, anchor="end")


def _legend(kinds: set[str], down: int) -> Iterator[str]:
    shown = [(colour, what) for kind, (colour, what) in COLOURS.items() if kind in kinds]
    right = float(LEFT)
    for colour, what in (*shown, (STALL, "stall")):
        yield f'<rect x="{right:.1f}" y="{down - 9}" width="10" height="10" fill="{colour}"/>'
        yield _text(right + 14, down, what)
        right += 30 + LETTER * len(what)


def _text(
    right: float, down: float, text: str, *, anchor: str = "start", ink: str = "#1b1b1b", weight: str = "normal"
) -> str:
    return (
        f'<text x="{right:.2f}" y="{down}" text-anchor="{anchor}" fill="{ink}" font-weight="{weight}" '
        f'pointer-events="none">{html.escape(text)}</text>'
    )


def _extent(spans: Sequence[Span]) -> tuple[float, float]:
    """Return when the first begins, and how long it is until the last ends; 1 where that is no time at all."""
    begin = min((span.start for span in spans), default=0.0)
    return begin, max((span.end - begin for span in spans), default=0.0) or 1.0


def _unit(long: float) -> tuple[float, str]:
    return next((unit for unit in UNITS if long >= unit[0]), UNITS[-1])


def _time(seconds: float) -> str:
    unit, name = _unit(seconds or 1.0)
    return f"{seconds / unit:.3g} {name}"


def _ticks(long: float, most: int) -> list[float]:
    """Return round numbers from 0 on, at most so many and one."""
    rough = long / most
    power = 10.0 ** math.floor(math.log10(rough))
    apart = next(power * step for step in (1, 2, 5, 10) if power * step >= rough * (1 - 1e-9))
    return [number * apart for number in range(int(long / apart * (1 + 1e-9)) + 1)]
