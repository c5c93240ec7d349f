"""The columnar back end: Arrow kernels over whole columns, the same answers as row by row.

Where a kernel stops at one bad row (integer overflow), the single-row back end decides that column row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from lineshaft.core.expression import rows
from lineshaft.core.expression.kinds import BOOLEAN, NULL, NUMBER, OTHER, STRING, WANTS, check, complaint, literal_kind
from lineshaft.errors import ExpressionError

if TYPE_CHECKING:
    from lineshaft.core.expression.grammar import Node

Value = Any  # pa.Array | pa.Scalar: literals stay scalars until the end
_TYPES = {NUMBER: pa.int64(), STRING: pa.string(), BOOLEAN: pa.bool_(), NULL: pa.null()}


def evaluate(root: Node, data: pa.Table | pa.RecordBatch, text: str) -> pa.Array:
    """Compute the tree over every row of a table or batch."""
    batches = [data] if isinstance(data, pa.RecordBatch) else data.to_batches()
    if not batches:
        batches = [pa.RecordBatch.from_pylist([], schema=data.schema)]
    parts = [_whole(_run(root, batch, text), batch.num_rows) for batch in batches]
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)


def _whole(value: Value, length: int) -> pa.Array:
    return pa.repeat(value, length) if isinstance(value, pa.Scalar) else value


def _run(node: Node, batch: pa.RecordBatch, text: str) -> Value:
    if node.op == "literal":
        return pa.scalar(node.value, _literal_type(node.value))
    if node.op == "column":
        return _column(node, batch, text)
    args = [_run(arg, batch, text) for arg in node.args]
    check(node, [_kind(arg.type) for arg in args], text)
    return _OPERATIONS[node.op](node, _settled(node, args))


def _literal_type(value: Any) -> pa.DataType:
    return pa.float64() if isinstance(value, float) else _TYPES[literal_kind(value)]


def _kind(type_: pa.DataType) -> str:
    if pa.types.is_null(type_):
        return NULL
    if pa.types.is_boolean(type_):
        return BOOLEAN
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        return NUMBER
    return STRING if pa.types.is_string(type_) else OTHER


def _column(node: Node, batch: pa.RecordBatch, text: str) -> pa.Array:
    """Read a column as int64, float64, string or bool; anything else stays as it is and is good for ``is null``."""
    if node.value not in batch.schema.names:
        there = ", ".join(batch.schema.names)
        raise ExpressionError(complaint(text, node.at, f"there is no column {node.value!r}; there are: {there}"))
    array = batch.column(node.value)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        return array.cast(pa.string())
    if pa.types.is_floating(array.type):
        return array.cast(pa.float64())
    if pa.types.is_uint64(array.type):
        fits = pc.less_equal(array, pa.scalar(2**63 - 1, pa.uint64()))
        array = pc.if_else(fits, array, pa.scalar(None, pa.uint64()))
    return array.cast(pa.int64()) if pa.types.is_integer(array.type) else array


def _settled(node: Node, args: list[Value]) -> list[Value]:
    """Give nulls without a type the type that the operation needs, and let mixed numbers all be floats."""
    known = next((arg.type for arg in args if not pa.types.is_null(arg.type)), None)
    if node.op == "is null" or (node.op == "coalesce" and known is None):
        return args
    fallback = _TYPES.get(WANTS[node.op], _literal_type(node.value[0]) if node.op == "in" else pa.bool_())
    settled = [arg.cast(known or fallback) if pa.types.is_null(arg.type) else arg for arg in args]
    return _floats(settled) if any(pa.types.is_floating(arg.type) for arg in settled) else settled


def _floats(args: Sequence[Value]) -> list[Value]:
    return [pc.cast(arg, pa.float64(), safe=False) for arg in args]


def _integers(kernel: Callable[..., Value], exact: Callable[..., int | None], args: Sequence[Value]) -> Value:
    """Run a checked kernel; where some row overflows, compute row by row with null for that row."""
    try:
        return kernel(*args)
    except pa.ArrowInvalid:
        length = next((len(arg) for arg in args if isinstance(arg, pa.Array)), None)
        lists = [_whole(arg, 1 if length is None else length).to_pylist() for arg in args]
        values = pa.array([None if None in row else exact(*row) for row in zip(*lists, strict=True)], pa.int64())
        return values[0] if length is None else values


def _arithmetic(op: str, kernel: Callable[..., Value]) -> Callable[[Node, list[Value]], Value]:
    return lambda _, args: _integers(kernel, lambda left, right: rows.arithmetic(op, left, right), args)  # type: ignore[return-value,arg-type]


def _divide(_node: Node, args: list[Value]) -> Value:
    left, right = _floats(args)
    return pc.divide(left, pc.if_else(pc.equal(right, 0.0), pa.scalar(None, pa.float64()), right))


def _negate(_node: Node, args: list[Value]) -> Value:
    if pa.types.is_floating(args[0].type):
        return pc.negate(args[0])
    return _integers(pc.negate_checked, lambda value: rows.integer(-value), args)


def _abs(_node: Node, args: list[Value]) -> Value:
    return _integers(pc.abs_checked, lambda value: rows.integer(abs(value)), args)


def _round(_node: Node, args: list[Value]) -> Value:
    if pa.types.is_integer(args[0].type):
        return args[0]
    return pc.round(args[0], round_mode="half_to_even")


def _among(node: Node, args: list[Value]) -> Value:
    column = args[0]
    items = pa.array(node.value, _literal_type(node.value[0]) if literal_kind(node.value[0]) != NUMBER else None)
    if _kind(column.type) == NUMBER and (pa.types.is_floating(column.type) or pa.types.is_floating(items.type)):
        column, items = _floats([column, items])
        column = pc.add(column, 0.0)  # -0.0 becomes 0.0: the lookup goes by bits
        items = pc.add(items, 0.0)
    return pc.if_else(pc.is_null(column), pa.scalar(None, pa.bool_()), pc.is_in(column, value_set=items))


def _coalesce(_node: Node, args: list[Value]) -> Value:
    return pc.coalesce(*(_floats(args) if pa.types.is_integer(args[0].type) else args))


def _fold(kernel: Callable[[Value, Value], Value]) -> Callable[[Node, list[Value]], Value]:
    def fold(_node: Node, args: list[Value]) -> Value:
        found = args[0]
        for arg in args[1:]:
            found = kernel(found, arg)
        return found

    return fold


def _int64(value: Value) -> Value:
    return value.cast(pa.int64())


_OPERATIONS: dict[str, Callable[[Node, list[Value]], Value]] = {
    "+": _arithmetic("+", pc.add_checked),
    "-": _arithmetic("-", pc.subtract_checked),
    "*": _arithmetic("*", pc.multiply_checked),
    "/": _divide,
    "negate": _negate,
    "abs": _abs,
    "round": _round,
    "min": lambda _, args: pc.min_element_wise(*args, skip_nulls=False),
    "max": lambda _, args: pc.max_element_wise(*args, skip_nulls=False),
    "is_nan": lambda _, args: pc.is_nan(*_floats(args)),
    "=": lambda _, args: pc.equal(*args),
    "!=": lambda _, args: pc.not_equal(*args),
    "<": lambda _, args: pc.less(*args),
    "<=": lambda _, args: pc.less_equal(*args),
    ">": lambda _, args: pc.greater(*args),
    ">=": lambda _, args: pc.greater_equal(*args),
    "in": _among,
    "is null": lambda _, args: pc.is_null(*args),
    "and": _fold(pc.and_kleene),
    "or": _fold(pc.or_kleene),
    "not": lambda _, args: pc.invert(*args),
    "coalesce": _coalesce,
    "length": lambda _, args: _int64(pc.utf8_length(*args)),
    "words": lambda _, args: _int64(pc.count_substring_regex(args[0], pattern=rows.WORD)),
    "lower": lambda _, args: pc.utf8_lower(*args),
    "upper": lambda _, args: pc.utf8_upper(*args),
    "contains": lambda node, args: pc.match_substring(args[0], pattern=node.value),
    "starts_with": lambda node, args: pc.starts_with(args[0], pattern=node.value),
    "ends_with": lambda node, args: pc.ends_with(args[0], pattern=node.value),
    "count": lambda node, args: _int64(pc.count_substring(args[0], pattern=node.value)),
    "matches": lambda node, args: pc.match_substring_regex(args[0], pattern=node.value),
}
