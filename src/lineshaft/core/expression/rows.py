"""The single-row back end: plain Python values, for requests and for rows that need care.

It defines what the operations mean; the columnar back end falls back to it where a kernel cannot decide.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lineshaft.core.expression.kinds import check, complaint, literal_kind
from lineshaft.errors import ExpressionError

if TYPE_CHECKING:
    from lineshaft.core.expression.grammar import Node

WORD = r"[^\s\p{Z}]+"
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


def evaluate(node: Node, values: Mapping[str, Any], text: str) -> Any:
    """Compute one row's answer; None stands for null."""
    if node.op == "literal":
        return node.value
    if node.op == "column":
        return _column(node, values, text)
    args = [evaluate(arg, values, text) for arg in node.args]
    check(node, [literal_kind(arg) for arg in args], text)
    if node.op in _LENIENT:
        return _LENIENT[node.op](args)
    if None in args:
        return None
    return _STRICT[node.op](node, args)


@functools.lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """Compile an RE2 pattern.

    Raises
    ------
    ValueError
        It is no RE2 pattern; the message is RE2's.

    """
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "unknown"
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from error


def integer(value: int) -> int | None:
    """Return a 64-bit integer, None where it overflows."""
    return value if _LOWEST <= value <= _HIGHEST else None


def arithmetic(op: str, left: float, right: float) -> float | None:
    """Add, subtract or multiply: integers exactly, a mixture as floats."""
    apply: Callable[[Any, Any], Any] = {"+": operator.add, "-": operator.sub, "*": operator.mul}[op]
    if isinstance(left, int) and isinstance(right, int):
        return integer(apply(left, right))
    return float(apply(float(left), float(right)))


def _column(node: Node, values: Mapping[str, Any], text: str) -> Any:
    if node.value not in values:
        raise ExpressionError(complaint(text, node.at, f"the row has no {node.value!r}; it has {', '.join(values)}"))
    value = values[node.value]
    if isinstance(value, int) and not isinstance(value, bool):
        return integer(value)
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ExpressionError(complaint(text, node.at, f"the row's {node.value!r} is not text: {error}")) from error
    return value


def _alike(args: Sequence[Any]) -> Sequence[Any]:
    """Make a mixture of integers and floats all floats, as the columns would be."""
    return [float(arg) for arg in args] if any(isinstance(arg, float) for arg in args) else args


def _divide(_node: Node, args: Sequence[Any]) -> float | None:
    left, right = float(args[0]), float(args[1])
    return None if right == 0 else left / right


def _round(_node: Node, args: Sequence[Any]) -> Any:
    value = args[0]
    return value if isinstance(value, int) or not math.isfinite(value) else float(round(value))


def _extreme(choose: Callable[[Sequence[Any]], Any]) -> Callable[[Node, Sequence[Any]], Any]:
    def extreme(_node: Node, args: Sequence[Any]) -> Any:
        alike = _alike(args)
        return choose([arg for arg in alike if arg == arg] or alike)  # noqa: PLR0124 - NaN differs from itself

    return extreme


def _case(name: str) -> Callable[[Node, Sequence[Any]], str]:
    """Change case; beyond ASCII by Arrow's own tables, which differ from Python's (ß, İ, final Σ)."""

    def change(_node: Node, args: Sequence[Any]) -> str:
        text: str = args[0]
        if text.isascii():
            return text.lower() if name == "lower" else text.upper()
        import pyarrow as pa
        import pyarrow.compute as pc

        kernel = pc.utf8_lower if name == "lower" else pc.utf8_upper
        return str(kernel(pa.scalar(text)).as_py())

    return change


def _compare(op: Callable[[Any, Any], bool]) -> Callable[[Node, Sequence[Any]], bool]:
    def compare(_node: Node, args: Sequence[Any]) -> bool:
        left, right = _alike(args)
        return op(left, right)

    return compare


def _among(node: Node, args: Sequence[Any]) -> bool:
    return any(operator.eq(*_alike([args[0], item])) for item in node.value)


def _all(args: Sequence[Any]) -> bool | None:
    return False if False in args else None if None in args else True


def _any(args: Sequence[Any]) -> bool | None:
    return True if True in args else None if None in args else False


def _coalesce(args: Sequence[Any]) -> Any:
    found: Any = next((arg for arg in args if arg is not None), None)
    return float(found) if literal_kind(found) == "number" else found


_LENIENT: dict[str, Callable[[Sequence[Any]], Any]] = {
    "and": _all,
    "or": _any,
    "is null": lambda args: args[0] is None,
    "coalesce": _coalesce,
}
_STRICT: dict[str, Callable[[Node, Sequence[Any]], Any]] = {
    "+": lambda _, args: arithmetic("+", *args),
    "-": lambda _, args: arithmetic("-", *args),
    "*": lambda _, args: arithmetic("*", *args),
    "/": _divide,
    "negate": lambda _, args: arithmetic("-", 0, args[0]),
    "abs": lambda _, args: integer(abs(args[0])) if isinstance(args[0], int) else abs(args[0]),
    "round": _round,
    "min": _extreme(min),
    "max": _extreme(max),
    "is_nan": lambda _, args: isinstance(args[0], float) and math.isnan(args[0]),
    "=": _compare(operator.eq),
    "!=": _compare(operator.ne),
    "<": _compare(operator.lt),
    "<=": _compare(operator.le),
    ">": _compare(operator.gt),
    ">=": _compare(operator.ge),
    "in": _among,
    "not": lambda _, args: not args[0],
    "length": lambda _, args: len(args[0]),
    "words": lambda _, args: len(compiled(WORD).findall(args[0])),
    "lower": _case("lower"),
    "upper": _case("upper"),
    "contains": lambda node, args: node.value in args[0],
    "starts_with": lambda node, args: args[0].startswith(node.value),
    "ends_with": lambda node, args: args[0].endswith(node.value),
    "count": lambda node, args: args[0].count(node.value),
    "matches": lambda node, args: compiled(node.value).search(args[0]) is not None,
}
