"""Which kinds of values an operation takes: one table for both back ends, and the error that says so.

Kinds are *number*, *string*, *boolean*, *null* (a value or a column of nothing but null: fits anywhere) and *other*
(dates, lists, bytes: good for ``is null`` alone).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lineshaft.errors import ExpressionError

if TYPE_CHECKING:
    from lineshaft.core.expression.grammar import Node

NUMBER, STRING, BOOLEAN, NULL, OTHER = "number", "string", "boolean", "null", "other"
ALIKE, ORDERED, ANY = "alike", "ordered", "any"

WANTS = {
    **dict.fromkeys(["+", "-", "*", "/", "negate", "abs", "round", "min", "max", "is_nan"], NUMBER),
    **dict.fromkeys(["length", "words", "lower", "upper", "contains", "starts_with", "ends_with"], STRING),
    **dict.fromkeys(["count", "matches"], STRING),
    **dict.fromkeys(["and", "or", "not"], BOOLEAN),
    **dict.fromkeys(["=", "!=", "coalesce", "in"], ALIKE),
    **dict.fromkeys(["<", "<=", ">", ">="], ORDERED),
    "is null": ANY,
}


def literal_kind(value: Any) -> str:
    """Return the kind of a literal or of a row's value."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, (int, float)):
        return NUMBER
    return STRING if isinstance(value, str) else OTHER


def check(node: Node, kinds: Sequence[str], text: str) -> None:
    """Refuse values that the operation of ``node`` does not take."""
    wanted = WANTS[node.op]
    if wanted == ANY:
        return
    seen = [kind for kind in kinds if kind != NULL]
    if node.op == "in":
        seen += [literal_kind(item) for item in node.value]
    if wanted in {ALIKE, ORDERED}:
        allowed = {NUMBER, STRING} if wanted == ORDERED else {NUMBER, STRING, BOOLEAN}
        if set(seen) - allowed or len(set(seen)) > 1:
            found = " and ".join(seen)
            raise ExpressionError(complaint(text, node.at, f"{node.op!r} needs values of one kind, got {found}"))
    elif set(seen) - {wanted}:
        found = next(kind for kind in seen if kind != wanted)
        raise ExpressionError(complaint(text, node.at, f"{node.op!r} needs a {wanted}, got {article(found)}"))


def article(kind: str) -> str:
    """Name a kind in a sentence."""
    return "a value that is neither number, string nor boolean" if kind == OTHER else f"a {kind}"


def complaint(text: str, at: int, message: str, hint: str = "") -> str:
    """Write an error that quotes the expression with a caret below the place."""
    start = max(0, at - 50)
    shown = "".join(" " if char.isspace() else char for char in text[start : at + 30])
    left, right = "..." if start else "", "..." if at + 30 < len(text) else ""
    caret = " " * (len(left) + at - start) + "^"
    return f"{message}\n    {left}{shown}{right}\n    {caret}" + (f"\n{hint}" if hint else "")
