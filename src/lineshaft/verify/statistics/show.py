"""Statistics as a table for people: on the terminal and in a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lineshaft.verify.statistics.summary import ColumnStatistics

HEAD = ("column", "type", "missing", "distinct", "mean", "std", "min", "median", "max", "most frequent")
_WIDTH = 28


def as_text(columns: Sequence[ColumnStatistics]) -> str:
    """Lay the columns out for a terminal."""
    table = [HEAD, *(_cells(column) for column in columns)]
    widths = [max(len(row[at]) for row in table) for at in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )


def as_html(columns: Sequence[ColumnStatistics]) -> str:
    """Lay the columns out as an HTML table."""
    head = "".join(f"<th>{cell}</th>" for cell in HEAD)
    rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(column)) for column in columns)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _cells(column: ColumnStatistics) -> tuple[str, ...]:
    ordered = len(column.finite_sample())
    exact = column.distinct_error == 0
    return (
        column.name,
        column.type,
        f"{column.missing:,} ({column.missing / column.rows:.1%})" if column.missing else "0",
        f"{'' if exact else '~'}{column.distinct:,}",
        *(shown(value) for value in (column.mean, column.std, column.min)),
        shown(column.quantile(0.5)) if ordered else "-",
        shown(column.max),
        ", ".join(f"{shown(value)} ({count:,})" for value, count in column.top(2)) or "-",
    )


def shown(value: Any) -> str:
    """Write a value shortly; None is a dash."""
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = text.replace("\n", " ")
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
